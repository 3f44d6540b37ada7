//! Slices of any size in, whole records out: the part of a scanner that both formats share.
//!
//! A record that lies within one slice is read where it lies. The last, unfinished record of a
//! slice is carried over: it is copied, its end is looked for in the following slices by
//! [`Grammar::find_end`], which goes over every byte once, and then it is read as a whole. So the
//! work is linear in the report's length however small the slices are, and memory holds one record.

use crate::report::scanner::error::{MAX_RECORD_BYTES, ScanError, ScanErrorKind};
use crate::revocation::record::RevokedRecord;

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
    pub malformed: u64,
    /// Bytes fed.
    pub bytes: u64,
}

/// What a format knows.
pub trait Grammar {
    /// Reads what stands between records, and before the first and after the last. Answers how
    /// many bytes that is: all of `bytes`, or those before the first byte of a record.
    fn between(&mut self, bytes: &[u8]) -> Result<usize, SyntaxError>;

    /// Reads the record with which `bytes` begin. With `last`, nothing follows them.
    fn record(&mut self, bytes: &[u8], last: bool) -> Result<Record, Stop>;

    /// Makes the record that was just read from `bytes` presentable.
    fn revoked<'a>(&self, bytes: &'a [u8]) -> RevokedRecord<'a>;

    /// Looks for the end of a record in the next bytes of it, over as many calls as it takes.
    ///
    /// Right for every record that is valid as far as it goes; for any other it may be wrong,
    /// which does no harm, since [`record`](Grammar::record) then finds the fault before that end.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize>;

    /// Whether a report may end here, between two records.
    fn end(&self) -> Result<(), ScanErrorKind>;
}

/// What [`Grammar::record`] read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its bytes, line end included.
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

/// A fault and where in the bytes at hand it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub at: usize,
    pub kind: ScanErrorKind,
}

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end before the record does; as far as they go, they are valid.
    Incomplete,
    Syntax(SyntaxError),
}

impl From<SyntaxError> for Stop {
    fn from(syntax_error: SyntaxError) -> Self {
        Stop::Syntax(syntax_error)
    }
}

/// A scanner for the given grammar.
pub struct Stream<G> {
    grammar: G,
    /// The begun record, where one straddles slices.
    carry: Vec<u8>,
    /// The place in the report up to which all was read; the carry begins here.
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
                    Err(Stop::Syntax(syntax_error)) => return Err(stream.error(syntax_error)),
                    Err(Stop::Incomplete) => {
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

    /// Reads on in the carried record. Answers the bytes after it; none where it has not ended.
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
            Err(Stop::Syntax(syntax_error)) => return Err(self.error(syntax_error)),
            Err(Stop::Incomplete) => return Err(self.too_long()),
        }
        carry.clear();
        self.carry = carry; // for its capacity
        Ok(&chunk[taken..])
    }

    /// Reads the records that lie whole in `rest` and carries over what is left.
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
                Err(Stop::Syntax(syntax_error)) => return Err(self.error(syntax_error)),
                Err(Stop::Incomplete) if window.len() == MAX_RECORD_BYTES => {
                    return Err(self.too_long());
                }
                Err(Stop::Incomplete) => {
                    self.carry.extend_from_slice(rest);
                    // It has not ended; this is for the state of the search.
                    self.grammar.find_end(rest);
                    return Ok(());
                }
            }
        }
    }

    /// Counts a record that was read from the start of `bytes`, and hands it on if it is revoked.
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

    /// After a fault, nothing of the report is believed any more.
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
