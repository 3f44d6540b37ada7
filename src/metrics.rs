//! The metrics of a run: one line in CloudWatch's embedded metric format.

use serde_json::{Map, Value, json};

use crate::error::Remedy;
use crate::response::{AuditResponse, AuditStats, Outcome, Response};
use crate::timestamp::Timestamp;

/// The namespace in CloudWatch.
pub const NAMESPACE: &str = "PcaRevocationWatch";

/// Every metric and its unit. Dimension is the function alone: one for each certificate authority
/// would cost as many metrics.
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
    // Minutes, a unit that CloudWatch does not know.
    (OLDEST_AUDIT_AGE, "None"),
];

/// Over all certificate authorities of a full run only: a narrowed one says nothing of the others.
pub const OLDEST_AUDIT_AGE: &str = "OldestAuditAgeMinutes";

/// Writes the line of a run to standard output, where Lambda hands it to CloudWatch Logs. Not a log
/// line: a level above INFO would filter it out.
pub fn emit(function_name: &str, now: Timestamp, response: &Response, is_full: bool) {
    println!("{}", line(function_name, now, response, is_full));
}

/// The line of a run (Amazon CloudWatch User Guide, "Specification: Embedded metric format").
pub fn line(function_name: &str, now: Timestamp, response: &Response, is_full: bool) -> Value {
    let cas = &response.certificate_authorities;
    let outcome = |outcome| cas.iter().filter(|ca| ca.outcome == outcome).count() as f64;
    let failures = |remedy| {
        cas.iter()
            .filter_map(|ca| ca.error.as_ref())
            .filter(|error| error.kind.remedy() == remedy)
            .count() as f64
    };
    let sum = |value: &dyn Fn(&AuditResponse) -> f64| cas.iter().map(value).sum::<f64>();
    // What a dry run finds is told later, what a replay tells was told before: neither is new now.
    let is_news = |ca: &AuditResponse| {
        !response.dry_run && ca.read.as_ref().is_some_and(|read| read.pending.is_none())
    };
    let news = |value: fn(&AuditStats) -> u64| {
        sum(&|ca| {
            if is_news(ca) {
                value(&ca.stats) as f64
            } else {
                0.0
            }
        })
    };
    let read = |value: fn(&crate::response::ReportContents) -> u64| {
        sum(&|ca| ca.read.as_ref().map_or(0, value) as f64)
    };
    // One age that is not known makes the oldest unknown: the alarm takes missing data as bad.
    let ages: Option<Vec<f64>> = cas.iter().map(|ca| audit_age_minutes(ca, now)).collect();
    let oldest = ages
        .and_then(|ages| ages.into_iter().reduce(f64::max))
        .filter(|_| is_full && !response.dry_run);
    let values = [
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
        Some(if response.dry_run {
            0.0
        } else {
            read(|read| read.published)
        }),
        Some(sum(&|ca| ca.stats.report_bytes as f64)),
        Some(sum(&|ca| ca.stats.waited_seconds)),
        Some(sum(&|ca| ca.stats.scanned_seconds)),
        oldest,
    ];
    let stated: Vec<_> = METRICS
        .iter()
        .zip(values)
        .filter_map(|(metric, value)| Some((*metric, value?)))
        .collect();
    let definitions: Vec<Value> = stated
        .iter()
        .map(|((name, unit), _)| json!({ "Name": name, "Unit": unit }))
        .collect();
    let mut line = Map::new();
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now.unix_seconds() * 1000,
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["FunctionName"]],
                "Metrics": definitions,
            }],
        }),
    );
    line.insert("FunctionName".to_owned(), json!(function_name));
    for ((name, _), value) in stated {
        line.insert(name.to_owned(), json!(value));
    }
    // Properties, not metrics: for CloudWatch Logs Insights, at no cost by certificate authority.
    line.insert(
        "certificateAuthorities".to_owned(),
        cas.iter()
            .map(|ca| {
                json!({
                    "id": ca.certificate_authority_arn.id(),
                    "outcome": ca.outcome,
                    "error": ca.error.as_ref().map(|error| error.kind.name()),
                    "auditAgeMinutes": audit_age_minutes(ca, now),
                    "newRevocations": ca.read.as_ref().filter(|_| is_news(ca)).map_or(0, |read| read.new_revocations),
                })
            })
            .collect(),
    );
    Value::Object(line)
}

fn audit_age_minutes(ca: &AuditResponse, now: Timestamp) -> Option<f64> {
    ca.unaudited_since
        .map(|at| now.since(at).as_secs() as f64 / 60.0)
}
