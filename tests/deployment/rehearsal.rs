//! Runs the binary of a release as the stack of that release would.
//!
//! `.ci/rehearse_deployment.py` creates the stack with an emulator of CloudFormation, writes what it read
//! back from it to a JSON file (environment, roles, bucket policy, schedule), and runs this test.

#[path = "../common/process.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod process;

use std::collections::BTreeSet;
use std::time::Duration;

use local_aws::{AcmCertificate, LocalAws, Protocol, Subscription};
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::needs_of;
use crate::permissions::{Need, applies, denies, grants};
use crate::template::{ACCOUNT, list, text};
use process::Function;

/// Time until Lambda's deadline.
const AMPLE: Duration = Duration::from_secs(600);

/// Statements of the role that no call here uses: the first audit of a CA replaces no state.
const NOT_USED: &[&str] = &["DeleteSupersededState"];

#[tokio::test]
#[ignore = "needs a release; .ci/rehearse_deployment.py runs it"]
async fn release_audits_with_environment_and_policies_of_its_stack() {
    let stack = Stack::read();
    let aws = LocalAws::new();
    let (ca, serial) = stack.prepare(&aws);
    let server = aws.serve().await.expect("loopback can be bound");
    let function = stack.start(&aws, server.endpoint_url()).await;

    // As the README says: a test message, the first scheduled run, the status.
    let response = function.invoke(stack.payload_of("TestMessageCommand"));
    assert_eq!(response.await.unwrap()["status"], "ok");
    let response = function.invoke(stack.scheduled_event(&aws)).await.unwrap();
    assert_eq!(response["status"], "ok", "{response:#}");
    let audit = &response["certificateAuthorities"][0];
    assert_eq!(audit["outcome"], "audited", "{audit:#}");
    assert_eq!(audit["published"], 1, "{audit:#}");
    let response = function.invoke(stack.payload_of("StatusCommand"));
    let response = response.await.unwrap();
    assert_eq!(response["status"], "ok", "{response:#}");
    stack.assert_version_in(&response);

    stack.assert_published(&aws, &serial);
    stack.assert_recorded(&aws, &ca, &serial);

    let calls = aws.calls();
    let mut needed = needs_of(&calls);
    needed.extend(stack.needs_of_lambda());
    let not_allowed = stack.not_allowed(&stack.statements("role"), &needed);
    assert!(not_allowed.is_empty(), "{not_allowed:?}");
    stack.assert_each_statement_is_needed(&needed);
    stack.assert_only_this_role_writes_state(&needed);
    stack.assert_private_ca_writes_reports(&ca);
    stack.assert_schedule_invokes_the_function();
    println!(
        "rehearsed: an audit, {} calls with {} permissions that the stack grants",
        calls.len(),
        needed.len()
    );
}

/// What the script read back from the stack.
struct Stack(Value);

impl Stack {
    fn read() -> Self {
        let path = std::env::var("REHEARSED_STACK").expect("the script sets REHEARSED_STACK");
        let json = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self(serde_json::from_slice(&json).expect("the script writes JSON"))
    }

    fn variable(&self, name: &str) -> String {
        text(&self.0["environment"][name])
    }

    fn role_arn(&self) -> String {
        text(&self.0["role"]["arn"])
    }

    fn statements(&self, role: &str) -> Vec<Value> {
        let statements = self.0[role]["statements"].as_array();
        statements.expect("statements").clone()
    }

    fn bucket_policy(&self) -> &[Value] {
        let policy = &self.0["bucketPolicy"]["PolicyDocument"]["Statement"];
        policy.as_array().expect("statements")
    }

    /// Creates what the environment names, and a CA with a revoked certificate that is in use; returns
    /// the CA's ARN and the serial.
    fn prepare(&self, aws: &LocalAws) -> (String, String) {
        let bucket = self.variable("REPORT_BUCKET");
        assert_eq!(self.0["bucketPolicy"]["Bucket"], bucket);
        aws.s3().create_bucket(&bucket);
        let versioning = &self.0["versioning"];
        if !versioning.is_null() {
            let is_enabled = versioning["Status"] == "Enabled";
            aws.s3().set_versioning(&bucket, is_enabled);
        }

        let topic = self.variable("TOPIC_ARN");
        let name = topic.rsplit(':').next().expect("a name");
        assert_eq!(aws.sns().create_topic(name), topic);
        let all = self.0["subscriptions"].as_array().expect("subscriptions");
        for subscription in all.iter().filter(|it| it["TopicArn"] == topic) {
            assert_eq!(subscription["Protocol"], "email");
            let confirmed = Subscription::new(Protocol::Email, text(&subscription["Endpoint"]));
            aws.sns()
                .subscribe(&topic, confirmed)
                .expect("a standard topic");
        }

        let pca = aws.private_ca();
        pca.set_reports(|reports| reports.delay = Duration::from_secs(1));
        let ca = pca.create("Example Corp Issuing CA");
        let serial = pca.issue(&ca, "www.example.com");
        assert!(pca.revoke(&ca, &serial, "KEY_COMPROMISE"));
        let arn = format!(
            "arn:aws:acm:us-east-1:{ACCOUNT}:certificate/{}",
            &serial[..8]
        );
        let in_acm = AcmCertificate::new(&arn, "www.example.com", &serial, &ca);
        aws.acm()
            .add(in_acm.used_by("arn:aws:cloudfront::123456789012:distribution/EDFDVBD6EXAMPLE"));
        (ca, serial)
    }

