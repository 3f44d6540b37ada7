//! The batch of `SendMessageBatch`: up to ten entries, each with its own result.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::errors::sqs;
use crate::error_reply::ErrorReply;

/// Maximum number of entries of a batch (SQS Developer Guide, "Amazon SQS message quotas").
const MAXIMUM_ENTRIES: usize = 10;

/// Returns the entries of a batch request after checking their number and IDs.
pub(super) fn entries(request: &Value) -> Result<Vec<&Value>, ErrorReply> {
    let entries: Vec<_> = request["Entries"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    if entries.is_empty() {
        return Err(sqs(
            "EmptyBatchRequest",
            "There should be at least one SendMessageBatchRequestEntry in the request.".to_owned(),
        ));
    }
    if entries.len() > MAXIMUM_ENTRIES {
        return Err(sqs(
            "TooManyEntriesInBatchRequest",
            format!(
                "Maximum number of entries per request are {MAXIMUM_ENTRIES}. You have sent {}.",
                entries.len()
            ),
        ));
    }
    let mut ids = BTreeSet::new();
    for entry in &entries {
        let id = entry["Id"].as_str().unwrap_or_default();
        if !is_id(id) {
            return Err(sqs(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.".to_owned(),
            ));
        }
        if !ids.insert(id) {
            return Err(sqs(
                "BatchEntryIdsNotDistinct",
                format!("Id {id} repeated."),
            ));
        }
    }
    Ok(entries)
}

/// Processes every entry and returns the response.
pub(super) fn respond(
    entries: &[&Value],
    process: impl Fn(&Value) -> Result<Value, ErrorReply>,
) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        match process(entry) {
            Ok(mut result) => {
                result["Id"] = entry["Id"].clone();
                successful.push(result);
            }
            Err(error) => failed.push(json!({
                "Id": entry["Id"],
                "SenderFault": error.status < 500,
                "Code": error.code,
                "Message": error.message,
            })),
        }
    }
    let mut response = json!({});
    if !successful.is_empty() {
        response["Successful"] = successful.into();
    }
    if !failed.is_empty() {
        response["Failed"] = failed.into();
    }
    response
}

fn is_id(id: &str) -> bool {
    (1..=80).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
