//! Runs the function in this process, its SDK connected to the emulators without sockets, so that time
//! can be paused.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod many;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use lambda_runtime::Diagnostic;
use local_aws::LocalAws;
use pca_revocation_watch::aws::clients::Clients;
use pca_revocation_watch::budget::Budget;
use pca_revocation_watch::config::Config;
use pca_revocation_watch::handler::{Function, Invocation};
use serde_json::Value;

/// The function's timeout in template.yaml.
pub const TIMEOUT: Duration = Duration::from_secs(900);

pub struct InProcess {
    function: Function,
    aws: LocalAws,
    /// The number of invocations of all processes.
    runs: Rc<Cell<u64>>,
}

impl InProcess {
    pub fn new(aws: &LocalAws, config: Config) -> Self {
        let sdk_config = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "AKIAIOSFODNN7EXAMPLE",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                None,
                None,
                "emulator",
            )))
            .endpoint_url(LocalAws::ENDPOINT_URL)
            .http_client(aws.http_client())
            .time_source(aws.clock().clone())
            .timeout_config(Clients::timeouts())
            .build();
        let clients = Clients::new(&sdk_config, &config);
        let function = Function::new(Ok((config, clients)), "pca-revocation-watch".to_owned());
        Self {
            function,
            aws: aws.clone(),
            runs: Rc::default(),
        }
    }

    /// Returns another process of the function, which shares nothing with this one but AWS.
    pub fn another(&self, config: Config) -> Self {
        Self {
            runs: Rc::clone(&self.runs),
            ..Self::new(&self.aws, config)
        }
    }

    /// Invokes the function with the template's timeout.
    pub async fn invoke(&self, payload: Value) -> Result<Value, Diagnostic> {
        self.invoke_for(payload, TIMEOUT).await
    }

    /// Invokes the function with this much time until Lambda's deadline, and panics if it has not
    /// responded by then.
    pub async fn invoke_for(&self, payload: Value, left: Duration) -> Result<Value, Diagnostic> {
        let run = self.runs.replace(self.runs.get() + 1);
        let invocation = Invocation {
            request_id: format!("{run:08x}-0000-4000-8000-000000000000"),
            function_arn: "arn:aws:lambda:us-east-1:123456789012:function:pca-revocation-watch"
                .to_owned(),
            budget: Budget::starting(self.aws.clock().now(), left),
            nonce: format!("{run:016x}"),
        };
        let response = self.function.handle(&payload, &invocation);
        match tokio::time::timeout(left, response).await {
            Ok(response) => response,
            Err(_) => {
                let calls = self.aws.calls().into_iter();
                let calls: Vec<_> = calls.map(|call| (call.operation, call.status)).collect();
                panic!("no response to {payload} within {left:?}; AWS calls: {calls:?}")
            }
        }
    }
}
