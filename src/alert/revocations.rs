//! What messages about revocations say, and tests.

use serde_json::{Map, Value, json};

use crate::alert::batch::RevocationBatch;
use crate::alert::certificate::Certificate;
use crate::alert::commands;
use crate::alert::content::{Content, by_reason};
use crate::alert::entry::INVESTIGATION;
use crate::alert::fact::Fact;
use crate::alert::findings::MAX_STEP_NAME_CHARS;
use crate::alert::line::Line;
use crate::alert::reasons;
use crate::alert::size::with_values;
use crate::alert::types::{Alert, ReportSource, RevocationAlert};
use crate::revocation::reason::{ReasonCounts, RevocationReason, Severity};
use crate::text::numbers::{count, duration, instant, with_separators};
use crate::text::visible::{ascii, defang};
use crate::timestamp::Timestamp;

/// Maximum revocations that a message for people lists; the others are only counted.
const MAX_LISTED: usize = 25;

/// Maximum next steps that follow from findings.
const MAX_FOUND_STEPS: usize = 8;

/// Maximum of them for any certificate but the worst.
const MAX_STEPS_OF_OTHERS: usize = 2;

/// Returns the content of a message about new revocations.
pub(super) fn new(alert: &Alert, revocations: &RevocationAlert) -> Content {
    revocation_alert(alert, "revocations", revocations, &[&revocations.digest])
}

/// Returns the content of a message about revocations that were requested again.
pub(super) fn replay(
    alert: &Alert,
    revocations: &RevocationAlert,
    since: Timestamp,
    request_id: &str,
) -> Content {
    let identity: [&[u8]; 2] = [&revocations.digest, request_id.as_bytes()];
    let mut content = revocation_alert(alert, "replay", revocations, &identity);
    content.sign = "\u{1f501}";
    content.document.since = Some(since);
    content.intro = format!(
        "Someone requested all revocations since {}. You may have been notified about them before, with the same revocationId.",
        instant(since)
    );
    content.request(request_id);
    content
}

fn revocation_alert(
    alert: &Alert,
    kind: &'static str,
    revocations: &RevocationAlert,
    identity: &[&[u8]],
) -> Content {
    let (arn, report) = (&alert.authority().arn, &revocations.report);
    let severity = revocations.batch.severity();
    let mut content = Content::of_authority(alert, kind, severity, identity);
    content.revocations(alert, &revocations.batch, Some(report));
    let full_list = revocations.full_list();
    content.document.full_list = full_list.cloned();
    content.commands =
        commands::of_revocations(arn, full_list, &report.location, &content.certificates);
    if content
        .certificates
        .iter()
        .any(|item| item.acm_account.is_some())
    {
        let console = commands::console(
            arn.partition(),
            arn.region(),
            "acm/home",
            "certificates/list",
        );
        content
            .links
            .extend(console.map(|url| ("ACM console", url)));
    }
    content.report(report);
    content
}

/// Returns the content of a test message.
pub(super) fn test(alert: &Alert, request_id: &str) -> Content {
    let identity = [request_id.as_bytes()];
    let mut content = Content::of_authority(alert, "test", Severity::Critical, &identity);
    content.sign = "\u{1f9ea}";
    content.intro =
        "Someone requested a test message. The certificate is a sample; nothing was revoked."
            .into();
    let arn = alert.authority().arn.as_str();
    let batch = RevocationBatch::sample(arn, alert.detected_at);
    content.revocations(alert, &batch, None);
    content.headline = Line::new("TEST: this is what a critical alert looks like.");
    content.certificates[0].arn = None;
    for entry in content.document.revocations.iter_mut().flatten() {
        entry.shift_remove(INVESTIGATION);
    }
    let step = "Confirm that this message reached everyone who should get it.".to_owned();
    content.next_steps = vec![(String::new(), vec![step])];
    content.request(request_id);
    content
}

fn numbers(report: &ReportSource) -> String {
    let certificates = count(report.certificates, "certificate");
    format!(
        "{certificates}, {} revoked",
        with_separators(report.revoked)
    )
}

/// The field `counts` of the JSON message.
fn counts(new: u64, by_reason: &ReasonCounts, report: Option<&ReportSource>) -> Value {
    let counts = json!({
        "new": new,
        "byReason": Map::from_iter(by_reason.iter().map(|(name, number)| (name.into(), number.into()))),
        "revoked": report.map(|report| report.revoked),
        "certificates": report.map(|report| report.certificates),
    });
    with_values(&counts).into()
}

