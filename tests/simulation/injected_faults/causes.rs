//! One message for each cause, whatever the number of CAs, and CAs that leave and return.

use std::time::Duration;

use local_aws::{Call, Fault, NextReport, On, PrivateCaAccess, Service, Status};
use pca_revocation_watch::config::Config;
use serde_json::{Value, json};

use super::{
    assert_failed_and_recovered_once, assert_same_error, assert_settles, audited_world,
    crash_next_run, first_audit, messages_of_type, only_message, run_all, run_all_audited, types,
    warnings,
};
use crate::simulator::on_paused_clock;
use crate::simulator::scenario::control_key;
use crate::simulator::world::{BUCKET, Ended, InvokeOptions, World};

const ALL: [(&str, &str); 1] = [("CERTIFICATE_AUTHORITY_ARNS", "*")];
const CREATE: &str = "CreateCertificateAuthorityAuditReport";

fn let_private_ca_write(world: &World, access: PrivateCaAccess) {
    world.aws.s3().set_private_ca_access(BUCKET, access);
}

fn set_status(world: &World, ca: usize, status: Status) {
    world.aws.private_ca().set_status(&world.cas[ca], status);
}

/// Denies requests for reports of a CA.
fn deny_requests_of(world: &World, ca: usize) {
    let ca = world.cas[ca].clone();
    let is_of = move |call: &Call| call.certificate_authority_arn.as_ref() == Some(&ca);
    let denied = Fault::access_denied(Service::PrivateCa);
    world
        .aws
        .inject(On::operation(CREATE).when(is_of).always(), denied);
}

/// Returns the CAs of a message, and how many it counts, by name.
fn cas_and_counts<'a>(message: &'a Value, names: &[&str]) -> (&'a Value, Vec<&'a Value>) {
    let counts = names.iter().map(|&name| &message["counts"][name]);
    (&message["certificateAuthorityArns"], counts.collect())
}

/// Returns ARNs in the order of messages.
fn sorted(mut arns: Vec<String>) -> Value {
    arns.sort();
    json!(arns)
}

#[test]
fn one_cause_is_one_message_and_one_recovery() {
    on_paused_clock(1, async {
        let mut world = first_audit(World::new(1, 3, &ALL)).await;
        world.was_refused.set(true);
        let three = sorted(world.cas.clone());
        let started = only_message(&world, "watch-started");
        assert_eq!(started["certificateAuthorityArns"], three);
        assert_eq!(started["certificateAuthorityArn"], Value::Null);
        let_private_ca_write(&world, PrivateCaAccess::missing_policy(BUCKET));
        for _ in 0..2 {
            run_all(&world).await;
            let failed = only_message(&world, "watch-failed");
            assert_eq!(
                cas_and_counts(&failed, &["certificateAuthorities", "added"]),
                (&three, vec![&json!(3), &json!(3)])
            );
            assert_eq!(failed["error"]["type"], "ReportBucketRefused");
            assert_eq!(failed["error"]["resource"], format!("s3://{BUCKET}"));
        }

        world.cas.push(world.aws.private_ca().create("Another CA"));
        for _ in 0..2 {
            run_all(&world).await;
            let failed = messages_of_type(&world, "watch-failed");
            assert_eq!(failed.len(), 2);
            assert_eq!(
                cas_and_counts(&failed[1], &["certificateAuthorities", "added"]),
                (&json!([world.cas[3]]), vec![&json!(4), &json!(1)])
            );
            assert_eq!(failed[1]["since"], failed[0]["since"]);
        }

        let_private_ca_write(&world, PrivateCaAccess::Granted);
        assert_settles(&world).await;
        let recovered = only_message(&world, "watch-recovered");
        assert_eq!(
            cas_and_counts(&recovered, &["certificateAuthorities", "left"]),
            (&sorted(world.cas.clone()), vec![&json!(4), &json!(0)])
        );
        let started = messages_of_type(&world, "watch-started");
        assert_eq!(started.len(), 2);
        assert_eq!(started[1]["certificateAuthorityArn"], json!(world.cas[3]));
    });
}

/// The recovery waits for the last CA.
#[test]
fn cause_is_over_when_its_last_ca_is_audited() {
    on_paused_clock(1, async {
        let world = first_audit(World::new(1, 2, &[])).await;
        world.was_refused.set(true);
        let denied = || Fault::access_denied(Service::PrivateCa);
        world.aws.inject(On::operation(CREATE).always(), denied());
        run_all(&world).await;
        world.aws.clear_faults();
        deny_requests_of(&world, 1);
        for _ in 0..2 {
            run_all(&world).await;
            only_message(&world, "watch-failed");
            assert_eq!(messages_of_type(&world, "watch-recovered").len(), 0);
        }

        world.aws.clear_faults();
        assert_settles(&world).await;
        let messages = assert_failed_and_recovered_once(&world, "AccessDenied");
        let resource = &messages.0["error"]["resource"];
        assert_eq!(*resource, format!("acm-pca:{CREATE}"));
        assert_same_error(messages);
    });
}

