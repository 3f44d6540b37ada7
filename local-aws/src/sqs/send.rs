//! `SendMessage` and `SendMessageBatch`: their limits (SQS API Reference).

use std::time::Duration;

use serde_json::{Value, json};

use super::batch;
use super::emulator::{Draft, Sqs};
use super::errors::{invalid, missing, sqs, unsupported};
use crate::error_reply::ErrorReply;
use crate::md5::md5_hex;

/// Maximum size of a message, and of all messages of a batch, in bytes.
const MAXIMUM_SIZE: usize = 1_048_576;

/// Maximum delay of a message, in seconds.
const MAXIMUM_DELAY: u64 = 900;

impl Sqs {
    pub(super) fn send(&self, url: &str, request: &Value) -> Result<Value, ErrorReply> {
        self.accept(url, request, &["QueueUrl", "MessageBody", "DelaySeconds"])
    }

    pub(super) fn send_batch(&self, url: &str, request: &Value) -> Result<Value, ErrorReply> {
        let entries = batch::entries(request)?;
        let body = |entry: &&Value| entry["MessageBody"].as_str().map_or(0, str::len);
        let size: usize = entries.iter().map(body).sum();
        if size > MAXIMUM_SIZE {
            return Err(sqs(
                "BatchRequestTooLong",
                format!(
                    "Batch requests cannot be longer than {MAXIMUM_SIZE} bytes. You have sent {size} bytes."
                ),
            ));
        }
        Ok(batch::respond(&entries, |entry| {
            if self.on(url, |queue| {
                let fails = queue.failing_entries > 0;
                queue.failing_entries = queue.failing_entries.saturating_sub(1);
                fails
            })? {
                return Err(ErrorReply::new(
                    500,
                    "InternalError",
                    "We encountered an internal error. Please try again.",
                ));
            }
            self.accept(url, entry, &["Id", "MessageBody", "DelaySeconds"])
        }))
    }

    /// Stores a message with these known parameters, and returns the result.
    fn accept(&self, url: &str, request: &Value, known: &[&str]) -> Result<Value, ErrorReply> {
        let draft = draft(request, known)?;
        let md5 = md5_hex(draft.body.as_bytes());
        let message_id = self.store(url, draft)?;
        Ok(json!({ "MessageId": message_id, "MD5OfMessageBody": md5 }))
    }
}

/// Parses and checks a message.
fn draft(request: &Value, known: &[&str]) -> Result<Draft, ErrorReply> {
    if let Some((name, _)) = request
        .as_object()
        .into_iter()
        .flatten()
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        return Err(unsupported(&format!("{name} of a message")));
    }
    let body = request["MessageBody"].as_str().unwrap_or_default();
    if body.is_empty() {
        return Err(missing("MessageBody"));
    }
    if !body.chars().all(is_allowed) {
        return Err(ErrorReply::new(
            400,
            "InvalidMessageContents",
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
        ));
    }
    if body.len() > MAXIMUM_SIZE {
        return Err(invalid(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {MAXIMUM_SIZE} bytes."
        )));
    }
    let delay = match &request["DelaySeconds"] {
        Value::Null => 0,
        delay => delay
            .as_u64()
            .filter(|delay| *delay <= MAXIMUM_DELAY)
            .ok_or_else(|| {
                invalid(format!(
                    "Value {delay} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= {MAXIMUM_DELAY}."
                ))
            })?,
    };
    Ok(Draft {
        body: body.to_owned(),
        delay: Duration::from_secs(delay),
    })
}

/// Returns whether messages may contain this character.
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
