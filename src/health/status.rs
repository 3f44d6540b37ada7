//! The status that a person asks for: reads state and configuration; audits nothing, publishes
//! nothing, writes nothing and takes no lease.

use futures_util::stream::{self, StreamExt};
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use tokio::join;
use tracing::{info, warn};

use crate::alert::topic::count_subscriptions;
use crate::arn::CertificateAuthorityArn;
use crate::audit::{Run, Target};
use crate::aws::bucket::{encryption, versioning};
use crate::aws::certificate_authorities::{ListedCa, list};
use crate::error::{AuditError, ErrorKind, invocation_error};
use crate::health::findings::findings;
use crate::health::status_response::{
    AnnouncedProblem, AuditsStatus, BucketStatus, CaStatus, ErrorStatus, Known, StackStatus,
    StatusResponse, TopicStatus, heading,
};
use crate::state::control::Control;
use crate::state::health::{HealthDocument, Problem};
use crate::state::store::{CONCURRENT_READS, READ_TIMEOUT};
use crate::targets::{narrow, resolve_all, tag_lookup};
use crate::text::visible::visible;

/// Returns the state of the monitoring, and logs it as a table.
///
/// # Errors
/// If the configured CAs are not the function's own, or the event names others.
pub(crate) async fn status(run: &Run<'_>) -> Result<Value, Diagnostic> {
    let health = run.store.read_health();
    let ((listing, cas), topics, bucket, health) = join!(
        certificate_authorities(run),
        topics(run),
        bucket(run),
        in_time(run, "reading the health document", health),
    );
    let (topic, chat_topic) = topics;
    let mut cas = cas?;
    if let Ok(health) = &health {
        for ca in &mut cas {
            add_unrecorded(ca, health);
            if let Some(Err(_)) = ca.has_tag {
                ca.audited = is_watched(ca, health);
            }
        }
    }
    let announced_problems = health.map(|health| announced_problems(&health));
    if run.request.certificate_authorities.is_none() {
        let is_left = |ca: &CaStatus| ca.is_unfinished() || is_announced(ca, &announced_problems);
        cas.retain(|ca| !is_gone(ca) || is_left(ca));
    }
    let stack = StackStatus {
        topic,
        chat_topic,
        bucket,
        state: run.stack.state.clone(),
        announced_problems,
        listing,
        certificate_authority_tag: run.config.certificate_authority_tag.clone(),
        is_full: run.request.certificate_authorities.is_none(),
        audit_interval: run.config.audit_interval,
    };
    let response = StatusResponse::new(findings(&stack, &cas), stack, cas);
    log(&response, run);
    Ok(json!(response))
}

/// Whether a CA of `*` is deleted: Private CA lists it until the end of its restoration period.
fn is_gone(ca: &CaStatus) -> bool {
    !ca.audited && ca.status.as_deref() == Ok("DELETED")
}

fn is_announced(ca: &CaStatus, problems: &Known<Vec<AnnouncedProblem>>) -> bool {
    let mut problems = problems.iter().flatten();
    problems.any(|problem| {
        let arns = &problem.certificate_authority_arns;
        arns.contains(&ca.certificate_authority_arn)
    })
}

/// Returns the status of each CA that the event covers, and whether the CAs could be listed.
async fn certificate_authorities(run: &Run<'_>) -> (Known<()>, Result<Vec<CaStatus>, Diagnostic>) {
    let listing = in_time(
        run,
        "ListCertificateAuthorities",
        list(run.clients, run.names),
    )
    .await;
    let cas = match covered(run, &listing) {
        Ok(covered) => Ok(stream::iter(covered)
            .map(|target| certificate_authority(run, target, &listing))
            .buffered(CONCURRENT_READS)
            .collect()
            .await),
        Err(error) => Err(error),
    };
    (listing.map(drop), cas)
}

/// Returns the CAs that the event covers; with `*`, those in every status.
fn covered(run: &Run<'_>, listing: &Known<Vec<ListedCa>>) -> Result<Vec<Target>, Diagnostic> {
    let named = &run.request.certificate_authorities;
    let configured: Vec<Target> = match (&run.config.certificate_authorities, listing) {
        (Some(configured), _) => resolve_all(configured, run)?
            .into_iter()
            .map(|arn| Target {
                arn,
                accepts_requests: true,
            })
            .collect(),
        (None, Ok(listed)) => listed
            .iter()
            .map(|ca| Target {
                arn: ca.arn.clone(),
                accepts_requests: ca.is_auditable(),
            })
            .collect(),
        // The CAs that the event names may be others.
        (None, Err(error)) if named.is_some() => {
            let message = format!("{}. {}", error.message, error.hint);
            return Err(invocation_error(error.kind.name(), message));
        }
        (None, Err(_)) => Vec::new(),
    };
    match named {
        Some(named) => narrow(&configured, named, run),
        None => Ok(configured),
    }
}

