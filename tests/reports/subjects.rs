//! Subjects, compared with `x509-cert` where it can parse them.

use std::str::FromStr;

use pca_revocation_watch::revocation::distinguished_name::{
    MAX_COMMON_NAME_CHARS, MAX_TEXT_CHARS, decode,
};
use pca_revocation_watch::text::visible::{TRUNCATION_MARK, is_invisible, visible};
use proptest::prelude::*;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, ObjectIdentifier, SetOfVec};
use x509_cert::der::{Encode, Tag, Tagged};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

#[test]
fn every_string_type_is_decoded() {
    for (der, text) in [
        ("0c054ac3bc726e", Some("J\u{fc}rn")),        // UTF8String
        ("13034a2d34", Some("J-4")),                  // PrintableString
        ("16034a4034", Some("J@4")),                  // IA5String
        ("1a034a7e34", Some("J~4")),                  // VisibleString
        ("14044afc726e", Some("J\u{fc}rn")),          // TeletexString
        ("1e08004a00fc0072006e", Some("J\u{fc}rn")),  // BMPString
        ("1c080000004a0001f512", Some("J\u{1f512}")), // UniversalString
        ("120534372031 31".replace(' ', "").as_str(), Some("47 11")), // NumericString
        ("0c00", Some("")),
        ("0c8180", None),    // shorter than it says
        ("0c8101 61", None), // not hexadecimal
        ("0c810161", None),  // a length that is not the shortest
        ("0c026161 61", None),
        ("0c0261", None),
        ("0c01ff", None),       // not UTF-8
        ("1301e9", None),       // not ASCII
        ("1e03004a00", None),   // half a character
        ("1c0400110000", None), // beyond Unicode
        ("0303004a00", None),   // a BIT STRING
        ("300430020500", None), // a SEQUENCE
        ("", None),
    ] {
        let subject = format!("2.5.4.3=#{der}");
        let decoded = decode(&subject);
        match text {
            Some(text) => {
                assert_eq!(decoded.text, format!("CN={text}"), "{der}");
                assert_eq!(decoded.common_name.as_deref(), Some(text));
            }
            None => {
                assert_eq!(decoded.text, subject, "{der}");
                assert_eq!(decoded.common_name, None);
            }
        }
    }
}

#[test]
fn object_identifiers_become_short_names() {
    let subject = "2.5.4.15=#0c0150,1.3.6.1.4.1.311.60.2.1.3=#13025553,OID.2.5.4.97=#0c0171,1.2.840.113549.1.9.2=#0c0161,2.5.4.42=Ann,1.2.3.4=#0c0162,1.2.3.5=c,CN=x+UID=y";
    assert_eq!(
        decode(subject).text,
        "businessCategory=P, jurisdictionC=US, organizationIdentifier=q, unstructuredName=a, GN=Ann, 1.2.3.4=b, 1.2.3.5=c, CN=x+UID=y"
    );
}

#[test]
fn hostile_subject_is_shown_without_invisible_characters() {
    for subject in [
        "CN=www.example.com\r\nSubject: all clear".to_owned(),
        "CN=x\\0A\\0D\\0ASubject: all clear".to_owned(),
        "CN=\u{202e}moc.elpmaxe.www\u{202c},O=\u{2066}x\u{2069}".to_owned(),
        "CN=pay\u{200b}pal\u{ad}.example.com\u{feff}\u{e0041}\u{e007f}".to_owned(),
        "2.5.4.3=#0c,2.5.4.3=#0c05,2.5.4.3=#0cff,2.5.4.3=#xyz,2.5.4.3=#0c0".to_owned(),
        "2.5.4.3=#0c840000000161,2.5.4.3=#0c8161,2.5.4.3=#1e02d800".to_owned(),
        "2.5.4.3=#0c1b0a5375626a6563743a20616c6c20636c6561720a0a4e6f7420,O=x".to_owned(),
        "+++===,=,+=+".to_owned(),
        format!("CN={}", "\u{202e}".repeat(50_000)),
        format!("CN={}", "\\".repeat(99_999)),
        format!("CN={}", "\"".repeat(100_000)),
        "CN=x,".repeat(50_000),
        "+".repeat(100_000),
        format!("2.5.4.3=#0c83030d40{}", "0a".repeat(200_000)),
        format!("{}=x", "1.2.3.".repeat(50_000)),
    ] {
        let decoded = decode(&subject);
        let texts = [Some(&decoded.text), decoded.common_name.as_ref()];
        for text in texts.into_iter().flatten() {
            assert!(!text.chars().any(is_invisible), "{text:?}");
            assert!(text.chars().count() <= MAX_TEXT_CHARS + TRUNCATION_MARK.len());
        }
    }
}

/// The text of a value according to the oracle.
fn oracle_value(value: &Any) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String => String::from_utf8(bytes.to_vec()).ok(),
        Tag::PrintableString | Tag::Ia5String => String::from_utf8(bytes.to_vec()).ok(),
        _ => None,
    }
}

fn quoted(value: &str) -> String {
    let ambiguous = value.contains([',', '+', ';', '"', '\\'])
        || value.starts_with(['#', ' '])
        || value.ends_with(' ');
    if ambiguous {
        format!("\"{}\"", visible_in_quotes(value))
    } else {
        visible(value)
    }
}

