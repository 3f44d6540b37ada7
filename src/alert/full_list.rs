//! The full list for a message that cannot hold all revocations: an S3 object with one JSON line for
//! each.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tracing::{info, warn};

use crate::alert::types::ObjectLocation;
use crate::aws::clients::Clients;
use crate::aws::failure::CallFailure;
use crate::error::AuditError;

/// Bytes of a part. S3 accepts 10,000 parts of at least 5 MiB (Amazon S3 User Guide, "Amazon S3
/// multipart upload limits"): enough for 80 GB.
const PART_BYTES: usize = 8 * 1024 * 1024;

const CONTENT_TYPE: &str = "application/jsonl";

/// Writes the list while the report is scanned. Holds at most one part and the lines that one chunk
/// of the report adds.
#[derive(Debug)]
pub struct FullList<'a> {
    s3: &'a Client,
    location: ObjectLocation,
    buffer: Vec<u8>,
    size_bytes: usize,
    upload_id: Option<String>,
    parts: Vec<CompletedPart>,
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
        }
    }

    /// Adds whole lines; uploads a part once there are enough for one.
    ///
    /// # Errors
    /// If S3 did not accept the part.
    pub async fn push(&mut self, lines: &[u8]) -> Result<(), AuditError> {
        self.buffer.extend_from_slice(lines);
        self.size_bytes += lines.len();
        if self.buffer.len() < PART_BYTES {
            return Ok(());
        }
        self.send_part().await
    }

    /// Completes the object; returns its location, or `None` if no line was ever added.
    ///
    /// # Errors
    /// If S3 did not accept the object.
    pub async fn finish(mut self) -> Result<Option<ObjectLocation>, AuditError> {
        if self.size_bytes == 0 {
            return Ok(None);
        }
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
        }
        info!(
            key = self.location.key,
            size_bytes = self.size_bytes,
            "full list written"
        );
        Ok(Some(self.location))
    }

    /// Aborts the upload.
    pub async fn abort(self) {
        let Some(upload_id) = self.upload_id else {
            return;
        };
        let (bucket, key) = (self.location.bucket, self.location.key);
        let abort = self.s3.abort_multipart_upload().bucket(bucket).key(&key);
        let aborted = abort.upload_id(upload_id).send().await;
        if let Err(error) = aborted {
            // The bucket's lifecycle rule removes the parts.
            let error = CallFailure::new("AbortMultipartUpload", &error);
            warn!(key, %error, "failed to abort the multipart upload of the full list");
        }
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
