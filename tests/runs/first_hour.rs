//! The life of a stack as docs/deploy.md describes it: its first hour, and a new stack on a kept bucket.

use std::time::Duration;

use crate::common::{BUCKET, World, event, only, text};
use local_aws::{Protocol, Subscription};
use serde_json::{Value, json};

const GUIDE: &str = include_str!("../../docs/deploy.md");

/// The words of a response that the guide tells readers to look for.
fn assert_documented(words: &str, response: &Value) {
    assert!(
        GUIDE.contains(words),
        "docs/deploy.md does not mention {words}"
    );
    let shown = response.to_string();
    assert!(shown.contains(words), "{words} is not in {response:#}");
}

/// Creates a topic with an email subscription that nobody has confirmed, as a new stack does.
fn unconfirmed_topic(world: &World, name: &str) -> (String, String) {
    let topic = world.aws.sns().create_topic(name);
    let pending = Subscription::new(Protocol::Email, "security@example.com").pending();
    let subscription = world.aws.sns().subscribe(&topic, pending);
    (topic, subscription.expect("the topic exists"))
}

#[tokio::test]
async fn first_hour_goes_as_documented() {
    let world = World::new().await;
    world.aws.s3().set_versioning(BUCKET, true);
    world.aws.private_ca().issue(&world.ca, "www.example1.com");
    let (topic, subscription) = unconfirmed_topic(&world, "new");
    let variables = [
        ("TOPIC_ARN", topic.as_str()),
        ("AUDIT_INTERVAL_MINUTES", "30"),
    ];
    let function = world.function(&variables).await;
    let invoke = async |name| function.invoke(event(name)).await.expect("it responds");

    // The deployment starts the first run, before anyone can have confirmed the subscription.
    let early = invoke("status").await;
    assert_documented("attention", &early);
    assert_documented("no complete audit yet", &early);
    let first = invoke("scheduled").await;
    assert_eq!(only(&first)["outcome"], "audited", "{first:#}");
    assert_documented("has no confirmed subscription", &invoke("status").await);
    assert_documented("TopicWithoutSubscription", &invoke("test-message").await);
    assert_eq!(world.emails().len(), 0);

    world.aws.sns().confirm(&subscription);
    assert_eq!(invoke("status").await["status"], "ok");
    assert_documented("messageId", &invoke("test-message").await);
    let second = invoke("audit-all").await;
    assert_documented("tooSoon", only(&second));

    let subjects: Vec<_> = world
        .emails()
        .into_iter()
        .map(|(subject, _)| subject)
        .collect();
    let expected = ["[TEST] [CRITICAL]", "MONITORING STARTED"];
    assert_eq!(subjects.len(), expected.len(), "{subjects:?}");
    for (subject, words) in subjects.iter().zip(expected) {
        assert_documented(words, &json!(subject));
    }
    assert_eq!(invoke("status").await["status"], "ok");
}

#[tokio::test]
async fn new_stack_on_kept_bucket_repeats_nothing() {
    const NO_LIMIT: (&str, &str) = ("REPORT_INTERVAL_SECONDS", "0");
    let world = World::new().await;
    let pca = world.aws.private_ca();
    pca.set_reports(|reports| reports.interval = Duration::ZERO);
    let known = world.revoke("www.example1.com");
    let old = world.function(&[NO_LIMIT]).await;
    old.invoke(event("audit-all")).await.unwrap();
    drop(old);

    let missed = world.revoke("www.example2.com");
    let (topic, subscription) = unconfirmed_topic(&world, "of-the-new-stack");
    world.aws.sns().confirm(&subscription);

    let new = world
        .function(&[NO_LIMIT, ("TOPIC_ARN", topic.as_str())])
        .await;
    let before = new.invoke(event("status")).await.unwrap();
    let response = new.invoke(event("audit-all")).await.unwrap();

    assert_eq!(only(&before)["notifiedRevocations"], 1, "{before:#}");
    assert_eq!(only(&response)["published"], 1, "{response:#}");
    let last = world.emails().pop().expect("the new revocation is alerted");
    assert!(
        last.1.contains(&missed) && !last.1.contains(&known),
        "{}",
        last.1
    );
    let serials = only(&response)["revocations"].as_array().expect("a list");
    let serials: Vec<_> = serials
        .iter()
        .map(|revoked| text(&revoked["serial"]))
        .collect();
    assert_eq!(serials, [missed]);
}
