//! Checks in simulated worlds that no failure loses a revocation.
//!
//! These tests run a sample of the worlds. The example `simulate` runs all of them, or one that failed
//! here: its name in the failure message holds the arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::simulator::exhaustive::{Case, Kind, Tally, simulate_all};
use crate::simulator::random::Audits;
use crate::simulator::scale::{self, Scale};
use crate::simulator::scenario::Scenario;
use crate::simulator::world::{PERIOD, keep_log};
use crate::simulator::{random, schedule};

/// Statements of investigations that the random worlds make.
const KINDS: &[&str] = &[
    "revokedBy",
    "inUse",
    "affected",
    "clients",
    "unknown",
    "in use",
    "not in use",
    "ACM reports no AWS service",
    "authority",
    "same key",
    "another key",
    "line of an email",
    "delay",
];

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

#[test]
fn scenarios_without_errors_violate_nothing() {
    let cases: Vec<_> = Scenario::EVERY
        .iter()
        .map(|&scenario| Case {
            kind: Kind::Single,
            scenario,
            number: 0,
            injections: Vec::new(),
            operations: Vec::new(),
        })
        .collect();
    simulate(&cases, cases.len());
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
            "DescribeCertificate",
            "DescribeCertificateAuthority",
            "DescribeCertificateAuthorityAuditReport",
            "GetCertificate",
            "GetObject",
            "GetTopicAttributes",
            "HeadObject",
            "ListCertificateAuthorities",
            "ListObjectsV2",
            "ListSubscriptionsByTopic",
            "LookupEvents",
            "Publish",
            "PutObject",
            "SearchCertificates",
            "SendMessage",
            "SendMessageBatch",
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

/// Simulates the random worlds of these seeds; returns their summaries without violations.
fn simulate_random(seeds: RangeInclusive<u64>, audits: Audits) -> Vec<random::Summary> {
    let _log = keep_log();
    let summaries: Vec<_> = seeds
        .map(|seed| (seed, random::simulate(seed, audits)))
        .collect();
    let violations: Vec<_> = summaries
        .iter()
        .flat_map(|(seed, summary)| {
            let violations = summary.violations.iter();
            violations.map(move |violation| format!("{} 1 {seed}: {violation}", audits.name()))
        })
        .collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    summaries.into_iter().map(|(_, summary)| summary).collect()
}

fn sum(summaries: &[random::Summary], count: fn(&random::Summary) -> usize) -> usize {
    summaries.iter().map(count).sum()
}

#[test]
fn random_errors_lose_nothing() {
    let summaries = simulate_random(1..=30, Audits::Inline);
    // Worlds without failures would prove nothing.
    assert!(sum(&summaries, |summary| summary.injected) > 400);
    assert!(sum(&summaries, |summary| summary.killed) > 20);
    let mut checked: BTreeMap<_, usize> = BTreeMap::new();
    for (kind, number) in summaries.iter().flat_map(|summary| &summary.checked) {
        *checked.entry(*kind).or_default() += number;
    }
    // Fewer would hide that a kind of statement is hardly ever made.
    let rare: Vec<_> = KINDS
        .iter()
        .filter(|kind| checked.get(**kind).is_none_or(|number| *number < 5))
        .collect();
    assert!(rare.is_empty(), "{rare:?}: {checked:?}");
}

#[test]
fn random_errors_lose_nothing_with_an_audit_queue() {
    let summaries = simulate_random(1..=6, Audits::ScaledOut);
    assert!(sum(&summaries, |summary| summary.injected) > 50);
    assert!(sum(&summaries, |summary| summary.killed) > 2);
    // Most audits are those of workers.
    assert!(sum(&summaries, |summary| summary.queue_invocations) > 200);
    assert!(sum(&summaries, |summary| summary.duplicates) > 20);
}

#[test]
fn same_seed_gives_the_same_world() {
    let _log = keep_log();
    for audits in [Audits::Inline, Audits::ScaledOut] {
        let stories: BTreeSet<_> = (0..2).map(|_| random::simulate(7, audits).story).collect();
        assert_eq!(stories.len(), 1);
        let other = random::simulate(8, audits).story;
        assert!(!stories.contains(&other));
    }
}

#[test]
fn no_half_hour_period_is_skipped() {
    let periods = schedule::simulate(1, 10, 40);
    assert!(periods.skipped.is_empty(), "{}", periods.skipped.join("\n"));
    assert_eq!(periods.audits, 400);
}

/// The report interval is as long as the schedule's, and reports take up to 20 minutes.
#[test]
fn workers_audit_every_ca_in_every_period() {
    let scale = Scale {
        audits: Audits::ScaledOut,
        certificate_authorities: 40,
        interval: PERIOD,
        periods: 3,
        maximum_concurrency: 5,
    };
    let figures = scale::simulate(1, scale);
    assert!(figures.violations.is_empty(), "{:?}", figures.violations);
    let reports = figures.audits + figures.failed_reports;
    assert_eq!(reports, 40 * 2, "{figures:?}");
    assert_eq!(figures.writes.keys().max(), Some(&3), "{figures:?}");
}
