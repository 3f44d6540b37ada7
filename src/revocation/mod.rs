//! Facts about revocations that reports, state and alerts share.

pub mod certificate;
pub mod checking;
pub mod distinguished_name;
pub mod investigation;
pub mod key;
pub mod reason;
pub mod record;
