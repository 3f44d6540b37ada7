//! Chooses the CAs that an invocation covers.

use std::collections::BTreeSet;
use std::future::ready;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use lambda_runtime::Diagnostic;
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::audit::{Run, Target};
use crate::audit_message::AuditMessage;
use crate::aws::account_cache::{MAX_AGE, TagLookup};
use crate::aws::certificate_authorities::{ListedCa, list, log_skipped};
use crate::budget::Budget;
use crate::config::Tag;
use crate::error::{AuditError, invocation_error};
use crate::event::{Mode, Trigger};
use crate::state::health::HealthDocument;
use crate::state::store::{CONCURRENT_READS, READ_TIMEOUT};

/// Maximum concurrent `ListTags` requests, which are paced: as many as the client sends.
const CONCURRENT_LOOKUPS: usize = 64;

/// Maximum CAs that a warning names.
const MAX_NAMED: usize = 3;

/// The CAs that an invocation covers.
#[derive(Default)]
pub(crate) struct Targets {
    pub audits: Vec<Target>,
    /// With `*`: every CA that the account owns in the region.
    pub listed: Option<Vec<ListedCa>>,
    /// With a tag: the CAs without it.
    pub untagged: BTreeSet<CertificateAuthorityArn>,
    /// With a tag: CAs of which nothing says whether they are to be audited. They are not audited, but
    /// have not left either.
    pub undecided: BTreeSet<CertificateAuthorityArn>,
    /// What could not be found out about the CAs.
    pub warnings: Vec<String>,
}

impl Targets {
    fn of(audits: Vec<Target>) -> Self {
        Self {
            audits,
            ..Self::default()
        }
    }

    /// With `*`, lists the CAs of the account again; returns those of these CAs that have not left after
    /// all, because the first list lacked them.
    ///
    /// # Errors
    /// If that is unknown.
    pub async fn relist(
        &self,
        run: &Run<'_>,
        budget: Budget,
        stopped: &BTreeSet<CertificateAuthorityArn>,
    ) -> Result<Vec<CertificateAuthorityArn>, String> {
        let listed = match list(run.clients, run.names).await {
            // Private CA lists deleted CAs as well, for a week at least.
            Ok(listed) if listed.is_empty() => return Err("Private CA lists none".to_owned()),
            Ok(listed) => listed,
            Err(error) => return Err(error.to_string()),
        };
        let auditable = listed.into_iter().filter(ListedCa::is_auditable);
        let auditable = auditable.map(|ca| ca.arn);
        let mut there = Vec::new();
        for arn in auditable.filter(|arn| stopped.contains(arn) && !self.untagged.contains(arn)) {
            let has_left = match &run.config.certificate_authority_tag {
                Some(tag) => {
                    let has_tag = tag_lookup(run, tag, budget).has_tag(&arn).await;
                    !has_tag.map_err(|error| error.to_string())?
                }
                None => false,
            };
            if !has_left {
                there.push(arn);
            }
        }
        Ok(there)
    }

    /// Checks that it is known which CAs to audit, as far as needed: a CA that the event names, or at
    /// least one. Warns about the others.
    fn check_unknown(
        &mut self,
        unknown: &[(CertificateAuthorityArn, AuditError)],
        tag: &Tag,
        are_named: bool,
    ) -> Result<(), Diagnostic> {
        let Some((_, error)) = unknown.first() else {
            return Ok(());
        };
        let problem = format!(
            "unknown whether {} the tag {tag}: {}",
            have(unknown),
            error.message
        );
        let left_out = self.undecided.len();
        if left_out > 0 && (are_named || self.audits.is_empty()) {
            let message = format!("{problem}; nothing was done. {}", error.hint);
            return Err(invocation_error(error.kind.name(), message));
        }
        let audited = unknown.len() - left_out;
        let result = match (audited, left_out) {
            (_, 0) => "Audited all the same, as before.".to_owned(),
            (0, _) => "Not audited; the next run tries again.".to_owned(),
            _ => format!(
                "{audited} audited all the same, as before; {left_out} not audited, the next run tries again."
            ),
        };
        let warning = format!("{problem}. {result} {}", error.hint);
        warn!(warning, "tags of CAs unknown");
        self.warnings.push(warning);
        Ok(())
    }

