//! Report requests: how old an audit is, requests that return an earlier report, refusals that say
//! nothing about permissions, and CAs that accept no requests anymore.

use std::time::{Duration, SystemTime};

use local_aws::{ErrorReply, Fault, NextReport, On, ReportFormat, Service, Status};
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};

use super::{
    REPORTS, STATE, alerted_serials, assert_alerted_once_without_errors,
    assert_failed_and_recovered_once, assert_same_error, assert_settles, audit_of, audited_world,
    control, messages_of_type, only_message, run, run_audited, sorted,
};
use crate::simulator::on_paused_clock;
use crate::simulator::scenario::control_key;
use crate::simulator::world::{BUCKET, Ended, InvokeOptions, PERIOD, World, keep_log};

const CREATE: &str = "CreateCertificateAuthorityAuditReport";
const DESCRIBE: &str = "DescribeCertificateAuthorityAuditReport";
const MINUTE: Duration = Duration::from_secs(60);

fn text(at: SystemTime) -> Value {
    json!(Timestamp::from(at))
}

fn next_report(world: &World, next: NextReport) {
    world.aws.private_ca().next_report(&world.cas[0], next);
}

/// Requests a report as another client does, and returns when.
fn request_elsewhere(world: &World) -> SystemTime {
    let pca = world.aws.private_ca();
    let requested = pca.request_report(&world.cas[0], BUCKET, ReportFormat::Json);
    requested.expect("the interval is over").created_at
}

fn requests(world: &World) -> usize {
    world.aws.calls_of(CREATE).len()
}

fn warnings(world: &World) -> Vec<String> {
    let observed = world.observed();
    observed.runs.last().expect("a run").warnings.clone()
}

async fn run_manually(world: &World) -> Value {
    audit_of(&world.invoke(json!({}), InvokeOptions::default()).await).clone()
}

/// Returns a world a day after a report was requested that could not be read, the
/// serials of a revocation that it lists and of a later one, and when the report was requested.
async fn world_with_stale_report() -> (World, [String; 2], Value) {
    let world = audited_world(&[]).await;
    let listed = world.revoke(0, "KEY_COMPROMISE");
    world.was_refused.set(true);
    world.aws.s3().deny("s3:GetObject", BUCKET, REPORTS);
    // The error begins after the request.
    world.set_latency(MINUTE / 60);
    let audit = run(&world).await;
    assert_eq!(audit["error"]["type"], "AccessDenied");
    let requested_at = control(&world)["pendingReport"]["requestedAt"].clone();
    world.until(PERIOD + 60 * MINUTE).await;
    let later = world.revoke(0, "SUPERSEDED");
    world.aws.s3().allow_all();
    world.set_latency(Duration::ZERO);
    world.until(PERIOD * 48).await;
    (world, [listed, later], requested_at)
}

#[test]
fn stale_report_is_followed_by_a_new_one_in_the_same_run() {
    on_paused_clock(1, async {
        let (world, [listed, later], _) = world_with_stale_report().await;
        let now = text(world.aws.clock().now());

        let audit = audit_of(&world.schedule(InvokeOptions::default()).await).clone();

        assert_eq!(audit["outcome"], "audited", "{audit:#}");
        assert_eq!(audit["lastCompleteAuditAt"], now);
        assert_eq!(audit["report"]["requestedAt"], now);
        let counts = [&audit["newRevocations"], &audit["published"]];
        assert_eq!(counts, [&json!(2), &json!(2)]);
        assert_eq!(audit["revocations"].as_array().map(Vec::len), Some(2));
        assert_eq!(alerted_serials(&world), sorted([&listed, &later]));
        assert_eq!(
            only_message(&world, "watch-recovered")["lastCompleteAuditAt"],
            now
        );
        assert_eq!(requests(&world), 3);
        assert_settles(&world).await;
    });
}

