//! The health document: unreadable, lost, leased, and runs that die or fail while they announce.

use std::time::Duration;

use local_aws::{Fault, NextReport, On, Service, Status};
use serde_json::{Value, json};

use super::{
    alerted_serials, assert_failed_and_recovered_once, assert_same_error, assert_settles,
    audited_world, control, first_audit, health, messages_of_type, only_message, put, run_all,
    run_all_audited, types, warnings,
};
use crate::simulator::on_paused_clock;
use crate::simulator::plan::{Extent, Failure, Injection};
use crate::simulator::scenario::{control_key, health_key, revocation};
use crate::simulator::world::{BUCKET, Ended, InvokeOptions, World, lift_quotas};

/// Makes the health document unusable; what it returns ends that.
type Begin = fn(&World) -> Box<dyn FnOnce(&World)>;

const UNREADABLE: Begin = |world| deny(world, "s3:GetObject");
const UNWRITABLE: Begin = |world| deny(world, "s3:PutObject");
const NEWER: Begin = |world| {
    let (key, whole) = (health_key(world), health(world).to_string());
    let newer = whole.replacen("\"version\":1", "\"version\":99", 1);
    put(world, &key, newer);
    Box::new(move |world| put(world, &key, whole))
};

fn deny(world: &World, action: &str) -> Box<dyn FnOnce(&World)> {
    world.aws.s3().deny(action, BUCKET, &health_key(world));
    Box::new(|world| world.aws.s3().allow_all())
}

fn expire(world: &World, ca: usize) {
    set_status(world, ca, Status::Expired);
}

fn set_status(world: &World, ca: usize, status: Status) {
    world.aws.private_ca().set_status(&world.cas[ca], status);
}

#[test]
fn unusable_document_pauses_messages_about_the_watch_only() {
    for (begin, warning) in [
        (UNREADABLE, "GetObject"),
        (UNWRITABLE, "PutObject"),
        (NEWER, "version 99"),
    ] {
        on_paused_clock(1, async {
            let world = first_audit(World::new(1, 2, &[])).await;
            world.was_refused.set(true);
            let end = begin(&world);
            let stored = world.aws.s3().versions(BUCKET, &health_key(&world));
            expire(&world, 1);
            let mut serials = Vec::new();
            for _ in 0..3 {
                serials.push(world.revoke(0, "KEY_COMPROMISE"));
                serials.sort();

                let response = run_all(&world).await;

                assert!(warnings(&response).contains(warning), "{response:#}");
                assert_eq!(response["status"], "partial");
                assert_eq!(alerted_serials(&world), serials);
            }
            assert_eq!(
                types(&world),
                ["watch-started", "revocations", "revocations", "revocations"]
            );
            let left = world.aws.s3().versions(BUCKET, &health_key(&world));
            assert_eq!(left, stored, "{warning}");

            end(&world);
            let response = run_all(&world).await;

            assert_eq!(response["warnings"], Value::Null, "{response:#}");
            only_message(&world, "watch-failed");
            set_status(&world, 1, Status::Active);
            assert_settles(&world).await;
            let messages = assert_failed_and_recovered_once(&world, "CertificateAuthorityState");
            assert_eq!(
                messages.0["certificateAuthorityArns"],
                json!([world.cas[1]])
            );
            assert_same_error(messages);
        });
    }
}

/// The run that recorded it could not announce it, and the next one ends it.
#[test]
fn error_of_an_earlier_run_is_announced_before_its_end() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.was_refused.set(true);
        expire(&world, 0);
        let end = UNWRITABLE(&world);
        run_all(&world).await;
        end(&world);
        set_status(&world, 0, Status::Active);
        let report = NextReport::new().delay(Duration::from_secs(60));
        world.aws.private_ca().next_report(&world.cas[0], report);

        run_all_audited(&world).await;

        assert_eq!(
            types(&world),
            ["watch-started", "watch-failed", "watch-recovered"]
        );
        assert_settles(&world).await;
        assert_same_error(assert_failed_and_recovered_once(
            &world,
            "CertificateAuthorityState",
        ));
    });
}

