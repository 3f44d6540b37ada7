//! A recorded call and its outcome.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::fault::Fault;
use crate::service::Service;

/// A call as received, and its outcome.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// Sequence number across all services, starting at 0.
    pub number: u64,
    /// Arrival time by the emulators' clock.
    pub at: SystemTime,
    /// The service.
    pub service: Service,
    /// API name of the operation, such as `PutObject`; `Unknown` if the emulator does not implement it.
    pub operation: String,
    /// S3 bucket; for Private CA, the report's bucket.
    pub bucket: Option<String>,
    /// S3 object key.
    pub key: Option<String>,
    /// Prefix of an S3 listing.
    pub prefix: Option<String>,
    /// ARN of the certificate authority (Private CA).
    pub certificate_authority_arn: Option<String>,
    /// `TopicArn` or `TargetArn` (SNS).
    pub topic_arn: Option<String>,
    /// `QueueUrl` (SQS).
    pub queue_url: Option<String>,
    /// The region that the request was signed for; `None` if it is not signed.
    pub region: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The `If-Match` header.
    pub if_match: Option<String>,
    /// The `If-None-Match` header.
    pub if_none_match: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
    /// All request parameters: S3's query, SNS's form fields, the top-level JSON members of the other services.
    pub parameters: BTreeMap<String, String>,
    /// The SDK's attempt number, starting at 1; `None` if the caller is not an SDK.
    pub attempt: Option<u32>,
    /// The SDK's invocation ID, the same for all attempts.
    pub invocation_id: Option<String>,
    /// The injected fault, if any.
    pub fault: Option<Fault>,
    /// Whether the service processed the request. An error response from the service counts.
    pub done: bool,
    /// HTTP status of the response; `None` if no response was sent.
    pub status: Option<u16>,
    /// Error code of the response, if its body had one.
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
            queue_url: None,
            region: None,
            user_agent: None,
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
