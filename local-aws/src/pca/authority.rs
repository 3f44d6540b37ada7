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

#[derive(Debug)]
pub(super) struct Authority {
    pub(super) common_name: String,
    pub(super) owner_account: String,
    pub(super) status: Status,
    pub(super) created_at: SystemTime,
    pub(super) last_state_change_at: SystemTime,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) serial: String,
    pub(super) certificates: Vec<Certificate>,
    pub(super) last_report: Option<String>,
    pub(super) next_reports: VecDeque<NextReport>,
}
