//! The metrics of a run: one line in CloudWatch's embedded metric format.

use serde_json::{Map, Value, json};

use crate::error::Remedy;
use crate::response::{AuditResponse, AuditStats, Outcome, ReportContents, Response};
use crate::timestamp::Timestamp;

/// The CloudWatch namespace.
pub const NAMESPACE: &str = "PcaRevocationWatch";

/// Every metric and its unit. Their only dimension is the function: a dimension per CA would
/// multiply the price of each metric.
pub const METRICS: &[(&str, &str)] = &[
    ("AuditsAudited", "Count"),
    ("AuditsWaiting", "Count"),
    ("AuditsTooSoon", "Count"),
    ("AuditsBusy", "Count"),
    ("AuditsFailed", "Count"),
    ("FailuresTransient", "Count"),
    ("FailuresPersistent", "Count"),
    ("Certificates", "Count"),
    ("Revocations", "Count"),
    ("NewRevocationsCritical", "Count"),
    ("NewRevocationsHigh", "Count"),
    ("NewRevocationsLow", "Count"),
    ("Published", "Count"),
    ("ReportBytes", "Bytes"),
    ("WaitSeconds", "Seconds"),
    ("ScanSeconds", "Seconds"),
    // Minutes, a unit that CloudWatch does not have.
    (OLDEST_AUDIT_AGE, "None"),
];

/// The metric of the oldest audit. Only full runs emit it: a narrowed run cannot know it.
pub const OLDEST_AUDIT_AGE: &str = "OldestAuditAgeMinutes";

/// Returns a run's line (Amazon CloudWatch User Guide, "Specification: Embedded metric format").
pub fn line(function_name: &str, now: Timestamp, response: &Response, is_full: bool) -> Value {
    let mut definitions = Vec::new();
    let mut metrics = Map::new();
    for ((name, unit), value) in METRICS.iter().zip(values(now, response, is_full)) {
        if let Some(value) = value {
            definitions.push(json!({ "Name": name, "Unit": unit }));
            metrics.insert((*name).to_owned(), json!(value));
        }
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
    metrics.insert("certificateAuthorities".to_owned(), properties.collect());
    let directive = json!({
        "Timestamp": now.unix_seconds() * 1000,
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [["FunctionName"]],
            "Metrics": definitions,
        }],
    });
    metrics.insert("_aws".to_owned(), directive);
    metrics.insert("FunctionName".to_owned(), json!(function_name));
    Value::Object(metrics)
}

/// Returns the values of [`METRICS`], in their order.
fn values(now: Timestamp, response: &Response, is_full: bool) -> [Option<f64>; METRICS.len()] {
    let all = &response.certificate_authorities;
    // Not `sum`, which is -0.0 without CAs.
    let sum = |value: &dyn Fn(&AuditResponse) -> f64| {
        Some(all.iter().fold(0.0, |sum, ca| sum + value(ca)))
    };
    let outcome = |outcome| sum(&|ca| f64::from(ca.outcome == outcome));
    let failures = |remedy| sum(&|ca| f64::from(ca.remedy() == Some(remedy)));
    let news = |value: fn(&AuditStats) -> u64| {
        let value = |ca: &AuditResponse| value(&ca.stats) as f64;
        sum(&|ca| {
            Some(ca)
                .filter(|ca| has_news(response, ca))
                .map_or(0.0, value)
        })
    };
    let read =
        |value: fn(&ReportContents) -> u64| sum(&|ca| ca.read.as_ref().map_or(0, value) as f64);
    // One unknown age makes the oldest unknown: the alarm treats missing data as bad.
    let ages: Option<Vec<f64>> = all.iter().map(|ca| audit_age_minutes(ca, now)).collect();
    let oldest = ages.and_then(|ages| ages.into_iter().reduce(f64::max));
    [
        outcome(Outcome::Audited),
        outcome(Outcome::Waiting),
        outcome(Outcome::TooSoon),
        outcome(Outcome::Busy),
        outcome(Outcome::Failed),
        failures(Remedy::Retry),
        failures(Remedy::Operator),
        read(|read| read.certificates),
        read(|read| read.revoked),
        news(|stats| stats.new_critical),
        news(|stats| stats.new_high),
        news(|stats| stats.new_low),
        if response.dry_run {
            Some(0.0)
        } else {
            read(|read| read.published)
        },
        sum(&|ca| ca.stats.report_bytes as f64),
        sum(&|ca| ca.stats.waited_seconds),
        sum(&|ca| ca.stats.scanned_seconds),
        oldest.filter(|_| is_full && !response.dry_run),
    ]
}

/// Whether a CA's revocations are new: those of a dry run will be published later, those of a
/// replay were published before.
fn has_news(response: &Response, ca: &AuditResponse) -> bool {
    !response.dry_run && ca.read.as_ref().is_some_and(|read| read.pending.is_none())
}

fn audit_age_minutes(ca: &AuditResponse, now: Timestamp) -> Option<f64> {
    let since = ca.unaudited_since?;
    Some(now.since(since).as_secs() as f64 / 60.0)
}
