//! The SQS emulator as seen by the SDK over HTTP.

use std::time::Duration;

use aws_sdk_sqs::config::Region;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::receive_message::builders::ReceiveMessageFluentBuilder;
use aws_sdk_sqs::operation::send_message::SendMessageError;
use aws_sdk_sqs::types::{
    Message, MessageSystemAttributeName, SendMessageBatchRequestEntry, SendMessageBatchResultEntry,
};
use local_aws::{Fault, LocalAws, QueueSettings, Redrive, Service};
use tokio::time::Instant;

use crate::clients::{Clients, World, refusal, refused};

const MIB: usize = 1_048_576;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Creates a queue with the default settings.
fn queue(aws: &LocalAws) -> String {
    aws.sqs().create_queue("audits", QueueSettings::default())
}

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    let entry = SendMessageBatchRequestEntry::builder();
    entry.id(id).message_body(body).build().unwrap()
}

fn receive(sqs: &aws_sdk_sqs::Client, url: &str) -> ReceiveMessageFluentBuilder {
    let all = MessageSystemAttributeName::All;
    let receive = sqs.receive_message().message_system_attribute_names(all);
    receive.queue_url(url).max_number_of_messages(10)
}

impl World {
    async fn received(&self, url: &str) -> Vec<Message> {
        let received = receive(&self.sqs, url).send().await.unwrap();
        received.messages.unwrap_or_default()
    }

    async fn send(&self, url: &str, body: &str, delay: i32) -> String {
        let send = self.sqs.send_message().queue_url(url).message_body(body);
        let sent = send.delay_seconds(delay).send().await.unwrap();
        sent.message_id.unwrap()
    }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    let bodies = messages.iter();
    bodies.map(|message| message.body().unwrap()).collect()
}

fn attribute(message: &Message, name: MessageSystemAttributeName) -> &str {
    &message.attributes().unwrap()[&name]
}

#[tokio::test]
async fn message_is_sent_received_and_deleted() {
    let world = World::new().await;
    let url = queue(&world.aws);
    assert_eq!(
        url,
        "https://sqs.us-east-1.amazonaws.com/123456789012/audits"
    );
    let send = || world.sqs.send_message().queue_url(&url);
    let sent = send().message_body("hello").send().await.unwrap();
    let md5 = Some("5d41402abc4b2a76b9719d911017c592");
    assert_eq!(sent.md5_of_message_body(), md5);

    let messages = world.received(&url).await;
    assert_eq!(bodies(&messages), ["hello"]);
    let message = &messages[0];
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.md5_of_body(), md5);
    let count = MessageSystemAttributeName::ApproximateReceiveCount;
    assert_eq!(attribute(message, count), "1");
    let at: u128 = attribute(message, MessageSystemAttributeName::SentTimestamp)
        .parse()
        .unwrap();
    let sent_at = world.aws.sqs().sent(&url)[0].sent_at;
    let since = sent_at.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(at, since.as_millis());

    // It is in flight.
    assert!(world.received(&url).await.is_empty());
    let seen = world.aws.sqs().messages(&url);
    assert_eq!((seen.len(), seen[0].receive_count), (1, 1));
    assert!(seen[0].is_in_flight);
    let handle = message.receipt_handle().unwrap();
    let delete = || world.sqs.delete_message().queue_url(&url);
    delete().receipt_handle(handle).send().await.unwrap();
    assert!(world.aws.sqs().messages(&url).is_empty());
    // A second time, it changes nothing.
    delete().receipt_handle(handle).send().await.unwrap();

    let call = &world.aws.calls_to(Service::Sqs)[0];
    assert_eq!(call.operation, "SendMessage");
    assert_eq!(call.queue_url.as_ref(), Some(&url));
    assert_eq!(call.parameters["MessageBody"], "hello");
}

