//! Lookups that fail in every way: the alert goes out in time and unchanged, except for the line of that
//! lookup, which states the reason.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use local_aws::{AcmCertificate, Call, Certificate, Fault, On, Profile, Service};
use serde_json::{Value, json};

use super::{first_audit, messages_of_type, only_message, run_all_audited, run_audited};
use crate::simulator::on_paused_clock;
use crate::simulator::world::{InvokeOptions, World};

/// Maximum delay of an alert by all its lookups.
const MAX_DELAY: Duration = Duration::from_secs(10);

const MINUTE: Duration = Duration::from_secs(60);

const ACM_ARN: &str =
    "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012";
const LOAD_BALANCER: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/prod-web/50dc6c495c0c9188";
const CA_TEMPLATE: &str = "arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1";

/// A certificate with a serial of its own.
const OTHER_CERTIFICATE: &str = include_str!("../../../local-aws/fixtures/key-a-both.pem");

/// Operations that only investigations use, unless the function lists its CAs.
const OPERATIONS: [&str; 6] = [
    "LookupEvents",
    "SearchCertificates",
    "DescribeCertificate",
    "GetCertificate",
    "DescribeCertificateAuthority",
    "ListCertificateAuthorities",
];

/// The lookups of an investigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// `LookupEvents`.
    Trail,
    /// `SearchCertificates`.
    Search,
    /// `DescribeCertificate`.
    Describe,
    /// `GetCertificate` of the revoked certificate.
    RevokedCertificate,
    /// `GetCertificate` of another certificate with its subject.
    Sibling,
    /// The second `GetObject` of the report.
    Report,
    /// `DescribeCertificateAuthority`.
    Configuration,
    /// `ListCertificateAuthorities`.
    Authorities,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Injected {
    Denied,
    Throttled,
    /// Late by 6 s.
    Slow,
    Hanging,
    Empty,
    Malformed,
    /// What is looked up belongs to another account.
    OtherAccount,
    /// What is looked up is in another region.
    OtherRegion,
}

/// What differs from the undisturbed message.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A finding is unknown; the start of the reason.
    Unknown(&'static str, &'static str),
    /// The keys of certificates with the same subject were not compared.
    KeysNotCompared,
    /// The JSON does not state the CA's configuration.
    NoConfiguration,
    /// Everything below a CA certificate is affected, but which CA that is is unknown; why.
    AuthorityUnknown(&'static str),
}

use Change::{AuthorityUnknown, KeysNotCompared, NoConfiguration, Unknown};
use Injected::{Denied, Empty, Hanging, Malformed, OtherAccount, OtherRegion, Slow, Throttled};

