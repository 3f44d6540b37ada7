//! The values of a JSON record: parses them, and keeps where those of the known fields are.
//!
//! The parsers take an offset in the record's bytes and return the offset after what they parsed.

use std::borrow::Cow;

use memchr::memchr2;

use crate::report::scanner::fields::Field;
use crate::report::scanner::stream::{RecordKind, SyntaxError, check_utf8, invalid, unexpected};
use crate::report::scanner::text_end;

/// Where a value's text is, a string's without its quotes.
#[derive(Clone, Copy, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    /// Whether it is a string with escape sequences.
    pub is_escaped: bool,
}

impl Span {
    fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Returns the value's text: decoded if it is a string, otherwise its JSON.
    #[inline(always)]
    fn text(self, record: &str) -> Cow<'_, str> {
        let text = &record[self.start..self.end];
        if !self.is_escaped {
            return Cow::Borrowed(text);
        }
        let quoted = &record[self.start - 1..=self.end];
        serde_json::from_str(quoted).map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// Returns the value's text from a record that was not read completely yet.
    pub fn text_in(self, bytes: &[u8]) -> Cow<'_, str> {
        if self.is_escaped
            && let Ok(text) = serde_json::from_slice(&bytes[self.start - 1..=self.end])
        {
            return Cow::Owned(text);
        }
        String::from_utf8_lossy(&bytes[self.start..self.end])
    }
}

/// The fields of the current record: where in its bytes their values are.
#[derive(Default)]
pub struct Fields {
    /// A bit for every known field that was stated, by [`Field::known_bit`].
    pub seen: u16,
    /// The same for every field whose value is kept: all that were stated other than `null`.
    kept: u16,
    values: [Span; Field::COUNT],
    /// The other serial, if two different ones are stated.
    other_serial: Option<Span>,
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

    /// Keeps a value other than `null`.
    #[inline(always)]
    pub fn put(&mut self, field: Field, value: Span, bytes: &[u8]) {
        let bit = field.known_bit();
        if self.seen & bit != 0 {
            return self.put_again(field, value, bytes);
        }
        self.seen |= bit;
        self.kept |= bit;
        self.values[field as usize] = value;
    }

    /// Of a field that is stated more than once, the first value that is not empty is kept. Of two
    /// different serials both are kept: neither can be relied on.
    #[cold]
    #[inline(never)]
    fn put_again(&mut self, field: Field, value: Span, bytes: &[u8]) {
        self.malformed = true;
        let before = self.values[field as usize];
        if self.kept & field.known_bit() == 0 || before.is_empty() {
            self.kept |= field.known_bit();
            self.values[field as usize] = value;
        } else if field == Field::Serial
            && !value.is_empty()
            && self.other_serial.is_none()
            && before.text_in(bytes) != value.text_in(bytes)
        {
            self.other_serial = Some(value);
        }
    }

    #[inline(always)]
    fn value(&self, field: Field) -> Option<Span> {
        (self.kept & field.known_bit() != 0).then_some(self.values[field as usize])
    }

    #[inline(always)]
    fn is_stated(&self, field: Field) -> bool {
        self.value(field).is_some_and(|value| !value.is_empty())
    }

    #[inline(always)]
    pub fn kind(&self) -> RecordKind {
        match self.is_stated(Field::RevokedAt) {
            true => RecordKind::Revoked,
            false => RecordKind::Certificate {
                malformed: self.malformed,
            },
        }
    }

    /// Whether neither a serial nor a certificate ARN is stated.
    #[inline(always)]
    pub fn are_unidentified(&self) -> bool {
        !self.is_stated(Field::Serial) && !self.is_stated(Field::CertificateArn)
    }

    #[inline(always)]
    pub fn text<'a>(&self, field: Field, record: &'a str) -> Option<Cow<'a, str>> {
        let text = self.value(field)?.text(record);
        match self.other_serial {
            // Both together are not a valid serial, so the record's key is its ARN.
            Some(other) if field == Field::Serial => {
                Some(Cow::Owned(format!("{text} / {}", other.text(record))))
            }
            _ => Some(text),
        }
    }
}

/// Parses a string from after its opening quote to its closing one.
#[inline(always)]
pub fn string(bytes: &[u8], start: usize) -> Result<Span, SyntaxError> {
    let end = text_end::json(bytes, start);
    match bytes.get(end) {
        Some(b'"') => Ok(Span {
            start,
            end,
            is_escaped: false,
        }),
        _ => string_with_specials(bytes, start, end),
    }
}

/// Continues a string at a byte that is not plain ASCII text.
#[cold]
#[inline(never)]
fn string_with_specials(bytes: &[u8], start: usize, special: usize) -> Result<Span, SyntaxError> {
    let mut end = special;
    let mut is_escaped = false;
    loop {
        match byte_at(bytes, end)? {
            b'"' => break,
            b'\\' => {
                is_escaped = true;
                match byte_at(bytes, end + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => end += 2,
                    // A code point, half a surrogate pair, or no valid escape.
                    _ => {
                        end = value(bytes, start - 1)? - 1;
                        break;
                    }
                }
            }
            found @ 0..0x20 => {
                return unexpected(end, "no control character within a string", found);
            }
            _ => {} // not ASCII: checked below, all at once
        }
        end = text_end::json_any_script(bytes, end);
    }
    check_utf8(bytes, start, end)?;
    Ok(Span {
        start,
        end,
        is_escaped,
    })
}

/// Parses a key, its colon and the white space around it. Returns the key and the offset of its
/// value.
pub fn key(bytes: &[u8], at: usize) -> Result<(Span, usize), SyntaxError> {
    let quote = byte_at(bytes, at)?;
    if quote != b'"' {
        return unexpected(at, "`\"`", quote);
    }
    let name = string(bytes, at + 1)?;
    let at = white_space(bytes, name.end + 1);
    match byte_at(bytes, at)? {
        b':' => Ok((name, white_space(bytes, at + 1))),
        found => unexpected(at, "`:`", found),
    }
}

/// Has `serde_json` parse a value of any kind, with everything nested in it; returns its end.
pub fn value(bytes: &[u8], at: usize) -> Result<usize, SyntaxError> {
    let rest = &bytes[at..];
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<serde_json::Value>();
    match values.next() {
        Some(Ok(_)) => Ok(at + values.byte_offset()),
        // `serde_json` also misses bytes if an escape with too few digits is near the end.
        Some(Err(error)) if !error.is_eof() || has_end(rest) => invalid(at, "invalid JSON value"),
        _ => Err(SyntaxError::Truncated),
    }
}

/// Whether a value ends within these bytes, valid or not.
fn has_end(bytes: &[u8]) -> bool {
    match bytes {
        [b'{' | b'[', ..] => NestingEnd::default().find(bytes).is_some(),
        [b'"', text @ ..] => {
            let mut is_escaped = false;
            text.iter().any(|&byte| {
                let is_end = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                is_end
            })
        }
        _ => bytes.iter().any(|byte| b",]} \n\r\t".contains(byte)),
    }
}

/// Finds the brace or bracket that closes the first one, across slices.
#[derive(Default)]
pub struct NestingEnd {
    depth: usize,
    in_string: bool,
    after_backslash: bool,
}

impl NestingEnd {
    /// Returns the offset after the closing one; `None` if it is not in these bytes.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
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

/// Returns the first offset from `at` that is not white space.
#[inline]
pub fn white_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

#[inline(always)]
pub fn byte_at(bytes: &[u8], at: usize) -> Result<u8, SyntaxError> {
    bytes.get(at).copied().ok_or(SyntaxError::Truncated)
}
