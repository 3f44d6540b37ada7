//! Selects the revocations of a report that have not been notified about yet.

use std::collections::BTreeSet;

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
    pub newly_seen: BTreeSet<RevocationKey>,
    /// The revocations to publish.
    pub batch: RevocationBatch,
    /// The full list's lines that the caller has not taken yet.
    pub full_list_lines: Vec<u8>,
    /// Every revocation of the report, by reason.
    pub revoked: ReasonCounts,
    /// New revocations, whether or not `NOTIFY_REASONS` filters them.
    pub new: u64,
    /// Revocations from before the first audit's look-back.
    pub before_lookback: u64,
    /// With `NotifiedSince`: revocations left to the next audit.
    pub pending: u64,
    /// Records of other CAs' certificates.
    pub foreign: u64,
    certificate_prefix: String,
    /// Certificates that events say are revoked and that no record has shown yet, by ARN.
    pub unconfirmed: BTreeSet<String>,
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
            newly_seen: BTreeSet::new(),
            batch: RevocationBatch::new(arn.as_str(), detected_at),
            full_list_lines: Vec::new(),
            revoked: ReasonCounts::default(),
            new: 0,
            before_lookback: 0,
            pending: 0,
            foreign: 0,
            certificate_prefix: format!("{arn}/"),
            unconfirmed: BTreeSet::new(),
        }
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
                self.publish(revocation);
            }
            Selection::NotifiedSince(since) => {
                let revocation = record.to_revocation(key.clone());
                if is_before(revocation.revoked_at.at, Some(since)) {
                    return;
                }
                if !is_notified {
                    self.pending += 1;
                } else if self.newly_seen.insert(key) {
                    self.publish(revocation);
                }
            }
        }
    }

    /// Keeps a revocation for the alert, unless `NOTIFY_REASONS` filters it.
    fn publish(&mut self, revocation: Revocation) {
        if self.config.causes_message(&revocation.reason) {
            self.full_list_lines.extend(self.batch.add(revocation));
        }
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
