//! Audits that messages of the audit queue ask for: one CA, no long waits, few writes, and any number of
//! deliveries.

use std::time::Duration;

use local_aws::{Fault, NextReport, On, Outcome, QueueSettings, ReportFormat, SqsMessage};
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;

use super::{
    REPORTS, alerted_serials, assert_settles, control, first_audit, messages_of_type, put, types,
};
use crate::simulator::on_paused_clock;
use crate::simulator::plan::{Extent, Failure, Injection};
use crate::simulator::scenario::control_key;
use crate::simulator::world::{BUCKET, Ended, InvokeOptions, PERIOD, World, keep_log_of};

const CREATE: &str = "CreateCertificateAuthorityAuditReport";

/// Time for which a worker may wait, in all.
const PATIENCE: Duration = Duration::from_secs(3);

/// Time until the queue delivers the message of a worker that died.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(930);

const QUEUE: &[(&str, &str)] = &[
    (
        "AUDIT_QUEUE_URL",
        "https://sqs.us-east-1.amazonaws.com/123456789012/audits",
    ),
    (
        "AUDIT_DEAD_LETTER_QUEUE_URL",
        "https://sqs.us-east-1.amazonaws.com/123456789012/dead",
    ),
];

/// Returns a world with one CA, which scheduled runs audit inline, and the queues.
fn with_queues() -> World {
    let world = World::new(1, 1, QUEUE);
    for (_, url) in QUEUE {
        let (_, name) = url.rsplit_once('/').expect("a queue's URL");
        let created = world.aws.sqs().create_queue(name, QueueSettings::default());
        assert_eq!(created, *url);
    }
    world
}

/// Returns a world whose CA was audited once, at the start of the next period.
async fn next_period() -> World {
    let world = first_audit(with_queues()).await;
    world.next_period().await;
    world
}

/// Runs a test in a world whose CA was audited once, at the start of the next period.
fn in_next_period(test: impl AsyncFnOnce(World)) {
    on_paused_clock(1, async {
        let _log = keep_log();
        test(next_period().await).await;
    });
}

/// Returns the delivery of a message that asks for an audit of the first CA since a time.
fn delivery(world: &World, since: Timestamp) -> Value {
    let body = json!({
        "type": "audit", "scheduledAt": since, "certificateAuthorityArn": world.cas[0],
        "waits": 0, "failures": 0,
    });
    record(&body)
}

fn record(body: &Value) -> Value {
    json!({ "Records": [{
        "messageId": "1", "body": body.to_string(),
        "attributes": { "ApproximateReceiveCount": "1" },
    }] })
}

fn now(world: &World) -> Timestamp {
    world.aws.clock().now().into()
}

fn next_report(world: &World, seconds: u64) {
    let slow = NextReport::new().delay(Duration::from_secs(seconds));
    world.aws.private_ca().next_report(&world.cas[0], slow);
}

/// Keeps the lines that say how audits ended: a queue's response has no outcomes.
fn keep_log() -> DefaultGuard {
    keep_log_of("off,pca_revocation_watch::audit=info")
}

/// Returns the outcomes of a run's audits: of each, its error or outcome.
fn outcomes(world: &World, run: usize) -> Vec<String> {
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(name)?;
        Some(rest.split(' ').next()?.trim_matches('"').to_owned())
    };
    let outcome = |line: &String| match () {
        () if line.contains("audit finished") => field(line, "outcome="),
        () if line.contains("audit failed") => field(line, "error_type="),
        () if line.contains("audited already") => Some("done".to_owned()),
        () => None,
    };
    let run = &world.observed().runs[run];
    let log = run.infos.iter().chain(&run.warnings);
    log.filter_map(outcome).collect()
}

/// Returns the messages that were sent again, oldest first.
fn sent(world: &World) -> Vec<SqsMessage> {
    world.aws.sqs().sent(QUEUE[0].1)
}

