//! A requested audit report that was not read to its end yet.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// A report that was requested, or adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PendingReport {
    pub id: String,
    pub key: String,
    pub requested_at: Timestamp,
    /// Scans begun and not known to have come to their end.
    #[serde(default)]
    pub attempts: u32,
}
