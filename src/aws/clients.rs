//! The clients of the AWS SDK.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::timeout::TimeoutConfig;

use crate::aws::connections::{https_client, limit_requests};
use crate::config::Config;

/// Timeout of one attempt until the response headers; it does not limit reading the body.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// One client per service, shared by all CAs of an invocation.
#[derive(Clone, Debug)]
pub struct Clients {
    /// AWS Private CA.
    pub acmpca: aws_sdk_acmpca::Client,
    /// Reports and state.
    pub s3: aws_sdk_s3::Client,
    /// Alerts.
    pub sns: aws_sdk_sns::Client,
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

    /// Creates clients with the given SDK settings.
    pub fn new(sdk_config: &SdkConfig, config: &Config) -> Self {
        // One topic may serve many regions, and SNS accepts messages only in the topic's own region.
        let topic_region = aws_sdk_sns::config::Region::new(config.topic_region().to_owned());
        Self {
            acmpca: aws_sdk_acmpca::Client::new(&limit_requests(sdk_config)),
            s3: aws_sdk_s3::Client::from_conf(
                aws_sdk_s3::config::Builder::from(&limit_requests(sdk_config))
                    // Bucket names rarely resolve as host names at a custom endpoint.
                    .force_path_style(config.custom_s3_endpoint)
                    .build(),
            ),
            sns: aws_sdk_sns::Client::from_conf(
                aws_sdk_sns::config::Builder::from(&limit_requests(sdk_config))
                    .region(topic_region)
                    .build(),
            ),
        }
    }
}
