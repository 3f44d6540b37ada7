//! Buckets, objects and S3's rules for them. A lock around the store makes conditional writes atomic.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use s3s::dto::{ETag, ETagCondition};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::access::{Denial, PrivateCaAccess};
use super::encryption::BucketEncryption;
use super::object::{Checksum, ChecksumAlgorithm, Content, Object};
use crate::md5::{md5, md5_hex};

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) buckets: BTreeMap<String, Bucket>,
    pub(crate) denials: Vec<Denial>,
    version_count: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// `None` until versioning is set for the first time.
    pub(crate) versioned: Option<bool>,
    pub(crate) encryption: BucketEncryption,
    pub(crate) private_ca: PrivateCaAccess,
    objects: BTreeMap<String, Vec<Version>>,
    uploads: BTreeMap<String, Upload>,
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// `None` in an unversioned bucket.
    pub(crate) id: Option<String>,
    pub(crate) last_modified: SystemTime,
    /// `None` for a delete marker.
    pub(crate) object: Option<Object>,
}

/// Preconditions of a write.
#[derive(Debug, Default)]
pub(crate) struct WriteCondition {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
}

/// Bucket and key of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectPath<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
}

/// A multipart upload in progress.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) key: String,
    /// Checksum algorithm, and whether the checksum is composite.
    pub(crate) checksum: Option<(ChecksumAlgorithm, bool)>,
    pub(crate) content_type: Option<String>,
    pub(crate) parts: BTreeMap<i32, Bytes>,
}

/// Identifies a multipart upload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadPath<'a> {
    pub(crate) object: ObjectPath<'a>,
    pub(crate) id: &'a str,
}

pub(crate) struct Listed {
    pub(crate) objects: Vec<(String, Version)>,
    /// The last key of this page, if there are more pages.
    pub(crate) next: Option<String>,
}

impl Store {
    pub(crate) fn create_bucket(&mut self, name: &str) {
        self.buckets.entry(name.to_owned()).or_default();
    }

    pub(crate) fn bucket(&self, name: &str) -> S3Result<&Bucket> {
        self.buckets.get(name).ok_or_else(no_such_bucket)
    }

    pub(crate) fn bucket_mut(&mut self, name: &str) -> S3Result<&mut Bucket> {
        self.buckets.get_mut(name).ok_or_else(no_such_bucket)
    }

    /// Returns the current version of an object.
    pub(crate) fn get(&self, bucket: &str, key: &str) -> S3Result<(&Version, &Object)> {
        let versions = self.bucket(bucket)?.objects.get(key);
        let version = versions
            .and_then(|versions| versions.last())
            .ok_or_else(no_such_key)?;
        match &version.object {
            Some(object) => Ok((version, object)),
            None => Err(delete_marker(version)),
        }
    }

    pub(crate) fn put(
        &mut self,
        path: ObjectPath<'_>,
        object: Object,
        condition: &WriteCondition,
        now: SystemTime,
    ) -> S3Result<Option<String>> {
        self.check(path, condition)?;
        self.version_count += 1;
        let number = self.version_count;
        let bucket = self.bucket_mut(path.bucket)?;
        let version = Version {
            id: bucket.is_versioned().then(|| version_id(number)),
            last_modified: now,
            object: Some(object),
        };
        let id = version.id.clone();
        bucket.add(path.key, version);
        Ok(id)
    }

