//! Peak memory and CPU time of the whole function, by the size of the report.
//!
//! `cargo bench --bench function` runs the release binary under the Lambda Runtime API against
//! emulators of AWS on loopback (plain HTTP) and prints two tables. Reports are generated while they
//! are sent, so that only the function is measured and nothing is written to disk. Linux only: it
//! reads `/proc`.
//!
//! `cargo bench --bench function -- hundred-million` audits reports of 100 million certificates, AWS's
//! limit, instead, each with a message of the audit queue. It takes many minutes.

mod process;
mod report;

use std::process::Stdio;
use std::time::{Duration, Instant};

use local_aws::{
    Fault, Generated, LocalAws, NextReport, On, Protocol, QueueSettings, ReportFormat, RuntimeApi,
    Subscription,
};
use pca_revocation_watch::arn::CertificateAuthorityArn;
use pca_revocation_watch::audit_message::AuditMessage;
use pca_revocation_watch::text::numbers::with_separators;
use report::Report;
use serde_json::{Value, json};
use tokio::process::Command;

const BUCKET: &str = "amzn-s3-demo-bucket";
const CA_ID: &str = "11223344-1234-1122-2233-112233445566";
const MILLION: u64 = 1_000_000;

/// Bytes after which a connection that breaks does so.
const GIGABYTE: u64 = 1_000_000_000;

/// Time of an invocation. Lambda's is 15 minutes at most; a busy machine may need longer.
const DEADLINE: Duration = Duration::from_secs(4 * 3600);

const NOTIFY_ALL: (&str, &str) = ("INITIAL_LOOKBACK_HOURS", "876000");
const NOTIFY_NONE: (&str, &str) = ("INITIAL_LOOKBACK_HOURS", "0");

/// The response of a run and what it took.
struct Measured {
    response: Value,
    seconds: f64,
    cpu_seconds: f64,
    peak_mib: f64,
}

#[tokio::main]
async fn main() {
    // Cargo itself passes `--bench`.
    let hundred_million = std::env::args().any(|argument| argument == "hundred-million");
    report::check_ranges("arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/1");
    if hundred_million {
        by_size(
            &[100 * MILLION],
            &[ReportFormat::Json, ReportFormat::Csv],
            Account::message,
            true,
        )
        .await;
    } else {
        let sizes = [1_000, 10_000, MILLION / 10, MILLION, 10 * MILLION];
        by_size(&sizes, &[ReportFormat::Json], |_| json!({}), false).await;
        by_notified_set().await;
    }
}

/// Prints what reports of these sizes take, with at most 10,000 revoked certificates that are all new.
async fn by_size(
    sizes: &[u64],
    formats: &[ReportFormat],
    event: impl Fn(&Account) -> Value,
    is_also_broken: bool,
) {
    println!(
        "| report | size | download | peak memory | CPU | duration |\n\
         | --- | ---: | --- | ---: | ---: | ---: |"
    );
    for (&certificates, &format) in sizes
        .iter()
        .flat_map(|size| formats.iter().map(move |format| (size, format)))
    {
        let report = Report {
            certificates,
            revoked: certificates.min(10_000),
            format,
        };
        let account = Account::new();
        let generated = report.generate(&account.ca);
        let prefix = format!("{report} | {} {format:?}", size(generated.length));
        let measured = account
            .audit(event(&account), report, generated.clone(), NOTIFY_ALL)
            .await;
        row(&format!("{prefix} | in one piece"), &measured);
        if is_also_broken {
            let account = Account::new();
            account.break_downloads();
            let measured = account
                .audit(event(&account), report, generated.clone(), NOTIFY_ALL)
                .await;
            assert_eq!(account.downloads(), generated.length.div_ceil(GIGABYTE));
            row(&format!("{prefix} | broke every gigabyte"), &measured);
        }
    }
}

/// Prints what a million revoked certificates take.
async fn by_notified_set() {
    println!(
        "\n| report | notified set | new | size | peak memory | CPU | duration |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |"
    );
    let all_revoked = |certificates| Report {
        certificates,
        revoked: certificates,
        format: ReportFormat::Json,
    };
    let million = all_revoked(MILLION);
    let one_more = all_revoked(MILLION + 1);
    for (notified, reports, variable) in [
        ("none (first audit, all old)", &[million][..], NOTIFY_NONE),
        ("1,000,000", &[million, one_more], NOTIFY_NONE),
        ("none", &[million], NOTIFY_ALL),
    ] {
        let account = Account::new();
        let mut last = None;
        for &report in reports {
            let generated = report.generate(&account.ca);
            let size = size(generated.length);
            let measured = account.audit(json!({}), report, generated, variable).await;
            last = Some((report, size, measured));
        }
        let (report, size, measured) = last.expect("there is a report");
        let new = &measured.response["certificateAuthorities"][0]["newRevocations"];
        let new = with_separators(new.as_u64().expect("a number"));
        row(
            &format!("{report} | {notified} | {new} | {size}"),
            &measured,
        );
    }
}

