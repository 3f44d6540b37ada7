//! The notified set: the revocations of one certificate authority that people were notified about,
//! and those that its first audit only counted.
//!
//! In memory a serial takes 20 bytes, and the index a quarter of a megabyte. In S3 the set is JSON
//! Lines, a header and one JSON string per revocation in ascending order:
//!
//! ```json
//! {"version":1,"certificateAuthorityArn":"arn:aws:acm-pca:...","count":2}
//! "2bae9a75d71b42b4e41e36f8b4b488fc"
//! "e8cbd2bedb122329f97706bcfec990f8"
//! ```
//!
//! It is written and read in chunks. People may edit it, with `jq -c` for example, in any order of
//! the lines. `count` and the control document's `notifiedCount` must be changed as well: they are
//! there so that no entry gets lost unnoticed.

use std::fmt;
use std::sync::Arc;

use memchr::memchr;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::revocation::key::{RevocationKey, serial_octets};

/// The version of the document that this program writes, and the newest one that it reads.
const NOTIFIED_SET_VERSION: u64 = 1;

/// The exact set of revocations of one certificate authority that are notified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifiedSet {
    /// Serials, ascending and right-aligned.
    serials: Vec<[u8; 20]>,
    /// For every value of a serial's first two used octets, the number of serials with a lower one.
    /// Of a million random serials this leaves about 15 to search. Empty for small sets.
    index: Vec<u32>,
    /// Where the longest serial's first used octet is.
    first_used: usize,
    /// Keys of revocations without a usable serial, ascending.
    texts: Vec<Box<str>>,
}

impl NotifiedSet {
    /// Returns an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the set contains that revocation.
    pub fn contains(&self, key: &RevocationKey) -> bool {
        match key {
            RevocationKey::Serial(octets) if self.index.is_empty() => {
                self.serials.binary_search(octets).is_ok()
            }
            RevocationKey::Serial(octets) => {
                let prefix = self.prefix(octets);
                let candidates = self.index[prefix] as usize..self.index[prefix + 1] as usize;
                self.serials[candidates].binary_search(octets).is_ok()
            }
            RevocationKey::Text(text) => self.texts.binary_search(text).is_ok(),
        }
    }

