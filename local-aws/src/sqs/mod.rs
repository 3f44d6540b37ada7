//! Emulates Amazon SQS: standard queues with delays, visibility timeouts and dead-letter queues.
//!
//! The JSON protocol is written here: there is no Rust library for it, as s3s is for S3, and fakecloud is
//! a process of its own, whose clock cannot be paused.

mod batch;
mod emulator;
mod errors;
mod message;
mod protocol;
mod queue;
mod send;

pub use emulator::Sqs;
pub(crate) use errors::throttled;
pub(crate) use message::Received;
pub use message::SqsMessage;
pub(crate) use protocol::{error_code, error_response};
pub use queue::{QueueSettings, Redrive};
