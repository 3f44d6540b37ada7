//! Enumerates every call of every scenario with every failure that can be injected into it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use local_aws::Call;

use super::checks;
use super::on_paused_clock;
use super::plan::{Extent, Failure, Injection, failures};
use super::scenario::Scenario;
use super::world::{Ended, Run, keep_log};

/// One world to simulate.
#[derive(Clone, Debug)]
pub struct Case {
    pub kind: Kind,
    pub scenario: Scenario,
    /// Index among the cases of its kind and scenario.
    pub number: usize,
    pub injections: Vec<Injection>,
    /// The operations of the calls that fail.
    pub operations: Vec<String>,
}

impl Case {
    /// Returns the names of the operations that fail.
    pub fn operation(&self) -> String {
        self.operations.join(" + ")
    }

    /// Returns the names of the failures.
    pub fn failure(&self) -> String {
        let names = self
            .injections
            .iter()
            .map(|injection| injection.failure.name());
        names.collect::<Vec<_>>().join(" + ")
    }

    /// Returns the number of undisturbed runs after which everything must be settled: two, unless a
    /// flipped byte gave a wrong report key, whose missing object is awaited for an hour.
    fn quiet_runs(&self) -> u32 {
        let is_flipped = |injection: &Injection| {
            matches!(
                injection.failure,
                Failure::Fault(_, local_aws::Fault::FlipByte { .. })
            )
        };
        match self.scenario {
            _ if self.injections.iter().any(is_flipped) => 5,
            // Its report is scanned twice before the next one is requested.
            Scenario::Invalid => 4,
            _ => 2,
        }
    }
}

/// Number of failures in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One failure.
    Single,
    /// Two failures, in two consecutive runs.
    Pairs,
}

impl Kind {
    pub fn named(name: &str) -> Option<Self> {
        [Kind::Single, Kind::Pairs]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Single => "single",
            Kind::Pairs => "pairs",
        }
    }

    /// Returns all cases of this kind and scenario.
    pub fn cases(self, scenario: Scenario) -> Vec<Case> {
        let runs = calls(scenario);
        let injections = match self {
            Kind::Single => single(&runs),
            // Which run comes after which is up to the queue.
            Kind::Pairs if scenario == Scenario::ScaledOut => Vec::new(),
            Kind::Pairs => pairs(&runs[0]),
        };
        let operation = |injection: &Injection| {
            // The second of a pair affects a later run of the same calls.
            let run = &runs[injection.run.min(runs.len() - 1)];
            run[injection.call].operation.clone()
        };
        let numbered = injections.into_iter().enumerate();
        numbered
            .map(|(number, injections)| Case {
                kind: self,
                scenario,
                number,
                operations: injections.iter().map(operation).collect(),
                injections,
            })
            .collect()
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "[{} {:?} {}]",
            self.kind.name(),
            self.scenario,
            self.number
        )?;
        self.injections
            .iter()
            .try_for_each(|injection| write!(f, "; {injection}"))
    }
}

/// Results of many worlds.
#[derive(Debug, Default)]
pub struct Tally {
    pub worlds: usize,
    pub calls: usize,
    /// Number of worlds by failure, and by the operation that failed.
    pub by_failure: BTreeMap<String, usize>,
    pub by_operation: BTreeMap<String, usize>,
    /// Includes Lambda's retries.
    pub invocations: usize,
    pub violations: Vec<String>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            worlds,
            invocations,
            calls,
            ..
        } = self;
        write!(
            f,
            "{worlds} worlds, {invocations} invocations, {calls} calls"
        )?;
        self.by_operation
            .iter()
            .chain(&self.by_failure)
            .try_for_each(|(what, worlds)| write!(f, "\n{worlds:7} {what}"))
    }
}

/// Result of one world.
pub struct Outcome {
    pub invocations: usize,
    pub calls: usize,
    pub violations: Vec<String>,
    /// Every run, call and message.
    pub story: Vec<String>,
}

