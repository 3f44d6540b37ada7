//! The metrics of a run: one line in CloudWatch's embedded metric format.

use serde_json::{Map, Value, json};

use crate::config::Monitoring;
use crate::error::Remedy;
use crate::response::{AuditResponse, Outcome, ReportContents, Response};
use crate::revocation::reason::Severity;
use crate::timestamp::Timestamp;

/// The CloudWatch namespace.
pub const NAMESPACE: &str = "PcaRevocationWatch";

/// The metrics that the template's alarms use: the only ones with [`Monitoring::Basic`].
pub const ALARM_METRICS: [&str; 5] = [
    "AuditsFailed",
    "DispatchErrors",
    "HealthErrors",
    "OldestAuditAgeMinutes",
    "ShrunkenReports",
];

/// Returns a run's line (Amazon CloudWatch User Guide, "Specification: Embedded metric format").
///
/// Values that are no metrics with this `monitoring` are properties of the line.
pub(crate) fn line(
    function_name: &str,
    now: Timestamp,
    response: &Response,
    is_full: bool,
    monitoring: Monitoring,
) -> Value {
    let mut definitions = Vec::new();
    let mut line = Map::new();
    for (name, unit, value) in metrics(now, response, is_full) {
        if monitoring == Monitoring::Full || ALARM_METRICS.contains(&name) {
            definitions.push(json!({ "Name": name, "Unit": unit }));
        }
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
        new.map(|ca| ca.stats.new[severity as usize]).sum::<u64>() as f64
    };
    let published = if response.dry_run {
        0.0
    } else {
        read(|read| read.published)
    };
    let shrunken = sum(&|ca| f64::from(ca.stats.has_shrunk));
    let bytes = sum(&|ca| ca.stats.report_bytes as f64);
    let waited = sum(&|ca| ca.stats.waited_seconds);
    let scanned = sum(&|ca| ca.stats.scanned_seconds);
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
        ("ShrunkenReports", "Count", shrunken),
        ("NewRevocationsCritical", "Count", news(Severity::Critical)),
        ("NewRevocationsHigh", "Count", news(Severity::High)),
        ("NewRevocationsLow", "Count", news(Severity::Low)),
        ("Published", "Count", published),
        ("ReportBytes", "Bytes", bytes),
        ("WaitSeconds", "Seconds", waited),
        ("ScanSeconds", "Seconds", scanned),
    ];
    let health_errors = response.health_errors.map(f64::from);
    metrics.extend(health_errors.map(|errors| ("HealthErrors", "Count", errors)));
    // Only of dispatches: each metric costs money every month.
    if let Some(errors) = response.dispatch_errors {
        metrics.push(("AuditsQueued", "Count", response.sent_audits as f64));
        metrics.push(("DispatchErrors", "Count", f64::from(errors)));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arn::CertificateAuthorityArn;
    use crate::error::{AuditError, ErrorKind};
    use crate::response::AuditStats;

    const NOW: &str = "2026-11-21T04:00:00Z";

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a timestamp")
    }

    fn arn(first: char) -> CertificateAuthorityArn {
        let id = "11223344-1234-1122-2233-112233445566".replace('1', &first.to_string());
        CertificateAuthorityArn::from_parts("aws", "us-east-1", "123456789012", &id)
    }

    fn response() -> Response {
        let mut audited = AuditResponse::new(arn('1'), Outcome::Audited);
        audited.read = Some(ReportContents {
            certificates: 2_000,
            revoked: 20,
            new_revocations: 4,
            published: 3,
            ..ReportContents::default()
        });
        audited.stats = AuditStats {
            waited_seconds: 1.5,
            scanned_seconds: 0.25,
            report_bytes: 1_000_000,
            new: [0, 2, 1],
            unaudited_since: Some(at("2026-11-21T03:59:30Z")),
            has_shrunk: true,
        };
        let mut waiting = AuditResponse::new(arn('2'), Outcome::Waiting);
        waiting.stats.unaudited_since = Some(at("2026-11-21T03:00:00Z"));
        waiting.stats.waited_seconds = 880.0;
        let error = |kind| AuditError::new(kind, "message");
        let mut throttled = AuditResponse::failed(arn('3'), error(ErrorKind::Throttled));
        throttled.stats.unaudited_since = Some(at("2026-11-21T02:00:00Z"));
        let mut denied = AuditResponse::failed(arn('4'), error(ErrorKind::AccessDenied));
        denied.stats.unaudited_since = Some(at("2026-11-21T03:30:00Z"));
        let mut response = Response::new(false, vec![audited, waiting, throttled, denied]);
        response.health_errors = Some(true);
        response
    }

    fn line(response: &Response, is_full: bool) -> Value {
        line_with(Monitoring::Full, response, is_full)
    }

    fn line_with(monitoring: Monitoring, response: &Response, is_full: bool) -> Value {
        super::line(
            "pca-revocation-watch",
            at(NOW),
            response,
            is_full,
            monitoring,
        )
    }

    /// Returns the names of the metrics in the directive.
    fn metric_names(line: &Value) -> Vec<&str> {
        let metrics = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        let metrics = metrics.as_array().unwrap().iter();
        metrics
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn metrics_line_matches_the_golden_file() {
        let golden = include_str!("../tests/data/metrics/run.json");
        let line = line(&response(), true);
        assert_eq!(
            serde_json::from_str::<Value>(golden).unwrap(),
            line,
            "{line:#}"
        );
    }

    #[test]
    fn every_metrics_line_is_valid_embedded_metric_format() {
        let schema = include_str!("../tests/data/metrics/embedded-metric-format.schema.json");
        let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
        for response in [
            response(),
            Response::new(true, Vec::new()),
            Response::new(false, Vec::new()),
        ] {
            for (is_full, monitoring) in [
                (true, Monitoring::Full),
                (false, Monitoring::Full),
                (true, Monitoring::Basic),
                (false, Monitoring::Basic),
            ] {
                let line = line_with(monitoring, &response, is_full);
                assert!(schema.is_valid(&line), "{line:#}");
                // Each metric and dimension named in the directive is a top-level member.
                let directive = &line["_aws"]["CloudWatchMetrics"][0];
                for metric in directive["Metrics"].as_array().unwrap() {
                    assert!(
                        line[metric["Name"].as_str().unwrap()].is_number(),
                        "{metric}"
                    );
                }
                for dimension in directive["Dimensions"][0].as_array().unwrap() {
                    assert!(line[dimension.as_str().unwrap()].is_string(), "{dimension}");
                }
            }
        }
    }

    #[test]
    fn oldest_age_needs_a_full_run_and_every_age_known() {
        let full = line(&response(), true);
        assert_eq!(full["OldestAuditAgeMinutes"], json!(120.0));
        let narrowed = line(&response(), false);
        assert_eq!(narrowed["OldestAuditAgeMinutes"], Value::Null);
        let mut unknown = response();
        unknown.certificate_authorities[3].stats.unaudited_since = None;
        let unknown = line(&unknown, true);
        assert_eq!(unknown["OldestAuditAgeMinutes"], Value::Null);
        let metrics = |line: &Value| metric_names(line).len();
        assert_eq!((metrics(&full), metrics(&unknown)), (19, 18));
    }

    #[test]
    fn basic_monitoring_sends_the_metrics_of_alarms_only() {
        let mut response = response();
        response.dispatch_errors = Some(false);
        let full = line(&response, true);
        let mut basic = line_with(Monitoring::Basic, &response, true);
        let mut names = metric_names(&basic);
        names.sort_unstable();
        assert_eq!(names, ALARM_METRICS);
        // The others stay in the line.
        basic["_aws"] = full["_aws"].clone();
        assert_eq!(basic, full);
    }

    #[test]
    fn health_errors_are_absent_if_the_run_compared_nothing() {
        let mut response = response();
        for (errors, value) in [(Some(false), json!(0.0)), (None, Value::Null)] {
            response.health_errors = errors;
            assert_eq!(line(&response, true)["HealthErrors"], value);
        }
    }

    #[test]
    fn only_dispatches_count_queued_audits() {
        let mut response = response();
        assert_eq!(line(&response, true)["AuditsQueued"], Value::Null);
        // Another CA waits for the next dispatch.
        for ca in &mut response.certificate_authorities[1..3] {
            ca.outcome = Outcome::Queued;
        }
        response.dispatch_errors = Some(true);
        response.sent_audits = 1;
        let line = line(&response, true);
        assert_eq!(line["AuditsQueued"], json!(1.0));
        assert_eq!(line["DispatchErrors"], json!(1.0));
    }

    #[test]
    fn dry_runs_and_replays_count_no_new_revocations() {
        let mut dry_run = response();
        dry_run.dry_run = true;
        let mut replay = response();
        replay.certificate_authorities[0]
            .read
            .as_mut()
            .unwrap()
            .pending = Some(0);
        for (response, published) in [(dry_run, 0.0), (replay, 3.0)] {
            let line = line(&response, true);
            for metric in [
                "NewRevocationsCritical",
                "NewRevocationsHigh",
                "NewRevocationsLow",
            ] {
                assert_eq!(line[metric], json!(0.0), "{line:#}");
            }
            assert_eq!(
                line["certificateAuthorities"][0]["newRevocations"],
                json!(0)
            );
            assert_eq!(line["Published"], json!(published));
        }
    }
}