/// Returns the delays of the messages that were sent again, in seconds.
fn delays(world: &World) -> Vec<u64> {
    let delay = |sent: SqsMessage| sent.visible_at.duration_since(sent.sent_at);
    let delays = sent(world).into_iter().filter_map(|sent| delay(sent).ok());
    delays.map(|delay| delay.as_secs()).collect()
}

/// Checks that an audit that is not done is asked for again, in a message that counts the attempt.
fn assert_sent_again(sent: &[SqsMessage], delivery: &Value, outcome: &str) {
    let parse = |body: &str| serde_json::from_str::<Value>(body).expect("a body is JSON");
    let delivered = delivery["Records"][0]["body"].as_str().expect("a body");
    let again = |waits: u32, failures: u32| {
        let mut again = parse(delivered);
        again["waits"] = json!(waits);
        again["failures"] = json!(failures);
        vec![again]
    };
    let expected = match outcome {
        "waiting" | "busy" => again(1, 0),
        "tooSoon" => again(0, 0),
        "Unavailable" => again(0, 1),
        _ => Vec::new(),
    };
    let sent: Vec<Value> = sent.iter().map(|sent| parse(&sent.body)).collect();
    assert_eq!(sent, expected, "{outcome}");
}

/// Delivers a message once and checks what is sent in its place; returns the outcome of its audit.
async fn work(world: &World, delivery: &Value) -> String {
    let run = world.observed().runs.len();
    let before = sent(world).len();
    let ended = world
        .invoke(delivery.clone(), InvokeOptions::default())
        .await;
    let outcome = match ended {
        Ended::Killed => "killed".to_owned(),
        Ended::Returned(_) => outcomes(world, run).concat(),
        ended => panic!("{ended:?}"),
    };
    assert_sent_again(&sent(world)[before..], delivery, &outcome);
    assert_eq!(world.aws.sqs().sent(QUEUE[1].1), [], "dead letters");
    outcome
}

/// Returns the operations on the control document in the last run, and how long that run took.
fn last_run(world: &World) -> (Vec<String>, Duration) {
    let key = control_key(world, 0);
    let observed = world.observed();
    let run = observed.runs.last().expect("a run");
    let calls = run.calls.iter().map(|seen| &seen.call);
    let of_control = calls.filter(|call| call.key.as_ref() == Some(&key));
    let operations = of_control.map(|call| call.operation.clone()).collect();
    (operations, run.took)
}

fn writes(world: &World) -> usize {
    let (operations, _) = last_run(world);
    operations
        .iter()
        .filter(|name| *name == "PutObject")
        .count()
}

/// Returns the number of requests that Private CA granted.
fn granted(world: &World) -> usize {
    let calls = world.aws.calls_of(CREATE).into_iter();
    calls.filter(|call| call.status == Some(200)).count()
}

/// Delivers a message until its audit is done, like the queue.
async fn drain(world: &World, delivery: &Value) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        assert!(all.len() < 50, "{all:?}");
        let outcome = work(world, delivery).await;
        all.push(outcome.clone());
        tokio::time::sleep(match outcome.as_str() {
            "audited" | "done" => return all,
            "killed" => VISIBILITY_TIMEOUT,
            "waiting" | "busy" => Duration::from_secs(15),
            "tooSoon" => Duration::from_secs(60),
            other => panic!("{other}: {all:?}"),
        })
        .await;
    }
}

