//! Lists the account's certificate authorities and looks up their names and tags.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_acmpca::types::{
    CertificateAuthority, CertificateAuthorityStatus, CertificateAuthorityUsageMode,
    CrlConfiguration, CrlDistributionPointExtensionConfiguration, OcspConfiguration, ResourceOwner,
    RevocationConfiguration,
};
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::aws::clients::Clients;
use crate::aws::failure::CallFailure;
use crate::config::Tag;
use crate::error::AuditError;
use crate::revocation::checking::RevocationChecking;

/// Timeout for looking up a CA's name.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// Interval between name lookups: half of the quota of 20 `DescribeCertificateAuthority` per second
/// (AWS General Reference, "AWS Private Certificate Authority endpoints and quotas").
const NAME_PACE: Duration = Duration::from_millis(100);

/// A CA that the account owns, as Private CA lists it.
#[derive(Clone, Debug)]
pub struct ListedCa {
    /// Its ARN.
    pub arn: CertificateAuthorityArn,
    /// Its common name.
    pub name: Option<String>,
    /// The serial of its certificate, if it has one.
    pub serial: Option<String>,
    /// Its status, such as `ACTIVE`.
    pub status: Option<CertificateAuthorityStatus>,
    /// How clients can learn of revocations.
    pub checking: RevocationChecking,
}

impl ListedCa {
    /// Whether Private CA writes audit reports of it.
    pub fn is_auditable(&self) -> bool {
        matches!(
            self.status,
            Some(CertificateAuthorityStatus::Active | CertificateAuthorityStatus::Disabled)
        )
    }
}

/// Returns how clients can learn of revocations by a CA.
fn checking(ca: &CertificateAuthority) -> RevocationChecking {
    let configured = ca.revocation_configuration();
    let crl = configured.and_then(RevocationConfiguration::crl_configuration);
    let ocsp = configured.and_then(RevocationConfiguration::ocsp_configuration);
    RevocationChecking {
        crl: crl.is_some_and(CrlConfiguration::enabled),
        ocsp: ocsp.is_some_and(OcspConfiguration::enabled),
        crl_without_pointer: crl.is_some_and(omits_pointer),
        short_lived: ca.usage_mode() == Some(&CertificateAuthorityUsageMode::ShortLivedCertificate),
    }
}

/// Whether a CA publishes a CRL but leaves its address out of certificates.
fn omits_pointer(crl: &CrlConfiguration) -> bool {
    let extension = crl.crl_distribution_point_extension_configuration();
    crl.enabled()
        && extension.is_some_and(CrlDistributionPointExtensionConfiguration::omit_extension)
}

/// Returns how clients can learn of revocations by a CA, as it is configured now.
///
/// # Errors
/// If `DescribeCertificateAuthority` fails; `None` within if it returns no CA.
pub async fn describe_checking(
    acmpca: &aws_sdk_acmpca::Client,
    arn: &CertificateAuthorityArn,
) -> Result<Option<RevocationChecking>, CallFailure> {
    let described = acmpca
        .describe_certificate_authority()
        .certificate_authority_arn(arn.as_str())
        .send()
        .await
        .map_err(|error| CallFailure::new("DescribeCertificateAuthority", &error))?;
    Ok(described.certificate_authority().map(checking))
}

/// Lists every CA that the account owns in the region, and caches their names.
///
/// # Errors
/// If `ListCertificateAuthorities` fails.
pub async fn list(clients: &Clients, names: &Names) -> Result<Vec<ListedCa>, AuditError> {
    let listed = list_calling(&clients.acmpca, names).await;
    listed.map_err(|failure| failure.error("the CAs of the account"))
}

