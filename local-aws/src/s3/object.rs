//! Objects: content, ETag and checksum.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::Stream;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::ChecksumAlgorithm as WireAlgorithm;
use s3s::stream::{ByteStream, RemainingLength};

use crate::md5::md5_hex;

/// Content of an object: in memory, or generated while it is sent.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes generated on request.
    Generated(Generated),
}

impl Content {
    /// Returns the length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Generated(generated) => generated.length,
        }
    }

    /// Streams the bytes of `range` in pieces; generated content keeps its own pieces.
    pub(crate) fn stream(&self, range: Range<u64>) -> ContentStream {
        const PIECE: usize = 256 * 1024;
        let pieces: Pieces = match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(range.start).unwrap_or(usize::MAX);
                let mut rest = bytes.slice(start.min(bytes.len())..);
                Box::new(std::iter::from_fn(move || {
                    (!rest.is_empty()).then(|| rest.split_to(PIECE.min(rest.len())))
                }))
            }
            Self::Generated(generated) => (generated.open)(range.start),
        };
        ContentStream {
            pieces: std::sync::Mutex::new(pieces),
            left: range.end - range.start,
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Bytes::copy_from_slice(bytes))
    }
}

impl From<Generated> for Content {
    fn from(generated: Generated) -> Self {
        Self::Generated(generated)
    }
}

/// Bytes of a generated object, piece by piece.
pub type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

/// An object too large for memory: its bytes are generated while they are sent.
///
/// A generator that ends before `length` breaks the connection.
#[derive(Clone)]
pub struct Generated {
    /// Total length in bytes.
    pub length: u64,
    /// ETag without quotes.
    pub e_tag: String,
    /// Stored checksum of the whole object, if any.
    pub checksum: Option<Checksum>,
    /// Opens the generator at a byte offset.
    pub open: Arc<dyn Fn(u64) -> Pieces + Send + Sync>,
}

impl Generated {
    /// Creates an object from a generator that can start at any offset. Runs it once to compute length, ETag
    /// (MD5) and CRC-64/NVME.
    pub fn measured(open: impl Fn(u64) -> Pieces + Send + Sync + 'static) -> Self {
        let mut md5 = Md5::new();
        let pieces = open(0).inspect(|piece| md5.update(piece));
        let (length, checksum) = measure(pieces);
        Self {
            length,
            e_tag: hex::encode(md5.finalize()),
            checksum: Some(checksum),
            open: Arc::new(open),
        }
    }

    /// Creates an object with this ETag, such as one uploaded in parts, whose ETag is not an MD5. Runs the
    /// generator once to compute length and CRC-64/NVME.
    pub fn with_e_tag(
        e_tag: impl Into<String>,
        open: impl Fn(u64) -> Pieces + Send + Sync + 'static,
    ) -> Self {
        let (length, checksum) = measure(open(0));
        Self {
            length,
            e_tag: e_tag.into(),
            checksum: Some(checksum),
            open: Arc::new(open),
        }
    }

    /// Turns a generator of the whole content into one that can start at any offset, by skipping.
    pub fn skipping(
        open: impl Fn() -> Pieces + Send + Sync + 'static,
    ) -> impl Fn(u64) -> Pieces + Send + Sync + 'static {
        move |offset| {
            let mut skip = offset;
            Box::new(open().filter_map(move |mut piece| {
                let skipped = skip.min(piece.len() as u64);
                skip -= skipped;
                let piece = piece.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
                (!piece.is_empty()).then_some(piece)
            }))
        }
    }
}

/// Returns the length and the CRC-64/NVME of the whole content.
fn measure(pieces: impl Iterator<Item = Bytes>) -> (u64, Checksum) {
    let (mut length, mut crc) = (0, Crc64Nvme::new());
    for piece in pieces {
        length += piece.len() as u64;
        crc.update(&piece);
    }
    let value = STANDARD.encode(crc.finalize());
    let checksum = Checksum::full_object(ChecksumAlgorithm::Crc64Nvme, value);
    (length, checksum)
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generated")
            .field("length", &self.length)
            .field("e_tag", &self.e_tag)
            .field("checksum", &self.checksum)
            .finish_non_exhaustive()
    }
}

/// Checksum algorithms of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ChecksumAlgorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl ChecksumAlgorithm {
    pub(crate) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// Returns the algorithm's name in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => WireAlgorithm::CRC32,
            Self::Crc32c => WireAlgorithm::CRC32C,
            Self::Crc64Nvme => WireAlgorithm::CRC64NVME,
            Self::Sha1 => WireAlgorithm::SHA1,
            Self::Sha256 => WireAlgorithm::SHA256,
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    pub(crate) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Crc32 => Crc32::checksum(bytes).to_vec(),
            Self::Crc32c => Crc32c::checksum(bytes).to_vec(),
            Self::Crc64Nvme => Crc64Nvme::checksum(bytes).to_vec(),
            Self::Sha1 => Sha1::checksum(bytes).as_ref().to_vec(),
            Self::Sha256 => Sha256::checksum(bytes).as_ref().to_vec(),
        }
    }
}

/// A checksum stored with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// Base64 of the checksum; a composite one ends in `-` and the number of parts.
    pub value: String,
    /// Whether this is a checksum of the parts' checksums.
    pub composite: bool,
}

impl Checksum {
    /// Creates a checksum of the whole object.
    fn full_object(algorithm: ChecksumAlgorithm, value: impl Into<String>) -> Self {
        Self {
            algorithm,
            value: value.into(),
            composite: false,
        }
    }

    /// Computes the checksum of these bytes.
    pub(crate) fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Self {
        Self::full_object(algorithm, STANDARD.encode(algorithm.digest(bytes)))
    }

    /// Computes the composite checksum of these parts, as for a multipart upload.
    pub(crate) fn composite<'a>(
        algorithm: ChecksumAlgorithm,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let mut count = 0;
        let digests: Vec<u8> = parts
            .into_iter()
            .inspect(|_| count += 1)
            .flat_map(|part| algorithm.digest(part))
            .collect();
        let value = STANDARD.encode(algorithm.digest(&digests));
        Self {
            algorithm,
            value: format!("{value}-{count}"),
            composite: true,
        }
    }
}

/// A stored object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) content: Content,
    /// Without quotes.
    pub(crate) e_tag: String,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) content_type: Option<String>,
}

impl Object {
    /// Creates an object with the ETag and checksum that S3 computes by default.
    pub(crate) fn new(content: Content) -> Self {
        let (e_tag, checksum) = match &content {
            Content::Bytes(bytes) => (
                md5_hex(bytes),
                Some(Checksum::of(ChecksumAlgorithm::Crc64Nvme, bytes)),
            ),
            Content::Generated(generated) => (generated.e_tag.clone(), generated.checksum.clone()),
        };
        Self {
            content,
            e_tag,
            checksum,
            content_type: None,
        }
    }
}

/// Streams the pieces of an object up to the end of the requested range.
pub(crate) struct ContentStream {
    /// The mutex only makes the iterator `Sync`, as bodies must be.
    pieces: std::sync::Mutex<Pieces>,
    left: u64,
}

impl Stream for ContentStream {
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let pieces = self
            .pieces
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(mut piece) = pieces.find(|piece| !piece.is_empty()) else {
            self.left = 0;
            return Poll::Ready(Some(Err(
                "the generator of this object ended before its stated length".into(),
            )));
        };
        piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(piece)))
    }
}

impl ByteStream for ContentStream {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(usize::try_from(self.left).unwrap_or(usize::MAX))
    }
}
