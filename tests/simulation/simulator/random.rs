//! Worlds generated from a seed: concurrent runs, lasting problems, and calls that fail at random.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::{LocalBoxFuture, join_all};
use local_aws::{JsonLayout, NextReport, Outcome, Status, render};
use pca_revocation_watch::report_format::ReportFormat;
use serde_json::{Value, json};

use super::checks;
use super::on_paused_clock;
use super::scenario::{SMALLEST_TOPIC, control_key, health_key, revocation};
use super::world::{BUCKET, InvokeOptions, PERIOD, TIMEOUT, World};

const REASONS: &[&str] = &[
    "KEY_COMPROMISE",
    "SUPERSEDED",
    "CESSATION_OF_OPERATION",
    "UNSPECIFIED",
];

/// Result of a world.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub invocations: usize,
    /// Those by messages of the audit queue.
    pub queue_invocations: usize,
    /// Those by messages that the queue had stored and delivered twice.
    pub duplicates: usize,
    pub calls: usize,
    pub injected: usize,
    pub killed: usize,
    pub revocations: usize,
    pub messages: usize,
    pub violations: Vec<String>,
    /// Number of statements of investigations that were checked, by kind.
    pub checked: BTreeMap<&'static str, usize>,
    /// Every run, call and message: the same for the same seed.
    pub story: Vec<String>,
}

/// Who audits the CAs of scheduled runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audits {
    /// The scheduled run itself.
    Inline,
    /// Workers, with messages of the audit queue.
    ScaledOut,
}

impl Audits {
    /// Returns the argument of the example that simulates such worlds.
    pub fn name(self) -> &'static str {
        match self {
            Audits::Inline => "random",
            Audits::ScaledOut => "scaled-out",
        }
    }
}

/// Simulates the world of a seed.
pub fn simulate(seed: u64, audits: Audits) -> Summary {
    on_paused_clock(seed, async {
        let mut rng = Rng::with_seed(seed);
        let mut variables = Vec::new();
        if rng.bool() {
            variables.push(("REPORT_FORMAT", "CSV"));
        }
        if rng.u8(..4) == 0 {
            variables.push(("CERTIFICATE_AUTHORITY_ARNS", "*"));
        }
        if rng.u8(..4) == 0 {
            variables.push(("SUMMARY_INTERVAL_HOURS", "1"));
        }
        let cas = rng.usize(1..=3);
        let world = match audits {
            Audits::Inline => World::new(seed, cas, &variables),
            Audits::ScaledOut => World::scaled_out(seed, cas, &variables, rng.usize(2..=5)),
        };
        world.set_latency(Duration::from_millis(rng.u64(1..400)));
        world.aws.private_ca().set_reports(|reports| {
            reports.delay =
                Duration::from_secs(*rng.choice(&[0, 0, 5, 60, 600]).expect("there are some"));
        });
        world.vary(rng.u32(..1000));
        let delays = [0, 0, 300, 900];
        let delay = *rng.choice(&delays).expect("there are some");
        world
            .aws
            .cloud_trail()
            .set_delay(Duration::from_secs(delay));
        for ca in 0..world.cas.len() {
            world.revoke_long_ago(ca, "SUPERSEDED");
            world.issue(ca);
        }
        let violations = world.with_workers(live(&world, &mut rng)).await;
        let story = world.story();
        let duplicates = world.duplicates();
        let observed = world.observed();
        let calls = || observed.runs.iter().flat_map(|run| &run.calls);
        Summary {
            invocations: observed.runs.len(),
            queue_invocations: observed
                .runs
                .iter()
                .filter(|run| run.payload["Records"].is_array())
                .count(),
            duplicates,
            calls: calls().count(),
            injected: calls().filter(|seen| seen.injected.is_some()).count(),
            killed: observed.runs.iter().filter(|run| run.was_killed()).count(),
            revocations: world.revoked.borrow().len(),
            messages: world.aws.sns().messages().len(),
            violations,
            checked: world.checked.take(),
            story,
        }
    })
}

