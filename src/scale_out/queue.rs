//! Sends messages to the audit queue.

use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::aws::failure::{CallFailure, FailureClass};
use crate::budget::Budget;
use crate::error::{AuditError, ErrorKind};
use crate::scale_out::plan::Delayed;

/// Maximum messages of one `SendMessageBatch` (Amazon SQS API Reference).
const BATCH: usize = 10;

/// Maximum concurrent requests of a dispatch.
const CONCURRENT_SENDS: usize = 8;

/// Timeout for sending all messages of a dispatch: audits that are not sent still need time.
const SEND_ALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout for sending one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum attempts of a batch, each with the SDK's own retries.
const ATTEMPTS: u32 = 4;

/// Wait after the first attempt; doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// What SQS says to each message of a batch, in their order.
pub(super) type Sent = Vec<Result<(), AuditError>>;

/// A queue that this program sends messages to.
#[derive(Clone, Copy)]
pub(super) struct Queue<'a> {
    pub sqs: &'a aws_sdk_sqs::Client,
    pub url: &'a str,
    pub budget: &'a Budget,
}

impl Queue<'_> {
    /// Sends a message.
    ///
    /// # Errors
    /// If SQS does not accept it in time.
    pub async fn send(&self, message: &Delayed) -> Result<(), AuditError> {
        let call = self
            .sqs
            .send_message()
            .queue_url(self.url)
            .message_body(message.message.to_json())
            .delay_seconds(seconds(message))
            .send();
        let until = self.budget.ending_within(SEND_TIMEOUT);
        match timeout_at(until, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(CallFailure::new("SendMessage", &error).error(self.url)),
            Err(_) => Err(self.no_response("SendMessage")),
        }
    }

    /// Sends messages; a result for each, in their order. After a batch that SQS refuses, such as for a
    /// missing permission, no other is tried.
    pub async fn send_all(&self, messages: &[Delayed]) -> Sent {
        let until = self.budget.ending_within(SEND_ALL_TIMEOUT);
        let refusal = &OnceLock::new();
        let sent: Vec<Sent> = stream::iter(messages.chunks(BATCH))
            .map(|batch| async move {
                if let Some(refusal) = refusal.get() {
                    return vec![Err(AuditError::clone(refusal)); batch.len()];
                }
                let sent = self.send_batch(batch, until).await;
                sent.unwrap_or_else(|refused| {
                    // An earlier refusal may be there.
                    refusal.set(refused.clone()).ok();
                    vec![Err(refused); batch.len()]
                })
            })
            .buffered(CONCURRENT_SENDS)
            .collect()
            .await;
        sent.concat()
    }

    /// Sends a batch, and again what was not accepted and may be.
    ///
    /// # Errors
    /// If SQS refuses the whole batch.
    async fn send_batch(&self, batch: &[Delayed], until: Instant) -> Result<Sent, AuditError> {
        let mut sent: Sent = vec![Err(self.no_response("SendMessageBatch")); batch.len()];
        let mut backoff = FIRST_BACKOFF;
        for attempt in 1..=ATTEMPTS {
            let unsent = (0..batch.len()).filter(|&index| sent[index].is_err());
            let entries = unsent.map(|index| entry(index, &batch[index])).collect();
            let may_change = match timeout_at(until, self.call(entries)).await {
                Ok(Ok(output)) => self.read(&output, &mut sent),
                Ok(Err(failure)) if failure.class == FailureClass::Refused => {
                    return Err(failure.error(self.url));
                }
                Ok(Err(failure)) => {
                    let error = failure.error(self.url);
                    let unsent = sent.iter_mut().filter(|sent| sent.is_err());
                    unsent.for_each(|sent| *sent = Err(error.clone()));
                    true
                }
                Err(_) => false,
            };
            if !may_change || attempt == ATTEMPTS || !self.budget.wait(backoff).await {
                break;
            }
            let mut errors = sent.iter().filter_map(|sent| sent.as_ref().err());
            warn!(
                attempt,
                queue = self.url,
                error = errors.next().map(|error| error.message.as_str()),
                "messages not accepted; sending them again"
            );
            backoff *= 2;
        }
        Ok(sent)
    }

    async fn call(
        &self,
        entries: Vec<SendMessageBatchRequestEntry>,
    ) -> Result<SendMessageBatchOutput, CallFailure> {
        self.sqs
            .send_message_batch()
            .queue_url(self.url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(|error| CallFailure::new("SendMessageBatch", &error))
    }

    /// Notes which messages SQS accepted; returns whether it may accept others that it did not.
    fn read(&self, output: &SendMessageBatchOutput, sent: &mut Sent) -> bool {
        for accepted in output.successful() {
            if let Some(sent) = position(accepted.id()).and_then(|index| sent.get_mut(index)) {
                *sent = Ok(());
            }
        }
        let mut may_change = false;
        for failed in output.failed() {
            let (code, message) = (failed.code(), failed.message().unwrap_or_default());
            let kind = match failed.sender_fault() {
                true => ErrorKind::RequestRejected,
                false => ErrorKind::Unavailable,
            };
            may_change |= !failed.sender_fault();
            let message = format!(
                "SendMessageBatch failed for a message to {}: {code}: {message}",
                self.url
            );
            if let Some(sent) = position(failed.id()).and_then(|index| sent.get_mut(index)) {
                *sent = Err(AuditError::new(kind, message));
            }
        }
        may_change
    }

    fn no_response(&self, operation: &str) -> AuditError {
        let message = format!(
            "{operation} failed for {}: no response from SQS in time",
            self.url
        );
        AuditError::new(ErrorKind::Unavailable, message)
    }
}

/// Returns a message as an entry of a batch, whose ID is its position.
fn entry(position: usize, message: &Delayed) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder()
        .id(position.to_string())
        .message_body(message.message.to_json())
        .delay_seconds(seconds(message))
        .build()
        .expect("ID and body are set")
}

fn position(id: &str) -> Option<usize> {
    id.parse().ok()
}

fn seconds(message: &Delayed) -> i32 {
    i32::try_from(message.delay.as_secs()).unwrap_or(i32::MAX)
}
