//! What an account is set up with.

use std::time::SystemTime;

/// What an account is set up with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Account id.
    pub account: String,
    /// Region.
    pub region: String,
    /// The one access key that S3 accepts signatures of.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The time at first; `None`: the machine's.
    pub start: Option<SystemTime>,
    /// What identifiers are made of.
    pub seed: u64,
}

/// The account and the credentials of AWS's documentation.
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