/// Simulates disturbed periods, then quiet ones; returns the violations.
async fn live(world: &World, rng: &mut Rng) -> Vec<String> {
    // A report may need more undisturbed runs after everything else has recovered.
    let mut quiet = 2;
    world.inject_at_random(rng);
    world.disturb_workers(rng);
    for _ in 0..rng.u32(2..=6) {
        quiet += inject_lasting_problem(world, rng);
        simulate_period(world, rng).await;
        repair(world);
        // The schedule may be longer than Private CA's minimum interval, or be disabled.
        if rng.u8(..6) == 0 {
            world.until(world.age() + PERIOD * rng.u32(1..8)).await;
        }
    }
    world.stop_injecting_at_random();
    world.stop_disturbing_workers();
    checks::quiet_runs(world, quiet).await
}

/// Simulates one period: scheduled, manual and event invocations, possibly concurrent, and new
/// revocations.
async fn simulate_period(world: &World, rng: &mut Rng) {
    let start = world.age();
    let mut activities: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    let jitter = Duration::from_millis(rng.u64(..60_000));
    let options = random_options(rng);
    activities.push(Box::pin(async move {
        world.until(start + jitter).await;
        world.schedule(options).await;
    }));
    for _ in 0..rng.u8(..3) {
        let at = start + Duration::from_millis(rng.u64(..1_500_000));
        let ca = rng.usize(..world.cas.len());
        let reason = REASONS[rng.usize(..REASONS.len())];
        let count = if rng.u8(..20) == 0 { 40 } else { 1 };
        activities.push(Box::pin(async move {
            world.until(at).await;
            (0..count).for_each(|_| drop(world.revoke(ca, reason)));
        }));
    }
    for _ in 0..rng.u8(..3) {
        let at = start + Duration::from_millis(rng.u64(..900_000));
        let options = random_options(rng);
        let (what, ca) = (rng.u8(..7), rng.usize(..world.cas.len()));
        activities.push(Box::pin(async move {
            world.until(at).await;
            match what {
                0 => world.invoke(json!({ "dryRun": true }), options).await,
                1 => {
                    world
                        .invoke(json!({ "since": "2026-11-01T00:00:00Z" }), options)
                        .await
                }
                2 => world.schedule(options).await,
                3 => {
                    world
                        .invoke_asynchronously(revocation(world), options)
                        .await
                }
                4 => {
                    let one = json!({ "certificateAuthorityArns": [world.cas[ca]] });
                    world.invoke(one, options).await
                }
                _ => world.invoke(json!({}), options).await,
            };
        }));
    }
    if world.scale_out.is_some() {
        activities.push(Box::pin(disturb_queue(world, start, rng.fork())));
    }
    join_all(activities).await;
    world.next_period().await;
}

/// Perhaps loses the messages of the audit queue, or switches scale-out off or on, at any time of a
/// period.
async fn disturb_queue(world: &World, start: Duration, mut rng: Rng) {
    let at = start + Duration::from_millis(rng.u64(..1_700_000));
    world.until(at).await;
    match rng.u8(..12) {
        0 => world.lose_messages(),
        1 | 2 => world.switch_scale_out(!world.is_scaled_out()),
        3 | 4 => world.disturb_sends(Some(4), 0),
        5 | 6 => world.disturb_sends(None, rng.u32(1..20)),
        // It is rarely off for long, and messages get lost in one period only.
        _ => {
            world.switch_scale_out(true);
            world.disturb_sends(None, 0);
        }
    }
}

pub(super) fn random_options(rng: &mut Rng) -> InvokeOptions {
    let left = match rng.u8(..8) {
        0 => Duration::from_millis(rng.u64(10_000..60_000)),
        1 => Duration::from_secs(rng.u64(60..900)),
        _ => TIMEOUT,
    };
    InvokeOptions {
        left,
        clock_ahead_ms: rng.i64(-14_000..=14_000),
    }
}

