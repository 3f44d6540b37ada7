//! The told list: the revocations of one certificate authority that were told, or counted at its
//! first audit.
//!
//! In memory a serial takes as many bytes as it has octets: a million serials of 16 octets are
//! 16 MB and a quarter of a megabyte of index. In S3 it is one JSON object, one serial per line, in
//! ascending order:
//!
//! ```json
//! {"version":1,"certificateAuthorityArn":"arn:aws:acm-pca:...","count":2,"revocations":[
//! "2bae9a75d71b42b4e41e36f8b4b488fc",
//! "e8cbd2bedb122329f97706bcfec990f8"
//! ]}
//! ```
//!
//! It is written and read piece by piece. Reading takes any JSON of that content, so that people
//! may edit it with `jq`, which lays it out differently. `count` has to be changed along, and `told`
//! of the control document: they are there so that entries cannot get lost unnoticed.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use memchr::memchr2;

use crate::revocation::key::{RevocationKey, ascii_serial_octets};

/// The version of the document that this program writes, and the newest one that it reads.
pub const NOTIFIED_SET_VERSION: u64 = 1;

/// The told revocations of one certificate authority, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifiedSet {
    /// Serials by the number of their octets, from 1 on.
    serials: [Serials; 20],
    /// What has no usable serial, ascending.
    texts: Vec<Box<str>>,
}

impl NotifiedSet {
    /// A list of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether that revocation was told.
    pub fn contains(&self, key: &RevocationKey) -> bool {
        match key {
            RevocationKey::Serial(octets) => {
                let serial = significant(octets);
                self.serials[serial.len() - 1].contains(serial)
            }
            RevocationKey::Text(text) => self.texts.binary_search(text).is_ok(),
        }
    }

    /// How many revocations were told.
    pub fn len(&self) -> usize {
        self.serials.iter().map(Serials::len).sum::<usize>() + self.texts.len()
    }

    /// Whether none was told.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds revocations; those that are on the list already, or come twice, do no harm.
    ///
    /// Takes them in portions of an eighth of the list, so that memory stays close to that of the
    /// list itself.
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

    /// Adds everything that another list holds.
    pub fn union_with(&mut self, mut other: NotifiedSet) {
        if other.len() > self.len() {
            std::mem::swap(self, &mut other);
        }
        self.merge(other.keys());
    }

    /// The revocations on the list, in the order of their keys.
    pub fn keys(&self) -> impl Iterator<Item = RevocationKey> {
        let serials = self.serials.iter().flat_map(Serials::iter);
        let serials = serials.map(|serial| {
            let mut octets = [0; 20];
            octets[20 - serial.len()..].copy_from_slice(serial);
            RevocationKey::Serial(octets)
        });
        serials.chain(self.texts.iter().cloned().map(RevocationKey::Text))
    }

    /// The exact number of bytes of the document.
    pub fn document_len(&self, certificate_authority_arn: &str) -> u64 {
        let serials: usize = self
            .serials
            .iter()
            .map(|serials| serials.len() * (2 * serials.width() + 2))
            .sum();
        let texts: usize = self.texts.iter().map(|text| json_string(text).len()).sum();
        let line_ends = 2 * self.len() - usize::from(!self.is_empty());
        let head = document_head(self, certificate_authority_arn).len();
        (head + serials + texts + line_ends + DOCUMENT_TAIL.len()) as u64
    }

    /// The document, in pieces of some 64 KiB, so that it never is in memory as a whole.
    pub fn document_chunks(&self, certificate_authority_arn: &str) -> DocumentChunks<&NotifiedSet> {
        DocumentChunks::new(self, certificate_authority_arn)
    }

    /// [`document_chunks`](Self::document_chunks) that hold on to the list, for a request's body.
    pub fn into_document_chunks(
        self: Arc<Self>,
        certificate_authority_arn: &str,
    ) -> DocumentChunks<Arc<NotifiedSet>> {
        DocumentChunks::new(self, certificate_authority_arn)
    }