/// The response has the contents of the stale report and the outcome of the new one.
#[test]
fn stale_report_alone_is_neither_fresh_nor_a_recovery() {
    for (denied, outcome) in [(false, "waiting"), (true, "failed")] {
        on_paused_clock(1, async {
            let (world, [listed, later], requested_at) = world_with_stale_report().await;
            if denied {
                let refused = Fault::access_denied(Service::PrivateCa);
                world.aws.inject(On::operation(CREATE), refused);
            }
            next_report(&world, NextReport::new().delay(20 * MINUTE));

            let audit = audit_of(&world.schedule(InvokeOptions::default()).await).clone();

            assert_eq!(audit["outcome"], outcome, "{audit:#}");
            assert_eq!(audit["lastCompleteAuditAt"], requested_at);
            assert_eq!(audit["report"]["requestedAt"], requested_at);
            assert_eq!(audit["published"], 1);
            assert_eq!(alerted_serials(&world), std::slice::from_ref(&listed));
            assert_eq!(messages_of_type(&world, "watch-recovered").len(), 0);
            assert_settles(&world).await;
            assert_eq!(alerted_serials(&world), sorted([&listed, &later]));
            // The second refusal is another error: a permission of Private CA, not of S3.
            let errors = 1 + usize::from(denied);
            for kind in ["watch-failed", "watch-recovered"] {
                assert_eq!(messages_of_type(&world, kind).len(), errors, "{kind}");
            }
        });
    }
}

/// A report that takes longer than a run is read by the next one, which requests another.
#[test]
fn reports_slower_than_a_run_are_never_overdue() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let pca = world.aws.private_ca();
        pca.set_reports(|reports| reports.delay = 20 * MINUTE);
        let mut serials = Vec::new();
        for _ in 0..8 {
            serials.push(world.revoke(0, "KEY_COMPROMISE"));
            assert_eq!(run(&world).await["outcome"], "waiting");
        }
        pca.set_reports(|reports| reports.delay = Duration::ZERO);
        assert_settles(&world).await;
        serials.sort();
        assert_eq!(alerted_serials(&world), serials);
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
    });
}

#[test]
fn adopted_report_counts_from_its_request() {
    for is_described in [true, false] {
        on_paused_clock(1, async {
            let _log = keep_log();
            let world = audited_world(&[]).await;
            world.until(PERIOD).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            next_report(&world, NextReport::new().delay(10 * MINUTE));
            let created_at = request_elsewhere(&world);
            world.until(PERIOD + 12 * MINUTE).await;
            if !is_described {
                let error = Fault::error(500, "InternalFailure", "We encountered an error.");
                world.aws.inject(On::operation(DESCRIBE).always(), error);
            }

            let audit = run_manually(&world).await;

            let written_at = created_at + 10 * MINUTE;
            let counts_from = if is_described { created_at } else { written_at };
            assert_eq!(audit["outcome"], "audited", "{audit:#}");
            assert_eq!(audit["lastCompleteAuditAt"], text(counts_from));
            assert_eq!(warnings(&world).len(), usize::from(!is_described));
            // Private CA may count the interval from either time.
            assert_eq!(control(&world)["lastRequestedAt"], text(written_at));
            world.aws.clear_faults();
            if is_described {
                assert_alerted_once_without_errors(&world, &serial).await;
            }
        });
    }
}

#[test]
fn request_that_returns_a_known_report_is_too_soon() {
    on_paused_clock(1, async {
        let world = audited_world(&[("REPORT_INTERVAL_SECONDS", "600")]).await;
        let pca = world.aws.private_ca();
        pca.set_reports(|reports| reports.repeats = true);
        world.until(15 * MINUTE).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let before = control(&world);

        let audit = run_manually(&world).await;

        assert_eq!(audit["outcome"], "tooSoon", "{audit:#}");
        assert_eq!(audit["refusedByAws"], true);
        for unchanged in ["lastRequestedAt", "lastCompleteAudit", "pendingReport"] {
            assert_eq!(control(&world)[unchanged], before[unchanged]);
        }
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn request_that_returns_an_older_report_counts_from_its_creation() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let pca = world.aws.private_ca();
        pca.set_reports(|reports| reports.repeats = true);
        world.until(PERIOD).await;
        next_report(&world, NextReport::new().delay(22 * MINUTE));
        let created_at = request_elsewhere(&world);
        world.until(PERIOD + 20 * MINUTE).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");

        let audit = run_manually(&world).await;

        assert_eq!(audit["outcome"], "audited", "{audit:#}");
        assert_eq!(audit["report"]["requestedAt"], text(created_at));
        assert_eq!(audit["lastCompleteAuditAt"], text(created_at));
        assert_eq!(alerted_serials(&world), [""; 0]);
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

/// One that is older than the interval is read as well, but is no reason to wait for the next run.
#[test]
fn request_that_returns_an_outdated_report_is_repeated() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let pca = world.aws.private_ca();
        pca.set_reports(|reports| {
            reports.repeats = true;
            reports.interval = 10 * PERIOD;
        });
        world.until(20 * PERIOD).await;
        let created_at = request_elsewhere(&world);
        world.until(22 * PERIOD).await;

        let audit = run_manually(&world).await;

        assert_eq!(audit["outcome"], "tooSoon", "{audit:#}");
        assert_eq!(audit["report"]["requestedAt"], text(created_at));
        assert_eq!(audit["lastCompleteAuditAt"], text(created_at));
        assert_eq!(requests(&world), 1 + 2);
    });
}

