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
    /// Amazon SQS.
    Sqs,
    /// AWS CloudTrail.
    CloudTrail,
    /// AWS Certificate Manager.
    Acm,
}
