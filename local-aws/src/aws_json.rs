//! The protocol AWS JSON 1.1, as far as several services share it.

use std::time::{Duration, SystemTime};

use http::Response;
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::error_reply::ErrorReply;

/// Builds the response of an operation.
pub(crate) fn respond(result: Result<Value, ErrorReply>, request_id: &str) -> Response<Body> {
    match result {
        Ok(document) => json_response(200, &document, request_id),
        Err(error) => error_response(&error, request_id),
    }
}

/// Builds an error response.
pub(crate) fn error_response(error: &ErrorReply, request_id: &str) -> Response<Body> {
    let document = json!({ "__type": error.code, "message": error.message });
    json_response(error.status, &document, request_id)
}

fn json_response(status: u16, document: &Value, request_id: &str) -> Response<Body> {
    let mut response = Response::new(body::full(document.to_string()));
    *response.status_mut() = body::status(status);
    let headers = response.headers_mut();
    body::insert(headers, "content-type", "application/x-amz-json-1.1");
    body::insert(headers, "x-amzn-requestid", request_id);
    response
}

/// Parses a request's document.
pub(crate) fn parse(document: &[u8]) -> Result<Value, ErrorReply> {
    serde_json::from_slice(document)
        .map_err(|error| ErrorReply::new(400, "SerializationException", error.to_string()))
}

/// Returns the error for an operation that the emulator does not implement.
pub(crate) fn unknown_operation(operation: &str) -> ErrorReply {
    ErrorReply::new(
        400,
        "UnknownOperationException",
        format!("local-aws does not implement {operation}"),
    )
}

/// Returns the error for a caller that exceeds its request quota.
pub(crate) fn throttled() -> ErrorReply {
    ErrorReply::new(400, "ThrottlingException", "Rate exceeded")
}

/// Converts a time to seconds since the Unix epoch with milliseconds.
pub(crate) fn epoch_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| (since.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// Reads seconds since the Unix epoch.
pub(crate) fn time(value: &Value) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}
