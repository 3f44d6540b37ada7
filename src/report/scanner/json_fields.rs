//! Where the values of a JSON record are.

use std::borrow::Cow;

use crate::report::scanner::fields::Field;
use crate::report::scanner::json_values::Text;
use crate::report::scanner::stream::RecordKind;

/// A position in a record at which a step begins: its `{`, or the end of a field's value. Also the
/// index of that field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u8);

impl Position {
    pub const START: Position = Position(12);
    const UNKNOWN: Position = Position(11);
    pub const COUNT: usize = 13;

    /// Returns the position after the value of that field; `None` stands for an unknown field.
    #[inline(always)]
    pub fn after(field: Option<Field>) -> Self {
        field.map_or(Self::UNKNOWN, |field| Position(field as u8))
    }

    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Returns the bit of a known field, 0 for an unknown one.
    #[inline(always)]
    pub fn known_bit(self) -> u16 {
        (1 << self.0) & ((1 << Self::UNKNOWN.0) - 1)
    }
}

/// The fields of the current record: where in its bytes their values are.
#[derive(Default)]
pub struct Fields {
    /// A bit for every known field that was stated, by [`Position::known_bit`].
    pub seen: u16,
    /// The same for every field whose value is kept: all that were stated other than `null`.
    kept: u16,
    values: [Value; Position::COUNT],
    /// The other serial, if two different ones are stated.
    other_serial: Option<Value>,
    /// A known field was stated twice, or with a value that is neither a string nor `null`.
    pub malformed: bool,
}

#[derive(Clone, Copy, Default)]
struct Value {
    /// Records are at most `MAX_RECORD_BYTES` long, so offsets in them fit.
    start: u32,
    end: u32,
    form: Form,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    /// A string without escape sequences.
    #[default]
    Plain,
    /// A string with escape sequences.
    Escaped,
    /// A number, a boolean, an array or an object.
    Other,
}

impl Fields {
    #[inline(always)]
    pub fn clear(&mut self) {
        self.seen = 0;
        self.kept = 0;
        self.other_serial = None;
        self.malformed = false;
    }

    #[inline(always)]
    pub fn put_text(&mut self, position: Position, text: Text, bytes: &[u8]) {
        let form = if text.escaped {
            Form::Escaped
        } else {
            Form::Plain
        };
        self.put(position, Value::new(text.start, text.end, form), bytes);
    }

    pub fn put_other(&mut self, position: Position, start: usize, end: usize, bytes: &[u8]) {
        self.malformed |= position.known_bit() != 0;
        self.put(position, Value::new(start, end, Form::Other), bytes);
    }

    pub fn put_null(&mut self, position: Position) {
        self.malformed |= self.seen & position.known_bit() != 0;
        self.seen |= position.known_bit();
    }

    #[inline(always)]
    fn put(&mut self, position: Position, value: Value, bytes: &[u8]) {
        let bit = position.known_bit();
        if self.seen & bit != 0 {
            return self.put_again(position, value, bytes);
        }
        self.seen |= bit;
        self.kept |= bit;
        // Assigned field by field: a whole `Value` would go through memory first, which is slower.
        let kept = &mut self.values[position.index()];
        kept.start = value.start;
        kept.end = value.end;
        kept.form = value.form;
    }

    /// Of a field that is stated more than once, the first value that is not empty is kept. Of two
    /// different serials both are kept: neither can be relied on.
    #[cold]
    #[inline(never)]
    fn put_again(&mut self, position: Position, value: Value, bytes: &[u8]) {
        self.malformed = true;
        let before = self.values[position.index()];
        if self.kept & position.known_bit() == 0 || before.is_empty() {
            self.kept |= position.known_bit();
            self.values[position.index()] = value;
        } else if position == Position::after(Some(Field::Serial))
            && !value.is_empty()
            && self.other_serial.is_none()
            && before.text_in(bytes) != value.text_in(bytes)
        {
            self.other_serial = Some(value);
        }
    }

    #[inline(always)]
    pub fn kind(&self) -> RecordKind {
        let revoked_at = Position::after(Some(Field::RevokedAt));
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
    pub fn text<'a>(&self, field: Field, record: &'a str) -> Option<Cow<'a, str>> {
        let position = Position::after(Some(field));
        if self.kept & position.known_bit() == 0 {
            return None;
        }
        let text = self.values[position.index()].text(record)?;
        match self.other_serial {
            Some(other) if field == Field::Serial => {
                // Both together are not a valid serial, so the record's key is its ARN.
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

    /// Returns the value's text from a record that was not read completely yet.
    fn text_in<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        // With the byte before and after it: a string's quotes, or other ASCII.
        let (before, after) = (self.start as usize - 1, self.end as usize);
        let value = Value::new(1, after - before, self.form);
        value.text(str::from_utf8(bytes.get(before..=after)?).ok()?)
    }

    /// Returns the value's text: decoded if it is a string, otherwise its JSON.
    #[inline(always)]
    fn text<'a>(&self, record: &'a str) -> Option<Cow<'a, str>> {
        let (start, end) = (self.start as usize, self.end as usize);
        let text = record.get(start..end)?;
        match self.form {
            Form::Plain | Form::Other => Some(Cow::Borrowed(text)),
            Form::Escaped => {
                // The escapes were checked before; should `serde_json` disagree, the text is kept
                // as it is.
                let quoted = record.get(start - 1..end + 1)?;
                Some(serde_json::from_str(quoted).map_or(Cow::Borrowed(text), Cow::Owned))
            }
        }
    }
}