    /// Checks the preconditions of a write.
    ///
    /// S3 User Guide, "Conditional writes": 412 if a precondition fails, 404 for `If-Match` without a current
    /// object.
    fn check(&self, path: ObjectPath<'_>, condition: &WriteCondition) -> S3Result<()> {
        let current = match self.get(path.bucket, path.key) {
            Ok((_, object)) => Some(object),
            Err(error) if *error.code() == S3ErrorCode::NoSuchKey => None,
            Err(error) => return Err(error),
        };
        match &condition.if_none_match {
            Some(ETagCondition::Any) if current.is_some() => return Err(precondition_failed()),
            Some(ETagCondition::ETag(_)) => {
                return Err(s3_error!(
                    NotImplemented,
                    "A header you provided implies functionality that is not implemented"
                ));
            }
            Some(ETagCondition::Any) | None => {}
        }
        match (&condition.if_match, current) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(no_such_key()),
            (Some(wanted), Some(object)) if e_tag_matches(wanted, &object.e_tag) => Ok(()),
            (Some(_), Some(_)) => Err(precondition_failed()),
        }
    }

    /// Deletes an object. In a versioned bucket, adds a delete marker and returns its version ID.
    pub(crate) fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        now: SystemTime,
    ) -> S3Result<Option<String>> {
        self.version_count += 1;
        let number = self.version_count;
        let bucket = self.bucket_mut(bucket)?;
        if !bucket.is_versioned() {
            bucket.objects.remove(key);
            return Ok(None);
        }
        let marker = version_id(number);
        bucket.add(
            key,
            Version {
                id: Some(marker.clone()),
                last_modified: now,
                object: None,
            },
        );
        Ok(Some(marker))
    }

    /// Returns one page of the current objects, sorted by the UTF-8 bytes of their keys.
    pub(crate) fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        max: usize,
    ) -> S3Result<Listed> {
        let mut objects = Vec::new();
        let mut next = None;
        for (key, versions) in self.bucket(bucket)?.objects.range(prefix.to_owned()..) {
            if !key.starts_with(prefix) {
                break;
            }
            let Some(version) = versions.last().filter(|version| version.object.is_some()) else {
                continue;
            };
            if after.is_some_and(|after| key.as_str() <= after) {
                continue;
            }
            if objects.len() >= max.min(1000) {
                next = objects.last().map(|(key, _): &(String, _)| key.clone());
                break;
            }
            objects.push((key.clone(), version.clone()));
        }
        Ok(Listed { objects, next })
    }

    pub(crate) fn begin_upload(
        &mut self,
        bucket: &str,
        upload_id: String,
        upload: Upload,
    ) -> S3Result<()> {
        self.bucket_mut(bucket)?.uploads.insert(upload_id, upload);
        Ok(())
    }

    pub(crate) fn put_part(
        &mut self,
        path: UploadPath<'_>,
        number: i32,
        bytes: Bytes,
    ) -> S3Result<()> {
        if !(1..=10_000).contains(&number) {
            return Err(s3_error!(
                InvalidArgument,
                "Part number must be an integer between 1 and 10000, inclusive"
            ));
        }
        let upload = self.bucket_mut(path.object.bucket)?.upload_mut(path)?;
        upload.parts.insert(number, bytes);
        Ok(())
    }

    pub(crate) fn abort_upload(&mut self, path: UploadPath<'_>) -> S3Result<()> {
        let bucket = self.bucket_mut(path.object.bucket)?;
        bucket.upload_mut(path)?;
        bucket.uploads.remove(path.id);
        Ok(())
    }

    /// Creates the object from the listed parts.
    pub(crate) fn complete_upload(
        &mut self,
        path: UploadPath<'_>,
        listed: &[(i32, Option<ETag>)],
        condition: &WriteCondition,
        now: SystemTime,
    ) -> S3Result<(Object, Option<String>)> {
        let bucket = path.object.bucket;
        let object = self.bucket_mut(bucket)?.upload_mut(path)?.object(listed)?;
        let version = self.put(path.object, object.clone(), condition, now)?;
        self.bucket_mut(bucket)?.uploads.remove(path.id);
        Ok((object, version))
    }
}

