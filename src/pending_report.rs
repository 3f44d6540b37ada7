//! A requested audit report that has not been read to its end yet.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::timestamp::Timestamp;

/// A report that was requested or adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PendingReport {
    /// Private CA's ID of the report.
    pub id: String,
    /// The key of its object.
    pub key: String,
    /// When it was requested.
    pub requested_at: Timestamp,
    /// Scans that crashed the process, or whose outcome counts against the report.
    #[serde(default)]
    pub attempts: u32,
    /// Whether it was read and is implausible: it is kept only to be accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implausible: bool,
}

impl PendingReport {
    /// Creates a report that was not read yet.
    pub fn new(id: String, key: String, requested_at: Timestamp) -> Self {
        Self {
            id,
            key,
            requested_at,
            attempts: 0,
            implausible: false,
        }
    }

    /// Returns what a response says about the report.
    pub fn summary(&self) -> Value {
        json!({ "id": self.id, "key": self.key, "requestedAt": self.requested_at })
    }
}
