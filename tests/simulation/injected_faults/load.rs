//! Full runs, crashed scans and limits: who is scanned when, how often, and how much at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use local_aws::{Action, Fault, NextReport, On, Phase};
use pca_revocation_watch::aws::connections::MAX_REQUESTS;
use serde_json::{Value, json};

use super::{
    REPORTS, alerted_serials, assert_alerted_once_without_errors, audit_of, audited_world, control,
    messages_of_type, put, run_audited,
};
use crate::simulator::load::{self, Load};
use crate::simulator::on_paused_clock;
use crate::simulator::scenario::control_key;
use crate::simulator::world::{
    BUCKET, Ended, InvokeOptions, PERIOD, Run, TIMEOUT, World, lift_quotas,
};

/// Every download of a report breaks after one byte, so a byte takes 0.4 s: the wait before the next
/// request.
fn slow_reports(world: &World) {
    let reading = On::operation("GetObject").key_contains(REPORTS).always();
    world.aws.inject(reading, Fault::CutBody { after: 1 });
}

/// Returns a world whose next report takes longer than a run to read, if it is slow.
async fn world_with_long_report() -> World {
    let world = audited_world(&[]).await;
    (0..5).for_each(|_| drop(world.issue(0)));
    world.until(PERIOD).await;
    world
}

#[test]
fn no_ca_starves_if_all_scans_take_longer_than_a_run() {
    let figures = load::simulate(Load {
        certificate_authorities: 20,
        periods: 16,
        run: Duration::from_secs(78),
        scan: Duration::from_secs(28),
    });
    assert_eq!(figures.violations, [""; 0]);
    assert_eq!(figures.scanned_per_run, 4);
    // A run cannot audit all of them.
    assert!(figures.runs > 16 && figures.audits > 2 * 20, "{figures:?}");
}

#[test]
fn report_cut_off_by_the_end_of_a_full_run_is_no_attempt() {
    on_paused_clock(1, async {
        let world = world_with_long_report().await;
        // It is ready when half of the second run is over.
        let late = NextReport::new().delay(TIMEOUT * 2 / 3);
        world.aws.private_ca().next_report(&world.cas[0], late);
        slow_reports(&world);

        let mut results = Vec::new();
        for _ in 0..2 {
            let ended = world.invoke(json!({}), InvokeOptions::ending_in(400)).await;
            let audit = audit_of(&ended);
            results.push((audit["outcome"].clone(), audit["error"]["type"].clone()));
        }

        let expected = [("waiting", Value::Null), ("failed", json!("OutOfTime"))];
        assert_eq!(
            results,
            expected.map(|(outcome, error)| (json!(outcome), error))
        );
        assert_eq!(control(&world)["pendingReport"]["attempts"], 0);
        assert_eq!(control(&world)["scanning"], Value::Null);
    });
}

#[test]
fn report_too_long_for_two_whole_runs_is_abandoned() {
    on_paused_clock(1, async {
        let world = world_with_long_report().await;
        slow_reports(&world);
        let mut errors = Vec::new();
        for _ in 0..2 {
            let ended = world.invoke(json!({}), InvokeOptions::default()).await;
            errors.push(audit_of(&ended)["error"]["type"].clone());
            assert_eq!(control(&world)["scanning"], Value::Null);
        }
        assert_eq!(errors, ["OutOfTime", "ReportUnfinished"]);
        assert_eq!(control(&world)["pendingReport"], Value::Null);
    });
}

#[test]
fn scan_that_never_began_is_no_attempt() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.until(PERIOD).await;
        // The lease and the request are saved, the start of the scan is not.
        let starting = On::operation("PutObject")
            .key_contains(control_key(&world, 0))
            .after(2)
            .times(18);
        let text = "Please reduce your request rate.";
        world
            .aws
            .inject(starting, Fault::error(503, "SlowDown", text));
        let reads = reads_of_reports(&world).len();

        let ended = world.invoke(json!({}), InvokeOptions::default()).await;

        assert_eq!(audit_of(&ended)["outcome"], "failed", "{ended:?}");
        assert_eq!(world.aws.pending_faults(), 0);
        assert_eq!(reads_of_reports(&world).len(), reads);
        assert_eq!(control(&world)["pendingReport"]["attempts"], 0);
        assert_eq!(control(&world)["scanning"], Value::Null);
        run_audited(&world).await;
        assert_eq!(alerted_serials(&world), [serial]);
    });
}

