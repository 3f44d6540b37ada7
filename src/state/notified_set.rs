//! The notified set: the revocations of one certificate authority that people were notified about,
//! and those that its first audit only counted.
//!
//! In memory a serial takes 24 bytes, and the index a quarter of a megabyte. In S3 the set is JSON
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

use std::sync::Arc;

use memchr::memchr;
use serde::{Deserialize, Serialize};

use crate::error::AuditError;
use crate::revocation::key::{RevocationKey, serial_octets};
use crate::state::control::{VERSION, Versioned, unreadable};

/// The exact set of revocations of one certificate authority that are notified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifiedSet {
    /// Ascending; the serials come first.
    keys: Vec<RevocationKey>,
    /// For every value of a serial's two octets from `first_used` on, the number of serials with a
    /// lower one. Of a million random serials this leaves about 15 to search. Empty for small sets.
    index: Vec<u32>,
    /// Where the longest serial's first octet other than zero is.
    first_used: usize,
}

impl NotifiedSet {
    /// Whether the set contains that revocation.
    pub fn contains(&self, key: &RevocationKey) -> bool {
        let candidates = match key {
            RevocationKey::Serial(octets) if !self.index.is_empty() => {
                let prefix = prefix(octets, self.first_used);
                self.index[prefix] as usize..self.index[prefix + 1] as usize
            }
            _ => 0..self.keys.len(),
        };
        self.keys[candidates].binary_search(key).is_ok()
    }

    /// Returns the revocations in the order of their keys.
    pub fn keys(&self) -> &[RevocationKey] {
        &self.keys
    }

    /// Adds revocations; duplicates do no harm.
    pub fn merge(&mut self, new: impl IntoIterator<Item = RevocationKey>) {
        /// Maximum size of a set that is searched as fast without an index.
        const MAX_WITHOUT_INDEX: usize = 4096;
        self.keys.extend(new);
        // Stable, because that merges the sorted part with the rest instead of sorting everything.
        self.keys.sort();
        self.keys.dedup();
        if self.keys.len() <= MAX_WITHOUT_INDEX {
            return;
        }
        let serials = || {
            self.keys.iter().map_while(|key| match key {
                RevocationKey::Serial(octets) => Some(octets),
                RevocationKey::Text(_) => None,
            })
        };
        self.first_used = serials()
            .last()
            .map_or(0, |last| leading_zeros(last).min(18));
        self.index = vec![0; (1 << 16) + 1];
        for serial in serials() {
            self.index[prefix(serial, self.first_used) + 1] += 1;
        }
        let mut sum = 0;
        for count in &mut self.index {
            sum += *count;
            *count = sum;
        }
    }

    /// Returns the document in chunks of about 64 KiB, so that memory never holds all of it.
    pub fn document_chunks(
        self: Arc<Self>,
        certificate_authority_arn: &str,
    ) -> impl Iterator<Item = Vec<u8>> + Send + Sync + use<> {
        const CHUNK_BYTES: usize = 63 << 10;
        let mut header = Some(json_line(&Header {
            version: VERSION,
            certificate_authority_arn: certificate_authority_arn.to_owned(),
            count: self.keys.len(),
        }));
        let mut entries = 0..self.keys.len();
        std::iter::from_fn(move || {
            let mut chunk = header.take().unwrap_or_default();
            while chunk.len() < CHUNK_BYTES
                && let Some(entry) = entries.next()
            {
                write_line(&self.keys[entry], &mut chunk);
            }
            (!chunk.is_empty()).then_some(chunk)
        })
    }
}

fn leading_zeros(serial: &[u8; 20]) -> usize {
    serial.iter().take_while(|&&octet| octet == 0).count()
}

/// Returns the two octets of a serial that the index uses.
fn prefix(serial: &[u8; 20], first_used: usize) -> usize {
    usize::from(u16::from_be_bytes([
        serial[first_used],
        serial[first_used + 1],
    ]))
}

