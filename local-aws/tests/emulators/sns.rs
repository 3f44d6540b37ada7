//! The SNS emulator as seen by the SDK over HTTP.

use std::time::Duration;

use crate::clients::{World, refusal, refused};
use aws_sdk_sns::operation::publish::builders::PublishFluentBuilder;
use aws_sdk_sns::types::MessageAttributeValue;
use local_aws::{Fault, MAXIMUM_MESSAGE_SIZE, Protocol, Service, Subscription};
use serde_json::json;

impl World {
    fn publish(&self, topic: &str, message: impl Into<String>) -> PublishFluentBuilder {
        self.sns.publish().topic_arn(topic).message(message)
    }
}

fn attribute(data_type: &str, value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder()
        .data_type(data_type)
        .string_value(value)
        .build()
        .unwrap()
}

#[tokio::test]
async fn each_protocol_receives_its_variant() {
    let world = World::new().await;
    let sns = world.aws.sns();
    let topic = sns.create_topic("revocations");
    for (protocol, endpoint) in [
        (Protocol::Email, "ops@example.com"),
        (Protocol::EmailJson, "machine@example.com"),
        (Protocol::Sms, "+12065550100"),
        (Protocol::Sqs, "arn:aws:sqs:us-east-1:123456789012:queue"),
        (
            Protocol::Lambda,
            "arn:aws:lambda:us-east-1:123456789012:function:f",
        ),
        (Protocol::Https, "https://example.com/hook"),
    ] {
        sns.subscribe(&topic, Subscription::new(protocol, endpoint))
            .unwrap();
    }
    let pending = Subscription::new(Protocol::Email, "new@example.com").pending();
    let pending = sns.subscribe(&topic, pending).unwrap();

    let message = json!({ "default": "{\"a\": \"<ü>\"}", "email": "Dear all,\n", "sms": "short", "other": 1 });
    let sent = world
        .publish(&topic, message.to_string())
        .message_structure("json")
        .subject("A certificate was revoked")
        .message_attributes("severity", attribute("String", "critical"))
        .message_attributes("reasons", attribute("String.Array", "[\"KEY_COMPROMISE\"]"))
        .send()
        .await
        .unwrap();

    let by = |protocol| sns.deliveries_by(protocol).remove(0);
    assert_eq!(sns.deliveries().len(), 6);
    let email = by(Protocol::Email);
    assert_eq!(email.text, "Dear all,\n");
    assert_eq!(email.subject.as_deref(), Some("A certificate was revoked"));
    assert_eq!(email.topic_arn, topic);
    assert_eq!(Some(email.message_id.as_str()), sent.message_id());
    assert_eq!(by(Protocol::Sms).text, "short");
    assert_eq!(by(Protocol::Sms).subject, None);
    for others in [
        Protocol::Sqs,
        Protocol::Lambda,
        Protocol::Https,
        Protocol::EmailJson,
    ] {
        assert_eq!(by(others).text, "{\"a\": \"<ü>\"}");
    }
    let published = sns.messages().remove(0);
    assert_eq!(published.attributes["severity"].value, "critical");
    assert_eq!(published.attributes["reasons"].data_type, "String.Array");

    assert!(sns.confirm(&pending));
    world.publish(&topic, "to all").send().await.unwrap();
    let emails = sns.deliveries_by(Protocol::Email);
    assert_eq!(emails.len(), 3);
    assert_eq!(
        emails[2].subject.as_deref(),
        Some("AWS Notification Message")
    );
    let call = &world.aws.calls_of("Publish")[0];
    assert_eq!(call.topic_arn.as_ref(), Some(&topic));
    assert_eq!(call.parameters["Subject"], "A certificate was revoked");
}

#[tokio::test]
async fn topic_without_confirmed_subscription_delivers_nothing() {
    let world = World::new().await;
    let sns = world.aws.sns();
    let topic = sns.create_topic("unconfirmed");
    let counts = async || {
        let asked = world.sns.get_topic_attributes().topic_arn(&topic);
        let attributes = asked.send().await.unwrap().attributes.unwrap();
        ["Confirmed", "Pending"].map(|kind| attributes[&format!("Subscriptions{kind}")].clone())
    };
    let pending = Subscription::new(Protocol::Email, "ops@example.com").pending();
    let subscription = sns.subscribe(&topic, pending).unwrap();
    world.publish(&topic, "hello?").send().await.unwrap();
    assert_eq!(sns.messages().len(), 1);
    assert!(sns.deliveries().is_empty());
    assert_eq!(counts().await, ["0", "1"]);
    sns.confirm(&subscription);
    assert_eq!(counts().await, ["1", "0"]);

    sns.delete_topic(&topic);
    let publish = world.publish(&topic, "x").send().await;
    assert!(
        publish
            .unwrap_err()
            .into_service_error()
            .is_not_found_exception()
    );
    let asked = world
        .sns
        .get_topic_attributes()
        .topic_arn(&topic)
        .send()
        .await;
    assert_eq!(refusal(asked), refused(404, "NotFound"));
    world
        .aws
        .inject("GetTopicAttributes", Fault::access_denied(Service::Sns));
    let asked = world
        .sns
        .get_topic_attributes()
        .topic_arn(&topic)
        .send()
        .await;
    let denied = asked.unwrap_err().into_service_error();
    assert!(denied.is_authorization_error_exception());
}

