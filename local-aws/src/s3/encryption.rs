//! Default encryption of buckets.

/// Default encryption of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BucketEncryption {
    /// SSE-S3, which every bucket has unless something else is set.
    #[default]
    SseS3,
    /// SSE-KMS with a customer managed key, or with the AWS managed key `aws/s3` for `None`.
    SseKms(Option<String>),
}
