//! 200 CAs with the real binary, in real time and under the real request quotas of AWS Private CA:
//! measures the figures of docs/scale.md.
//!
//! `cargo build --release --bin bootstrap`, then
//! `cargo run --example many_certificate_authorities [-- [scale-out] [BINARY]]`; it takes about ten
//! minutes. One invocation audits all CAs; with `scale-out`, five processes work on the messages of the
//! audit queue. It reads the memory of processes from /proc, so it needs Linux.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/account/many.rs"]
mod many;
#[path = "../benches/function/process.rs"]
mod process;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::process::Stdio;
use std::time::{Duration, Instant};

use local_aws::{RuntimeApi, Server};
use many::{Account, BUCKET, Certificates, Queues, outcomes};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::process::{Child, Command};

/// The function's timeout in template.yaml.
const TIMEOUT: Duration = Duration::from_secs(900);

/// The template's default for `MaximumConcurrency`.
const WORKERS: usize = 5;

const RUNS: [&str; 2] = ["first audits", "a new revocation of each CA"];

const CERTIFICATES: Certificates = Certificates {
    ordinary: 1_000,
    huge: 300_000,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let is_scaled_out = arguments
        .next_if(|argument| argument == "scale-out")
        .is_some();
    let binary = arguments
        .next()
        .unwrap_or_else(|| "target/release/bootstrap".to_owned());
    let account = Account::new(CERTIFICATES);
    // The second run follows at once, so the minimum interval per CA is lifted. The account's request
    // quotas are not.
    account
        .aws
        .private_ca()
        .set_reports(|reports| reports.interval = Duration::ZERO);
    if is_scaled_out {
        scaled_out(&account, &binary).await
    } else {
        inline(&account, &binary).await
    }
}

/// One invocation audits all CAs.
async fn inline(account: &Account, binary: &str) -> Result<()> {
    let server = account.aws.serve().await?;
    let function = Function::start(binary, account, &server, &[]).await?;
    for run in RUNS {
        account.schedule_reports();
        let began = Instant::now();
        let response = function.invoke(scheduled()?).await?;
        let seconds = began.elapsed().as_secs_f64();
        println!("{run}: {seconds:.1} s, {:?}", outcomes(&response));
        show_figures(account, &[&function])?;
        prepare_next(account);
    }
    Ok(())
}

/// Each CA is one message and one invocation of one of the workers. The scheduled runs have a process of
/// their own.
async fn scaled_out(account: &Account, binary: &str) -> Result<()> {
    let server = account.aws.serve().await?;
    let queues = Queues::create(&account.aws);
    let environment = queues.environment();
    let dispatcher = Function::start(binary, account, &server, &environment).await?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Function::start(binary, account, &server, &environment).await?);
    }
    let invocations = Cell::new(0_u32);
    let work = queues.work(&account.aws, &workers, async |worker, event| {
        invocations.set(invocations.get() + 1);
        let worked = worker.invoke(event).await;
        worked.map_err(|error| error.to_string())
    });
    let runs = async {
        for run in RUNS {
            account.schedule_reports();
            invocations.set(0);
            let began = Instant::now();
            let response = dispatcher.invoke(scheduled()?).await?;
            let dispatched = began.elapsed().as_secs_f64();
            println!("{run}: {dispatched:.1} s, {:?}", outcomes(&response));
            while queues.unfinished(&account.aws) > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let seconds = began.elapsed().as_secs_f64();
            println!("  all audited {seconds:.1} s after the schedule");
            println!("  invocations {}", invocations.get());
            println!("  audits      {:?}", account.audited());
            let undeliverable = account.aws.sqs().messages(&queues.dead_letters).len();
            println!("  abandoned   {undeliverable}");
            let functions: Vec<_> = std::iter::once(&dispatcher).chain(&workers).collect();
            show_figures(account, &functions)?;
            prepare_next(account);
        }
        Ok(())
    };
    tokio::select! {
        never = work => never,
        result = runs => result,
    }
}

/// The schedule's event of now.
fn scheduled() -> Result<Value> {
    let time = OffsetDateTime::now_utc()
        .replace_nanosecond(0)?
        .format(&Rfc3339)?;
    Ok(json!({
        "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": "{}", "time": time,
    }))
}

fn prepare_next(account: &Account) {
    account.aws.forget_calls();
    account.aws.sns().forget_messages();
    account.revoke_one_of_each();
}

/// A process of the function and the Runtime API that invokes it.
struct Function {
    runtime: RuntimeApi,
    process: Child,
}

impl Function {
    async fn start(
        binary: &str,
        account: &Account,
        server: &Server,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let runtime = RuntimeApi::serve().await?;
        let process = Command::new(binary)
            .env_clear()
            .envs(runtime.environment(256))
            .env("AWS_ENDPOINT_URL", server.endpoint_url())
            .env("CERTIFICATE_AUTHORITY_ARNS", "*")
            .env("REPORT_BUCKET", BUCKET)
            .env("TOPIC_ARN", &account.topic)
            .env("REPORT_INTERVAL_SECONDS", "0")
            .env("AUDIT_INTERVAL_MINUTES", "30")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{binary} does not start: {error}"))?;
        Ok(Self { runtime, process })
    }

    async fn invoke(&self, event: Value) -> Result<Value> {
        let response = self.runtime.invoke(event, TIMEOUT).await;
        response.map_err(|error| error.to_string().into())
    }

    fn process_id(&self) -> Result<u32> {
        Ok(self.process.id().ok_or("the function has ended")?)
    }
}

/// Prints the figures of the latest run.
fn show_figures(account: &Account, functions: &[&Function]) -> Result<()> {
    let (mut peak, mut cpu) = (0.0_f64, 0.0);
    for function in functions {
        let process = function.process_id()?;
        peak = peak.max(process::peak_mib(process));
        cpu += process::cpu_seconds(process);
    }
    let (by_operation, throttled) = account.calls();
    println!("  peak memory {peak:.1} MiB, of the largest process so far");
    println!("  CPU time    {cpu:.2} s since the start of the processes");
    let calls: usize = by_operation.values().sum();
    println!("  throttled   {throttled} of {calls}");
    let mut times = BTreeMap::<usize, usize>::new();
    for count in account.published().into_values() {
        *times.entry(count).or_default() += 1;
    }
    println!("  messages    {}", account.aws.sns().messages().len());
    println!("  revocations by times published: {times:?}");
    for (operation, calls) in by_operation {
        println!("  {calls:>6} {operation}");
    }
    Ok(())
}
