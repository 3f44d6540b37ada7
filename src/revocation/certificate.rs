//! Facts about an X.509 certificate: its serial, its public key, and where clients can check whether it
//! was revoked.
//!
//! Whoever requests a certificate may choose much of it. Parsing looks only at the elements it needs,
//! in one pass over the bytes, and keeps a limited number of addresses. Texts are returned as they are:
//! they may have any characters.

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use sha2::{Digest, Sha256};

use crate::revocation::investigation::MAX_ITEMS;
use crate::revocation::key::{hex, serial_octets};
use crate::timestamp::Timestamp;

/// Maximum length of a certificate as PEM: ten times what AWS Private CA usually returns.
pub const MAX_PEM_BYTES: usize = 64 << 10;

/// Object identifiers as DER states them (RFC 5280, sections 4.2.1.9, 4.2.1.13, 4.2.2.1).
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 0x1f];
const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
const OCSP: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1];

/// Facts about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The serial, big-endian and right-aligned, as [`serial_octets`] returns it.
    pub serial: [u8; 20],
    /// The SHA-256 of the public key and its algorithm (`SubjectPublicKeyInfo` in DER).
    pub public_key: [u8; 32],
    /// Where CRLs are.
    pub crl: Addresses,
    /// Where OCSP responders are.
    pub ocsp: Addresses,
    /// Whether it is the certificate of a CA.
    pub is_ca: bool,
    /// The end of its validity, if it is readable.
    pub not_after: Option<Timestamp>,
}

/// Addresses in a certificate. Those that are not URIs, such as names of a directory, are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The first URIs, at most [`MAX_ITEMS`].
    pub uris: Vec<String>,
    /// Number of all addresses.
    pub total: u64,
}

impl CertificateFacts {
    /// Parses the first certificate of a PEM text.
    ///
    /// # Errors
    /// Why it cannot be parsed, in words.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        if pem.len() > MAX_PEM_BYTES {
            return Err(format!(
                "the certificate is longer than {MAX_PEM_BYTES} bytes"
            ));
        }
        let body = pem
            .split_once("-----BEGIN CERTIFICATE-----")
            .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"));
        let (body, _) = body.ok_or("the certificate is not PEM")?;
        let der = base64(body).ok_or("the certificate is not valid Base64")?;
        Self::from_der(&der)
    }

    /// Parses a certificate in DER.
    ///
    /// # Errors
    /// Why it cannot be parsed, in words.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        parse(der).ok_or_else(|| "the certificate is malformed".to_owned())
    }
}

impl Addresses {
    fn add(&mut self, uri: &[u8]) {
        if self.uris.len() < MAX_ITEMS {
            self.uris.push(String::from_utf8_lossy(uri).into_owned());
        }
    }
}

/// The elements of a SEQUENCE or another constructed value.
struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    fn of(value: &'a [u8]) -> Option<Self> {
        SliceReader::new(value).ok().map(Self)
    }

    /// Returns the elements of a SEQUENCE.
    fn of_sequence(element: AnyRef<'a>) -> Option<Self> {
        (element.tag() == Tag::Sequence).then(|| Self::of(element.value()))?
    }

    fn is_at_end(&self) -> bool {
        self.0.is_finished()
    }

    fn next(&mut self) -> Option<AnyRef<'a>> {
        AnyRef::decode(&mut self.0).ok()
    }

    /// Returns the next element, which must have that tag.
    fn expect(&mut self, tag: Tag) -> Option<AnyRef<'a>> {
        self.next().filter(|element| element.tag() == tag)
    }

    /// Returns the elements of the next element, a SEQUENCE.
    fn sequence(&mut self) -> Option<Self> {
        Self::of_sequence(self.next()?)
    }

    /// Returns the next element if it has that tag.
    fn optional(&mut self, tag: Tag) -> Option<AnyRef<'a>> {
        match Tag::peek(&self.0) {
            Ok(next) if next == tag => self.next(),
            _ => None,
        }
    }

    /// Calls `each` for every element that is left; `None` if one is malformed.
    fn for_each(mut self, mut each: impl FnMut(AnyRef<'a>) -> Option<()>) -> Option<()> {
        while !self.is_at_end() {
            each(self.next()?)?;
        }
        Some(())
    }
}

const fn context(constructed: bool, number: u16) -> Tag {
    Tag::ContextSpecific {
        constructed,
        number: TagNumber(number as _),
    }
}

