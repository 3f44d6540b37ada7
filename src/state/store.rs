//! Reads and writes the state in S3; control documents are written conditionally only.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::{ByteStream, ByteStreamError, SdkBody};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::aws::failure::{CallFailure, FailureClass, chain};
use crate::budget::Budget;
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::state::control::{Control, Lease, RecordedError};
use crate::state::notified_set::{
    NotifiedSet, NotifiedSetError, NotifiedSetErrorKind, NotifiedSetReader,
};
use crate::timestamp::Timestamp;

/// Interval at which a waiting run checks whether a lease was released.
const LEASE_POLL: Duration = Duration::from_secs(5);

/// Wait after another run took the lease first.
const LEASE_RETRY: Duration = Duration::from_millis(200);

/// Maximum attempts of a conditional write.
const WRITE_ATTEMPTS: u32 = 6;

/// Maximum reads of an object whose body breaks off: the SDK retries requests only.
const READ_ATTEMPTS: u32 = 3;

/// Maximum size of a control document, which has about a thousand bytes.
const MAX_CONTROL_BYTES: i64 = 1024 * 1024;

type GetFailure = SdkError<GetObjectError, HttpResponse>;

/// The state of all CAs in S3.
#[derive(Clone, Debug)]
pub struct Store {
    /// The S3 client.
    pub s3: aws_sdk_s3::Client,
    /// The bucket.
    pub bucket: String,
    /// The key prefix: empty, or ends in `/`.
    pub prefix: String,
}

/// A control document and the version of it that S3 has.
#[derive(Clone, Debug)]
pub struct VersionedState {
    /// The control document.
    pub control: Control,
    /// `None` if S3 has none yet.
    e_tag: Option<String>,
}

/// The result of an attempt to take a lease.
#[derive(Debug)]
pub enum LeaseAttempt {
    /// This run holds the lease.
    Acquired(Box<VersionedState>),
    /// Another run holds it.
    HeldBy(Lease),
}

/// Why a control document was not saved.
#[derive(Debug)]
pub enum SaveError {
    /// Another run has written a newer one.
    Conflict(Box<VersionedState>),
    /// S3 did not accept it.
    AuditError(AuditError),
}

impl SaveError {
    /// Returns the error for a caller that cannot merge a newer state.
    pub fn into_error(self) -> AuditError {
        match self {
            SaveError::AuditError(error) => error,
            SaveError::Conflict(newer) => AuditError::new(
                ErrorKind::StateConflict,
                format!(
                    "another run changed the state of {} (sequence {})",
                    newer.control.certificate_authority_arn, newer.control.sequence
                ),
            ),
        }
    }
}

/// An announced error that the control document could not record.
#[derive(Debug, Default)]
pub struct ErrorMarker {
    /// Whether S3 has one.
    pub is_there: bool,
    /// The error; `None` if it cannot be read.
    pub error: Option<RecordedError>,
}

impl Store {
    /// Reads the control document; returns a new one for a CA without any state.
    ///
    /// # Errors
    /// If the document is unreadable, deleted, of another CA or of a newer version: never a fresh
    /// start.
    pub async fn load(
        &self,
        arn: &CertificateAuthorityArn,
        now: Timestamp,
    ) -> Result<VersionedState, AuditError> {
        let key = self.control_key(arn);
        let location = self.location(&key);
        let mut interruptions = 0;
        loop {
            let output = match self.get(&key).await {
                Ok(output) => output,
                Err(error) => return self.new_state(arn, now, &error).await,
            };
            if output.content_length() > Some(MAX_CONTROL_BYTES) {
                return Err(AuditError::new(
                    ErrorKind::StateUnreadable,
                    format!("the state at {location} is too large to be a control document"),
                ));
            }
            let e_tag = output.e_tag().map(str::to_owned);
            match output.body.collect().await {
                Ok(bytes) => {
                    let control = Control::read(&bytes.into_bytes(), arn, &location)?;
                    return Ok(VersionedState { control, e_tag });
                }
                Err(error) => {
                    interruptions += 1;
                    self.read_again(&location, &error, interruptions).await?;
                }
            }
        }
    }

