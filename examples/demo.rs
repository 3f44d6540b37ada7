//! Shows what the function does, on one machine and without an AWS account.
//!
//! `cargo run --example demo` shows a first audit, a revocation, and the messages that it causes.
//! `cargo run --example demo -- --report FILE` shows the messages for an audit report of your own.
//!
//! The emulators of `local-aws` run on loopback. The function is the real one, in a process of its own
//! under the Lambda Runtime API: this program starts itself again for it.

use std::error::Error;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use local_aws::{
    AcmCertificate, Certificate, Delivery, LocalAws, NextReport, Profile, Protocol, Quotas,
    RevocationConfiguration, RuntimeApi, Server, Settings, Subscription,
};
use pca_revocation_watch::arn::CertificateAuthorityArn;
use pca_revocation_watch::report::scanner::ReportScanner;
use pca_revocation_watch::report_format::ReportFormat;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const BUCKET: &str = "amzn-s3-demo-bucket";
const GUIDES_CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
const DEVICE_CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/22334455-1234-1122-2233-112233445566";

/// Serial of the certificate whose key leaks.
const LEAKED: &str = "2b:ae:9a:75:d7:1b:42:b4:e4:1e:36:f8:b4:b4:88:fc";

/// Serial of another certificate with the same key.
const SAME_KEY: &str = "7c:41:0d:5e:93:b2:4a:1f:8e:60:c7:35:da:12:f4:09";

const LOAD_BALANCER: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/prod-web/50dc6c495c0c9188";
const ACM_CERTIFICATE: &str =
    "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012";
const USAGE: &str = "usage: cargo run --example demo [-- --report FILE]
FILE is an audit report that you downloaded from AWS Private CA, ending in .json or .csv.";

/// Maximum lines of a message or a response that are shown.
const MAX_SHOWN_LINES: usize = 120;

/// Maximum log lines about single revocations that are shown in a row.
const MAX_SHOWN_REVOCATIONS: u64 = 5;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let shown = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        _ if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() => {
            pca_revocation_watch::runtime::run().await
        }
        [] => guided_tour().await,
        ["--report", file] => own_report(PathBuf::from(file)).await,
        _ => Err(USAGE.into()),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Shows four runs: the first audits, a leaked key, a revocation that no client can learn of, and a run
/// without new revocations.
async fn guided_tour() -> Result<()> {
    println!(
        "pca-revocation-watch on this machine: the real function, with emulators of AWS Private CA, S3,\n\
         SNS, CloudTrail, ACM and Lambda. Nothing leaves this machine."
    );
    let cas = format!("{GUIDES_CA},{DEVICE_CA}");
    let cas = [("CERTIFICATE_AUTHORITY_ARNS", cas.as_str())];
    let mut stage = Stage::set(GUIDES_CA, "Example Corp Issuing CA", &cas).await?;
    let device = issue_certificates(&stage.aws)?;
    first_audits(&mut stage).await?;
    key_leaks(&mut stage).await?;
    no_client_can_learn_of_it(&mut stage, &device).await?;

    chapter("4. The run after that");
    println!("There are no new revocations, so the function sends nothing:\n");
    stage.invoke(json!({})).await?;
    let sent = stage.aws.sns().messages().len();
    println!("\nMessages sent: {sent}");
    chapter("Next steps");
    println!(
        "See other messages:            cargo run --example messages -- seven email.txt\n\
         Try an audit report you have:  cargo run --example demo -- --report FILE\n\
         Deploy it:                     README.md, section \"Deploy it\""
    );
    Ok(())
}

async fn first_audits(stage: &mut Stage) -> Result<()> {
    chapter("1. The first audits");
    println!(
        "Example Corp Issuing CA has issued the two sample certificates of the AWS Private CA User Guide,\n\
         one of them revoked in 2018, and a third one. Example Corp Device CA has issued one certificate.\n\
         Private CA takes two seconds to write an audit report.\n"
    );
    stage.next_report(NextReport::new().delay(Duration::from_secs(2)));
    stage.invoke(json!({})).await?;
    stage.show_emails();
    Ok(())
}

