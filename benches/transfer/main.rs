//! CPU time of an audit compared with that of a plain download, over TLS.
//!
//! `cargo bench --bench transfer` serves a report of 10 million certificates from a process of its own
//! (TLS 1.3, CRC-64/NVME as S3 states it) and measures three processes, which take turns:
//!
//! 1. the whole function: the release binary under the Lambda Runtime API;
//! 2. receive only: the same SDK downloads the object and verifies its checksum;
//! 3. `curl` to `/dev/null`, which verifies nothing.
//!
//! It prints the median, lowest and highest CPU time (user and system) of each. `--rounds` and
//! `--certificates` take other numbers than 5 and 10,000,000. Needs Linux (it reads `/proc`), `curl` and
//! `openssl`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::config::{Credentials, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use local_aws::RuntimeApi;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use self::generate::Layout;

#[allow(dead_code, reason = "this benchmark uses a part of it")]
#[path = "../../examples/scan_report/generate.rs"]
mod generate;
mod server;

const BUCKET: &str = "amzn-s3-demo-bucket";
const REGION: &str = "us-east-1";
const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const AN_HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy)]
struct Options {
    rounds: usize,
    certificates: u64,
}

/// What the server offers, and where.
struct Served {
    endpoint: String,
    certificate: String,
    topic: String,
    process: Child,
}

/// A report on the server.
struct Report {
    layout: Layout,
    ca: String,
    bytes: u64,
    certificates: u64,
}

/// The CPU seconds of each round.
#[derive(Default)]
struct Measured {
    whole: Vec<f64>,
    receive: Vec<f64>,
    curl: Vec<f64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let mut after = arguments.iter().skip_while(|argument| *argument != name);
        after.nth(1).map_or(default, |number| {
            number.parse().expect("the option's value is a number")
        })
    };
    let options = Options {
        rounds: number("--rounds", 5) as usize,
        certificates: number("--certificates", 10_000_000),
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    match arguments.first().map(String::as_str) {
        Some("serve") => server::serve(directory, options).await,
        Some("receive") => receive(&arguments[1]).await,
        _ => measure(directory, options).await,
    }
}

async fn measure(directory: &Path, options: Options) {
    make_certificate(directory).await;
    let (served, reports) = start_server(directory, options).await;
    println!(
        "| report | program | CPU | lowest and highest | GB per CPU second | times receiving only |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: |");
    for report in reports {
        // The first audit records the revocations; the measured ones find nothing new.
        whole(&served, &report).await;
        let mut measured = Measured::default();
        for _ in 0..options.rounds {
            measured.whole.push(whole(&served, &report).await);
            measured
                .receive
                .push(cpu_seconds(own(&served, &["receive", report.layout.name()])).await);
            measured
                .curl
                .push(cpu_seconds(curl(&served, &report).await).await);
        }
        print(&report, measured);
    }
    drop(served.process);
}

