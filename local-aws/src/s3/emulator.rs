//! S3 from the owner's side: what tests do to the buckets and look up in them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::access::{Denial, PrivateCaAccess};
use super::object::{Checksum, Content, Object};
use super::store::{self, ObjectPath, Store, WriteCondition};
use crate::clock::Clock;
use crate::ids::Ids;

/// S3 from the owner's side: what a person or another service does to the buckets.
///
/// These calls need no permission, are not recorded and meet no faults.
#[derive(Clone, Debug)]
pub struct S3(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Mutex<Store>,
    clock: Clock,
    ids: Arc<Ids>,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Length in bytes.
    pub length: u64,
    /// ETag without quotes.
    pub e_tag: String,
    /// The checksum stored with it.
    pub checksum: Option<Checksum>,
    /// When it was written.
    pub last_modified: SystemTime,
    /// Its version, in a versioned bucket.
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

    /// Makes a bucket that Private CA may write to. One that is there already stays as it is.
    pub fn create_bucket(&self, bucket: &str) {
        self.store().create_bucket(bucket);
    }

    /// Removes a bucket with all that is in it.
    pub fn delete_bucket(&self, bucket: &str) {
        self.store().buckets.remove(bucket);
    }

    /// Turns versioning of a bucket on or off.
    ///
    /// # Panics
    /// Where there is no such bucket.
    pub fn set_versioning(&self, bucket: &str, versioned: bool) {
        self.with_bucket(bucket, |bucket| bucket.versioned = versioned);
    }

    /// Says whether Private CA may write reports to a bucket.
    ///
    /// # Panics
    /// Where there is no such bucket.
    pub fn set_private_ca_access(&self, bucket: &str, access: PrivateCaAccess) {
        self.with_bucket(bucket, |bucket| bucket.private_ca = access);
    }

    /// Forbids an IAM action, such as `s3:GetObject`, on keys of a bucket that begin with `prefix`
    /// (listings: whose prefix does). Without `s3:ListBucket`, missing keys answer 403 instead of 404.
    pub fn deny(&self, action: &str, bucket: &str, prefix: &str) {
        self.store().denials.push(Denial {
            action: action.to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        });
    }

    /// Forgets all that was forbidden.
    pub fn allow_all(&self) {
        self.store().denials.clear();
    }

    /// Puts an object and gives its ETag, without quotes.
    ///
    /// # Panics
    /// Where there is no such bucket.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<Content>) -> String {
        let object = Object::new(content.into());
        let e_tag = object.e_tag.clone();
        let path = ObjectPath { bucket, key };
        let (now, anyway) = (self.0.clock.now(), WriteCondition::default());
        if let Err(error) = self.store().put(path, object, &anyway, now) {
            panic!("cannot put {key} into {bucket}: {error}");
        }
        e_tag
    }

    /// The bytes of an object; `None` where there is none. A generated one is generated.
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

    /// The bytes of every version of an object, oldest first; `None` for a delete marker.
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

    /// Deletes an object; in a versioned bucket, by a delete marker.
    pub fn delete(&self, bucket: &str, key: &str) {
        let now = self.0.clock.now();
        // Deleting what is not there succeeds; a bucket that is not there holds nothing.
        let _ = self.store().delete(bucket, key, now);
    }

    /// The keys of a bucket that begin with `prefix`, in order.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        self.list(bucket, prefix)
            .into_iter()
            .map(|object| object.key)
            .collect()
    }

    /// The objects of a bucket whose keys begin with `prefix`, in order of their keys.
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

    /// Puts what Private CA wrote, unless the bucket has gone.
    pub(crate) fn put_report(&self, path: ObjectPath<'_>, object: Object, at: SystemTime) {
        // A bucket that was deleted in the meantime gets no report.
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