/// At worst, what was announced before is repeated once. Only errors are recorded elsewhere, so that their
/// repeat has the same id.
#[test]
fn lost_document_is_rebuilt() {
    let damages: [fn(&str) -> Option<String>; 4] = [
        |_| None,
        |whole| Some(whole[..whole.len() / 2].to_owned()),
        |_| Some(String::new()),
        |_| Some("[]".to_owned()),
    ];
    for damage in damages {
        on_paused_clock(1, async {
            let world = first_audit(World::new(1, 2, &[])).await;
            expire(&world, 1);
            run_all(&world).await;
            let key = health_key(&world);
            match damage(&health(&world).to_string()) {
                Some(content) => put(&world, &key, content),
                None => world.aws.s3().delete(BUCKET, &key),
            }
            world.rebuilds.set(1);
            for _ in 0..3 {
                let serial = world.revoke(0, "KEY_COMPROMISE");
                let response = run_all(&world).await;
                assert_eq!(response["warnings"], Value::Null, "{response:#}");
                assert!(alerted_serials(&world).contains(&serial));
            }

            assert_eq!(messages_of_type(&world, "watch-started").len(), 2);
            let failed = messages_of_type(&world, "watch-failed");
            assert_eq!(failed.len(), 2);
            assert_eq!(failed[0]["id"], failed[1]["id"]);
            set_status(&world, 1, Status::Active);
            assert_settles(&world).await;
            only_message(&world, "watch-recovered");
        });
    }
}

/// The run that holds the lease may have read older states: the next run compares.
#[test]
fn leased_document_is_left_to_the_next_run() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        expire(&world, 0);
        world.next_period().await;
        let until = world.aws.clock().now() + Duration::from_secs(60);
        let until = pca_revocation_watch::timestamp::Timestamp::from(until);
        let mut leased = health(&world);
        leased["lease"] = json!({ "requestId": "another", "nonce": "another", "until": until });
        put(&world, &health_key(&world), leased.to_string());

        let ended = world.schedule(InvokeOptions::default()).await;

        let response = ended.response().expect("a response");
        assert_eq!(response["warnings"], Value::Null, "{response:#}");
        assert_eq!(types(&world), ["watch-started"]);
        assert_eq!(health(&world), leased);
        run_all(&world).await;
        only_message(&world, "watch-failed");
        set_status(&world, 0, Status::Active);
        assert_settles(&world).await;
        assert_failed_and_recovered_once(&world, "CertificateAuthorityState");
    });
}

/// Returns a world in which a run announces an error, or dies doing so.
async fn announce(injections: Vec<Injection>) -> World {
    let world = audited_world(&[]).await;
    expire(&world, 0);
    world.next_period().await;
    world.inject(injections);
    world.invoke(json!({}), InvokeOptions::default()).await;
    world
}

/// Returns the position of the call that publishes the error.
fn position_of_publish() -> usize {
    let world = on_paused_clock(1, announce(Vec::new()));
    let observed = world.observed();
    let run = observed.runs.last().expect("a run");
    let mut calls = run.calls.iter();
    let publish = calls.position(|seen| seen.call.operation == "Publish");
    let written = calls.next().expect("the document is written afterwards");
    assert_eq!(written.call.key.as_ref(), Some(&health_key(&world)));
    publish.expect("the error is announced")
}

/// Until the dead run's lease expires, other runs announce nothing.
#[test]
fn killed_announcement_is_repeated_with_the_same_id() {
    let publish = position_of_publish();
    for (failure, call, copies) in [
        (Failure::KillBefore, publish, 1),
        (Failure::KillAfter, publish, 2),
        (Failure::KillBefore, publish + 1, 2),
        (Failure::KillAfter, publish + 1, 1),
    ] {
        on_paused_clock(1, async {
            let injection = Injection {
                run: 0,
                call,
                failure: failure.clone(),
                extent: Extent::Attempt,
            };
            let world = announce(vec![injection]).await;
            let ended = world.observed().runs.last().expect("a run").was_killed();
            assert!(ended, "{failure:?}");
            let before = messages_of_type(&world, "watch-failed").len();
            world.invoke(json!({}), InvokeOptions::default()).await;
            let during = messages_of_type(&world, "watch-failed").len();
            assert_eq!(during, before, "{failure:?}");

            run_all(&world).await;
            run_all(&world).await;

            let failed = messages_of_type(&world, "watch-failed");
            assert_eq!(failed.len(), copies, "{failure:?} of call {call}");
            assert!(failed.iter().all(|copy| copy["id"] == failed[0]["id"]));
            set_status(&world, 0, Status::Active);
            assert_settles(&world).await;
            only_message(&world, "watch-recovered");
        });
    }
}

