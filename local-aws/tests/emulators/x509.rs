//! The X.509 certificates that `GetCertificate` returns.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use local_aws::{Certificate as Row, Profile, Quotas, RevocationConfiguration};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints};

use crate::clients::{World, refusal, refused};

const CRL_URL: &str = "http://amzn-s3-demo-crl-bucket.s3.us-east-1.amazonaws.com/crl/11223344-1234-1122-2233-112233445566.crl";
const OCSP_URL: &str = "http://ocsp.acm-pca.us-east-1.amazonaws.com";

impl World {
    async fn pem(&self, ca: &str, row: &Row) -> String {
        let get = self
            .pca
            .get_certificate()
            .certificate_authority_arn(ca)
            .certificate_arn(&row.certificate_arn);
        get.send().await.unwrap().certificate.unwrap()
    }

    async fn parsed(&self, ca: &str, row: &Row) -> Certificate {
        parse(&self.pem(ca, row).await)
    }
}

fn parse(pem: &str) -> Certificate {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    Certificate::from_der(&STANDARD.decode(body).unwrap()).unwrap()
}

fn profile(key: u32, crl_urls: &[&str], ocsp_urls: &[&str]) -> Profile {
    let owned = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect();
    Profile {
        key,
        crl_urls: owned(crl_urls),
        ocsp_urls: owned(ocsp_urls),
    }
}

fn key(certificate: &Certificate) -> Vec<u8> {
    let key = certificate.tbs_certificate().subject_public_key_info();
    key.to_der().unwrap()
}

/// Returns the DER of the pointers: CRL distribution points, authority information access.
fn pointers(certificate: &Certificate) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let body = certificate.tbs_certificate();
    let crl = body.get_extension::<CrlDistributionPoints>().unwrap();
    let ocsp = body.get_extension::<AuthorityInfoAccessSyntax>().unwrap();
    (
        crl.map(|(_, points)| points.to_der().unwrap()),
        ocsp.map(|(_, access)| access.to_der().unwrap()),
    )
}

#[tokio::test]
async fn certificate_has_the_rows_serial_name_and_validity() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    let ca = pca.create("Example Root CA");
    let mut row = pca.certificate(&ca, "leaked.example.com");
    row.serial = "00:f1:02".to_owned();
    row.not_before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_233_600);
    row.not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    pca.add(&ca, row.clone());
    let parsed = world.parsed(&ca, &row).await;
    let body = parsed.tbs_certificate();
    assert_eq!(body.serial_number().as_bytes(), [0, 0xf1, 0x02]);
    assert_eq!(
        body.subject().to_string(),
        "CN=leaked.example.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US"
    );
    let validity = body.validity();
    assert_eq!(validity.not_before.to_system_time(), row.not_before);
    assert_eq!(validity.not_after.to_system_time(), row.not_after);
}

#[tokio::test]
async fn derived_certificates_equal_those_of_openssl() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    let ca = pca.create("Example Root CA");
    let partition = CRL_URL.replace(".crl", "/0f1e2d3c4b5a.crl");
    for (fixture, profile) in [
        (
            include_str!("../../fixtures/key-a-crl.pem"),
            profile(1, &[CRL_URL], &[]),
        ),
        (
            include_str!("../../fixtures/key-a-ocsp.pem"),
            profile(1, &[], &[OCSP_URL]),
        ),
        (
            include_str!("../../fixtures/key-a-both.pem"),
            profile(1, &[CRL_URL], &[OCSP_URL]),
        ),
        (
            include_str!("../../fixtures/key-a-neither.pem"),
            profile(1, &[], &[]),
        ),
        (
            include_str!("../../fixtures/key-a-renewed.pem"),
            profile(1, &[CRL_URL], &[]),
        ),
        (
            include_str!("../../fixtures/key-a-partitioned.pem"),
            profile(1, &[&partition], &[]),
        ),
        (
            include_str!("../../fixtures/key-b-crl.pem"),
            profile(2, &[CRL_URL], &[]),
        ),
        (
            include_str!("../../fixtures/key-b-ocsp.pem"),
            profile(2, &[], &[OCSP_URL]),
        ),
        (
            include_str!("../../fixtures/key-b-both.pem"),
            profile(2, &[CRL_URL], &[OCSP_URL]),
        ),
        (
            include_str!("../../fixtures/key-b-neither.pem"),
            profile(2, &[], &[]),
        ),
    ] {
        let row = pca.certificate(&ca, "www.example.com").with_x509(profile);
        pca.add(&ca, row.clone());
        let (derived, made) = (world.parsed(&ca, &row).await, parse(fixture));
        assert_eq!(pointers(&derived), pointers(&made), "{:?}", row.x509);
        assert_eq!(key(&derived), key(&made), "{:?}", row.x509);
        let (derived, made) = (derived.tbs_certificate(), made.tbs_certificate());
        assert_eq!(derived.subject(), made.subject());
        assert_eq!(derived.issuer(), made.issuer());
    }
}

