//! Concurrent runs of one CA, and state writes with unknown outcome: the state as a lock and as memory.

use std::time::Duration;

use local_aws::{Fault, NextReport, On};
use serde_json::{Value, json};

use super::{
    REPORTS, alerted_serials, assert_alerted_once_without_errors, assert_settles, audit_of,
    audited_world, control, messages_of_type, notified_set, put, run_audited,
};
use crate::simulator::on_paused_clock;
use crate::simulator::scenario::control_key;
use crate::simulator::world::{BUCKET, Ended, InvokeOptions, PERIOD, TIMEOUT, World};

/// Half the time that a slow report takes.
const SOME_TIME: Duration = Duration::from_secs(60);

/// Tolerance for clock differences, added to the deadline of a process that died.
const TOLERANCE: Duration = Duration::from_secs(30);

/// Returns a world at the start of a period with a new revocation and a slow report.
async fn period_with_slow_report() -> (World, String) {
    let world = audited_world(&[]).await;
    world.until(PERIOD).await;
    let serial = world.revoke(0, "KEY_COMPROMISE");
    let slow = NextReport::new().delay(2 * SOME_TIME);
    world.aws.private_ca().next_report(&world.cas[0], slow);
    (world, serial)
}

/// Invokes the function manually and returns its entry for the CA.
async fn run_manually(world: &World) -> Value {
    audit_of(&world.invoke(json!({}), InvokeOptions::default()).await).clone()
}

fn requests(world: &World) -> usize {
    let calls = world.aws.calls_of("CreateCertificateAuthorityAuditReport");
    calls.len()
}

#[test]
fn second_scheduled_run_waits_and_repeats_no_alert() {
    on_paused_clock(1, async {
        let (world, serial) = period_with_slow_report().await;

        let (first, second) = tokio::join!(
            world.schedule(InvokeOptions::default()),
            world.schedule(InvokeOptions::default())
        );

        assert_eq!(audit_of(&first)["outcome"], "audited");
        assert_eq!(audit_of(&second)["outcome"], "tooSoon");
        assert_eq!(alerted_serials(&world), [serial]);
        assert_eq!(requests(&world), 2);
        assert_settles(&world).await;
    });
}

#[test]
fn manual_run_returns_busy_at_once_with_the_lease_end() {
    on_paused_clock(1, async {
        let (world, serial) = period_with_slow_report().await;
        let manual = async {
            tokio::time::sleep(SOME_TIME).await;
            let before = world.age();
            let audit = run_manually(&world).await;
            assert_eq!(world.age(), before);
            audit
        };

        let (scheduled, manual) = tokio::join!(world.schedule(InvokeOptions::default()), manual);

        assert_eq!(manual["outcome"], "busy");
        assert!(manual["busyUntil"].is_string(), "{manual:#}");
        assert_eq!(audit_of(&scheduled)["outcome"], "audited");
        assert_eq!(alerted_serials(&world), [serial]);
        assert_settles(&world).await;
    });
}

#[test]
fn failed_run_releases_its_lease() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.aws.s3().deny("s3:GetObject", BUCKET, REPORTS);
        world.until(PERIOD).await;

        let failed = run_manually(&world).await;

        assert_eq!(failed["outcome"], "failed", "{failed:#}");
        assert_eq!(control(&world)["lease"], Value::Null);
        world.aws.s3().allow_all();
        assert_eq!(run_manually(&world).await["outcome"], "audited");
    });
}

/// The next run's clock may be behind or ahead of the dead process's clock.
#[test]
fn lease_of_a_dead_process_ends_at_its_deadline() {
    on_paused_clock(1, async {
        let (world, serial) = period_with_slow_report().await;
        world.kill_at_key(REPORTS.to_owned());
        let ended = world.invoke(json!({}), InvokeOptions::default()).await;
        assert!(matches!(ended, Ended::Killed), "{ended:?}");
        // Audits end half a minute before the run, which announces their results.
        let over = PERIOD + TIMEOUT - Duration::from_secs(30) + TOLERANCE;

        world.until(over - Duration::from_secs(2)).await;
        assert_eq!(run_manually(&world).await["outcome"], "busy");
        let behind = InvokeOptions {
            clock_ahead_ms: -30_000,
            ..InvokeOptions::default()
        };
        world.until(over + Duration::from_secs(2)).await;
        let late = world.invoke(json!({}), behind).await;
        assert_eq!(audit_of(&late)["outcome"], "busy");
        assert_eq!(run_manually(&world).await["outcome"], "audited");

        assert_eq!(alerted_serials(&world), [serial]);
        assert_eq!(requests(&world), 2);
    });
}

/// The run after one that died waits for the lease to end, and has hardly any time left then.
#[test]
fn run_left_with_no_time_after_waiting_counts_no_attempt() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.until(PERIOD).await;
        world.kill_at_key(REPORTS.to_owned());
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world
            .aws
            .inject(reading, Fault::Late(Duration::from_secs(25)));
        let died = world.invoke(json!({}), InvokeOptions::default()).await;
        assert!(matches!(died, Ended::Killed), "{died:?}");
        world.until(PERIOD + Duration::from_secs(60)).await;

        let ended = world.schedule(InvokeOptions::default()).await;

        assert_eq!(audit_of(&ended)["outcome"], "audited");
        world.aws.clear_faults();
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

