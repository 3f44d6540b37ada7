//! Private CA's errors.

use crate::error_reply::ErrorReply;

pub(super) fn invalid(message: String) -> ErrorReply {
    ErrorReply::new(400, "ValidationException", message)
}

pub(super) fn not_found(message: String) -> ErrorReply {
    ErrorReply::new(400, "ResourceNotFoundException", message)
}
