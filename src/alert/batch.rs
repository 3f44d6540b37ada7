//! The revocations of one message, in bounded memory however many there are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::alert::entry::{entry, hide_free_text, message_entry, truncate};
use crate::alert::size::{ENTRIES_ROOM, escaped_len, to_json};
use crate::revocation::investigation::Investigation;
use crate::revocation::key::{RevocationId, RevocationKey};
use crate::revocation::reason::{ReasonCounts, RevocationReason, Severity, order};
use crate::revocation::record::{ReportTime, Revocation};
use crate::timestamp::Timestamp;

/// The revocations of one message: as many of the worst as fit, and the counts and IDs of all.
///
/// Which ones are held does not depend on the order in which they are added. Apart from 16 octets
/// for each, memory does not grow with their number.
#[derive(Clone, Debug)]
pub struct RevocationBatch {
    certificate_authority_arn: String,
    detected_at: Timestamp,
    held: BTreeMap<Rank, HeldRevocation>,
    held_len: usize,
    /// The worst revocation that did not fit: no revocation from here on is held.
    cut_off: Option<Rank>,
    /// Whether the message cannot hold every revocation in full, so that a full list is needed.
    pub needs_full_list: bool,
    /// Numbers of all revocations by reason.
    pub counts: ReasonCounts,
    /// Numbers of all revocations by severity, which is that of the reason or, for a CA certificate,
    /// critical.
    pub by_severity: [u64; 3],
    /// Number of CA certificates among them.
    pub(super) ca_certificates: u64,
    ids: Vec<RevocationId>,
}

/// Worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    severity: Reverse<Severity>,
    reason: usize,
    /// Unreadable times (`None`) first, then the latest.
    revoked_at: Option<Reverse<Timestamp>>,
    id: RevocationId,
    /// Distinguishes records that state the same revocation.
    position: usize,
}

#[derive(Clone, Debug)]
struct HeldRevocation {
    revocation: Revocation,
    /// The names of its truncated fields.
    truncated: Vec<&'static str>,
    /// What was found out about it, if it was looked up.
    investigation: Option<Investigation>,
    /// Bytes of its entry in the JSON message, escaped.
    len: usize,
}

impl RevocationBatch {
    /// Returns an empty batch for one certificate authority. `detected_at` is when the report was
    /// written to S3.
    pub fn new(certificate_authority_arn: &str, detected_at: Timestamp) -> Self {
        Self {
            certificate_authority_arn: certificate_authority_arn.to_owned(),
            detected_at,
            held: BTreeMap::new(),
            held_len: 0,
            cut_off: None,
            needs_full_list: false,
            counts: ReasonCounts::default(),
            by_severity: [0; 3],
            ca_certificates: 0,
            ids: Vec::new(),
        }
    }

    /// Returns the one revocation of a test message, in the style of AWS's documentation.
    pub(super) fn sample(certificate_authority_arn: &str, detected_at: Timestamp) -> Self {
        const ARN: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566/certificate/e8cbd2bedb122329f97706bcfec990f8";
        const SERIAL: &str = "e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8";
        const SUBJECT: &str =
            "CN=www.example1.com,OU=Test message,O=Example Company,L=Seattle,ST=Washington,C=US";
        const HOUR: u64 = 3600;
        let ago = |seconds| {
            let at = detected_at.saturating_sub(Duration::from_secs(seconds));
            ReportTime::from_report(&at.to_string())
        };
        let end = detected_at.saturating_add(Duration::from_secs(365 * 24 * HOUR));
        let mut batch = Self::new(certificate_authority_arn, detected_at);
        batch.add(Revocation {
            key: RevocationKey::of(Some(SERIAL), Some(ARN), b""),
            serial: Some(SERIAL.to_owned()),
            subject: Some(SUBJECT.to_owned()),
            certificate_arn: Some(ARN.to_owned()),
            reason: RevocationReason::KeyCompromise,
            revoked_at: ago(HOUR / 2),
            not_before: Some(ago(25 * HOUR)),
            not_after: Some(ReportTime::from_report(&end.to_string())),
            issued_at: Some(ago(24 * HOUR)),
            aws_account_id: Some("123456789012".to_owned()),
            template_arn: Some("arn:aws:acm-pca:::template/EndEntityCertificate/V1".to_owned()),
            requested_by_service_principal: None,
            malformed: false,
        });
        batch
    }

    /// Returns the severity of the worst revocation.
    pub(super) fn severity(&self) -> Severity {
        let mut worst_first = [Severity::Critical, Severity::High].into_iter();
        let worst = worst_first.find(|&severity| self.by_severity[severity as usize] > 0);
        worst.unwrap_or_default()
    }

