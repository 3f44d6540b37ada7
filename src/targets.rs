//! Chooses the CAs that an invocation covers.

use lambda_runtime::Diagnostic;
use tracing::info;

use crate::arn::CertificateAuthorityArn;
use crate::audit::Run;
use crate::aws::certificate_authorities::list_auditable;
use crate::error::invocation_error;
use crate::event::Trigger;

/// Returns the CAs that an invocation covers: the configured ones, or those of them that the event
/// names.
///
/// # Errors
/// If AWS does not list the CAs, or a manual event names one that is not configured.
pub(crate) async fn targets(run: &Run<'_>) -> Result<Vec<CertificateAuthorityArn>, Diagnostic> {
    let configured = match &run.config.certificate_authorities {
        None => {
            let listed = list_auditable(run.clients, run.names).await;
            listed.map_err(|error| {
                let message = format!("{}. {}", error.message, error.hint);
                invocation_error(error.kind.name(), message)
            })?
        }
        Some(listed) => listed
            .iter()
            .map(|listed| resolve(listed, &run.invocation.function_arn))
            .collect::<Result<_, _>>()?,
    };
    match &run.request.certificate_authorities {
        Some(named) => narrow(&configured, named, &run.request.trigger),
        None => Ok(configured),
    }
}

/// Returns the ARN of a configured CA; an ID is one of the function's own account and region.
fn resolve(listed: &str, function_arn: &str) -> Result<CertificateAuthorityArn, Diagnostic> {
    if let Some(arn) = CertificateAuthorityArn::parse(listed) {
        return Ok(arn);
    }
    match function_arn.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "lambda", region, account, ..] => Ok(
            CertificateAuthorityArn::from_parts(partition, region, account, listed),
        ),
        _ => Err(invocation_error(
            "ConfigurationInvalid",
            format!(
                "CERTIFICATE_AUTHORITY_ARNS: the ID {listed} needs the function's account, which its ARN {function_arn:?} does not contain; use ARNs instead"
            ),
        )),
    }
}

/// Returns the CAs that the event names, each once.
fn narrow(
    configured: &[CertificateAuthorityArn],
    named: &[String],
    trigger: &Trigger,
) -> Result<Vec<CertificateAuthorityArn>, Diagnostic> {
    let mut selected: Vec<CertificateAuthorityArn> = Vec::new();
    let mut unknown = Vec::new();
    for name in named.iter().map(|name| name.trim()) {
        let is_named = |arn: &&CertificateAuthorityArn| arn.as_str() == name || arn.id() == name;
        match configured.iter().find(is_named) {
            Some(arn) if selected.contains(arn) => {}
            Some(arn) => selected.push(arn.clone()),
            None => unknown.push(name),
        }
    }
    let unknown = unknown.join(", ");
    if !unknown.is_empty() && *trigger == Trigger::Manual {
        let message = format!(
            "certificateAuthorityArns names {unknown}, which CERTIFICATE_AUTHORITY_ARNS does not list; nothing was done"
        );
        return Err(invocation_error("EventInvalid", message));
    }
    if !unknown.is_empty() {
        info!(unknown, "event ignored: its CA is not configured");
    }
    Ok(selected)
}
