//! The emulated account: its clock, its services, and how a request passes through them.

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

use crate::acm::Acm;
use crate::aws_json;
use crate::body::{self, Body, Damage};
use crate::call::Call;
use crate::clock::Clock;
use crate::cloud_trail::CloudTrail;
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
use crate::sqs::{self, Sqs};

/// Emulates Private CA, S3, SNS, SQS, CloudTrail and ACM of one account and region. Clones share the same account.
#[derive(Clone)]
pub struct LocalAws(Arc<Inner>);

struct Inner {
    clock: Clock,
    ids: Arc<Ids>,
    private_ca: PrivateCa,
    s3: S3,
    s3_service: S3Service,
    sns: Sns,
    sqs: Sqs,
    cloud_trail: CloudTrail,
    acm: Acm,
    recording: Mutex<Recording>,
    faults: Mutex<Faults>,
    hook: Mutex<Option<Hook>>,
}

impl LocalAws {
    /// Creates an empty account with the default settings.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Creates an empty account with these settings.
    pub fn with(settings: Settings) -> Self {
        let clock = settings
            .start
            .map_or_else(Clock::from_machine, Clock::starting_at);
        let ids = Arc::new(Ids::new(settings.seed));
        let s3 = S3::new(clock.clone(), Arc::clone(&ids));
        let cloud_trail = CloudTrail::new(&settings, clock.clone());
        let writes_to = pca::Destinations {
            s3: s3.clone(),
            cloud_trail: cloud_trail.clone(),
        };
        Self(Arc::new(Inner {
            private_ca: PrivateCa::new(&settings, clock.clone(), Arc::clone(&ids), writes_to),
            s3_service: s3::service(&s3, &settings),
            sns: Sns::new(&settings, clock.clone(), Arc::clone(&ids)),
            sqs: Sqs::new(&settings, clock.clone()),
            s3,
            cloud_trail,
            acm: Acm::default(),
            ids,
            clock,
            recording: Mutex::default(),
            faults: Mutex::default(),
            hook: Mutex::default(),
        }))
    }

    /// Returns the emulators' clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns the account's region.
    pub(crate) fn region(&self) -> &str {
        self.0.sqs.region()
    }

