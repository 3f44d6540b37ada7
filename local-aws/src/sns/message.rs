//! Accepted messages.

use std::collections::BTreeMap;
use std::time::SystemTime;

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `String`, `String.Array`, `Number` or `Binary`, possibly with a custom suffix.
    pub data_type: String,
    /// Value; Base64 if binary.
    pub value: String,
}

/// An accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Message ID.
    pub message_id: String,
    /// ARN of the topic.
    pub topic_arn: String,
    /// `Message` as sent; with `MessageStructure=json`, the whole JSON document.
    pub message: String,
    /// Text by protocol; always includes `default`.
    pub variants: BTreeMap<String, String>,
    /// Subject.
    pub subject: Option<String>,
    /// Message attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Message group.
    pub message_group_id: Option<String>,
    /// Deduplication ID on a FIFO topic: as sent, or the hash of the content.
    pub message_deduplication_id: Option<String>,
    /// Sequence number on a FIFO topic.
    pub sequence_number: Option<String>,
    /// Whether a FIFO topic accepted it before, within five minutes: then it is not delivered again.
    pub duplicate: bool,
    /// Time of acceptance.
    pub at: SystemTime,
}
