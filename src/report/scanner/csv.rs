//! The CSV audit report: a header, then one row per certificate.
//!
//! The grammar is strictly RFC 4180's, in UTF-8:
//!
//! - Rows end with LF or CR LF; the last line end is optional. A CR alone is an error.
//! - A quote inside a field that does not begin with one is an error, and so is anything but a comma
//!   or a line end after a closing quote.
//! - Every row has as many fields as the header; a blank line has one, so it is an error.
//! - Columns are found by name, ignoring ASCII case. `serial` and `revokedAt` are required, except in a
//!   header with neither `serial` nor `certificateArn`: a changed schema, whose rows are still read
//!   because some may be revocations. A known column that appears twice is an error, since it is
//!   unknown which one is valid. Unknown columns are ignored.
//! - A byte order mark before the header is ignored: spreadsheets write one.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::report::scanner::fields::{Field, revoked_record};
use crate::report::scanner::stream::{
    Grammar, Record, RecordKind, SyntaxError, check_utf8, invalid, unexpected,
};
use crate::report::scanner::text_end;
use crate::revocation::record::RevokedRecord;

/// The grammar of a CSV audit report.
#[derive(Default)]
pub(super) struct Csv {
    /// The column of each field; `None` until the header was parsed.
    columns: Option<[Option<usize>; Field::COUNT]>,
    /// The texts of the current row by column, without quotes.
    row: Vec<Range<usize>>,
    /// Where the row's line end begins.
    row_end: usize,
    /// Whether the bytes that [`find_end`](Grammar::find_end) has seen end within quotes.
    in_quotes: bool,
}

impl Grammar for Csv {
    fn between(&mut self, _bytes: &[u8]) -> Result<usize, SyntaxError> {
        Ok(0)
    }

    #[inline]
    fn record(&mut self, bytes: &[u8], last: bool) -> Result<Record, SyntaxError> {
        let Some(columns) = &self.columns else {
            return self.header(bytes, last);
        };
        let expected = self.row.len();
        let mut found = 0;
        let mut at = 0;
        loop {
            let (text, end) = field(bytes, at, last)?;
            self.row[found] = text;
            found += 1;
            if bytes.get(end) == Some(&b',') {
                if found == expected {
                    let problem =
                        format!("the row has more fields than the {expected} of the header");
                    return invalid(end, problem);
                }
                at = end + 1;
                continue;
            }
            let len = line_end(bytes, end, last)?;
            if found < expected {
                let problem = format!("the row has {found} fields, the header {expected}");
                return invalid(end, problem);
            }
            self.row_end = end;
            let is_stated = |field: Field| {
                columns[field as usize].is_some_and(|column| !self.row[column].is_empty())
            };
            let kind = if is_stated(Field::RevokedAt) {
                RecordKind::Revoked
            } else {
                RecordKind::Certificate { malformed: false }
            };
            return Ok(Record {
                len,
                kind,
                unidentified: !is_stated(Field::Serial) && !is_stated(Field::CertificateArn),
            });
        }
    }

    #[inline]
    fn revoked<'a>(&self, bytes: &'a [u8]) -> RevokedRecord<'a> {
        let raw = &bytes[..self.row_end];
        // Every field was found to be UTF-8, and everything else is ASCII.
        let text = str::from_utf8(raw).unwrap_or_default();
        revoked_record(raw, false, |field| self.text(field, text))
    }

    /// Finds the first LF with an even number of quotes before it.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            at += if self.in_quotes {
                memchr(b'"', rest)?
            } else {
                memchr2(b'"', b'\n', rest)?
            };
            if bytes[at] == b'\n' {
                return Some(at + 1);
            }
            self.in_quotes = !self.in_quotes;
            at += 1;
        }
    }

    fn may_end(&self) -> bool {
        self.columns.is_some()
    }
}

