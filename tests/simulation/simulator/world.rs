//! The world: an account, its CAs, and Lambda running the function.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use lambda_runtime::Diagnostic;
use local_aws::{
    Action, Actor, Call, Certificate, LocalAws, Phase, Profile, Protocol, Quotas, Settings,
    Subscription,
};
use pca_revocation_watch::aws::clients::Clients;
use pca_revocation_watch::budget::Budget;
use pca_revocation_watch::config::Config;
use pca_revocation_watch::handler::{Function, Invocation};
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::EnvFilter;

use super::checks;
use super::plan::{Extent, Failure, Injection, failures};
use super::scale_out::ScaleOut;
use super::scenario::health_key;

pub const BUCKET: &str = "amzn-s3-demo-bucket";
pub const PERIOD: Duration = Duration::from_secs(1800);
/// The function's timeout in template.yaml.
pub const TIMEOUT: Duration = Duration::from_secs(900);
const FUNCTION_ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:pca-revocation-watch";

/// Returns when every world begins: 2026-11-21T04:00:00Z.
pub fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_233_600)
}

pub struct World {
    pub aws: LocalAws,
    pub config: Config,
    /// The audit queue, if the world has one.
    pub scale_out: Option<ScaleOut>,
    pub cas: Vec<String>,
    pub topic: String,
    /// Every revocation, whether or not the function has seen it.
    pub revoked: RefCell<Vec<Revoked>>,
    /// Whether AWS had a reason to refuse something for more than a call.
    pub was_refused: Cell<bool>,
    /// CAs that were not auditable for some time, although every auditable CA is watched.
    pub left: RefCell<BTreeSet<String>>,
    /// How often the health document was lost.
    pub rebuilds: Cell<u32>,
    /// The health document that one of a newer version has replaced.
    pub newer_health: Cell<Option<Vec<u8>>>,
    /// What full runs should have announced and did not.
    pub unannounced: RefCell<Vec<String>>,
    /// The number of the first revocation that differs from others; `None` if all are alike.
    pub(super) variety: Cell<Option<u32>>,
    /// Key and pointers of certificates, by CA and serial.
    pub profiles: RefCell<HashMap<(String, String), Profile>>,
    /// Valid certificates, with their CA, that have the subject of a revoked one.
    pub(super) siblings: RefCell<Vec<(String, String)>>,
    /// CAs by the serial of their own certificate, if that was issued in this world.
    pub authorities: RefCell<BTreeMap<String, String>>,
    /// Whether a CA has a CRL, OCSP, and a CRL without pointer, if not as by default.
    pub checking: RefCell<BTreeMap<String, (bool, bool, bool)>>,
    /// Number of statements of investigations that were checked, by kind.
    pub checked: RefCell<BTreeMap<&'static str, usize>>,
    /// Number of runs in progress, and of those that have begun.
    active: Cell<(u32, u32)>,
    began: Instant,
    idle: RefCell<Vec<Rc<Process>>>,
    configuration: Cell<u32>,
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
    /// Older than the first audit's lookback: counted, but not alerted.
    pub is_earlier: bool,
    /// Who revoked it, if not as CloudTrail's event says.
    pub by: Option<Actor>,
}

/// An execution environment of Lambda, which serves one invocation at a time.
struct Process {
    function: Function,
    /// The number of the function's configuration: another one starts new processes.
    configuration: u32,
}

/// Everything observed of all runs so far.
#[derive(Default)]
pub struct Observed {
    pub runs: Vec<Run>,
    injections: Vec<PendingInjection>,
    /// The run with index 0 in the injections.
    first_injected: usize,
    /// Random failures: the generator, and the number of calls of which one fails.
    random_failures: Option<(fastrand::Rng, u32)>,
    /// The process dies when it next reads an object whose key contains this.
    kill_at_key: Option<String>,
    /// Maximum delay of a call in each direction; zero for none.
    latency: Duration,
    /// Calls outside any run: something kept working after the response.
    pub stray_calls: Vec<String>,
    /// Run and call that published each message.
    pub published_by: Vec<(usize, usize)>,
}

struct PendingInjection {
    injection: Injection,
    /// Invocation ID and operation of the first affected call, if it has arrived.
    hit: Option<(Option<String>, String)>,
}

/// One invocation.
pub struct Run {
    pub payload: Value,
    pub left: Duration,
    pub calls: Vec<ObservedCall>,
    /// The log lines of level WARN and above.
    pub warnings: Vec<String>,
    /// The log lines of level INFO.
    pub infos: Vec<String>,
    pub ended: Option<Ended>,
    pub took: Duration,
    pub ended_at: Option<SystemTime>,
    kill: Arc<Notify>,
}