    /// Starts the release's binary with the stack's environment and what Lambda adds.
    async fn start(&self, aws: &LocalAws, endpoint_url: String) -> Function {
        let words = list(&self.0["command"]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let environment = self.0["environment"].as_object().expect("variables");
        let variables = environment
            .iter()
            .map(|(name, value)| (name.as_str(), text(value)));
        let lambda = [
            ("AWS_LAMBDA_FUNCTION_NAME", text(&self.0["functionName"])),
            (
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                text(&self.0["memorySize"]),
            ),
            ("AWS_ENDPOINT_URL", endpoint_url),
        ];
        Function::start_command(command, aws, variables.chain(lambda)).await
    }

    /// Returns the payload of a command in the stack's outputs.
    fn payload_of(&self, output: &str) -> Value {
        let command = text(&self.0["outputs"][output]);
        assert!(
            command.contains(&text(&self.0["functionName"])),
            "{command}"
        );
        let payload = command.split('\'').nth(1).expect("a quoted payload");
        serde_json::from_str(payload).expect("JSON")
    }

    /// Returns the event that EventBridge Scheduler sends for a schedule whose target has no input.
    fn scheduled_event(&self, aws: &LocalAws) -> Value {
        assert_eq!(self.0["schedule"]["Target"]["Input"], Value::Null);
        let event = include_str!("../../events/scheduled.json");
        let mut event: Value = serde_json::from_str(event).expect("valid JSON");
        event["resources"] = json!([self.0["schedule"]["Arn"]]);
        event["time"] = json!(Timestamp::from(aws.clock().now()).to_string());
        event
    }

    /// Fails unless the status has the version and the commit in the name of the zip.
    fn assert_version_in(&self, status: &Value) {
        assert_eq!(status["version"], self.0["version"]);
        let commit = text(&status["commit"]);
        let expected = text(&self.0["commit"]);
        assert!(commit.starts_with(&expected), "{commit}, not {expected}");
    }

    /// Fails unless the subscriber got a test message, the revocation, and that monitoring has started.
    fn assert_published(&self, aws: &LocalAws, serial: &str) {
        let emails = aws.sns().deliveries_by(Protocol::Email);
        assert_eq!(emails.len(), 3, "{emails:#?}");
        assert!(
            emails
                .iter()
                .all(|it| it.topic_arn == self.variable("TOPIC_ARN"))
        );
        assert!(
            emails
                .iter()
                .all(|it| it.endpoint == "security@example.com")
        );
        let about_it = emails.iter().filter(|it| it.text.contains(serial));
        assert_eq!(about_it.count(), 1, "{emails:#?}");
    }

    /// Fails unless the state of the CA lists the revocation as notified.
    fn assert_recorded(&self, aws: &LocalAws, ca: &str, serial: &str) {
        let bucket = self.variable("REPORT_BUCKET");
        let id = ca.rsplit('/').next().expect("an ID");
        let read = |key: &str| {
            let object = aws.s3().get(&bucket, key);
            let object = object.unwrap_or_else(|| panic!("no {key}"));
            String::from_utf8(object.to_vec()).expect("text")
        };
        let control = read(&format!("{}{id}.json", self.variable("STATE_PREFIX")));
        let control: Value = serde_json::from_str(&control).expect("JSON");
        assert_eq!(control["notifiedCount"], 1, "{control:#}");
        let set = read(&text(&control["notifiedSet"]));
        let serial = serial.replace(':', "");
        assert!(set.contains(serial.trim_start_matches('0')), "{set}");
    }

    /// Returns what Lambda needs of the function's role.
    fn needs_of_lambda(&self) -> [Need; 2] {
        // moto's attribute Arn of a log group lacks the `:*` that covers the log streams.
        let log_group = text(&self.0["logGroupArn"]);
        let log_group = log_group.trim_end_matches(":*").to_owned();
        [
            need("logs:PutLogEvents", log_group),
            need("sqs:SendMessage", text(&self.0["onFailure"])),
        ]
    }

    /// Returns the needs that no statement of the role allows, or that the bucket's policy denies.
    fn not_allowed<'a>(&self, role: &[Value], needed: &'a [Need]) -> Vec<&'a Need> {
        let arn = self.role_arn();
        let context = [
            ("s3:ResourceAccount", ACCOUNT),
            ("aws:PrincipalArn", &arn),
            TLS,
            VERSION,
        ];
        let is_denied = |need: &Need| {
            [role, self.bucket_policy()]
                .into_iter()
                .any(|statements| denies(statements, &context, &need.action, &need.resource))
        };
        let needs = needed.iter();
        needs
            .filter(|need| !role.iter().any(|it| allows(it, &context, need)) || is_denied(need))
            .collect()
    }

    /// Fails unless removing any statement leaves a call without permission, except for [`NOT_USED`].
    fn assert_each_statement_is_needed(&self, needed: &[Need]) {
        let all = self.statements("role");
        let mut not_used = Vec::new();
        for at in 0..all.len() {
            let mut rest = all.clone();
            let removed = rest.remove(at);
            if self.not_allowed(&rest, needed).is_empty() {
                not_used.push(text(&removed["Sid"]));
            }
        }
        assert_eq!(not_used, NOT_USED);
    }

    /// Fails unless the bucket's policy denies another role exactly the calls that write state.
    fn assert_only_this_role_writes_state(&self, needed: &[Need]) {
        let another = format!("arn:aws:iam::{ACCOUNT}:role/another");
        let context = [("aws:PrincipalArn", another.as_str()), TLS, VERSION];
        let denied = needed
            .iter()
            .filter(|it| denies(self.bucket_policy(), &context, &it.action, &it.resource))
            .map(|it| it.action.as_str());
        let denied: BTreeSet<_> = denied.collect();
        assert_eq!(denied, BTreeSet::from(["s3:PutObject"]));
    }

    /// Fails unless the bucket's policy lets Private CA write the report of this account's CA.
    fn assert_private_ca_writes_reports(&self, ca: &str) {
        let report = format!(
            "arn:aws:s3:::{}/audit-report/1.json",
            self.variable("REPORT_BUCKET")
        );
        let is_allowed = |account: &str, ca: &str| {
            let service = ("aws:PrincipalServiceName", "acm-pca.amazonaws.com");
            let context = [
                ("aws:SourceAccount", account),
                ("aws:SourceArn", ca),
                service,
                TLS,
                VERSION,
            ];
            let mut allowing = self.bucket_policy().iter().filter(|it| {
                it["Effect"] == "Allow" && it["Principal"]["Service"] == "acm-pca.amazonaws.com"
            });
            allowing.any(|it| applies(it, &context, "s3:PutObject", &report))
                && !denies(self.bucket_policy(), &context, "s3:PutObject", &report)
        };
        assert!(is_allowed(ACCOUNT, ca));
        assert!(!is_allowed(
            "111122223333",
            &ca.replace(ACCOUNT, "111122223333")
        ));
    }

    /// Fails unless the schedule may invoke the function and send failed events to its dead-letter queue.
    fn assert_schedule_invokes_the_function(&self) {
        let target = &self.0["schedule"]["Target"];
        assert_eq!(target["Arn"], self.0["functionArn"]);
        let statements = self.statements("scheduleRole");
        for (action, resource) in [
            ("lambda:InvokeFunction", &target["Arn"]),
            ("sqs:SendMessage", &target["DeadLetterConfig"]["Arn"]),
        ] {
            let need = need(action, text(resource));
            assert!(
                statements.iter().any(|it| allows(it, &[], &need)),
                "{need:?}"
            );
        }
        for (role, service) in [
            ("role", "lambda.amazonaws.com"),
            ("scheduleRole", "scheduler.amazonaws.com"),
        ] {
            let trust = &self.0[role]["trust"];
            assert_eq!(trust.as_array().map(Vec::len), Some(1), "{trust}");
            assert_eq!(trust[0]["Principal"], json!({ "Service": service }));
            assert_eq!(trust[0]["Action"], "sts:AssumeRole");
        }
    }
}

const TLS: (&str, &str) = ("aws:SecureTransport", "true");
const VERSION: (&str, &str) = ("s3:TlsVersion", "1.3");

fn need(action: &str, resource: String) -> Need {
    Need {
        action: action.to_owned(),
        resource,
        prefix: None,
    }
}

/// Returns whether a statement of a role allows what is needed, given the values of condition keys.
fn allows(statement: &Value, context: &[(&str, &str)], need: &Need) -> bool {
    // The grant has the condition on the prefix.
    let mut rest = statement.clone();
    if let Some(condition) = rest["Condition"].as_object_mut() {
        condition.remove("StringLikeIfExists");
    }
    statement["Effect"] == "Allow"
        && grants(&[statement]).iter().any(|grant| grant.covers(need))
        && applies(&rest, context, &need.action, &need.resource)
}
