//! Two runs at one certificate authority, and runs whose writes of the state go astray: the state as
//! a lock, and as a memory.

use std::time::Duration;

use local_aws::{Fault, NextReport, On};
use serde_json::{Value, json};

use super::{
    REPORTS, audit_of, audited_world, comes_in_order, control, documents,
    is_told_once_without_a_word, notified_set, put, run_well, told,
};
use crate::simulator::on_paused_clock;
use crate::simulator::scenario::control_key;
use crate::simulator::world::{BUCKET, Ended, How, PERIOD, TIMEOUT, World};

/// Half of what a slow report takes.
const SOME_TIME: Duration = Duration::from_secs(60);

/// Added to the deadline of a process that died: clocks differ.
const TOLERANCE: Duration = Duration::from_secs(30);

/// A world in which a revocation waits for the next period, and that period's report is slow.
async fn slow_period() -> (World, String) {
    let world = audited_world(&[]).await;
    world.until(PERIOD).await;
    let serial = world.revoke(0, "KEY_COMPROMISE");
    let slow = NextReport::new().delay(2 * SOME_TIME);
    world.aws.private_ca().next_report(&world.cas[0], slow);
    (world, serial)
}

/// What a manual run answers now for the certificate authority.
async fn by_hand(world: &World) -> Value {
    audit_of(&world.invoke(json!({}), How::default()).await).clone()
}

fn requests(world: &World) -> usize {
    let calls = world.aws.calls_of("CreateCertificateAuthorityAuditReport");
    calls.len()
}

#[test]
fn of_two_scheduled_runs_one_waits_for_the_other_and_nothing_is_told_twice() {
    on_paused_clock(1, async {
        let (world, serial) = slow_period().await;

        let (first, second) = tokio::join!(
            world.schedule(How::default()),
            world.schedule(How::default())
        );

        assert_eq!(audit_of(&first)["outcome"], "audited");
        assert_eq!(audit_of(&second)["outcome"], "tooSoon");
        assert_eq!(told(&world), [serial]);
        assert_eq!(requests(&world), 2);
        comes_in_order(&world).await;
    });
}

#[test]
fn a_manual_run_answers_at_once_that_another_one_is_at_work_and_until_when() {
    on_paused_clock(1, async {
        let (world, serial) = slow_period().await;
        let manual = async {
            tokio::time::sleep(SOME_TIME).await;
            let before = world.age();
            let audit = by_hand(&world).await;
            assert_eq!(world.age(), before);
            audit
        };

        let (scheduled, manual) = tokio::join!(world.schedule(How::default()), manual);

        assert_eq!(manual["outcome"], "busy");
        assert!(manual["busyUntil"].is_string(), "{manual:#}");
        assert_eq!(audit_of(&scheduled)["outcome"], "audited");
        assert_eq!(told(&world), [serial]);
        comes_in_order(&world).await;
    });
}

#[test]
fn a_run_that_fails_gives_the_certificate_authority_back() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.aws.s3().deny("s3:GetObject", BUCKET, REPORTS);
        world.until(PERIOD).await;

        let failed = by_hand(&world).await;

        assert_eq!(failed["outcome"], "failed", "{failed:#}");
        assert_eq!(control(&world)["lease"], Value::Null);
        world.aws.s3().allow_all();
        assert_eq!(by_hand(&world).await["outcome"], "audited");
    });
}

/// The clock of the next run may be behind or ahead of the one that died.
#[test]
fn a_process_that_died_holds_its_certificate_authority_until_its_deadline_and_no_longer() {
    on_paused_clock(1, async {
        let (world, serial) = slow_period().await;
        world.kill_at_key(REPORTS.to_owned());
        let ended = world.invoke(json!({}), How::default()).await;
        assert!(matches!(ended, Ended::Killed), "{ended:?}");
        let over = PERIOD + TIMEOUT + TOLERANCE;

        world.until(over - Duration::from_secs(2)).await;
        assert_eq!(by_hand(&world).await["outcome"], "busy");
        let behind = How {
            clock_ahead_ms: -30_000,
            ..How::default()
        };
        world.until(over + Duration::from_secs(2)).await;
        let late = world.invoke(json!({}), behind).await;
        assert_eq!(audit_of(&late)["outcome"], "busy");
        assert_eq!(by_hand(&world).await["outcome"], "audited");

        assert_eq!(told(&world), [serial]);
        assert_eq!(requests(&world), 2);
    });
}

/// The retry of a run that died waits for its lease to end, and has next to no time left then.
#[test]
fn the_rest_of_a_run_that_waited_is_no_attempt_at_an_unfinished_report() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.until(PERIOD).await;
        world.kill_at_key(REPORTS.to_owned());
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world
            .aws
            .misbehave(reading, Fault::Late(Duration::from_secs(25)));

        let ended = world.schedule(How::default()).await;

        assert_eq!(audit_of(&ended)["outcome"], "audited");
        world.aws.behave();
        is_told_once_without_a_word(&world, &serial).await;
    });
}

