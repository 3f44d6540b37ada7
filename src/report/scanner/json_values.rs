//! Parses JSON (RFC 8259) below the record: strings, keys, and values of any kind.
//!
//! Every function parses from an offset in the record's bytes and returns the offset after what it
//! parsed. If the bytes end before that, it returns [`ScanErrorKind::Truncated`].

use std::borrow::Cow;

use crate::report::scanner::error::{
    ScanErrorKind, SyntaxError, check_utf8, syntax_error, truncated, unexpected,
};
use crate::report::scanner::text_end;

/// Maximum nesting of a record's value: `serde_json`'s limit of 127 arrays and objects, less the
/// report's array and the record.
const MAX_DEPTH: u32 = 125;

/// Where a value's text is, a string's without its quotes.
#[derive(Clone, Copy, Default)]
pub struct Value {
    pub start: usize,
    pub end: usize,
    pub form: Form,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// A string without escape sequences.
    #[default]
    Plain,
    /// A string with escape sequences.
    Escaped,
    /// A number, a boolean, an array or an object.
    Other,
}

impl Value {
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns the value's text: decoded if it is a string, otherwise its JSON.
    #[inline(always)]
    pub fn text<'a>(&self, record: &'a str) -> Cow<'a, str> {
        let text = &record[self.start..self.end];
        if self.form != Form::Escaped {
            return Cow::Borrowed(text);
        }
        // The escapes were checked before; should `serde_json` disagree, the text is kept as it is.
        let quoted = &record[self.start - 1..=self.end];
        serde_json::from_str(quoted).map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// Returns the value's text from a record that was not read completely yet.
    pub fn text_in<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        if self.form == Form::Escaped
            && let Ok(text) = serde_json::from_slice(&bytes[self.start - 1..=self.end])
        {
            return Cow::Owned(text);
        }
        String::from_utf8_lossy(&bytes[self.start..self.end])
    }
}

/// Parses a string from after its opening quote to its closing one.
#[inline(always)]
pub fn string(bytes: &[u8], start: usize) -> Result<Value, SyntaxError> {
    let end = text_end::json(bytes, start);
    match bytes.get(end) {
        Some(b'"') => Ok(Value {
            start,
            end,
            form: Form::Plain,
        }),
        Some(_) => string_with_specials(bytes, start, end),
        None => truncated(bytes),
    }
}

/// Continues a string at a byte that is not plain ASCII text.
#[cold]
#[inline(never)]
fn string_with_specials(bytes: &[u8], start: usize, special: usize) -> Result<Value, SyntaxError> {
    let mut at = special;
    let mut form = Form::Plain;
    loop {
        match byte_at(bytes, at)? {
            b'"' => break,
            b'\\' => {
                at = escape(bytes, at)?;
                form = Form::Escaped;
            }
            found @ 0..0x20 => {
                return unexpected(at, "no control character within a string", found);
            }
            _ => {} // not ASCII: checked below, all at once
        }
        at = text_end::json_any_script(bytes, at);
    }
    check_utf8(bytes, start, at)?;
    Ok(Value {
        start,
        end: at,
        form,
    })
}

/// Parses an escape sequence from its backslash, a surrogate pair as a whole.
fn escape(bytes: &[u8], backslash: usize) -> Result<usize, SyntaxError> {
    let half = "half a surrogate pair in a string";
    match byte_at(bytes, backslash + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => return Ok(backslash + 2),
        b'u' => {}
        _ => return invalid_escape(backslash),
    }
    let next = backslash + 6;
    match code_unit(bytes, backslash)? {
        0xd800..=0xdbff
            if byte_at(bytes, next)? == b'\\'
                && byte_at(bytes, next + 1)? == b'u'
                && (0xdc00..=0xdfff).contains(&code_unit(bytes, next)?) =>
        {
            Ok(next + 6)
        }
        0xd800..=0xdfff => syntax_error(backslash, ScanErrorKind::Malformed(half)),
        _ => Ok(next),
    }
}

/// Returns the value of `\u` and four hexadecimal digits.
fn code_unit(bytes: &[u8], backslash: usize) -> Result<u32, SyntaxError> {
    (backslash + 2..backslash + 6).try_fold(0, |unit, at| {
        match char::from(byte_at(bytes, at)?).to_digit(16) {
            Some(digit) => Ok(unit << 4 | digit),
            None => invalid_escape(backslash),
        }
    })
}

