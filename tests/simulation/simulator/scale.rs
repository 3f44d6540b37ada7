//! Hundreds of CAs under Private CA's real quotas: whether every audit is in time, and what it costs,
//! with an audit queue and without.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use futures_util::future::join_all;
use local_aws::{Action, Call, NextReport, Outcome, Phase, PrivateCa, S3, Service};
use serde_json::Value;

use super::on_paused_clock;
use super::random::Audits;
use super::scenario::control_key;
use super::world::{BUCKET, InvokeOptions, World, start, timestamp};

/// Generation times of reports are between these, and evenly distributed on a logarithmic scale.
const GENERATION: (f64, f64) = (5.0, 1200.0);

/// One in this many reports fails.
const FAILING: u32 = 100;

/// Maximum time by which an event of the schedule is late.
const JITTER: Duration = Duration::from_secs(60);

/// Maximum time that a call takes in each direction, in milliseconds.
const LATENCY_MS: u64 = 50;

/// How much later than its request Private CA's time of a report may be stated.
const STATED_TOLERANCE: Duration = Duration::from_secs(5);

/// A schedule of many CAs.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub audits: Audits,
    pub certificate_authorities: usize,
    pub interval: Duration,
    /// Number of schedules; the figures leave out the first one, with its first audits.
    pub periods: u32,
    pub maximum_concurrency: usize,
}

/// Results of all periods but the first.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub periods: u32,
    pub invocations: usize,
    /// Sum of the durations of all invocations.
    pub paid: Duration,
    pub longest: Duration,
    /// Number of calls by service and operation.
    pub calls: BTreeMap<(Service, String), u64>,
    pub throttled: u64,
    pub audits: usize,
    pub failed_reports: usize,
    /// CAs and periods without a report requested in that period.
    pub skipped: usize,
    /// Reports that were not audited within one interval and their generation time after the schedule.
    pub late: usize,
    /// Number of quiet audits by their writes to S3.
    pub writes: BTreeMap<u32, usize>,
    /// The longest time between the request of a complete audit's report and the next complete audit, if
    /// no report failed in between.
    pub worst_age: Duration,
    pub violations: Vec<String>,
}

/// Simulates all periods.
pub fn simulate(seed: u64, scale: Scale) -> Figures {
    on_paused_clock(seed, async {
        let minutes = (scale.interval.as_secs() / 60).to_string();
        let variables = [
            ("CERTIFICATE_AUTHORITY_ARNS", "*"),
            ("AUDIT_INTERVAL_MINUTES", minutes.as_str()),
        ];
        let cas = scale.certificate_authorities;
        let world = match scale.audits {
            Audits::Inline => World::new(seed, cas, &variables),
            Audits::ScaledOut => {
                World::scaled_out(seed, cas, &variables, scale.maximum_concurrency)
            }
        };
        for ca in 0..cas {
            world.issue(ca);
            world.revoke_long_ago(ca, "SUPERSEDED");
        }
        let observed = observe(&world, seed);
        let mut rng = Rng::with_seed(seed);
        let late = |_| Duration::from_millis(rng.u64(..JITTER.as_millis() as u64));
        let late: Vec<Duration> = (0..scale.periods).map(late).collect();
        let undrained = world.with_workers(live(&world, scale, &late)).await;
        let observed = lock(&observed);
        let mut figures = figures(&world, scale, &observed);
        figures.violations.extend(undrained);
        figures
    })
}

/// Sends the events of the schedule, each at its time; returns a violation if the queue keeps messages.
async fn live(world: &World, scale: Scale, late: &[Duration]) -> Option<String> {
    join_all(late.iter().enumerate().map(|(period, late)| async move {
        world.until(scale.interval * period as u32 + *late).await;
        world.schedule(InvokeOptions::default()).await
    }))
    .await;
    // What has no audit by then is late.
    world.until(scale.interval * (scale.periods + 1)).await;
    world.drain().await
}

/// A report that was requested.
#[derive(Clone, Copy, Debug)]
struct Requested {
    at: SystemTime,
    generation: Duration,
    has_failed: bool,
    audited_at: Option<SystemTime>,
}

