//! Sends the audits of a schedule to the audit queue.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use futures_util::future::join;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::audit::{AuditResult, Run, Target, audit_all};
use crate::budget::Budget;
use crate::config::AuditQueue;
use crate::error::AuditError;
use crate::event::Trigger;
use crate::health::Health;
use crate::response::{AuditResponse, Outcome, Response};
use crate::scale_out::plan::{Candidate, Plan, interval};
use crate::scale_out::queue::{Queue, Sent};
use crate::state::control::{CLOCK_TOLERANCE, Control};
use crate::state::store::CONCURRENT_READS;
use crate::targets::Targets;
use crate::timestamp::Timestamp;

/// What to do if the audit queue does not accept messages.
const HINT: &str = "Check that the queue of AUDIT_QUEUE_URL exists and that the function's role has sqs:SendMessage for it (template parameter ScaleOut)";

/// Returns the queue if a run sends its audits there: a scheduled one of many CAs.
pub(crate) fn queue_for<'a>(run: &Run<'a>, targets: &Targets) -> Option<&'a AuditQueue> {
    let queue = run.config.audit_queue.as_ref()?;
    let is_scheduled = matches!(run.request.trigger, Trigger::Schedule(_));
    (is_scheduled && targets.audits.len() > queue.max_inline).then_some(queue)
}

/// Sends a message for each CA, and announces what earlier runs recorded and could not announce. Audits
/// what it cannot send itself, oldest first, as an invocation without a queue does.
pub(crate) async fn dispatch(
    run: &Run<'_>,
    budget: Budget,
    targets: &Targets,
    queue: &AuditQueue,
) -> Response {
    let states = read_states(run, &targets.audits).await;
    let report_interval = run.config.report_interval;
    let plan = Plan::new(
        &states,
        scheduled_at(run),
        run.budget.clock(),
        report_interval,
    );
    let mut health = Health::new(run, budget, targets);
    let (sent, ()) = join(
        send(run, queue, &plan),
        health.at_start(as_found_by_audits(&states)),
    )
    .await;
    let unsent = unsent(&plan, &sent);
    let is_full = run.request.certificate_authorities.is_none();
    let warning = warning(&sent, unsent.len(), is_full);
    let (audits, _) = sent.split_at(plan.audits.len());
    let sent_audits = audits.iter().filter(|sent| sent.is_ok()).count();
    info!(
        queued = sent_audits,
        unsent = unsent.len(),
        without_slot = plan.order.len() - plan.audits.len(),
        "audits dispatched"
    );
    let mut results = Vec::new();
    if let Some(warning) = &warning {
        warn!(warning, "audits not dispatched");
        let (found, _) = mpsc::unbounded_channel();
        // Boxed: it is as large as an audit.
        results = Box::pin(audit_all(run, &unsent, &found)).await;
        let audited = results.len();
        add_states(&mut results, &states);
        health.at_end(&mut results).await;
        results.truncate(audited);
    }
    let mut response = Response::new(false, responses(&states, results));
    response.health_errors = Some(!health.warnings.is_empty());
    response.dispatch_errors = Some(warning.is_some());
    response.sent_audits = sent_audits;
    response.warnings.extend(warning);
    response.warnings.append(&mut health.warnings);
    response
}

/// Reads the control documents of CAs; a result for each, in their order.
pub(super) async fn read_states(run: &Run<'_>, targets: &[Target]) -> Vec<Candidate> {
    stream::iter(targets)
        .map(|target| async move {
            let state = run.store.load_in_time(&target.arn, run.budget.now()).await;
            if let Err(error) = &state {
                warn!(
                    certificate_authority = target.arn.id(),
                    error = error.message,
                    "state not read; its audit is sent all the same"
                );
            }
            (target.clone(), state.map(|state| state.control))
        })
        .buffered(CONCURRENT_READS)
        .collect()
        .await
}

