//! The notified set: the revocations of one certificate authority that people were notified about,
//! and those that its first audit only counted.
//!
//! In memory a serial takes as many bytes as it has octets: a million serials of 16 octets are
//! 16 MB and a quarter of a megabyte of index. In S3 the set is JSON Lines, a header and one JSON
//! string per revocation in ascending order:
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

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use memchr::memchr;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::revocation::key::{RevocationKey, serial_octets};

/// The version of the document that this program writes, and the newest one that it reads.
pub const NOTIFIED_SET_VERSION: u64 = 1;

/// The exact set of revocations of one certificate authority that are notified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifiedSet {
    /// Serials by the number of their octets, from 1 on.
    serials: [Serials; 20],
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
            RevocationKey::Serial(octets) => {
                let serial = significant(octets);
                self.serials[serial.len() - 1].contains(serial)
            }
            RevocationKey::Text(text) => self.texts.binary_search(text).is_ok(),
        }
    }

    /// Returns the number of revocations.
    pub fn len(&self) -> usize {
        self.serials.iter().map(Serials::len).sum::<usize>() + self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds revocations; duplicates do no harm.
    ///
    /// Adds at most an eighth of the set's size at a time, so that memory stays close to that of
    /// the set itself.
    pub fn merge(&mut self, new: impl IntoIterator<Item = RevocationKey>) {
        let mut new = new.into_iter();
        loop {
            let portion = (self.len() / 8).max(1 << 16);
            let mut serials = Vec::new();
            let mut texts = Vec::new();
            for key in new.by_ref().filter(|key| !self.contains(key)).take(portion) {
                match key {
                    RevocationKey::Serial(octets) => serials.push(octets),
                    RevocationKey::Text(text) => texts.push(text),
                }
            }
            let was_last = serials.len() + texts.len() < portion;
            self.merge_serials(serials);
            self.texts.append(&mut texts);
            self.texts.sort_unstable();
            self.texts.dedup();
            if was_last {
                return;
            }
        }
    }

    /// Adds all revocations of another set.
    pub fn union_with(&mut self, mut other: NotifiedSet) {
        if other.len() > self.len() {
            std::mem::swap(self, &mut other);
        }
        self.merge(other.keys());
    }

    /// Returns the revocations in the order of their keys.
    pub fn keys(&self) -> impl Iterator<Item = RevocationKey> {
        let serials = self.serials.iter().flat_map(Serials::iter);
        let serials = serials.map(|serial| {
            let mut octets = [0; 20];
            octets[20 - serial.len()..].copy_from_slice(serial);
            RevocationKey::Serial(octets)
        });
        serials.chain(self.texts.iter().cloned().map(RevocationKey::Text))
    }

    /// Returns the exact length of the document in bytes.
    pub fn document_len(&self, certificate_authority_arn: &str) -> u64 {
        let serials: usize = self
            .serials
            .iter()
            .map(|serials| serials.len() * (2 * serials.width + "\"\"\n".len()))
            .sum();
        let texts: usize = self.texts.iter().map(|text| json_line(text).len()).sum();
        let header = header_line(self, certificate_authority_arn).len();
        (header + serials + texts) as u64
    }

    /// Returns the document in chunks of about 64 KiB, so that memory never holds all of it.
    pub fn document_chunks(
        self: Arc<Self>,
        certificate_authority_arn: &str,
    ) -> impl Iterator<Item = Vec<u8>> + Send + Sync + use<> {
        /// The longest line of a serial: 40 digits, two quotes and the line end, rounded up.
        const SERIAL_LINE_BYTES: usize = 48;
        let mut header = Some(header_line(&self, certificate_authority_arn));
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

    /// Appends the line of the entry with this number, counted from 0.
    fn write_line(&self, entry: usize, chunk: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut at = entry;
        for serials in &self.serials {
            if at < serials.len() {
                chunk.push(b'"');
                for octet in serials.get(at) {
                    chunk.push(DIGITS[usize::from(octet >> 4)]);
                    chunk.push(DIGITS[usize::from(octet & 0xf)]);
                }
                chunk.extend_from_slice(b"\"\n");
                return;
            }
            at -= serials.len();
        }
        chunk.append(&mut json_line(&self.texts[at]));
    }

    /// Adds serials that the set does not contain.
    fn merge_serials(&mut self, mut new: Vec<[u8; 20]>) {
        new.sort_unstable();
        new.dedup();
        // Sorted by value, serials of the same number of octets are next to each other.
        for same_width in new.chunk_by(|a, b| significant(a).len() == significant(b).len()) {
            self.serials[significant(&same_width[0]).len() - 1].merge(same_width);
        }
    }
}

/// Returns a serial's octets without leading zeros; one zero for the serial 0.
fn significant(octets: &[u8; 20]) -> &[u8] {
    let zeros = octets.iter().take(19).take_while(|&&octet| octet == 0);
    &octets[zeros.count()..]
}

/// Serials of the same number of octets, ascending, concatenated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Serials {
    /// Octets per serial; 0 if there is no serial.
    width: usize,
    octets: Vec<u8>,
    /// For every value of a serial's first two octets, the number of serials with a lower one. Of
    /// a million random serials this leaves about 15 to search. Empty up to
    /// [`Serials::MAX_WITHOUT_INDEX`] serials.
    index: Vec<u32>,
}

