//! Settings of an account.

use std::time::SystemTime;

/// Settings of an account.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Account ID.
    pub account: String,
    /// Region.
    pub region: String,
    /// The only access key ID that S3 accepts.
    pub access_key_id: String,
    /// Secret access key for `access_key_id`.
    pub secret_access_key: String,
    /// Initial time; `None` for the machine's time.
    pub start: Option<SystemTime>,
    /// Seed of all identifiers.
    pub seed: u64,
}

/// The account and credentials of AWS's documentation.
impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            start: None,
            seed: 0,
        }
    }
}
