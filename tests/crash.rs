//! The function's own binary, killed with SIGKILL at random moments, over and over: nothing is lost.
//!
//! Each time it dies a random moment after a random one of its calls has arrived.
//! `CRASHES=500 cargo test --test crash -- --nocapture` kills it that often.

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{AMPLE, BUCKET, CA_ID};
use local_aws::{Action, LocalAws, Phase, Protocol, RuntimeApi, Server, Subscription};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

/// Without the variable: enough to hit every step of a run.
const CRASHES: usize = 25;

#[tokio::test]
async fn whenever_the_process_is_killed_the_next_run_makes_up_for_it() {
    let crashes = std::env::var("CRASHES").map_or(CRASHES, |text| text.parse().expect("a number"));
    let account = Account::new().await;
    account.start().invoke().await;
    let mut revoked: Vec<String> = Vec::new();
    let mut killed = 0;
    for _ in 0..crashes {
        revoked.push(account.revoke());
        // Now and then it is too late to kill it.
        let call = fastrand::usize(0..CALLS + 2);
        let was_killed = account.start().invoke_and_kill_at(call).await;
        killed += usize::from(was_killed);
        account.end_leases();

        let answer = account.start().invoke().await;
        assert_eq!(answer["status"], "ok", "{answer:#}");

        let tellings = account.tellings();
        let times = tellings.get(revoked.last().expect("one was just revoked"));
        match times.map(Vec::len) {
            None => panic!("lost: {revoked:?}"),
            Some(1) => {}
            Some(2) if was_killed => {}
            Some(n) => panic!("told {n} times"),
        }
    }
    let tellings = account.tellings();
    assert_eq!(tellings.len(), revoked.len());
    let twice = tellings.values().filter(|ids| ids.len() == 2).count();
    for ids in tellings.values() {
        assert!(
            ids.iter().all(|id| *id == ids[0]),
            "one revocation, one identity: {ids:?}"
        );
    }
    let control = account.control();
    assert_eq!(control["lease"], Value::Null);
    assert_eq!(control["reportInHand"], Value::Null);
    assert_eq!(control["told"], revoked.len());
    println!(
        "{crashes} runs, {killed} of them ended by SIGKILL: {} revocations told, {twice} of them twice",
        revoked.len()
    );
}

/// So many calls a run makes at least that has something to tell.
const CALLS: usize = 17;

struct Account {
    aws: LocalAws,
    ca: String,
    topic: String,
    server: Server,
}

impl Account {
    async fn new() -> Self {
        let aws = LocalAws::new();
        aws.s3().create_bucket(BUCKET);
        aws.private_ca()
            .set_reports(|reports| reports.interval = Duration::ZERO);
        let ca = aws
            .private_ca()
            .create_with_id(CA_ID, "Example Corp Issuing CA");
        let topic = aws.sns().create_topic("revocations");
        let queue = Subscription::new(Protocol::Sqs, "queue");
        aws.sns()
            .subscribe(&topic, queue)
            .expect("a standard topic takes a queue");
        let server = aws.serve().await.expect("loopback can be bound");
        Self {
            aws,
            ca,
            topic,
            server,
        }
    }

    fn start(&self) -> Starting<'_> {
        Starting(self)
    }

    fn revoke(&self) -> String {
        let pca = self.aws.private_ca();
        let serial = pca.issue(&self.ca, "www.example.com");
        pca.revoke(&self.ca, &serial, "KEY_COMPROMISE");
        serial
    }

    fn control_key() -> String {
        format!("revocation-watch/{CA_ID}.json")
    }

    fn control(&self) -> Value {
        let bytes = self
            .aws
            .s3()
            .get(BUCKET, &Self::control_key())
            .expect("there is a state");
        serde_json::from_slice(&bytes).expect("the state is JSON")
    }

    /// As if the dead holder's deadline had passed.
    fn end_leases(&self) {
        let mut control = self.control();
        if let Some(lease) = control["lease"].as_object_mut() {
            lease.insert("until".to_owned(), json!("2020-01-01T00:00:00Z"));
            self.aws
                .s3()
                .put(BUCKET, &Self::control_key(), control.to_string());
        }
    }

    /// By serial, the identities under which it was told.
    fn tellings(&self) -> BTreeMap<String, Vec<String>> {
        let mut tellings: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for message in self.aws.sns().messages() {
            let document: Value =
                serde_json::from_str(&message.variants["default"]).expect("the document is JSON");
            if document["type"] != "revocations" {
                continue;
            }
            for revocation in document["revocations"].as_array().expect("a list") {
                let serial = common::text(&revocation["serial"]);
                tellings
                    .entry(serial)
                    .or_default()
                    .push(common::text(&revocation["revocationId"]));
            }
        }
        tellings
    }
}

struct Starting<'a>(&'a Account);

impl Starting<'_> {
    async fn process(&self) -> (Child, RuntimeApi) {
        let runtime = RuntimeApi::serve().await.expect("loopback can be bound");
        let child = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
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
            .env("AWS_ENDPOINT_URL", self.0.server.endpoint_url())
            .env("CERTIFICATE_AUTHORITY_ARNS", &self.0.ca)
            .env("REPORT_BUCKET", BUCKET)
            .env("REPORT_INTERVAL_SECONDS", "0")
            .env("TOPIC_ARN", &self.0.topic)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("the function's binary starts");
        (child, runtime)
    }

    async fn invoke(&self) -> Value {
        let (_child, runtime) = self.process().await;
        runtime
            .invoke(json!({}), AMPLE)
            .await
            .expect("nothing goes wrong with it")
    }

    /// Whether it was killed before it answered.
    async fn invoke_and_kill_at(&self, call: usize) -> bool {
        let (mut child, runtime) = self.process().await;
        let arrived = Arc::new(Notify::new());
        let (calls, notify) = (AtomicUsize::new(0), Arc::clone(&arrived));
        self.0.aws.on_call(move |_, phase| {
            if phase == Phase::Before && calls.fetch_add(1, Ordering::Relaxed) == call {
                notify.notify_one();
            }
            Action::Proceed
        });
        let killed = tokio::select! {
            _ = runtime.invoke(json!({}), AMPLE) => false,
            () = arrived.notified() => {
                // Within some milliseconds it goes several steps further, or none.
                tokio::time::sleep(Duration::from_micros(fastrand::u64(..8000))).await;
                child.kill().await.expect("the process is there");
                true
            }
        };
        self.0.aws.clear_hook();
        killed
    }
}
