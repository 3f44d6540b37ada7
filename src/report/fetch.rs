//! Downloads a report from S3 as a stream and verifies its length and checksum.

use std::str::FromStr;
use std::time::Duration;

use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumType;
use aws_smithy_checksums::ChecksumAlgorithm;
use aws_smithy_checksums::http::HttpChecksum;
use aws_smithy_types::base64;
use bytes::Bytes;
use tracing::{info, warn};

use crate::aws::clients::Clients;
use crate::aws::failure::{CallFailure, chain};
use crate::error::{AuditError, ErrorKind};
use crate::report::wait::ReportObject;

/// Maximum number of times in succession that a broken download is resumed without any progress.
const MAX_RESUMPTIONS: u32 = 5;

/// The stream of a report's bytes.
///
/// A download that breaks off is resumed at the byte where it broke, with `If-Match` of the same
/// ETag. The SDK can validate the checksum of a download in one part only. Its validation is
/// therefore off, and the checksum that S3 states for the whole object is computed here, once, over
/// all parts.
pub struct Fetch<'a> {
    clients: &'a Clients,
    bucket: &'a str,
    object: &'a ReportObject,
    body: ByteStream,
    checksum: Option<StatedChecksum>,
    received_bytes: u64,
    /// Since the last byte arrived.
    resumptions: u32,
}

/// The checksum that S3 states, and what was computed of it so far.
struct StatedChecksum {
    name: &'static str,
    stated: String,
    computed: Box<dyn HttpChecksum>,
}

impl<'a> Fetch<'a> {
    /// Opens the object, if it is still the one that was found.
    ///
    /// # Errors
    /// [`ErrorKind::ReportVanished`] if the object was deleted or replaced; others if S3 refuses the
    /// request.
    pub async fn open(
        clients: &'a Clients,
        bucket: &'a str,
        object: &'a ReportObject,
    ) -> Result<Self, AuditError> {
        let output = get(clients, bucket, object, 0).await?;
        Ok(Self {
            clients,
            bucket,
            object,
            checksum: StatedChecksum::of(&output),
            body: output.body,
            received_bytes: 0,
            resumptions: 0,
        })
    }

    /// Returns the next bytes; `None` at the end, if length and checksum are right.
    ///
    /// # Errors
    /// The download cannot be resumed, or is not what S3 holds.
    pub async fn next(&mut self) -> Result<Option<Bytes>, AuditError> {
        loop {
            match self.body.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.received_bytes += chunk.len() as u64;
                    self.resumptions = 0;
                    if let Some(checksum) = &mut self.checksum {
                        checksum.computed.update(&chunk);
                    }
                    return Ok(Some(chunk));
                }
                None | Some(Err(_)) if self.received_bytes >= self.object.size_bytes => {
                    return self.verify().map(|()| None);
                }
                None => self.resume("the body ended early".to_owned()).await?,
                Some(Err(error)) => self.resume(chain(&error)).await?,
            }
        }
    }

    async fn resume(&mut self, why: String) -> Result<(), AuditError> {
        self.resumptions += 1;
        warn!(
            key = self.object.key,
            received_bytes = self.received_bytes,
            size_bytes = self.object.size_bytes,
            error = why,
            "report download interrupted; resuming"
        );
        if self.resumptions > MAX_RESUMPTIONS {
            let message = format!(
                "the download of {} was interrupted {} times without progress after {} of {} bytes: {why}",
                location(self.bucket, self.object),
                self.resumptions,
                self.received_bytes,
                self.object.size_bytes
            );
            return Err(AuditError::new(ErrorKind::Unavailable, message));
        }
        tokio::time::sleep(Duration::from_millis(200 << self.resumptions)).await;
        let output = get(self.clients, self.bucket, self.object, self.received_bytes).await?;
        self.body = output.body;
        Ok(())
    }

    fn verify(&mut self) -> Result<(), AuditError> {
        let (received, size_bytes) = (self.received_bytes, self.object.size_bytes);
        let why = match self.checksum.take() {
            _ if received != size_bytes => {
                format!("{received} bytes were received, S3 states {size_bytes}")
            }
            Some(checksum) => {
                let computed = base64::encode(checksum.computed.finalize());
                if computed == checksum.stated {
                    return Ok(());
                }
                let StatedChecksum { name, stated, .. } = checksum;
                format!("its {name} is {computed}, S3 states {stated}")
            }
            None => {
                info!(
                    key = self.object.key,
                    size_bytes, "no checksum of the whole report; relying on length and ETag"
                );
                return Ok(());
            }
        };
        let location = location(self.bucket, self.object);
        let message = format!("the download of {location} is not what S3 holds: {why}");
        Err(AuditError::new(ErrorKind::ReportCorrupted, message))
    }
}

impl StatedChecksum {
    /// Returns the checksum of the whole object, if S3 states one. A composite checksum (`...-3`)
    /// covers the checksums of the parts instead.
    fn of(output: &GetObjectOutput) -> Option<Self> {
        let (name, stated) = [
            ("crc64nvme", output.checksum_crc64_nvme()),
            ("crc32c", output.checksum_crc32_c()),
            ("crc32", output.checksum_crc32()),
            ("sha256", output.checksum_sha256()),
            ("sha1", output.checksum_sha1()),
        ]
        .into_iter()
        .find_map(|(name, stated)| Some((name, stated?.to_owned())))?;
        if output.checksum_type() == Some(&ChecksumType::Composite) || stated.contains('-') {
            return None;
        }
        let computed = ChecksumAlgorithm::from_str(name).ok()?.into_impl();
        Some(Self {
            name,
            stated,
            computed,
        })
    }
}

/// Requests the object from that byte on, without the SDK's checksum validation.
async fn get(
    clients: &Clients,
    bucket: &str,
    object: &ReportObject,
    from_byte: u64,
) -> Result<GetObjectOutput, AuditError> {
    let range = (from_byte > 0).then(|| format!("bytes={from_byte}-"));
    clients
        .s3
        .get_object()
        .bucket(bucket)
        .key(&object.key)
        .if_match(&object.e_tag)
        .set_range(range)
        .customize()
        // The input's `checksum_mode` would enable the validation: S3 is asked for the checksum
        // by the header itself.
        .config_override(
            aws_sdk_s3::config::Builder::new()
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired),
        )
        .mutate_request(|request| {
            request
                .headers_mut()
                .insert("x-amz-checksum-mode", "ENABLED");
        })
        .send()
        .await
        .map_err(|error| {
            let failure = CallFailure::new("GetObject", &error);
            let location = location(bucket, object);
            match failure.status {
                Some(404 | 412) => failure.error_of(ErrorKind::ReportVanished, &location),
                _ => failure.error(&location),
            }
        })
}

fn location(bucket: &str, object: &ReportObject) -> String {
    format!("s3://{bucket}/{}", object.key)
}
