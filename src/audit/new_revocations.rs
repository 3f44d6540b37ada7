//! What of a report is to be told: the revocations that nobody has been told of yet.

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

/// What is asked of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// What is not on the told list. On a first audit, what was revoked before `notify_from` is
    /// counted but not told.
    Unnotified { notify_from: Option<Timestamp> },
    /// What is on the told list and was revoked since then.
    NotifiedSince(Timestamp),
}

/// Takes a report's revoked records one by one, and holds what is to be told of them.
pub struct NewRevocations<'a> {
    config: &'a Config,
    notified: &'a NotifiedSet,
    selection: Selection,
    /// What is to be told.
    pub batch: RevocationBatch,
    /// What was not on the told list, or (`ToldSince`) what was taken from it: a serial may come
    /// twice in a report.
    newly_seen: NewlySeen,
    /// Every revocation of the report, by reason.
    pub revoked: ReasonCounts,
    /// How many are new, those that are not worth a message included.
    pub new: u64,
    /// How many are new but, by their reason, not worth a message.
    pub unnotified: u64,
    /// How many were revoked before the first audit's look-back.
    pub earlier: u64,
    /// How many would be told by an audit, where `ToldSince` was asked for.
    pub pending: u64,
    /// How many name another certificate authority's certificate.
    pub foreign: u64,
    certificate_prefix: String,
    expected: BTreeSet<String>,
    full_list_lines: Vec<u8>,
}

impl<'a> NewRevocations<'a> {
    /// `detected_at` is when the report was written, by S3's clock. `expected` are the ARNs of
    /// certificates that are said to be revoked.
    pub fn new(
        config: &'a Config,
        certificate_authority_arn: &str,
        notified: &'a NotifiedSet,
        selection: Selection,
        detected_at: Timestamp,
        expected: &[String],
    ) -> Self {
        Self {
            config,
            notified,
            selection,
            batch: RevocationBatch::new(certificate_authority_arn, detected_at),
            newly_seen: NewlySeen::default(),
            revoked: ReasonCounts::default(),
            new: 0,
            unnotified: 0,
            earlier: 0,
            pending: 0,
            foreign: 0,
            certificate_prefix: format!("{certificate_authority_arn}/"),
            expected: expected.iter().cloned().collect(),
            full_list_lines: Vec::new(),
        }
    }

    /// Takes one revoked record.
    pub fn see(&mut self, record: &RevokedRecord<'_>) {
        let reason =
            RevocationReason::from_report(record.revocation_reason.as_deref().unwrap_or(""));
        self.revoked.add(&reason);
        if let Some(arn) = record.certificate_arn.as_deref() {
            self.foreign += u64::from(self.is_foreign(arn));
            self.expected.remove(arn);
        }
        let key = record.key();
        let is_notified = self.notified.contains(&key);
        match self.selection {
            Selection::Unnotified { notify_from } => {
                if is_notified || !self.newly_seen.insert(key.clone()) {
                    return;
                }
                let revocation = record.to_revocation(key);
                let is_earlier = notify_from
                    .zip(revocation.revoked_at.at)
                    .is_some_and(|(notify_from, revoked_at)| revoked_at < notify_from);
                if is_earlier {
                    self.earlier += 1;
                    return;
                }
                self.new += 1;
                if self.config.notifies(&revocation.reason) {
                    self.full_list_lines.extend(self.batch.add(revocation));
                } else {
                    self.unnotified += 1;
                }
            }
            Selection::NotifiedSince(since) => {
                let revocation = record.to_revocation(key);
                if revocation
                    .revoked_at
                    .at
                    .is_some_and(|revoked_at| revoked_at < since)
                {
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

    /// Whether a certificate's ARN is one of another certificate authority, for sure.
    fn is_foreign(&self, certificate_arn: &str) -> bool {
        !certificate_arn.starts_with(&self.certificate_prefix)
            && certificate_arn
                .split_once("/certificate/")
                .is_some_and(|(issuer, _)| CertificateAuthorityArn::parse(issuer).is_some())
    }

    /// The lines that are due for the full list since the last call.
    pub fn take_full_list_lines(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.full_list_lines)
    }

    /// What is to be told, and what the told list is to hold besides.
    pub fn into_parts(self) -> (RevocationBatch, NotifiedSet, ReasonCounts) {
        (self.batch, self.newly_seen.into_list(), self.revoked)
    }

    /// The watched certificates that the report did not show as revoked.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &str> {
        self.expected.iter().map(String::as_str)
    }
}

/// A set that grows one by one, nearly as compact as a [`NotifiedSet`].
#[derive(Default)]
struct NewlySeen {
    list: NotifiedSet,
    recent: HashSet<RevocationKey>,
}

impl NewlySeen {
    /// Merging costs as much as the whole list: so many are merged at a time.
    const PORTION: usize = 1 << 15;

    /// Whether the key is new to the set.
    fn insert(&mut self, key: RevocationKey) -> bool {
        if self.list.contains(&key) || !self.recent.insert(key) {
            return false;
        }
        if self.recent.len() >= Self::PORTION.max(self.list.len() / 8) {
            self.list.merge(self.recent.drain());
        }
        true
    }

    fn into_list(mut self) -> NotifiedSet {
        self.list.merge(self.recent);
        self.list
    }
}