fn invalid_escape<T>(backslash: usize) -> Result<T, SyntaxError> {
    let problem = "invalid escape in a string";
    syntax_error(backslash, ScanErrorKind::Malformed(problem))
}

/// Parses a key, its colon and the white space around it. Returns the key and the offset of its
/// value.
pub fn key(bytes: &[u8], at: usize) -> Result<(Value, usize), SyntaxError> {
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

/// Parses a value of any kind, with everything nested in it. `depth` counts the arrays and objects
/// around it.
pub fn value(bytes: &[u8], at: usize, depth: u32) -> Result<usize, SyntaxError> {
    match byte_at(bytes, at)? {
        b'{' | b'[' if depth == MAX_DEPTH => {
            let problem = "arrays and objects are nested too deeply";
            syntax_error(at, ScanErrorKind::Malformed(problem))
        }
        b'{' => entries(bytes, at, depth, b'}'),
        b'[' => entries(bytes, at, depth, b']'),
        b'"' => Ok(string(bytes, at + 1)?.end + 1),
        b't' => literal(bytes, at, b"true"),
        b'f' => literal(bytes, at, b"false"),
        b'n' => literal(bytes, at, b"null"),
        b'-' | b'0'..=b'9' => number(bytes, at),
        found => unexpected(at, "a value", found),
    }
}

/// Parses an object or array from its opening bracket to its closing one.
fn entries(bytes: &[u8], opening: usize, depth: u32, closing: u8) -> Result<usize, SyntaxError> {
    let is_object = closing == b'}';
    let mut at = white_space(bytes, opening + 1);
    if byte_at(bytes, at)? == closing {
        return Ok(at + 1);
    }
    loop {
        if is_object {
            (_, at) = key(bytes, at)?;
        }
        at = white_space(bytes, value(bytes, at, depth + 1)?);
        match byte_at(bytes, at)? {
            b',' => at = white_space(bytes, at + 1),
            found if found == closing => return Ok(at + 1),
            found if is_object => return unexpected(at, "`,` or `}`", found),
            found => return unexpected(at, "`,` or `]`", found),
        }
    }
}

fn literal(bytes: &[u8], start: usize, literal: &'static [u8]) -> Result<usize, SyntaxError> {
    for (at, &expected) in (start..).zip(literal) {
        let found = byte_at(bytes, at)?;
        if found != expected {
            return unexpected(at, "true, false or null", found);
        }
    }
    Ok(start + literal.len())
}

/// Parses a number. A record never ends with one, so another byte follows it.
fn number(bytes: &[u8], start: usize) -> Result<usize, SyntaxError> {
    let mut at = start;
    if byte_at(bytes, at)? == b'-' {
        at += 1;
    }
    at = match byte_at(bytes, at)? {
        b'0' => at + 1,
        _ => digits(bytes, at)?,
    };
    if byte_at(bytes, at)? == b'.' {
        at = digits(bytes, at + 1)?;
    }
    let has_exponent = matches!(byte_at(bytes, at)?, b'e' | b'E');
    if has_exponent {
        at += 1;
        if matches!(byte_at(bytes, at)?, b'+' | b'-') {
            at += 1;
        }
        at = digits(bytes, at)?;
    }
    // Only such numbers can exceed a double's 1.8e308. `serde_json` decides, so that both agree to
    // the last digit.
    if (has_exponent || at - start > 300)
        && serde_json::from_slice::<f64>(&bytes[start..at]).is_err()
    {
        return syntax_error(start, ScanErrorKind::Malformed("a number is out of range"));
    }
    Ok(at)
}

/// Parses one digit or more.
fn digits(bytes: &[u8], start: usize) -> Result<usize, SyntaxError> {
    let found = byte_at(bytes, start)?;
    if !found.is_ascii_digit() {
        return unexpected(start, "a digit", found);
    }
    let mut at = start + 1;
    while byte_at(bytes, at)?.is_ascii_digit() {
        at += 1;
    }
    Ok(at)
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
    match bytes.get(at) {
        Some(&byte) => Ok(byte),
        None => truncated(bytes),
    }
}
