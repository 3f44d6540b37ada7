//! S3's operations: translates between the requests and responses of `s3s` and the store.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::*;
use s3s::path::S3Path;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};

use super::emulator::S3 as Emulator;
use super::encryption::BucketEncryption;
use super::object::{self, ChecksumAlgorithm as Algorithm, Content, Object as StoredObject};
use super::store::{self, ObjectPath, UploadPath, Version, WriteCondition};
use crate::md5::md5_hex;

/// Implements the operations for `s3s`.
pub(crate) struct Protocol(pub(crate) Emulator);

#[async_trait::async_trait]
impl S3 for Protocol {
    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let (version, object) = {
            let store = self.0.store();
            let (version, object) = self.find(&store, &input.bucket, &input.key)?;
            (version.clone(), object.clone())
        };
        check_read(&object, &input.if_match)?;
        let length = object.content.length();
        let (range, content_range) = requested_range(length, input.range.as_ref())?;
        let checksum = (wants_checksum(&input.checksum_mode) && content_range.is_none())
            .then_some(object.checksum.as_ref())
            .flatten();
        let body = object.content.stream(range.clone());
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::new(body)),
            checksum_crc32: value_of(checksum, Algorithm::Crc32),
            checksum_crc32c: value_of(checksum, Algorithm::Crc32c),
            checksum_crc64nvme: value_of(checksum, Algorithm::Crc64Nvme),
            checksum_sha1: value_of(checksum, Algorithm::Sha1),
            checksum_sha256: value_of(checksum, Algorithm::Sha256),
            checksum_type: type_of(checksum),
            content_length: Some(signed(range.end - range.start)),
            content_range,
            content_type: object.content_type.clone(),
            e_tag: Some(ETag::Strong(object.e_tag.clone())),
            last_modified: Some(version.last_modified.into()),
            server_side_encryption: Some(ServerSideEncryption::from_static(
                ServerSideEncryption::AES256,
            )),
            version_id: version.id,
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let store = self.0.store();
        let (version, object) = self.find(&store, &input.bucket, &input.key)?;
        check_read(object, &input.if_match)?;
        let (range, content_range) =
            requested_range(object.content.length(), input.range.as_ref())?;
        let checksum = (wants_checksum(&input.checksum_mode) && content_range.is_none())
            .then_some(object.checksum.as_ref())
            .flatten();
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            checksum_crc32: value_of(checksum, Algorithm::Crc32),
            checksum_crc32c: value_of(checksum, Algorithm::Crc32c),
            checksum_crc64nvme: value_of(checksum, Algorithm::Crc64Nvme),
            checksum_sha1: value_of(checksum, Algorithm::Sha1),
            checksum_sha256: value_of(checksum, Algorithm::Sha256),
            checksum_type: type_of(checksum),
            content_length: Some(signed(range.end - range.start)),
            content_range,
            content_type: object.content_type.clone(),
            e_tag: Some(ETag::Strong(object.e_tag.clone())),
            last_modified: Some(version.last_modified.into()),
            server_side_encryption: Some(ServerSideEncryption::from_static(
                ServerSideEncryption::AES256,
            )),
            version_id: version.id.clone(),
            ..HeadObjectOutput::default()
        }))
    }

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        let declared = DeclaredChecksums {
            checksums: [
                (Algorithm::Crc32, input.checksum_crc32),
                (Algorithm::Crc32c, input.checksum_crc32c),
                (Algorithm::Crc64Nvme, input.checksum_crc64nvme),
                (Algorithm::Sha1, input.checksum_sha1),
                (Algorithm::Sha256, input.checksum_sha256),
            ],
            algorithm: input.checksum_algorithm,
        };
        let body = IncomingBody {
            body: input.body,
            headers: &req.headers,
            trailers: req.trailing_headers,
        };
        let (bytes, checksum) = body.verified(declared).await?;
        let mut object = StoredObject::new(Content::Bytes(bytes));
        object.checksum = Some(checksum);
        object.content_type = input.content_type;
        let e_tag = object.e_tag.clone();
        let checksum = object.checksum.clone();
        let condition = WriteCondition {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        };
        let path = ObjectPath {
            bucket: &input.bucket,
            key: &input.key,
        };
        let now = self.0.clock().now();
        let version_id = self.0.store().put(path, object, &condition, now)?;
        let checksum = checksum.as_ref();
        Ok(S3Response::new(PutObjectOutput {
            checksum_crc32: value_of(checksum, Algorithm::Crc32),
            checksum_crc32c: value_of(checksum, Algorithm::Crc32c),
            checksum_crc64nvme: value_of(checksum, Algorithm::Crc64Nvme),
            checksum_sha1: value_of(checksum, Algorithm::Sha1),
            checksum_sha256: value_of(checksum, Algorithm::Sha256),
            checksum_type: type_of(checksum),
            e_tag: Some(ETag::Strong(e_tag)),
            server_side_encryption: Some(ServerSideEncryption::from_static(
                ServerSideEncryption::AES256,
            )),
            version_id,
            ..PutObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        if input.version_id.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "local-aws deletes current versions only"
            ));
        }
        let now = self.0.clock().now();
        let marker = self.0.store().delete(&input.bucket, &input.key, now)?;
        let output = DeleteObjectOutput {
            delete_marker: marker.is_some().then_some(true),
            version_id: marker,
            ..DeleteObjectOutput::default()
        };
        Ok(S3Response::with_status(output, StatusCode::NO_CONTENT))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let max_keys = input.max_keys.unwrap_or(1000);
        let max = usize::try_from(max_keys)
            .map_err(|_| s3_error!(InvalidArgument, "maxKeys must not be negative"))?;
        let after = input
            .continuation_token
            .as_deref()
            .map(decode_token)
            .transpose()?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let listed = self
            .0
            .store()
            .list(&input.bucket, &prefix, after.as_deref(), max)?;
        let count = listed.objects.len();
        let contents = listed
            .objects
            .into_iter()
            .map(|(key, version)| listed_object(key, &version));
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            max_keys: Some(max_keys),
            key_count: Some(i32::try_from(count).unwrap_or(i32::MAX)),
            continuation_token: input.continuation_token,
            is_truncated: Some(listed.next.is_some()),
            next_continuation_token: listed.next.map(|last| STANDARD.encode(last)),
            contents: Some(contents.collect()),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        let algorithm = supported_algorithm(input.checksum_algorithm.as_ref())?;
        // S3 User Guide, "Checking object integrity": for multipart uploads, CRC-64/NVME is always
        // full object; the other algorithms are composite by default.
        let checksum = algorithm.map(|algorithm| (algorithm, algorithm != Algorithm::Crc64Nvme));
        let upload_id = self.0.ids().uuid();
        let upload = store::Upload {
            key: input.key.clone(),
            checksum,
            content_type: input.content_type,
            parts: BTreeMap::new(),
        };
        self.0
            .store()
            .begin_upload(&input.bucket, upload_id.clone(), upload)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            upload_id: Some(upload_id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        let declared = DeclaredChecksums {
            checksums: [
                (Algorithm::Crc32, input.checksum_crc32),
                (Algorithm::Crc32c, input.checksum_crc32c),
                (Algorithm::Crc64Nvme, input.checksum_crc64nvme),
                (Algorithm::Sha1, input.checksum_sha1),
                (Algorithm::Sha256, input.checksum_sha256),
            ],
            algorithm: input.checksum_algorithm,
        };
        let body = IncomingBody {
            body: input.body,
            headers: &req.headers,
            trailers: req.trailing_headers,
        };
        let (bytes, checksum) = body.verified(declared).await?;
        let e_tag = md5_hex(&bytes);
        let path = upload_path(&input.bucket, &input.key, &input.upload_id);
        self.0.store().put_part(path, input.part_number, bytes)?;
        let checksum = Some(&checksum);
        Ok(S3Response::new(UploadPartOutput {
            checksum_crc32: value_of(checksum, Algorithm::Crc32),
            checksum_crc32c: value_of(checksum, Algorithm::Crc32c),
            checksum_crc64nvme: value_of(checksum, Algorithm::Crc64Nvme),
            checksum_sha1: value_of(checksum, Algorithm::Sha1),
            checksum_sha256: value_of(checksum, Algorithm::Sha256),
            e_tag: Some(ETag::Strong(e_tag)),
            ..UploadPartOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let parts: Vec<(i32, Option<ETag>)> = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .into_iter()
            .flatten()
            .map(|part| (part.part_number.unwrap_or_default(), part.e_tag))
            .collect();
        let condition = WriteCondition {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        };
        let path = upload_path(&input.bucket, &input.key, &input.upload_id);
        let now = self.0.clock().now();
        let (object, version_id) = self
            .0
            .store()
            .complete_upload(path, &parts, &condition, now)?;
        let checksum = object.checksum.as_ref();
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            checksum_crc32: value_of(checksum, Algorithm::Crc32),
            checksum_crc32c: value_of(checksum, Algorithm::Crc32c),
            checksum_crc64nvme: value_of(checksum, Algorithm::Crc64Nvme),
            checksum_sha1: value_of(checksum, Algorithm::Sha1),
            checksum_sha256: value_of(checksum, Algorithm::Sha256),
            checksum_type: type_of(checksum),
            e_tag: Some(ETag::Strong(object.e_tag.clone())),
            version_id,
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = req.input;
        let path = upload_path(&input.bucket, &input.key, &input.upload_id);
        self.0.store().abort_upload(path)?;
        let output = AbortMultipartUploadOutput::default();
        Ok(S3Response::with_status(output, StatusCode::NO_CONTENT))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let versioned = self.0.store().bucket(&req.input.bucket)?.versioned;
        // Without a status if versioning was never set (S3 API Reference, "GetBucketVersioning").
        let status = versioned.map(|versioned| {
            BucketVersioningStatus::from_static(match versioned {
                true => BucketVersioningStatus::ENABLED,
                false => BucketVersioningStatus::SUSPENDED,
            })
        });
        Ok(S3Response::new(GetBucketVersioningOutput {
            status,
            ..GetBucketVersioningOutput::default()
        }))
    }

    async fn get_bucket_encryption(
        &self,
        req: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        let encryption = self.0.store().bucket(&req.input.bucket)?.encryption.clone();
        let (algorithm, key) = match encryption {
            BucketEncryption::SseS3 => (ServerSideEncryption::AES256, None),
            BucketEncryption::SseKms(key) => (ServerSideEncryption::AWS_KMS, key),
        };
        let rule = ServerSideEncryptionRule {
            apply_server_side_encryption_by_default: Some(ServerSideEncryptionByDefault {
                kms_master_key_id: key,
                sse_algorithm: ServerSideEncryption::from_static(algorithm),
            }),
            bucket_key_enabled: Some(false),
        };
        let configuration = ServerSideEncryptionConfiguration { rules: vec![rule] };
        Ok(S3Response::new(GetBucketEncryptionOutput {
            server_side_encryption_configuration: Some(configuration),
        }))
    }
}

impl Protocol {
    /// Returns an object. Without permission to list, a missing key returns `AccessDenied`.
    fn find<'a>(
        &self,
        store: &'a store::Store,
        bucket: &str,
        key: &str,
    ) -> S3Result<(&'a Version, &'a StoredObject)> {
        store.get(bucket, key).map_err(|error| {
            let missing = *error.code() == S3ErrorCode::NoSuchKey;
            if missing && self.0.denied(store, "s3:ListBucket", bucket, key) {
                s3_error!(AccessDenied, "Access Denied")
            } else {
                error
            }
        })
    }
}

/// Allows the known caller everything that is not denied.
pub(crate) struct Access(pub(crate) Emulator);

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let (bucket, key) = match context.s3_path() {
            S3Path::Root => return Ok(()),
            S3Path::Bucket { bucket } => (bucket, prefix_of(context.uri())),
            S3Path::Object { bucket, key } => (bucket, key.to_string()),
        };
        let store = self.0.store();
        for action in actions(context.s3_op().name()) {
            if self.0.denied(&store, action, bucket, &key) {
                return Err(s3_error!(AccessDenied, "Access Denied"));
            }
        }
        Ok(())
    }
}

