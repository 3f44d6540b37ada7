//! Private CA's revocation events from the queue: which messages the queue may delete, and which are
//! returned to it.

use std::time::Duration;

use crate::account::{InProcess, TIMEOUT};
use crate::common::{BUCKET, CA_ID, Function, SECOND_CA_ID, World, text};
use local_aws::{
    ErrorReply, Fault, LocalAws, NextReport, On, Protocol, Service, Status, Subscription,
};
use pca_revocation_watch::config::Config;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};

/// Lifts Private CA's limit of 30 minutes between two reports.
const NO_LIMIT: (&str, &str) = ("REPORT_INTERVAL_SECONDS", "0");

/// Maximum receives of a message whose certificate no report shows as revoked.
const RECEIVES: u64 = 5;

/// Returns a world without the limit whose first audit is complete.
async fn audited(variables: &[(&str, &str)]) -> (World, Function) {
    let world = World::new().await;
    world
        .aws
        .private_ca()
        .set_reports(|reports| reports.interval = Duration::ZERO);
    let variables: Vec<_> = [NO_LIMIT]
        .into_iter()
        .chain(variables.iter().copied())
        .collect();
    let function = world.function(&variables).await;
    let response = function.invoke(json!({})).await.unwrap();
    assert_eq!(response["status"], "ok", "{response:#}");
    world.aws.forget_calls();
    (world, function)
}

/// The event that EventBridge puts on the queue for a revoked certificate.
fn revocation(ca: &str, serial: &str) -> Value {
    json!({
        "version": "0",
        "id": "d1a1f1ce-3a3a-4e2b-9d1f-0d6c5d1b8a01",
        "detail-type": "ACM Private CA Certificate Revocation",
        "source": "aws.acm-pca",
        "account": "123456789012",
        "time": "2026-11-21T04:00:02Z",
        "region": "us-east-1",
        "resources": [ca, format!("{ca}/certificate/{}", serial.replace(':', ""))],
        "detail": { "result": "success" },
    })
}

fn record(id: &str, receives: u64, body: impl ToString) -> Value {
    json!({
        "messageId": id,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body.to_string(),
        "attributes": { "ApproximateReceiveCount": receives.to_string() },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:pca-revocation-watch-RevocationEventQueue",
        "awsRegion": "us-east-1",
    })
}

fn batch(records: impl IntoIterator<Item = Value>) -> Value {
    json!({ "Records": records.into_iter().collect::<Vec<_>>() })
}

/// Returns the ids of the messages that return to the queue.
fn returned(response: &Value) -> Vec<String> {
    let failures = response["batchItemFailures"]
        .as_array()
        .expect("a response to a queue");
    failures
        .iter()
        .map(|failure| text(&failure["itemIdentifier"]))
        .collect()
}

async fn deliver(function: &Function, records: impl IntoIterator<Item = Value>) -> Vec<String> {
    returned(&function.invoke(batch(records)).await.unwrap())
}

/// Returns the CAs whose reports were requested. Throttled requests, in the same second, do not count:
/// they are repeated.
fn audits(aws: &LocalAws) -> Vec<String> {
    let calls = aws.calls_of("CreateCertificateAuthorityAuditReport");
    let mut audited: Vec<_> = calls
        .into_iter()
        .filter(|call| call.status == Some(200))
        .filter_map(|call| call.certificate_authority_arn)
        .collect();
    audited.sort();
    audited
}

#[tokio::test]
async fn message_is_deleted_if_the_report_shows_the_revocation() {
    let (world, function) = audited(&[]).await;
    let serial = world.revoke("www.example1.com");

    let failed = deliver(
        &function,
        [record("one", 1, revocation(&world.ca, &serial))],
    )
    .await;

    assert_eq!(failed, [""; 0]);
    assert_eq!(world.types(), ["watch-started", "revocations"]);
    assert_eq!(
        world.messages()[1]["revocations"][0]["serial"],
        json!(serial)
    );
}

#[tokio::test]
async fn message_returns_up_to_a_limit_if_no_report_shows_it() {
    let (world, function) = audited(&[]).await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");

    for receives in 1..=RECEIVES {
        let message = record("one", receives, revocation(&world.ca, &serial));
        let failed = deliver(&function, [message]).await;
        let expected: &[&str] = if receives < RECEIVES { &["one"] } else { &[] };
        assert_eq!(failed, expected, "received {receives} times");
    }

    assert_eq!(world.types(), ["watch-started"]);
    assert_eq!(audits(&world.aws).len() as u64, RECEIVES);
}