impl Csv {
    /// Parses the header.
    fn header(&mut self, bytes: &[u8], last: bool) -> Result<Record, SyntaxError> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let mut at = match bytes.strip_prefix(BYTE_ORDER_MARK) {
            Some(_) => BYTE_ORDER_MARK.len(),
            None if BYTE_ORDER_MARK.starts_with(bytes) => return Err(SyntaxError::Truncated),
            None => 0,
        };
        let start = at;
        let mut columns = [None; Field::COUNT];
        let mut width = 0;
        loop {
            let (name, end) = field(bytes, at, last)?;
            let field = Field::named(&bytes[name]);
            let column = columns[field as usize].replace(width);
            if column.is_some() && field != Field::Unknown {
                let problem = format!("the header has column {} twice", field.name());
                return invalid(at, problem);
            }
            width += 1;
            if bytes.get(end) == Some(&b',') {
                at = end + 1;
                continue;
            }
            let len = line_end(bytes, end, last)?;
            let is_missing = |field: &Field| columns[*field as usize].is_none();
            // A blank line is no header at all.
            let unidentified =
                end > start && is_missing(&Field::Serial) && is_missing(&Field::CertificateArn);
            let mut required = [Field::Serial, Field::RevokedAt].into_iter();
            if let Some(missing) = required.find(is_missing)
                && !unidentified
            {
                let problem = format!("the header has no column {}", missing.name());
                return invalid(end, problem);
            }
            self.columns = Some(columns);
            self.row = vec![0..0; width];
            return Ok(Record {
                len,
                kind: RecordKind::Header,
                unidentified,
            });
        }
    }

    #[inline(always)]
    fn text<'a>(&self, field: Field, row: &'a str) -> Option<Cow<'a, str>> {
        let span = self.row[self.columns?[field as usize]?].clone();
        let is_quoted = row[..span.start].ends_with('"');
        let text = &row[span];
        if is_quoted && memchr(b'"', text.as_bytes()).is_some() {
            return Some(Cow::Owned(text.replace("\"\"", "\"")));
        }
        (!text.is_empty()).then_some(Cow::Borrowed(text))
    }
}

/// Parses a field up to the comma, the line end or, if `last`, the end of the bytes. Returns where
/// its text is, and the offset after the field.
#[inline(always)]
fn field(bytes: &[u8], start: usize, last: bool) -> Result<(Range<usize>, usize), SyntaxError> {
    if bytes.get(start) == Some(&b'"') {
        let end = quoted_field_end(bytes, start + 1, last)?;
        return Ok((start + 1..end, end + 1));
    }
    let mut end = text_end::csv(bytes, start);
    if !matches!(bytes.get(end), Some(b',' | b'\n')) {
        end = field_end_after_specials(bytes, start, end, last)?;
    }
    Ok((start..end, end))
}

/// Continues an unquoted field at a byte that is not plain text, or at the end of the bytes.
#[cold]
#[inline(never)]
fn field_end_after_specials(
    bytes: &[u8],
    start: usize,
    special: usize,
    last: bool,
) -> Result<usize, SyntaxError> {
    let mut at = special;
    loop {
        match bytes.get(at) {
            Some(b',' | b'\n' | b'\r') => break,
            Some(b'"') => {
                let expected = "no quote within a field that does not begin with one";
                return unexpected(at, expected, b'"');
            }
            Some(_) => at = text_end::csv(bytes, at + 1),
            None if last => break,
            None => return Err(SyntaxError::Truncated),
        }
    }
    check_utf8(bytes, start, at)?;
    Ok(at)
}

/// Finds the closing quote of a field whose text begins at `start`.
#[inline(always)]
fn quoted_field_end(bytes: &[u8], start: usize, last: bool) -> Result<usize, SyntaxError> {
    let mut at = start;
    let mut is_ascii = true;
    loop {
        at = text_end::csv_quoted(bytes, at);
        match bytes.get(at) {
            Some(b'"') => match bytes.get(at + 1) {
                Some(b'"') => at += 2,
                Some(b',' | b'\n' | b'\r') => break,
                Some(&found) => {
                    let expected = "`,` or a line end after the closing quote";
                    return unexpected(at + 1, expected, found);
                }
                None if last => break,
                None => return Err(SyntaxError::Truncated),
            },
            Some(_) => {
                is_ascii = false;
                at = memchr(b'"', &bytes[at..]).map_or(bytes.len(), |offset| at + offset);
            }
            None => return Err(SyntaxError::Truncated),
        }
    }
    if !is_ascii {
        check_utf8(bytes, start, at)?;
    }
    Ok(at)
}

/// Parses LF, CR LF or, if `last`, the end of the bytes. Returns the offset after it.
#[inline(always)]
fn line_end(bytes: &[u8], at: usize, last: bool) -> Result<usize, SyntaxError> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\n'), _) => Ok(at + 1),
        (None, _) if last => Ok(at),
        (Some(_), Some(b'\n')) => Ok(at + 2),
        (Some(_), Some(&found)) => unexpected(at + 1, "LF after CR", found),
        _ => Err(SyntaxError::Truncated),
    }
}
