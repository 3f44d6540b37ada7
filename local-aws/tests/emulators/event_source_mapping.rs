//! The event source mapping of Lambda for SQS, on the paused clock and over HTTP.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use local_aws::{
    EventSourceMapping, LocalAws, MappingSettings, QueueSettings, Redrive, RuntimeApi, Settings,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::clients::{Clients, World, start};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An account on the paused clock with a queue and its dead-letter queue.
struct Paused {
    aws: LocalAws,
    sqs: aws_sdk_sqs::Client,
    url: String,
    dead_letters: String,
}

impl Paused {
    fn new() -> Self {
        let aws = LocalAws::with(Settings {
            start: Some(start()),
            ..Settings::default()
        });
        let queues = aws.sqs();
        let dead_letters = queues.create_queue("dead-letters", QueueSettings::default());
        let settings = QueueSettings {
            visibility_timeout: seconds(930),
            redrive: Some(Redrive {
                dead_letter_queue_url: dead_letters.clone(),
                max_receive_count: 3,
            }),
        };
        let url = queues.create_queue("audits", settings);
        Self {
            sqs: Clients::in_process(&aws).sqs(),
            aws,
            url,
            dead_letters,
        }
    }

    async fn send(&self, body: &str, delay: i32) {
        let send = self.sqs.send_message().queue_url(&self.url);
        let send = send.message_body(body).delay_seconds(delay);
        send.send().await.unwrap();
    }

    fn mapping(
        &self,
        maximum_concurrency: usize,
        batch_size: usize,
        window: u64,
    ) -> EventSourceMapping {
        let settings = MappingSettings {
            maximum_concurrency,
            batch_size,
            batching_window: seconds(window),
        };
        EventSourceMapping::new(&self.aws, &self.url, settings)
    }

    /// Runs a mapping until the queue is empty, and returns how long it took.
    async fn drain<F>(&self, mapping: EventSourceMapping, invoke: F) -> Duration
    where
        F: AsyncFn(Value) -> Result<Value, String>,
    {
        let began = Instant::now();
        tokio::select! {
            never = mapping.run(|event| invoke(event)) => never,
            () = self.aws.sqs().drained(&self.url) => began.elapsed(),
        }
    }
}

/// Returns the bodies of an event's messages.
fn bodies(event: &Value) -> Vec<String> {
    let records = event["Records"].as_array().unwrap().iter();
    let body = |record: &Value| record["body"].as_str().unwrap().to_owned();
    records.map(body).collect()
}

/// Returns the response that reports these messages of an event as failed.
fn failed(event: &Value, body: &str) -> Value {
    let records = event["Records"].as_array().unwrap().iter();
    let failed = records.filter(|record| record["body"] == body);
    let failures: Vec<_> = failed
        .map(|record| json!({ "itemIdentifier": record["messageId"] }))
        .collect();
    json!({ "batchItemFailures": failures })
}

