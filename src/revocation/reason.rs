//! Revocation reasons, their severity, and numbers of revocations by reason.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How urgent a revocation is. A greater value is worse.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Housekeeping: the certificate was replaced or is no longer needed.
    #[default]
    Low,
    /// The reason is unknown, or someone lost a privilege.
    High,
    /// A private key is, or may be, compromised.
    Critical,
}

impl Severity {
    /// Returns its name in messages and metrics: `critical`, `high` or `low`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

/// A revocation reason as an audit report states it.
///
/// The values are those of `RevokeCertificate` (AWS Private CA API Reference); their codes are
/// those of the CRL reason extension (RFC 5280, section 5.3.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevocationReason {
    /// `KEY_COMPROMISE`: the certificate's private key.
    KeyCompromise,
    /// `CERTIFICATE_AUTHORITY_COMPROMISE`: the private key of a CA.
    CertificateAuthorityCompromise,
    /// `A_A_COMPROMISE`: the private key of an attribute authority.
    AACompromise,
    /// `PRIVILEGE_WITHDRAWN`.
    PrivilegeWithdrawn,
    /// `UNSPECIFIED`.
    Unspecified,
    /// `AFFILIATION_CHANGED`.
    AffiliationChanged,
    /// `SUPERSEDED`.
    Superseded,
    /// `CESSATION_OF_OPERATION`.
    CessationOfOperation,
    /// Any other reason, as in the report; empty if the report states none.
    Other(String),
}

impl RevocationReason {
    /// Every reason that AWS Private CA documents, worst first.
    pub const KNOWN: [RevocationReason; 8] = [
        RevocationReason::KeyCompromise,
        RevocationReason::CertificateAuthorityCompromise,
        RevocationReason::AACompromise,
        RevocationReason::PrivilegeWithdrawn,
        RevocationReason::Unspecified,
        RevocationReason::AffiliationChanged,
        RevocationReason::Superseded,
        RevocationReason::CessationOfOperation,
    ];

    /// Parses a reason; never fails.
    pub fn from_report(text: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|reason| reason.name() == text)
            .unwrap_or_else(|| RevocationReason::Other(text.to_owned()))
    }

    /// Returns the reason as in the report; empty if the report states none.
    pub fn name(&self) -> &str {
        self.properties().0
    }

    /// Returns the code of the CRL reason extension (RFC 5280, section 5.3.1); `None` for an unknown
    /// reason.
    pub fn code(&self) -> Option<u8> {
        self.properties().1
    }

    /// Returns the severity. An unknown reason is high.
    pub fn severity(&self) -> Severity {
        self.properties().2
    }

    fn properties(&self) -> (&str, Option<u8>, Severity) {
        use Severity::{Critical, High, Low};
        match self {
            Self::KeyCompromise => ("KEY_COMPROMISE", Some(1), Critical),
            Self::CertificateAuthorityCompromise => {
                ("CERTIFICATE_AUTHORITY_COMPROMISE", Some(2), Critical)
            }
            Self::AACompromise => ("A_A_COMPROMISE", Some(10), Critical),
            Self::PrivilegeWithdrawn => ("PRIVILEGE_WITHDRAWN", Some(9), High),
            Self::Unspecified => ("UNSPECIFIED", Some(0), High),
            Self::AffiliationChanged => ("AFFILIATION_CHANGED", Some(3), Low),
            Self::Superseded => ("SUPERSEDED", Some(4), Low),
            Self::CessationOfOperation => ("CESSATION_OF_OPERATION", Some(5), Low),
            Self::Other(name) => (name, None, High),
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
        self.add_many(reason, 1);
    }

    /// Adds other numbers.
    pub fn merge(&mut self, others: &Self) {
        for (name, number) in others.iter() {
            self.add_many(&RevocationReason::from_report(name), number);
        }
    }

    /// Returns the numbers without earlier ones, which are part of them.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = Self::default();
        let earlier: BTreeMap<&str, u64> = earlier.iter().collect();
        for (name, number) in self.iter() {
            let before = earlier.get(name).copied().unwrap_or_default();
            let more = number.saturating_sub(before);
            since.add_many(&RevocationReason::from_report(name), more);
        }
        since
    }

    fn add_many(&mut self, reason: &RevocationReason, number: u64) {
        if number == 0 {
            return;
        }
        if let Some(known) = self.known.get_mut(order(reason)) {
            *known += number;
            return;
        }
        match label(reason) {
            NOT_STATED => self.not_stated += number,
            OTHER => self.other += number,
            beyond if self.cut_off.as_deref().is_some_and(|first| first <= beyond) => {
                self.other += number;
            }
            name => {
                *self.unknown.entry(name.to_owned()).or_default() += number;
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

impl Serialize for ReasonCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for ReasonCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut counts = Self::default();
        for (name, number) in BTreeMap::<String, u64>::deserialize(deserializer)? {
            counts.add_many(&RevocationReason::from_report(&name), number);
        }
        Ok(counts)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_codes_and_severities_match_the_api_reference() {
        let table = RevocationReason::KNOWN.map(|r| (r.name().to_owned(), r.code(), r.severity()));
        let expected = [
            ("KEY_COMPROMISE", 1, Severity::Critical),
            ("CERTIFICATE_AUTHORITY_COMPROMISE", 2, Severity::Critical),
            ("A_A_COMPROMISE", 10, Severity::Critical),
            ("PRIVILEGE_WITHDRAWN", 9, Severity::High),
            ("UNSPECIFIED", 0, Severity::High),
            ("AFFILIATION_CHANGED", 3, Severity::Low),
            ("SUPERSEDED", 4, Severity::Low),
            ("CESSATION_OF_OPERATION", 5, Severity::Low),
        ]
        .map(|(name, code, severity)| (name.to_owned(), Some(code), severity));
        assert_eq!(table, expected);
    }

    #[test]
    fn unknown_reason_keeps_its_name_and_is_high() {
        let reason = RevocationReason::from_report("QUANTUM_BREAK");
        assert_eq!(reason.name(), "QUANTUM_BREAK");
        assert_eq!(reason.severity(), Severity::High);
        assert_eq!(reason.code(), None);
    }
}
