//! Cuts slices of any size into records: the part of a scanner that both formats share.

use std::fmt;

use crate::revocation::record::RevokedRecord;

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
    pub problem: String,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            byte,
            record,
            problem,
        } = self;
        write!(f, "{problem} at byte {byte}, in record {record}")
    }
}

impl std::error::Error for ScanError {}

/// Why bytes cannot be parsed.
pub enum SyntaxError {
    /// They are valid but end before what is parsed does.
    Truncated,
    /// They are not valid at this offset.
    Invalid { at: usize, problem: String },
}

#[cold]
pub fn invalid<T>(at: usize, problem: impl Into<String>) -> Result<T, SyntaxError> {
    let problem = problem.into();
    Err(SyntaxError::Invalid { at, problem })
}

#[cold]
pub fn unexpected<T>(at: usize, expected: &str, found: u8) -> Result<T, SyntaxError> {
    let found = match found {
        b' '..=b'~' => format!("`{}`", char::from(found)),
        _ => format!("byte 0x{found:02x}"),
    };
    invalid(at, format!("expected {expected}, found {found}"))
}

#[cold]
pub fn check_utf8(bytes: &[u8], start: usize, end: usize) -> Result<(), SyntaxError> {
    match str::from_utf8(&bytes[start..end]) {
        Ok(_) => Ok(()),
        Err(error) => invalid(start + error.valid_up_to(), "the text is not UTF-8"),
    }
}

/// Totals of a scan. Only complete records count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanTotals {
    /// All records: the certificates that the CA ever issued.
    pub certificates: u64,
    /// Records that are, or may be, revoked: `revokedAt` is stated and is neither `null` nor empty.
    pub revoked: u64,
    /// Valid but malformed records: a known field is stated twice, or its value is neither a string
    /// nor `null`. In revoked records also an unreadable time, and a missing or malformed serial;
    /// checking these in every record would take longer than the rest of the scan.
    pub malformed: u64,
    /// Records with neither `serial` nor `certificateArn`; a CSV header without both columns counts as
    /// one.
    pub unidentified: u64,
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
    /// Whether it states neither a serial nor a certificate ARN.
    pub unidentified: bool,
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
    /// Whether every record is passed on, not only the revoked ones.
    every_record: bool,
    /// The unfinished record of the previous slices.
    carry: Vec<u8>,
    /// Bytes of the report that were parsed; the carry begins here.
    at: u64,
    totals: ScanTotals,
    failed: Option<ScanError>,
}

impl<G: Grammar> Stream<G> {
    pub fn new(grammar: G, every_record: bool) -> Self {
        Self {
            grammar,
            every_record,
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
            match stream.totals.bytes {
                _ if stream.grammar.may_end() => Ok(stream.totals),
                0 => invalid(0, "the report is empty"),
                _ => Err(SyntaxError::Truncated),
            }
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
            Err(SyntaxError::Truncated) => return too_long(),
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
                Err(SyntaxError::Truncated) if window.len() < MAX_RECORD_BYTES => {
                    self.carry.extend_from_slice(rest);
                    // Finds no end, but starts the search.
                    self.grammar.find_end(rest);
                    return Ok(());
                }
                Err(SyntaxError::Truncated) => return too_long(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Counts a record that was parsed from the start of `bytes`, and passes it on if it is revoked or
    /// if every record is passed on.
    #[inline(always)]
    fn take(&mut self, record: Record, bytes: &[u8], sink: &mut impl FnMut(&RevokedRecord<'_>)) {
        self.at += record.len as u64;
        self.totals.unidentified += u64::from(record.unidentified);
        let malformed = match record.kind {
            RecordKind::Header => return,
            RecordKind::Certificate { malformed } => {
                if self.every_record {
                    sink(&self.grammar.revoked(&bytes[..record.len]));
                }
                malformed
            }
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
        read(self).map_err(|error| {
            let (byte, problem) = match error {
                SyntaxError::Invalid { at, problem } => (self.at + at as u64, problem),
                SyntaxError::Truncated => {
                    (self.totals.bytes, "the report ends too early".to_owned())
                }
            };
            let record = self.totals.certificates + 1;
            let error = ScanError {
                byte,
                record,
                problem,
            };
            self.failed.insert(error).clone()
        })
    }
}

fn too_long<T>() -> Result<T, SyntaxError> {
    let problem = format!("a record is longer than {MAX_RECORD_BYTES} bytes");
    invalid(MAX_RECORD_BYTES, problem)
}