    /// Returns the number of revocations.
    pub fn len(&self) -> usize {
        self.serials.len() + self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds revocations; duplicates do no harm.
    pub fn merge(&mut self, new: impl IntoIterator<Item = RevocationKey>) {
        let mut added = Self::new();
        new.into_iter().for_each(|key| added.push(key));
        self.union_with(added);
    }

    /// Adds all revocations of another set.
    pub fn union_with(&mut self, mut other: NotifiedSet) {
        if other.len() > self.len() {
            std::mem::swap(self, &mut other);
        }
        self.serials.reserve_exact(other.serials.len());
        self.serials.append(&mut other.serials);
        self.texts.append(&mut other.texts);
        self.sort();
    }

    /// Returns the revocations in the order of their keys.
    pub fn keys(&self) -> impl Iterator<Item = RevocationKey> {
        let serials = self.serials.iter().copied().map(RevocationKey::Serial);
        serials.chain(self.texts.iter().cloned().map(RevocationKey::Text))
    }

    /// Adds a revocation; [`sort`](Self::sort) must follow.
    fn push(&mut self, key: RevocationKey) {
        match key {
            RevocationKey::Serial(octets) => self.serials.push(octets),
            RevocationKey::Text(text) => self.texts.push(text),
        }
    }

    /// Sorts, removes duplicates and builds the index.
    fn sort(&mut self) {
        /// Maximum number of serials that are searched as fast without an index.
        const MAX_WITHOUT_INDEX: usize = 4096;
        // Stable, because that merges the sorted part with the rest instead of sorting everything.
        self.serials.sort();
        self.serials.dedup();
        self.texts.sort();
        self.texts.dedup();
        self.index.clear();
        if self.serials.len() <= MAX_WITHOUT_INDEX {
            return;
        }
        let longest = self
            .serials
            .last()
            .map_or(0, |last| significant(last).len());
        self.first_used = 20 - longest;
        self.index.resize((1 << 16) + 1, 0);
        for serial in &self.serials {
            let prefix = self.prefix(serial);
            self.index[prefix + 1] += 1;
        }
        let mut sum = 0;
        for count in &mut self.index {
            sum += *count;
            *count = sum;
        }
    }

    /// Returns the two octets that the index uses. A set that is large enough for an index has
    /// serials of at least two.
    fn prefix(&self, serial: &[u8; 20]) -> usize {
        let at = self.first_used;
        usize::from(u16::from_be_bytes([serial[at], serial[at + 1]]))
    }

    /// Returns the exact length of the document in bytes.
    pub fn document_len(&self, certificate_authority_arn: &str) -> u64 {
        let header = json_line(&self.header(certificate_authority_arn)).len();
        let serials = self.serials.iter();
        let serials = serials.map(|serial| 2 * significant(serial).len() + "\"\"\n".len());
        let texts = self.texts.iter().map(|text| json_line(text).len());
        (header + serials.chain(texts).sum::<usize>()) as u64
    }

    /// Returns the document in chunks of about 64 KiB, so that memory never holds all of it.
    pub fn document_chunks(
        self: Arc<Self>,
        certificate_authority_arn: &str,
    ) -> impl Iterator<Item = Vec<u8>> + Send + Sync + use<> {
        const CHUNK_BYTES: usize = 64 << 10;
        /// The longest line of a serial: 40 digits, two quotes and the line end, rounded up.
        const SERIAL_LINE_BYTES: usize = 48;
        let mut header = Some(json_line(&self.header(certificate_authority_arn)));
        let mut entries = 0..self.len();
        std::iter::from_fn(move || {
            let mut chunk = header.take().unwrap_or_default();
            chunk.reserve_exact(CHUNK_BYTES.min(entries.len() * SERIAL_LINE_BYTES));
            while chunk.len() + SERIAL_LINE_BYTES <= CHUNK_BYTES
                && let Some(entry) = entries.next()
            {
                self.write_line(entry, &mut chunk);
            }
            (!chunk.is_empty()).then_some(chunk)
        })
    }

    fn header(&self, certificate_authority_arn: &str) -> Header {
        Header {
            version: NOTIFIED_SET_VERSION,
            certificate_authority_arn: certificate_authority_arn.to_owned(),
            count: self.len() as u64,
        }
    }

    /// Appends the line of the entry with this number, counted from 0.
    fn write_line(&self, entry: usize, chunk: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let Some(serial) = self.serials.get(entry) else {
            chunk.append(&mut json_line(&self.texts[entry - self.serials.len()]));
            return;
        };
        chunk.push(b'"');
        for octet in significant(serial) {
            chunk.push(DIGITS[usize::from(octet >> 4)]);
            chunk.push(DIGITS[usize::from(octet & 0xf)]);
        }
        chunk.extend_from_slice(b"\"\n");
    }
}

/// Returns a serial's octets without leading zeros; one zero for the serial 0.
fn significant(serial: &[u8; 20]) -> &[u8] {
    let zeros = serial.iter().take(19).take_while(|&&octet| octet == 0);
    &serial[zeros.count()..]
}

/// The first line of the document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    version: u64,
    certificate_authority_arn: String,
    count: u64,
}

/// The part of the header that every version has.
#[derive(Deserialize)]
struct AnyHeader {
    version: u64,
}

fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("texts and numbers are always valid JSON");
    line.push(b'\n');
    line
}

/// Why a notified set cannot be read: what is wrong, and if it is a line, which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifiedSetError {
    /// Whether a newer version of this program wrote it.
    pub is_newer: bool,
    message: String,
}

impl NotifiedSetError {
    fn new(message: String) -> Self {
        let is_newer = false;
        Self { is_newer, message }
    }
}

impl fmt::Display for NotifiedSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NotifiedSetError {}

/// Maximum length of a line: an ARN may be as long as a record of a report, and its JSON escapes
/// six times that.
const MAX_LINE_BYTES: usize = 7 << 20;

/// Reads the document of a notified set from slices of any size.
pub struct NotifiedSetReader {
    certificate_authority_arn: String,
    /// The line that the last slice ended in.
    partial_line: Vec<u8>,
    /// The line being read: its number and where it begins.
    line: u64,
    line_start: u64,
    /// The header's `count`, once the header was read.
    stated: Option<u64>,
    /// The entries so far, in the document's order.
    set: NotifiedSet,
    failed: Option<NotifiedSetError>,
}

impl NotifiedSetReader {
    /// Returns a reader of the notified set of that certificate authority.
    pub fn new(certificate_authority_arn: impl Into<String>) -> Self {
        Self {
            certificate_authority_arn: certificate_authority_arn.into(),
            partial_line: Vec::new(),
            line: 1,
            line_start: 0,
            stated: None,
            set: NotifiedSet::new(),
            failed: None,
        }
    }

