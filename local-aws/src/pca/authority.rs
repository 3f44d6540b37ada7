//! Certificate authorities.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use super::report::NextReport;
use crate::report::{Certificate, Profile};
use crate::x509;

/// Bucket of all CRLs.
pub(super) const CRL_BUCKET: &str = "amzn-s3-demo-crl-bucket";

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
    /// Whether certificates get no CRL distribution point although there is a CRL.
    pub(super) omits_crl_pointer: bool,
    /// Values by key.
    pub(super) tags: BTreeMap<String, String>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) last_report: Option<String>,
    pub(super) next_reports: VecDeque<NextReport>,
}

impl Authority {
    /// Completes a certificate as if it were issued now, as the certificate authority `arn` is configured.
    pub(super) fn complete(&self, arn: &str, row: &mut Certificate) {
        if row.x509.is_some() {
            return;
        }
        let mut parts = arn.split([':', '/']).skip(3);
        let region = parts.next().unwrap_or_default();
        let id = parts.last().unwrap_or_default();
        let RevocationConfiguration { crl, ocsp } = self.revocation;
        let has_crl_pointer = crl && !self.omits_crl_pointer;
        row.x509 = Some(Profile {
            key: x509::own_key(row),
            crl_urls: has_crl_pointer
                .then(|| format!("http://{CRL_BUCKET}.s3.{region}.amazonaws.com/crl/{id}.crl"))
                .into_iter()
                .collect(),
            ocsp_urls: ocsp
                .then(|| format!("http://ocsp.acm-pca.{region}.amazonaws.com"))
                .into_iter()
                .collect(),
        });
    }
}