/// Everything observed of the calls.
struct Observed {
    private_ca: PrivateCa,
    s3: S3,
    rng: Rng,
    /// CAs by the key of their control document.
    controls: HashMap<String, String>,
    /// The report that a CA gets next.
    next: HashMap<String, (Duration, bool)>,
    reports: HashMap<String, Vec<Requested>>,
    /// Writes of each CA since its last report was requested.
    writes: HashMap<String, u32>,
    writes_per_audit: Vec<(SystemTime, u32)>,
    calls: Vec<(SystemTime, Service, String, bool)>,
}

/// Records what happens to each CA, draws the reports, and makes every call take some milliseconds.
fn observe(world: &World, seed: u64) -> Arc<Mutex<Observed>> {
    let controls = world.cas.iter().enumerate();
    let observed = Arc::new(Mutex::new(Observed {
        private_ca: world.aws.private_ca().clone(),
        s3: world.aws.s3().clone(),
        rng: Rng::with_seed(seed),
        controls: controls
            .map(|(number, ca)| (control_key(world, number), ca.clone()))
            .collect(),
        next: HashMap::new(),
        reports: HashMap::new(),
        writes: HashMap::new(),
        writes_per_audit: Vec::new(),
        calls: Vec::new(),
    }));
    // Calls that are no longer recorded have no second phase.
    world.aws.keep_calls(Some(4096));
    let clock = world.aws.clock().clone();
    let by_hook = Arc::clone(&observed);
    world.aws.on_call(move |call, phase| {
        let mut observed = lock(&by_hook);
        match phase {
            Phase::Before => observed.arrived(call),
            Phase::After => observed.worked(call, clock.now()),
        }
        let delay = Duration::from_millis(fastrand::u64(5..=LATENCY_MS));
        Action::Wait(Box::pin(tokio::time::sleep(delay)))
    });
    observed
}

fn lock(observed: &Arc<Mutex<Observed>>) -> MutexGuard<'_, Observed> {
    observed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observed {
    fn arrived(&mut self, call: &Call) {
        let Some(ca) = requested_ca(call).filter(|ca| !self.next.contains_key(*ca)) else {
            return;
        };
        let (least, most) = GENERATION;
        let seconds = least * (most / least).powf(self.rng.f64());
        let (generation, has_failed) = (
            Duration::from_secs_f64(seconds),
            self.rng.u32(..FAILING) == 0,
        );
        let mut next = NextReport::new().delay(generation);
        if has_failed {
            next = next.outcome(Outcome::Failed);
        }
        self.private_ca.next_report(ca, next);
        self.next.insert(ca.to_owned(), (generation, has_failed));
    }

    fn worked(&mut self, call: &Call, now: SystemTime) {
        let error = call.error_code.as_ref();
        let is_throttled = error.is_some_and(|code| code == "ThrottlingException");
        self.calls
            .push((call.at, call.service, call.operation.clone(), is_throttled));
        if call.status == Some(200)
            && let Some(ca) = requested_ca(call)
            && let Some((generation, has_failed)) = self.next.remove(ca)
        {
            self.writes.insert(ca.to_owned(), 0);
            let reports = self.reports.entry(ca.to_owned()).or_default();
            reports.push(Requested {
                at: call.at,
                generation,
                has_failed,
                audited_at: None,
            });
        }
        let written = call.key.as_ref().filter(|_| call.operation == "PutObject");
        if let Some(ca) = written.and_then(|key| self.controls.get(key)).cloned() {
            self.wrote(ca, written.expect("there is one"), now);
        }
    }

    /// Observes a write of a CA's control document.
    fn wrote(&mut self, ca: String, key: &str, now: SystemTime) {
        *self.writes.entry(ca.clone()).or_default() += 1;
        let control = self.s3.get(BUCKET, key).unwrap_or_default();
        let control: Value = serde_json::from_slice(&control).unwrap_or_default();
        let last = timestamp(&control["lastCompleteAudit"]["requestedAt"]);
        let Some(last) = last.map(SystemTime::from) else {
            return;
        };
        let reports = self.reports.entry(ca.clone()).or_default();
        let is_audited = |report: &&mut Requested| {
            report.audited_at.is_none()
                && report.at <= last + STATED_TOLERANCE
                && last <= report.at + STATED_TOLERANCE
        };
        if let Some(report) = reports.iter_mut().find(is_audited) {
            report.audited_at = Some(now);
            let writes = self.writes.remove(&ca).unwrap_or_default();
            // The first audit is not quiet, and what a failed report took is not part of the next audit.
            let before = reports.iter().rev().nth(1);
            if before.is_some_and(|before| before.audited_at.is_some()) {
                self.writes_per_audit.push((now, writes));
            }
        }
    }
}

