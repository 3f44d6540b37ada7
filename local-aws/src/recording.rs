//! What was asked of the stand-ins, in order.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use crate::faults::Fault;

/// The service that a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// AWS Private CA.
    PrivateCa,
    /// Amazon S3.
    S3,
    /// Amazon SNS.
    Sns,
}

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
    /// Private CA: the report asked about.
    pub audit_report_id: Option<String>,
    /// Private CA: `JSON` or `CSV`.
    pub report_format: Option<String>,
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
            audit_report_id: None,
            report_format: None,
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

    /// Whether the answer was a success (2xx or 304) that was really sent.
    pub fn succeeded(&self) -> bool {
        self.status
            .is_some_and(|status| status < 300 || status == 304)
    }
}

/// The calls so far.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    calls: VecDeque<Call>,
    begun: u64,
    keep: Option<usize>,
}

impl Recording {
    pub(crate) fn begin(&mut self, mut call: Call) -> Call {
        call.number = self.begun;
        self.begun += 1;
        self.calls.push_back(call.clone());
        self.trim();
        call
    }

    /// Changes a call that is still kept.
    pub(crate) fn update(&mut self, number: u64, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self
            .index(number)
            .and_then(|index| self.calls.get_mut(index))
        {
            change(call);
        }
    }

    pub(crate) fn get(&self, number: u64) -> Option<Call> {
        self.calls.get(self.index(number)?).cloned()
    }

    pub(crate) fn keep(&mut self, keep: Option<usize>) {
        self.keep = keep;
        self.trim();
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    pub(crate) fn forget(&mut self) {
        self.calls.clear();
    }

    fn index(&self, number: u64) -> Option<usize> {
        let first = self.begun - self.calls.len() as u64;
        usize::try_from(number.checked_sub(first)?).ok()
    }

    fn trim(&mut self) {
        while self.keep.is_some_and(|keep| self.calls.len() > keep) {
            self.calls.pop_front();
        }
    }
}
