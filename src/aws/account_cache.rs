//! Remembers the CAs of the account and which of them have the configured tag, for a few minutes.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::arn::CertificateAuthorityArn;
use crate::aws::certificate_authorities::{ListedCa, has_tag};
use crate::aws::clients::Clients;
use crate::budget::{Budget, Pacer};
use crate::config::Tag;
use crate::error::{AuditError, ErrorKind};
use crate::timestamp::Timestamp;

/// Maximum age of what the cache returns.
pub const MAX_AGE: Duration = Duration::from_secs(300);

/// Interval between `ListTags` requests: half of the quota of 20 per second (AWS General Reference, "AWS
/// Private Certificate Authority endpoints and quotas"). The tags of 850 CAs take 85 seconds.
const TAGS_PACE: Duration = Duration::from_millis(100);

/// A cache of the account's CAs and of tags, for the life of the process.
#[derive(Debug)]
pub struct AccountCache {
    listing: Mutex<Option<(Timestamp, Vec<ListedCa>)>>,
    /// When a CA had the tag. That a CA does not have it is never remembered: it may be tagged at any
    /// time, and is to be audited from then on.
    tagged: Mutex<HashMap<CertificateAuthorityArn, Timestamp>>,
    tags_pacer: Pacer,
}

impl Default for AccountCache {
    fn default() -> Self {
        Self {
            listing: Mutex::default(),
            tagged: Mutex::default(),
            tags_pacer: Pacer::new(TAGS_PACE),
        }
    }
}

impl AccountCache {
    /// Returns the last list of the account's CAs if it is recent.
    pub fn listing(&self, now: Timestamp) -> Option<Vec<ListedCa>> {
        let known = self.listing.lock().ok()?;
        let (at, listed) = known.as_ref()?;
        (now.since(*at) <= MAX_AGE).then(|| listed.clone())
    }

    /// Remembers a list of the account's CAs that was requested at that time.
    pub fn set_listing(&self, listed: &[ListedCa], at: Timestamp) {
        if let Ok(mut known) = self.listing.lock() {
            *known = Some((at, listed.to_vec()));
        }
    }

    fn was_tagged(&self, arn: &CertificateAuthorityArn, since: Timestamp) -> bool {
        let known = self.tagged.lock();
        known.is_ok_and(|known| known.get(arn).is_some_and(|at| *at >= since))
    }

    fn set_tagged(&self, arn: &CertificateAuthorityArn, has_tag: bool, at: Timestamp) {
        if let Ok(mut known) = self.tagged.lock() {
            match has_tag {
                true => known.insert(arn.clone(), at),
                false => known.remove(arn),
            };
        }
    }
}

/// Looks up which CAs have a tag.
pub struct TagLookup<'a> {
    /// What earlier lookups found, and the pace of all.
    pub cache: &'a AccountCache,
    /// The clients of the SDK.
    pub clients: &'a Clients,
    /// The tag.
    pub tag: &'a Tag,
    /// The time of the invocation.
    pub budget: Budget,
    /// Maximum age of what the cache returns; zero looks up every CA.
    pub max_age: Duration,
}

impl TagLookup<'_> {
    /// Returns whether a CA has the tag.
    ///
    /// # Errors
    /// If `ListTags` fails or the invocation has no time for it: it is unknown then.
    pub async fn has_tag(&self, arn: &CertificateAuthorityArn) -> Result<bool, AuditError> {
        let oldest = self.budget.now().saturating_sub(self.max_age);
        if !self.max_age.is_zero() && self.cache.was_tagged(arn, oldest) {
            return Ok(true);
        }
        let out_of_time = || {
            let message = format!("no time was left for ListTags of {arn}");
            AuditError::new(ErrorKind::OutOfTime, message)
        };
        let looked_up = async {
            if !self.cache.tags_pacer.turn(&self.budget).await {
                return Err(out_of_time());
            }
            let at = self.budget.now();
            let has_tag = has_tag(self.clients, arn, self.tag).await?;
            self.cache.set_tagged(arn, has_tag, at);
            Ok(has_tag)
        };
        let looked_up = tokio::time::timeout_at(self.budget.work_deadline(), looked_up).await;
        looked_up.unwrap_or_else(|_| Err(out_of_time()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

    #[test]
    fn cache_forgets_after_five_minutes() {
        let arn = CertificateAuthorityArn::parse(CA).unwrap();
        let cache = AccountCache::default();
        let at = Timestamp::parse("2026-11-21T04:00:00Z").unwrap();
        assert!(cache.listing(at).is_none());
        cache.set_listing(&[], at);
        for (age, is_recent) in [(0, true), (300, true), (301, false)] {
            let now = at.saturating_add(Duration::from_secs(age));
            assert_eq!(cache.listing(now).is_some(), is_recent, "{age}");
        }

        cache.set_tagged(&arn, true, at);
        assert!(cache.was_tagged(&arn, at));
        assert!(!cache.was_tagged(&arn, at.saturating_add(Duration::from_secs(1))));
        cache.set_tagged(&arn, false, at);
        assert!(!cache.was_tagged(&arn, at));
    }
}
