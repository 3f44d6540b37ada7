//! Reads the settings of a bucket that matter for reports and state.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ServerSideEncryption,
    ServerSideEncryptionConfiguration as Configuration, ServerSideEncryptionRule as Rule,
};

use crate::aws::failure::{CallFailure, bucket_uri};
use crate::error::AuditError;

/// The default encryption with the AWS managed key: Private CA cannot write reports with it.
pub const AWS_MANAGED_KEY: &str = "SSE-KMS with aws/s3, which Private CA cannot use";

/// Returns whether a bucket keeps earlier versions of its objects: `Enabled`, `Suspended`, or `Never
/// enabled`.
///
/// # Errors
/// If `GetBucketVersioning` fails.
pub async fn versioning(s3: &Client, bucket: &str) -> Result<String, AuditError> {
    let response = s3.get_bucket_versioning().bucket(bucket).send().await;
    let response = response.map_err(|error| {
        CallFailure::new("GetBucketVersioning", &error).error(&bucket_uri(bucket))
    })?;
    let status = response.status().map(BucketVersioningStatus::as_str);
    Ok(status.unwrap_or("Never enabled").to_owned())
}

/// Returns the default encryption of a bucket, in words.
///
/// # Errors
/// If `GetBucketEncryption` fails.
pub async fn encryption(s3: &Client, bucket: &str) -> Result<String, AuditError> {
    let response = s3.get_bucket_encryption().bucket(bucket).send().await;
    let response = response.map_err(|error| {
        CallFailure::new("GetBucketEncryption", &error).error(&bucket_uri(bucket))
    })?;
    let configuration = response.server_side_encryption_configuration();
    let mut rules = configuration.into_iter().flat_map(Configuration::rules);
    let default = rules.find_map(Rule::apply_server_side_encryption_by_default);
    let Some(default) = default else {
        return Ok("no default encryption".to_owned());
    };
    Ok(
        match (default.sse_algorithm(), default.kms_master_key_id()) {
            (ServerSideEncryption::Aes256, _) => "SSE-S3".to_owned(),
            (ServerSideEncryption::AwsKms, Some(key)) if !key.ends_with("alias/aws/s3") => {
                format!("SSE-KMS with {key}")
            }
            (ServerSideEncryption::AwsKms, _) => AWS_MANAGED_KEY.to_owned(),
            (other, key) => format!("{} {}", other.as_str(), key.unwrap_or_default())
                .trim_end()
                .to_owned(),
        },
    )
}