/// How Private CA might refuse a request that comes too soon.
fn early_refusals() -> [ErrorReply; 3] {
    let message = "The request cannot be processed.";
    [
        "RequestFailedException",
        "InvalidArgsException",
        "TooEarlyException",
    ]
    .map(|code| ErrorReply::new(400, code, message))
}

#[test]
fn early_request_is_no_error_whatever_its_code() {
    for refusal in early_refusals() {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            let pca = world.aws.private_ca();
            pca.set_reports(|reports| reports.too_soon = refusal.clone());
            // By the function's clock, the interval is over.
            let ahead = InvokeOptions {
                clock_ahead_ms: 14_000,
                ..InvokeOptions::default()
            };
            world.until(PERIOD - 10 * Duration::from_secs(1)).await;
            let first = world.schedule(ahead).await;
            assert_eq!(audit_of(&first)["outcome"], "audited", "{first:?}");

            // Another client's report is adopted.
            world.until(2 * PERIOD + MINUTE).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            request_elsewhere(&world);
            world.until(2 * PERIOD + 10 * MINUTE).await;
            let second = run_manually(&world).await;
            assert_eq!(second["outcome"], "audited", "{second:#}");

            assert_alerted_once_without_errors(&world, &serial).await;
        });
    }
}

/// Refusals that may be over soon, and the calls that get them.
fn passing_refusals() -> [(On, Fault); 5] {
    let is_control = |key: &String| key.starts_with(STATE) && !key.ends_with("health.json");
    let control = |operation| {
        On::operation(operation).when(move |call| call.key.as_ref().is_some_and(is_control))
    };
    let error = |status, code| Fault::error(status, code, "The request was refused.");
    [
        (On::operation(CREATE), error(400, "RequestFailedException")),
        (On::operation(CREATE), error(400, "ExpiredTokenException")),
        (
            On::operation(CREATE),
            error(403, "InvalidSignatureException"),
        ),
        (On::operation(CREATE), error(400, "SomethingNewException")),
        (control("GetObject"), error(403, "RequestTimeTooSkewed")),
    ]
}

#[test]
fn passing_refusal_is_retried_before_people_hear_of_it() {
    for (calls, refusal) in passing_refusals() {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            world.aws.inject(calls.clone().always(), refusal.clone());
            world.until(PERIOD).await;

            // Lambda's retries of the same invocation do not confirm it.
            let ended = world.schedule(InvokeOptions::default()).await;

            let Ended::Failed(error) = &ended else {
                panic!("{refusal:?}: {ended:?}");
            };
            assert!(error.error_message.contains("RequestRejected"), "{error:?}");
            assert_eq!(world.observed().runs.len(), 4);
            // Nor does another one at about the same time.
            world.invoke(json!({}), InvokeOptions::default()).await;
            assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
            world.aws.clear_faults();
            assert_alerted_once_without_errors(&world, &serial).await;
        });
    }
}