/// Appends a revocation's line: its canonical text in quotes.
fn write_line(key: &RevocationKey, chunk: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let octets = match key {
        RevocationKey::Serial(octets) => &octets[leading_zeros(octets).min(19)..],
        RevocationKey::Text(text) => return chunk.append(&mut json_line(text)),
    };
    chunk.push(b'"');
    for octet in octets {
        chunk.push(DIGITS[usize::from(octet >> 4)]);
        chunk.push(DIGITS[usize::from(octet & 0xf)]);
    }
    chunk.extend_from_slice(b"\"\n");
}

/// The first line of the document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    version: u64,
    certificate_authority_arn: String,
    count: usize,
}

fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("texts and numbers are always valid JSON");
    line.push(b'\n');
    line
}

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
    line_start: usize,
    /// The header's `count`, once the header was read.
    stated: Option<usize>,
    /// The entries so far, in the document's order.
    keys: Vec<RevocationKey>,
    /// Whether all lines so far are valid.
    result: Result<(), AuditError>,
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
            keys: Vec::new(),
            result: Ok(()),
        }
    }

    /// Reads the next bytes of the document, unless an error was found in it.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.result.is_ok() {
            self.result = self.read_lines(chunk);
        }
    }

    /// Returns the set. The document's last line may lack its line end, as editors remove it.
    ///
    /// # Errors
    /// The bytes are no notified set of this certificate authority and of a version that this
    /// program knows, or do not hold as many revocations as the header states.
    pub fn finish(mut self) -> Result<NotifiedSet, AuditError> {
        self.feed(b"\n");
        self.result?;
        let stated = self
            .stated
            .ok_or_else(|| unreadable("it is empty".to_owned()))?;
        let entries = self.keys.len();
        let mut set = NotifiedSet {
            keys: self.keys,
            ..NotifiedSet::default()
        };
        set.merge([]);
        let found = set.keys.len();
        if [entries, found] != [stated; 2] {
            return Err(unreadable(format!(
                "its header states {stated} revocations, but it holds {found} different ones"
            )));
        }
        Ok(set)
    }

    fn read_lines(&mut self, mut chunk: &[u8]) -> Result<(), AuditError> {
        while let Some(end) = memchr(b'\n', chunk) {
            let mut line = std::mem::take(&mut self.partial_line);
            line.extend_from_slice(&chunk[..end]);
            // Blank lines are skipped.
            if !line.iter().all(|byte| b" \t\r".contains(byte)) {
                match self.stated {
                    None => self.stated = Some(self.read_header(&line)?),
                    Some(_) => self.keys.push(self.read_entry(&line)?),
                }
            }
            self.line += 1;
            self.line_start += line.len() + 1;
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

    fn read_header(&self, line: &[u8]) -> Result<usize, AuditError> {
        let invalid = |_| self.invalid("no header of a notified set");
        let versioned: Versioned = serde_json::from_slice(line).map_err(invalid)?;
        versioned.check("it")?;
        let header: Header = serde_json::from_slice(line).map_err(invalid)?;
        let arn = header.certificate_authority_arn;
        if arn != self.certificate_authority_arn {
            return Err(unreadable(format!(
                "it belongs to another certificate authority, {arn}"
            )));
        }
        Ok(header.count)
    }

    fn read_entry(&self, line: &[u8]) -> Result<RevocationKey, AuditError> {
        // Nearly every line is a serial as this program writes it; no escape is one.
        let quoted = line
            .strip_prefix(b"\"")
            .and_then(|line| line.strip_suffix(b"\""));
        if let Some(octets) = quoted.and_then(serial_octets) {
            return Ok(RevocationKey::Serial(octets));
        }
        let text: Option<String> = serde_json::from_slice(line).ok();
        let text = text.ok_or_else(|| self.invalid("no JSON string"))?;
        RevocationKey::from_text(&text)
            .ok_or_else(|| self.invalid("neither a serial nor an ARN nor a hash"))
    }

    fn invalid(&self, what: &str) -> AuditError {
        let (line, byte) = (self.line, self.line_start);
        unreadable(format!("{what} in line {line} at byte {byte}"))
    }
}
