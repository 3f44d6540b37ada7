//! Publishing: what SNS says about the topic, how long messages may be, copies, and full lists.

use std::time::Duration;

use local_aws::{Call, Fault, NextReport, On, Protocol, Service, Status, Subscription};
use serde_json::{Value, json};

use super::{
    assert_alerted_once_without_errors, assert_failed, assert_settles, audit_of, audited_world,
    control, expected_error, first_audit, health, messages_of_type, only_message, put, run_audited,
    warnings,
};
use crate::simulator::on_paused_clock;
use crate::simulator::scenario::health_key;
use crate::simulator::world::{BUCKET, Ended, InvokeOptions, PERIOD, World};

const CHECKS: [&str; 2] = ["GetTopicAttributes", "ListSubscriptionsByTopic"];

fn internal_error() -> Fault {
    Fault::error(500, "InternalError", "We encountered an internal error.")
}

fn fail_checks(world: &World, fault: &Fault) {
    for check in CHECKS {
        world
            .aws
            .inject(On::operation(check).always(), fault.clone());
    }
}

/// Runs an invocation that Lambda does not retry, half an hour later; returns its entry for the CA.
async fn run_once(world: &World) -> Value {
    world.next_period().await;
    audit_of(&world.invoke(json!({}), InvokeOptions::default()).await).clone()
}

fn subscribe(world: &World, subscription: Subscription) {
    let subscribed = world.aws.sns().subscribe(&world.topic, subscription);
    subscribed.expect("a standard topic takes it");
}

/// The number is eventually consistent, and emulators keep it at 0.
#[test]
fn count_of_zero_is_checked_against_the_list() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let sns = world.aws.sns();
        sns.delete_topic(&world.topic);
        sns.create_topic("revocations");
        for number in 0..3 {
            let address = format!("{number}@example.com");
            subscribe(
                &world,
                Subscription::new(Protocol::Email, address).pending(),
            );
        }
        world.subscribe();
        sns.set_page_size(1);
        sns.count_confirmed_as(&world.topic, Some(0));
        let serial = world.revoke(0, "KEY_COMPROMISE");

        let audit = run_audited(&world).await;

        assert!(warnings(&audit).contains("but lists one"), "{audit:#}");
        assert_eq!(world.aws.calls_of("ListSubscriptionsByTopic").len(), 4);
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn positive_count_needs_no_list() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.revoke(0, "KEY_COMPROMISE");

        let audit = run_audited(&world).await;

        assert_eq!(audit["warnings"], Value::Null);
        assert_eq!(world.aws.calls_of("ListSubscriptionsByTopic").len(), 0);
    });
}

#[test]
fn failing_count_is_made_up_for_by_the_list() {
    on_paused_clock(1, async {
        let world = World::new(1, 1, &[]);
        let count = On::operation("GetTopicAttributes").always();
        world.aws.inject(count, internal_error());
        let serial = world.revoke(0, "KEY_COMPROMISE");

        run_audited(&world).await;

        assert_eq!(health(&world)["confirmedTopic"], world.topic);
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn failing_checks_do_not_block_a_known_topic() {
    for fault in [internal_error(), Fault::Hang, Fault::Throttle] {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            assert_eq!(health(&world)["confirmedTopic"], world.topic);
            fail_checks(&world, &fault);
            let serial = world.revoke(0, "KEY_COMPROMISE");

            let audit = run_audited(&world).await;

            let warnings = warnings(&audit);
            assert!(warnings.contains("cannot tell whether"), "{audit:#}");
            assert_alerted_once_without_errors(&world, &serial).await;
        });
    }
}

/// Nobody may have read the messages: they go out, and the revocations stay pending.
#[test]
fn failing_checks_of_an_unknown_topic_leave_it_pending() {
    on_paused_clock(1, async {
        let world = World::new(1, 1, &[]);
        world.issue(0);
        world.revoke(0, "KEY_COMPROMISE");
        fail_checks(&world, &internal_error());

        let ended = world.schedule(InvokeOptions::default()).await;

        assert!(matches!(ended, Ended::Failed(_)), "{ended:?}");
        let published = messages_of_type(&world, "revocations");
        // Once by each of Lambda's three attempts.
        assert_eq!(published.len(), 3);
        assert!(
            published
                .iter()
                .all(|copy| copy["id"] == published[0]["id"])
        );
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
        assert_eq!(control(&world)["notifiedSet"], Value::Null);
        assert_eq!(world.aws.s3().get(BUCKET, &health_key(&world)), None);

        world.aws.clear_faults();
        run_audited(&world).await;
        assert_eq!(control(&world)["notifiedCount"], 1);
        assert_eq!(messages_of_type(&world, "revocations").len(), 4);
        run_audited(&world).await;
        assert_eq!(messages_of_type(&world, "revocations").len(), 4);
    });
}

/// Whoever was seen before is gone.
#[test]
fn subscription_seen_before_a_certain_absence_does_not_count() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let before = control(&world)["notifiedCount"].clone();
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.unsubscribe_all();
        assert_eq!(
            run_once(&world).await["error"]["type"],
            "TopicWithoutSubscription"
        );
        fail_checks(&world, &internal_error());

        let audit = run_once(&world).await;

        assert_eq!(audit["error"]["type"], "Unavailable", "{audit:#}");
        assert_eq!(control(&world)["notifiedCount"], before);
        assert_alerted_after_someone_subscribes(&world, &serial).await;
    });
}