    /// Returns a new state if S3 has no control document because there never was one.
    async fn new_state(
        &self,
        arn: &CertificateAuthorityArn,
        now: Timestamp,
        error: &GetFailure,
    ) -> Result<VersionedState, AuditError> {
        let location = self.location(&self.control_key(arn));
        let failure = CallFailure::new("GetObject", error);
        if !failure.is_not_found() || failure.is("NoSuchBucket") {
            return Err(failure.error(&location));
        }
        let is_deleted = error
            .raw_response()
            .is_some_and(|response| response.headers().get("x-amz-delete-marker") == Some("true"));
        if is_deleted || self.any_notified_set(arn).await? {
            return Err(AuditError::new(
                ErrorKind::StateUnreadable,
                format!("the state at {location} was deleted"),
            ));
        }
        Ok(VersionedState {
            control: Control::new(arn.clone(), now),
            e_tag: None,
        })
    }

    /// Takes the lease until `lease.until`. A run that `waits` waits for another run's end as long
    /// as its own time allows.
    ///
    /// # Errors
    /// Those of [`load`](Self::load) and of S3.
    pub async fn take(
        &self,
        arn: &CertificateAuthorityArn,
        lease: &Lease,
        budget: &Budget,
        waits: bool,
    ) -> Result<LeaseAttempt, AuditError> {
        loop {
            let mut state = self.load(arn, budget.now()).await?;
            if let Some(holder) = state
                .control
                .holder(budget.now())
                .filter(|h| h.nonce != lease.nonce)
            {
                // Most leases are released long before they expire.
                let left = holder.until.since(budget.now());
                if !waits || !budget.wait(left.min(LEASE_POLL)).await {
                    return Ok(LeaseAttempt::HeldBy(holder.clone()));
                }
                continue;
            }
            state.control.lease = Some(lease.clone());
            match self.save(&mut state, &lease.nonce).await {
                Ok(()) => return Ok(LeaseAttempt::Acquired(Box::new(state))),
                // Another run was faster: its lease is treated like any other.
                Err(SaveError::Conflict(_)) if budget.wait(LEASE_RETRY).await => {}
                Err(error) => return Err(error.into_error()),
            }
        }
    }

