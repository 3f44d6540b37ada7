//! Selects the revocations of a report that have not been notified about yet.

use std::collections::{BTreeSet, HashSet};

use crate::alert::RevocationBatch;
use crate::arn::CertificateAuthorityArn;
use crate::config::Config;
use crate::revocation::key::RevocationKey;
use crate::revocation::reason::{ReasonCounts, RevocationReason};
use crate::revocation::record::{Revocation, RevokedRecord};
use crate::state::notified_set::NotifiedSet;
use crate::timestamp::Timestamp;

/// Which revocations of a report to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// Those that are not in the notified set. On a first audit, those revoked before `notify_from`
    /// are counted only.
    Unnotified { notify_from: Option<Timestamp> },
    /// Those in the notified set that were revoked since then.
    NotifiedSince(Timestamp),
}

/// Takes a report's revoked records one by one and keeps those to publish.
pub(super) struct NewRevocations<'a> {
    config: &'a Config,
    pub selection: Selection,
    pub notified: NotifiedSet,
    /// Keys that were not in the notified set, or (`NotifiedSince`) that were taken from it: a
    /// serial may occur twice in a report.
    pub newly_seen: NewlySeen,
    /// The revocations to publish.
    pub batch: RevocationBatch,
    /// The full list's lines that the caller has not taken yet.
    pub full_list_lines: Vec<u8>,
    /// Every revocation of the report, by reason.
    pub revoked: ReasonCounts,
    pub counts: Counts,
    certificate_prefix: String,
    /// Certificates that events say are revoked and that no record has shown yet, by ARN.
    pub unconfirmed: BTreeSet<String>,
}

/// Numbers of revocations.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    /// New revocations, whether or not `NOTIFY_REASONS` filters them.
    pub new: u64,
    /// New revocations that `NOTIFY_REASONS` filters.
    pub filtered: u64,
    /// Revocations from before the first audit's look-back.
    pub before_lookback: u64,
    /// With `NotifiedSince`: revocations left to the next audit.
    pub pending: u64,
    /// Records of other CAs' certificates.
    pub foreign: u64,
}

impl<'a> NewRevocations<'a> {
    /// Starts a report that S3 had at `detected_at`.
    pub fn new(
        config: &'a Config,
        arn: &CertificateAuthorityArn,
        selection: Selection,
        notified: NotifiedSet,
        detected_at: Timestamp,
    ) -> Self {
        Self {
            config,
            selection,
            notified,
            newly_seen: NewlySeen::default(),
            batch: RevocationBatch::new(arn.as_str(), detected_at),
            full_list_lines: Vec::new(),
            revoked: ReasonCounts::default(),
            counts: Counts::default(),
            certificate_prefix: format!("{arn}/"),
            unconfirmed: BTreeSet::new(),
        }
    }

    /// Takes one revoked record.
    pub fn see(&mut self, record: &RevokedRecord<'_>) {
        let reason = record.revocation_reason.as_deref().unwrap_or("");
        self.revoked.add(&RevocationReason::from_report(reason));
        if let Some(arn) = record.certificate_arn.as_deref() {
            self.counts.foreign += u64::from(self.is_foreign(arn));
            self.unconfirmed.remove(arn);
        }
        let key = record.key();
        let is_notified = self.notified.contains(&key);
        match self.selection {
            Selection::Unnotified { notify_from } => {
                if is_notified || !self.newly_seen.insert(key.clone()) {
                    return;
                }
                let revocation = record.to_revocation(key);
                if is_before(revocation.revoked_at.at, notify_from) {
                    self.counts.before_lookback += 1;
                    return;
                }
                self.counts.new += 1;
                self.counts.filtered += u64::from(!self.publish(revocation));
            }
            Selection::NotifiedSince(since) => {
                let revocation = record.to_revocation(key.clone());
                if is_before(revocation.revoked_at.at, Some(since)) {
                    return;
                }
                if !is_notified {
                    self.counts.pending += 1;
                } else if self.newly_seen.insert(key) {
                    self.publish(revocation);
                }
            }
        }
    }

    /// Keeps a revocation for the alert, unless `NOTIFY_REASONS` filters it; returns whether.
    fn publish(&mut self, revocation: Revocation) -> bool {
        let notifies = self.config.causes_message(&revocation.reason);
        if notifies {
            self.full_list_lines.extend(self.batch.add(revocation));
        }
        notifies
    }

    /// Whether a certificate's ARN certainly names another CA.
    fn is_foreign(&self, certificate_arn: &str) -> bool {
        !certificate_arn.starts_with(&self.certificate_prefix)
            && certificate_arn
                .split_once("/certificate/")
                .is_some_and(|(issuer, _)| CertificateAuthorityArn::parse(issuer).is_some())
    }
}

/// Whether both instants are known and the first one is earlier.
fn is_before(at: Option<Timestamp>, from: Option<Timestamp>) -> bool {
    at.zip(from).is_some_and(|(at, from)| at < from)
}

/// A set that grows key by key, nearly as compact as a [`NotifiedSet`].
#[derive(Default)]
pub(super) struct NewlySeen {
    set: NotifiedSet,
    recent: HashSet<RevocationKey>,
}

impl NewlySeen {
    /// Minimum number of keys per merge, which costs as much as the whole set.
    const MIN_MERGE: usize = 1 << 15;

    /// Adds a key; returns whether it is new to the set.
    fn insert(&mut self, key: RevocationKey) -> bool {
        if self.set.contains(&key) || !self.recent.insert(key) {
            return false;
        }
        if self.recent.len() >= Self::MIN_MERGE.max(self.set.len() / 8) {
            self.set.merge(self.recent.drain());
        }
        true
    }

    pub fn into_set(mut self) -> NotifiedSet {
        self.set.merge(self.recent);
        self.set
    }
}