    /// Returns the CAs that have not left, if these are the targets of a run that covers every CA.
    pub fn watched(&self) -> BTreeSet<CertificateAuthorityArn> {
        let audits = self.audits.iter().map(|target| &target.arn);
        audits.chain(&self.undecided).cloned().collect()
    }
}

/// Returns the subject of a sentence about what CAs have, and its verb.
fn have(cas: &[(CertificateAuthorityArn, AuditError)]) -> String {
    let shown = cas.iter().take(MAX_NAMED).map(|(arn, _)| arn.id());
    let shown = shown.collect::<Vec<_>>().join(", ");
    match (cas.len(), cas.len().saturating_sub(MAX_NAMED)) {
        (1, _) => format!("{shown} has"),
        (number, 0) => format!("{number} CAs ({shown}) have"),
        (number, more) => format!("{number} CAs ({shown} and {more} more) have"),
    }
}

/// Returns the CAs that an invocation covers: the configured ones, or those of them that the event
/// names.
///
/// # Errors
/// If AWS does not list the CAs, or a manual event names one that is not configured.
pub(crate) async fn targets(run: &Run<'_>) -> Result<Targets, Diagnostic> {
    targets_of(run, run.request.certificate_authorities.as_deref()).await
}

/// Returns the configured CAs, or those of them with these ARNs or IDs.
///
/// # Errors
/// Like [`targets`].
pub(crate) async fn targets_of(
    run: &Run<'_>,
    named: Option<&[String]>,
) -> Result<Targets, Diagnostic> {
    let mut targets = match &run.config.certificate_authorities {
        None => targets_of_account(run, named).await?,
        Some(names) => Targets::of(accepting(resolve_all(names, run)?)),
    };
    if let Some(named) = named {
        targets.audits = narrow(&targets.audits, named, run)?;
    }
    Ok(targets)
}

/// Returns targets of whose CAs reports may be requested.
fn accepting(arns: impl IntoIterator<Item = CertificateAuthorityArn>) -> Vec<Target> {
    let target = |arn| Target {
        arn,
        accepts_requests: true,
    };
    arns.into_iter().map(target).collect()
}

/// Returns the CAs of the account, or those of them that are named. CAs that are not to be audited are
/// covered until their pending report is read.
///
/// If `ListTags` fails for a CA, it is unknown whether it has the tag. If it was audited so far, it still
/// is: its revocations must not wait, and it has not left. Otherwise it may belong to another stack, whose
/// reports and alerts an audit would disturb, so it is left to the next run.
async fn targets_of_account(
    run: &Run<'_>,
    named: Option<&[String]>,
) -> Result<Targets, Diagnostic> {
    let listed = listing(run, named).await?;
    let concerned = listed.iter().filter(|ca| {
        named.is_none_or(|named| named.iter().any(|name| is_named(&ca.arn, name.trim())))
    });
    let (auditable, skipped): (Vec<_>, Vec<_>) = concerned.partition(|ca| ca.is_auditable());
    let arns = |cas: Vec<&ListedCa>| cas.into_iter().map(|ca| ca.arn.clone()).collect();
    let (auditable, mut rest): (Vec<_>, Vec<_>) = (arns(auditable), arns(skipped));
    let tag = run.config.certificate_authority_tag.as_ref();
    let by_tag = match tag {
        None => ByTag::all(auditable),
        Some(tag) => look_up_tags(run, tag, auditable).await,
    };
    let (audited, undecided) = audited_so_far(run, &by_tag.unknown).await;
    rest.extend(by_tag.untagged.iter().chain(&undecided).cloned());
    let mut targets = Targets {
        audits: accepting(by_tag.tagged.into_iter().chain(audited)),
        untagged: by_tag.untagged,
        undecided,
        ..Targets::default()
    };
    for arn in unfinished(run, rest).await {
        targets.undecided.remove(&arn);
        targets.audits.push(Target {
            arn,
            accepts_requests: false,
        });
    }
    if let Some(tag) = tag {
        targets.check_unknown(&by_tag.unknown, tag, named.is_some())?;
    }
    targets.listed = Some(listed);
    Ok(targets)
}

