//! The JSON audit report: one array of flat objects, one object per certificate.
//!
//! Two things read a record, and both stop at the same places: the opening quotes of its values.
//!
//! - The *strict reader* goes over everything between two string values byte by byte: quote,
//!   white space, comma, key, colon, and values that are no strings. It knows the whole grammar of
//!   RFC 8259 and accepts what `serde_json` accepts, no more and no less.
//! - *Learned steps* (`json_steps.rs`) are what the strict reader went over before. A report is written by a
//!   machine: what stands between the end of `notBefore` and the start of `notAfter` is the same
//!   in every record, so it is compared as a whole, 16 bytes at a time. Where no learned step fits,
//!   the strict reader takes over at that very place, and what it accepts is learned.
//!
//! A learned step can never accept what the strict reader would refuse. It begins at the quote that
//! ends a string value of a record, or at the record's brace, and ends at the next opening quote of
//! a value or at the record's closing brace. What the strict reader does between these two places
//! depends on nothing but the bytes there, so equal bytes have equal outcomes. The one thing that
//! reaches further, whether a field was stated before, is asked in both cases by the same code.

use std::borrow::Cow;

use memchr::memchr2;

use crate::report::scanner::error::ScanErrorKind;
use crate::report::scanner::fields::{Field, revoked_record};
use crate::report::scanner::stream::{Grammar, Record, RecordKind, Stop, SyntaxError};
use crate::revocation::record::RevokedRecord;

use super::json_steps::{Place, Steps, Target};
use super::json_values::{Text, byte_at, key, string, unexpected, value, white_space};

/// The grammar of a JSON audit report.
pub(super) struct Json {
    expects: Expects,
    steps: Steps,
    fields: Fields,
    end: EndFinder,
}

/// What may come next between the records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expects {
    Array,
    FirstRecordOrEnd,
    CommaOrEnd,
    Record,
    Nothing,
}

impl Json {
    pub(super) fn new() -> Self {
        Self {
            expects: Expects::Array,
            steps: Steps::default(),
            fields: Fields::default(),
            end: EndFinder::default(),
        }
    }
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
                    let kind = ScanErrorKind::Unexpected { expected, found };
                    return Err(SyntaxError { at, kind });
                }
            };
        }
        Ok(bytes.len())
    }

    #[inline]
    fn record(&mut self, bytes: &[u8], _last: bool) -> Result<Record, Stop> {
        self.fields.clear();
        let mut from = Place::START;
        // The `{` of the record, later the closing quote of the string value before.
        let mut at = 0;
        loop {
            let (target, to) = match self.steps.follow(from, &bytes[at..], &mut self.fields) {
                Some((target, len)) => (target, at + len),
                None => self.strict_step(from, bytes, at)?,
            };
            let Target::Value(place) = target else {
                self.expects = Expects::CommaOrEnd;
                return Ok(Record {
                    len: to,
                    kind: self.fields.kind(),
                });
            };
            let text = string(bytes, to)?;
            self.fields.put_text(place, text, bytes);
            from = place;
            at = text.end;
        }
    }

    #[inline]
    fn revoked<'a>(&self, bytes: &'a [u8]) -> RevokedRecord<'a> {
        // Every string was found to be UTF-8, and all else is ASCII.
        let text = str::from_utf8(bytes).unwrap_or_default();
        revoked_record(bytes, self.fields.malformed, |field| {
            self.fields.text(field, text)
        })
    }

    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        self.end.find(bytes)
    }

    fn end(&self) -> Result<(), ScanErrorKind> {
        match self.expects {
            Expects::Nothing => Ok(()),
            _ => Err(ScanErrorKind::Truncated),
        }
    }
}

impl Json {
    /// Reads from the `{` of a record, or from the closing quote of one of its string values, to the
    /// next string value (to after its opening quote) or the record's end, and learns that step.
    #[cold]
    #[inline(never)]
    fn strict_step(
        &mut self,
        from: Place,
        bytes: &[u8],
        start: usize,
    ) -> Result<(Target, usize), Stop> {
        let seen_before = self.fields.seen;
        let mut learnable = true;
        let mut first = from == Place::START;
        let mut at = white_space(bytes, start + 1);
        let (target, to) = loop {
            match byte_at(bytes, at)? {
                b'}' => break (Target::End, at + 1),
                b',' if !first => at = white_space(bytes, at + 1),
                b'"' if first => {}
                found if first => return unexpected(at, "`\"` or `}`", found),
                found => return unexpected(at, "`,` or `}`", found),
            }
            first = false;
            let (name, value_at) = key(bytes, at)?;
            let place = Place::after(name.field(bytes));
            at = value_at;
            if byte_at(bytes, at)? == b'"' {
                break (Target::Value(place), at + 1);
            }
            let end = value(bytes, at)?;
            if bytes[at] == b'n' {
                self.fields.put_null(place);
            } else {
                self.fields.put_other(place, at, end, bytes);
                learnable = false;
            }
            at = white_space(bytes, end);
        };
        if learnable && !self.fields.malformed {
            let nulls = self.fields.seen & !seen_before;
            self.steps
                .learn(from, &bytes[start..], to - start, target, nulls);
        }
        Ok((target, to))
    }
}