impl Run {
    /// Returns whether the process died before it responded.
    pub fn was_killed(&self) -> bool {
        matches!(self.ended, None | Some(Ended::Killed | Ended::TimedOut))
    }
}

/// A call that a run made.
#[derive(Clone, Debug)]
pub struct ObservedCall {
    pub call: Call,
    pub injected: Option<Injection>,
}

/// How an invocation ended.
#[derive(Clone, Debug)]
pub enum Ended {
    Returned(Value),
    Failed(Diagnostic),
    /// The process died.
    Killed,
    /// Lambda ended the process because it had not responded by its deadline.
    TimedOut,
}

impl Ended {
    pub fn response(&self) -> Option<&Value> {
        match self {
            Ended::Returned(response) => Some(response),
            _ => None,
        }
    }
}

/// Conditions of an invocation.
#[derive(Clone, Copy, Debug)]
pub struct InvokeOptions {
    /// Time until Lambda's deadline.
    pub left: Duration,
    /// How far the function's clock is ahead of AWS's, in milliseconds.
    pub clock_ahead_ms: i64,
}

impl InvokeOptions {
    /// Returns what the function's clock shows at that time.
    fn on_clock_of_function(&self, at: SystemTime) -> SystemTime {
        let ahead = Duration::from_millis(self.clock_ahead_ms.unsigned_abs());
        match self.clock_ahead_ms < 0 {
            true => at - ahead,
            false => at + ahead,
        }
    }

    /// An invocation whose deadline is this many seconds away.
    pub fn ending_in(seconds: u64) -> Self {
        Self {
            left: Duration::from_secs(seconds),
            ..Self::default()
        }
    }
}

impl Default for InvokeOptions {
    fn default() -> Self {
        Self {
            left: TIMEOUT,
            clock_ahead_ms: 0,
        }
    }
}

