//! Queues: which messages can be received, and what receipts do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::message::{Received, SqsMessage, Stored};

/// Settings of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long a received message stays invisible.
    pub visibility_timeout: Duration,
    /// When a message moves to a dead-letter queue; never if `None`.
    pub redrive: Option<Redrive>,
}

/// A redrive policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// URL of the dead-letter queue.
    pub dead_letter_queue_url: String,
    /// Number of receives after which a message moves instead of being received again.
    pub max_receive_count: u32,
}

/// SQS's defaults (SQS API Reference, `CreateQueue`).
impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_secs(30),
            redrive: None,
        }
    }
}

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) arn: String,
    pub(super) settings: QueueSettings,
    /// Every message that was sent, as it was sent.
    pub(super) sent: Vec<SqsMessage>,
    /// Number of next batch entries that fail.
    pub(super) failing_entries: u32,
    pub(super) duplicates: Option<u32>,
    pub(super) losses: Option<u32>,
    pub(super) reorders: bool,
    messages: BTreeMap<u64, Stored>,
    /// The messages in the order in which they become visible.
    order: BTreeSet<(SystemTime, u64)>,
    stored: u64,
}

/// What a receipt handle refers to: the message and which of its receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    message: u64,
    receive: u32,
}

/// Longest time for which a received message is invisible (SQS Developer Guide, "Amazon SQS visibility
/// timeout").
pub(super) const MAXIMUM_VISIBILITY_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

impl Receipt {
    pub(super) fn parse(handle: &str) -> Option<Self> {
        let (message, receive) = handle.strip_prefix("AQEB-")?.split_once('-')?;
        Some(Self {
            message: message.parse().ok()?,
            receive: receive.parse().ok()?,
        })
    }

    fn handle(self) -> String {
        format!("AQEB-{}-{}", self.message, self.receive)
    }
}

impl Queue {
    pub(super) fn new(arn: String, settings: QueueSettings) -> Self {
        Self {
            arn,
            settings,
            sent: Vec::new(),
            failing_entries: 0,
            duplicates: None,
            losses: None,
            reorders: false,
            messages: BTreeMap::new(),
            order: BTreeSet::new(),
            stored: 0,
        }
    }

    pub(super) fn add(&mut self, message: Stored) {
        self.order.insert((message.visible_at, self.stored));
        self.messages.insert(self.stored, message);
        self.stored += 1;
    }

    pub(super) fn purge(&mut self) {
        self.messages.clear();
        self.order.clear();
    }

    /// Returns all messages, the next one that can be received first.
    pub(super) fn views(&self, now: SystemTime) -> Vec<SqsMessage> {
        let in_order = self.order.iter();
        in_order
            .filter_map(|(_, number)| self.messages.get(number))
            .map(|message| message.view(now))
            .collect()
    }

    /// Returns when the next message can be received; `None` if there is no message.
    pub(super) fn next_visible_at(&self) -> Option<SystemTime> {
        self.order.first().map(|(at, _)| *at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes a message that can be received and was received as often as the redrive policy allows.
    pub(super) fn take_dead(&mut self, now: SystemTime) -> Option<Stored> {
        let redrive = self.settings.redrive.as_ref()?;
        let dead = self.visible(now).find(|number| {
            let message = self.messages.get(number);
            message.is_some_and(|message| message.receive_count >= redrive.max_receive_count)
        })?;
        self.remove(dead)
    }

    /// Receives these messages.
    pub(super) fn receive(
        &mut self,
        numbers: &[u64],
        visibility_timeout: Option<Duration>,
        now: SystemTime,
    ) -> Vec<Received> {
        let timeout = visibility_timeout.unwrap_or(self.settings.visibility_timeout);
        let mut received = Vec::new();
        for &number in numbers {
            self.set_visible_at(number, now + timeout);
            let Some(message) = self.messages.get_mut(&number) else {
                continue;
            };
            message.receive_count += 1;
            message.first_received_at.get_or_insert(now);
            message.last_received_at = Some(now);
            let receipt = Receipt {
                message: number,
                receive: message.receive_count,
            };
            received.push(Received {
                message_id: message.message_id.clone(),
                receipt_handle: receipt.handle(),
                body: message.body.clone(),
                attributes: message.attributes(),
            });
        }
        received
    }

    /// Deletes a message. An older receipt than the last one deletes nothing, without an error (SQS API
    /// Reference, `DeleteMessage`).
    pub(super) fn delete(&mut self, receipt: Receipt) {
        if self.last(receipt).is_some() {
            self.remove(receipt.message);
        }
    }

    /// Returns the message of a receipt, unless it was deleted or received again.
    fn last(&self, receipt: Receipt) -> Option<&Stored> {
        let message = self.messages.get(&receipt.message)?;
        (message.receive_count == receipt.receive).then_some(message)
    }

    /// Returns the messages that can be received, in the order in which they became visible.
    pub(super) fn visible(&self, now: SystemTime) -> impl Iterator<Item = u64> {
        let in_order = self.order.iter();
        in_order
            .take_while(move |(at, _)| *at <= now)
            .map(|(_, number)| *number)
    }

    fn set_visible_at(&mut self, number: u64, at: SystemTime) {
        if let Some(message) = self.messages.get_mut(&number) {
            self.order.remove(&(message.visible_at, number));
            self.order.insert((at, number));
            message.visible_at = at;
        }
    }

    fn remove(&mut self, number: u64) -> Option<Stored> {
        let message = self.messages.remove(&number)?;
        self.order.remove(&(message.visible_at, number));
        Some(message)
    }
}
