//! Audits hundreds of CAs: one message of the audit queue, and one invocation, per CA.
//!
//! A scheduled run of many CAs dispatches: it sends a message for each CA, delayed to its slot, and
//! compares the health document. Each message is one audit, by the same code that audits all CAs in one
//! invocation, but without waiting: whatever must be waited for is a message sent again with a delay.
//! What is done is decided by the state, so duplicate, late and lost messages change nothing, and the next
//! schedule has the same work.

mod dispatch;
mod plan;
mod queue;
mod work;

pub(crate) use dispatch::{dispatch, queue_for};
pub(crate) use work::{current, work};