#[test]
fn quiet_audit_has_three_writes_over_all_its_invocations() {
    in_next_period(async |world| {
        next_report(&world, 20);
        let delivery = delivery(&world, now(&world));
        let (get, put) = ("GetObject".to_owned(), "PutObject".to_owned());

        assert_eq!(work(&world, &delivery).await, "waiting");
        let (operations, took) = last_run(&world);
        assert_eq!(operations, [get.clone(), put.clone()], "the pending report");
        assert!(took <= PATIENCE, "{took:?}");
        assert_eq!(control(&world)["lease"], Value::Null);
        assert_eq!(delays(&world), [15]);

        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(work(&world, &delivery).await, "waiting");
        let (operations, took) = last_run(&world);
        assert_eq!(
            operations,
            std::slice::from_ref(&get),
            "a poll writes nothing"
        );
        assert!(took <= PATIENCE, "{took:?}");
        assert_eq!(delays(&world), [15, 15]);

        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(work(&world, &delivery).await, "audited");
        let (operations, _) = last_run(&world);
        assert_eq!(operations[..3], [get.clone(), put.clone(), put]);
        assert_eq!(writes(&world), 2, "the scan with the lease; the end");
        let after = control(&world);
        assert_eq!(
            (&after["lease"], &after["pendingReport"]),
            (&Value::Null, &Value::Null)
        );

        assert_eq!(work(&world, &delivery).await, "done");
        assert_eq!(last_run(&world).0[..1], [get]);
        assert_eq!(writes(&world), 0);
        assert_eq!(control(&world), after);
        assert_eq!(delays(&world).len(), 2, "a done audit is not sent again");
        assert_settles(&world).await;
    });
}

#[test]
fn report_that_is_there_in_three_seconds_is_one_invocation() {
    in_next_period(async |world| {
        let serial = world.revoke(0, "KEY_COMPROMISE");
        next_report(&world, 2);

        assert_eq!(
            work(&world, &delivery(&world, now(&world))).await,
            "audited"
        );

        assert_eq!(alerted_serials(&world), [serial]);
        assert!(last_run(&world).1 <= PATIENCE);
        assert_settles(&world).await;
    });
}

/// The queue delays messages by whole seconds; the rest is waited for in process.
#[test]
fn rest_of_the_request_limit_is_waited_for_in_process() {
    for (early, outcome, delay) in [
        (Duration::from_millis(300), "audited", None),
        (Duration::from_millis(2900), "audited", None),
        (Duration::from_millis(3100), "tooSoon", Some(3)),
        (Duration::from_secs(400), "tooSoon", Some(400)),
    ] {
        on_paused_clock(1, async {
            let _log = keep_log();
            let world = first_audit(with_queues()).await;
            let since = now(&world).saturating_add(Duration::from_secs(60));
            world.until(PERIOD - early).await;
            let requested = granted(&world);

            assert_eq!(work(&world, &delivery(&world, since)).await, outcome);

            assert_eq!(delays(&world), Vec::from_iter(delay));
            let (_, took) = last_run(&world);
            if outcome == "audited" {
                assert!(took >= early && took <= PATIENCE, "{took:?}");
                assert_eq!(granted(&world), requested + 1);
            } else {
                assert!(took < Duration::from_secs(1), "{took:?}");
                assert_eq!(granted(&world), requested);
                assert_eq!(writes(&world), 0);
            }
        });
    }
}

/// It would ask again every few seconds if it were sent again after "the remaining time".
#[test]
fn refused_request_has_no_known_wait() {
    in_next_period(async |world| {
        let pca = world.aws.private_ca();
        next_report(&world, 600);
        let requested = pca.request_report(&world.cas[0], BUCKET, ReportFormat::Json);
        requested.expect("the interval is over");
        let delivery = delivery(&world, now(&world));

        assert_eq!(work(&world, &delivery).await, "waiting");

        assert!(last_run(&world).1 <= PATIENCE);
        assert_eq!(writes(&world), 0);
        assert!(delays(&world)[0] >= 15, "{:?}", delays(&world));
        tokio::time::sleep(Duration::from_secs(600)).await;
        // Its report is adopted.
        assert_eq!(work(&world, &delivery).await, "audited");
        assert_settles(&world).await;
    });
}

