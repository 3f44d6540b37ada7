//! Numbers of revocations by reason.

use std::collections::BTreeMap;

use crate::revocation::reason::{RevocationReason, Severity};

/// Returns the rank of a reason among those of its severity; unknown reasons share the last rank.
pub fn order(reason: &RevocationReason) -> usize {
    KNOWN
        .iter()
        .position(|known| known == reason)
        .unwrap_or(KNOWN.len())
}

static KNOWN: [RevocationReason; 8] = RevocationReason::KNOWN;

/// Numbers of revocations by reason, in bounded memory.
///
/// A report may state any number of unknown reasons. The eight that come first in the alphabet are
/// counted by name, the others together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasonCounts {
    known: [u64; KNOWN.len()],
    not_stated: u64,
    unknown: BTreeMap<String, u64>,
    /// The first name in the alphabet that is no longer counted separately.
    cut_off: Option<String>,
    other: u64,
}

/// Maximum unknown reasons that are counted by name.
const MAX_UNKNOWN_REASONS: usize = 8;

/// The label of revocations without a stated reason.
pub const NOT_STATED: &str = "NOT_STATED";

/// The label of unknown reasons that are not counted by name: those with unusual characters or
/// length, and those beyond the maximum number of names.
pub const OTHER: &str = "OTHER";

impl ReasonCounts {
    /// Counts one revocation.
    pub fn add(&mut self, reason: &RevocationReason) {
        if let Some(known) = self.known.get_mut(order(reason)) {
            *known += 1;
            return;
        }
        match label(reason) {
            NOT_STATED => self.not_stated += 1,
            OTHER => self.other += 1,
            beyond if self.cut_off.as_deref().is_some_and(|first| first <= beyond) => {
                self.other += 1;
            }
            name => {
                *self.unknown.entry(name.to_owned()).or_default() += 1;
                if self.unknown.len() > MAX_UNKNOWN_REASONS
                    && let Some((name, count)) = self.unknown.pop_last()
                {
                    self.other += count;
                    self.cut_off = Some(name);
                }
            }
        }
    }

    /// Returns the number of all revocations counted.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// Returns the highest severity; `None` if nothing was counted.
    pub fn severity(&self) -> Option<Severity> {
        let worst = self.iter().next();
        worst.map(|(name, _)| RevocationReason::from_report(name).severity())
    }

    /// Returns the number of revocations of one severity.
    pub fn by_severity(&self, severity: Severity) -> u64 {
        self.iter()
            .filter(|(name, _)| RevocationReason::from_report(name).severity() == severity)
            .map(|(_, count)| count)
            .sum()
    }

    /// Iterates over the reasons that occurred and their numbers, worst first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let known = |severity: Severity| {
            let counted = KNOWN.iter().zip(self.known);
            counted
                .filter(move |(reason, _)| reason.severity() == severity)
                .map(|(reason, count)| (reason.name(), count))
        };
        let unknown = self.unknown.iter();
        known(Severity::Critical)
            .chain(known(Severity::High))
            .chain(unknown.map(|(name, &count)| (name.as_str(), count)))
            .chain([(OTHER, self.other), (NOT_STATED, self.not_stated)])
            .chain(known(Severity::Low))
            .filter(|&(_, count)| count > 0)
    }
}

/// Returns the name that a reason is counted and routed by: its own, [`NOT_STATED`] or [`OTHER`].
pub fn label(reason: &RevocationReason) -> &str {
    let name = reason.name();
    match name {
        "" => NOT_STATED,
        _ if is_word(name) => name,
        _ => OTHER,
    }
}

/// Returns whether a text is one word of letters, digits, dots, hyphens and underscores.
pub fn is_word(text: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(usual)
}
