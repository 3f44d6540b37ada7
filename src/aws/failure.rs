//! Classifies failed calls to AWS.

use std::error::Error;
use std::fmt;
use std::iter::successors;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::error::{AuditError, ErrorKind};

/// A failed call to AWS.
#[derive(Clone, Debug)]
pub struct CallFailure {
    operation: &'static str,
    /// What the failure says about the call's effect.
    pub class: FailureClass,
    /// The service's error code, such as `NoSuchKey`.
    pub code: Option<String>,
    /// The HTTP status of the response, if there was one.
    pub status: Option<u16>,
    message: String,
}

/// Whether a failed call had an effect, and whether a retry may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Too many requests: the call had no effect.
    Throttled,
    /// No response, a broken one, or a 5xx: the call may have had an effect.
    Unavailable,
    /// The service refused: the call had no effect.
    Refused,
}

impl CallFailure {
    /// Classifies an SDK error. `operation` is AWS's name of the call.
    pub fn new<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let code = error.code().map(str::to_owned);
        let class = match (error, code.as_deref(), status) {
            (_, Some(code), _) if is_throttling(code) => FailureClass::Throttled,
            (_, _, Some(429 | 503)) => FailureClass::Throttled,
            (_, Some("RequestTimeout" | "RequestTimeoutException"), _) => FailureClass::Unavailable,
            // S3 responds 301 if the bucket is in another region.
            (_, _, Some(301 | 400..=499)) => FailureClass::Refused,
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

    /// Whether the service returned this error code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether the requested resource does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether the caller lacks a permission. Responses to HEAD have no code: S3's 403 must do.
    pub fn is_denied(&self) -> bool {
        self.class == FailureClass::Refused
            && match self.code.as_deref() {
                Some(code) => is_denial(code),
                None => self.status == Some(403) && self.operation.starts_with("Head"),
            }
    }

    /// Returns the error for a failure without a more specific kind. `target` names the resource for
    /// people.
    pub fn error(&self, target: &str) -> AuditError {
        let kind = match self.class {
            FailureClass::Throttled => ErrorKind::Throttled,
            FailureClass::Unavailable => ErrorKind::Unavailable,
            // The last two if the bucket is in another region (Amazon S3 API Reference, "List of
            // error codes").
            FailureClass::Refused
                if self.is("NoSuchBucket")
                    || self.status == Some(301)
                    || self.is("AuthorizationHeaderMalformed") =>
            {
                ErrorKind::ReportBucketNotFound
            }
            FailureClass::Refused if self.is_denied() => ErrorKind::AccessDenied,
            FailureClass::Refused => return self.rejected(target),
        };
        self.error_of(kind, target)
    }

    /// Returns the error for a refusal that may be over by the next run: the code is unknown to this
    /// program, or it concerns the credentials, which Lambda replaces, or the clock.
    pub fn rejected(&self, target: &str) -> AuditError {
        self.error_of(ErrorKind::RequestRejected, target)
            .unconfirmed()
    }

    /// Returns an error of the given kind with this failure's message.
    pub fn error_of(&self, kind: ErrorKind, target: &str) -> AuditError {
        let message = format!("{} failed for {target}: {}", self.operation, self.message);
        AuditError {
            resource: Some(self.resource(target)),
            ..AuditError::new(kind, message)
        }
    }

    /// Returns AWS's name of the call.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Returns what the service or the SDK says, without the call.
    pub fn reason(&self) -> &str {
        &self.message
    }

    /// Returns what the call needed, whatever CA it was for: the bucket, the topic, the queue, or the
    /// operation of Private CA.
    fn resource(&self, target: &str) -> String {
        match target.strip_prefix("s3://") {
            Some(object) => bucket_uri(object.split('/').next().unwrap_or_default()),
            None if target.contains(":sns:") || target.contains("://") => target.to_owned(),
            None => format!("acm-pca:{}", self.operation),
        }
    }
}

/// Returns a bucket as errors name it.
pub fn bucket_uri(bucket: &str) -> String {
    format!("s3://{bucket}")
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.operation, self.message)
    }
}

/// Whether AWS returns this code for a missing permission. Codes for credentials, signatures and
/// clocks (such as `ExpiredToken`, `InvalidSignatureException`, `RequestTimeTooSkewed`) have the same
/// HTTP status, but do not concern permissions.
fn is_denial(code: &str) -> bool {
    // Of S3, SNS and Private CA: the key is disabled, gone, or may not be used.
    if code.starts_with("KMS") {
        return true;
    }
    const CODES: [&str; 8] = [
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "NotAuthorized",
        "UnauthorizedAccess",
        "UnauthorizedException",
        "UnauthorizedOperation",
    ];
    CODES.contains(&code)
}

/// Whether AWS returns this code for a throttled request.
fn is_throttling(code: &str) -> bool {
    // Throttled, ThrottlingException, KMSThrottling, RequestThrottled and others.
    code.contains("Throttl")
        || matches!(code, "SlowDown" | "TooManyRequestsException")
        || matches!(code, "RequestLimitExceeded" | "PriorRequestNotComplete")
}

/// Returns an error and its sources in one line; the SDK's outermost message is just "service error".
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let errors = successors(Some(error), |&error| error.source());
    let messages: Vec<_> = errors.map(ToString::to_string).collect();
    messages.join(": ")
}
