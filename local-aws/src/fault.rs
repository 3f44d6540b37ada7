//! Faults that can be injected into a call.

use std::time::Duration;

use crate::error_reply::ErrorReply;
use crate::service::Service;

/// A fault that can be injected into a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Returns an error without processing the request.
    Error(ErrorReply),
    /// Processes the request, then returns an error.
    ErrorAfter(ErrorReply),
    /// Returns the service's throttling error without processing the request.
    Throttle,
    /// Processes the request at once and sends the response after this delay.
    Late(Duration),
    /// Processes the request after this delay, even if the caller has disconnected, then responds.
    Delayed(Duration),
    /// Never processes the request and never responds; the connection stays open.
    Hang,
    /// Processes the request and never responds; the connection stays open.
    HangAfter,
    /// Processes the request and closes the connection without a response.
    LostReply,
    /// Closes the connection without processing the request.
    Disconnect,
    /// Responds, but closes the connection after `after` bytes of the body.
    /// `Content-Length` stays unchanged. A shorter body arrives intact.
    CutBody {
        /// Number of bytes of the body that arrive.
        after: u64,
    },
    /// Responds, but stops sending after `after` bytes of the body; the connection stays open.
    StallBody {
        /// Number of bytes of the body that arrive.
        after: u64,
    },
    /// Responds with one flipped bit in the body.
    FlipByte {
        /// Offset of the damaged byte, modulo the length of the body.
        at: u64,
    },
}

impl Fault {
    /// Creates a [`Fault::Error`].
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Error(ErrorReply::new(status, code, message))
    }

    /// Creates a [`Fault::ErrorAfter`].
    pub fn error_after(status: u16, code: &str, message: &str) -> Self {
        Self::ErrorAfter(ErrorReply::new(status, code, message))
    }

    /// Creates S3's error for conflicting conditional writes.
    pub fn conditional_request_conflict() -> Self {
        Self::error(
            409,
            "ConditionalRequestConflict",
            "A conflicting conditional operation is currently in progress against this resource. Please try again.",
        )
    }

    /// Creates the service's error for a caller without permission.
    pub fn access_denied(service: Service) -> Self {
        match service {
            Service::PrivateCa | Service::CloudTrail | Service::Acm => Self::error(
                400,
                "AccessDeniedException",
                "User is not authorized to perform this action",
            ),
            Service::S3 => Self::error(403, "AccessDenied", "Access Denied"),
            Service::Sqs => Self::error(
                403,
                "AccessDenied",
                "User is not authorized to perform this action",
            ),
            Service::Sns => Self::error(
                403,
                "AuthorizationError",
                "User is not authorized to perform this action",
            ),
        }
    }
}