/// Lists like [`list`], with that client; returns the failed call instead of an error.
///
/// # Errors
/// If `ListCertificateAuthorities` fails.
pub async fn list_calling(
    acmpca: &aws_sdk_acmpca::Client,
    names: &Names,
) -> Result<Vec<ListedCa>, CallFailure> {
    let mut listed = Vec::new();
    let mut pages = acmpca
        .list_certificate_authorities()
        .resource_owner(ResourceOwner::SelfValue)
        .into_paginator()
        .items()
        .send();
    while let Some(ca) = pages.next().await {
        let ca = ca.map_err(|error| CallFailure::new("ListCertificateAuthorities", &error))?;
        let Some(arn) = ca.arn().and_then(CertificateAuthorityArn::parse) else {
            continue;
        };
        let name = common_name(&ca);
        names.insert(&arn, name.clone());
        listed.push(ListedCa {
            name,
            serial: ca.serial().map(str::to_owned),
            status: ca.status().cloned(),
            checking: checking(&ca),
            arn,
        });
    }
    Ok(listed)
}

/// Returns whether a CA has a tag. Uses up neither the requests nor the retries of audits.
///
/// # Errors
/// If `ListTags` fails.
pub async fn has_tag(
    clients: &Clients,
    arn: &CertificateAuthorityArn,
    tag: &Tag,
) -> Result<bool, AuditError> {
    let mut tags = clients
        .acmpca_lookups
        .list_tags()
        .certificate_authority_arn(arn.as_str())
        .into_paginator()
        .items()
        .send();
    while let Some(found) = tags.next().await {
        let found =
            found.map_err(|error| CallFailure::new("ListTags", &error).error(arn.as_str()))?;
        if found.key() == tag.key && found.value().unwrap_or_default() == tag.value {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Logs which of the listed CAs cannot be audited.
pub fn log_skipped(listed: &[ListedCa]) {
    let skipped = listed.iter().filter(|ca| !ca.is_auditable());
    let skipped: Vec<String> = skipped
        .map(|ca| {
            let status = ca.status.as_ref();
            let status = status.map_or("no status", CertificateAuthorityStatus::as_str);
            format!("{} ({status})", ca.arn.id())
        })
        .collect();
    if !skipped.is_empty() {
        warn!(
            count = skipped.len(),
            skipped = skipped.join(", "),
            "CAs skipped; they are neither ACTIVE nor DISABLED"
        );
    }
    info!(count = listed.len() - skipped.len(), "CAs listed");
}

/// A cache of CA names for the life of the process.
#[derive(Debug, Default)]
pub struct Names {
    /// `None` if the CA has no common name.
    known: Mutex<HashMap<CertificateAuthorityArn, Option<String>>>,
    /// Held by the lookup whose turn it is.
    turn: tokio::sync::Mutex<()>,
}

impl Names {
    /// Returns the common name of a CA; `None` if it has none or the lookup fails or is slow.
    pub async fn get(&self, clients: &Clients, arn: &CertificateAuthorityArn) -> Option<String> {
        let known = self.known.lock().ok();
        if let Some(name) = known.and_then(|known| known.get(arn).cloned()) {
            return name;
        }
        let described = async {
            let turn = self.turn.lock().await;
            tokio::time::sleep(NAME_PACE).await;
            drop(turn);
            clients
                .acmpca
                .describe_certificate_authority()
                .certificate_authority_arn(arn.as_str())
                .send()
                .await
        };
        let error = match tokio::time::timeout(NAME_TIMEOUT, described).await {
            Ok(Ok(output)) => {
                let name = output.certificate_authority().and_then(common_name);
                self.insert(arn, name.clone());
                return name;
            }
            Ok(Err(error)) => CallFailure::new("DescribeCertificateAuthority", &error).to_string(),
            Err(_) => format!("no response within {} seconds", NAME_TIMEOUT.as_secs()),
        };
        warn!(
            certificate_authority = arn.id(),
            error, "CA name lookup failed; using the CA ID"
        );
        None
    }

    fn insert(&self, arn: &CertificateAuthorityArn, name: Option<String>) {
        if let Ok(mut known) = self.known.lock() {
            known.insert(arn.clone(), name);
        }
    }
}

fn common_name(ca: &CertificateAuthority) -> Option<String> {
    let configuration = ca.certificate_authority_configuration()?;
    configuration.subject()?.common_name().map(str::to_owned)
}
