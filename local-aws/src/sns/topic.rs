//! Topics: subscriptions, deduplication and delivery.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::delivery::{Delivery, deliver};
use super::message::Message;
use super::subscription::Subscription;

/// Default maximum size of a message including its attributes, in bytes.
pub const MAXIMUM_MESSAGE_SIZE: usize = 262_144;

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) fifo: bool,
    pub(super) content_based_deduplication: bool,
    pub(super) subscriptions: Vec<Subscribed>,
    pub(super) maximum_message_size: usize,
    /// The number of confirmed subscriptions that `GetTopicAttributes` returns instead of the real one.
    pub(super) stated_confirmed: Option<usize>,
    /// Accepted messages of a FIFO topic by deduplication ID: time, message ID and sequence number.
    accepted: BTreeMap<String, (SystemTime, String, String)>,
    sequence: u64,
}

#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) arn: String,
    pub(super) subscription: Subscription,
}

impl Topic {
    pub(super) fn new(fifo: bool, content_based_deduplication: bool) -> Self {
        Self {
            fifo,
            content_based_deduplication,
            subscriptions: Vec::new(),
            maximum_message_size: MAXIMUM_MESSAGE_SIZE,
            stated_confirmed: None,
            accepted: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(super) fn confirmed(&self) -> usize {
        let all = self.subscriptions.iter();
        all.filter(|subscribed| subscribed.subscription.confirmed)
            .count()
    }

    /// Assigns a sequence number to a FIFO message, or marks it as a duplicate of one accepted within five
    /// minutes (SNS Developer Guide, "Message deduplication for FIFO topics").
    pub(super) fn deduplicate(&mut self, message: &mut Message) {
        const DEDUPLICATION: Duration = Duration::from_secs(5 * 60);
        let now = message.at;
        self.accepted
            .retain(|_, (at, _, _)| *at + DEDUPLICATION > now);
        let id = message.message_deduplication_id.clone().unwrap_or_default();
        if let Some((_, message_id, number)) = self.accepted.get(&id) {
            message.message_id.clone_from(message_id);
            message.sequence_number = Some(number.clone());
            message.duplicate = true;
            return;
        }
        self.sequence += 1;
        let number = format!("1{:019}", self.sequence);
        let accepted = (now, message.message_id.clone(), number.clone());
        self.accepted.insert(id, accepted);
        message.sequence_number = Some(number);
    }

    /// Delivers a message to every confirmed subscription.
    pub(super) fn deliveries(&self, message: &Message) -> impl Iterator<Item = Delivery> {
        self.subscriptions
            .iter()
            .map(|subscribed| &subscribed.subscription)
            .filter(|subscription| subscription.confirmed)
            .map(|subscription| deliver(message, subscription))
    }
}
