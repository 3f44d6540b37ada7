//! Every call of every scenario times everything that can go wrong with it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use local_aws::Call;

use super::checks;
use super::on_paused_clock;
use super::plan::{Blow, Extent, Strike, blows};
use super::scenario::Scenario;
use super::world::{Ended, keep_log};

/// One world to be lived through.
#[derive(Clone, Debug)]
pub struct Case {
    pub kind: Kind,
    pub scenario: Scenario,
    /// Its place among those of its kind and scenario.
    pub number: usize,
    pub strikes: Vec<Strike>,
    /// The operations that are struck at.
    pub operations: Vec<String>,
}

impl Case {
    /// What is struck at, for people.
    pub fn operation(&self) -> String {
        self.operations.join(" + ")
    }

    /// What goes wrong, for people.
    pub fn blow(&self) -> String {
        let names = self.strikes.iter().map(|strike| strike.blow.name());
        names.collect::<Vec<_>>().join(" + ")
    }

    /// How many quiet runs bring this world in order: two, unless AWS itself gave a wrong key for
    /// a report. `SUCCESS` without an object is believed for an hour.
    fn quiet_runs(&self) -> u32 {
        let is_damaged = |strike: &Strike| {
            matches!(
                strike.blow,
                Blow::Fault(_, local_aws::Fault::FlipByte { .. })
            )
        };
        match self.scenario {
            _ if self.strikes.iter().any(is_damaged) => 5,
            // Its report is tried twice before the next one is requested.
            Scenario::Invalid => 4,
            _ => 2,
        }
    }
}

/// How many things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One.
    Single,
    /// Two, in two runs that follow each other.
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

    /// All worlds of this kind and scenario.
    pub fn cases(self, scenario: Scenario) -> Vec<Case> {
        let calls = calls(scenario);
        let strikes = match self {
            Kind::Single => single(&calls),
            Kind::Pairs => pairs(&calls),
        };
        let operation = |strike: &Strike| calls[strike.call].operation.clone();
        let numbered = strikes.into_iter().enumerate();
        numbered
            .map(|(number, strikes)| Case {
                kind: self,
                scenario,
                number,
                operations: strikes.iter().map(operation).collect(),
                strikes,
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
        self.strikes
            .iter()
            .try_for_each(|strike| write!(f, "; {strike}"))
    }
}

/// What came of many worlds.
#[derive(Debug, Default)]
pub struct Tally {
    pub worlds: usize,
    pub calls: usize,
    /// Worlds by what went wrong in them, and by the operation that it went wrong with.
    pub by_blow: BTreeMap<String, usize>,
    pub by_operation: BTreeMap<String, usize>,
    /// Retries of Lambda included.
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
            .chain(&self.by_blow)
            .try_for_each(|(what, worlds)| write!(f, "\n{worlds:7} {what}"))
    }
}

/// What became of one world.
pub struct Lived {
    pub invocations: usize,
    pub calls: usize,
    pub violations: Vec<String>,
    /// Everything that happened.
    pub story: Vec<String>,
}

/// The calls of a scenario's struck run where nothing goes wrong.
pub fn calls(scenario: Scenario) -> Vec<Call> {
    on_paused_clock(SEED, async {
        let world = scenario.play(SEED, &[]).await;
        let observed = world.observed();
        let run = observed.runs.last().expect("a run");
        // Otherwise a report that is never adopted is just one more period without an audit.
        let response = run.ended.as_ref().and_then(Ended::response);
        let is_audited = response.is_some_and(|response| {
            let all = response["certificateAuthorities"].as_array();
            all.is_some_and(|all| all.iter().all(|audit| audit["outcome"] == "audited"))
        });
        use Scenario::{Expired, Invalid, Slow, UnreadableState};
        assert_eq!(
            is_audited,
            !matches!(scenario, Expired | Invalid | Slow | UnreadableState),
            "nothing went wrong in {scenario:?}: {response:?}"
        );
        run.calls.iter().map(|seen| seen.call.clone()).collect()
    })
}

const SEED: u64 = 1;

/// Every call of the scenario's run times every blow.
fn single(calls: &[Call]) -> Vec<Vec<Strike>> {
    let mut cases = Vec::new();
    for (call, seen) in calls.iter().enumerate() {
        for (blow, extent) in blows(seen) {
            cases.push(vec![Strike {
                run: 0,
                call,
                blow,
                extent,
            }]);
        }
    }
    cases
}

/// Blows in two runs that follow each other, at the calls around state and publishing.
fn pairs(calls: &[Call]) -> Vec<Vec<Strike>> {
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
        blows(call)
            .into_iter()
            .filter(|(blow, extent)| match blow {
                Blow::KillBefore | Blow::KillAfter => true,
                Blow::Fault(name, _) => {
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
            for (blow, extent) in in_pairs(first_call) {
                for (later_blow, later_extent) in in_pairs(second_call) {
                    cases.push(vec![
                        Strike {
                            run: 0,
                            call: *first,
                            blow: blow.clone(),
                            extent,
                        },
                        Strike {
                            run: 1,
                            call: *second,
                            blow: later_blow,
                            extent: later_extent,
                        },
                    ]);
                }
            }
        }
    }
    cases
}

/// Lives through one world.
pub fn live(case: &Case) -> Lived {
    on_paused_clock(SEED, async {
        let world = case.scenario.play(SEED, &case.strikes).await;
        let violations = checks::quiet_runs(&world, case.quiet_runs()).await;
        let story = world.story();
        let observed = world.observed();
        let calls = observed.runs.iter().map(|run| run.calls.len()).sum();
        Lived {
            invocations: observed.runs.len(),
            calls,
            violations,
            story,
        }
    })
}

/// Lives through all of them on as many threads as there are processors.
pub fn live_all(cases: &[Case]) -> Tally {
    let tally = Mutex::new(Tally::default());
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _log = keep_log();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Lived {
                        invocations,
                        calls,
                        violations,
                        story,
                    } = live(case);
                    if cases.len() == 1 {
                        eprintln!("{}", story.join("\n"));
                    }
                    let mut tally = tally.lock().expect("no thread panicked");
                    tally.worlds += 1;
                    tally.invocations += invocations;
                    tally.calls += calls;
                    *tally.by_operation.entry(case.operation()).or_default() += 1;
                    *tally.by_blow.entry(case.blow()).or_default() += 1;
                    for violation in violations {
                        eprintln!("{case}: {violation}");
                        tally.violations.push(format!("{case}: {violation}"))
                    }
                }
            });
        }
    });
    tally.into_inner().expect("no thread panicked")
}
