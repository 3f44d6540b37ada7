//! What the calls about one CA's reports need.

use crate::arn::CertificateAuthorityArn;
use crate::aws::clients::Clients;
use crate::budget::Budget;

/// The CA, the bucket of its reports, and what it takes to call AWS.
#[derive(Clone, Copy)]
pub struct ReportCalls<'a> {
    /// The AWS clients.
    pub clients: &'a Clients,
    /// The CA.
    pub arn: &'a CertificateAuthorityArn,
    /// The bucket that Private CA writes its reports to.
    pub bucket: &'a str,
    /// The time that this run has.
    pub budget: &'a Budget,
}
