//! Emulates the Lambda Runtime API (AWS Lambda Developer Guide, "Using the Lambda runtime API for custom
//! runtimes").

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot, watch};

use crate::body::{self, Body};
use crate::clock::Clock;
use crate::ids::Ids;
use crate::server::{Disconnected, Server};
use crate::settings::Settings;

/// Serves the Runtime API of one function on its own port.
///
/// A function started with [`RuntimeApi::environment`] processes the invocations one at a time, as in a
/// single execution environment.
#[derive(Debug)]
pub struct RuntimeApi {
    shared: Arc<Shared>,
    server: Server,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    clock: Clock,
    ids: Ids,
    function_arn: String,
    /// Signals that an invocation was queued.
    queued: Notify,
    /// Number of runtimes that wait for the next invocation.
    waiting: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Queued>,
    running: BTreeMap<String, oneshot::Sender<InvocationResult>>,
    init_error: Option<InvocationError>,
}

#[derive(Debug)]
struct Queued {
    payload: Value,
    deadline: SystemTime,
    request_id: String,
    result: oneshot::Sender<InvocationResult>,
}

type InvocationResult = Result<Value, InvocationError>;

/// Why an invocation failed, as Lambda reports it to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvocationError {
    /// `errorType`; `Sandbox.Timedout` if the deadline passed.
    pub error_type: String,
    /// `errorMessage`.
    pub error_message: String,
}

impl fmt::Display for InvocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.error_message)
    }
}

impl std::error::Error for InvocationError {}

impl InvocationError {
    fn new(error_type: &str, error_message: String) -> Self {
        Self {
            error_type: error_type.to_owned(),
            error_message,
        }
    }

    /// Parses the error document that a runtime posts.
    fn read(document: &[u8], header: Option<&str>) -> Self {
        let document: Value = serde_json::from_slice(document).unwrap_or_default();
        let text = |name: &str| document[name].as_str().map(str::to_owned);
        Self {
            error_type: text("errorType")
                .or_else(|| header.map(str::to_owned))
                .unwrap_or_default(),
            error_message: text("errorMessage").unwrap_or_default(),
        }
    }
}

impl RuntimeApi {
    /// Starts the API on 127.0.0.1. Deadlines use the machine's time.
    ///
    /// # Errors
    /// If loopback cannot be bound.
    pub async fn serve() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            clock: Clock::from_machine(),
            ids: Ids::new(0x6c61_6d62_6461),
            function_arn: "arn:aws:lambda:us-east-1:123456789012:function:pca-revocation-watch"
                .to_owned(),
            queued: Notify::new(),
            waiting: watch::Sender::new(0),
        });
        let serving = Arc::clone(&shared);
        let server = Server::start(move |request| {
            let shared = Arc::clone(&serving);
            async move { shared.respond(request).await }
        })
        .await?;
        Ok(Self { shared, server })
    }

    /// Returns the value for `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Returns the variables that Lambda sets for a function with this much memory, in MB, with the region
    /// and the credentials of [`Settings::default`].
    pub fn environment(&self, memory: u32) -> [(&'static str, String); 7] {
        let Settings {
            region,
            access_key_id,
            secret_access_key,
            ..
        } = Settings::default();
        [
            ("AWS_LAMBDA_RUNTIME_API", self.address()),
            (
                "AWS_LAMBDA_FUNCTION_NAME",
                "pca-revocation-watch".to_owned(),
            ),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory.to_string()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_REGION", region),
            ("AWS_ACCESS_KEY_ID", access_key_id),
            ("AWS_SECRET_ACCESS_KEY", secret_access_key),
        ]
    }

    /// Invokes the function with this event and waits for its response.
    ///
    /// At the deadline the invocation fails as in Lambda, but the function's process is not killed.
    ///
    /// # Errors
    /// If the function reported an error, failed to start, or missed the deadline.
    pub async fn invoke(
        &self,
        payload: Value,
        deadline_in: Duration,
    ) -> Result<Value, InvocationError> {
        let request_id = self.shared.ids.uuid();
        let (result, received) = oneshot::channel();
        {
            let mut state = self.shared.state();
            if let Some(error) = &state.init_error {
                return Err(error.clone());
            }
            state.queue.push_back(Queued {
                deadline: self.shared.clock.now() + deadline_in,
                request_id: request_id.clone(),
                payload,
                result,
            });
        }
        self.shared.queued.notify_one();
        let response = tokio::time::timeout(deadline_in, received).await;
        let mut state = self.shared.state();
        state.queue.retain(|queued| queued.request_id != request_id);
        match response {
            Ok(response) => {
                response.expect("an invocation is queued or running until it is finished")
            }
            Err(_) => {
                state.running.remove(&request_id);
                Err(InvocationError::new(
                    "Sandbox.Timedout",
                    format!(
                        "RequestId: {request_id} Error: Task timed out after {:.2} seconds",
                        deadline_in.as_secs_f64()
                    ),
                ))
            }
        }
    }

    /// Waits until the function polls for its next invocation.
    pub async fn idle(&self) {
        let mut waiting = self.shared.waiting.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = waiting.wait_for(|waiting| *waiting > 0).await;
    }
}

