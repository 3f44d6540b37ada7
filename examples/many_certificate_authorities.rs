//! One invocation of the real binary for 200 CAs, in real time and under the real request quotas of AWS
//! Private CA: measures the figures of docs/scale.md.
//!
//! `cargo build --release --bin bootstrap`, then
//! `cargo run --example many_certificate_authorities [-- BINARY]`; it takes about ten minutes.
//! It reads the process's memory from /proc, so it needs Linux.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/account/many.rs"]
mod many;

use std::error::Error;
use std::process::Stdio;
use std::time::{Duration, Instant};

use local_aws::RuntimeApi;
use many::{Account, BUCKET, Certificates, outcomes};
use serde_json::json;
use tokio::process::Command;

/// The function's timeout in template.yaml.
const TIMEOUT: Duration = Duration::from_secs(900);

const CERTIFICATES: Certificates = Certificates {
    ordinary: 1_000,
    huge: 300_000,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let binary = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "target/release/bootstrap".to_owned());
    let account = Account::new(CERTIFICATES);
    // The second run follows at once, so the minimum interval per CA is lifted. The account's request
    // quotas are not.
    account
        .aws
        .private_ca()
        .set_reports(|reports| reports.interval = Duration::ZERO);
    let server = account.aws.serve().await?;
    let runtime = RuntimeApi::serve().await?;
    let mut function = Command::new(&binary)
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", runtime.address())
        .env("AWS_LAMBDA_FUNCTION_NAME", "pca-revocation-watch")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env(
            "AWS_SECRET_ACCESS_KEY",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        )
        .env("AWS_ENDPOINT_URL", server.endpoint_url())
        .env("CERTIFICATE_AUTHORITY_ARNS", "*")
        .env("REPORT_BUCKET", BUCKET)
        .env("TOPIC_ARN", &account.topic)
        .env("REPORT_INTERVAL_SECONDS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{binary} does not start: {error}"))?;
    let process = function.id().ok_or("the function has ended")?;

    for run in ["first audits", "a new revocation of each CA"] {
        account.schedule_reports();
        let scheduled =
            json!({ "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": "{}" });
        let began = Instant::now();
        let response = runtime
            .invoke(scheduled, TIMEOUT)
            .await
            .map_err(|error| error.to_string())?;
        let seconds = began.elapsed().as_secs_f64();
        println!("{run}: {seconds:.1} s, {:?}", outcomes(&response));
        show_figures(&account, process)?;
        account.aws.forget_calls();
        account.aws.sns().forget_messages();
        account.revoke_one_of_each();
    }
    function.kill().await?;
    Ok(())
}

/// Prints the figures of the latest run.
fn show_figures(account: &Account, process: u32) -> Result<()> {
    let (by_operation, throttled) = account.calls();
    println!("  peak memory {}", peak_memory(process)?);
    println!(
        "  CPU time    {:.2} s since the start of the process",
        cpu_seconds(process)?
    );
    println!("  throttled   {throttled}");
    println!("  messages    {}", account.aws.sns().messages().len());
    for (operation, calls) in by_operation {
        println!("  {calls:>6} {operation}");
    }
    Ok(())
}

/// Returns the peak memory of the process (proc_pid_status(5), `VmHWM`).
fn peak_memory(process: u32) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.ok_or("no VmHWM")?.trim().to_owned())
}

/// Returns the user and system time of the process (proc_pid_stat(5), fields 14 and 15, in ticks of
/// 10 ms).
fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the command, in parentheses, may contain spaces.
    let (_, fields) = stat.rsplit_once(") ").ok_or("no fields")?;
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / 100.0)
}
