//! The function's process, and waiting for it with a time limit.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use local_aws::{Call, InvocationError, LocalAws, RuntimeApi};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::AMPLE;

/// Maximum real time that a test waits for the process: a watchdog, many times what any wait here
/// takes on a busy machine.
const WATCHDOG: Duration = Duration::from_secs(30);

/// [`WATCHDOG`] after the first wait of a test binary that ran into it: a function that hangs then
/// fails the remaining tests quickly.
const WATCHDOG_AFTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of log lines and of AWS calls that a failure message shows.
const SHOWN: usize = 30;

static HAS_TIMED_OUT: AtomicBool = AtomicBool::new(false);

/// The function's process and the Runtime API that invokes it.
pub struct Function {
    child: Child,
    runtime: RuntimeApi,
    aws: LocalAws,
    stdout: Output,
    stderr: Output,
}

impl Function {
    /// Starts the binary with these variables and waits until it asks for its first invocation.
    pub async fn start(aws: &LocalAws, variables: impl Iterator<Item = (&str, String)>) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        Self::start_command(command, aws, variables).await
    }

    /// Starts another build of the binary.
    pub async fn start_command(
        mut command: Command,
        aws: &LocalAws,
        variables: impl Iterator<Item = (&str, String)>,
    ) -> Self {
        let runtime = RuntimeApi::serve().await.expect("loopback can be bound");
        let mut child = command
            .env_clear()
            .envs(runtime.environment(256))
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the function's binary starts");
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let function = Self {
            child,
            runtime,
            aws: aws.clone(),
            stdout: Output::of(stdout),
            stderr: Output::of(stderr),
        };
        // The start does not count toward the deadline of the first invocation.
        function
            .within(WATCHDOG, "the function to start", function.runtime.idle())
            .await;
        function
    }

    /// Invokes the function with [`AMPLE`] time.
    pub async fn invoke(&self, payload: Value) -> Result<Value, InvocationError> {
        self.invoke_for(payload, AMPLE).await
    }

    /// Invokes the function with this much time until Lambda's deadline.
    pub async fn invoke_for(
        &self,
        payload: Value,
        deadline_in: Duration,
    ) -> Result<Value, InvocationError> {
        let what = format!("the response to {payload}");
        let response = self.runtime.invoke(payload, deadline_in);
        self.within(WATCHDOG, &what, response).await
    }

    /// Ends the process with SIGKILL.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the process exists");
    }

    /// Ends the process and returns what it wrote: log lines and metrics.
    pub async fn output(mut self) -> Vec<Value> {
        self.child.start_kill().expect("the process exists");
        self.stdout.end().await;
        self.stdout
            .lines()
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect()
    }

    /// Waits for `future`, and panics with what the function did so far if that takes longer than
    /// `limit` or its process ends.
    async fn within<T>(&self, limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
        let limit = if HAS_TIMED_OUT.load(Ordering::Relaxed) {
            WATCHDOG_AFTER_TIMEOUT
        } else {
            limit
        };
        tokio::select! {
            biased;
            result = future => result,
            () = self.stdout.end() => {
                panic!("the process ended while the test waited for {what}\n{}", self.activity())
            }
            () = tokio::time::sleep(limit) => {
                HAS_TIMED_OUT.store(true, Ordering::Relaxed);
                panic!("the test waited {limit:?} for {what}\n{}", self.activity())
            }
        }
    }

    /// Describes the latest AWS calls and everything that the process wrote last.
    fn activity(&self) -> String {
        let calls: Vec<String> = self.aws.calls().iter().map(describe).collect();
        [
            section("AWS calls", &calls),
            section("standard output", &self.stdout.lines()),
            section("standard error", &self.stderr.lines()),
        ]
        .join("\n")
    }
}

fn describe(call: &Call) -> String {
    let status = match call.status {
        Some(status) => status.to_string(),
        None => "no response".to_owned(),
    };
    let resource = call
        .key
        .as_ref()
        .or(call.certificate_authority_arn.as_ref());
    let resource = resource.map(String::as_str).unwrap_or_default();
    let code = call.error_code.as_deref().unwrap_or_default();
    format!("{} {resource} {status} {code}", call.operation)
}

/// A heading and the last lines.
fn section(title: &str, lines: &[String]) -> String {
    let shown = &lines[lines.len().saturating_sub(SHOWN)..];
    let heading = format!("{title}, the last {} of {}:", shown.len(), lines.len());
    let indented = shown.iter().map(|line| format!("  {}", line.trim_end()));
    std::iter::once(heading)
        .chain(indented)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What a process writes to one of its streams, read while it runs: a full pipe would block it.
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    /// Its sender is dropped at the end of the stream.
    end: watch::Receiver<()>,
}

impl Output {
    fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, end) = watch::channel(());
        let read = Arc::clone(&lines);
        tokio::spawn(async move {
            let _sender = sender;
            let mut stream = BufReader::new(stream).lines();
            while let Some(line) = stream.next_line().await.expect("it writes UTF-8") {
                lock(&read).push(line);
            }
        });
        Self { lines, end }
    }

    fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }

    /// Waits until the process has closed the stream.
    async fn end(&self) {
        // Nothing is ever sent: this returns when the sender is dropped.
        let _ = self.end.clone().changed().await;
    }
}

fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
