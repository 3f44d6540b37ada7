//! A labeled value of a message for people.

use crate::alert::line::Line;

/// A labeled value.
pub(super) struct Fact {
    pub label: &'static str,
    pub value: Value,
}

/// A value, by how far a format may trust it.
pub(super) enum Value {
    /// Our own words, on one line.
    Text(String),
    /// An identifier of harmless characters: a serial, an ARN, the location of an object.
    Code(String),
    /// Text that others chose.
    Quoted(String),
    /// Our own words and names that others chose.
    Line(Line),
}

impl Fact {
    pub fn text(label: &'static str, text: impl Into<String>) -> Self {
        let value = Value::Text(text.into());
        Self { label, value }
    }

    pub fn code(label: &'static str, text: impl Into<String>) -> Self {
        let value = Value::Code(text.into());
        Self { label, value }
    }

    pub fn quoted(label: &'static str, text: impl Into<String>) -> Self {
        let value = Value::Quoted(text.into());
        Self { label, value }
    }

    pub fn line(label: &'static str, line: Line) -> Self {
        let value = Value::Line(line);
        Self { label, value }
    }
}
