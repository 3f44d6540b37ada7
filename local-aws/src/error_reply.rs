//! An error as a service says it.

use std::fmt;

/// An error as a service says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// HTTP status.
    pub status: u16,
    /// The service's code, such as `AccessDenied`.
    pub code: String,
    /// The service's text.
    pub message: String,
}

impl ErrorReply {
    /// An error with this status, code and text.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

impl std::error::Error for ErrorReply {}