async fn assert_alerted_after_someone_subscribes(world: &World, serial: &str) {
    world.aws.clear_faults();
    world.subscribe();
    run_audited(world).await;
    let last = messages_of_type(world, "revocations").pop().expect("two");
    assert_eq!(last["revocations"][0]["serial"], serial);
}

#[test]
fn absence_seen_by_a_message_about_the_watch_counts_for_revocations() {
    on_paused_clock(1, async {
        let world = first_audit(World::new(1, 2, &[])).await;
        world
            .aws
            .private_ca()
            .set_status(&world.cas[1], Status::Expired);
        world.unsubscribe_all();
        world.next_period().await;
        world.schedule(InvokeOptions::default()).await;
        assert_eq!(health(&world)["confirmedTopic"], Value::Null);
        let before = control(&world)["notifiedCount"].clone();
        let serial = world.revoke(0, "KEY_COMPROMISE");
        fail_checks(&world, &internal_error());
        world.next_period().await;

        world.schedule(InvokeOptions::default()).await;

        assert_eq!(control(&world)["notifiedCount"], before);
        assert_alerted_after_someone_subscribes(&world, &serial).await;
    });
}

/// A FIFO topic drops a message that it knows, but nobody may have read the first one.
#[test]
fn fifo_topic_delivers_what_was_unverified_before() {
    on_paused_clock(1, async {
        let world = fifo_world();
        world.revoke(0, "KEY_COMPROMISE");
        fail_checks(&world, &internal_error());
        let ended = world.invoke(json!({}), InvokeOptions::default()).await;
        assert_eq!(audit_of(&ended)["error"]["type"], "Unavailable");
        world.aws.clear_faults();
        world.until(Duration::from_secs(60)).await;

        let ended = world.invoke(json!({}), InvokeOptions::default()).await;

        assert_eq!(audit_of(&ended)["outcome"], "audited", "{ended:?}");
        let messages = world.aws.sns().messages();
        // The revocation twice, and `watch-started`.
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| !message.duplicate));
    });
}

/// Returns a world with a FIFO topic that a queue has subscribed to.
fn fifo_world() -> World {
    let topic = "arn:aws:sns:us-east-1:123456789012:alerts.fifo";
    let world = World::new(1, 1, &[("TOPIC_ARN", topic)]);
    let sns = world.aws.sns();
    assert_eq!(sns.create_fifo_topic("alerts.fifo", false), topic);
    let queue = Subscription::new(Protocol::Sqs, "queue");
    sns.subscribe(topic, queue).expect("a queue");
    world
}

/// Otherwise the lease stays, and the next run takes the scan for one that crashed.
#[test]
fn hanging_announcement_leaves_time_to_save() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.was_refused.set(true);
        let denied = Fault::access_denied(Service::PrivateCa);
        let create = On::operation("CreateCertificateAuthorityAuditReport").always();
        world.aws.inject(create, denied);
        world
            .aws
            .inject(On::operation("Publish").always(), Fault::Hang);
        world.until(PERIOD).await;
        world.set_latency(Duration::from_millis(100));

        let ended = world.invoke(json!({}), InvokeOptions::ending_in(25)).await;

        assert_eq!(
            audit_of(&ended)["error"]["type"],
            "AccessDenied",
            "{ended:?}"
        );
        assert_eq!(control(&world)["lease"], Value::Null);
        let health = health(&world);
        assert_eq!(health["lease"], Value::Null);
        let affected = &health["problems"][0]["certificateAuthorities"][&world.cas[0]];
        assert_eq!(affected["announced"], false, "{health:#}");
    });
}

