//! Reproducible identifiers: the same seed yields the same sequence.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

/// Generates the identifiers of requests, reports, messages and certificates.
#[derive(Debug)]
pub(crate) struct Ids {
    seed: u64,
    given: AtomicU64,
}

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            given: AtomicU64::new(0),
        }
    }

    /// Returns a version 4 UUID in lowercase.
    pub(crate) fn uuid(&self) -> String {
        let mut bytes = self.bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let digits = hex::encode(bytes);
        format!(
            "{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        )
    }

    /// Returns a 16-octet certificate serial number as audit reports show it: lowercase hex with colons.
    pub(crate) fn serial(&self) -> String {
        let mut bytes = self.bytes();
        // RFC 5280, section 4.1.2.2: serial numbers are positive.
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        let mut serial = String::with_capacity(47);
        for (index, byte) in bytes.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(serial, "{colon}{byte:02x}").expect("writing to a String cannot fail");
        }
        serial
    }

    /// Returns a number that is evenly distributed.
    pub(crate) fn number(&self) -> u64 {
        let bytes = self.bytes();
        bytes[..8]
            .iter()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    fn bytes(&self) -> [u8; 16] {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(number.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        bytes
    }
}
