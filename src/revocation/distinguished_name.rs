//! Subjects of certificates, for people.
//!
//! An audit report writes a subject much like RFC 4514 does, with attribute types that have no
//! short name as `OID=#hex`. What can be decoded is decoded; what cannot stands as it was, since
//! AWS's own samples hold values that are not DER and an empty name between two commas.
//!
//! Subjects are chosen by whoever requests a certificate. Decoded text therefore shows control,
//! bidirectional and invisible characters instead of containing them, and puts a value that holds
//! a separator in quotes, so that no value can pass for several.

use crate::text::visible::Visible;

/// A subject as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectText {
    /// The whole subject in the report's order, `emailAddress=sales@example.com, CN=...`; at most
    /// [`MAX_TEXT_CHARS`] characters and a mark where it was cut.
    pub text: String,
    /// The value of the first common name; at most [`MAX_COMMON_NAME_CHARS`] characters and a mark
    /// where it was cut.
    pub common_name: Option<String>,
}

/// Characters of a subject's text; X.509's upper bounds make a name of ten attributes a tenth of it.
pub const MAX_TEXT_CHARS: usize = 4096;

/// Characters of a common name, four times X.509's upper bound (RFC 5280, appendix A.1).
pub const MAX_COMMON_NAME_CHARS: usize = 256;