#[tokio::test]
async fn message_returns_if_it_is_too_soon_for_a_report() {
    let world = World::new().await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    let function = world.function(&[]).await;
    function.invoke(json!({})).await.unwrap();
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");
    // Waiting for Private CA's limit does not count toward the maximum number of receives.
    let message = || record("one", 2 * RECEIVES, revocation(&world.ca, &serial));

    let too_soon = deliver(&function, [message()]).await;
    // Half an hour later.
    world.aws.private_ca().forget_interval(&world.ca);
    let later = world.function(&[NO_LIMIT]).await;
    let in_time = deliver(&later, [message()]).await;

    assert_eq!(too_soon, ["one"]);
    assert_eq!(in_time, [""; 0]);
    assert_eq!(world.types(), ["watch-started", "revocations"]);
}

/// Returns the function in this process, for a paused clock, and its CA.
fn in_process(aws: &LocalAws) -> (InProcess, String) {
    aws.s3().create_bucket(BUCKET);
    let topic = aws.sns().create_topic("revocations");
    aws.sns()
        .subscribe(&topic, Subscription::new(Protocol::Sqs, "somebody"))
        .unwrap();
    let pca = aws.private_ca();
    let ca = pca.create_with_id(CA_ID, "Example Corp Issuing CA");
    let config = Config::from_lookup(|name| {
        let value = match name {
            "AWS_REGION" => "us-east-1",
            "AWS_ENDPOINT_URL" => LocalAws::ENDPOINT_URL,
            "CERTIFICATE_AUTHORITY_ARNS" => &ca,
            "REPORT_BUCKET" => BUCKET,
            "TOPIC_ARN" => &topic,
            _ => return None,
        };
        Some(value.to_owned())
    });
    (InProcess::new(aws, config.unwrap()), ca)
}

