//! What a message says, independent of its formats: the one place that distinguishes the kinds of
//! alerts. A new kind is a variant of [`AlertKind`] and an arm of [`Content::of`].

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::alert::batch::RevocationBatch;
use crate::alert::certificate::{Certificate, Fact};
use crate::alert::commands::{self, Command};
use crate::alert::line::Line;
use crate::alert::reasons;
use crate::alert::size::with_values;
use crate::alert::types::{Alert, AlertKind, ObjectLocation, ReportSource, RevocationAlert};
use crate::error::AuditError;
use crate::revocation::key::{hash, hex};
use crate::revocation::reason::{ReasonCounts, RevocationReason, Severity};
use crate::text::numbers::{count, duration, instant, with_separators};
use crate::text::visible::{ascii, defang};
use crate::timestamp::Timestamp;

/// Maximum revocations that a message for people lists; the others are only counted.
const MAX_LISTED: usize = 25;

/// Maximum characters of an error's texts, because AWS's errors can quote whole requests, and of a
/// CA's name.
const MAX_CHARS: usize = 1000;

/// The JSON message for programs: SQS, Lambda, HTTP, HTTPS, Firehose and email-JSON subscribers.
///
/// Its schema is `docs/message.schema.json`. Everything that a filter policy of scope `MessageBody`
/// needs is at the top level. Fields without a value are left out.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    /// A change that a reader of this version would misread gets a new one.
    pub schema: &'static str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub id: String,
    pub severity: Severity,
    pub certificate_authority_arn: String,
    pub certificate_authority_name: Option<String>,
    pub account_id: String,
    pub region: String,
    pub reasons: Vec<String>,
    pub detected_at: Option<Timestamp>,
    pub since: Option<Timestamp>,
    pub request_id: Option<String>,
    pub error: Option<Value>,
    pub last_complete_audit_at: Option<Timestamp>,
    pub report: Option<Value>,
    pub notify_from: Option<Timestamp>,
    pub counts: Option<Value>,
    pub reduced: Option<bool>,
    pub complete: Option<bool>,
    pub full_list: Option<ObjectLocation>,
    pub revocations: Option<Vec<Map<String, Value>>>,
}

/// The facts of a message, in the order in which people should read them.
#[derive(Default)]
pub(super) struct Content {
    pub document: Document,
    /// The emoji before the chat card's title.
    pub sign: &'static str,
    /// The email's subject line.
    pub subject: Line,
    /// The email's first line.
    pub headline: Line,
    /// The chat card's title, and the SMS but for the certificate authority.
    pub title: Line,
    /// What it means.
    pub intro: String,
    pub facts: Vec<Fact>,
    /// Numbers of revocations by reason, in words.
    pub counts: Vec<(u64, String)>,
    /// The worst revocations.
    pub certificates: Vec<Certificate>,
    /// Number of all revocations of the message.
    pub total: u64,
    /// What to do, most urgent first: a reason in words (empty if there are no others) and its
    /// instructions (at least one).
    pub next_steps: Vec<(String, Vec<String>)>,
    pub commands: Vec<Command>,
    /// Names and addresses of pages: the operator's runbook, and the AWS console.
    pub links: Vec<(&'static str, String)>,
    /// The audit report that the message is based on.
    pub report: Option<Fact>,
    /// Where the message comes from.
    pub sources: Vec<Fact>,
}

impl Content {
    /// Returns the content of an alert.
    pub fn of(alert: &Alert) -> Self {
        match &alert.kind {
            AlertKind::Revocations(revocations) => {
                revocation_alert(alert, "revocations", revocations, &[&revocations.digest])
            }
            AlertKind::Replay {
                revocations,
                since,
                request_id,
            } => {
                let identity: [&[u8]; 2] = [&revocations.digest, request_id.as_bytes()];
                let mut content = revocation_alert(alert, "replay", revocations, &identity);
                content.sign = "\u{1f501}";
                content.document.since = Some(*since);
                content.intro = format!(
                    "Someone requested all revocations since {}. You may have been notified about them before, with the same revocationId.",
                    instant(*since)
                );
                content.request(request_id);
                content
            }
            AlertKind::WatchStarted {
                report,
                revoked,
                notify_from,
                to_notify,
            } => started(alert, report, revoked, *notify_from, *to_notify),
            AlertKind::WatchFailed {
                error,
                last_complete_audit_at,
            } => failed(alert, error, *last_complete_audit_at),
            AlertKind::WatchRecovered {
                error_type,
                since,
                report,
            } => recovered(alert, error_type, *since, report),
            AlertKind::Test { request_id } => test(alert, request_id),
        }
    }

