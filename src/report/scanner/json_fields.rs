//! Where the values of a JSON record are.

use std::borrow::Cow;

use crate::report::scanner::fields::Field;
use crate::report::scanner::json_values::{Form, Value};
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

impl Fields {
    #[inline(always)]
    pub fn clear(&mut self) {
        self.seen = 0;
        self.kept = 0;
        self.other_serial = None;
        self.malformed = false;
    }

    pub fn put_null(&mut self, position: Position) {
        self.malformed |= self.seen & position.known_bit() != 0;
        self.seen |= position.known_bit();
    }

    #[inline(always)]
    pub fn put(&mut self, position: Position, value: Value, bytes: &[u8]) {
        let bit = position.known_bit();
        self.malformed |= value.form == Form::Other && bit != 0;
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
        let text = self.values[position.index()].text(record);
        match self.other_serial {
            // Both together are not a valid serial, so the record's key is its ARN.
            Some(other) if field == Field::Serial => {
                Some(Cow::Owned(format!("{text} / {}", other.text(record))))
            }
            _ => Some(text),
        }
    }
}
