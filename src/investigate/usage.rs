//! Finds the AWS resources that use a certificate in AWS Certificate Manager (ACM).
//!
//! A certificate is searched by its serial. A renewed certificate has another serial and keeps its ARN,
//! so one that ACM requested is also searched by its common name. Only the account and the region of the
//! function are searched: a certificate that is not found there may be in use elsewhere.

use aws_sdk_acm::operation::search_certificates::SearchCertificatesOutput;
use aws_sdk_acm::types::{
    AcmCertificateMetadata, CertificateDetail, CertificateFilter, CertificateFilterStatement,
    CertificateMetadata, CertificateSearchResult, CertificateType, CommonNameFilter,
    ComparisonOperator, SubjectFilter, X509AttributeFilter,
};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};

use crate::arn::CertificateAuthorityArn;
use crate::aws::failure::CallFailure;
use crate::investigate::words::bounded;
use crate::investigate::{Case, Investigator, reason};
use crate::revocation::distinguished_name::{MAX_COMMON_NAME_CHARS, decode};
use crate::revocation::investigation::{AcmCertificate, Finding, MAX_ITEMS, Usage};
use crate::revocation::key::{RevocationKey, acm_serials, serial_octets, significant};
use crate::revocation::record::Revocation;
use crate::text::numbers::count;
use crate::text::visible::TRUNCATION_MARK;

/// Maximum simultaneous `DescribeCertificate` requests for one revocation.
const MAX_DESCRIBED_AT_ONCE: usize = 3;

/// Minimum octets of a serial that identifies a certificate without its CA. Public CAs and Private CA use
/// random serials of at least 64 bits.
const MIN_UNIQUE_OCTETS: usize = 8;

impl Investigator<'_> {
    /// Returns a finding for each revocation of the case.
    pub(super) async fn usages(&self, case: &Case<'_>) -> Vec<Finding<Usage>> {
        let lookups = case.revocations.iter().map(|revocation| {
            case.in_time("ACM", async {
                let found = self.usage(case, revocation).await;
                found.map_or_else(Finding::Unknown, Finding::Known)
            })
        });
        join_all(lookups).await
    }

    /// Returns the certificates found, or why they are unknown.
    async fn usage(&self, case: &Case<'_>, revocation: &Revocation) -> Result<Usage, String> {
        let arn = case.arn;
        let RevocationKey::Serial(serial) = &revocation.key else {
            return Err("the report states no valid serial".to_owned());
        };
        let wanted = Wanted { arn, serial };
        let by_serial = self.search(case, serial_filter(serial)).await?;
        let hits = Hits::new(by_serial, |hit| wanted.may_be(hit));
        let described = self.describe(case, &hits).await;
        if let Some(usage) = decide(&hits, described, |detail| wanted.is(detail))? {
            let is_in_use = usage.certificates.iter().any(|it| it.in_use_total > 0);
            return match other_account(arn.account(), revocation) {
                // An imported copy; the other account may use its own.
                Some(_) if !is_in_use => Err(not_found_reason(arn.account(), revocation)),
                other => Ok(Usage {
                    other_account: other.map(|account| bounded(account.to_owned())),
                    ..usage
                }),
            };
        }
        if !was_requested_by_acm(revocation) || other_account(arn.account(), revocation).is_some() {
            return Err(not_found_reason(arn.account(), revocation));
        }
        if revocation.may_have_cut_subject() {
            let reason = "ACM of this account and region does not have its serial, and the subject \
                          is too long to find a renewed certificate by";
            return Err(reason.to_owned());
        }
        let Some(filter) = common_name_filter(revocation) else {
            let reason = "ACM of this account and region does not have its serial, and it has no \
                          common name to find a renewed certificate by";
            return Err(reason.to_owned());
        };
        let by_name = self.search(case, filter).await?;
        let hits = Hits::new(by_name, may_be_renewed);
        let described = self.describe(case, &hits).await;
        let renewed = decide(&hits, described, |detail| wanted.is_renewed(detail))?;
        renewed.ok_or_else(|| not_found_reason(arn.account(), revocation))
    }

    async fn search(
        &self,
        case: &Case<'_>,
        filter: CertificateFilterStatement,
    ) -> Result<SearchCertificatesOutput, String> {
        let found = self
            .clients
            .acm
            .search_certificates()
            .filter_statement(filter)
            .send()
            .await;
        found.map_err(|error| {
            let reason = reason("ACM", &CallFailure::new("SearchCertificates", &error));
            case.warn("SearchCertificates", &reason);
            reason
        })
    }

    /// Describes the first [`MAX_ITEMS`] hits; `None` for one that ACM no longer has.
    async fn describe(
        &self,
        case: &Case<'_>,
        hits: &Hits,
    ) -> Vec<Result<Option<CertificateDetail>, String>> {
        let failed = |reason: String| {
            case.warn("DescribeCertificate", &reason);
            Err(reason)
        };
        stream::iter(hits.hits.iter().take(MAX_ITEMS))
            .map(async |hit| {
                let call = self.clients.acm.describe_certificate();
                let described = call.set_certificate_arn(hit.certificate_arn.clone());
                match described.send().await {
                    Ok(described) => match described.certificate {
                        Some(detail) => Ok(Some(detail)),
                        None => failed("ACM described no certificate".to_owned()),
                    },
                    Err(error) => {
                        let failure = CallFailure::new("DescribeCertificate", &error);
                        match failure.is("ResourceNotFoundException") {
                            true => Ok(None),
                            false => failed(reason("ACM", &failure)),
                        }
                    }
                }
            })
            .buffered(MAX_DESCRIBED_AT_ONCE)
            .collect()
            .await
    }
}

