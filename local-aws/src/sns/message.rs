//! Messages that SNS accepted.

use std::collections::BTreeMap;
use std::time::SystemTime;

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `String`, `String.Array`, `Number` or `Binary`, or one of them with a suffix of its own.
    pub data_type: String,
    /// The value; Base64 where it is binary.
    pub value: String,
}

/// A message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// SNS's id of it.
    pub message_id: String,
    /// The topic it was sent to.
    pub topic_arn: String,
    /// As it was sent: with the structure `json`, the whole JSON document.
    pub message: String,
    /// The text by protocol, `default` always among them.
    pub variants: BTreeMap<String, String>,
    /// The subject line.
    pub subject: Option<String>,
    /// The attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Group in a FIFO topic.
    pub message_group_id: Option<String>,
    /// Deduplication id in a FIFO topic: as given, or made of the content.
    pub message_deduplication_id: Option<String>,
    /// Sequence number in a FIFO topic.
    pub sequence_number: Option<String>,
    /// Whether a FIFO topic had accepted it within the last five minutes: then nobody gets it again.
    pub duplicate: bool,
    /// When it was accepted.
    pub at: SystemTime,
}