/// What a fault of a lookup changes.
type Row = (Injected, &'static [Change]);

const TRAIL: [Row; 8] = [
    (
        Denied,
        &[Unknown("revokedBy", "CloudTrail denied LookupEvents")],
    ),
    (
        Throttled,
        &[Unknown("revokedBy", "CloudTrail throttled LookupEvents")],
    ),
    (
        Slow,
        &[Unknown(
            "revokedBy",
            "CloudTrail did not respond to LookupEvents",
        )],
    ),
    (
        Hanging,
        &[Unknown(
            "revokedBy",
            "CloudTrail did not respond to LookupEvents",
        )],
    ),
    (
        Empty,
        &[Unknown(
            "revokedBy",
            "CloudTrail of this account and region has no such event",
        )],
    ),
    (
        Malformed,
        &[Unknown(
            "revokedBy",
            "CloudTrail returned an invalid response to LookupEvents",
        )],
    ),
    (
        OtherAccount,
        &[Unknown(
            "revokedBy",
            "CloudTrail of this account and region has no such event",
        )],
    ),
    (
        OtherRegion,
        &[Unknown(
            "revokedBy",
            "CloudTrail of this account and region has no such event",
        )],
    ),
];

const SEARCH: [Row; 8] = [
    (Denied, &[Unknown("inUse", "ACM denied SearchCertificates")]),
    (
        Throttled,
        &[Unknown("inUse", "ACM throttled SearchCertificates")],
    ),
    (
        Slow,
        &[Unknown(
            "inUse",
            "ACM did not respond to SearchCertificates",
        )],
    ),
    (
        Hanging,
        &[Unknown(
            "inUse",
            "ACM did not respond to SearchCertificates",
        )],
    ),
    (
        Empty,
        &[Unknown(
            "inUse",
            "ACM of this account and region no longer has it",
        )],
    ),
    (
        Malformed,
        &[Unknown(
            "inUse",
            "ACM returned an invalid response to SearchCertificates",
        )],
    ),
    (
        OtherAccount,
        &[Unknown(
            "inUse",
            "ACM of this account and region no longer has it",
        )],
    ),
    (
        OtherRegion,
        &[Unknown(
            "inUse",
            "ACM of this account and region no longer has it",
        )],
    ),
];

const DESCRIBE: [Row; 8] = [
    (
        Denied,
        &[Unknown(
            "inUse",
            "ACM reports that AWS services use it, but ACM denied DescribeCertificate",
        )],
    ),
    (
        Throttled,
        &[Unknown(
            "inUse",
            "ACM reports that AWS services use it, but ACM throttled DescribeCertificate",
        )],
    ),
    (
        Slow,
        &[Unknown(
            "inUse",
            "ACM reports that AWS services use it, but ACM did not respond to DescribeCertificate",
        )],
    ),
    (
        Hanging,
        &[Unknown(
            "inUse",
            "ACM reports that AWS services use it, but ACM did not respond to DescribeCertificate",
        )],
    ),
    (
        Empty,
        &[Unknown(
            "inUse",
            "ACM reports that AWS services use it, but ACM described no certificate",
        )],
    ),
    (
        Malformed,
        &[Unknown(
            "inUse",
            "ACM reports that AWS services use it, but ACM returned an invalid response to DescribeCertificate",
        )],
    ),
    (
        OtherAccount,
        &[Unknown(
            "inUse",
            "ACM reports that AWS services use it, but ACM refused DescribeCertificate: InvalidArnException",
        )],
    ),
    (
        OtherRegion,
        &[Unknown(
            "inUse",
            "ACM of this account and region no longer has it",
        )],
    ),
];

const REVOKED_CERTIFICATE: [Row; 8] = [
    (
        Denied,
        &[
            Unknown("clients", "Private CA denied GetCertificate"),
            KeysNotCompared,
        ],
    ),
    (
        Throttled,
        &[
            Unknown("clients", "Private CA throttled GetCertificate"),
            KeysNotCompared,
        ],
    ),
    (
        Slow,
        &[
            Unknown("clients", "Private CA did not respond to GetCertificate"),
            KeysNotCompared,
        ],
    ),
    (
        Hanging,
        &[
            Unknown("clients", "Private CA did not respond to GetCertificate"),
            KeysNotCompared,
        ],
    ),
    (
        Empty,
        &[
            Unknown(
                "clients",
                "Private CA responded to GetCertificate, but it returned no certificate",
            ),
            KeysNotCompared,
        ],
    ),
    (
        Malformed,
        &[
            Unknown(
                "clients",
                "Private CA returned an invalid response to GetCertificate",
            ),
            KeysNotCompared,
        ],
    ),
    (
        OtherAccount,
        &[
            Unknown(
                "clients",
                "Private CA responded to GetCertificate, but it returned a certificate with another serial",
            ),
            KeysNotCompared,
        ],
    ),
    (
        OtherRegion,
        &[
            Unknown(
                "clients",
                "Private CA refused GetCertificate: ResourceNotFoundException",
            ),
            KeysNotCompared,
        ],
    ),
];

const SIBLING: [Row; 8] = [
    (Denied, &[KeysNotCompared]),
    (Throttled, &[KeysNotCompared]),
    (Slow, &[KeysNotCompared]),
    (Hanging, &[KeysNotCompared]),
    (Empty, &[KeysNotCompared]),
    (Malformed, &[KeysNotCompared]),
    (OtherAccount, &[KeysNotCompared]),
    (OtherRegion, &[KeysNotCompared]),
];

const REPORT: [Row; 8] = [
    (
        Denied,
        &[Unknown(
            "affected",
            "the report could not be read again: GetObject failed for s3://amzn-s3-demo-bucket/",
        )],
    ),
    (
        Throttled,
        &[Unknown(
            "affected",
            "the report could not be read again: GetObject failed for s3://amzn-s3-demo-bucket/",
        )],
    ),
    (Slow, &[]),
    (
        Hanging,
        &[Unknown(
            "affected",
            "the report could not be read again in time",
        )],
    ),
    (
        Empty,
        &[Unknown(
            "affected",
            "the report could not be read again in time",
        )],
    ),
    (
        Malformed,
        &[Unknown(
            "affected",
            "the report could not be read again: the download of s3://amzn-s3-demo-bucket/",
        )],
    ),
    (
        OtherAccount,
        &[Unknown("affected", "the report could not be read again")],
    ),
    (
        OtherRegion,
        &[Unknown("affected", "the report could not be read again")],
    ),
];

const CONFIGURATION: [Row; 8] = [
    (Denied, &[NoConfiguration]),
    (Throttled, &[NoConfiguration]),
    (Slow, &[NoConfiguration]),
    (Hanging, &[NoConfiguration]),
    (Empty, &[NoConfiguration]),
    (Malformed, &[NoConfiguration]),
    (OtherAccount, &[NoConfiguration]),
    (OtherRegion, &[NoConfiguration]),
];

const AUTHORITIES: [Row; 8] = [
    (
        Denied,
        &[AuthorityUnknown(
            "Private CA denied ListCertificateAuthorities",
        )],
    ),
    (
        Throttled,
        &[AuthorityUnknown(
            "Private CA throttled ListCertificateAuthorities",
        )],
    ),
    (
        Slow,
        &[AuthorityUnknown(
            "Private CA did not respond to ListCertificateAuthorities",
        )],
    ),
    (
        Hanging,
        &[AuthorityUnknown(
            "Private CA did not respond to ListCertificateAuthorities",
        )],
    ),
    (
        Empty,
        &[AuthorityUnknown(
            "Private CA returned an incomplete list to ListCertificateAuthorities",
        )],
    ),
    (
        Malformed,
        &[AuthorityUnknown(
            "Private CA returned an invalid response to ListCertificateAuthorities",
        )],
    ),
    (
        OtherAccount,
        &[AuthorityUnknown(
            "Private CA refused ListCertificateAuthorities: InvalidClientTokenId",
        )],
    ),
    (
        OtherRegion,
        &[AuthorityUnknown(
            "Private CA refused ListCertificateAuthorities: UnrecognizedClientException",
        )],
    ),
];

impl Lookup {
    fn service(self) -> Service {
        match self {
            Self::Trail => Service::CloudTrail,
            Self::Search | Self::Describe => Service::Acm,
            Self::Report => Service::S3,
            _ => Service::PrivateCa,
        }
    }

    fn operation(self) -> &'static str {
        match self {
            Self::Trail => "LookupEvents",
            Self::Search => "SearchCertificates",
            Self::Describe => "DescribeCertificate",
            Self::RevokedCertificate | Self::Sibling => "GetCertificate",
            Self::Report => "GetObject",
            Self::Configuration => "DescribeCertificateAuthority",
            Self::Authorities => "ListCertificateAuthorities",
        }
    }

    /// Selects the calls of the lookup, all of them.
    fn calls(self, scene: &Scene) -> On {
        let on = On::operation(self.operation());
        let of = |arn: &str| {
            let arn = arn.to_owned();
            move |call: &Call| call.parameters.get("CertificateArn") == Some(&arn)
        };
        let on = match self {
            Self::RevokedCertificate => on.when(of(&scene.revoked.certificate_arn)),
            Self::Sibling => on.when(of(&scene.sibling.certificate_arn)),
            Self::Report => {
                let ca = scene.world.cas[0].rsplit('/').next().unwrap_or_default();
                // The first scan is left alone.
                on.key_contains(format!("audit-report/{ca}")).after(1)
            }
            _ => on,
        };
        on.always()
    }

    /// Returns what makes AWS say that the resource is not of this account, or not in this region.
    fn refusal(self, injected: Injected) -> Fault {
        match (self, injected) {
            (Self::Report, OtherAccount) => Fault::error(412, "PreconditionFailed", "Replaced"),
            (Self::Report, _) => Fault::error(301, "PermanentRedirect", "Use another endpoint"),
            (Self::Authorities, OtherAccount) => {
                Fault::error(400, "InvalidClientTokenId", "Not of this account")
            }
            (Self::Authorities, _) => {
                Fault::error(400, "UnrecognizedClientException", "Not in this region")
            }
            (_, OtherAccount) => Fault::error(400, "InvalidArnException", "Not of this account"),
            _ => Fault::error(400, "ResourceNotFoundException", "Not in this region"),
        }
    }
}