#[test]
fn refusal_that_two_runs_see_is_announced_once() {
    for (calls, refusal) in passing_refusals() {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            world.was_refused.set(true);
            let serial = world.revoke(0, "KEY_COMPROMISE");
            world.aws.inject(calls.clone().always(), refusal.clone());
            world.until(PERIOD).await;
            world.schedule(InvokeOptions::default()).await;
            assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);

            for _ in 0..2 {
                world.next_period().await;
                world.schedule(InvokeOptions::default()).await;
                let failed = only_message(&world, "watch-failed");
                assert_eq!(failed["error"]["type"], "RequestRejected", "{failed:#}");
            }

            world.aws.clear_faults();
            assert_settles(&world).await;
            assert_failed_and_recovered_once(&world, "RequestRejected");
            assert_eq!(alerted_serials(&world), [serial]);
        });
    }
}

#[test]
fn lasting_refusal_is_announced_behind_another_error() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.was_refused.set(true);
        let create = || On::operation(CREATE).always();
        let denied = Fault::error(400, "AccessDeniedException", "You are not authorized.");
        world.aws.inject(create(), denied);
        world.until(PERIOD).await;
        world.schedule(InvokeOptions::default()).await;
        world.aws.clear_faults();
        let failed = Fault::error(400, "RequestFailedException", "The request has failed.");
        world.aws.inject(create(), failed);

        for expected in [1, 2, 2] {
            world.next_period().await;
            world.schedule(InvokeOptions::default()).await;
            assert_eq!(messages_of_type(&world, "watch-failed").len(), expected);
        }

        let last = messages_of_type(&world, "watch-failed").pop().expect("two");
        assert_eq!(last["error"]["type"], "RequestRejected");
    });
}

/// A disabled key is a denial: no second run has to see it.
#[test]
fn disabled_key_of_a_control_document_is_announced_at_once() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.was_refused.set(true);
        for operation in ["GetObject", "PutObject"] {
            let disabled = Fault::error(400, "KMS.DisabledException", "The key is disabled.");
            let calls = On::operation(operation).key_contains(control_key(&world, 0));
            world.aws.inject(calls.always(), disabled);
        }

        run(&world).await;

        let failed = only_message(&world, "watch-failed");
        assert_eq!(failed["error"]["type"], "AccessDenied", "{failed:#}");
        world.aws.clear_faults();
        assert_settles(&world).await;
        assert_same_error(assert_failed_and_recovered_once(&world, "AccessDenied"));
    });
}

/// A refusal that is over by the next run leaves nothing behind that would confirm a later one.
#[test]
fn refusals_with_an_audit_between_them_stay_unannounced() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        for _ in 0..3 {
            let failed = Fault::error(400, "RequestFailedException", "The request has failed.");
            // Longer than the clocks may differ.
            world.aws.inject(On::operation(CREATE).times(6), failed);
            run_audited(&world).await;
            run_audited(&world).await;
        }
        assert_eq!(world.observed().runs.len(), 1 + 3 * 3);
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
        world.was_refused.set(true);
        assert_settles(&world).await;
    });
}

#[test]
fn unavailable_service_is_no_missing_permission() {
    for (operation, code) in [
        (CREATE, "AccessDeniedException"),
        ("GetObject", "AccessDenied"),
    ] {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            let unavailable = Fault::error(503, code, "Please try again.");
            world
                .aws
                .inject(On::operation(operation).always(), unavailable);
            world.until(PERIOD).await;

            let ended = world.schedule(InvokeOptions::default()).await;

            let Ended::Failed(error) = &ended else {
                panic!("{ended:?}");
            };
            assert!(error.error_message.contains("Throttled"), "{error:?}");
            world.aws.clear_faults();
            assert_alerted_once_without_errors(&world, &serial).await;
        });
    }
}

/// Returns a world whose CA accepts no requests anymore while its report, which lists a revocation,
/// is on its way; and the serial.
async fn world_with_deleted_ca(variables: &[(&str, &str)]) -> (World, String) {
    let world = audited_world(variables).await;
    let serial = world.revoke(0, "CERTIFICATE_AUTHORITY_COMPROMISE");
    next_report(&world, NextReport::new().delay(20 * MINUTE));
    assert_eq!(run(&world).await["outcome"], "waiting");
    let pca = world.aws.private_ca();
    pca.set_status(&world.cas[0], Status::Deleted);
    (world, serial)
}