impl Upload {
    /// Assembles the listed parts.
    fn object(&self, listed: &[(i32, Option<ETag>)]) -> S3Result<Object> {
        let parts = self.parts(listed)?;
        let whole = parts.concat();
        let digests: Vec<u8> = parts.iter().flat_map(|part| md5(part)).collect();
        let checksum = match self.checksum {
            Some((algorithm, true)) => {
                Checksum::composite(algorithm, parts.iter().map(std::convert::AsRef::as_ref))
            }
            Some((algorithm, false)) => Checksum::of(algorithm, &whole),
            None => Checksum::of(ChecksumAlgorithm::Crc64Nvme, &whole),
        };
        Ok(Object {
            e_tag: format!("{}-{}", md5_hex(&digests), parts.len()),
            checksum: Some(checksum),
            content_type: self.content_type.clone(),
            content: Content::Bytes(whole.into()),
        })
    }

    /// Returns the listed parts. Every part except the last must have at least 5 MiB (S3 User Guide, "Amazon
    /// S3 multipart upload limits").
    fn parts(&self, listed: &[(i32, Option<ETag>)]) -> S3Result<Vec<Bytes>> {
        const SMALLEST_PART: usize = 5 * 1024 * 1024;
        if listed.is_empty() {
            return Err(s3_error!(
                MalformedXML,
                "You must specify at least one part"
            ));
        }
        if !listed.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part number."
            ));
        }
        let mut parts = Vec::new();
        for (index, (number, e_tag)) in listed.iter().enumerate() {
            let part = self.parts.get(number).filter(|part| {
                e_tag
                    .as_ref()
                    .is_none_or(|e_tag| e_tag.value() == md5_hex(part))
            });
            let Some(part) = part else {
                return Err(s3_error!(
                    InvalidPart,
                    "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
                ));
            };
            if index + 1 < listed.len() && part.len() < SMALLEST_PART {
                return Err(s3_error!(
                    EntityTooSmall,
                    "Your proposed upload is smaller than the minimum allowed size"
                ));
            }
            parts.push(part.clone());
        }
        Ok(parts)
    }
}

impl Bucket {
    fn is_versioned(&self) -> bool {
        self.versioned == Some(true)
    }

    pub(crate) fn versions(&self, key: &str) -> &[Version] {
        self.objects.get(key).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn all_versions(&self) -> impl Iterator<Item = (&String, &Vec<Version>)> {
        self.objects.iter()
    }

    /// Adds a version. A version without an ID replaces the existing one without an ID.
    fn add(&mut self, key: &str, version: Version) {
        let versions = self.objects.entry(key.to_owned()).or_default();
        if version.id.is_none() {
            versions.retain(|old| old.id.is_some());
        }
        versions.push(version);
    }

    fn upload_mut(&mut self, path: UploadPath<'_>) -> S3Result<&mut Upload> {
        self.uploads
            .get_mut(path.id)
            .filter(|upload| upload.key == path.object.key)
            .ok_or_else(|| {
                s3_error!(
                    NoSuchUpload,
                    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
                )
            })
    }
}

pub(crate) fn e_tag_matches(wanted: &ETagCondition, e_tag: &str) -> bool {
    match wanted {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.value() == e_tag,
    }
}

pub(crate) fn precondition_failed() -> S3Error {
    s3_error!(
        PreconditionFailed,
        "At least one of the pre-conditions you specified did not hold"
    )
}

pub(crate) fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

fn no_such_bucket() -> S3Error {
    s3_error!(NoSuchBucket, "The specified bucket does not exist")
}

/// Returns the error for an object whose current version is a delete marker: 404 (S3 User Guide, "Working
/// with delete markers").
fn delete_marker(version: &Version) -> S3Error {
    let mut error = no_such_key();
    let mut headers = HeaderMap::new();
    headers.insert(
        s3s::header::X_AMZ_DELETE_MARKER,
        HeaderValue::from_static("true"),
    );
    if let Some(id) = version
        .id
        .as_ref()
        .and_then(|id| HeaderValue::from_str(id).ok())
    {
        headers.insert(s3s::header::X_AMZ_VERSION_ID, id);
    }
    error.set_headers(headers);
    error
}

fn version_id(number: u64) -> String {
    // Version IDs are opaque: a hash hides their order.
    let digest = ChecksumAlgorithm::Sha256.digest(&number.to_be_bytes());
    hex::encode(&digest[..16])
}
