//! Reads and writes the state in S3; control documents are written conditionally only.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::aws::failure::{CallFailure, FailureClass, chain};
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::state::control::{Control, unreadable};
use crate::state::health::HealthDocument;
use crate::state::notified_set::{NotifiedSet, NotifiedSetReader};
use crate::timestamp::Timestamp;

/// Maximum attempts of a conditional write.
const WRITE_ATTEMPTS: u32 = 6;

/// Maximum concurrent reads of control documents other than those of audits.
pub(crate) const CONCURRENT_READS: usize = 64;

/// Timeout for one of them.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum reads of an object whose body breaks off: the SDK retries requests only.
const READ_ATTEMPTS: u32 = 3;

/// The state of all CAs in S3.
pub(crate) struct Store<'a> {
    pub s3: &'a aws_sdk_s3::Client,
    pub bucket: &'a str,
    /// The key prefix: empty, or ends in `/`.
    pub prefix: &'a str,
}

/// A control document and the version of it that S3 has.
pub(crate) struct VersionedState {
    pub control: Control,
    /// `None` if S3 has none yet.
    e_tag: Option<String>,
    /// The document that S3 has; `None` if there is none yet, or if the outcome of a write is unknown.
    saved: Option<Box<Control>>,
}

impl VersionedState {
    /// Whether S3 has the document as it is, unless another run changed it since.
    pub fn is_saved(&self) -> bool {
        self.saved.as_deref() == Some(&self.control)
    }
}

/// The health document and the version of it that S3 has.
#[derive(Clone)]
pub(crate) struct VersionedHealth {
    pub health: HealthDocument,
    /// `None` if S3 has none yet.
    e_tag: Option<String>,
}

/// What S3 has under a key.
enum Object<T> {
    /// Its content and its ETag.
    Found(T, Option<String>),
    Missing {
        was_deleted: bool,
    },
}