#[test]
fn deleted_ca_has_its_pending_report_read_then_is_skipped() {
    on_paused_clock(1, async {
        let all = [("CERTIFICATE_AUTHORITY_ARNS", "*")];
        let (world, serial) = world_with_deleted_ca(&all).await;
        let before = requests(&world);

        let audit = run_audited(&world).await;

        assert_eq!(audit["published"], 1);
        assert_eq!(alerted_serials(&world), [serial]);
        let after = world.schedule(InvokeOptions::default()).await;
        let response = after.response().expect("a response");
        assert_eq!(response["certificateAuthorities"], json!([]));
        assert_eq!(requests(&world), before);
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
        only_message(&world, "watch-stopped");
    });
}

/// Its state could not be read at first: only the audit finds out that no report is pending.
#[test]
fn deleted_ca_without_pending_report_is_never_requested() {
    on_paused_clock(1, async {
        let world = audited_world(&[("CERTIFICATE_AUTHORITY_ARNS", "*")]).await;
        let pca = world.aws.private_ca();
        pca.set_status(&world.cas[0], Status::Deleted);
        let reads = On::operation("GetObject").key_contains(STATE).times(3);
        let error = Fault::error(500, "InternalError", "We encountered an internal error.");
        world.aws.inject(reads, error);
        world.until(PERIOD).await;

        let ended = world.schedule(InvokeOptions::default()).await;

        let response = ended.response().expect("a response");
        assert_eq!(response["certificateAuthorities"], json!([]));
        assert_eq!(requests(&world), 1);
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
    });
}

/// If the state of a skipped CA cannot be read, it is unknown whether a report is pending.
#[test]
fn states_of_many_deleted_cas_are_read_in_time() {
    on_paused_clock(1, async {
        let world = World::new(1, 66, &[("CERTIFICATE_AUTHORITY_ARNS", "*")]);
        for ca in &world.cas {
            world.aws.private_ca().set_status(ca, Status::Deleted);
        }
        let reads = On::operation("GetObject").key_contains(STATE).always();
        world.aws.inject(reads, Fault::Hang);

        let ended = world.invoke(json!({}), InvokeOptions::ending_in(200)).await;

        assert!(ended.response().is_some(), "{ended:?}");
    });
}

/// Its pending report is read once its state is restored. It is older than the error, whose end shows only
/// when the CA leaves.
#[test]
fn deleted_ca_with_unreadable_state_is_not_skipped() {
    on_paused_clock(1, async {
        let all = [("CERTIFICATE_AUTHORITY_ARNS", "*")];
        let (world, serial) = world_with_deleted_ca(&all).await;
        let key = control_key(&world, 0);
        world.aws.s3().deny("s3:GetObject", BUCKET, &key);

        let audit = run(&world).await;

        assert_eq!(audit["error"]["type"], "AccessDenied", "{audit:#}");
        only_message(&world, "watch-failed");
        world.aws.s3().allow_all();
        run_audited(&world).await;
        assert_eq!(alerted_serials(&world), [serial]);
        for kind in ["watch-recovered", "watch-stopped"] {
            assert_eq!(messages_of_type(&world, kind).len(), 0);
        }
        run(&world).await;
        only_message(&world, "watch-stopped");
        let (failed, recovered) = assert_failed_and_recovered_once(&world, "AccessDenied");
        assert_eq!(recovered["counts"]["left"], 1);
        assert_same_error((failed, recovered));
    });
}

#[test]
fn listed_ca_has_its_pending_report_read_before_its_error() {
    on_paused_clock(1, async {
        let (world, serial) = world_with_deleted_ca(&[]).await;

        let audit = run(&world).await;

        assert_eq!(audit["error"]["type"], "CertificateAuthorityState");
        assert_eq!(audit["published"], 1, "{audit:#}");
        assert_eq!(alerted_serials(&world), [serial]);
    });
}

#[test]
fn report_forgotten_by_private_ca_is_awaited() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "CERTIFICATE_AUTHORITY_COMPROMISE");
        next_report(&world, NextReport::new().delay(40 * MINUTE));
        let forgotten = Fault::error(400, "ResourceNotFoundException", "No such report.");
        world
            .aws
            .inject(On::operation(DESCRIBE).always(), forgotten);

        assert_eq!(run(&world).await["outcome"], "waiting");
        run_audited(&world).await;

        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
        world.aws.clear_faults();
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}
