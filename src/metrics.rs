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

/// Writes a run's line to standard output, from where Lambda sends it to CloudWatch Logs. It is no
/// log line: a level above INFO would filter it out.
pub fn emit(function_name: &str, now: Timestamp, response: &Response, is_full: bool) {
    println!("{}", line(function_name, now, response, is_full));
}

/// Returns a run's line (Amazon CloudWatch User Guide, "Specification: Embedded metric format").
pub fn line(function_name: &str, now: Timestamp, response: &Response, is_full: bool) -> Value {
    let metrics: Vec<_> = METRICS
        .iter()
        .zip(values(now, response, is_full))
        .filter_map(|((name, unit), value)| Some((*name, *unit, value?)))
        .collect();
    let definitions: Vec<Value> = metrics
        .iter()
        .map(|(name, unit, _)| json!({ "Name": name, "Unit": unit }))
        .collect();
    let directive = json!({
        "Timestamp": now.unix_seconds() * 1000,
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [["FunctionName"]],
            "Metrics": definitions,
        }],
    });
    let mut line = Map::from_iter([
        ("_aws".to_owned(), directive),
        ("FunctionName".to_owned(), json!(function_name)),
    ]);
    for (name, _, value) in metrics {
        line.insert(name.to_owned(), json!(value));
    }
    // Properties, not metrics: CloudWatch Logs Insights can query them per CA at no cost.
    let properties = |ca: &AuditResponse| {
        let news = ca.read.as_ref().filter(|_| has_news(response, ca));
        json!({
            "id": ca.certificate_authority_arn.id(),
            "outcome": ca.outcome,
            "error": ca.error.as_ref().map(|error| error.kind.name()),
            "auditAgeMinutes": audit_age_minutes(ca, now),
            "newRevocations": news.map_or(0, |read| read.new_revocations),
        })
    };
    let all = &response.certificate_authorities;
    line.insert(
        "certificateAuthorities".to_owned(),
        all.iter().map(properties).collect(),
    );
    Value::Object(line)
}

/// Returns the values of [`METRICS`], in their order.
fn values(now: Timestamp, response: &Response, is_full: bool) -> [Option<f64>; METRICS.len()] {
    let all = &response.certificate_authorities;
    let outcome = |outcome| all.iter().filter(|ca| ca.outcome == outcome).count() as f64;
    let failures = |remedy| {
        let errors = all.iter().filter_map(|ca| ca.error.as_ref());
        errors.filter(|error| error.kind.remedy() == remedy).count() as f64
    };
    let stats = |value: fn(&AuditStats) -> f64| all.iter().map(|ca| value(&ca.stats)).sum::<f64>();
    let news = |value: fn(&AuditStats) -> u64| {
        let with_news = all.iter().filter(|ca| has_news(response, ca));
        with_news.map(|ca| value(&ca.stats) as f64).sum::<f64>()
    };
    let read = |value: fn(&ReportContents) -> u64| {
        let read = all.iter().filter_map(|ca| ca.read.as_ref());
        read.map(|read| value(read) as f64).sum::<f64>()
    };
    let published = read(|read| read.published);
    // One unknown age makes the oldest unknown: the alarm treats missing data as bad.
    let ages: Option<Vec<f64>> = all.iter().map(|ca| audit_age_minutes(ca, now)).collect();
    let oldest = ages.and_then(|ages| ages.into_iter().reduce(f64::max));
    [
        Some(outcome(Outcome::Audited)),
        Some(outcome(Outcome::Waiting)),
        Some(outcome(Outcome::TooSoon)),
        Some(outcome(Outcome::Busy)),
        Some(outcome(Outcome::Failed)),
        Some(failures(Remedy::Retry)),
        Some(failures(Remedy::Operator)),
        Some(read(|read| read.certificates)),
        Some(read(|read| read.revoked)),
        Some(news(|stats| stats.new_critical)),
        Some(news(|stats| stats.new_high)),
        Some(news(|stats| stats.new_low)),
        Some(if response.dry_run { 0.0 } else { published }),
        Some(stats(|stats| stats.report_bytes as f64)),
        Some(stats(|stats| stats.waited_seconds)),
        Some(stats(|stats| stats.scanned_seconds)),
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
