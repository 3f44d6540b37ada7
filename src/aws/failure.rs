//! What the failure of a call to AWS means.

use std::error::Error;
use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::error::{AuditError, ErrorKind};

/// What became of a call that did not succeed.
#[derive(Clone, Debug)]
pub struct CallFailure {
    pub operation: &'static str,
    pub class: FailureClass,
    /// The service's error code, such as `NoSuchKey`.
    pub code: Option<String>,
    /// The HTTP status of the answer, if there was one.
    pub status: Option<u16>,
    message: String,
}

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Too many requests: nothing was done.
    Throttled,
    /// No answer, a broken one, or a 5xx: the work may have been done or not.
    Unavailable,
    /// The service said no: nothing was done.
    Refused,
}

impl CallFailure {
    /// Reads the SDK's error. `operation` is AWS's name of it.
    pub fn new<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let code = error.code().map(str::to_owned);
        let class = match (error, code.as_deref(), status) {
            (_, Some(code), _) if THROTTLED.contains(&code) => FailureClass::Throttled,
            (_, _, Some(429 | 503)) => FailureClass::Throttled,
            (_, Some("RequestTimeout" | "RequestTimeoutException"), _) => FailureClass::Unavailable,
            (SdkError::ServiceError(_), _, Some(400..=499)) => FailureClass::Refused,
            // An error with an empty body, as HEAD gets, has no code but a status.
            (_, _, Some(400..=499)) => FailureClass::Refused,
            // S3's answer where the bucket is in another region.
            (_, _, Some(301)) => FailureClass::Refused,
            (SdkError::ConstructionFailure(_), _, _) => FailureClass::Refused,
            _ => FailureClass::Unavailable,
        };
        let message = match (error.code(), error.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            (None, _) => chain(error),
        };
        Self {
            operation,
            class,
            code,
            status,
            message,
        }
    }

    /// Whether the service answered with this error code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether a permission is missing.
    pub fn is_denied(&self) -> bool {
        self.class == FailureClass::Refused
            && (self.status == Some(403)
                || [
                    "AccessDenied",
                    "AccessDeniedException",
                    "AuthorizationError",
                ]
                .iter()
                .any(|code| self.is(code)))
    }

    /// Whether the bucket is in another region
    /// (Amazon S3 API Reference, "List of error codes").
    fn is_elsewhere(&self) -> bool {
        self.status == Some(301) || self.is("AuthorizationHeaderMalformed")
    }

    /// The fault where nothing more particular is known of this failure. `target` says what was
    /// asked for, for people.
    pub fn error(&self, target: &str) -> AuditError {
        let kind = match self.class {
            FailureClass::Throttled => ErrorKind::Throttled,
            FailureClass::Unavailable => ErrorKind::Unavailable,
            FailureClass::Refused if self.is("NoSuchBucket") || self.is_elsewhere() => {
                ErrorKind::ReportBucketNotFound
            }
            FailureClass::Refused => ErrorKind::AccessDenied,
        };
        self.error_of(kind, target)
    }

    /// A fault of a given kind, in the words of this failure.
    pub fn error_of(&self, kind: ErrorKind, target: &str) -> AuditError {
        AuditError::new(
            kind,
            format!("{} of {target} failed: {}", self.operation, self.message),
        )
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.operation, self.message)
    }
}

/// The codes under which AWS services refuse too many requests.
const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "Throttled",
    "KMSThrottling",
    "KMSThrottlingException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
    "PriorRequestNotComplete",
];

/// An error and its sources in one line: the outermost message of the SDK says next to nothing.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