#[test]
fn done_audit_is_not_repeated_although_a_request_is_allowed() {
    in_next_period(async |world| {
        let since = now(&world);
        assert_eq!(work(&world, &delivery(&world, since)).await, "audited");
        world.next_period().await;
        let requested = granted(&world);

        assert_eq!(work(&world, &delivery(&world, since)).await, "done");
        assert_eq!((granted(&world), writes(&world)), (requested, 0));

        let earlier = delivery(&world, since);
        let later = delivery(&world, now(&world));
        assert_eq!(work(&world, &later).await, "audited");
        assert_eq!(work(&world, &earlier).await, "done");
        assert_settles(&world).await;
    });
}

/// A pending report from before the schedule is read, and the message is not done with it.
#[test]
fn outdated_report_is_followed_by_a_new_one() {
    for (since_request, outcome) in [(20 * 60, "tooSoon"), (40 * 60, "waiting")] {
        in_next_period(async |world| {
            let first = world.revoke(0, "KEY_COMPROMISE");
            next_report(&world, 600);
            next_report(&world, 60);
            assert_eq!(
                work(&world, &delivery(&world, now(&world))).await,
                "waiting"
            );
            let second = world.revoke(0, "SUPERSEDED");
            tokio::time::sleep(Duration::from_secs(since_request)).await;
            let since = now(&world);
            let requested = granted(&world);

            assert_eq!(work(&world, &delivery(&world, since)).await, outcome);

            assert_eq!(alerted_serials(&world), [first]);
            let state = control(&world);
            assert_eq!(state["lease"], Value::Null);
            let is_requested = usize::from(outcome == "waiting");
            assert_eq!(granted(&world), requested + is_requested);
            assert_eq!(state["pendingReport"].is_object(), outcome == "waiting");
            drain(&world, &delivery(&world, since)).await;
            assert!(alerted_serials(&world).contains(&second));
            let last = Timestamp::parse(
                control(&world)["lastCompleteAudit"]["requestedAt"]
                    .as_str()
                    .unwrap_or_default(),
            );
            assert!(last >= Some(since), "{last:?}");
            assert_settles(&world).await;
        });
    }
}

/// Two writes for each schedule, if reports always take longer than the interval.
#[test]
fn outdated_report_needs_no_more_writes() {
    in_next_period(async |world| {
        world
            .aws
            .private_ca()
            .set_reports(|reports| reports.delay = Duration::from_secs(1200));
        work(&world, &delivery(&world, now(&world))).await;
        for _ in 0..3 {
            world.next_period().await;
            assert_eq!(
                work(&world, &delivery(&world, now(&world))).await,
                "waiting"
            );
            assert_eq!(writes(&world), 2);
        }
    });
}

#[test]
fn worker_that_dies_at_any_call_is_recovered() {
    let mut calls = 0;
    in_next_period(async |world| {
        world.revoke(0, "KEY_COMPROMISE");
        next_report(&world, 2);
        assert_eq!(
            work(&world, &delivery(&world, now(&world))).await,
            "audited"
        );
        calls = world.observed().runs.last().expect("a run").calls.len();
    });
    assert!(calls > 12, "{calls}");
    for call in 0..calls {
        for failure in [Failure::KillBefore, Failure::KillAfter] {
            in_next_period(async |world| {
                let serial = world.revoke(0, "KEY_COMPROMISE");
                next_report(&world, 2);
                let injection = Injection {
                    run: 0,
                    call,
                    failure: failure.clone(),
                    extent: Extent::Attempt,
                };
                world.inject([injection.clone()]);

                let all = drain(&world, &delivery(&world, now(&world))).await;

                assert_eq!(
                    all.first().map(String::as_str),
                    Some("killed"),
                    "{injection}: {all:?}"
                );
                let mut alerted = alerted_serials(&world);
                assert!(alerted.len() <= 2, "{injection}: {alerted:?}");
                alerted.dedup();
                assert_eq!(alerted, [serial], "{injection}: {all:?}");
                world.stop_injecting();
                assert_settles(&world).await;
            });
        }
    }
}