/// Returns the CAs of the account. A list of the last minutes is enough if messages of the audit queue
/// ask for the audits of the named CAs and the list has them; otherwise it is a new one, because the
/// dispatch may have seen newer CAs.
async fn listing(run: &Run<'_>, named: Option<&[String]>) -> Result<Vec<ListedCa>, Diagnostic> {
    if named.is_some_and(<[String]>::is_empty) {
        return Ok(Vec::new());
    }
    let now = run.budget.now();
    if let (Some(named), Some(recent)) = (named, run.account_cache.listing(now)) {
        let is_enough = |name: &String| {
            let mut cas = recent.iter().filter(|ca| ca.is_auditable());
            let ca = cas.find(|ca| is_named(&ca.arn, name.trim()));
            ca.is_some_and(|ca| run.request.trigger.audit_since(&ca.arn).is_some())
        };
        if named.iter().all(is_enough) {
            return Ok(recent);
        }
    }
    let listed = list(run.clients, run.names).await.map_err(|error| {
        let message = format!("{}. {}", error.message, error.hint);
        invocation_error(error.kind.name(), message)
    })?;
    log_skipped(&listed);
    run.account_cache.set_listing(&listed, now);
    Ok(listed)
}

/// CAs by whether they have the tag.
struct ByTag {
    tagged: Vec<CertificateAuthorityArn>,
    untagged: BTreeSet<CertificateAuthorityArn>,
    unknown: Vec<(CertificateAuthorityArn, AuditError)>,
}

impl ByTag {
    fn all(tagged: Vec<CertificateAuthorityArn>) -> Self {
        Self {
            tagged,
            untagged: BTreeSet::new(),
            unknown: Vec::new(),
        }
    }
}

/// Returns a lookup of tags. A manual run looks up every CA: the person may just have tagged one.
pub(crate) fn tag_lookup<'a>(run: &Run<'a>, tag: &'a Tag, budget: Budget) -> TagLookup<'a> {
    TagLookup {
        cache: run.account_cache,
        clients: run.clients,
        tag,
        budget,
        max_age: match run.request.trigger {
            Trigger::Manual => Duration::ZERO,
            _ => MAX_AGE,
        },
    }
}

/// Finds out which CAs have the tag.
async fn look_up_tags(run: &Run<'_>, tag: &Tag, arns: Vec<CertificateAuthorityArn>) -> ByTag {
    let lookup = &tag_lookup(run, tag, run.budget);
    let mut by_tag = ByTag::all(Vec::new());
    let mut lookups = stream::iter(arns)
        .map(|arn| async move { (lookup.has_tag(&arn).await, arn) })
        .buffered(CONCURRENT_LOOKUPS);
    while let Some((has_tag, arn)) = lookups.next().await {
        match has_tag {
            Ok(true) => by_tag.tagged.push(arn),
            Ok(false) => drop(by_tag.untagged.insert(arn)),
            Err(error) => by_tag.unknown.push((arn, error)),
        }
        // A sample revocation needs one CA.
        if run.request.mode == Mode::TestMessage && !by_tag.tagged.is_empty() {
            break;
        }
    }
    by_tag
}

