//! How one sees which build runs: in the log, in the status, and in the user agent of AWS calls.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::account::many::{Queues, outcomes};
use crate::common::{SECOND_CA_ID, World, event, only};
use local_aws::{AcmCertificate, Call, Protocol, Service, Subscription};
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::json;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the commit that the tests and the function were built with.
fn commit() -> &'static str {
    option_env!("PCA_REVOCATION_WATCH_COMMIT").unwrap_or("unknown")
}

/// Of the header `User-Agent`: older releases of the SDK had the app name only in `x-amz-user-agent`
/// (awslabs/aws-sdk-rust, issue 1433).
#[tokio::test]
async fn user_agent_of_every_call_has_version_and_commit() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    pca.set_reports(|reports| reports.delay = Duration::from_secs(1));
    pca.create_with_id(SECOND_CA_ID, "Example Corp Root CA");
    let serial = world.revoke("www.example.com");
    let arn = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012";
    let in_acm = AcmCertificate::new(arn, "www.example.com", &serial, &world.ca);
    world.aws.acm().add(in_acm);
    let chat_topic = world.aws.sns().create_topic("chat");
    let subscription = Subscription::new(Protocol::Https, "https://example.com");
    let subscribed = world.aws.sns().subscribe(&chat_topic, subscription);
    subscribed.expect("a standard topic");
    let queues = Queues::create(&world.aws);
    let mut variables = vec![
        ("CERTIFICATE_AUTHORITY_ARNS", "*"),
        ("CHAT_TOPIC_ARN", &chat_topic),
        ("MAX_INLINE_CERTIFICATE_AUTHORITIES", "1"),
    ];
    variables.extend(queues.environment());
    let function = world.function(&variables).await;

    let scheduled = json!({
        "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": {},
        "time": Timestamp::from(world.aws.clock().now()),
    });
    let dispatch = function.invoke(scheduled).await.unwrap();
    let audit = json!({ "certificateAuthorityArns": [world.ca] });
    let audit = function.invoke(audit).await.unwrap();
    function.invoke(event("status")).await.unwrap();

    assert_eq!(outcomes(&dispatch), [("queued".to_owned(), 2)].into());
    assert_eq!(only(&audit)["published"], 1, "{audit:#}");
    let calls = world.aws.calls();
    let services: BTreeSet<Service> = calls.iter().map(|call| call.service).collect();
    let all = [
        Service::PrivateCa,
        Service::S3,
        Service::Sns,
        Service::Sqs,
        Service::CloudTrail,
        Service::Acm,
    ];
    assert_eq!(services, all.into());
    // Each topic has a client of its own.
    let topics = world.aws.calls_of("Publish").into_iter();
    let topics: BTreeSet<_> = topics.filter_map(|call| call.topic_arn).collect();
    assert_eq!(topics, [world.topic.clone(), chat_topic].into());
    let commit = commit().get(..12).unwrap_or(commit());
    let app = format!("app/pca-revocation-watch-{VERSION}-{commit}");
    let has_app = |call: &&Call| {
        let user_agent = call.user_agent.as_deref().unwrap_or_default();
        user_agent.split(' ').any(|part| part == app)
    };
    let without: Vec<_> = calls.iter().filter(|call| !has_app(call)).collect();
    assert!(without.is_empty(), "no {app} in {without:#?}");
}

#[tokio::test]
async fn log_starts_with_version_and_commit() {
    let world = World::new().await;
    let function = world.function(&[]).await;

    let lines = function.output().await;

    let [starting] = &lines[..] else {
        panic!("{lines:#?}")
    };
    assert_eq!(starting["message"], "starting");
    assert_eq!(starting["level"], "INFO");
    assert_eq!(starting["version"], VERSION);
    assert_eq!(starting["commit"], commit());
}

#[tokio::test]
async fn status_has_version_and_commit() {
    let world = World::new().await;
    let function = world.function(&[]).await;

    let response = function.invoke(event("status")).await.unwrap();

    let lines = function.output().await;
    let is_finished = |line: &&serde_json::Value| line["message"] == "status finished";
    let logged = lines.iter().find(is_finished).expect("a line");
    for shown in [&response, logged] {
        assert_eq!(shown["version"], VERSION, "{shown:#}");
        assert_eq!(shown["commit"], commit(), "{shown:#}");
    }
}
