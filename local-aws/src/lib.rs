//! AWS Private CA, Amazon S3, Amazon SNS and the Lambda Runtime API on loopback, in this process.
//!
//! For the demo and the tests only; nothing of it is ever deployed. What the program under test needs of
//! AWS is here as strictly as AWS documents it, and everything that can go wrong can be made to.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use local_aws::{Fault, LocalAws, On};
//!
//! let aws = LocalAws::new();
//! aws.s3().create_bucket("reports");
//! let ca = aws.private_ca().create("Example Root CA");
//! let serial = aws.private_ca().issue(&ca, "www.example.com");
//! aws.private_ca().revoke(&ca, &serial, "KEY_COMPROMISE");
//! aws.misbehave(On::operation("GetObject").times(2), Fault::CutBody { after: 100 });
//!
//! let server = aws.serve().await?; // AWS_ENDPOINT_URL=server.endpoint_url()
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # How it is built
//!
//! A request takes one way, whether it came over HTTP ([`LocalAws::serve`]) or from an SDK client in this
//! process ([`LocalAws::http_client`]): it is read as a [`Call`] and recorded, the hook and the orders for
//! faults are asked, the service does the work, and the answer is damaged where a fault says so.
//!
//! - Architecture invariant: [`LocalAws::call`] is the only entrance, and knows nothing of sockets.
//! - Architecture invariant: the services know nothing of faults, recording and each other, but that
//!   Private CA writes to S3.
//! - Architecture invariant: one [`Clock`] gives all dates and limits, and follows tokio's; nothing runs in
//!   the background (but for [`Fault::Delayed`]). A report that becomes due is written when somebody next
//!   looks.
//! - Identifiers are made of a seed and a counter, so a run that is repeated is the same.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod clock;
mod connector;
mod faults;
mod http;
mod ids;
mod lambda;
mod operations;
mod pca;
mod recording;
mod report;
mod s3;
mod sns;

use std::fmt;
use std::future::{self, Future};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ::http::{Request, Response};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use s3s::service::S3Service;

pub use clock::Clock;
pub use faults::{ErrorReply, Fault, On};
pub use http::{Body, BoxError, Disconnected, Server};
pub use lambda::{Invocation, InvocationError, RuntimeApi};
pub use pca::{
    NextReport, Outcome, PrivateCa, Quotas, REPORT_INTERVAL, ReportChecksum, ReportInfo,
    ReportPolicy, Status,
};
pub use recording::{Call, Service};
pub use report::{Certificate, JsonLayout, ReportFormat, render, report_time};
pub use s3::{
    Checksum, ChecksumAlgorithm, Content, Generated, ObjectInfo, Pieces, PrivateCaAccess, S3,
};
pub use sns::{
    Attribute, Delivery, FilterPolicy, MAXIMUM_MESSAGE_SIZE, Message, Protocol, Sns, Subscription,
};

use faults::Faults;
use http::Damage;
use ids::Ids;
use recording::Recording;

/// Private CA, S3 and SNS of one account and region. Clones are the same account.
#[derive(Clone)]
pub struct LocalAws(Arc<Inner>);

struct Inner {
    clock: Clock,
    ids: Arc<Ids>,
    private_ca: PrivateCa,
    s3: S3,
    s3_service: S3Service,
    sns: Sns,
    recording: Mutex<Recording>,
    faults: Mutex<Faults>,
    hook: Mutex<Option<Hook>>,
}

/// What an account is set up with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Account id.
    pub account: String,
    /// Region.
    pub region: String,
    /// The one access key that S3 accepts signatures of.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The time at first; `None`: the machine's.
    pub start: Option<SystemTime>,
    /// What identifiers are made of.
    pub seed: u64,
}

/// The account and the credentials of AWS's documentation.
impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            start: None,
            seed: 0,
        }
    }
}

/// When a hook is asked about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The request has arrived and is recorded; nothing was done yet.
    Before,
    /// The service is done (see [`Call::done`]); the answer has not been sent yet.
    After,
}

/// What a hook wants to happen to a call.
pub enum Action {
    /// Goes on.
    Proceed,
    /// Goes wrong. Of a fault that lies before the work, nothing is left to go wrong after it.
    Misbehave(Fault),
    /// Never goes on. Whoever waits for the call can be dropped now: before the work nothing was
    /// done, after it everything was.
    Stop,
    /// Goes on when this is done.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
}

type Hook = Arc<dyn Fn(&Call, Phase) -> Action + Send + Sync>;

