//! The metrics of a run: one line in CloudWatch's embedded metric format.

use serde_json::{Map, Value, json};

use crate::error::Remedy;
use crate::response::{AuditResponse, Outcome, ReportContents, Response};
use crate::revocation::reason::Severity;
use crate::timestamp::Timestamp;

/// The CloudWatch namespace.
pub const NAMESPACE: &str = "PcaRevocationWatch";

/// Returns a run's line (Amazon CloudWatch User Guide, "Specification: Embedded metric format").
pub fn line(function_name: &str, now: Timestamp, response: &Response, is_full: bool) -> Value {
    let mut definitions = Vec::new();
    let mut line = Map::new();
    for (name, unit, value) in metrics(now, response, is_full) {
        definitions.push(json!({ "Name": name, "Unit": unit }));
        line.insert(name.to_owned(), json!(value));
    }
    // Properties, not metrics: CloudWatch Logs Insights can query them per CA at no cost.
    let properties = response.certificate_authorities.iter().map(|ca| {
        let news = ca.read.as_ref().filter(|_| has_news(response, ca));
        json!({
            "id": ca.certificate_authority_arn.id(),
            "outcome": ca.outcome,
            "error": ca.error.as_ref().map(|error| error.kind.name()),
            "auditAgeMinutes": audit_age_minutes(ca, now),
            "newRevocations": news.map_or(0, |read| read.new_revocations),
        })
    });
    line.insert("certificateAuthorities".to_owned(), properties.collect());
    // One dimension, the function: a dimension per CA would multiply the price of each metric.
    let directive = json!({
        "Timestamp": now.unix_seconds() * 1000,
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [["FunctionName"]],
            "Metrics": definitions,
        }],
    });
    line.insert("_aws".to_owned(), directive);
    line.insert("FunctionName".to_owned(), json!(function_name));
    Value::Object(line)
}

/// Returns each metric's name, unit and value.
fn metrics(
    now: Timestamp,
    response: &Response,
    is_full: bool,
) -> Vec<(&'static str, &'static str, f64)> {
    let all = &response.certificate_authorities;
    // Not `sum`, which is -0.0 without CAs.
    let sum =
        |value: &dyn Fn(&AuditResponse) -> f64| all.iter().fold(0.0, |sum, ca| sum + value(ca));
    let outcome = |outcome| sum(&|ca| f64::from(ca.outcome == outcome));
    let failures = |remedy| sum(&|ca| f64::from(ca.remedy() == Some(remedy)));
    let read =
        |value: fn(&ReportContents) -> u64| sum(&|ca| ca.read.as_ref().map_or(0, value) as f64);
    let news = |severity| {
        let new = all.iter().filter(|ca| has_news(response, ca));
        new.map(|ca| ca.stats.new.by_severity(severity))
            .sum::<u64>() as f64
    };
    let published = if response.dry_run {
        0.0
    } else {
        read(|read| read.published)
    };
    let mut metrics = vec![
        ("AuditsAudited", "Count", outcome(Outcome::Audited)),
        ("AuditsWaiting", "Count", outcome(Outcome::Waiting)),
        ("AuditsTooSoon", "Count", outcome(Outcome::TooSoon)),
        ("AuditsBusy", "Count", outcome(Outcome::Busy)),
        ("AuditsFailed", "Count", outcome(Outcome::Failed)),
        ("FailuresTransient", "Count", failures(Remedy::Retry)),
        ("FailuresPersistent", "Count", failures(Remedy::Operator)),
        ("Certificates", "Count", read(|read| read.certificates)),
        ("Revocations", "Count", read(|read| read.revoked)),
        ("NewRevocationsCritical", "Count", news(Severity::Critical)),
        ("NewRevocationsHigh", "Count", news(Severity::High)),
        ("NewRevocationsLow", "Count", news(Severity::Low)),
        ("Published", "Count", published),
        (
            "ReportBytes",
            "Bytes",
            sum(&|ca| ca.stats.report_bytes as f64),
        ),
        ("WaitSeconds", "Seconds", sum(&|ca| ca.stats.waited_seconds)),
        (
            "ScanSeconds",
            "Seconds",
            sum(&|ca| ca.stats.scanned_seconds),
        ),
    ];
    // One unknown age makes the oldest unknown: the alarm treats missing data as bad. A narrowed
    // run cannot know it at all.
    let ages: Option<Vec<f64>> = all.iter().map(|ca| audit_age_minutes(ca, now)).collect();
    let oldest = ages.and_then(|ages| ages.into_iter().reduce(f64::max));
    if is_full && !response.dry_run {
        // Minutes, a unit that CloudWatch does not have.
        metrics.extend(oldest.map(|age| ("OldestAuditAgeMinutes", "None", age)));
    }
    metrics
}

/// Whether a CA's revocations are new: those of a dry run will be published later, those of a
/// replay were published before.
fn has_news(response: &Response, ca: &AuditResponse) -> bool {
    !response.dry_run && ca.read.as_ref().is_some_and(|read| read.pending.is_none())
}

fn audit_age_minutes(ca: &AuditResponse, now: Timestamp) -> Option<f64> {
    let since = ca.stats.unaudited_since?;
    Some(now.since(since).as_secs() as f64 / 60.0)
}
