//! The world: an account, its certificate authorities, and Lambda running the function.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use local_aws::{Action, Call, LocalAws, Phase, Protocol, Quotas, Settings, Subscription};
use pca_revocation_watch::aws::clients::Clients;
use pca_revocation_watch::budget::Budget;
use pca_revocation_watch::config::Config;
use pca_revocation_watch::handler::{Function, Invocation, InvocationError};
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::plan::{Blow, Extent, Strike, blows};

pub const BUCKET: &str = "amzn-s3-demo-bucket";
pub const PERIOD: Duration = Duration::from_secs(1800);
/// What template.yaml gives the function.
pub const TIMEOUT: Duration = Duration::from_secs(900);
const FUNCTION_ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:pca-revocation-watch";

/// 2026-11-21T04:00:00Z
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_233_600)
}

pub struct World {
    pub aws: LocalAws,
    pub config: Config,
    pub cas: Vec<String>,
    pub topic: String,
    /// What was revoked, whether the function knows or not.
    pub revoked: RefCell<Vec<Revoked>>,
    began: Instant,
    idle: RefCell<Vec<Rc<Process>>>,
    processes: Cell<u32>,
    names: Cell<u32>,
    observed: Arc<Mutex<Observed>>,
}

/// A revocation as it happened.
#[derive(Clone, Debug)]
pub struct Revoked {
    pub ca: String,
    pub serial: String,
    pub reason: &'static str,
    pub at: SystemTime,
    /// Before the first audit's look-back: counted, and not to be told.
    pub is_earlier: bool,
}

/// A sandbox of Lambda, which serves one invocation at a time.
struct Process(Function);

/// What is known of all runs so far.
#[derive(Default)]
pub struct Observed {
    pub runs: Vec<Run>,
    strikes: Vec<Armed>,
    first_struck: usize,
    /// Draws what goes wrong besides, and out of how many calls one does.
    trouble: Option<(fastrand::Rng, u32)>,
    /// The process dies when it next reads an object whose key contains this.
    kill_at_key: Option<String>,
    /// The longest that a call takes to be answered, where calls take time at all.
    latency: Duration,
    /// Calls that no run made: something worked on after an answer.
    pub strays: Vec<String>,
    /// By message, which call of which run published it.
    pub published_by: Vec<(usize, usize)>,
}

struct Armed {
    strike: Strike,
    /// The SDK's identifier of the call that was struck first, and its operation.
    hit: Option<(Option<String>, String)>,
}

/// One invocation.
pub struct Run {
    pub payload: Value,
    pub left: Duration,
    pub calls: Vec<Seen>,
    pub warnings: Vec<String>,
    pub ended: Option<Ended>,
    pub took: Duration,
    pub ended_at: Option<SystemTime>,
    kill: Arc<Notify>,
}

impl Run {
    /// Whether the process did not live to answer.
    pub fn was_killed(&self) -> bool {
        matches!(self.ended, None | Some(Ended::Killed | Ended::TimedOut))
    }
}

/// A call that a run made.
#[derive(Clone, Debug)]
pub struct Seen {
    pub call: Call,
    pub struck: Option<Strike>,
}

/// How an invocation ended.
#[derive(Clone, Debug)]
pub enum Ended {
    Answered(Value),
    Failed(InvocationError),
    /// The process died.
    Killed,
    /// Lambda ended it: it had not answered by its deadline.
    TimedOut,
}

impl Ended {
    pub fn response(&self) -> Option<&Value> {
        match self {
            Ended::Answered(response) => Some(response),
            _ => None,
        }
    }
}

/// How an invocation is made.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Until Lambda's deadline.
    pub left: Duration,
    /// How far the sandbox's clock is ahead of AWS's, in milliseconds.
    pub clock_ahead_ms: i64,
}

impl Default for How {
    fn default() -> Self {
        Self {
            left: TIMEOUT,
            clock_ahead_ms: 0,
        }
    }
}

