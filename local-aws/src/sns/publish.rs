//! SNS's rules for messages.
//!
//! Sources: SNS API Reference, `Publish`; SNS Developer Guide, "Message attributes".

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::errors::invalid;
use super::message::Attribute;
use super::topic::Topic;
use crate::error_reply::ErrorReply;

/// Keys that a message with `MessageStructure=json` can have.
pub(crate) const PROTOCOLS: [&str; 9] = [
    "default",
    "email",
    "email-json",
    "http",
    "https",
    "sqs",
    "lambda",
    "sms",
    "firehose",
];

/// A publish request that is being checked.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) message: String,
    pub(crate) variants: BTreeMap<String, String>,
    pub(crate) subject: Option<String>,
    pub(crate) attributes: BTreeMap<String, Attribute>,
    pub(crate) message_group_id: Option<String>,
    pub(crate) message_deduplication_id: Option<String>,
    /// Bytes of the message and its attributes.
    pub(crate) size: usize,
}

impl Draft {
    /// Parses and checks the form fields of `Publish`.
    pub(crate) fn read(fields: &BTreeMap<String, String>) -> Result<Self, ErrorReply> {
        let field = |name: &str| fields.get(name).cloned();
        let message = field("Message").unwrap_or_default();
        if message.is_empty() {
            return Err(invalid("Empty message"));
        }
        let attributes = attributes(fields)?;
        let size = message.len()
            + attributes
                .iter()
                .map(|(name, attribute)| {
                    name.len() + attribute.data_type.len() + attribute.value.len()
                })
                .sum::<usize>();
        let subject = field("Subject");
        if let Some(subject) = &subject {
            check_subject(subject)?;
        }
        let json_structure = match field("MessageStructure").as_deref() {
            None | Some("") => false,
            Some("json") => true,
            Some(_) => return Err(invalid("MessageStructure")),
        };
        let variants = if json_structure {
            variants(&message)?
        } else {
            BTreeMap::from([("default".to_owned(), message.clone())])
        };
        Ok(Self {
            message,
            variants,
            subject,
            attributes,
            message_group_id: field("MessageGroupId"),
            message_deduplication_id: field("MessageDeduplicationId"),
            size,
        })
    }

    /// Checks size, message group and deduplication ID, whose rules depend on the topic.
    pub(crate) fn check_topic(&mut self, topic: &Topic) -> Result<(), ErrorReply> {
        if self.size > topic.maximum_message_size {
            return Err(invalid("Message too long"));
        }
        for (name, id) in [
            ("MessageGroupId", &self.message_group_id),
            ("MessageDeduplicationId", &self.message_deduplication_id),
        ] {
            if id.as_ref().is_some_and(|id| !is_fifo_id(id)) {
                return Err(invalid(&format!(
                    "{name} Reason: can only include alphanumeric and punctuation characters. 1 to 128 in length"
                )));
            }
        }
        if !topic.fifo {
            // Standard topics allow message groups (for SQS fair queues) but not deduplication IDs.
            if self.message_deduplication_id.is_some() {
                return Err(invalid(
                    "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type",
                ));
            }
            return Ok(());
        }
        if self.message_group_id.is_none() {
            return Err(invalid(
                "The MessageGroupId parameter is required for FIFO topics",
            ));
        }
        if self.message_deduplication_id.is_none() {
            if !topic.content_based_deduplication {
                return Err(invalid(
                    "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
                ));
            }
            let digest = Sha256::digest(self.message.as_bytes());
            self.message_deduplication_id = Some(hex::encode(digest));
        }
        Ok(())
    }
}

/// Checks that a subject has fewer than 100 characters, is printable ASCII and does not start with a space.
fn check_subject(subject: &str) -> Result<(), ErrorReply> {
    let printable = subject
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let begins = subject
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_graphic());
    if printable && begins && subject.len() < 100 {
        Ok(())
    } else {
        Err(invalid("Subject"))
    }
}

/// Parses a message with `MessageStructure=json`. Unknown keys are ignored; duplicate keys and values that
/// are not strings are refused.
fn variants(message: &str) -> Result<BTreeMap<String, String>, ErrorReply> {
    let failed = || invalid("Message Structure - JSON message body failed to parse");
    let Members(members) = serde_json::from_str(message).map_err(|_| failed())?;
    let mut variants = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for (name, value) in members {
        if !seen.insert(name.clone()) {
            return Err(failed());
        }
        if !PROTOCOLS.contains(&name.as_str()) {
            continue;
        }
        match value {
            Value::String(text) => variants.insert(name, text),
            _ => return Err(failed()),
        };
    }
    if variants.contains_key("default") {
        Ok(variants)
    } else {
        Err(invalid(
            "Message Structure - No default entry in JSON message body",
        ))
    }
}

/// Members of a JSON object, including duplicate keys.
struct Members(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

fn attributes(
    fields: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Attribute>, ErrorReply> {
    let mut attributes = BTreeMap::new();
    for number in 1.. {
        let prefix = format!("MessageAttributes.entry.{number}");
        let Some(name) = fields.get(&format!("{prefix}.Name")) else {
            break;
        };
        let part = |part: &str| fields.get(&format!("{prefix}.Value.{part}")).cloned();
        let data_type = part("DataType").unwrap_or_default();
        let binary = data_type == "Binary" || data_type.starts_with("Binary.");
        let value = part(if binary { "BinaryValue" } else { "StringValue" });
        let attribute = Attribute {
            data_type,
            value: value.unwrap_or_default(),
        };
        check_attribute(name, &attribute)?;
        if attributes.insert(name.clone(), attribute).is_some() {
            return Err(bad_value(format!(
                "Message attribute name '{name}' is used twice"
            )));
        }
    }
    Ok(attributes)
}

fn check_attribute(name: &str, attribute: &Attribute) -> Result<(), ErrorReply> {
    let lower = name.to_ascii_lowercase();
    let name_is_good = (1..=256).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.");
    if !name_is_good {
        return Err(bad_value(format!(
            "Invalid message attribute name '{name}'"
        )));
    }
    let Attribute { data_type, value } = attribute;
    if value.is_empty() {
        return Err(bad_value(format!(
            "The message attribute '{name}' must contain a non-empty attribute value for message attribute type '{data_type}'."
        )));
    }
    let value_is_good = match data_type.split('.').next() {
        Some("String") if data_type == "String.Array" => is_flat_array(value),
        Some("String" | "Binary") => true,
        Some("Number") => is_number(value),
        _ => {
            return Err(bad_value(format!(
                "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
            )));
        }
    };
    if value_is_good {
        Ok(())
    } else {
        Err(bad_value(format!(
            "Could not cast message attribute '{name}' value to {data_type}."
        )))
    }
}

/// Returns whether a text is a JSON array of strings, numbers, booleans and nulls.
fn is_flat_array(value: &str) -> bool {
    matches!(serde_json::from_str(value), Ok(Value::Array(values))
        if values.iter().all(|value| !value.is_array() && !value.is_object()))
}

/// Returns whether a text is a number with at most 38 significant digits.
fn is_number(value: &str) -> bool {
    let mantissa = value.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa
        .bytes()
        .filter(u8::is_ascii_digit)
        .skip_while(|digit| *digit == b'0')
        .count();
    value.parse::<f64>().is_ok_and(f64::is_finite) && digits <= 38
}

fn is_fifo_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn bad_value(what: String) -> ErrorReply {
    ErrorReply::new(400, "ParameterValueInvalid", what)
}