    /// Adds serials that are not on the list yet.
    fn merge_serials(&mut self, mut new: Vec<[u8; 20]>) {
        new.sort_unstable();
        new.dedup();
        // In order of value, those of the same number of octets are together.
        for same_width in new.chunk_by(|a, b| significant(a).len() == significant(b).len()) {
            self.serials[significant(&same_width[0]).len() - 1].merge(same_width);
        }
    }
}

/// A serial's octets without leading zeros; one zero for the serial 0.
fn significant(octets: &[u8; 20]) -> &[u8] {
    let zeros = octets.iter().take(19).take_while(|&&octet| octet == 0);
    &octets[zeros.count()..]
}

/// Serials of the same number of octets, ascending, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Serials {
    /// The number of octets; 0 as long as there is no serial.
    width: usize,
    octets: Vec<u8>,
    /// For every value of a serial's first two octets, how many serials have a lower one: where
    /// serials are random, some 15 of a million are left to search. Only for lists of more than
    /// [`Serials::WITHOUT_INDEX`].
    index: Vec<u32>,
}

impl Serials {
    /// So many are searched as fast without an index.
    const WITHOUT_INDEX: usize = 4096;

    fn len(&self) -> usize {
        self.octets.len().checked_div(self.width).unwrap_or(0)
    }

    fn width(&self) -> usize {
        self.width
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

    /// Adds serials, ascending, none of which is here yet: from the greatest to the least, each
    /// serial moves to its place.
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
        if self.len() <= Self::WITHOUT_INDEX {
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

/// Lists of serials of one octet are never long enough for an index.
fn first_two(serial: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([serial[0], serial[1]]))
}

/// The document of a told list, piece by piece. A clone of one that was not begun begins anew.
#[derive(Clone, Debug)]
pub struct DocumentChunks<L> {
    list: L,
    head: Option<String>,
    /// The next serial: the number of its octets less one, and its place among those.
    serial: (usize, usize),
    text: usize,
    left: usize,
    tail: &'static str,
}

const CHUNK_BYTES: usize = 64 << 10;
const DOCUMENT_TAIL: &str = "]}\n";

fn document_head(list: &NotifiedSet, certificate_authority_arn: &str) -> String {
    format!(
        "{{\"version\":{NOTIFIED_SET_VERSION},\"certificateAuthorityArn\":{},\"count\":{},\"revocations\":[\n",
        json_string(certificate_authority_arn),
        list.len()
    )
}

/// A text as JSON. The ARN of an odd record may hold anything.
fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<L: Deref<Target = NotifiedSet>> DocumentChunks<L> {
    fn new(list: L, certificate_authority_arn: &str) -> Self {
        Self {
            head: Some(document_head(&list, certificate_authority_arn)),
            serial: (0, 0),
            text: 0,
            left: list.len(),
            tail: DOCUMENT_TAIL,
            list,
        }
    }

    /// Writes the next entry, without what separates it.
    fn write_entry(&mut self, chunk: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let (width, at) = &mut self.serial;
        while let Some(serials) = self.list.serials.get(*width) {
            if *at == serials.len() {
                (*width, *at) = (*width + 1, 0);
                continue;
            }
            chunk.push(b'"');
            for octet in serials.get(*at) {
                chunk.push(DIGITS[usize::from(octet >> 4)]);
                chunk.push(DIGITS[usize::from(octet & 0xf)]);
            }
            chunk.push(b'"');
            *at += 1;
            return;
        }
        chunk.extend_from_slice(json_string(&self.list.texts[self.text]).as_bytes());
        self.text += 1;
    }
}

impl<L: Deref<Target = NotifiedSet>> Iterator for DocumentChunks<L> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = match self.head.take() {
            Some(head) => head.into_bytes(),
            None => Vec::new(),
        };
        chunk.reserve_exact(CHUNK_BYTES.min(self.left * 48 + DOCUMENT_TAIL.len()));
        while self.left > 0 && chunk.len() + 48 <= CHUNK_BYTES {
            self.left -= 1;
            self.write_entry(&mut chunk);
            chunk.extend_from_slice(if self.left > 0 { b",\n" } else { b"\n" });
        }
        if self.left == 0 {
            chunk.extend_from_slice(std::mem::take(&mut self.tail).as_bytes());
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}

/// Why a told list cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifiedSetError {
    /// Where, as an offset from 0 in the document.
    pub byte: u64,
    pub kind: NotifiedSetErrorKind,
}

/// What is wrong with a told list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotifiedSetErrorKind {
    /// A newer version of this program wrote it.
    NewerVersion(u64),
    /// It is the told list of that other certificate authority.
    OtherCertificateAuthority(String),
    /// It holds another number of different revocations than it states.
    Count { stated: u64, found: u64 },
    /// It ends too early.
    Truncated,
    /// It is not what this program writes, nor the same content laid out differently.
    Invalid(&'static str),
}

impl fmt::Display for NotifiedSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NotifiedSetErrorKind::NewerVersion(version) => write!(
                f,
                "its version is {version}, and this program knows none above {NOTIFIED_SET_VERSION}"
            ),
            NotifiedSetErrorKind::OtherCertificateAuthority(arn) => {
                write!(f, "it belongs to another certificate authority, {arn}")
            }
            NotifiedSetErrorKind::Count { stated, found } => write!(
                f,
                "it states {stated} revocations and holds {found} different ones"
            ),
            NotifiedSetErrorKind::Truncated => {
                write!(f, "it ends too early, at byte {}", self.byte)
            }
            NotifiedSetErrorKind::Invalid(what) => write!(f, "{what} at byte {}", self.byte),
        }
    }
}