#[tokio::test]
async fn only_requested_attributes_are_returned() {
    let world = World::new().await;
    let url = queue(&world.aws);
    world.send(&url, "x", 0).await;
    let receive = || world.sqs.receive_message().queue_url(&url);
    let name = MessageSystemAttributeName::SenderId;
    let one = receive()
        .message_system_attribute_names(name.clone())
        .send();
    let one = one.await.unwrap().messages.unwrap();
    assert_eq!(one[0].attributes().unwrap().len(), 1);
    assert!(one[0].attributes().unwrap().contains_key(&name));
    world.aws.advance(seconds(30));
    let none = receive().send().await.unwrap().messages.unwrap();
    assert_eq!(none[0].attributes(), None);
    let unknown = MessageSystemAttributeName::from("Color");
    assert_eq!(
        refusal(
            receive()
                .message_system_attribute_names(unknown)
                .send()
                .await
        ),
        refused(400, "InvalidAttributeName")
    );
}

#[tokio::test]
async fn delayed_message_is_invisible_until_its_delay_ends() {
    let world = World::new().await;
    let url = queue(&world.aws);
    world.send(&url, "late", 900).await;
    world.send(&url, "early", 5).await;
    world.send(&url, "now", 0).await;
    assert_eq!(bodies(&world.received(&url).await), ["now"]);
    world.aws.advance(seconds(5));
    assert_eq!(bodies(&world.received(&url).await), ["early"]);
    world.aws.advance(seconds(800));
    let after = world.received(&url).await;
    assert_eq!(bodies(&after), ["now", "early"]);
    world.aws.advance(seconds(95));
    assert!(bodies(&world.received(&url).await).contains(&"late"));
    let sent = world.aws.sqs().sent(&url);
    let delays: Vec<_> = sent
        .iter()
        .map(|message| message.visible_at.duration_since(message.sent_at).unwrap())
        .collect();
    assert_eq!(delays, [seconds(900), seconds(5), seconds(0)]);
    world.aws.sqs().forget_sent(&url);
    assert!(world.aws.sqs().sent(&url).is_empty());
}

#[tokio::test]
async fn visibility_timeout_brings_a_message_back() {
    let world = World::new().await;
    let settings = QueueSettings {
        visibility_timeout: seconds(930),
        redrive: None,
    };
    let url = world.aws.sqs().create_queue("audits", settings);
    world.send(&url, "x", 0).await;
    let first = world.received(&url).await;
    world.aws.advance(seconds(929));
    assert!(world.received(&url).await.is_empty());
    world.aws.advance(seconds(1));
    let second = world.received(&url).await;
    let count = MessageSystemAttributeName::ApproximateReceiveCount;
    assert_eq!(attribute(&second[0], count), "2");
    let begun = MessageSystemAttributeName::ApproximateFirstReceiveTimestamp;
    assert_eq!(
        attribute(&second[0], begun.clone()),
        attribute(&first[0], begun)
    );
    assert_ne!(first[0].receipt_handle(), second[0].receipt_handle());
    assert_eq!(first[0].message_id(), second[0].message_id());

    // The older receipt deletes nothing, the last one works after its timeout.
    let delete = |message: &Message| {
        let handle = message.receipt_handle().unwrap();
        let delete = world.sqs.delete_message().queue_url(&url);
        delete.receipt_handle(handle).send()
    };
    delete(&first[0]).await.unwrap();
    assert_eq!(world.aws.sqs().messages(&url).len(), 1);
    world.aws.advance(seconds(931));
    delete(&second[0]).await.unwrap();
    assert!(world.aws.sqs().messages(&url).is_empty());
}

#[tokio::test]
async fn message_moves_to_the_dead_letter_queue_after_its_receives() {
    let world = World::new().await;
    let sqs = world.aws.sqs();
    let dead_letters = sqs.create_queue("dead-letters", QueueSettings::default());
    let settings = QueueSettings {
        visibility_timeout: seconds(10),
        redrive: Some(Redrive {
            dead_letter_queue_url: dead_letters.clone(),
            max_receive_count: 3,
        }),
    };
    let url = sqs.create_queue("audits", settings);
    let id = world.send(&url, "x", 0).await;
    for _ in 0..3 {
        assert_eq!(world.received(&url).await.len(), 1);
        world.aws.advance(seconds(10));
    }
    assert!(sqs.messages(&dead_letters).is_empty());
    assert!(world.received(&url).await.is_empty());
    assert!(sqs.messages(&url).is_empty());
    let dead = world.received(&dead_letters).await;
    assert_eq!(dead[0].message_id(), Some(id.as_str()));
    let source = MessageSystemAttributeName::DeadLetterQueueSourceArn;
    let arn = "arn:aws:sqs:us-east-1:123456789012:audits";
    assert_eq!(attribute(&dead[0], source), arn);

    // Without the dead-letter queue, messages stay.
    world.send(&url, "y", 0).await;
    sqs.delete_queue(&dead_letters);
    for _ in 0..5 {
        assert_eq!(world.received(&url).await.len(), 1);
        world.aws.advance(seconds(10));
    }
}

