//! Revocation reasons and their severity.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How urgent a revocation is. A greater value is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Housekeeping: the certificate was replaced or is no longer needed.
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
        match self {
            RevocationReason::KeyCompromise => "KEY_COMPROMISE",
            RevocationReason::CertificateAuthorityCompromise => "CERTIFICATE_AUTHORITY_COMPROMISE",
            RevocationReason::AACompromise => "A_A_COMPROMISE",
            RevocationReason::PrivilegeWithdrawn => "PRIVILEGE_WITHDRAWN",
            RevocationReason::Unspecified => "UNSPECIFIED",
            RevocationReason::AffiliationChanged => "AFFILIATION_CHANGED",
            RevocationReason::Superseded => "SUPERSEDED",
            RevocationReason::CessationOfOperation => "CESSATION_OF_OPERATION",
            RevocationReason::Other(text) => text,
        }
    }

    /// Returns the code of the CRL reason extension (RFC 5280, section 5.3.1); `None` for an unknown
    /// reason.
    pub fn code(&self) -> Option<u8> {
        match self {
            RevocationReason::Unspecified => Some(0),
            RevocationReason::KeyCompromise => Some(1),
            RevocationReason::CertificateAuthorityCompromise => Some(2),
            RevocationReason::AffiliationChanged => Some(3),
            RevocationReason::Superseded => Some(4),
            RevocationReason::CessationOfOperation => Some(5),
            RevocationReason::PrivilegeWithdrawn => Some(9),
            RevocationReason::AACompromise => Some(10),
            RevocationReason::Other(_) => None,
        }
    }

    /// Returns the severity. An unknown reason is high.
    pub fn severity(&self) -> Severity {
        match self {
            RevocationReason::KeyCompromise
            | RevocationReason::CertificateAuthorityCompromise
            | RevocationReason::AACompromise => Severity::Critical,
            RevocationReason::PrivilegeWithdrawn
            | RevocationReason::Unspecified
            | RevocationReason::Other(_) => Severity::High,
            RevocationReason::AffiliationChanged
            | RevocationReason::Superseded
            | RevocationReason::CessationOfOperation => Severity::Low,
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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
