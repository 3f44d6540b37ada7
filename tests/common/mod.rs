//! Runs the function's own binary under the Lambda Runtime API, against emulators of AWS over HTTP.
#![allow(dead_code, reason = "each test binary uses a part of it")]

mod process;

use std::time::Duration;

use local_aws::{LocalAws, Protocol, Server, Subscription};
use serde_json::Value;

pub use process::Function;

pub const BUCKET: &str = "amzn-s3-demo-bucket";
pub const CA_ID: &str = "11223344-1234-1122-2233-112233445566";
pub const SECOND_CA_ID: &str = "22334455-1234-1122-2233-112233445566";

/// Time until Lambda's deadline, far more than any run here needs.
pub const AMPLE: Duration = Duration::from_secs(600);

/// An account with one CA, a bucket, and a topic with confirmed subscriptions.
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
                .expect("a standard topic accepts all protocols");
        }
        let server = aws.serve().await.expect("loopback can be bound");
        Self {
            aws,
            ca,
            topic,
            server,
        }
    }

    /// Starts the function, configured for this account; `variables` override the defaults.
    pub async fn function(&self, variables: &[(&str, &str)]) -> Function {
        let environment = [
            ("AWS_ENDPOINT_URL", self.server.endpoint_url()),
            ("CERTIFICATE_AUTHORITY_ARNS", self.ca.clone()),
            ("REPORT_BUCKET", BUCKET.to_owned()),
            ("TOPIC_ARN", self.topic.clone()),
        ];
        let overrides = variables
            .iter()
            .map(|&(name, value)| (name, value.to_owned()));
        Function::start(&self.aws, environment.into_iter().chain(overrides)).await
    }

    /// Issues a certificate, revokes it at once for a key compromise, and returns its serial.
    pub fn revoke(&self, name: &str) -> String {
        let pca = self.aws.private_ca();
        let serial = pca.issue(&self.ca, name);
        pca.revoke(&self.ca, &serial, "KEY_COMPROMISE");
        serial
    }

    /// Returns the published JSON messages, oldest first, each checked against the schema.
    pub fn messages(&self) -> Vec<Value> {
        let schema = include_str!("../../docs/message.schema.json");
        let schema = serde_json::from_str(schema).expect("the schema is JSON");
        let schema = jsonschema::validator_for(&schema).expect("the schema is a JSON Schema");
        let messages: Vec<Value> = self
            .aws
            .sns()
            .deliveries_by(Protocol::Sqs)
            .iter()
            .map(|delivery| serde_json::from_str(&delivery.text).expect("the message is JSON"))
            .collect();
        for message in &messages {
            if let Err(error) = schema.validate(message) {
                panic!("{error} in {message:#}");
            }
        }
        messages
    }

    /// Returns the types of the published messages, oldest first.
    pub fn types(&self) -> Vec<String> {
        self.messages()
            .iter()
            .map(|message| text(&message["type"]))
            .collect()
    }

    /// Returns subject and body of every email, oldest first.
    pub fn emails(&self) -> Vec<(String, String)> {
        self.aws
            .sns()
            .deliveries_by(Protocol::Email)
            .into_iter()
            .map(|delivery| (delivery.subject.unwrap_or_default(), delivery.text))
            .collect()
    }

    /// Returns the control document of the first CA.
    pub fn control(&self) -> Value {
        let key = format!("revocation-watch/{CA_ID}.json");
        let bytes = self
            .aws
            .s3()
            .get(BUCKET, &key)
            .expect("there is a control document");
        serde_json::from_slice(&bytes).expect("the control document is JSON")
    }

    /// Returns the notified set of the first CA.
    pub fn notified(&self) -> Vec<String> {
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

/// Returns the response's entry for its only CA.
pub fn only(response: &Value) -> &Value {
    let all = response["certificateAuthorities"]
        .as_array()
        .expect("the response lists the CAs");
    assert_eq!(all.len(), 1, "{response:#}");
    &all[0]
}

pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no string"))
        .to_owned()
}

/// Reads a file of `events/`.
pub fn event(name: &str) -> Value {
    let path = format!("{}/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Reads a file of `tests/data/reports/`.
pub fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/reports/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