#[tokio::test(start_paused = true)]
async fn long_poll_ends_with_the_first_message() {
    let aws = LocalAws::new();
    let sqs = Clients::in_process(&aws).sqs();
    let url = queue(&aws);
    let poll = || receive(&sqs, &url).wait_time_seconds(20).send();
    let began = Instant::now();
    assert_eq!(poll().await.unwrap().messages, None);
    assert_eq!(began.elapsed(), seconds(20));

    let send = sqs.send_message().queue_url(&url).message_body("x");
    send.delay_seconds(7).send().await.unwrap();
    let began = Instant::now();
    assert_eq!(poll().await.unwrap().messages().len(), 1);
    assert_eq!(began.elapsed(), seconds(7));

    let began = Instant::now();
    let sending = async {
        tokio::time::sleep(seconds(3)).await;
        let send = sqs.send_message().queue_url(&url).message_body("y");
        send.send().await.unwrap();
    };
    let (polled, ()) = tokio::join!(poll(), sending);
    assert_eq!(bodies(polled.unwrap().messages()), ["y"]);
    assert_eq!(began.elapsed(), seconds(3));
    let too_long = receive(&sqs, &url).wait_time_seconds(21).send().await;
    let invalid = refused(400, "InvalidParameterValue");
    assert_eq!(refusal(too_long), invalid);
}

#[tokio::test]
async fn batch_reports_each_entry() {
    let world = World::new().await;
    let url = queue(&world.aws);
    let delayed = |id: &str, delay: i32| {
        let entry = SendMessageBatchRequestEntry::builder();
        let entry = entry.id(id).message_body(id);
        entry.delay_seconds(delay).build().unwrap()
    };
    let batch = world.sqs.send_message_batch().queue_url(&url);
    let sent = batch
        .entries(delayed("a", 900))
        .entries(delayed("b", 901))
        .entries(entry("c", "\u{1}"))
        .entries(entry("d", ""))
        .entries(delayed("e", -1))
        .entries(entry("f", "\t\n\r \u{fffd}\u{1f600}"))
        .send()
        .await
        .unwrap();
    let successful: Vec<_> = sent
        .successful()
        .iter()
        .map(SendMessageBatchResultEntry::id)
        .collect();
    assert_eq!(successful, ["a", "f"]);
    let failed: Vec<_> = sent
        .failed()
        .iter()
        .map(|entry| (entry.id(), entry.code(), entry.sender_fault()))
        .collect();
    let expected = [
        ("b", "InvalidParameterValue", true),
        ("c", "InvalidMessageContents", true),
        ("d", "MissingParameter", true),
        ("e", "InvalidParameterValue", true),
    ];
    assert_eq!(failed, expected);
    let stored = world.aws.sqs().messages(&url);
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[1].message_id, sent.successful()[0].message_id());

    world.aws.sqs().fail_entries(&url, 2);
    let batch = world.sqs.send_message_batch().queue_url(&url);
    let ids = ["a", "b", "c"];
    let batch = batch.set_entries(Some(ids.map(|id| entry(id, id)).to_vec()));
    let sent = batch.send().await.unwrap();
    assert_eq!(sent.successful()[0].id(), "c");
    let failed = &sent.failed()[1];
    assert_eq!(failed.code(), "InternalError");
    assert!(!failed.sender_fault());
    assert_eq!(sent.failed().len(), 2);
}