impl World {
    /// Creates an account with this many CAs; `variables` configure the function.
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
            scale_out: None,
            cas,
            topic,
            revoked: RefCell::default(),
            was_refused: Cell::new(false),
            left: RefCell::default(),
            rebuilds: Cell::new(0),
            newer_health: Cell::default(),
            unannounced: RefCell::default(),
            variety: Cell::default(),
            profiles: RefCell::default(),
            siblings: RefCell::default(),
            authorities: RefCell::default(),
            checking: RefCell::default(),
            checked: RefCell::default(),
            active: Cell::new((0, 0)),
            began: Instant::now(),
            idle: RefCell::default(),
            configuration: Cell::new(0),
            names: Cell::new(0),
            observed: Arc::default(),
        };
        world.subscribe();
        world.watch_calls();
        world
    }

    /// Delays every call by up to this long in each direction.
    pub fn set_latency(&self, latency: Duration) {
        self.observed().latency = latency;
    }

    /// Injects these failures, counted from the next run.
    pub fn inject(&self, injections: impl IntoIterator<Item = Injection>) {
        let mut observed = self.observed();
        observed.first_injected = observed.runs.len();
        observed.injections = injections
            .into_iter()
            .map(|injection| PendingInjection {
                injection,
                hit: None,
            })
            .collect();
    }

    /// Kills the process when it next reads an object whose key contains `part`.
    pub fn kill_at_key(&self, part: String) {
        self.observed().kill_at_key = Some(part);
    }

    /// Makes any call fail at random from now on.
    pub fn inject_at_random(&self, rng: &mut fastrand::Rng) {
        let one_in = rng.u32(8..200);
        self.observed().random_failures = Some((rng.fork(), one_in));
    }

    pub fn stop_injecting_at_random(&self) {
        self.observed().random_failures = None;
    }

    /// Stops all failures.
    pub fn stop_injecting(&self) {
        self.stop_injecting_at_random();
        self.observed().injections.clear();
        self.aws.clear_faults();
    }

    pub fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Issues a certificate and returns its serial.
    pub fn issue(&self, ca: usize) -> String {
        let row = self.next_certificate(ca);
        let serial = row.serial.clone();
        self.aws.private_ca().add(&self.cas[ca], row);
        serial
    }

    /// Returns a certificate to issue, with a subject of its own.
    pub(super) fn next_certificate(&self, ca: usize) -> Certificate {
        let name = self.names.replace(self.names.get() + 1);
        let name = format!("www.example{name}.com");
        self.aws.private_ca().certificate(&self.cas[ca], &name)
    }

    /// Issues a certificate and revokes it at once.
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
        let mut revoked = Revoked {
            ca: self.cas[ca].clone(),
            serial: String::new(),
            reason,
            at,
            is_earlier,
            by: None,
        };
        if let Some(number) = self.variety.get() {
            self.variety.set(Some(number + 1));
            return self.revoke_varied(ca, revoked, number);
        }
        let serial = self.issue(ca);
        self.aws
            .private_ca()
            .revoke_at(&self.cas[ca], &serial, reason, at);
        revoked.serial.clone_from(&serial);
        self.revoked.borrow_mut().push(revoked);
        serial
    }

    /// Waits until this long after the world began.
    pub async fn until(&self, after: Duration) {
        tokio::time::sleep_until(self.began + after).await;
    }

    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until the next period begins.
    pub async fn next_period(&self) {
        let periods = (self.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
        self.until(PERIOD * periods).await;
    }

    /// Adds a subscription of the topic.
    pub fn subscribe(&self) {
        let sqs = Subscription::new(Protocol::Sqs, "queue");
        self.aws
            .sns()
            .subscribe(&self.topic, sqs)
            .expect("a standard topic accepts a queue");
    }

    /// Removes all subscriptions of the topic.
    pub fn unsubscribe_all(&self) {
        self.aws.sns().delete_topic(&self.topic);
        self.aws.sns().create_topic("revocations");
    }

    /// Sends the schedule's event, with Lambda's retries of a failed asynchronous invocation after
    /// one minute and two more (AWS Lambda Developer Guide, "How Lambda handles errors and retries
    /// with asynchronous invocation").
    pub async fn schedule(&self, options: InvokeOptions) -> Ended {
        self.invoke_asynchronously(self.scheduled(), options).await
    }

    pub async fn invoke_asynchronously(&self, payload: Value, options: InvokeOptions) -> Ended {
        self.deliver(payload, options, &self.request_id()).await
    }

    /// Delivers an asynchronous invocation: Lambda may deliver it more than once, with the same request
    /// ID.
    pub async fn deliver(&self, payload: Value, options: InvokeOptions, request_id: &str) -> Ended {
        let mut ended = self.attempt(&payload, options, request_id).await;
        for minutes in [1, 2] {
            if matches!(ended, Ended::Returned(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
            ended = self.attempt(&payload, options, request_id).await;
        }
        ended
    }

    /// Invokes the function synchronously: Lambda does not retry.
    pub async fn invoke(&self, payload: Value, options: InvokeOptions) -> Ended {
        let request_id = self.request_id();
        self.attempt(&payload, options, &request_id).await
    }

    pub(super) async fn attempt(
        &self,
        payload: &Value,
        options: InvokeOptions,
        request_id: &str,
    ) -> Ended {
        let (number, kill) = self.record(payload, options);
        let idle = self.idle.borrow_mut().pop();
        let process = idle.unwrap_or_else(|| self.new_process());
        let started = options.on_clock_of_function(self.aws.clock().now());
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            function_arn: FUNCTION_ARN.to_owned(),
            budget: Budget::starting(started, options.left),
            nonce: format!("{:016x}", fastrand::u64(..)),
        };
        let began = Instant::now();
        let solo = self.begin();
        let ended = {
            // Boxed: the compiler limits how deep futures nest.
            let mut handled = Box::pin(process.function.handle(payload, &invocation));
            let handled = poll_fn(|context| {
                let _current = Current::set(number);
                handled.as_mut().poll(context)
            });
            tokio::select! {
                biased;
                () = kill.notified() => Ended::Killed,
                result = handled => match result {
                    Ok(response) => Ended::Returned(response),
                    Err(error) => Ended::Failed(error),
                },
                () = tokio::time::sleep(options.left) => Ended::TimedOut,
            }
        };
        // A process that is still alive waits, frozen, for the next invocation.
        let is_alive = matches!(ended, Ended::Returned(_) | Ended::Failed(_));
        if is_alive && process.configuration == self.configuration.get() {
            self.idle.borrow_mut().push(process);
        }
        let (infos, warnings) = take_log(number);
        if self.end(solo) {
            let unannounced = if is_full(payload) {
                checks::unannounced(self, number, &ended)
            } else if Self::is_comparison(payload) && is_alive && warnings.is_empty() {
                checks::unannounced_of_all(self, number)
            } else {
                Vec::new()
            };
            self.unannounced.borrow_mut().extend(unannounced);
        }
        let mut observed = self.observed();
        let run = &mut observed.runs[number];
        run.took = began.elapsed();
        run.ended_at = Some(self.aws.clock().now());
        run.warnings = warnings;
        run.infos = infos;
        run.ended = Some(ended.clone());
        ended
    }

    /// Records a run that begins; returns its index and what kills it.
    fn record(&self, payload: &Value, options: InvokeOptions) -> (usize, Arc<Notify>) {
        let kill = Arc::new(Notify::new());
        let mut observed = self.observed();
        observed.runs.push(Run {
            payload: payload.clone(),
            left: options.left,
            calls: Vec::new(),
            warnings: Vec::new(),
            infos: Vec::new(),
            ended: None,
            took: Duration::ZERO,
            ended_at: None,
            kill: Arc::clone(&kill),
        });
        (observed.runs.len() - 1, kill)
    }

    /// Counts a run that begins; returns its number if it is alone and the health document is free.
    fn begin(&self) -> Option<u32> {
        let (active, begun) = self.active.get();
        self.active.set((active + 1, begun + 1));
        (active == 0 && !self.is_health_leased()).then_some(begun + 1)
    }

    /// Counts a run that ends; returns whether it was alone all the time.
    fn end(&self, solo: Option<u32>) -> bool {
        let (active, begun) = self.active.get();
        self.active.set((active - 1, begun));
        solo == Some(begun)
    }

    /// Returns whether a run holds the lease on the health document, or died with it.
    fn is_health_leased(&self) -> bool {
        let bytes = self.aws.s3().get(BUCKET, &health_key(self));
        let health = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let until = health.and_then(|health| timestamp(&health["lease"]["until"]));
        until.is_some_and(|until| SystemTime::from(until) + PERIOD / 30 > self.aws.clock().now())
    }

    /// Describes every run, call and message.
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
                let injected = seen
                    .injected
                    .as_ref()
                    .map(|injection| format!("  <- {injection}"));
                story.push(format!(
                    "  {:9.3} {operation} {} {status:?}{}",
                    since.as_secs_f64(),
                    key.as_deref().unwrap_or_default(),
                    injected.unwrap_or_default()
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

    pub(super) fn request_id(&self) -> String {
        format!("{:08x}-0000-4000-8000-000000000000", fastrand::u32(..))
    }

    /// Starts a process without any memory of an earlier one, including the SDK's retry quota.
    fn new_process(&self) -> Rc<Process> {
        let sdk_config = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "AKIAIOSFODNN7EXAMPLE",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                None,
                None,
                "simulation",
            )))
            .endpoint_url(LocalAws::ENDPOINT_URL)
            .http_client(self.aws.http_client())
            .time_source(self.aws.clock().clone())
            .timeout_config(Clients::timeouts())
            .build();
        let mut config = self.config.clone();
        if self.scale_out.is_some() && !self.is_scaled_out() {
            config.audit_queue = None;
        }
        let clients = Clients::new(&sdk_config, &config);
        Rc::new(Process {
            function: Function::new(Ok((config, clients)), "pca-revocation-watch".to_owned()),
            configuration: self.configuration.get(),
        })
    }

    /// Starts new processes for all later invocations, as a change of the function's configuration does.
    pub(super) fn replace_processes(&self) {
        self.configuration.set(self.configuration.get() + 1);
        self.idle.borrow_mut().clear();
    }

    /// Returns the number of invocations in progress.
    pub(super) fn active(&self) -> u32 {
        self.active.get().0
    }

    /// Returns the event of a schedule that is due now.
    pub fn scheduled(&self) -> Value {
        json!({
            "version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
            "detail-type": "Scheduled Event", "source": "aws.events", "account": "123456789012",
            "time": Timestamp::from(self.aws.clock().now()), "region": "us-east-1",
            "resources": ["arn:aws:events:us-east-1:123456789012:rule/watch"], "detail": {},
        })
    }

    /// Delays calls by up to `longest` in each direction, and stops recording them: for long-running
    /// worlds.
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
                // A message that was accepted without a response belongs to no known call.
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
                // Nor does one that SNS accepted late, while it worked on this call.
                if messages > observed.published_by.len() + 1 {
                    observed.published_by.resize(messages - 1, (usize::MAX, 0));
                }
                observed.published_by.resize(messages, by);
            }
            action
        });
    }
}

