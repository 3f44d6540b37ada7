//! What there is to find out about a revocation: who revoked the certificate, where ACM has it, what
//! else has its subject or its key, and which pointers it has.

use std::time::{Duration, SystemTime};

use local_aws::{AcmCertificate, Actor, Certificate, Profile, RevocationConfiguration};
use serde_json::json;

use super::world::{Revoked, World};

const ACCOUNT: &str = "123456789012";
const OTHER_ACCOUNT: &str = "111122223333";
const DAY: Duration = Duration::from_secs(86_400);

/// Certificates that a CA has beside a revoked one, by the number of the revocation.
const SAME_KEY: &[&[Other]] = &[
    &[],
    &[Other::SameKey],
    &[Other::AnotherKey, Other::SameKey, Other::Expired],
    &[Other::AnotherKey, Other::AnotherSubject],
];

/// Another certificate of the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    SameKey,
    /// The same subject and another key.
    AnotherKey,
    /// The same subject and key, but expired.
    Expired,
    /// The same key and another subject.
    AnotherSubject,
}

impl World {
    /// Makes later revocations differ in everything that an investigation finds; which differences come
    /// first depends on `first`.
    pub fn vary(&self, first: u32) {
        self.variety.set(Some(first));
        for (ca, number) in self.cas.iter().zip(first..) {
            let (crl, ocsp) = match number % 4 {
                0 | 3 => (true, false),
                1 => (true, true),
                _ => (false, false),
            };
            let pca = self.aws.private_ca();
            pca.set_revocation(ca, RevocationConfiguration { crl, ocsp });
            pca.set_omit_crl_pointer(ca, number % 4 == 3);
            let checking = (crl, ocsp, number % 4 == 3);
            self.checking.borrow_mut().insert(ca.clone(), checking);
        }
    }

    /// Revokes a certificate that differs from others as its number says.
    pub(super) fn revoke_varied(&self, ca: usize, revoked: Revoked, number: u32) -> String {
        let arn = &self.cas[ca];
        let by = actor(number);
        self.aws.cloud_trail().set_actor(by.clone());
        let earlier = self.siblings.borrow_mut().pop();
        let sibling = earlier.filter(|(of, _)| of == arn && number % 7 == 3 && !revoked.is_earlier);
        // A shrunken report may have lost it.
        let is_listed = |serial: &str| {
            let listed = self.aws.private_ca().certificates(arn);
            listed.iter().any(|one| one.serial == serial)
        };
        let sibling = sibling.filter(|(_, serial)| is_listed(serial));
        let serial = match sibling {
            Some((_, serial)) => serial,
            None => self.issue_varied(ca, &revoked, number),
        };
        let (reason, at) = (revoked.reason, revoked.at);
        assert!(self.aws.private_ca().revoke_at(arn, &serial, reason, at));
        if number % 2 == 1 {
            self.add_misleading_events(arn, &serial, at);
        }
        self.revoked.borrow_mut().push(Revoked {
            serial: serial.clone(),
            by: Some(by),
            ..revoked
        });
        serial
    }

    /// Issues the certificate to revoke, what ACM has of it, and others; returns its serial.
    fn issue_varied(&self, ca: usize, revoked: &Revoked, number: u32) -> String {
        let arn = self.cas[ca].as_str();
        let mut row = self.next_certificate(ca);
        let profile = profile(number);
        if matches!(number % 10, 1..=6 | 9) {
            row.requested_by_service_principal = Some("acm.amazonaws.com".to_owned());
        }
        if number % 10 == 5 {
            OTHER_ACCOUNT.clone_into(&mut row.aws_account_id);
        }
        // One CA of the account has a certificate of another one.
        let is_of_ca = number % 11 == 10 && self.authorities.borrow().is_empty();
        if is_of_ca {
            let template = "arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1";
            row.template_arn = Some(template.to_owned());
            let last = self.cas.last().expect("a world has CAs");
            self.aws.private_ca().set_serial(last, &row.serial);
            let mut authorities = self.authorities.borrow_mut();
            authorities.insert(row.serial.clone(), last.clone());
        }
        self.add_to_acm(arn, &row, number);
        let name = row.subject.clone();
        let serial = self.add(ca, row, profile.clone());
        if revoked.reason == "KEY_COMPROMISE" && !is_of_ca {
            let others = SAME_KEY[number as usize % SAME_KEY.len()];
            for (other, position) in others.iter().zip(1..) {
                self.add_other(ca, *other, &name, (&profile, number + position * 100_000));
            }
            // More than are compared.
            for position in (10..22).filter(|_| number % 32 == 31) {
                let of = (&profile, number + position * 100_000);
                self.add_other(ca, Other::AnotherKey, &name, of);
            }
        }
        serial
    }

    fn add_other(&self, ca: usize, other: Other, subject: &str, of: (&Profile, u32)) {
        let mut row = self.next_certificate(ca);
        let mut profile = of.0.clone();
        match other {
            Other::SameKey => subject.clone_into(&mut row.subject),
            Other::AnotherKey => {
                subject.clone_into(&mut row.subject);
                profile.key = of.1;
            }
            Other::Expired => {
                subject.clone_into(&mut row.subject);
                row.not_before -= 2 * DAY;
                row.issued_at -= 2 * DAY;
                row.not_after = row.issued_at + DAY;
            }
            Other::AnotherSubject => {}
        }
        let serial = self.add(ca, row, profile);
        if matches!(other, Other::SameKey | Other::AnotherKey) {
            let sibling = (self.cas[ca].clone(), serial);
            self.siblings.borrow_mut().push(sibling);
        }
    }

