//! Messages: as stored, as received, and as tests see them.

use std::collections::BTreeMap;
use std::time::SystemTime;

/// A message of a queue, as tests see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqsMessage {
    /// Message ID; a duplicate has the same one.
    pub message_id: String,
    /// Body.
    pub body: String,
    /// Time of the send.
    pub sent_at: SystemTime,
    /// When it can be received: the end of its delay or of its visibility timeout.
    pub visible_at: SystemTime,
    /// Number of times that it was received.
    pub receive_count: u32,
    /// Whether it was received and its visibility timeout has not ended.
    pub is_in_flight: bool,
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) message_id: String,
    pub(super) body: String,
    pub(super) sender: String,
    pub(super) sent_at: SystemTime,
    pub(super) visible_at: SystemTime,
    pub(super) receive_count: u32,
    pub(super) first_received_at: Option<SystemTime>,
    pub(super) last_received_at: Option<SystemTime>,
    /// ARN of the queue that gave up on it.
    pub(super) source_arn: Option<String>,
}

/// One receipt of a message.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) message_id: String,
    pub(crate) receipt_handle: String,
    pub(crate) body: String,
    /// System attributes by name.
    pub(crate) attributes: BTreeMap<&'static str, String>,
}

impl Stored {
    pub(super) fn is_in_flight(&self, now: SystemTime) -> bool {
        self.last_received_at.is_some() && self.visible_at > now
    }

    pub(super) fn view(&self, now: SystemTime) -> SqsMessage {
        SqsMessage {
            message_id: self.message_id.clone(),
            body: self.body.clone(),
            sent_at: self.sent_at,
            visible_at: self.visible_at,
            receive_count: self.receive_count,
            is_in_flight: self.is_in_flight(now),
        }
    }

    /// Returns the system attributes, as a receipt lists them.
    pub(super) fn attributes(&self) -> BTreeMap<&'static str, String> {
        let first = self.first_received_at.unwrap_or(self.sent_at);
        let mut attributes = BTreeMap::from([
            ("SenderId", self.sender.clone()),
            ("SentTimestamp", milliseconds(self.sent_at)),
            ("ApproximateReceiveCount", self.receive_count.to_string()),
            ("ApproximateFirstReceiveTimestamp", milliseconds(first)),
        ]);
        if let Some(arn) = &self.source_arn {
            attributes.insert("DeadLetterQueueSourceArn", arn.clone());
        }
        attributes
    }
}

/// Formats a time as milliseconds since the Unix epoch.
fn milliseconds(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_millis().to_string()
}
