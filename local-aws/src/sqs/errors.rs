//! SQS's errors. Codes are those of the `x-amzn-query-error` header, which the SDKs return.

use crate::error_reply::ErrorReply;

/// Returns the error for a caller that exceeds its request quota.
pub(crate) fn throttled() -> ErrorReply {
    ErrorReply::new(403, "RequestThrottled", "Request is throttled.")
}

pub(super) fn no_queue() -> ErrorReply {
    sqs(
        "NonExistentQueue",
        "The specified queue does not exist.".to_owned(),
    )
}

pub(super) fn invalid_address(url: &str) -> ErrorReply {
    ErrorReply::new(
        404,
        "InvalidAddress",
        format!("The address {url} is not valid for this endpoint."),
    )
}

pub(super) fn invalid(reason: impl Into<String>) -> ErrorReply {
    ErrorReply::new(400, "InvalidParameterValue", reason)
}

pub(super) fn missing(parameter: &str) -> ErrorReply {
    ErrorReply::new(
        400,
        "MissingParameter",
        format!("The request must contain the parameter {parameter}."),
    )
}

pub(super) fn unsupported(what: &str) -> ErrorReply {
    sqs(
        "UnsupportedOperation",
        format!("local-aws does not implement {what}"),
    )
}

/// Returns an error whose code has SQS's prefix.
pub(super) fn sqs(code: &str, message: String) -> ErrorReply {
    ErrorReply::new(400, format!("AWS.SimpleQueueService.{code}"), message)
}

pub(super) fn receipt(handle: &str) -> ErrorReply {
    ErrorReply::new(
        404,
        "ReceiptHandleIsInvalid",
        format!("The input receipt handle \"{handle}\" is not a valid receipt handle."),
    )
}
