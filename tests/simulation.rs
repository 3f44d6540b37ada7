//! Nothing is lost: everything that can go wrong, in simulated worlds.

#[path = "simulation/mod.rs"]
mod simulation;

use simulation::exhaustive::{Case, Kind, Tally, live_all};
use simulation::scenario::Scenario;

/// Every so many worlds of a kind; the example `simulate` lives through all of them.
fn every(nth: usize, kind: Kind, scenarios: &[Scenario]) -> Tally {
    let all: Vec<Case> = scenarios
        .iter()
        .flat_map(|&scenario| kind.cases(scenario))
        .collect();
    let some: Vec<Case> = all.iter().step_by(nth).cloned().collect();
    let tally = live_all(&some);
    println!(
        "{} of {} worlds, {} invocations, {} calls",
        tally.worlds,
        all.len(),
        tally.invocations,
        tally.calls
    );
    for (blow, worlds) in &tally.by_blow {
        println!("{worlds:6} {blow}");
    }
    assert!(
        tally.violations.is_empty(),
        "{}",
        tally.violations.join("\n")
    );
    tally
}

#[test]
fn one_thing_goes_wrong_at_any_call() {
    every(61, Kind::Single, Scenario::EVERY);
}