impl Injected {
    /// Disturbs the lookup in the next run.
    fn disturb(self, lookup: Lookup, scene: &Scene) {
        let aws = &scene.world.aws;
        let is_s3 = lookup.service() == Service::S3;
        let fault = match (self, lookup) {
            (Denied, _) => Fault::access_denied(lookup.service()),
            (Throttled, _) => Fault::Throttle,
            (Slow, _) => Fault::Late(Duration::from_secs(6)),
            (Hanging, _) => Fault::Hang,
            (Empty, _) if is_s3 => Fault::CutBody { after: 0 },
            // A document without any member that the SDK knows.
            (Empty, _) => Fault::error(200, "", ""),
            (Malformed, _) if is_s3 => Fault::FlipByte { at: 141 },
            (Malformed, _) => Fault::FlipByte { at: 0 },
            (OtherAccount, Lookup::Trail) => return aws.cloud_trail().forget_events(),
            (OtherRegion, Lookup::Trail) => return scene.revoke_in_other_region(),
            (OtherAccount, Lookup::Search) => return scene.import_same_serial(),
            (OtherRegion, Lookup::Search) => return aws.acm().remove(ACM_ARN),
            (OtherAccount, Lookup::RevokedCertificate) => {
                return scene.replace_pem(&scene.revoked, OTHER_CERTIFICATE);
            }
            (OtherAccount, Lookup::Sibling) => {
                return scene.replace_pem(&scene.sibling, OTHER_CERTIFICATE);
            }
            _ => lookup.refusal(self),
        };
        aws.inject(lookup.calls(scene), fault);
    }
}

/// A world with a compromised key: a load balancer uses the certificate, and another valid one has the
/// same key.
struct Scene {
    world: World,
    revoked: Certificate,
    sibling: Certificate,
}

impl Scene {
    async fn new(variables: &[(&str, &str)]) -> Self {
        Self::with(variables, None).await
    }

    /// `template` is that of the revoked certificate.
    async fn with(variables: &[(&str, &str)], template: Option<&str>) -> Self {
        let world = World::new(1, 2, variables);
        world.issue(1);
        let world = first_audit(world).await;
        tokio::time::sleep(MINUTE).await;
        let (private_ca, ca) = (world.aws.private_ca(), &world.cas[0]);
        let profile = Profile {
            key: 1,
            crl_urls: vec!["http://crl.example.com/a.crl".to_owned()],
            ocsp_urls: Vec::new(),
        };
        let certificate = || {
            let issued = private_ca.certificate(ca, "www.example.com");
            issued.with_x509(profile.clone())
        };
        let (mut revoked, sibling) = (certificate(), certificate());
        revoked.requested_by_service_principal = Some("acm.amazonaws.com".to_owned());
        if let Some(template) = template {
            revoked.template_arn = Some(template.to_owned());
            private_ca.set_serial(&world.cas[1], &revoked.serial);
        }
        let in_acm = AcmCertificate::new(ACM_ARN, "www.example.com", &revoked.serial, ca);
        world.aws.acm().add(in_acm.used_by(LOAD_BALANCER));
        let scene = Self {
            revoked,
            sibling,
            world,
        };
        scene.add_revoked(&scene.revoked);
        scene.add(&scene.sibling);
        scene
    }

    fn add(&self, certificate: &Certificate) {
        let ca = &self.world.cas[0];
        self.world.aws.private_ca().add(ca, certificate.clone());
    }

    fn add_revoked(&self, certificate: &Certificate) {
        self.add(certificate);
        let (private_ca, ca) = (self.world.aws.private_ca(), &self.world.cas[0]);
        private_ca.revoke(ca, &certificate.serial, "KEY_COMPROMISE");
    }

    /// Replaces CloudTrail's event by one of a CA of another region and the same serial.
    fn revoke_in_other_region(&self) {
        let trail = self.world.aws.cloud_trail();
        let events = trail.events();
        let last = events.last().expect("the revocation");
        let elsewhere = last.text.replace(":us-east-1:", ":eu-west-1:");
        assert_ne!(elsewhere, last.text);
        trail.forget_events();
        trail.add_event(&elsewhere, last.at);
    }