impl World {
    /// An account with so many certificate authorities; `variables` configure the function.
    pub fn new(seed: u64, certificate_authorities: usize, variables: &[(&str, &str)]) -> Self {
        let aws = LocalAws::with(Settings {
            start: Some(start()),
            seed,
            ..Settings::default()
        });
        aws.s3().create_bucket(BUCKET);
        let cas: Vec<String> = (0..certificate_authorities)
            .map(|n| {
                aws.private_ca()
                    .create(&format!("Example Corp Issuing CA {n}"))
            })
            .collect();
        let topic = aws.sns().create_topic("revocations");
        let sqs = Subscription::new(Protocol::Sqs, "queue");
        aws.sns()
            .subscribe(&topic, sqs)
            .expect("a standard topic takes a queue");
        let listed = cas.join(" ");
        let mut environment = BTreeMap::from([
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", LocalAws::ENDPOINT_URL),
            ("CERTIFICATE_AUTHORITY_ARNS", listed.as_str()),
            ("REPORT_BUCKET", BUCKET),
            ("TOPIC_ARN", topic.as_str()),
        ]);
        environment.extend(variables.iter().copied());
        let config =
            Config::from_lookup(|name| environment.get(name).map(|&value| value.to_owned()))
                .expect("the world's configuration is right");
        let world = Self {
            aws,
            config,
            cas,
            topic,
            revoked: RefCell::default(),
            began: Instant::now(),
            idle: RefCell::default(),
            processes: Cell::new(0),
            names: Cell::new(0),
            observed: Arc::default(),
        };
        world.watch_calls();
        world
    }

    /// Lets every call take up to that long, there and back.
    pub fn set_latency(&self, latency: Duration) {
        self.observed().latency = latency;
    }

    /// From the next run on, these things go wrong.
    pub fn arm(&self, strikes: impl IntoIterator<Item = Strike>) {
        let mut observed = self.observed();
        observed.first_struck = observed.runs.len();
        observed.strikes = strikes
            .into_iter()
            .map(|strike| Armed { strike, hit: None })
            .collect();
    }

    /// The process dies when it next reads an object whose key contains `part`.
    pub fn kill_at_key(&self, part: String) {
        self.observed().kill_at_key = Some(part);
    }

    /// From now on any call may go wrong.
    pub fn trouble(&self, rng: &mut fastrand::Rng) {
        let one_in = rng.u32(8..200);
        self.observed().trouble = Some((rng.fork(), one_in));
    }

    pub fn no_more_trouble(&self) {
        self.observed().trouble = None;
    }

    /// Nothing goes wrong any more.
    pub fn disarm(&self) {
        self.no_more_trouble();
        self.observed().strikes.clear();
        self.aws.behave();
    }

    pub fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Issues a certificate and gives its serial.
    pub fn issue(&self, ca: usize) -> String {
        let name = self.names.replace(self.names.get() + 1);
        self.aws
            .private_ca()
            .issue(&self.cas[ca], &format!("www.example{name}.com"))
    }

    /// Issues a certificate that is revoked at once.
    pub fn revoke(&self, ca: usize, reason: &'static str) -> String {
        self.revoke_at(ca, reason, self.aws.clock().now(), false)
    }

    /// Issues a certificate that was revoked a week ago.
    pub fn revoke_long_ago(&self, ca: usize, reason: &'static str) -> String {
        let week_ago = self.aws.clock().now() - Duration::from_secs(7 * 86_400);
        self.revoke_at(ca, reason, week_ago, true)
    }

    fn revoke_at(
        &self,
        ca: usize,
        reason: &'static str,
        at: SystemTime,
        is_earlier: bool,
    ) -> String {
        let serial = self.issue(ca);
        self.aws
            .private_ca()
            .revoke_at(&self.cas[ca], &serial, reason, at);
        let ca = self.cas[ca].clone();
        self.revoked.borrow_mut().push(Revoked {
            ca,
            serial: serial.clone(),
            reason,
            at,
            is_earlier,
        });
        serial
    }

    /// Waits until that long after the world began.
    pub async fn until(&self, after: Duration) {
        tokio::time::sleep_until(self.began + after).await;
    }

    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The schedule's event, with Lambda's retries of an asynchronous invocation that fails:
    /// after one minute and after two more (AWS Lambda Developer Guide, "How Lambda handles errors
    /// and retries with asynchronous invocation").
    pub async fn schedule(&self, how: How) -> Ended {
        self.asynchronously(scheduled(), how).await
    }

