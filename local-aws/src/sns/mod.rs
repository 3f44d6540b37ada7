//! Amazon SNS: topics, subscriptions, and who would have received what.
//!
//! Protocol: AWS Query, version 2010-03-31.

mod delivery;
mod filter;
mod publish;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::Response;

pub use delivery::{Delivery, Protocol};
pub use filter::FilterPolicy;
pub use publish::{Attribute, MAXIMUM_MESSAGE_SIZE, Message};

use crate::Settings;
use crate::clock::Clock;
use crate::faults::ErrorReply;
use crate::http::{Body, escape_xml};
use crate::ids::Ids;
use delivery::Recipient;
use publish::{Draft, invalid};

/// SNS from the owner's side: topics, subscribers, and what reached them.
///
/// These calls need no permission, are not recorded and meet no faults.
#[derive(Clone, Debug)]
pub struct Sns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    clock: Clock,
    ids: Arc<Ids>,
    account: String,
    region: String,
}

#[derive(Debug)]
struct State {
    topics: BTreeMap<String, Topic>,
    messages: Vec<Message>,
    deliveries: Vec<Delivery>,
    attributes_with_json: bool,
}

#[derive(Debug)]
struct Topic {
    fifo: bool,
    content_based_deduplication: bool,
    maximum_size: usize,
    subscriptions: Vec<Subscribed>,
    deleted: u32,
    /// When a FIFO topic last accepted a message of this deduplication id, and its number then.
    accepted: BTreeMap<String, (SystemTime, String, String)>,
    sequence: u64,
}

#[derive(Debug)]
struct Subscribed {
    arn: String,
    subscription: Subscription,
}

/// A subscription to be made.
#[derive(Clone, Debug)]
#[must_use]
pub struct Subscription {
    protocol: Protocol,
    endpoint: String,
    confirmed: bool,
    raw: bool,
    filter: Option<FilterPolicy>,
}

impl Subscription {
    /// A confirmed subscription that gets everything.
    pub fn new(protocol: Protocol, endpoint: impl Into<String>) -> Self {
        Self {
            protocol,
            endpoint: endpoint.into(),
            confirmed: true,
            raw: false,
            filter: None,
        }
    }

    /// It has not been confirmed yet, and gets nothing.
    pub fn pending(mut self) -> Self {
        self.confirmed = false;
        self
    }

    /// It gets the message without SNS's wrapping (SQS, HTTP, HTTPS and Firehose only).
    pub fn raw(mut self) -> Self {
        self.raw = true;
        self
    }

    /// It gets only what this policy accepts.
    pub fn filter(mut self, policy: FilterPolicy) -> Self {
        self.filter = Some(policy);
        self
    }
}