#[test]
fn two_errors_of_a_ca_end_with_one_complete_audit() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.was_refused.set(true);
        let denied = Fault::access_denied(Service::PrivateCa);
        world.aws.inject(On::operation(CREATE).always(), denied);
        run_all(&world).await;
        world.aws.clear_faults();
        set_status(&world, 0, Status::Expired);
        for _ in 0..2 {
            run_all(&world).await;
            assert_eq!(messages_of_type(&world, "watch-failed").len(), 2);
            assert_eq!(messages_of_type(&world, "watch-recovered").len(), 0);
        }

        set_status(&world, 0, Status::Active);
        run_all_audited(&world).await;

        for kind in ["watch-failed", "watch-recovered"] {
            let messages = messages_of_type(&world, kind);
            let types = messages.iter().map(|message| &message["error"]["type"]);
            assert_eq!(
                types.collect::<Vec<_>>(),
                ["AccessDenied", "CertificateAuthorityState"],
                "{kind}"
            );
        }
        assert_settles(&world).await;
    });
}

/// Removes the last CA from the configuration: the next run has it after its process died.
fn remove_last_ca(world: &mut World) -> String {
    let removed = world.cas.pop().expect("there are two");
    let listed = world.cas.join(" ");
    let config = Config::from_lookup(|name| {
        let value = match name {
            "AWS_REGION" => "us-east-1",
            "AWS_ENDPOINT_URL" => "http://local-aws",
            "CERTIFICATE_AUTHORITY_ARNS" => &listed,
            "REPORT_BUCKET" => BUCKET,
            "TOPIC_ARN" => &world.topic,
            _ => return None,
        };
        Some(value.to_owned())
    });
    world.config = config.expect("a configuration");
    crash_next_run(world);
    removed
}

#[test]
fn removed_ca_stops_once() {
    on_paused_clock(1, async {
        let mut world = first_audit(World::new(1, 2, &[])).await;
        let removed = remove_last_ca(&mut world);

        run_all_audited(&world).await;

        let stopped = only_message(&world, "watch-stopped");
        assert_eq!(stopped["certificateAuthorityArn"], json!(removed));
        assert_settles(&world).await;
        only_message(&world, "watch-stopped");
    });
}

#[test]
fn ca_that_leaves_while_it_fails_recovers_and_stops() {
    on_paused_clock(1, async {
        let mut world = first_audit(World::new(1, 2, &[])).await;
        set_status(&world, 1, Status::Expired);
        run_all(&world).await;
        let removed = remove_last_ca(&mut world);

        run_all_audited(&world).await;

        assert_settles(&world).await;
        let (failed, recovered) =
            assert_failed_and_recovered_once(&world, "CertificateAuthorityState");
        assert_eq!(
            cas_and_counts(&recovered, &["certificateAuthorities", "left"]),
            (&json!([removed]), vec![&json!(1), &json!(1)])
        );
        let stopped = only_message(&world, "watch-stopped");
        assert_eq!(stopped["certificateAuthorityArn"], json!(removed));
        assert_same_error((failed, recovered));
    });
}

/// The others are still affected: the recovery comes with the last of them.
#[test]
fn ca_that_leaves_a_cause_counts_in_its_recovery() {
    on_paused_clock(1, async {
        let mut world = first_audit(World::new(1, 2, &[])).await;
        world.was_refused.set(true);
        let_private_ca_write(&world, PrivateCaAccess::missing_policy(BUCKET));
        run_all(&world).await;
        remove_last_ca(&mut world);

        run_all(&world).await;

        only_message(&world, "watch-stopped");
        assert_eq!(messages_of_type(&world, "watch-recovered").len(), 0);
        let_private_ca_write(&world, PrivateCaAccess::Granted);
        assert_settles(&world).await;
        let messages = assert_failed_and_recovered_once(&world, "ReportBucketRefused");
        assert_eq!(messages.1["counts"]["left"], 1);
        assert_same_error(messages);
    });
}

#[test]
fn ca_without_reports_stops_once_and_starts_again() {
    for status in [Status::Expired, Status::Deleted, Status::PendingCertificate] {
        on_paused_clock(1, async {
            let world = first_audit(World::new(1, 2, &ALL)).await;
            world.left.borrow_mut().insert(world.cas[1].clone());
            set_status(&world, 1, status);
            for _ in 0..3 {
                run_all_audited(&world).await;
                let stopped = only_message(&world, "watch-stopped");
                assert_eq!(stopped["certificateAuthorityArn"], json!(world.cas[1]));
            }
            set_status(&world, 1, Status::Active);

            run_all_audited(&world).await;

            let started = messages_of_type(&world, "watch-started");
            assert_eq!(started.len(), 2);
            assert_eq!(started[1]["certificateAuthorityArn"], json!(world.cas[1]));
            assert_settles(&world).await;
            only_message(&world, "watch-stopped");
            assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
        });
    }
}

