//! Checks that every statement of an investigation agrees with what the emulators know, and that the
//! investigation does not hold up the alert.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use local_aws::{AcmCertificate, Actor, Fault, Message, Profile};
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};

use super::world::{BUCKET, ObservedCall, Revoked, Run, World, timestamp};

/// Maximum revocations of a message that are looked up (README, "What the alert says").
const MAX_INVESTIGATED: usize = 5;

/// Time by which lookups may delay an alert, and a second for what else happens in between.
const MAX_DELAY: Duration = Duration::from_secs(11);

/// Operations that an investigation calls.
const LOOKUPS: &[&str] = &[
    "LookupEvents",
    "SearchCertificates",
    "DescribeCertificate",
    "GetCertificate",
    "DescribeCertificateAuthority",
    "ListCertificateAuthorities",
];

/// What was injected into calls, by their number.
type Faults = HashMap<u64, Fault>;

/// Checks the investigations of every message.
pub fn investigations_are_true(world: &World, violations: &mut Vec<String>) {
    let calls = world.aws.calls().into_iter();
    let faults: Faults = calls
        .filter_map(|call| Some((call.number, call.fault?)))
        .collect();
    let events = revoke_events(world);
    for (number, message) in world.aws.sns().messages().iter().enumerate() {
        if message.topic_arn != world.topic {
            continue;
        }
        let body: Value =
            serde_json::from_str(&message.variants["default"]).expect("the message is JSON");
        if body["type"] != "revocations" && body["type"] != "replay" {
            continue;
        }
        let check = Check {
            world,
            message,
            body: &body,
            ca: body["certificateAuthorityArn"].as_str().unwrap_or_default(),
            altered: altered_operations(world, number, &faults),
            events: &events,
        };
        let found = check.message();
        let found = found
            .into_iter()
            .chain(delay(world, number, &body, &faults));
        violations.extend(found.map(|what| format!("FALSE FINDING: message {number}: {what}")));
    }
}

/// Returns the operations of lookups of which a response was altered on its way: unlike a report, they
/// have no checksum.
fn altered_operations(world: &World, message: usize, faults: &Faults) -> Vec<String> {
    let observed = world.observed();
    let by = observed.published_by.get(message).map(|&(run, _)| run);
    let is_altered = |seen: &&ObservedCall| {
        let fault = faults.get(&seen.call.number);
        matches!(fault, Some(Fault::FlipByte { .. }))
    };
    let of_run = |run: &Run| {
        let calls = run.calls.iter().filter(is_altered);
        let operations = calls.map(|seen| seen.call.operation.clone());
        operations.collect::<Vec<_>>()
    };
    match by.and_then(|run| observed.runs.get(run)) {
        Some(run) => of_run(run),
        None => observed.runs.iter().flat_map(of_run).collect(),
    }
}

/// A revocation as CloudTrail's event states it.
struct Event {
    ca: String,
    serial: String,
    at: SystemTime,
    by: Actor,
}

/// Returns every successful revocation that CloudTrail has.
fn revoke_events(world: &World) -> Vec<Event> {
    let events = world.aws.cloud_trail().events().into_iter();
    let parsed = events.filter_map(|event| {
        let text: Value = serde_json::from_str(&event.text).ok()?;
        let is_revocation = text["eventSource"] == "acm-pca.amazonaws.com"
            && text["eventName"] == "RevokeCertificate"
            && text["errorCode"].is_null();
        let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let parameters = &text["requestParameters"];
        is_revocation.then(|| Event {
            ca: field(&parameters["certificateAuthorityArn"]),
            serial: field(&parameters["certificateSerial"]),
            at: event.at,
            by: Actor {
                identity: text["userIdentity"].clone(),
                source_ip: field(&text["sourceIPAddress"]),
                user_agent: field(&text["userAgent"]),
            },
        })
    });
    parsed.collect()
}

/// One message to check.
struct Check<'a> {
    world: &'a World,
    message: &'a Message,
    body: &'a Value,
    ca: &'a str,
    /// Operations of which a response was altered.
    altered: Vec<String>,
    events: &'a [Event],
}

