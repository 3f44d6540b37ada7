//! Whole runs of the real binary that look up what is beyond the report, over HTTP.

use std::time::Duration;

use crate::common::{World, only};
use local_aws::{AcmCertificate, Service};
use serde_json::{Value, json};

const LOAD_BALANCER: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/prod-web/50dc6c495c0c9188";
const ACM_CERTIFICATE: &str =
    "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012";

/// Lifts Private CA's limit of 30 minutes between two reports.
const NO_LIMIT: (&str, &str) = ("REPORT_INTERVAL_SECONDS", "0");

/// A revoked certificate that a load balancer uses, and another one with its key.
struct Leak {
    serial: String,
    same_key: String,
}

impl Leak {
    fn of(world: &World) -> Self {
        let pca = world.aws.private_ca();
        pca.set_reports(|reports| reports.interval = Duration::ZERO);
        let serial = pca.issue(&world.ca, "www.example1.com");
        let issued = pca.certificates(&world.ca).pop().expect("a certificate");
        let mut other = pca.certificate(&world.ca, "www.example1.com");
        other.x509 = issued.x509;
        let same_key = other.serial.clone();
        pca.add(&world.ca, other);
        let deployed = AcmCertificate::new(ACM_CERTIFICATE, "www.example1.com", &serial, &world.ca);
        world.aws.acm().add(deployed.used_by(LOAD_BALANCER));
        assert!(pca.revoke(&world.ca, &serial, "KEY_COMPROMISE"));
        Self { serial, same_key }
    }
}

/// Returns the operations of the investigation that were called, in the order of their names.
fn lookups(world: &World) -> Vec<String> {
    let mut operations: Vec<_> = world
        .aws
        .calls()
        .into_iter()
        .filter(|call| {
            matches!(call.service, Service::CloudTrail | Service::Acm)
                || call.operation == "GetCertificate"
        })
        .map(|call| call.operation)
        .collect();
    operations.sort();
    operations
}

/// Returns how often reports were read.
fn reads_of_reports(world: &World) -> usize {
    let calls = world.aws.calls_of("GetObject");
    let keys = calls.iter().filter_map(|call| call.key.as_deref());
    keys.filter(|key| key.starts_with("audit-report/")).count()
}

/// Returns the text of the only email about revocations, its lines joined.
fn email(world: &World) -> String {
    let emails = world.emails();
    let about: Vec<_> = emails
        .iter()
        .filter(|(subject, _)| subject.contains("KEY_COMPROMISE"))
        .collect();
    assert_eq!(about.len(), 1, "{emails:?}");
    let words: Vec<_> = about[0].1.split_whitespace().collect();
    words.join(" ")
}

/// Returns the investigation of the only revocation of the first message.
fn investigation(world: &World) -> Value {
    let message = &world.messages()[0];
    assert_eq!(message["type"], "revocations");
    assert_eq!(message["revocations"].as_array().map(Vec::len), Some(1));
    message["revocations"][0]["investigation"].clone()
}

#[tokio::test]
async fn message_says_what_was_looked_up() {
    let world = World::new().await;
    let leak = Leak::of(&world);
    let function = world.function(&[NO_LIMIT]).await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(only(&response)["published"], 1, "{response:#}");
    let found = investigation(&world);
    let revoked_by = &found["revokedBy"];
    assert_eq!(revoked_by["status"], "known", "{found:#}");
    assert_eq!(revoked_by["role"], "pki-admin");
    assert_eq!(revoked_by["session"], "m.ops");
    assert_eq!(revoked_by["sourceIp"], "203.0.113.5");
    assert_eq!(revoked_by["revocations"], 1);
    let in_use = &found["inUse"];
    assert_eq!(in_use["status"], "known", "{found:#}");
    assert_eq!(in_use["certificatesTotal"], 1);
    let deployed = &in_use["certificates"][0];
    assert_eq!(deployed["certificateArn"], ACM_CERTIFICATE);
    assert_eq!(deployed["serial"], json!(leak.serial));
    assert_eq!(deployed["inUseBy"], json!([LOAD_BALANCER]));
    let affected = &found["affected"];
    assert_eq!(affected["status"], "known", "{found:#}");
    assert_eq!(affected["certificatesTotal"], 1);
    assert_eq!(affected["certificates"][0]["serial"], json!(leak.same_key));
    assert_eq!(affected["certificates"][0]["sameKey"], true);
    let clients = &found["clients"];
    assert_eq!(clients["status"], "known", "{found:#}");
    assert_eq!(
        (&clients["crlUrlsTotal"], &clients["ocspUrlsTotal"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(clients["authority"]["crl"], true);

    let email = email(&world);
    for expected in [
        "Revoked by: role pki-admin, session m.ops, from 203.0.113.5".to_owned(),
        "In use by: load balancer prod-web (us-east-1)".to_owned(),
        format!("Same key: 1 other valid certificate: {}", leak.same_key),
        "Clients: can check the CRL only (no OCSP)".to_owned(),
        format!("Revoke and replace {} as well", leak.same_key),
    ] {
        assert!(email.contains(&expected), "no {expected:?} in {email}");
    }
    assert_eq!(
        lookups(&world),
        [
            "DescribeCertificate",
            "GetCertificate",
            "GetCertificate",
            "LookupEvents",
            "SearchCertificates"
        ]
    );
    assert_eq!(reads_of_reports(&world), 2);
}

#[tokio::test]
async fn nothing_is_looked_up_if_it_is_switched_off() {
    let world = World::new().await;
    let leak = Leak::of(&world);
    let function = world.function(&[NO_LIMIT, ("INVESTIGATE", "no")]).await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(only(&response)["published"], 1, "{response:#}");
    assert_eq!(investigation(&world), "notInvestigated");
    let email = email(&world);
    assert!(email.contains(&leak.serial), "{email}");
    for absent in ["pki-admin", "prod-web", &leak.same_key, "Clients:"] {
        assert!(!email.contains(absent), "{absent:?} in {email}");
    }
    assert_eq!(lookups(&world), [""; 0]);
    assert_eq!(reads_of_reports(&world), 1);
}

#[tokio::test]
async fn message_says_if_no_client_can_learn_of_a_revocation() {
    let world = World::new().await;
    let nothing = local_aws::RevocationConfiguration {
        crl: false,
        ocsp: false,
    };
    world.aws.private_ca().set_revocation(&world.ca, nothing);
    world.revoke("www.example1.com");
    let function = world.function(&[]).await;

    function.invoke(json!({})).await.unwrap();

    let clients = &investigation(&world)["clients"];
    assert_eq!(
        (&clients["crlUrlsTotal"], &clients["ocspUrlsTotal"]),
        (&json!(0), &json!(0))
    );
    let email = email(&world);
    let expected = "Clients: no client can learn of this revocation: the certificate has no CRL or \
                    OCSP pointer";
    assert!(email.contains(expected), "{email}");
}