/// The fields of the record at hand: where in its bytes their values are.
#[derive(Default)]
pub(super) struct Fields {
    /// A bit for every known field that was stated, in the order of [`Place`].
    pub(super) seen: u16,
    /// A bit for every field whose value is kept: the stated ones other than `null`.
    kept: u16,
    values: [Value; Place::COUNT],
    /// The other serial, where two different ones are stated.
    other_serial: Option<Value>,
    /// A known field was stated twice, or with a value that is neither a string nor `null`.
    malformed: bool,
}

#[derive(Clone, Copy, Default)]
struct Value {
    /// Records are no longer than `MAX_RECORD_BYTES`, so places in them fit.
    start: u32,
    end: u32,
    form: Form,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    /// A string that stands for itself.
    #[default]
    Plain,
    /// A string with escape sequences.
    Escaped,
    /// A number, a boolean, an array or an object.
    Other,
}

impl Fields {
    #[inline(always)]
    fn clear(&mut self) {
        self.seen = 0;
        self.kept = 0;
        self.other_serial = None;
        self.malformed = false;
    }

    #[inline(always)]
    fn put_text(&mut self, place: Place, text: Text, bytes: &[u8]) {
        let form = if text.escaped {
            Form::Escaped
        } else {
            Form::Plain
        };
        self.put(place, Value::new(text.start, text.end, form), bytes);
    }

    fn put_other(&mut self, place: Place, start: usize, end: usize, bytes: &[u8]) {
        self.malformed |= place.known_bit() != 0;
        self.put(place, Value::new(start, end, Form::Other), bytes);
    }

    fn put_null(&mut self, place: Place) {
        self.malformed |= self.seen & place.known_bit() != 0;
        self.seen |= place.known_bit();
    }

    #[inline(always)]
    fn put(&mut self, place: Place, value: Value, bytes: &[u8]) {
        let bit = place.known_bit();
        if self.seen & bit != 0 {
            return self.put_again(place, value, bytes);
        }
        self.seen |= bit;
        self.kept |= bit;
        // Field by field: put together first, it would go through memory and wait there.
        let kept = &mut self.values[place.index()];
        kept.start = value.start;
        kept.end = value.end;
        kept.form = value.form;
    }

    /// Of a field that is stated more than once, the first value stands that is not empty. Two
    /// different serials are kept both: neither can be relied on.
    #[cold]
    #[inline(never)]
    fn put_again(&mut self, place: Place, value: Value, bytes: &[u8]) {
        self.malformed = true;
        let before = self.values[place.index()];
        if self.kept & place.known_bit() == 0 || before.is_empty() {
            self.kept |= place.known_bit();
            self.values[place.index()] = value;
        } else if place == Place::after(Some(Field::Serial))
            && !value.is_empty()
            && self.other_serial.is_none()
            && before.text_in(bytes) != value.text_in(bytes)
        {
            self.other_serial = Some(value);
        }
    }

    #[inline(always)]
    fn kind(&self) -> RecordKind {
        let revoked_at = Place::after(Some(Field::RevokedAt));
        let is_stated = self.kept & revoked_at.known_bit() != 0;
        if is_stated && !self.values[revoked_at.index()].is_empty() {
            RecordKind::Revoked
        } else {
            RecordKind::Certificate {
                malformed: self.malformed,
            }
        }
    }

    #[inline(always)]
    fn text<'a>(&self, field: Field, record: &'a str) -> Option<Cow<'a, str>> {
        let place = Place::after(Some(field));
        if self.kept & place.known_bit() == 0 {
            return None;
        }
        let text = self.values[place.index()].text(record)?;
        match self.other_serial {
            Some(other) if field == Field::Serial => {
                // No serial of hexadecimal digits any more, so the record is known by its ARN.
                let other = other.text(record).unwrap_or_default();
                Some(Cow::Owned(format!("{text} / {other}")))
            }
            _ => Some(text),
        }
    }
}

impl Value {
    #[inline(always)]
    fn new(start: usize, end: usize, form: Form) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
            form,
        }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The value's text, where not all of the record was read yet.
    fn text_in<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        // A string's quotes, or the bytes before and after another value, which are ASCII too.
        let (before, after) = (self.start as usize - 1, self.end as usize);
        let value = Value::new(1, after - before, self.form);
        value.text(str::from_utf8(bytes.get(before..=after)?).ok()?)
    }

    /// The value's text in the record's: decoded where it is a string, else as it stands.
    #[inline(always)]
    fn text<'a>(&self, record: &'a str) -> Option<Cow<'a, str>> {
        let (start, end) = (self.start as usize, self.end as usize);
        let text = record.get(start..end)?;
        match self.form {
            Form::Plain | Form::Other => Some(Cow::Borrowed(text)),
            Form::Escaped => {
                // The escapes were found valid; should the two readers ever differ, the text
                // stands as it is in the report.
                let quoted = record.get(start - 1..end + 1)?;
                Some(serde_json::from_str(quoted).map_or(Cow::Borrowed(text), Cow::Owned))
            }
        }
    }
}

/// Looks for the closing brace of a record, over as many slices as it takes.
#[derive(Default)]
struct EndFinder {
    depth: usize,
    in_string: bool,
    after_backslash: bool,
}

impl EndFinder {
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.after_backslash {
                self.after_backslash = false;
            } else if self.in_string {
                at += memchr2(b'"', b'\\', &bytes[at..])?;
                self.after_backslash = bytes[at] == b'\\';
                self.in_string = self.after_backslash;
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth <= 1 => {
                        *self = Self::default();
                        return Some(at + 1);
                    }
                    b'}' | b']' => self.depth -= 1,
                    _ => {}
                }
            }
            at += 1;
        }
        None
    }
}
