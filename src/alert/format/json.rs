//! The JSON message for programs: SQS, Lambda, HTTP, HTTPS, Firehose and email-JSON subscribers.
//!
//! Its schema is `docs/message.schema.json`. Everything that a filter policy of scope `MessageBody`
//! needs is at the top level. Unknown fields are left out.

use serde::Serialize;
use serde_json::Value;

use crate::alert::entry::Entry;
use crate::alert::types::ObjectLocation;
use crate::arn::CertificateAuthorityArn;
use crate::revocation::reason::Severity;
use crate::timestamp::Timestamp;

/// The version of the JSON message. A change that a reader of this version would misread gets a new
/// one.
pub const SCHEMA: &str = "pca-revocation-watch/1";

/// The JSON message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    pub schema: &'static str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub id: String,
    pub severity: Severity,
    pub certificate_authority_arn: CertificateAuthorityArn,
    pub reasons: Vec<String>,
    pub detected_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_complete_audit_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify_from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reduced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_list: Option<ObjectLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocations: Option<Vec<Entry>>,
}
