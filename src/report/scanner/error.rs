//! Errors of a scan.

use std::fmt;

/// Maximum length of a record, including a row's line end: a thousand times what AWS Private CA
/// writes. Limits memory; white space between records is not limited.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// Why a report is not valid. Every complete revoked record before `byte` was passed to the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanError {
    /// The offset in the report, from 0.
    pub byte: u64,
    /// The number of the record, from 1; between records that of the next one.
    pub record: u64,
    /// What is wrong.
    pub kind: ScanErrorKind,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at byte {}, in record {}",
            self.kind, self.byte, self.record
        )
    }
}

impl std::error::Error for ScanError {}

/// What is wrong with a report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScanErrorKind {
    /// The report has no bytes.
    Empty,
    /// The report ends too early.
    Truncated,
    /// A record is longer than [`MAX_RECORD_BYTES`].
    RecordTooLong,
    /// A byte that the grammar does not allow here.
    Unexpected {
        /// What the grammar allows.
        expected: &'static str,
        /// The byte.
        found: u8,
    },
    /// Text that is not UTF-8.
    NotUtf8,
    /// A part of a value that JSON (RFC 8259) or `serde_json`'s limits do not allow.
    Malformed(&'static str),
    /// A CSV header without a column that every audit report has.
    MissingColumn(&'static str),
    /// A CSV header that names a known column twice.
    DuplicateColumn(&'static str),
    /// A CSV row with fewer or more fields than the header. Only the first excess field counts.
    RowWidth {
        /// Fields of the header.
        expected: usize,
        /// Fields of the row.
        found: usize,
    },
}

impl fmt::Display for ScanErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanErrorKind::Empty => f.write_str("the report is empty"),
            ScanErrorKind::Truncated => f.write_str("the report ends too early"),
            ScanErrorKind::RecordTooLong => {
                write!(f, "a record is longer than {MAX_RECORD_BYTES} bytes")
            }
            ScanErrorKind::Unexpected { expected, found } => match found {
                b' '..=b'~' => write!(f, "expected {expected}, found `{}`", char::from(*found)),
                _ => write!(f, "expected {expected}, found byte 0x{found:02x}"),
            },
            ScanErrorKind::NotUtf8 => f.write_str("the text is not UTF-8"),
            ScanErrorKind::Malformed(problem) => f.write_str(problem),
            ScanErrorKind::MissingColumn(name) => write!(f, "the header has no column {name}"),
            ScanErrorKind::DuplicateColumn(name) => {
                write!(f, "the header has column {name} twice")
            }
            ScanErrorKind::RowWidth { expected, found } if found > expected => {
                write!(
                    f,
                    "the row has more fields than the {expected} of the header"
                )
            }
            ScanErrorKind::RowWidth { expected, found } => {
                write!(f, "the row has {found} fields, the header {expected}")
            }
        }
    }
}

/// An error, and its offset in the bytes that were parsed.
///
/// [`ScanErrorKind::Truncated`] says that the bytes are valid but end before what is parsed does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub at: usize,
    pub kind: ScanErrorKind,
}

#[cold]
pub fn syntax_error<T>(at: usize, kind: ScanErrorKind) -> Result<T, SyntaxError> {
    Err(SyntaxError { at, kind })
}

#[cold]
pub fn unexpected<T>(at: usize, expected: &'static str, found: u8) -> Result<T, SyntaxError> {
    syntax_error(at, ScanErrorKind::Unexpected { expected, found })
}

#[cold]
pub fn truncated<T>(bytes: &[u8]) -> Result<T, SyntaxError> {
    syntax_error(bytes.len(), ScanErrorKind::Truncated)
}

#[cold]
pub fn check_utf8(bytes: &[u8], start: usize, end: usize) -> Result<(), SyntaxError> {
    match str::from_utf8(&bytes[start..end]) {
        Ok(_) => Ok(()),
        Err(error) => syntax_error(start + error.valid_up_to(), ScanErrorKind::NotUtf8),
    }
}
