//! Scanning an audit report: slices of its bytes in, whole revoked records out.
//!
//! A scanner is fed whatever slices the network delivers and hands every record that is, or may
//! be, a revocation to a sink as soon as its last byte was read. It does no I/O, keeps no more than
//! one unfinished record (at most [`MAX_RECORD_BYTES`]) and reads every byte once, twice where a
//! record straddles two slices.
//!
//! Strict means that nothing passes which is not a whole valid report: JSON that `serde_json`
//! would refuse, CSV that breaks RFC 4180, bytes that are not UTF-8. What is valid but odd never
//! stops a scan; see [`ScanTotals::odd`].
//!
//! - `scan/runs.rs` finds the next byte that matters, 32 bytes at a time;
//! - `scan/stream.rs` cuts the slices into records and is the same for both formats;
//! - `json.rs` and `csv.rs` know their grammar;
//! - `scan/fields.rs` knows the fields of an audit report.

use std::fmt;

use crate::report::csv::Csv;
use crate::report::json::Json;
use crate::report::record::RevokedRecord;

use self::stream::Stream;

pub(super) mod fields;
pub(super) mod runs;
pub(super) mod stream;

/// The bytes that one record of a report may have, a row's line end included: room for a thousand
/// times what AWS Private CA writes, and a bound on memory. What lies between records is not bound.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// The formats of `CreateCertificateAuthorityAuditReport` (AWS Private CA API Reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportFormat {
    Json,
    Csv,
}

impl ReportFormat {
    /// The format that an object key's ending states; `None` where it is neither `.json` nor
    /// `.csv`.
    pub fn from_key(key: &str) -> Option<Self> {
        if key.ends_with(".json") {
            Some(ReportFormat::Json)
        } else if key.ends_with(".csv") {
            Some(ReportFormat::Csv)
        } else {
            None
        }
    }
}

/// What was read of a report. Counts whole records only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanTotals {
    /// Records, that is certificates that the authority ever issued.
    pub certificates: u64,
    /// Records that were handed on: `revokedAt` is stated and is neither `null` nor empty.
    pub revoked: u64,
    /// Records that are valid but odd: a known field stated twice or with a value that is neither
    /// a string nor `null`; in records that were handed on also an unreadable time and a missing
    /// or strange serial. (Looking for the latter in every record would cost more than all else.)
    pub odd: u64,
    /// Bytes fed.
    pub bytes: u64,
}

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

/// A scanner of one audit report.
pub struct ReportScanner(Scanner);

// One of them exists per report that is being read; the size of the larger does not matter.
#[allow(clippy::large_enum_variant)]
enum Scanner {
    Json(Stream<Json>),
    Csv(Stream<Csv>),
}

impl ReportScanner {
    /// A scanner at the start of a report.
    pub fn new(format: ReportFormat) -> Self {
        Self(match format {
            ReportFormat::Json => Scanner::Json(Stream::new(Json::new())),
            ReportFormat::Csv => Scanner::Csv(Stream::new(Csv::new())),
        })
    }

    /// Reads the next bytes of the report, of any number, and hands every revoked record that ends
    /// in them to `sink`, in the report's order.
    ///
    /// # Errors
    ///
    /// The bytes so far do not begin a valid report. Every later call fails the same way. A fault
    /// inside a record that straddles slices may be noticed only some bytes later, but is stated
    /// at the same byte.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<(), ScanError> {
        match &mut self.0 {
            Scanner::Json(stream) => stream.feed(chunk, sink),
            Scanner::Csv(stream) => stream.feed(chunk, sink),
        }
    }

    /// Ends the report. Only a CSV report whose last row has no line end hands on a record here.
    ///
    /// # Errors
    ///
    /// The bytes are not a whole valid report. Whether a CSV report was cut at the end of a row, or
    /// within the last field of one, its grammar cannot tell: the caller has to compare the length
    /// with what the store states.
    pub fn finish(
        &mut self,
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<ScanTotals, ScanError> {
        match &mut self.0 {
            Scanner::Json(stream) => stream.finish(sink),
            Scanner::Csv(stream) => stream.finish(sink),
        }
    }

    /// What was read so far.
    pub fn totals(&self) -> ScanTotals {
        match &self.0 {
            Scanner::Json(stream) => stream.totals(),
            Scanner::Csv(stream) => stream.totals(),
        }
    }
}
