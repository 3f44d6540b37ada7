//! Checks that no CA starves although the scans of all CAs together take longer than a run.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use local_aws::{Action, Phase};
use serde_json::Value;

use super::on_paused_clock;
use super::scenario::control_key;
use super::world::{BUCKET, Ended, InvokeOptions, PERIOD, World, timestamp};

/// Concurrent scans of a run.
const CONCURRENT_SCANS: u32 = 2;

/// What a run reserves for saving its state.
const RESERVE: Duration = Duration::from_secs(10);

/// Age of an audit from which it is overdue.
const MAX_AUDIT_AGE: Duration = Duration::from_secs(90 * 60);

/// A schedule whose runs are too short for all scans.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub certificate_authorities: usize,
    pub periods: u32,
    /// The function's timeout.
    pub run: Duration,
    /// The time that one report takes; less than the timeout of a call.
    pub scan: Duration,
}

/// Results of all periods.
#[derive(Debug, Default)]
pub struct Figures {
    pub runs: usize,
    pub audits: usize,
    pub scanned_per_run: u32,
    /// The longest time from the request of a complete audit's report to the next complete audit.
    pub worst_age: Duration,
    pub worst_allowed_age: Duration,
    /// Number of messages of each type.
    pub messages: BTreeMap<String, usize>,
    pub violations: Vec<String>,
}

/// Simulates the schedule with Lambda's retries of failed runs, which overlap the next ones.
pub fn simulate(load: Load) -> Figures {
    on_paused_clock(1, async {
        let world = World::new(1, load.certificate_authorities, &[]);
        slow_down(&world, load.scan);
        for ca in 0..load.certificate_authorities {
            world.issue(ca);
        }
        let scanned_per_run =
            CONCURRENT_SCANS * ((load.run - RESERVE).div_duration_f64(load.scan)) as u32;
        let mut ages = Ages::default();
        let ended = {
            let runs = join_all((0..load.periods).map(async |period| {
                world.until(PERIOD * period).await;
                let options = InvokeOptions {
                    left: load.run,
                    ..InvokeOptions::default()
                };
                world.schedule(options).await
            }));
            let observe = async {
                loop {
                    ages.observe(&world);
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            };
            tokio::select! { ended = runs => ended, () = observe => unreachable!("it never ends") }
        };
        ages.observe(&world);
        let rounds = (load.certificate_authorities as u32).div_ceil(scanned_per_run);
        let mut figures = Figures {
            runs: world.observed().runs.len(),
            audits: ages.audits,
            scanned_per_run,
            worst_age: ages.worst,
            worst_allowed_age: PERIOD * (rounds + 1),
            ..Figures::default()
        };
        count_messages(&world, &mut figures);
        if figures.worst_age > figures.worst_allowed_age {
            let (ca, worst) = (&ages.worst_ca, ages.worst);
            figures
                .violations
                .push(format!("STARVED: {ca} was not audited for {worst:?}"));
        }
        let killed = ended
            .iter()
            .filter(|ended| matches!(ended, Ended::TimedOut));
        if killed.count() > 0 {
            figures
                .violations
                .push("a run had not responded by its deadline".to_owned());
        }
        figures
    })
}

/// Counts the messages. Runs that cannot audit all CAs leave some of them without an audit for too long;
/// there is nothing else to report.
fn count_messages(world: &World, figures: &mut Figures) {
    for message in world.aws.sns().messages() {
        let message: Value = serde_json::from_str(&message.variants["default"]).expect("JSON");
        let kind = message["type"].as_str().unwrap_or_default();
        *figures.messages.entry(kind.to_owned()).or_default() += 1;
        let is_overdue =
            message["error"]["type"] == "ReportOverdue" && figures.worst_age > MAX_AUDIT_AGE;
        if kind != "watch-started" && !is_overdue {
            figures.violations.push(format!("FALSE MESSAGE: {message}"));
        }
    }
}

/// Makes the download of a report take that long and every other call some milliseconds, and stops
/// recording calls.
fn slow_down(world: &World, scan: Duration) {
    world.aws.keep_calls(Some(16));
    world.aws.on_call(move |call, phase| {
        let is_report = call
            .key
            .as_ref()
            .is_some_and(|key| key.starts_with("audit-report/"));
        let delay = match phase {
            Phase::After if is_report && call.operation == "GetObject" => scan,
            _ => Duration::from_millis(fastrand::u64(5..=50)),
        };
        Action::Wait(Box::pin(tokio::time::sleep(delay)))
    });
}

/// The age of every CA's last complete audit, from the state.
#[derive(Default)]
struct Ages {
    /// When the last report was requested; at first, when the CA was first seen.
    since: BTreeMap<usize, SystemTime>,
    audits: usize,
    worst: Duration,
    worst_ca: String,
}

impl Ages {
    fn observe(&mut self, world: &World) {
        let now = world.aws.clock().now();
        for (number, ca) in world.cas.iter().enumerate() {
            let state = world.aws.s3().get(BUCKET, &control_key(world, number));
            let state: Value = state
                .map(|state| serde_json::from_slice(&state).expect("JSON"))
                .unwrap_or_default();
            let last = &state["lastCompleteAudit"];
            let before = *self.since.entry(number).or_insert(now);
            let requested_at = timestamp(&last["requestedAt"]).map(SystemTime::from);
            let age = now.duration_since(before).unwrap_or_default();
            if age > self.worst {
                (self.worst, self.worst_ca) = (age, ca.clone());
            }
            if let Some(requested_at) = requested_at
                && requested_at > before
            {
                self.audits += 1;
                self.since.insert(number, requested_at);
            }
        }
    }
}
