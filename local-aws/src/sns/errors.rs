//! SNS's errors.

use crate::error_reply::ErrorReply;

/// Returns the error for a caller that exceeds its request quota.
pub(crate) fn throttled() -> ErrorReply {
    ErrorReply::new(400, "Throttling", "Rate exceeded")
}

pub(crate) fn invalid(what: &str) -> ErrorReply {
    ErrorReply::new(
        400,
        "InvalidParameter",
        format!("Invalid parameter: {what}"),
    )
}

pub(crate) fn no_topic() -> ErrorReply {
    ErrorReply::new(404, "NotFound", "Topic does not exist")
}
