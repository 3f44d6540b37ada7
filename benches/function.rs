//! Peak memory and CPU time of the whole function, by the size of the report.
//!
//! `cargo bench --bench function` runs the release binary under the Lambda Runtime API against
//! emulators of AWS on loopback (plain HTTP) and prints a table. Reports are generated while they
//! are sent, so that only the function is measured. Linux only: it reads `/proc`.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use local_aws::{Generated, LocalAws, NextReport, Pieces, Protocol, RuntimeApi, Subscription};
use serde_json::{Value, json};
use tokio::process::Command;

const BUCKET: &str = "amzn-s3-demo-bucket";
const AN_HOUR: Duration = Duration::from_secs(3600);
const MILLION: u64 = 1_000_000;

/// A report in which the revoked certificates are evenly distributed.
#[derive(Clone, Copy)]
struct Report {
    certificates: u64,
    revoked: u64,
}

/// The response of a run and what it took.
struct Measured {
    response: Value,
    seconds: f64,
    cpu_seconds: f64,
    peak_mib: f64,
}

#[tokio::main]
async fn main() {
    println!(
        "| report | in the state | new | JSON | peak memory | CPU | wall |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    );
    let few = |certificates| Report {
        certificates,
        revoked: 10_000,
    };
    for report in [few(MILLION / 10), few(MILLION), few(10 * MILLION)] {
        measure("none", &[report], NOTIFY_ALL).await;
    }
    let all_revoked = Report {
        certificates: MILLION,
        revoked: MILLION,
    };
    let one_more = Report {
        certificates: MILLION + 1,
        revoked: MILLION + 1,
    };
    measure("none (first audit, all old)", &[all_revoked], NOTIFY_NONE).await;
    measure("a million notified", &[all_revoked, one_more], NOTIFY_NONE).await;
    measure("none", &[all_revoked], NOTIFY_ALL).await;
}

const NOTIFY_ALL: (&str, &str) = ("INITIAL_LOOKBACK_HOURS", "876000");
const NOTIFY_NONE: (&str, &str) = ("INITIAL_LOOKBACK_HOURS", "0");

/// Audits the reports one after the other, each in a new process, and prints the last.
async fn measure(in_state: &str, reports: &[Report], variable: (&str, &str)) {
    let aws = LocalAws::new();
    aws.s3().create_bucket(BUCKET);
    let ca = aws.private_ca().create("Example Corp Issuing CA");
    aws.private_ca()
        .set_reports(|reports| reports.interval = Duration::ZERO);
    let topic = aws.sns().create_topic("revocations");
    aws.sns()
        .subscribe(&topic, Subscription::new(Protocol::Sqs, "siem"))
        .expect("a standard topic takes a queue");
    let mut last = None;
    for &report in reports {
        let generated = generated(&ca, report);
        let bytes = generated.length;
        aws.private_ca()
            .next_report(&ca, NextReport::new().content(generated));
        last = Some((report, bytes, run(&aws, &ca, &topic, variable).await));
    }
    let (report, bytes, taken) = last.expect("there is a report");
    let audit = &taken.response["certificateAuthorities"][0];
    assert_eq!(audit["outcome"], "audited", "{:#}", taken.response);
    assert_eq!(audit["certificates"], json!(report.certificates));
    assert_eq!(audit["revoked"], json!(report.revoked));
    println!(
        "| {} certificates, {} revoked | {in_state} | {} | {:.2} GB | {:.1} MiB | {:.2} s | {:.1} s |",
        report.certificates,
        report.revoked,
        audit["newRevocations"],
        bytes as f64 / 1e9,
        taken.peak_mib,
        taken.cpu_seconds,
        taken.seconds,
    );
}

async fn run(aws: &LocalAws, ca: &str, topic: &str, variable: (&str, &str)) -> Measured {
    let server = aws.serve().await.expect("loopback can be bound");
    let runtime = RuntimeApi::serve().await.expect("loopback can be bound");
    let function = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", runtime.address())
        .env("AWS_LAMBDA_FUNCTION_NAME", "pca-revocation-watch")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env(
            "AWS_SECRET_ACCESS_KEY",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        )
        .env("AWS_ENDPOINT_URL", server.endpoint_url())
        .env("CERTIFICATE_AUTHORITY_ARNS", ca)
        .env("REPORT_BUCKET", BUCKET)
        .env("TOPIC_ARN", topic)
        .env("REPORT_INTERVAL_SECONDS", "0")
        .env(variable.0, variable.1)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the function's binary starts");
    let process = function.id().expect("it runs");
    let started = Instant::now();
    let response = runtime
        .invoke(json!({}), AN_HOUR)
        .await
        .expect("the function responds");
    Measured {
        response,
        seconds: started.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds(process),
        peak_mib: peak_mib(process),
    }
}

/// Returns the peak resident memory of the process (`VmHWM`, proc(5)).
fn peak_mib(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("this is Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("the kernel states it") / 1024.0
}

/// Returns user and system time of the process (`utime` and `stime`, proc(5), in hundredths of a
/// second).
fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("this is Linux");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|t| t.parse::<u64>().ok())
        .sum();
    ticks as f64 / 100.0
}

fn generated(ca: &str, report: Report) -> Generated {
    let ca = ca.to_owned();
    Generated::measured(Generated::skipping(move || pieces(ca.clone(), report)))
}

/// Returns the report's bytes, 128 records at a time.
fn pieces(ca: String, report: Report) -> Pieces {
    const RECORDS: u64 = 128;
    let revoked_up_to = move |number: u64| number * report.revoked / report.certificates;
    let starts = (0..report.certificates).step_by(RECORDS as usize);
    Box::new(starts.map(move |start| {
        let mut text = String::with_capacity(700 * RECORDS as usize);
        text.push_str(if start == 0 { "[ {" } else { "" });
        for number in start..(start + RECORDS).min(report.certificates) {
            let is_revoked = revoked_up_to(number + 1) > revoked_up_to(number);
            push_record(&mut text, &ca, number, is_revoked);
            text.push_str(if number + 1 == report.certificates {
                "\n} ]"
            } else {
                "\n}, {"
            });
        }
        Bytes::from(text)
    }))
}

fn push_record(text: &mut String, ca: &str, number: u64, is_revoked: bool) {
    use std::fmt::Write as _;
    // Multiplying by an odd number distributes the serials over all values without duplicates.
    let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let serial = format!("{high:016x}{number:016x}");
    let colons: Vec<&str> = (0..16).map(|at| &serial[2 * at..2 * at + 2]).collect();
    write!(
        text,
        "\n  \"awsAccountId\" : \"123456789012\",\n  \"certificateArn\" : \"{ca}/certificate/{serial}\",\n  \
         \"serial\" : \"{}\",\n  \"subject\" : \"CN=host-{number}.example.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US\",\n  \
         \"notBefore\" : \"2026-02-26T18:39:57+0000\",\n  \"notAfter\" : \"2027-02-26T19:39:57+0000\",\n  \
         \"issuedAt\" : \"2026-02-26T19:39:58+0000\",\n  \"templateArn\" : \"arn:aws:acm-pca:::template/EndEntityCertificate/V1\"",
        colons.join(":")
    )
    .expect("writing to a string succeeds");
    if is_revoked {
        text.push_str(
            ",\n  \"revokedAt\" : \"2026-03-01T20:00:36+0000\",\n  \"revocationReason\" : \"SUPERSEDED\"",
        );
    }
}
