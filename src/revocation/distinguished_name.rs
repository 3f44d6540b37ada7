//! Subjects of certificates, decoded for people.
//!
//! An audit report writes a subject much like RFC 4514 does, and attribute types without a short
//! name as `OID=#hex`. Decoding never fails: a part that cannot be decoded is kept as it is, since
//! AWS's own samples have values that are not DER and an empty name between two commas.
//!
//! Whoever requests a certificate chooses its subject. Decoded text therefore shows escapes for
//! control, bidirectional and invisible characters, and quotes a value that contains a separator,
//! so that no value can pass for several.

use std::borrow::Cow;

use const_oid::ObjectIdentifier;
use const_oid::db::DB;
use der::{Decode, Length, Reader, SliceReader};

use crate::text::visible::Visible;

/// A decoded subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectText {
    /// The whole subject in the report's order, `emailAddress=sales@example.com, CN=...`; at most
    /// [`MAX_TEXT_CHARS`] characters, and a mark if it was truncated.
    pub text: String,
    /// The first common name; at most [`MAX_COMMON_NAME_CHARS`] characters, and a mark if it was
    /// truncated.
    pub common_name: Option<String>,
}

/// Maximum length of a subject's text; ten attributes at X.509's upper bounds take a tenth of it.
pub const MAX_TEXT_CHARS: usize = 4096;

/// Maximum length of a common name: four times X.509's upper bound (RFC 5280, appendix A.1).
pub const MAX_COMMON_NAME_CHARS: usize = 256;

/// Maximum length of an attribute type, spaces included; object identifiers in use have up to 30
/// bytes.
const MAX_TYPE_LEN: usize = 128;

/// Decodes a subject; never fails.
pub fn decode(subject: &str) -> SubjectText {
    let mut text = Visible::new(MAX_TEXT_CHARS);
    let mut common_name = None;
    for (position, rdn) in separated(subject, b',').enumerate() {
        let rdn = trimmed(rdn);
        if position > 0 {
            text.push_str(if rdn.is_empty() { "," } else { ", " });
        }
        for (position, attribute) in separated(rdn, b'+').enumerate() {
            if position > 0 {
                text.push_str("+");
            }
            match decoded(attribute) {
                Some((kind, value)) => {
                    text.push_str(&kind);
                    text.push_str("=");
                    push_value(&mut text, &value);
                    let is_name = |name| kind.eq_ignore_ascii_case(name);
                    if common_name.is_none() && ["CN", "commonName"].into_iter().any(is_name) {
                        let mut shown = Visible::new(MAX_COMMON_NAME_CHARS);
                        shown.push_str(&value);
                        common_name = Some(shown.finish());
                    }
                }
                None => text.push_str(attribute),
            }
        }
    }
    SubjectText {
        text: text.finish(),
        common_name,
    }
}

/// Splits a name at separators that are neither escaped nor quoted.
///
/// A `+` separates only before an attribute type and `=`: not every writer escapes it.
fn separated(name: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let part = rest?;
        let bytes = part.as_bytes();
        let mut quoted = false;
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                // Skips one byte: further bytes of a UTF-8 sequence are never ASCII.
                b'\\' => at += 1,
                b'"' if quoted => quoted = false,
                b'"' => {
                    quoted = bytes[..at].last() == Some(&b'=') && closes(&bytes[at + 1..]);
                }
                byte if byte == separator
                    && !quoted
                    && (separator != b'+' || attribute_type(&part[at + 1..]).is_some()) =>
                {
                    rest = Some(&part[at + 1..]);
                    return Some(&part[..at]);
                }
                _ => {}
            }
            at += 1;
        }
        rest = None;
        Some(part)
    })
}

/// Whether a quoted value ends, so that a stray quotation mark does not swallow what follows it.
/// Looks ahead a bounded distance, so that decoding takes linear time.
fn closes(after_quote: &[u8]) -> bool {
    let mut escaped = false;
    for (at, &byte) in after_quote.iter().take(MAX_TEXT_CHARS).enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return matches!(after_quote.get(at + 1), None | Some(b',' | b'+' | b' ')),
            _ => {}
        }
    }
    false
}

