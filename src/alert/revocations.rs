//! What messages about revocations say, and tests.

use serde_json::{Map, Value, json};

use crate::alert::batch::RevocationBatch;
use crate::alert::certificate::{Certificate, Fact};
use crate::alert::commands;
use crate::alert::content::{Content, by_reason};
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
    content.commands = commands::of_revocations(arn, full_list, &content.certificates);
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
        let worst = batch.worst_first().take(MAX_LISTED);
        self.certificates = worst
            .map(|revocation| Certificate::of(revocation, alert.detected_at, account))
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
        let mut groups: Vec<(String, &[&str])> = reasons
            .map(|(name, (_, words))| (words.clone(), reasons::advice(name)))
            .collect();
        if ca_certificates > 0 {
            let advice = &reasons::CA_CERTIFICATE_ADVICE;
            groups.insert(critical, ("CA certificate".to_owned(), advice));
        }
        for (words, advice) in groups {
            match self.next_steps.last_mut() {
                Some((about, steps)) if steps == advice => *about = format!("{about}, {words}"),
                _ => {
                    let steps = advice.iter().map(|&step| step.to_owned());
                    self.next_steps.push((capitalized(&words), steps.collect()));
                }
            }
        }
        if let [(about, _)] = self.next_steps.as_mut_slice() {
            about.clear();
        }
    }

    fn request(&mut self, request_id: &str) {
        self.document.request_id = Some(request_id.to_owned());
        let request = Fact::text("Request", defang(request_id, 64));
        self.sources.push(request);
    }
}