impl Check<'_> {
    fn message(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let revocations = self.body["revocations"].as_array();
        let revocations = revocations.map(Vec::as_slice).unwrap_or_default();
        let investigated = revocations.iter().filter(|one| is_investigated(one));
        if investigated.count() > MAX_INVESTIGATED {
            wrong.push("more than five revocations were investigated".to_owned());
        }
        let email = self.message.variants.get("email").map(String::as_str);
        let sections = sections(email.unwrap_or_default());
        let rows = self.rows();
        let revoked = self.world.revoked.borrow();
        for entry in revocations {
            let serial = entry["serial"].as_str().unwrap_or_default();
            let is_this = |one: &&Revoked| one.ca == self.ca && one.serial == serial;
            // What was never revoked is reported elsewhere.
            let Some(truth) = revoked.iter().find(is_this) else {
                continue;
            };
            let lines = sections.get(serial).map(Vec::as_slice).unwrap_or_default();
            let about = About {
                check: self,
                truth,
                entry,
                rows: rows.as_deref(),
            };
            let found = about.findings().into_iter().chain(about.email(lines));
            wrong.extend(found.map(|what| format!("{serial}: {what}")));
        }
        wrong
    }

    /// Returns the rows of the report, as an independent parser reads them.
    fn rows(&self) -> Option<Vec<Value>> {
        let key = self.body["report"]["key"].as_str()?;
        let report = self.world.aws.s3().get(BUCKET, key)?;
        if key.ends_with(".json") {
            return serde_json::from_slice(&report).ok();
        }
        let mut reader = csv::Reader::from_reader(&report[..]);
        let rows = reader.deserialize::<HashMap<String, String>>();
        rows.map(|row| Some(json!(row.ok()?))).collect()
    }

    fn is_altered(&self, operations: &[&str]) -> bool {
        let mut altered = self.altered.iter();
        altered.any(|operation| operations.contains(&operation.as_str()))
    }

    fn count(&self, kind: &'static str) {
        *self.world.checked.borrow_mut().entry(kind).or_default() += 1;
    }
}

fn is_investigated(entry: &Value) -> bool {
    entry["investigation"].is_object()
}

/// One revocation of a message, and the truth about it.
struct About<'a> {
    check: &'a Check<'a>,
    truth: &'a Revoked,
    entry: &'a Value,
    /// The rows of the report.
    rows: Option<&'a [Value]>,
}

