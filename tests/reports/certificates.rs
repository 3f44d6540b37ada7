//! Facts about certificates made by OpenSSL, compared with `x509-cert`.

use aws_smithy_types::base64;
use pca_revocation_watch::revocation::certificate::{CertificateFacts, MAX_PEM_BYTES};
use pca_revocation_watch::revocation::investigation::MAX_ITEMS;
use pca_revocation_watch::revocation::key::hex;
use proptest::prelude::*;

use crate::certificate_oracle::compare;

const CRL_AND_OCSP: &str = include_str!("../fixtures/certificates/crl-and-ocsp.pem");
const SAME_KEY: &str = include_str!("../fixtures/certificates/same-key.pem");
const OTHER_KEY: &str = include_str!("../fixtures/certificates/other-key.pem");
const ROOT_CA: &str = include_str!("../fixtures/certificates/root-ca.pem");
const RSA: &str = include_str!("../fixtures/certificates/rsa.pem");
const VERSION_1: &str = include_str!("../fixtures/certificates/version-1.pem");
const ALL: [&str; 6] = [CRL_AND_OCSP, SAME_KEY, OTHER_KEY, ROOT_CA, RSA, VERSION_1];

fn der(pem: &str) -> Vec<u8> {
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    base64::decode(lines.collect::<String>()).unwrap()
}

fn facts(pem: &str) -> CertificateFacts {
    CertificateFacts::from_pem(pem).unwrap()
}

/// Encodes an element in DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut encoded = vec![tag];
    match len {
        0..=0x7f => encoded.push(len as u8),
        _ => {
            let octets: Vec<u8> = len
                .to_be_bytes()
                .into_iter()
                .skip_while(|&o| o == 0)
                .collect();
            encoded.push(0x80 | octets.len() as u8);
            encoded.extend(octets);
        }
    }
    encoded.extend(content);
    encoded
}

/// Returns a certificate with these CRL distribution points, each a `DistributionPoint` in DER.
fn with_distribution_points(points: &[u8]) -> Vec<u8> {
    let value = element(0x04, &element(0x30, points));
    let extension = element(0x30, &[&[6, 3, 0x55, 0x1d, 0x1f][..], &value].concat());
    let extensions = element(0xa3, &element(0x30, &extension));
    let time = element(0x17, b"300101000000Z");
    let algorithm = element(0x30, &[6, 3, 0x2a, 3, 4]);
    let key = element(0x30, &[&algorithm[..], &[3, 2, 0, 1]].concat());
    let name = element(0x30, &[]);
    let validity = element(0x30, &[&time[..], &time].concat());
    let signed = [
        &[0xa0, 3, 2, 1, 2, 2, 1, 5][..],
        &algorithm,
        &name,
        &validity,
        &name,
        &key,
        &extensions,
    ];
    let signed = element(0x30, &signed.concat());
    element(0x30, &[&signed[..], &algorithm, &[3, 2, 0, 1]].concat())
}

fn distribution_point(uri: &[u8]) -> Vec<u8> {
    element(0x30, &element(0xa0, &element(0xa0, &element(0x86, uri))))
}

#[test]
fn facts_are_those_of_x509_cert() {
    for pem in ALL {
        let facts = facts(pem);
        assert_eq!(CertificateFacts::from_der(&der(pem)), Ok(facts.clone()));
        assert!(compare(&der(pem), &Ok(facts)), "{pem}");
    }
}

#[test]
fn facts_are_those_of_openssl() {
    let leaf = facts(CRL_AND_OCSP);
    assert_eq!(
        hex(&leaf.serial),
        "000000002bae9a75d71b42b4e41e36f8b4b488fc"
    );
    assert_eq!(
        leaf.crl.uris,
        [
            "http://crl.example.com/crl/a.crl",
            "http://crl.example.com/crl/b.crl"
        ]
    );
    assert_eq!(leaf.ocsp.uris, ["http://ocsp.example.com"]);
    assert!(!leaf.is_ca);
    assert_eq!(
        hex(&facts(OTHER_KEY).serial),
        "ffeeddccbbaa99887766554433221100ffeeddcc"
    );
    assert!(facts(ROOT_CA).is_ca);
    assert_eq!(facts(RSA).ocsp.total, 2);
    let version_1 = facts(VERSION_1);
    assert_eq!((version_1.crl.total, version_1.ocsp.total), (0, 0));
}

#[test]
fn same_public_key_is_recognized() {
    let key = facts(CRL_AND_OCSP).public_key;
    assert_eq!(facts(SAME_KEY).public_key, key);
    assert_eq!(facts(VERSION_1).public_key, key);
    for other in [OTHER_KEY, ROOT_CA, RSA] {
        assert_ne!(facts(other).public_key, key);
    }
}

#[test]
fn certificate_cut_at_any_byte_is_refused() {
    for pem in ALL {
        let der = der(pem);
        for end in 0..der.len() {
            assert!(CertificateFacts::from_der(&der[..end]).is_err(), "{end}");
        }
        let longer = [&der[..], &[0]].concat();
        assert!(CertificateFacts::from_der(&longer).is_err());
        let end = pem.find("-----END CERTIFICATE-----").unwrap();
        for end in 0..end {
            assert!(CertificateFacts::from_pem(&pem[..end]).is_err(), "{end}");
        }
    }
}

#[test]
fn changed_bytes_never_yield_other_than_x509_cert() {
    for pem in ALL {
        let der = der(pem);
        for at in 0..der.len() {
            for flipped in [1, 0x20, 0x80, 0xff] {
                let mut changed = der.clone();
                changed[at] ^= flipped;
                compare(&changed, &CertificateFacts::from_der(&changed));
            }
        }
    }
}

