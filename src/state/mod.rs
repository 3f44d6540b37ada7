//! What the program remembers of each certificate authority, and of the watch itself.

pub mod control;
pub mod health;
pub mod notified_set;
pub(crate) mod store;
