//! One call, and how it was answered.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::fault::Fault;
use crate::service::Service;

/// One call as it arrived, and how it was answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// Counts up from 0 over all services.
    pub number: u64,
    /// When it arrived, by the stand-ins' clock.
    pub at: SystemTime,
    /// The service it was for.
    pub service: Service,
    /// The API's name of the operation, such as `PutObject`; `Unknown` where there is none.
    pub operation: String,
    /// S3 bucket; of Private CA, the bucket a report is to be written to.
    pub bucket: Option<String>,
    /// S3 object key.
    pub key: Option<String>,
    /// Prefix of a listing.
    pub prefix: Option<String>,
    /// Private CA: the certificate authority asked about.
    pub certificate_authority_arn: Option<String>,
    /// SNS: `TopicArn`, or `TargetArn` where that was given.
    pub topic_arn: Option<String>,
    /// The `If-Match` header.
    pub if_match: Option<String>,
    /// The `If-None-Match` header.
    pub if_none_match: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
    /// Everything else that was asked: S3's query, SNS's form fields, Private CA's JSON members.
    pub parameters: BTreeMap<String, String>,
    /// The SDK's count of this attempt, from 1; `None` for a caller that is not the SDK.
    pub attempt: Option<u32>,
    /// The SDK's identifier of the operation, the same over its retries.
    pub invocation_id: Option<String>,
    /// The fault that was applied, if any.
    pub fault: Option<Fault>,
    /// Whether the service did what was asked; a refusal by the service itself counts as done.
    pub done: bool,
    /// The HTTP status that was sent. `None`: not answered, or not yet.
    pub status: Option<u16>,
    /// The error code that was sent, where the answer had a body to say it in.
    pub error_code: Option<String>,
}

impl Call {
    pub(crate) fn new(service: Service, operation: impl Into<String>, at: SystemTime) -> Self {
        Self {
            number: 0,
            at,
            service,
            operation: operation.into(),
            bucket: None,
            key: None,
            prefix: None,
            certificate_authority_arn: None,
            topic_arn: None,
            if_match: None,
            if_none_match: None,
            range: None,
            parameters: BTreeMap::new(),
            attempt: None,
            invocation_id: None,
            fault: None,
            done: false,
            status: None,
            error_code: None,
        }
    }
}
