//! Checks in simulated worlds that no failure loses a revocation.
//!
//! These tests run a sample of the worlds. The example `simulate` runs all of them, or one that failed
//! here: its name in the failure message holds the arguments.

use std::collections::{BTreeMap, BTreeSet};

use crate::simulator::exhaustive::{Case, Kind, Tally, simulate_all};
use crate::simulator::scenario::Scenario;
use crate::simulator::world::keep_log;
use crate::simulator::{random, schedule};

fn all(kind: Kind, scenarios: &[Scenario]) -> Vec<Case> {
    let cases = scenarios.iter().flat_map(|&scenario| kind.cases(scenario));
    cases.collect()
}

fn simulate(some: &[Case], of: usize) -> Tally {
    let tally = simulate_all(some);
    println!("of {of} worlds: {tally}");
    let violations = tally.violations.join("\n");
    assert!(violations.is_empty(), "{violations}");
    tally
}

/// Each operation fails in every possible way, in one scenario or another.
#[test]
fn one_error_at_any_call_loses_nothing() {
    let cases = all(Kind::Single, Scenario::EVERY);
    let mut groups: BTreeMap<_, Vec<&Case>> = BTreeMap::new();
    for case in &cases {
        let group = (case.operation(), case.failure());
        groups.entry(group).or_default().push(case);
    }
    let some: Vec<Case> = groups
        .values()
        .enumerate()
        .map(|(number, group)| group[number * 7919 % group.len()].clone())
        .collect();
    let tally = simulate(&some, cases.len());
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
            "ListSubscriptionsByTopic",
            "Publish",
            "PutObject",
        ]
    );
}

#[test]
fn two_errors_around_state_and_publishing_lose_nothing() {
    let cases = all(
        Kind::Pairs,
        &[Scenario::Steady, Scenario::First, Scenario::Recovery],
    );
    let some: Vec<Case> = cases.iter().step_by(401).cloned().collect();
    simulate(&some, cases.len());
}

#[test]
fn random_errors_lose_nothing() {
    let _log = keep_log();
    let summaries: Vec<_> = (1..=30)
        .map(|seed| (seed, random::simulate(seed)))
        .collect();
    for (seed, summary) in &summaries {
        let violations = summary.violations.join("\n");
        assert!(violations.is_empty(), "random 1 {seed}: {violations}");
    }
    let sum = |count: fn(&random::Summary) -> usize| -> usize {
        summaries.iter().map(|(_, summary)| count(summary)).sum()
    };
    // Worlds without failures would prove nothing.
    assert!(sum(|summary| summary.injected) > 400 && sum(|summary| summary.killed) > 20);
}

#[test]
fn same_seed_gives_the_same_world() {
    let _log = keep_log();
    let stories: BTreeSet<Vec<String>> = (0..3).map(|_| random::simulate(7).story).collect();
    assert_eq!(stories.len(), 1);
    assert_ne!(random::simulate(8).story, random::simulate(7).story);
}

#[test]
fn no_half_hour_period_is_skipped() {
    let periods = schedule::simulate(1, 10, 40);
    assert!(periods.skipped.is_empty(), "{}", periods.skipped.join("\n"));
    assert_eq!(periods.audits, 400);
}