    /// Replaces ACM's certificate by one that a CA of another account issued with the same serial.
    fn import_same_serial(&self) {
        let other = self.world.cas[0].replace(":123456789012:", ":222233334444:");
        let serial = &self.revoked.serial;
        let in_acm = AcmCertificate::new(ACM_ARN, "www.example.com", serial, &other);
        self.world.aws.acm().add(in_acm.used_by(LOAD_BALANCER));
    }

    /// Replaces what `GetCertificate` returns for a certificate.
    fn replace_pem(&self, of: &Certificate, pem: &str) {
        let (private_ca, ca) = (self.world.aws.private_ca(), &self.world.cas[0]);
        let mut all = private_ca.certificates(ca);
        for certificate in &mut all {
            if certificate.serial == of.serial {
                certificate.pem = Some(pem.to_owned());
            }
        }
        private_ca.set_certificates(ca, all);
    }

    /// Runs the next scheduled invocation, which must alert.
    async fn alert(&self) -> Alert {
        self.world.aws.forget_calls();
        run_audited(&self.world).await;
        Alert::of(&self.world)
    }
}

/// A `revocations` message as published, with the calls of its run.
struct Alert {
    json: Value,
    facts: BTreeMap<String, String>,
    published_at: SystemTime,
    calls: Vec<Call>,
}

impl Alert {
    fn of(world: &World) -> Self {
        let messages = world.aws.sns().messages();
        let is_alert = |json: &str| json.contains(r#""type":"revocations""#);
        let message = messages
            .iter()
            .find(|message| is_alert(&message.variants["default"]));
        let message = message.expect("an alert");
        let calls = world.aws.calls();
        let published = calls.iter().find(|call| call.operation == "Publish");
        Self {
            json: only_message(world, "revocations"),
            facts: facts(&message.variants["email"]),
            published_at: published.expect("a call").at,
            calls,
        }
    }

    /// Returns what was found out about the first revocation.
    fn investigation(&self) -> &Value {
        &self.json["revocations"][0]["investigation"]
    }

    /// Checks that no investigation took place.
    fn assert_not_investigated(&self) {
        assert_eq!(self.investigation(), "notInvestigated");
        for operation in OPERATIONS {
            assert_eq!(self.count(operation), 0, "{operation}");
        }
        assert_eq!(self.scans(), 1);
    }

    /// Returns the message without its investigations.
    fn without_investigations(&self) -> Value {
        let mut json = self.json.clone();
        let entries = json["revocations"].as_array_mut().expect("a list");
        for entry in entries {
            entry["investigation"] = Value::Null;
        }
        json
    }

    fn count(&self, operation: &str) -> usize {
        let calls = self.calls.iter();
        calls.filter(|call| call.operation == operation).count()
    }

    /// Returns how often a report was read.
    fn scans(&self) -> usize {
        let ca = self.json["certificateAuthorityArn"].as_str();
        let ca = ca.and_then(|arn| arn.rsplit('/').next()).expect("an ARN");
        let reports = format!("audit-report/{ca}/");
        let is_scan = |call: &&Call| {
            let key = call.key.as_deref().unwrap_or_default();
            call.operation == "GetObject" && key.starts_with(&reports)
        };
        self.calls.iter().filter(is_scan).count()
    }

    fn assert_unknown(&self, finding: &str, reason: &str) {
        let found = &self.investigation()[finding];
        assert_eq!(found["status"], "unknown", "{found:#}");
        let stated = found["reason"].as_str().unwrap_or_default();
        assert!(stated.starts_with(reason), "{reason:?} in {found:#}");
        let line = format!("unknown: {}", reason.replace("://", "[:]//"));
        let mut lines = labels(finding).iter().filter_map(|&it| self.facts.get(it));
        assert!(
            lines.any(|fact| fact.starts_with(&line)),
            "{line:?} in {:#?}",
            self.facts
        );
    }

    /// Checks that nothing differs from the undisturbed message but `changes`, in JSON and email.
    fn assert_differs_only_by(&self, undisturbed: &Self, changes: &[Change]) {
        assert_eq!(
            self.without_investigations(),
            undisturbed.without_investigations()
        );
        let mut expected = undisturbed.investigation().clone();
        let (mut facts, mut expected_facts) = (self.facts.clone(), undisturbed.facts.clone());
        let mut ignore = |finding: &str| {
            for label in labels(finding) {
                facts.remove(*label);
                expected_facts.remove(*label);
            }
        };
        for change in changes {
            match *change {
                Unknown(finding, reason) => {
                    self.assert_unknown(finding, reason);
                    ignore(finding);
                    expected[finding] = self.investigation()[finding].clone();
                }
                KeysNotCompared => {
                    remove(&mut expected["affected"]["certificates"][0], "sameKey");
                    let fact = self.facts.get("Same subject").expect("a line");
                    assert!(fact.ends_with("; the key of 1 was not compared"), "{fact}");
                    ignore("affected");
                }
                AuthorityUnknown(reason) => {
                    let stated = &self.investigation()["affected"];
                    let unknown = json!({
                        "status": "known",
                        "everythingIssuedBelow": true,
                        "certificateAuthorityUnknown": stated["certificateAuthorityUnknown"],
                    });
                    assert_eq!(*stated, unknown);
                    let in_json = stated["certificateAuthorityUnknown"].as_str();
                    assert!(in_json.is_some_and(|text| text.starts_with(reason)));
                    let start = "everything issued below it; which CA it is is unknown";
                    let line = format!("{start}: {}", reason.replace("://", "[:]//"));
                    let fact = self.facts.get("Affects").expect("a line");
                    assert!(fact.starts_with(&line), "{fact}");
                    ignore("affected");
                    expected["affected"] = stated.clone();
                }
                NoConfiguration => remove(&mut expected["clients"], "authority"),
            }
        }
        assert_eq!(self.investigation(), &expected);
        assert_eq!(facts, expected_facts);
    }
}

fn remove(object: &mut Value, field: &str) {
    let removed = object.as_object_mut().and_then(|map| map.remove(field));
    assert!(removed.is_some(), "{field} in {object:#}");
}

/// Returns the labels of a finding's lines in the email.
fn labels(finding: &str) -> &'static [&'static str] {
    match finding {
        "revokedBy" => &["Revoked by"],
        "inUse" => &["In use by", "Same name"],
        "affected" => &["Same key", "Same subject", "Same key or subject", "Affects"],
        "clients" => &["Clients"],
        other => panic!("there is no finding {other}"),
    }
}