#[test]
fn subscription_seen_on_another_topic_does_not_count() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let mut state = health(&world);
        state["confirmedTopic"] = json!("arn:aws:sns:us-east-1:123456789012:another");
        put(&world, &health_key(&world), state.to_string());
        fail_checks(&world, &internal_error());
        world.revoke(0, "KEY_COMPROMISE");
        world.until(PERIOD).await;

        let ended = world.invoke(json!({}), InvokeOptions::default()).await;

        let unavailable = expected_error(
            "Unavailable",
            &["cannot tell whether", ":revocations", "InternalError"],
            &["next run tries again"],
        );
        assert_failed(audit_of(&ended), &unavailable);
        assert_eq!(messages_of_type(&world, "revocations").len(), 1);
        assert_eq!(control(&world)["notifiedCount"], 1);
    });
}

#[test]
fn denied_checks_publish_with_a_warning() {
    on_paused_clock(1, async {
        let world = World::new(1, 1, &[]);
        fail_checks(&world, &Fault::access_denied(Service::Sns));
        let serial = world.revoke(0, "KEY_COMPROMISE");

        let audit = run_audited(&world).await;

        let warnings = warnings(&audit);
        assert!(warnings.contains("not verified") && warnings.contains("AuthorizationError"));
        assert_eq!(health(&world)["confirmedTopic"], Value::Null);
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn failed_check_is_not_remembered_for_the_run() {
    on_paused_clock(1, async {
        let world = World::new(1, 2, &[]);
        first_audit_of_both(&world).await;
        let slow = NextReport::new().delay(Duration::from_secs(120));
        world.aws.private_ca().next_report(&world.cas[1], slow);
        for ca in 0..2 {
            world.revoke(ca, "KEY_COMPROMISE");
        }
        for check in CHECKS {
            let denied = Fault::access_denied(Service::Sns);
            world.aws.inject(On::operation(check), denied);
        }
        world.until(PERIOD).await;

        let ended = world.schedule(InvokeOptions::default()).await;

        let response = ended.response().expect("a response");
        let audits = response["certificateAuthorities"].as_array().expect("two");
        assert!(
            warnings(&audits[0]).contains("not verified"),
            "{response:#}"
        );
        assert_eq!(audits[1]["warnings"], Value::Null, "{response:#}");
        assert_eq!(messages_of_type(&world, "revocations").len(), 2);
    });
}

async fn first_audit_of_both(world: &World) {
    for ca in 0..world.cas.len() {
        world.issue(ca);
    }
    world.schedule(InvokeOptions::default()).await;
}

#[test]
fn cas_of_a_run_share_one_hanging_check() {
    on_paused_clock(1, async {
        let world = World::new(1, 12, &[]);
        crate::simulator::world::lift_quotas(&world);
        first_audit_of_both(&world).await;
        (0..12).for_each(|ca| drop(world.revoke(ca, "KEY_COMPROMISE")));
        fail_checks(&world, &Fault::Hang);
        world.until(PERIOD).await;

        world.schedule(InvokeOptions::default()).await;

        assert_eq!(messages_of_type(&world, "revocations").len(), 12);
        let took = world.observed().runs.last().expect("a run").took;
        // Twelve seconds of requests, and at most two checks of ten seconds.
        assert!(took < Duration::from_secs(40), "{took:?}");
        assert_settles(&world).await;
    });
}

#[test]
fn hanging_checks_leave_time_to_publish() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        fail_checks(&world, &Fault::Hang);
        world.set_latency(Duration::from_millis(200));
        // The report is read two seconds before the end of the time for work, which leaves three seconds
        // for announcements and ten for the rest.
        let reading = On::operation("GetObject").key_contains("audit-report/");
        world
            .aws
            .inject(reading, Fault::Late(Duration::from_secs(15)));
        world.until(PERIOD).await;

        let ended = world.schedule(InvokeOptions::ending_in(30)).await;

        assert_eq!(audit_of(&ended)["outcome"], "audited", "{ended:?}");
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

/// Neither a burst of revocations nor what follows is held back by the topic's limit.
#[test]
fn small_topic_gets_every_revocation() {
    // A hundred fit a message at the default limit.
    for (limit, number) in [(4096, 100), (65_536, 100), (65_536, 300)] {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            world
                .aws
                .sns()
                .set_maximum_message_size(&world.topic, limit);
            (0..number).for_each(|_| drop(world.revoke(0, "SUPERSEDED")));
            let audit = run_audited(&world).await;
            assert_eq!(audit["warnings"], Value::Null, "{audit:#}");
            world.revoke(0, "KEY_COMPROMISE");
            run_audited(&world).await;

            let messages = messages_of_type(&world, "revocations");
            assert_eq!(messages.len(), 2);
            assert_eq!(messages[0]["complete"], false);
            assert!(messages[0]["fullList"]["key"].is_string());
            // The full list has every revocation.
            assert_settles(&world).await;
        });
    }
}

/// If the limit cannot be read, SNS refuses the message and takes its reduced form.
#[test]
fn small_topic_of_unknown_limit_gets_every_revocation() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.aws.sns().set_maximum_message_size(&world.topic, 4096);
        fail_checks(&world, &Fault::access_denied(Service::Sns));
        (0..300).for_each(|_| drop(world.revoke(0, "SUPERSEDED")));

        let audit = run_audited(&world).await;

        assert!(warnings(&audit).contains("the reduced form was sent"));
        assert_settles(&world).await;
    });
}

