//! Chooses the CAs that an invocation covers.

use std::future::ready;

use futures_util::stream::{self, StreamExt};
use lambda_runtime::Diagnostic;
use tracing::info;

use crate::arn::CertificateAuthorityArn;
use crate::audit::{Run, Target};
use crate::aws::certificate_authorities::{ListedCa, list, log_skipped};
use crate::error::invocation_error;
use crate::event::Trigger;
use crate::state::store::CONCURRENT_READS;

/// The CAs that an invocation covers.
pub(crate) struct Targets {
    pub audits: Vec<Target>,
    /// With `*`: every CA that the account owns in the region.
    pub listed: Option<Vec<ListedCa>>,
}

/// Returns the CAs that an invocation covers: the configured ones, or those of them that the event
/// names.
///
/// # Errors
/// If AWS does not list the CAs, or a manual event names one that is not configured.
pub(crate) async fn targets(run: &Run<'_>) -> Result<Targets, Diagnostic> {
    let target = |arn, accepts_requests| Target {
        arn,
        accepts_requests,
    };
    let mut listed = None;
    let configured: Vec<Target> = match &run.config.certificate_authorities {
        None => {
            let cas = list(run.clients, run.names).await.map_err(|error| {
                let message = format!("{}. {}", error.message, error.hint);
                invocation_error(error.kind.name(), message)
            })?;
            log_skipped(&cas);
            listed = Some(cas.clone());
            let (auditable, skipped): (Vec<_>, Vec<_>) =
                cas.into_iter().partition(ListedCa::is_auditable);
            let unfinished = unfinished(run, skipped).await;
            let auditable = auditable.into_iter().map(|ca| target(ca.arn, true));
            let unfinished = unfinished.into_iter().map(|arn| target(arn, false));
            auditable.chain(unfinished).collect()
        }
        Some(names) => resolve_all(names, run)?
            .into_iter()
            .map(|arn| target(arn, true))
            .collect(),
    };
    let audits = match &run.request.certificate_authorities {
        Some(named) => narrow(&configured, named, &run.request.trigger)?,
        None => configured,
    };
    Ok(Targets { audits, listed })
}

/// Returns those of the CAs whose state has a pending report, which must be read even if the CA is
/// deleted, or whose state cannot be read in time.
async fn unfinished(run: &Run<'_>, skipped: Vec<ListedCa>) -> Vec<CertificateAuthorityArn> {
    stream::iter(skipped)
        .map(|ListedCa { arn, .. }| async move {
            let state = run.store.load_in_time(&arn, run.budget.now()).await;
            let is_finished = state.is_ok_and(|state| state.control.pending_report.is_none());
            (!is_finished).then_some(arn)
        })
        .buffered(CONCURRENT_READS)
        .filter_map(ready)
        .collect()
        .await
}

/// Returns the ARNs of the configured CAs.
///
/// # Errors
/// If one of them is not a CA of the function's own account.
pub(crate) fn resolve_all(
    listed: &[String],
    run: &Run<'_>,
) -> Result<Vec<CertificateAuthorityArn>, Diagnostic> {
    let function_arn = &run.invocation.function_arn;
    let resolved = listed.iter().map(|listed| resolve(listed, function_arn));
    resolved.collect()
}

/// Returns the ARN of a configured CA; an ID is one of the function's own account and region.
fn resolve(listed: &str, function_arn: &str) -> Result<CertificateAuthorityArn, Diagnostic> {
    let own = match function_arn.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "lambda", region, account, ..] => Some((partition, region, account)),
        _ => None,
    };
    match (CertificateAuthorityArn::parse(listed), own) {
        (Some(arn), Some((_, _, account))) if arn.account() != account => Err(invalid(format!(
            "{listed} belongs to account {}, but the function runs in {account}, and only the owner of a CA can request its audit reports; remove it from the list and deploy a stack in its account",
            arn.account()
        ))),
        (Some(arn), _) => Ok(arn),
        (None, Some((partition, region, account))) => Ok(CertificateAuthorityArn::from_parts(
            partition, region, account, listed,
        )),
        (None, None) => Err(invalid(format!(
            "the ID {listed} needs the function's account, which its ARN {function_arn:?} does not contain; use ARNs instead"
        ))),
    }
}

fn invalid(problem: String) -> Diagnostic {
    let message = format!("CERTIFICATE_AUTHORITY_ARNS: {problem}");
    invocation_error("ConfigurationInvalid", message)
}

/// Returns the CAs that the event names, each once.
pub(crate) fn narrow(
    configured: &[Target],
    named: &[String],
    trigger: &Trigger,
) -> Result<Vec<Target>, Diagnostic> {
    let mut selected: Vec<Target> = Vec::new();
    let mut unknown = Vec::new();
    for name in named.iter().map(|name| name.trim()) {
        let is_named = |target: &&Target| target.arn.as_str() == name || target.arn.id() == name;
        match configured.iter().find(is_named) {
            Some(target) if selected.iter().any(|one| one.arn == target.arn) => {}
            Some(target) => selected.push(target.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:watch";
    const ID: &str = "11223344-1234-1122-2233-112233445566";

    fn arn(account: &str) -> String {
        format!("arn:aws:acm-pca:us-east-1:{account}:certificate-authority/{ID}")
    }

    #[test]
    fn listed_ca_belongs_to_the_function_account() {
        for listed in [ID, &arn("123456789012")] {
            let resolved = resolve(listed, FUNCTION).unwrap();
            assert_eq!(resolved.as_str(), arn("123456789012"));
        }
        let refused = resolve(&arn("111122223333"), FUNCTION).unwrap_err();
        assert_eq!(refused.error_type, "ConfigurationInvalid");
        for named in [
            "CERTIFICATE_AUTHORITY_ARNS",
            "111122223333",
            "deploy a stack",
        ] {
            assert!(refused.error_message.contains(named), "{refused:?}");
        }
    }

    #[test]
    fn function_of_an_unknown_account_needs_full_arns() {
        assert!(resolve(&arn("111122223333"), "watch").is_ok());
        assert!(resolve(ID, "watch").is_err());
    }
}