/// Adds what is known of the CAs that are not among the results, for the comparison.
pub(super) fn add_states(results: &mut Vec<AuditResult>, states: &[Candidate]) {
    let audited = results.iter();
    let audited = audited.map(|result| result.response.certificate_authority_arn.clone());
    let audited: BTreeSet<_> = audited.collect();
    let others = states.iter();
    let others = others.filter(|(target, _)| !audited.contains(&target.arn));
    results.extend(others.map(|(target, control)| match control {
        Ok(control) => AuditResult {
            response: AuditResponse::new(target.arn.clone(), Outcome::Queued),
            control: Some(control.clone()),
        },
        Err(error) => AuditResponse::failed(target.arn.clone(), error.clone()).into(),
    }));
}

/// Returns the time of the schedule's event: Lambda's retry has the same. It is the time of this run if
/// the event has none, or one that would make the messages superseded before their work.
fn scheduled_at(run: &Run<'_>) -> Timestamp {
    let now = run.budget.now();
    let Trigger::Schedule(at) = run.request.trigger else {
        let messages = run.request.trigger.audit_messages();
        return messages.first().map_or(now, |first| first.scheduled_at());
    };
    let is_plausible = |at: &Timestamp| {
        *at <= now.saturating_add(CLOCK_TOLERANCE) && now.since(*at) <= interval(run.config)
    };
    at.filter(is_plausible).unwrap_or(now)
}

/// Sends the messages of a plan; returns what became of its audits, then of what follows them. What
/// follows is sent in a call of its own, whose refusal stops no audit.
async fn send(run: &Run<'_>, queue: &AuditQueue, plan: &Plan) -> Sent {
    let queue = Queue {
        sqs: &run.clients.sqs,
        url: &queue.url,
        budget: &run.budget,
    };
    let follow_up = slice::from_ref(&plan.follow_up);
    let (mut sent, follow_up) = join(queue.send_all(&plan.audits), queue.send_all(follow_up)).await;
    sent.extend(follow_up);
    sent
}

/// Passes states on like audits do that find them.
fn as_found_by_audits(
    states: &[Candidate],
) -> UnboundedReceiver<(CertificateAuthorityArn, Option<Control>)> {
    let (found, receiver) = mpsc::unbounded_channel();
    for (target, control) in states {
        // The receiver is there.
        found
            .send((target.arn.clone(), control.as_ref().ok().cloned()))
            .ok();
    }
    receiver
}

/// Returns the CAs that no message was sent for, in the order of the plan.
fn unsent(plan: &Plan, sent: &Sent) -> Vec<Target> {
    let follow_up = plan.audits.len();
    let by_message = plan.order.iter().enumerate();
    by_message
        .filter(|(position, _)| sent[follow_up.min(*position)].is_err())
        .map(|(_, target)| target.clone())
        .collect()
}

/// Returns what to say about messages that were not sent. A run that continues a dispatch knows only
/// the states of its own CAs.
fn warning(sent: &Sent, unsent: usize, is_full: bool) -> Option<String> {
    let error: &AuditError = sent.iter().find_map(|sent| sent.as_ref().err())?;
    let what = match unsent {
        0 => "the comparison of monitoring changes could not be sent to the audit queue".to_owned(),
        1 => "the audit of 1 CA could not be sent to the audit queue; this run audits it itself"
            .to_owned(),
        count => format!(
            "the audits of {count} CAs could not be sent to the audit queue; this run audits as many of them itself as its time allows"
        ),
    };
    let is_followed = sent.last().is_some_and(Result::is_ok);
    let comparison = match (unsent, is_full) {
        (0, true) => "; this run compares them without the results of the audits",
        (_, false) if !is_followed => {
            "; the next schedule compares the monitoring changes of all CAs"
        }
        _ => "",
    };
    Some(format!("{what}{comparison}. {}. {HINT}", error.message))
}

