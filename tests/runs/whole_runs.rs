//! Whole runs of the real binary under the Lambda Runtime API, against stand-ins for AWS over HTTP.

use std::time::Duration;

use crate::common::{AMPLE, BUCKET, CA_ID, SECOND_CA_ID, World, event, only, sample, text};
use local_aws::{NextReport, Outcome, Protocol, Status, Subscription};
use serde_json::{Value, json};

/// Whatever the age of the revocation, the first audit tells it.
const TELL_ALL: (&str, &str) = ("INITIAL_LOOKBACK_HOURS", "876000");

/// Private CA's limit of 30 minutes between two reports, lifted on both sides.
const NO_LIMIT: (&str, &str) = ("REPORT_INTERVAL_SECONDS", "0");

async fn unlimited() -> World {
    let world = World::new().await;
    world
        .aws
        .private_ca()
        .set_reports(|reports| reports.interval = Duration::ZERO);
    world
}

#[tokio::test]
async fn the_first_audit_says_what_it_found_and_tells_nothing_old() {
    let world = World::new().await;
    let ca = world.aws.private_ca();
    let old = ca.issue(&world.ca, "www.example1.com");
    let week_ago = world.aws.clock().now() - Duration::from_secs(7 * 86_400);
    ca.revoke_at(&world.ca, &old, "SUPERSEDED", week_ago);
    ca.issue(&world.ca, "www.example2.com");
    let function = world.function(&[]).await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(response["status"], "ok");
    let audit = only(&response);
    assert_eq!(audit["outcome"], "audited");
    assert_eq!(
        (&audit["certificates"], &audit["revoked"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&audit["newRevocations"], &audit["published"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(world.types(), ["watch-started"]);
    assert_eq!(world.told(), [old.replace(':', "").trim_start_matches('0')]);
    assert_eq!(world.control()["lease"], Value::Null);
}

#[tokio::test]
async fn a_new_revocation_is_told_once() {
    let world = unlimited().await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    let function = world.function(&[NO_LIMIT]).await;
    function.invoke(json!({})).await.unwrap();
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");

    let response = function.invoke(json!({})).await.unwrap();
    let again = function.invoke(json!({})).await.unwrap();

    let audit = only(&response);
    assert_eq!(
        (&audit["newRevocations"], &audit["published"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(audit["revocations"][0]["serial"], json!(serial));
    assert_eq!(audit["revocations"][0]["reason"], "KEY_COMPROMISE");
    assert_eq!(only(&again)["newRevocations"], 0);
    assert_eq!(world.types(), ["watch-started", "revocations"]);
    let document = &world.documents()[1];
    assert_eq!(document["severity"], "critical");
    assert_eq!(document["revocations"][0]["serial"], json!(serial));
    assert_eq!(document["report"]["bucket"], BUCKET);
    let (subject, mail) = &world.mails()[1];
    assert_eq!(
        subject,
        "[CRITICAL] KEY_COMPROMISE: www.example1.com revoked (Example Corp Issuing CA)"
    );
    assert!(mail.contains(&serial), "{mail}");
}

async fn sample_yields_one_key_compromise(file: &str, format: &str) {
    let world = unlimited().await;
    let next = || NextReport::new().content(sample(file));
    let function = world
        .function(&[NO_LIMIT, TELL_ALL, ("REPORT_FORMAT", format)])
        .await;
    world.aws.private_ca().next_report(&world.ca, next());

    let response = function.invoke(json!({})).await.unwrap();
    world.aws.private_ca().next_report(&world.ca, next());
    let again = function.invoke(json!({})).await.unwrap();

    let audit = only(&response);
    assert_eq!(
        (&audit["certificates"], &audit["revoked"]),
        (&json!(2), &json!(1)),
        "{response:#}"
    );
    assert_eq!(world.types(), ["watch-started", "revocations"]);
    let document = &world.documents()[1];
    assert_eq!(document["reasons"], json!(["KEY_COMPROMISE"]));
    let revocations = document["revocations"].as_array().unwrap();
    assert_eq!(revocations.len(), 1);
    assert_eq!(
        revocations[0]["serial"],
        "e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8"
    );
    let subject_text = text(&revocations[0]["subjectText"]);
    assert!(
        subject_text.starts_with("emailAddress=sales@example.com"),
        "{subject_text}"
    );
    assert_eq!(only(&again)["newRevocations"], 0);
}

#[tokio::test]
async fn the_guides_json_report_yields_one_key_compromise() {
    sample_yields_one_key_compromise("guide-2018-b.json", "JSON").await;
}

#[tokio::test]
async fn the_guides_older_json_report_yields_one_key_compromise() {
    sample_yields_one_key_compromise("guide-2018-a.json", "JSON").await;
}

#[tokio::test]
async fn a_csv_report_yields_one_key_compromise_and_a_reason_alone_is_no_revocation() {
    sample_yields_one_key_compromise("report.csv", "CSV").await;
}

#[tokio::test]
async fn one_certificate_authority_that_fails_does_not_touch_the_others() {
    let world = unlimited().await;
    let pca = world.aws.private_ca();
    let second = pca.create_with_id(SECOND_CA_ID, "Example Corp Root CA");
    let serial = pca.issue(&world.ca, "www.example1.com");
    pca.revoke(&world.ca, &serial, "KEY_COMPROMISE");
    pca.set_status(&second, Status::Expired);
    let listed = format!("{second}, {}", world.ca);
    let function = world
        .function(&[NO_LIMIT, ("CERTIFICATE_AUTHORITY_ARNS", &listed)])
        .await;

    let response = function.invoke(json!({})).await.unwrap();
    let again = function.invoke(event("scheduled")).await.unwrap();
    pca.set_status(&second, Status::Active);
    let healed = function.invoke(json!({})).await.unwrap();

    assert_eq!(response["status"], "partial");
    let failed = &response["certificateAuthorities"][0];
    assert_eq!(failed["certificateAuthorityArn"], json!(second));
    assert_eq!(failed["outcome"], "failed");
    assert_eq!(failed["error"]["type"], "CertificateAuthorityState");
    assert!(text(&failed["error"]["message"]).contains(&second));
    assert!(!text(&failed["error"]["hint"]).is_empty());
    assert_eq!(response["certificateAuthorities"][1]["published"], 1);
    assert_eq!(again["status"], "partial");
    assert_eq!(healed["status"], "ok");
    let mut types = world.types();
    types.sort();
    assert_eq!(
        types,
        [
            "revocations",
            "watch-failed",
            "watch-recovered",
            "watch-started",
            "watch-started"
        ]
    );
}

#[tokio::test]
async fn a_report_that_is_slower_than_the_deadline_is_taken_up_by_the_next_run() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    pca.next_report(
        &world.ca,
        NextReport::new().delay(Duration::from_secs(3600)),
    );
    let function = world.function(&[]).await;

    let short = Duration::from_millis(10_500);
    let waiting = function.invoke_for(json!({}), short).await.unwrap();
    world.aws.advance(Duration::from_secs(3600));
    let audited = function.invoke(json!({})).await.unwrap();

    assert_eq!(only(&waiting)["outcome"], "waiting");
    assert_eq!(only(&audited)["outcome"], "audited");
    assert_eq!(only(&waiting)["report"], only(&audited)["report"]);
    assert_eq!(
        world
            .aws
            .calls_of("CreateCertificateAuthorityAuditReport")
            .len(),
        1
    );
}

#[tokio::test]
async fn a_run_by_hand_that_comes_too_soon_says_when() {
    let world = World::new().await;
    let function = world.function(&[]).await;
    function.invoke(json!({})).await.unwrap();

    let response = function.invoke(json!({})).await.unwrap();

    let audit = only(&response);
    assert_eq!(audit["outcome"], "tooSoon");
    let next = text(&audit["nextReportAt"]);
    assert_eq!(next, {
        let requested = text(&world.control()["lastCompleteAudit"]["requestedAt"]);
        let requested = pca_revocation_watch::timestamp::Timestamp::parse(&requested).unwrap();
        requested
            .saturating_add(Duration::from_secs(1800))
            .to_string()
    });
    assert_eq!(response["status"], "ok");
    assert_eq!(
        world
            .aws
            .calls_of("CreateCertificateAuthorityAuditReport")
            .len(),
        1
    );
}

#[tokio::test]
async fn a_dry_run_answers_what_would_be_published_and_changes_nothing() {
    let world = World::new().await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");
    let function = world.function(&[]).await;

    let dry = function.invoke(event("dry-run")).await.unwrap();
    let real = function.invoke(json!({})).await.unwrap();

    assert_eq!(dry["dryRun"], true);
    assert_eq!(only(&dry)["published"], 1);
    assert_eq!(only(&dry)["revocations"][0]["serial"], json!(serial));
    // Only there was no report yet did it ask for one, and the audit went on with that.
    assert_eq!(only(&dry)["report"], only(&real)["report"]);
    assert_eq!(
        world
            .aws
            .calls_of("CreateCertificateAuthorityAuditReport")
            .len(),
        1
    );
    assert_eq!(world.types(), ["watch-started", "revocations"]);
}

#[tokio::test]
async fn a_replay_tells_again_what_was_told_and_leaves_the_rest_to_the_next_audit() {
    let world = unlimited().await;
    let pca = world.aws.private_ca();
    let told = pca.issue(&world.ca, "www.example1.com");
    pca.revoke(&world.ca, &told, "KEY_COMPROMISE");
    let function = world.function(&[]).await;
    function.invoke(json!({})).await.unwrap();

    let response = function
        .invoke(json!({ "since": "2020-01-01T00:00:00Z" }))
        .await
        .unwrap();
    let nothing = function
        .invoke(json!({ "since": "9999-01-01T00:00:00Z" }))
        .await
        .unwrap();

    assert_eq!(only(&response)["published"], 1);
    assert_eq!(only(&response)["pending"], 0);
    assert_eq!(only(&nothing)["published"], 0);
    assert_eq!(world.types(), ["watch-started", "revocations", "replay"]);
    let documents = world.documents();
    assert_eq!(
        documents[1]["revocations"][0]["revocationId"],
        documents[2]["revocations"][0]["revocationId"]
    );
    assert_ne!(documents[1]["id"], documents[2]["id"]);
}

#[tokio::test]
async fn a_replay_without_any_audit_counts_everything_as_pending() {
    let world = World::new().await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");
    let function = world.function(&[]).await;

    let response = function
        .invoke(json!({ "since": "2020-01-01T00:00:00Z" }))
        .await
        .unwrap();

    assert_eq!(
        (&only(&response)["published"], &only(&response)["pending"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(world.types(), Vec::<String>::new());
}

#[tokio::test]
async fn a_test_message_goes_the_whole_way() {
    let world = World::new().await;
    let function = world.function(&[]).await;

    let response = function.invoke(event("test-message")).await.unwrap();

    assert_eq!(response["status"], "ok");
    assert_eq!(response["testMessage"]["topicArn"], json!(world.topic));
    assert_eq!(world.types(), ["test"]);
    assert!(
        world.mails()[0].0.contains("TEST"),
        "{:?}",
        world.mails()[0]
    );
    assert_eq!(
        world
            .aws
            .calls_of("CreateCertificateAuthorityAuditReport")
            .len(),
        0
    );
}

#[tokio::test]
async fn a_manual_event_narrows_the_list() {
    let world = World::new().await;
    let second = world
        .aws
        .private_ca()
        .create_with_id(SECOND_CA_ID, "Second");
    let listed = format!("{} {second}", world.ca);
    let function = world
        .function(&[("CERTIFICATE_AUTHORITY_ARNS", &listed)])
        .await;

    let narrowed = json!({ "certificateAuthorityArns": [second] });
    let response = function.invoke(narrowed).await.unwrap();
    let stranger = second.replace("22334455", "33445566");
    let refused = function
        .invoke(json!({ "certificateAuthorityArns": [stranger] }))
        .await
        .unwrap_err();

    assert_eq!(only(&response)["certificateAuthorityArn"], json!(second));
    assert_eq!(refused.error_type, "EventInvalid");
    assert!(refused.error_message.contains(&stranger), "{refused}");
}

#[tokio::test]
async fn a_star_stands_for_every_one_that_can_be_audited() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    pca.set_page_size(Some(1));
    let disabled = pca.create_with_id(SECOND_CA_ID, "Disabled");
    pca.set_status(&disabled, Status::Disabled);
    let expired = pca.create("Expired");
    pca.set_status(&expired, Status::Expired);
    pca.create_shared(
        "44556677-1234-1122-2233-112233445566",
        "Shared",
        "111122223333",
    );
    let function = world.function(&[("CERTIFICATE_AUTHORITY_ARNS", "*")]).await;

    let response = function.invoke(json!({})).await.unwrap();

    let audited: Vec<_> = response["certificateAuthorities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ca| (text(&ca["certificateAuthorityArn"]), text(&ca["outcome"])))
        .collect();
    assert_eq!(audited.len(), 2, "{response:#}");
    for arn in [&world.ca, &disabled] {
        assert!(
            audited.contains(&(arn.clone(), "audited".to_owned())),
            "{response:#}"
        );
    }
}

#[tokio::test]
async fn ids_stand_for_certificate_authorities_of_the_functions_account() {
    let world = World::new().await;
    let function = world
        .function(&[("CERTIFICATE_AUTHORITY_ARNS", CA_ID)])
        .await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(only(&response)["certificateAuthorityArn"], json!(world.ca));
    assert_eq!(only(&response)["outcome"], "audited");
}

#[tokio::test]
async fn every_kind_of_event_does_what_it_is_for() {
    for name in [
        "scheduled",
        "scheduled-rule",
        "audit-all",
        "audit-one",
        "revocation",
    ] {
        let world = World::new().await;
        let function = world.function(&[]).await;
        let response = function.invoke(event(name)).await.unwrap();
        assert_eq!(
            only(&response)["outcome"],
            "audited",
            "{name}: {response:#}"
        );
    }
}

#[tokio::test]
async fn a_queue_of_revocation_events_is_answered_message_by_message() {
    let world = World::new().await;
    let function = world.function(&[]).await;
    let events = event("revocation-queue");
    let all: Vec<_> = events["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| text(&r["messageId"]))
        .collect();

    // The report does not show the events' certificates as revoked yet: they come back.
    let response = function.invoke(events.clone()).await.unwrap();
    let too_soon = function.invoke(events.clone()).await;

    let failed = |response: &Value| -> Vec<String> {
        let failures = response["batchItemFailures"].as_array().unwrap();
        failures
            .iter()
            .map(|failure| text(&failure["itemIdentifier"]))
            .collect()
    };
    assert_eq!(failed(&response), all);
    assert_eq!(failed(&too_soon.unwrap()), all);
    assert_eq!(
        world
            .aws
            .calls_of("CreateCertificateAuthorityAuditReport")
            .len(),
        1
    );
}

#[tokio::test]
async fn an_event_of_a_certificate_authority_that_is_not_listed_does_nothing() {
    let world = World::new().await;
    let second = world
        .aws
        .private_ca()
        .create_with_id(SECOND_CA_ID, "Second");
    let function = world
        .function(&[("CERTIFICATE_AUTHORITY_ARNS", &second)])
        .await;

    let response = function.invoke(event("revocation")).await.unwrap();

    assert_eq!(
        response,
        json!({ "status": "ok", "certificateAuthorities": [] })
    );
    assert_eq!(
        world
            .aws
            .calls_of("CreateCertificateAuthorityAuditReport")
            .len(),
        0
    );
}

#[tokio::test]
async fn an_event_that_is_not_known_is_refused_with_the_keys_that_are() {
    let world = World::new().await;
    let function = world.function(&[]).await;

    let console_default = json!({ "key1": "value1", "key2": "value2", "key3": "value3" });
    let refused = function.invoke(console_default).await.unwrap_err();

    assert_eq!(refused.error_type, "EventInvalid");
    for part in [
        "key1",
        "certificateAuthorityArns",
        "dryRun",
        "since",
        "testMessage",
    ] {
        assert!(refused.error_message.contains(part), "{part} in {refused}");
    }
    assert!(world.aws.calls().is_empty());
}

#[tokio::test]
async fn a_bad_configuration_names_every_problem_before_any_call() {
    let world = World::new().await;
    let function = world
        .function(&[
            ("CERTIFICATE_AUTHORITY_ARNS", "no-arn"),
            ("REPORT_BUCKET", ""),
            ("REPORT_FORMAT", "XML"),
        ])
        .await;

    let refused = function.invoke(json!({})).await.unwrap_err();

    assert_eq!(refused.error_type, "ConfigurationInvalid");
    for part in [
        "CERTIFICATE_AUTHORITY_ARNS",
        "no-arn",
        "REPORT_BUCKET",
        "REPORT_FORMAT",
        "XML",
    ] {
        assert!(refused.error_message.contains(part), "{part} in {refused}");
    }
    assert!(world.aws.calls().is_empty());
}

#[tokio::test]
async fn a_topic_without_a_confirmed_subscription_gets_nothing_and_nothing_counts_as_told() {
    let world = World::new().await;
    let topic = world.aws.sns().create_topic("unread");
    let pending = Subscription::new(Protocol::Email, "pki@example.com").pending();
    let subscription = world.aws.sns().subscribe(&topic, pending).unwrap();
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");
    let function = world.function(&[("TOPIC_ARN", &topic)]).await;

    let failed = function.invoke(json!({})).await.unwrap();
    world.aws.sns().confirm(&subscription);
    let told = function.invoke(json!({})).await.unwrap();

    assert_eq!(failed["status"], "failed");
    assert_eq!(only(&failed)["error"]["type"], "TopicWithoutSubscription");
    assert!(text(&only(&failed)["error"]["hint"]).contains("Confirm the subscription"));
    assert_eq!(only(&told)["published"], 1);
    let subjects: Vec<_> = world
        .mails()
        .into_iter()
        .map(|(subject, _)| subject)
        .collect();
    assert_eq!(subjects.len(), 2, "{subjects:?}");
}

#[tokio::test]
async fn a_fifo_topic_gets_the_certificate_authority_as_group_and_the_id_against_repeats() {
    let world = unlimited().await;
    let topic = world.aws.sns().create_fifo_topic("revocations.fifo", false);
    world
        .aws
        .sns()
        .subscribe(&topic, Subscription::new(Protocol::Sqs, "queue"))
        .unwrap();
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");
    let function = world.function(&[("TOPIC_ARN", &topic)]).await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(only(&response)["outcome"], "audited", "{response:#}");
    let messages = world.aws.sns().messages();
    assert_eq!(messages.len(), 2);
    for (message, document) in messages.iter().zip(world.documents()) {
        assert_eq!(message.message_group_id.as_deref(), Some(CA_ID));
        assert_eq!(
            message.message_deduplication_id.as_deref(),
            document["id"].as_str()
        );
    }
}

#[tokio::test]
async fn a_chat_topic_gets_a_card_and_never_holds_the_message_back() {
    let world = unlimited().await;
    let chat = world.aws.sns().create_topic("chat");
    world
        .aws
        .sns()
        .subscribe(&chat, Subscription::new(Protocol::Https, "chat"))
        .unwrap();
    let pca = world.aws.private_ca();
    let serials = [
        pca.issue(&world.ca, "www.example1.com"),
        pca.issue(&world.ca, "www.example2.com"),
    ];
    let function = world.function(&[NO_LIMIT, ("CHAT_TOPIC_ARN", &chat)]).await;
    function.invoke(json!({})).await.unwrap();
    pca.revoke(&world.ca, &serials[0], "KEY_COMPROMISE");
    function.invoke(json!({})).await.unwrap();
    world.aws.sns().delete_topic(&chat);
    pca.revoke(&world.ca, &serials[1], "KEY_COMPROMISE");

    let response = function.invoke(json!({})).await.unwrap();

    let cards = world.aws.sns().deliveries_by(Protocol::Https);
    let card: Value = serde_json::from_str(&cards[1].text).unwrap();
    assert_eq!(
        (&card["version"], &card["source"]),
        (&json!("1.0"), &json!("custom"))
    );
    assert_eq!(only(&response)["published"], 1);
    assert!(
        text(&only(&response)["warnings"][0]).contains(&chat),
        "{response:#}"
    );
}

#[tokio::test]
async fn reasons_that_are_not_worth_a_message_are_recorded_and_counted() {
    let world = unlimited().await;
    let pca = world.aws.private_ca();
    for (name, reason) in [
        ("a", "SUPERSEDED"),
        ("b", "KEY_COMPROMISE"),
        ("c", "QUANTUM_BREAK"),
    ] {
        let serial = pca.issue(&world.ca, name);
        pca.revoke(&world.ca, &serial, reason);
    }
    let function = world
        .function(&[NO_LIMIT, ("NOTIFY_REASONS", "KEY_COMPROMISE")])
        .await;

    let response = function.invoke(json!({})).await.unwrap();
    let again = function.invoke(json!({})).await.unwrap();

    assert_eq!(
        (
            &only(&response)["newRevocations"],
            &only(&response)["published"]
        ),
        (&json!(3), &json!(2))
    );
    assert_eq!(only(&again)["newRevocations"], 0);
    assert_eq!(world.told().len(), 3);
}

#[tokio::test]
async fn a_report_that_fails_is_dropped_and_told_once() {
    let world = unlimited().await;
    let pca = world.aws.private_ca();
    pca.next_report(&world.ca, NextReport::new().outcome(Outcome::Failed));
    let function = world.function(&[NO_LIMIT]).await;

    let failed = function.invoke(json!({})).await.unwrap();
    let audited = function.invoke(json!({})).await.unwrap();

    assert_eq!(only(&failed)["error"]["type"], "ReportFailed");
    assert_eq!(only(&audited)["outcome"], "audited");
    assert_eq!(
        world.types(),
        ["watch-failed", "watch-started", "watch-recovered"]
    );
}

#[tokio::test]
async fn a_broken_report_tells_what_is_whole_and_is_replaced_after_two_attempts() {
    let world = unlimited().await;
    let pca = world.aws.private_ca();
    let whole = sample("guide-2018-b.json");
    let cut = whole[..whole.len() - 3].to_vec();
    pca.next_report(&world.ca, NextReport::new().content(cut));
    let function = world.function(&[NO_LIMIT, TELL_ALL]).await;

    let first = function.invoke(json!({})).await.unwrap();
    let second = function.invoke(json!({})).await.unwrap();
    let third = function.invoke(json!({})).await.unwrap();

    for response in [&first, &second] {
        assert_eq!(
            only(response)["error"]["type"],
            "ReportInvalid",
            "{response:#}"
        );
        assert!(
            text(&only(response)["error"]["message"]).contains("byte"),
            "{response:#}"
        );
    }
    assert_eq!(
        (&only(&first)["published"], &only(&second)["published"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(only(&third)["outcome"], "audited");
    assert_eq!(
        world.types(),
        [
            "revocations",
            "watch-failed",
            "watch-started",
            "watch-recovered"
        ]
    );
}

#[tokio::test]
async fn log_lines_tell_the_story_and_one_line_holds_the_metrics() {
    let world = World::new().await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");
    let function = world.function(&[]).await;
    function.invoke_for(json!({}), AMPLE).await.unwrap();

    let lines = function.output().await;

    let metrics: Vec<_> = lines
        .iter()
        .filter(|line| line.get("_aws").is_some())
        .collect();
    assert_eq!(metrics.len(), 1);
    assert_eq!(
        (
            &metrics[0]["AuditsAudited"],
            &metrics[0]["NewRevocationsCritical"]
        ),
        (&json!(1.0), &json!(1.0))
    );
    let logged: Vec<_> = lines
        .iter()
        .filter(|line| line.get("_aws").is_none())
        .collect();
    for line in &logged {
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
    let messages: Vec<_> = logged.iter().map(|line| text(&line["message"])).collect();
    for step in [
        "run started",
        "report requested",
        "report ready",
        "scan finished",
        "revocation found",
        "alert published",
        "state saved",
        "audit finished",
        "run finished",
    ] {
        assert!(
            messages.iter().any(|message| message == step),
            "{step} in {messages:?}"
        );
    }
    let told = logged
        .iter()
        .find(|line| line["message"] == "revocation found")
        .unwrap();
    assert_eq!(
        (&told["serial"], &told["common_name"]),
        (&json!(serial), &json!("www.example1.com"))
    );
    assert!(
        logged
            .iter()
            .all(|line| !line.to_string().contains("OU=Sales"))
    );
}