impl std::error::Error for NotifiedSetError {}

/// Reads the document of a told list from slices of any size.
pub struct NotifiedSetReader {
    certificate_authority_arn: String,
    expects: Expects,
    /// A string or a number that straddles slices, from its first byte on.
    token: Vec<u8>,
    after_backslash: bool,
    at: u64,
    version: Option<u64>,
    arn: Option<String>,
    count: Option<u64>,
    entries: u64,
    has_list: bool,
    list: NotifiedSet,
    /// Serials that came after a greater one.
    unordered: Vec<[u8; 20]>,
    failed: Option<NotifiedSetError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Object,
    FirstKeyOrEnd,
    Key,
    Colon(Key),
    Value(Key),
    CommaOrEnd,
    FirstEntryOrEnd,
    Entry,
    EntryCommaOrEnd,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Version,
    CertificateAuthorityArn,
    Count,
    Revocations,
}

/// The longest string of a document: an ARN may be as long as a record of a report, and its escape
/// sequences six times that.
const MAX_TOKEN_BYTES: usize = 6 << 20;

impl NotifiedSetReader {
    /// A reader of the told list of that certificate authority.
    pub fn new(certificate_authority_arn: impl Into<String>) -> Self {
        Self {
            certificate_authority_arn: certificate_authority_arn.into(),
            expects: Expects::Object,
            token: Vec::new(),
            after_backslash: false,
            at: 0,
            version: None,
            arn: None,
            count: None,
            entries: 0,
            has_list: false,
            list: NotifiedSet::new(),
            unordered: Vec::new(),
            failed: None,
        }
    }