    pub async fn asynchronously(&self, payload: Value, how: How) -> Ended {
        let request_id = self.request_id();
        let mut ended = self.attempt(&payload, how, &request_id).await;
        for minutes in [1, 2] {
            if matches!(ended, Ended::Answered(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
            ended = self.attempt(&payload, how, &request_id).await;
        }
        ended
    }

    /// A synchronous invocation: nobody but the caller repeats it.
    pub async fn invoke(&self, payload: Value, how: How) -> Ended {
        let request_id = self.request_id();
        self.attempt(&payload, how, &request_id).await
    }

    async fn attempt(&self, payload: &Value, how: How, request_id: &str) -> Ended {
        let kill = Arc::new(Notify::new());
        let number = {
            let mut observed = self.observed();
            observed.runs.push(Run {
                payload: payload.clone(),
                left: how.left,
                calls: Vec::new(),
                warnings: Vec::new(),
                ended: None,
                took: Duration::ZERO,
                ended_at: None,
                kill: Arc::clone(&kill),
            });
            observed.runs.len() - 1
        };
        let idle = self.idle.borrow_mut().pop();
        let process = idle.unwrap_or_else(|| self.new_process());
        let clock = self.aws.clock().now();
        let ahead = Duration::from_millis(how.clock_ahead_ms.unsigned_abs());
        let started = if how.clock_ahead_ms < 0 {
            clock - ahead
        } else {
            clock + ahead
        };
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            function_arn: FUNCTION_ARN.to_owned(),
            budget: Budget::starting(started, how.left),
            nonce: format!("{:016x}", fastrand::u64(..)),
        };
        let began = Instant::now();
        let ended = {
            let mut handled = pin!(process.0.handle(payload, &invocation));
            let handled = poll_fn(|context| {
                let _current = Current::set(number);
                handled.as_mut().poll(context)
            });
            tokio::select! {
                biased;
                () = kill.notified() => Ended::Killed,
                result = handled => match result {
                    Ok(response) => Ended::Answered(response),
                    Err(error) => Ended::Failed(error),
                },
                () = tokio::time::sleep(how.left) => Ended::TimedOut,
            }
        };
        // A process that died or was ended is gone; any other one waits, frozen, for more.
        if matches!(ended, Ended::Answered(_) | Ended::Failed(_)) {
            self.idle.borrow_mut().push(process);
        }
        let mut observed = self.observed();
        let run = &mut observed.runs[number];
        run.took = began.elapsed();
        run.ended_at = Some(self.aws.clock().now());
        run.warnings = take_log(number);
        run.ended = Some(ended.clone());
        ended
    }

    /// What happened, run by run and call by call, for people.
    pub fn story(&self) -> Vec<String> {
        let mut story = Vec::new();
        let observed = self.observed();
        for (number, run) in observed.runs.iter().enumerate() {
            story.push(format!(
                "run {number}, {:?} until its deadline: {}",
                run.left, run.payload
            ));
            for seen in &run.calls {
                let Call {
                    at,
                    operation,
                    key,
                    status,
                    ..
                } = &seen.call;
                let since = at.duration_since(start()).unwrap_or_default();
                let struck = seen.struck.as_ref().map(|strike| format!("  <- {strike}"));
                story.push(format!(
                    "  {:9.3} {operation} {} {status:?}{}",
                    since.as_secs_f64(),
                    key.as_deref().unwrap_or_default(),
                    struck.unwrap_or_default()
                ));
            }
            story.extend(
                run.warnings
                    .iter()
                    .map(|warning| format!("  log: {warning}")),
            );
            story.push(format!("  took {:?}: {:?}", run.took, run.ended));
        }
        for (number, message) in self.aws.sns().messages().iter().enumerate() {
            let by = observed.published_by.get(number);
            story.push(format!(
                "message {number} by {by:?}: {}",
                message.variants["default"]
            ));
        }
        story
    }

    fn request_id(&self) -> String {
        format!("{:08x}-0000-4000-8000-000000000000", fastrand::u32(..))
    }

    /// A process that was just started: nothing of an earlier one is left, not even how often
    /// the SDK may still retry.
    fn new_process(&self) -> Rc<Process> {
        let number = self.processes.replace(self.processes.get() + 1);
        let sdk_config = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "AKIAIOSFODNN7EXAMPLE",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                None,
                None,
                "the world",
            )))
            .endpoint_url(LocalAws::ENDPOINT_URL)
            .http_client(self.aws.http_client())
            .time_source(self.aws.clock().clone())
            .timeout_config(Clients::timeouts())
            .build();
        let retries = |service: &str| {
            RetryPartition::custom(format!("{service} {number}"))
                .token_bucket(TokenBucket::default())
                .build()
        };
        let clients = Clients {
            acmpca: aws_sdk_acmpca::Client::from_conf(
                aws_sdk_acmpca::config::Builder::from(&sdk_config)
                    .retry_partition(retries("acm-pca"))
                    .build(),
            ),
            s3: aws_sdk_s3::Client::from_conf(
                aws_sdk_s3::config::Builder::from(&sdk_config)
                    .retry_partition(retries("s3"))
                    .force_path_style(true)
                    .build(),
            ),
            sns: aws_sdk_sns::Client::from_conf(
                aws_sdk_sns::config::Builder::from(&sdk_config)
                    .retry_partition(retries("sns"))
                    .build(),
            ),
        };
        let ready = Ok((self.config.clone(), clients));
        Rc::new(Process(Function::new(
            ready,
            "pca-revocation-watch".to_owned(),
        )))
    }

    /// From now on calls take that long there and back again at most, and are not recorded: for
    /// worlds that go on for long.
    pub fn only_delay(&self, longest: Duration) {
        self.aws.keep_calls(Some(16));
        let millis = longest.as_millis() as u64;
        self.aws.on_call(move |_, _| {
            Action::Wait(Box::pin(tokio::time::sleep(Duration::from_millis(
                fastrand::u64(5..=millis),
            ))))
        });
    }

    fn watch_calls(&self) {
        let observed = Arc::clone(&self.observed);
        let sns = self.aws.sns().clone();
        self.aws.on_call(move |call, phase| {
            let mut observed = observed.lock().unwrap_or_else(PoisonError::into_inner);
            if phase == Phase::Before && call.operation == "Publish" {
                // What came without an answer of its own was late: nobody knows of it.
                let messages = sns.messages().len();
                observed.published_by.resize(messages, (usize::MAX, 0));
            }
            let action = match phase {
                Phase::Before => observed.arrived(call),
                Phase::After => observed.worked(call),
            };
            if phase == Phase::After && call.operation == "Publish" {
                let by = observed.position(call.number).unwrap_or((usize::MAX, 0));
                let messages = sns.messages().len();
                observed.published_by.resize(messages, by);
            }
            action
        });
    }
}

