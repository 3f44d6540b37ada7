//! One account: its clock, its services, and the way of a request through them.

use std::fmt;
use std::future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use s3s::service::S3Service;

use crate::body::{self, Body, Damage};
use crate::call::Call;
use crate::clock::Clock;
use crate::error_reply::ErrorReply;
use crate::fault::Fault;
use crate::hook::{Action, Hook, Phase};
use crate::ids::Ids;
use crate::injection::{Faults, On};
use crate::operations;
use crate::pca::{self, PrivateCa};
use crate::recording::Recording;
use crate::s3::{self, S3};
use crate::server::{Disconnected, Server};
use crate::service::Service;
use crate::settings::Settings;
use crate::sns::{self, Sns};

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
        let s3 = S3::new(clock.clone(), Arc::clone(&ids));
        Self(Arc::new(Inner {
            private_ca: PrivateCa::new(&settings, clock.clone(), Arc::clone(&ids), s3.clone()),
            s3_service: s3::service(&s3, &settings),
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
                    *response.body_mut() = body::empty();
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
            response = Response::from_parts(parts, body::full(document));
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
    Response::from_parts(parts, body::damage(body, kind, at))
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
