//! Learned steps: the bytes between two string values of a record, compared as a whole.
//!
//! See [`scanner`](super) for why this is correct.

use wide::u8x16;

use crate::report::scanner::json_fields::{Fields, Position};

/// Where a step ends: after the opening quote of a field's value, or after the record's `}`.
pub type Target = Option<Position>;

/// The learned steps: two from each position, since after `issuedAt`, for example, a record
/// continues with `revokedAt` or does not.
#[derive(Default)]
pub struct Steps {
    from: [[Option<Step>; 2]; Position::COUNT],
}

/// Maximum length of a learned step: enough for the longest key, white space and two `null`s.
pub const STEP_BYTES: usize = 64;
const LANES: usize = 16;

#[derive(Clone, Copy)]
struct Step {
    /// The bytes of the step, then zeros.
    bytes: [u8x16; STEP_BYTES / LANES],
    /// 0xff for every byte of the step, then zeros.
    care: [u8x16; STEP_BYTES / LANES],
    len: usize,
    target: Target,
    /// The fields that the step states as `null`.
    nulls: u16,
}

impl Steps {
    /// Returns target and length of the step from that position that fits `bytes`; `None` if none
    /// does.
    #[inline(always)]
    pub fn follow(
        &self,
        from: Position,
        bytes: &[u8],
        fields: &mut Fields,
    ) -> Option<(Target, usize)> {
        // Close to the end of a slice the strict parser is used.
        let window = bytes.first_chunk::<STEP_BYTES>()?;
        let mut steps = self.from[from.index()].iter().flatten();
        let step = steps.find(|step| step.fits(window))?;
        if step.nulls != 0 {
            if fields.seen & step.nulls != 0 {
                return None;
            }
            fields.seen |= step.nulls;
        }
        Some((step.target, step.len))
    }

    /// Learns a step. It replaces the older of the two from that position.
    pub fn learn(&mut self, from: Position, bytes: &[u8], target: Target, nulls: u16) {
        let len = bytes.len();
        if len > STEP_BYTES {
            return;
        }
        let mut text = [0; STEP_BYTES];
        let mut care = [0; STEP_BYTES];
        text[..len].copy_from_slice(bytes);
        care[..len].fill(0xff);
        let lanes = |bytes: [u8; STEP_BYTES]| {
            let (blocks, _) = bytes.as_chunks::<LANES>();
            [0, 1, 2, 3].map(|block| u8x16::from_ne_bytes(blocks[block]))
        };
        let steps = &mut self.from[from.index()];
        steps[1] = steps[0];
        steps[0] = Some(Step {
            bytes: lanes(text),
            care: lanes(care),
            len,
            target,
            nulls,
        });
    }
}

impl Step {
    #[inline(always)]
    fn fits(&self, window: &[u8; STEP_BYTES]) -> bool {
        let (blocks, _) = window.as_chunks::<LANES>();
        let differs = |block: usize| {
            (u8x16::from_ne_bytes(blocks[block]) ^ self.bytes[block]) & self.care[block]
        };
        is_zero(differs(0) | differs(1))
            && (self.len <= 2 * LANES || is_zero(differs(2) | differs(3)))
    }
}

#[inline(always)]
fn is_zero(lanes: u8x16) -> bool {
    lanes.simd_eq(u8x16::ZERO).all()
}