/// While SNS does not respond nothing is alerted, but each run saves its progress.
#[test]
fn hanging_topic_leaves_time_to_save_the_state() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.until(PERIOD).await;
        let publish = On::operation("Publish").always();
        world.aws.inject(publish, Fault::Hang);
        let short = InvokeOptions::ending_in(30);
        for _ in 0..3 {
            let ended = world.invoke(json!({}), short).await;
            assert_eq!(audit_of(&ended)["error"]["type"], "OutOfTime", "{ended:?}");
            let control = control(&world);
            assert_eq!(control["lease"], Value::Null);
            assert_eq!(control["pendingReport"]["attempts"], 0);
        }
        world.aws.clear_faults();

        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn dry_run_beside_an_audit_reads_the_current_state() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.until(PERIOD).await;
        let looking = On::operation("HeadObject");
        world
            .aws
            .inject(looking, Fault::Late(Duration::from_secs(20)));
        let scheduled = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.schedule(InvokeOptions::default()).await
        };
        let before = notified_set(&world);

        let dry_run = world.invoke(json!({ "dryRun": true }), InvokeOptions::default());
        let (dry_run, scheduled) = tokio::join!(dry_run, scheduled);

        assert_ne!(notified_set(&world), before);
        assert_eq!(audit_of(&dry_run)["outcome"], "audited", "{dry_run:?}");
        assert_eq!(audit_of(&scheduled)["outcome"], "audited");
        assert_eq!(alerted_serials(&world), [serial]);
    });
}

/// Whether or not a write of the control document took effect, and whatever S3 returned: the run finds
/// out, continues, and completes its audit.
#[test]
fn same_run_resolves_a_state_write_of_unknown_outcome() {
    let text = "We encountered an internal error. Please try again.";
    let faults = [
        Fault::conditional_request_conflict(),
        Fault::Disconnect,
        Fault::LostReply,
        Fault::HangAfter,
        Fault::error_after(500, "InternalError", text),
    ];
    for fault in faults {
        let mut write = 0;
        loop {
            let is_injected = on_paused_clock(1, async {
                let world = audited_world(&[]).await;
                let serial = world.revoke(0, "KEY_COMPROMISE");
                let key = control_key(&world, 0);
                let writes = On::operation("PutObject").key_contains(key).after(write);
                world.aws.inject(writes, fault.clone());
                let (runs, complete) = (world.observed().runs.len(), last_complete(&world));

                run_audited(&world).await;

                let what = format!("{fault:?} of write {write}");
                assert_eq!(world.observed().runs.len(), runs + 1, "{what}");
                assert_ne!(last_complete(&world), complete, "{what}");
                assert_eq!(control(&world)["pendingReport"], Value::Null, "{what}");
                assert_eq!(alerted_serials(&world), [serial], "{what}");
                let is_injected = world.aws.pending_faults() == 0;
                assert_settles(&world).await;
                assert_eq!(messages_of_type(&world, "watch-failed").len(), 0, "{what}");
                is_injected
            });
            if !is_injected {
                break;
            }
            write += 1;
        }
        assert!(write >= 3, "lease, report and end are written");
    }
}

fn last_complete(world: &World) -> Value {
    control(world)["lastCompleteAudit"].clone()
}

/// The lease prevents concurrent audits. If it is broken all the same, manually or by a clock that is
/// minutes off, the notified revocations of both runs are kept.
#[test]
fn concurrent_runs_keep_the_notified_revocations_of_both() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let ours = world.revoke(0, "KEY_COMPROMISE");
        let (_, theirs) = tokio::join!(run_audited(&world), another_run(&world));

        let list = world.aws.s3().get(BUCKET, &notified_set(&world));
        let list = list.expect("the list is there");
        let list = str::from_utf8(&list).expect("JSON is text");
        for serial in [&ours, &theirs] {
            assert!(list.contains(&set_entry(serial)), "{serial} in {list}");
        }
        assert_eq!(control(&world)["notifiedCount"], 3);
        for _ in 0..2 {
            run_audited(&world).await;
        }
        assert_eq!(alerted_serials(&world), [ours]);
    });
}

/// Returns the serial as the notified set writes it.
fn set_entry(serial: &str) -> String {
    let digits = serial.replace(':', "");
    digits.strip_prefix("00").unwrap_or(&digits).to_owned()
}

/// Delays the next message until another run has recorded a revocation of its own, whose serial it
/// returns.
pub(super) async fn another_run(world: &World) -> String {
    let publish = On::operation("Publish");
    world
        .aws
        .inject(publish, Fault::Late(Duration::from_secs(5)));
    while alerted_serials(world).is_empty() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let theirs = world.revoke(0, "SUPERSEDED");
    record_as_another_run(world, &theirs);
    theirs
}

/// Writes a new notified set that adds this serial, and a control document that points to it, like a
/// concurrent run that does not know of this one.
fn record_as_another_run(world: &World, serial: &str) {
    let (mut control, key) = (control(world), notified_set(world));
    let set = world.aws.s3().get(BUCKET, &key).expect("there is a set");
    let (header, entries) = str::from_utf8(&set)
        .expect("JSON is text")
        .split_once('\n')
        .expect("there is a header line");
    let mut header: Value = serde_json::from_str(header).expect("the header is JSON");
    let count = entries.lines().count() + 1;
    header["count"] = json!(count);
    let key = key.replace("/notified-", "/notified-9");
    let set = format!("{header}\n{entries}{}\n", json!(set_entry(serial)));
    put(world, &key, set);
    let sequence = control["sequence"].as_u64().expect("a number") + 10;
    control["sequence"] = json!(sequence);
    control["nonce"] = json!(format!("another-{sequence}"));
    control["notifiedSet"] = json!(key);
    control["notifiedCount"] = json!(count);
    control["lease"] = Value::Null;
    put(world, &control_key(world, 0), control.to_string());
}
