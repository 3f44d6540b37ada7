//! The CSV audit report: a header, then one row per certificate.
//!
//! The grammar is strictly RFC 4180's, in UTF-8:
//!
//! - Rows end with LF or CR LF; the last line end is optional. A CR alone is an error.
//! - A quote inside a field that does not begin with one is an error, and so is anything but a comma
//!   or a line end after a closing quote.
//! - Every row has as many fields as the header; a blank line has one, so it is an error.
//! - Columns are found by name, ignoring ASCII case. `serial` and `revokedAt` are required. A known
//!   column that appears twice is an error, since it is unknown which one is valid. Unknown columns
//!   are ignored.
//! - A byte order mark before the header is ignored: spreadsheets write one.
//!
//! The grammar cannot show that a report was truncated at the end of a row or within a row's last
//! field.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::report::scanner::error::ScanErrorKind;
use crate::report::scanner::fields::{Field, revoked_record};
use crate::report::scanner::stream::{Grammar, Record, RecordError, RecordKind, SyntaxError};
use crate::report::scanner::text_end;
use crate::revocation::record::RevokedRecord;

/// The grammar of a CSV audit report.
pub(super) struct Csv {
    /// `None` until the header was parsed.
    columns: Option<Columns>,
    /// The fields of the current row, by column.
    row: Vec<Span>,
    /// Where the row's line end begins.
    row_end: usize,
    end: EndFinder,
}

/// The column of each field.
struct Columns {
    of: [Option<usize>; Field::ALL.len()],
    revoked_at: usize,
}

/// A field's text in a row's bytes, without its quotes.
#[derive(Clone, Copy, Default)]
struct Span {
    /// Rows are at most `MAX_RECORD_BYTES` long, so offsets in them fit.
    start: u32,
    end: u32,
}

impl Csv {
    pub(super) fn new() -> Self {
        Self {
            columns: None,
            row: Vec::new(),
            row_end: 0,
            end: EndFinder::default(),
        }
    }
}

impl Grammar for Csv {
    fn between(&mut self, _bytes: &[u8]) -> Result<usize, SyntaxError> {
        Ok(0)
    }

    #[inline]
    fn record(&mut self, bytes: &[u8], last: bool) -> Result<Record, RecordError> {
        let Some(columns) = &self.columns else {
            return self.header(bytes, last);
        };
        let mut at = 0;
        let width = self.row.len();
        for (column, span) in self.row.iter_mut().enumerate() {
            let field = field(bytes, at, last)?;
            *span = field.text;
            let is_last_column = column + 1 == width;
            at = match bytes.get(field.end) {
                Some(b',') if !is_last_column => field.end + 1,
                Some(b'\n' | b'\r') | None if is_last_column => {
                    self.row_end = field.end;
                    let kind = match self.row[columns.revoked_at] {
                        Span { start, end } if start == end => {
                            RecordKind::Certificate { malformed: false }
                        }
                        _ => RecordKind::Revoked,
                    };
                    let len = line_end(bytes, field.end, last)?;
                    return Ok(Record { len, kind });
                }
                _ => {
                    // Even a row of the wrong width must end like a row.
                    if bytes.get(field.end) != Some(&b',') {
                        line_end(bytes, field.end, last)?;
                    }
                    let found = column + if is_last_column { 2 } else { 1 };
                    return syntax_error(
                        field.end,
                        ScanErrorKind::RowWidth {
                            expected: width,
                            found,
                        },
                    );
                }
            };
        }
        unreachable!("the header has columns, and the last one returns")
    }

    #[inline]
    fn revoked<'a>(&self, bytes: &'a [u8]) -> RevokedRecord<'a> {
        let raw = &bytes[..self.row_end];
        // Every field was found to be UTF-8, and everything else is ASCII.
        let text = str::from_utf8(raw).unwrap_or_default();
        revoked_record(raw, false, |field| self.text(field, text))
    }

    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        self.end.find(bytes)
    }

    fn end(&self) -> Result<(), ScanErrorKind> {
        match self.columns {
            Some(_) => Ok(()),
            None => Err(ScanErrorKind::Truncated),
        }
    }
}