impl Shared {
    async fn respond(&self, request: Request<Bytes>) -> Result<Response<Body>, Disconnected> {
        let path = request.uri().path().to_owned();
        let Some(path) = path.strip_prefix("/2018-06-01/runtime/") else {
            return Ok(error_response(404, "InvalidPath", &path));
        };
        let method = request.method().clone();
        let segments: Vec<&str> = path.split('/').collect();
        Ok(match (method, segments.as_slice()) {
            (Method::GET, ["invocation", "next"]) => self.next().await,
            (Method::POST, ["invocation", id, "response"]) => self.response(id, request.body()),
            (Method::POST, ["invocation", id, "error"]) => {
                let error = InvocationError::read(request.body(), error_type(&request));
                self.finish(id, Err(error))
            }
            (Method::POST, ["init", "error"]) => {
                let error = InvocationError::read(request.body(), error_type(&request));
                self.fail_init(error)
            }
            _ => error_response(404, "InvalidPath", path),
        })
    }

    /// Waits for an invocation. Meanwhile the runtime counts as idle, unless it disconnects.
    async fn next(&self) -> Response<Body> {
        let _waiting = Waiting::begin(&self.waiting);
        let queued = loop {
            let queued = self.queued.notified();
            if let Some(queued) = self.state().queue.pop_front() {
                break queued;
            }
            queued.await;
        };
        let Queued {
            payload,
            deadline,
            request_id,
            result,
        } = queued;
        let deadline = deadline
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis()
            .to_string();
        let trace = request_id.replace('-', "");
        let trace = format!(
            "Root=1-{}-{};Parent=0000000000000000;Sampled=0",
            trace.get(..8).unwrap_or("00000000"),
            trace.get(8..32).unwrap_or("000000000000000000000000")
        );
        let mut response = Response::new(body::full(payload.to_string()));
        let headers = response.headers_mut();
        for (name, value) in [
            ("content-type", "application/json"),
            ("lambda-runtime-aws-request-id", &request_id),
            ("lambda-runtime-deadline-ms", &deadline),
            ("lambda-runtime-invoked-function-arn", &self.function_arn),
            ("lambda-runtime-trace-id", &trace),
        ] {
            body::insert(headers, name, value);
        }
        self.state().running.insert(request_id, result);
        response
    }

    fn response(&self, request_id: &str, body: &[u8]) -> Response<Body> {
        // Lambda's limit for the response of a synchronous invocation.
        const MOST: usize = 6 * 1024 * 1024;
        if body.len() > MOST {
            let error = InvocationError::new(
                "Function.ResponseSizeTooLarge",
                format!(
                    "Response payload size exceeded maximum allowed payload size ({MOST} bytes)."
                ),
            );
            self.finish(request_id, Err(error));
            return error_response(
                413,
                "RequestEntityTooLarge",
                "Exceeded maximum allowed payload size",
            );
        }
        let result = serde_json::from_slice(body).map_err(|error| {
            InvocationError::new(
                "Runtime.MarshalError",
                format!("the response is not JSON: {error}"),
            )
        });
        self.finish(request_id, result)
    }

    fn finish(&self, request_id: &str, result: InvocationResult) -> Response<Body> {
        let Some(waiting) = self.state().running.remove(request_id) else {
            return error_response(400, "InvalidRequestID", "Invalid request ID");
        };
        // The caller may have stopped waiting.
        let _ = waiting.send(result);
        accepted()
    }

    fn fail_init(&self, error: InvocationError) -> Response<Body> {
        let mut state = self.state();
        for queued in std::mem::take(&mut state.queue) {
            // The caller may have stopped waiting.
            let _ = queued.result.send(Err(error.clone()));
        }
        state.init_error = Some(error);
        accepted()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a runtime as waiting while its connection lasts.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

fn error_type(request: &Request<Bytes>) -> Option<&str> {
    let header = request.headers().get("lambda-runtime-function-error-type");
    header?.to_str().ok()
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(body::full(r#"{"status":"OK"}"#));
    *response.status_mut() = body::status(202);
    response
}

fn error_response(status: u16, error_type: &str, message: &str) -> Response<Body> {
    let document = json!({ "errorType": error_type, "errorMessage": message });
    let mut response = Response::new(body::full(document.to_string()));
    *response.status_mut() = body::status(status);
    response
}