/// Returns those of the CAs that were audited so far, and the others. A message of the audit queue says
/// so, or the health document; without one, the CA's state.
async fn audited_so_far(
    run: &Run<'_>,
    unknown: &[(CertificateAuthorityArn, AuditError)],
) -> (
    Vec<CertificateAuthorityArn>,
    BTreeSet<CertificateAuthorityArn>,
) {
    let arns = unknown.iter().map(|(arn, _)| arn.clone());
    let is_dispatched = |arn: &CertificateAuthorityArn| is_dispatched(&run.request.trigger, arn);
    let (mut audited, rest): (Vec<_>, Vec<_>) = arns.partition(is_dispatched);
    if rest.is_empty() {
        return (audited, BTreeSet::new());
    }
    let health = tokio::time::timeout(READ_TIMEOUT, run.store.read_health()).await;
    let health = health.ok().and_then(Result::ok);
    let health = health.filter(|health| !health.certificate_authorities.is_empty());
    let health = health.as_ref();
    let rest: Vec<_> = stream::iter(rest)
        .map(|arn| async move { (was_audited(run, health, &arn).await, arn) })
        .buffered(CONCURRENT_READS)
        .collect()
        .await;
    let mut undecided = BTreeSet::new();
    for (was_audited, arn) in rest {
        match was_audited {
            true => audited.push(arn),
            false => drop(undecided.insert(arn)),
        }
    }
    (audited, undecided)
}

/// Whether a dispatch covered the CA, and sent the message that this invocation is about.
fn is_dispatched(trigger: &Trigger, arn: &CertificateAuthorityArn) -> bool {
    let mut messages = trigger.audit_messages().into_iter();
    messages.any(|message| match message {
        AuditMessage::Audit {
            certificate_authority_arn,
            ..
        } => certificate_authority_arn == arn,
        AuditMessage::Dispatch {
            certificate_authority_ids,
            ..
        } => certificate_authority_ids.iter().any(|id| id == arn.id()),
        AuditMessage::CompareHealth { .. } => false,
    })
}

async fn was_audited(
    run: &Run<'_>,
    health: Option<&HealthDocument>,
    arn: &CertificateAuthorityArn,
) -> bool {
    if let Some(health) = health {
        let watched = health.certificate_authorities.get(arn);
        return watched.is_some_and(|watched| watched.is_watched);
    }
    let state = run.store.load_in_time(arn, run.budget.now()).await;
    state.is_ok_and(|state| state.control.last_complete_audit.is_some())
}

/// Returns those of the CAs whose state has a pending report, which must be read even if the CA is
/// deleted, or whose state cannot be read in time.
async fn unfinished(
    run: &Run<'_>,
    skipped: Vec<CertificateAuthorityArn>,
) -> Vec<CertificateAuthorityArn> {
    stream::iter(skipped)
        .map(|arn| async move {
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

fn is_named(arn: &CertificateAuthorityArn, name: &str) -> bool {
    arn.as_str() == name || arn.id() == name
}

/// Returns the CAs that the event names, each once.
pub(crate) fn narrow(
    configured: &[Target],
    named: &[String],
    run: &Run<'_>,
) -> Result<Vec<Target>, Diagnostic> {
    let mut selected: Vec<Target> = Vec::new();
    let mut unknown = Vec::new();
    for name in named.iter().map(|name| name.trim()) {
        match configured.iter().find(|target| is_named(&target.arn, name)) {
            Some(target) if selected.iter().any(|one| one.arn == target.arn) => {}
            Some(target) => selected.push(target.clone()),
            None => unknown.push(name),
        }
    }
    let unknown = unknown.join(", ");
    if !unknown.is_empty() && run.request.trigger == Trigger::Manual {
        let why = match &run.config.certificate_authority_tag {
            Some(tag) => format!(
                "which CERTIFICATE_AUTHORITY_ARNS and CERTIFICATE_AUTHORITY_TAG ({tag}) do not select ({{\"status\": true}} shows which CAs have the tag)"
            ),
            None => "which CERTIFICATE_AUTHORITY_ARNS does not list".to_owned(),
        };
        let message = format!("certificateAuthorityArns names {unknown}, {why}; nothing was done");
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