/// Returns the calls of each of the scenario's runs without failures: one run, unless it dispatches.
pub fn calls(scenario: Scenario) -> Vec<Vec<Call>> {
    on_paused_clock(SEED, async {
        let world = scenario.run(SEED, &[]).await;
        let observed = world.observed();
        let first = match scenario {
            Scenario::ScaledOut => observed.first_injected(),
            _ => observed.runs.len() - 1,
        };
        let runs = &observed.runs[first..];
        // A scenario that does not audit would make its cases pass without checking anything.
        let response = runs[0].ended.as_ref().and_then(Ended::response);
        let outcome = match scenario {
            Scenario::ScaledOut => "queued",
            _ => "audited",
        };
        let is_audited = response.is_some_and(|response| {
            let all = response["certificateAuthorities"].as_array();
            all.is_some_and(|all| all.iter().all(|audit| audit["outcome"] == outcome))
        });
        use Scenario::{Emptied, Expired, Invalid, Refused, Slow, UnreadableState};
        assert_eq!(
            is_audited,
            !matches!(
                scenario,
                Emptied | Expired | Invalid | Refused | Slow | UnreadableState
            ),
            "{scenario:?} without failures: {response:?}"
        );
        let calls = |run: &Run| run.calls.iter().map(|seen| seen.call.clone()).collect();
        runs.iter().map(calls).collect()
    })
}

const SEED: u64 = 1;

/// Combines every call with every failure.
fn single(runs: &[Vec<Call>]) -> Vec<Vec<Injection>> {
    let mut cases = Vec::new();
    for (run, calls) in runs.iter().enumerate() {
        for (call, seen) in calls.iter().enumerate() {
            for (failure, extent) in failures(seen) {
                cases.push(vec![Injection {
                    run,
                    call,
                    failure,
                    extent,
                }]);
            }
        }
    }
    cases
}

/// Combines failures in two consecutive runs, at the calls around state and publishing.
fn pairs(calls: &[Call]) -> Vec<Vec<Injection>> {
    let around: Vec<(usize, &Call)> = calls
        .iter()
        .enumerate()
        .filter(|(_, call)| {
            call.operation == "Publish"
                || call.operation == "CreateCertificateAuthorityAuditReport"
                || (call.operation == "PutObject")
        })
        .collect();
    let in_pairs = |call: &Call| {
        failures(call)
            .into_iter()
            .filter(|(failure, extent)| match failure {
                Failure::KillBefore | Failure::KillAfter => true,
                Failure::Fault(name, _) => {
                    *extent != Extent::Attempt
                        && [
                            "error after",
                            "error before",
                            "reply lost",
                            "done and hanging",
                            "in conflict (409)",
                        ]
                        .contains(name)
                        || *name == "done 45 s later" && *extent == Extent::Attempt
                }
            })
            .filter(|(_, extent)| *extent != Extent::Rest)
            .collect::<Vec<_>>()
    };
    let mut cases = Vec::new();
    for (first, first_call) in &around {
        for (second, second_call) in &around {
            for (failure, extent) in in_pairs(first_call) {
                for (later_failure, later_extent) in in_pairs(second_call) {
                    cases.push(vec![
                        Injection {
                            run: 0,
                            call: *first,
                            failure: failure.clone(),
                            extent,
                        },
                        Injection {
                            run: 1,
                            call: *second,
                            failure: later_failure,
                            extent: later_extent,
                        },
                    ]);
                }
            }
        }
    }
    cases
}

/// Simulates one world.
pub fn simulate(case: &Case) -> Outcome {
    on_paused_clock(SEED, async {
        let world = case.scenario.run(SEED, &case.injections).await;
        let quiet = checks::quiet_runs(&world, case.quiet_runs());
        let violations = world.with_workers(quiet).await;
        let story = world.story();
        let observed = world.observed();
        let calls = observed.runs.iter().map(|run| run.calls.len()).sum();
        Outcome {
            invocations: observed.runs.len(),
            calls,
            violations,
            story,
        }
    })
}

/// Simulates all cases on as many threads as there are processors.
pub fn simulate_all(cases: &[Case]) -> Tally {
    let tally = Mutex::new(Tally::default());
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _log = keep_log();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Outcome {
                        invocations,
                        calls,
                        violations,
                        story,
                    } = simulate(case);
                    if cases.len() == 1 {
                        eprintln!("{}", story.join("\n"));
                    }
                    let mut tally = tally.lock().expect("no thread panicked");
                    tally.worlds += 1;
                    tally.invocations += invocations;
                    tally.calls += calls;
                    *tally.by_operation.entry(case.operation()).or_default() += 1;
                    *tally.by_failure.entry(case.failure()).or_default() += 1;
                    for violation in violations {
                        eprintln!("{case}: {violation}");
                        tally.violations.push(format!("{case}: {violation}"));
                    }
                }
            });
        }
    });
    tally.into_inner().expect("no thread panicked")
}
