//! Certificate authorities.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::report::NextReport;
use crate::report::Certificate;

/// Status of a certificate authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the API's own")]
pub enum Status {
    Creating,
    PendingCertificate,
    Active,
    Disabled,
    Expired,
    Deleted,
    Failed,
}

impl Status {
    /// Returns the API's name of the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::PendingCertificate => "PENDING_CERTIFICATE",
            Self::Active => "ACTIVE",
            Self::Disabled => "DISABLED",
            Self::Expired => "EXPIRED",
            Self::Deleted => "DELETED",
            Self::Failed => "FAILED",
        }
    }
}

/// Usage mode of a certificate authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageMode {
    /// Certificates of any validity.
    #[default]
    GeneralPurpose,
    /// Certificates that are valid for at most seven days.
    ShortLivedCertificate,
}

impl UsageMode {
    /// Returns the API's name of the mode.
    pub fn name(self) -> &'static str {
        match self {
            Self::GeneralPurpose => "GENERAL_PURPOSE",
            Self::ShortLivedCertificate => "SHORT_LIVED_CERTIFICATE",
        }
    }
}

/// How clients can check whether a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationConfiguration {
    /// Whether the certificate authority publishes a CRL.
    pub crl: bool,
    /// Whether it has an OCSP responder.
    pub ocsp: bool,
}

/// A CRL only.
impl Default for RevocationConfiguration {
    fn default() -> Self {
        Self {
            crl: true,
            ocsp: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Authority {
    pub(super) common_name: String,
    pub(super) owner_account: String,
    pub(super) status: Status,
    pub(super) usage_mode: UsageMode,
    pub(super) revocation: RevocationConfiguration,
    pub(super) created_at: SystemTime,
    pub(super) last_state_change_at: SystemTime,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) serial: String,
    pub(super) certificates: Vec<Certificate>,
    pub(super) last_report: Option<String>,
    pub(super) next_reports: VecDeque<NextReport>,
}
