//! Emulates Amazon SNS: topics, subscriptions, messages and deliveries.

mod delivery;
mod emulator;
mod errors;
mod message;
mod protocol;
mod publish;
mod subscription;
mod topic;

pub use delivery::Delivery;
pub use emulator::Sns;
pub(crate) use errors::throttled;
pub use message::{Attribute, Message};
pub(crate) use protocol::error_response;
pub use subscription::{Protocol, Subscription};
pub use topic::MAXIMUM_MESSAGE_SIZE;