impl Drop for World {
    /// Breaks the reference cycle between the hook and the emulators.
    fn drop(&mut self) {
        self.aws.clear_hook();
    }
}

impl Observed {
    /// Returns the index of the first run that planned failures may affect.
    pub fn first_injected(&self) -> usize {
        self.first_injected
    }

    /// Returns the maximum delay of a call in each direction.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// Records a call before the service works on it, and decides what happens to it.
    fn arrived(&mut self, call: &Call) -> Action {
        let Some(number) = CURRENT.get() else {
            self.stray_calls
                .push(format!("{} of {:?}", call.operation, call.key));
            return Action::Proceed;
        };
        let index = self.runs[number].calls.len();
        let mut injected = self
            .planned_failure(number, index, call)
            .or_else(|| self.random_failure(number, index, call));
        let is_fatal =
            |part: &mut String| call.key.as_ref().is_some_and(|key| key.contains(&*part));
        if call.operation == "GetObject" && self.kill_at_key.take_if(is_fatal).is_some() {
            injected = Some(Injection {
                run: number,
                call: index,
                failure: Failure::KillBefore,
                extent: Extent::Attempt,
            });
        }
        let run = &mut self.runs[number];
        run.calls.push(ObservedCall {
            call: call.clone(),
            injected: injected.clone(),
        });
        match injected.map(|injection| injection.failure) {
            Some(Failure::Fault(_, fault)) => Action::Inject(fault),
            Some(Failure::KillBefore) => {
                run.kill.notify_one();
                Action::Stop
            }
            Some(Failure::KillAfter) => Action::Proceed,
            None => self.delay(),
        }
    }

