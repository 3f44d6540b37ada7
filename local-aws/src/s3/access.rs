//! Access to buckets.

use crate::error_reply::ErrorReply;

/// Whether Private CA can write reports to a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrivateCaAccess {
    /// It can.
    #[default]
    Granted,
    /// It cannot: report requests fail with this error.
    Refused(ErrorReply),
    /// It cannot, but accepts report requests: reports end as `FAILED`.
    FailsLater,
}

impl PrivateCaAccess {
    /// Private CA's error for a bucket without a suitable policy. AWS does not document it; users report this
    /// text for CRL buckets.
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

/// An action that the caller is denied.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    pub(super) action: String,
    pub(super) bucket: String,
    pub(super) prefix: String,
}
