//! The CSV audit report: a header, then one row per certificate.
//!
//! The grammar is RFC 4180's, strictly, in UTF-8:
//!
//! - Rows end in LF or CR LF; the last one may do without. A CR alone is a fault.
//! - A quote within a field that does not begin with one is a fault, and so is anything but a comma
//!   or a line end after a closing quote.
//! - Every row has as many fields as the header; a blank line has one, so it is a fault.
//! - Columns are addressed by name, without regard to ASCII case. Without `serial` and `revokedAt`
//!   it is no audit report. A known column that appears twice is a fault, since nobody can say
//!   which one holds; columns that are not known are read over.
//! - A byte order mark before the header is read over, as spreadsheets leave one.
//!
//! What the grammar cannot notice: a report that was cut at the end of a row or within the last
//! field of one.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::report::scanner::error::ScanErrorKind;
use crate::report::scanner::fields::{Field, revoked_record};
use crate::report::scanner::runs;
use crate::report::scanner::stream::{Grammar, Record, RecordKind, Stop, SyntaxError};
use crate::revocation::record::RevokedRecord;

/// The grammar of a CSV audit report.
pub(super) struct Csv {
    /// Known once the header was read.
    columns: Option<Columns>,
    /// The fields of the row at hand, by column.
    row: Vec<Span>,
    /// Where the row's line end begins.
    row_end: usize,
    end: EndFinder,
}

/// Which columns the fields are in.
struct Columns {
    of: [Option<usize>; Field::ALL.len()],
    revoked_at: usize,
}

/// Where in a row's bytes a field's text is, without its quotes.
#[derive(Clone, Copy, Default)]
struct Span {
    /// Rows are no longer than `MAX_RECORD_BYTES`, so places in them fit.
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
    fn record(&mut self, bytes: &[u8], last: bool) -> Result<Record, Stop> {
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
                    // Even a row of the wrong width has to end as a row ends.
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
        // Every field was found to be UTF-8, and all else is ASCII.
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
    /// Reads the header and finds out which field is in which column.
    fn header(&mut self, bytes: &[u8], last: bool) -> Result<Record, Stop> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let mut at = match bytes.strip_prefix(BYTE_ORDER_MARK) {
            Some(_) => BYTE_ORDER_MARK.len(),
            None if BYTE_ORDER_MARK.starts_with(bytes) => return Err(Stop::Incomplete),
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
                    Stop::Syntax(SyntaxError {
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
    /// The comma or line end after it, or the end of the bytes.
    end: usize,
}

/// Reads a field up to the comma, the line end or, with `last`, the end of the bytes.
#[inline(always)]
fn field(bytes: &[u8], start: usize, last: bool) -> Result<FieldEnd, Stop> {
    if bytes.get(start) == Some(&b'"') {
        return quoted_field(bytes, start, last);
    }
    let end = runs::csv_text(bytes, start);
    match bytes.get(end) {
        Some(b',' | b'\n') => Ok(FieldEnd::new(start, end, end)),
        _ => field_with_specials(bytes, start, end, last),
    }
}

/// Goes on with a field without quotes at a byte that is not plain text, or at the end.
#[cold]
#[inline(never)]
fn field_with_specials(
    bytes: &[u8],
    start: usize,
    special: usize,
    last: bool,
) -> Result<FieldEnd, Stop> {
    let mut at = special;
    loop {
        match bytes.get(at) {
            Some(b',' | b'\n' | b'\r') => break,
            Some(b'"') => {
                let expected = "no quote within a field that does not begin with one";
                let found = b'"';
                return syntax_error(at, ScanErrorKind::Unexpected { expected, found });
            }
            Some(_) => at = runs::csv_text(bytes, at + 1),
            None if last => break,
            None => return Err(Stop::Incomplete),
        }
    }
    valid_utf8(bytes, start, at)?;
    Ok(FieldEnd::new(start, at, at))
}

/// Reads a field from its opening quote on.
#[inline(always)]
fn quoted_field(bytes: &[u8], quote: usize, last: bool) -> Result<FieldEnd, Stop> {
    let start = quote + 1;
    let mut at = start;
    let mut is_ascii = true;
    loop {
        at = runs::csv_quoted_text(bytes, at);
        match bytes.get(at) {
            Some(b'"') => match bytes.get(at + 1) {
                Some(b'"') => at += 2,
                Some(b',' | b'\n' | b'\r') => break,
                Some(&found) => {
                    let expected = "`,` or a line end after the closing quote";
                    return syntax_error(at + 1, ScanErrorKind::Unexpected { expected, found });
                }
                None if last => break,
                None => return Err(Stop::Incomplete),
            },
            Some(_) => {
                is_ascii = false;
                at = memchr(b'"', &bytes[at..]).map_or(bytes.len(), |offset| at + offset);
            }
            None => return Err(Stop::Incomplete),
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
fn valid_utf8(bytes: &[u8], start: usize, end: usize) -> Result<(), Stop> {
    match str::from_utf8(&bytes[start..end]) {
        Ok(_) => Ok(()),
        Err(error) => syntax_error(start + error.valid_up_to(), ScanErrorKind::NotUtf8),
    }
}

/// Reads LF, CR LF or, with `last`, the end of the bytes. Answers the place after it.
#[inline(always)]
fn line_end(bytes: &[u8], at: usize, last: bool) -> Result<usize, Stop> {
    match bytes.get(at) {
        Some(b'\n') => return Ok(at + 1),
        None if last => return Ok(at),
        None => return Err(Stop::Incomplete),
        Some(_) => {}
    }
    match bytes.get(at + 1) {
        Some(b'\n') => Ok(at + 2),
        Some(&found) => {
            let expected = "LF after CR";
            syntax_error(at + 1, ScanErrorKind::Unexpected { expected, found })
        }
        None => Err(Stop::Incomplete),
    }
}

#[cold]
fn syntax_error<T>(at: usize, kind: ScanErrorKind) -> Result<T, Stop> {
    Err(Stop::Syntax(SyntaxError { at, kind }))
}

/// Looks for the line end of a row, over as many slices as it takes: the first LF with an even
/// number of quotes before it.
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