/// Makes the server's key and certificate.
async fn make_certificate(directory: &Path) {
    let made = Command::new("openssl")
        .current_dir(directory)
        .args(["req", "-x509", "-newkey", "ec", "-noenc", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .output()
        .await
        .expect("openssl is installed");
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "openssl failed: {errors}");
}

async fn start_server(directory: &Path, options: Options) -> (Served, Vec<Report>) {
    let mut process = Command::new(std::env::current_exe().expect("Linux knows it"))
        .arg("serve")
        .args(["--rounds", &options.rounds.to_string()])
        .args(["--certificates", &options.certificates.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts");
    let output = BufReader::new(process.stdout.take().expect("it is piped"));
    let line = output.lines().next_line().await.expect("it is text");
    let line: Value = serde_json::from_str(&line.expect("the server starts")).expect("it is JSON");
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    let served = Served {
        endpoint: text(&line["endpoint"]),
        certificate: directory.join("certificate.pem").display().to_string(),
        topic: text(&line["topic"]),
        process,
    };
    let layouts = [Layout::JsonIndented, Layout::Csv].into_iter().enumerate();
    let reports = layouts.map(|(at, layout)| {
        let report = &line["reports"][at];
        let number = |name: &str| report[name].as_u64().expect("a number");
        Report {
            layout,
            ca: text(&report["ca"]),
            bytes: number("bytes"),
            certificates: number("certificates"),
        }
    });
    (served, reports.collect())
}

/// Audits the report with the function's binary; returns its CPU seconds.
async fn whole(served: &Served, report: &Report) -> f64 {
    let runtime = RuntimeApi::serve().await.expect("loopback can be bound");
    let format = match report.layout {
        Layout::Csv => "CSV",
        _ => "JSON",
    };
    let before = reaped_cpu_seconds();
    let mut function = with_aws(Command::new(env!("CARGO_BIN_EXE_bootstrap")), served)
        .envs(runtime.environment(128))
        .env("CERTIFICATE_AUTHORITY_ARNS", &report.ca)
        .env("REPORT_BUCKET", BUCKET)
        .env("REPORT_FORMAT", format)
        .env("TOPIC_ARN", &served.topic)
        .env("REPORT_INTERVAL_SECONDS", "0")
        .env("INITIAL_LOOKBACK_HOURS", "0")
        .stdout(Stdio::null())
        .spawn()
        .expect("the function's binary starts");
    let response = runtime
        .invoke(json!({}), AN_HOUR)
        .await
        .expect("the function responds");
    function.kill().await.expect("it runs");
    let audit = &response["certificateAuthorities"][0];
    assert_eq!(audit["outcome"], "audited", "{response:#}");
    let certificates = json!(report.certificates);
    assert_eq!(audit["certificates"], certificates, "{response:#}");
    assert_eq!(audit["revoked"], json!(10_000), "{response:#}");
    reaped_cpu_seconds() - before
}

/// Downloads the object and verifies its checksum, as the SDK does by default.
async fn receive(key: &str) {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let object = aws_sdk_s3::Client::new(&config).get_object();
    let object = object.bucket(BUCKET).key(key).send().await;
    let object = object.expect("the object can be read");
    assert!(
        object.checksum_crc64_nvme().is_some(),
        "S3 states a checksum"
    );
    let (mut body, mut received, expected) = (object.body, 0, object.content_length);
    while let Some(chunk) = body.next().await {
        received += chunk.expect("length and checksum are right").len() as i64;
    }
    assert_eq!(Some(received), expected);
}

/// Returns this program with other arguments, as a client of the server.
fn own(served: &Served, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("Linux knows it"));
    command.args(arguments);
    with_aws(command, served)
}

async fn curl(served: &Served, report: &Report) -> Command {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "benchmark");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(&served.endpoint)
        .credentials_provider(credentials)
        .build();
    let object = aws_sdk_s3::Client::from_conf(config).get_object();
    let expires = PresigningConfig::expires_in(AN_HOUR).expect("it is less than a week");
    let object = object.bucket(BUCKET).key(report.layout.name());
    let url = object.presigned(expires).await.expect("it can be signed");
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--output",
            "/dev/null",
        ])
        .args(["--cacert", &served.certificate])
        .arg(url.uri());
    command
}

/// Adds the server as AWS to the environment of a command, which is otherwise empty.
fn with_aws(mut command: Command, served: &Served) -> Command {
    command
        .env_clear()
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
        .env("AWS_ENDPOINT_URL", &served.endpoint)
        .env("SSL_CERT_FILE", &served.certificate)
        .kill_on_drop(true);
    command
}

/// Runs a command to its end; returns its CPU seconds.
async fn cpu_seconds(mut command: Command) -> f64 {
    let before = reaped_cpu_seconds();
    let status = command.status().await.expect("the program is installed");
    assert!(status.success(), "{command:?}: {status}");
    reaped_cpu_seconds() - before
}

/// Returns user and system time of all child processes that were waited for (`cutime` and `cstime`,
/// proc(5), in hundredths of a second).
fn reaped_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let times = after_name.split_whitespace().skip(13).take(2);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn print(report: &Report, measured: Measured) {
    let gigabytes = report.bytes as f64 / 1e9;
    let name = match report.layout {
        Layout::Csv => "CSV",
        _ => "JSON",
    };
    let receive = Spread::of(measured.receive);
    for (program, spread) in [
        ("the whole function", Spread::of(measured.whole)),
        ("the SDK, receiving and verifying only", receive),
        ("`curl` to `/dev/null`", Spread::of(measured.curl)),
    ] {
        let Spread {
            lowest,
            median,
            highest,
        } = spread;
        println!(
            "| {name}, {gigabytes:.2} GB | {program} | {median:.2} s | {lowest:.2} to {highest:.2} s | {:.2} | {:.2} |",
            gigabytes / median,
            median / receive.median
        );
    }
}

/// How far the numbers of several rounds are apart.
#[derive(Clone, Copy)]
struct Spread {
    lowest: f64,
    median: f64,
    highest: f64,
}

impl Spread {
    fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        Self {
            lowest: numbers[0],
            median: numbers[numbers.len() / 2],
            highest: numbers[numbers.len() - 1],
        }
    }
}