/// Bytes of an attribute type, spaces included; the longest object identifiers in use have some 30.
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
            match Attribute::parse(attribute) {
                Some(Attribute { kind, value }) => {
                    text.push_str(kind);
                    text.push_str("=");
                    push_value(&mut text, &value);
                    if common_name.is_none() && is_common_name(kind) {
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

/// The parts of a name between separators that are neither escaped nor quoted.
///
/// A `+` separates only where an attribute type and `=` follow: not every writer escapes it.
fn separated(name: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let part = rest?;
        let bytes = part.as_bytes();
        let mut quoted = false;
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                // The byte after it may be the first of several; none of the others is ASCII.
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
/// Looks no further than a value can sensibly be long, to keep the whole linear.
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

/// The text without spaces at its ends, unless escaped.
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

/// One attribute, decoded.
struct Attribute<'a> {
    kind: &'a str,
    value: String,
}

impl<'a> Attribute<'a> {
    /// `None` where it does not decode and has to stand as it is.
    fn parse(text: &'a str) -> Option<Self> {
        let (kind, value) = attribute_type(text)?;
        let kind = oid_name(kind).unwrap_or(kind);
        let value = trimmed(value);
        let value = if let Some(hex) = value.strip_prefix('#') {
            string_from_der(&octets(hex)?)?
        } else {
            let inner = value
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            unescaped(inner.unwrap_or(value))?
        };
        Some(Attribute { kind, value })
    }
}

/// The attribute type and what follows its `=` sign.
fn attribute_type(text: &str) -> Option<(&str, &str)> {
    // Bounded, so that a name of nothing but separators is not searched over and over.
    let at = text
        .bytes()
        .take(MAX_TYPE_LEN)
        .position(|byte| byte == b'=')?;
    let (kind, value) = (trimmed(&text[..at]), &text[at + 1..]);
    let plausible = !kind.is_empty()
        && kind
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    plausible.then_some((kind, value))
}

fn is_common_name(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("CN") || kind.eq_ignore_ascii_case("commonName")
}

/// Undoes RFC 4514's escapes (section 2.4): `\,` and, octet by octet, `\C3\A9`.
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
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
        .collect()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// The text of a DER-encoded string type (X.680, section 41); `None` for anything else.
fn string_from_der(der: &[u8]) -> Option<String> {
    let (&tag, rest) = der.split_first()?;
    let content = der_content(rest)?;
    match tag {
        // UTF8String
        0x0C => std::str::from_utf8(content).ok().map(str::to_owned),
        // NumericString, PrintableString, IA5String, VisibleString: not held to their narrower
        // alphabets, which issuers ignore (`*` and `@` in a PrintableString).
        0x12 | 0x13 | 0x16 | 0x1A => content
            .is_ascii()
            .then(|| content.iter().copied().map(char::from).collect()),
        // TeletexString, which in practice holds Latin-1.
        0x14 => Some(content.iter().copied().map(char::from).collect()),
        // UniversalString
        0x1C => {
            let units = content.chunks_exact(4);
            if !units.remainder().is_empty() {
                return None;
            }
            units
                .map(|unit| char::from_u32(u32::from_be_bytes(unit.try_into().ok()?)))
                .collect()
        }
        // BMPString
        0x1E => {
            let units = content.chunks_exact(2);
            if !units.remainder().is_empty() {
                return None;
            }
            char::decode_utf16(units.map(|unit| u16::from_be_bytes([unit[0], unit[1]])))
                .collect::<Result<_, _>>()
                .ok()
        }
        _ => None,
    }
}

/// What follows a DER length, if it is as long as that says (X.690, sections 8.1.3 and 10.1).
fn der_content(after_tag: &[u8]) -> Option<&[u8]> {
    let (&first, rest) = after_tag.split_first()?;
    if first < 0x80 {
        return (rest.len() == usize::from(first)).then_some(rest);
    }
    let size = usize::from(first & 0x7F);
    if !(1..=4).contains(&size) || rest.len() < size {
        return None;
    }
    let (digits, content) = rest.split_at(size);
    let length = digits
        .iter()
        .fold(0_usize, |length, &digit| length << 8 | usize::from(digit));
    let shortest = digits[0] != 0 && length >= 0x80;
    (shortest && content.len() == length).then_some(content)
}

/// The short name of an attribute type that a report gives as an object identifier.
fn oid_name(kind: &str) -> Option<&'static str> {
    let oid = match kind.split_at_checked(4) {
        Some((prefix, oid)) if prefix.eq_ignore_ascii_case("OID.") => oid,
        _ => kind,
    };
    Some(match oid {
        // X.520, named as RFC 4519 and OpenSSL name them
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.15" => "businessCategory",
        "2.5.4.16" => "postalAddress",
        "2.5.4.17" => "postalCode",
        "2.5.4.18" => "postOfficeBox",
        "2.5.4.19" => "physicalDeliveryOfficeName",
        "2.5.4.20" => "telephoneNumber",
        "2.5.4.26" => "registeredAddress",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.44" => "generationQualifier",
        "2.5.4.45" => "x500UniqueIdentifier",
        "2.5.4.46" => "dnQualifier",
        "2.5.4.51" => "houseIdentifier",
        "2.5.4.54" => "dmdName",
        "2.5.4.65" => "pseudonym",
        "2.5.4.72" => "role",
        "2.5.4.83" => "uri",
        "2.5.4.97" => "organizationIdentifier",
        "2.5.4.98" => "c3",
        "2.5.4.99" => "n3",
        // RFC 4519
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.3" => "mail",
        "0.9.2342.19200300.100.1.25" => "DC",
        // PKCS #9 (RFC 2985)
        "1.2.840.113549.1.9.1" => "emailAddress",
        "1.2.840.113549.1.9.2" => "unstructuredName",
        "1.2.840.113549.1.9.8" => "unstructuredAddress",
        "1.2.840.113549.1.9.20" => "friendlyName",
        // Extended validation (CA/Browser Forum, EV Guidelines)
        "1.3.6.1.4.1.311.60.2.1.1" => "jurisdictionL",
        "1.3.6.1.4.1.311.60.2.1.2" => "jurisdictionST",
        "1.3.6.1.4.1.311.60.2.1.3" => "jurisdictionC",
        // Microsoft's user principal name, AWS Private CA's custom attributes use it
        "1.3.6.1.4.1.311.20.2.3" => "UPN",
        _ => return None,
    })
}

/// In quotes where the bare value could be taken for more than one attribute.
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
    use crate::text::visible::CUT_MARK;

    #[test]
    fn the_subjects_of_aws_samples() {
        for (subject, text, common_name) in [
            (
                "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,CN=www.example1.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US",
                "emailAddress=sales@example.com, CN=www.example1.com, OU=Sales, O=Example Company, L=Seattle, ST=Washington, C=US",
                Some("www.example1.com"),
            ),
            // Neither value is DER: both stand as they are.
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
    fn a_value_with_separators_cannot_pass_for_several() {
        let decoded = decode("CN=evil\\, O\\=Good Corp,O=Evil\\2C \\C3\\A9");
        assert_eq!(decoded.text, "CN=\"evil, O=Good Corp\", O=\"Evil, \u{e9}\"");
        assert_eq!(decoded.common_name.as_deref(), Some("evil, O=Good Corp"));
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        let decoded = decode("CN=a\u{202e}b\0\nSubject: x\u{e0041}");
        assert_eq!(decoded.text, r"CN=a\u202Eb\u0000\u000ASubject: x\U000E0041");
    }

    #[test]
    fn a_stray_quotation_mark_swallows_nothing() {
        assert_eq!(decode("CN=\"a,O=b").text, "CN=\"\\\"a\", O=b");
        assert_eq!(decode("CN=\"a, b\",O=c").text, "CN=\"a, b\", O=c");
    }

    #[test]
    fn long_subjects_are_cut_with_a_mark() {
        let decoded = decode(&format!("CN={}", "x".repeat(1 << 20)));
        assert_eq!(decoded.text.len(), MAX_TEXT_CHARS + CUT_MARK.len());
        assert!(decoded.text.ends_with(CUT_MARK));
    }
}