impl LocalAws {
    /// An account of the default settings, with nothing in it.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// An account of these settings, with nothing in it.
    pub fn with(settings: Settings) -> Self {
        let clock = settings
            .start
            .map_or_else(Clock::from_machine, Clock::starting_at);
        let ids = Arc::new(Ids::new(settings.seed));
        let s3 = S3::new(&settings, clock.clone(), Arc::clone(&ids));
        Self(Arc::new(Inner {
            private_ca: PrivateCa::new(&settings, clock.clone(), Arc::clone(&ids), s3.clone()),
            s3_service: s3.service(&settings),
            sns: Sns::new(&settings, clock.clone(), Arc::clone(&ids)),
            s3,
            ids,
            clock,
            recording: Mutex::default(),
            faults: Mutex::default(),
            hook: Mutex::default(),
        }))
    }

    /// The clock of the stand-ins.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Lets that much time pass at once for the stand-ins.
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
    }

    /// Private CA, from its owner's side.
    pub fn private_ca(&self) -> &PrivateCa {
        &self.0.private_ca
    }

    /// S3, from its owner's side, with the reports that are due by now.
    pub fn s3(&self) -> &S3 {
        self.0.private_ca.settle();
        &self.0.s3
    }

    /// SNS, from its owner's side.
    pub fn sns(&self) -> &Sns {
        &self.0.sns
    }

    /// Serves all three over HTTP on a port of 127.0.0.1 until the server is dropped.
    ///
    /// # Errors
    /// Where loopback cannot be bound.
    pub async fn serve(&self) -> io::Result<Server> {
        let aws = self.clone();
        Server::start(move |request| {
            let aws = aws.clone();
            async move { aws.call(request).await }
        })
        .await
    }

    /// An HTTP client for SDK configurations that hands requests straight to [`LocalAws::call`].
    ///
    /// Nothing of it waits for a socket, so whole programs run under tokio's paused time. It keeps the
    /// SDK's read timeout, and gives the errors that the SDK's own client would. The endpoint may be
    /// any, such as [`LocalAws::ENDPOINT_URL`]; S3 needs path-style addressing.
    pub fn http_client(&self) -> SharedHttpClient {
        connector::http_client(self.clone())
    }

    /// An endpoint URL for clients that use [`LocalAws::http_client`].
    pub const ENDPOINT_URL: &'static str = "http://local-aws";

    /// Answers one request, or closes the connection without an answer.
    ///
    /// # Errors
    /// [`Disconnected`], where a fault wants it.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Response<Body>, Disconnected> {
        let call = operations::identify(&request, self.0.clock.now());
        let call = self.recording().begin(call);
        let number = call.number;
        let mut fault = self.ask_hook(&call, Phase::Before).await;
        if fault.is_none() {
            fault = self.faults().take(&call);
        }
        if fault.is_some() {
            self.recording()
                .update(number, |call| call.fault.clone_from(&fault));
        }
        let mut response = match &fault {
            Some(Fault::Error(error)) => self.refuse(&call, error),
            Some(Fault::Throttle) => self.refuse(&call, &throttled(call.service)),
            Some(Fault::Hang) => future::pending().await,
            Some(Fault::Disconnect) => return Err(Disconnected),
            Some(Fault::Delayed(by)) => self.work_later(&call, request, *by).await?,
            _ => self.work(&call, request).await,
        };
        if let Some(after) = self.ask_hook_after(number).await {
            self.recording()
                .update(number, |call| call.fault = Some(after.clone()));
            fault = Some(after);
        }
        match &fault {
            Some(Fault::Late(by)) => tokio::time::sleep(*by).await,
            Some(Fault::ErrorAfter(error)) => response = self.refuse(&call, error),
            Some(Fault::HangAfter) => future::pending().await,
            Some(Fault::LostReply | Fault::Disconnect) => return Err(Disconnected),
            _ => {}
        }
        let response = self.note_answer(number, response).await;
        Ok(match fault {
            Some(Fault::CutBody { after }) => damaged(response, Damage::Cut, after),
            Some(Fault::StallBody { after }) => damaged(response, Damage::Stall, after),
            Some(Fault::FlipByte { at }) => damaged(response, Damage::Flip, at),
            _ => response,
        })
    }

    /// Lets the calls that `on` matches go wrong. An operation's name alone means its next call.
    pub fn misbehave(&self, on: impl Into<On>, fault: Fault) {
        self.faults().add(on.into(), fault);
    }

    /// Takes back all faults that are still to come.
    pub fn behave(&self) {
        self.faults().clear();
    }

    /// How many orders for faults are still to come.
    pub fn pending_faults(&self) -> usize {
        self.faults().pending()
    }

    /// Asks `hook` before and after every call. It is asked before faults are, and replaces the one before.
    pub fn on_call(&self, hook: impl Fn(&Call, Phase) -> Action + Send + Sync + 'static) {
        *self.hook() = Some(Arc::new(hook));
    }

    /// Asks no hook any more.
    pub fn clear_hook(&self) {
        *self.hook() = None;
    }

    /// The calls so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.recording().calls()
    }

    /// The calls of one operation, oldest first.
    pub fn calls_of(&self, operation: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.operation == operation);
        calls
    }

    /// The calls of one service, oldest first.
    pub fn calls_to(&self, service: Service) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.service == service);
        calls
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.recording().forget();
    }

    /// Keeps only that many of the latest calls; `None`: all, as at first.
    pub fn keep_calls(&self, most: Option<usize>) {
        self.recording().keep(most);
    }

    async fn work(&self, call: &Call, request: Request<Bytes>) -> Response<Body> {
        let inner = &self.0;
        inner.private_ca.settle();
        let request_id = inner.ids.uuid();
        let response = match call.service {
            Service::PrivateCa => {
                inner
                    .private_ca
                    .answer(&call.operation, request.body(), &request_id)
            }
            Service::Sns => inner
                .sns
                .answer(&call.operation, &call.parameters, &request_id),
            Service::S3 => s3::answer(&inner.s3_service, request, &request_id).await,
        };
        self.recording()
            .update(call.number, |call| call.done = true);
        response
    }

    /// Does the work later, in a task of its own: a caller that hangs up does not stop it.
    async fn work_later(
        &self,
        call: &Call,
        request: Request<Bytes>,
        by: Duration,
    ) -> Result<Response<Body>, Disconnected> {
        let (aws, call) = (self.clone(), call.clone());
        let work = tokio::spawn(async move {
            tokio::time::sleep(by).await;
            aws.work(&call, request).await
        });
        work.await.map_err(|_| Disconnected)
    }

    fn refuse(&self, call: &Call, error: &ErrorReply) -> Response<Body> {
        let request_id = self.0.ids.uuid();
        match call.service {
            Service::PrivateCa => pca::error_response(error, &request_id),
            Service::Sns => sns::error_response(error, &request_id),
            Service::S3 => {
                let mut response = s3::error_response(error, &request_id);
                if call.operation.starts_with("Head") {
                    *response.body_mut() = http::empty();
                }
                response
            }
        }
    }

    async fn ask_hook_after(&self, number: u64) -> Option<Fault> {
        let hook = self.hook().is_some();
        if !hook {
            return None;
        }
        let call = self.recording().get(number)?;
        self.ask_hook(&call, Phase::After).await
    }

    async fn ask_hook(&self, call: &Call, phase: Phase) -> Option<Fault> {
        let hook = self.hook().clone()?;
        match hook(call, phase) {
            Action::Proceed => None,
            Action::Misbehave(fault) => Some(fault),
            Action::Stop => future::pending().await,
            Action::Wait(until) => {
                until.await;
                None
            }
        }
    }

    /// Records how a call is answered. Errors are small, so they are read for their code.
    async fn note_answer(&self, number: u64, mut response: Response<Body>) -> Response<Body> {
        let status = response.status();
        let mut error_code = None;
        if status.is_client_error() || status.is_server_error() {
            let (parts, body) = response.into_parts();
            // An error's document was made in memory: it cannot fail to be read.
            let document = body.collect().await.map(|all| all.to_bytes());
            let document = document.unwrap_or_default();
            error_code = read_error_code(&document);
            response = Response::from_parts(parts, http::full(document));
        }
        self.recording().update(number, |call| {
            call.status = Some(status.as_u16());
            call.error_code = error_code;
        });
        response
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        lock(&self.0.recording)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.0.faults)
    }

    fn hook(&self) -> MutexGuard<'_, Option<Hook>> {
        lock(&self.0.hook)
    }
}