/// Returns what the findings about a certificate require, most urgent first.
fn steps_on_findings(item: &Certificate) -> Vec<String> {
    let findings = &item.findings;
    let mut steps = findings.steps.clone();
    let is_harmless = item.is_expired || item.severity == Severity::Low;
    if let Some(step) = &findings.confirmation
        && findings.cannot_confirm
        && !is_harmless
    {
        steps.push(step.clone());
    }
    let key_compromise = reasons::words(RevocationReason::KeyCompromise.name());
    if let Some(authority) = &findings.authority
        && item.reason == key_compromise
    {
        let authority = ascii(authority, MAX_STEP_NAME_CHARS);
        steps.insert(0, format!("Disable the CA {authority} so that it issues nothing more (aws acm-pca update-certificate-authority --status DISABLED)."));
    }
    steps
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(text.floor_char_boundary(1));
    first.to_uppercase() + rest
}

impl Content {
    /// Returns the content of a message about one certificate authority. `identity` is what
    /// distinguishes the message from others of its type about the same certificate authority.
    fn of_authority(
        alert: &Alert,
        kind: &'static str,
        severity: Severity,
        identity: &[&[u8]],
    ) -> Self {
        let arn = &alert.authority().arn;
        let parts = [&[kind.as_bytes(), arn.as_str().as_bytes()], identity].concat();
        let mut content = Self::new(alert, kind, severity, &parts);
        content.group_id = arn.id().to_owned();
        content.document.account_id = arn.account().to_owned();
        content.document.region = arn.region().to_owned();
        let console = commands::console(
            arn.partition(),
            arn.region(),
            "acm-pca/home",
            "certificateAuthorities",
        );
        content
            .links
            .extend(console.map(|url| ("AWS Private CA console", url)));
        content
    }

    fn report(&mut self, report: &ReportSource) {
        self.document.report = Some(json!({
            "bucket": report.location.bucket,
            "key": report.location.key,
            "requestedAt": report.requested_at,
        }));
        let mut text = instant(report.requested_at);
        if let Some(before) = report.previous_requested_at {
            let interval = duration(report.requested_at.since(before));
            text = format!("{text}, {interval} after the previous one");
        }
        if self.total > 0 {
            text = format!("{text} ({})", numbers(report));
        }
        self.report = Some(Fact::text("Report requested", text));
        self.sources
            .push(Fact::code("Report", report.location.uri()));
    }

    /// Adds a batch of revocations.
    fn revocations(
        &mut self,
        alert: &Alert,
        batch: &RevocationBatch,
        report: Option<&ReportSource>,
    ) {
        let account = alert.authority().arn.account();
        let worst = batch.worst_investigated().take(MAX_LISTED);
        self.certificates = worst
            .map(|(revocation, found)| {
                Certificate::of(revocation, found, alert.detected_at, account)
            })
            .collect();
        let runbook = alert.runbook_url.clone().map(|url| ("Runbook", url));
        self.links.splice(0..0, runbook);
        self.total = batch.counts.total();
        self.counts = by_reason(&batch.counts);
        self.document.reasons = batch.counts.iter().map(|(name, _)| name.into()).collect();
        self.document.counts = Some(counts(self.total, &batch.counts, report));
        self.document.complete = Some(!batch.needs_full_list);
        self.document.revocations = Some(batch.entries());
        self.revocation_lines(alert, batch.ca_certificates);
        self.advise(batch.ca_certificates);
        self.advise_on_findings();
        if self.total > 1 {
            self.fact("Detected", instant(alert.detected_at));
        }
    }

    fn revocation_lines(&mut self, alert: &Alert, ca_certificates: u64) {
        let severity = self.document.severity.name().to_uppercase();
        let marks = match self.document.kind {
            "revocations" => vec![severity],
            kind => vec![kind.to_uppercase(), severity],
        };
        let brackets: String = marks.iter().map(|mark| format!("[{mark}] ")).collect();
        let start = marks.join(", ") + ": ";
        let worst = self.document.reasons.first().map_or("", |name| name);
        let is_critical = RevocationReason::from_report(worst).severity() == Severity::Critical;
        let worst = ascii(worst, 32);
        let (of_worst, reason) = self.counts.first().cloned().unwrap_or_default();
        let subject = match self.certificates.first() {
            Some(only) if self.total == 1 => {
                let what = if only.is_ca { "CA certificate " } else { "" };
                let line = |before: &str, after: &str| {
                    let line = Line::new(format!("{before}{what}"));
                    line.name(&only.name).words(after)
                };
                self.headline = line(&start, &format!(" was revoked: {reason}."));
                self.title = line(&start, &format!(" revoked, {reason}"));
                line(&format!("{brackets}{worst}: "), " revoked (")
            }
            // What makes it critical is not the reason.
            _ if ca_certificates > 0 && !is_critical => {
                let all = count(self.total, "certificate");
                let of_cas = count(ca_certificates, "CA certificate");
                self.headline = Line::new(format!("{start}{all} were revoked ({of_cas})."));
                self.title = Line::new(format!("{start}{all} revoked, {of_cas}"));
                Line::new(format!("{brackets}{all} revoked, {of_cas} ("))
            }
            _ => {
                let all = count(self.total, "certificate");
                let share = match of_worst {
                    all if all == self.total => "all".to_owned(),
                    some => with_separators(some),
                };
                self.headline = Line::new(format!("{start}{all} were revoked ({share} {reason})."));
                self.title = Line::new(format!("{start}{all} revoked, {share} {reason}"));
                Line::new(format!("{brackets}{all} revoked, {share} {worst} ("))
            }
        };
        let (name, document) = (alert.authority().name(), &self.document);
        self.subject = subject.name(name).words(")");
        let sms = self.title.clone().words(". CA ").name(name);
        self.sms = sms.words(format!(", {} {}", document.account_id, document.region));
    }