#[test]
fn topic_below_the_reduced_form_is_refused_with_a_hint() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let sns = world.aws.sns();
        sns.set_maximum_message_size(&world.topic, 1024);
        world.revoke(0, "KEY_COMPROMISE");

        let audit = run_once(&world).await;

        let refused = expected_error(
            "MessageRefused",
            &["Publish", ":revocations", "Message too long"],
            &["MaximumMessageSize", "4096", "1024"],
        );
        assert_failed(&audit, &refused);
        assert_eq!(control(&world)["notifiedCount"], 1);
        sns.set_maximum_message_size(&world.topic, 4096);
        run_audited(&world).await;
        only_message(&world, "revocations");
    });
}

#[test]
fn accepted_but_hanging_replies_give_three_copies_a_period() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.revoke(0, "KEY_COMPROMISE");
        for fault in [Fault::HangAfter, Fault::LostReply] {
            world.aws.inject(On::operation("Publish").always(), fault);
            let before = messages_of_type(&world, "revocations").len();
            world.next_period().await;

            world.schedule(InvokeOptions::default()).await;

            let copies = messages_of_type(&world, "revocations");
            assert_eq!(copies.len() - before, 3);
            assert!(copies.iter().all(|copy| copy["id"] == copies[0]["id"]));
            world.aws.clear_faults();
        }
        run_audited(&world).await;
        assert_eq!(control(&world)["notifiedCount"], 2);
    });
}

#[test]
fn refusals_without_effect_are_retried_in_the_same_run() {
    let unavailable = Fault::error(503, "ServiceUnavailable", "Try again.");
    for fault in [Fault::Throttle, internal_error(), unavailable] {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            world.aws.inject(On::operation("Publish").times(4), fault);

            let audit = run_once(&world).await;

            assert_eq!(audit["outcome"], "audited", "{audit:#}");

            assert_alerted_once_without_errors(&world, &serial).await;
        });
    }
}

/// SNS recognizes a repeated message by its deduplication ID.
#[test]
fn fifo_topic_retries_lost_replies() {
    on_paused_clock(1, async {
        let world = first_audit(fifo_world()).await;
        world.revoke(0, "KEY_COMPROMISE");
        world
            .aws
            .inject(On::operation("Publish").times(2), Fault::LostReply);

        let audit = run_once(&world).await;

        assert_eq!(audit["outcome"], "audited", "{audit:#}");

        let messages = world.aws.sns().messages();
        assert_eq!(messages.len(), 1 + 3);
        let accepted = messages.iter().filter(|message| !message.duplicate);
        assert_eq!(accepted.count(), 2);
    });
}

/// The alert goes out without the list, and nothing is alerted twice.
#[test]
fn full_list_that_cannot_be_written_holds_nothing_back() {
    let denied = Fault::access_denied(Service::S3);
    for fault in [internal_error(), denied, Fault::Hang, Fault::HangAfter] {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            (0..400).for_each(|_| drop(world.revoke(0, "KEY_COMPROMISE")));
            let list = On::operation("PutObject").key_contains("/full-list/");
            world.aws.inject(list.always(), fault);

            let audit = run_audited(&world).await;

            assert!(warnings(&audit).contains("the full list could not be written"));
            let message = only_message(&world, "revocations");
            assert_eq!(message["complete"], false);
            assert_eq!(message["fullList"], Value::Null);
            assert_eq!(message["counts"]["new"], 400);
            assert_eq!(control(&world)["notifiedCount"], 401);
            run_audited(&world).await;
            only_message(&world, "revocations");
        });
    }
}

