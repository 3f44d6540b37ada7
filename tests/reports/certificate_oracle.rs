//! Compares facts about certificates with what `x509-cert` reads. The fuzz target uses this as well.

use pca_revocation_watch::revocation::certificate::{Addresses, CertificateFacts};
use pca_revocation_watch::revocation::investigation::MAX_ITEMS;
use pca_revocation_watch::timestamp::Timestamp;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints};

const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");

/// Asserts that facts are bounded and, if `x509-cert` accepts the certificate, the same as there.
/// Returns whether it does.
pub fn compare(der: &[u8], facts: &Result<CertificateFacts, String>) -> bool {
    let Ok(facts) = facts else {
        return false;
    };
    for addresses in [&facts.crl, &facts.ocsp] {
        let kept = addresses.uris.len();
        assert!(kept as u64 <= addresses.total && kept <= MAX_ITEMS);
    }
    let Ok(certificate) = Certificate::from_der(der) else {
        return false;
    };
    let signed = certificate.tbs_certificate();
    let octets = signed.serial_number().as_bytes();
    let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
    let octets = &octets[zeros..];
    let mut serial = [0; 20];
    serial[20 - octets.len()..].copy_from_slice(octets);
    assert_eq!(facts.serial, serial);
    let key = signed.subject_public_key_info().to_der().unwrap();
    assert_eq!(facts.public_key[..], Sha256::digest(&key)[..]);
    let end = signed.validity().not_after.to_unix_duration().as_secs();
    let not_after = facts.not_after.map(Timestamp::unix_seconds);
    assert_eq!(not_after, Some(end as i64));
    let (Ok(constraints), Ok(points), Ok(access)) = (
        signed.get_extension::<BasicConstraints>(),
        signed.get_extension::<CrlDistributionPoints>(),
        signed.get_extension::<AuthorityInfoAccessSyntax>(),
    ) else {
        return false;
    };
    assert_eq!(facts.is_ca, constraints.is_some_and(|(_, it)| it.ca));
    let points = points.map_or(Vec::new(), |(_, points)| points.0);
    let names = points
        .into_iter()
        .flat_map(|point| match point.distribution_point {
            Some(DistributionPointName::FullName(names)) => names.into_iter().map(Some).collect(),
            Some(_) => vec![None],
            None => point.crl_issuer.map(|_| None).into_iter().collect(),
        });
    assert_same(&facts.crl, names);
    let access = access.map_or(Vec::new(), |(_, access)| access.0);
    let ocsp = access.into_iter().filter(|it| it.access_method == OCSP);
    assert_same(&facts.ocsp, ocsp.map(|it| Some(it.access_location)));
    true
}

/// `None` is an address that is no `GeneralName`.
fn assert_same(addresses: &Addresses, names: impl Iterator<Item = Option<GeneralName>>) {
    let names: Vec<_> = names.collect();
    assert_eq!(addresses.total, names.len() as u64);
    let uris = names.into_iter().filter_map(|name| match name {
        Some(GeneralName::UniformResourceIdentifier(uri)) => Some(uri.to_string()),
        _ => None,
    });
    let uris: Vec<String> = uris.collect();
    assert_eq!(addresses.uris, uris[..uris.len().min(MAX_ITEMS)]);
}
