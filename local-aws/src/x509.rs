//! X.509 certificates of report rows, derived from certificates that OpenSSL made.
//!
//! A row's certificate is a fixture with another serial number, common name, validity, pointers and
//! (except for the keys 1 and 2) public key. It is well-formed, but its signature does not verify, and a
//! replaced key is in general no point of the curve: nothing here or in the function checks either.
//! `scripts/make-certificates.sh` makes the fixtures.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::report::{Certificate, Profile};

const KEY_1: &str = include_str!("../fixtures/key-a-neither.pem");
const KEY_2: &str = include_str!("../fixtures/key-b-neither.pem");
const AUTHORITY: &str = include_str!("../fixtures/ca.pem");

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const CONSTRUCTED_0: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `uniformResourceIdentifier` of a `GeneralName`.
const URI: u8 = 0x86;

/// `id-at-commonName` with tag and length.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
/// `id-ce-cRLDistributionPoints` with tag and length.
const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x1f];
/// `id-pe-authorityInfoAccess` with tag and length.
const AUTHORITY_INFORMATION_ACCESS: &[u8] =
    &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];
/// `id-ad-ocsp` with tag and length.
const OCSP: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];

/// Returns the number of a key that is the row's own: never below 2^31.
pub(crate) fn own_key(row: &Certificate) -> u32 {
    let hash = Sha256::digest(format!("{} {}", row.certificate_arn, row.serial));
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) | 1 << 31
}

/// Returns the certificate of a report row, as PEM.
pub(crate) fn pem(row: &Certificate, profile: &Profile) -> String {
    let is_authority = row
        .template_arn
        .as_ref()
        .is_some_and(|template| template.contains("CACertificate"));
    let fixture = match (is_authority, profile.key) {
        (true, _) => AUTHORITY,
        (false, 2) => KEY_2,
        (false, _) => KEY_1,
    };
    encode_pem(&derive(&decode_pem(fixture), row, profile))
}

/// Returns the chain of every certificate: that of the fixtures' issuer, as PEM.
pub(crate) fn chain() -> &'static str {
    AUTHORITY.trim_end()
}

fn derive(fixture: &[u8], row: &Certificate, profile: &Profile) -> Vec<u8> {
    let certificate = children(content(fixture));
    let parts = children(content(certificate[0]));
    // [0] version, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, extensions.
    let validity = [time(row.not_before), time(row.not_after)].concat();
    let is_fixtures_key = matches!(profile.key, 1 | 2);
    let key = match is_fixtures_key {
        true => parts[6].to_vec(),
        false => other_key(parts[6], profile.key),
    };
    let to_be_signed = [
        parts[0].to_vec(),
        serial(&row.serial),
        parts[2].to_vec(),
        parts[3].to_vec(),
        element(SEQUENCE, &validity),
        subject(parts[5], &row.subject),
        key,
        extensions(parts[7], profile),
    ]
    .concat();
    let all = [
        element(SEQUENCE, &to_be_signed),
        certificate[1].to_vec(),
        certificate[2].to_vec(),
    ];
    element(SEQUENCE, &all.concat())
}

/// Encodes a serial number; one that is not hex becomes 1.
fn serial(text: &str) -> Vec<u8> {
    let digits = text.replace(':', "");
    let bytes = hex::decode(&digits).unwrap_or_default();
    let first = bytes.iter().position(|byte| *byte != 0);
    let mut number = first.map_or(vec![1], |first| bytes[first..].to_vec());
    if number[0] & 0x80 != 0 {
        number.insert(0, 0);
    }
    element(INTEGER, &number)
}

/// Replaces the common name of a subject by that of a row's.
fn subject(fixture: &[u8], text: &str) -> Vec<u8> {
    let name = text
        .split(',')
        .find_map(|part| part.trim().strip_prefix("CN="));
    let Some(name) = name else {
        return fixture.to_vec();
    };
    let mut names = Vec::new();
    for set in children(content(fixture)) {
        if children(content(content(set)))[0] == COMMON_NAME {
            let attribute = [COMMON_NAME, &element(UTF8_STRING, name.as_bytes())].concat();
            names.extend(element(0x31, &element(SEQUENCE, &attribute)));
        } else {
            names.extend(set);
        }
    }
    element(SEQUENCE, &names)
}