#[test]
fn report_that_crashed_a_run_is_scanned_last() {
    on_paused_clock(1, async {
        let world = World::new(1, 3, &[]);
        lift_quotas(&world);
        (0..3).for_each(|ca| drop(world.issue(ca)));
        world.schedule(InvokeOptions::default()).await;
        world.until(PERIOD).await;
        let id = |ca: usize| world.cas[ca].rsplit('/').next().expect("an ARN has an id");
        let first = |name: &str| format!("{REPORTS}{name}");
        world.kill_at_key(first(id(0)));
        let payload = json!({ "certificateAuthorityArns": [world.cas[0]] });
        let ended = world.invoke(payload, InvokeOptions::default()).await;
        assert!(matches!(ended, Ended::Killed), "{ended:?}");
        assert_eq!(control(&world)["pendingReport"]["attempts"], 1);
        world.until(2 * PERIOD).await;
        let before = reads_of_reports(&world).len();

        world.schedule(InvokeOptions::default()).await;

        let keys = reads_of_reports(&world).split_off(before);
        // Its report is outdated by now, so a new one follows.
        let is_of_first = |key: &String| key.starts_with(&first(id(0)));
        let of_first: Vec<_> = keys.iter().map(is_of_first).collect();
        assert_eq!(of_first, [false, false, true, true], "{keys:#?}");
        assert_eq!(control(&world)["pendingReport"], Value::Null);
        assert_eq!(control(&world)["scanning"], Value::Null);
    });
}

/// Returns the keys of the reports that were read, oldest first.
fn reads_of_reports(world: &World) -> Vec<String> {
    let reads = world.aws.calls_of("GetObject").into_iter();
    let keys = reads.filter_map(|call| call.key);
    keys.filter(|key| key.starts_with(REPORTS)).collect()
}

#[test]
fn body_that_breaks_after_progress_is_read_to_its_end() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world.aws.inject(reading, Fault::CutBody { after: 100 });
        let before = reads_of_reports(&world).len();

        run_audited(&world).await;

        // More than without progress.
        assert!(reads_of_reports(&world).len() - before > 1 + 5);
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn body_that_breaks_without_progress_is_abandoned_for_now() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world.aws.inject(reading, Fault::CutBody { after: 0 });
        let before = reads_of_reports(&world).len();
        world.until(PERIOD).await;

        let ended = world.invoke(json!({}), InvokeOptions::default()).await;

        assert_eq!(audit_of(&ended)["error"]["type"], "Unavailable");
        assert_eq!(reads_of_reports(&world).len() - before, 1 + 5);
        assert_eq!(control(&world)["pendingReport"]["attempts"], 0);
    });
}

#[test]
fn retry_after_a_crash_takes_its_own_lease_over() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.until(PERIOD).await;
        world.kill_at_key(REPORTS.to_owned());

        let ended = world.schedule(InvokeOptions::default()).await;

        assert_eq!(audit_of(&ended)["outcome"], "audited", "{ended:?}");
        assert_eq!(world.observed().runs.len(), 3);
        let retried = PERIOD + Duration::from_secs(60);
        assert!(
            world.age() < retried + Duration::from_secs(5),
            "{:?}",
            world.age()
        );
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

/// Lambda may deliver an event twice: each process takes the other's lease over, at any moment.
#[test]
fn duplicate_delivery_of_one_event_repeats_at_worst() {
    for delay in (0..2_400).step_by(60) {
        on_paused_clock(delay, async {
            let world = audited_world(&[("INVESTIGATE", "no")]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            world.until(PERIOD).await;
            world.set_latency(Duration::from_millis(100));
            let deliver = || {
                let id = "f1b2c3d4-0000-4000-8000-000000000000";
                world.deliver(world.scheduled(), InvokeOptions::default(), id)
            };
            let duplicate = async {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                deliver().await
            };

            tokio::join!(deliver(), duplicate);

            assert_retried_only_without_the_lease(&world, &format!("{delay} ms"));
            world.set_latency(Duration::ZERO);
            run_audited(&world).await;
            let mut serials = alerted_serials(&world);
            serials.dedup();
            assert_eq!(serials, [serial], "{delay} ms");
            assert!(alerted_serials(&world).len() <= 2, "{delay} ms");
            assert_eq!(
                messages_of_type(&world, "watch-failed").len(),
                0,
                "{delay} ms"
            );
            assert_eq!(control(&world)["lease"], Value::Null, "{delay} ms");
            assert_eq!(control(&world)["scanning"], Value::Null, "{delay} ms");
            assert_eq!(control(&world)["notifiedCount"], 2, "{delay} ms");
        });
    }
}

/// Checks that a process that lost its lease is retried only if the other one released it before, so
/// that the state does not show whose it was.
fn assert_retried_only_without_the_lease(world: &World, context: &str) {
    let observed = world.observed();
    let [_, first, second, retries @ ..] = &observed.runs[..] else {
        panic!("{context}: {} runs", observed.runs.len());
    };
    let failed = |run: &&Run| matches!(run.ended, Some(Ended::Failed(_)));
    let lost: Vec<_> = [(first, second), (second, first)]
        .into_iter()
        .filter(|(run, _)| failed(run))
        .collect();
    assert_eq!(retries.len(), lost.len(), "{context}");
    let key = control_key(world, 0);
    for (run, other) in lost {
        let writes = other
            .calls
            .iter()
            .map(|seen| &seen.call)
            .filter(|call| call.operation == "PutObject" && call.key.as_ref() == Some(&key));
        let released_at = writes.map(|call| call.at).max();
        assert!(released_at < run.ended_at, "{context}: {:?}", run.ended);
    }
}

#[test]
fn overdue_ca_is_still_retried_by_lambda() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world.aws.inject(reading, Fault::CutBody { after: 0 });
        let mut ended = Vec::new();
        for period in 1..=4 {
            world.until(PERIOD * period).await;
            ended.push(world.schedule(InvokeOptions::default()).await);
        }

        let Some(Ended::Failed(error)) = ended.last() else {
            panic!("{ended:?}");
        };
        assert!(error.error_message.contains("Unavailable"), "{error:?}");
        let failed = messages_of_type(&world, "watch-failed");
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0]["error"]["type"], "ReportOverdue");
        // One run per period would not have retried.
        assert_eq!(world.observed().runs.len(), 1 + 4 * 3);
    });
}

