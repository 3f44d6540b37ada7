//! The services of an account.

/// The service that a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// AWS Private CA.
    PrivateCa,
    /// Amazon S3.
    S3,
    /// Amazon SNS.
    Sns,
}