/// Returns the IAM actions that an operation needs (S3 User Guide, "Required permissions for Amazon S3 API
/// operations").
fn actions(operation: &str) -> &'static [&'static str] {
    match operation {
        "GetObject" | "HeadObject" => &["s3:GetObject"],
        "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => {
            &["s3:PutObject"]
        }
        "AbortMultipartUpload" => &["s3:AbortMultipartUpload"],
        "DeleteObject" => &["s3:DeleteObject"],
        "ListObjectsV2" => &["s3:ListBucket"],
        "GetBucketVersioning" => &["s3:GetBucketVersioning"],
        "GetBucketEncryption" => &["s3:GetEncryptionConfiguration"],
        _ => &[],
    }
}

fn prefix_of(uri: &http::Uri) -> String {
    let query: BTreeMap<String, String> =
        serde_urlencoded::from_str(uri.query().unwrap_or_default()).unwrap_or_default();
    query.get("prefix").cloned().unwrap_or_default()
}

/// Checksums that the caller declares.
struct DeclaredChecksums {
    checksums: [(Algorithm, Option<String>); 5],
    algorithm: Option<ChecksumAlgorithm>,
}

/// The body of an upload.
struct IncomingBody<'a> {
    body: Option<StreamingBlob>,
    headers: &'a HeaderMap,
    trailers: Option<TrailingHeaders>,
}