impl Store<'_> {
    /// Reads the control document; returns a new one for a CA without any state. One that is
    /// unreadable, deleted, of another CA or of a newer version is an error, never a fresh start.
    pub async fn load(
        &self,
        arn: &CertificateAuthorityArn,
        now: Timestamp,
    ) -> Result<VersionedState, AuditError> {
        let key = self.control_key(arn);
        let location = self.location(&key);
        let (control, e_tag) = match self.get(&key, Vec::new, Vec::extend_from_slice).await? {
            Object::Found(bytes, e_tag) => (Control::read(&bytes, arn, &location)?, e_tag),
            Object::Missing { was_deleted: false }
                if self.list(&self.notified_prefix(arn)).await?.is_empty() =>
            {
                (Control::new(arn.clone(), now), None)
            }
            Object::Missing { .. } => {
                return Err(unreadable(format!("the state at {location} was deleted")));
            }
        };
        let saved = e_tag.is_some().then(|| Box::new(control.clone()));
        Ok(VersionedState {
            control,
            e_tag,
            saved,
        })
    }

    /// Reads the control document like [`Self::load`], within [`READ_TIMEOUT`].
    pub async fn load_in_time(
        &self,
        arn: &CertificateAuthorityArn,
        now: Timestamp,
    ) -> Result<VersionedState, AuditError> {
        let state = tokio::time::timeout(READ_TIMEOUT, self.load(arn, now)).await;
        state.unwrap_or_else(|_| {
            let location = self.location(&self.control_key(arn));
            let message = format!("no response from S3 to reading {location} in time");
            Err(AuditError::new(ErrorKind::Unavailable, message))
        })
    }

    /// Writes the control document if S3 still has the version that was read; otherwise the error is
    /// `StateConflict`. A write whose response was lost is recognized by its nonce.
    pub async fn save(
        &self,
        state: &mut VersionedState,
        run_nonce: &str,
    ) -> Result<(), AuditError> {
        let VersionedState {
            control,
            e_tag,
            saved,
        } = state;
        *saved = None;
        control.sequence += 1;
        control.nonce = format!("{run_nonce}-{}", control.sequence);
        let arn = control.certificate_authority_arn.clone();
        let write = ConditionalWrite {
            key: self.control_key(&arn),
            body: control.to_json(),
            nonce: &control.nonce,
            run_nonce,
        };
        self.write(write, e_tag, async || {
            let stored = self.load(&arn, control.first_seen_at).await?;
            Ok((stored.control.nonce, stored.e_tag))
        })
        .await?;
        *saved = Some(Box::new(control.clone()));
        Ok(())
    }

    /// Reads the health document; returns a new one if there is none. One that is unreadable is
    /// replaced as well, because it can be rebuilt.
    ///
    /// # Errors
    /// If S3 does not return it, or if a newer version of this program wrote it.
    pub async fn load_health(&self) -> Result<VersionedHealth, AuditError> {
        let (health, e_tag) = self.stored_health().await?;
        let health = match health {
            Err(error) if error.kind == ErrorKind::StateUnreadable => {
                let error = error.message;
                warn!(error, "health document unreadable; rebuilding it");
                HealthDocument::default()
            }
            read => read?,
        };
        Ok(VersionedHealth { health, e_tag })
    }

    /// Reads the health document without replacing an unreadable one.
    pub async fn read_health(&self) -> Result<HealthDocument, AuditError> {
        self.stored_health().await?.0
    }

    async fn stored_health(
        &self,
    ) -> Result<(Result<HealthDocument, AuditError>, Option<String>), AuditError> {
        let key = self.health_key();
        Ok(
            match self.get(&key, Vec::new, Vec::extend_from_slice).await? {
                Object::Found(bytes, e_tag) => {
                    (HealthDocument::read(&bytes, &self.location(&key)), e_tag)
                }
                Object::Missing { .. } => (Ok(HealthDocument::default()), None),
            },
        )
    }

    /// Writes the health document if S3 still has the version that was read, like [`Self::save`].
    pub async fn save_health(
        &self,
        stored: &mut VersionedHealth,
        run_nonce: &str,
    ) -> Result<(), AuditError> {
        let VersionedHealth { health, e_tag } = stored;
        health.sequence += 1;
        health.nonce = format!("{run_nonce}-{}", health.sequence);
        let write = ConditionalWrite {
            key: self.health_key(),
            body: health.to_json(),
            nonce: &health.nonce,
            run_nonce,
        };
        self.write(write, e_tag, async || {
            let stored = self.load_health().await?;
            Ok((stored.health.nonce, stored.e_tag))
        })
        .await
    }

    /// Writes a document if S3 still has the version `e_tag`, which becomes that of the new one.
    /// `reread` returns nonce and ETag of the document that S3 has.
    async fn write(
        &self,
        write: ConditionalWrite<'_>,
        e_tag: &mut Option<String>,
        reread: impl AsyncFn() -> Result<(String, Option<String>), AuditError>,
    ) -> Result<(), AuditError> {
        let location = self.location(&write.key);
        let mut attempt = 0;
        loop {
            let put = self.put(&write.key, write.body.clone().into());
            let put = match &e_tag {
                Some(e_tag) => put.if_match(e_tag),
                None => put.if_none_match("*"),
            };
            let failure = match send(put).await {
                Ok(written) => {
                    *e_tag = written;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let is_refused = failure.class == FailureClass::Refused;
            let is_conflict =
                matches!(failure.status, Some(404 | 409 | 412)) && !failure.is("NoSuchBucket");
            if is_refused && !is_conflict {
                return Err(failure.error(&location));
            }
            warn!(location, error = %failure, "state write outcome unknown; re-reading");
            match reread().await {
                // Either this document, or an earlier write of this run, which seemed to have failed.
                Ok((nonce, stored)) if nonce.starts_with(&format!("{}-", write.run_nonce)) => {
                    *e_tag = stored;
                    if nonce == write.nonce {
                        return Ok(());
                    }
                }
                Ok((_, stored)) if stored != *e_tag => {
                    let message = format!("another run changed {location}");
                    return Err(AuditError::new(ErrorKind::StateConflict, message));
                }
                Ok(_) => {}
                Err(error) if error.remedy() == Remedy::Retry => {
                    let error = error.message;
                    warn!(location, error, "state write outcome still unknown");
                }
                Err(error) => return Err(error),
            }
            attempt += 1;
            if attempt == WRITE_ATTEMPTS {
                return Err(match is_refused {
                    true => failure.error_of(ErrorKind::Unavailable, &location),
                    false => failure.error(&location),
                });
            }
            tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
        }
    }

    /// Reads the notified set that the control document points to; an empty one before the first
    /// audit. A missing or unreadable set is an error, never an empty set.
    pub async fn load_notified_set(&self, control: &Control) -> Result<NotifiedSet, AuditError> {
        let Some(key) = &control.notified_set else {
            return Ok(NotifiedSet::default());
        };
        let location = self.location(key);
        let error = |kind, why: &str| {
            AuditError::new(kind, format!("the notified set at {location} {why}"))
        };
        let reader = || NotifiedSetReader::new(control.certificate_authority_arn.as_str());
        // An invalid set is read to its end as well: only then has the SDK checked that these bytes
        // are what S3 holds.
        let object = self.get(key, reader, NotifiedSetReader::feed).await?;
        let Object::Found(reader, _) = object else {
            return Err(error(ErrorKind::StateUnreadable, "is missing"));
        };
        let notified = reader.finish().map_err(|invalid| {
            error(
                invalid.kind,
                &format!("cannot be read: {}", invalid.message),
            )
        })?;
        let (found, stated) = (notified.keys().len() as u64, control.notified_count);
        if found != stated {
            let why =
                format!("holds {found} revocations, but the control document states {stated}");
            return Err(error(ErrorKind::StateUnreadable, &why));
        }
        Ok(notified)
    }

    /// Writes a notified set under a new key and returns the key.
    pub async fn write_notified_set(
        &self,
        control: &Control,
        notified: &Arc<NotifiedSet>,
    ) -> Result<String, AuditError> {
        let arn = &control.certificate_authority_arn;
        let mut sequence = control.sequence + 1;
        loop {
            let key = format!("{}{sequence}.jsonl", self.notified_prefix(arn));
            let put = self.put(&key, notified_body(notified, arn));
            let Err(failure) = send(put.if_none_match("*")).await else {
                return Ok(key);
            };
            match failure.status {
                // The key belongs to a run that never switched to it or is about to, or to our own
                // request whose response was lost.
                Some(412) => warn!(
                    certificate_authority = arn.id(),
                    key, "notified set exists already; trying the next key"
                ),
                Some(409) => {
                    return Err(failure.error_of(ErrorKind::StateConflict, &self.location(&key)));
                }
                _ => return Err(failure.error(&self.location(&key))),
            }
            sequence += 1;
        }
    }

    /// Removes notified sets older than the one that the control document points to. What cannot be
    /// removed stays, unused, until the next call.
    pub async fn remove_older_notified_sets(&self, control: &Control) {
        let certificate_authority = control.certificate_authority_arn.id();
        let prefix = self.notified_prefix(&control.certificate_authority_arn);
        let sequence = |key: &str| -> Option<u64> {
            let number = key.strip_prefix(&prefix)?.strip_suffix(".jsonl")?;
            number.parse().ok()
        };
        let current = control.notified_set.as_deref().and_then(sequence);
        let keys = self.list(&prefix).await.unwrap_or_else(|error| {
            let error = error.message;
            warn!(
                certificate_authority,
                error, "failed to list superseded notified sets"
            );
            Vec::new()
        });
        let is_older = |key: &String| sequence(key).is_some() && sequence(key) < current;
        for key in keys.into_iter().filter(is_older) {
            match self.delete(&key).await {
                Ok(()) => info!(
                    certificate_authority,
                    key, "superseded notified set removed"
                ),
                Err(error) => {
                    warn!(certificate_authority, key, %error, "failed to remove a superseded notified set");
                }
            }
        }
    }

    /// Reads an object in chunks: `start` creates what `feed` adds them to. An object whose body
    /// breaks off is read again from the start.
    async fn get<T>(
        &self,
        key: &str,
        start: impl Fn() -> T,
        feed: impl Fn(&mut T, &[u8]),
    ) -> Result<Object<T>, AuditError> {
        let location = self.location(key);
        let mut interruptions = 0;
        loop {
            let get = self.s3.get_object().bucket(self.bucket).key(key);
            let mut output = match get.send().await {
                Ok(output) => output,
                Err(error) => {
                    let failure = CallFailure::new("GetObject", &error);
                    if !failure.is_not_found() || failure.is("NoSuchBucket") {
                        return Err(failure.error(&location));
                    }
                    let response = error.raw_response();
                    let marker = response.and_then(|r| r.headers().get("x-amz-delete-marker"));
                    let was_deleted = marker == Some("true");
                    return Ok(Object::Missing { was_deleted });
                }
            };
            let mut content = start();
            let error = loop {
                match output.body.next().await {
                    Some(Ok(chunk)) => feed(&mut content, &chunk),
                    Some(Err(error)) => break chain(&error),
                    None => return Ok(Object::Found(content, output.e_tag)),
                }
            };
            interruptions += 1;
            warn!(location, error, "state read interrupted; retrying");
            if interruptions == READ_ATTEMPTS {
                return Err(AuditError::new(
                    ErrorKind::Unavailable,
                    format!(
                        "GetObject of {location} was interrupted {interruptions} times: {error}"
                    ),
                ));
            }
            tokio::time::sleep(Duration::from_millis(100 << interruptions)).await;
        }
    }

    /// Returns the request that writes an object.
    fn put(&self, key: &str, body: ByteStream) -> PutObjectFluentBuilder {
        let content_type = match key.ends_with(".jsonl") {
            true => "application/jsonl",
            false => "application/json",
        };
        let put = self.s3.put_object().bucket(self.bucket).key(key);
        put.body(body).content_type(content_type)
    }

    async fn delete(&self, key: &str) -> Result<(), CallFailure> {
        let delete = self.s3.delete_object().bucket(self.bucket).key(key);
        let deleted = delete.send().await;
        deleted
            .map(drop)
            .map_err(|error| CallFailure::new("DeleteObject", &error))
    }

    /// Returns the keys that start with this prefix.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, AuditError> {
        let list = self.s3.list_objects_v2().bucket(self.bucket);
        let pages = list.prefix(prefix).into_paginator().send();
        let pages = pages.try_collect().await.map_err(|error| {
            CallFailure::new("ListObjectsV2", &error).error(&self.location(prefix))
        })?;
        let objects = pages.into_iter().filter_map(|page| page.contents).flatten();
        Ok(objects.filter_map(|object| object.key).collect())
    }

    /// Returns the key prefix of a CA's objects other than its control document.
    pub fn ca_prefix(&self, arn: &CertificateAuthorityArn) -> String {
        format!("{}{}/", self.prefix, arn.id())
    }

    fn control_key(&self, arn: &CertificateAuthorityArn) -> String {
        format!("{}{}.json", self.prefix, arn.id())
    }

    fn health_key(&self) -> String {
        format!("{}health.json", self.prefix)
    }

    fn notified_prefix(&self, arn: &CertificateAuthorityArn) -> String {
        format!("{}notified-", self.ca_prefix(arn))
    }

    fn location(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }
}

/// A document to write under conditions.
struct ConditionalWrite<'a> {
    key: String,
    body: Vec<u8>,
    nonce: &'a str,
    /// The beginning of the nonces of a run's writes.
    run_nonce: &'a str,
}

/// Writes an object; returns its ETag.
async fn send(put: PutObjectFluentBuilder) -> Result<Option<String>, CallFailure> {
    let sent = put.send().await;
    sent.map(|output| output.e_tag)
        .map_err(|error| CallFailure::new("PutObject", &error))
}

/// Returns a body that produces the document while it is sent, so that memory never holds all of it.
fn notified_body(notified: &Arc<NotifiedSet>, arn: &CertificateAuthorityArn) -> ByteStream {
    let notified = Arc::clone(notified);
    let arn = arn.clone();
    ByteStream::new(SdkBody::retryable(move || {
        let chunks = || Arc::clone(&notified).document_chunks(arn.as_str());
        SdkBody::from_body_1_x(NotifiedBody {
            left: chunks().map(|chunk| chunk.len() as u64).sum(),
            chunks: Box::new(chunks()),
        })
    }))
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