impl Default for LocalAws {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalAws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalAws").finish_non_exhaustive()
    }
}

/// A test that panicked while it held a lock must not keep the others from reading what happened.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn throttled(service: Service) -> ErrorReply {
    match service {
        Service::PrivateCa => pca::throttled(),
        Service::Sns => sns::throttled(),
        Service::S3 => ErrorReply::new(503, "SlowDown", "Please reduce your request rate."),
    }
}

/// The same answer with its body damaged; its length stays as it was announced.
fn damaged(response: Response<Body>, kind: Damage, at: u64) -> Response<Body> {
    use ::http::header::CONTENT_LENGTH;
    use http_body::Body as _;

    let (mut parts, body) = response.into_parts();
    let stated = parts.headers.get(CONTENT_LENGTH);
    let length = stated
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .or(body.size_hint().exact());
    let at = match (&kind, length) {
        (Damage::Flip, Some(length)) if length > 0 => at % length,
        _ => at,
    };
    if let Some(length) = length {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, http::damage(body, kind, at))
}

/// The code in an error's document, be it XML or JSON.
fn read_error_code(document: &[u8]) -> Option<String> {
    if let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(document) {
        return Some(members.get("__type")?.as_str()?.to_owned());
    }
    let text = std::str::from_utf8(document).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.to_owned())
}