/// Returns the lines of an email that have a label, by label, each in one line.
fn facts(email: &str) -> BTreeMap<String, String> {
    let mut paragraphs = email.split("\n\n");
    let paragraph = paragraphs.find(|paragraph| paragraph.starts_with("CA: "));
    let mut facts: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in paragraph.expect("the facts").lines() {
        if !line.starts_with([' ', '|']) {
            let (label, text) = line.split_once(':').expect("a label");
            label.clone_into(&mut last);
            facts.insert(last.clone(), text.trim().to_owned());
        } else if let Some(fact) = facts.get_mut(&last) {
            fact.push(' ');
            fact.push_str(line.trim());
        }
    }
    facts
}

/// Injects every fault into a lookup. `template` is that of the revoked certificate.
fn assert_only_its_line_changes(lookup: Lookup, rows: &[Row], template: Option<&str>) {
    let undisturbed = on_paused_clock(1, async { Scene::with(&[], template).await.alert().await });
    for finding in ["revokedBy", "inUse", "affected", "clients"] {
        let found = &undisturbed.investigation()[finding];
        assert_eq!(found["status"], "known", "{finding}: {found:#}");
    }
    for &(injected, changes) in rows {
        println!("{lookup:?}, {injected:?}");
        on_paused_clock(1, async {
            let scene = Scene::with(&[], template).await;
            injected.disturb(lookup, &scene);
            let alert = scene.alert().await;

            let delay = alert.published_at.duration_since(undisturbed.published_at);
            assert!(
                delay.expect("later") <= MAX_DELAY,
                "{lookup:?} {injected:?}"
            );
            let is_hit = alert.calls.iter().any(|call| call.fault.is_some());
            assert!(is_hit || !changes.is_empty(), "nothing was disturbed");
            alert.assert_differs_only_by(&undisturbed, changes);
        });
    }
}

#[test]
fn cloudtrail_failure_changes_only_who_revoked() {
    assert_only_its_line_changes(Lookup::Trail, &TRAIL, None);
}

#[test]
fn acm_search_failure_changes_only_where_in_use() {
    assert_only_its_line_changes(Lookup::Search, &SEARCH, None);
}

#[test]
fn acm_describe_failure_changes_only_where_in_use() {
    assert_only_its_line_changes(Lookup::Describe, &DESCRIBE, None);
}

#[test]
fn missing_certificate_changes_clients_and_keys() {
    assert_only_its_line_changes(Lookup::RevokedCertificate, &REVOKED_CERTIFICATE, None);
}

#[test]
fn missing_sibling_certificate_leaves_keys_not_compared() {
    assert_only_its_line_changes(Lookup::Sibling, &SIBLING, None);
}

#[test]
fn failed_second_scan_changes_only_what_is_affected() {
    assert_only_its_line_changes(Lookup::Report, &REPORT, None);
}

#[test]
fn missing_configuration_changes_no_line() {
    assert_only_its_line_changes(Lookup::Configuration, &CONFIGURATION, None);
}

#[test]
fn failed_list_of_cas_changes_only_what_is_affected() {
    assert_only_its_line_changes(Lookup::Authorities, &AUTHORITIES, Some(CA_TEMPLATE));
}

/// Runs a world with a compromised key, after a change; returns the alert.
fn alert_after(change: impl FnOnce(&Scene)) -> Alert {
    on_paused_clock(1, async {
        let scene = Scene::new(&[]).await;
        change(&scene);
        scene.alert().await
    })
}

#[test]
fn malformed_events_and_certificates_are_unknown() {
    let undisturbed = alert_after(|_| {});
    let malformed_event = alert_after(|scene| {
        let trail = scene.world.aws.cloud_trail();
        let at = scene.world.aws.clock().now();
        trail.forget_events();
        trail.add_event("{\"eventSource\":", at);
    });
    let reason = "CloudTrail has events of that time that could not be parsed";
    malformed_event.assert_differs_only_by(&undisturbed, &[Unknown("revokedBy", reason)]);

    let cut = &OTHER_CERTIFICATE[..300];
    let malformed_revoked = alert_after(|scene| scene.replace_pem(&scene.revoked, cut));
    let reason = "Private CA responded to GetCertificate, but ";
    let changes = [Unknown("clients", reason), KeysNotCompared];
    malformed_revoked.assert_differs_only_by(&undisturbed, &changes);

    let malformed_sibling = alert_after(|scene| scene.replace_pem(&scene.sibling, cut));
    malformed_sibling.assert_differs_only_by(&undisturbed, &[KeysNotCompared]);
}

