//! Selects the revocations of a report that have not been notified about yet.

use std::collections::{BTreeSet, HashSet};

use crate::alert::RevocationBatch;
use crate::arn::CertificateAuthorityArn;
use crate::config::Config;
use crate::revocation::key::RevocationKey;
use crate::revocation::reason::RevocationReason;
use crate::revocation::reason_counts::ReasonCounts;
use crate::revocation::record::RevokedRecord;
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

impl Selection {
    /// Returns the start of a first audit's look-back.
    pub fn notify_from(self) -> Option<Timestamp> {
        match self {
            Self::Unnotified { notify_from } => notify_from,
            Self::NotifiedSince(_) => None,
        }
    }
}

/// Takes a report's revoked records one by one and keeps those to publish.
pub(super) struct NewRevocations<'a> {
    config: &'a Config,
    pub selection: Selection,
    notified: NotifiedSet,
    /// Keys that were not in the notified set, or (`NotifiedSince`) that were taken from it: a
    /// serial may occur twice in a report.
    newly_seen: NewlySeen,
    /// The revocations to publish.
    pub batch: RevocationBatch,
    /// Every revocation of the report, by reason.
    revoked: ReasonCounts,
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
    certificate_prefix: String,
    unconfirmed: BTreeSet<String>,
    full_list_lines: Vec<u8>,
}

/// The keys to record as notified.
pub(super) struct NotifiedUpdate {
    pub before: NotifiedSet,
    pub newly_seen: NotifiedSet,
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
            revoked: ReasonCounts::default(),
            new: 0,
            filtered: 0,
            before_lookback: 0,
            pending: 0,
            foreign: 0,
            certificate_prefix: format!("{arn}/"),
            unconfirmed: BTreeSet::new(),
            full_list_lines: Vec::new(),
        }
    }

    /// Looks for certificates that events say are revoked, by ARN.
    pub fn expecting(mut self, certificate_arns: &[String]) -> Self {
        self.unconfirmed.extend(certificate_arns.iter().cloned());
        self
    }

    /// Takes one revoked record.
    pub fn see(&mut self, record: &RevokedRecord<'_>) {
        let reason = record.revocation_reason.as_deref().unwrap_or("");
        self.revoked.add(&RevocationReason::from_report(reason));
        if let Some(arn) = record.certificate_arn.as_deref() {
            self.foreign += u64::from(self.is_foreign(arn));
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
                    self.before_lookback += 1;
                    return;
                }
                self.new += 1;
                if self.config.notifies(&revocation.reason) {
                    self.full_list_lines.extend(self.batch.add(revocation));
                } else {
                    self.filtered += 1;
                }
            }
            Selection::NotifiedSince(since) => {
                let revocation = record.to_revocation(key);
                if is_before(revocation.revoked_at.at, Some(since)) {
                    return;
                }
                if !is_notified {
                    self.pending += 1;
                } else if self.newly_seen.insert(revocation.key.clone())
                    && self.config.notifies(&revocation.reason)
                {
                    self.full_list_lines.extend(self.batch.add(revocation));
                }
            }
        }
    }

    /// Whether a certificate's ARN certainly names another CA.
    fn is_foreign(&self, certificate_arn: &str) -> bool {
        !certificate_arn.starts_with(&self.certificate_prefix)
            && certificate_arn
                .split_once("/certificate/")
                .is_some_and(|(issuer, _)| CertificateAuthorityArn::parse(issuer).is_some())
    }

    /// Returns the full list's lines since the last call.
    pub fn take_full_list_lines(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.full_list_lines)
    }

    /// Returns how many revocations had been notified about before.
    pub fn already_notified(&self) -> usize {
        self.notified.len()
    }

    /// Returns the expected certificates that the report did not show as revoked.
    pub fn unconfirmed(&self) -> Vec<String> {
        self.unconfirmed.iter().cloned().collect()
    }

    /// Returns what to publish, every revocation by reason, and what to record.
    pub fn into_parts(self) -> (RevocationBatch, ReasonCounts, NotifiedUpdate) {
        let update = NotifiedUpdate {
            before: self.notified,
            newly_seen: self.newly_seen.into_set(),
        };
        (self.batch, self.revoked, update)
    }
}

/// Whether both instants are known and the first one is earlier.
fn is_before(at: Option<Timestamp>, from: Option<Timestamp>) -> bool {
    at.zip(from).is_some_and(|(at, from)| at < from)
}

/// A set that grows key by key, nearly as compact as a [`NotifiedSet`].
#[derive(Default)]
struct NewlySeen {
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

    fn into_set(mut self) -> NotifiedSet {
        self.set.merge(self.recent);
        self.set
    }
}
