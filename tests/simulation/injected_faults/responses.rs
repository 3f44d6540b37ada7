//! AWS resources in the wrong condition: permissions, buckets, topics and CAs.

use local_aws::{Fault, On, PrivateCaAccess, Protocol, Service, Status, Subscription};

use super::{
    Available, REPORTS, STATE, assert_alerted_once_while_it_lasts,
    assert_alerted_once_without_errors, audit_of, audited_world, expected_error, run_audited,
};
use crate::simulator::on_paused_clock;
use crate::simulator::scenario::control_key;
use crate::simulator::world::{BUCKET, InvokeOptions, PERIOD, World};

#[test]
fn ca_status_without_reports_is_alerted_once_then_recovers() {
    for status in [
        Status::Expired,
        Status::PendingCertificate,
        Status::Creating,
        Status::Deleted,
        Status::Failed,
    ] {
        let state = expected_error(
            "CertificateAuthorityState",
            &[":certificate-authority/", status.name()],
            &["ACTIVE or DISABLED", "CERTIFICATE_AUTHORITY_ARNS"],
        );
        let set = |world: &World, status| {
            world.aws.private_ca().set_status(&world.cas[0], status);
        };
        on_paused_clock(
            1,
            assert_alerted_once_while_it_lasts(state, Available::Everything, |world| {
                set(world, status);
                move |world: &World| set(world, Status::Active)
            }),
        );
    }
}