impl About<'_> {
    /// Checks the JSON.
    fn findings(&self) -> Vec<String> {
        let found = &self.entry["investigation"];
        if !is_investigated(self.entry) {
            // The reduced form says nothing about it.
            let is_said = match self.check.body["reduced"] == true {
                true => found.is_null(),
                false => found == "notInvestigated",
            };
            return (!is_said)
                .then(|| format!("its investigation is {found}"))
                .into_iter()
                .collect();
        }
        let mut wrong = Vec::new();
        for (name, operations, check) in QUESTIONS {
            let finding = &found[name];
            match finding["status"].as_str() {
                Some("known") if self.check.is_altered(operations) => {}
                Some("known") => {
                    self.check.count(name);
                    wrong.extend(check(self, finding));
                }
                Some("unknown") => {
                    self.check.count("unknown");
                    wrong.extend(self.unknown(name, finding));
                }
                Some("notApplicable") if is_text(&finding["reason"]) => {}
                _ => wrong.push(format!("{name} is {finding}")),
            }
        }
        wrong
    }

    /// Checks that what is unknown has a reason, and that the reason denies nothing that is true.
    fn unknown(&self, name: &str, finding: &Value) -> Option<String> {
        let reason = finding["reason"].as_str().unwrap_or_default();
        let is_false_no = match name {
            "revokedBy" => reason.contains("has no such event") && self.event().is_some(),
            "inUse" => reason.contains("does not have it") && !self.in_acm().is_empty(),
            _ => false,
        };
        let is_wrong = is_false_no && !self.check.is_altered(LOOKUPS);
        (is_wrong || reason.trim().is_empty())
            .then(|| format!("{name} is unknown because of {reason:?}"))
    }

    /// Returns CloudTrail's event of the revocation.
    fn event(&self) -> Option<&Event> {
        let is_this = |event: &&Event| {
            event.ca == self.truth.ca && number(&event.serial) == number(&self.truth.serial)
        };
        self.check.events.iter().find(is_this)
    }

    /// Returns who revoked the certificate.
    fn by(&self) -> Option<&Actor> {
        let by = self.truth.by.as_ref();
        by.or_else(|| Some(&self.event()?.by))
    }

    /// Checks that this identity revoked the certificate, and how many it revoked.
    fn revoked_by(&self, finding: &Value) -> Vec<String> {
        let Some(by) = self.by() else {
            return vec![format!(
                "CloudTrail has no event of it, but revokedBy is {finding}"
            )];
        };
        let issuer = &by.identity["sessionContext"]["sessionIssuer"];
        let user = match by.identity["type"].as_str() {
            Some("Root") => json!("root"),
            Some("IAMUser") => by.identity["userName"].clone(),
            _ => Value::Null,
        };
        let expected = [
            ("identityType", by.identity["type"].clone()),
            ("arn", by.identity["arn"].clone()),
            ("role", issuer["userName"].clone()),
            ("user", user),
            ("service", by.identity["invokedBy"].clone()),
            ("accountId", by.identity["accountId"].clone()),
            ("sourceIp", json!(by.source_ip)),
        ];
        let mut wrong: Vec<_> = expected
            .into_iter()
            .filter(|(field, expected)| finding[field] != *expected)
            // The smallest form has only the status.
            .filter(|_| finding["identityType"].is_string())
            .map(|(field, expected)| {
                format!("{field} of revokedBy is {}, not {expected}", finding[field])
            })
            .collect();
        let Some(stated) = finding["revocations"].as_u64() else {
            return wrong;
        };
        let until = self.check.message.at;
        let most = self.revocations_by(by, finding, until);
        if stated == 0 || stated > most {
            wrong.push(format!(
                "{stated} revocations by {}, not {most}",
                by.identity
            ));
        }
        wrong
    }

    /// Counts the revocations of an identity since the start of the time that was searched.
    fn revocations_by(&self, by: &Actor, finding: &Value, until: SystemTime) -> u64 {
        let from = timestamp(&finding["from"]);
        let is_counted = |event: &&Event| {
            event.by.identity == by.identity
                && event.at <= until
                && from.is_none_or(|from| Timestamp::from(event.at) >= from)
        };
        self.check.events.iter().filter(is_counted).count() as u64
    }

    /// Returns what ACM has with the certificate's serial and of its CA or imported.
    fn in_acm(&self) -> Vec<AcmCertificate> {
        let mut all = self.check.world.aws.acm().certificates();
        all.retain(|item| self.is_revoked_one(item));
        all
    }

    fn is_revoked_one(&self, item: &AcmCertificate) -> bool {
        let authority = item.certificate_authority_arn.as_ref();
        number(&item.serial) == number(&self.truth.serial)
            && authority.is_none_or(|arn| *arn == self.truth.ca)
    }

    /// Checks that ACM has these certificates, and that these resources use them.
    fn in_use(&self, finding: &Value) -> Vec<String> {
        let Some(stated) = finding["certificates"].as_array() else {
            return Vec::new();
        };
        let all = self.check.world.aws.acm().certificates();
        let mut wrong = Vec::new();
        for item in stated {
            let is_this = |known: &&AcmCertificate| item["certificateArn"] == known.arn.as_str();
            let Some(known) = all.iter().find(is_this) else {
                // An overlong ARN is left out.
                wrong.extend(
                    item["certificateArn"]
                        .is_string()
                        .then(|| format!("ACM has no {item}")),
                );
                continue;
            };
            let uses = item["inUseBy"].as_array().into_iter().flatten();
            let mut uses = uses.map(|arn| arn.as_str().unwrap_or_default().to_owned());
            let is_of_ca = known.certificate_authority_arn.as_ref() == Some(&self.truth.ca);
            let is_true = item["serial"] == known.serial
                && item["isRevokedOne"] == self.is_revoked_one(known)
                && (is_of_ca || self.is_revoked_one(known))
                && item["inUseByTotal"] == known.in_use_by.len()
                && item["exported"] == known.exported
                && uses.all(|arn| known.in_use_by.contains(&arn));
            if !is_true {
                wrong.push(format!("{item} is really {known:?}"));
            }
            self.check.count(match known.in_use_by.is_empty() {
                true => "not in use",
                false => "in use",
            });
        }
        let is_stated_in_use = stated.iter().any(|item| item["inUseByTotal"] != 0);
        let is_in_use = self.in_acm().iter().any(|item| !item.in_use_by.is_empty());
        let has_more = finding["certificatesTotal"].as_u64() > Some(stated.len() as u64);
        if is_in_use && !is_stated_in_use && !has_more {
            wrong.push("it is in use, which inUse does not say".to_owned());
        }
        wrong
    }

    /// Checks that these certificates are in the report, valid, and whether they have the same key.
    fn affected(&self, finding: &Value) -> Vec<String> {
        if finding["everythingIssuedBelow"] == true {
            let authorities = self.check.world.authorities.borrow();
            let expected = authorities.get(&self.truth.serial);
            let stated = finding["certificateAuthorityArn"].as_str();
            if finding["certificateAuthorityUnknown"].is_string() {
                return Vec::new();
            }
            self.check.count("authority");
            let is_true = stated == expected.map(String::as_str);
            return (!is_true)
                .then(|| format!("it is of {expected:?}, not of {stated:?}"))
                .into_iter()
                .collect();
        }
        let (Some(stated), Some(rows)) = (finding["certificates"].as_array(), self.rows) else {
            return Vec::new();
        };
        let expected: Vec<_> = rows.iter().filter(|row| self.is_sibling(row)).collect();
        let mut wrong = Vec::new();
        if finding["certificatesTotal"] != expected.len() {
            let total = &finding["certificatesTotal"];
            wrong.push(format!(
                "{} others are affected, not {total}",
                expected.len()
            ));
        }
        for item in stated {
            let Some(serial) = item["serial"].as_str() else {
                continue;
            };
            if !expected.iter().any(|row| row["serial"] == serial) {
                wrong.push(format!("{item} is no other valid certificate"));
                continue;
            }
            let (this, other) = (self.profile(&self.truth.serial), self.profile(serial));
            let is_same = this.map(|it| it.key) == other.map(|it| it.key);
            self.check.count(match item["sameKey"].as_bool() {
                Some(true) => "same key",
                Some(false) => "another key",
                None => "keys not compared",
            });
            if item["sameKey"]
                .as_bool()
                .is_some_and(|stated| stated != is_same)
            {
                wrong.push(format!(
                    "the keys are the same: {is_same}; stated is {item}"
                ));
            }
        }
        wrong
    }

    /// Whether a row of the report is another valid certificate with the subject of the revoked one.
    fn is_sibling(&self, row: &Value) -> bool {
        let revoked_at = row["revokedAt"].as_str().unwrap_or_default();
        let end = timestamp(&row["notAfter"]);
        row["subject"] == self.entry["subject"]
            && row["serial"] != self.truth.serial.as_str()
            && revoked_at.is_empty()
            && end > Some(self.check.message.at.into())
    }

    /// Checks that these are the pointers of the certificate, and what its CA has.
    fn clients(&self, finding: &Value) -> Vec<String> {
        let Some(profile) = self.profile(&self.truth.serial) else {
            return vec!["the certificate does not exist".to_owned()];
        };
        let mut wrong = Vec::new();
        for (urls, total, known) in [
            ("crlUrls", "crlUrlsTotal", &profile.crl_urls),
            ("ocspUrls", "ocspUrlsTotal", &profile.ocsp_urls),
        ] {
            let stated = finding[urls].as_array().into_iter().flatten();
            let mut stated = stated.map(|url| url.as_str().unwrap_or_default().to_owned());
            let is_true = finding[total] == known.len() && stated.all(|url| known.contains(&url));
            // The smallest form has only the status.
            if !is_true && !finding[total].is_null() {
                wrong.push(format!("{urls} are {}, not {known:?}", finding[urls]));
            }
        }
        let checking = self.check.world.checking.borrow();
        let Some(&(crl, ocsp, no_pointer)) = checking.get(&self.truth.ca) else {
            return wrong;
        };
        let stated = &finding["authority"];
        let is_true = stated["crl"] == crl
            && stated["ocsp"] == ocsp
            && stated["crlWithoutPointer"] == no_pointer
            && stated["shortLived"] == false;
        if !stated.is_null() && !is_true {
            wrong.push(format!(
                "the CA has {crl} {ocsp} {no_pointer}, not {stated}"
            ));
        }
        wrong
    }

    /// Returns key and pointers of a certificate of the CA.
    fn profile(&self, serial: &str) -> Option<Profile> {
        let (world, ca) = (self.check.world, &self.truth.ca);
        let key = (ca.clone(), serial.to_owned());
        if let Some(profile) = world.profiles.borrow().get(&key) {
            return Some(profile.clone());
        }
        let rows = world.aws.private_ca().certificates(ca);
        let mut rows = rows.into_iter();
        rows.find(|row| row.serial == serial)?.x509
    }

    /// Checks that the email says no more than the JSON.
    fn email(&self, lines: &[(String, String)]) -> Vec<String> {
        let found = &self.entry["investigation"];
        let is_known = |name: &str| found[name]["status"] == "known";
        let mut wrong = Vec::new();
        for (label, text) in lines {
            let (name, is_true) = match label.as_str() {
                "Revoked by" => ("revokedBy", self.names_actor(text)),
                "In use by" => ("inUse", self.is_use_true(text)),
                "Same name" => ("inUse", true),
                "Same key" => {
                    let stated = found["affected"]["certificates"].as_array();
                    let mut stated = stated.into_iter().flatten();
                    ("affected", stated.any(|item| item["sameKey"] == true))
                }
                "Same subject" | "Same key or subject" | "Affects" => ("affected", true),
                "Clients" => ("clients", self.are_clients_true(text)),
                _ => continue,
            };
            let is_unknown = found[name]["status"] == "unknown" && text.starts_with("unknown: ");
            let is_said = is_known(name) && (is_true || self.check.is_altered(LOOKUPS));
            if !is_unknown && !is_said {
                wrong.push(format!(
                    "the email says \"{label}: {text}\", but {name} is {}",
                    found[name]
                ));
            }
            self.check.count("line of an email");
        }
        wrong
    }

    fn names_actor(&self, text: &str) -> bool {
        let Some(Actor { identity, .. }) = self.by() else {
            return false;
        };
        let issuer = &identity["sessionContext"]["sessionIssuer"]["userName"];
        match (issuer.as_str(), identity["userName"].as_str()) {
            (Some(role), _) => text.starts_with(&format!("role {role}, ")),
            (None, Some(user)) => text.starts_with(&format!("user {user}, ")),
            _ if identity["type"] == "Root" => text.starts_with("root user"),
            _ => text.starts_with("AWS service acm.amazonaws.com"),
        }
    }

    fn is_use_true(&self, text: &str) -> bool {
        let is_in_use = self.in_acm().iter().any(|item| !item.in_use_by.is_empty());
        if text.starts_with("ACM reports no AWS service") {
            self.check.count("ACM reports no AWS service");
            return !self.in_acm().is_empty() && !is_in_use;
        }
        if text.starts_with("unknown for this serial: ") {
            return self.in_acm().is_empty();
        }
        text.starts_with("unknown: ACM has ") || is_in_use
    }

    fn are_clients_true(&self, text: &str) -> bool {
        let Some(profile) = self.profile(&self.truth.serial) else {
            return false;
        };
        let names = |what| text.contains(&format!("the certificate names {what}, but the CA has"));
        match (profile.crl_urls.is_empty(), profile.ocsp_urls.is_empty()) {
            (true, true) => text.contains("the certificate has no CRL or OCSP pointer"),
            (true, false) => text.starts_with("can check OCSP only") || names("OCSP"),
            (false, true) => text.starts_with("can check the CRL only") || names("a CRL"),
            (false, false) => {
                text.starts_with("can check CRL and OCSP")
                    || text.contains("the certificate names a CRL, but the CA publishes none now")
                    || names("OCSP")
                    || names("a CRL and OCSP")
            }
        }
    }
}