#[tokio::test(start_paused = true)]
async fn function_gets_the_event_that_lambda_documents() {
    let world = Paused::new();
    world.send("hello", 0).await;
    let seen = RefCell::new(Value::Null);
    let drained = world.drain(world.mapping(5, 1, 0), async |event| {
        seen.replace(event);
        Ok(Value::Null)
    });
    assert_eq!(drained.await, Duration::ZERO);
    let mut record = seen.into_inner()["Records"][0].take();
    let (id, handle) = (record["messageId"].take(), record["receiptHandle"].take());
    assert!(id.is_string() && handle.is_string());
    let sent = world.aws.sqs().sent(&world.url);
    assert_eq!(id, sent[0].message_id.as_str());
    let expected = json!({
        "messageId": null,
        "receiptHandle": null,
        "body": "hello",
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1795233600000",
            "SenderId": "AROAEXAMPLEROLEEXAMPLE:pca-revocation-watch",
            "ApproximateFirstReceiveTimestamp": "1795233600000",
        },
        "messageAttributes": {},
        "md5OfBody": "5d41402abc4b2a76b9719d911017c592",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:audits",
        "awsRegion": "us-east-1",
    });
    assert_eq!(record, expected);
    // Lambda's own calls are not recorded.
    assert_eq!(world.aws.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_bounded_and_fully_used() {
    let world = Paused::new();
    for number in 0..23 {
        world.send(&number.to_string(), 0).await;
    }
    let (running, most, invoked) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let drained = world.drain(world.mapping(5, 1, 0), async |event| {
        assert_eq!(bodies(&event).len(), 1);
        running.set(running.get() + 1);
        most.set(most.get().max(running.get()));
        invoked.set(invoked.get() + 1);
        sleep(seconds(10)).await;
        running.set(running.get() - 1);
        Ok(json!({ "batchItemFailures": [] }))
    });
    assert_eq!(drained.await, seconds(50));
    assert_eq!((invoked.get(), most.get()), (23, 5));
}

#[tokio::test(start_paused = true)]
async fn message_is_processed_when_its_delay_ends() {
    let world = Paused::new();
    world.send("900", 900).await;
    world.send("5", 5).await;
    let began = Instant::now();
    let invoked = RefCell::new(Vec::new());
    let drained = world.drain(world.mapping(5, 1, 0), async |event| {
        let body = bodies(&event).remove(0);
        if body == "5" {
            // The function sends while it is invoked.
            world.send("35", 30).await;
        }
        invoked.borrow_mut().push((body, began.elapsed()));
        Ok(json!({}))
    });
    assert_eq!(drained.await, seconds(900));
    let times = [5, 35, 900].map(|time: u64| (time.to_string(), seconds(time)));
    assert_eq!(*invoked.borrow(), times);
}

#[tokio::test(start_paused = true)]
async fn moved_clock_makes_messages_visible() {
    let world = Paused::new();
    world.send("x", 900).await;
    let move_clock = async {
        sleep(seconds(1)).await;
        world.aws.advance(seconds(899));
    };
    let mapping = world.mapping(5, 1, 0);
    let drained = world.drain(mapping.clone(), async |_| Ok(Value::Null));
    let (took, ()) = tokio::join!(drained, move_clock);
    assert_eq!(took, seconds(1));
}

#[tokio::test(start_paused = true)]
async fn failed_messages_stay_until_the_visibility_timeout() {
    let world = Paused::new();
    for body in ["good", "bad", "good"] {
        world.send(body, 0).await;
    }
    let began = Instant::now();
    let invoked = RefCell::new(Vec::new());
    let drained = world.drain(world.mapping(5, 10, 0), async |event| {
        invoked.borrow_mut().push((began.elapsed(), bodies(&event)));
        let is_first = invoked.borrow().len() == 1;
        sleep(seconds(3)).await;
        let none = json!({ "batchItemFailures": null });
        Ok(if is_first {
            failed(&event, "bad")
        } else {
            none
        })
    });
    assert_eq!(drained.await, seconds(933));
    let all = ["good", "bad", "good"].map(str::to_owned).to_vec();
    let expected = [(seconds(0), all), (seconds(930), vec!["bad".to_owned()])];
    assert_eq!(*invoked.borrow(), expected);
}

#[tokio::test(start_paused = true)]
async fn failed_invocations_end_in_the_dead_letter_queue() {
    for response in [
        Err("the process died".to_owned()),
        Ok(json!({ "batchItemFailures": "all" })),
        Ok(json!({ "batchItemFailures": [{ "itemIdentifier": "" }] })),
        Ok(json!({ "batchItemFailures": [{ "itemIdentifier": null }] })),
        Ok(json!({ "batchItemFailures": [{ "messageId": "x" }] })),
        Ok(json!({ "batchItemFailures": [{ "itemIdentifier": "of another batch" }] })),
    ] {
        let world = Paused::new();
        world.send("x", 0).await;
        let counts = RefCell::new(Vec::new());
        let drained = world.drain(world.mapping(5, 1, 0), async |event| {
            let count = &event["Records"][0]["attributes"]["ApproximateReceiveCount"];
            counts.borrow_mut().push(count.clone());
            response.clone()
        });
        assert_eq!(drained.await, seconds(3 * 930), "{response:?}");
        assert_eq!(*counts.borrow(), ["1", "2", "3"]);
        let dead = world.aws.sqs().messages(&world.dead_letters);
        assert_eq!((dead.len(), dead[0].body.as_str()), (1, "x"));
    }
}

#[tokio::test(start_paused = true)]
async fn batches_wait_for_their_window_unless_full() {
    // The messages are numbered: a batch is its time in seconds and their range.
    for (delays, batches) in [
        (
            vec![0, 2, 4, 60, 60, 60, 60],
            vec![(4, 0..3), (60, 3..6), (65, 6..7)],
        ),
        (vec![0, 2, 7], vec![(5, 0..2), (12, 2..3)]),
    ] {
        let world = Paused::new();
        for (number, delay) in delays.iter().enumerate() {
            world.send(&number.to_string(), *delay).await;
        }
        let began = Instant::now();
        let invoked = RefCell::new(Vec::new());
        let drained = world.drain(world.mapping(5, 3, 5), async |event| {
            invoked.borrow_mut().push((began.elapsed(), bodies(&event)));
            Ok(Value::Null)
        });
        drained.await;
        let expected: Vec<(Duration, Vec<String>)> = batches
            .into_iter()
            .map(|(at, numbers)| (seconds(at), numbers.map(|n| n.to_string()).collect()))
            .collect();
        assert_eq!(*invoked.borrow(), expected, "{delays:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_dropped_invocations_come_back() {
    let world = Paused::new();
    world.send("x", 0).await;
    let mapping = world.mapping(5, 1, 0);
    let never_ends = mapping.run(|_| std::future::pending());
    tokio::time::timeout(seconds(60), never_ends)
        .await
        .unwrap_err();
    assert!(world.aws.sqs().messages(&world.url)[0].is_in_flight);
    let drained = world.drain(mapping.clone(), async |_| Ok(Value::Null));
    assert_eq!(drained.await, seconds(870));
}

#[tokio::test(start_paused = true)]
async fn mapping_waits_for_its_queue() {
    let world = Paused::new();
    world.send("x", 0).await;
    world.aws.sqs().delete_queue(&world.url);
    let mapping = world.mapping(5, 1, 0);
    let invoked = Cell::new(0);
    let running = mapping.run(async |_| {
        invoked.set(invoked.get() + 1);
        Ok(Value::Null)
    });
    let sending = async {
        sleep(seconds(5)).await;
        assert_eq!(invoked.get(), 0);
        let settings = QueueSettings::default();
        world.aws.sqs().create_queue("audits", settings);
        world.send("y", 0).await;
        world.aws.sqs().drained(&world.url).await;
    };
    tokio::select! {
        never = running => never,
        () = sending => assert_eq!(invoked.get(), 1),
    }
}

/// Serves invocations until it is dropped: the minimal Lambda runtime of `lambda.rs` in a loop.
async fn work(api: &RuntimeApi, done: &RefCell<Vec<String>>) {
    let runtime = crate::lambda::Runtime::of(api);
    loop {
        let (headers, event) = runtime.next().await;
        let id = headers["lambda-runtime-aws-request-id"].to_str().unwrap();
        done.borrow_mut().extend(bodies(&event));
        let path = format!("invocation/{id}/response");
        let response = json!({ "batchItemFailures": [] });
        assert_eq!(runtime.post(&path, response).await, 202);
    }
}

#[tokio::test]
async fn messages_sent_over_http_reach_two_runtimes() {
    let world = World::new().await;
    let queues = world.aws.sqs();
    let url = queues.create_queue("audits", QueueSettings::default());
    let settings = MappingSettings {
        maximum_concurrency: 2,
        batch_size: 1,
        batching_window: Duration::ZERO,
    };
    let mapping = EventSourceMapping::new(&world.aws, &url, settings);
    let api = RuntimeApi::serve().await.unwrap();
    let invoke = async |event| {
        let response = api.invoke(event, seconds(60)).await;
        response.map_err(|error| error.to_string())
    };
    let done = RefCell::new(Vec::new());
    let sending = async {
        for number in 0..20 {
            let send = world.sqs.send_message().queue_url(&url);
            send.message_body(number.to_string()).send().await.unwrap();
        }
        queues.drained(&url).await;
    };
    tokio::select! {
        never = mapping.run(invoke) => never,
        () = work(&api, &done) => {}
        () = work(&api, &done) => {}
        () = sending => {}
    }
    let mut done: Vec<u32> = done
        .borrow()
        .iter()
        .map(|body| body.parse().unwrap())
        .collect();
    done.sort_unstable();
    assert_eq!(done, (0..20).collect::<Vec<_>>());
}