/// Removes spaces at both ends, unless they are escaped.
fn trimmed(text: &str) -> &str {
    let mut text = text.trim_start_matches(' ');
    while let Some(shorter) = text.strip_suffix(' ') {
        let backslashes = shorter.len() - shorter.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            break;
        }
        text = shorter;
    }
    text
}

/// Decodes type and value of an attribute; `None` if it has to be shown as it is.
fn decoded(attribute: &str) -> Option<(Cow<'_, str>, String)> {
    let (kind, value) = attribute_type(attribute)?;
    let kind = oid_name(kind).map_or(Cow::Borrowed(kind), Cow::Owned);
    let value = trimmed(value);
    let value = if let Some(hex) = value.strip_prefix('#') {
        string_from_der(&octets(hex)?)?
    } else {
        let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        unescaped(inner.unwrap_or(value))?
    };
    Some((kind, value))
}

/// Splits an attribute at its `=` sign.
fn attribute_type(text: &str) -> Option<(&str, &str)> {
    // Bounded, so that a name of nothing but separators takes linear time.
    let at = text
        .bytes()
        .take(MAX_TYPE_LEN)
        .position(|byte| byte == b'=')?;
    let (kind, value) = (trimmed(&text[..at]), &text[at + 1..]);
    let is_type = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    (!kind.is_empty() && kind.bytes().all(is_type)).then_some((kind, value))
}