    /// Reads the next bytes of the document.
    ///
    /// # Errors
    ///
    /// They do not belong to a told list of this certificate authority that this version of the
    /// program knows. Every later call fails the same way.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), NotifiedSetError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.read(chunk).map_err(|(at, kind)| {
            let byte = self.at + at as u64;
            self.failed.insert(NotifiedSetError { byte, kind }).clone()
        })?;
        self.at += chunk.len() as u64;
        Ok(())
    }

    /// The list, where the document is whole.
    ///
    /// # Errors
    ///
    /// It is not, or it does not hold as many revocations as it states.
    pub fn finish(mut self) -> Result<NotifiedSet, NotifiedSetError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let error = |kind| NotifiedSetError {
            byte: self.at,
            kind,
        };
        if self.expects != Expects::Nothing {
            return Err(error(NotifiedSetErrorKind::Truncated));
        }
        let (Some(_), Some(_), Some(stated), true) =
            (self.version, self.arn, self.count, self.has_list)
        else {
            return Err(error(NotifiedSetErrorKind::Invalid(
                "one of version, certificateAuthorityArn, count and revocations is missing",
            )));
        };
        for serials in &mut self.list.serials {
            serials.octets.shrink_to_fit();
            serials.build_index();
        }
        self.list.texts.sort_unstable();
        self.list.texts.dedup();
        let unordered = self.unordered.into_iter().map(RevocationKey::Serial);
        self.list.merge(unordered);
        let found = self.list.len() as u64;
        if stated != found || stated != self.entries {
            return Err(error(NotifiedSetErrorKind::Count { stated, found }));
        }
        Ok(self.list)
    }

    fn read(&mut self, chunk: &[u8]) -> Result<(), (usize, NotifiedSetErrorKind)> {
        let mut at = self.read_token(chunk, 0)?;
        while let Some(&byte) = chunk.get(at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => at += 1,
                _ if self.expects == Expects::Nothing => {
                    return Err((
                        at,
                        NotifiedSetErrorKind::Invalid("something after the list"),
                    ));
                }
                b'"' => {
                    let text = &chunk[at + 1..];
                    match memchr2(b'"', b'\\', text) {
                        Some(len) if text[len] == b'"' => {
                            self.string(&chunk[at..at + len + 2])
                                .map_err(|kind| (at, kind))?;
                            at += len + 2;
                        }
                        _ => {
                            self.token.push(b'"');
                            at = self.read_token(chunk, at + 1)?;
                        }
                    }
                }
                b'0'..=b'9' => at = self.begin_number(chunk, at)?,
                _ => {
                    self.punctuation(byte).map_err(|kind| (at, kind))?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn begin_number(
        &mut self,
        chunk: &[u8],
        at: usize,
    ) -> Result<usize, (usize, NotifiedSetErrorKind)> {
        self.token.push(chunk[at]);
        self.read_token(chunk, at + 1)
    }

    /// Reads on in a string or number that was begun, if one was. Answers the place after it.
    fn read_token(
        &mut self,
        chunk: &[u8],
        from: usize,
    ) -> Result<usize, (usize, NotifiedSetErrorKind)> {
        let Some(&first) = self.token.first() else {
            return Ok(from);
        };
        let mut at = from;
        while let Some(&byte) = chunk.get(at) {
            if first != b'"' && !byte.is_ascii_digit() {
                let token = std::mem::take(&mut self.token);
                self.number(&token).map_err(|kind| (at, kind))?;
                return Ok(at);
            }
            self.token.push(byte);
            at += 1;
            if self.token.len() > MAX_TOKEN_BYTES {
                return Err((at, NotifiedSetErrorKind::Invalid("too long a text")));
            }
            let ends = first == b'"' && byte == b'"' && !self.after_backslash;
            self.after_backslash = byte == b'\\' && !self.after_backslash;
            if ends {
                let token = std::mem::take(&mut self.token);
                self.string(&token).map_err(|kind| (at, kind))?;
                return Ok(at);
            }
        }
        Ok(at)
    }

    fn punctuation(&mut self, byte: u8) -> Result<(), NotifiedSetErrorKind> {
        self.expects = match (self.expects, byte) {
            (Expects::Object, b'{') => Expects::FirstKeyOrEnd,
            (Expects::Colon(key), b':') => Expects::Value(key),
            (Expects::Value(Key::Revocations), b'[') => {
                self.has_list = true;
                Expects::FirstEntryOrEnd
            }
            (Expects::EntryCommaOrEnd, b',') => Expects::Entry,
            (Expects::FirstEntryOrEnd | Expects::EntryCommaOrEnd, b']') => Expects::CommaOrEnd,
            (Expects::CommaOrEnd, b',') => Expects::Key,
            (Expects::FirstKeyOrEnd | Expects::CommaOrEnd, b'}') => Expects::Nothing,
            _ => return Err(NotifiedSetErrorKind::Invalid("an unexpected character")),
        };
        Ok(())
    }

    fn number(&mut self, digits: &[u8]) -> Result<(), NotifiedSetErrorKind> {
        let invalid = |_| NotifiedSetErrorKind::Invalid("an invalid number");
        let number: u64 = serde_json::from_slice(digits).map_err(invalid)?;
        match self.expects {
            Expects::Value(Key::Version) if number > NOTIFIED_SET_VERSION => {
                return Err(NotifiedSetErrorKind::NewerVersion(number));
            }
            Expects::Value(Key::Version) if number == NOTIFIED_SET_VERSION => {
                self.version = Some(number);
            }
            Expects::Value(Key::Version) => {
                return Err(NotifiedSetErrorKind::Invalid("an unknown version"));
            }
            Expects::Value(Key::Count) => self.count = Some(number),
            _ => return Err(NotifiedSetErrorKind::Invalid("an unexpected number")),
        }
        self.expects = Expects::CommaOrEnd;
        Ok(())
    }

    /// Takes a whole string, quotes included.
    fn string(&mut self, quoted: &[u8]) -> Result<(), NotifiedSetErrorKind> {
        if let Expects::FirstEntryOrEnd | Expects::Entry = self.expects {
            self.entries += 1;
            self.expects = Expects::EntryCommaOrEnd;
            return match ascii_serial_octets(&quoted[1..quoted.len() - 1]) {
                Some(octets) => {
                    self.add_serial(octets);
                    Ok(())
                }
                None => self.add_text(decoded(quoted)?),
            };
        }
        let text = decoded(quoted)?;
        self.expects = match self.expects {
            Expects::FirstKeyOrEnd | Expects::Key => Expects::Colon(self.key(&text)?),
            Expects::Value(Key::CertificateAuthorityArn) => {
                if text != self.certificate_authority_arn {
                    return Err(NotifiedSetErrorKind::OtherCertificateAuthority(text));
                }
                self.arn = Some(text);
                Expects::CommaOrEnd
            }
            _ => return Err(NotifiedSetErrorKind::Invalid("an unexpected text")),
        };
        Ok(())
    }

    fn key(&self, name: &str) -> Result<Key, NotifiedSetErrorKind> {
        let (key, is_first) = match name {
            "version" => (Key::Version, self.version.is_none()),
            "certificateAuthorityArn" => (Key::CertificateAuthorityArn, self.arn.is_none()),
            "count" => (Key::Count, self.count.is_none()),
            "revocations" => (Key::Revocations, !self.has_list),
            _ => return Err(NotifiedSetErrorKind::Invalid("an unknown key")),
        };
        if !is_first {
            return Err(NotifiedSetErrorKind::Invalid("a key for the second time"));
        }
        Ok(key)
    }

    fn add_serial(&mut self, octets: [u8; 20]) {
        let serial = significant(&octets);
        let serials = &mut self.list.serials[serial.len() - 1];
        let last = serials.len().checked_sub(1).map(|last| serials.get(last));
        if last.is_none_or(|last| last < serial) {
            serials.push(serial);
        } else {
            self.unordered.push(octets);
        }
    }

    fn add_text(&mut self, text: String) -> Result<(), NotifiedSetErrorKind> {
        match RevocationKey::from_text(&text) {
            Some(RevocationKey::Text(text)) => self.list.texts.push(text),
            Some(RevocationKey::Serial(octets)) => self.add_serial(octets),
            None => {
                return Err(NotifiedSetErrorKind::Invalid(
                    "neither a serial nor an ARN nor a hash",
                ));
            }
        }
        Ok(())
    }
}

fn decoded(quoted: &[u8]) -> Result<String, NotifiedSetErrorKind> {
    serde_json::from_slice(quoted).map_err(|_| NotifiedSetErrorKind::Invalid("an invalid text"))
}