impl Drop for World {
    /// The hook knows the stand-ins that know it.
    fn drop(&mut self) {
        self.aws.clear_hook();
    }
}

impl Observed {
    fn arrived(&mut self, call: &Call) -> Action {
        let Some(number) = CURRENT.get() else {
            self.strays
                .push(format!("{} of {:?}", call.operation, call.key));
            return Action::Proceed;
        };
        let index = self.runs[number].calls.len();
        let run = number.checked_sub(self.first_struck);
        let mut struck = None;
        for armed in self
            .strikes
            .iter_mut()
            .filter(|armed| Some(armed.strike.run) == run)
        {
            let strike = &armed.strike;
            let hits = match &armed.hit {
                None => strike.call == index,
                Some((invocation_id, operation)) => match strike.extent {
                    Extent::Attempt => false,
                    Extent::Call => *invocation_id == call.invocation_id,
                    Extent::Rest => *operation == call.operation,
                },
            };
            if hits {
                armed
                    .hit
                    .get_or_insert_with(|| (call.invocation_id.clone(), call.operation.clone()));
                struck = Some(strike.clone());
                break;
            }
        }
        if struck.is_none()
            && let Some((rng, one_in)) = &mut self.trouble
            && rng.u32(..*one_in) == 0
        {
            let mut blows = blows(call);
            // One in five kills.
            if rng.u8(..5) == 0 {
                blows.truncate(2);
            }
            let (blow, extent) = blows.swap_remove(rng.usize(..blows.len()));
            let strike = Strike {
                run: number - self.first_struck,
                call: index,
                blow,
                extent,
            };
            let hit = Some((call.invocation_id.clone(), call.operation.clone()));
            self.strikes.push(Armed {
                strike: strike.clone(),
                hit,
            });
            struck = Some(strike);
        }
        let is_fatal =
            |part: &mut String| call.key.as_ref().is_some_and(|key| key.contains(&*part));
        if call.operation == "GetObject" && self.kill_at_key.take_if(is_fatal).is_some() {
            let blow = Blow::KillBefore;
            struck = Some(Strike {
                run: number,
                call: index,
                blow,
                extent: Extent::Attempt,
            });
        }
        let run = &mut self.runs[number];
        run.calls.push(Seen {
            call: call.clone(),
            struck: struck.clone(),
        });
        match struck.map(|strike| strike.blow) {
            Some(Blow::Fault(_, fault)) => Action::Misbehave(fault),
            Some(Blow::KillBefore) => {
                run.kill.notify_one();
                Action::Stop
            }
            Some(Blow::KillAfter) => Action::Proceed,
            None => self.delay(),
        }
    }

