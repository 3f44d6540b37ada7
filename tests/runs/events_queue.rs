//! Private CA's revocation events from the queue, through the real binary: which messages the queue may
//! delete, and which are to come back.

use std::time::Duration;

use crate::account::{InProcess, TIMEOUT};
use crate::common::{BUCKET, CA_ID, Function, SECOND_CA_ID, World, text};
use local_aws::{
    ErrorReply, Fault, LocalAws, NextReport, On, Protocol, Service, Status, Subscription,
};
use pca_revocation_watch::config::Config;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};

/// Private CA's limit of 30 minutes between two reports, lifted on both sides.
const NO_LIMIT: (&str, &str) = ("REPORT_INTERVAL_SECONDS", "0");

/// So often an event comes back because its certificate is not shown as revoked, the last time included.
const RECEIVES: u64 = 5;

/// A world without the limit, and its first audit done.
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

/// What EventBridge puts on the queue when a certificate was revoked.
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

/// The messages that come back, of an invocation that did not fail as a whole.
fn come_back(response: &Value) -> Vec<String> {
    let failures = response["batchItemFailures"]
        .as_array()
        .expect("an answer to a queue");
    failures
        .iter()
        .map(|failure| text(&failure["itemIdentifier"]))
        .collect()
}

async fn deliver(function: &Function, records: impl IntoIterator<Item = Value>) -> Vec<String> {
    come_back(&function.invoke(batch(records)).await.unwrap())
}

/// The certificate authorities of which reports were requested. Requests in the same second are
/// throttled, and made again.
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
async fn a_revocation_that_the_report_shows_is_told_and_its_message_let_go() {
    let (world, function) = audited(&[]).await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");

    let back = deliver(
        &function,
        [record("one", 1, revocation(&world.ca, &serial))],
    )
    .await;

    assert_eq!(back, [""; 0]);
    assert_eq!(world.types(), ["watch-started", "revocations"]);
    assert_eq!(
        world.documents()[1]["revocations"][0]["serial"],
        json!(serial)
    );
}

#[tokio::test]
async fn a_revocation_that_no_report_shows_comes_back_a_bounded_number_of_times() {
    let (world, function) = audited(&[]).await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");

    for receives in 1..=RECEIVES {
        let message = record("one", receives, revocation(&world.ca, &serial));
        let back = deliver(&function, [message]).await;
        let expected: &[&str] = if receives < RECEIVES { &["one"] } else { &[] };
        assert_eq!(back, expected, "received {receives} times");
    }

    assert_eq!(world.types(), ["watch-started"]);
    assert_eq!(audits(&world.aws).len() as u64, RECEIVES);
}

#[tokio::test]
async fn an_event_that_comes_too_soon_for_a_report_comes_back() {
    let world = World::new().await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    let function = world.function(&[]).await;
    function.invoke(json!({})).await.unwrap();
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");
    // However often it was received: waiting for Private CA's limit is nobody's fault.
    let message = || record("one", 2 * RECEIVES, revocation(&world.ca, &serial));

    let too_soon = deliver(&function, [message()]).await;
    // Half an hour later.
    world.aws.private_ca().forget_interval(&world.ca);
    let later = world.function(&[NO_LIMIT]).await;
    let told = deliver(&later, [message()]).await;

    assert_eq!(too_soon, ["one"]);
    assert_eq!(told, [""; 0]);
    assert_eq!(world.types(), ["watch-started", "revocations"]);
}