    /// Adds a revocation; returns the JSON lines to append to the full list now.
    ///
    /// There are none as long as the message holds every revocation in full. The first revocation
    /// that does not fit returns the lines of all so far; each later one returns its own line.
    pub fn add(&mut self, revocation: Revocation) -> Vec<u8> {
        let id = RevocationId::of(&self.certificate_authority_arn, &revocation.key);
        let severity = revocation.severity();
        let rank = Rank {
            severity: Reverse(severity),
            reason: order(&revocation.reason),
            revoked_at: revocation.revoked_at.at.map(Reverse),
            id,
            position: self.ids.len(),
        };
        self.ids.push(id);
        self.counts.add(&revocation.reason);
        self.by_severity[severity as usize] += 1;
        self.ca_certificates += u64::from(revocation.is_ca_certificate());

        let mut due = Vec::new();
        if self.needs_full_list {
            due = self.line(&revocation);
        }
        if self.cut_off.is_some_and(|cut_off| cut_off < rank) {
            return due;
        }
        let mut shown = revocation.clone();
        let truncated = truncate(&mut shown);
        let comma = 1;
        // Without an investigation: what a message holds must not depend on any.
        let entry = message_entry(id, &shown, &truncated, None, self.detected_at);
        let len = escaped_len(&to_json(&entry)) + comma;
        self.held_len += len;
        if !self.needs_full_list && (!truncated.is_empty() || self.held_len > ENTRIES_ROOM) {
            self.needs_full_list = true;
            let all = self.worst_first().chain([&revocation]);
            due = all.flat_map(|revocation| self.line(revocation)).collect();
        }
        let revocation = shown;
        self.held.insert(
            rank,
            HeldRevocation {
                revocation,
                truncated,
                investigation: None,
                len,
            },
        );
        while self.held_len > ENTRIES_ROOM
            && let Some((least, held)) = self.held.pop_last()
        {
            self.held_len -= held.len;
            self.cut_off = Some(least);
        }
        due
    }

    /// Iterates over the revocations that fit the message, worst first; overlong fields are
    /// truncated.
    pub fn worst_first(&self) -> impl Iterator<Item = &Revocation> {
        self.held.values().map(|held| &held.revocation)
    }

    /// Adds what was found out about the worst revocations, worst first.
    pub(super) fn set_investigations(&mut self, investigations: Vec<Investigation>) {
        for (held, investigation) in self.held.values_mut().zip(investigations) {
            held.investigation = Some(investigation);
        }
    }

    /// Iterates over the same, with what was found out about each.
    pub(super) fn worst_investigated(
        &self,
    ) -> impl Iterator<Item = (&Revocation, Option<&Investigation>)> {
        let held = self.held.values();
        held.map(|held| (&held.revocation, held.investigation.as_ref()))
    }

    /// Returns the number of revocations that were looked up.
    pub(super) fn investigated(&self) -> usize {
        let held = self.held.values();
        held.filter(|held| held.investigation.is_some()).count()
    }

    /// Removes what was found out about all but the worst `number` revocations.
    pub(super) fn keep_investigations(&mut self, number: usize) {
        for held in self.held.values_mut().skip(number) {
            held.investigation = None;
        }
    }

    /// Returns the entries of the JSON message, worst first.
    pub(super) fn entries(&self) -> Vec<Map<String, Value>> {
        let held = self.held.iter();
        held.map(|(rank, held)| {
            let investigation = held.investigation.as_ref();
            let (revocation, truncated) = (&held.revocation, &held.truncated);
            message_entry(
                rank.id,
                revocation,
                truncated,
                investigation,
                self.detected_at,
            )
        })
        .collect()
    }

    /// Returns a hash of the sorted, distinct IDs of all revocations and frees their memory. No more
    /// can be added afterwards.
    pub(super) fn take_digest(&mut self) -> [u8; 32] {
        let mut ids = std::mem::take(&mut self.ids);
        ids.sort_unstable();
        ids.dedup();
        let mut digest = Sha256::new();
        for id in ids {
            digest.update(id.octets());
        }
        digest.finalize().into()
    }

    /// Hides every text that others chose and that may have any characters, and what was found out.
    pub(super) fn hide_free_text(&mut self) {
        for held in self.held.values_mut() {
            hide_free_text(&mut held.revocation);
            held.truncated.clear();
            held.investigation = None;
        }
    }

    /// Returns one line of a full list: the entry of the JSON message with nothing truncated.
    pub fn line(&self, revocation: &Revocation) -> Vec<u8> {
        let id = RevocationId::of(&self.certificate_authority_arn, &revocation.key);
        let entry = entry(id, revocation, &[], self.detected_at);
        (to_json(&entry) + "\n").into_bytes()
    }
}
