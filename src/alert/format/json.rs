//! The JSON message for programs: SQS, Lambda, HTTP, HTTPS, Firehose and email-JSON subscribers.
//!
//! Its schema is `docs/message.schema.json`. Everything that a filter policy of scope `MessageBody`
//! needs is at the top level. Unknown fields are left out.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::alert::types::ObjectLocation;
use crate::revocation::reason::Severity;
use crate::timestamp::Timestamp;

/// The version of the JSON message. A change that a reader of this version would misread gets a new
/// one.
pub const SCHEMA: &str = "pca-revocation-watch/1";

/// The JSON message; fields without a value are left out.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    pub schema: &'static str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub id: String,
    pub severity: Severity,
    pub certificate_authority_arn: String,
    pub reasons: Vec<String>,
    pub detected_at: Option<Timestamp>,
    pub since: Option<Timestamp>,
    pub request_id: Option<String>,
    pub error: Option<Value>,
    pub last_complete_audit_at: Option<Timestamp>,
    pub report: Option<Value>,
    pub notify_from: Option<Timestamp>,
    pub counts: Option<Value>,
    pub reduced: Option<bool>,
    pub complete: Option<bool>,
    pub full_list: Option<ObjectLocation>,
    pub revocations: Option<Vec<Map<String, Value>>>,
}