    /// Writes the control document if S3 still has the version that was read.
    ///
    /// A write whose response was lost is recognized by its nonce.
    ///
    /// # Errors
    /// If another run has written a newer document, or S3 does not accept this one.
    pub async fn save(&self, state: &mut VersionedState, run_nonce: &str) -> Result<(), SaveError> {
        let arn = state.control.certificate_authority_arn.clone();
        let location = self.location(&self.control_key(&arn));
        state.control.sequence += 1;
        state.control.nonce = format!("{run_nonce}-{}", state.control.sequence);
        let mut attempt = 0;
        loop {
            let failure = match self.put_control(state).await {
                Ok(e_tag) => {
                    state.e_tag = e_tag;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let is_conflict =
                matches!(failure.status, Some(404 | 409 | 412)) && !failure.is("NoSuchBucket");
            if !is_conflict && failure.class == FailureClass::Refused {
                return Err(SaveError::AuditError(failure.error(&location)));
            }
            warn!(location, error = %failure, "state write outcome unknown; re-reading");
            match self.load(&arn, state.control.first_seen_at).await {
                Ok(stored) if stored.control.nonce == state.control.nonce => {
                    state.e_tag = stored.e_tag;
                    return Ok(());
                }
                // An earlier write of this run, which seemed to have failed; this one replaces it.
                Ok(stored) if stored.control.is_written_by(run_nonce) => state.e_tag = stored.e_tag,
                Ok(stored) if stored.e_tag != state.e_tag => {
                    return Err(SaveError::Conflict(Box::new(stored)));
                }
                Ok(_) => {}
                Err(error) if error.kind.remedy() == Remedy::Retry => {
                    let error = error.message;
                    warn!(location, error, "state write outcome still unknown");
                }
                Err(error) => return Err(SaveError::AuditError(error)),
            }
            attempt += 1;
            if attempt == WRITE_ATTEMPTS {
                return Err(SaveError::AuditError(match failure.class {
                    FailureClass::Refused => failure.error_of(ErrorKind::StateConflict, &location),
                    _ => failure.error(&location),
                }));
            }
            tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
        }
    }

    /// Makes one conditional write; returns the new ETag.
    async fn put_control(&self, state: &VersionedState) -> Result<Option<String>, CallFailure> {
        let put = self
            .s3
            .put_object()
            .bucket(&self.bucket)
            .key(self.control_key(&state.control.certificate_authority_arn))
            .body(state.control.to_json().into())
            .content_type("application/json");
        let put = match &state.e_tag {
            Some(e_tag) => put.if_match(e_tag),
            None => put.if_none_match("*"),
        };
        match put.send().await {
            Ok(output) => Ok(output.e_tag().map(str::to_owned)),
            Err(error) => Err(CallFailure::new("PutObject", &error)),
        }
    }

    /// Reads the notified set that the control document points to; an empty one before the first
    /// audit.
    ///
    /// # Errors
    /// A missing or unreadable set is an error, never an empty set.
    pub async fn load_notified_set(&self, control: &Control) -> Result<NotifiedSet, AuditError> {
        let Some(key) = &control.notified_set else {
            return Ok(NotifiedSet::new());
        };
        let location = self.location(key);
        let unreadable = |why: &str| {
            AuditError::new(
                ErrorKind::StateUnreadable,
                format!("the notified set at {location} {why}"),
            )
        };
        let arn = &control.certificate_authority_arn;
        let mut broke_off = 0;
        let notified = loop {
            match self.read_notified_set(key, arn).await {
                Ok(notified) => break notified,
                Err(ReadFailure::BrokeOff(error)) => {
                    broke_off += 1;
                    self.read_again(&location, &error, broke_off).await?;
                }
                Err(ReadFailure::Refused(failure)) => {
                    let is_missing = failure.is_not_found() && !failure.is("NoSuchBucket");
                    return Err(match is_missing {
                        true => unreadable("is missing"),
                        false => failure.error(&location),
                    });
                }
                Err(ReadFailure::Invalid(error)) => {
                    let unreadable = unreadable(&format!("cannot be read: {error}"));
                    return Err(match error.kind {
                        NotifiedSetErrorKind::NewerVersion(_) => {
                            AuditError::new(ErrorKind::StateNewer, unreadable.message)
                        }
                        _ => unreadable,
                    });
                }
            }
        };
        let (found, stated) = (notified.len() as u64, control.notified_count);
        if found != stated {
            return Err(unreadable(&format!(
                "holds {found} revocations, but the control document states {stated}"
            )));
        }
        Ok(notified)
    }

    /// Reads an object as a notified set. An invalid one is read to its end as well: only then has
    /// the SDK checked that these bytes are what S3 holds.
    async fn read_notified_set(
        &self,
        key: &str,
        arn: &CertificateAuthorityArn,
    ) -> Result<NotifiedSet, ReadFailure> {
        let get = self.s3.get_object().bucket(&self.bucket).key(key);
        let output = get
            .send()
            .await
            .map_err(|error| ReadFailure::Refused(CallFailure::new("GetObject", &error)))?;
        let mut reader = NotifiedSetReader::new(arn.as_str());
        let mut body = output.body;
        while let Some(chunk) = body.next().await {
            // The reader repeats its error when it finishes.
            let _ = reader.feed(&chunk.map_err(ReadFailure::BrokeOff)?);
        }
        reader.finish().map_err(ReadFailure::Invalid)
    }

    /// Waits briefly before an object whose body broke off is read again.
    async fn read_again(
        &self,
        location: &str,
        error: &aws_sdk_s3::primitives::ByteStreamError,
        broke_off: u32,
    ) -> Result<(), AuditError> {
        let error = chain(error);
        warn!(location, error, "state read interrupted; retrying");
        if broke_off == READ_ATTEMPTS {
            return Err(AuditError::new(
                ErrorKind::Unavailable,
                format!("GetObject of {location} was interrupted {broke_off} times: {error}"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(100 << broke_off)).await;
        Ok(())
    }

    /// Writes a notified set under a new key and returns the key.
    pub async fn write_notified_set(
        &self,
        control: &Control,
        notified: &Arc<NotifiedSet>,
    ) -> Result<String, AuditError> {
        let arn = &control.certificate_authority_arn;
        let mut sequence = control.sequence + 1;
        let mut conflicts = 0;
        loop {
            let key = format!("{}{sequence}.jsonl", self.notified_prefix(arn));
            let put = self
                .s3
                .put_object()
                .bucket(&self.bucket)
                .key(&key)
                .content_type("application/jsonl")
                .body(notified_body(notified, arn))
                .if_none_match("*");
            let failure = match put.send().await {
                Ok(_) => return Ok(key),
                Err(error) => CallFailure::new("PutObject", &error),
            };
            match failure.status {
                // The key belongs to a run that never switched to it or is about to, or to our own
                // request whose response was lost.
                Some(412) => {
                    warn!(
                        certificate_authority = arn.id(),
                        key, "notified set exists already; trying the next key"
                    );
                    sequence += 1;
                }
                Some(409) if conflicts < WRITE_ATTEMPTS => {
                    warn!(certificate_authority = arn.id(), key, error = %failure, "notified set write conflict; retrying");
                    conflicts += 1;
                    tokio::time::sleep(Duration::from_millis(100 << conflicts)).await;
                }
                Some(409) => {
                    return Err(failure.error_of(ErrorKind::StateConflict, &self.location(&key)));
                }
                _ => return Err(failure.error(&self.location(&key))),
            }
        }
    }

    /// Removes notified sets older than the one that the control document points to. What cannot be
    /// removed stays, unused, until the next call.
    pub async fn remove_older_notified_sets(&self, control: &Control) {
        let arn = &control.certificate_authority_arn;
        let prefix = self.notified_prefix(arn);
        let sequence = |key: &str| -> Option<u64> {
            key.strip_prefix(&prefix)?
                .strip_suffix(".jsonl")?
                .parse()
                .ok()
        };
        let Some(current) = control.notified_set.as_deref().and_then(sequence) else {
            return;
        };
        let keys = match self.list(&prefix).await {
            Ok(keys) => keys,
            Err(failure) => {
                warn!(certificate_authority = arn.id(), error = %failure, "failed to list superseded notified sets");
                return;
            }
        };
        for key in keys
            .into_iter()
            .filter(|key| sequence(key).is_some_and(|s| s < current))
        {
            match self
                .s3
                .delete_object()
                .bucket(&self.bucket)
                .key(&key)
                .send()
                .await
            {
                Ok(_) => info!(
                    certificate_authority = arn.id(),
                    key, "superseded notified set removed"
                ),
                Err(error) => {
                    let error = CallFailure::new("DeleteObject", &error);
                    warn!(certificate_authority = arn.id(), key, %error, "failed to remove a superseded notified set");
                }
            }
        }
    }

    /// Reads the error marker; if S3 does not say whether there is one, logs that and returns none.
    pub async fn read_error_marker(&self, arn: &CertificateAuthorityArn) -> ErrorMarker {
        let key = self.error_marker_key(arn);
        let unknown = |error: &dyn Display| {
            warn!(certificate_authority = arn.id(), key, %error, "cannot check whether an error was announced");
            ErrorMarker::default()
        };
        let body = match self.get(&key).await {
            Ok(output) => output.body.collect().await,
            Err(error) => {
                let failure = CallFailure::new("GetObject", &error);
                if failure.is_not_found() {
                    return ErrorMarker::default();
                }
                let marker = unknown(&failure);
                // Listing needs another permission than reading.
                let is_there = failure.is_denied()
                    && self.list(&key).await.is_ok_and(|keys| keys.contains(&key));
                return ErrorMarker { is_there, ..marker };
            }
        };
        let bytes = match body {
            Ok(bytes) => bytes.into_bytes(),
            Err(error) => return unknown(&error),
        };
        match serde_json::from_slice(&bytes) {
            Ok(error) => ErrorMarker {
                is_there: true,
                error: Some(error),
            },
            Err(error) => unknown(&error),
        }
    }

    /// Writes the error marker; returns whether S3 stored it.
    pub async fn write_error_marker(
        &self,
        arn: &CertificateAuthorityArn,
        error: &RecordedError,
    ) -> bool {
        let key = self.error_marker_key(arn);
        let body = serde_json::to_vec_pretty(error).expect("an error has string keys only");
        let put = self.s3.put_object().bucket(&self.bucket).key(&key);
        let put = put.content_type("application/json").body(body.into());
        let put = put.send().await;
        if let Err(error) = &put {
            let error = CallFailure::new("PutObject", error);
            warn!(certificate_authority = arn.id(), key, %error, "announced error not stored; only this process knows of it");
        }
        put.is_ok()
    }

    /// Removes the error marker once the control document records the error; if that is denied,
    /// marks it as not announced, so that its end is not announced again.
    pub async fn remove_error_marker(&self, arn: &CertificateAuthorityArn, error: &RecordedError) {
        let key = self.error_marker_key(arn);
        let delete = self.s3.delete_object().bucket(&self.bucket).key(&key);
        if let Err(failure) = delete.send().await {
            let failure = CallFailure::new("DeleteObject", &failure);
            warn!(certificate_authority = arn.id(), key, error = %failure, "error marker not removed");
            let over = RecordedError::new(&error.kind, error.since);
            if error.may_be_announced() {
                self.write_error_marker(arn, &over).await;
            }
        }
    }

    async fn get(&self, key: &str) -> Result<GetObjectOutput, GetFailure> {
        let get = self.s3.get_object().bucket(&self.bucket).key(key);
        get.send().await
    }

    /// Returns the key prefix of a CA's objects other than its control document.
    pub fn prefix_of(&self, arn: &CertificateAuthorityArn) -> String {
        format!("{}{}/", self.prefix, arn.id())
    }

    fn control_key(&self, arn: &CertificateAuthorityArn) -> String {
        format!("{}{}.json", self.prefix, arn.id())
    }

    fn error_marker_key(&self, arn: &CertificateAuthorityArn) -> String {
        format!("{}error.json", self.prefix_of(arn))
    }

    fn notified_prefix(&self, arn: &CertificateAuthorityArn) -> String {
        format!("{}notified-", self.prefix_of(arn))
    }

    fn location(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    async fn any_notified_set(&self, arn: &CertificateAuthorityArn) -> Result<bool, AuditError> {
        let prefix = self.notified_prefix(arn);
        let keys = self
            .list(&prefix)
            .await
            .map_err(|failure| failure.error(&self.location(&prefix)))?;
        Ok(!keys.is_empty())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, CallFailure> {
        let mut keys = Vec::new();
        let mut pages = self
            .s3
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CallFailure::new("ListObjectsV2", &error))?;
            keys.extend(
                page.contents()
                    .iter()
                    .filter_map(|object| object.key().map(str::to_owned)),
            );
        }
        Ok(keys)
    }
}

/// Returns a body that produces the document while it is sent, so that memory never holds all of it.
fn notified_body(notified: &Arc<NotifiedSet>, arn: &CertificateAuthorityArn) -> ByteStream {
    let notified = Arc::clone(notified);
    let arn = arn.clone();
    ByteStream::new(SdkBody::retryable(move || {
        SdkBody::from_body_1_x(NotifiedBody {
            left: notified.document_len(arn.as_str()),
            chunks: Box::new(Arc::clone(&notified).document_chunks(arn.as_str())),
        })
    }))
}

/// Why a notified set was not read.
enum ReadFailure {
    Refused(CallFailure),
    BrokeOff(ByteStreamError),
    Invalid(NotifiedSetError),
}

struct NotifiedBody {
    left: u64,
    chunks: Box<dyn Iterator<Item = Vec<u8>> + Send + Sync>,
}

impl Body for NotifiedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let chunk = self.chunks.next();
        self.left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
