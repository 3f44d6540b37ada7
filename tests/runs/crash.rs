//! Kills the function's binary with SIGKILL at random moments, and checks that nothing is lost.
//!
//! Each run dies a random moment after one of its calls, chosen at random, has arrived.
//! `CRASHES=500 cargo test --test runs crash -- --nocapture` kills 500 runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{BUCKET, CA_ID, Function, World, text};
use local_aws::{Action, Phase};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Number of runs to kill by default: enough to hit every step of a run.
const CRASHES: usize = 25;

/// Minimum number of calls of a run that publishes an alert.
const CALLS: usize = 16;

#[tokio::test]
async fn next_run_catches_up_after_a_kill_at_any_moment() {
    let crashes = std::env::var("CRASHES").map_or(CRASHES, |text| text.parse().expect("a number"));
    let world = World::new().await;
    world.aws.private_ca().set_reports(|reports| {
        reports.interval = Duration::ZERO;
        reports.delay = Duration::ZERO;
    });
    run(&world).await;
    let mut revoked: Vec<String> = Vec::new();
    let mut killed = 0;
    for _ in 0..crashes {
        revoked.push(world.revoke("www.example.com"));
        // Some runs finish before they can be killed.
        let was_killed = run_and_kill_at(&world, fastrand::usize(0..CALLS + 2)).await;
        killed += usize::from(was_killed);
        end_leases(&world);

        let response = run(&world).await;
        assert_eq!(response["status"], "ok", "{response:#}");

        let alerts = alerts(&world);
        let times = alerts.get(revoked.last().expect("one was just revoked"));
        match times.map(Vec::len) {
            None => panic!("lost: {revoked:?}"),
            Some(1) => {}
            Some(2) if was_killed => {}
            Some(n) => panic!("alerted {n} times"),
        }
    }
    let alerts = alerts(&world);
    assert_eq!(alerts.len(), revoked.len());
    let twice = alerts.values().filter(|ids| ids.len() == 2).count();
    for ids in alerts.values() {
        assert!(
            ids.iter().all(|id| *id == ids[0]),
            "one revocation has one id: {ids:?}"
        );
    }
    let control = world.control();
    assert_eq!(control["lease"], Value::Null);
    assert_eq!(control["pendingReport"], Value::Null);
    assert_eq!(control["notifiedCount"], revoked.len());
    println!(
        "{crashes} runs, {killed} of them ended by SIGKILL: {} revocations alerted, {twice} of them twice",
        revoked.len()
    );
}

/// Starts a new process: each run has its own.
async fn process(world: &World) -> Function {
    world.function(&[("REPORT_INTERVAL_SECONDS", "0")]).await
}

async fn run(world: &World) -> Value {
    let response = process(world).await.invoke(json!({})).await;
    response.expect("the run is not disturbed")
}

/// Returns whether the process was killed before it responded.
async fn run_and_kill_at(world: &World, call: usize) -> bool {
    let mut function = process(world).await;
    let arrived = Arc::new(Notify::new());
    let (calls, notify) = (AtomicUsize::new(0), Arc::clone(&arrived));
    world.aws.on_call(move |_, phase| {
        if phase == Phase::Before && calls.fetch_add(1, Ordering::Relaxed) == call {
            notify.notify_one();
        }
        Action::Proceed
    });
    let was_killed = tokio::select! {
        _ = function.invoke(json!({})) => false,
        () = arrived.notified() => true,
    };
    if was_killed {
        // A few milliseconds later it is several steps further, or none.
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..8000))).await;
        function.kill().await;
    }
    world.aws.clear_hook();
    was_killed
}

/// Ends the lease of a dead process, as if its deadline had passed.
fn end_leases(world: &World) {
    let mut control = world.control();
    if let Some(lease) = control["lease"].as_object_mut() {
        lease.insert("until".to_owned(), json!("2020-01-01T00:00:00Z"));
        let key = format!("revocation-watch/{CA_ID}.json");
        world.aws.s3().put(BUCKET, &key, control.to_string());
    }
}

/// Returns, by serial, the revocation ids of all its alerts.
fn alerts(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut alerts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in world.aws.sns().messages() {
        let document: Value =
            serde_json::from_str(&message.variants["default"]).expect("the message is JSON");
        if document["type"] != "revocations" {
            continue;
        }
        for revocation in document["revocations"].as_array().expect("a list") {
            let serial = text(&revocation["serial"]);
            let id = text(&revocation["revocationId"]);
            alerts.entry(serial).or_default().push(id);
        }
    }
    alerts
}
