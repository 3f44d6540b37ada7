//! The function's own binary under the Lambda Runtime API, against stand-ins for AWS.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::process::Stdio;
use std::time::Duration;

use local_aws::{InvocationError, LocalAws, Protocol, RuntimeApi, Server, Subscription};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

pub const BUCKET: &str = "amzn-s3-demo-bucket";
pub const CA_ID: &str = "11223344-1234-1122-2233-112233445566";
pub const SECOND_CA_ID: &str = "22334455-1234-1122-2233-112233445566";

/// Far beyond what any run here takes.
pub const AMPLE: Duration = Duration::from_secs(600);

/// An account with one certificate authority, a bucket, and a topic that somebody reads.
pub struct World {
    pub aws: LocalAws,
    pub ca: String,
    pub topic: String,
    server: Server,
}

impl World {
    pub async fn new() -> Self {
        let aws = LocalAws::new();
        aws.s3().create_bucket(BUCKET);
        let ca = aws
            .private_ca()
            .create_with_id(CA_ID, "Example Corp Issuing CA");
        let topic = aws.sns().create_topic("revocations");
        for protocol in [Protocol::Email, Protocol::Sqs, Protocol::Sms] {
            let subscription = Subscription::new(protocol, "somebody");
            aws.sns()
                .subscribe(&topic, subscription)
                .expect("a standard topic takes all protocols");
        }
        let server = aws.serve().await.expect("loopback can be bound");
        Self {
            aws,
            ca,
            topic,
            server,
        }
    }

    /// Starts the function, configured for this account; `variables` come on top.
    pub async fn function(&self, variables: &[(&str, &str)]) -> Function {
        let runtime = RuntimeApi::serve().await.expect("loopback can be bound");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", runtime.address())
            .env("AWS_LAMBDA_FUNCTION_NAME", "pca-revocation-watch")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env(
                "AWS_SECRET_ACCESS_KEY",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            )
            .env("AWS_ENDPOINT_URL", self.server.endpoint_url())
            .env("CERTIFICATE_AUTHORITY_ARNS", &self.ca)
            .env("REPORT_BUCKET", BUCKET)
            .env("TOPIC_ARN", &self.topic)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let child = command.spawn().expect("the function's binary starts");
        // Its start does not count towards any deadline.
        runtime.idle().await;
        Function { child, runtime }
    }

    /// The machine documents that were published, oldest first; each is valid under the schema.
    pub fn documents(&self) -> Vec<Value> {
        let schema = include_str!("../../docs/message.schema.json");
        let schema = serde_json::from_str(schema).expect("the schema is JSON");
        let schema = jsonschema::validator_for(&schema).expect("the schema is a schema");
        let documents: Vec<Value> = self
            .aws
            .sns()
            .deliveries_by(Protocol::Sqs)
            .iter()
            .map(|delivery| serde_json::from_str(&delivery.text).expect("the document is JSON"))
            .collect();
        for document in &documents {
            if let Err(error) = schema.validate(document) {
                panic!("{error} in {document:#}");
            }
        }
        documents
    }

    /// The types of the messages that were published, oldest first.
    pub fn types(&self) -> Vec<String> {
        self.documents()
            .iter()
            .map(|document| text(&document["type"]))
            .collect()
    }

    /// The e-mails that were sent: subject and text.
    pub fn mails(&self) -> Vec<(String, String)> {
        self.aws
            .sns()
            .deliveries_by(Protocol::Email)
            .into_iter()
            .map(|delivery| (delivery.subject.unwrap_or_default(), delivery.text))
            .collect()
    }

    /// The control document of the first certificate authority.
    pub fn control(&self) -> Value {
        let key = format!("revocation-watch/{CA_ID}.json");
        let bytes = self
            .aws
            .s3()
            .get(BUCKET, &key)
            .expect("there is a control document");
        serde_json::from_slice(&bytes).expect("the control document is JSON")
    }

    /// The notified set of the first certificate authority.
    pub fn told(&self) -> Vec<String> {
        let control = self.control();
        let Some(key) = control["notifiedSet"].as_str() else {
            return Vec::new();
        };
        let set = self.aws.s3().get(BUCKET, key).expect("the set is there");
        let lines = str::from_utf8(&set).expect("the set is text").lines();
        lines
            .skip(1) // the header
            .map(|line| serde_json::from_str(line).expect("an entry is a JSON string"))
            .collect()
    }
}

/// The function's process, and the Runtime API that it asks for invocations.
pub struct Function {
    child: Child,
    runtime: RuntimeApi,
}

impl Function {
    /// Invokes by hand or by an event, with ample time.
    pub async fn invoke(&self, payload: Value) -> Result<Value, InvocationError> {
        self.invoke_for(payload, AMPLE).await
    }

    /// Invokes with so much time until Lambda's deadline.
    pub async fn invoke_for(
        &self,
        payload: Value,
        deadline_in: Duration,
    ) -> Result<Value, InvocationError> {
        self.runtime.invoke(payload, deadline_in).await
    }

    /// Ends the process with SIGKILL, whatever it is about.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the process is there");
    }

    /// Ends the process and gives what it wrote: log lines and metrics.
    pub async fn output(mut self) -> Vec<Value> {
        self.child.start_kill().expect("the process is there");
        let mut written = String::new();
        let stdout = self
            .child
            .stdout
            .as_mut()
            .expect("standard output is piped");
        stdout
            .read_to_string(&mut written)
            .await
            .expect("it writes UTF-8");
        written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }
}

/// An invocation's answer for its only certificate authority.
pub fn only(response: &Value) -> &Value {
    let all = response["certificateAuthorities"]
        .as_array()
        .expect("the answer lists them");
    assert_eq!(all.len(), 1, "{response:#}");
    &all[0]
}

pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no string"))
        .to_owned()
}

/// A file of `events/`.
pub fn event(name: &str) -> Value {
    let path = format!("{}/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A file of `tests/data/reports/`.
pub fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/reports/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
