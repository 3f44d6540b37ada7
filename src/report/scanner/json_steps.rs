//! Learned steps: what stands between two string values of a record, compared as a whole.
//!
//! See [`json`](super::json) for why this is right.

use wide::u8x16;

use crate::report::scanner::fields::Field;

use super::json::Fields;

/// Where in a record a step begins: at its `{`, or after the value of a known field or of one that
/// is not known. Doubles as the number of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u8);

impl Place {
    pub const START: Place = Place(12);
    const UNKNOWN: Place = Place(11);
    pub const COUNT: usize = 13;

    /// After the value of that field; `None` for one that is not known.
    #[inline(always)]
    pub fn after(field: Option<Field>) -> Self {
        field.map_or(Self::UNKNOWN, |field| Place(field as u8))
    }

    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The bit of a known field; no bit for one that is not known.
    #[inline(always)]
    pub fn known_bit(self) -> u16 {
        (1 << self.0) & ((1 << Self::UNKNOWN.0) - 1)
    }
}

/// Where a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// After the opening quote of that field's value.
    Value(Place),
    /// After the record's `}`.
    End,
}

/// The steps learned so far: two from each place, since after `issuedAt`, say, a record either
/// goes on with `revokedAt` or does not.
#[derive(Default)]
pub struct Steps {
    from: [[Step; 2]; Place::COUNT],
}

/// The most bytes of a learned step: enough for the longest key, white space and two `null`s.
const STEP_BYTES: usize = 64;
const LANES: usize = 16;

#[derive(Clone, Copy)]
struct Step {
    /// Its bytes; beyond its end, zeros.
    bytes: [u8x16; STEP_BYTES / LANES],
    /// All bits where a byte of the report has to equal the step's.
    care: [u8x16; STEP_BYTES / LANES],
    len: usize,
    target: Target,
    /// The fields that are stated as `null` on the way.
    nulls: u16,
}

impl Default for Step {
    /// A step that fits nowhere: no step begins with a zero byte.
    fn default() -> Self {
        let mut care = [u8x16::ZERO; STEP_BYTES / LANES];
        care[0] = u8x16::splat(0xff);
        Self {
            bytes: [u8x16::ZERO; STEP_BYTES / LANES],
            care,
            len: 0,
            target: Target::End,
            nulls: 0,
        }
    }
}

impl Steps {
    /// Follows the learned step from a place that fits `bytes`; `None` where none does.
    #[inline(always)]
    pub fn follow(
        &self,
        from: Place,
        bytes: &[u8],
        fields: &mut Fields,
    ) -> Option<(Target, usize)> {
        // Close to the slice's end, the strict reader is at work.
        let window = bytes.first_chunk::<STEP_BYTES>()?;
        let [first, second] = &self.from[from.index()];
        let step = if first.fits(window) {
            first
        } else if second.fits(window) {
            second
        } else {
            return None;
        };
        if step.nulls != 0 {
            if fields.seen & step.nulls != 0 {
                return None;
            }
            fields.seen |= step.nulls;
        }
        Some((step.target, step.len))
    }

    /// Learns the step of `len` bytes with which `bytes` begin, in place of the older of the two
    /// from there.
    pub fn learn(&mut self, from: Place, bytes: &[u8], len: usize, target: Target, nulls: u16) {
        // Where `follow` cannot look, the step may well be one that is known already.
        if len > STEP_BYTES || bytes.len() < STEP_BYTES {
            return;
        }
        let mut text = [0; STEP_BYTES];
        let mut care = [0; STEP_BYTES];
        text[..len].copy_from_slice(&bytes[..len]);
        care[..len].fill(0xff);
        let lanes = |bytes: [u8; STEP_BYTES]| {
            let (blocks, _) = bytes.as_chunks::<LANES>();
            [0, 1, 2, 3].map(|block| u8x16::from_ne_bytes(blocks[block]))
        };
        let steps = &mut self.from[from.index()];
        steps[1] = steps[0];
        steps[0] = Step {
            bytes: lanes(text),
            care: lanes(care),
            len,
            target,
            nulls,
        };
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