    /// Returns the planned injection that affects this call, if any.
    fn planned_failure(&mut self, run: usize, index: usize, call: &Call) -> Option<Injection> {
        let run = run.checked_sub(self.first_injected)?;
        let of_run = |pending: &&mut PendingInjection| pending.injection.run == run;
        for pending in self.injections.iter_mut().filter(of_run) {
            let injection = &pending.injection;
            let hits = match &pending.hit {
                None => injection.call == index,
                Some((invocation_id, operation)) => match injection.extent {
                    Extent::Attempt => false,
                    Extent::Call => *invocation_id == call.invocation_id,
                    Extent::Rest => *operation == call.operation,
                },
            };
            if hits {
                pending
                    .hit
                    .get_or_insert_with(|| (call.invocation_id.clone(), call.operation.clone()));
                return Some(injection.clone());
            }
        }
        None
    }

    /// Draws whether this call fails at random, and how.
    fn random_failure(&mut self, run: usize, index: usize, call: &Call) -> Option<Injection> {
        let (rng, one_in) = self.random_failures.as_mut()?;
        if rng.u32(..*one_in) != 0 {
            return None;
        }
        let mut failures = failures(call);
        // One failure in five kills the process.
        if rng.u8(..5) == 0 {
            failures.truncate(2);
        }
        let (failure, extent) = failures.swap_remove(rng.usize(..failures.len()));
        let injection = Injection {
            run: run - self.first_injected,
            call: index,
            failure,
            extent,
        };
        self.injections.push(PendingInjection {
            injection: injection.clone(),
            hit: Some((call.invocation_id.clone(), call.operation.clone())),
        });
        Some(injection)
    }

    /// Records a call after the service has worked on it, and decides what happens to its response.
    fn worked(&mut self, call: &Call) -> Action {
        let Some((run, index)) = self.position(call.number) else {
            return Action::Proceed;
        };
        let run = &mut self.runs[run];
        let seen = &mut run.calls[index];
        seen.call = call.clone();
        match seen.injected.as_ref().map(|injection| &injection.failure) {
            Some(Failure::KillAfter) => {
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

/// Returns whether an event starts a full run that records what it does.
fn is_full(payload: &Value) -> bool {
    payload == &json!({}) || payload["detail-type"] == "Scheduled Event"
}

thread_local! {
    /// Index of the run whose future is being polled.
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

/// Takes the log lines of a run: those of level INFO, and the others.
fn take_log(run: usize) -> (Vec<String>, Vec<String>) {
    LOG.with_borrow_mut(|log| {
        let (taken, left) = std::mem::take(log)
            .into_iter()
            .partition::<Vec<_>, _>(|(by, _)| *by == run);
        *log = left;
        let lines = taken.into_iter().map(|(_, line)| line);
        lines.partition(|line| line.starts_with(" INFO "))
    })
}

/// A second dispatcher. If a process has one only, another thread that reaches a log statement first
/// switches it off for all.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

/// Keeps this thread's log lines of level WARN and above by run, while the guard lives.
pub fn keep_log() -> DefaultGuard {
    keep_log_of("off,pca_revocation_watch=warn")
}

/// Keeps this thread's log lines that the filter selects by run, while the guard lives.
pub fn keep_log_of(filter: &str) -> DefaultGuard {
    LazyLock::force(&SECOND);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
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

/// Lifts the account's request quotas.
pub fn lift_quotas(world: &World) {
    world.aws.private_ca().set_quotas(Quotas::UNLIMITED);
}

/// Parses a timestamp of a message or a response.
pub fn timestamp(value: &Value) -> Option<Timestamp> {
    Timestamp::parse(value.as_str()?)
}
