//! Lists the account's certificate authorities and looks up their names.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_acmpca::types::{CertificateAuthority, CertificateAuthorityStatus, ResourceOwner};
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::aws::clients::Clients;
use crate::aws::failure::CallFailure;
use crate::error::AuditError;

/// Timeout for looking up a CA's name.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// Interval between name lookups: half of the quota of 20 `DescribeCertificateAuthority` per second
/// (AWS General Reference, "AWS Private Certificate Authority endpoints and quotas").
const NAME_PACE: Duration = Duration::from_millis(100);

/// The CAs that the account owns in a region.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those whose audit reports Private CA writes.
    pub auditable: Vec<CertificateAuthorityArn>,
    /// The others, such as deleted ones: a report requested earlier may still be pending.
    pub skipped: Vec<CertificateAuthorityArn>,
}

/// Lists every CA that the account owns in the region, and caches their names.
///
/// # Errors
/// If `ListCertificateAuthorities` fails.
pub async fn list(clients: &Clients, names: &Names) -> Result<Listed, AuditError> {
    let mut listed = Listed::default();
    let mut skipped = Vec::new();
    let mut pages = clients
        .acmpca
        .list_certificate_authorities()
        .resource_owner(ResourceOwner::SelfValue)
        .into_paginator()
        .items()
        .send();
    while let Some(ca) = pages.next().await {
        let ca = ca.map_err(|error| {
            CallFailure::new("ListCertificateAuthorities", &error).error("the CAs of the account")
        })?;
        let Some(arn) = ca.arn().and_then(CertificateAuthorityArn::parse) else {
            continue;
        };
        names.insert(&arn, common_name(&ca));
        match ca.status() {
            Some(CertificateAuthorityStatus::Active | CertificateAuthorityStatus::Disabled) => {
                listed.auditable.push(arn);
            }
            status => {
                let status = status.map_or("no status", CertificateAuthorityStatus::as_str);
                skipped.push(format!("{} ({status})", arn.id()));
                listed.skipped.push(arn);
            }
        }
    }
    if !skipped.is_empty() {
        warn!(
            count = skipped.len(),
            skipped = skipped.join(", "),
            "CAs skipped; they are neither ACTIVE nor DISABLED"
        );
    }
    info!(count = listed.auditable.len(), "CAs listed");
    Ok(listed)
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
