//! Answers that are no errors of a call: permissions, buckets, topics and certificate authorities that
//! are not as they should be.

use std::time::Duration;

use local_aws::{Fault, On, PrivateCaAccess, Protocol, Service, Status, Subscription};

use super::{
    Left, REPORTS, STATE, assert_failed_and_recovered_once, audit_of, audited_world,
    comes_in_order, is_told_once_without_a_word, lasts, named, run, run_well,
};
use crate::simulator::on_paused_clock;
use crate::simulator::world::{BUCKET, How, PERIOD, World};

#[test]
fn a_certificate_authority_in_a_state_without_reports_is_told_once_and_made_up_for() {
    for status in [
        Status::Expired,
        Status::PendingCertificate,
        Status::Creating,
        Status::Deleted,
        Status::Failed,
    ] {
        let state = named(
            "CertificateAuthorityState",
            &[":certificate-authority/", status.name()],
            &["ACTIVE or DISABLED", "CERTIFICATE_AUTHORITY_ARNS"],
        );
        let set = |world: &World, status| {
            world.aws.private_ca().set_status(&world.cas[0], status);
        };
        on_paused_clock(
            1,
            lasts(state, Left::All, |world| {
                set(world, status);
                move |world: &World| set(world, Status::Active)
            }),
        );
    }
}

#[test]
fn a_disabled_certificate_authority_is_audited_like_any_other() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let pca = world.aws.private_ca();
        pca.set_status(&world.cas[0], Status::Disabled);
        let serial = world.revoke(0, "KEY_COMPROMISE");

        run_well(&world).await;

        is_told_once_without_a_word(&world, &serial).await;
    });
}

