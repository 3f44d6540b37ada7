//! The S3 emulator: its state, and the methods that tests call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::access::{Denial, PrivateCaAccess};
use super::encryption::BucketEncryption;
use super::object::{Checksum, Content, Object};
use super::store::{self, ObjectPath, Store, WriteCondition};
use crate::clock::Clock;
use crate::ids::Ids;

/// Emulates S3. The methods set up and inspect buckets.
///
/// They need no permission, are not recorded and get no injected faults.
#[derive(Clone, Debug)]
pub struct S3(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Mutex<Store>,
    clock: Clock,
    ids: Arc<Ids>,
}

/// Properties of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Object key.
    pub key: String,
    /// Length in bytes.
    pub length: u64,
    /// ETag without quotes.
    pub e_tag: String,
    /// Stored checksum.
    pub checksum: Option<Checksum>,
    /// Time of the last write.
    pub last_modified: SystemTime,
    /// Version ID, in a versioned bucket.
    pub version_id: Option<String>,
}

impl S3 {
    pub(crate) fn new(clock: Clock, ids: Arc<Ids>) -> Self {
        Self(Arc::new(Inner {
            store: Mutex::default(),
            clock,
            ids,
        }))
    }

    /// Creates a bucket that Private CA can write to. Does nothing if the bucket exists.
    pub fn create_bucket(&self, bucket: &str) {
        self.store().create_bucket(bucket);
    }

    /// Deletes a bucket and its objects.
    pub fn delete_bucket(&self, bucket: &str) {
        self.store().buckets.remove(bucket);
    }

    /// Turns versioning of a bucket on or off. A new bucket has none.
    ///
    /// # Panics
    /// If the bucket does not exist.
    pub fn set_versioning(&self, bucket: &str, versioned: bool) {
        self.with_bucket(bucket, |bucket| bucket.versioned = Some(versioned));
    }

    /// Sets the default encryption of a bucket. Objects are stored the same way with each.
    ///
    /// # Panics
    /// If the bucket does not exist.
    pub fn set_encryption(&self, bucket: &str, encryption: BucketEncryption) {
        self.with_bucket(bucket, |bucket| bucket.encryption = encryption);
    }

    /// Sets whether Private CA can write reports to a bucket.
    ///
    /// # Panics
    /// If the bucket does not exist.
    pub fn set_private_ca_access(&self, bucket: &str, access: PrivateCaAccess) {
        self.with_bucket(bucket, |bucket| bucket.private_ca = access);
    }

    /// Denies an IAM action, such as `s3:GetObject`, on keys that start with `prefix` (for listings: prefixes
    /// that start with it). Without `s3:ListBucket`, a missing key returns 403 instead of 404.
    pub fn deny(&self, action: &str, bucket: &str, prefix: &str) {
        self.store().denials.push(Denial {
            action: action.to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        });
    }

    /// Removes all denials.
    pub fn allow_all(&self) {
        self.store().denials.clear();
    }

    /// Puts an object and returns its ETag, without quotes.
    ///
    /// # Panics
    /// If the bucket does not exist.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<Content>) -> String {
        let object = Object::new(content.into());
        let e_tag = object.e_tag.clone();
        let path = ObjectPath { bucket, key };
        let (now, unconditional) = (self.0.clock.now(), WriteCondition::default());
        if let Err(error) = self.store().put(path, object, &unconditional, now) {
            panic!("cannot put {key} into {bucket}: {error}");
        }
        e_tag
    }

    /// Returns the bytes of an object, or `None` if it does not exist. Generates the bytes of a generated object.
    pub fn get(&self, bucket: &str, key: &str) -> Option<Bytes> {
        let content = {
            let store = self.store();
            store.get(bucket, key).ok()?.1.content.clone()
        };
        match content {
            Content::Bytes(bytes) => Some(bytes),
            Content::Generated(generated) => Some(
                (generated.open)(0)
                    .flat_map(|piece| piece.to_vec())
                    .collect(),
            ),
        }
    }

    /// Returns the bytes of every version of an object, oldest first; `None` for a delete marker.
    pub fn versions(&self, bucket: &str, key: &str) -> Vec<Option<Bytes>> {
        let store = self.store();
        let versions = store.bucket(bucket).map(|bucket| bucket.versions(key));
        let content = |version: &store::Version| match &version.object.as_ref()?.content {
            Content::Bytes(bytes) => Some(bytes.clone()),
            Content::Generated(_) => None,
        };
        versions
            .map(|versions| versions.iter().map(content).collect())
            .unwrap_or_default()
    }

    /// Deletes an object. In a versioned bucket, adds a delete marker.
    pub fn delete(&self, bucket: &str, key: &str) {
        let now = self.0.clock.now();
        // The only error is a missing bucket, which has no object to delete.
        let _ = self.store().delete(bucket, key, now);
    }

    /// Returns the keys that start with `prefix`, sorted.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        self.list(bucket, prefix)
            .into_iter()
            .map(|object| object.key)
            .collect()
    }

    /// Returns the objects whose keys start with `prefix`, sorted by key.
    pub fn list(&self, bucket: &str, prefix: &str) -> Vec<ObjectInfo> {
        let store = self.store();
        let Ok(bucket) = store.bucket(bucket) else {
            return Vec::new();
        };
        bucket
            .all_versions()
            .filter(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, versions)| {
                let version = versions.last()?;
                let object = version.object.as_ref()?;
                Some(ObjectInfo {
                    key: key.clone(),
                    length: object.content.length(),
                    e_tag: object.e_tag.clone(),
                    checksum: object.checksum.clone(),
                    last_modified: version.last_modified,
                    version_id: version.id.clone(),
                })
            })
            .collect()
    }

    /// Puts a report of Private CA, unless the bucket has been deleted.
    pub(crate) fn put_report(&self, path: ObjectPath<'_>, object: Object, at: SystemTime) {
        // The only error is a missing bucket.
        let _ = self
            .store()
            .put(path, object, &WriteCondition::default(), at);
    }

    pub(crate) fn private_ca_access(&self, bucket: &str) -> Option<PrivateCaAccess> {
        let store = self.store();
        let bucket = store.bucket(bucket).ok()?;
        Some(bucket.private_ca.clone())
    }

    fn with_bucket(&self, name: &str, change: impl FnOnce(&mut store::Bucket)) {
        match self.store().bucket_mut(name) {
            Ok(bucket) => change(bucket),
            Err(_) => panic!("there is no bucket {name}: create it first"),
        }
    }

    pub(super) fn denied(&self, store: &Store, action: &str, bucket: &str, key: &str) -> bool {
        store.denials.iter().any(|denial| {
            denial.action == action && denial.bucket == bucket && key.starts_with(&denial.prefix)
        })
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.0.ids
    }
}