/// Resolves RFC 4514's escapes (section 2.4): `\,` and, octet by octet, `\C3\A9`.
fn unescaped(value: &str) -> Option<String> {
    if !value.contains('\\') {
        return Some(value.to_owned());
    }
    let mut octets = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        octets.push(match byte {
            b'\\' => match bytes.next()? {
                special
                @ (b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\') => special,
                high => nibble(high)? << 4 | nibble(bytes.next()?)?,
            },
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let (pairs, []) = hex.as_bytes().as_chunks() else {
        return None;
    };
    let octet = |[high, low]: &[u8; 2]| Some(nibble(*high)? << 4 | nibble(*low)?);
    pairs.iter().map(octet).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    Some(char::from(digit).to_digit(16)? as u8)
}

/// Returns the text of a DER-encoded string (X.680, section 41); `None` for anything else.
///
/// Decodes more than the string types of `der` accept, because issuers ignore the narrow alphabets:
/// `*` and `@` in a PrintableString, Latin-1 in a TeletexString.
fn string_from_der(der: &[u8]) -> Option<String> {
    let (&tag, rest) = der.split_first()?;
    let mut reader = SliceReader::new(rest).ok()?;
    let length = Length::decode(&mut reader).ok()?;
    let content = reader.read_slice(length).ok()?;
    reader.finish().ok()?;
    match tag {
        // NumericString, PrintableString, IA5String, VisibleString
        0x12 | 0x13 | 0x16 | 0x1A if !content.is_ascii() => None,
        // These and UTF8String
        0x0C | 0x12 | 0x13 | 0x16 | 0x1A => String::from_utf8(content.to_vec()).ok(),
        // TeletexString
        0x14 => Some(content.iter().copied().map(char::from).collect()),
        // UniversalString
        0x1C => {
            let (units, []) = content.as_chunks() else {
                return None;
            };
            let units = units.iter().map(|unit| u32::from_be_bytes(*unit));
            units.map(char::from_u32).collect()
        }
        // BMPString
        0x1E => {
            let (units, []) = content.as_chunks() else {
                return None;
            };
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// Returns the short name of an attribute type that a report states as an object identifier: the
/// one of RFC 4519 or, for those of other standards, of the table below.
fn oid_name(kind: &str) -> Option<String> {
    let oid = match kind.split_at_checked(4) {
        Some((prefix, oid)) if prefix.eq_ignore_ascii_case("OID.") => oid,
        _ => kind,
    };
    let name = match oid {
        // The database has only "email", which is not what OpenSSL and AWS write.
        "1.2.840.113549.1.9.1" => "emailAddress",
        // Not in the database: PKCS #9 (RFC 2985), eIDAS (ETSI EN 319 412-1), extended validation
        // (CA/Browser Forum, EV Guidelines), Microsoft's user principal name.
        "1.2.840.113549.1.9.2" => "unstructuredName",
        "1.2.840.113549.1.9.8" => "unstructuredAddress",
        "2.5.4.97" => "organizationIdentifier",
        "1.3.6.1.4.1.311.60.2.1.1" => "jurisdictionL",
        "1.3.6.1.4.1.311.60.2.1.2" => "jurisdictionST",
        "1.3.6.1.4.1.311.60.2.1.3" => "jurisdictionC",
        "1.3.6.1.4.1.311.20.2.3" => "UPN",
        _ => DB
            .find_names_for_oid(ObjectIdentifier::new(oid).ok()?)
            .map(|name| name.trim_start_matches("pkcs-9-at-"))
            .map(|name| name.trim_start_matches("id-at-"))
            .min_by_key(|name| name.len())?,
    };
    // RFC 4514 writes the abbreviations in capitals: CN, OU, UID.
    let is_abbreviation = name.len() <= 3;
    Some(if is_abbreviation {
        name.to_uppercase()
    } else {
        name.to_owned()
    })
}

/// Appends a value, in quotes if it could be taken for more than one attribute.
fn push_value(text: &mut Visible, value: &str) {
    let ambiguous = value.contains([',', '+', ';', '"', '\\'])
        || value.starts_with(['#', ' '])
        || value.ends_with(' ');
    if !ambiguous {
        return text.push_str(value);
    }
    text.push_str("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push_plain('\\');
        }
        text.push(c);
    }
    text.push_str("\"");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::visible::TRUNCATION_MARK;

    #[test]
    fn subjects_of_aws_samples_are_decoded() {
        for (subject, text, common_name) in [
            (
                "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,CN=www.example1.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US",
                "emailAddress=sales@example.com, CN=www.example1.com, OU=Sales, O=Example Company, L=Seattle, ST=Washington, C=US",
                Some("www.example1.com"),
            ),
            // Neither value is DER.
            (
                "2.5.4.5=#012345678901,2.5.4.44=#0a1b3c4d,CN=www.example3.com.com,OU=Sales",
                "2.5.4.5=#012345678901, 2.5.4.44=#0a1b3c4d, CN=www.example3.com.com, OU=Sales",
                Some("www.example3.com.com"),
            ),
            (
                "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,,OU=Sales",
                "emailAddress=sales@example.com,, OU=Sales",
                None,
            ),
        ] {
            let decoded = decode(subject);
            assert_eq!(decoded.text, text);
            assert_eq!(decoded.common_name.as_deref(), common_name);
        }
    }

    #[test]
    fn value_with_separators_is_quoted() {
        let decoded = decode("CN=evil\\, O\\=Good Corp,O=Evil\\2C \\C3\\A9");
        assert_eq!(decoded.text, "CN=\"evil, O=Good Corp\", O=\"Evil, \u{e9}\"");
        assert_eq!(decoded.common_name.as_deref(), Some("evil, O=Good Corp"));
    }

    #[test]
    fn invisible_characters_are_escaped() {
        let decoded = decode("CN=a\u{202e}b\0\nSubject: x\u{e0041}");
        assert_eq!(decoded.text, r"CN=a\u202Eb\u0000\u000ASubject: x\U000E0041");
    }

    #[test]
    fn stray_quotation_mark_does_not_start_a_quoted_value() {
        assert_eq!(decode("CN=\"a,O=b").text, "CN=\"\\\"a\", O=b");
        assert_eq!(decode("CN=\"a, b\",O=c").text, "CN=\"a, b\", O=c");
    }

    #[test]
    fn long_subject_is_truncated_with_a_mark() {
        let decoded = decode(&format!("CN={}", "x".repeat(1 << 20)));
        assert_eq!(decoded.text.len(), MAX_TEXT_CHARS + TRUNCATION_MARK.len());
        assert!(decoded.text.ends_with(TRUNCATION_MARK));
    }
}
