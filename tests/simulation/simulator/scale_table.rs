//! The table of `docs/scale.md`: what scale-out does and costs, beside one invocation for all CAs.

use std::time::Duration;

use local_aws::Service;
use pca_revocation_watch::text::numbers::with_separators;

use super::random::Audits;
use super::scale::{Figures, Scale};

/// A month in which costs are calculated.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

// Public prices of us-east-1 in 2026, in dollars, as in docs/operate.md. Free tiers are left out.
const PER_GB_SECOND: f64 = 0.000_013_333_4;
const PER_INVOCATION: f64 = 0.2e-6;
const PER_S3_WRITE: f64 = 5e-6;
const PER_S3_READ: f64 = 0.4e-6;
const PER_SQS_REQUEST: f64 = 0.4e-6;

/// Memory of the function, in GB.
const MEMORY: f64 = 0.25;

/// Receives that find nothing, if a queue is always empty: Lambda polls with five connections, each for
/// up to 20 s (AWS Lambda Developer Guide, "Using Lambda with Amazon SQS").
const IDLE_RECEIVES: f64 = 5.0 * 30.0 * 86_400.0 / 20.0;

type Column<'a> = &'a (Scale, Figures);

/// A row's name, and its value for a world.
type Row = (&'static str, fn(Column) -> String);

const ROWS: &[Row] = &[
    ("interval, minutes", |(scale, _)| {
        (scale.interval.as_secs() / 60).to_string()
    }),
    ("complete audits", |column| {
        per_interval(column, column.1.audits as f64)
    }),
    ("reports that failed", |column| {
        per_interval(column, column.1.failed_reports as f64)
    }),
    (
        "skipped: CAs for which no report was requested in an interval, sum",
        |(_, figures)| grouped(figures.skipped as f64),
    ),
    (
        "late: audits that ended later than one interval plus their report's generation time, sum",
        |(_, figures)| grouped(figures.late as f64),
    ),
    (
        "longest time between a report and the next complete audit, minutes",
        |(_, figures)| format!("{:.0}", figures.worst_age.as_secs_f64() / 60.0),
    ),
    ("invocations", |column| {
        per_interval(column, column.1.invocations as f64)
    }),
    ("longest invocation, s", |(_, figures)| {
        format!("{:.1}", figures.longest.as_secs_f64())
    }),
    ("paid seconds", |column| {
        per_interval(column, column.1.paid.as_secs_f64())
    }),
    ("`CreateCertificateAuthorityAuditReport`", |column| {
        requests(
            column,
            Service::PrivateCa,
            &["CreateCertificateAuthorityAuditReport"],
        )
    }),
    ("`DescribeCertificateAuthorityAuditReport`", |column| {
        requests(
            column,
            Service::PrivateCa,
            &["DescribeCertificateAuthorityAuditReport"],
        )
    }),
    ("`ListCertificateAuthorities`", |column| {
        requests(column, Service::PrivateCa, &["ListCertificateAuthorities"])
    }),
    ("throttled requests, sum", |(_, figures)| {
        grouped(figures.throttled as f64)
    }),
    ("S3 writes (`PutObject`, `ListObjectsV2`)", |column| {
        requests(column, Service::S3, S3_WRITES)
    }),
    ("S3 reads (`GetObject`, `HeadObject`)", |column| {
        requests(column, Service::S3, S3_READS)
    }),
    ("SQS sends (`SendMessage`, `SendMessageBatch`)", |column| {
        requests(column, Service::Sqs, SQS_SENDS)
    }),
    (
        "most S3 writes for an audit without new revocations",
        |(_, figures)| {
            let most = figures.writes.keys().max();
            most.copied().unwrap_or_default().to_string()
        },
    ),
    ("Lambda, a month", |column| dollars(lambda(column))),
    ("S3 requests, a month", |column| dollars(s3(column))),
    ("SQS requests, a month", |column| dollars(sqs(column))),
    ("**these three, a month**", |column| {
        format!("**{}**", dollars(lambda(column) + s3(column) + sqs(column)))
    }),
];

const S3_WRITES: &[&str] = &["PutObject", "ListObjectsV2"];
const S3_READS: &[&str] = &["GetObject", "HeadObject"];
const SQS_SENDS: &[&str] = &["SendMessage", "SendMessageBatch"];

/// Returns the lines of the table; numbers are averages of all intervals, or sums if a row says so.
pub fn lines(all: &[(Scale, Figures)]) -> Vec<String> {
    let heads = all.iter().map(|(scale, _)| {
        let how = match scale.audits {
            Audits::Inline => "one invocation",
            Audits::ScaledOut => "one per CA",
        };
        format!(
            "{} CAs, {how}",
            grouped(scale.certificate_authorities as f64)
        )
    });
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let mut lines = vec![
        line([String::new()].into_iter().chain(heads).collect()),
        line(
            ["---".to_owned()]
                .into_iter()
                .chain(all.iter().map(|_| "---:".to_owned()))
                .collect(),
        ),
    ];
    for (name, value) in ROWS {
        let values = all.iter().map(value);
        lines.push(line(
            [(*name).to_owned()].into_iter().chain(values).collect(),
        ));
    }
    lines
}

fn per_interval((_, figures): Column, sum: f64) -> String {
    grouped(sum / f64::from(figures.periods))
}

fn requests(column: Column, service: Service, operations: &[&str]) -> String {
    per_interval(column, count(column, service, operations))
}

fn count((_, figures): Column, service: Service, operations: &[&str]) -> f64 {
    let counts = operations
        .iter()
        .map(|operation| figures.count(service, operation));
    counts.sum::<u64>() as f64
}

/// Returns how many times the measured periods fit into a month.
fn months((scale, figures): Column) -> f64 {
    MONTH.as_secs_f64() / (scale.interval.as_secs_f64() * f64::from(figures.periods))
}

fn lambda(column: Column) -> f64 {
    let figures = &column.1;
    let seconds = figures.paid.as_secs_f64() * MEMORY * PER_GB_SECOND;
    months(column) * (seconds + figures.invocations as f64 * PER_INVOCATION)
}

fn s3(column: Column) -> f64 {
    let writes = count(column, Service::S3, S3_WRITES) * PER_S3_WRITE;
    let reads = count(column, Service::S3, S3_READS) * PER_S3_READ;
    months(column) * (writes + reads)
}

/// Each message is received and deleted once.
fn sqs(column: Column) -> f64 {
    if column.0.audits == Audits::Inline {
        return 0.0;
    }
    let sends = count(column, Service::Sqs, SQS_SENDS);
    let requests = sends + 2.0 * column.1.invocations as f64;
    (months(column) * requests + IDLE_RECEIVES) * PER_SQS_REQUEST
}

fn dollars(amount: f64) -> String {
    format!("${amount:.2}")
}

/// Formats a number without fraction, with a comma for each thousand.
fn grouped(number: f64) -> String {
    with_separators(number.round_ties_even() as u64)
}