    /// Adds a certificate to its CA and remembers its key and its pointers; returns its serial.
    fn add(&self, ca: usize, row: Certificate, profile: Profile) -> String {
        let (arn, serial) = (&self.cas[ca], row.serial.clone());
        let key = (arn.clone(), serial.clone());
        self.profiles.borrow_mut().insert(key, profile.clone());
        self.aws.private_ca().add(arn, row.with_x509(profile));
        serial
    }

    /// Adds what ACM has of a certificate of a CA, and something similar.
    fn add_to_acm(&self, ca: &str, row: &Certificate, number: u32) {
        let acm = self.aws.acm();
        let name = row.subject.trim_start_matches("CN=");
        let name = name.split(',').next().unwrap_or_default();
        let arn = |kind: u32| {
            format!(
                "arn:aws:acm:us-east-1:{ACCOUNT}:certificate/{number:08x}-{kind:04}-4000-8000-000000000000"
            )
        };
        let serial = match number % 3 {
            // As AWS's samples.
            0 => format!("00:{}", row.serial),
            _ => row.serial.clone(),
        };
        let mut found = AcmCertificate::new(&arn(0), name, &serial, ca);
        match number % 10 {
            1 => found = found.used_by(&load_balancer(number)),
            2 => {}
            3 => {
                // It was renewed.
                found = found.used_by(&load_balancer(number));
                found.serial = renewed(number);
            }
            4 => found.exported = true,
            6 => found.in_use_by = (0..12).map(|n| load_balancer(number * 100 + n)).collect(),
            7 => {
                found.certificate_authority_arn = None;
                "IMPORTED".clone_into(&mut found.certificate_type);
                found = found.used_by("arn:aws:cloudfront::123456789012:distribution/E1EXAMPLE");
            }
            // The same serial of another CA says nothing about this certificate.
            8 => {
                let other = other_ca(ca);
                found.certificate_authority_arn = Some(other);
                found = found.used_by(&load_balancer(number));
            }
            _ => return,
        }
        acm.add(found);
        if number % 4 == 2 {
            // The same name and CA with another serial, used elsewhere.
            let similar = AcmCertificate::new(&arn(1), name, &renewed(number + 50_000), ca);
            acm.add(similar.used_by(&load_balancer(number + 1)));
        }
    }

    /// Adds events that look like that of a revocation: of ACM, of a failed call, and of another CA.
    fn add_misleading_events(&self, ca: &str, serial: &str, at: SystemTime) {
        let other = other_ca(ca);
        let event = |source: &str, ca: &str, error: Option<&str>| {
            json!({
                "eventSource": source,
                "eventName": "RevokeCertificate",
                "errorCode": error,
                "sourceIPAddress": "198.51.100.7",
                "userIdentity": Actor::iam_user(ACCOUNT, "mallory").identity,
                "requestParameters": {
                    "certificateAuthorityArn": ca, "certificateSerial": serial,
                },
            })
        };
        let events = [
            event("acm.amazonaws.com", ca, None),
            event("acm-pca.amazonaws.com", ca, Some("AccessDenied")),
            event("acm-pca.amazonaws.com", &other, None),
        ];
        for event in events {
            self.aws.cloud_trail().add_event(&event.to_string(), at);
        }
    }
}

fn actor(number: u32) -> Actor {
    let mut actor = match number % 5 {
        0 => Actor::assumed_role(ACCOUNT, "pki-admin", "m.ops"),
        1 => Actor::iam_user(ACCOUNT, "alice"),
        2 => Actor::assumed_role(OTHER_ACCOUNT, "incident-response", "on.call"),
        3 => return Actor::aws_service("acm.amazonaws.com"),
        _ => Actor::root(ACCOUNT),
    };
    actor.source_ip = format!("203.0.113.{}", number % 250);
    actor
}

fn profile(number: u32) -> Profile {
    let crl = |n| format!("http://crl.example.com/{number}/{n}.crl");
    let (crls, ocsp) = match number % 4 {
        0 => (1, false),
        1 => (2, true),
        2 => (0, false),
        _ => (12, true),
    };
    Profile {
        // 1 and 2 are keys that OpenSSL made.
        key: number + 1,
        crl_urls: (0..crls).map(crl).collect(),
        ocsp_urls: ocsp
            .then(|| format!("http://ocsp.example.com/{number}"))
            .into_iter()
            .collect(),
    }
}

/// Returns the ARN of a CA that is not in the world.
fn other_ca(ca: &str) -> String {
    let last = if ca.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &ca[..ca.len() - 1])
}

fn load_balancer(number: u32) -> String {
    format!(
        "arn:aws:elasticloadbalancing:us-east-1:{ACCOUNT}:loadbalancer/app/prod-{number}/50dc6c495c0c9188"
    )
}

/// Returns a serial that no certificate of the world has.
fn renewed(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("7a:11:52:9d:31:c0:04:8e:00:{a:02x}:{b:02x}:{c:02x}")
}