impl Serials {
    /// Maximum number of serials that are searched as fast without an index.
    const MAX_WITHOUT_INDEX: usize = 4096;

    fn len(&self) -> usize {
        self.octets.len().checked_div(self.width).unwrap_or(0)
    }

    fn get(&self, at: usize) -> &[u8] {
        &self.octets[at * self.width..(at + 1) * self.width]
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.octets.chunks_exact(self.width.max(1))
    }

    fn contains(&self, serial: &[u8]) -> bool {
        let (mut low, mut high) = match self.index.is_empty() {
            true => (0, self.len()),
            false => {
                let first = first_two(serial);
                (self.index[first] as usize, self.index[first + 1] as usize)
            }
        };
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(serial) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }

    /// Appends a serial that is greater than all others.
    fn push(&mut self, serial: &[u8]) {
        self.width = serial.len();
        self.octets.extend_from_slice(serial);
    }

    /// Adds ascending serials, none of which is here yet: from the greatest to the least, each
    /// serial moves to its final position.
    fn merge(&mut self, new: &[[u8; 20]]) {
        let Some(first) = new.first() else {
            return;
        };
        self.width = significant(first).len();
        let width = self.width;
        let mut old = self.len();
        let mut to = old + new.len();
        self.octets.resize(to * width, 0);
        for serial in new.iter().rev().map(|octets| &octets[20 - width..]) {
            let stay = (0..old)
                .rev()
                .take_while(|&at| self.get(at) > serial)
                .count();
            self.octets
                .copy_within((old - stay) * width..old * width, (to - stay) * width);
            old -= stay;
            to -= stay + 1;
            self.octets[to * width..(to + 1) * width].copy_from_slice(serial);
        }
        self.build_index();
    }

    fn build_index(&mut self) {
        self.index.clear();
        if self.len() <= Self::MAX_WITHOUT_INDEX {
            return;
        }
        self.index.resize((1 << 16) + 1, 0);
        for serial in self.octets.chunks_exact(self.width) {
            self.index[first_two(serial) + 1] += 1;
        }
        let mut sum = 0;
        for count in &mut self.index {
            sum += *count;
            *count = sum;
        }
    }
}

/// Returns the first two octets; serials of one octet are too few for an index.
fn first_two(serial: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([serial[0], serial[1]]))
}

const CHUNK_BYTES: usize = 64 << 10;

/// The first line of the document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header<'a> {
    version: u64,
    #[serde(borrow)]
    certificate_authority_arn: Cow<'a, str>,
    count: u64,
}

/// The part of the header that every version has.
#[derive(Deserialize)]
struct AnyHeader {
    version: u64,
}

fn header_line(set: &NotifiedSet, certificate_authority_arn: &str) -> Vec<u8> {
    json_line(&Header {
        version: NOTIFIED_SET_VERSION,
        certificate_authority_arn: certificate_authority_arn.into(),
        count: set.len() as u64,
    })
}

fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("texts and numbers are always valid JSON");
    line.push(b'\n');
    line
}

/// Why a notified set cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifiedSetError {
    /// The number of the line, from 1.
    pub line: u64,
    /// Where that line begins, as an offset from 0 in the document; the document's length if the
    /// document ends too early or holds the wrong number of entries.
    pub byte: u64,
    /// What is wrong there.
    pub kind: NotifiedSetErrorKind,
}

/// What is wrong with a notified set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotifiedSetErrorKind {
    /// A newer version of this program wrote it.
    NewerVersion(u64),
    /// It is the notified set of this other certificate authority.
    OtherCertificateAuthority(String),
    /// The number of different revocations it holds is not the number it states.
    Count {
        /// The header's `count`.
        stated: u64,
        /// Different entries.
        found: u64,
    },
    /// It ends before the header does, or within a line.
    Truncated,
    /// A line is not what it should be.
    Invalid(&'static str),
}

