//! The clients of the AWS SDK.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::retry::RetryPartition;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_sns::config::Region;

use crate::aws::connections::{https_client, limit_requests};
use crate::config::Config;

/// Timeout of one attempt until the response headers; it does not limit reading the body.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// One client per service and topic, shared by all CAs of an invocation.
#[derive(Clone, Debug)]
pub struct Clients {
    /// AWS Private CA.
    pub acmpca: aws_sdk_acmpca::Client,
    /// Reports and state.
    pub s3: aws_sdk_s3::Client,
    /// Alerts, in the region of their topic.
    pub sns: aws_sdk_sns::Client,
    /// Chat cards, in the region of their topic; `None` without a chat topic.
    pub chat_sns: Option<aws_sdk_sns::Client>,
}

impl Clients {
    /// Creates clients from the process environment.
    pub async fn from_environment(config: &Config) -> Self {
        let sdk_config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .timeout_config(Self::timeouts())
            .http_client(https_client())
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
        Self {
            acmpca: aws_sdk_acmpca::Client::from_conf(
                aws_sdk_acmpca::config::Builder::from(&limit_requests(sdk_config))
                    .retry_partition(quota("acm-pca"))
                    .build(),
            ),
            s3: aws_sdk_s3::Client::from_conf(
                aws_sdk_s3::config::Builder::from(&limit_requests(sdk_config))
                    .retry_partition(quota("s3"))
                    // Bucket names rarely resolve as host names at a custom endpoint.
                    .force_path_style(config.custom_s3_endpoint)
                    .build(),
            ),
            sns: sns(&config.topic_arn),
            chat_sns: config.chat_topic_arn.as_deref().map(sns),
        }
    }
}
