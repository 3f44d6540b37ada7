//! Certificates of ACM.

/// A certificate of ACM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmCertificate {
    /// Its ARN, which survives renewals.
    pub arn: String,
    /// The main domain name, also the subject's common name.
    pub domain_name: String,
    /// All domain names; ACM includes the main one.
    pub subject_alternative_names: Vec<String>,
    /// The current serial number, in lowercase hex with colons.
    pub serial: String,
    /// The issuing certificate authority of Private CA.
    pub certificate_authority_arn: Option<String>,
    /// ARNs of the resources that use it.
    pub in_use_by: Vec<String>,
    /// Whether it was exported.
    pub exported: bool,
    /// Status, such as `ISSUED`.
    pub status: String,
    /// Type: `PRIVATE`, `IMPORTED` or `AMAZON_ISSUED`.
    pub certificate_type: String,
}

impl AcmCertificate {
    /// Creates an issued private certificate that nothing uses.
    pub fn new(
        arn: &str,
        domain_name: &str,
        serial: &str,
        certificate_authority_arn: &str,
    ) -> Self {
        Self {
            arn: arn.to_owned(),
            domain_name: domain_name.to_owned(),
            subject_alternative_names: vec![domain_name.to_owned()],
            serial: serial.to_owned(),
            certificate_authority_arn: Some(certificate_authority_arn.to_owned()),
            in_use_by: Vec::new(),
            exported: false,
            status: "ISSUED".to_owned(),
            certificate_type: "PRIVATE".to_owned(),
        }
    }

    /// Adds a resource that uses the certificate.
    #[must_use]
    pub fn used_by(mut self, resource_arn: &str) -> Self {
        self.in_use_by.push(resource_arn.to_owned());
        self
    }
}