async fn key_leaks(stage: &mut Stage) -> Result<()> {
    chapter("2. A private key leaks, and its certificate is revoked");
    println!(
        "The certificate is on a load balancer, and another certificate has the same key.\n\n\
         $ aws acm-pca revoke-certificate --certificate-serial {LEAKED} \\\n\
         \x20     --revocation-reason KEY_COMPROMISE ...\n\n\
         The next audit, 30 minutes later (the demo does not wait for it), looks up who revoked the\n\
         certificate, where it is in use, what else is affected, and whether clients can learn of it:\n"
    );
    let pca = stage.aws.private_ca();
    pca.revoke(GUIDES_CA, LEAKED, "KEY_COMPROMISE");
    stage.next_report(NextReport::new().delay(Duration::from_secs(1)));
    let one = json!({ "certificateAuthorityArns": [GUIDES_CA] });
    let response = stage.invoke(one).await?;
    stage.show_emails();
    stage.show(Protocol::Sms, "SMS");
    stage.show_for_systems(&response);
    Ok(())
}

async fn no_client_can_learn_of_it(stage: &mut Stage, serial: &str) -> Result<()> {
    chapter("3. A CA without CRL and OCSP");
    println!(
        "Example Corp Device CA revokes its certificate. The CA has neither a CRL nor OCSP, so clients\n\
         keep trusting the certificate. The email says so:\n"
    );
    let pca = stage.aws.private_ca();
    pca.revoke(DEVICE_CA, serial, "KEY_COMPROMISE");
    let one = json!({ "certificateAuthorityArns": [DEVICE_CA] });
    stage.invoke(one).await?;
    stage.show_emails();
    Ok(())
}

/// Shows the messages for an audit report of the user's own, as if everything in it were new.
async fn own_report(file: PathBuf) -> Result<()> {
    let shown = file.display();
    let format = ReportFormat::from_key(&shown.to_string())
        .ok_or_else(|| format!("{shown} ends neither in .json nor in .csv.\n{USAGE}"))?;
    let content = std::fs::read(&file).map_err(|error| format!("{shown}: {error}.\n{USAGE}"))?;
    check(&content, format).map_err(|problem| format!("{shown} {problem}."))?;
    let ca = certificate_authority_of(&content).unwrap_or_else(|| GUIDES_CA.to_owned());
    let format = match format {
        ReportFormat::Json => "JSON",
        ReportFormat::Csv => "CSV",
    };
    println!(
        "pca-revocation-watch on this machine, with {shown}\n\
         as the first audit report of {ca}.\n\
         The demo alerts on every revocation in it, however old. Once deployed, the first audit alerts only\n\
         on those of the last 24 hours. It looks nothing up beyond the report: the emulators know nothing about\n\
         your certificates. Nothing leaves this machine.\n"
    );
    let variables = [
        ("INITIAL_LOOKBACK_HOURS", "175200"),
        ("REPORT_FORMAT", format),
        ("INVESTIGATE", "no"),
    ];
    let mut stage = Stage::set(&ca, "your CA", &variables).await?;
    stage.next_report(NextReport::new().content(content));
    let response = stage.invoke(json!({})).await?;
    stage.show_emails();
    stage.show(Protocol::Sms, "SMS");
    stage.show_for_systems(&response);
    match &response["status"] {
        Value::String(status) if status == "ok" => Ok(()),
        status => Err(format!("The audit of {shown} ended with status {status}.").into()),
    }
}