/// Nothing is told for as long as SNS does not answer, but the state knows how far each run came.
#[test]
fn a_topic_that_does_not_answer_until_the_end_leaves_the_time_to_save() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.until(PERIOD).await;
        let publish = On::operation("Publish").always();
        world.aws.misbehave(publish, Fault::Hang);
        let hurried = How {
            left: Duration::from_secs(40),
            ..How::default()
        };
        for _ in 0..3 {
            let ended = world.invoke(json!({}), hurried).await;
            assert_eq!(audit_of(&ended)["error"]["type"], "OutOfTime", "{ended:?}");
            let control = control(&world);
            assert_eq!(control["lease"], Value::Null);
            assert_eq!(control["pendingReport"]["attempts"], 0);
        }
        world.aws.behave();

        is_told_once_without_a_word(&world, &serial).await;
    });
}

#[test]
fn a_dry_run_beside_an_audit_finds_the_state_as_it_is_by_then() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.until(PERIOD).await;
        let looking = On::operation("HeadObject");
        world
            .aws
            .misbehave(looking, Fault::Late(Duration::from_secs(20)));
        let scheduled = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.schedule(How::default()).await
        };
        let before = notified_set(&world);

        let dry_run = world.invoke(json!({ "dryRun": true }), How::default());
        let (dry_run, scheduled) = tokio::join!(dry_run, scheduled);

        assert_ne!(notified_set(&world), before);
        assert_eq!(audit_of(&dry_run)["outcome"], "audited", "{dry_run:?}");
        assert_eq!(audit_of(&scheduled)["outcome"], "audited");
        assert_eq!(told(&world), [serial]);
    });
}

/// Whatever became of a write of the control document, and whatever S3 said about it: the run finds
/// out, goes on, and calls its audit complete.
#[test]
fn a_write_of_the_state_that_went_astray_is_cleared_up_by_the_same_run() {
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
            let is_struck = on_paused_clock(1, async {
                let world = audited_world(&[]).await;
                let serial = world.revoke(0, "KEY_COMPROMISE");
                let key = control_key(&world, 0);
                let writes = On::operation("PutObject").key_contains(key).after(write);
                world.aws.misbehave(writes, fault.clone());
                let (runs, complete) = (world.observed().runs.len(), last_complete(&world));

                run_well(&world).await;

                let what = format!("{fault:?} of write {write}");
                assert_eq!(world.observed().runs.len(), runs + 1, "{what}");
                assert_ne!(last_complete(&world), complete, "{what}");
                assert_eq!(control(&world)["pendingReport"], Value::Null, "{what}");
                assert_eq!(told(&world), [serial], "{what}");
                let is_struck = world.aws.pending_faults() == 0;
                comes_in_order(&world).await;
                assert_eq!(documents(&world, "watch-failed").len(), 0, "{what}");
                is_struck
            });
            if !is_struck {
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

/// The lease keeps two runs apart. Should one be broken all the same, by hand or by a clock that is
/// wrong by minutes, then what either told stays told.
#[test]
fn what_another_run_recorded_meanwhile_is_kept_with_what_this_one_told() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let ours = world.revoke(0, "KEY_COMPROMISE");
        let publish = On::operation("Publish");
        world
            .aws
            .misbehave(publish, Fault::Late(Duration::from_secs(5)));
        let other = async {
            while told(&world).is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let theirs = world.revoke(0, "SUPERSEDED");
            record_as_another_run(&world, &theirs);
            theirs
        };

        let (_, theirs) = tokio::join!(run_well(&world), other);

        let list = world.aws.s3().get(BUCKET, &notified_set(&world));
        let list = list.expect("the list is there");
        let list = str::from_utf8(&list).expect("JSON is text");
        for serial in [&ours, &theirs] {
            assert!(list.contains(&octets(serial)), "{serial} in {list}");
        }
        assert_eq!(control(&world)["notifiedCount"], 3);
        for _ in 0..2 {
            run_well(&world).await;
        }
        assert_eq!(told(&world), [ours]);
    });
}

/// As the told list writes it.
fn octets(serial: &str) -> String {
    let digits = serial.replace(':', "");
    digits.strip_prefix("00").unwrap_or(&digits).to_owned()
}

/// Writes a new told list with this serial, too, and a control document that points to it, as a run
/// would that does not know of the one under way.
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
    let set = format!("{header}\n{entries}{}\n", json!(octets(serial)));
    put(world, &key, set);
    let sequence = control["sequence"].as_u64().expect("a number") + 10;
    control["sequence"] = json!(sequence);
    control["nonce"] = json!(format!("another-{sequence}"));
    control["notifiedSet"] = json!(key);
    control["notifiedCount"] = json!(count);
    control["lease"] = Value::Null;
    put(world, &control_key(world, 0), control.to_string());
}