#[test]
fn lost_reply_to_a_start_or_end_repeats_it_with_the_same_id() {
    on_paused_clock(1, async {
        let world = World::new(1, 2, &ALL);
        for kind in ["watch-started", "watch-stopped"] {
            world
                .aws
                .inject(On::operation("Publish").always(), Fault::LostReply);
            run_all_audited(&world).await;
            world.aws.clear_faults();
            for _ in 0..2 {
                run_all_audited(&world).await;
                let copies = messages_of_type(&world, kind);
                assert_eq!(copies.len(), 2, "{kind}");
                assert_eq!(copies[0]["id"], copies[1]["id"], "{kind}");
            }
            set_status(&world, 1, Status::Expired);
        }
    });
}

#[test]
fn disabled_ca_is_still_watched() {
    on_paused_clock(1, async {
        let world = first_audit(World::new(1, 2, &ALL)).await;
        set_status(&world, 1, Status::Disabled);

        assert_settles(&world).await;

        assert_eq!(messages_of_type(&world, "watch-stopped").len(), 0);
    });
}

/// Only a complete listing shows that a CA is gone.
#[test]
fn incomplete_listing_stops_nothing() {
    on_paused_clock(1, async {
        let world = first_audit(World::new(1, 3, &ALL)).await;
        world.aws.private_ca().set_page_size(Some(1));
        let later_pages = On::operation("ListCertificateAuthorities")
            .when(|call| call.parameters.contains_key("NextToken"));
        let error = Fault::error(500, "InternalFailure", "We encountered an internal error.");
        world.aws.inject(later_pages.always(), error);
        world.next_period().await;

        let ended = world.schedule(InvokeOptions::default()).await;

        assert!(matches!(ended, Ended::Failed(_)), "{ended:?}");
        world.aws.clear_faults();
        assert_settles(&world).await;
        assert_eq!(messages_of_type(&world, "watch-stopped").len(), 0);
    });
}

/// The first list may have been incomplete.
#[test]
fn ca_stops_only_if_a_second_list_confirms_it() {
    let refused = Fault::error(400, "ValidationException", "The request is invalid.");
    // A response without CAs.
    let empty = Fault::error(200, "", "");
    for fault in [refused, empty] {
        on_paused_clock(1, async {
            let mut world = first_audit(World::new(1, 2, &ALL)).await;
            world.cas.push(world.aws.private_ca().create("Another CA"));
            world.left.borrow_mut().insert(world.cas[1].clone());
            set_status(&world, 1, Status::Expired);
            let second = On::operation("ListCertificateAuthorities").after(1);
            world.aws.inject(second.always(), fault.clone());

            let response = run_all_audited(&world).await;

            let warnings = warnings(&response);
            assert!(
                warnings.contains("could not check which CAs left"),
                "{warnings}"
            );
            assert_eq!(types(&world), ["watch-started", "watch-started"]);
            world.aws.clear_faults();
            let response = run_all_audited(&world).await;
            assert_eq!(response["warnings"], Value::Null, "{response:#}");
            let stopped = only_message(&world, "watch-stopped");
            assert_eq!(stopped["certificateAuthorityArn"], json!(world.cas[1]));
            set_status(&world, 1, Status::Active);
            assert_settles(&world).await;
        });
    }
}

/// Its state has an error, which is of no interest until an audit after its return.
#[test]
fn departed_ca_fails_again_neither_then_nor_on_its_return() {
    on_paused_clock(1, async {
        let world = first_audit(World::new(1, 2, &ALL)).await;
        world.was_refused.set(true);
        world.left.borrow_mut().insert(world.cas[1].clone());
        deny_requests_of(&world, 1);
        run_all(&world).await;
        world.aws.clear_faults();
        set_status(&world, 1, Status::Expired);
        run_all_audited(&world).await;
        let before = types(&world);
        assert_eq!(before.last().map(String::as_str), Some("watch-stopped"));
        // Nobody knows in time that there is no pending report.
        let slow = On::operation("GetObject").key_contains(control_key(&world, 1));
        world.aws.inject(slow, Fault::Late(Duration::from_secs(11)));

        run_all_audited(&world).await;

        assert_eq!(types(&world), before);
        set_status(&world, 1, Status::Active);
        let report = NextReport::new().delay(Duration::from_secs(60));
        world.aws.private_ca().next_report(&world.cas[1], report);
        assert_settles(&world).await;
        assert_failed_and_recovered_once(&world, "AccessDenied");
    });
}