#[test]
fn full_list_for_a_small_topic_holds_nothing_back() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.aws.sns().set_maximum_message_size(&world.topic, 8192);
        (0..100).for_each(|_| drop(world.revoke(0, "KEY_COMPROMISE")));
        let list = On::operation("PutObject").key_contains("/full-list/");
        world.aws.inject(list.always(), Fault::Hang);

        let audit = run_audited(&world).await;

        assert!(warnings(&audit).contains("the full list could not be written"));
        let message = only_message(&world, "revocations");
        assert_eq!(message["fullList"], Value::Null);
        assert_eq!(message["complete"], false);
    });
}

/// Revokes certificates whose lines take about 5 KB each: the full list needs several parts.
fn revoke_for_several_parts(world: &World) {
    let pca = world.aws.private_ca();
    for _ in 0..4000 {
        let mut certificate = pca.certificate(&world.cas[0], "www.example.com");
        certificate.subject = format!("CN=www.example.com,OU={}", "x".repeat(2_000));
        let serial = certificate.serial.clone();
        pca.add(&world.cas[0], certificate);
        assert!(pca.revoke(&world.cas[0], &serial, "SUPERSEDED"));
    }
}

/// Whatever ends the upload, its parts do not stay behind.
#[test]
fn upload_of_a_full_list_is_aborted_on_every_error() {
    let (part, complete) = ("UploadPart", "CompleteMultipartUpload");
    let report = || On::operation("GetObject").key_contains("audit-report/");
    let cases = [
        (On::operation(part).always(), internal_error(), "audited"),
        (On::operation(part).always(), Fault::Hang, "audited"),
        (On::operation(complete).always(), Fault::Hang, "audited"),
        (report(), Fault::FlipByte { at: 9_000_000 }, "failed"),
        (
            report().always(),
            Fault::StallBody { after: 9_000_000 },
            "failed",
        ),
    ];
    for (on, fault, outcome) in cases {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            revoke_for_several_parts(&world);
            let resumed = On::operation("GetObject").when(|call| call.range.is_some());
            world.aws.inject(resumed.always(), Fault::Hang);
            world.aws.inject(on, fault.clone());
            world.until(PERIOD).await;

            let ended = world.invoke(json!({}), InvokeOptions::ending_in(120)).await;

            let audit = audit_of(&ended);
            assert_eq!(audit["outcome"], outcome, "{fault:?}: {audit:#}");
            let count = |operation: &str| world.aws.calls_of(operation).len();
            assert_eq!(count("CreateMultipartUpload"), 1, "{fault:?}");
            assert_eq!(count("AbortMultipartUpload"), 1, "{fault:?}");
            assert_eq!(
                world
                    .aws
                    .s3()
                    .keys(BUCKET, "revocation-watch/")
                    .iter()
                    .filter(|key| key.contains("full-list"))
                    .count(),
                0
            );
        });
    }
}

/// SNS accepts requests only if they are signed for the topic's region.
#[test]
fn each_topic_is_called_in_its_own_region() {
    on_paused_clock(1, async {
        let topic = "arn:aws:sns:eu-west-1:123456789012:central";
        let chat = "arn:aws:sns:ap-south-1:123456789012:chat";
        let world = World::new(1, 1, &[("TOPIC_ARN", topic), ("CHAT_TOPIC_ARN", chat)]);
        let sns = world.aws.sns();
        assert_eq!(sns.create_topic_in("eu-west-1", "central"), topic);
        assert_eq!(sns.create_topic_in("ap-south-1", "chat"), chat);
        let queue = Subscription::new(Protocol::Sqs, "queue");
        sns.subscribe(topic, queue).expect("a queue");
        world.revoke(0, "KEY_COMPROMISE");

        let audit = run_audited(&world).await;

        assert_eq!(audit["warnings"], Value::Null);
        let region = |call: &Call| (call.topic_arn.clone(), call.region.clone());
        let regions: Vec<_> = world.aws.calls_of("Publish").iter().map(region).collect();
        let of = |arn: &str, region: &str| (Some(arn.to_owned()), Some(region.to_owned()));
        let both = [of(topic, "eu-west-1"), of(chat, "ap-south-1")];
        assert_eq!(regions, [both.clone(), both].concat());
    });
}
