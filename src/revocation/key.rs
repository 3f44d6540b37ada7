//! The identity of a revocation: within its CA, and in messages.

use std::fmt;

use sha2::{Digest, Sha256};

/// The identity of a revocation within its CA.
///
/// Its canonical text is what the notified set contains: `e8cbd2bedb122329f97706bcfec990f8` (a
/// lower-case serial without colons and leading zeros), else the certificate's ARN, else `sha256:`
/// and a hash of the record's bytes. Serials come first in order, by their value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevocationKey {
    /// A serial of up to 20 octets (RFC 5280, section 4.1.2.2), big-endian and right-aligned.
    Serial([u8; 20]),
    /// Anything else: an ARN, or `sha256:` and 64 digits.
    Text(Box<str>),
}

impl RevocationKey {
    /// Returns the key of a record: its serial if that is valid, else its ARN, else a hash of its
    /// bytes.
    pub fn of(serial: Option<&str>, certificate_arn: Option<&str>, raw: &[u8]) -> Self {
        if let Some(octets) = serial.and_then(serial_octets) {
            return RevocationKey::Serial(octets);
        }
        match certificate_arn {
            Some(arn) if arn.starts_with("arn:") => RevocationKey::Text(arn.into()),
            _ => RevocationKey::Text(format!("sha256:{}", hex(&Sha256::digest(raw))).into()),
        }
    }

    /// Reads a key's canonical text, as [`Display`](fmt::Display) writes it.
    pub fn from_text(text: &str) -> Option<Self> {
        if let Some(octets) = serial_octets(text) {
            return Some(RevocationKey::Serial(octets));
        }
        (text.starts_with("arn:") || text.starts_with("sha256:"))
            .then(|| RevocationKey::Text(text.into()))
    }
}

impl fmt::Display for RevocationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RevocationKey::Serial(octets) => f.write_str(&hex(significant(octets))),
            RevocationKey::Text(text) => f.write_str(text),
        }
    }
}

/// Returns the value of a hexadecimal serial, ignoring case, colons and leading zeros; `None` if the
/// text is not one, has more than 20 octets or is zero (RFC 5280 requires a positive number).
pub fn serial_octets(text: impl AsRef<[u8]>) -> Option<[u8; 20]> {
    let mut octets = [0; 20];
    let digits = text.as_ref().iter().rev().filter(|&&byte| byte != b':');
    for (digits, &byte) in digits.enumerate() {
        let digit = char::from(byte).to_digit(16)? as u8;
        match octets.len().checked_sub(1 + digits / 2) {
            Some(at) => octets[at] |= digit << (digits % 2 * 4),
            None if digit == 0 => {}
            None => return None,
        }
    }
    (octets != [0; 20]).then_some(octets)
}

/// Returns the octets of a serial without leading zeros; at least one.
pub fn significant(serial: &[u8; 20]) -> &[u8] {
    let zeros = serial.iter().take_while(|&&octet| octet == 0).count();
    &serial[zeros.min(serial.len() - 1)..]
}

/// Returns the texts by which AWS Certificate Manager may find a serial: with and without a leading
/// `00:`, as AWS's samples have it. ACM searches for 2 to 20 octets (ACM API Reference,
/// `X509AttributeFilter`).
pub fn acm_serials(serial: &[u8; 20]) -> Vec<String> {
    let octets = significant(serial);
    let with_zero = [&[0], octets].concat();
    let searched = [octets, &with_zero].into_iter();
    let searched = searched.filter(|octets| (2..=20).contains(&octets.len()));
    searched
        .map(|octets| {
            octets
                .iter()
                .map(|octet| hex(&[*octet]))
                .collect::<Vec<_>>()
                .join(":")
        })
        .collect()
}

/// The identity of a revocation in messages: the same in every message about it, and different for
/// each CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevocationId([u8; 16]);

impl RevocationId {
    /// Returns the identity of a revocation by that CA.
    pub fn of(ca_arn: &str, key: &RevocationKey) -> Self {
        let key = key.to_string();
        Self(hash(&[ca_arn.as_bytes(), key.as_bytes()]))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(serial: &str) -> String {
        RevocationKey::of(Some(serial), Some("arn:aws:acm-pca:certificate"), b"{}").to_string()
    }

    #[test]
    fn serial_ignores_case_colons_and_leading_zeros() {
        for same in ["0a:bc", "0ABC", "a:BC", "00:00:0a:bc", "abc"] {
            assert_eq!(key(same), "0abc", "{same}");
        }
        assert_eq!(key(&"ff:".repeat(20)), "ff".repeat(20));
        assert_eq!(key(&format!("00{}", "ff".repeat(20))), "ff".repeat(20));
        assert_eq!(key(&format!("{}:01", "00:".repeat(40))), "01");
    }

    #[test]
    fn key_falls_back_to_arn_then_hash() {
        for malformed in [
            "",
            ":",
            "0",
            "00:00",
            "xyz",
            "0x12",
            " 12",
            "1\u{e9}",
            &"ff".repeat(21),
            &format!("1{}", "0".repeat(40)),
        ] {
            assert_eq!(
                key(malformed),
                "arn:aws:acm-pca:certificate",
                "{malformed:?}"
            );
        }
        let hashed = RevocationKey::of(None, None, b"{}").to_string();
        assert_eq!(
            hashed,
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }

    #[test]
    fn canonical_text_is_read_back() {
        for text in ["0abc", "01", "arn:aws:acm-pca:certificate", "sha256:44"] {
            assert_eq!(
                RevocationKey::from_text(text)
                    .map(|key| key.to_string())
                    .as_deref(),
                Some(text)
            );
        }
        assert_eq!(RevocationKey::from_text("neither"), None);
    }

    #[test]
    fn acm_serials_are_with_and_without_leading_zeros() {
        let texts = |text: &str| acm_serials(&serial_octets(text).unwrap());
        assert_eq!(texts("00:00:E8:CB"), ["e8:cb", "00:e8:cb"]);
        assert_eq!(texts("7"), ["00:07"]);
        assert_eq!(texts(&"ff".repeat(20)), [["ff"; 20].join(":")]);
        // ACM's pattern is `[0-9a-f]{2}(:[0-9a-f]{2}){1,19}`.
        for octets in 1..=20 {
            for text in texts(&"ab".repeat(octets)) {
                assert!((5..=59).contains(&text.len()), "{text}");
            }
        }
    }
}
