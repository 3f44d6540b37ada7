//! Which certificate authorities there are, and what they are called.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_acmpca::types::{CertificateAuthority, CertificateAuthorityStatus, ResourceOwner};
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::aws::clients::Clients;
use crate::aws::failure::{CallFailure, FailureClass};
use crate::error::{AuditError, ErrorKind};

/// A name is worth no longer wait.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// Half of the 20 `DescribeCertificateAuthority` per second that AWS Private CA takes of an account
/// (AWS General Reference, "AWS Private Certificate Authority endpoints and quotas").
const NAME_PACE: Duration = Duration::from_millis(100);

/// Every certificate authority that the account owns in the region and that can be audited. Their
/// names come along.
///
/// # Errors
/// The faults of `ListCertificateAuthorities`.
pub async fn list_auditable(
    clients: &Clients,
    names: &Names,
) -> Result<Vec<CertificateAuthorityArn>, AuditError> {
    let mut auditable = Vec::new();
    let mut left_out = Vec::new();
    let mut pages = clients
        .acmpca
        .list_certificate_authorities()
        .resource_owner(ResourceOwner::SelfValue)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            let failure = CallFailure::new("ListCertificateAuthorities", &error);
            let target = "the account's certificate authorities";
            if failure.class == FailureClass::Refused {
                failure.error_of(ErrorKind::AccessDenied, target)
            } else {
                failure.error(target)
            }
        })?;
        for ca in page.certificate_authorities() {
            let Some(arn) = ca.arn().and_then(CertificateAuthorityArn::parse) else {
                continue;
            };
            match ca.status() {
                Some(CertificateAuthorityStatus::Active | CertificateAuthorityStatus::Disabled) => {
                    names.insert(&arn, common_name(ca));
                    auditable.push(arn);
                }
                status => left_out.push(format!(
                    "{} ({})",
                    arn.id(),
                    status.map_or("no status", CertificateAuthorityStatus::as_str)
                )),
            }
        }
    }
    if !left_out.is_empty() {
        warn!(
            count = left_out.len(),
            left_out = left_out.join(", "),
            "left out: no audit reports in their states"
        );
    }
    info!(count = auditable.len(), "found certificate authorities");
    Ok(auditable)
}

/// The names of certificate authorities, kept for the life of the process.
#[derive(Debug, Default)]
pub struct Names {
    /// `None`: it has no common name.
    known: Mutex<HashMap<CertificateAuthorityArn, Option<String>>>,
    /// Held for as long as nobody else may ask.
    turn: tokio::sync::Mutex<()>,
}

impl Names {
    /// The common name of a certificate authority; `None` where it has none or none can be had.
    /// Never holds a message up.
    pub async fn get(&self, clients: &Clients, arn: &CertificateAuthorityArn) -> Option<String> {
        if let Some(name) = self
            .known
            .lock()
            .ok()
            .and_then(|known| known.get(arn).cloned())
        {
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
        match tokio::time::timeout(NAME_TIMEOUT, described).await {
            Ok(Ok(output)) => {
                let name = output.certificate_authority().and_then(common_name);
                self.insert(arn, name.clone());
                name
            }
            Ok(Err(error)) => {
                let error = CallFailure::new("DescribeCertificateAuthority", &error);
                warn!(certificate_authority = arn.id(), %error, "no name: the id stands in");
                None
            }
            Err(_) => {
                warn!(
                    certificate_authority = arn.id(),
                    "no name in time: the id stands in"
                );
                None
            }
        }
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
