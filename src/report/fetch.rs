//! Reads a report's object from S3 as a stream, and makes sure that it read what S3 holds.

use std::str::FromStr;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use aws_smithy_checksums::ChecksumAlgorithm;
use aws_smithy_checksums::http::HttpChecksum;
use aws_smithy_types::base64;
use bytes::Bytes;
use tracing::{info, warn};

use crate::aws::clients::Clients;
use crate::aws::failure::{CallFailure, chain};
use crate::error::{AuditError, ErrorKind};
use crate::report::wait::ReportObject;

/// A body may break off so often before the run gives up on it.
const MAX_RESUMPTIONS: u32 = 5;

/// The stream of a report's bytes.
///
/// A connection that breaks is taken up again from the byte where it broke, under `If-Match` of the
/// same ETag. The SDK checks a checksum over a whole body only, so the stated full-object checksum
/// is computed here, over whatever parts the bytes came in.
pub struct Fetch<'a> {
    clients: &'a Clients,
    bucket: &'a str,
    object: &'a ReportObject,
    body: ByteStream,
    checksum: Option<StatedChecksum>,
    received_bytes: u64,
    resumptions: u32,
}

struct StatedChecksum {
    name: &'static str,
    stated: String,
    computed: Box<dyn HttpChecksum>,
}

/// Why a report could not be read.
#[derive(Debug)]
pub enum FetchError {
    /// The object that was there is gone, or is another one by now.
    Vanished(AuditError),
    AuditError(AuditError),
}

impl<'a> Fetch<'a> {
    /// Opens the object, provided that it is still the one that was found.
    pub async fn open(
        clients: &'a Clients,
        bucket: &'a str,
        object: &'a ReportObject,
    ) -> Result<Self, FetchError> {
        let output = clients
            .s3
            .get_object()
            .bucket(bucket)
            .key(&object.key)
            .if_match(&object.e_tag)
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .map_err(|error| failure(bucket, object, &CallFailure::new("GetObject", &error)))?;
        let stated = [
            ("crc64nvme", output.checksum_crc64_nvme()),
            ("crc32c", output.checksum_crc32_c()),
            ("crc32", output.checksum_crc32()),
            ("sha256", output.checksum_sha256()),
            ("sha1", output.checksum_sha1()),
        ]
        .into_iter()
        .find_map(|(name, stated)| Some((name, stated?.to_owned())));
        let checksum = match stated {
            // A composite checksum is one over the parts' checksums: `...-3`.
            Some((name, stated))
                if output.checksum_type() != Some(&ChecksumType::Composite)
                    && !stated.contains('-') =>
            {
                ChecksumAlgorithm::from_str(name)
                    .ok()
                    .map(|algorithm| StatedChecksum {
                        name,
                        stated,
                        computed: algorithm.into_impl(),
                    })
            }
            _ => None,
        };
        Ok(Self {
            clients,
            bucket,
            object,
            body: output.body,
            checksum,
            received_bytes: 0,
            resumptions: 0,
        })
    }

    /// The next bytes; `None` at the end, which is reached only if length and checksum are right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            match self.body.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.received_bytes += chunk.len() as u64;
                    if let Some(checksum) = &mut self.checksum {
                        checksum.computed.update(&chunk);
                    }
                    return Ok(Some(chunk));
                }
                None if self.received_bytes >= self.object.size_bytes => {
                    return self.verify().map(|()| None);
                }
                None => self.resume("the body ended early".to_owned()).await?,
                Some(Err(_)) if self.received_bytes >= self.object.size_bytes => {
                    return self.verify().map(|()| None);
                }
                Some(Err(error)) => self.resume(chain(&error)).await?,
            }
        }
    }

    async fn resume(&mut self, why: String) -> Result<(), FetchError> {
        self.resumptions += 1;
        warn!(
            key = self.object.key,
            received_bytes = self.received_bytes,
            size_bytes = self.object.size_bytes,
            error = why,
            "reading broke off; going on from there"
        );
        if self.resumptions > MAX_RESUMPTIONS {
            return Err(FetchError::AuditError(AuditError::new(
                ErrorKind::Unavailable,
                format!(
                    "reading s3://{}/{} broke off {} times, last after {} of {} bytes: {why}",
                    self.bucket,
                    self.object.key,
                    self.resumptions,
                    self.received_bytes,
                    self.object.size_bytes
                ),
            )));
        }
        tokio::time::sleep(Duration::from_millis(200 << self.resumptions)).await;
        let output = self
            .clients
            .s3
            .get_object()
            .bucket(self.bucket)
            .key(&self.object.key)
            .if_match(&self.object.e_tag)
            .range(format!("bytes={}-", self.received_bytes))
            .send()
            .await
            .map_err(|error| {
                failure(
                    self.bucket,
                    self.object,
                    &CallFailure::new("GetObject", &error),
                )
            })?;
        self.body = output.body;
        Ok(())
    }

    fn verify(&mut self) -> Result<(), FetchError> {
        let corrupted = |why: String| {
            FetchError::AuditError(AuditError::new(
                ErrorKind::ReportCorrupted,
                format!(
                    "s3://{}/{} did not arrive as S3 holds it: {why}",
                    self.bucket, self.object.key
                ),
            ))
        };
        if self.received_bytes != self.object.size_bytes {
            return Err(corrupted(format!(
                "{} bytes came, S3 states {}",
                self.received_bytes, self.object.size_bytes
            )));
        }
        match self.checksum.take() {
            Some(checksum) => {
                let computed = base64::encode(checksum.computed.finalize());
                if computed != checksum.stated {
                    return Err(corrupted(format!(
                        "its {} is {computed}, S3 states {}",
                        checksum.name, checksum.stated
                    )));
                }
            }
            None => info!(
                key = self.object.key,
                size_bytes = self.object.size_bytes,
                "S3 states no checksum of the whole object: length and ETag must do"
            ),
        }
        Ok(())
    }
}

fn failure(bucket: &str, object: &ReportObject, failure: &CallFailure) -> FetchError {
    let location = format!("s3://{bucket}/{}", object.key);
    if matches!(failure.status, Some(404 | 412)) {
        FetchError::Vanished(failure.error_of(ErrorKind::ReportVanished, &location))
    } else {
        FetchError::AuditError(failure.error(&location))
    }
}
