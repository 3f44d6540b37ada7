//! The Runtime API as seen by a Lambda runtime.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use local_aws::{LocalAws, RuntimeApi};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// A minimal Lambda runtime.
pub struct Runtime {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Runtime {
    pub fn of(api: &RuntimeApi) -> Self {
        Self {
            base: format!("http://{}/2018-06-01/runtime", api.address()),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Returns headers and event of the next invocation.
    pub async fn next(&self) -> (http::HeaderMap, Value) {
        let uri = format!("{}/invocation/next", self.base).parse().unwrap();
        let (parts, body) = self.client.get(uri).await.unwrap().into_parts();
        assert_eq!(parts.status, 200);
        let event = body.collect().await.unwrap().to_bytes();
        (parts.headers, serde_json::from_slice(&event).unwrap())
    }

    pub async fn post(&self, path: &str, body: Value) -> u16 {
        let request = http::Request::post(format!("{}/{path}", self.base))
            .header("lambda-runtime-function-error-type", "Unhandled")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        self.client
            .request(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    }
}

#[tokio::test]
async fn invocation_reaches_the_runtime_and_returns_its_response() {
    let clock = LocalAws::new().clock().clone();
    let api = RuntimeApi::serve().await.unwrap();
    let runtime = Runtime::of(&api);
    let invoked = api.invoke(json!({ "dryRun": true }), LONG);
    let work = async {
        let (headers, event) = runtime.next().await;
        assert_eq!(event, json!({ "dryRun": true }));
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        let arn = text("lambda-runtime-invoked-function-arn");
        assert!(arn.starts_with("arn:aws:lambda:"), "{arn}");
        assert!(text("lambda-runtime-trace-id").starts_with("Root=1-"));
        let deadline: u128 = text("lambda-runtime-deadline-ms").parse().unwrap();
        let now = clock.now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let left = deadline - now.as_millis();
        assert!((50_000..=60_000).contains(&left), "{left} ms");
        let id = text("lambda-runtime-aws-request-id");
        let response = format!("invocation/{id}/response");
        assert_eq!(
            runtime.post(&response, json!({ "status": "ok" })).await,
            202
        );
        assert_eq!(runtime.post(&response, json!({})).await, 400);
    };
    let (response, ()) = tokio::join!(invoked, work);
    assert_eq!(response.unwrap(), json!({ "status": "ok" }));
}

#[tokio::test]
async fn function_is_idle_only_while_it_polls() {
    let api = RuntimeApi::serve().await.unwrap();
    let runtime = Runtime::of(&api);
    let waiting = tokio::spawn(async move { runtime.next().await.1 });
    api.idle().await;
    let invoked = api.invoke(json!(1), LONG);
    tokio::select! {
        response = invoked => panic!("no runtime polled: {response:?}"),
        event = waiting => assert_eq!(event.unwrap(), json!(1)),
    }
    // The runtime is processing the invocation.
    let short = Duration::from_millis(20);
    tokio::time::timeout(short, api.idle()).await.unwrap_err();

    // A runtime that disconnects while it polls is not idle.
    let runtime = Runtime::of(&api);
    let waiting = tokio::spawn(async move { runtime.next().await.1 });
    api.idle().await;
    waiting.abort();
    let no_longer_idle = async {
        while tokio::time::timeout(short, api.idle()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let limit = Duration::from_secs(10);
    let ended = tokio::time::timeout(limit, no_longer_idle).await;
    ended.expect("the disconnected runtime still counts as idle");
}

#[tokio::test]
async fn errors_deadlines_and_init_errors_fail_invocations() {
    let api = RuntimeApi::serve().await.unwrap();
    let runtime = Runtime::of(&api);

    let failing = async {
        let (headers, _) = runtime.next().await;
        let id = headers["lambda-runtime-aws-request-id"].to_str().unwrap();
        let error = json!({ "errorType": "ThrottlingException", "errorMessage": "later" });
        let posted = runtime.post(&format!("invocation/{id}/error"), error).await;
        assert_eq!(posted, 202);
    };
    let (response, ()) = tokio::join!(api.invoke(json!({}), LONG), failing);
    let error = response.unwrap_err();
    assert_eq!(error.error_type, "ThrottlingException");
    assert_eq!(error.error_message, "later");

    // No runtime polls.
    let late = api
        .invoke(json!({}), Duration::from_millis(5))
        .await
        .unwrap_err();
    assert_eq!(late.error_type, "Sandbox.Timedout");
    assert!(late.error_message.contains("Task timed out after"));

    // The function fails to start.
    let starting = async {
        let error = json!({ "errorType": "Configuration", "errorMessage": "TOPIC_ARN is missing" });
        assert_eq!(runtime.post("init/error", error).await, 202);
    };
    let (response, ()) = tokio::join!(api.invoke(json!({}), LONG), starting);
    assert_eq!(response.unwrap_err().error_type, "Configuration");
    let next = api.invoke(json!({}), LONG).await.unwrap_err();
    assert_eq!(next.error_message, "TOPIC_ARN is missing");
}