async fn certificate_authority(
    run: &Run<'_>,
    target: Target,
    listing: &Known<Vec<ListedCa>>,
) -> CaStatus {
    let Target {
        arn,
        accepts_requests,
    } = target;
    let has_tag = match &run.config.certificate_authority_tag {
        Some(tag) if accepts_requests => Some(tag_lookup(run, tag, run.budget).has_tag(&arn).await),
        _ => None,
    };
    let now = run.budget.now();
    let what = format!("reading the state of {arn}");
    let (audits, error) = match in_time(run, &what, run.store.load(&arn, now)).await {
        Ok(state) => {
            let audits = audits(run, &state.control);
            (Some(audits), ErrorStatus::of(&state.control))
        }
        Err(error) => (None, Some(error.into())),
    };
    let listed = listed(listing, &arn);
    let status = listed.as_ref().map_err(Clone::clone).map(|ca| {
        let status = ca.status.as_ref();
        status
            .map_or("no status", |status| status.as_str())
            .to_owned()
    });
    CaStatus {
        name: listed
            .as_ref()
            .ok()
            .and_then(|ca| ca.name.as_deref().map(visible)),
        status,
        audited: accepts_requests && !matches!(has_tag, Some(Ok(false))),
        has_tag,
        audits,
        error,
        revocation_checking: listed.map(|ca| ca.checking.into()),
        certificate_authority_arn: arn,
    }
}

fn audits(run: &Run<'_>, control: &Control) -> AuditsStatus {
    let (clock, interval) = (run.budget.clock(), run.config.report_interval);
    let next_report_at = control.next_request_at(clock, interval);
    AuditsStatus::new(control, clock.into(), next_report_at.map(Into::into))
}

/// Returns a CA as Private CA lists it.
fn listed<'a>(
    listing: &'a Known<Vec<ListedCa>>,
    arn: &CertificateAuthorityArn,
) -> Known<&'a ListedCa> {
    let listed = listing.as_ref().map_err(Clone::clone)?;
    listed.iter().find(|ca| ca.arn == *arn).ok_or_else(|| {
        let message = format!("ListCertificateAuthorities does not list {arn}");
        AuditError::new(ErrorKind::CertificateAuthorityNotFound, message)
    })
}

/// Returns the topic and the chat topic.
async fn topics(run: &Run<'_>) -> (TopicStatus, Option<TopicStatus>) {
    let status = async |sns, arn: &str| TopicStatus {
        arn: arn.to_owned(),
        subscriptions: in_time(run, "GetTopicAttributes", count_subscriptions(sns, arn)).await,
    };
    let (config, clients) = (run.config, run.clients);
    let chat = async {
        let arn = config.chat_topic_arn.as_deref()?;
        Some(status(clients.chat_sns.as_ref()?, arn).await)
    };
    join!(status(&clients.sns, &config.topic_arn), chat)
}

async fn bucket(run: &Run<'_>) -> BucketStatus {
    let (s3, name) = (&run.clients.s3, run.config.report_bucket.as_str());
    let (versioning, encryption) = join!(
        in_time(run, "GetBucketVersioning", versioning(s3, name)),
        in_time(run, "GetBucketEncryption", encryption(s3, name)),
    );
    BucketStatus {
        name: name.to_owned(),
        versioning,
        encryption,
    }
}

/// Whether the CA is watched; if its tag is unknown, it is audited then.
fn is_watched(ca: &CaStatus, health: &HealthDocument) -> bool {
    let watched = &health.certificate_authorities;
    let watched = watched.get(&ca.certificate_authority_arn);
    watched.is_some_and(|watched| watched.is_watched)
}

/// Adds the error that a CA's control document cannot record.
fn add_unrecorded(ca: &mut CaStatus, health: &HealthDocument) {
    let unrecorded = health.unrecorded.get(&ca.certificate_authority_arn);
    if let Some(known) = unrecorded {
        ca.error.get_or_insert_with(|| known.error.clone().into());
    }
}

/// Returns the problems that people were notified about and that are not over.
fn announced_problems(health: &HealthDocument) -> Vec<AnnouncedProblem> {
    health.problems.iter().filter_map(announced).collect()
}

fn announced(problem: &Problem) -> Option<AnnouncedProblem> {
    let certificate_authority_arns: Vec<_> = problem.open().cloned().collect();
    (!certificate_authority_arns.is_empty()).then(|| AnnouncedProblem {
        kind: problem.kind.clone(),
        resource: problem.resource.clone(),
        since: problem.since,
        certificate_authority_arns,
    })
}

/// Ends a read in time for the response, even if AWS does not respond: it is unknown then.
async fn in_time<T>(run: &Run<'_>, what: &str, read: impl Future<Output = Known<T>>) -> Known<T> {
    let limit = READ_TIMEOUT.min(run.budget.time_to_respond());
    // Boxed: many are in memory at once, each as large as its deepest await.
    tokio::time::timeout(limit, Box::pin(read))
        .await
        .unwrap_or_else(|_| {
            let message = format!(
                "{what} failed: no response within {} seconds",
                limit.as_secs()
            );
            Err(AuditError::new(ErrorKind::Unavailable, message))
        })
}

/// Logs the table, and then the findings: the Lambda console shows the end of the log.
fn log(response: &StatusResponse, run: &Run<'_>) {
    info!("{}", heading());
    for ca in &response.certificate_authorities {
        info!(
            certificate_authority = ca.certificate_authority_arn.id(),
            "{ca}"
        );
    }
    for finding in &response.findings {
        warn!(finding, "status finding");
    }
    info!(
        request_id = run.invocation.request_id,
        status = response.status,
        certificate_authorities = response.certificate_authorities.len(),
        findings = response.findings.len(),
        version = response.version,
        commit = response.commit,
        duration_seconds = run.budget.elapsed().as_secs_f64(),
        "status finished"
    );
}
