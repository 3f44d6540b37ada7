//! Why a report cannot be read.

use std::fmt;

/// The bytes that one record of a report may have, a row's line end included: room for a thousand
/// times what AWS Private CA writes, and a bound on memory. What lies between records is not bound.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// Why a report is not a whole valid one. Every whole revoked record before `byte` was handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanError {
    /// Where, as an offset from 0 in the report.
    pub byte: u64,
    /// The number of the record, counted from 1; between records that of the next one.
    pub record: u64,
    /// What.
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
    /// There are no bytes at all.
    Empty,
    /// The report ends before the grammar lets it.
    Truncated,
    /// A record is longer than [`MAX_RECORD_BYTES`].
    RecordTooLong,
    /// A byte that the grammar does not allow there.
    Unexpected { expected: &'static str, found: u8 },
    /// A text is not UTF-8.
    NotUtf8,
    /// A string's escape sequence does not exist (RFC 8259, section 7).
    InvalidEscape,
    /// Half a surrogate pair, which is no character (RFC 8259, section 8.2).
    LoneSurrogate,
    /// A number beyond what a double holds.
    NumberOutOfRange,
    /// Arrays and objects nested deeper than `serde_json` allows by default.
    TooDeep,
    /// A CSV header without a column that every audit report has.
    MissingColumn(&'static str),
    /// A CSV header that names a known column twice.
    DuplicateColumn(&'static str),
    /// A CSV row with fewer or more fields than the header; what is beyond it is not counted.
    RowWidth { expected: usize, found: usize },
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
            ScanErrorKind::InvalidEscape => f.write_str("invalid escape in a string"),
            ScanErrorKind::LoneSurrogate => f.write_str("half a surrogate pair in a string"),
            ScanErrorKind::NumberOutOfRange => f.write_str("a number is out of range"),
            ScanErrorKind::TooDeep => f.write_str("arrays and objects are nested too deeply"),
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
