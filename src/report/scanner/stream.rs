//! Cuts slices of any size into records: the part of a scanner that both formats share.
//!
//! A record within one slice is parsed in place. An unfinished record at the end of a slice is
//! copied; [`Grammar::find_end`] finds its end in the following slices, and then it is parsed as a
//! whole.

use crate::report::scanner::error::{MAX_RECORD_BYTES, ScanError, ScanErrorKind, SyntaxError};
use crate::revocation::record::RevokedRecord;

/// Totals of a scan. Only complete records count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanTotals {
    /// All records: the certificates that the CA ever issued.
    pub certificates: u64,
    /// Records passed to the sink: `revokedAt` is stated and is neither `null` nor empty.
    pub revoked: u64,
    /// Valid but malformed records: a known field is stated twice, or its value is neither a string
    /// nor `null`. In revoked records also an unreadable time, and a missing or malformed serial;
    /// checking these in every record would take longer than the rest of the scan.
    pub malformed: u64,
    /// Bytes fed.
    pub bytes: u64,
}

/// The grammar of a format.
pub trait Grammar {
    /// Parses what is between records, before the first and after the last. Returns its length: all
    /// of `bytes`, or the bytes before the next record.
    fn between(&mut self, bytes: &[u8]) -> Result<usize, SyntaxError>;

    /// Parses the record that `bytes` begin with. `last` says that nothing follows `bytes`.
    fn record(&mut self, bytes: &[u8], last: bool) -> Result<Record, SyntaxError>;

    /// Returns the fields of the record that was just parsed from `bytes`.
    fn revoked<'a>(&self, bytes: &'a [u8]) -> RevokedRecord<'a>;

    /// Finds the end of a record in its next bytes, over any number of calls.
    ///
    /// May be wrong for an invalid record, which does no harm: [`record`](Grammar::record) then
    /// finds the error before that end.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize>;

    /// Whether a report may end here, between two records.
    fn may_end(&self) -> bool;
}

/// What [`Grammar::record`] parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its length in bytes, including the line end.
    pub len: usize,
    pub kind: RecordKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The header of a CSV report.
    Header,
    /// A certificate without a `revokedAt`.
    Certificate { malformed: bool },
    /// A certificate that is, or may be, revoked.
    Revoked,
}

/// A scanner for the given grammar.
pub struct Stream<G> {
    grammar: G,
    /// The unfinished record of the previous slices.
    carry: Vec<u8>,
    /// Bytes of the report that were parsed; the carry begins here.
    at: u64,
    totals: ScanTotals,
    failed: Option<ScanError>,
}

impl<G: Grammar> Stream<G> {
    pub fn new(grammar: G) -> Self {
        Self {
            grammar,
            carry: Vec::new(),
            at: 0,
            totals: ScanTotals::default(),
            failed: None,
        }
    }

    pub fn feed(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<(), ScanError> {
        self.unless_failed(|stream| {
            stream.totals.bytes += chunk.len() as u64;
            let rest = stream.complete_carried(chunk, sink)?;
            stream.read_in_place(rest, sink)
        })
    }

    pub fn finish(
        &mut self,
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<ScanTotals, ScanError> {
        self.unless_failed(|stream| {
            let carry = std::mem::take(&mut stream.carry);
            if !carry.is_empty() {
                let record = stream.grammar.record(&carry, true)?;
                stream.take(record, &carry, sink);
            }
            let kind = match stream.totals.bytes {
                _ if stream.grammar.may_end() => return Ok(stream.totals),
                0 => ScanErrorKind::Empty,
                _ => ScanErrorKind::Truncated,
            };
            Err(SyntaxError { at: 0, kind })
        })
    }

    pub fn totals(&self) -> ScanTotals {
        self.totals
    }

    /// Continues the carried record, if any. Returns the bytes after it; none if it has not ended.
    fn complete_carried<'a>(
        &mut self,
        chunk: &'a [u8],
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<&'a [u8], SyntaxError> {
        if self.carry.is_empty() {
            return Ok(chunk);
        }
        let room = MAX_RECORD_BYTES - self.carry.len();
        let window = &chunk[..chunk.len().min(room)];
        let end = self.grammar.find_end(window);
        let (taken, rest) = chunk.split_at(end.unwrap_or(window.len()));
        self.carry.extend_from_slice(taken);
        if end.is_none() && self.carry.len() < MAX_RECORD_BYTES {
            return Ok(&[]);
        }
        let mut carry = std::mem::take(&mut self.carry);
        match self.grammar.record(&carry, false) {
            Ok(record) => self.take(record, &carry, sink),
            Err(error) if error.kind == ScanErrorKind::Truncated => return Err(TOO_LONG),
            Err(error) => return Err(error),
        }
        carry.clear();
        self.carry = carry; // for its capacity
        Ok(rest)
    }

    /// Parses the complete records in `rest` and carries the remainder over.
    fn read_in_place(
        &mut self,
        mut rest: &[u8],
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<(), SyntaxError> {
        loop {
            let between = self.grammar.between(rest)?;
            self.at += between as u64;
            rest = &rest[between..];
            if rest.is_empty() {
                return Ok(());
            }
            let window = &rest[..rest.len().min(MAX_RECORD_BYTES)];
            match self.grammar.record(window, false) {
                Ok(record) => {
                    self.take(record, window, sink);
                    rest = &rest[record.len..];
                }
                Err(error) if error.kind != ScanErrorKind::Truncated => return Err(error),
                Err(_) if window.len() == MAX_RECORD_BYTES => return Err(TOO_LONG),
                Err(_) => {
                    self.carry.extend_from_slice(rest);
                    // Finds no end, but starts the search.
                    self.grammar.find_end(rest);
                    return Ok(());
                }
            }
        }
    }

    /// Counts a record that was parsed from the start of `bytes`, and passes it on if it is revoked.
    #[inline(always)]
    fn take(&mut self, record: Record, bytes: &[u8], sink: &mut impl FnMut(&RevokedRecord<'_>)) {
        self.at += record.len as u64;
        let malformed = match record.kind {
            RecordKind::Header => return,
            RecordKind::Certificate { malformed } => malformed,
            RecordKind::Revoked => {
                let revoked = self.grammar.revoked(&bytes[..record.len]);
                self.totals.revoked += 1;
                sink(&revoked);
                revoked.malformed
            }
        };
        self.totals.certificates += 1;
        self.totals.malformed += u64::from(malformed);
    }

    /// Repeats the first error: nothing after it is reliable.
    fn unless_failed<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, ScanError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        read(self).map_err(|SyntaxError { at, kind }| {
            let error = ScanError {
                byte: self.at + at as u64,
                record: self.totals.certificates + 1,
                kind,
            };
            self.failed.insert(error).clone()
        })
    }
}

const TOO_LONG: SyntaxError = SyntaxError {
    at: MAX_RECORD_BYTES,
    kind: ScanErrorKind::RecordTooLong,
};