/// What is searched.
struct Wanted<'a> {
    arn: &'a CertificateAuthorityArn,
    serial: &'a [u8; 20],
}

impl Wanted<'_> {
    /// Whether a search result may be the revoked certificate.
    fn may_be(&self, hit: &CertificateSearchResult) -> bool {
        let attributes = hit.x509_attributes();
        match attributes.and_then(|attributes| attributes.serial_number()) {
            Some(serial) => serial_octets(serial).as_ref() == Some(self.serial),
            None => true,
        }
    }

    /// Returns whether this is the revoked certificate, or `None` if it is another one.
    ///
    /// ACM states the CA of certificates that it requested from Private CA. Without a CA, it was
    /// imported, and only a long serial identifies it.
    fn is(&self, detail: &CertificateDetail) -> Option<bool> {
        let has_serial = detail.serial().and_then(serial_octets).as_ref() == Some(self.serial);
        let is_of_ca = match detail.certificate_authority_arn() {
            Some(arn) => arn == self.arn.as_str(),
            None => significant(self.serial).len() >= MIN_UNIQUE_OCTETS,
        };
        (has_serial && is_of_ca).then_some(true)
    }

    /// As [`Wanted::is`], for a certificate of the same name: one of the same CA is probably renewed.
    fn is_renewed(&self, detail: &CertificateDetail) -> Option<bool> {
        let is_of_ca = detail.certificate_authority_arn() == Some(self.arn.as_str());
        is_of_ca.then(|| self.is(detail) == Some(true))
    }
}

