//! Builds the messages that SNS gets from an alert.

use serde_json::{Value, json};

use crate::alert::content::Content;
use crate::alert::format::{chat_card, email, sms};
use crate::alert::reduced::reduce;
use crate::alert::size::{to_json, with_values};
use crate::alert::types::Alert;
use crate::revocation::reason::Severity;
use crate::text::defang::ascii;

/// Maximum characters of a subject: SNS takes fewer than 100 (`Publish`, Amazon SNS API Reference).
const MAX_SUBJECT_LEN: usize = 99;

/// The parameters of a `Publish` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Fewer than 100 printable ASCII characters.
    pub subject: String,
    /// The document of `MessageStructure=json`.
    pub body: String,
    /// The message attributes.
    pub attributes: Vec<Attribute>,
    /// `MessageGroupId` for a FIFO topic.
    pub group_id: String,
    /// `MessageDeduplicationId` for a FIFO topic: the message's `id`.
    pub deduplication_id: String,
}

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// `String` or `String.Array`.
    pub data_type: &'static str,
    /// Its value.
    pub value: String,
}

impl Alert {
    /// Returns the identity of the message: a repeat after a lost reply has the same.
    pub fn id(&self) -> String {
        Content::of(self).document.id
    }

    /// Returns the message's type, such as `revocations` or `watch-failed`.
    pub fn kind(&self) -> &'static str {
        Content::of(self).document.kind
    }

    /// Returns the severity: that of the worst revocation. `watch-failed` is high, since alerts are
    /// paused; a test is critical like its sample, so that the path to a pager can be tested.
    pub fn severity(&self) -> Severity {
        Content::of(self).document.severity
    }

    /// Returns the message for the topic of all kinds of subscribers.
    pub fn message(&self) -> Message {
        full_message(&Content::of(self))
    }

    /// Returns the same message without any text that others chose, in ASCII.
    pub fn reduced(&self) -> Message {
        full_message(&reduce(Content::of(self)))
    }

    /// Returns the message for the topic of a chat channel.
    pub fn chat(&self) -> Message {
        let content = Content::of(self);
        envelope(&content, &json!({ "default": chat_card::render(&content) }))
    }
}

fn full_message(content: &Content) -> Message {
    let texts = json!({
        "default": to_json(&with_values(&content.document)),
        "email": email::render(content),
        "sms": sms::render(content),
    });
    envelope(content, &texts)
}

/// `texts` has the text for each protocol.
fn envelope(content: &Content, texts: &Value) -> Message {
    let document = &content.document;
    let arn = &content.certificate_authority;
    let attribute = |name, data_type, value: &str| Attribute {
        name,
        data_type,
        value: value.to_owned(),
    };
    let mut attributes = vec![
        attribute("severity", "String", document.severity.name()),
        attribute("type", "String", document.kind),
        attribute("certificateAuthorityArn", "String", arn.as_str()),
    ];
    if !document.reasons.is_empty() {
        let reasons = to_json(&document.reasons);
        attributes.push(attribute("reasons", "String.Array", &reasons));
    }
    let name = |name: &str| ascii(name, MAX_SUBJECT_LEN);
    Message {
        subject: content.subject.fitted(MAX_SUBJECT_LEN, name),
        body: to_json(texts),
        attributes,
        group_id: arn.id().to_owned(),
        deduplication_id: document.id.clone(),
    }
}

impl Message {
    /// Returns the bytes that SNS limits: those of the body and of the names, types and values of
    /// the attributes. Never more than [`LIMIT`](crate::alert::size::LIMIT).
    pub fn size(&self) -> usize {
        let size = |item: &Attribute| item.name.len() + item.data_type.len() + item.value.len();
        self.body.len() + self.attributes.iter().map(size).sum::<usize>()
    }
}