#[tokio::test]
async fn messages_over_the_size_limit_are_refused() {
    let world = World::new().await;
    let topic = world.aws.sns().create_topic("strict");
    let invalid = refused(400, "InvalidParameter");
    let publish = |message: &str| world.publish(&topic, message);

    publish(&"x".repeat(MAXIMUM_MESSAGE_SIZE))
        .send()
        .await
        .unwrap();
    let too_long = publish(&"x".repeat(MAXIMUM_MESSAGE_SIZE + 1)).send().await;
    assert_eq!(refusal(too_long), invalid);
    // The limit counts bytes, not characters, and includes attributes.
    let bytes = publish(&"ü".repeat(MAXIMUM_MESSAGE_SIZE / 2 + 1))
        .send()
        .await;
    assert_eq!(refusal(bytes), invalid);
    let with_attribute = publish(&"x".repeat(MAXIMUM_MESSAGE_SIZE))
        .message_attributes("a", attribute("String", "b"));
    assert_eq!(refusal(with_attribute.send().await), invalid);
    assert_eq!(refusal(publish("").send().await), invalid);
}

#[tokio::test]
async fn malformed_subjects_and_structures_are_refused() {
    let world = World::new().await;
    let topic = world.aws.sns().create_topic("strict");
    let invalid = refused(400, "InvalidParameter");
    let publish = |message: &str| world.publish(&topic, message);

    publish("x").subject("x".repeat(99)).send().await.unwrap();
    for subject in [
        "x".repeat(100),
        "two\nlines".to_owned(),
        "tab\there".to_owned(),
        "f\u{fc}r alle".to_owned(),
        " begins with a space".to_owned(),
    ] {
        let refusal = refusal(publish("x").subject(&subject).send().await);
        assert_eq!(refusal, invalid, "{subject:?}");
    }
    for message in [
        "not JSON",
        "[]",
        r#"{"email": "no default"}"#,
        r#"{"default": 1}"#,
        r#"{"default": "x", "email": {"a": 1}}"#,
        r#"{"default": "x", "default": "y"}"#,
    ] {
        let sent = publish(message).message_structure("json").send().await;
        assert_eq!(refusal(sent), invalid, "{message}");
    }
    let structure = publish("{}").message_structure("xml").send().await;
    assert_eq!(refusal(structure), invalid);
}

#[tokio::test]
async fn malformed_attributes_are_refused() {
    let world = World::new().await;
    let topic = world.aws.sns().create_topic("strict");
    let publish = |message: &str| world.publish(&topic, message);
    let bad_value = refused(400, "ParameterValueInvalid");
    for (name, data_type, value) in [
        ("AWS.name", "String", "x"),
        ("two..dots", "String", "x"),
        ("sp ace", "String", "x"),
        ("ok", "Text", "x"),
        ("ok", "Number", "seven"),
        ("ok", "String.Array", "not an array"),
        ("ok", "String.Array", "[[1]]"),
        ("ok", "String", ""),
    ] {
        let sent = publish("x").message_attributes(name, attribute(data_type, value));
        assert_eq!(
            refusal(sent.send().await),
            bad_value,
            "{name} {data_type} {value}"
        );
    }
}

#[tokio::test]
async fn publishing_to_no_topic_is_refused() {
    let world = World::new().await;
    let topic = world.aws.sns().create_topic("strict");
    let invalid = refused(400, "InvalidParameter");
    let publish = |message: &str| world.publish(&topic, message);

    let no_topic = world.sns.publish().message("x").send().await;
    assert_eq!(refusal(no_topic), invalid);
    let nonsense = world
        .sns
        .publish()
        .target_arn("nonsense")
        .message("x")
        .send()
        .await;
    assert_eq!(refusal(nonsense), invalid);
    let deduplicated = publish("x").message_deduplication_id("1").send().await;
    assert_eq!(refusal(deduplicated), invalid);
}