#[tokio::test(start_paused = true)]
async fn message_returns_if_the_report_is_not_ready_in_time() {
    let aws = LocalAws::new();
    let (function, ca) = in_process(&aws);
    let pca = aws.private_ca();
    let serial = pca.issue(&ca, "www.example1.com");
    pca.revoke(&ca, &serial, "KEY_COMPROMISE");
    pca.next_report(&ca, NextReport::new().delay(TIMEOUT));
    let message = || batch([record("one", 1, revocation(&ca, &serial))]);

    let waiting = function.invoke(message()).await.unwrap();
    let audited = function.invoke(message()).await.unwrap();

    assert_eq!(returned(&waiting), ["one"]);
    assert_eq!(returned(&audited), [""; 0]);
    // The second delivery used the report that the first one requested.
    assert_eq!(audits(&aws).len(), 1);
    assert_eq!(aws.sns().messages().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn message_returns_if_another_run_holds_the_lease() {
    let aws = LocalAws::new();
    let (function, ca) = in_process(&aws);
    function.invoke(json!({})).await.unwrap();
    aws.forget_calls();
    let key = format!("revocation-watch/{}.json", CA_ID);
    let control = aws.s3().get(BUCKET, &key).unwrap();
    let mut control: Value = serde_json::from_slice(&control).unwrap();
    let until = Timestamp::from(aws.clock().now() + TIMEOUT);
    control["lease"] = json!({ "requestId": "another", "nonce": "another", "until": until });
    aws.s3().put(BUCKET, &key, control.to_string());

    let message = batch([record("one", 1, revocation(&ca, "01"))]);
    let held = function.invoke(message).await.unwrap();

    assert_eq!(returned(&held), ["one"]);
    assert_eq!(audits(&aws), [""; 0]);
}

#[tokio::test]
async fn message_returns_after_an_error_worth_a_retry() {
    let (world, function) = audited(&[]).await;
    let serial = world.revoke("www.example1.com");
    world.aws.inject(
        On::operation("GetObject").key_contains("audit-report/"),
        Fault::FlipByte { at: 100 },
    );
    let message = || record("one", 2 * RECEIVES, revocation(&world.ca, &serial));

    let corrupted = deliver(&function, [message()]).await;
    let before_retry = world.types();
    let retried = deliver(&function, [message()]).await;

    assert_eq!(corrupted, ["one"]);
    assert_eq!(before_retry, ["watch-started"]);
    assert_eq!(retried, [""; 0]);
    assert_eq!(world.types(), ["watch-started", "revocations"]);
}

#[tokio::test]
async fn message_is_deleted_if_an_operator_must_act() {
    let (world, function) = audited(&[]).await;
    world
        .aws
        .private_ca()
        .set_status(&world.ca, Status::Expired);

    let failed = deliver(&function, [record("one", 1, revocation(&world.ca, "01"))]).await;

    assert_eq!(failed, [""; 0]);
    assert_eq!(world.types(), ["watch-started", "watch-failed"]);
    assert_eq!(
        world.messages()[1]["error"]["type"],
        "CertificateAuthorityState"
    );
}

#[tokio::test]
async fn unrelated_messages_are_deleted_without_delaying_others() {
    let (world, function) = audited(&[]).await;
    let pca = world.aws.private_ca();
    let unlisted = pca.create_with_id(SECOND_CA_ID, "Not on the list");
    let serial = pca.issue(&world.ca, "www.example1.com");
    pca.revoke(&world.ca, &serial, "KEY_COMPROMISE");
    let mut issued = revocation(&world.ca, &serial);
    issued["detail-type"] = json!("ACM Private CA Certificate Issuance");
    let unrelated = || {
        [
            record("unlisted", 1, revocation(&unlisted, "01")),
            record("garbage", 1, "not JSON"),
            record("empty", 1, ""),
            record("list", 1, json!([1, 2])),
            record("other", 1, &issued),
        ]
    };

    let failed_unrelated = deliver(&function, unrelated()).await;
    let audits_before = audits(&world.aws);
    let good = record("good", 1, revocation(&world.ca, &serial));
    let failed_of_all = deliver(&function, unrelated().into_iter().chain([good])).await;

    assert_eq!(failed_unrelated, [""; 0]);
    assert_eq!(audits_before, [""; 0]);
    assert_eq!(failed_of_all, [""; 0]);
    assert_eq!(audits(&world.aws), [world.ca.as_str()]);
    assert_eq!(world.types(), ["watch-started", "revocations"]);
}

#[tokio::test]
async fn batch_audits_each_ca_once_and_fails_messages_separately() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    let second = pca.create_with_id(SECOND_CA_ID, "Second");
    let third = pca.create("Third, without events");
    pca.set_reports(|reports| reports.interval = Duration::ZERO);
    let listed = [world.ca.as_str(), &second, &third].join(",");
    let function = world
        .function(&[NO_LIMIT, ("CERTIFICATE_AUTHORITY_ARNS", &listed)])
        .await;
    function.invoke(json!({})).await.unwrap();
    world.aws.forget_calls();
    let revoke = |ca: &str, name: &str| {
        let serial = pca.issue(ca, name);
        pca.revoke(ca, &serial, "KEY_COMPROMISE");
        serial
    };
    let serials = [
        revoke(&world.ca, "www.example1.com"),
        revoke(&world.ca, "www.example2.com"),
        revoke(&second, "www.example3.com"),
    ];
    let messages = || {
        [
            record("first", 1, revocation(&world.ca, &serials[0])),
            record("second", 1, revocation(&world.ca, &serials[1])),
            // The same event again: SQS delivers at least once.
            record("first again", 1, revocation(&world.ca, &serials[0])),
            record("not revoked", 1, revocation(&world.ca, "01")),
            record("other", 1, revocation(&second, &serials[2])),
        ]
    };
    let second_id = SECOND_CA_ID;
    world.aws.inject(
        On::operation("GetObject").key_contains(format!("audit-report/{second_id}")),
        Fault::FlipByte { at: 100 },
    );

    let failed = deliver(&function, messages()).await;

    assert_eq!(failed, ["not revoked", "other"]);
    let mut expected = [world.ca.clone(), second.clone()];
    expected.sort();
    assert_eq!(audits(&world.aws), expected);
    let alerts: Vec<_> = world
        .messages()
        .into_iter()
        .filter(|message| message["type"] == "revocations")
        .collect();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["counts"]["new"], 2);
}

#[tokio::test]
async fn whole_batch_returns_if_the_cas_cannot_be_listed() {
    let (world, function) = audited(&[("CERTIFICATE_AUTHORITY_ARNS", "*")]).await;
    let denied = ErrorReply::new(400, "AccessDeniedException", "not authorized");
    world.aws.inject(
        On::operation("ListCertificateAuthorities").always(),
        Fault::Error(denied),
    );
    let events = batch([record("one", 1, revocation(&world.ca, "01"))]);

    let failed = function.invoke(events).await.unwrap_err();

    // If an invocation fails, its whole batch stays on the queue.
    assert_eq!(failed.error_type, "AccessDenied");
    assert_eq!(world.aws.calls_to(Service::S3).len(), 0);
}