/// Perhaps starts a problem that lasts a period; returns the number of additional undisturbed runs
/// that it may need.
fn inject_lasting_problem(world: &World, rng: &mut Rng) -> u32 {
    let (pca, sns) = (world.aws.private_ca(), world.aws.sns());
    let number = rng.usize(..world.cas.len());
    let ca = &world.cas[number];
    let next = |next: NextReport, quiet| {
        pca.next_report(ca, next);
        quiet
    };
    let refuse = || world.was_refused.set(true);
    let watches_all = world.config.certificate_authorities.is_none();
    let leave = |status| {
        pca.set_status(ca, status);
        if watches_all {
            world.left.borrow_mut().insert(ca.clone());
        }
    };
    match rng.u8(..30) {
        0 => leave(Status::Expired),
        1 => pca.set_status(ca, Status::Disabled),
        2 => return next(NextReport::new().outcome(Outcome::Failed), 2),
        3 => return next(NextReport::new().outcome(Outcome::NotWritten), 4),
        4 => {
            let delay = Duration::from_secs(rng.u64(600..3000));
            return next(NextReport::new().delay(delay), 2);
        }
        5 => return next(NextReport::new().content("[{\"serial\": \"01\", "), 3),
        6 => return next(NextReport::new().content(""), 3),
        7 => world.unsubscribe_all(),
        8 => {
            refuse();
            world
                .aws
                .s3()
                .set_private_ca_access(BUCKET, local_aws::PrivateCaAccess::missing_policy(BUCKET));
        }
        9 => leave(Status::Deleted),
        // Nobody can know that a first report should not be empty.
        10 if was_audited(world, number) => {
            return next(NextReport::new().content(emptied(world)), 3);
        }
        11 => return next(NextReport::new().content(with_other_fields(world)), 3),
        12 => shrink(world, ca),
        13 => sns.count_confirmed_as(&world.topic, Some(0)),
        14 => sns.set_maximum_message_size(&world.topic, SMALLEST_TOPIC),
        15 => pca.set_reports(|reports| reports.repeats = true),
        16 => sns.set_page_size(1),
        17 => damage_health(world, rng),
        _ => {}
    }
    0
}

/// Removes or damages the health document, which is then rebuilt, or replaces it for a period by one of
/// a newer version.
fn damage_health(world: &World, rng: &mut Rng) {
    let (s3, key) = (world.aws.s3(), health_key(world));
    let Some(health) = s3.get(BUCKET, &key) else {
        return;
    };
    match rng.u8(..3) {
        0 => s3.delete(BUCKET, &key),
        1 => drop(s3.put(BUCKET, &key, &health[..health.len() / 2])),
        _ => {
            let newer =
                String::from_utf8_lossy(&health).replace("\"version\": 1", "\"version\": 2");
            s3.put(BUCKET, &key, newer.into_bytes());
            world.newer_health.replace(Some(health.to_vec()));
            return;
        }
    }
    world.rebuilds.set(world.rebuilds.get() + 1);
}

/// Returns whether the CA has a complete audit.
fn was_audited(world: &World, ca: usize) -> bool {
    let control = world.aws.s3().get(BUCKET, &control_key(world, ca));
    let control = control.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    control.is_some_and(|control| control["lastCompleteAudit"].is_object())
}

/// Returns a report without certificates.
fn emptied(world: &World) -> String {
    let format = match world.config.report_format {
        ReportFormat::Json => local_aws::ReportFormat::Json,
        ReportFormat::Csv => local_aws::ReportFormat::Csv,
    };
    render(&[], format, JsonLayout::default())
}

/// Returns a report whose fields have other names.
fn with_other_fields(world: &World) -> &'static str {
    match world.config.report_format {
        ReportFormat::Json => {
            r#"[{"arn": "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/x/certificate/01", "serialNumber": "01", "revocationTime": "2026-11-21T04:00:00Z"}]"#
        }
        ReportFormat::Csv => {
            "account,arn,serialNumber,revocationTime\n123456789012,x,01,2026-11-21T04:00:00Z\n"
        }
    }
}

/// Removes a certificate that is not revoked: later reports list one less.
fn shrink(world: &World, ca: &str) {
    let pca = world.aws.private_ca();
    let mut certificates = pca.certificates(ca);
    if let Some(valid) = certificates.iter().position(|one| one.revoked_at.is_none()) {
        certificates.remove(valid);
        pca.set_certificates(ca, certificates);
    }
}

fn repair(world: &World) {
    let (pca, sns) = (world.aws.private_ca(), world.aws.sns());
    for ca in &world.cas {
        pca.set_status(ca, Status::Active);
    }
    pca.set_reports(|reports| reports.repeats = false);
    world
        .aws
        .s3()
        .set_private_ca_access(BUCKET, local_aws::PrivateCaAccess::Granted);
    if let Some(health) = world.newer_health.take() {
        world.aws.s3().put(BUCKET, &health_key(world), health);
    }
    sns.count_confirmed_as(&world.topic, None);
    sns.set_maximum_message_size(&world.topic, 262_144);
    world.subscribe();
}