#[test]
fn a_certificate_authority_that_is_not_there_is_told_once() {
    let not_found = named(
        "CertificateAuthorityNotFound",
        &[":certificate-authority/"],
        &["CERTIFICATE_AUTHORITY_ARNS", "CertificateAuthorities"],
    );
    on_paused_clock(
        1,
        lasts(not_found, Left::All, |world| {
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
fn a_denied_request_for_reports_is_told_once_and_made_up_for() {
    let denied = named(
        "AccessDenied",
        &[
            "CreateCertificateAuthorityAuditReport",
            ":certificate-authority/",
        ],
        &["role", "template.yaml", "policy"],
    );
    on_paused_clock(
        1,
        lasts(denied, Left::All, |world| {
            let requests = On::operation("CreateCertificateAuthorityAuditReport").always();
            world
                .aws
                .misbehave(requests, Fault::access_denied(Service::PrivateCa));
            |world: &World| world.aws.behave()
        }),
    );
}

#[test]
fn whatever_s3_denies_is_told_once_and_made_up_for() {
    for (action, prefix, operation, left) in [
        ("s3:GetObject", REPORTS, "HeadObject", Left::All),
        ("s3:GetObject", STATE, "GetObject", Left::Note),
        ("s3:PutObject", STATE, "PutObject", Left::Process),
    ] {
        let denied = named(
            "AccessDenied",
            &[operation, BUCKET, prefix],
            &["role", "template.yaml", "bucket"],
        );
        on_paused_clock(
            1,
            lasts(denied, left, |world| {
                world.aws.s3().deny(action, BUCKET, prefix);
                |world: &World| world.aws.s3().allow_all()
            }),
        );
    }
}

#[test]
fn a_bucket_that_refuses_reports_is_told_once_and_made_up_for() {
    let refused = named(
        "ReportBucketRefused",
        &[BUCKET, "policy"],
        &["acm-pca.amazonaws.com", "Object Lock", "KMS key", "aws/s3"],
    );
    let missing = PrivateCaAccess::missing_policy(BUCKET);
    on_paused_clock(
        1,
        lasts(refused, Left::All, |world| lets_write(world, missing)),
    );
}

/// With a default Object Lock, or a key that Private CA may not use, requests go well and the
/// reports do not.
#[test]
fn a_bucket_whose_reports_fail_later_is_told_once_and_made_up_for() {
    let failed = named(
        "ReportFailed",
        &["audit report", ":certificate-authority/"],
        &["policy", "encryption", "Object Lock"],
    );
    let later = PrivateCaAccess::FailsLater;
    on_paused_clock(
        1,
        lasts(failed, Left::All, |world| lets_write(world, later)),
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
fn a_missing_bucket_is_told_once_and_made_up_for_when_its_state_is_restored() {
    let not_found = named(
        "ReportBucketNotFound",
        &[BUCKET],
        &["REPORT_BUCKET", "restore the state"],
    );
    on_paused_clock(
        1,
        lasts(not_found, Left::Process, |world| {
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
fn a_denied_publish_shows_in_the_answer_and_nothing_counts_as_told() {
    let denied = named(
        "AccessDenied",
        &["Publish", ":revocations"],
        &["role", "topic", "key policy"],
    );
    on_paused_clock(
        1,
        lasts(denied, Left::Answer, |world| {
            let publish = On::operation("Publish").always();
            world
                .aws
                .misbehave(publish, Fault::access_denied(Service::Sns));
            |world: &World| world.aws.behave()
        }),
    );
}

#[test]
fn a_missing_topic_shows_in_the_answer_and_nothing_counts_as_told() {
    let not_found = named(
        "TopicNotFound",
        &[":revocations"],
        &["TOPIC_ARN", "subscribe"],
    );
    on_paused_clock(
        1,
        lasts(not_found, Left::Answer, |world| {
            world.aws.sns().delete_topic(&world.topic);
            |world: &World| {
                world.aws.sns().create_topic("revocations");
                subscribe(world, Subscription::new(Protocol::Sqs, "queue"));
            }
        }),
    );
}

#[test]
fn a_topic_that_nobody_confirmed_shows_in_the_answer_and_nothing_counts_as_told() {
    let unconfirmed = named(
        "TopicWithoutSubscription",
        &[":revocations", "1 pending confirmation"],
        &["Confirm the subscription", "e-mail"],
    );
    on_paused_clock(
        1,
        lasts(unconfirmed, Left::Answer, |world| {
            world.aws.sns().delete_topic(&world.topic);
            world.aws.sns().create_topic("revocations");
            let mail = Subscription::new(Protocol::Email, "security@example.com");
            let subscription = subscribe(world, mail.pending());
            move |world: &World| assert!(world.aws.sns().confirm(&subscription))
        }),
    );
}

#[test]
fn a_bucket_of_another_region_is_called_so() {
    let elsewhere = named(
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
        lasts(elsewhere, Left::Process, |world| {
            let moved = Fault::error(
                301,
                "PermanentRedirect",
                "The bucket you are attempting to access must be addressed using the specified endpoint.",
            );
            world
                .aws
                .misbehave(On::service(Service::S3).always(), moved);
            |world: &World| world.aws.behave()
        }),
    );
}

/// Once the message is out, the state is saved before anything else can go wrong for long.
#[test]
fn a_chat_topic_that_does_not_answer_leaves_the_time_to_save() {
    on_paused_clock(1, async {
        let chat = "arn:aws:sns:us-east-1:123456789012:chat";
        let world = audited_world(&[("CHAT_TOPIC_ARN", chat)]).await;
        world.aws.sns().create_topic("chat");
        let serial = world.revoke(0, "KEY_COMPROMISE");
        // The first of a period's calls is the message, the others are attempts at its card.
        world
            .aws
            .misbehave(On::operation("Publish").after(1).always(), Fault::Hang);
        world.until(PERIOD).await;
        let hurried = How {
            left: Duration::from_secs(60),
            ..How::default()
        };

        let ended = world.schedule(hurried).await;

        let audit = audit_of(&ended);
        assert_eq!(audit["outcome"], "audited", "{audit:#}");
        let warning = audit["warnings"][0].as_str().unwrap_or_default();
        assert!(
            warning.contains(chat) && warning.contains("no response"),
            "{warning}"
        );
        world.aws.behave();
        is_told_once_without_a_word(&world, &serial).await;
    });
}

/// A policy that forbids deletions: the note says that it is over, and nobody hears of it again.
#[test]
fn a_note_that_may_not_be_removed_is_told_of_once() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.aws.s3().deny("s3:GetObject", BUCKET, STATE);
        world.aws.s3().deny("s3:DeleteObject", BUCKET, STATE);
        run(&world).await;
        world.aws.s3().allow_all();
        world.aws.s3().deny("s3:DeleteObject", BUCKET, STATE);
        for _ in 0..4 {
            run_well(&world).await;
        }
        assert_failed_and_recovered_once(&world, "AccessDenied");
        world.aws.s3().allow_all();
        comes_in_order(&world).await;
        assert_failed_and_recovered_once(&world, "AccessDenied");
    });
}

#[test]
fn a_message_that_sns_refuses_is_sent_once_more_in_reduced_form() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let before = world.aws.calls_of("Publish").len();
        let invalid = Fault::error(400, "InvalidParameter", "Invalid parameter: Message");
        world.aws.misbehave(On::operation("Publish"), invalid);

        run_well(&world).await;

        assert_eq!(world.aws.calls_of("Publish").len(), before + 2);
        is_told_once_without_a_word(&world, &serial).await;
    });
}

#[test]
fn a_message_that_sns_refuses_in_both_forms_shows_in_the_answer_and_does_not_count_as_told() {
    let refused = named(
        "MessageRefused",
        &["Publish", ":revocations", "InvalidParameter"],
        &["encryption", "data protection policy"],
    );
    on_paused_clock(
        1,
        lasts(refused, Left::Answer, |world| {
            let invalid = Fault::error(400, "InvalidParameter", "Invalid parameter: Message");
            world
                .aws
                .misbehave(On::operation("Publish").always(), invalid);
            |world: &World| world.aws.behave()
        }),
    );
}

fn subscribe(world: &World, subscription: Subscription) -> String {
    let subscribed = world.aws.sns().subscribe(&world.topic, subscription);
    subscribed.expect("a standard topic takes it")
}