/// Returns the responses: those of the audits of this run, and `queued` for all others.
fn responses(states: &[Candidate], results: Vec<AuditResult>) -> Vec<AuditResponse> {
    let audited = results.into_iter().map(|result| result.response);
    let mut audited: BTreeMap<_, _> = audited
        .map(|response| (response.certificate_authority_arn.clone(), response))
        .collect();
    let responses = states.iter().map(|(target, control)| {
        audited
            .remove(&target.arn)
            .unwrap_or_else(|| queued(&target.arn, control))
    });
    responses
        .filter(|response| response.outcome != Outcome::Skipped)
        .collect()
}

/// Returns the response for a CA whose audit was sent. If its age is unknown, so is the oldest one.
fn queued(arn: &CertificateAuthorityArn, control: &Result<Control, AuditError>) -> AuditResponse {
    let mut response = AuditResponse::new(arn.clone(), Outcome::Queued);
    match control {
        // A CA whose state was never written would be new in each dispatch, although nothing audits it.
        Ok(control) if control.sequence > 0 => {
            let last = control.last_complete_audit.as_ref();
            response.last_complete_audit_at = last.map(|audit| audit.requested_at);
            let first_seen_at = Some(control.first_seen_at);
            response.stats.unaudited_since = response.last_complete_audit_at.or(first_seen_at);
        }
        Ok(_) => {}
        Err(error) => response.warnings.push(error.to_string()),
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn warning_promises_a_comparison_only_of_all_cas() {
        let error = AuditError::new(ErrorKind::AccessDenied, "denied");
        let sent = vec![Ok(()), Err(error)];
        let (this_run, next) = ("; this run compares", "; the next schedule compares");
        for (unsent, is_full, promised) in [
            (0, true, Some(this_run)),
            (2, true, None),
            (0, false, Some(next)),
            (2, false, Some(next)),
        ] {
            let warning = warning(&sent, unsent, is_full).unwrap();
            for promise in [this_run, next] {
                let is_made = warning.contains(promise);
                assert_eq!(is_made, promised == Some(promise), "{warning}");
            }
        }
        assert_eq!(warning(&vec![Ok(())], 0, true), None);
    }

    #[test]
    fn states_add_the_cas_that_were_not_audited() {
        let at = Timestamp::parse("2026-11-21T04:00:00Z").unwrap();
        let states: Vec<Candidate> = (0..3)
            .map(|number| {
                let id = format!("{number:08}-1234-1122-2233-112233445566");
                let arn =
                    CertificateAuthorityArn::from_parts("aws", "us-east-1", "123456789012", &id);
                let control = match number {
                    2 => Err(AuditError::new(ErrorKind::StateUnreadable, "damaged")),
                    _ => Ok(Control::new(arn.clone(), at)),
                };
                let accepts_requests = true;
                (
                    Target {
                        arn,
                        accepts_requests,
                    },
                    control,
                )
            })
            .collect();
        let audited = AuditResponse::new(states[0].0.arn.clone(), Outcome::Audited);
        let mut results = vec![audited.into()];

        add_states(&mut results, &states);

        let outcomes: Vec<_> = results
            .iter()
            .map(|result| (result.response.outcome, result.control.is_some()))
            .collect();
        let expected = [
            (Outcome::Audited, false),
            (Outcome::Queued, true),
            (Outcome::Failed, false),
        ];
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn age_is_unknown_without_a_state_in_s3() {
        let at = Timestamp::parse("2026-11-21T04:00:00Z").unwrap();
        let id = "11223344-1234-1122-2233-112233445566";
        let arn = CertificateAuthorityArn::from_parts("aws", "us-east-1", "123456789012", id);
        let mut control = Control::new(arn.clone(), at);
        let new = queued(&arn, &Ok(control.clone()));
        assert_eq!((new.stats.unaudited_since, new.warnings), (None, vec![]));

        control.sequence = 1;
        let known = queued(&arn, &Ok(control));
        assert_eq!(known.stats.unaudited_since, Some(at));

        let error = AuditError::new(ErrorKind::StateUnreadable, "damaged");
        let unreadable = queued(&arn, &Err(error));
        assert_eq!(unreadable.stats.unaudited_since, None);
        assert_eq!(unreadable.warnings, ["StateUnreadable: damaged"]);
    }
}
