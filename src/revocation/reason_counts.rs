//! How many certificates were revoked for each reason.

use std::collections::BTreeMap;

use crate::revocation::reason::{RevocationReason, Severity};

/// Where a reason stands among those of its severity; one that is not known comes after those that
/// are, before which there may be any number of it.
pub fn order(reason: &RevocationReason) -> usize {
    KNOWN
        .iter()
        .position(|known| known == reason)
        .unwrap_or(KNOWN.len())
}

static KNOWN: [RevocationReason; 8] = RevocationReason::KNOWN;

/// How many certificates were revoked for each reason.
///
/// A report may state any number of reasons that are not known; the eight that come first in the
/// alphabet are counted by name, the others together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasonCounts {
    known: [u64; KNOWN.len()],
    not_stated: u64,
    unknown: BTreeMap<String, u64>,
    /// The first in the alphabet of those that are no longer counted by name.
    cut_off: Option<String>,
    other: u64,
}

const MAX_UNKNOWN_REASONS: usize = 8;

/// What stands for a reason where the report states none.
pub const NOT_STATED: &str = "NOT_STATED";

/// What stands for reasons that cannot be counted by their name: of unusual characters or length,
/// or beyond the number of names that are counted.
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

    /// All that were counted.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// The severity of the worst; `None` where nothing was counted.
    pub fn severity(&self) -> Option<Severity> {
        [Severity::Critical, Severity::High, Severity::Low]
            .into_iter()
            .find(|&severity| self.by_severity(severity) > 0)
    }

    /// How many are of that severity.
    pub fn by_severity(&self, severity: Severity) -> u64 {
        self.iter()
            .filter(|(name, _)| RevocationReason::from_report(name).severity() == severity)
            .map(|(_, count)| count)
            .sum()
    }

    /// The reasons that were counted and how often, worst first.
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

/// The name under which a reason is counted and routed: its own, or what stands for it.
pub fn label(reason: &RevocationReason) -> &str {
    let name = reason.name();
    match name {
        "" => NOT_STATED,
        _ if is_word(name) => name,
        _ => OTHER,
    }
}

/// Whether a text is a word of letters, digits, dots, hyphens and underscores.
pub fn is_word(text: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(usual)
}