/// Returns whether a search result may be a certificate of a private CA.
fn may_be_renewed(hit: &CertificateSearchResult) -> bool {
    let certificate_type = metadata(hit).and_then(|metadata| metadata.r#type.as_ref());
    !matches!(
        certificate_type,
        Some(CertificateType::AmazonIssued | CertificateType::Imported)
    )
}

/// The results of a search that may be what is wanted.
struct Hits {
    hits: Vec<CertificateSearchResult>,
    /// Whether there are more than those.
    are_cut_off: bool,
}

impl Hits {
    /// Keeps the first page.
    fn new(
        found: SearchCertificatesOutput,
        may_be: impl Fn(&CertificateSearchResult) -> bool,
    ) -> Self {
        let are_cut_off = found.next_token().is_some_and(|token| !token.is_empty());
        let mut hits = found.results.unwrap_or_default();
        hits.retain(|hit| hit.certificate_arn.is_some() && may_be(hit));
        Self { hits, are_cut_off }
    }
}

/// Decides what is known; `None` if nothing was found. `is_revoked_one` returns `None` for a certificate
/// that is neither the revoked one nor a renewed one.
fn decide(
    hits: &Hits,
    described: Vec<Result<Option<CertificateDetail>, String>>,
    is_revoked_one: impl Fn(&CertificateDetail) -> Option<bool>,
) -> Result<Option<Usage>, String> {
    let not_described = hits.hits.len() - described.len();
    let mut certificates = Vec::new();
    let mut failed = None;
    let mut unread = not_described as u64;
    for (hit, described) in hits.hits.iter().zip(described) {
        let states_use = metadata(hit).and_then(|metadata| metadata.in_use) == Some(true);
        match described {
            Err(reason) => {
                unread += 1;
                let reason = match states_use {
                    true => format!("ACM reports that AWS services use it, but {reason}"),
                    false => reason,
                };
                failed = failed.or(Some(reason));
            }
            Ok(None) => {}
            Ok(Some(detail)) => {
                let Some(is_revoked_one) = is_revoked_one(&detail) else {
                    continue;
                };
                let certificate = certificate(hit, detail, is_revoked_one);
                if states_use && certificate.in_use_total == 0 {
                    let reason = "ACM reports that AWS services use it, but not which";
                    failed = failed.or(Some(reason.to_owned()));
                }
                certificates.push(certificate);
            }
        }
    }
    let is_in_use = certificates.iter().any(|found| found.in_use_total > 0);
    if !is_in_use {
        if let Some(reason) = failed {
            return Err(reason);
        }
        if not_described > 0 || hits.are_cut_off {
            return Err(not_looked_up(not_described as u64, hits.are_cut_off));
        }
    }
    let total = certificates.len() as u64 + unread;
    Ok((!certificates.is_empty()).then_some(Usage {
        certificates,
        total,
        at_least: hits.are_cut_off,
        other_account: None,
    }))
}

/// Returns that results of a search were not looked up, and how many; there may be others beyond
/// them.
fn not_looked_up(number: u64, are_cut_off: bool) -> String {
    let more = match (number, are_cut_off) {
        (0, _) => "more matching certificates".to_owned(),
        (_, true) => format!("at least {}", count(number, "more matching certificate")),
        (_, false) => count(number, "more matching certificate"),
    };
    format!("ACM has {more} that could not be looked up")
}

fn certificate(
    hit: &CertificateSearchResult,
    detail: CertificateDetail,
    is_revoked_one: bool,
) -> AcmCertificate {
    let mut in_use_by = detail.in_use_by.unwrap_or_default();
    let in_use_total = in_use_by.len() as u64;
    in_use_by.truncate(MAX_ITEMS);
    AcmCertificate {
        arn: bounded(hit.certificate_arn.clone().unwrap_or_default()),
        serial: detail.serial.map(bounded),
        is_revoked_one,
        in_use_by: in_use_by.into_iter().map(bounded).collect(),
        in_use_total,
        exported: metadata(hit).and_then(|metadata| metadata.exported),
    }
}

fn metadata(hit: &CertificateSearchResult) -> Option<&AcmCertificateMetadata> {
    match hit.certificate_metadata()? {
        CertificateMetadata::AcmCertificateMetadata(metadata) => Some(metadata),
        _ => None,
    }
}

fn serial_filter(serial: &[u8; 20]) -> CertificateFilterStatement {
    let mut filters: Vec<_> = acm_serials(serial)
        .into_iter()
        .map(|text| x509_filter(X509AttributeFilter::SerialNumber(text)))
        .collect();
    match filters.len() {
        1 => filters.remove(0),
        _ => CertificateFilterStatement::Or(filters),
    }
}

/// Returns the search for the common name of a revoked certificate; `None` if it has none, or one that
/// the report does not state exactly.
fn common_name_filter(revocation: &Revocation) -> Option<CertificateFilterStatement> {
    let name = decode(revocation.subject.as_deref()?).common_name?;
    // A name that was truncated or has escapes would be searched in vain.
    let is_exact = !name.is_empty()
        && name.chars().count() <= MAX_COMMON_NAME_CHARS
        && !name.ends_with(TRUNCATION_MARK)
        && !name.contains('\\');
    let filter = CommonNameFilter::builder()
        .value(name)
        .comparison_operator(ComparisonOperator::Equals)
        .build()
        .expect("value and operator are set");
    is_exact.then(|| {
        x509_filter(X509AttributeFilter::Subject(SubjectFilter::CommonName(
            filter,
        )))
    })
}

fn x509_filter(filter: X509AttributeFilter) -> CertificateFilterStatement {
    CertificateFilterStatement::Filter(CertificateFilter::X509AttributeFilter(filter))
}

/// Returns whether the report states that ACM requested the certificate.
fn was_requested_by_acm(revocation: &Revocation) -> bool {
    revocation.requested_by_service_principal.as_deref() == Some("acm.amazonaws.com")
}

/// Returns the account that the certificate was issued to, if it is another one.
fn other_account<'a>(account: &str, revocation: &'a Revocation) -> Option<&'a str> {
    let issued_to = revocation.aws_account_id.as_deref();
    issued_to.filter(|issued_to| *issued_to != account)
}

