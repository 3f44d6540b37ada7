//! `{"status": true}`: what it returns, what it costs, and that it changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::account::InProcess;
use crate::account::many::{
    AUDITABLE, Account, BUCKET as MANY_BUCKET, CERTIFICATE_AUTHORITIES, Certificates,
};
use crate::common::{AMPLE, BUCKET, CA_ID, Function, SECOND_CA_ID, World, event, only, text};
use local_aws::{
    BucketEncryption, Fault, LocalAws, NextReport, On, Protocol, RevocationConfiguration, Service,
    Status, Subscription, UsageMode,
};
use pca_revocation_watch::config::Config;
use serde_json::{Value, json};
use tokio::time::Instant;

const THIRD_CA_ID: &str = "33445566-1234-1122-2233-112233445566";

const THREE_CAS: (&str, &str) = (
    "CERTIFICATE_AUTHORITY_ARNS",
    "11223344-1234-1122-2233-112233445566 22334455-1234-1122-2233-112233445566 33445566-1234-1122-2233-112233445566",
);

/// Returns the calls by operation since the last time, after checking that none changes anything.
fn reads(aws: &LocalAws) -> BTreeMap<String, usize> {
    let mut by_operation = BTreeMap::new();
    for call in aws.calls() {
        let is_read = ["Get", "List", "Describe"]
            .iter()
            .any(|verb| call.operation.starts_with(verb));
        assert!(is_read, "{call:?}");
        *by_operation.entry(call.operation).or_default() += 1;
    }
    aws.forget_calls();
    by_operation
}

fn calls(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let expected = expected.iter();
    expected
        .map(|&(operation, count)| (operation.to_owned(), count))
        .collect()
}

fn findings(response: &Value) -> Vec<String> {
    let findings = response["findings"].as_array().expect("a list");
    findings.iter().map(text).collect()
}

/// Returns the response's entry for the CA with this ID.
fn of<'a>(response: &'a Value, id: &str) -> &'a Value {
    let all = response["certificateAuthorities"]
        .as_array()
        .expect("a list");
    let is_of = |ca: &&Value| text(&ca["certificateAuthorityArn"]).ends_with(id);
    all.iter()
        .find(is_of)
        .unwrap_or_else(|| panic!("no {id} in {response:#}"))
}

/// A world like a new stack, whose bucket is versioned.
async fn stack() -> World {
    let world = World::new().await;
    world.aws.s3().set_versioning(BUCKET, true);
    world
}

/// Invokes the function without changing anything; returns the response and the calls.
async fn status(world: &World, function: &Function) -> (Value, BTreeMap<String, usize>) {
    world.aws.forget_calls();
    let messages = world.aws.sns().messages().len();
    let response = function.invoke(event("status")).await.unwrap();
    assert_eq!(world.aws.sns().messages().len(), messages);
    (response, reads(&world.aws))
}

