//! The identity of a revocation in messages.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::revocation::key::RevocationKey;

/// The identity of a revocation in messages: the same in every message about it, and different for
/// each CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevocationId([u8; 16]);

impl RevocationId {
    /// Returns the identity of a revocation by that CA.
    pub fn of(certificate_authority_arn: &str, key: &RevocationKey) -> Self {
        let key = key.to_string();
        Self(hash(&[
            certificate_authority_arn.as_bytes(),
            key.as_bytes(),
        ]))
    }

    /// Returns the identity as octets.
    pub fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Returns the first half of a SHA-256 over the parts and their lengths.
pub fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    *digest.first_chunk().expect("16 of 32 octets")
}

/// Returns octets as lower-case hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