/// Says what is wrong with a file that is not a complete audit report, and what to do about it.
fn check(content: &[u8], format: ReportFormat) -> std::result::Result<(), String> {
    const AGAIN: &str = "download the report again and do not edit it";
    let header = content.split(|&byte| byte == b'\n').next();
    let first_line = String::from_utf8_lossy(header.unwrap_or_default());
    let problem = match content {
        [] => Some(format!("is empty; {AGAIN}")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Some(format!("was saved as UTF-16; {AGAIN}"))
        }
        // In a CSV report the function ignores it.
        [0xef, 0xbb, 0xbf, ..] if format == ReportFormat::Json => Some(format!(
            "starts with a byte order mark, so an editor has saved it; {AGAIN}"
        )),
        [0x1f, 0x8b, ..] => Some("is compressed with gzip; decompress it first".to_owned()),
        [b'P', b'K', 3, 4, ..] => Some("is a zip archive; extract the report first".to_owned()),
        _ if format == ReportFormat::Csv && first_line.contains(';') => Some(format!(
            "has columns separated by semicolons, as spreadsheet programs write them; {AGAIN}"
        )),
        _ => None,
    };
    if let Some(problem) = problem {
        return Err(problem);
    }
    let mut scanner = ReportScanner::new(format);
    let scanned = scanner.feed(content, &mut |_| {});
    let scanned = scanned.and_then(|()| scanner.finish(&mut |_| {}));
    match scanned {
        Ok(totals) if totals.unidentified > 0 => Err(format!(
            "is not an audit report: it has records with neither serial nor certificateArn; {AGAIN}"
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "is not a complete audit report: {error}; {AGAIN}, or rename it if it has another format"
        )),
    }
}

/// The emulators, and the function that uses them.
struct Stage {
    aws: LocalAws,
    ca: String,
    runtime: RuntimeApi,
    lines: Lines<BufReader<ChildStdout>>,
    _server: Server,
    _function: Child,
}