/// The function in this process, for a paused clock, and its certificate authority.
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
async fn an_event_whose_report_is_not_there_in_time_comes_back() {
    let aws = LocalAws::new();
    let (function, ca) = in_process(&aws);
    let pca = aws.private_ca();
    let serial = pca.issue(&ca, "www.example1.com");
    pca.revoke(&ca, &serial, "KEY_COMPROMISE");
    pca.next_report(&ca, NextReport::new().delay(TIMEOUT));
    let message = || batch([record("one", 1, revocation(&ca, &serial))]);

    let waiting = function.invoke(message()).await.unwrap();
    let told = function.invoke(message()).await.unwrap();

    assert_eq!(come_back(&waiting), ["one"]);
    assert_eq!(come_back(&told), [""; 0]);
    // The second delivery took up the report that the first one asked for.
    assert_eq!(audits(&aws).len(), 1);
    assert_eq!(aws.sns().messages().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_certificate_authority_that_another_run_holds_comes_back() {
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

    assert_eq!(come_back(&held), ["one"]);
    assert_eq!(audits(&aws), [""; 0]);
}

#[tokio::test]
async fn an_event_comes_back_after_a_fault_that_a_retry_may_cure() {
    let (world, function) = audited(&[]).await;
    let serial = world.aws.private_ca().issue(&world.ca, "www.example1.com");
    world
        .aws
        .private_ca()
        .revoke(&world.ca, &serial, "KEY_COMPROMISE");
    world.aws.misbehave(
        On::operation("GetObject").key_contains("audit-report/"),
        Fault::FlipByte { at: 100 },
    );
    let message = || record("one", 2 * RECEIVES, revocation(&world.ca, &serial));

    let corrupted = deliver(&function, [message()]).await;
    let nothing_told = world.types();
    let told = deliver(&function, [message()]).await;

    assert_eq!(corrupted, ["one"]);
    assert_eq!(nothing_told, ["watch-started"]);
    assert_eq!(told, [""; 0]);
    assert_eq!(world.types(), ["watch-started", "revocations"]);
}

#[tokio::test]
async fn an_event_is_let_go_where_only_a_person_can_help_who_is_told() {
    let (world, function) = audited(&[]).await;
    world
        .aws
        .private_ca()
        .set_status(&world.ca, Status::Expired);

    let back = deliver(&function, [record("one", 1, revocation(&world.ca, "01"))]).await;

    assert_eq!(back, [""; 0]);
    assert_eq!(world.types(), ["watch-started", "watch-failed"]);
    assert_eq!(
        world.documents()[1]["error"]["type"],
        "CertificateAuthorityState"
    );
}

#[tokio::test]
async fn what_is_no_event_of_a_listed_certificate_authority_is_let_go_and_holds_nothing_up() {
    let (world, function) = audited(&[]).await;
    let pca = world.aws.private_ca();
    let stranger = pca.create_with_id(SECOND_CA_ID, "Not on the list");
    let serial = pca.issue(&world.ca, "www.example1.com");
    pca.revoke(&world.ca, &serial, "KEY_COMPROMISE");
    let mut issued = revocation(&world.ca, &serial);
    issued["detail-type"] = json!("ACM Private CA Certificate Issuance");
    let strange = || {
        [
            record("stranger", 1, revocation(&stranger, "01")),
            record("garbage", 1, "not JSON"),
            record("empty", 1, ""),
            record("list", 1, json!([1, 2])),
            record("other", 1, &issued),
        ]
    };

    let of_strange_ones = deliver(&function, strange()).await;
    let untouched = audits(&world.aws);
    let good = record("good", 1, revocation(&world.ca, &serial));
    let of_all = deliver(&function, strange().into_iter().chain([good])).await;

    assert_eq!(of_strange_ones, [""; 0]);
    assert_eq!(untouched, [""; 0]);
    assert_eq!(of_all, [""; 0]);
    assert_eq!(audits(&world.aws), [world.ca.as_str()]);
    assert_eq!(world.types(), ["watch-started", "revocations"]);
}

#[tokio::test]
async fn a_batch_makes_one_audit_of_each_certificate_authority_and_they_are_answered_for_apart() {
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
            // The same event once more: SQS delivers at least once.
            record("first again", 1, revocation(&world.ca, &serials[0])),
            record("not revoked", 1, revocation(&world.ca, "01")),
            record("other", 1, revocation(&second, &serials[2])),
        ]
    };
    let second_id = SECOND_CA_ID;
    world.aws.misbehave(
        On::operation("GetObject").key_contains(format!("audit-report/{second_id}")),
        Fault::FlipByte { at: 100 },
    );

    let back = deliver(&function, messages()).await;

    assert_eq!(back, ["not revoked", "other"]);
    let mut expected = [world.ca.clone(), second.clone()];
    expected.sort();
    assert_eq!(audits(&world.aws), expected);
    let told: Vec<_> = world
        .documents()
        .into_iter()
        .filter(|d| d["type"] == "revocations")
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["counts"]["new"], 2);
}

#[tokio::test]
async fn the_whole_batch_comes_back_where_the_certificate_authorities_cannot_be_listed() {
    let (world, function) = audited(&[("CERTIFICATE_AUTHORITY_ARNS", "*")]).await;
    let denied = ErrorReply::new(400, "AccessDeniedException", "not authorized");
    world.aws.misbehave(
        On::operation("ListCertificateAuthorities").always(),
        Fault::Error(denied),
    );
    let events = batch([record("one", 1, revocation(&world.ca, "01"))]);

    let failed = function.invoke(events).await.unwrap_err();

    // An invocation that fails keeps its whole batch on the queue.
    assert_eq!(failed.error_type, "AccessDenied");
    assert_eq!(world.aws.calls_to(Service::S3).len(), 0);
}