/// A queue may deliver a message twice, at any time.
#[test]
fn two_workers_request_once_and_publish_once() {
    for delay in 0..20 {
        on_paused_clock(delay, async {
            let _log = keep_log();
            let world = next_period().await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            next_report(&world, 1);
            let requested = granted(&world);
            world.set_latency(Duration::from_millis(200));
            let delivery = delivery(&world, now(&world));
            let first = world.observed().runs.len();

            tokio::join!(
                world.invoke(delivery.clone(), InvokeOptions::default()),
                async {
                    tokio::time::sleep(Duration::from_millis(delay * 150)).await;
                    world
                        .invoke(delivery.clone(), InvokeOptions::default())
                        .await
                }
            );

            let ended = [outcomes(&world, first), outcomes(&world, first + 1)].concat();
            let is_fine = |outcome: &String| {
                ["audited", "busy", "waiting", "done"].contains(&outcome.as_str())
            };
            assert!(ended.iter().all(is_fine), "{delay}: {ended:?}");
            let is_sent_again = |outcome: &&String| ["busy", "waiting"].contains(&outcome.as_str());
            let sent_again = ended.iter().filter(is_sent_again).count();
            assert_eq!(sent(&world).len(), sent_again, "{delay}: {ended:?}");
            drain(&world, &delivery).await;
            assert_eq!(granted(&world), requested + 1, "{delay}: {ended:?}");
            assert_eq!(alerted_serials(&world), [serial], "{delay}: {ended:?}");
            assert_settles(&world).await;
        });
    }
}

/// The worker requested a report, and another run has changed the state meanwhile.
#[test]
fn worker_that_loses_the_race_for_the_request_is_busy() {
    in_next_period(async |world| {
        let delivery = delivery(&world, now(&world));
        world.aws.inject(
            On::operation(CREATE),
            Fault::Delayed(Duration::from_secs(1)),
        );
        let other = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let mut state = control(&world);
            state["nonce"] = json!("another run");
            put(&world, &control_key(&world, 0), state.to_string());
        };

        let (outcome, ()) = tokio::join!(work(&world, &delivery), other);

        assert_eq!(outcome, "busy");
        assert_eq!(control(&world)["nonce"], "another run");
        assert_eq!(
            drain(&world, &delivery).await.last().map(String::as_str),
            Some("audited")
        );
        assert_settles(&world).await;
    });
}

#[test]
fn lease_of_another_run_is_busy_at_once_and_an_expired_one_is_taken() {
    in_next_period(async |world| {
        let delivery = delivery(&world, now(&world));
        let until = now(&world).saturating_add(Duration::from_secs(600));
        let mut state = control(&world);
        state["lease"] = json!({ "requestId": "another", "nonce": "n", "until": until });
        put(&world, &control_key(&world, 0), state.to_string());

        assert_eq!(work(&world, &delivery).await, "busy");
        assert_eq!((writes(&world), last_run(&world).1), (0, Duration::ZERO));

        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(work(&world, &delivery).await, "audited");
        assert_eq!(control(&world)["lease"], Value::Null);
        assert_settles(&world).await;
    });
}

/// A second worker that comes during a scan is busy.
#[test]
fn worker_holds_the_lease_while_it_scans() {
    in_next_period(async |world| {
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let delivery = delivery(&world, now(&world));
        let reading = On::operation("GetObject").key_contains(REPORTS);
        world
            .aws
            .inject(reading, Fault::Late(Duration::from_secs(10)));
        let second = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(control(&world)["lease"].is_object());
            work(&world, &delivery).await
        };

        let (first, second) = tokio::join!(
            world.invoke(delivery.clone(), InvokeOptions::default()),
            second
        );

        assert!(first.response().is_some(), "{first:?}");
        assert_eq!(second, "busy");
        assert_eq!(alerted_serials(&world), [serial]);
        assert_settles(&world).await;
    });
}