fn visible_in_quotes(value: &str) -> String {
    visible(&value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn attribute(oid: &str, tag: Tag, value: &str) -> AttributeTypeAndValue {
    AttributeTypeAndValue {
        oid: ObjectIdentifier::new(oid).expect("an object identifier"),
        value: Any::new(tag, value.as_bytes()).expect("a short value"),
    }
}

prop_compose! {
    fn any_attribute()(
        (oid, name) in prop_oneof![
            Just(("2.5.4.3", "CN")), Just(("2.5.4.10", "O")), Just(("2.5.4.11", "OU")),
            Just(("2.5.4.6", "C")), Just(("2.5.4.7", "L")), Just(("2.5.4.5", "serialNumber")),
            Just(("1.2.840.113549.1.9.1", "emailAddress")), Just(("2.5.4.15", "businessCategory")),
        ],
        value in prop_oneof!["[ -~]{0,24}", "\\PC{0,12}", "[ ,+\"\\\\#;<>=a]{0,12}"],
    ) -> (AttributeTypeAndValue, String) {
        let text = format!("{name}={}", quoted(&value));
        (attribute(oid, Tag::Utf8String, &value), text)
    }
}

/// Writes an attribute as RFC 4514 does: escaped, or `#` and hexadecimal for types without a name.
fn written(attribute: &AttributeTypeAndValue, style: u8) -> String {
    let value = oracle_value(&attribute.value).expect("text");
    let kind = match attribute.oid.to_string().as_str() {
        "2.5.4.3" => "CN".to_owned(),
        "2.5.4.10" => "O".to_owned(),
        "2.5.4.11" => "OU".to_owned(),
        "2.5.4.6" => "C".to_owned(),
        "2.5.4.7" => "L".to_owned(),
        other => other.to_owned(),
    };
    if kind.starts_with(char::is_numeric) || style.is_multiple_of(3) {
        let der = attribute.value.to_der().expect("DER");
        let hex: String = der.iter().map(|octet| format!("{octet:02x}")).collect();
        return format!("{kind}=#{hex}");
    }
    let last = value.chars().count().saturating_sub(1);
    let escaped: String = value
        .chars()
        .enumerate()
        .map(|(at, c)| match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => format!("\\{c}"),
            ' ' | '#' if at == 0 => format!("\\{c}"),
            ' ' if at == last => "\\ ".to_owned(),
            other if style % 3 == 1 => {
                let mut utf8 = [0; 4];
                let octets = other.encode_utf8(&mut utf8).bytes();
                octets.map(|octet| format!("\\{octet:02X}")).collect()
            }
            other => other.to_string(),
        })
        .collect();
    format!("{kind}={escaped}")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_decoded_without_panic(subject in any::<String>()) {
        let decoded = decode(&subject);
        prop_assert!(!decoded.text.chars().any(is_invisible));
    }

    #[test]
    fn separators_and_escapes_are_decoded_without_panic(
        subject in "(CN|OU|2\\.5\\.4\\.3|O|=|,|\\+|\\\\|\"|#|0c|13|01|61|ff| |x|\u{e9}|\u{202e}){0,40}",
    ) {
        let decoded = decode(&subject);
        prop_assert!(!decoded.text.chars().any(is_invisible));
    }

    #[test]
    fn encoded_name_is_decoded_to_its_values(
        rdns in prop::collection::vec(prop::collection::vec(any_attribute(), 1..3), 1..6),
        style in any::<u8>(),
    ) {
        let subject: Vec<String> = rdns
            .iter()
            .map(|rdn| {
                let parts: Vec<String> = rdn.iter().map(|(attribute, _)| written(attribute, style)).collect();
                parts.join("+")
            })
            .collect();
        let expected: Vec<String> = rdns
            .iter()
            .map(|rdn| {
                let parts: Vec<&str> = rdn.iter().map(|(_, text)| text.as_str()).collect();
                parts.join("+")
            })
            .collect();
        prop_assert_eq!(decode(&subject.join(",")).text, expected.join(", "));
    }

    /// Decodes what `x509-cert` writes, and compares with what it parses.
    #[test]
    fn decoded_name_matches_x509_cert(rdns in prop::collection::vec(any_attribute(), 1..6)) {
        let sequence: Vec<RelativeDistinguishedName> = rdns
            .iter()
            .map(|(attribute, _)| {
                let set = SetOfVec::from_iter([attribute.clone()]).expect("one attribute");
                RelativeDistinguishedName::from(set)
            })
            .collect();
        let name = RdnSequence::from(sequence);
        let subject = name.to_string();
        let Ok(read) = RdnSequence::from_str(&subject) else {
            return Ok(());
        };
        // The oracle keeps the order of the encoding, a string begins with the last.
        let rdns_read: &[RelativeDistinguishedName] = read.as_ref();
        let expected: Option<Vec<String>> = rdns_read
            .iter()
            .rev()
            .flat_map(x509_cert::name::RelativeDistinguishedName::iter)
            .map(|attribute| {
                let (_, text) = rdns.iter().find(|(known, _)| known.oid == attribute.oid)?;
                let kind = text.split_once('=')?.0;
                Some(format!("{kind}={}", quoted(&oracle_value(&attribute.value)?)))
            })
            .collect();
        if let Some(expected) = expected {
            // A type that has a name in the string keeps it; the oracle has names of its own.
            let decoded = decode(&subject)
                .text
                .replace("SERIALNUMBER=", "serialNumber=")
                .replace("EMAIL=", "emailAddress=")
                .replace("BUSINESSCATEGORY=", "businessCategory=");
            prop_assert_eq!(decoded, expected.join(", "), "{}", subject);
        }
    }

    #[test]
    fn long_common_name_is_truncated(length in 0_usize..2000) {
        let decoded = decode(&format!("O=x,CN={},CN=second", "n".repeat(length)));
        let name = decoded.common_name.expect("a common name");
        if length <= MAX_COMMON_NAME_CHARS {
            prop_assert_eq!(name.len(), length);
        } else {
            prop_assert!(name.ends_with(TRUNCATION_MARK));
        }
    }
}