    /// `identity` is what distinguishes the message from others of its type about the same
    /// certificate authority.
    fn new(alert: &Alert, kind: &'static str, severity: Severity, identity: &[&[u8]]) -> Self {
        let arn = &alert.certificate_authority;
        let parts = [&[kind.as_bytes(), arn.as_str().as_bytes()], identity].concat();
        let console = commands::console(arn, "acm-pca/home", "certificateAuthorities");
        Self {
            document: Document {
                schema: "pca-revocation-watch/1",
                kind,
                id: hex(&hash(&parts)),
                severity,
                certificate_authority_arn: arn.to_string(),
                certificate_authority_name: alert.name.as_deref().map(bounded),
                account_id: arn.account().to_owned(),
                region: arn.region().to_owned(),
                detected_at: Some(alert.detected_at),
                ..Document::default()
            },
            sign: match severity {
                Severity::Critical => "\u{1f534}",
                Severity::High => "\u{1f7e0}",
                Severity::Low => "\u{1f535}",
            },
            links: Vec::from_iter(console.map(|url| ("AWS Private CA console", url))),
            ..Self::default()
        }
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

    fn fact(&mut self, label: &'static str, text: String) {
        self.facts.push(Fact::text(label, text));
    }

    /// Adds the lines of a message about the audits themselves.
    fn watch_lines(&mut self, alert: &Alert, event: &str, what: &str, subject: &str) {
        let severity = self.document.severity.name().to_uppercase();
        self.title = Line::new(format!("{event}: {what}"));
        self.headline = self.title.clone();
        self.subject = Line::new(format!("[{severity}] {event}: {subject} ("))
            .name(alert.authority_name())
            .words(")");
        let arn = Fact::code("CA ARN", alert.certificate_authority.as_str());
        self.sources.push(arn);
    }

    /// Adds a batch of revocations.
    fn revocations(
        &mut self,
        alert: &Alert,
        batch: &RevocationBatch,
        report: Option<&ReportSource>,
    ) {
        let account = alert.certificate_authority.account();
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
        self.subject = subject.name(alert.authority_name()).words(")");
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

fn revocation_alert(
    alert: &Alert,
    kind: &'static str,
    revocations: &RevocationAlert,
    identity: &[&[u8]],
) -> Content {
    let (arn, report) = (&alert.certificate_authority, &revocations.report);
    let severity = revocations.batch.severity();
    let mut content = Content::new(alert, kind, severity, identity);
    content.revocations(alert, &revocations.batch, Some(report));
    let full_list = revocations.full_list();
    content.document.full_list = full_list.cloned();
    content.commands = commands::of_revocations(arn, full_list, &content.certificates);
    if content
        .certificates
        .iter()
        .any(|item| item.acm_account.is_some())
    {
        let console = commands::console(arn, "acm/home", "certificates/list");
        content
            .links
            .extend(console.map(|url| ("ACM console", url)));
    }
    content.report(report);
    content
}

fn test(alert: &Alert, request_id: &str) -> Content {
    let identity = [request_id.as_bytes()];
    let mut content = Content::new(alert, "test", Severity::Critical, &identity);
    content.sign = "\u{1f9ea}";
    content.intro =
        "Someone requested a test message. The certificate is a sample; nothing was revoked."
            .into();
    let arn = alert.certificate_authority.as_str();
    let batch = RevocationBatch::sample(arn, alert.detected_at);
    content.revocations(alert, &batch, None);
    content.headline = Line::new("TEST: this is what a critical alert looks like.");
    content.certificates[0].arn = None;
    let step = "Confirm that this message reached everyone who should get it.".to_owned();
    content.next_steps = vec![(String::new(), vec![step])];
    content.request(request_id);
    content
}

fn started(
    alert: &Alert,
    report: &ReportSource,
    revoked: &ReasonCounts,
    notify_from: Timestamp,
    to_notify: u64,
) -> Content {
    let mut content = Content::new(alert, "watch-started", Severity::Low, &[]);
    content.sign = "\u{2705}";
    content.document.notify_from = Some(notify_from);
    content.document.counts = Some(counts(to_notify, revoked, Some(report)));
    let numbers = numbers(report);
    let on = "revocation alerts are on";
    content.watch_lines(alert, "MONITORING STARTED", on, &numbers);
    content.intro =
        "You will be alerted to new revocations by this CA. No action is needed.".into();
    content.fact("First audit", numbers);
    let recent = match to_notify {
        0 => "none so far".to_owned(),
        some => format!("{} so far, in a separate message", with_separators(some)),
    };
    let from = instant(notify_from);
    content.fact("Alerts", format!("revocations since {from} ({recent})"));
    content.counts = by_reason(revoked);
    let earlier = notify_from.saturating_sub(Duration::from_secs(30 * 24 * 3600));
    content.commands.push((
        "Older revocations are only counted. To be alerted to them as well, invoke the function with an earlier time:".to_owned(),
        format!("{{\"since\": \"{earlier}\"}}"),
    ));
    content.report(report);
    content
}

fn failed(alert: &Alert, error: &AuditError, last_complete_audit_at: Option<Timestamp>) -> Content {
    let (kind, since) = (error.kind.name(), alert.detected_at);
    let began = since.to_string();
    let identity = [kind.as_bytes(), began.as_bytes()];
    let mut content = Content::new(alert, "watch-failed", Severity::High, &identity);
    content.document.since = Some(since);
    content.document.last_complete_audit_at = last_complete_audit_at;
    content.document.error = Some(json!({
        "type": kind,
        "message": bounded(&error.message),
        "hint": bounded(&error.hint),
    }));
    let paused = "revocation alerts are paused";
    content.watch_lines(alert, "MONITORING FAILED", paused, kind);
    content.intro = format!(
        "Revocation alerts for this CA have been paused since {}. No revocation is lost: alerts go out as soon as audits work again. You will get a recovery message then.",
        instant(since)
    );
    let message = defang(&error.message, MAX_CHARS);
    content.fact("Cause", format!("{kind}: {message}"));
    let last = last_complete_audit_at.map_or("none yet".to_owned(), instant);
    content.fact("Last complete audit", last);
    let step = defang(&error.hint, MAX_CHARS);
    content.next_steps.push((String::new(), vec![step]));
    content
}

fn recovered(alert: &Alert, error_type: &str, since: Timestamp, report: &ReportSource) -> Content {
    let began = since.to_string();
    let identity = [error_type.as_bytes(), began.as_bytes()];
    let mut content = Content::new(alert, "watch-recovered", Severity::Low, &identity);
    content.sign = "\u{2705}";
    content.document.since = Some(since);
    content.document.error = Some(json!({ "type": error_type }));
    let (on, kind) = ("revocation alerts are on again", defang(error_type, 48));
    let over = format!("{} is over", ascii(&kind, 40));
    content.watch_lines(alert, "MONITORING RECOVERED", on, &over);
    content.intro = "Audits of this CA work again. Revocations made in the meantime, if any, follow in a separate message. No action is needed.".into();
    content.fact("Error", format!("{kind}, since {}", instant(since)));
    content.report(report);
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

fn by_reason(counts: &ReasonCounts) -> Vec<(u64, String)> {
    let in_words = |(name, number)| (number, reasons::words(name));
    counts.iter().map(in_words).collect()
}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(text.floor_char_boundary(1));
    first.to_uppercase() + rest
}