type CheckFinding = fn(&About<'_>, &Value) -> Vec<String>;

/// The fields of an investigation, the operations they rely on, and how they are checked.
const QUESTIONS: [(&str, &[&str], CheckFinding); 4] = [
    ("revokedBy", &["LookupEvents"], |about, found| {
        about.revoked_by(found)
    }),
    (
        "inUse",
        &["SearchCertificates", "DescribeCertificate"],
        |about, found| about.in_use(found),
    ),
    (
        "affected",
        &["GetCertificate", "ListCertificateAuthorities"],
        |about, found| about.affected(found),
    ),
    (
        "clients",
        &["GetCertificate", "DescribeCertificateAuthority"],
        |about, found| about.clients(found),
    ),
];

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

/// Returns the digits of a serial without leading zeros.
fn number(serial: &str) -> String {
    let digits = serial.to_lowercase().replace(':', "");
    digits.trim_start_matches('0').to_owned()
}

/// Returns the facts of an email by the serial that they are about, each with its label, unwrapped.
fn sections(email: &str) -> HashMap<String, Vec<(String, String)>> {
    let mut sections = HashMap::new();
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut serial = None;
    let mut lines_of_email = email.lines().peekable();
    while let Some(line) = lines_of_email.next() {
        // An empty line ends a certificate.
        if line.is_empty() {
            if let Some(serial) = serial.take() {
                sections.insert(serial, std::mem::take(&mut lines));
            }
            lines.clear();
            continue;
        }
        let Some((label, text)) = line.split_once(": ") else {
            continue;
        };
        let mut text = text.to_owned();
        while let Some(more) = lines_of_email.next_if(|line| line.starts_with("  ")) {
            text.push(' ');
            text.push_str(more.trim_start());
        }
        if label == "Serial" {
            serial = Some(text.clone());
        }
        lines.push((label.to_owned(), text));
    }
    sections
}

/// Returns how much later than allowed a message was published, unless something else than a lookup
/// failed or was slow.
fn delay(world: &World, message: usize, body: &Value, faults: &Faults) -> Option<String> {
    let observed = world.observed();
    let &(run, publish) = observed.published_by.get(message)?;
    let calls = &observed.runs.get(run)?.calls[..=publish];
    let key = body["report"]["key"].as_str()?;
    let is_scan = |seen: &ObservedCall| {
        seen.call.operation == "GetObject" && seen.call.key.as_deref() == Some(key)
    };
    let is_of_topic = |seen: &ObservedCall| seen.call.operation == "GetTopicAttributes";
    let scan = calls.iter().position(is_scan)?;
    let last = calls[..publish].iter().rposition(|seen| !is_of_topic(seen));
    let is_disturbed = |(at, seen): (usize, &ObservedCall)| {
        // The name of the CA is looked up after the investigation, for three seconds at most; then the
        // topic is.
        let is_of_name = last == Some(at) && seen.call.operation == "DescribeCertificateAuthority";
        let is_lookup =
            LOOKUPS.contains(&seen.call.operation.as_str()) || at > scan && is_scan(seen);
        let is_lookup = is_lookup && !is_of_name;
        faults.contains_key(&seen.call.number) && !is_lookup
    };
    if calls.iter().enumerate().any(is_disturbed) {
        return None;
    }
    let others = calls[scan..].iter();
    let others = others.filter(|seen| !LOOKUPS.contains(&seen.call.operation.as_str()));
    let latency = observed.latency() * 2 * others.count() as u32;
    let took = calls[publish].call.at.duration_since(calls[scan].call.at);
    let took = took.unwrap_or_default();
    *world.checked.borrow_mut().entry("delay").or_default() += 1;
    (took > MAX_DELAY + latency).then(|| format!("published {took:?} after its scan began"))
}