impl fmt::Display for NotifiedSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NotifiedSetErrorKind::NewerVersion(version) => write!(
                f,
                "its version is {version}; this program reads versions up to {NOTIFIED_SET_VERSION}"
            ),
            NotifiedSetErrorKind::OtherCertificateAuthority(arn) => {
                write!(f, "it belongs to another certificate authority, {arn}")
            }
            NotifiedSetErrorKind::Count { stated, found } => write!(
                f,
                "its header states {stated} revocations, but it holds {found} different ones"
            ),
            NotifiedSetErrorKind::Truncated => {
                write!(
                    f,
                    "it ends too early, in line {} at byte {}",
                    self.line, self.byte
                )
            }
            NotifiedSetErrorKind::Invalid(what) => {
                write!(f, "{what} in line {} at byte {}", self.line, self.byte)
            }
        }
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
    entries: u64,
    set: NotifiedSet,
    /// Serials that followed a greater one.
    unordered: Vec<[u8; 20]>,
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
            entries: 0,
            set: NotifiedSet::new(),
            unordered: Vec::new(),
            failed: None,
        }
    }

    /// Reads the next bytes of the document.
    ///
    /// # Errors
    ///
    /// The bytes are not part of a notified set of this certificate authority and of a version that
    /// this program knows. Every later call fails the same way.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<(), NotifiedSetError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        while let Some(end) = memchr(b'\n', chunk) {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            if self.partial_line.is_empty() {
                self.read_line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial_line);
                whole.extend_from_slice(line);
                self.read_line(&whole)?;
                whole.clear();
                self.partial_line = whole; // keeps its capacity
            }
            chunk = rest;
        }
        self.partial_line.extend_from_slice(chunk);
        if self.partial_line.len() > MAX_LINE_BYTES {
            return self.fail(NotifiedSetErrorKind::Invalid("too long a line"));
        }
        Ok(())
    }

    /// Returns the set, if the document is complete. The last line may lack its line end, as
    /// editors remove it.
    ///
    /// # Errors
    ///
    /// The document ends too early, or does not hold as many revocations as its header states.
    pub fn finish(mut self) -> Result<NotifiedSet, NotifiedSetError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let last_line = std::mem::take(&mut self.partial_line);
        let (line, byte) = (self.line, self.line_start + last_line.len() as u64);
        let error = |kind| NotifiedSetError { line, byte, kind };
        if !last_line.is_empty() {
            if serde_json::from_slice::<IgnoredAny>(&last_line).is_err() {
                return Err(error(NotifiedSetErrorKind::Truncated));
            }
            self.read_line(&last_line)?;
        }
        let Some(stated) = self.stated else {
            return Err(error(NotifiedSetErrorKind::Truncated));
        };
        for serials in &mut self.set.serials {
            serials.octets.shrink_to_fit();
            serials.build_index();
        }
        self.set.texts.sort_unstable();
        self.set.texts.dedup();
        let unordered = self.unordered.into_iter().map(RevocationKey::Serial);
        self.set.merge(unordered);
        let found = self.set.len() as u64;
        if stated != found || stated != self.entries {
            return Err(error(NotifiedSetErrorKind::Count { stated, found }));
        }
        Ok(self.set)
    }

    /// Reads a line without its line end. A blank line is skipped.
    fn read_line(&mut self, line: &[u8]) -> Result<(), NotifiedSetError> {
        let read = if self.stated.is_some() {
            self.read_entry(line)
        } else {
            self.read_header(line)
        };
        if let Err(kind) = read
            && !line.trim_ascii().is_empty()
        {
            return self.fail(kind);
        }
        self.line += 1;
        self.line_start += line.len() as u64 + 1;
        Ok(())
    }

    fn read_header(&mut self, line: &[u8]) -> Result<(), NotifiedSetErrorKind> {
        let invalid = |_| NotifiedSetErrorKind::Invalid("no header of a notified set");
        let AnyHeader { version } = serde_json::from_slice(line).map_err(invalid)?;
        if version > NOTIFIED_SET_VERSION {
            return Err(NotifiedSetErrorKind::NewerVersion(version));
        }
        let header: Header<'_> = serde_json::from_slice(line).map_err(invalid)?;
        if version != NOTIFIED_SET_VERSION {
            return Err(NotifiedSetErrorKind::Invalid("an unknown version"));
        }
        if header.certificate_authority_arn != self.certificate_authority_arn {
            return Err(NotifiedSetErrorKind::OtherCertificateAuthority(
                header.certificate_authority_arn.into_owned(),
            ));
        }
        self.stated = Some(header.count);
        Ok(())
    }

    fn read_entry(&mut self, line: &[u8]) -> Result<(), NotifiedSetErrorKind> {
        // Nearly every line is a serial as this program writes it; no escape is one.
        let quoted = line
            .strip_prefix(b"\"")
            .and_then(|line| line.strip_suffix(b"\""));
        let key = match quoted.and_then(serial_octets) {
            Some(serial) => RevocationKey::Serial(serial),
            None => {
                let text: String = serde_json::from_slice(line)
                    .map_err(|_| NotifiedSetErrorKind::Invalid("no JSON string"))?;
                RevocationKey::from_text(&text).ok_or(NotifiedSetErrorKind::Invalid(
                    "neither a serial nor an ARN nor a hash",
                ))?
            }
        };
        self.entries += 1;
        match key {
            RevocationKey::Text(text) => self.set.texts.push(text),
            RevocationKey::Serial(octets) => {
                let serial = significant(&octets);
                let serials = &mut self.set.serials[serial.len() - 1];
                let last = serials.len().checked_sub(1).map(|last| serials.get(last));
                if last.is_none_or(|last| last < serial) {
                    serials.push(serial);
                } else {
                    self.unordered.push(octets);
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, kind: NotifiedSetErrorKind) -> Result<(), NotifiedSetError> {
        let error = NotifiedSetError {
            line: self.line,
            byte: self.line_start,
            kind,
        };
        self.failed = Some(error.clone());
        Err(error)
    }
}
