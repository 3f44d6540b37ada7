//! The full list for a message that cannot hold all revocations: an S3 object with one JSON line for
//! each.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tracing::{info, warn};

use crate::aws::clients::Clients;
use crate::aws::failure::CallFailure;
use crate::error::AuditError;

/// Bytes of a part. S3 accepts 10,000 parts of at least 5 MiB (Amazon S3 User Guide, "Amazon S3
/// multipart upload limits"): enough for 80 GB.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// Writes the list while the report is scanned. Holds at most one part and the lines that one chunk
/// of the report adds.
#[derive(Debug)]
pub struct FullList<'a> {
    clients: &'a Clients,
    bucket: &'a str,
    key: String,
    buffer: Vec<u8>,
    upload_id: Option<String>,
    parts: Vec<CompletedPart>,
}

impl<'a> FullList<'a> {
    /// Returns an empty list for the object `key`. Nothing is sent until there is something to send.
    pub fn new(clients: &'a Clients, bucket: &'a str, key: String) -> Self {
        Self {
            clients,
            bucket,
            key,
            buffer: Vec::new(),
            upload_id: None,
            parts: Vec::new(),
        }
    }

    /// Adds whole lines.
    pub fn push(&mut self, lines: &[u8]) {
        self.buffer.extend_from_slice(lines);
    }

    /// Uploads a part if there are enough lines for one.
    ///
    /// # Errors
    /// If S3 did not accept the part.
    pub async fn flush(&mut self) -> Result<(), AuditError> {
        if self.buffer.len() < PART_BYTES {
            Ok(())
        } else {
            self.send_part().await
        }
    }

    /// Completes the object; returns its key, or `None` if no line was ever added.
    ///
    /// # Errors
    /// If S3 did not accept the object.
    pub async fn finish(mut self) -> Result<Option<String>, AuditError> {
        let Some(upload_id) = self.upload_id.clone() else {
            if self.buffer.is_empty() {
                return Ok(None);
            }
            let body = Bytes::from(std::mem::take(&mut self.buffer));
            let size_bytes = body.len();
            self.clients
                .s3
                .put_object()
                .bucket(self.bucket)
                .key(&self.key)
                .content_type("application/jsonl")
                .body(body.into())
                .send()
                .await
                .map_err(|error| self.error(&CallFailure::new("PutObject", &error)))?;
            info!(key = self.key, size_bytes, "full list written");
            return Ok(Some(self.key));
        };
        if !self.buffer.is_empty() {
            self.send_part().await?;
        }
        self.clients
            .s3
            .complete_multipart_upload()
            .bucket(self.bucket)
            .key(&self.key)
            .upload_id(upload_id)
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(self.parts.clone()))
                    .build(),
            )
            .send()
            .await
            .map_err(|error| self.error(&CallFailure::new("CompleteMultipartUpload", &error)))?;
        info!(
            key = self.key,
            parts = self.parts.len(),
            "full list written"
        );
        Ok(Some(self.key))
    }

    /// Aborts the upload.
    pub async fn abort(self) {
        let Some(upload_id) = &self.upload_id else {
            return;
        };
        let aborted = self
            .clients
            .s3
            .abort_multipart_upload()
            .bucket(self.bucket)
            .key(&self.key)
            .upload_id(upload_id)
            .send()
            .await;
        if let Err(error) = aborted {
            // The bucket's lifecycle rule removes the parts.
            let error = CallFailure::new("AbortMultipartUpload", &error);
            warn!(key = self.key, %error, "failed to abort the multipart upload of the full list");
        }
    }

    async fn send_part(&mut self) -> Result<(), AuditError> {
        let upload_id = match &self.upload_id {
            Some(upload_id) => upload_id.clone(),
            None => {
                let created = self
                    .clients
                    .s3
                    .create_multipart_upload()
                    .bucket(self.bucket)
                    .key(&self.key)
                    .content_type("application/jsonl")
                    .send()
                    .await
                    .map_err(|error| {
                        self.error(&CallFailure::new("CreateMultipartUpload", &error))
                    })?;
                let upload_id = created.upload_id().unwrap_or_default().to_owned();
                self.upload_id = Some(upload_id.clone());
                upload_id
            }
        };
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let body = Bytes::from(std::mem::take(&mut self.buffer));
        let sent = self
            .clients
            .s3
            .upload_part()
            .bucket(self.bucket)
            .key(&self.key)
            .upload_id(upload_id)
            .part_number(number)
            .body(body.into())
            .send()
            .await
            .map_err(|error| self.error(&CallFailure::new("UploadPart", &error)))?;
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
        failure.error(&format!("s3://{}/{}", self.bucket, self.key))
    }
}