#[tokio::test]
async fn malformed_batches_are_refused() {
    let world = World::new().await;
    let url = queue(&world.aws);
    let half = "x".repeat(MIB / 2);
    let over = format!("{half}x");
    let send = |entries: Vec<SendMessageBatchRequestEntry>| {
        let batch = world.sqs.send_message_batch().queue_url(&url);
        batch.set_entries(Some(entries)).send()
    };
    let entries = |ids: &[&str]| ids.iter().map(|id| entry(id, "x")).collect();
    let eleven: Vec<String> = (0..11).map(|id| id.to_string()).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    let long = "x".repeat(81);
    for (entries, code) in [
        (entries(&[]), "EmptyBatchRequest"),
        (entries(&eleven), "TooManyEntriesInBatchRequest"),
        (entries(&["a", "b", "a"]), "BatchEntryIdsNotDistinct"),
        (entries(&["a b"]), "InvalidBatchEntryId"),
        (entries(&[""]), "InvalidBatchEntryId"),
        (entries(&[&long]), "InvalidBatchEntryId"),
        (
            vec![entry("a", &half), entry("b", &over)],
            "BatchRequestTooLong",
        ),
    ] {
        let code = format!("AWS.SimpleQueueService.{code}");
        assert_eq!(refusal(send(entries).await), refused(400, &code));
    }
    assert!(world.aws.sqs().messages(&url).is_empty());
    send(entries(&eleven[..10])).await.unwrap();
    send(vec![entry("a", &half), entry("b", &half)])
        .await
        .unwrap();
    assert_eq!(world.aws.sqs().messages(&url).len(), 12);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let world = World::new().await;
    let url = queue(&world.aws);
    let send = || world.sqs.send_message().queue_url(&url);
    let invalid = refused(400, "InvalidParameterValue");
    let body = "x".repeat(MIB);
    send().message_body(&body).send().await.unwrap();
    let long = format!("{body}x");
    assert_eq!(refusal(send().message_body(long).send().await), invalid);
    for delay in [-1, 901] {
        let send = send().message_body("x").delay_seconds(delay);
        assert_eq!(refusal(send.send().await), invalid);
    }
    assert_eq!(
        refusal(send().message_body("").send().await),
        refused(400, "MissingParameter")
    );
    assert_eq!(
        refusal(send().message_body("\u{ffff}").send().await),
        refused(400, "InvalidMessageContents")
    );
    // The emulator does not keep attributes and groups, so it refuses them.
    assert_eq!(
        refusal(send().message_body("x").message_group_id("g").send().await),
        refused(400, "AWS.SimpleQueueService.UnsupportedOperation")
    );
    for most in [0, 11] {
        let receive = world.sqs.receive_message().queue_url(&url);
        let receive = receive.max_number_of_messages(most).send();
        assert_eq!(refusal(receive.await), invalid);
    }
    let delete = world.sqs.delete_message().queue_url(&url);
    assert_eq!(
        refusal(delete.receipt_handle("other").send().await),
        refused(404, "ReceiptHandleIsInvalid")
    );
    assert_eq!(
        refusal(world.sqs.purge_queue().queue_url(&url).send().await),
        refused(400, "AWS.SimpleQueueService.UnsupportedOperation")
    );
}

#[tokio::test]
async fn missing_and_foreign_queues_are_refused() {
    let world = World::new().await;
    let url = queue(&world.aws);
    let other = url.replace("audits", "other");
    let send = |url: &str| {
        let send = world.sqs.send_message().queue_url(url);
        send.message_body("x").send()
    };
    let error = send(&other).await.unwrap_err();
    assert!(matches!(
        &error,
        SdkError::ServiceError(error) if matches!(error.err(), SendMessageError::QueueDoesNotExist(_))
    ));
    let missing = "AWS.SimpleQueueService.NonExistentQueue";
    assert_eq!(refusal::<_, ()>(Err(error)), refused(400, missing));
    let call = world.aws.calls_to(Service::Sqs).remove(0);
    assert_eq!(call.error_code.as_deref(), Some(missing));
    let foreign = url.replace("us-east-1", "eu-west-1");
    let invalid = refused(404, "InvalidAddress");
    assert_eq!(refusal(send(&foreign).await), invalid);
    let config = world.sqs.config().to_builder();
    let config = config.region(Region::new("eu-west-1")).build();
    let elsewhere = aws_sdk_sqs::Client::from_conf(config);
    let send_elsewhere = elsewhere.send_message().queue_url(&url).message_body("x");
    assert_eq!(refusal(send_elsewhere.send().await), invalid);

    world.aws.sqs().delete_queue(&url);
    assert_eq!(refusal(send(&url).await), refused(400, missing));
}

