//! Facts about revocations that reports, state and alerts share.

pub mod distinguished_name;
pub mod key;
pub mod reason;
pub mod record;