impl Sns {
    pub(crate) fn new(settings: &Settings, clock: Clock, ids: Arc<Ids>) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                topics: BTreeMap::new(),
                messages: Vec::new(),
                deliveries: Vec::new(),
                attributes_with_json: true,
            }),
            clock,
            ids,
            account: settings.account.clone(),
            region: settings.region.clone(),
        }))
    }

    /// Creates a standard topic and gives its ARN. One that is there already stays as it is.
    pub fn create_topic(&self, name: &str) -> String {
        self.create(name, false, false)
    }

    /// Creates a FIFO topic, whose name must end in `.fifo`, and gives its ARN.
    ///
    /// # Panics
    /// Where the name does not end so.
    pub fn create_fifo_topic(&self, name: &str, content_based_deduplication: bool) -> String {
        assert!(
            name.ends_with(".fifo"),
            "the name of a FIFO topic ends in .fifo, not {name}"
        );
        self.create(name, true, content_based_deduplication)
    }

    /// Deletes a topic with its subscriptions.
    pub fn delete_topic(&self, topic_arn: &str) {
        self.state().topics.remove(topic_arn);
    }

    /// Sets a topic's `MaximumMessageSize`, in bytes.
    ///
    /// # Panics
    /// Where there is no such topic, here as in all methods that take an ARN.
    pub fn set_maximum_message_size(&self, topic_arn: &str, bytes: usize) {
        self.with(topic_arn, |topic| topic.maximum_size = bytes);
    }

    /// Says whether attributes go along with messages of structure `json`. They do at first; AWS's
    /// page on message attributes says that they do not.
    pub fn set_attributes_with_json(&self, go_along: bool) {
        self.state().attributes_with_json = go_along;
    }

    /// Subscribes and gives the subscription's ARN.
    ///
    /// # Errors
    /// FIFO topics have SQS subscribers only (SNS Developer Guide, "FIFO topic message delivery").
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

    /// Confirms a pending subscription, and says whether there is one of this ARN.
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

    /// Ends a subscription, and says whether there was one of this ARN.
    pub fn unsubscribe(&self, subscription_arn: &str) -> bool {
        self.state().topics.values_mut().any(|topic| {
            let before = topic.subscriptions.len();
            topic
                .subscriptions
                .retain(|subscribed| subscribed.arn != subscription_arn);
            let ended = topic.subscriptions.len() < before;
            topic.deleted += u32::from(ended);
            ended
        })
    }

    /// All messages that were accepted, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.state().messages.clone()
    }

    /// All that subscribers received, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.state().deliveries.clone()
    }

    /// What subscribers of one protocol received, oldest first.
    pub fn deliveries_by(&self, protocol: Protocol) -> Vec<Delivery> {
        let mut deliveries = self.deliveries();
        deliveries.retain(|delivery| delivery.protocol == protocol);
        deliveries
    }

    /// Forgets messages and deliveries so far; subscriptions and deduplication stay.
    pub fn forget_messages(&self) {
        let mut state = self.state();
        state.messages.clear();
        state.deliveries.clear();
    }

    /// Answers one request: the action and its form fields.
    pub(crate) fn answer(
        &self,
        action: &str,
        fields: &BTreeMap<String, String>,
        request_id: &str,
    ) -> Response<Body> {
        let result = match action {
            "Publish" => self.publish(fields),
            "GetTopicAttributes" => self.topic_attributes(fields),
            _ => Err(ErrorReply::new(
                400,
                "InvalidAction",
                format!("The action {action} is not valid for this endpoint."),
            )),
        };
        match result {
            Ok(result) => xml_response(
                200,
                format!(
                    "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
                ),
                request_id,
            ),
            Err(error) => error_response(&error, request_id),
        }
    }

    fn publish(&self, fields: &BTreeMap<String, String>) -> Result<String, ErrorReply> {
        let now = self.0.clock.now();
        let topic_arn = topic_arn(fields, &["TopicArn", "TargetArn"])?;
        let mut state = self.state();
        let State {
            topics,
            messages,
            deliveries,
            attributes_with_json,
        } = &mut *state;
        let topic = topics.get_mut(topic_arn).ok_or_else(no_topic)?;
        let mut draft = Draft::read(fields, topic.maximum_size)?;
        draft.check_topic(topic.fifo, topic.content_based_deduplication)?;
        let mut message = Message {
            message_id: self.0.ids.uuid(),
            topic_arn: topic_arn.to_owned(),
            message: draft.message,
            variants: draft.variants,
            subject: draft.subject,
            json_structure: draft.json_structure,
            attributes: draft.attributes,
            message_group_id: draft.message_group_id,
            message_deduplication_id: draft.message_deduplication_id,
            sequence_number: None,
            duplicate: false,
            at: now,
        };
        if topic.fifo {
            topic.number(&mut message);
        }
        if !message.duplicate {
            let none = BTreeMap::new();
            let go_along = !message.json_structure || *attributes_with_json;
            let attributes = if go_along { &message.attributes } else { &none };
            deliveries.extend(topic.deliveries(&message, attributes));
        }
        let mut result = format!("<MessageId>{}</MessageId>", message.message_id);
        if let Some(number) = &message.sequence_number {
            write!(result, "<SequenceNumber>{number}</SequenceNumber>")
                .expect("writing to a String cannot fail");
        }
        messages.push(message);
        Ok(result)
    }

    fn topic_attributes(&self, fields: &BTreeMap<String, String>) -> Result<String, ErrorReply> {
        let arn = topic_arn(fields, &["TopicArn"])?;
        let state = self.state();
        let topic = state.topics.get(arn).ok_or_else(no_topic)?;
        let confirmed = topic.confirmed();
        let pending = topic.subscriptions.len() - confirmed;
        let account = &self.0.account;
        let mut attributes = vec![
            ("TopicArn", arn.to_owned()),
            ("Owner", account.clone()),
            ("DisplayName", String::new()),
            (
                "Policy",
                serde_json::json!({
                    "Version": "2008-10-17",
                    "Statement": [{
                        "Effect": "Allow",
                        "Principal": { "AWS": account },
                        "Action": "SNS:Publish",
                        "Resource": arn,
                    }],
                })
                .to_string(),
            ),
            ("SubscriptionsConfirmed", confirmed.to_string()),
            ("SubscriptionsPending", pending.to_string()),
            ("SubscriptionsDeleted", topic.deleted.to_string()),
        ];
        if topic.fifo {
            attributes.push(("FifoTopic", "true".to_owned()));
            attributes.push((
                "ContentBasedDeduplication",
                topic.content_based_deduplication.to_string(),
            ));
        }
        let mut result = String::from("<Attributes>");
        for (name, value) in attributes {
            write!(
                result,
                "<entry><key>{name}</key><value>{}</value></entry>",
                escape_xml(&value)
            )
            .expect("writing to a String cannot fail");
        }
        result.push_str("</Attributes>");
        Ok(result)
    }

    fn create(&self, name: &str, fifo: bool, content_based_deduplication: bool) -> String {
        let arn = format!("arn:aws:sns:{}:{}:{name}", self.0.region, self.0.account);
        self.state()
            .topics
            .entry(arn.clone())
            .or_insert_with(|| Topic {
                fifo,
                content_based_deduplication,
                maximum_size: MAXIMUM_MESSAGE_SIZE,
                subscriptions: Vec::new(),
                deleted: 0,
                accepted: BTreeMap::new(),
                sequence: 0,
            });
        arn
    }

    fn with<T>(&self, topic_arn: &str, act: impl FnOnce(&mut Topic) -> T) -> T {
        match self.state().topics.get_mut(topic_arn) {
            Some(topic) => act(topic),
            None => panic!("there is no topic {topic_arn}: create it first"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topic {
    fn confirmed(&self) -> usize {
        let all = self.subscriptions.iter();
        all.filter(|subscribed| subscribed.subscription.confirmed)
            .count()
    }

    /// Gives a message of a FIFO topic its number, or finds that it came already within five minutes
    /// (SNS Developer Guide, "Message deduplication for FIFO topics").
    fn number(&mut self, message: &mut Message) {
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

    fn deliveries(
        &self,
        message: &Message,
        attributes: &BTreeMap<String, Attribute>,
    ) -> Vec<Delivery> {
        let wants = |subscription: &Subscription| {
            let text = delivery::variant(message, subscription.protocol);
            let filter = subscription.filter.as_ref();
            subscription.confirmed && filter.is_none_or(|filter| filter.accepts(attributes, text))
        };
        self.subscriptions
            .iter()
            .filter(|subscribed| wants(&subscribed.subscription))
            .map(|subscribed| {
                let recipient = Recipient {
                    subscription_arn: &subscribed.arn,
                    protocol: subscribed.subscription.protocol,
                    endpoint: &subscribed.subscription.endpoint,
                    raw: subscribed.subscription.raw,
                };
                delivery::deliver(message, attributes, &recipient)
            })
            .collect()
    }
}

const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// SNS's answer to a caller that is over its quota.
pub(crate) fn throttled() -> ErrorReply {
    ErrorReply::new(400, "Throttling", "Rate exceeded")
}

/// An error in the form of AWS Query.
pub(crate) fn error_response(error: &ErrorReply, request_id: &str) -> Response<Body> {
    let kind = if error.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    let document = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        escape_xml(&error.code),
        escape_xml(&error.message)
    );
    xml_response(error.status, document, request_id)
}

fn xml_response(status: u16, document: String, request_id: &str) -> Response<Body> {
    let mut response = Response::new(crate::http::full(document));
    *response.status_mut() = crate::http::status(status);
    let headers = response.headers_mut();
    crate::http::insert(headers, "content-type", "text/xml");
    crate::http::insert(headers, "x-amzn-requestid", request_id);
    response
}

/// The first of these fields that is given, as the ARN of a topic.
fn topic_arn<'a>(
    fields: &'a BTreeMap<String, String>,
    names: &[&str],
) -> Result<&'a str, ErrorReply> {
    let arn = names
        .iter()
        .find_map(|name| fields.get(*name))
        .filter(|arn| !arn.is_empty())
        .ok_or_else(|| {
            invalid(&format!(
                "{} Reason: no value for required parameter",
                names.join(" or ")
            ))
        })?;
    let parts: Vec<&str> = arn.split(':').collect();
    if parts.len() == 6 && parts[0] == "arn" && parts[2] == "sns" {
        Ok(arn)
    } else {
        Err(invalid(&format!(
            "{} Reason: An ARN must have at least 6 elements, not {}",
            names[0],
            parts.len()
        )))
    }
}

fn no_topic() -> ErrorReply {
    ErrorReply::new(404, "NotFound", "Topic does not exist")
}