#[test]
fn ten_thousand_pointers_are_counted_and_ten_kept() {
    let points = (0..10_000).map(|at| distribution_point(format!("http://{at}").as_bytes()));
    let der = with_distribution_points(&points.collect::<Vec<_>>().concat());
    let facts = CertificateFacts::from_der(&der);
    assert!(compare(&der, &facts));
    let crl = facts.unwrap().crl;
    assert_eq!((crl.total, crl.uris.len()), (10_000, MAX_ITEMS));
    assert_eq!(crl.uris[9], "http://9");
}

#[test]
fn pointers_other_than_uris_are_only_counted() {
    // `CN=a`, as an attribute, a relative name and a name.
    let attribute = element(0x30, &[6, 3, 0x55, 4, 3, 0x0c, 1, b'a']);
    let name = element(0x30, &element(0x31, &attribute));
    let in_directory = element(0xa4, &name);
    let uri = element(0x86, b"http://a");
    let full_name = |names: &[u8]| element(0x30, &element(0xa0, &element(0xa0, names)));
    for (point, total, uris) in [
        (full_name(&in_directory), 1, 0),
        (full_name(&[&in_directory[..], &uri].concat()), 2, 1),
        // Relative to the issuer of the CRL.
        (
            element(0x30, &element(0xa0, &element(0xa1, &attribute))),
            1,
            0,
        ),
        // The issuer of the CRL only, and after some reasons.
        (element(0x30, &element(0xa2, &in_directory)), 1, 0),
        (
            element(
                0x30,
                &[
                    &element(0x81, &[6, 0x40])[..],
                    &element(0xa2, &in_directory),
                ]
                .concat(),
            ),
            1,
            0,
        ),
        // Nothing at all.
        (element(0x30, &[]), 0, 0),
    ] {
        let der = with_distribution_points(&point);
        let facts = CertificateFacts::from_der(&der);
        assert!(compare(&der, &facts), "{point:02x?}");
        let crl = facts.unwrap().crl;
        assert_eq!((crl.total, crl.uris.len()), (total, uris), "{point:02x?}");
    }
}

#[test]
fn any_octets_in_a_pointer_are_kept_as_text() {
    let der = with_distribution_points(&distribution_point(b"http://x\r\n\x1b[31m\0<b>\xff"));
    let crl = CertificateFacts::from_der(&der).unwrap().crl;
    assert_eq!(crl.uris, ["http://x\r\n\x1b[31m\0<b>\u{fffd}"]);
}

#[test]
fn deeply_nested_elements_are_refused() {
    let mut nested = Vec::new();
    for _ in 0..5_000 {
        nested = element(0x30, &nested);
    }
    assert!(CertificateFacts::from_der(&nested).is_err());
    let nested = with_distribution_points(&nested);
    assert_eq!(CertificateFacts::from_der(&nested).unwrap().crl.total, 0);
}

#[test]
fn junk_around_pem_is_ignored_and_within_refused() {
    let leaf = facts(CRL_AND_OCSP);
    let surrounded = format!("Bag Attributes\r\n<none>\n{CRL_AND_OCSP}\u{202e}{OTHER_KEY}");
    assert_eq!(facts(&surrounded), leaf);
    assert_eq!(facts(&CRL_AND_OCSP.replace('\n', "\r\n")), leaf);
    assert_eq!(facts(&CRL_AND_OCSP.replace('\n', "")), leaf);
    let at = CRL_AND_OCSP.len() / 2;
    for junk in ["-", "=", "\0", "\u{e9}", "Proc-Type: 4,ENCRYPTED\n", "A"] {
        let (head, tail) = CRL_AND_OCSP.split_at(at);
        let damaged = format!("{head}{junk}{tail}");
        assert!(CertificateFacts::from_pem(&damaged).is_err(), "{junk:?}");
    }
    for no_pem in [
        "",
        "-----BEGIN CERTIFICATE-----",
        "-----END CERTIFICATE-----",
    ] {
        assert!(CertificateFacts::from_pem(no_pem).is_err());
    }
}

#[test]
fn long_pem_is_refused() {
    let padding = " ".repeat(MAX_PEM_BYTES - CRL_AND_OCSP.len());
    let longest = format!("{CRL_AND_OCSP}{padding}");
    assert_eq!(facts(&longest), facts(CRL_AND_OCSP));
    let error = CertificateFacts::from_pem(&format!("{longest} ")).unwrap_err();
    assert_eq!(error, "the certificate is longer than 65536 bytes");
}

proptest! {
    #[test]
    fn base64_is_decoded_as_elsewhere(text in "[A-Za-z0-9+/]{0,12}={0,3}") {
        let pem = format!("-----BEGIN CERTIFICATE-----{text}-----END CERTIFICATE-----");
        let error = CertificateFacts::from_pem(&pem).unwrap_err();
        let is_base64 = error == "the certificate is malformed";
        // Some decoders require that unused bits are zero; that does not matter here.
        if base64::decode(&text).is_ok() {
            prop_assert!(is_base64, "{}", text);
        }
        if text.len() % 4 != 0 || text.contains("===") {
            prop_assert!(!is_base64, "{}", text);
        }
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        compare(&bytes, &CertificateFacts::from_der(&bytes));
        let _ = CertificateFacts::from_pem(&String::from_utf8_lossy(&bytes));
    }
}
