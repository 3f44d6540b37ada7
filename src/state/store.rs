//! The state's objects in S3: read whole, written under conditions only.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::aws::failure::{CallFailure, FailureClass, chain};
use crate::budget::Budget;
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::state::control::{Control, Lease, RecordedError};
use crate::state::notified_set::{NotifiedSet, NotifiedSetErrorKind, NotifiedSetReader};
use crate::timestamp::Timestamp;

/// How often a run that waits for a lease looks whether it was released.
const LEASE_POLL: Duration = Duration::from_secs(5);

/// The wait after somebody else was faster to take the lease.
const LEASE_RETRY: Duration = Duration::from_millis(200);

/// So often a conditional write is tried again before the run gives up.
const WRITE_ATTEMPTS: u32 = 6;

/// So often an object is read whose body breaks off: the SDK retries requests only.
const READ_ATTEMPTS: u32 = 3;

/// A control document is some hundred bytes; what is far larger is something else.
const MAX_CONTROL_BYTES: i64 = 1024 * 1024;

/// Where the state lies.
#[derive(Clone, Debug)]
pub struct Store {
    pub s3: aws_sdk_s3::Client,
    pub bucket: String,
    /// Empty, or ends in `/`.
    pub prefix: String,
}

/// A control document, and the version of it that S3 holds.
#[derive(Clone, Debug)]
pub struct VersionedState {
    pub control: Control,
    /// `None` where S3 holds none yet.
    e_tag: Option<String>,
}

/// What came of reaching for a lease.
#[derive(Debug)]
pub enum LeaseAttempt {
    /// This run holds the certificate authority.
    Acquired(Box<VersionedState>),
    /// Another run does.
    HeldBy(Lease),
}

/// Why a control document was not saved.
#[derive(Debug)]
pub enum SaveError {
    /// S3 holds another one by now.
    Conflict(Box<VersionedState>),
    AuditError(AuditError),
}

impl SaveError {
    /// The fault where a newer state cannot be dealt with.
    pub fn into_error(self) -> AuditError {
        match self {
            SaveError::AuditError(error) => error,
            SaveError::Conflict(newer) => AuditError::new(
                ErrorKind::StateConflict,
                format!(
                    "another run changed the state of {} (its sequence is {} now)",
                    newer.control.certificate_authority_arn, newer.control.sequence
                ),
            ),
        }
    }
}

/// The note of a fault that was told.
#[derive(Debug, Default)]
pub struct ErrorMarker {
    /// Whether S3 holds it.
    pub is_there: bool,
    /// None where it may not be read.
    pub error: Option<RecordedError>,
}

impl Store {
    /// Reads the control document; a new one where there never was any.
    ///
    /// # Errors
    /// A document that is unreadable, deleted, of another certificate authority or of a newer
    /// version is a fault, never a fresh start.
    pub async fn load(
        &self,
        arn: &CertificateAuthorityArn,
        now: Timestamp,
    ) -> Result<VersionedState, AuditError> {
        let key = self.control_key(arn);
        let location = self.location(&key);
        let mut broke_off = 0;
        let (bytes, e_tag) = loop {
            let output = match self
                .s3
                .get_object()
                .bucket(&self.bucket)
                .key(&key)
                .send()
                .await
            {
                Ok(output) => output,
                Err(error) => {
                    let failure = CallFailure::new("GetObject", &error);
                    if !failure.is_not_found() || failure.is("NoSuchBucket") {
                        return Err(failure.error(&location));
                    }
                    let deleted = error
                        .raw_response()
                        .is_some_and(|r| r.headers().get("x-amz-delete-marker") == Some("true"));
                    if deleted || self.any_notified_set(arn).await? {
                        return Err(AuditError::new(
                            ErrorKind::StateUnreadable,
                            format!("the state at {location} was deleted"),
                        ));
                    }
                    return Ok(VersionedState {
                        control: Control::new(arn.clone(), now),
                        e_tag: None,
                    });
                }
            };
            if output
                .content_length()
                .is_some_and(|length| length > MAX_CONTROL_BYTES)
            {
                return Err(AuditError::new(
                    ErrorKind::StateUnreadable,
                    format!("the state at {location} is too large to be a control document"),
                ));
            }
            let e_tag = output.e_tag().map(str::to_owned);
            match output.body.collect().await {
                Ok(bytes) => break (bytes, e_tag),
                Err(error) => {
                    broke_off += 1;
                    self.read_again(&location, &error, broke_off).await?;
                }
            }
        };
        let control = Control::read(&bytes.into_bytes(), arn, &location)?;
        Ok(VersionedState { control, e_tag })
    }