#[tokio::test]
async fn fifo_topic_needs_groups_and_drops_duplicates() {
    let world = World::new().await;
    let sns = world.aws.sns();
    let topic = sns.create_fifo_topic("revocations.fifo", false);
    sns.subscribe(&topic, Subscription::new(Protocol::Sqs, "queue.fifo"))
        .unwrap();
    let email = Subscription::new(Protocol::Email, "ops@example.com");
    assert_eq!(
        sns.subscribe(&topic, email).unwrap_err().code,
        "InvalidParameter"
    );

    let invalid = refused(400, "InvalidParameter");
    assert_eq!(refusal(world.publish(&topic, "x").send().await), invalid);
    let publish = || world.publish(&topic, "x").message_group_id("ca");
    assert_eq!(refusal(publish().send().await), invalid);
    for id in ["sp ace".to_owned(), "x".repeat(129), "\u{fc}".to_owned()] {
        let sent = publish().message_deduplication_id(&id).send().await;
        assert_eq!(refusal(sent), invalid, "{id:?}");
    }
    let first = publish()
        .message_deduplication_id("1")
        .send()
        .await
        .unwrap();
    world.aws.advance(Duration::from_secs(200));
    let again = publish()
        .message_deduplication_id("1")
        .send()
        .await
        .unwrap();
    assert_eq!(first.sequence_number, again.sequence_number);
    assert_eq!(sns.deliveries().len(), 1);
    assert!(sns.messages()[1].duplicate);
    world.aws.advance(Duration::from_secs(200));
    publish()
        .message_deduplication_id("1")
        .send()
        .await
        .unwrap();
    assert_eq!(sns.deliveries().len(), 2);
    assert_eq!(sns.deliveries()[0].message_group_id.as_deref(), Some("ca"));

    let asked = world.sns.get_topic_attributes().topic_arn(&topic);
    let attributes = asked.send().await.unwrap().attributes.unwrap();
    assert_eq!(attributes["FifoTopic"], "true");

    let by_content = sns.create_fifo_topic("content.fifo", true);
    for _ in 0..2 {
        let sent = world.publish(&by_content, "same").message_group_id("ca");
        sent.send().await.unwrap();
    }
    assert!(sns.messages().pop().unwrap().duplicate);
}

#[tokio::test]
async fn subscriptions_are_listed_in_pages() {
    let world = World::new().await;
    let sns = world.aws.sns();
    let topic = sns.create_topic("revocations");
    let pending = Subscription::new(Protocol::Email, "new@example.com").pending();
    sns.subscribe(&topic, pending).unwrap();
    let queue = Subscription::new(Protocol::Sqs, "queue");
    let confirmed = sns.subscribe(&topic, queue).unwrap();
    for size in [1, 2, 100] {
        sns.set_page_size(size);
        let listed = world.sns.list_subscriptions_by_topic().topic_arn(&topic);
        let pages: Vec<_> = listed.into_paginator().send().collect().await;
        assert_eq!(pages.len(), 2_usize.div_ceil(size));
        let arns = pages
            .into_iter()
            .flat_map(|page| page.unwrap().subscriptions.unwrap())
            .map(|subscription| subscription.subscription_arn.unwrap());
        assert_eq!(
            arns.collect::<Vec<_>>(),
            ["PendingConfirmation", &confirmed]
        );
    }
}

#[tokio::test]
async fn topic_attributes_can_be_set_or_wrong() {
    let world = World::new().await;
    let sns = world.aws.sns();
    let topic = sns.create_topic("revocations");
    sns.subscribe(&topic, Subscription::new(Protocol::Sqs, "queue"))
        .unwrap();
    let attributes = async || {
        let asked = world.sns.get_topic_attributes().topic_arn(&topic);
        let attributes = asked.send().await.unwrap().attributes.unwrap();
        ["SubscriptionsConfirmed", "MaximumMessageSize"].map(|name| attributes[name].clone())
    };
    assert_eq!(attributes().await, ["1", "262144"]);
    sns.count_confirmed_as(&topic, Some(0));
    sns.set_maximum_message_size(&topic, 1024);
    assert_eq!(attributes().await, ["0", "1024"]);
    world
        .publish(&topic, "x".repeat(1024))
        .send()
        .await
        .unwrap();
    let too_long = world.publish(&topic, "x".repeat(1025)).send().await;
    assert_eq!(refusal(too_long), refused(400, "InvalidParameter"));
    assert_eq!(sns.deliveries().len(), 1);
}

#[tokio::test]
async fn topic_of_another_region_refuses_the_request() {
    let world = World::new().await;
    let sns = world.aws.sns();
    let far = sns.create_topic_in("eu-west-1", "revocations");
    assert!(far.contains(":eu-west-1:"));
    let sent = world.publish(&far, "x").send().await;
    assert_eq!(refusal(sent), refused(400, "InvalidParameter"));
    let config = world.sns.config().to_builder();
    let region = aws_sdk_sns::config::Region::new("eu-west-1");
    let client = aws_sdk_sns::Client::from_conf(config.region(region).build());
    let sent = client.publish().topic_arn(&far).message("x").send().await;
    sent.unwrap();
}