    /// Moves the emulators' clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
    }

    /// Returns the Private CA emulator.
    pub fn private_ca(&self) -> &PrivateCa {
        &self.0.private_ca
    }

    /// Returns the S3 emulator, after writing the reports that are due.
    pub fn s3(&self) -> &S3 {
        self.0.private_ca.write_due_reports();
        &self.0.s3
    }

    /// Returns the SNS emulator.
    pub fn sns(&self) -> &Sns {
        &self.0.sns
    }

    /// Returns the SQS emulator.
    pub fn sqs(&self) -> &Sqs {
        &self.0.sqs
    }

    /// Returns the CloudTrail emulator.
    pub fn cloud_trail(&self) -> &CloudTrail {
        &self.0.cloud_trail
    }

    /// Returns the ACM emulator.
    pub fn acm(&self) -> &Acm {
        &self.0.acm
    }

    /// Serves all of them over HTTP on a port of 127.0.0.1 until the server is dropped.
    ///
    /// # Errors
    /// If loopback cannot be bound.
    pub async fn serve(&self) -> io::Result<Server> {
        let aws = self.clone();
        Server::start(move |request| {
            let aws = aws.clone();
            async move { aws.call(request).await }
        })
        .await
    }

    /// Endpoint URL for clients that use [`LocalAws::http_client`].
    pub const ENDPOINT_URL: &'static str = "http://local-aws";

    /// Processes one request.
    ///
    /// # Errors
    /// [`Disconnected`] if a fault closes the connection without a response.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Response<Body>, Disconnected> {
        let call = operations::identify(&request, self.0.clock.now());
        let call = self.recording().begin(call);
        let number = call.number;
        let mut fault = self.run_hook(&call, Phase::Before).await;
        if fault.is_none() {
            fault = self.faults().take(&call);
        }
        if fault.is_some() {
            self.recording()
                .update(number, |call| call.fault.clone_from(&fault));
        }
        let mut response = match &fault {
            Some(Fault::Error(error)) => self.error_response(&call, error),
            Some(Fault::Throttle) => self.error_response(&call, &throttled(call.service)),
            Some(Fault::Hang) => future::pending().await,
            Some(Fault::Disconnect) => return Err(Disconnected),
            Some(Fault::Delayed(by)) => self.work_later(&call, request, *by).await?,
            _ => self.work(&call, request).await,
        };
        let after;
        (response, after) = self.run_hook_after(number, response).await;
        if let Some(after) = after {
            self.recording()
                .update(number, |call| call.fault = Some(after.clone()));
            fault = Some(after);
        }
        match &fault {
            Some(Fault::Late(by)) => tokio::time::sleep(*by).await,
            Some(Fault::ErrorAfter(error)) => response = self.error_response(&call, error),
            Some(Fault::HangAfter) => future::pending().await,
            Some(Fault::LostReply | Fault::Disconnect) => return Err(Disconnected),
            _ => {}
        }
        let response = self.record_response(number, response).await;
        Ok(match fault {
            Some(Fault::CutBody { after }) => damaged(response, Damage::Cut, after),
            Some(Fault::StallBody { after }) => damaged(response, Damage::Stall, after),
            Some(Fault::FlipByte { at }) => damaged(response, Damage::Flip, at),
            _ => response,
        })
    }

    /// Injects a fault into the calls that `on` matches. An operation's name alone matches its next call.
    pub fn inject(&self, on: impl Into<On>, fault: Fault) {
        self.faults().add(on.into(), fault);
    }

    /// Removes all faults that have not been applied yet.
    pub fn clear_faults(&self) {
        self.faults().clear();
    }

    /// Returns the number of injected faults that have not been used up.
    pub fn pending_faults(&self) -> usize {
        self.faults().pending()
    }

    /// Sets a hook that runs before and after every call, ahead of injected faults. Replaces any earlier hook.
    pub fn on_call(&self, hook: impl Fn(&Call, Phase) -> Action + Send + Sync + 'static) {
        *self.hook() = Some(Arc::new(hook));
    }

    /// Removes the hook.
    pub fn clear_hook(&self) {
        *self.hook() = None;
    }

    /// Returns the recorded calls, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.recording().calls()
    }

    /// Returns the recorded calls of one operation, oldest first.
    pub fn calls_of(&self, operation: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.operation == operation);
        calls
    }

    /// Returns the recorded calls to one service, oldest first.
    pub fn calls_to(&self, service: Service) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.service == service);
        calls
    }

    /// Deletes the recorded calls.
    pub fn forget_calls(&self) {
        self.recording().forget();
    }

    /// Limits the recording to the latest `most` calls; `None` (the default) keeps all.
    pub fn keep_calls(&self, most: Option<usize>) {
        self.recording().keep(most);
    }

    async fn work(&self, call: &Call, request: Request<Bytes>) -> Response<Body> {
        let inner = &self.0;
        inner.private_ca.write_due_reports();
        let request_id = inner.ids.uuid();
        let (operation, document) = (call.operation.as_str(), request.body());
        let response = match call.service {
            Service::PrivateCa => {
                aws_json::respond(inner.private_ca.perform(operation, document), &request_id)
            }
            Service::CloudTrail => {
                aws_json::respond(inner.cloud_trail.perform(operation, document), &request_id)
            }
            Service::Acm => aws_json::respond(inner.acm.perform(operation, document), &request_id),
            Service::Sns => inner.sns.respond(call, &request_id),
            Service::Sqs => inner.sqs.respond(call, request.body(), &request_id).await,
            Service::S3 => s3::respond(&inner.s3_service, request, &request_id).await,
        };
        self.recording()
            .update(call.number, |call| call.done = true);
        response
    }

    /// Processes the request later, in a separate task, so that a disconnect does not cancel it.
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

    fn error_response(&self, call: &Call, error: &ErrorReply) -> Response<Body> {
        let request_id = self.0.ids.uuid();
        match call.service {
            Service::PrivateCa | Service::CloudTrail | Service::Acm => {
                aws_json::error_response(error, &request_id)
            }
            Service::Sns => sns::error_response(error, &request_id),
            Service::Sqs => sqs::error_response(error, &request_id),
            Service::S3 => {
                let mut response = s3::error_response(error, &request_id);
                if call.operation.starts_with("Head") {
                    *response.body_mut() = body::empty();
                }
                response
            }
        }
    }

    /// Runs the hook with the outcome of the service's work.
    async fn run_hook_after(
        &self,
        number: u64,
        response: Response<Body>,
    ) -> (Response<Body>, Option<Fault>) {
        let call = self.recording().get(number);
        let has_hook = self.hook().is_some();
        let Some(mut call) = call.filter(|_| has_hook) else {
            return (response, None);
        };
        let (response, error_code) = read_error(response).await;
        call.status = Some(response.status().as_u16());
        call.error_code = error_code;
        let fault = self.run_hook(&call, Phase::After).await;
        (response, fault)
    }

    async fn run_hook(&self, call: &Call, phase: Phase) -> Option<Fault> {
        let hook = self.hook().clone()?;
        match hook(call, phase) {
            Action::Proceed => None,
            Action::Inject(fault) => Some(fault),
            Action::Stop => future::pending().await,
            Action::Wait(until) => {
                until.await;
                None
            }
        }
    }

    /// Records the status of a response and, for an error, its code.
    async fn record_response(&self, number: u64, response: Response<Body>) -> Response<Body> {
        let (response, error_code) = read_error(response).await;
        self.recording().update(number, |call| {
            call.status = Some(response.status().as_u16());
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

/// Reads the error code of a response, if it is an error.
async fn read_error(response: Response<Body>) -> (Response<Body>, Option<String>) {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return (response, None);
    }
    let (parts, body) = response.into_parts();
    // Error documents are in memory, so reading them cannot fail.
    let document = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let document = document.unwrap_or_default();
    let error_code = sqs::error_code(&parts.headers).or_else(|| read_error_code(&document));
    let response = Response::from_parts(parts, body::full(document));
    (response, error_code)
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

/// Locks a mutex even if a test panicked while holding it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn throttled(service: Service) -> ErrorReply {
    match service {
        Service::PrivateCa | Service::CloudTrail | Service::Acm => aws_json::throttled(),
        Service::Sns => sns::throttled(),
        Service::Sqs => sqs::throttled(),
        Service::S3 => ErrorReply::new(503, "SlowDown", "Please reduce your request rate."),
    }
}

/// Damages the body of a response. `Content-Length` stays unchanged.
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

/// Returns the error code in an XML or JSON error document.
fn read_error_code(document: &[u8]) -> Option<String> {
    if let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(document) {
        return Some(members.get("__type")?.as_str()?.to_owned());
    }
    let text = std::str::from_utf8(document).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.to_owned())
}
