//! Who may do what with a bucket.

use crate::error_reply::ErrorReply;

/// Whether a bucket's policy and encryption let Private CA write reports to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrivateCaAccess {
    /// It may.
    #[default]
    Granted,
    /// It may not, and refuses requests for reports with this.
    Refused(ErrorReply),
    /// It may not, which it finds out later: reports end as `FAILED`.
    FailsLater,
}

impl PrivateCaAccess {
    /// The refusal that Private CA was seen to give where the policy of a bucket is missing. (Its own
    /// documentation names no error; this text comes from reports of people who set up a CRL bucket.)
    pub fn missing_policy(bucket: &str) -> Self {
        Self::Refused(ErrorReply::new(
            400,
            "ValidationException",
            format!(
                "Permission error with your S3 bucket '{bucket}'. Check that your bucket policy, encryption settings, S3 Block Public Access settings, and global account permissions are configured correctly. For more information, check the service documentation."
            ),
        ))
    }
}

/// What the caller may not do.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    pub(super) action: String,
    pub(super) bucket: String,
    pub(super) prefix: String,
}