/// The document says before that the error is about to be announced.
#[test]
fn end_of_an_error_is_announced_although_its_run_died() {
    let publish = position_of_publish();
    on_paused_clock(1, async {
        let world = announce(vec![Injection {
            run: 0,
            call: publish,
            failure: Failure::KillAfter,
            extent: Extent::Attempt,
        }])
        .await;
        only_message(&world, "watch-failed");
        // Nothing else says that there was an error.
        let key = control_key(&world, 0);
        let mut control = control(&world);
        control["error"] = Value::Null;
        put(&world, &key, control.to_string());
        set_status(&world, 0, Status::Active);

        run_all_audited(&world).await;

        assert_same_error(assert_failed_and_recovered_once(
            &world,
            "CertificateAuthorityState",
        ));
        assert_settles(&world).await;
    });
}

/// A retry of the same invocation takes the lease over.
#[test]
fn retried_run_repeats_its_own_announcement() {
    let publish = position_of_publish();
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        expire(&world, 0);
        world.next_period().await;
        world.inject([Injection {
            run: 0,
            call: publish,
            failure: Failure::KillAfter,
            extent: Extent::Attempt,
        }]);

        world.schedule(InvokeOptions::default()).await;

        let failed = messages_of_type(&world, "watch-failed");
        assert_eq!(failed.len(), 2);
        assert_eq!(failed[0]["id"], failed[1]["id"]);
        assert_eq!(health(&world)["lease"], Value::Null);
    });
}

#[test]
fn simultaneous_runs_announce_each_change_once() {
    for seed in 1..=10 {
        on_paused_clock(seed, async {
            let world = World::new(seed, 2, &[]);
            world.set_latency(Duration::from_millis(100));
            expire(&world, 1);
            let run = || world.schedule(InvokeOptions::default());
            tokio::join!(run(), run());
            let mut types = types(&world);
            types.sort();
            assert_eq!(types, ["watch-failed", "watch-started"]);
            set_status(&world, 1, Status::Active);
            world.next_period().await;

            tokio::join!(run(), run());

            world.set_latency(Duration::ZERO);
            assert_settles(&world).await;
            assert_failed_and_recovered_once(&world, "CertificateAuthorityState");
            let started = messages_of_type(&world, "watch-started");
            assert_eq!(started.len(), 2);
            assert_eq!(started[1]["certificateAuthorityArn"], json!(world.cas[1]));
        });
    }
}

/// Whether or not people know of the error, they get to know that it is over.
#[test]
fn end_of_an_error_is_announced_although_replies_were_lost() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let lost = On::operation("Publish").always();
        world.aws.inject(lost, Fault::LostReply);
        expire(&world, 0);
        let failed = run_all(&world).await;
        assert!(warnings(&failed).contains("not published"), "{failed:#}");
        set_status(&world, 0, Status::Active);
        // The first of them repeats the failure, the second announces the recovery.
        for _ in 0..2 {
            let response = run_all_audited(&world).await;
            assert!(warnings(&response).contains("not published"));
        }
        world.aws.clear_faults();

        run_all_audited(&world).await;
        run_all_audited(&world).await;

        for kind in ["watch-failed", "watch-recovered"] {
            let copies = messages_of_type(&world, kind);
            assert_eq!(copies.len(), 2, "{kind}");
            assert_eq!(copies[0]["id"], copies[1]["id"], "{kind}");
        }
        assert_eq!(health(&world)["problems"], json!([]));
    });
}

/// People may know that the first error was over.
#[test]
fn error_that_returns_after_an_unclear_recovery_is_announced_anew() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        expire(&world, 0);
        run_all(&world).await;
        let lost = On::operation("Publish").always();
        world.aws.inject(lost, Fault::LostReply);
        set_status(&world, 0, Status::Active);
        run_all_audited(&world).await;
        expire(&world, 0);
        // This run repeats the recovery first.
        run_all(&world).await;
        world.aws.clear_faults();

        run_all(&world).await;

        let failed = messages_of_type(&world, "watch-failed");
        assert_eq!(failed.len(), 2);
        assert_ne!(failed[0]["id"], failed[1]["id"]);
        // Until SNS says that it accepted the recovery, it is repeated.
        let recovered = messages_of_type(&world, "watch-recovered");
        assert_eq!(recovered.len(), 3);
        assert_eq!(recovered[0]["id"], recovered[1]["id"]);
        assert_eq!(recovered[0]["id"], recovered[2]["id"]);
    });
}

