//! What can go wrong with a call.

use std::time::Duration;

use crate::error_reply::ErrorReply;
use crate::service::Service;

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Answers with an error and does nothing.
    Error(ErrorReply),
    /// Does the work, then answers with an error all the same.
    ErrorAfter(ErrorReply),
    /// Does nothing and answers as the service does when its request quota is exceeded.
    Throttle,
    /// Does the work at once and answers that much later.
    Late(Duration),
    /// Does the work that much later, even if the caller has gone by then, and answers.
    Delayed(Duration),
    /// Does nothing and never answers; the connection stays open.
    Hang,
    /// Does the work and never answers; the connection stays open.
    HangAfter,
    /// Does the work and closes the connection without an answer.
    LostReply,
    /// Closes the connection without doing anything.
    Disconnect,
    /// Answers, but closes the connection after that many bytes of the body.
    /// `Content-Length` still names the whole. A shorter body is not harmed.
    CutBody {
        /// Bytes of the body that arrive.
        after: u64,
    },
    /// Answers, and stops sending after that many bytes of the body; the connection stays open.
    StallBody {
        /// Bytes of the body that arrive.
        after: u64,
    },
    /// Answers with one bit of one byte of the body wrong.
    FlipByte {
        /// The byte's offset in the body; counted round where the body is shorter.
        at: u64,
    },
}

impl Fault {
    /// [`Fault::Error`] with this status, code and text.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Error(ErrorReply::new(status, code, message))
    }

    /// [`Fault::ErrorAfter`] with this status, code and text.
    pub fn error_after(status: u16, code: &str, message: &str) -> Self {
        Self::ErrorAfter(ErrorReply::new(status, code, message))
    }

    /// S3's answer to two conditional writes at the same time.
    pub fn conditional_request_conflict() -> Self {
        Self::error(
            409,
            "ConditionalRequestConflict",
            "A conflicting conditional operation is currently in progress against this resource. Please try again.",
        )
    }

    /// The answer of any service to a caller without permission, in Private CA's, S3's or SNS's words.
    pub fn access_denied(service: Service) -> Self {
        match service {
            Service::PrivateCa => Self::error(
                400,
                "AccessDeniedException",
                "User is not authorized to perform this action",
            ),
            Service::S3 => Self::error(403, "AccessDenied", "Access Denied"),
            Service::Sns => Self::error(
                403,
                "AuthorizationError",
                "User is not authorized to perform this action",
            ),
        }
    }
}