fn row(prefix: &str, measured: &Measured) {
    println!(
        "| {prefix} | {:.1} MiB | {:.2} s | {:.0} s |",
        measured.peak_mib, measured.cpu_seconds, measured.seconds
    );
}

/// Formats a size in bytes.
fn size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1e8 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.2} GB", bytes / 1e9),
    }
}

/// An account with one CA.
struct Account {
    aws: LocalAws,
    ca: String,
    topic: String,
    queue: String,
}

impl Account {
    fn new() -> Self {
        let aws = LocalAws::new();
        aws.s3().create_bucket(BUCKET);
        let ca = aws
            .private_ca()
            .create_with_id(CA_ID, "Example Corp Issuing CA");
        aws.private_ca()
            .set_reports(|reports| reports.interval = Duration::ZERO);
        let topic = aws.sns().create_topic("revocations");
        aws.sns()
            .subscribe(&topic, Subscription::new(Protocol::Sqs, "siem"))
            .expect("a standard topic takes a queue");
        let queue = aws.sqs().create_queue("audits", QueueSettings::default());
        Self {
            aws,
            ca,
            topic,
            queue,
        }
    }

    /// Closes the connection of every download of a report after a gigabyte.
    fn break_downloads(&self) {
        let downloads = On::operation("GetObject").key_contains("audit-report/");
        let fault = Fault::CutBody { after: GIGABYTE };
        self.aws.inject(downloads.always(), fault);
    }

    /// Returns the number of requests for a report's bytes.
    fn downloads(&self) -> u64 {
        let calls = self.aws.calls_of("GetObject");
        let downloads = calls.iter().filter(|call| {
            call.key
                .as_deref()
                .is_some_and(|key| key.contains("audit-report/"))
        });
        downloads.count() as u64
    }

    /// Returns the delivery of a message of the audit queue that audits the CA.
    fn message(&self) -> Value {
        let now = self.aws.clock().now();
        let ca = CertificateAuthorityArn::parse(&self.ca).expect("an ARN");
        json!({ "Records": [{
            "messageId": "1",
            "body": AuditMessage::audit(now.into(), ca, None).to_json(),
            "attributes": { "ApproximateReceiveCount": "1" },
        }] })
    }

    /// Returns the control document.
    fn control(&self) -> Value {
        let key = format!("revocation-watch/{CA_ID}.json");
        let control = self.aws.s3().get(BUCKET, &key).expect("there is a state");
        serde_json::from_slice(&control).expect("the state is JSON")
    }

    /// Audits the CA in a new process.
    async fn audit(
        &self,
        event: Value,
        report: Report,
        generated: Generated,
        variable: (&str, &str),
    ) -> Measured {
        self.aws
            .private_ca()
            .next_report(&self.ca, NextReport::new().content(generated));
        let format = report.format.extension().to_uppercase();
        let variables = [
            ("REPORT_FORMAT", format.as_str()),
            ("AUDIT_QUEUE_URL", &self.queue),
            ("AUDIT_DEAD_LETTER_QUEUE_URL", &self.queue),
            variable,
        ];
        let measured = self.run(event, &variables).await;
        // The response to a message does not show the audit.
        let audit = &self.control()["lastCompleteAudit"];
        assert_eq!(audit["certificates"], json!(report.certificates));
        assert_eq!(audit["revoked"], json!(report.revoked));
        measured
    }

    async fn run(&self, event: Value, variables: &[(&str, &str)]) -> Measured {
        let server = self.aws.serve().await.expect("loopback can be bound");
        let runtime = RuntimeApi::serve().await.expect("loopback can be bound");
        let function = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
            .env_clear()
            .envs(runtime.environment(128))
            .env("AWS_ENDPOINT_URL", server.endpoint_url())
            .env("CERTIFICATE_AUTHORITY_ARNS", &self.ca)
            .env("REPORT_BUCKET", BUCKET)
            .env("TOPIC_ARN", &self.topic)
            .env("REPORT_INTERVAL_SECONDS", "0")
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the function's binary starts");
        let process = function.id().expect("it runs");
        let started = Instant::now();
        let response = runtime
            .invoke(event, DEADLINE)
            .await
            .expect("the function responds");
        Measured {
            response,
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: process::cpu_seconds(process),
            peak_mib: process::peak_mib(process),
        }
    }
}
