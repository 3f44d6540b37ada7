//! The metrics line: a golden file, and CloudWatch's schema of the embedded metric format.

use pca_revocation_watch::arn::CertificateAuthorityArn;
use pca_revocation_watch::error::{AuditError, ErrorKind};
use pca_revocation_watch::metrics;
use pca_revocation_watch::response::{
    AuditResponse, AuditStats, Outcome, ReportContents, Response,
};
use pca_revocation_watch::revocation::reason::RevocationReason;
use pca_revocation_watch::revocation::reason_counts::ReasonCounts;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};

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
        new: ReasonCounts::default(),
        unaudited_since: Some(at("2026-11-21T03:59:30Z")),
    };
    for reason in ["KEY_COMPROMISE", "UNSPECIFIED", "UNSPECIFIED"] {
        let reason = RevocationReason::from_report(reason);
        audited.stats.new.add(&reason);
    }
    let mut waiting = AuditResponse::new(arn('2'), Outcome::Waiting);
    waiting.stats.unaudited_since = Some(at("2026-11-21T03:00:00Z"));
    waiting.stats.waited_seconds = 880.0;
    let error = |kind| AuditError::new(kind, "message");
    let mut throttled = AuditResponse::failed(arn('3'), error(ErrorKind::Throttled));
    throttled.stats.unaudited_since = Some(at("2026-11-21T02:00:00Z"));
    let mut denied = AuditResponse::failed(arn('4'), error(ErrorKind::AccessDenied));
    denied.stats.unaudited_since = Some(at("2026-11-21T03:30:00Z"));
    Response::new(false, vec![audited, waiting, throttled, denied])
}

fn line(response: &Response, is_full: bool) -> Value {
    metrics::line("pca-revocation-watch", at(NOW), response, is_full)
}

#[test]
fn metrics_line_matches_the_golden_file() {
    let golden = include_str!("../data/metrics/run.json");
    let line = line(&response(), true);
    assert_eq!(
        serde_json::from_str::<Value>(golden).unwrap(),
        line,
        "{line:#}"
    );
}

#[test]
fn every_metrics_line_is_valid_embedded_metric_format() {
    let schema = include_str!("../data/metrics/embedded-metric-format.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    for response in [
        response(),
        Response::new(true, Vec::new()),
        Response::new(false, Vec::new()),
    ] {
        for is_full in [true, false] {
            let line = line(&response, is_full);
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
    let metrics = |line: &Value| {
        line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((metrics(&full), metrics(&unknown)), (17, 16));
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