    /// Adds the advice for every reason, and that for CA certificates after the critical reasons.
    fn advise(&mut self, ca_certificates: u64) {
        let is_critical =
            |name: &&String| RevocationReason::from_report(name).severity() == Severity::Critical;
        let critical = self.document.reasons.iter().take_while(is_critical).count();
        let reasons = self.document.reasons.iter().zip(&self.counts);
        let mut groups: Vec<(String, Vec<String>)> = reasons
            .map(|(name, (number, words))| (words.clone(), self.advice(name, *number, words)))
            .collect();
        if ca_certificates > 0 {
            let advice = self.ca_advice(ca_certificates);
            groups.insert(critical, ("CA certificate".to_owned(), advice));
        }
        for (words, steps) in groups {
            match self.next_steps.last_mut() {
                Some((about, same)) if *same == steps => *about = format!("{about}, {words}"),
                _ => self.next_steps.push((capitalized(&words), steps)),
            }
        }
        if let [(about, _)] = self.next_steps.as_mut_slice() {
            about.clear();
        }
    }

    /// Returns the advice for a reason of `number` revocations.
    fn advice(&self, name: &str, number: u64, words: &str) -> Vec<String> {
        let with_reason = || self.certificates.iter().filter(|item| item.reason == words);
        let are_all = |is: fn(&Certificate) -> bool| {
            with_reason().count() as u64 == number && with_reason().all(is)
        };
        let mut steps = reasons::advice(name).to_vec();
        if are_all(|item| item.findings.cannot_confirm) {
            steps.retain(|step| !step.starts_with(reasons::CONFIRM_REVOKED));
        }
        let reason = RevocationReason::from_report(name);
        if reason == RevocationReason::KeyCompromise && are_all(|item| item.is_ca) {
            steps[0] = match number {
                1 => reasons::STOP_TRUSTING_CA,
                _ => reasons::STOP_TRUSTING_CAS,
            };
        }
        let mut steps: Vec<_> = steps.into_iter().map(str::to_owned).collect();
        if let (1, Some(only)) = (self.total, self.certificates.first())
            && let Some(rest) = steps[0].strip_prefix(reasons::ASK)
        {
            steps[0] = match &only.findings.to_ask {
                Some(identity) => format!("Ask {identity} why{rest}"),
                None => format!("Find out who revoked it and why{rest}"),
            };
        }
        steps
    }

    /// Returns the advice for CA certificates.
    fn ca_advice(&self, ca_certificates: u64) -> Vec<String> {
        let of_cas = || self.certificates.iter().filter(|item| item.is_ca);
        let cannot_confirm = of_cas().all(|item| item.findings.cannot_confirm);
        let advice = match of_cas().count() as u64 == ca_certificates && cannot_confirm {
            true => reasons::UNCHECKED_CA_CERTIFICATE_ADVICE,
            false => reasons::CA_CERTIFICATE_ADVICE,
        };
        advice.map(str::to_owned).to_vec()
    }

    /// Adds what the findings require: all about the worst certificate, the most urgent about others.
    fn advise_on_findings(&mut self) {
        let total = self.total;
        let mut found = Vec::new();
        for (position, item) in self.certificates.iter().enumerate() {
            let about = match total {
                1 => String::new(),
                _ => format!("{}: ", ascii(&item.name, MAX_STEP_NAME_CHARS)),
            };
            let most = if position == 0 {
                usize::MAX
            } else {
                MAX_STEPS_OF_OTHERS
            };
            let steps = steps_on_findings(item).into_iter().take(most);
            found.extend(steps.map(|step| format!("{about}{step}")));
        }
        found.truncate(MAX_FOUND_STEPS);
        self.found_steps = found;
        // Several certificates need not have the same CRL and OCSP responder.
        let (1, Some(only)) = (total, self.certificates.first()) else {
            return;
        };
        if let Some(confirmation) = &only.findings.confirmation
            && !only.findings.cannot_confirm
        {
            let steps = self.next_steps.iter_mut().flat_map(|(_, steps)| steps);
            steps
                .filter(|step| step.starts_with(reasons::CONFIRM_REVOKED))
                .for_each(|step| confirmation.clone_into(step));
        }
    }

    fn request(&mut self, request_id: &str) {
        self.document.request_id = Some(request_id.to_owned());
        let request = Fact::text("Request", defang(request_id, 64));
        self.sources.push(request);
    }
}