#[tokio::test]
async fn faults_reach_the_caller() {
    let world = World::new().await;
    let url = queue(&world.aws);
    let send = || {
        let send = world.sqs.send_message().queue_url(&url);
        send.message_body("x").send()
    };
    for (fault, expected) in [
        (
            Fault::access_denied(Service::Sqs),
            refused(403, "AccessDenied"),
        ),
        (Fault::Throttle, refused(403, "RequestThrottled")),
        (
            Fault::error(500, "InternalFailure", "oops"),
            refused(500, "InternalFailure"),
        ),
    ] {
        world.aws.inject("SendMessage", fault);
        assert_eq!(refusal(send().await), expected);
        let code = world.aws.calls_to(Service::Sqs).pop().unwrap().error_code;
        assert_eq!(code, expected.1);
    }
    assert!(world.aws.sqs().messages(&url).is_empty());
    world.aws.inject("SendMessage", Fault::LostReply);
    send().await.unwrap_err();
    assert_eq!(world.aws.sqs().messages(&url).len(), 1);
}

/// Returns the bodies of the messages after 100 sends.
fn hundred_sends(
    aws: &LocalAws,
    configure: impl Fn(&LocalAws, &str),
) -> impl Future<Output = Vec<(String, u64)>> {
    let (aws, url) = (aws.clone(), queue(aws));
    configure(&aws, &url);
    async move {
        let sqs = Clients::in_process(&aws).sqs();
        for number in 0..100 {
            let send = sqs.send_message().queue_url(&url);
            let send = send.message_body(number.to_string()).delay_seconds(10);
            send.send().await.unwrap();
        }
        let messages = aws.sqs().messages(&url);
        let start = aws.clock().now();
        let view = |message: local_aws::SqsMessage| {
            let delay = message.visible_at.duration_since(start).unwrap();
            (message.body, u64::try_from(delay.as_millis()).unwrap())
        };
        messages.into_iter().map(view).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn duplicates_and_losses_follow_the_seed() {
    let duplicates = |aws: &LocalAws, url: &str| aws.sqs().set_duplicates(url, Some(4));
    let stored = hundred_sends(&LocalAws::new(), duplicates).await;
    let copies = stored.len() - 100;
    assert!((10..40).contains(&copies), "{copies}");
    let late: Vec<_> = stored
        .iter()
        .filter(|(_, delay)| *delay != 10_000)
        .collect();
    assert!(late.len() > copies / 2, "{late:?}");
    assert!(
        late.iter()
            .all(|(_, delay)| (10_000..=70_000).contains(delay))
    );
    let again = hundred_sends(&LocalAws::new(), duplicates).await;
    assert_eq!(again, stored);

    let losses = |aws: &LocalAws, url: &str| aws.sqs().set_losses(url, Some(4));
    let aws = LocalAws::new();
    let stored = hundred_sends(&aws, losses).await;
    assert!((60..90).contains(&stored.len()), "{}", stored.len());
    assert_eq!(aws.sqs().sent(&queue(&aws)).len(), 100);
    let every = |aws: &LocalAws, url: &str| aws.sqs().set_duplicates(url, Some(1));
    assert_eq!(hundred_sends(&LocalAws::new(), every).await.len(), 200);
}

#[tokio::test]
async fn reordered_queue_returns_every_message_once() {
    let world = World::new().await;
    let url = queue(&world.aws);
    world.aws.sqs().set_reordering(&url, true);
    for number in 0..20 {
        world.send(&url, &number.to_string(), 0).await;
    }
    let mut received = world.received(&url).await;
    received.extend(world.received(&url).await);
    let order: Vec<u32> = bodies(&received)
        .into_iter()
        .map(|body| body.parse().unwrap())
        .collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    assert_ne!(order, sorted);
}

#[tokio::test]
async fn purged_queue_is_drained() {
    let world = World::new().await;
    let url = queue(&world.aws);
    world.send(&url, "x", 900).await;
    let drained = world.aws.sqs().drained(&url);
    let purge = async {
        tokio::task::yield_now().await;
        world.aws.sqs().purge(&url);
    };
    tokio::join!(drained, purge);
    assert!(world.aws.sqs().messages(&url).is_empty());
}
