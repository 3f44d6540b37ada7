//! Words for what was found and what failed.

use crate::aws::failure::{CallFailure, FailureClass};
use crate::text::visible::TRUNCATION_MARK;

/// Maximum bytes of a text that a lookup found.
const MAX_TEXT_LEN: usize = 256;

/// Returns a text of at most [`MAX_TEXT_LEN`] bytes, with a mark if it was truncated.
pub fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT_LEN {
        text.truncate(text.floor_char_boundary(MAX_TEXT_LEN - TRUNCATION_MARK.len()));
        text.push_str(TRUNCATION_MARK);
        text.shrink_to_fit();
    }
    text
}

/// Returns in words why a call failed, as in "CloudTrail denied LookupEvents".
pub fn reason(service: &str, failure: &CallFailure) -> String {
    let operation = failure.operation();
    match failure.class {
        FailureClass::Throttled => format!("{service} throttled {operation}"),
        FailureClass::Unavailable => match failure.status {
            None => format!("{service} did not respond to {operation}"),
            Some(200..=299) => format!("{service} returned an invalid response to {operation}"),
            Some(_) => format!("{service} failed {operation}: {}", failure.reason()),
        },
        FailureClass::Refused if failure.is_denied() => format!("{service} denied {operation}"),
        FailureClass::Refused => format!("{service} refused {operation}: {}", failure.reason()),
    }
}
