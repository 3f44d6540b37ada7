//! The emulated services.

/// An emulated service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// AWS Private CA.
    PrivateCa,
    /// Amazon S3.
    S3,
    /// Amazon SNS.
    Sns,
    /// AWS CloudTrail.
    CloudTrail,
    /// AWS Certificate Manager.
    Acm,
}
