//! The JSON audit report: one array of flat objects, one object per certificate.
//!
//! A record is read from string value to string value: by a learned step if one fits, else by the
//! strict parser, which learns the step. See [`scanner`](super) for why this is correct.

use wide::u8x16;

use crate::report::scanner::fields::{Field, revoked_record};
use crate::report::scanner::json_values::{
    Fields, NestingEnd, Span, byte_at, key, string, value, white_space,
};
use crate::report::scanner::stream::{Grammar, Record, SyntaxError, unexpected};
use crate::revocation::record::RevokedRecord;

/// The grammar of a JSON audit report.
#[derive(Default)]
pub(super) struct Json {
    expects: Expects,
    steps: Steps,
    fields: Fields,
    end: NestingEnd,
}

/// What may come next between records.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expects {
    #[default]
    Array,
    FirstRecordOrEnd,
    CommaOrEnd,
    Record,
    Nothing,
}

impl Grammar for Json {
    #[inline]
    fn between(&mut self, bytes: &[u8]) -> Result<usize, SyntaxError> {
        for (at, &byte) in bytes.iter().enumerate() {
            self.expects = match (self.expects, byte) {
                (same, b' ' | b'\n' | b'\r' | b'\t') => same,
                (Expects::FirstRecordOrEnd | Expects::Record, b'{') => return Ok(at),
                (Expects::CommaOrEnd, b',') => Expects::Record,
                (Expects::Array, b'[') => Expects::FirstRecordOrEnd,
                (Expects::FirstRecordOrEnd | Expects::CommaOrEnd, b']') => Expects::Nothing,
                (expects, found) => {
                    let expected = match expects {
                        Expects::Array => "`[`",
                        Expects::FirstRecordOrEnd => "`{` or `]`",
                        Expects::CommaOrEnd => "`,` or `]`",
                        Expects::Record => "`{`",
                        Expects::Nothing => "nothing after the report's `]`",
                    };
                    return unexpected(at, expected, found);
                }
            };
        }
        Ok(bytes.len())
    }

    #[inline]
    fn record(&mut self, bytes: &[u8], _last: bool) -> Result<Record, SyntaxError> {
        self.fields.clear();
        let mut from = None;
        // The `{` of the record, later the closing quote of the previous string value.
        let mut at = 0;
        loop {
            let (target, start) = match self.steps.find(from, &bytes[at..]) {
                // The usual case, alone because that is faster.
                Some(step) if step.nulls == 0 => (step.target, at + step.len),
                Some(step) if self.fields.seen & step.nulls == 0 => {
                    self.fields.seen |= step.nulls;
                    (step.target, at + step.len)
                }
                _ => self.strict_step(from, bytes, at)?,
            };
            let Some(field) = target else {
                self.expects = Expects::CommaOrEnd;
                return Ok(Record {
                    len: start,
                    kind: self.fields.kind(),
                    unidentified: self.fields.are_unidentified(),
                });
            };
            let text = string(bytes, start)?;
            self.fields.put(field, text, bytes);
            from = target;
            at = text.end;
        }
    }

    #[inline]
    fn revoked<'a>(&self, bytes: &'a [u8]) -> RevokedRecord<'a> {
        // Every string was found to be UTF-8, and everything else is ASCII.
        let text = str::from_utf8(bytes).unwrap_or_default();
        revoked_record(bytes, self.fields.malformed, |field| {
            self.fields.text(field, text)
        })
    }

    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        self.end.find(bytes)
    }

    fn may_end(&self) -> bool {
        self.expects == Expects::Nothing
    }
}

impl Json {
    /// Parses from the `{` of a record, or from the closing quote of one of its string values, to
    /// after the opening quote of the next string value or the record's `}`, and learns that step.
    #[cold]
    #[inline(never)]
    fn strict_step(
        &mut self,
        from: Position,
        bytes: &[u8],
        start: usize,
    ) -> Result<(Position, usize), SyntaxError> {
        let seen_before = self.fields.seen;
        let mut learnable = true;
        let mut first = from.is_none();
        let mut at = white_space(bytes, start + 1);
        let (target, to) = loop {
            match byte_at(bytes, at)? {
                b'}' => break (None, at + 1),
                b',' if !first => at = white_space(bytes, at + 1),
                b'"' if first => {}
                found if first => return unexpected(at, "`\"` or `}`", found),
                found => return unexpected(at, "`,` or `}`", found),
            }
            first = false;
            let (name, value_at) = key(bytes, at)?;
            let field = Field::named(name.text_in(bytes).as_bytes());
            at = value_at;
            if byte_at(bytes, at)? == b'"' {
                break (Some(field), at + 1);
            }
            let end = value(bytes, at)?;
            if bytes[at] == b'n' {
                self.fields.malformed |= self.fields.seen & field.known_bit() != 0;
                self.fields.seen |= field.known_bit();
            } else {
                self.fields.malformed |= field != Field::Unknown;
                let value = Span {
                    start: at,
                    end,
                    is_escaped: false,
                };
                self.fields.put(field, value, bytes);
                learnable = false;
            }
            at = white_space(bytes, end);
        };
        // `find` does not look at the last bytes of a slice, so the step may be known already.
        let was_looked_up = bytes.len() - start >= STEP_BYTES;
        if learnable && was_looked_up && !self.fields.malformed {
            let nulls = self.fields.seen & !seen_before;
            self.steps.learn(from, &bytes[start..to], target, nulls);
        }
        Ok((target, to))
    }
}

/// Where a step begins: at the closing quote of a field's value, or (`None`) at the record's `{`.
/// Where it ends: after the opening quote of a field's value, or (`None`) after the record's `}`.
type Position = Option<Field>;

/// The learned steps: two from each position, since after `issuedAt`, for example, a record
/// continues with `revokedAt` or does not.
#[derive(Default)]
struct Steps {
    from: [[Option<Step>; 2]; Field::COUNT + 1],
}

/// Maximum length of a learned step: enough for the longest key, white space and two `null`s.
const STEP_BYTES: usize = 64;
const LANES: usize = 16;

#[derive(Clone, Copy)]
struct Step {
    /// The bytes of the step, then zeros.
    bytes: [u8x16; STEP_BYTES / LANES],
    /// 0xff for every byte of the step, then zeros.
    care: [u8x16; STEP_BYTES / LANES],
    len: usize,
    target: Position,
    /// The fields that the step states as `null`.
    nulls: u16,
}

impl Steps {
    /// Returns the step from that position that fits `bytes`.
    #[inline(always)]
    fn find(&self, from: Position, bytes: &[u8]) -> Option<&Step> {
        // Close to the end of a slice the strict parser is used.
        let window = bytes.first_chunk::<STEP_BYTES>()?;
        let mut steps = self.from[index(from)].iter().flatten();
        steps.find(|step| step.fits(window))
    }

    /// Learns a step. It replaces the older of the two from that position.
    fn learn(&mut self, from: Position, bytes: &[u8], target: Position, nulls: u16) {
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
        let steps = &mut self.from[index(from)];
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
fn index(position: Position) -> usize {
    position.map_or(Field::COUNT, |field| field as usize)
}

#[inline(always)]
fn is_zero(lanes: u8x16) -> bool {
    lanes.simd_eq(u8x16::ZERO).all()
}