    /// Reads the next bytes of the document.
    ///
    /// # Errors
    ///
    /// The bytes are not part of a notified set of this certificate authority and of a version that
    /// this program knows. Every later call fails the same way.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), NotifiedSetError> {
        if self.failed.is_none() {
            self.failed = self.read_lines(chunk).err();
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Returns the set, if the document is complete. The last line may lack its line end, as
    /// editors remove it.
    ///
    /// # Errors
    ///
    /// The document ends too early, or does not hold as many revocations as its header states.
    pub fn finish(mut self) -> Result<NotifiedSet, NotifiedSetError> {
        self.feed(b"")?;
        let end = self.line_start + self.partial_line.len() as u64;
        let truncated = self.error("it ends too early,", end);
        if !self.partial_line.is_empty() {
            if serde_json::from_slice::<IgnoredAny>(&self.partial_line).is_err() {
                return Err(truncated);
            }
            self.feed(b"\n")?;
        }
        let stated = self.stated.ok_or(truncated)?;
        let entries = self.set.len() as u64;
        self.set.sort();
        let found = self.set.len() as u64;
        if stated != found || stated != entries {
            return Err(NotifiedSetError::new(format!(
                "its header states {stated} revocations, but it holds {found} different ones"
            )));
        }
        self.set.serials.shrink_to_fit();
        Ok(self.set)
    }

    /// Returns the error that the current line has at an offset in the document.
    fn error(&self, what: &str, byte: u64) -> NotifiedSetError {
        NotifiedSetError::new(format!("{what} in line {} at byte {byte}", self.line))
    }

    fn invalid(&self, what: &str) -> NotifiedSetError {
        self.error(what, self.line_start)
    }

    fn read_lines(&mut self, mut chunk: &[u8]) -> Result<(), NotifiedSetError> {
        while let Some(end) = memchr(b'\n', chunk) {
            let mut line = std::mem::take(&mut self.partial_line);
            line.extend_from_slice(&chunk[..end]);
            // Blank lines are skipped.
            if !line.trim_ascii().is_empty() {
                match self.stated {
                    None => self.read_header(&line)?,
                    Some(_) => self.read_entry(&line)?,
                }
            }
            self.line += 1;
            self.line_start += line.len() as u64 + 1;
            line.clear();
            self.partial_line = line; // keeps its capacity
            chunk = &chunk[end + 1..];
        }
        self.partial_line.extend_from_slice(chunk);
        if self.partial_line.len() > MAX_LINE_BYTES {
            return Err(self.invalid("too long a line"));
        }
        Ok(())
    }

    fn read_header(&mut self, line: &[u8]) -> Result<(), NotifiedSetError> {
        let invalid = |_| self.invalid("no header of a notified set");
        let AnyHeader { version } = serde_json::from_slice(line).map_err(invalid)?;
        if version > NOTIFIED_SET_VERSION {
            return Err(NotifiedSetError {
                is_newer: true,
                message: format!(
                    "its version is {version}; this program reads versions up to {NOTIFIED_SET_VERSION}"
                ),
            });
        }
        let header: Header = serde_json::from_slice(line).map_err(invalid)?;
        if version != NOTIFIED_SET_VERSION {
            return Err(self.invalid("an unknown version"));
        }
        let arn = header.certificate_authority_arn;
        if arn != self.certificate_authority_arn {
            let what = format!("it belongs to another certificate authority, {arn}");
            return Err(NotifiedSetError::new(what));
        }
        self.stated = Some(header.count);
        Ok(())
    }

    fn read_entry(&mut self, line: &[u8]) -> Result<(), NotifiedSetError> {
        // Nearly every line is a serial as this program writes it; no escape is one.
        let quoted = line
            .strip_prefix(b"\"")
            .and_then(|line| line.strip_suffix(b"\""));
        if let Some(serial) = quoted.and_then(serial_octets) {
            self.set.serials.push(serial);
            return Ok(());
        }
        let text: String =
            serde_json::from_slice(line).map_err(|_| self.invalid("no JSON string"))?;
        let key = RevocationKey::from_text(&text)
            .ok_or_else(|| self.invalid("neither a serial nor an ARN nor a hash"))?;
        self.set.push(key);
        Ok(())
    }
}