#[test]
fn all_lookups_hanging_delay_the_alert_by_ten_seconds() {
    let undisturbed = alert_after(|_| {});
    let hanging = alert_after(|scene| {
        for lookup in [
            Lookup::Trail,
            Lookup::Search,
            Lookup::RevokedCertificate,
            Lookup::Sibling,
            Lookup::Report,
            Lookup::Configuration,
        ] {
            Hanging.disturb(lookup, scene);
        }
    });
    let delay = hanging
        .published_at
        .duration_since(undisturbed.published_at);
    assert_eq!(delay.expect("later"), MAX_DELAY);
    let changes = [
        Unknown("revokedBy", "CloudTrail did not respond to LookupEvents"),
        Unknown("inUse", "ACM did not respond to SearchCertificates"),
        Unknown("affected", "the report could not be read again in time"),
        Unknown("clients", "Private CA did not respond to GetCertificate"),
    ];
    hanging.assert_differs_only_by(&undisturbed, &changes);
}

#[test]
fn slow_lookups_delay_the_alert_by_less_than_ten_seconds() {
    let undisturbed = alert_after(|_| {});
    let slow = alert_after(|scene| {
        for lookup in [
            Lookup::Trail,
            Lookup::Search,
            Lookup::RevokedCertificate,
            Lookup::Sibling,
            Lookup::Report,
            Lookup::Configuration,
        ] {
            Slow.disturb(lookup, scene);
        }
    });
    let delay = slow.published_at.duration_since(undisturbed.published_at);
    assert!(delay.expect("later") < MAX_DELAY);
    let changes = [
        Unknown("revokedBy", "CloudTrail did not respond to LookupEvents"),
        Unknown("inUse", "ACM did not respond to SearchCertificates"),
        Unknown("clients", "Private CA did not respond to GetCertificate"),
        KeysNotCompared,
    ];
    slow.assert_differs_only_by(&undisturbed, &changes);
}

#[test]
fn reason_says_whether_there_was_a_response() {
    let undisturbed = alert_after(|_| {});
    let error = Fault::error(500, "InternalFailure", "Try again");
    for (fault, reason) in [
        (
            error,
            "CloudTrail failed LookupEvents: InternalFailure: Try again",
        ),
        (
            Fault::Disconnect,
            "CloudTrail did not respond to LookupEvents",
        ),
    ] {
        let alert = alert_after(|scene| {
            let calls = Lookup::Trail.calls(scene);
            scene.world.aws.inject(calls, fault.clone());
        });
        alert.assert_differs_only_by(&undisturbed, &[Unknown("revokedBy", reason)]);
    }
}

#[test]
fn failed_attempt_is_repeated() {
    let undisturbed = alert_after(|_| {});
    for fault in [Fault::Throttle, Fault::Disconnect, Fault::Hang] {
        let alert = alert_after(|scene| {
            for operation in ["LookupEvents", "SearchCertificates", "DescribeCertificate"] {
                scene.world.aws.inject(operation, fault.clone());
            }
        });
        let delay = alert.published_at.duration_since(undisturbed.published_at);
        assert!(delay.expect("later") <= MAX_DELAY);
        alert.assert_differs_only_by(&undisturbed, &[]);
    }
}

#[test]
fn failed_search_for_a_renewed_certificate_is_unknown() {
    let renew = |scene: &Scene| {
        let serial = "5a:00:00:00:00:00:00:00:00:01";
        assert!(scene.world.aws.acm().renew(ACM_ARN, serial));
    };
    let undisturbed = alert_after(renew);
    let found = &undisturbed.investigation()["inUse"]["certificates"][0];
    assert_eq!(found["isRevokedOne"], false, "{found:#}");
    let alert = alert_after(|scene| {
        renew(scene);
        let by_name = Lookup::Search.calls(scene).after(1);
        let denied = Fault::access_denied(Service::Acm);
        scene.world.aws.inject(by_name, denied);
    });
    let reason = "ACM denied SearchCertificates";
    alert.assert_differs_only_by(&undisturbed, &[Unknown("inUse", reason)]);
}

#[test]
fn failed_page_does_not_read_as_the_end_of_a_list() {
    let undisturbed = alert_after(|_| {});
    let denied = Fault::access_denied(Service::CloudTrail);
    let page_two_denied = |is_after| {
        alert_after(|scene| {
            add_events(scene, 1, is_after);
            let page_two = Lookup::Trail.calls(scene).after(1);
            scene.world.aws.inject(page_two, denied.clone());
        })
    };
    let reason = "CloudTrail denied LookupEvents";
    page_two_denied(true).assert_differs_only_by(&undisturbed, &[Unknown("revokedBy", reason)]);
    let on_first_page = page_two_denied(false);
    let revoked_by = &on_first_page.investigation()["revokedBy"];
    assert_eq!(revoked_by["role"], "pki-admin");
    assert_eq!(revoked_by["revocationsAtLeast"], true);

    // The second CA has the certificate.
    on_paused_clock(1, async {
        let scene = Scene::with(&[], Some(CA_TEMPLATE)).await;
        scene.world.aws.private_ca().set_page_size(Some(1));
        let page_two = Lookup::Authorities.calls(&scene).after(1);
        let denied = Fault::access_denied(Service::PrivateCa);
        scene.world.aws.inject(page_two, denied);
        let alert = scene.alert().await;
        // That everything below it is affected is certain.
        let affected = &alert.investigation()["affected"];
        assert_eq!(affected["status"], "known");
        assert_eq!(affected["certificateAuthorityArn"], Value::Null);
        assert_eq!(
            affected["certificateAuthorityUnknown"],
            "Private CA denied ListCertificateAuthorities"
        );
    });
}