impl Stage {
    /// Starts the emulators and the function.
    async fn set(ca: &str, name: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let arn = CertificateAuthorityArn::parse(ca)
            .ok_or_else(|| format!("{ca} is not the ARN of a CA"))?;
        let (aws, topic, chat_topic) = account(&arn, name)?;
        let server = aws.serve().await?;
        let runtime = RuntimeApi::serve().await?;
        let mut function = Command::new(std::env::current_exe()?)
            .env_clear()
            .envs(runtime.environment(256))
            .env("AWS_LAMBDA_LOG_LEVEL", "DEBUG")
            .env("AWS_REGION", arn.region())
            .env("AWS_ENDPOINT_URL", server.endpoint_url())
            .env("CERTIFICATE_AUTHORITY_ARNS", ca)
            .env("REPORT_BUCKET", BUCKET)
            .env("TOPIC_ARN", topic)
            .env("CHAT_TOPIC_ARN", chat_topic)
            .env("REPORT_INTERVAL_SECONDS", "0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = function
            .stdout
            .take()
            .ok_or("the function's output is piped")?;
        Ok(Self {
            aws,
            ca: ca.to_owned(),
            runtime,
            lines: BufReader::new(stdout).lines(),
            _server: server,
            _function: function,
        })
    }

    /// Determines how Private CA writes the next report.
    fn next_report(&self, report: NextReport) {
        self.aws.private_ca().next_report(&self.ca, report);
    }

    /// Invokes the function and shows its log while it works.
    async fn invoke(&mut self, event: Value) -> Result<Value> {
        self.aws.sns().forget_messages();
        let started = std::time::Instant::now();
        let mut revocations = 0;
        let mut response = pin!(self.runtime.invoke(event, Duration::from_secs(900)));
        loop {
            tokio::select! {
                // The function writes its last line before it responds: show all lines first.
                biased;
                line = self.lines.next_line() => {
                    let line = line?.ok_or("the function's process ended")?;
                    let line: Value = serde_json::from_str(&line)?;
                    if let Some(message) = line["message"].as_str() {
                        if message == "revocation found" {
                            revocations += 1;
                            if revocations > MAX_SHOWN_REVOCATIONS {
                                continue;
                            }
                        } else if revocations > MAX_SHOWN_REVOCATIONS {
                            let more = revocations - MAX_SHOWN_REVOCATIONS;
                            println!("         ({more} more like this)");
                            revocations = 0;
                        }
                        let seconds = started.elapsed().as_secs_f64();
                        println!("  {seconds:4.1} s  {message}{}", details(&line));
                    }
                }
                response = &mut response => return Ok(response?),
            }
        }
    }

    fn show_emails(&self) {
        for email in self.deliveries(Protocol::Email) {
            heading(&format!("Email to {}", email.endpoint));
            quote(&format!(
                "Subject: {}\n\n{}",
                email.subject.unwrap_or_default(),
                email.text
            ));
        }
    }

    /// Shows the chat card, the JSON message and the function's response.
    fn show_for_systems(&self, response: &Value) {
        self.show(
            Protocol::Https,
            "Chat: the notification for Amazon Q Developer",
        );
        self.show(
            Protocol::Sqs,
            "Queues, webhooks and Lambda functions: the JSON message",
        );
        heading("The function's response, as the Lambda console shows it");
        quote(&format!("{response:#}"));
    }

    fn show(&self, protocol: Protocol, title: &str) {
        // The alert about the revocations comes first, before `watch-started`.
        if let Some(delivery) = self.deliveries(protocol).first() {
            heading(title);
            match serde_json::from_str::<Value>(&delivery.text) {
                Ok(message) => quote(&format!("{message:#}")),
                Err(_) => quote(&delivery.text),
            }
        }
    }

    fn deliveries(&self, protocol: Protocol) -> Vec<Delivery> {
        self.aws.sns().deliveries_by(protocol)
    }
}

/// Creates an account with one CA, and topics with subscriptions of each kind.
fn account(arn: &CertificateAuthorityArn, name: &str) -> Result<(LocalAws, String, String)> {
    let aws = LocalAws::with(Settings {
        account: arn.account().to_owned(),
        region: arn.region().to_owned(),
        ..Settings::default()
    });
    aws.s3().create_bucket(BUCKET);
    aws.private_ca().create_with_id(arn.id(), name);
    aws.private_ca()
        .set_reports(|reports| reports.interval = Duration::ZERO);
    // Audits follow each other more quickly than in reality.
    aws.private_ca().set_quotas(Quotas::UNLIMITED);
    let topic = aws.sns().create_topic("revocations");
    let chat_topic = aws.sns().create_topic("revocations-chat");
    for (topic, protocol, endpoint) in [
        (&topic, Protocol::Email, "pki@example.com"),
        (&topic, Protocol::Sms, "+15550100"),
        (&topic, Protocol::Sqs, "siem"),
        (&chat_topic, Protocol::Https, "chat"),
    ] {
        aws.sns()
            .subscribe(topic, Subscription::new(protocol, endpoint))?;
    }
    Ok((aws, topic, chat_topic))
}

/// Creates a second CA without CRL and OCSP, issues the certificates of both CAs, and deploys the one whose
/// key leaks. Returns the serial of the second CA's certificate.
fn issue_certificates(aws: &LocalAws) -> Result<String> {
    let pca = aws.private_ca();
    let [revoked, leaked] = certificates_of_the_guide(aws);
    let mut same_key = leaked.clone();
    same_key.serial = SAME_KEY.to_owned();
    same_key.certificate_arn = format!("{GUIDES_CA}/certificate/{}", SAME_KEY.replace(':', ""));
    same_key.requested_by_service_principal = None;
    pca.add(GUIDES_CA, revoked);
    pca.add(GUIDES_CA, leaked);
    pca.add(GUIDES_CA, same_key.with_x509(profile_of(aws, LEAKED)?));
    let deployed = AcmCertificate::new(ACM_CERTIFICATE, "www.example3.com.com", LEAKED, GUIDES_CA);
    aws.acm().add(deployed.used_by(LOAD_BALANCER));

    let id = DEVICE_CA.rsplit('/').next().unwrap_or_default();
    pca.create_with_id(id, "Example Corp Device CA");
    let nothing = RevocationConfiguration {
        crl: false,
        ocsp: false,
    };
    pca.set_revocation(DEVICE_CA, nothing);
    Ok(pca.issue(DEVICE_CA, "pump-17.example.com"))
}

/// Returns key and pointers of a certificate of the guide's CA.
fn profile_of(aws: &LocalAws, serial: &str) -> Result<Profile> {
    let mut issued = aws.private_ca().certificates(GUIDES_CA).into_iter();
    let found = issued.find(|certificate| certificate.serial == serial);
    let profile = found.and_then(|certificate| certificate.x509);
    Ok(profile.ok_or("the certificate was issued")?)
}

/// Returns the two certificates of the AWS Private CA User Guide, "Using audit reports with your private CA".
fn certificates_of_the_guide(aws: &LocalAws) -> [Certificate; 2] {
    let at = |text: &str| {
        let seconds = Timestamp::parse(text).map_or(0, Timestamp::unix_seconds);
        std::time::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
    };
    let certificate = |serial: &str, subject: &str, from: &str, until: &str, issued: &str| {
        let mut certificate = aws.private_ca().certificate(GUIDES_CA, "");
        certificate.serial = serial.to_owned();
        certificate.certificate_arn =
            format!("{GUIDES_CA}/certificate/{}", serial.replace(':', ""));
        certificate.subject = subject.to_owned();
        certificate.not_before = at(from);
        certificate.not_after = at(until);
        certificate.issued_at = at(issued);
        certificate
    };
    let mut revoked = certificate(
        "e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8",
        "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,CN=www.example1.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US",
        "2018-02-26T18:39:57Z",
        "2019-02-26T19:39:57Z",
        "2018-02-26T19:39:58Z",
    );
    revoked.revoked_at = Some(at("2018-02-26T20:00:36Z"));
    revoked.revocation_reason = Some("KEY_COMPROMISE".to_owned());
    let mut valid = certificate(
        "2b:ae:9a:75:d7:1b:42:b4:e4:1e:36:f8:b4:b4:88:fc",
        "1.2.840.113549.1.9.1=#161970726f64407777772e70616c6f75736573616c65732e636f6d,CN=www.example3.com.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US",
        "2026-01-22T20:10:49Z",
        "2028-01-17T21:10:49Z",
        "2026-01-22T21:10:49Z",
    );
    valid.requested_by_service_principal = Some("acm.amazonaws.com".to_owned());
    [revoked, valid]
}

/// Returns the ARN of the CA that issued a report's certificates.
fn certificate_authority_of(report: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(report);
    let arn = text
        .split(['"', ',', '\n'])
        .find(|part| part.contains(":certificate-authority/"))?;
    let arn = arn.split("/certificate/").next()?;
    CertificateAuthorityArn::parse(arn)
        .filter(|arn| arn.partition() == "aws")
        .map(|arn| arn.as_str().to_owned())
}

/// Formats the fields of a log line that are worth showing.
fn details(line: &Value) -> String {
    const SHOWN: &[&str] = &[
        "key",
        "size_bytes",
        "certificates",
        "revoked",
        "new",
        "serial",
        "reason",
        "common_name",
        "type",
        "severity",
        "notified",
        "revoked_by",
        "in_use",
        "affected",
        "clients",
        "outcome",
        "status",
        "error",
        "hint",
    ];
    let shown = SHOWN.iter().filter_map(|name| match &line[*name] {
        Value::Null => None,
        Value::String(text) => Some(format!("{name}={text}")),
        other => Some(format!("{name}={other}")),
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() {
        String::new()
    } else {
        format!("  {}", shown.join(" "))
    }
}

fn chapter(title: &str) {
    println!("\n{title}\n{}\n", "=".repeat(title.chars().count()));
}

fn heading(title: &str) {
    println!("\n{title}\n{}", "-".repeat(title.chars().count()));
}

fn quote(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().take(MAX_SHOWN_LINES) {
        println!("{}", format!("    {line}").trim_end());
    }
    if lines.len() > MAX_SHOWN_LINES {
        println!("    ({} more lines)", lines.len() - MAX_SHOWN_LINES);
    }
}
