//! Cuts slices of any size into records: the part of a scanner that both formats share.
//!
//! A record within one slice is parsed in place. An unfinished record at the end of a slice is
//! copied; [`Grammar::find_end`] finds its end in the following slices, and then it is parsed as a
//! whole.

use crate::report::scanner::error::{MAX_RECORD_BYTES, ScanError, ScanErrorKind};
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
    fn record(&mut self, bytes: &[u8], last: bool) -> Result<Record, RecordError>;

    /// Returns the fields of the record that was just parsed from `bytes`.
    fn revoked<'a>(&self, bytes: &'a [u8]) -> RevokedRecord<'a>;

    /// Finds the end of a record in its next bytes, over any number of calls.
    ///
    /// May be wrong for an invalid record, which does no harm: [`record`](Grammar::record) then
    /// finds the error before that end.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize>;

    /// Whether a report may end here, between two records.
    fn end(&self) -> Result<(), ScanErrorKind>;
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

/// An error, and its offset in the bytes that were passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub at: usize,
    pub kind: ScanErrorKind,
}

/// Why a record could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes are valid, but end before the record does.
    Incomplete,
    Syntax(SyntaxError),
}

impl From<SyntaxError> for RecordError {
    fn from(syntax_error: SyntaxError) -> Self {
        RecordError::Syntax(syntax_error)
    }
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
            let rest = if stream.carry.is_empty() {
                chunk
            } else {
                stream.complete_carried(chunk, sink)?
            };
            stream.read_in_place(rest, sink)
        })
    }

    pub fn finish(
        &mut self,
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<ScanTotals, ScanError> {
        self.unless_failed(|stream| {
            if !stream.carry.is_empty() {
                let carry = std::mem::take(&mut stream.carry);
                match stream.grammar.record(&carry, true) {
                    Ok(record) => stream.take(record, &carry, sink),
                    Err(RecordError::Syntax(syntax_error)) => {
                        return Err(stream.error(syntax_error));
                    }
                    Err(RecordError::Incomplete) => {
                        return Err(stream.error(SyntaxError {
                            at: carry.len(),
                            kind: ScanErrorKind::Truncated,
                        }));
                    }
                }
            }
            match stream.grammar.end() {
                Ok(()) => Ok(stream.totals),
                Err(_) if stream.totals.bytes == 0 => Err(stream.error(SyntaxError {
                    at: 0,
                    kind: ScanErrorKind::Empty,
                })),
                Err(kind) => Err(stream.error(SyntaxError { at: 0, kind })),
            }
        })
    }

    pub fn totals(&self) -> ScanTotals {
        self.totals
    }

    /// Continues the carried record. Returns the bytes after it; none if it has not ended.
    fn complete_carried<'a>(
        &mut self,
        chunk: &'a [u8],
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<&'a [u8], ScanError> {
        let room = MAX_RECORD_BYTES - self.carry.len();
        let window = &chunk[..chunk.len().min(room)];
        let end = self.grammar.find_end(window);
        let taken = end.unwrap_or(window.len());
        self.carry.extend_from_slice(&window[..taken]);
        if end.is_none() && self.carry.len() < MAX_RECORD_BYTES {
            return Ok(&[]);
        }
        let mut carry = std::mem::take(&mut self.carry);
        match self.grammar.record(&carry, false) {
            Ok(record) => self.take(record, &carry, sink),
            Err(RecordError::Syntax(syntax_error)) => return Err(self.error(syntax_error)),
            Err(RecordError::Incomplete) => return Err(self.too_long()),
        }
        carry.clear();
        self.carry = carry; // for its capacity
        Ok(&chunk[taken..])
    }

    /// Parses the complete records in `rest` and carries the remainder over.
    fn read_in_place(
        &mut self,
        mut rest: &[u8],
        sink: &mut impl FnMut(&RevokedRecord<'_>),
    ) -> Result<(), ScanError> {
        loop {
            let between = self
                .grammar
                .between(rest)
                .map_err(|syntax_error| self.error(syntax_error))?;
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
                Err(RecordError::Syntax(syntax_error)) => return Err(self.error(syntax_error)),
                Err(RecordError::Incomplete) if window.len() == MAX_RECORD_BYTES => {
                    return Err(self.too_long());
                }
                Err(RecordError::Incomplete) => {
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
        match record.kind {
            RecordKind::Header => {}
            RecordKind::Certificate { malformed } => {
                self.totals.certificates += 1;
                self.totals.malformed += u64::from(malformed);
            }
            RecordKind::Revoked => {
                let revoked = self.grammar.revoked(&bytes[..record.len]);
                self.totals.certificates += 1;
                self.totals.revoked += 1;
                self.totals.malformed += u64::from(revoked.malformed);
                sink(&revoked);
            }
        }
    }

    fn too_long(&self) -> ScanError {
        self.error(SyntaxError {
            at: MAX_RECORD_BYTES,
            kind: ScanErrorKind::RecordTooLong,
        })
    }

    fn error(&self, syntax_error: SyntaxError) -> ScanError {
        ScanError {
            byte: self.at + syntax_error.at as u64,
            record: self.totals.certificates + 1,
            kind: syntax_error.kind,
        }
    }

    /// Repeats the first error: nothing after it is reliable.
    fn unless_failed<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ScanError>,
    ) -> Result<T, ScanError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        read(self).inspect_err(|error| self.failed = Some(error.clone()))
    }
}