impl Csv {
    /// Parses the header.
    fn header(&mut self, bytes: &[u8], last: bool) -> Result<Record, RecordError> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let mut at = match bytes.strip_prefix(BYTE_ORDER_MARK) {
            Some(_) => BYTE_ORDER_MARK.len(),
            None if BYTE_ORDER_MARK.starts_with(bytes) => return Err(RecordError::Incomplete),
            None => 0,
        };
        let mut of = [None; Field::ALL.len()];
        let mut width = 0;
        loop {
            let field = field(bytes, at, last)?;
            let name = &bytes[field.text.start as usize..field.text.end as usize];
            if let Some(known) = Field::named(name) {
                if of[known as usize].is_some() {
                    return syntax_error(at, ScanErrorKind::DuplicateColumn(known.name()));
                }
                of[known as usize] = Some(width);
            }
            width += 1;
            if bytes.get(field.end) == Some(&b',') {
                at = field.end + 1;
                continue;
            }
            let len = line_end(bytes, field.end, last)?;
            let required = |known: Field| {
                of[known as usize].ok_or_else(|| {
                    RecordError::Syntax(SyntaxError {
                        at: field.end,
                        kind: ScanErrorKind::MissingColumn(known.name()),
                    })
                })
            };
            required(Field::Serial)?;
            let revoked_at = required(Field::RevokedAt)?;
            self.columns = Some(Columns { of, revoked_at });
            self.row = vec![Span::default(); width];
            return Ok(Record {
                len,
                kind: RecordKind::Header,
            });
        }
    }

    #[inline(always)]
    fn text<'a>(&self, field: Field, row: &'a str) -> Option<Cow<'a, str>> {
        let column = self.columns.as_ref()?.of[field as usize]?;
        let Span { start, end } = self.row[column];
        let (start, end) = (start as usize, end as usize);
        let text = row.get(start..end).filter(|text| !text.is_empty())?;
        let is_quoted = start > 0 && row.as_bytes()[start - 1] == b'"';
        if is_quoted && memchr(b'"', text.as_bytes()).is_some() {
            return Some(Cow::Owned(text.replace("\"\"", "\"")));
        }
        Some(Cow::Borrowed(text))
    }
}

struct FieldEnd {
    text: Span,
    /// The offset of the comma or line end after it, or the end of the bytes.
    end: usize,
}

/// Parses a field up to the comma, the line end or, if `last`, the end of the bytes.
#[inline(always)]
fn field(bytes: &[u8], start: usize, last: bool) -> Result<FieldEnd, RecordError> {
    if bytes.get(start) == Some(&b'"') {
        return quoted_field(bytes, start, last);
    }
    let end = text_end::csv(bytes, start);
    match bytes.get(end) {
        Some(b',' | b'\n') => Ok(FieldEnd::new(start, end, end)),
        _ => field_with_specials(bytes, start, end, last),
    }
}

/// Continues an unquoted field at a byte that is not plain text, or at the end of the bytes.
#[cold]
#[inline(never)]
fn field_with_specials(
    bytes: &[u8],
    start: usize,
    special: usize,
    last: bool,
) -> Result<FieldEnd, RecordError> {
    let mut at = special;
    loop {
        match bytes.get(at) {
            Some(b',' | b'\n' | b'\r') => break,
            Some(b'"') => {
                let expected = "no quote within a field that does not begin with one";
                let found = b'"';
                return syntax_error(at, ScanErrorKind::Unexpected { expected, found });
            }
            Some(_) => at = text_end::csv(bytes, at + 1),
            None if last => break,
            None => return Err(RecordError::Incomplete),
        }
    }
    valid_utf8(bytes, start, at)?;
    Ok(FieldEnd::new(start, at, at))
}

/// Parses a field from its opening quote.
#[inline(always)]
fn quoted_field(bytes: &[u8], quote: usize, last: bool) -> Result<FieldEnd, RecordError> {
    let start = quote + 1;
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
                    return syntax_error(at + 1, ScanErrorKind::Unexpected { expected, found });
                }
                None if last => break,
                None => return Err(RecordError::Incomplete),
            },
            Some(_) => {
                is_ascii = false;
                at = memchr(b'"', &bytes[at..]).map_or(bytes.len(), |offset| at + offset);
            }
            None => return Err(RecordError::Incomplete),
        }
    }
    if !is_ascii {
        valid_utf8(bytes, start, at)?;
    }
    Ok(FieldEnd::new(start, at, at + 1))
}

impl FieldEnd {
    #[inline(always)]
    fn new(start: usize, end: usize, separator: usize) -> Self {
        Self {
            text: Span {
                start: start as u32,
                end: end as u32,
            },
            end: separator,
        }
    }
}

#[cold]
fn valid_utf8(bytes: &[u8], start: usize, end: usize) -> Result<(), RecordError> {
    match str::from_utf8(&bytes[start..end]) {
        Ok(_) => Ok(()),
        Err(error) => syntax_error(start + error.valid_up_to(), ScanErrorKind::NotUtf8),
    }
}

/// Parses LF, CR LF or, if `last`, the end of the bytes. Returns the offset after it.
#[inline(always)]
fn line_end(bytes: &[u8], at: usize, last: bool) -> Result<usize, RecordError> {
    match bytes.get(at) {
        Some(b'\n') => return Ok(at + 1),
        None if last => return Ok(at),
        None => return Err(RecordError::Incomplete),
        Some(_) => {}
    }
    match bytes.get(at + 1) {
        Some(b'\n') => Ok(at + 2),
        Some(&found) => {
            let expected = "LF after CR";
            syntax_error(at + 1, ScanErrorKind::Unexpected { expected, found })
        }
        None => Err(RecordError::Incomplete),
    }
}

#[cold]
fn syntax_error<T>(at: usize, kind: ScanErrorKind) -> Result<T, RecordError> {
    Err(RecordError::Syntax(SyntaxError { at, kind }))
}

/// Finds the line end of a row that spans any number of slices: the first LF with an even number of
/// quotes before it.
#[derive(Default)]
struct EndFinder {
    in_quotes: bool,
}

impl EndFinder {
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
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
}
