//! Selects the revocations of a report that have not been notified about yet.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use tracing::warn;

use crate::alert::RevocationBatch;
use crate::arn::CertificateAuthorityArn;
use crate::audit::context::Audit;
use crate::audit::obtain_report::ReadyReport;
use crate::config::Config;
use crate::error::AuditError;
use crate::event::Mode;
use crate::response::MAX_LISTED;
use crate::revocation::key::RevocationKey;
use crate::revocation::reason::{ReasonCounts, RevocationReason};
use crate::revocation::record::{Revocation, RevokedRecord};
use crate::state::control::Control;
use crate::state::notified_set::NotifiedSet;
use crate::timestamp::Timestamp;

/// Minimum number of newly seen keys to merge, which costs as much as the whole notified set.
const MIN_MERGE: usize = 1 << 15;

/// Takes a report's revoked records one by one and keeps those to publish: those that are not in the
/// notified set or, for a replay, those in it that were revoked since the requested time.
pub(super) struct NewRevocations<'a> {
    config: &'a Config,
    mode: Mode,
    /// On a first audit: revocations from before this time are only counted.
    pub notify_from: Option<Timestamp>,
    /// Grows with the newly seen keys, because it is more compact; not in a replay.
    pub notified: NotifiedSet,
    /// Keys that were not in the notified set, or (replay) that were taken from it, because a serial
    /// may occur twice in a report; each with a hash of its certificate's ARN.
    pub newly_seen: BTreeMap<RevocationKey, u64>,
    /// Records that repeat a newly seen serial with another certificate ARN.
    pub repeated_serials: u64,
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
    /// For a replay: revocations left to the next audit.
    pub pending: u64,
    /// Records of other CAs' certificates.
    pub foreign: u64,
    arn: &'a CertificateAuthorityArn,
    /// Certificates that events say are revoked and that no record has shown yet, by ARN.
    pub unconfirmed: BTreeSet<String>,
}

impl<'a> Audit<'a> {
    /// Loads the notified set that a report is compared with.
    pub(super) async fn new_revocations(
        &self,
        control: &Control,
        report: &ReadyReport,
    ) -> Result<NewRevocations<'a>, AuditError> {
        let config = self.run.config;
        let is_replay = matches!(self.mode, Mode::Replay { .. });
        let is_first = control.last_complete_audit.is_none() && !is_replay;
        let notify_from = control
            .first_seen_at
            .saturating_sub(config.initial_lookback);
        Ok(NewRevocations {
            config,
            mode: self.mode,
            notify_from: is_first.then_some(notify_from),
            notified: self.run.store.load_notified_set(control).await?,
            newly_seen: BTreeMap::new(),
            repeated_serials: 0,
            batch: RevocationBatch::new(self.arn.as_str(), report.object.last_modified),
            full_list_lines: Vec::new(),
            revoked: ReasonCounts::default(),
            new: 0,
            before_lookback: 0,
            pending: 0,
            foreign: 0,
            arn: self.arn,
            unconfirmed: self.run.request.trigger.expected(self.arn),
        })
    }
}

impl NewRevocations<'_> {
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
        if let Mode::Replay { since, .. } = self.mode {
            let revocation = record.to_revocation(key.clone());
            if is_before(revocation.revoked_at.at, Some(since)) {
                return;
            }
            if !is_notified {
                self.pending += 1;
            } else if self.is_first(key, record) {
                self.publish(revocation);
            }
        } else if !is_notified && self.is_first(key.clone(), record) {
            if self.newly_seen.len() >= MIN_MERGE.max(self.notified.keys().len() / 8) {
                let newly_seen = std::mem::take(&mut self.newly_seen);
                self.notified.merge(newly_seen.into_keys());
            }
            let revocation = record.to_revocation(key);
            if is_before(revocation.revoked_at.at, self.notify_from) {
                self.before_lookback += 1;
            } else {
                self.new += 1;
                self.publish(revocation);
            }
        }
    }

    /// Keeps a revocation for the alert, unless `NOTIFY_REASONS` filters it. A CA certificate always
    /// causes a message.
    fn publish(&mut self, revocation: Revocation) {
        if revocation.is_ca_certificate() || self.config.causes_message(&revocation.reason) {
            self.full_list_lines.extend(self.batch.add(revocation));
        }
    }

    /// Adds a key to the newly seen ones; returns whether it is the first record with that key.
    fn is_first(&mut self, key: RevocationKey, record: &RevokedRecord<'_>) -> bool {
        let mut hasher = DefaultHasher::new();
        record.certificate_arn.hash(&mut hasher);
        let arn = hasher.finish();
        let first = match self.newly_seen.entry(key) {
            Entry::Vacant(new) => {
                new.insert(arn);
                return true;
            }
            Entry::Occupied(first) => *first.get(),
        };
        if first != arn {
            self.repeated_serials += 1;
            if self.repeated_serials <= MAX_LISTED as u64 {
                warn!(
                    certificate_authority = self.arn.id(),
                    serial = record.serial.as_deref(),
                    certificate_arn = record.certificate_arn.as_deref(),
                    "serial repeated with another certificate ARN; reported once"
                );
            }
        }
        false
    }

    /// Whether a certificate's ARN certainly names another CA. Its account does not matter: it may be
    /// that of the requester.
    fn is_foreign(&self, certificate_arn: &str) -> bool {
        let issuer = certificate_arn.split_once("/certificate/");
        let issuer = issuer.and_then(|(issuer, _)| CertificateAuthorityArn::parse(issuer));
        issuer.is_some_and(|issuer| issuer.id() != self.arn.id())
    }
}

/// Whether both instants are known and the first one is earlier.
fn is_before(at: Option<Timestamp>, from: Option<Timestamp>) -> bool {
    at.zip(from).is_some_and(|(at, from)| at < from)
}