#[test]
fn unknown_configuration_does_not_read_as_no_crl() {
    let alert = |disturbed: bool| {
        on_paused_clock(1, async move {
            let scene = Scene::new(&[]).await;
            let (private_ca, ca) = (scene.world.aws.private_ca(), &scene.world.cas[0]);
            private_ca.set_omit_crl_pointer(ca, true);
            let mut all = private_ca.certificates(ca);
            for certificate in &mut all {
                certificate
                    .x509
                    .as_mut()
                    .expect("a profile")
                    .crl_urls
                    .clear();
            }
            private_ca.set_certificates(ca, all);
            if disturbed {
                Denied.disturb(Lookup::Configuration, &scene);
            }
            scene.alert().await
        })
    };
    let known = &alert(false).facts["Clients"];
    assert!(known.starts_with("only clients that were given"), "{known}");
    let unknown = &alert(true).facts["Clients"];
    assert!(!unknown.contains("no client can"), "{unknown}");
    assert!(
        unknown.contains("configuration of the CA is unknown"),
        "{unknown}"
    );
}

#[test]
fn certificate_of_another_account_is_unknown() {
    let other = "222233334444";
    let alert = on_paused_clock(1, async {
        let scene = Scene::new(&[]).await;
        let (private_ca, ca) = (scene.world.aws.private_ca(), &scene.world.cas[0]);
        let mut all = private_ca.certificates(ca);
        for certificate in &mut all {
            other.clone_into(&mut certificate.aws_account_id);
        }
        private_ca.set_certificates(ca, all);
        scene.world.aws.acm().remove(ACM_ARN);
        scene.alert().await
    });
    let reason = "issued to account 222233334444, whose ACM cannot be queried from here";
    alert.assert_unknown("inUse", reason);
}

#[test]
fn nothing_is_looked_up_if_switched_off() {
    let undisturbed = alert_after(|_| {});
    let off = on_paused_clock(1, async {
        Scene::new(&[("INVESTIGATE", "no")]).await.alert().await
    });
    off.assert_not_investigated();
    assert_eq!(
        off.without_investigations(),
        undisturbed.without_investigations()
    );
    assert_eq!((off.scans(), undisturbed.scans()), (1, 2));
    for operation in ["LookupEvents", "SearchCertificates", "DescribeCertificate"] {
        assert_eq!(undisturbed.count(operation), 1, "{operation}");
    }
}

#[test]
fn nothing_is_looked_up_with_under_60_seconds_left() {
    let alert = |seconds| {
        on_paused_clock(1, async move {
            let scene = Scene::new(&[]).await;
            scene.world.next_period().await;
            scene.world.aws.forget_calls();
            let options = InvokeOptions::ending_in(seconds);
            let ended = scene.world.schedule(options).await;
            assert!(ended.response().is_some(), "{ended:?}");
            Alert::of(&scene.world)
        })
    };
    // 10 s are reserved for saving, and a tenth for announcements.
    alert(77).assert_not_investigated();
    let just_enough = alert(78);
    assert_eq!(just_enough.investigation()["revokedBy"]["status"], "known");
    assert_eq!(just_enough.count("LookupEvents"), 1);
}

#[test]
fn only_the_worst_five_of_six_are_looked_up() {
    let alert = alert_after(|scene| {
        for _ in 0..4 {
            let private_ca = scene.world.aws.private_ca();
            let other = private_ca.certificate(&scene.world.cas[0], "www.example.org");
            scene.add_revoked(&other);
        }
        scene.world.revoke(0, "SUPERSEDED");
    });
    let entries = alert.json["revocations"].as_array().expect("a list");
    let (last, first) = entries.split_last().expect("six");
    assert_eq!(first.len(), 5);
    for entry in first {
        assert_eq!(
            entry["investigation"]["clients"]["status"], "known",
            "{entry:#}"
        );
    }
    assert_eq!(last["reason"], "SUPERSEDED");
    assert_eq!(last["investigation"], "notInvestigated");
    // Five revoked certificates, and one with the subject of the first.
    assert_eq!(alert.count("GetCertificate"), 5 + 1);
}

#[test]
fn cas_share_the_cloudtrail_lookups_of_a_run() {
    on_paused_clock(1, async {
        let world = World::new(1, 12, &[]);
        for ca in 0..12 {
            world.issue(ca);
        }
        run_all_audited(&world).await;
        for ca in 0..12 {
            world.revoke(ca, "KEY_COMPROMISE");
        }
        world.aws.forget_calls();
        run_all_audited(&world).await;
        assert_eq!(world.aws.calls_of("LookupEvents").len(), 1);
        let messages = messages_of_type(&world, "revocations");
        assert_eq!(messages.len(), 12);
        for message in messages {
            let revoked_by = &message["revocations"][0]["investigation"]["revokedBy"];
            assert_eq!(revoked_by["role"], "pki-admin", "{message:#}");
            assert_eq!(revoked_by["revocations"], 12);
        }

        // Another time of revocation is another window.
        let serial = world.issue(0);
        let hours_ago = world.aws.clock().now() - 300 * MINUTE;
        let private_ca = world.aws.private_ca();
        private_ca.revoke_at(&world.cas[0], &serial, "KEY_COMPROMISE", hours_ago);
        world.revoke(1, "KEY_COMPROMISE");
        world.aws.forget_calls();
        run_all_audited(&world).await;
        assert_eq!(world.aws.calls_of("LookupEvents").len(), 2);
    });
}

