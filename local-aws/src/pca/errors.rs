//! Private CA's errors.

use crate::error_reply::ErrorReply;

/// Returns the error for a caller that exceeds its request quota.
pub(crate) fn throttled() -> ErrorReply {
    ErrorReply::new(400, "ThrottlingException", "Rate exceeded")
}

pub(super) fn invalid(message: String) -> ErrorReply {
    ErrorReply::new(400, "ValidationException", message)
}

pub(super) fn not_found(message: String) -> ErrorReply {
    ErrorReply::new(400, "ResourceNotFoundException", message)
}
