//! Nothing is lost: everything that can go wrong, in simulated worlds.
//!
//! Here a part of them, in every run of the tests; the example `simulate` lives through all, and
//! through any one again that fails here: the line that names it ends in the arguments.

#[path = "simulation/mod.rs"]
mod simulation;

use std::collections::BTreeSet;

use simulation::exhaustive::{Case, Kind, Tally, live_all};
use simulation::scenario::Scenario;
use simulation::world::keep_log;
use simulation::{random, schedule};

/// One in so many worlds of a kind.
fn every(nth: usize, kind: Kind, scenarios: &[Scenario]) -> Tally {
    let all: Vec<Case> = scenarios
        .iter()
        .flat_map(|&scenario| kind.cases(scenario))
        .collect();
    let some: Vec<Case> = all.iter().step_by(nth).cloned().collect();
    let tally = live_all(&some);
    println!("of {} worlds: {tally}", all.len());
    assert!(
        tally.violations.is_empty(),
        "{}",
        tally.violations.join("\n")
    );
    tally
}

#[test]
fn one_thing_goes_wrong_at_any_call() {
    let tally = every(61, Kind::Single, Scenario::EVERY);
    // Nothing that can go wrong is left out of the part.
    for operation in [
        "CreateCertificateAuthorityAuditReport",
        "DescribeCertificateAuthority",
        "DescribeCertificateAuthorityAuditReport",
        "GetObject",
        "GetTopicAttributes",
        "HeadObject",
        "ListCertificateAuthorities",
        "ListObjectsV2",
        "Publish",
        "PutObject",
    ] {
        assert!(tally.by_operation.contains_key(operation), "{operation}");
    }
    assert_eq!(tally.by_blow.len(), 21, "{:?}", tally.by_blow);
}

#[test]
fn two_things_go_wrong_in_two_runs_around_state_and_publishing() {
    let scenarios = [Scenario::Steady, Scenario::First, Scenario::Recovery];
    every(331, Kind::Pairs, &scenarios);
}

#[test]
fn anything_goes_wrong_at_random() {
    let _log = keep_log();
    let lives: Vec<_> = (1..=40).map(|seed| (seed, random::live(seed))).collect();
    for (seed, life) in &lives {
        let violations = life.violations.join("\n");
        assert!(violations.is_empty(), "random 1 {seed}: {violations}");
    }
    let sum = |count: fn(&random::Life) -> usize| -> usize {
        lives.iter().map(|(_, life)| count(life)).sum()
    };
    // Worlds in which nothing goes wrong would prove nothing.
    assert!(sum(|life| life.struck) > 500 && sum(|life| life.killed) > 20);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let _log = keep_log();
    let stories: BTreeSet<Vec<String>> = (0..3).map(|_| random::live(7).story).collect();
    assert_eq!(stories.len(), 1);
    assert_ne!(random::live(8).story, random::live(7).story);
}

#[test]
fn no_period_of_half_an_hour_is_skipped() {
    let periods = schedule::live(1, 10, 40);
    assert!(periods.skipped.is_empty(), "{}", periods.skipped.join("\n"));
    assert_eq!(periods.audits, 400);
}
