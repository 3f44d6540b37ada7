//! What the program remembers of each certificate authority.

pub mod control;
pub mod notified_set;
pub(crate) mod store;