/// Returns the CA of a report request.
fn requested_ca(call: &Call) -> Option<&str> {
    let is_request = call.operation == "CreateCertificateAuthorityAuditReport";
    call.certificate_authority_arn
        .as_deref()
        .filter(|_| is_request)
}

fn figures(world: &World, scale: Scale, observed: &Observed) -> Figures {
    let began = |period: u32| start() + scale.interval * period;
    let is_counted = |at: SystemTime| (began(1)..began(scale.periods)).contains(&at);
    let mut figures = Figures {
        periods: scale.periods - 1,
        ..Figures::default()
    };
    for run in &world.observed().runs {
        let began = run.ended_at.map(|ended_at| ended_at - run.took);
        if began.is_some_and(is_counted) {
            figures.invocations += 1;
            figures.paid += run.took;
            figures.longest = figures.longest.max(run.took);
        }
    }
    let calls = observed.calls.iter();
    for (_, service, operation, is_throttled) in calls.filter(|(at, ..)| is_counted(*at)) {
        let entry = figures.calls.entry((*service, operation.clone()));
        *entry.or_default() += 1;
        figures.throttled += u64::from(*is_throttled);
    }
    let writes = observed.writes_per_audit.iter();
    for (_, writes) in writes.filter(|(at, _)| is_counted(*at)) {
        *figures.writes.entry(*writes).or_default() += 1;
    }
    for ca in &world.cas {
        let reports = observed.reports.get(ca).map(Vec::as_slice);
        let reports = reports.unwrap_or_default();
        figures.add_ages(reports);
        for period in 1..scale.periods {
            figures.add_period(reports, began(period), scale.interval);
        }
    }
    figures.violations = figures.find_violations(world, scale);
    figures
}

impl Figures {
    /// Adds the period of a CA that begins then.
    fn add_period(&mut self, reports: &[Requested], began: SystemTime, interval: Duration) {
        let in_period = |report: &&Requested| began <= report.at && report.at < began + interval;
        let Some(report) = reports.iter().find(in_period) else {
            self.skipped += 1;
            return;
        };
        match report.audited_at {
            _ if report.has_failed => self.failed_reports += 1,
            Some(at) if at <= began + interval + report.generation => self.audits += 1,
            Some(_) => {
                self.audits += 1;
                self.late += 1;
            }
            None => self.late += 1,
        }
    }

    fn add_ages(&mut self, reports: &[Requested]) {
        for pair in reports.windows(2) {
            if let (Some(_), Some(next)) = (pair[0].audited_at, pair[1].audited_at) {
                let age = next.duration_since(pair[0].at).unwrap_or_default();
                self.worst_age = self.worst_age.max(age);
            }
        }
    }

    /// Returns the figures that an audit queue must not produce.
    fn find_violations(&self, world: &World, scale: Scale) -> Vec<String> {
        let mut violations = Vec::new();
        if scale.audits == Audits::Inline {
            return violations;
        }
        let requests = self.count(Service::PrivateCa, "CreateCertificateAuthorityAuditReport");
        let most = self.writes.keys().max().copied().unwrap_or_default();
        let dead = world.dead_letters().len();
        for (is_wrong, what) in [
            (
                self.skipped > 0,
                format!("{} periods skipped", self.skipped),
            ),
            (self.late > 0, format!("{} audits late", self.late)),
            (self.audits == 0, "no audits".to_owned()),
            (
                self.throttled * 100 > requests,
                format!("{} of {requests} requests throttled", self.throttled),
            ),
            (most > 3, format!("{most} writes for a quiet audit")),
            (dead > 0, format!("{dead} dead letters")),
        ] {
            if is_wrong {
                violations.push(what);
            }
        }
        violations
    }

    /// Returns the number of calls of an operation.
    pub fn count(&self, service: Service, operation: &str) -> u64 {
        let key = (service, operation.to_owned());
        self.calls.get(&key).copied().unwrap_or_default()
    }
}
