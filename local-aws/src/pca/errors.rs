//! Private CA's errors.

use crate::error_reply::ErrorReply;

/// Private CA's answer to a caller that is over its quota.
pub(crate) fn throttled() -> ErrorReply {
    ErrorReply::new(400, "ThrottlingException", "Rate exceeded")
}

pub(super) fn invalid(message: String) -> ErrorReply {
    ErrorReply::new(400, "ValidationException", message)
}

pub(super) fn not_found(message: String) -> ErrorReply {
    ErrorReply::new(400, "ResourceNotFoundException", message)
}
