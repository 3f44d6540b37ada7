//! Scanning an audit report: slices of its bytes in, whole revoked records out.
//!
//! A scanner is fed whatever slices the network delivers and hands every record that is, or may
//! be, a revocation to a sink as soon as its last byte was read. It does no I/O, keeps no more than
//! one unfinished record (at most [`MAX_RECORD_BYTES`]) and reads every byte once, twice where a
//! record straddles two slices.
//!
//! Strict means that nothing passes which is not a whole valid report: JSON that `serde_json`
//! would refuse, CSV that breaks RFC 4180, bytes that are not UTF-8. What is valid but odd never
//! stops a scan; see [`ScanTotals::malformed`].
//!
//! - `scan/runs.rs` finds the next byte that matters, 32 bytes at a time;
//! - `scan/stream.rs` cuts the slices into records and is the same for both formats;
//! - `json.rs` and `csv.rs` know their grammar;
//! - `scan/fields.rs` knows the fields of an audit report.

use crate::report_format::ReportFormat;
use crate::revocation::record::RevokedRecord;

use self::csv::Csv;
use self::json::Json;
use self::stream::Stream;

mod csv;
mod error;
mod fields;
mod json;
mod json_steps;
mod json_values;
mod runs;
mod stream;

pub use error::{MAX_RECORD_BYTES, ScanError, ScanErrorKind};
pub use stream::ScanTotals;

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
