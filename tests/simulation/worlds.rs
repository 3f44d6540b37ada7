//! Nothing is lost: everything that can go wrong, in simulated worlds.
//!
//! Here a part of them, in every run of the tests; the example `simulate` lives through all, and
//! through any one again that fails here: the line that names it ends in the arguments.

use std::collections::{BTreeMap, BTreeSet};

use crate::simulator::exhaustive::{Case, Kind, Tally, live_all};
use crate::simulator::scenario::Scenario;
use crate::simulator::world::keep_log;
use crate::simulator::{random, schedule};

fn all(kind: Kind, scenarios: &[Scenario]) -> Vec<Case> {
    let cases = scenarios.iter().flat_map(|&scenario| kind.cases(scenario));
    cases.collect()
}

fn live(some: &[Case], of: usize) -> Tally {
    let tally = live_all(some);
    println!("of {of} worlds: {tally}");
    let violations = tally.violations.join("\n");
    assert!(violations.is_empty(), "{violations}");
    tally
}

/// Each operation is struck at with all that can go wrong with it, in one scenario or another.
#[test]
fn one_thing_goes_wrong_at_any_call() {
    let cases = all(Kind::Single, Scenario::EVERY);
    let mut groups: BTreeMap<_, Vec<&Case>> = BTreeMap::new();
    for case in &cases {
        let group = (case.operation(), case.blow());
        groups.entry(group).or_default().push(case);
    }
    let some: Vec<Case> = groups
        .values()
        .enumerate()
        .map(|(number, group)| group[number * 7919 % group.len()].clone())
        .collect();
    let tally = live(&some, cases.len());
    let operations: Vec<&str> = tally.by_operation.keys().map(String::as_str).collect();
    assert_eq!(
        operations,
        [
            "CreateCertificateAuthorityAuditReport",
            "DeleteObject",
            "DescribeCertificateAuthority",
            "DescribeCertificateAuthorityAuditReport",
            "GetObject",
            "GetTopicAttributes",
            "HeadObject",
            "ListCertificateAuthorities",
            "ListObjectsV2",
            "Publish",
            "PutObject",
        ]
    );
}

#[test]
fn two_things_go_wrong_in_two_runs_around_state_and_publishing() {
    let cases = all(
        Kind::Pairs,
        &[Scenario::Steady, Scenario::First, Scenario::Recovery],
    );
    let some: Vec<Case> = cases.iter().step_by(401).cloned().collect();
    live(&some, cases.len());
}

#[test]
fn anything_goes_wrong_at_random() {
    let _log = keep_log();
    let lives: Vec<_> = (1..=30).map(|seed| (seed, random::live(seed))).collect();
    for (seed, life) in &lives {
        let violations = life.violations.join("\n");
        assert!(violations.is_empty(), "random 1 {seed}: {violations}");
    }
    let sum = |count: fn(&random::Life) -> usize| -> usize {
        lives.iter().map(|(_, life)| count(life)).sum()
    };
    // Worlds in which nothing goes wrong would prove nothing.
    assert!(sum(|life| life.struck) > 400 && sum(|life| life.killed) > 20);
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