/// Adds events of another CA's revocations at a time after that of the scene, or before it.
fn add_events(scene: &Scene, number: u32, is_after: bool) {
    let (trail, cas) = (scene.world.aws.cloud_trail(), &scene.world.cas);
    trail.set_page_size(Some(1));
    let events = trail.events();
    let scenes = events
        .iter()
        .find(|event| event.text.contains(&scene.revoked.serial));
    let scenes = scenes.expect("the revocation");
    let at = match is_after {
        true => scenes.at + MINUTE,
        false => scenes.at - MINUTE,
    };
    for number in 0..number {
        let serial = format!("{number:02x}:{}:01", u8::from(is_after));
        let text = scenes.text.replace(&scene.revoked.serial, &serial);
        trail.add_event(&text.replace(&cas[0], &cas[1]), at);
    }
}

#[test]
fn at_most_ten_pages_of_events_are_read() {
    let undisturbed = alert_after(|_| {});
    let ninth = alert_after(|scene| add_events(scene, 8, true));
    assert_eq!(ninth.count("LookupEvents"), 9);
    let revoked_by = &ninth.investigation()["revokedBy"];
    assert_eq!(revoked_by["role"], "pki-admin");
    assert_eq!(revoked_by["revocations"], 9);
    assert_eq!(revoked_by["revocationsAtLeast"], Value::Null);

    let eleventh = alert_after(|scene| add_events(scene, 10, true));
    assert_eq!(eleventh.count("LookupEvents"), 10);
    let reason = "not among the newest 10 RevokeCertificate events of that time";
    eleventh.assert_differs_only_by(&undisturbed, &[Unknown("revokedBy", reason)]);
    let delay = eleventh
        .published_at
        .duration_since(undisturbed.published_at);
    assert!(delay.expect("later") <= MAX_DELAY);
}

#[test]
fn counts_are_at_least_if_not_all_pages_are_read() {
    let alert = alert_after(|scene| {
        add_events(scene, 9, true);
        add_events(scene, 1, false);
    });
    assert_eq!(alert.count("LookupEvents"), 10);
    let revoked_by = &alert.investigation()["revokedBy"];
    assert_eq!(revoked_by["revocations"], 10);
    assert_eq!(revoked_by["revocationsAtLeast"], true);
    let fact = &alert.facts["Revoked by"];
    assert!(fact.contains("(at least 10 revocations"), "{fact}");
}

#[test]
fn late_event_is_not_stated_as_missing() {
    on_paused_clock(1, async {
        let scene = Scene::new(&[]).await;
        scene.world.next_period().await;
        let started = scene.world.age();
        // The scene's revocation was alerted; this one is four minutes old at the next run.
        scene.world.until(started + 26 * MINUTE).await;
        let aws = &scene.world.aws;
        aws.cloud_trail().set_delay(15 * MINUTE);
        let late = aws
            .private_ca()
            .certificate(&scene.world.cas[0], "late.example.com");
        scene.add_revoked(&late);
        let alert = scene.alert().await;
        let entries = alert.json["revocations"].as_array().expect("a list");
        let is_late = |entry: &&Value| entry["serial"] == late.serial.as_str();
        let entry = entries.iter().find(is_late).expect("an entry");
        let revoked_by = &entry["investigation"]["revokedBy"];
        let reason = "CloudTrail has no event yet (revoked 4 minutes ago)";
        assert_eq!(
            *revoked_by,
            json!({ "status": "unknown", "reason": reason })
        );
    });
}

#[test]
fn slow_scan_is_not_repeated() {
    let undisturbed = alert_after(|_| {});
    let scan_lasting = |seconds| {
        alert_after(|scene| {
            let ca = scene.world.cas[0].rsplit('/').next().unwrap_or_default();
            let scan = On::operation("GetObject").key_contains(format!("audit-report/{ca}"));
            let late = Fault::Late(Duration::from_secs_f64(seconds));
            scene.world.aws.inject(scan, late);
        })
    };
    let reason = "the first scan of the report took 4 seconds; a second one would delay the alert";
    let slow = scan_lasting(4.0);
    assert_eq!(slow.scans(), 1);
    slow.assert_differs_only_by(&undisturbed, &[Unknown("affected", reason)]);
    let fast = scan_lasting(3.9);
    assert_eq!(fast.scans(), 2);
    fast.assert_differs_only_by(&undisturbed, &[]);
}

#[test]
fn keys_of_at_most_ten_certificates_are_compared() {
    let alert = alert_after(|scene| {
        let (private_ca, ca) = (scene.world.aws.private_ca(), &scene.world.cas[0]);
        for _ in 0..15 {
            private_ca.issue(ca, "www.example.com");
        }
    });
    // The revoked one, and ten others.
    assert_eq!(alert.count("GetCertificate"), 1 + 10);
    assert_eq!(alert.investigation()["affected"]["certificatesTotal"], 16);
    let same_key = &alert.facts["Same key"];
    assert!(
        same_key.starts_with("at least 1 other valid certificate:"),
        "{same_key}"
    );
    let same_subject = &alert.facts["Same subject"];
    assert!(
        same_subject.starts_with("15 other valid certificates"),
        "{same_subject}"
    );
    assert!(
        same_subject.ends_with("and 12 more; the keys of 6 were not compared"),
        "{same_subject}"
    );
}

#[test]
fn revocations_share_the_limit_of_compared_keys() {
    let alert = alert_after(|scene| {
        let (private_ca, ca) = (scene.world.aws.private_ca(), &scene.world.cas[0]);
        scene.add_revoked(&private_ca.certificate(ca, "www.example.org"));
        for name in ["www.example.com", "www.example.org"] {
            for _ in 0..7 {
                private_ca.issue(ca, name);
            }
        }
    });
    // Two revoked ones, and ten of fifteen others.
    assert_eq!(alert.count("GetCertificate"), 2 + 10);
}
