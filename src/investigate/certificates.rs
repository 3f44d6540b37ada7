//! Gets certificates from Private CA, the revoked ones once for all lookups.

use futures_util::stream::{self, StreamExt};
use tracing::warn;

use crate::arn::CertificateAuthorityArn;
use crate::aws::failure::CallFailure;
use crate::investigate::{Case, Investigator, reason};
use crate::revocation::certificate::CertificateFacts;
use crate::revocation::investigation::Finding;
use crate::revocation::key::serial_octets;

/// The service as reasons name it.
pub(super) const PRIVATE_CA: &str = "Private CA";

/// Maximum simultaneous `GetCertificate` calls of a message.
const MAX_SIMULTANEOUS: usize = 5;

/// A certificate as a report names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedCertificate<'a> {
    pub arn: Option<&'a str>,
    pub serial: Option<&'a str>,
}

impl Investigator<'_> {
    /// Returns the certificates of the case's revocations; gets them once.
    pub(super) async fn revoked_certificates<'c>(
        &self,
        case: &'c Case<'_>,
    ) -> &'c [Finding<CertificateFacts>] {
        let get = || async {
            let named = case.revocations.iter().map(|revocation| NamedCertificate {
                arn: revocation.certificate_arn.as_deref(),
                serial: revocation.serial.as_deref(),
            });
            self.get_certificates(case, named.collect()).await
        };
        case.certificates.get_or_init(get).await
    }

    /// Gets certificates, a few at a time; returns a finding for each.
    pub(super) async fn get_certificates(
        &self,
        case: &Case<'_>,
        named: Vec<NamedCertificate<'_>>,
    ) -> Vec<Finding<CertificateFacts>> {
        let calls: Vec<_> = named
            .into_iter()
            .map(|named| self.get_certificate(case, named))
            .collect();
        stream::iter(calls)
            .buffered(MAX_SIMULTANEOUS)
            .collect()
            .await
    }

    async fn get_certificate(
        &self,
        case: &Case<'_>,
        named: NamedCertificate<'_>,
    ) -> Finding<CertificateFacts> {
        let (arn, serial) = match named.checked(case.arn) {
            Ok(checked) => checked,
            Err(problem) => return Finding::Unknown(problem.to_owned()),
        };
        let failed = |reason: String| {
            case.warn("GetCertificate", &reason);
            Finding::Unknown(reason)
        };
        let get = async {
            let acmpca = &self.clients.acmpca_lookups;
            let got = acmpca
                .get_certificate()
                .certificate_authority_arn(case.arn.as_str())
                .certificate_arn(arn)
                .send()
                .await;
            let got = match got {
                Ok(got) => got,
                Err(error) => {
                    let failure = CallFailure::new("GetCertificate", &error);
                    return failed(reason(PRIVATE_CA, &failure));
                }
            };
            match facts(got.certificate(), serial) {
                Ok(facts) => Finding::Known(facts),
                Err(problem) => failed(format!(
                    "{PRIVATE_CA} responded to GetCertificate, but {problem}"
                )),
            }
        };
        case.in_time(PRIVATE_CA, get).await
    }
}

impl Case<'_> {
    /// Logs why a lookup failed.
    pub(super) fn warn(&self, lookup: &str, reason: &str) {
        warn!(
            certificate_authority = self.arn.id(),
            lookup,
            error = reason,
            "lookup failed"
        );
    }
}

impl<'a> NamedCertificate<'a> {
    /// Returns the ARN and the serial if they can be those of a certificate of that CA.
    pub fn checked(
        self,
        ca: &CertificateAuthorityArn,
    ) -> Result<(&'a str, [u8; 20]), &'static str> {
        let arn = self.arn.ok_or("the report states no certificate ARN")?;
        if !is_certificate_of(ca, arn) {
            return Err("the report states a malformed certificate ARN");
        }
        let serial = self.serial.and_then(serial_octets);
        let serial = serial.ok_or("the report states no valid serial")?;
        Ok((arn, serial))
    }
}

/// Whether an ARN is that of a certificate of the CA. Its account does not matter: it may be that of
/// the requester.
fn is_certificate_of(ca: &CertificateAuthorityArn, arn: &str) -> bool {
    let Some((issuer, id)) = arn.split_once("/certificate/") else {
        return false;
    };
    let issuer = CertificateAuthorityArn::parse(issuer);
    issuer.is_some_and(|issuer| issuer.id() == ca.id())
        && (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Parses the returned certificate, which must have the serial that was asked for.
fn facts(pem: Option<&str>, serial: [u8; 20]) -> Result<CertificateFacts, String> {
    let facts = CertificateFacts::from_pem(pem.ok_or("it returned no certificate")?)?;
    match facts.serial == serial {
        true => Ok(facts),
        false => Err("it returned a certificate with another serial".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arns_of_the_ca_are_requested() {
        let ca = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
        let of_requester = ca.replace("123456789012", "111122223333");
        let of_other = ca.replace("11223344-", "11223345-");
        let arn = CertificateAuthorityArn::parse(ca).unwrap();
        for (certificate, is_checked) in [
            (format!("{ca}/certificate/2bae9a75d71b42b4"), true),
            (format!("{of_requester}/certificate/2bae9a75d71b42b4"), true),
            (format!("{of_other}/certificate/2bae9a75d71b42b4"), false),
            (format!("{ca}/certificate/"), false),
            (format!("{ca}/certificate/2b ae"), false),
            (format!("{ca}/certificate/2b/certificate/2b"), false),
            (format!("{ca}/certificate/{}", "a".repeat(65)), false),
            (ca.to_owned(), false),
        ] {
            let named = NamedCertificate {
                arn: Some(&certificate),
                serial: Some("2b:ae"),
            };
            assert_eq!(named.checked(&arn).is_ok(), is_checked, "{certificate}");
        }
    }
}