#[tokio::test]
async fn status_of_a_healthy_stack_is_ok() {
    let world = stack().await;
    world.revoke("www.example1.com");
    let function = world.function(&[]).await;
    function.invoke(json!({})).await.unwrap();
    world.aws.advance(Duration::from_secs(720));

    let (response, calls_made) = status(&world, &function).await;

    assert_eq!(response["status"], "ok", "{response:#}");
    assert_eq!(response["findings"], json!([]));
    assert_eq!(
        response["topic"],
        json!({ "arn": world.topic, "subscriptions": { "confirmed": 3, "pending": 0 } })
    );
    assert_eq!(response.get("chatTopic"), None);
    assert_eq!(
        response["bucket"],
        json!({ "name": BUCKET, "versioning": "Enabled", "encryption": "SSE-S3" })
    );
    assert_eq!(
        response["state"],
        format!("s3://{BUCKET}/revocation-watch/")
    );
    assert_eq!(response["announcedProblems"], json!([]));
    let ca = only(&response);
    let last = &world.control()["lastCompleteAudit"];
    assert_eq!(ca["certificateAuthorityArn"], world.ca);
    assert_eq!(ca["name"], "Example Corp Issuing CA");
    assert_eq!(
        (&ca["status"], &ca["audited"]),
        (&json!("ACTIVE"), &json!(true))
    );
    assert_eq!(ca["lastCompleteAuditAt"], last["requestedAt"]);
    assert_eq!(
        (&ca["certificates"], &ca["revoked"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(ca["notifiedRevocations"], 1);
    assert_eq!(
        (&ca["pendingReport"], &ca["error"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        ca["revocationChecking"],
        json!({ "crl": true, "ocsp": false, "usageMode": "GENERAL_PURPOSE", "text": "CRL only" })
    );
    assert_eq!(
        calls_made,
        calls(&[
            ("GetBucketEncryption", 1),
            ("GetBucketVersioning", 1),
            // The control document and the health document.
            ("GetObject", 2),
            ("GetTopicAttributes", 1),
            ("ListCertificateAuthorities", 1),
        ])
    );
}

/// The next run replaces it, but the status changes nothing.
#[tokio::test]
async fn unreadable_health_document_is_unknown() {
    let world = stack().await;
    let function = world.function(&[]).await;
    function.invoke(json!({})).await.unwrap();
    let key = "revocation-watch/health.json";
    world.aws.s3().put(BUCKET, key, "damaged");

    let (response, _) = status(&world, &function).await;

    let found = findings(&response);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("Announced problems are unknown: "));
    assert!(found[0].ends_with(". The next run rebuilds the health document."));
    assert!(found[0].contains(key), "{found:#?}");
    assert!(text(&response["announcedProblems"]).starts_with("unknown: "));
}

#[tokio::test]
async fn status_shows_pending_report_and_next_report_time() {
    let world = stack().await;
    let never = NextReport::new().delay(AMPLE * 10);
    world.aws.private_ca().next_report(&world.ca, never);
    let function = world.function(&[]).await;
    let short = Duration::from_millis(10_500);
    function.invoke_for(json!({}), short).await.unwrap();

    let (response, _) = status(&world, &function).await;

    let ca = only(&response);
    let pending = &world.control()["pendingReport"];
    for field in ["id", "requestedAt"] {
        assert_eq!(ca["pendingReport"][field], pending[field]);
    }
    assert!(text(&ca["nextReportAt"]) > text(&pending["requestedAt"]));
    assert_eq!(ca["lastCompleteAuditAt"], Value::Null);
    assert_eq!(response["oldestAuditAgeMinutes"], Value::Null);
    assert_eq!(response["status"], "attention");
    let found = findings(&response);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("Example Corp Issuing CA: no complete audit yet"));
}

/// Three CAs: one works, one has expired, and the state of the third is damaged. Nobody reads the topics.
struct Troubled {
    world: World,
    unread: String,
}

impl Troubled {
    async fn new() -> Self {
        let world = stack().await;
        let pca = world.aws.private_ca();
        let second = pca.create_with_id(SECOND_CA_ID, "Example Corp Root CA");
        let third = pca.create_with_id(THIRD_CA_ID, "Example Corp Device CA");
        pca.set_status(&second, Status::Expired);
        let (crl, ocsp) = (false, false);
        pca.set_revocation(&third, RevocationConfiguration { crl, ocsp });
        pca.set_usage_mode(&second, UsageMode::ShortLivedCertificate);
        pca.set_revocation(&second, RevocationConfiguration { crl, ocsp });
        let function = world.function(&[THREE_CAS]).await;
        function.invoke(json!({})).await.unwrap();
        let key = format!("revocation-watch/{THIRD_CA_ID}.json");
        world.aws.s3().put(BUCKET, &key, "damaged");
        world.aws.s3().set_versioning(BUCKET, false);
        let key = BucketEncryption::SseKms(None);
        world.aws.s3().set_encryption(BUCKET, key);
        let unread = world.aws.sns().create_topic("unread");
        let pending = Subscription::new(Protocol::Email, "somebody").pending();
        world.aws.sns().subscribe(&unread, pending).unwrap();
        Self { world, unread }
    }
}

#[tokio::test]
async fn status_says_what_is_wrong_and_what_to_do() {
    let Troubled { world, unread } = Troubled::new().await;
    let topics = [("TOPIC_ARN", unread.as_str()), ("CHAT_TOPIC_ARN", &unread)];
    let function = world.function(&[THREE_CAS, topics[0], topics[1]]).await;

    let (response, _) = status(&world, &function).await;

    assert_eq!(response["status"], "attention");
    let found = findings(&response);
    for (number, start) in [
        format!("{unread} has no confirmed subscription (1 pending confirmation). Confirm"),
        "Example Corp Root CA: CertificateAuthorityState: CreateCertificateAuthority".to_owned(),
        "Example Corp Device CA: StateUnreadable: the state at s3://".to_owned(),
        format!("{unread} has no confirmed subscription (1 pending confirmation), so chat cards"),
        format!("The bucket {BUCKET} is not versioned (Suspended)"),
        format!("The default encryption of {BUCKET} is SSE-KMS with aws/s3"),
    ]
    .iter()
    .enumerate()
    {
        assert!(found[number].starts_with(start.as_str()), "{found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
    for topic in ["topic", "chatTopic"] {
        let nobody = json!({ "confirmed": 0, "pending": 1 });
        assert_eq!(response[topic]["subscriptions"], nobody);
    }
    assert!(text(&response["bucket"]["encryption"]).contains("aws/s3"));
    assert_eq!(of(&response, CA_ID)["error"], Value::Null);
    let expired = of(&response, SECOND_CA_ID);
    assert_eq!(expired["status"], "EXPIRED");
    assert_eq!(expired["error"]["type"], "CertificateAuthorityState");
    assert!(expired["error"]["since"].is_string());
    let checking = &expired["revocationChecking"];
    assert_eq!(checking["usageMode"], "SHORT_LIVED_CERTIFICATE");
    let unreadable = of(&response, THIRD_CA_ID);
    assert_eq!(unreadable["error"]["type"], "StateUnreadable");
    assert!(text(&unreadable["error"]["message"]).contains(THIRD_CA_ID));
    assert_eq!(
        unreadable.get("lastCompleteAuditAt"),
        None,
        "unknown, not none"
    );
    let checking = text(&unreadable["revocationChecking"]["text"]);
    assert_eq!(
        checking,
        "no CRL and no OCSP: revocation has no effect on clients"
    );
}

/// The state can be read and has no error, because the error cannot be saved in it.
#[tokio::test]
async fn error_that_the_state_cannot_record_is_shown() {
    let world = stack().await;
    let function = world.function(&[]).await;
    function.invoke(json!({})).await.unwrap();
    let key = format!("revocation-watch/{CA_ID}.json");
    world.aws.s3().deny("s3:PutObject", BUCKET, &key);
    function.invoke(json!({})).await.unwrap();

    let (response, _) = status(&world, &function).await;

    assert_eq!(response["status"], "attention", "{response:#}");
    let error = &of(&response, CA_ID)["error"];
    assert_eq!(error["type"], "AccessDenied", "{response:#}");
    assert_eq!(response["announcedProblems"][0]["type"], "AccessDenied");
    assert!(findings(&response)[0].contains("PutObject"), "{response:#}");
}

#[tokio::test]
async fn denied_reads_are_unknown_with_the_reason() {
    let world = stack().await;
    let function = world.function(&[("CHAT_TOPIC_ARN", &world.topic)]).await;
    function.invoke(json!({})).await.unwrap();
    for (service, operation) in [
        (Service::PrivateCa, "ListCertificateAuthorities"),
        (Service::S3, "GetBucketVersioning"),
        (Service::S3, "GetBucketEncryption"),
        (Service::Sns, "GetTopicAttributes"),
        (Service::Sns, "ListSubscriptionsByTopic"),
    ] {
        let on = On::operation(operation).times(2);
        world.aws.inject(on, Fault::access_denied(service));
    }

    let (response, _) = status(&world, &function).await;

    assert_eq!(response["status"], "attention");
    for (unknown, operation) in [
        (&response["topic"]["subscriptions"], "GetTopicAttributes"),
        (
            &response["chatTopic"]["subscriptions"],
            "GetTopicAttributes",
        ),
        (&response["bucket"]["versioning"], "GetBucketVersioning"),
        (&response["bucket"]["encryption"], "GetBucketEncryption"),
        (&only(&response)["status"], "ListCertificateAuthorities"),
        (
            &only(&response)["revocationChecking"],
            "ListCertificateAuthorities",
        ),
    ] {
        let unknown = text(unknown);
        assert!(unknown.starts_with("unknown: "), "{unknown}");
        assert!(unknown.contains(operation), "{unknown}");
    }
    assert!(only(&response)["lastCompleteAuditAt"].is_string());
    let found = findings(&response);
    assert_eq!(found.len(), 5, "{found:#?}");
    for finding in &found {
        assert!(finding.contains(" unknown: "), "{finding}");
        assert!(finding.contains("Compare the function's role"), "{finding}");
    }
}

#[tokio::test]
async fn status_of_all_cas_shows_other_states_but_not_deleted_cas() {
    let world = stack().await;
    let pca = world.aws.private_ca();
    let second = pca.create_with_id(SECOND_CA_ID, "Example Corp Root CA");
    let third = pca.create_with_id(THIRD_CA_ID, "Example Corp Device CA");
    let function = world.function(&[("CERTIFICATE_AUTHORITY_ARNS", "*")]).await;
    function.invoke(json!({})).await.unwrap();
    pca.set_status(&second, Status::Expired);
    pca.set_status(&third, Status::Deleted);

    let (response, _) = status(&world, &function).await;

    assert_eq!(response["status"], "ok", "{response:#}");
    let all = response["certificateAuthorities"].as_array().unwrap();
    assert_eq!(all.len(), 2, "{response:#}");
    let expired = of(&response, SECOND_CA_ID);
    assert_eq!(
        (&expired["status"], &expired["audited"]),
        (&json!("EXPIRED"), &json!(false))
    );

    let named = json!({ "status": true, "certificateAuthorityArns": [THIRD_CA_ID] });
    let deleted = function.invoke(named).await.unwrap();
    assert_eq!(only(&deleted)["status"], "DELETED");

    // A deleted CA whose state cannot be read may have a pending report.
    let key = format!("revocation-watch/{THIRD_CA_ID}.json");
    world.aws.s3().put(BUCKET, &key, "damaged");
    let (response, _) = status(&world, &function).await;
    assert_eq!(of(&response, THIRD_CA_ID)["status"], "DELETED");
    assert_eq!(response["status"], "attention");

    let named = json!({ "status": true, "certificateAuthorityArns": [CA_ID] });
    let narrowed = function.invoke(named.clone()).await.unwrap();
    assert_eq!(only(&narrowed)["certificateAuthorityArn"], world.ca);
    assert_eq!(narrowed["status"], "ok", "{narrowed:#}");
    let unknown =
        json!({ "status": true, "certificateAuthorityArns": [THIRD_CA_ID.replace('3', "9")] });
    let refused = function.invoke(unknown).await.unwrap_err();
    assert_eq!(refused.error_type, "EventInvalid");

    let denied = || Fault::access_denied(Service::PrivateCa);
    world.aws.inject("ListCertificateAuthorities", denied());
    let (response, _) = status(&world, &function).await;
    assert_eq!(response["certificateAuthorities"], json!([]));
    assert_eq!(response["status"], "attention");
    assert_eq!(findings(&response).len(), 1, "{response:#}");
    world.aws.inject("ListCertificateAuthorities", denied());
    let refused = function.invoke(named).await.unwrap_err();
    assert_eq!(refused.error_type, "AccessDenied");
}

#[tokio::test]
async fn status_is_logged_as_a_table_followed_by_the_findings() {
    let world = World::new().await;
    let function = world.function(&[]).await;
    function.invoke(json!({})).await.unwrap();
    let (response, _) = status(&world, &function).await;

    let lines = function.output().await;

    let messages: Vec<String> = lines
        .iter()
        .filter_map(|line| line["message"].as_str().map(str::to_owned))
        .collect();
    let heading = messages
        .iter()
        .position(|line| line.starts_with("CA  "))
        .unwrap();
    let row = &messages[heading + 1];
    assert!(row.starts_with("Example Corp Issuing CA  "), "{row}");
    for (column, value) in [
        ("STATUS", "ACTIVE"),
        ("ERROR", "-"),
        ("REVOCATION", "CRL only"),
    ] {
        let at = messages[heading].find(column).unwrap();
        assert!(row[at..].starts_with(value), "{column} in {row}");
    }
    assert_eq!(
        messages[heading + 2..],
        ["status finding", "status finished"]
    );
    let found = lines
        .iter()
        .find(|line| line["message"] == "status finding");
    assert_eq!(found.unwrap()["finding"], findings(&response)[0]);
    assert_eq!(found.unwrap()["level"], "WARN");
}

fn many() -> (Account, InProcess) {
    let certificates = Certificates {
        ordinary: 1,
        huge: 1,
    };
    let account = Account::new(certificates);
    account.aws.s3().set_versioning(MANY_BUCKET, true);
    let config = Config::from_lookup(|name| {
        let value = match name {
            "AWS_REGION" => "us-east-1",
            "AWS_ENDPOINT_URL" => "http://localhost",
            "CERTIFICATE_AUTHORITY_ARNS" => "*",
            "REPORT_BUCKET" => MANY_BUCKET,
            "TOPIC_ARN" => &account.topic,
            _ => return None,
        };
        Some(value.to_owned())
    });
    let function = InProcess::new(&account.aws, config.expect("a configuration"));
    (account, function)
}

#[tokio::test(start_paused = true)]
async fn status_of_200_cas_costs_one_read_each_and_takes_seconds() {
    let (account, function) = many();
    account.schedule_reports();
    function.invoke(json!({})).await.unwrap();
    account.aws.forget_calls();
    let began = Instant::now();

    let response = function.invoke(event("status")).await.unwrap();

    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let all = response["certificateAuthorities"].as_array().unwrap();
    assert_eq!(all.len(), CERTIFICATE_AUTHORITIES);
    let audited = all.iter().filter(|ca| ca["audited"] == true);
    assert_eq!(audited.count(), AUDITABLE);
    let found = findings(&response);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("ReportFailed"), "{found:#?}");
    assert_eq!(
        reads(&account.aws),
        calls(&[
            ("GetBucketEncryption", 1),
            ("GetBucketVersioning", 1),
            // And the health document.
            ("GetObject", CERTIFICATE_AUTHORITIES + 1),
            ("GetTopicAttributes", 1),
            ("ListCertificateAuthorities", 1),
            // The expired CA has no state: was there any?
            ("ListObjectsV2", 1),
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn status_responds_in_time_although_s3_does_not() {
    let (account, function) = many();
    for operation in ["GetObject", "GetBucketVersioning", "GetBucketEncryption"] {
        account
            .aws
            .inject(On::operation(operation).always(), Fault::Hang);
    }

    for left in [30, 900] {
        let left = Duration::from_secs(left);
        let response = function.invoke_for(event("status"), left).await.unwrap();

        let all = response["certificateAuthorities"].as_array().unwrap();
        assert_eq!(all.len(), CERTIFICATE_AUTHORITIES);
        for ca in all {
            assert_eq!(ca["error"]["type"], "Unavailable", "{ca:#}");
        }
        let versioning = text(&response["bucket"]["versioning"]);
        assert!(versioning.contains("no response within"), "{versioning}");
    }
}