/// Its control document shows an audit from before that, and no error.
#[test]
fn relapse_that_no_state_records_is_not_over() {
    on_paused_clock(1, async {
        let world = first_audit(World::new(1, 2, &[])).await;
        world.was_refused.set(true);
        let deny_writes = |cas: &[usize]| {
            world.aws.s3().allow_all();
            for &ca in cas {
                let key = control_key(&world, ca);
                world.aws.s3().deny("s3:PutObject", BUCKET, &key);
            }
        };
        // The other one keeps the problem open while the first one recovers.
        for denied in [&[0, 1][..], &[1], &[0], &[0]] {
            deny_writes(denied);
            run_all(&world).await;
            only_message(&world, "watch-failed");
            assert_eq!(messages_of_type(&world, "watch-recovered").len(), 0);
        }
        deny_writes(&[]);
        assert_settles(&world).await;
        assert_failed_and_recovered_once(&world, "AccessDenied");
    });
}

/// The start of a run can read the state, but does not know whether it can be written again.
#[test]
fn error_that_a_readable_state_cannot_record_is_announced_once() {
    let expired = Fault::error(400, "ExpiredToken", "The provided token has expired.");
    for (fault, needed_runs) in [(Fault::access_denied(Service::S3), 1), (expired, 2)] {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            world.was_refused.set(true);
            let saving = On::operation("PutObject").key_contains(control_key(&world, 0));
            world.aws.inject(saving.always(), fault);
            let writes = || {
                let calls = world.aws.calls_of("PutObject").into_iter();
                let of_health = calls.filter(|call| call.key == Some(health_key(&world)));
                of_health.count()
            };
            for run in 1..=4 {
                let before = writes();
                world.next_period().await;
                world.schedule(InvokeOptions::default()).await;
                let failed = messages_of_type(&world, "watch-failed");
                assert_eq!(failed.len(), usize::from(run >= needed_runs));
                assert_eq!(writes() > before, run <= needed_runs, "run {run}");
            }
            world.aws.clear_faults();
            assert_settles(&world).await;
            only_message(&world, "watch-recovered");
        });
    }
}

/// Ten lookups, one after the other, would take as long as all messages together may take.
#[test]
fn hanging_name_lookups_neither_prevent_nor_repeat_a_message() {
    on_paused_clock(1, async {
        let world = World::new(1, 12, &[]);
        lift_quotas(&world);
        (0..12).for_each(|ca| drop(world.issue(ca)));
        let names = On::operation("DescribeCertificateAuthority").always();
        world.aws.inject(names, Fault::Hang);
        world.set_latency(Duration::from_millis(100));
        run_all_audited(&world).await;
        let create = On::operation("CreateCertificateAuthorityAuditReport").always();
        let denied = Fault::access_denied(Service::PrivateCa);
        world.aws.inject(create, denied);

        for _ in 0..2 {
            run_all(&world).await;
            assert_eq!(types(&world), ["watch-started", "watch-failed"]);
        }

        let failed = only_message(&world, "watch-failed");
        assert_eq!(failed["counts"]["added"], 12);
    });
}

#[test]
fn first_announcement_waits_for_a_subscription() {
    on_paused_clock(1, async {
        let world = World::new(1, 2, &[]);
        world.unsubscribe_all();
        for _ in 0..3 {
            let response = run_all_audited(&world).await;
            assert!(
                warnings(&response).contains("TopicWithoutSubscription"),
                "{response:#}"
            );
            assert_eq!(types(&world), [""; 0]);
        }
        world.subscribe();

        let response = run_all_audited(&world).await;

        assert_eq!(response["warnings"], Value::Null, "{response:#}");
        let started = only_message(&world, "watch-started");
        assert_eq!(started["certificateAuthorityArns"], json!(world.cas));
        assert_eq!(started["certificateAuthorityArn"], Value::Null);
        assert_settles(&world).await;
        assert_eq!(types(&world), ["watch-started"]);
    });
}