#[test]
fn error_that_needs_an_operator_is_recorded_and_the_next_audit_ends_it() {
    in_next_period(async |world| {
        world.was_refused.set(true);
        world.aws.s3().deny("s3:GetObject", BUCKET, REPORTS);
        let denied = delivery(&world, now(&world));

        assert_eq!(work(&world, &denied).await, "AccessDenied");
        assert_eq!(control(&world)["error"]["type"], "AccessDenied");
        assert_eq!(control(&world)["lease"], Value::Null);

        world.aws.s3().allow_all();
        world.next_period().await;
        drain(&world, &delivery(&world, now(&world))).await;
        assert_eq!(control(&world)["error"], Value::Null);
        assert_settles(&world).await;
    });
}

/// An event may be about a revocation that the last report does not list.
#[test]
fn event_in_the_same_batch_is_audited_although_the_message_is_done() {
    in_next_period(async |world| {
        let since = now(&world);
        assert_eq!(work(&world, &delivery(&world, since)).await, "audited");
        world.next_period().await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let event = json!({
            "source": "aws.acm-pca", "detail-type": "ACM Private CA Certificate Revocation",
            "resources": [world.cas[0]], "detail": { "result": "success" },
        });
        let mut both = delivery(&world, since);
        let mut event = record(&event)["Records"][0].clone();
        event["messageId"] = json!("2");
        both["Records"].as_array_mut().expect("a list").push(event);

        // Audits and events are runs of their own.
        assert_eq!(work(&world, &both).await, "doneaudited");

        assert_eq!(alerted_serials(&world), [serial]);
    });
}

#[test]
fn worker_can_make_the_first_audit() {
    on_paused_clock(1, async {
        let _log = keep_log();
        let world = with_queues();
        world.issue(0);
        next_report(&world, 10);
        let delivery = delivery(&world, now(&world));

        assert_eq!(work(&world, &delivery).await, "waiting");
        assert_eq!(writes(&world), 1);
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(work(&world, &delivery).await, "audited");

        assert_settles(&world).await;
        assert_eq!(
            messages_of_type(&world, "watch-started").len(),
            1,
            "{:?}",
            types(&world)
        );
    });
}

#[test]
fn report_whose_object_is_missing_blocks_no_worker() {
    in_next_period(async |world| {
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let not_written = NextReport::new().outcome(Outcome::NotWritten);
        world
            .aws
            .private_ca()
            .next_report(&world.cas[0], not_written);
        let first = delivery(&world, now(&world));
        assert_eq!(work(&world, &first).await, "waiting");
        world.next_period().await;
        assert_eq!(
            work(&world, &delivery(&world, now(&world))).await,
            "waiting"
        );
        world.next_period().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = delivery(&world, now(&world));

        assert_eq!(work(&world, &later).await, "ReportVanished");

        drain(&world, &later).await;
        assert_eq!(alerted_serials(&world), [serial]);
        assert_settles(&world).await;
    });
}

#[test]
fn poll_that_fails_is_a_failed_attempt() {
    in_next_period(async |world| {
        next_report(&world, 60);
        let delivery = delivery(&world, now(&world));
        assert_eq!(work(&world, &delivery).await, "waiting");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let error = Fault::error(500, "InternalError", "please try again");
        world
            .aws
            .inject(On::operation("HeadObject").always(), error);

        assert_eq!(work(&world, &delivery).await, "Unavailable");

        assert_eq!(delays(&world), [15, 60]);
        world.aws.clear_faults();
        assert_eq!(work(&world, &delivery).await, "audited");
        assert_settles(&world).await;
    });
}

/// Private CA throttles some requests every day; that is no failed audit.
#[test]
fn throttled_request_waits() {
    in_next_period(async |world| {
        let delivery = delivery(&world, now(&world));
        world
            .aws
            .inject(On::operation(CREATE).always(), Fault::Throttle);

        assert_eq!(work(&world, &delivery).await, "waiting");

        assert_eq!(writes(&world), 0);
        world.aws.clear_faults();
        assert_eq!(work(&world, &delivery).await, "audited");
        assert_settles(&world).await;
    });
}