/// Replaces the coordinates of the elliptic curve point.
fn other_key(fixture: &[u8], key: u32) -> Vec<u8> {
    let parts = children(content(fixture));
    let half = |half: u8| Sha256::digest([&key.to_be_bytes()[..], &[half]].concat());
    // No unused bits, and an uncompressed point.
    let mut point = vec![0, 4];
    point.extend(half(0));
    point.extend(half(1));
    element(SEQUENCE, &[parts[0], &element(BIT_STRING, &point)].concat())
}

/// Adds the pointers to the extensions of a fixture, which has none.
fn extensions(fixture: &[u8], profile: &Profile) -> Vec<u8> {
    let mut all = content(content(fixture)).to_vec();
    let extension = |oid: &[u8], value: &[u8]| {
        let value = element(OCTET_STRING, &element(SEQUENCE, value));
        element(SEQUENCE, &[oid, &value].concat())
    };
    if !profile.crl_urls.is_empty() {
        let points = profile.crl_urls.iter().map(|url| {
            let name = element(CONSTRUCTED_0, &element(URI, url.as_bytes()));
            element(SEQUENCE, &element(CONSTRUCTED_0, &name))
        });
        let points: Vec<_> = points.flatten().collect();
        all.extend(extension(CRL_DISTRIBUTION_POINTS, &points));
    }
    if !profile.ocsp_urls.is_empty() {
        let descriptions = profile.ocsp_urls.iter().map(|url| {
            let description = [OCSP, &element(URI, url.as_bytes())].concat();
            element(SEQUENCE, &description)
        });
        let descriptions: Vec<_> = descriptions.flatten().collect();
        all.extend(extension(AUTHORITY_INFORMATION_ACCESS, &descriptions));
    }
    element(EXTENSIONS, &element(SEQUENCE, &all))
}

/// Encodes a time: UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280, section 4.1.2.5).
fn time(time: SystemTime) -> Vec<u8> {
    let time = OffsetDateTime::from(time);
    let text = time.format(format_description!(
        "[year][month][day][hour][minute][second]Z"
    ));
    let text = text.expect("every component of the format is part of a date with time");
    match (1950..2050).contains(&time.year()) {
        true => element(UTC_TIME, &text.as_bytes()[2..]),
        false => element(GENERALIZED_TIME, text.as_bytes()),
    }
}

/// Encodes a DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut encoded = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => encoded.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let first = length.iter().position(|byte| *byte != 0).unwrap_or(0);
            let length = &length[first..];
            // At most eight bytes.
            encoded.push(0x80 | length.len() as u8);
            encoded.extend(length);
        }
    }
    encoded.extend(content);
    encoded
}

/// Returns where the content of the first element begins and ends.
fn bounds(encoded: &[u8]) -> (usize, usize) {
    let short = usize::from(encoded[1]);
    if short < 0x80 {
        return (2, 2 + short);
    }
    let start = 2 + (short & 0x7f);
    let length = encoded[2..start]
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    (start, start + length)
}

/// Returns the content of an element of a fixture.
fn content(element: &[u8]) -> &[u8] {
    let (start, end) = bounds(element);
    &element[start..end]
}

/// Splits the content of a constructed element of a fixture.
fn children(mut content: &[u8]) -> Vec<&[u8]> {
    let mut children = Vec::new();
    while !content.is_empty() {
        let (child, rest) = content.split_at(bounds(content).1);
        children.push(child);
        content = rest;
    }
    children
}

fn decode_pem(text: &str) -> Vec<u8> {
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    STANDARD.decode(body).expect("the fixtures are PEM")
}

fn encode_pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----");
    text
}
