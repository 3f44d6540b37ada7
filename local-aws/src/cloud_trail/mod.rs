//! Emulates AWS CloudTrail: the event history of the account and region.

mod actor;
mod emulator;
mod protocol;

pub use actor::Actor;
pub(crate) use emulator::RevokeCall;
pub use emulator::{CloudTrail, TrailEvent};
