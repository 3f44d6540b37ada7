//! Request quotas.

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
    /// `GetCertificate`; default 75.
    pub get_certificate: Option<u32>,
    /// `ListTags`; default 20.
    pub list_tags: Option<u32>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            create_report: Some(1),
            describe_report: Some(20),
            describe_certificate_authority: Some(20),
            list_certificate_authorities: Some(20),
            get_certificate: Some(75),
            list_tags: Some(20),
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
        get_certificate: None,
        list_tags: None,
    };

    pub(super) fn of(self, operation: &str) -> Option<u32> {
        match operation {
            "CreateCertificateAuthorityAuditReport" => self.create_report,
            "DescribeCertificateAuthorityAuditReport" => self.describe_report,
            "DescribeCertificateAuthority" => self.describe_certificate_authority,
            "ListCertificateAuthorities" => self.list_certificate_authorities,
            "GetCertificate" => self.get_certificate,
            "ListTags" => self.list_tags,
            _ => None,
        }
    }
}
