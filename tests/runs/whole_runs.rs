//! Whole runs of the real binary under the Lambda Runtime API, against emulators of AWS over HTTP.

use std::time::Duration;

use crate::common::{AMPLE, BUCKET, CA_ID, SECOND_CA_ID, World, event, only, sample, text};
use local_aws::{NextReport, Outcome, Protocol, Status, Subscription};
use serde_json::{Value, json};

/// Makes the first audit alert on every revocation, however old.
const ALERT_ALL: (&str, &str) = ("INITIAL_LOOKBACK_HOURS", "876000");

/// Lifts Private CA's limit of 30 minutes between two reports.
const NO_LIMIT: (&str, &str) = ("REPORT_INTERVAL_SECONDS", "0");

/// A world whose emulator has no minimum interval between reports.
async fn unlimited() -> World {
    let world = World::new().await;
    world
        .aws
        .private_ca()
        .set_reports(|reports| reports.interval = Duration::ZERO);
    world
}

#[tokio::test]
async fn first_audit_counts_older_revocations_without_alerting() {
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
    assert_eq!(
        world.notified(),
        [old.replace(':', "").trim_start_matches('0')]
    );
    assert_eq!(world.control()["lease"], Value::Null);
}

#[tokio::test]
async fn new_revocation_is_published_once() {
    let world = unlimited().await;
    let function = world.function(&[NO_LIMIT]).await;
    function.invoke(json!({})).await.unwrap();
    let serial = world.revoke("www.example1.com");

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
    let message = &world.messages()[1];
    assert_eq!(message["severity"], "critical");
    assert_eq!(message["revocations"][0]["serial"], json!(serial));
    assert_eq!(message["report"]["bucket"], BUCKET);
    let (subject, email) = &world.emails()[1];
    assert_eq!(
        subject,
        "[CRITICAL] KEY_COMPROMISE: www.example1.com revoked (Example Corp Issuing CA)"
    );
    assert!(email.contains(&serial), "{email}");
}

