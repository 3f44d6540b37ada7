//! The full list for a message that cannot hold all revocations: an S3 object with one JSON line for
//! each.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::alert::types::ObjectLocation;
use crate::aws::clients::Clients;
use crate::aws::failure::CallFailure;
use crate::error::AuditError;

/// Bytes of a part. S3 accepts 10,000 parts of at least 5 MiB (Amazon S3 User Guide, "Amazon S3
/// multipart upload limits"): enough for 80 GB.
const PART_BYTES: usize = 8 * 1024 * 1024;

const CONTENT_TYPE: &str = "application/jsonl";

/// Timeout for one call with its retries: the alert does not wait longer for its list.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout for aborting an upload.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes the list while the report is scanned. Holds at most one part and the lines that one chunk
/// of the report adds.
///
/// An error never holds back the alert: it is logged, and the rest of the list is dropped.
#[derive(Debug)]
pub struct FullList<'a> {
    s3: &'a Client,
    location: ObjectLocation,
    buffer: Vec<u8>,
    size_bytes: usize,
    upload_id: Option<String>,
    parts: Vec<CompletedPart>,
    has_failed: bool,
}

impl<'a> FullList<'a> {
    /// Returns an empty list for an object. Nothing is sent until there is something to send.
    pub fn new(clients: &'a Clients, location: ObjectLocation) -> Self {
        Self {
            s3: &clients.s3,
            location,
            buffer: Vec::new(),
            size_bytes: 0,
            upload_id: None,
            parts: Vec::new(),
            has_failed: false,
        }
    }

    /// Adds whole lines; uploads a part once there are enough for one.
    pub async fn push(&mut self, lines: &[u8]) {
        if self.has_failed {
            return;
        }
        self.buffer.extend_from_slice(lines);
        self.size_bytes += lines.len();
        if self.buffer.len() >= PART_BYTES {
            let sent = tokio::time::timeout(CALL_TIMEOUT, Box::pin(self.send_part())).await;
            self.record(sent.ok());
        }
    }

    /// Completes the object until `deadline`; returns its location, or `None` if it could not be
    /// written. Without lines, there is no object at that location.
    pub async fn finish(&mut self, deadline: Instant) -> Option<ObjectLocation> {
        if self.size_bytes > 0 && !self.has_failed {
            let completed = tokio::time::timeout(CALL_TIMEOUT, Box::pin(self.complete()));
            let completed = tokio::time::timeout_at(deadline, completed).await;
            self.record(completed.ok().and_then(Result::ok));
        }
        if self.has_failed {
            self.abort().await;
            return None;
        }
        Some(self.location.clone())
    }

    /// Aborts the upload, if one was begun.
    pub async fn abort(&mut self) {
        let Some(upload_id) = self.upload_id.take() else {
            return;
        };
        let (bucket, key) = (&self.location.bucket, &self.location.key);
        let abort = self.s3.abort_multipart_upload().bucket(bucket).key(key);
        let aborted = abort.upload_id(upload_id).send();
        let error = match tokio::time::timeout(ABORT_TIMEOUT, aborted).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => CallFailure::new("AbortMultipartUpload", &error).to_string(),
            Err(_) => "no response in time".to_owned(),
        };
        // The bucket's lifecycle rule removes the parts.
        warn!(
            key,
            error, "failed to abort the multipart upload of the full list"
        );
    }

    /// Records the result of a call; `None` if there was none in time.
    fn record(&mut self, result: Option<Result<(), AuditError>>) {
        let error = match result {
            Some(Ok(())) => return,
            Some(Err(error)) => error.message,
            None => format!("no response for {} in time", self.location.uri()),
        };
        self.has_failed = true;
        self.buffer = Vec::new();
        warn!(key = self.location.key, error, "full list not written");
    }

    async fn complete(&mut self) -> Result<(), AuditError> {
        if self.upload_id.is_some() && !self.buffer.is_empty() {
            self.send_part().await?;
        }
        let (bucket, key) = (&self.location.bucket, &self.location.key);
        if self.upload_id.is_none() {
            let put = self.s3.put_object().bucket(bucket).key(key);
            let body = std::mem::take(&mut self.buffer).into();
            let put = put.content_type(CONTENT_TYPE).body(body).send().await;
            put.map_err(|error| self.error(&CallFailure::new("PutObject", &error)))?;
        } else {
            let parts = Some(std::mem::take(&mut self.parts));
            let upload = CompletedMultipartUpload::builder().set_parts(parts).build();
            let complete = self.s3.complete_multipart_upload().bucket(bucket).key(key);
            let complete = complete.set_upload_id(self.upload_id.clone());
            let completed = complete.multipart_upload(upload).send().await;
            completed.map_err(|error| {
                self.error(&CallFailure::new("CompleteMultipartUpload", &error))
            })?;
            self.upload_id = None;
        }
        info!(
            key = self.location.key,
            size_bytes = self.size_bytes,
            "full list written"
        );
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), AuditError> {
        let (bucket, key) = (&self.location.bucket, &self.location.key);
        if self.upload_id.is_none() {
            let create = self.s3.create_multipart_upload().bucket(bucket).key(key);
            let created = create.content_type(CONTENT_TYPE).send().await;
            let created = created
                .map_err(|error| self.error(&CallFailure::new("CreateMultipartUpload", &error)))?;
            self.upload_id = created.upload_id;
        }
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let body = std::mem::take(&mut self.buffer).into();
        let part = self.s3.upload_part().bucket(bucket).key(key);
        let part = part
            .set_upload_id(self.upload_id.clone())
            .part_number(number);
        let sent = part.body(body).send().await;
        let sent = sent.map_err(|error| self.error(&CallFailure::new("UploadPart", &error)))?;
        self.parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag)
                .set_checksum_crc32(sent.checksum_crc32)
                .set_checksum_crc32_c(sent.checksum_crc32_c)
                .set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
                .build(),
        );
        Ok(())
    }

    fn error(&self, failure: &CallFailure) -> AuditError {
        failure.error(&self.location.uri())
    }
}
