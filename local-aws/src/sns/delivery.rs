//! Deliveries of messages to subscribers.

use std::time::SystemTime;

use super::message::Message;
use super::subscription::{Protocol, Subscription};

/// One message as one subscriber received it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// ARN of the topic.
    pub topic_arn: String,
    /// Protocol of the subscription.
    pub protocol: Protocol,
    /// Endpoint of the subscription.
    pub endpoint: String,
    /// The message's ID, the same for all subscribers.
    pub message_id: String,
    /// Subject of an email; SNS's default if the message has none.
    pub subject: Option<String>,
    /// The variant of the message for this protocol, without SNS's JSON envelope.
    pub text: String,
    /// Message group, on a FIFO topic.
    pub message_group_id: Option<String>,
    /// Time of the delivery.
    pub at: SystemTime,
}

pub(super) fn deliver(message: &Message, to: &Subscription) -> Delivery {
    let subject = matches!(to.protocol, Protocol::Email | Protocol::EmailJson).then(|| {
        let subject = message.subject.clone();
        subject.unwrap_or_else(|| "AWS Notification Message".to_owned())
    });
    Delivery {
        topic_arn: message.topic_arn.clone(),
        protocol: to.protocol,
        endpoint: to.endpoint.clone(),
        message_id: message.message_id.clone(),
        subject,
        text: variant(message, to.protocol).to_owned(),
        message_group_id: message.message_group_id.clone(),
        at: message.at,
    }
}

/// Returns the text for a protocol.
fn variant(message: &Message, protocol: Protocol) -> &str {
    let of = |name: &str| message.variants.get(name).map(String::as_str);
    of(protocol.name())
        .or_else(|| of("default"))
        .unwrap_or_default()
}