async fn sample_yields_one_key_compromise(file: &str, format: &str) {
    let world = unlimited().await;
    let next = || NextReport::new().content(sample(file));
    let function = world
        .function(&[NO_LIMIT, ALERT_ALL, ("REPORT_FORMAT", format)])
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
    assert_eq!(world.types(), ["revocations", "watch-started"]);
    let message = &world.messages()[0];
    assert_eq!(message["reasons"], json!(["KEY_COMPROMISE"]));
    let revocations = message["revocations"].as_array().unwrap();
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
async fn sample_json_report_yields_one_key_compromise() {
    sample_yields_one_key_compromise("guide-2018-b.json", "JSON").await;
}

#[tokio::test]
async fn older_sample_json_report_yields_one_key_compromise() {
    sample_yields_one_key_compromise("guide-2018-a.json", "JSON").await;
}

/// Its second record has a reason but no time of revocation: it is not revoked.
#[tokio::test]
async fn sample_csv_report_yields_one_key_compromise() {
    sample_yields_one_key_compromise("report.csv", "CSV").await;
}

#[tokio::test]
async fn failed_ca_leaves_other_cas_unaffected() {
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
    let recovered = function.invoke(json!({})).await.unwrap();

    assert_eq!(response["status"], "partial");
    let failed = &response["certificateAuthorities"][0];
    assert_eq!(failed["certificateAuthorityArn"], json!(second));
    assert_eq!(failed["outcome"], "failed");
    assert_eq!(failed["error"]["type"], "CertificateAuthorityState");
    assert!(text(&failed["error"]["message"]).contains(&second));
    assert!(!text(&failed["error"]["hint"]).is_empty());
    assert_eq!(response["certificateAuthorities"][1]["published"], 1);
    assert_eq!(again["status"], "partial");
    assert_eq!(recovered["status"], "ok");
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
async fn next_run_reads_a_report_that_missed_the_deadline() {
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
async fn manual_run_too_soon_returns_the_next_report_time() {
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
async fn dry_run_returns_what_it_would_publish_and_changes_nothing() {
    let world = World::new().await;
    let serial = world.revoke("www.example1.com");
    let function = world.function(&[]).await;

    let dry = function.invoke(event("dry-run")).await.unwrap();
    let real = function.invoke(json!({})).await.unwrap();

    assert_eq!(dry["dryRun"], true);
    assert_eq!(only(&dry)["published"], 1);
    assert_eq!(only(&dry)["revocations"][0]["serial"], json!(serial));
    // The dry run requested a report because there was none, and the audit used the same report.
    assert_eq!(only(&dry)["report"], only(&real)["report"]);
    assert_eq!(
        world
            .aws
            .calls_of("CreateCertificateAuthorityAuditReport")
            .len(),
        1
    );
    assert_eq!(world.types(), ["revocations", "watch-started"]);
}

#[tokio::test]
async fn replay_publishes_only_revocations_already_notified() {
    let world = unlimited().await;
    world.revoke("www.example1.com");
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
    assert_eq!(world.types(), ["revocations", "watch-started", "replay"]);
    let messages = world.messages();
    assert_eq!(
        messages[0]["revocations"][0]["revocationId"],
        messages[2]["revocations"][0]["revocationId"]
    );
    assert_ne!(messages[1]["id"], messages[2]["id"]);
}

#[tokio::test]
async fn replay_before_any_audit_counts_everything_as_pending() {
    let world = World::new().await;
    world.revoke("www.example1.com");
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
async fn test_message_is_published_without_an_audit() {
    let world = World::new().await;
    let function = world.function(&[]).await;

    let response = function.invoke(event("test-message")).await.unwrap();

    assert_eq!(response["status"], "ok");
    assert_eq!(response["testMessage"]["topicArn"], json!(world.topic));
    assert_eq!(world.types(), ["test"]);
    assert!(
        world.emails()[0].0.contains("TEST"),
        "{:?}",
        world.emails()[0]
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
async fn manual_event_narrows_the_list_of_cas() {
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
    let unlisted = second.replace("22334455", "33445566");
    let refused = function
        .invoke(json!({ "certificateAuthorityArns": [unlisted] }))
        .await
        .unwrap_err();

    assert_eq!(only(&response)["certificateAuthorityArn"], json!(second));
    assert_eq!(refused.error_type, "EventInvalid");
    assert!(refused.error_message.contains(&unlisted), "{refused}");
}

#[tokio::test]
async fn asterisk_covers_every_auditable_ca() {
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
async fn ca_ids_resolve_to_the_functions_account() {
    let world = World::new().await;
    let function = world
        .function(&[("CERTIFICATE_AUTHORITY_ARNS", CA_ID)])
        .await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(only(&response)["certificateAuthorityArn"], json!(world.ca));
    assert_eq!(only(&response)["outcome"], "audited");
}

#[tokio::test]
async fn every_sample_event_causes_an_audit() {
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
async fn queue_batch_returns_each_unconfirmed_message() {
    let world = World::new().await;
    let function = world.function(&[]).await;
    let events = event("revocation-queue");
    let all: Vec<_> = events["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| text(&r["messageId"]))
        .collect();

    // The report does not show the events' certificates as revoked yet, so the messages return.
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
async fn event_of_an_unlisted_ca_does_nothing() {
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
async fn unknown_event_is_refused_with_the_known_keys() {
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
async fn invalid_configuration_names_every_problem_before_any_call() {
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
async fn topic_without_confirmed_subscription_gets_nothing() {
    let world = World::new().await;
    let topic = world.aws.sns().create_topic("unread");
    let pending = Subscription::new(Protocol::Email, "pki@example.com").pending();
    let subscription = world.aws.sns().subscribe(&topic, pending).unwrap();
    world.revoke("www.example1.com");
    let function = world.function(&[("TOPIC_ARN", &topic)]).await;

    let failed = function.invoke(json!({})).await.unwrap();
    world.aws.sns().confirm(&subscription);
    let confirmed = function.invoke(json!({})).await.unwrap();

    assert_eq!(failed["status"], "failed");
    assert_eq!(only(&failed)["error"]["type"], "TopicWithoutSubscription");
    assert!(text(&only(&failed)["error"]["hint"]).contains("Confirm the subscription"));
    assert_eq!(only(&confirmed)["published"], 1);
    let subjects: Vec<_> = world
        .emails()
        .into_iter()
        .map(|(subject, _)| subject)
        .collect();
    assert_eq!(subjects.len(), 2, "{subjects:?}");
}

#[tokio::test]
async fn fifo_topic_groups_by_ca_or_stack_and_deduplicates_by_id() {
    let world = unlimited().await;
    let topic = world.aws.sns().create_fifo_topic("revocations.fifo", false);
    world
        .aws
        .sns()
        .subscribe(&topic, Subscription::new(Protocol::Sqs, "queue"))
        .unwrap();
    world.revoke("www.example1.com");
    let function = world.function(&[("TOPIC_ARN", &topic)]).await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(only(&response)["outcome"], "audited", "{response:#}");
    let messages = world.aws.sns().messages();
    assert_eq!(messages.len(), 2);
    for (published, message) in messages.iter().zip(world.messages()) {
        let group = published.message_group_id.as_deref();
        let is_of_ca = message["type"] == "revocations";
        assert_eq!(group == Some(CA_ID), is_of_ca, "{group:?}");
        assert_eq!(
            published.message_deduplication_id.as_deref(),
            message["id"].as_str()
        );
    }
}

#[tokio::test]
async fn chat_topic_gets_a_card_and_never_delays_the_message() {
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
async fn reasons_without_a_message_are_recorded_and_counted() {
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
    // A CA certificate always causes a message.
    let serial = pca.issue(&world.ca, "Device CA");
    pca.revoke(&world.ca, &serial, "SUPERSEDED");
    let mut certificates = pca.certificates(&world.ca);
    certificates[3].template_arn =
        Some("arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1".to_owned());
    pca.set_certificates(&world.ca, certificates);
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
        (&json!(4), &json!(3))
    );
    assert_eq!(only(&again)["newRevocations"], 0);
    assert_eq!(world.notified().len(), 4);
}

/// Invokes the function once; returns the audit's response and the log lines of level WARN.
async fn audit_with_warnings(world: &World) -> (Value, Vec<Value>) {
    let function = world.function(&[NO_LIMIT, ALERT_ALL]).await;
    let response = function.invoke(json!({})).await.unwrap();
    let mut lines = function.output().await;
    lines.retain(|line| line["level"] == "WARN");
    (only(&response).clone(), lines)
}

#[tokio::test]
async fn every_warning_of_a_response_is_logged() {
    let world = unlimited().await;
    let pca = world.aws.private_ca();
    let mut zero = pca.certificate(&world.ca, "zero.example.com");
    zero.serial = "00".to_owned();
    zero.revoked_at = Some(zero.issued_at);
    let arn = zero.certificate_arn.clone();
    pca.add(&world.ca, zero);

    let (audit, logged) = audit_with_warnings(&world).await;

    assert_eq!(audit["outcome"], "audited");
    // RFC 5280 forbids the serial 0: the record counts as malformed, and its ARN is the key.
    assert_eq!(audit["malformedRecords"], 1);
    assert_eq!(world.notified(), [arn]);
    assert_eq!(
        audit["warnings"],
        json!(["1 malformed but readable record"])
    );
    let texts: Vec<_> = logged.iter().map(|line| &line["warning"]).collect();
    assert_eq!(texts, [&audit["warnings"][0]], "{logged:#?}");
}

#[tokio::test]
async fn serial_with_two_arns_is_reported_once_and_logged() {
    let world = unlimited().await;
    let pca = world.aws.private_ca();
    let mut first = pca.certificate(&world.ca, "www.example.com");
    first.revoked_at = Some(first.issued_at);
    let mut second = first.clone();
    second.certificate_arn = format!("{}/certificate/another", world.ca);
    for certificate in [first.clone(), second.clone(), first] {
        pca.add(&world.ca, certificate);
    }

    let (audit, logged) = audit_with_warnings(&world).await;

    assert_eq!(audit["outcome"], "audited");
    assert_eq!(audit["newRevocations"], 1);
    assert_eq!(
        audit["warnings"],
        json!([
            "1 record with the serial of another record but another certificate ARN; reported once"
        ])
    );
    let repeated = logged
        .iter()
        .find(|line| text(&line["message"]).starts_with("serial repeated"))
        .unwrap_or_else(|| panic!("{logged:#?}"));
    assert_eq!(repeated["certificate_arn"], json!(second.certificate_arn));
}

#[tokio::test]
async fn certificate_arn_may_have_the_account_of_its_requester() {
    let world = unlimited().await;
    let pca = world.aws.private_ca();
    let mut certificate = pca.certificate(&world.ca, "www.example.com");
    certificate.revoked_at = Some(certificate.issued_at);
    certificate.certificate_arn = certificate
        .certificate_arn
        .replace("123456789012", "111122223333");
    pca.add(&world.ca, certificate);

    let (audit, logged) = audit_with_warnings(&world).await;

    assert_eq!(audit["outcome"], "audited", "{audit:#}");
    assert_eq!(audit["newRevocations"], 1);
    assert_eq!(logged, [Value::Null; 0]);
}

#[tokio::test]
async fn failed_report_is_replaced_and_alerted_once() {
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
        ["watch-failed", "watch-recovered", "watch-started"]
    );
}

#[tokio::test]
async fn invalid_report_is_replaced_after_two_attempts() {
    let world = unlimited().await;
    let pca = world.aws.private_ca();
    let whole = sample("guide-2018-b.json");
    let cut = whole[..whole.len() - 3].to_vec();
    pca.next_report(&world.ca, NextReport::new().content(cut));
    let function = world.function(&[NO_LIMIT, ALERT_ALL]).await;

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
            "watch-recovered",
            "watch-started"
        ]
    );
}

#[tokio::test]
async fn basic_monitoring_keeps_other_metrics_as_log_properties() {
    let world = World::new().await;
    let function = world.function(&[("MONITORING", "basic")]).await;
    function.invoke_for(json!({}), AMPLE).await.unwrap();

    let lines = function.output().await;

    let line = lines.iter().find(|line| line.get("_aws").is_some());
    let line = line.expect("a line of metrics");
    let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array();
    let names = metrics.unwrap().iter().map(|metric| text(&metric["Name"]));
    let names: Vec<_> = names.collect();
    assert!(names.iter().any(|name| name == "AuditsFailed"), "{names:?}");
    assert!(
        !names.iter().any(|name| name == "AuditsAudited"),
        "{names:?}"
    );
    assert_eq!(line["AuditsAudited"], 1.0);
}

#[tokio::test]
async fn run_logs_each_step_and_one_metrics_line() {
    let world = World::new().await;
    let serial = world.revoke("www.example1.com");
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
    let found = logged
        .iter()
        .find(|line| line["message"] == "revocation found")
        .unwrap();
    assert_eq!(
        (&found["serial"], &found["common_name"]),
        (&json!(serial), &json!("www.example1.com"))
    );
    assert!(
        logged
            .iter()
            .all(|line| !line.to_string().contains("OU=Sales"))
    );
}

#[tokio::test]
async fn shrunken_report_is_logged_and_counted() {
    let world = unlimited().await;
    let revoked = world.revoke("www.example1.com");
    world.revoke("www.example2.com");
    let function = world.function(&[NO_LIMIT]).await;
    let ca = world.aws.private_ca();
    function.invoke(json!({})).await.unwrap();
    let mut certificates = ca.certificates(&world.ca);
    certificates.retain(|certificate| certificate.serial == revoked);
    ca.set_certificates(&world.ca, certificates);
    let response = function.invoke(json!({})).await.unwrap();
    function.invoke(json!({})).await.unwrap();
    // Nothing is left: an error, which has an alarm of its own.
    ca.set_certificates(&world.ca, Vec::new());
    let refused = function.invoke(json!({})).await.unwrap();

    let lines = function.output().await;

    assert_eq!(only(&response)["outcome"], "audited");
    assert_eq!(only(&refused)["error"]["type"], "ReportImplausible");
    let metrics = lines.iter().filter(|line| line.get("_aws").is_some());
    let shrunken: Vec<_> = metrics
        .map(|line| line["ShrunkenReports"].clone())
        .collect();
    assert_eq!(shrunken, [0.0, 1.0, 0.0, 0.0]);
    for warning in [
        "the report lists 1 certificate; the previous one listed 2",
        "the report lists 1 revocation; the previous one listed 2",
    ] {
        let is_logged = |line: &&Value| line["level"] == "WARN" && line["warning"] == warning;
        assert_eq!(lines.iter().filter(is_logged).count(), 1, "{warning}");
    }
}
