//! Emulates Lambda's event source mapping for SQS (AWS Lambda Developer Guide, "Using Lambda with Amazon
//! SQS").

use std::future::Future;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::account::LocalAws;
use crate::clock::Clock;
use crate::md5::md5_hex;
use crate::sqs::{Received, Sqs};

/// Settings of an event source mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingSettings {
    /// Most invocations at the same time. AWS accepts 2 to 1,000, the emulator also 1.
    pub maximum_concurrency: usize,
    /// Most messages of an invocation, up to 10,000.
    pub batch_size: usize,
    /// How long messages are collected for a batch; at least a second for batches of more than ten.
    pub batching_window: Duration,
}

/// Invokes a function with the messages of a queue, with `ReportBatchItemFailures`.
///
/// Messages of successful invocations are deleted. The others stay in flight until the queue's visibility
/// timeout ends. Lambda's calls to SQS are not recorded and get no faults.
#[derive(Clone, Debug)]
pub struct EventSourceMapping {
    sqs: Sqs,
    clock: Clock,
    region: String,
    queue_url: String,
    settings: MappingSettings,
}

/// The messages that wait for the end of the batching window.
#[derive(Debug, Default)]
struct Batch {
    messages: Vec<Received>,
    /// When the function is invoked, even if the batch is not full.
    due_at: Option<SystemTime>,
}

impl EventSourceMapping {
    /// Creates a mapping for a queue. It does nothing until [`EventSourceMapping::run`].
    ///
    /// # Panics
    /// If Lambda would refuse the settings.
    pub fn new(aws: &LocalAws, queue_url: &str, settings: MappingSettings) -> Self {
        assert!(
            (1..=1000).contains(&settings.maximum_concurrency),
            "MaximumConcurrency is 1 to 1,000"
        );
        assert!(
            (1..=10_000).contains(&settings.batch_size),
            "BatchSize is 1 to 10,000"
        );
        assert!(
            settings.batch_size <= 10 || settings.batching_window >= Duration::from_secs(1),
            "a BatchSize over 10 needs a MaximumBatchingWindowInSeconds of at least 1"
        );
        Self {
            sqs: aws.sqs().clone(),
            clock: aws.clock().clone(),
            region: aws.region().to_owned(),
            queue_url: queue_url.to_owned(),
            settings,
        }
    }

    /// Polls the queue and invokes the function, forever. Waits while the queue does not exist.
    ///
    /// `invoke` gets Lambda's SQS event. `Err` means that the invocation failed: the whole batch stays in
    /// the queue. If the future is dropped, so are the running invocations; their messages stay in flight.
    pub async fn run<F, Fut>(&self, invoke: F) -> !
    where
        F: Fn(Value) -> Fut,
        Fut: Future<Output = Result<Value, String>>,
    {
        let mut running = FuturesUnordered::new();
        let mut batch = Batch::default();
        loop {
            // From here on, no change is missed.
            let changed = self.sqs.changed();
            let is_busy = running.len() >= self.settings.maximum_concurrency;
            if !is_busy {
                self.collect(&mut batch);
                if self.is_due(&batch) {
                    let messages = std::mem::take(&mut batch).messages;
                    running.push(self.process(messages, &invoke));
                    continue;
                }
            }
            tokio::select! {
                // A fixed order makes a test repeatable.
                biased;
                Some(()) = running.next() => {}
                () = changed, if !is_busy => {}
                () = self.next_step(&batch), if !is_busy => {}
            }
        }
    }

    /// Adds visible messages to a batch.
    fn collect(&self, batch: &mut Batch) {
        let free = self.settings.batch_size - batch.messages.len();
        // A queue that does not exist has no messages.
        let received = self.sqs.try_receive(&self.queue_url, free, None);
        batch.messages.extend(received.unwrap_or_default());
        if !batch.messages.is_empty() {
            let due_at = self.clock.now() + self.settings.batching_window;
            batch.due_at.get_or_insert(due_at);
        }
    }

    fn is_due(&self, batch: &Batch) -> bool {
        batch.messages.len() >= self.settings.batch_size
            || batch
                .due_at
                .is_some_and(|due_at| due_at <= self.clock.now())
    }

    /// Waits until the batch is due or another message becomes visible.
    async fn next_step(&self, batch: &Batch) {
        let visible_at = self.sqs.next_visible_at(&self.queue_url);
        match visible_at.into_iter().chain(batch.due_at).min() {
            Some(at) => self.clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Invokes the function with a batch and deletes what it processed.
    async fn process<F, Fut>(&self, messages: Vec<Received>, invoke: &F)
    where
        F: Fn(Value) -> Fut,
        Fut: Future<Output = Result<Value, String>>,
    {
        let Ok(response) = invoke(self.event(&messages)).await else {
            return;
        };
        let Some(failed) = failures(&response, &messages) else {
            return;
        };
        for message in &messages {
            if !failed.contains(&message.message_id.as_str()) {
                // A queue that was deleted meanwhile has no messages.
                let _ = self.sqs.delete(&self.queue_url, &message.receipt_handle);
            }
        }
    }

    /// Returns Lambda's event for a batch.
    fn event(&self, messages: &[Received]) -> Value {
        let arn = self.sqs.arn(&self.queue_url);
        let record = |message: &Received| {
            json!({
                "messageId": message.message_id,
                "receiptHandle": message.receipt_handle,
                "body": message.body,
                "attributes": message.attributes,
                "messageAttributes": {},
                "md5OfBody": md5_hex(message.body.as_bytes()),
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
                "awsRegion": self.region,
            })
        };
        json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() })
    }
}

/// Returns the IDs of the messages that failed; `None` if the whole batch did, also because the response
/// is malformed (AWS Lambda Developer Guide, "Handling errors for an SQS event source in Lambda").
fn failures<'a>(response: &'a Value, messages: &[Received]) -> Option<Vec<&'a str>> {
    let failures = match &response["batchItemFailures"] {
        Value::Null => return Some(Vec::new()),
        failures => failures.as_array()?,
    };
    let known = |id: &&str| messages.iter().any(|message| message.message_id == **id);
    failures
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str().filter(known))
        .collect()
}
