//! The SNS emulator: its state, and the methods that tests call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::delivery::Delivery;
use super::errors::invalid;
use super::message::Message;
use super::subscription::{Protocol, Subscription};
use super::topic::{Subscribed, Topic};
use crate::clock::Clock;
use crate::error_reply::ErrorReply;
use crate::ids::Ids;
use crate::settings::Settings;

/// Emulates SNS. The methods set up topics and inspect what subscribers received.
///
/// They need no permission, are not recorded and get no injected faults.
#[derive(Clone, Debug)]
pub struct Sns(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    pub(super) clock: Clock,
    pub(super) ids: Arc<Ids>,
    pub(super) account: String,
    pub(super) region: String,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) messages: Vec<Message>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) page_size: usize,
}

/// Subscriptions on one page of `ListSubscriptionsByTopic` (SNS API Reference).
const PAGE_SIZE: usize = 100;

impl Sns {
    pub(crate) fn new(settings: &Settings, clock: Clock, ids: Arc<Ids>) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                topics: BTreeMap::new(),
                messages: Vec::new(),
                deliveries: Vec::new(),
                page_size: PAGE_SIZE,
            }),
            clock,
            ids,
            account: settings.account.clone(),
            region: settings.region.clone(),
        }))
    }

    /// Creates a standard topic, unless it exists, and returns its ARN.
    pub fn create_topic(&self, name: &str) -> String {
        self.create(&self.0.region, name, Topic::new(false, false))
    }

    /// Creates a standard topic in another region, unless it exists, and returns its ARN.
    pub fn create_topic_in(&self, region: &str, name: &str) -> String {
        self.create(region, name, Topic::new(false, false))
    }

    /// Creates a FIFO topic, unless it exists, and returns its ARN.
    ///
    /// # Panics
    /// If the name does not end in `.fifo`.
    pub fn create_fifo_topic(&self, name: &str, content_based_deduplication: bool) -> String {
        assert!(
            name.ends_with(".fifo"),
            "the name of a FIFO topic ends in .fifo, not {name}"
        );
        let topic = Topic::new(true, content_based_deduplication);
        self.create(&self.0.region, name, topic)
    }

    /// Deletes a topic with its subscriptions.
    pub fn delete_topic(&self, topic_arn: &str) {
        self.state().topics.remove(topic_arn);
    }

    /// Sets the topic attribute `MaximumMessageSize`, in bytes.
    pub fn set_maximum_message_size(&self, topic_arn: &str, bytes: usize) {
        self.with(topic_arn, |topic| topic.maximum_message_size = bytes);
    }

    /// Makes `GetTopicAttributes` return this number of confirmed subscriptions, whatever is subscribed;
    /// `None` for the real number.
    pub fn count_confirmed_as(&self, topic_arn: &str, confirmed: Option<usize>) {
        self.with(topic_arn, |topic| topic.stated_confirmed = confirmed);
    }

    /// Sets the page size of `ListSubscriptionsByTopic`.
    pub fn set_page_size(&self, subscriptions: usize) {
        self.state().page_size = subscriptions;
    }

    /// Adds a subscription to a topic and returns its ARN.
    ///
    /// # Errors
    /// If the topic is FIFO and the protocol is not SQS (SNS Developer Guide, "FIFO topic message delivery").
    pub fn subscribe(
        &self,
        topic_arn: &str,
        subscription: Subscription,
    ) -> Result<String, ErrorReply> {
        let arn = format!("{topic_arn}:{}", self.0.ids.uuid());
        self.with(topic_arn, |topic| {
            if topic.fifo && subscription.protocol != Protocol::Sqs {
                return Err(invalid(&format!(
                    "Invalid protocol type: {}",
                    subscription.protocol.name()
                )));
            }
            topic.subscriptions.push(Subscribed {
                arn: arn.clone(),
                subscription,
            });
            Ok(arn)
        })
    }

    /// Confirms a pending subscription. Returns whether it exists.
    pub fn confirm(&self, subscription_arn: &str) -> bool {
        let mut state = self.state();
        let mut all = state
            .topics
            .values_mut()
            .flat_map(|topic| &mut topic.subscriptions);
        all.find(|subscribed| subscribed.arn == subscription_arn)
            .map(|subscribed| subscribed.subscription.confirmed = true)
            .is_some()
    }

    /// Returns all accepted messages, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.state().messages.clone()
    }

    /// Returns all deliveries, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.state().deliveries.clone()
    }

    /// Returns the deliveries by one protocol, oldest first.
    pub fn deliveries_by(&self, protocol: Protocol) -> Vec<Delivery> {
        let mut deliveries = self.deliveries();
        deliveries.retain(|delivery| delivery.protocol == protocol);
        deliveries
    }

    /// Deletes recorded messages and deliveries; keeps subscriptions and deduplication.
    pub fn forget_messages(&self) {
        let mut state = self.state();
        state.messages.clear();
        state.deliveries.clear();
    }

    fn create(&self, region: &str, name: &str, topic: Topic) -> String {
        let arn = format!("arn:aws:sns:{region}:{}:{name}", self.0.account);
        self.state().topics.entry(arn.clone()).or_insert(topic);
        arn
    }

    fn with<T>(&self, topic_arn: &str, act: impl FnOnce(&mut Topic) -> T) -> T {
        match self.state().topics.get_mut(topic_arn) {
            Some(topic) => act(topic),
            None => panic!("there is no topic {topic_arn}: create it first"),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
