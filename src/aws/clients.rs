//! The clients of the AWS SDK.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::timeout::TimeoutConfig;

use crate::config::Config;

/// Of one attempt until the head of its answer; bodies are read as slowly as they come.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// One client per service, shared by all certificate authorities of an invocation.
#[derive(Clone, Debug)]
pub struct Clients {
    pub acmpca: aws_sdk_acmpca::Client,
    pub s3: aws_sdk_s3::Client,
    pub sns: aws_sdk_sns::Client,
}

impl Clients {
    /// Clients as the process's environment says.
    pub async fn from_environment(config: &Config) -> Self {
        let sdk_config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .timeout_config(Self::timeouts())
            .load()
            .await;
        Self::new(&sdk_config, config)
    }

    /// How long a connection and an attempt may take.
    pub fn timeouts() -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build()
    }

    /// Clients with the given settings of the SDK.
    pub fn new(sdk_config: &SdkConfig, config: &Config) -> Self {
        // One topic may serve many regions, and SNS takes a message only in the topic's own.
        let topic_region = aws_sdk_sns::config::Region::new(config.topic_region().to_owned());
        Self {
            acmpca: aws_sdk_acmpca::Client::new(sdk_config),
            s3: aws_sdk_s3::Client::from_conf(
                aws_sdk_s3::config::Builder::from(sdk_config)
                    // A custom endpoint is rarely reachable under a bucket's name.
                    .force_path_style(config.custom_s3_endpoint)
                    .build(),
            ),
            sns: aws_sdk_sns::Client::from_conf(
                aws_sdk_sns::config::Builder::from(sdk_config)
                    .region(topic_region)
                    .build(),
            ),
        }
    }
}
