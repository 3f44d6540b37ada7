//! The function's own binary, killed with SIGKILL at random moments, over and over: nothing is lost.
//!
//! Each time it dies a random moment after a random one of its calls has arrived.
//! `CRASHES=500 cargo test --test runs crash -- --nocapture` kills it that often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{BUCKET, CA_ID, Function, World, text};
use local_aws::{Action, Phase};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Without the variable: enough to hit every step of a run.
const CRASHES: usize = 25;

/// So many calls a run makes at least that has something to tell.
const CALLS: usize = 16;

#[tokio::test]
async fn whenever_the_process_is_killed_the_next_run_makes_up_for_it() {
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
        revoked.push(revoke(&world));
        // Now and then it is too late to kill it.
        let was_killed = run_and_kill_at(&world, fastrand::usize(0..CALLS + 2)).await;
        killed += usize::from(was_killed);
        end_leases(&world);

        let response = run(&world).await;
        assert_eq!(response["status"], "ok", "{response:#}");

        let tellings = tellings(&world);
        let times = tellings.get(revoked.last().expect("one was just revoked"));
        match times.map(Vec::len) {
            None => panic!("lost: {revoked:?}"),
            Some(1) => {}
            Some(2) if was_killed => {}
            Some(n) => panic!("told {n} times"),
        }
    }
    let tellings = tellings(&world);
    assert_eq!(tellings.len(), revoked.len());
    let twice = tellings.values().filter(|ids| ids.len() == 2).count();
    for ids in tellings.values() {
        assert!(
            ids.iter().all(|id| *id == ids[0]),
            "one revocation, one identity: {ids:?}"
        );
    }
    let control = world.control();
    assert_eq!(control["lease"], Value::Null);
    assert_eq!(control["pendingReport"], Value::Null);
    assert_eq!(control["notifiedCount"], revoked.len());
    println!(
        "{crashes} runs, {killed} of them ended by SIGKILL: {} revocations told, {twice} of them twice",
        revoked.len()
    );
}

/// A process of its own for each run.
async fn process(world: &World) -> Function {
    world.function(&[("REPORT_INTERVAL_SECONDS", "0")]).await
}

async fn run(world: &World) -> Value {
    let response = process(world).await.invoke(json!({})).await;
    response.expect("nothing goes wrong with it")
}

/// Whether it was killed before it answered.
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
        // Within some milliseconds it goes several steps further, or none.
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..8000))).await;
        function.kill().await;
    }
    world.aws.clear_hook();
    was_killed
}

fn revoke(world: &World) -> String {
    let pca = world.aws.private_ca();
    let serial = pca.issue(&world.ca, "www.example.com");
    pca.revoke(&world.ca, &serial, "KEY_COMPROMISE");
    serial
}

/// As if the dead holder's deadline had passed.
fn end_leases(world: &World) {
    let mut control = world.control();
    if let Some(lease) = control["lease"].as_object_mut() {
        lease.insert("until".to_owned(), json!("2020-01-01T00:00:00Z"));
        let key = format!("revocation-watch/{CA_ID}.json");
        world.aws.s3().put(BUCKET, &key, control.to_string());
    }
}

/// By serial, the identities under which it was told.
fn tellings(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut tellings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in world.aws.sns().messages() {
        let document: Value =
            serde_json::from_str(&message.variants["default"]).expect("the document is JSON");
        if document["type"] != "revocations" {
            continue;
        }
        for revocation in document["revocations"].as_array().expect("a list") {
            let serial = text(&revocation["serial"]);
            let id = text(&revocation["revocationId"]);
            tellings.entry(serial).or_default().push(id);
        }
    }
    tellings
}
