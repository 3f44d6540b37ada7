//! The JSON audit report: one array of flat objects, one object per certificate.
//!
//! A record is read from string value to string value: by a learned step if one fits, else by the
//! strict parser, which learns the step.

use memchr::memchr2;

use crate::report::scanner::error::{SyntaxError, unexpected};
use crate::report::scanner::fields::{Field, revoked_record};
use crate::report::scanner::json_fields::{Fields, Position};
use crate::report::scanner::json_steps::{STEP_BYTES, Steps, Target};
use crate::report::scanner::json_values::{Form, Value, byte_at, key, string, value, white_space};
use crate::report::scanner::stream::{Grammar, Record};
use crate::revocation::record::RevokedRecord;

/// The grammar of a JSON audit report.
#[derive(Default)]
pub(super) struct Json {
    expects: Expects,
    steps: Steps,
    fields: Fields,
    end: Nesting,
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
        let mut from = Position::START;
        // The `{` of the record, later the closing quote of the previous string value.
        let mut at = 0;
        loop {
            let (target, to) = match self.steps.follow(from, &bytes[at..], &mut self.fields) {
                Some((target, len)) => (target, at + len),
                None => self.strict_step(from, bytes, at)?,
            };
            let Some(position) = target else {
                self.expects = Expects::CommaOrEnd;
                return Ok(Record {
                    len: to,
                    kind: self.fields.kind(),
                });
            };
            let text = string(bytes, to)?;
            self.fields.put(position, text, bytes);
            from = position;
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
        let end = &mut self.end;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if end.after_backslash {
                end.after_backslash = false;
            } else if end.in_string {
                at += memchr2(b'"', b'\\', &bytes[at..])?;
                end.after_backslash = bytes[at] == b'\\';
                end.in_string = end.after_backslash;
            } else {
                match byte {
                    b'"' => end.in_string = true,
                    b'{' | b'[' => end.depth += 1,
                    b'}' | b']' if end.depth <= 1 => {
                        *end = Nesting::default();
                        return Some(at + 1);
                    }
                    b'}' | b']' => end.depth -= 1,
                    _ => {}
                }
            }
            at += 1;
        }
        None
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
    ) -> Result<(Target, usize), SyntaxError> {
        let seen_before = self.fields.seen;
        let mut learnable = true;
        let mut first = from == Position::START;
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
            let position = Position::after(Field::named(name.text_in(bytes).as_bytes()));
            at = value_at;
            if byte_at(bytes, at)? == b'"' {
                break (Some(position), at + 1);
            }
            let end = value(bytes, at, 0)?;
            if bytes[at] == b'n' {
                self.fields.put_null(position);
            } else {
                let value = Value {
                    start: at,
                    end,
                    form: Form::Other,
                };
                self.fields.put(position, value, bytes);
                learnable = false;
            }
            at = white_space(bytes, end);
        };
        // `follow` does not look at the last bytes of a slice, so the step may be known already.
        let was_followed = bytes.len() - start >= STEP_BYTES;
        if learnable && was_followed && !self.fields.malformed {
            let nulls = self.fields.seen & !seen_before;
            self.steps.learn(from, &bytes[start..to], target, nulls);
        }
        Ok((target, to))
    }
}

/// What the search for a record's closing brace knows of the bytes before.
#[derive(Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    after_backslash: bool,
}