impl IncomingBody<'_> {
    /// Reads the body and verifies all declared checksums. Returns the bytes and the checksum to store: the
    /// declared one, or else S3's default.
    async fn verified(
        self,
        mut declared: DeclaredChecksums,
    ) -> S3Result<(Bytes, object::Checksum)> {
        let mut bytes = BytesMut::new();
        if let Some(mut body) = self.body {
            while let Some(piece) = body.next().await {
                bytes.extend_from_slice(&piece.map_err(broken_upload)?);
            }
        }
        let bytes = bytes.freeze();
        let trailers = self.trailers.and_then(|trailers| trailers.take());
        for (algorithm, value) in &mut declared.checksums {
            let name = format!("x-amz-checksum-{}", algorithm.name().to_ascii_lowercase());
            let trailer = trailers.as_ref().and_then(|trailers| trailers.get(&name));
            if let Some(trailer) = trailer.and_then(|trailer| trailer.to_str().ok()) {
                *value = Some(trailer.to_owned());
            }
        }
        if let Some(sha256) = self.headers.get(s3s::header::X_AMZ_CONTENT_SHA256)
            && let Ok(sha256) = sha256.to_str()
            && sha256.len() == 64
            && sha256 != hex::encode(Algorithm::Sha256.digest(&bytes))
        {
            return Err(S3Error::with_message(
                S3ErrorCode::from_bytes(b"XAmzContentSHA256Mismatch")
                    .unwrap_or(S3ErrorCode::BadDigest),
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        let declared_checksum = declared
            .checksums
            .into_iter()
            .find_map(|(algorithm, value)| Some((algorithm, value?)));
        let algorithm = match &declared_checksum {
            Some((algorithm, _)) => *algorithm,
            None => {
                supported_algorithm(declared.algorithm.as_ref())?.unwrap_or(Algorithm::Crc64Nvme)
            }
        };
        let checksum = object::Checksum::of(algorithm, &bytes);
        match declared_checksum {
            Some((_, value)) if value != checksum.value => Err(s3_error!(
                BadDigest,
                "The {} you specified did not match the calculated checksum.",
                algorithm.name()
            )),
            _ => Ok((bytes, checksum)),
        }
    }
}

fn upload_path<'a>(bucket: &'a str, key: &'a str, id: &'a str) -> UploadPath<'a> {
    UploadPath {
        object: ObjectPath { bucket, key },
        id,
    }
}