    fn worked(&mut self, call: &Call) -> Action {
        let Some((run, index)) = self.position(call.number) else {
            return Action::Proceed;
        };
        let run = &mut self.runs[run];
        let seen = &mut run.calls[index];
        seen.call = call.clone();
        match seen.struck.as_ref().map(|strike| &strike.blow) {
            Some(Blow::KillAfter) => {
                run.kill.notify_one();
                Action::Stop
            }
            Some(_) => Action::Proceed,
            None => self.delay(),
        }
    }

    fn delay(&self) -> Action {
        if self.latency.is_zero() {
            return Action::Proceed;
        }
        let millis = self.latency.as_millis() as u64;
        Action::Wait(Box::pin(tokio::time::sleep(Duration::from_millis(
            fastrand::u64(0..=millis),
        ))))
    }

    fn position(&self, number: u64) -> Option<(usize, usize)> {
        self.runs.iter().enumerate().rev().find_map(|(run, seen)| {
            let index = seen
                .calls
                .iter()
                .rposition(|seen| seen.call.number == number)?;
            Some((run, index))
        })
    }
}

pub fn scheduled() -> Value {
    json!({
        "version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event", "source": "aws.events", "account": "123456789012",
        "time": "2026-11-21T04:00:00Z", "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/watch"], "detail": {},
    })
}

thread_local! {
    /// The run whose future is being polled.
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
    static LOG: RefCell<Vec<(usize, String)>> = const { RefCell::new(Vec::new()) };
}

struct Current;

impl Current {
    fn set(run: usize) -> Self {
        CURRENT.set(Some(run));
        Self
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

fn take_log(run: usize) -> Vec<String> {
    LOG.with_borrow_mut(|log| {
        let (taken, left) = std::mem::take(log)
            .into_iter()
            .partition(|(by, _)| *by == run);
        *log = left;
        taken.into_iter().map(|(_, line)| line).collect()
    })
}

/// Keeps this thread's log lines of level WARN and above by run, as long as the guard lives.
pub fn keep_log() -> tracing::subscriber::DefaultGuard {
    use tracing_subscriber::EnvFilter;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("off,pca_revocation_watch=warn"))
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(|| LogLine)
        .finish();
    tracing::subscriber::set_default(subscriber)
}

struct LogLine;

impl io::Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(run) = CURRENT.get() {
            let text = String::from_utf8_lossy(line).trim_end().to_owned();
            LOG.with_borrow_mut(|log| log.push((run, text)));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The account's request quotas, lifted.
pub fn lift_quotas(world: &World) {
    world.aws.private_ca().set_quotas(Quotas::UNLIMITED);
}

/// When a message or an audit says that something was, as a number.
pub fn timestamp(value: &Value) -> Option<Timestamp> {
    Timestamp::parse(value.as_str()?)
}
