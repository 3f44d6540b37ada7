//! Request quotas.

use std::time::SystemTime;

/// Request quotas per account and region, in requests per second; `None` for unlimited. Bursts of up to
/// one second's requests are allowed, with a tolerance of 5% of a request for jitter.
///
/// Source of the defaults: AWS General Reference, "AWS Private Certificate Authority endpoints and quotas".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// `CreateCertificateAuthorityAuditReport`; default 1.
    pub create_report: Option<u32>,
    /// `DescribeCertificateAuthorityAuditReport`; default 20.
    pub describe_report: Option<u32>,
    /// `DescribeCertificateAuthority`; default 20.
    pub describe_certificate_authority: Option<u32>,
    /// `ListCertificateAuthorities`; default 20.
    pub list_certificate_authorities: Option<u32>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            create_report: Some(1),
            describe_report: Some(20),
            describe_certificate_authority: Some(20),
            list_certificate_authorities: Some(20),
        }
    }
}

impl Quotas {
    /// No limits.
    pub const UNLIMITED: Self = Self {
        create_report: None,
        describe_report: None,
        describe_certificate_authority: None,
        list_certificate_authorities: None,
    };

    pub(super) fn of(self, operation: &str) -> Option<u32> {
        match operation {
            "CreateCertificateAuthorityAuditReport" => self.create_report,
            "DescribeCertificateAuthorityAuditReport" => self.describe_report,
            "DescribeCertificateAuthority" => self.describe_certificate_authority,
            "ListCertificateAuthorities" => self.list_certificate_authorities,
            _ => None,
        }
    }
}

/// Token bucket of one quota, in billionths of a request.
#[derive(Debug)]
pub(super) struct Bucket {
    left: u128,
    at: SystemTime,
}

impl Bucket {
    const REQUEST: u128 = 1_000_000_000;
    /// Minimum balance for a request: slightly less than one, to tolerate jitter.
    const ENOUGH: u128 = Self::REQUEST / 100 * 95;

    pub(super) fn full(rate: u32, now: SystemTime) -> Self {
        Self {
            left: u128::from(rate) * Self::REQUEST,
            at: now,
        }
    }

    pub(super) fn take(&mut self, rate: u32, now: SystemTime) -> bool {
        let passed = now.duration_since(self.at).unwrap_or_default();
        self.at = now;
        let rate = u128::from(rate);
        self.left = (rate * Self::REQUEST).min(self.left + passed.as_nanos() * rate);
        if self.left < Self::ENOUGH {
            return false;
        }
        self.left = self.left.saturating_sub(Self::REQUEST);
        true
    }
}