/// Revocations in each notified set: five sets do not fit into the memory of a run.
const NOTIFIED: usize = 400_000;

/// Adds revocations to the notified set of a CA, as if it had been audited for years.
fn fill_notified_set(world: &World, ca: usize) {
    let key = control_key(world, ca);
    let s3 = world.aws.s3();
    let state = s3.get(BUCKET, &key).expect("there is a state");
    let mut state: Value = serde_json::from_slice(&state).expect("JSON");
    let header =
        json!({ "version": 1, "certificateAuthorityArn": world.cas[ca], "count": NOTIFIED });
    let mut set = format!("{header}\n");
    for serial in 0..NOTIFIED {
        set += &format!("\"7{serial:031x}\"\n");
    }
    let set_key = state["notifiedSet"].as_str().expect("there is a set");
    put(world, set_key, set);
    state["notifiedCount"] = json!(NOTIFIED);
    put(world, &key, state.to_string());
}

#[test]
fn memory_of_all_audits_is_limited_while_sns_hangs() {
    on_paused_clock(1, async {
        let world = World::new(1, 5, &[]);
        lift_quotas(&world);
        (0..5).for_each(|ca| drop(world.issue(ca)));
        world.schedule(InvokeOptions::default()).await;
        (0..5).for_each(|ca| fill_notified_set(&world, ca));
        (0..5).for_each(|ca| drop(world.revoke(ca, "KEY_COMPROMISE")));
        // The requests of the first audits were paced.
        world.until(PERIOD + Duration::from_secs(10)).await;
        let publishing = On::operation("Publish").always();
        world.aws.inject(publishing, Fault::Hang);
        let in_memory = async {
            // All reports are ready, and no call to SNS has timed out.
            tokio::time::sleep(Duration::from_secs(25)).await;
            let reads = world.aws.calls_of("GetObject").into_iter();
            let keys = reads.filter_map(|call| call.key);
            keys.filter(|key| key.contains("/notified-")).count()
        };

        let run = world.invoke(json!({}), InvokeOptions::default());
        let (ended, in_memory) = tokio::join!(run, in_memory);

        // 36 bytes for each revocation and 1 MiB for each audit, of 64 MiB.
        assert_eq!(in_memory, 4);
        // The last one is loaded when SNS has not responded to the first ones for good.
        let all = &ended.response().expect("a response")["certificateAuthorities"];
        for audit in all.as_array().expect("a list") {
            let message = audit["error"]["message"].as_str().unwrap_or_default();
            assert!(message.contains("Publish"), "{audit:#}");
        }
    });
}

#[test]
fn simultaneous_requests_of_each_service_are_limited() {
    on_paused_clock(1, async {
        let world = World::new(1, 200, &[]);
        lift_quotas(&world);
        (0..200).for_each(|ca| drop(world.issue(ca)));
        // Requests in flight, and the most of them, by service.
        type InFlight = BTreeMap<String, (usize, usize)>;
        let in_flight: Arc<Mutex<InFlight>> = Arc::default();
        let seen = Arc::clone(&in_flight);
        world.aws.on_call(move |call, phase| {
            let service = format!("{:?}", call.service);
            let mut all = seen.lock().expect("no test panicked");
            let (now, most) = all.entry(service).or_default();
            match phase {
                Phase::Before => *now += 1,
                Phase::After => *now -= 1,
            }
            *most = (*most).max(*now);
            let delay = Duration::from_millis(200);
            Action::Wait(Box::pin(tokio::time::sleep(delay)))
        });

        let ended = world.schedule(InvokeOptions::default()).await;

        assert_eq!(ended.response().expect("a response")["status"], "ok");
        let in_flight = in_flight.lock().expect("no test panicked");
        assert_eq!(in_flight["S3"].1, MAX_REQUESTS, "{in_flight:?}");
        assert!(
            in_flight.values().all(|(_, most)| *most <= MAX_REQUESTS),
            "{in_flight:?}"
        );
    });
}