#[test]
fn topic_that_lost_its_subscriptions_is_a_warning() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.unsubscribe_all();
        let response = run_all(&world).await;
        assert!(
            warnings(&response).contains("TopicWithoutSubscription"),
            "{response:#}"
        );
        world.subscribe();

        let response = run_all_audited(&world).await;

        assert_eq!(response["warnings"], Value::Null, "{response:#}");
        assert_settles(&world).await;
        assert_eq!(types(&world), ["watch-started", "revocations"]);
        assert_eq!(alerted_serials(&world), [serial]);
    });
}

#[test]
fn dry_run_replay_and_test_leave_the_document_alone() {
    on_paused_clock(1, async {
        let world = first_audit(World::new(1, 1, &[("SUMMARY_INTERVAL_HOURS", "1")])).await;
        let before = types(&world);
        for payload in [
            json!({ "dryRun": true }),
            json!({ "since": "2026-01-01T00:00:00Z" }),
            json!({ "since": "2026-01-01T00:00:00Z", "dryRun": true }),
            json!({ "testMessage": true }),
        ] {
            world.next_period().await;
            let ended = world.invoke(payload, InvokeOptions::default()).await;
            assert!(matches!(ended, Ended::Returned(_)), "{ended:?}");
            let observed = world.observed();
            let run = observed.runs.last().expect("a run");
            let mut keys = run.calls.iter().map(|seen| seen.call.key.as_ref());
            assert!(
                keys.all(|key| key != Some(&health_key(&world))),
                "{ended:?}"
            );
        }
        assert_eq!(types(&world)[before.len()..], ["replay", "test"]);
    });
}

/// Of others, it does not know whether they still have the error, or are still watched.
#[test]
fn run_of_some_cas_announces_only_theirs() {
    let named = |world: &World| json!({ "certificateAuthorityArns": [world.cas[0]] });
    let payloads: [fn(&World) -> Value; 2] = [named, |world| {
        world.revoke(0, "KEY_COMPROMISE");
        revocation(world)
    }];
    for payload in payloads {
        on_paused_clock(1, async {
            let world = first_audit(World::new(1, 2, &[("SUMMARY_INTERVAL_HOURS", "1")])).await;
            expire(&world, 0);
            expire(&world, 1);
            world.next_period().await;
            world.next_period().await;
            let (payload, options) = (payload(&world), InvokeOptions::default());

            world.invoke_asynchronously(payload, options).await;

            let failed = only_message(&world, "watch-failed");
            assert_eq!(failed["certificateAuthorityArn"], json!(world.cas[0]));
            assert_eq!(messages_of_type(&world, "watch-summary").len(), 1);
            run_all(&world).await;
            let failed = messages_of_type(&world, "watch-failed");
            assert_eq!(failed.len(), 2);
            assert_eq!(failed[1]["certificateAuthorityArn"], json!(world.cas[1]));
            (0..2).for_each(|ca| set_status(&world, ca, Status::Active));
            assert_settles(&world).await;
            assert_eq!(messages_of_type(&world, "watch-recovered").len(), 2);
            assert_eq!(messages_of_type(&world, "watch-stopped").len(), 0);
        });
    }
}

/// Before the health document, each CA had a note about errors of its own: nine calls per CA.
#[test]
fn quiet_run_reads_the_document_once() {
    for cas in [1, 2, 20] {
        on_paused_clock(1, async {
            let world = World::new(1, cas, &[]);
            lift_quotas(&world);
            (0..cas).for_each(|ca| drop(world.issue(ca)));
            run_all_audited(&world).await;
            run_all_audited(&world).await;

            let observed = world.observed();
            let run = observed.runs.last().expect("a run");
            let count = |operation: &str| {
                let calls = run.calls.iter();
                calls
                    .filter(|seen| seen.call.operation == operation)
                    .count()
            };
            let s3 = run.calls.iter().map(|seen| seen.call.service);
            let s3 = s3.filter(|service| *service == local_aws::Service::S3);
            assert_eq!(s3.count(), 8 * cas + 1);
            assert_eq!(
                [count("GetObject"), count("HeadObject"), count("PutObject")],
                [3 * cas + 1, cas, 4 * cas]
            );
        });
    }
}
