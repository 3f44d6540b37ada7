//! Which revocations one message tells of, in bounded memory however many there are.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::alert::format::json::{Entry, TruncatedRevocation};
use crate::alert::size::{ENTRIES_ROOM, escaped_len, to_json};
use crate::revocation::id::RevocationId;
use crate::revocation::reason::Severity;
use crate::revocation::reason_counts::{ReasonCounts, order};
use crate::revocation::record::Revocation;
use crate::timestamp::Timestamp;

/// The revocations of one message: the worst of them as far as they fit, the counts and the
/// identities of all.
///
/// Holds the longest run of the worst whose entries fit the machine document, whatever the order in
/// which they are added; apart from 16 octets for each, memory does not grow with their number.
#[derive(Clone, Debug)]
pub struct RevocationBatch {
    certificate_authority_arn: String,
    detected_at: Timestamp,
    held: BTreeMap<Rank, HeldRevocation>,
    held_len: usize,
    /// The worst revocation that no longer fitted: nothing from here on is held.
    cut_off: Option<Rank>,
    needs_full_list: bool,
    counts: ReasonCounts,
    ids: Vec<RevocationId>,
}

/// Worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    severity: Reverse<Severity>,
    reason: usize,
    /// `None`, an unreadable time, is before all others; of these the latest comes first.
    revoked_at: Option<Reverse<Timestamp>>,
    id: RevocationId,
    /// Tells apart records that state the same revocation.
    position: usize,
}

#[derive(Clone, Debug)]
struct HeldRevocation {
    cut: TruncatedRevocation,
    /// The bytes of its entry in the machine document, inside the message.
    len: usize,
}

impl RevocationBatch {
    /// Collects revocations of the given certificate authority. `detected_at` is when the report
    /// that states them was written.
    pub fn new(certificate_authority_arn: &str, detected_at: Timestamp) -> Self {
        Self {
            certificate_authority_arn: certificate_authority_arn.to_owned(),
            detected_at,
            held: BTreeMap::new(),
            held_len: 0,
            cut_off: None,
            needs_full_list: false,
            counts: ReasonCounts::default(),
            ids: Vec::new(),
        }
    }

    /// Adds a revocation; returns the JSON lines that are due for the full list now.
    ///
    /// None are while everything fits into the message as a whole. At the first revocation that
    /// does not, these are the lines of all so far; from then on one line for each.
    pub fn add(&mut self, revocation: Revocation) -> Vec<u8> {
        let id = RevocationId::of(&self.certificate_authority_arn, &revocation.key);
        let rank = Rank {
            severity: Reverse(revocation.reason.severity()),
            reason: order(&revocation.reason),
            revoked_at: revocation.revoked_at.at.map(Reverse),
            id,
            position: self.ids.len(),
        };
        self.ids.push(id);
        self.counts.add(&revocation.reason);

        let mut due = Vec::new();
        if self.needs_full_list {
            due = self.line(&revocation);
        }
        if self.cut_off.is_some_and(|cut_off| cut_off < rank) {
            return due;
        }
        let cut = TruncatedRevocation::of(id, &revocation);
        let len = self.entry_len(&cut);
        if !self.needs_full_list && (!cut.is_whole() || self.held_len + len > ENTRIES_ROOM) {
            self.needs_full_list = true;
            for earlier in self.worst() {
                due.extend(self.line(earlier));
            }
            due.extend(self.line(&revocation));
        }
        self.held_len += len;
        self.held.insert(rank, HeldRevocation { cut, len });
        while self.held_len > ENTRIES_ROOM
            && let Some((least, held)) = self.held.pop_last()
        {
            self.held_len -= held.len;
            self.cut_off = Some(least);
        }
        due
    }

    /// Whether the message cannot hold all of them as a whole, so that there has to be a full list.
    pub fn needs_full_list(&self) -> bool {
        self.needs_full_list
    }

    /// How many were added.
    pub fn len(&self) -> u64 {
        self.counts.total()
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The severity of the worst of them.
    pub fn severity(&self) -> Option<Severity> {
        self.counts.severity()
    }

    /// How many of each reason were added.
    pub fn counts(&self) -> &ReasonCounts {
        &self.counts
    }

    /// Those that fit the message, worst first; fields of unusual length are cut.
    pub fn worst(&self) -> impl Iterator<Item = &Revocation> {
        self.held.values().map(|held| &held.cut.revocation)
    }

    /// Those that fit the message, with what was cut of them.
    pub(super) fn held(&self) -> impl Iterator<Item = &TruncatedRevocation> {
        self.held.values().map(|held| &held.cut)
    }

    /// A hash of the identities of all of them, in order and each once; afterwards no more can be
    /// added, and their memory is free.
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

    pub(super) fn detected_at(&self) -> Timestamp {
        self.detected_at
    }

    fn line(&self, revocation: &Revocation) -> Vec<u8> {
        full_list_line(
            &self.certificate_authority_arn,
            revocation,
            self.detected_at,
        )
    }

    fn entry_len(&self, cut: &TruncatedRevocation) -> usize {
        let entry = Entry::of(cut, self.detected_at);
        let comma = 1;
        escaped_len(&to_json(&entry)) + comma
    }
}

/// One line of a full list: the entry that a machine document would hold, with nothing cut.
pub fn full_list_line(
    certificate_authority_arn: &str,
    revocation: &Revocation,
    detected_at: Timestamp,
) -> Vec<u8> {
    let id = RevocationId::of(certificate_authority_arn, &revocation.key);
    let entry = Entry::whole(id, revocation, detected_at);
    let mut line = to_json(&entry).into_bytes();
    line.push(b'\n');
    line
}
