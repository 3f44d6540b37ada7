//! What a revocation is known by.

use std::fmt;

use sha2::{Digest, Sha256};

/// The identity of a revocation within its certificate authority.
///
/// Its canonical text is what the told list holds: `e8cbd2bedb122329f97706bcfec990f8` (a serial
/// without colons, leading zeros and case), else the certificate's ARN, else `sha256:` and a hash of
/// the record's bytes. Ordered with the serials first, by their value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevocationKey {
    /// A serial of up to 20 octets (RFC 5280, section 4.1.2.2), big-endian and right-aligned.
    Serial([u8; 20]),
    /// Anything else: an ARN, or `sha256:` and 64 digits.
    Text(Box<str>),
}

impl RevocationKey {
    /// The key of a record: by its serial if that is usable, else its ARN, else a hash of its bytes.
    pub fn of(serial: Option<&str>, certificate_arn: Option<&str>, raw: &[u8]) -> Self {
        if let Some(octets) = serial.and_then(serial_octets) {
            return RevocationKey::Serial(octets);
        }
        match certificate_arn {
            Some(arn) if arn.starts_with("arn:") => RevocationKey::Text(arn.into()),
            _ => {
                let digest = Sha256::digest(raw);
                let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                RevocationKey::Text(format!("sha256:{hex}").into())
            }
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
            RevocationKey::Serial(octets) => {
                let used = octets
                    .iter()
                    .position(|&octet| octet != 0)
                    .unwrap_or(octets.len() - 1);
                octets[used..]
                    .iter()
                    .try_for_each(|octet| write!(f, "{octet:02x}"))
            }
            RevocationKey::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for RevocationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of a serial in hexadecimal, without regard to case, colons and leading zeros;
/// `None` where the text is not one of at most 20 octets.
pub fn serial_octets(text: &str) -> Option<[u8; 20]> {
    ascii_serial_octets(text.as_bytes())
}

/// [`serial_octets`] of a text that may be anything.
pub(crate) fn ascii_serial_octets(text: &[u8]) -> Option<[u8; 20]> {
    regular_serial_octets(text).or_else(|| any_serial_octets(text))
}

/// The two forms that are met a million times over, `e8:cb:d2` of reports and `e8cbd2` of told
/// lists; `None` where it is neither.
fn regular_serial_octets(text: &[u8]) -> Option<[u8; 20]> {
    let stride = if text.get(2) == Some(&b':') { 3 } else { 2 };
    // Every octet but the last one has its colon.
    let count = (text.len() + stride - 2) / stride;
    if count == 0 || count > 20 || count * stride != text.len() + stride - 2 {
        return None;
    }
    let mut octets = [0_u8; 20];
    // The bits above a nibble tell, at the end, whether any digit was none.
    let mut seen = 0_u8;
    for (octet, digits) in octets[20 - count..].iter_mut().zip(text.chunks(stride)) {
        let (high, low) = (nibble(digits[0]), nibble(digits[1]));
        if digits.get(2).is_some_and(|&separator| separator != b':') {
            return None;
        }
        *octet = high << 4 | low & 0xf;
        seen |= high | low;
    }
    (seen <= 0xf).then_some(octets)
}

fn any_serial_octets(text: &[u8]) -> Option<[u8; 20]> {
    let mut octets = [0_u8; 20];
    let mut nibbles = 0_usize;
    for &byte in text.iter().rev() {
        if byte == b':' {
            continue;
        }
        let nibble = nibble(byte);
        if nibble > 0xf {
            return None;
        }
        if nibbles < 40 {
            octets[19 - nibbles / 2] |= nibble << (4 * (nibbles % 2));
        } else if nibble != 0 {
            return None;
        }
        nibbles += 1;
    }
    (nibbles > 0).then_some(octets)
}

/// The value of a hexadecimal digit; more than 0xf for any other byte.
fn nibble(byte: u8) -> u8 {
    const NIBBLES: [u8; 256] = {
        let mut nibbles = [0xff; 256];
        let mut value = 0;
        while value < 16 {
            nibbles[b"0123456789abcdef"[value] as usize] = value as u8;
            nibbles[b"0123456789ABCDEF"[value] as usize] = value as u8;
            value += 1;
        }
        nibbles
    };
    NIBBLES[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(serial: &str) -> String {
        RevocationKey::of(Some(serial), Some("arn:aws:acm-pca:certificate"), b"{}").to_string()
    }

    #[test]
    fn serials_compare_without_case_colons_and_leading_zeros() {
        for same in ["0a:bc", "0ABC", "a:BC", "00:00:0a:bc", "abc"] {
            assert_eq!(key(same), "0abc", "{same}");
        }
        assert_eq!(key("00"), "00");
        assert_eq!(key(&"ff:".repeat(20)), "ff".repeat(20));
        assert_eq!(key(&format!("00{}", "ff".repeat(20))), "ff".repeat(20));
    }

    #[test]
    fn a_strange_serial_gives_way_to_the_arn_and_that_to_a_hash() {
        for strange in ["", ":", "xyz", "0x12", " 12", &"ff".repeat(21)] {
            assert_eq!(key(strange), "arn:aws:acm-pca:certificate", "{strange:?}");
        }
        let hashed = RevocationKey::of(None, None, b"{}").to_string();
        assert_eq!(
            hashed,
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }

    #[test]
    fn the_regular_forms_are_read_like_any_other() {
        let digits = "00e8cbd2bedb122329f97706bcfec990f8ABcdef012345";
        for octets in 1..=21 {
            let plain = &digits[..2 * octets];
            let pairs: Vec<_> = (0..octets).map(|at| &plain[2 * at..2 * at + 2]).collect();
            for text in [plain.to_owned(), pairs.join(":")] {
                for (at, _) in text.char_indices() {
                    for byte in [b'0', b'F', b':', b'g', b'/', b'@', b'`', b' ', 0xff] {
                        let mut text = text.clone().into_bytes();
                        text[at] = byte;
                        let any = any_serial_octets(&text);
                        let regular = regular_serial_octets(&text);
                        assert!(regular.is_none() || regular == any, "{text:?}");
                        assert_eq!(ascii_serial_octets(&text), any, "{text:?}");
                    }
                }
            }
        }
        assert!(regular_serial_octets(b"e8:cb:d2").is_some());
        assert!(regular_serial_octets(b"e8cbd2").is_some());
        for text in ["", ":", "0", "00:", ":00", "000", "00:0", "0:00"] {
            assert_eq!(regular_serial_octets(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn its_text_reads_back() {
        for text in ["0abc", "00", "arn:aws:acm-pca:certificate", "sha256:44"] {
            assert_eq!(
                RevocationKey::from_text(text)
                    .map(|key| key.to_string())
                    .as_deref(),
                Some(text)
            );
        }
        assert_eq!(RevocationKey::from_text("neither"), None);
    }
}
