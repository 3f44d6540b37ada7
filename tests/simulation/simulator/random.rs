//! Worlds made up from a seed: several runs at once, misfortunes that last, and calls that go wrong
//! at random.

use std::time::Duration;

use fastrand::Rng;
use futures_util::future::{LocalBoxFuture, join_all};
use local_aws::{NextReport, Outcome, Protocol, Status, Subscription};
use serde_json::json;

use super::checks;
use super::on_paused_clock;
use super::scenario::revocation;
use super::world::{How, PERIOD, TIMEOUT, World};

const REASONS: &[&str] = &[
    "KEY_COMPROMISE",
    "SUPERSEDED",
    "CESSATION_OF_OPERATION",
    "UNSPECIFIED",
];

/// What became of a world.
#[derive(Clone, Debug, Default)]
pub struct Life {
    pub invocations: usize,
    pub calls: usize,
    pub struck: usize,
    pub killed: usize,
    pub revocations: usize,
    pub messages: usize,
    pub violations: Vec<String>,
    /// Everything that happened: the same for the same seed.
    pub story: Vec<String>,
}

/// Lives through the world of a seed.
pub fn live(seed: u64) -> Life {
    on_paused_clock(seed, async {
        let mut rng = Rng::with_seed(seed);
        let mut variables = Vec::new();
        if rng.bool() {
            variables.push(("REPORT_FORMAT", "CSV"));
        }
        if rng.u8(..4) == 0 {
            variables.push(("CERTIFICATE_AUTHORITY_ARNS", "*"));
        }
        let world = World::new(seed, rng.usize(1..=3), &variables);
        world.set_latency(Duration::from_millis(rng.u64(1..400)));
        world.aws.private_ca().set_reports(|reports| {
            reports.delay =
                Duration::from_secs(*rng.choice(&[0, 0, 5, 60, 600]).expect("there are some"));
        });
        for ca in 0..world.cas.len() {
            world.revoke_long_ago(ca, "SUPERSEDED");
            world.issue(ca);
        }
        // How long a report may keep the state busy after all else is well again.
        let mut quiet = 2;
        world.trouble(&mut rng);
        for period in 0..rng.u32(2..=6) {
            quiet += misfortune(&world, &mut rng);
            live_through(&world, &mut rng, period).await;
            heal(&world);
        }
        world.no_more_trouble();
        let violations = checks::quiet_runs(&world, quiet).await;
        let story = world.story();
        let observed = world.observed();
        let calls = || observed.runs.iter().flat_map(|run| &run.calls);
        Life {
            invocations: observed.runs.len(),
            calls: calls().count(),
            struck: calls().filter(|seen| seen.struck.is_some()).count(),
            killed: observed.runs.iter().filter(|run| run.was_killed()).count(),
            revocations: world.revoked.borrow().len(),
            messages: world.aws.sns().messages().len(),
            violations,
            story,
        }
    })
}

/// A period: the schedule, people and events, all of them perhaps at the same time, and revocations
/// in between.
async fn live_through(world: &World, rng: &mut Rng, period: u32) {
    let start = PERIOD * period;
    let mut doings: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    let jitter = Duration::from_millis(rng.u64(..60_000));
    let how = any_how(rng);
    doings.push(Box::pin(async move {
        world.until(start + jitter).await;
        world.schedule(how).await;
    }));
    for _ in 0..rng.u8(..3) {
        let at = start + Duration::from_millis(rng.u64(..1_500_000));
        let ca = rng.usize(..world.cas.len());
        let reason = REASONS[rng.usize(..REASONS.len())];
        doings.push(Box::pin(async move {
            world.until(at).await;
            world.revoke(ca, reason);
        }));
    }
    for _ in 0..rng.u8(..3) {
        let at = start + Duration::from_millis(rng.u64(..900_000));
        let how = any_how(rng);
        let what = rng.u8(..6);
        doings.push(Box::pin(async move {
            world.until(at).await;
            match what {
                0 => world.invoke(json!({ "dryRun": true }), how).await,
                1 => {
                    world
                        .invoke(json!({ "since": "2026-11-01T00:00:00Z" }), how)
                        .await
                }
                2 => world.schedule(how).await,
                3 => world.asynchronously(revocation(world), how).await,
                _ => world.invoke(json!({}), how).await,
            };
        }));
    }
    join_all(doings).await;
    world.until((start + PERIOD).max(world.age())).await;
}

fn any_how(rng: &mut Rng) -> How {
    let left = match rng.u8(..8) {
        0 => Duration::from_millis(rng.u64(10_000..60_000)),
        1 => Duration::from_secs(rng.u64(60..900)),
        _ => TIMEOUT,
    };
    How {
        left,
        clock_ahead_ms: rng.i64(-14_000..=14_000),
    }
}

/// Something that lasts a period goes wrong, perhaps; after how many more quiet runs it is over.
fn misfortune(world: &World, rng: &mut Rng) -> u32 {
    let pca = world.aws.private_ca();
    let ca = &world.cas[rng.usize(..world.cas.len())];
    let next = |next: NextReport, quiet| {
        pca.next_report(ca, next);
        quiet
    };
    match rng.u8(..20) {
        0 => pca.set_status(ca, Status::Expired),
        1 => pca.set_status(ca, Status::Disabled),
        2 => return next(NextReport::new().outcome(Outcome::Failed), 2),
        3 => return next(NextReport::new().outcome(Outcome::NotWritten), 4),
        4 => {
            return next(
                NextReport::new().delay(Duration::from_secs(rng.u64(600..3000))),
                2,
            );
        }
        5 => return next(NextReport::new().content("[{\"serial\": \"01\", "), 3),
        6 => return next(NextReport::new().content(""), 3),
        7 => {
            let topic = &world.topic;
            world.aws.sns().delete_topic(topic);
            world.aws.sns().create_topic("revocations");
        }
        8 => world.aws.s3().set_private_ca_access(
            super::world::BUCKET,
            local_aws::PrivateCaAccess::missing_policy(super::world::BUCKET),
        ),
        _ => {}
    }
    0
}

fn heal(world: &World) {
    for ca in &world.cas {
        world.aws.private_ca().set_status(ca, Status::Active);
    }
    world
        .aws
        .s3()
        .set_private_ca_access(super::world::BUCKET, local_aws::PrivateCaAccess::Granted);
    let sqs = Subscription::new(Protocol::Sqs, "queue");
    world
        .aws
        .sns()
        .subscribe(&world.topic, sqs)
        .expect("a standard topic takes a queue");
}