/// Returns why a certificate that was not found may be in use all the same.
fn not_found_reason(account: &str, revocation: &Revocation) -> String {
    if let Some(other) = other_account(account, revocation) {
        let other = bounded(other.to_owned());
        return format!("issued to account {other}, whose ACM cannot be queried from here");
    }
    match revocation.aws_account_id.as_deref() {
        Some(_) if was_requested_by_acm(revocation) => {
            "ACM of this account and region no longer has it".to_owned()
        }
        None if was_requested_by_acm(revocation) => {
            "ACM of this account and region does not have it, and the report states no account"
                .to_owned()
        }
        issued_to => {
            let template = revocation.template_arn.as_deref();
            let template = template.map(|arn| arn.rsplit_once(":template/").map_or(arn, |it| it.1));
            let origin = [("account", issued_to), ("template", template)]
                .into_iter()
                .filter_map(|(name, value)| Some(format!("{name} {}", bounded(value?.to_owned()))))
                .collect::<Vec<_>>()
                .join(", ");
            let origin = match origin.is_empty() {
                true => origin,
                false => format!(" ({origin})"),
            };
            format!(
                "issued outside ACM{origin}, and ACM of this account and region does not have it"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_acm::types::X509Attributes;

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
    const OTHER_CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/99999999-1234-1122-2233-112233445566";
    const ARN: &str = "arn:aws:acm:us-east-1:123456789012:certificate/1";
    const SERIAL: &str = "e8:cb:d2:be:db:12:23:29";
    const LOAD_BALANCER: &str =
        "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/prod-web/1";

    fn revocation() -> Revocation {
        crate::investigate::tests::revocation(Some(SERIAL), "2026-11-24T20:22:47Z")
    }

    fn hit(serial: Option<&str>, in_use: Option<bool>) -> CertificateSearchResult {
        let metadata = AcmCertificateMetadata::builder()
            .exported(true)
            .set_in_use(in_use)
            .r#type(CertificateType::Private)
            .build();
        let attributes = X509Attributes::builder()
            .set_serial_number(serial.map(str::to_owned))
            .build();
        CertificateSearchResult::builder()
            .certificate_arn(ARN)
            .x509_attributes(attributes)
            .certificate_metadata(CertificateMetadata::AcmCertificateMetadata(metadata))
            .build()
    }

    fn hits(in_use: &[Option<bool>]) -> Hits {
        let hits = in_use.iter().map(|in_use| hit(Some(SERIAL), *in_use));
        Hits {
            hits: hits.collect(),
            are_cut_off: false,
        }
    }

    fn detail(serial: &str, ca: Option<&str>, in_use_by: &[&str]) -> CertificateDetail {
        CertificateDetail::builder()
            .certificate_arn(ARN)
            .serial(serial)
            .set_certificate_authority_arn(ca.map(str::to_owned))
            .set_in_use_by(Some(in_use_by.iter().map(ToString::to_string).collect()))
            .build()
    }

    fn wanted<T>(serial: &str, ask: impl FnOnce(&Wanted<'_>) -> T) -> T {
        let arn = CertificateAuthorityArn::parse(CA).unwrap();
        let serial = serial_octets(serial).unwrap();
        ask(&Wanted {
            arn: &arn,
            serial: &serial,
        })
    }

    type Described = Vec<Result<Option<CertificateDetail>, String>>;

    fn decided(hits: &Hits, described: Described) -> Result<Option<Usage>, String> {
        wanted(SERIAL, |wanted| {
            decide(hits, described, |detail| wanted.is(detail))
        })
    }

    #[test]
    fn serials_are_compared_as_integers() {
        for (stated, may_be) in [
            (Some("00:E8:CB:D2:BE:DB:12:23:29"), true),
            (Some("e8cbd2bedb122329"), true),
            (None, true),
            (Some("e8:cb:d2:be:db:12:23:28"), false),
            (Some("nonsense"), false),
        ] {
            let actual = wanted(SERIAL, |wanted| wanted.may_be(&hit(stated, None)));
            assert_eq!(actual, may_be, "{stated:?}");
        }
    }

    #[test]
    fn certificate_of_another_ca_is_not_the_revoked_one() {
        let is = |serial: &str, ca| wanted(serial, |wanted| wanted.is(&detail(serial, ca, &[])));
        assert_eq!(is(SERIAL, Some(CA)), Some(true));
        assert_eq!(is(SERIAL, Some(OTHER_CA)), None);
        // Imported: short serials of several CAs may be equal.
        assert_eq!(is(SERIAL, None), Some(true));
        assert_eq!(is("01:02", None), None);
        let is_renewed = |ca| {
            wanted(SERIAL, |wanted| {
                wanted.is_renewed(&detail("01:02", ca, &[]))
            })
        };
        assert_eq!(is_renewed(Some(CA)), Some(false));
        assert_eq!(is_renewed(Some(OTHER_CA)), None);
        assert_eq!(is_renewed(None), None);
    }

    #[test]
    fn resources_are_listed_and_counted() {
        let many = [LOAD_BALANCER; 12];
        let described = vec![Ok(Some(detail(SERIAL, Some(CA), &many)))];
        let usage = decided(&hits(&[Some(true)]), described).unwrap().unwrap();
        assert_eq!(usage.total, 1);
        let found = &usage.certificates[0];
        assert_eq!(found.in_use_by, [LOAD_BALANCER; MAX_ITEMS]);
        assert_eq!((found.in_use_total, found.exported), (12, Some(true)));
        assert!(found.is_revoked_one);
    }

    #[test]
    fn unused_certificate_is_known_only_if_everything_was_read() {
        let unused = || Ok(Some(detail(SERIAL, Some(CA), &[])));
        let used = || Ok(Some(detail(SERIAL, Some(CA), &[LOAD_BALANCER])));
        let denied = || Err("ACM denied DescribeCertificate".to_owned());
        let known = decided(&hits(&[Some(false)]), vec![unused()]);
        assert_eq!(known.unwrap().unwrap().certificates[0].in_use_total, 0);
        for (in_use, described, reason) in [
            (
                vec![Some(false), None],
                vec![unused(), denied()],
                "ACM denied DescribeCertificate",
            ),
            (
                vec![Some(true)],
                vec![denied()],
                "ACM reports that AWS services use it, but ACM denied DescribeCertificate",
            ),
            (
                vec![Some(true)],
                vec![unused()],
                "ACM reports that AWS services use it, but not which",
            ),
            (
                vec![None; 11],
                (0..MAX_ITEMS).map(|_| unused()).collect(),
                "ACM has 1 more matching certificate that could not be looked up",
            ),
        ] {
            assert_eq!(decided(&hits(&in_use), described), Err(reason.to_owned()));
        }
        let usage = decided(&hits(&[None, None]), vec![denied(), used()]);
        let usage = usage.unwrap().unwrap();
        assert_eq!((usage.certificates.len(), usage.total), (1, 2));
        assert_eq!(decided(&hits(&[]), Vec::new()), Ok(None));
        assert_eq!(decided(&hits(&[None]), vec![Ok(None)]), Ok(None));
        let cut_off = Hits {
            are_cut_off: true,
            ..hits(&[])
        };
        assert_eq!(
            decided(&cut_off, Vec::new()),
            Err("ACM has more matching certificates that could not be looked up".to_owned())
        );
        let cut_off = Hits {
            are_cut_off: true,
            ..hits(&[None])
        };
        let usage = decided(&cut_off, vec![used()]).unwrap().unwrap();
        assert_eq!((usage.total, usage.at_least), (1, true));
    }

    #[test]
    fn not_found_is_never_not_in_use() {
        let reason = |change: fn(&mut Revocation)| {
            let mut revocation = revocation();
            change(&mut revocation);
            not_found_reason("123456789012", &revocation)
        };
        assert_eq!(
            reason(|_| {}),
            "ACM of this account and region no longer has it"
        );
        assert_eq!(
            reason(|it| it.aws_account_id = None),
            "ACM of this account and region does not have it, and the report states no account"
        );
        assert_eq!(
            reason(|it| it.aws_account_id = Some("222233334444".to_owned())),
            "issued to account 222233334444, whose ACM cannot be queried from here"
        );
        assert_eq!(
            reason(|it| it.requested_by_service_principal = None),
            "issued outside ACM (account 123456789012, template EndEntityCertificate/V1), and ACM \
             of this account and region does not have it"
        );
        let without_origin = reason(|it| {
            it.requested_by_service_principal = None;
            it.aws_account_id = None;
            it.template_arn = None;
        });
        assert_eq!(
            without_origin,
            "issued outside ACM, and ACM of this account and region does not have it"
        );
        let long = reason(|it| it.aws_account_id = Some("9".repeat(100_000)));
        assert!(long.len() < 400, "{long}");
    }

    #[test]
    fn only_an_exact_common_name_is_searched() {
        let filter = |subject: Option<&str>| {
            let subject = subject.map(str::to_owned);
            common_name_filter(&Revocation {
                subject,
                ..revocation()
            })
        };
        let searched = filter(Some("O=Example,CN=www.example.com")).unwrap();
        assert!(format!("{searched:?}").contains("\"www.example.com\""));
        for subject in [
            None,
            Some("O=Example"),
            Some("CN="),
            Some("CN=a\u{202e}b"),
            Some(&*format!("CN={}", "a".repeat(300))),
        ] {
            assert_eq!(filter(subject), None, "{subject:?}");
        }
    }
}
