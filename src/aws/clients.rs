//! The clients of the AWS SDK.

use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_sns::config::Region;

use crate::aws::connections::{https_client, limit_requests};
use crate::config::Config;
use crate::version::app_name;

/// Timeout of one attempt until the response headers; it does not limit reading the body.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout of one attempt of a lookup that an alert waits for.
const LOOKUP_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// Timeout of one attempt to send a message to the audit queue.
const SEND_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// One client per service and topic, shared by all CAs of an invocation.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Lookups in AWS Certificate Manager.
    pub acm: aws_sdk_acm::Client,
    /// AWS Private CA.
    pub acmpca: aws_sdk_acmpca::Client,
    /// Lookups in AWS Private CA that an alert waits for. They use up neither the requests nor the
    /// retries of audits.
    pub acmpca_lookups: aws_sdk_acmpca::Client,
    /// Lookups in CloudTrail.
    pub cloudtrail: aws_sdk_cloudtrail::Client,
    /// Reports and state.
    pub s3: aws_sdk_s3::Client,
    /// Alerts, in the region of their topic.
    pub sns: aws_sdk_sns::Client,
    /// The audit queue.
    pub sqs: aws_sdk_sqs::Client,
    /// Chat cards, in the region of their topic; `None` without a chat topic.
    pub chat_sns: Option<aws_sdk_sns::Client>,
}

impl Clients {
    /// Creates clients from the process environment.
    pub async fn from_environment(config: &Config) -> Self {
        let app_name = AppName::new(app_name()).expect("a version has no other characters");
        let sdk_config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .timeout_config(Self::timeouts())
            .http_client(https_client())
            .app_name(app_name)
            .load()
            .await;
        Self::new(&sdk_config, config)
    }

    /// Returns the timeouts of connections and attempts.
    pub fn timeouts() -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build()
    }

    /// Creates clients with the given SDK settings and a retry quota of their own.
    pub fn new(sdk_config: &SdkConfig, config: &Config) -> Self {
        let quota = |service: &'static str| RetryPartition::custom(service).build();
        // SNS accepts messages only in the topic's own region.
        let sns = |topic_arn: &str| {
            let region = topic_arn.split(':').nth(3).unwrap_or_default();
            aws_sdk_sns::Client::from_conf(
                aws_sdk_sns::config::Builder::from(&limit_requests(sdk_config))
                    .region(Region::new(region.to_owned()))
                    .retry_partition(quota("sns"))
                    .build(),
            )
        };
        // A lookup is worth little time, and is not repeated often.
        let lookup_timeouts = short_timeouts(LOOKUP_ATTEMPT_TIMEOUT);
        let lookup_retries = RetryConfig::standard().with_max_attempts(2);
        Self {
            acm: aws_sdk_acm::Client::from_conf(
                aws_sdk_acm::config::Builder::from(&limit_requests(sdk_config))
                    .timeout_config(lookup_timeouts.clone())
                    .retry_config(lookup_retries.clone())
                    .retry_partition(quota("acm"))
                    .build(),
            ),
            acmpca: aws_sdk_acmpca::Client::from_conf(
                aws_sdk_acmpca::config::Builder::from(&limit_requests(sdk_config))
                    .retry_partition(quota("acm-pca"))
                    .build(),
            ),
            acmpca_lookups: aws_sdk_acmpca::Client::from_conf(
                aws_sdk_acmpca::config::Builder::from(&limit_requests(sdk_config))
                    .timeout_config(lookup_timeouts.clone())
                    .retry_config(lookup_retries.clone())
                    .retry_partition(quota("acm-pca-lookups"))
                    .build(),
            ),
            cloudtrail: aws_sdk_cloudtrail::Client::from_conf(
                aws_sdk_cloudtrail::config::Builder::from(&limit_requests(sdk_config))
                    .timeout_config(lookup_timeouts)
                    .retry_config(lookup_retries)
                    .retry_partition(quota("cloudtrail"))
                    .build(),
            ),
            s3: aws_sdk_s3::Client::from_conf(
                aws_sdk_s3::config::Builder::from(&limit_requests(sdk_config))
                    .retry_partition(quota("s3"))
                    // Bucket names rarely resolve as host names at a custom endpoint.
                    .force_path_style(config.custom_s3_endpoint)
                    .build(),
            ),
            sqs: aws_sdk_sqs::Client::from_conf(
                aws_sdk_sqs::config::Builder::from(&limit_requests(sdk_config))
                    .timeout_config(short_timeouts(SEND_ATTEMPT_TIMEOUT))
                    .retry_partition(quota("sqs"))
                    .build(),
            ),
            sns: sns(&config.topic_arn),
            chat_sns: config.chat_topic_arn.as_deref().map(sns),
        }
    }
}

/// Returns the timeouts of calls that ought to take milliseconds.
fn short_timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(attempt)
        .build()
}
