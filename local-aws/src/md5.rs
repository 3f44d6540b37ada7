//! MD5 digests, as S3 and SQS state them.

use s3s::crypto::{Checksum as _, Md5};

pub(crate) fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::checksum(bytes)
}

/// Returns the digest in hexadecimal digits.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(md5(bytes))
}
