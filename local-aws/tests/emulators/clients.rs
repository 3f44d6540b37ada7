//! SDK clients for the emulators, over HTTP and in process.

use std::time::{Duration, SystemTime};

use aws_sdk_acm as acm;
use aws_sdk_acmpca as acmpca;
use aws_sdk_cloudtrail as cloudtrail;
use aws_sdk_s3 as s3;
use aws_sdk_sns as sns;
use aws_sdk_sqs as sqs;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::sdk_config::SharedCredentialsProvider;
use local_aws::{Clock, LocalAws, Server, Settings};

pub const BUCKET: &str = "reports";

/// 2026-11-21T04:00:00Z.
pub fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_233_600)
}

/// Emulators served over HTTP, and SDK clients that do not retry.
pub struct World {
    pub aws: LocalAws,
    pub server: Server,
    pub s3: s3::Client,
    pub sns: sns::Client,
    pub sqs: sqs::Client,
    pub pca: acmpca::Client,
    pub cloud_trail: cloudtrail::Client,
    pub acm: acm::Client,
}

impl World {
    pub async fn new() -> Self {
        let aws = LocalAws::new();
        aws.s3().create_bucket(BUCKET);
        let server = aws.serve().await.expect("loopback can be bound");
        let clients = Clients::over_http(&server);
        Self {
            s3: clients.s3(),
            sns: clients.sns(),
            sqs: clients.sqs(),
            pca: clients.pca(),
            cloud_trail: clients.cloud_trail(),
            acm: clients.acm(),
            aws,
            server,
        }
    }
}

/// Configuration shared by all clients of a test.
pub struct Clients {
    pub endpoint_url: String,
    pub http_client: SharedHttpClient,
    pub secret_access_key: String,
    pub time: Option<Clock>,
    pub retries: RetryConfig,
    pub timeouts: TimeoutConfig,
}

impl Clients {
    pub fn over_http(server: &Server) -> Self {
        Self {
            endpoint_url: server.endpoint_url(),
            http_client: aws_smithy_http_client::Builder::new().build_http(),
            secret_access_key: Settings::default().secret_access_key,
            time: None,
            retries: RetryConfig::disabled(),
            timeouts: TimeoutConfig::disabled(),
        }
    }

    pub fn in_process(aws: &LocalAws) -> Self {
        Self {
            endpoint_url: LocalAws::ENDPOINT_URL.to_owned(),
            http_client: aws.http_client(),
            secret_access_key: Settings::default().secret_access_key,
            time: Some(aws.clock().clone()),
            retries: RetryConfig::disabled(),
            timeouts: TimeoutConfig::disabled(),
        }
    }

    pub fn s3(&self) -> s3::Client {
        let config = s3::config::Builder::from(&self.sdk_config()).force_path_style(true);
        s3::Client::from_conf(config.build())
    }

    pub fn sns(&self) -> sns::Client {
        sns::Client::new(&self.sdk_config())
    }

    pub fn sqs(&self) -> sqs::Client {
        sqs::Client::new(&self.sdk_config())
    }

    pub fn pca(&self) -> acmpca::Client {
        acmpca::Client::new(&self.sdk_config())
    }

    pub fn cloud_trail(&self) -> cloudtrail::Client {
        cloudtrail::Client::new(&self.sdk_config())
    }

    pub fn acm(&self) -> acm::Client {
        acm::Client::new(&self.sdk_config())
    }

    fn sdk_config(&self) -> SdkConfig {
        let mut config = SdkConfig::builder()
            .behavior_version(s3::config::BehaviorVersion::latest())
            .region(s3::config::Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(self.credentials()))
            .endpoint_url(&self.endpoint_url)
            .http_client(self.http_client.clone())
            .retry_config(self.retries.clone())
            .timeout_config(self.timeouts.clone())
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()));
        if let Some(clock) = &self.time {
            config = config.time_source(clock.clone());
        }
        config.build()
    }

    fn credentials(&self) -> s3::config::Credentials {
        let access_key_id = Settings::default().access_key_id;
        s3::config::Credentials::new(access_key_id, &self.secret_access_key, None, None, "test")
    }
}

/// Returns status and code of a service's error response.
pub fn refusal<E, T>(result: Result<T, aws_sdk_s3::error::SdkError<E>>) -> (u16, Option<String>)
where
    E: aws_smithy_types::error::metadata::ProvideErrorMetadata + std::fmt::Debug,
    T: std::fmt::Debug,
{
    use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
    let error = result.expect_err("the service should refuse this");
    let status = error
        .raw_response()
        .unwrap_or_else(|| panic!("no response: {error:?}"))
        .status()
        .as_u16();
    (status, error.code().map(str::to_owned))
}

/// Returns the expected value of [`refusal`].
pub fn refused(status: u16, code: &str) -> (u16, Option<String>) {
    (status, Some(code.to_owned()))
}