/// Returns the error for a body that ends early or has a chunk with a wrong signature.
fn broken_upload(error: Box<dyn std::error::Error + Send + Sync>) -> S3Error {
    let mut refused = s3_error!(
        IncompleteBody,
        "You did not provide the number of bytes specified by the Content-Length HTTP header"
    );
    refused.set_source(error);
    refused
}

fn supported_algorithm(name: Option<&ChecksumAlgorithm>) -> S3Result<Option<Algorithm>> {
    name
        .map(|name| {
            Algorithm::from_name(name.as_str()).ok_or_else(|| {
                s3_error!(
                    InvalidRequest,
                    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
                )
            })
        })
        .transpose()
}

/// Checks `If-Match`, the only read condition that is implemented (RFC 9110, section 13.1.1).
fn check_read(object: &StoredObject, if_match: &Option<ETagCondition>) -> S3Result<()> {
    match if_match {
        Some(wanted) if !store::e_tag_matches(wanted, &object.e_tag) => {
            Err(store::precondition_failed())
        }
        _ => Ok(()),
    }
}

/// Returns the requested byte range, and `Content-Range` if a range was requested.
fn requested_range(
    length: u64,
    range: Option<&Range>,
) -> S3Result<(std::ops::Range<u64>, Option<String>)> {
    let Some(range) = range else {
        return Ok((0..length, None));
    };
    let range = range.check(length)?;
    let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
    Ok((range, Some(content_range)))
}

fn wants_checksum(mode: &Option<ChecksumMode>) -> bool {
    mode.as_ref()
        .is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

fn value_of(checksum: Option<&object::Checksum>, algorithm: Algorithm) -> Option<String> {
    checksum
        .filter(|checksum| checksum.algorithm == algorithm)
        .map(|checksum| checksum.value.clone())
}

fn type_of(checksum: Option<&object::Checksum>) -> Option<ChecksumType> {
    checksum.map(|checksum| {
        ChecksumType::from_static(if checksum.composite {
            ChecksumType::COMPOSITE
        } else {
            ChecksumType::FULL_OBJECT
        })
    })
}

fn listed_object(key: String, version: &Version) -> Object {
    let object = version.object.as_ref();
    let checksum = object.and_then(|object| object.checksum.as_ref());
    Object {
        key: Some(key),
        e_tag: object.map(|object| ETag::Strong(object.e_tag.clone())),
        last_modified: Some(version.last_modified.into()),
        size: object.map(|object| signed(object.content.length())),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        checksum_algorithm: checksum
            .map(|checksum| vec![ChecksumAlgorithm::from_static(checksum.algorithm.name())]),
        checksum_type: type_of(checksum),
        ..Object::default()
    }
}

fn decode_token(token: &str) -> S3Result<String> {
    STANDARD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "The continuation token provided is incorrect"
            )
        })
}

fn signed(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
