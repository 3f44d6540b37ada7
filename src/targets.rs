//! Chooses the CAs that an invocation covers.

use tracing::info;

use crate::arn::CertificateAuthorityArn;
use crate::aws::certificate_authorities::{Names, list_auditable};
use crate::aws::clients::Clients;
use crate::config::{CertificateAuthorities, Config, Listed};
use crate::event::{Request, Trigger};
use crate::response::InvocationError;

/// Returns the CAs that an invocation covers: the configured ones, or those of them that the event
/// names.
///
/// # Errors
/// If AWS does not list the CAs, or a manual event names one that is not configured.
pub async fn targets(
    config: &Config,
    clients: &Clients,
    names: &Names,
    request: &Request,
    function_arn: &str,
) -> Result<Vec<CertificateAuthorityArn>, InvocationError> {
    let configured = match &config.certificate_authorities {
        CertificateAuthorities::All => list_auditable(clients, names).await.map_err(|error| {
            let message = format!("{}. {}", error.message, error.hint);
            InvocationError::new(error.kind.name(), message)
        })?,
        CertificateAuthorities::Listed(listed) => listed
            .iter()
            .map(|listed| resolve(listed, function_arn))
            .collect::<Result<_, _>>()?,
    };
    match &request.certificate_authorities {
        Some(named) => narrow(configured, named, &request.trigger),
        None => Ok(configured),
    }
}

/// Returns the ARN of a configured CA; an ID is one of the function's own account and region.
fn resolve(
    listed: &Listed,
    function_arn: &str,
) -> Result<CertificateAuthorityArn, InvocationError> {
    let id = match listed {
        Listed::Arn(arn) => return Ok(arn.clone()),
        Listed::Id(id) => id,
    };
    match function_arn.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "lambda", region, account, ..] => Ok(
            CertificateAuthorityArn::from_parts(partition, region, account, id),
        ),
        _ => Err(InvocationError::new(
            "ConfigurationInvalid",
            format!(
                "CERTIFICATE_AUTHORITY_ARNS: the ID {id} needs the function's account, which its ARN {function_arn:?} does not contain; use ARNs instead"
            ),
        )),
    }
}

/// Keeps the CAs that the event names, each once.
fn narrow(
    configured: Vec<CertificateAuthorityArn>,
    named: &[String],
    trigger: &Trigger,
) -> Result<Vec<CertificateAuthorityArn>, InvocationError> {
    let mut selected: Vec<CertificateAuthorityArn> = Vec::new();
    let mut unknown = Vec::new();
    for name in named {
        let is_named = |arn: &&CertificateAuthorityArn| arn.as_str() == name || arn.id() == name;
        match configured.iter().find(is_named) {
            Some(arn) if selected.contains(arn) => {}
            Some(arn) => selected.push(arn.clone()),
            None => unknown.push(name.as_str()),
        }
    }
    let unknown = unknown.join(", ");
    if !unknown.is_empty() && *trigger == Trigger::Manual {
        return Err(InvocationError::new(
            "EventInvalid",
            format!(
                "certificateAuthorityArns names {unknown}, which CERTIFICATE_AUTHORITY_ARNS does not list; nothing was done"
            ),
        ));
    }
    if !unknown.is_empty() {
        info!(unknown, "event ignored: its CA is not configured");
    }
    Ok(selected)
}