#[tokio::test]
async fn keys_are_equal_only_if_their_numbers_are() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    let ca = pca.create("Example Root CA");
    let mut keys = Vec::new();
    for number in [Some(1), Some(2), Some(3), Some(4), None, None] {
        let mut row = pca.certificate(&ca, "www.example.com");
        row.x509 = number.map(|number| profile(number, &[], &[]));
        pca.add(&ca, row.clone());
        keys.push(key(&world.parsed(&ca, &row).await));
    }
    let row = pca.certificate(&ca, "api.example.com");
    let row = row.with_x509(profile(3, &[CRL_URL], &[]));
    pca.add(&ca, row.clone());
    assert_eq!(key(&world.parsed(&ca, &row).await), keys[2]);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 6);
}

#[tokio::test]
async fn pointers_follow_the_configuration_at_the_time_of_issue() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    let id = "11223344-1234-1122-2233-112233445566";
    let ca = pca.create_with_id(id, "Example Root CA");
    let mut rows = Vec::new();
    for (crl, ocsp, omit) in [
        (true, true, false),
        (false, true, false),
        (true, false, true),
        (false, false, false),
    ] {
        pca.set_revocation(&ca, RevocationConfiguration { crl, ocsp });
        pca.set_omit_crl_pointer(&ca, omit);
        let describe = world.pca.describe_certificate_authority();
        let described = describe
            .certificate_authority_arn(&ca)
            .send()
            .await
            .unwrap();
        let described = described.certificate_authority.unwrap();
        let configured = described.revocation_configuration.unwrap();
        let crl_configuration = configured.crl_configuration.unwrap();
        assert_eq!(crl_configuration.enabled, crl);
        assert_eq!(configured.ocsp_configuration.unwrap().enabled, ocsp);
        let extension = crl_configuration.crl_distribution_point_extension_configuration;
        assert_eq!(
            extension.is_some_and(|extension| extension.omit_extension),
            omit
        );
        let serial = pca.issue(&ca, "www.example.com");
        rows.push((serial, crl && !omit, ocsp));
    }
    for (serial, has_crl, has_ocsp) in rows {
        let rows = pca.certificates(&ca);
        let row = rows.iter().find(|row| row.serial == serial).unwrap();
        let own = row.x509.as_ref().unwrap();
        assert_eq!(own.crl_urls, has_crl.then_some(CRL_URL).as_slice());
        assert_eq!(own.ocsp_urls, has_ocsp.then_some(OCSP_URL).as_slice());
        let (crl, ocsp) = pointers(&world.parsed(&ca, row).await);
        assert_eq!((crl.is_some(), ocsp.is_some()), (has_crl, has_ocsp));
    }
}

#[tokio::test]
async fn certificates_of_authorities_have_basic_constraints() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    let ca = pca.create("Example Root CA");
    for (template, is_authority) in [
        ("EndEntityCertificate/V1", false),
        ("SubordinateCACertificate_PathLen0/V1", true),
        ("RootCACertificate/V1", true),
    ] {
        let mut row = pca.certificate(&ca, "Example Issuing CA");
        row.template_arn = Some(format!("arn:aws:acm-pca:::template/{template}"));
        pca.add(&ca, row.clone());
        let parsed = world.parsed(&ca, &row).await;
        let constraints = parsed.tbs_certificate().get_extension::<BasicConstraints>();
        assert_eq!(constraints.unwrap().unwrap().1.ca, is_authority);
    }
}

#[tokio::test]
async fn raw_text_is_returned_and_unknown_arns_are_refused() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    let ca = pca.create("Example Root CA");
    let row = pca.certificate(&ca, "www.example.com").with_pem("hostile");
    pca.add(&ca, row.clone());
    assert_eq!(world.pem(&ca, &row).await, "hostile");

    let get = |ca: &str, arn: &str| {
        let get = world.pca.get_certificate();
        get.certificate_authority_arn(ca).certificate_arn(arn)
    };
    let found = get(&ca, &row.certificate_arn).send().await.unwrap();
    let chain = parse(&found.certificate_chain.unwrap());
    let made = parse(include_str!("../../fixtures/ca.pem"));
    assert_eq!(chain, made);
    let not_found = refused(400, "ResourceNotFoundException");
    let unknown = format!("{ca}/certificate/00");
    assert_eq!(refusal(get(&ca, &unknown).send().await), not_found);
    let other = ca.replace("certificate-authority/", "certificate-authority/0");
    let other = get(&other, &row.certificate_arn);
    assert_eq!(refusal(other.send().await), not_found);
    assert_eq!(
        refusal(get("nonsense", &unknown).send().await),
        refused(400, "InvalidArnException")
    );
    pca.set_quotas(Quotas {
        get_certificate: Some(1),
        ..Quotas::UNLIMITED
    });
    let get = get(&ca, &row.certificate_arn);
    assert!(get.clone().send().await.is_ok());
    assert_eq!(
        refusal(get.send().await),
        refused(400, "ThrottlingException")
    );
}
