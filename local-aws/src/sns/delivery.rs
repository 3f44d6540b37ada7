//! What each protocol's subscriber receives of a message.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::message::{Attribute, Message};
use super::subscription::Protocol;

/// One message as one subscriber got it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The topic it came from.
    pub topic_arn: String,
    /// The subscription it came by.
    pub subscription_arn: String,
    /// How it came.
    pub protocol: Protocol,
    /// Where to.
    pub endpoint: String,
    /// SNS's id of the message, the same for all subscribers.
    pub message_id: String,
    /// The line above an e-mail; SNS's own where the message has none.
    pub subject: Option<String>,
    /// The variant of the message for this protocol, as it was written.
    pub text: String,
    /// What arrives: the text itself, or the JSON that SNS wraps it in.
    pub body: String,
    /// The parts a text message is sent in.
    pub sms_parts: Vec<String>,
    /// Attributes that go along.
    pub attributes: BTreeMap<String, Attribute>,
    /// Group, where the topic is FIFO.
    pub message_group_id: Option<String>,
    /// When it was sent.
    pub at: SystemTime,
}

pub(crate) struct Recipient<'a> {
    pub(crate) subscription_arn: &'a str,
    pub(crate) protocol: Protocol,
    pub(crate) endpoint: &'a str,
    pub(crate) raw: bool,
}

pub(crate) fn deliver(
    message: &Message,
    attributes: &BTreeMap<String, Attribute>,
    to: &Recipient<'_>,
) -> Delivery {
    let text = variant(message, to.protocol);
    let mut sms = Vec::new();
    let body = match to.protocol {
        Protocol::Email => text.to_owned(),
        Protocol::Sms => {
            let text = shorten(text);
            sms = sms_parts(&text);
            text
        }
        Protocol::Lambda => {
            let record = json!({
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": to.subscription_arn,
                "Sns": notification(message, attributes, to, text, "Url"),
            });
            json!({ "Records": [record] }).to_string()
        }
        Protocol::Sqs | Protocol::Http | Protocol::Https | Protocol::Firehose if to.raw => {
            text.to_owned()
        }
        Protocol::Sqs
        | Protocol::Http
        | Protocol::Https
        | Protocol::Firehose
        | Protocol::EmailJson => notification(message, attributes, to, text, "URL").to_string(),
    };
    let subject = matches!(to.protocol, Protocol::Email | Protocol::EmailJson).then(|| {
        let subject = message.subject.clone();
        subject.unwrap_or_else(|| "AWS Notification Message".to_owned())
    });
    Delivery {
        topic_arn: message.topic_arn.clone(),
        subscription_arn: to.subscription_arn.to_owned(),
        protocol: to.protocol,
        endpoint: to.endpoint.to_owned(),
        message_id: message.message_id.clone(),
        subject,
        text: text.to_owned(),
        body,
        sms_parts: sms,
        attributes: attributes.clone(),
        message_group_id: message.message_group_id.clone(),
        at: message.at,
    }
}

/// The text meant for a protocol.
pub(crate) fn variant(message: &Message, protocol: Protocol) -> &str {
    let of = |name: &str| message.variants.get(name).map(String::as_str);
    of(protocol.name())
        .or_else(|| of("default"))
        .unwrap_or_default()
}

/// The JSON that SNS wraps a message in (SNS Developer Guide, "Parsing message formats").
fn notification(
    message: &Message,
    attributes: &BTreeMap<String, Attribute>,
    to: &Recipient<'_>,
    text: &str,
    url: &str,
) -> Value {
    let mut wrapped = serde_json::Map::new();
    wrapped.insert("Type".to_owned(), "Notification".into());
    wrapped.insert("MessageId".to_owned(), message.message_id.clone().into());
    if let Some(number) = &message.sequence_number {
        wrapped.insert("SequenceNumber".to_owned(), number.clone().into());
    }
    wrapped.insert("TopicArn".to_owned(), message.topic_arn.clone().into());
    if let Some(subject) = &message.subject {
        wrapped.insert("Subject".to_owned(), subject.clone().into());
    }
    wrapped.insert("Message".to_owned(), text.into());
    wrapped.insert("Timestamp".to_owned(), timestamp(message.at).into());
    // The stand-in signs nothing: FIFO topics and standard ones alike name version 1.
    wrapped.insert("SignatureVersion".to_owned(), "1".into());
    wrapped.insert("Signature".to_owned(), "EXAMPLE".into());
    let region = message.topic_arn.split(':').nth(3).unwrap_or_default();
    wrapped.insert(
        format!("SigningCert{url}"),
        format!("https://sns.{region}.amazonaws.com/SimpleNotificationService.pem").into(),
    );
    wrapped.insert(
        format!("Unsubscribe{url}"),
        format!(
            "https://sns.{region}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={}",
            to.subscription_arn
        )
        .into(),
    );
    if !attributes.is_empty() {
        let attributes: serde_json::Map<String, Value> = attributes
            .iter()
            .map(|(name, attribute)| {
                let attribute = json!({ "Type": attribute.data_type, "Value": attribute.value });
                (name.clone(), attribute)
            })
            .collect();
        wrapped.insert("MessageAttributes".to_owned(), attributes.into());
    }
    Value::Object(wrapped)
}

fn timestamp(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        ))
        .expect("every component of the format is part of a date with time")
}

/// A text message has at most 1600 characters (SNS API Reference, `Publish`).
fn shorten(text: &str) -> String {
    const MOST: usize = 1600;
    text.chars().take(MOST).collect()
}

/// The parts of a text message: up to 140 characters of ASCII, or 70 of anything else, cut at a space
/// where there is one (SNS API Reference, `Publish`).
fn sms_parts(text: &str) -> Vec<String> {
    let most = if text.is_ascii() { 140 } else { 70 };
    let mut parts = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > most {
        let cut = rest[..=most]
            .iter()
            .rposition(|&character| character == ' ');
        let after = rest.split_off(cut.filter(|&cut| cut > 0).unwrap_or(most));
        parts.push(rest.into_iter().collect());
        let spaces = after
            .iter()
            .take_while(|&&character| character == ' ')
            .count();
        rest = after[spaces..].to_vec();
    }
    parts.push(rest.into_iter().collect());
    parts
}