/// Parses a `Certificate` (RFC 5280, section 4.1); `None` if it is malformed.
fn parse(der: &[u8]) -> Option<CertificateFacts> {
    let mut outer = Elements::of(der)?;
    let mut certificate = outer.sequence()?;
    let mut to_be_signed = certificate.sequence()?;
    certificate.expect(Tag::Sequence)?; // signatureAlgorithm
    certificate.expect(Tag::BitString)?; // signatureValue
    if !outer.is_at_end() || !certificate.is_at_end() {
        return None;
    }
    to_be_signed.optional(context(true, 0)); // version
    let serial = to_be_signed.expect(Tag::Integer)?.value();
    // Twenty octets and a sign; anything longer is refused before it is copied.
    let serial = (serial.len() <= 21).then(|| serial_octets(hex(serial)))??;
    to_be_signed.expect(Tag::Sequence)?; // signature
    to_be_signed.expect(Tag::Sequence)?; // issuer
    let mut validity = to_be_signed.sequence()?;
    validity.next()?; // notBefore
    let not_after = time(validity.next()?);
    to_be_signed.expect(Tag::Sequence)?; // subject
    let public_key = to_be_signed.0.tlv_bytes().ok()?;
    Elements::of(public_key)?.expect(Tag::Sequence)?;
    let mut facts = CertificateFacts {
        serial,
        public_key: Sha256::digest(public_key).into(),
        crl: Addresses::default(),
        ocsp: Addresses::default(),
        is_ca: false,
        not_after,
    };
    to_be_signed.optional(context(false, 1)); // issuerUniqueID
    to_be_signed.optional(context(false, 2)); // subjectUniqueID
    if let Some(extensions) = to_be_signed.optional(context(true, 3)) {
        let mut extensions = Elements::of(extensions.value())?;
        let list = extensions.sequence()?;
        list.for_each(|extension| read_extension(&mut facts, extension))?;
        extensions.is_at_end().then_some(())?;
    }
    to_be_signed.is_at_end().then_some(facts)
}

/// Returns a `Time`; `None` if it cannot be read.
fn time(time: AnyRef<'_>) -> Option<Timestamp> {
    let since_1970 = match time.tag() {
        Tag::UtcTime => time.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => time.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
    };
    Timestamp::from_unix_seconds(i64::try_from(since_1970.as_secs()).ok()?)
}

/// Reads an `Extension`, if it is one that matters.
fn read_extension(facts: &mut CertificateFacts, extension: AnyRef<'_>) -> Option<()> {
    let mut extension = Elements::of_sequence(extension)?;
    let kind = extension.expect(Tag::ObjectIdentifier)?.value();
    extension.optional(Tag::Boolean); // critical
    let value = extension.expect(Tag::OctetString)?.value();
    extension.is_at_end().then_some(())?;
    if ![
        BASIC_CONSTRAINTS,
        CRL_DISTRIBUTION_POINTS,
        AUTHORITY_INFO_ACCESS,
    ]
    .contains(&kind)
    {
        return Some(());
    }
    let mut value = Elements::of(value)?;
    let mut content = value.sequence()?;
    value.is_at_end().then_some(())?;
    match kind {
        BASIC_CONSTRAINTS => {
            let is_ca = content.optional(Tag::Boolean);
            facts.is_ca |= is_ca.is_some_and(|is_ca| is_ca.value() != [0]);
            Some(())
        }
        CRL_DISTRIBUTION_POINTS => {
            content.for_each(|point| read_distribution_point(&mut facts.crl, point))
        }
        _ => content.for_each(|access| {
            let mut access = Elements::of_sequence(access)?;
            let method = access.expect(Tag::ObjectIdentifier)?;
            let location = access.next()?;
            if method.value() == OCSP {
                read_name(&mut facts.ocsp, location);
            }
            Some(())
        }),
    }
}

/// Reads a `DistributionPoint` (RFC 5280, section 4.2.1.13).
fn read_distribution_point(crl: &mut Addresses, point: AnyRef<'_>) -> Option<()> {
    let mut point = Elements::of_sequence(point)?;
    let Some(name) = point.optional(context(true, 0)) else {
        point.optional(context(false, 1)); // reasons
        // The CRL is in the directory, under the name of its issuer.
        crl.total += u64::from(point.optional(context(true, 2)).is_some());
        return Some(());
    };
    let mut name = Elements::of(name.value())?;
    let Some(names) = name.optional(context(true, 0)) else {
        // A name relative to the issuer.
        crl.total += 1;
        return Some(());
    };
    Elements::of(names.value())?.for_each(|name| {
        read_name(crl, name);
        Some(())
    })
}

/// Adds a `GeneralName`: its text, if it is a URI (RFC 5280, section 4.2.1.6).
fn read_name(addresses: &mut Addresses, name: AnyRef<'_>) {
    addresses.total += 1;
    if name.tag() == context(false, 6) {
        addresses.add(name.value());
    }
}

/// Decodes Base64 with white space; `None` if it is not valid.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut digits, mut padding) = (0u32, 0, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if digits >= 2 => {
                padding += 1;
                0
            }
            _ => return None,
        };
        // Nothing follows padding, except more of it.
        if padding > 0 && byte != b'=' {
            return None;
        }
        group = group << 6 | u32::from(digit);
        digits += 1;
        if digits == 4 {
            let [_, decoded @ ..] = group.to_be_bytes();
            bytes.extend_from_slice(&decoded[..3 - padding]);
            (group, digits) = (0, if padding > 0 { 5 } else { 0 });
        } else if digits > 4 {
            return None;
        }
    }
    matches!(digits, 0 | 5).then_some(bytes)
}