#[test]
fn disabled_ca_is_audited_like_any_other() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let pca = world.aws.private_ca();
        pca.set_status(&world.cas[0], Status::Disabled);
        let serial = world.revoke(0, "KEY_COMPROMISE");

        run_audited(&world).await;

        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn missing_ca_is_alerted_once_then_recovers() {
    let not_found = expected_error(
        "CertificateAuthorityNotFound",
        &[":certificate-authority/"],
        &["CERTIFICATE_AUTHORITY_ARNS", "CertificateAuthorities"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(not_found, Available::Everything, |world| {
            let ca = world.cas[0].clone();
            let certificates = world.aws.private_ca().certificates(&ca);
            world.aws.private_ca().remove(&ca);
            move |world: &World| {
                let id = ca.rsplit('/').next().expect("an ARN has an id");
                let pca = world.aws.private_ca();
                pca.create_with_id(id, "Example Corp Issuing CA 0");
                pca.set_certificates(&ca, certificates);
            }
        }),
    );
}

#[test]
fn denied_report_request_is_alerted_once_then_recovers() {
    let denied = expected_error(
        "AccessDenied",
        &[
            "CreateCertificateAuthorityAuditReport",
            ":certificate-authority/",
        ],
        &["role", "template.yaml", "service control policies"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(denied, Available::Everything, |world| {
            let requests = On::operation("CreateCertificateAuthorityAuditReport").always();
            world
                .aws
                .inject(requests, Fault::access_denied(Service::PrivateCa));
            |world: &World| world.aws.clear_faults()
        }),
    );
}

#[test]
fn ca_over_the_report_limit_is_no_permission_error() {
    let too_large = expected_error(
        "CertificateAuthorityTooLarge",
        &[":certificate-authority/", "LimitExceededException"],
        &["100 million", "new CA", "no permission"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(too_large, Available::Everything, |world| {
            let requests = On::operation("CreateCertificateAuthorityAuditReport").always();
            let limit = "Audit reports are not supported for this certificate authority.";
            let fault = Fault::error(400, "LimitExceededException", limit);
            world.aws.inject(requests, fault);
            |world: &World| world.aws.clear_faults()
        }),
    );
}

/// Returns the prefix of the keys that an S3 action is denied for.
type Prefix = fn(&World) -> String;

/// If the whole state is affected, nothing shows what was announced.
#[test]
fn denied_s3_action_is_alerted_once_then_recovers() {
    let reports: Prefix = |_| REPORTS.to_owned();
    let state: Prefix = |_| STATE.to_owned();
    let control: Prefix = |world| control_key(world, 0);
    let (get, put) = ("s3:GetObject", "s3:PutObject");
    for (action, prefix, operation, word, available) in [
        (get, reports, "HeadObject", REPORTS, Available::Everything),
        (get, control, "GetObject", STATE, Available::Everything),
        (put, control, "PutObject", STATE, Available::Everything),
        (get, state, "GetObject", STATE, Available::ResponseOnly),
        (put, state, "PutObject", STATE, Available::ResponseOnly),
    ] {
        let denied = expected_error(
            "AccessDenied",
            &[operation, BUCKET, word],
            &["role", "template.yaml", "bucket"],
        );
        on_paused_clock(
            1,
            assert_alerted_once_while_it_lasts(denied, available, |world| {
                world.aws.s3().deny(action, BUCKET, &prefix(world));
                |world: &World| world.aws.s3().allow_all()
            }),
        );
    }
}

#[test]
fn bucket_refusing_reports_is_alerted_once_then_recovers() {
    let refused = expected_error(
        "ReportBucketRefused",
        &[BUCKET, "policy"],
        &["BucketPolicyStatements", "Object Lock", "KMS key", "aws/s3"],
    );
    let missing = PrivateCaAccess::missing_policy(BUCKET);
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(refused, Available::Everything, |world| {
            lets_write(world, missing)
        }),
    );
}

/// With a default Object Lock, or a key that Private CA may not use, the request succeeds and the report
/// fails.
#[test]
fn bucket_failing_reports_is_alerted_once_then_recovers() {
    let failed = expected_error(
        "ReportFailed",
        &["audit report", ":certificate-authority/"],
        &["policy", "encryption", "Object Lock"],
    );
    let later = PrivateCaAccess::FailsLater;
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(failed, Available::Everything, |world| {
            lets_write(world, later)
        }),
    );
}

fn lets_write(world: &World, access: PrivateCaAccess) -> impl FnOnce(&World) + use<> {
    world.aws.s3().set_private_ca_access(BUCKET, access);
    |world| {
        let granted = PrivateCaAccess::Granted;
        world.aws.s3().set_private_ca_access(BUCKET, granted);
    }
}

#[test]
fn missing_bucket_fails_the_audit_and_notifies_nothing() {
    let not_found = expected_error(
        "ReportBucketNotFound",
        &[BUCKET],
        &["REPORT_BUCKET", "restore the state"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(not_found, Available::ResponseOnly, |world| {
            let s3 = world.aws.s3();
            let keep = |key: String| (s3.get(BUCKET, &key).expect("it is listed"), key);
            let kept: Vec<_> = s3.keys(BUCKET, "").into_iter().map(keep).collect();
            s3.delete_bucket(BUCKET);
            move |world: &World| {
                world.aws.s3().create_bucket(BUCKET);
                for (bytes, key) in kept {
                    world.aws.s3().put(BUCKET, &key, bytes);
                }
            }
        }),
    );
}

#[test]
fn denied_publish_fails_the_audit_and_notifies_nothing() {
    let denied = expected_error(
        "AccessDenied",
        &["Publish", ":revocations"],
        &["role", "topic", "KMS key"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(denied, Available::ResponseOnly, |world| {
            let publish = On::operation("Publish").always();
            world
                .aws
                .inject(publish, Fault::access_denied(Service::Sns));
            |world: &World| world.aws.clear_faults()
        }),
    );
}

#[test]
fn missing_topic_fails_the_audit_and_notifies_nothing() {
    let not_found = expected_error(
        "TopicNotFound",
        &[":revocations"],
        &["TOPIC_ARN", "subscribe"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(not_found, Available::ResponseOnly, |world| {
            world.aws.sns().delete_topic(&world.topic);
            |world: &World| {
                world.aws.sns().create_topic("revocations");
                subscribe(world, Subscription::new(Protocol::Sqs, "queue"));
            }
        }),
    );
}

#[test]
fn unconfirmed_topic_fails_the_audit_and_notifies_nothing() {
    let unconfirmed = expected_error(
        "TopicWithoutSubscription",
        &[":revocations", "1 pending confirmation"],
        &["Confirm the subscription", "email"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(unconfirmed, Available::ResponseOnly, |world| {
            world.aws.sns().delete_topic(&world.topic);
            world.aws.sns().create_topic("revocations");
            let mail = Subscription::new(Protocol::Email, "security@example.com");
            let subscription = subscribe(world, mail.pending());
            move |world: &World| assert!(world.aws.sns().confirm(&subscription))
        }),
    );
}

#[test]
fn bucket_in_another_region_fails_the_audit_as_such() {
    let elsewhere = expected_error(
        "ReportBucketNotFound",
        &[
            "GetObject",
            BUCKET,
            "must be addressed using the specified endpoint",
        ],
        &["REPORT_BUCKET", "region"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(elsewhere, Available::ResponseOnly, |world| {
            let moved = Fault::error(
                301,
                "PermanentRedirect",
                "The bucket you are attempting to access must be addressed using the specified endpoint.",
            );
            world.aws.inject(On::service(Service::S3).always(), moved);
            |world: &World| world.aws.clear_faults()
        }),
    );
}

/// After the message is published, the state is saved before the chat card can use up the time.
#[test]
fn hanging_chat_topic_leaves_time_to_save_the_state() {
    on_paused_clock(1, async {
        let chat = "arn:aws:sns:us-east-1:123456789012:chat";
        let world = audited_world(&[("CHAT_TOPIC_ARN", chat)]).await;
        world.aws.sns().create_topic("chat");
        let serial = world.revoke(0, "KEY_COMPROMISE");
        // The first call of the period publishes the message, the others try to publish its card.
        world
            .aws
            .inject(On::operation("Publish").after(1).always(), Fault::Hang);
        world.until(PERIOD).await;
        let short = InvokeOptions::ending_in(60);

        let ended = world.schedule(short).await;

        let audit = audit_of(&ended);
        assert_eq!(audit["outcome"], "audited", "{audit:#}");
        let warning = audit["warnings"][0].as_str().unwrap_or_default();
        assert!(
            warning.contains(chat) && warning.contains("no response"),
            "{warning}"
        );
        world.aws.clear_faults();
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn refused_message_is_sent_again_in_reduced_form() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let before = world.aws.calls_of("Publish").len();
        let invalid = Fault::error(400, "InvalidParameter", "Invalid parameter: Message");
        world.aws.inject(On::operation("Publish"), invalid);

        run_audited(&world).await;

        assert_eq!(world.aws.calls_of("Publish").len(), before + 2);
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn message_refused_in_both_forms_fails_the_audit() {
    let refused = expected_error(
        "MessageRefused",
        &["Publish", ":revocations", "InvalidParameter"],
        &["encryption", "data protection policy"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(refused, Available::ResponseOnly, |world| {
            let invalid = Fault::error(400, "InvalidParameter", "Invalid parameter: Message");
            world.aws.inject(On::operation("Publish").always(), invalid);
            |world: &World| world.aws.clear_faults()
        }),
    );
}

fn subscribe(world: &World, subscription: Subscription) -> String {
    let subscribed = world.aws.sns().subscribe(&world.topic, subscription);
    subscribed.expect("a standard topic takes it")
}
