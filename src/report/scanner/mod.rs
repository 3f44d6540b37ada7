//! Scans an audit report: slices of its bytes in, complete revoked records out.
//!
//! The scanner takes whatever slices the network delivers and passes each record that is, or may
//! be, a revocation to a sink as soon as its last byte was read. It does no I/O and keeps at most
//! one unfinished record (up to [`MAX_RECORD_BYTES`]).
//!
//! # The idea
//!
//! Nearly all bytes of a report are values that nobody needs: only a few records are revoked. So
//! nothing is copied, decoded or allocated until a record turns out to be revoked, and few bytes
//! are looked at one by one:
//!
//! - *Inside values* only the byte that ends the value matters. `text_end.rs` finds it by comparing
//!   32 bytes at a time.
//! - *Between values* a JSON report repeats itself: the bytes from the end of `notBefore` to the
//!   start of `notAfter` are the same in every record. `json.rs` parses them strictly once and
//!   learns them as a step; from then on it compares the whole step at once. In a CSV report
//!   (`csv.rs`) a single comma lies between two values.
//! - *Between slices* `stream.rs` copies the unfinished record, finds its end in the following
//!   slices and parses it as a whole.
//!
//! # Why it is correct
//!
//! The scanner accepts exactly the reports that are valid: JSON that `serde_json` accepts (its limit
//! of nesting applies to each value), CSV according to RFC 4180, both in UTF-8. Anything valid but
//! anomalous does not stop a scan; see [`ScanTotals::malformed`] and [`ScanTotals::unidentified`].
//!
//! - *A learned step accepts nothing that the strict parser would refuse.* It begins at a record's
//!   `{` or at the quote that ends a string value, and ends at the opening quote of the next string
//!   value or at the record's `}`. Between these two, what the strict parser does depends only on
//!   the bytes there, and on whether a field was stated before, which both check. A step is learned
//!   only if all it passes over are white space, commas, keys, colons and `null`s, and if the
//!   record is not malformed so far.
//! - *If no learned step fits, the strict parser continues at that very position.* Learning can
//!   therefore change the speed, never the result.
//! - *How a report is sliced makes no difference*, because a record is parsed in one piece only.
//!   Looking for its end passes over every byte once, so the work is linear.
//! - *An error is final*: it states the byte and the record, and every later call returns it again.
//!
//! The tests in `tests/reports/` and the fuzz targets compare all of this with `serde_json` and the
//! `csv` crate: on every split, on every prefix, and on random documents.

use crate::report_format::ReportFormat;
use crate::revocation::record::RevokedRecord;

use self::csv::Csv;
use self::json::Json;
use self::stream::Stream;

mod csv;
mod fields;
mod json;
mod json_values;
mod stream;
mod text_end;

pub use stream::{MAX_RECORD_BYTES, ScanError, ScanTotals};

/// A scanner of one audit report.
pub struct ReportScanner(Scanner);

#[allow(
    clippy::large_enum_variant,
    reason = "one of them exists per report that is being read"
)]
enum Scanner {
    Json(Stream<Json>),
    Csv(Stream<Csv>),
}

impl ReportScanner {
    /// Returns a scanner at the start of a report.
    pub fn new(format: ReportFormat) -> Self {
        Self::with(format, false)
    }

    /// Returns a scanner that passes every record to the sink, not only the revoked ones; it is
    /// slower. The totals are those of other scanners.
    pub fn of_every_record(format: ReportFormat) -> Self {
        Self::with(format, true)
    }

    fn with(format: ReportFormat, every_record: bool) -> Self {
        Self(match format {
            ReportFormat::Json => Scanner::Json(Stream::new(Json::default(), every_record)),
            ReportFormat::Csv => Scanner::Csv(Stream::new(Csv::default(), every_record)),
        })
    }

    /// Scans the next bytes of the report and passes every revoked record (or every record) that
    /// ends in them to `sink`, in the report's order.
    ///
    /// # Errors
    ///
    /// The bytes so far do not begin a valid report. Every later call fails the same way. An error
    /// inside a record that spans slices may be returned only some bytes later, but states the same
    /// byte.
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

    /// Ends the report. Only the last row of a CSV report without a final line end is passed to
    /// `sink` here.
    ///
    /// # Errors
    ///
    /// The bytes are not a complete valid report. CSV cannot show that a report was truncated at
    /// the end of a row or within a row's last field: the caller must compare the length with the
    /// one that the store states.
    pub fn finish(
        &mut self,
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<ScanTotals, ScanError> {
        match &mut self.0 {
            Scanner::Json(stream) => stream.finish(sink),
            Scanner::Csv(stream) => stream.finish(sink),
        }
    }

    /// Returns the totals so far.
    pub fn totals(&self) -> ScanTotals {
        match &self.0 {
            Scanner::Json(stream) => stream.totals(),
            Scanner::Csv(stream) => stream.totals(),
        }
    }
}