    /// Takes the lease until `lease.until`. A run that `waits` waits for another's end while its
    /// own time allows.
    ///
    /// # Errors
    /// As [`load`](Self::load), and the faults of S3.
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
                // Most are given back long before their end.
                let over_in = holder.until.since(budget.now());
                if !waits || !budget.wait(over_in.min(LEASE_POLL)).await {
                    return Ok(LeaseAttempt::HeldBy(holder.clone()));
                }
                continue;
            }
            state.control.lease = Some(lease.clone());
            match self.save(&mut state, &lease.nonce).await {
                Ok(()) => return Ok(LeaseAttempt::Acquired(Box::new(state))),
                // Somebody was faster: their lease is looked at like any other.
                Err(SaveError::Conflict(_)) if budget.wait(LEASE_RETRY).await => {}
                Err(error) => return Err(error.into_error()),
            }
        }
    }

    /// Writes the control document, if S3 still holds the version that was read.
    ///
    /// A write whose answer was lost is recognised as one's own by its nonce.
    pub async fn save(&self, state: &mut VersionedState, run_nonce: &str) -> Result<(), SaveError> {
        let key = self.control_key(&state.control.certificate_authority_arn);
        let location = self.location(&key);
        state.control.sequence += 1;
        state.control.nonce = format!("{run_nonce}-{}", state.control.sequence);
        let body = Bytes::from(state.control.to_json());
        let mut last_failure = None;
        for attempt in 0..WRITE_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
            }
            let put = self
                .s3
                .put_object()
                .bucket(&self.bucket)
                .key(&key)
                .body(body.clone().into());
            let put = match &state.e_tag {
                Some(e_tag) => put.if_match(e_tag),
                None => put.if_none_match("*"),
            };
            let failure = match put.content_type("application/json").send().await {
                Ok(output) => {
                    state.e_tag = output.e_tag().map(str::to_owned);
                    return Ok(());
                }
                Err(error) => CallFailure::new("PutObject", &error),
            };
            let conditional =
                matches!(failure.status, Some(404 | 409 | 412)) && !failure.is("NoSuchBucket");
            if !conditional && failure.class == FailureClass::Refused {
                return Err(SaveError::AuditError(failure.error(&location)));
            }
            warn!(location, error = %failure, "not known whether the state was saved; looking");
            let arn = &state.control.certificate_authority_arn;
            match self.load(arn, state.control.first_seen_at).await {
                Ok(stored) if stored.control.nonce == state.control.nonce => {
                    state.e_tag = stored.e_tag;
                    return Ok(());
                }
                // An earlier write of this run, which had counted as failed: this one goes on top.
                Ok(stored) if stored.control.is_written_by(run_nonce) => state.e_tag = stored.e_tag,
                Ok(stored) if stored.e_tag != state.e_tag => {
                    return Err(SaveError::Conflict(Box::new(stored)));
                }
                Ok(_) => {}
                Err(error) if error.kind.remedy() == Remedy::Retry => {
                    warn!(
                        location,
                        error = error.message,
                        "whether the state was saved is not known yet"
                    );
                }
                Err(error) => return Err(SaveError::AuditError(error)),
            }
            last_failure = Some(failure);
        }
        let failure = last_failure.expect("the loop ran and did not return");
        let error = if failure.class == FailureClass::Refused {
            failure.error_of(ErrorKind::StateConflict, &location)
        } else {
            failure.error(&location)
        };
        Err(SaveError::AuditError(error))
    }

    /// Reads the told list that the control document points to; an empty one before the first audit.
    ///
    /// # Errors
    /// A list that is gone or unreadable is a fault, never an empty list.
    pub async fn load_notified_set(&self, control: &Control) -> Result<NotifiedSet, AuditError> {
        let Some(key) = &control.notified_set else {
            return Ok(NotifiedSet::new());
        };
        let location = self.location(key);
        let unreadable = |why: String| {
            AuditError::new(
                ErrorKind::StateUnreadable,
                format!("the told list at {location} {why}"),
            )
        };
        let mut broke_off = 0;
        let notified = 'reading: loop {
            let output = match self
                .s3
                .get_object()
                .bucket(&self.bucket)
                .key(key)
                .send()
                .await
            {
                Ok(output) => output,
                Err(error) => {
                    let failure = CallFailure::new("GetObject", &error);
                    return Err(if failure.is_not_found() && !failure.is("NoSuchBucket") {
                        unreadable("is gone".to_owned())
                    } else {
                        failure.error(&location)
                    });
                }
            };
            let mut reader = NotifiedSetReader::new(control.certificate_authority_arn.as_str());
            let mut body = output.body;
            let mut bad = None;
            // Read to its end even where it is no told list: only then is it known that these
            // bytes are what S3 holds.
            while let Some(chunk) = body.next().await {
                match chunk {
                    Ok(chunk) if bad.is_none() => bad = reader.feed(&chunk).err(),
                    Ok(_) => {}
                    Err(error) => {
                        broke_off += 1;
                        self.read_again(&location, &error, broke_off).await?;
                        continue 'reading;
                    }
                }
            }
            let read = match bad {
                Some(error) => Err(error),
                None => reader.finish(),
            };
            break read.map_err(|error| match error.kind {
                NotifiedSetErrorKind::NewerVersion(_) => AuditError::new(
                    ErrorKind::StateNewer,
                    format!("the told list at {location} cannot be read: {error}"),
                ),
                _ => unreadable(format!("cannot be read: {error}")),
            })?;
        };
        if notified.len() as u64 != control.notified_count {
            return Err(unreadable(format!(
                "holds {} revocations where the control document says {}",
                notified.len(),
                control.notified_count
            )));
        }
        Ok(notified)
    }

    /// Waits a little before an object whose body broke off is read again.
    async fn read_again(
        &self,
        location: &str,
        error: &aws_sdk_s3::primitives::ByteStreamError,
        broke_off: u32,
    ) -> Result<(), AuditError> {
        let error = chain(error);
        warn!(location, error, "reading the state broke off");
        if broke_off == READ_ATTEMPTS {
            return Err(AuditError::new(
                ErrorKind::Unavailable,
                format!("GetObject of {location} broke off {broke_off} times: {error}"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(100 << broke_off)).await;
        Ok(())
    }

    /// Writes a told list under a key of its own and returns the key.
    pub async fn write_notified_set(
        &self,
        control: &Control,
        notified: &Arc<NotifiedSet>,
    ) -> Result<String, AuditError> {
        let arn = &control.certificate_authority_arn;
        let mut sequence = control.sequence + 1;
        let mut conflicts = 0;
        loop {
            let key = format!("{}{sequence}.json", self.notified_prefix(arn));
            let put = self
                .s3
                .put_object()
                .bucket(&self.bucket)
                .key(&key)
                .content_type("application/json")
                .body(notified_body(notified, arn))
                .if_none_match("*");
            let failure = match put.send().await {
                Ok(_) => return Ok(key),
                Err(error) => CallFailure::new("PutObject", &error),
            };
            match failure.status {
                // A key that is taken belongs to a run that never came to switch to it, or is
                // about to; or an answer was lost on the way to us.
                Some(412) => {
                    warn!(
                        certificate_authority = arn.id(),
                        key, "there is such a told list already; taking the next key"
                    );
                    sequence += 1;
                }
                Some(409) if conflicts < WRITE_ATTEMPTS => {
                    warn!(certificate_authority = arn.id(), key, error = %failure, "writing the told list again");
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

    /// Removes told lists older than the one that the control document points to. Those that could
    /// not be removed lie there unread until the next time.
    pub async fn remove_older_notified_sets(&self, control: &Control) {
        let arn = &control.certificate_authority_arn;
        let prefix = self.notified_prefix(arn);
        let sequence = |key: &str| -> Option<u64> {
            key.strip_prefix(&prefix)?
                .strip_suffix(".json")?
                .parse()
                .ok()
        };
        let Some(current) = control.notified_set.as_deref().and_then(sequence) else {
            return;
        };
        let keys = match self.list(&prefix).await {
            Ok(keys) => keys,
            Err(failure) => {
                warn!(certificate_authority = arn.id(), error = %failure, "could not list older told lists");
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
                    key, "removed an older told list"
                ),
                Err(error) => {
                    let error = CallFailure::new("DeleteObject", &error);
                    warn!(certificate_authority = arn.id(), key, %error, "could not remove an older told list");
                }
            }
        }
    }

    /// Looks for the note of a fault that was told while the control document could not record it.
    /// Where that cannot be known, there is none, and a line in the log.
    pub async fn read_error_marker(&self, arn: &CertificateAuthorityArn) -> ErrorMarker {
        let key = self.error_marker_key(arn);
        let unknown = |error: &dyn Display| {
            warn!(certificate_authority = arn.id(), key, %error, "not known whether a fault was told");
            ErrorMarker::default()
        };
        let get = self.s3.get_object().bucket(&self.bucket).key(&key);
        let body = match get.send().await {
            Ok(output) => output.body.collect().await,
            Err(error) => {
                let failure = CallFailure::new("GetObject", &error);
                if failure.is_not_found() {
                    return ErrorMarker::default();
                }
                let marker = unknown(&failure);
                // Who may not read objects may still see which there are.
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

    /// Notes a fault that was told and that the control document cannot record, for the run that can
    /// read it again. Whether S3 took the note.
    pub async fn write_error_marker(
        &self,
        arn: &CertificateAuthorityArn,
        error: &RecordedError,
    ) -> bool {
        let key = self.error_marker_key(arn);
        let body = serde_json::to_vec_pretty(error).expect("a recorded fault has string keys only");
        let put = self
            .s3
            .put_object()
            .bucket(&self.bucket)
            .key(&key)
            .content_type("application/json")
            .body(body.into());
        let put = put.send().await;
        if let Err(error) = &put {
            let error = CallFailure::new("PutObject", error);
            warn!(certificate_authority = arn.id(), key, %error, "only this process knows that its fault was told");
        }
        put.is_ok()
    }

    /// Removes the note, once the control document holds what it says; where that is not allowed,
    /// writes into it that nobody is to be told of the fault's end.
    pub async fn remove_error_marker(&self, arn: &CertificateAuthorityArn, error: &RecordedError) {
        let key = self.error_marker_key(arn);
        let delete = self.s3.delete_object().bucket(&self.bucket).key(&key);
        if let Err(failure) = delete.send().await {
            let failure = CallFailure::new("DeleteObject", &failure);
            warn!(certificate_authority = arn.id(), key, error = %failure, "could not remove a note of what is recorded");
            let over = RecordedError::new(&error.kind, error.since);
            if error.may_be_announced() {
                self.write_error_marker(arn, &over).await;
            }
        }
    }

    /// The prefix of everything but the control document of a certificate authority.
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

/// A body that writes the list as it is sent, so that the document is never in memory.
fn notified_body(notified: &Arc<NotifiedSet>, arn: &CertificateAuthorityArn) -> ByteStream {
    let notified = Arc::clone(notified);
    let arn = arn.clone();
    ByteStream::new(SdkBody::retryable(move || {
        SdkBody::from_body_1_x(ToldBody {
            left: notified.document_len(arn.as_str()),
            chunks: Box::new(Arc::clone(&notified).into_document_chunks(arn.as_str())),
        })
    }))
}

struct ToldBody {
    left: u64,
    chunks: Box<dyn Iterator<Item = Vec<u8>> + Send + Sync>,
}

impl Body for ToldBody {
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
