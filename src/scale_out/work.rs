//! Does the work of the audit queue's messages, and decides what becomes of each.

use std::time::{Duration, SystemTime};

use lambda_runtime::Diagnostic;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::audit::{AuditResult, Run, audit_all};
use crate::audit_message::AuditMessage;
use crate::budget::Budget;
use crate::config::Config;
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::event::QueuedMessage;
use crate::health::Health;
use crate::response::{AuditResponse, Outcome, Response};
use crate::scale_out::dispatch::{add_states, dispatch, read_states};
use crate::scale_out::plan::{COMPARISON_DELAY, Delayed, MAX_DELAY, comparison, interval, until};
use crate::scale_out::queue::Queue;
use crate::state::control::CLOCK_TOLERANCE;
use crate::targets::Targets;
use crate::timestamp::Timestamp;

/// Time after the next schedule in which messages of the one before are still worked on.
const GRACE: Duration = Duration::from_secs(15 * 60);

/// Delays while a report is not there or another run holds the CA; the last one repeats.
const WAITS: [Duration; 5] = [
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
];

/// Delays after failed attempts; one more sends the message to the dead-letter queue.
const RETRIES: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(240),
    Duration::from_secs(480),
];

/// What becomes of a message after its work.
#[derive(Debug, PartialEq, Eq)]
enum Disposition {
    Delete,
    SendAgain(Delayed),
    DeadLetter(AuditMessage),
}

impl Disposition {
    /// Returns the message that takes the place of the one that was worked on.
    fn message(&self) -> Option<&AuditMessage> {
        match self {
            Self::Delete => None,
            Self::SendAgain(delayed) => Some(&delayed.message),
            Self::DeadLetter(message) => Some(message),
        }
    }
}

/// Returns the messages of a batch without those that nothing is to be done for.
pub(crate) fn current(
    mut queued: Vec<QueuedMessage>,
    config: &Config,
    now: Timestamp,
) -> Vec<QueuedMessage> {
    queued.retain(|queued| {
        let message = queued.audit_message();
        let why = message.and_then(|message| Some((message, why_deleted(message, now, config)?)));
        let Some((message, why)) = why else {
            return true;
        };
        info!(
            sqs_message_id = queued.message_id,
            body = message.to_json(),
            "message deleted from the queue: {why}"
        );
        false
    });
    queued
}

/// Returns why nothing is to be done for a message, if that is so.
fn why_deleted(message: &AuditMessage, now: Timestamp, config: &Config) -> Option<&'static str> {
    if is_of_future(message, now) {
        return Some("its scheduledAt or notBefore is in the future");
    }
    let is_audit = matches!(message, AuditMessage::Audit { .. });
    let is_superseded = is_audit && is_over(message.scheduled_at(), now, config);
    is_superseded.then_some("superseded by the next schedule")
}

/// Whether no dispatch can have sent this message by now: it would be sent again and again.
fn is_of_future(message: &AuditMessage, now: Timestamp) -> bool {
    let latest = now.saturating_add(CLOCK_TOLERANCE);
    let is_too_late = matches!(message, AuditMessage::CompareHealth { not_before, .. }
        if *not_before > latest.saturating_add(MAX_DELAY + COMPARISON_DELAY));
    message.scheduled_at() > latest || is_too_late
}

/// Whether the next schedule has had its time for audits since this one: it has the same audits.
fn is_over(scheduled_at: Timestamp, now: Timestamp, config: &Config) -> bool {
    now > scheduled_at.saturating_add(interval(config) + GRACE)
}

/// What the work of messages results in.
pub(crate) struct Worked {
    /// `None` if there was nothing to do yet.
    pub response: Option<Response>,
    /// The IDs of the messages that stay in the queue, because none could be sent in their place.
    pub kept: Vec<String>,
}

/// Does the work of this program's own messages: audits, or one other message.
pub(crate) async fn work(
    run: &Run<'_>,
    budget: Budget,
    targets: impl Future<Output = Result<Targets, Diagnostic>>,
) -> Worked {
    let queued = run.request.trigger.queued().iter();
    let messages: Vec<_> = queued
        .filter_map(|queued| Some((queued.message_id.as_str(), queued.audit_message()?)))
        .collect();
    match messages[..] {
        [(id, message)] if !matches!(message, AuditMessage::Audit { .. }) => {
            let (response, disposition) = follow_up(run, budget, message, targets).await;
            let kept = carry_out(run, budget, vec![(id, disposition)]).await;
            Worked { response, kept }
        }
        _ => {
            let results = audit(run, targets).await;
            let now = run.budget.clock();
            let dispositions = messages.iter().map(|&(id, message)| {
                let disposition = match result_of(message, &results) {
                    Some(result) => disposition(message, result, now),
                    None => not_configured(id, message),
                };
                (id, disposition)
            });
            let kept = carry_out(run, budget, dispositions.collect()).await;
            let shown = results.into_iter().map(|result| result.response);
            let shown = shown.filter(|response| response.outcome != Outcome::Skipped);
            let response = Some(Response::new(false, shown.collect()));
            Worked { response, kept }
        }
    }
}

/// Audits the CAs that messages name. If the CAs cannot be selected, each audit fails.
async fn audit(
    run: &Run<'_>,
    targets: impl Future<Output = Result<Targets, Diagnostic>>,
) -> Vec<AuditResult> {
    match targets.await {
        Ok(targets) => {
            let (found, _) = mpsc::unbounded_channel();
            // Boxed: it is as large as an audit.
            Box::pin(audit_all(run, &targets.audits, &found)).await
        }
        Err(error) => not_selected(run, &error),
    }
}

/// Returns the failed audits of the CAs that messages name, after an error of listing the CAs or their
/// tags.
fn not_selected(run: &Run<'_>, error: &Diagnostic) -> Vec<AuditResult> {
    let named = run.request.certificate_authorities.iter().flatten();
    warn!(
        certificate_authorities = ?named.clone().collect::<Vec<_>>(),
        error_type = error.error_type,
        error = error.error_message,
        "audit failed: CAs not selected"
    );
    let known = ErrorKind::ALL.iter().copied();
    let kind = known
        .into_iter()
        .find(|kind| kind.name() == error.error_type);
    let kind = kind.unwrap_or(ErrorKind::RequestRejected);
    let error = AuditError::new(kind, &error.error_message).unconfirmed();
    named
        .filter_map(|name| CertificateAuthorityArn::parse(name))
        .map(|arn| AuditResponse::failed(arn, error.clone()).into())
        .collect()
}

fn result_of<'a>(message: &AuditMessage, results: &'a [AuditResult]) -> Option<&'a AuditResult> {
    let mut results = results.iter();
    results.find(|result| match message {
        AuditMessage::Audit {
            certificate_authority_arn,
            ..
        } => *certificate_authority_arn == result.response.certificate_authority_arn,
        _ => false,
    })
}

fn not_configured(id: &str, message: &AuditMessage) -> Disposition {
    info!(
        sqs_message_id = id,
        body = message.to_json(),
        "message deleted from the queue: CERTIFICATE_AUTHORITY_ARNS and CERTIFICATE_AUTHORITY_TAG no longer select its CA"
    );
    Disposition::Delete
}

/// Decides what becomes of a message after the audit that it asked for.
fn disposition(message: &AuditMessage, result: &AuditResult, now: SystemTime) -> Disposition {
    let AuditResult { response, control } = result;
    match (response.outcome, &response.error) {
        (Outcome::TooSoon, _) => {
            let next = response.next_report_at.map(SystemTime::from);
            let left = next.map_or(Duration::ZERO, |next| until(next, now));
            send_again(message.clone(), left)
        }
        (Outcome::Waiting, _) if response.refused_by_aws => {
            wait(message.clone(), spread(&response.certificate_authority_arn))
        }
        (Outcome::Waiting | Outcome::Busy, _) => wait(message.clone(), 0),
        (Outcome::Failed, Some(error)) if error.is_retryable => retry(message.clone()),
        // Nobody would learn of it before the audit is overdue.
        (Outcome::Failed, Some(error))
            if control.is_none() && error.remedy() == Remedy::Operator =>
        {
            retry(message.clone())
        }
        // An error that needs operator action is recorded, and the next schedule tries again.
        (Outcome::Failed | Outcome::Audited | Outcome::Skipped | Outcome::Queued, _) => {
            Disposition::Delete
        }
    }
}

fn send_again(mut message: AuditMessage, delay: Duration) -> Disposition {
    // The slot was for the first attempt.
    if let AuditMessage::Audit { slot_millis, .. } = &mut message {
        *slot_millis = None;
    }
    Disposition::SendAgain(Delayed::new(message, delay))
}

/// Sends a message again after its next wait, longer by that many hundredths.
fn wait(mut message: AuditMessage, longer: u32) -> Disposition {
    let AuditMessage::Audit { waits, .. } = &mut message else {
        return Disposition::Delete;
    };
    let delay = WAITS[WAITS.len().min(*waits as usize + 1) - 1];
    *waits = waits.saturating_add(1);
    send_again(message, delay + delay * longer / 100)
}

/// Returns a number below 100 for a CA, so that requests that came at the same time do not come at the
/// same time again.
fn spread(arn: &CertificateAuthorityArn) -> u32 {
    let digits = arn.id().chars().filter_map(|digit| digit.to_digit(16));
    digits.fold(0, |number, digit| (number * 16 + digit) % 997) % 100
}

/// Sends a message again after a failed attempt, to the dead-letter queue after the last one.
fn retry(mut message: AuditMessage) -> Disposition {
    let failures = message.failures_mut();
    let delay = RETRIES.get(*failures as usize).copied();
    *failures = failures.saturating_add(1);
    match delay {
        Some(delay) => send_again(message, delay),
        None => Disposition::DeadLetter(message),
    }
}

/// Does what follows the audits of a dispatch, once it is due: the next dispatch, or the comparison.
/// Without a queue, the next schedule audits all CAs.
async fn follow_up(
    run: &Run<'_>,
    budget: Budget,
    message: &AuditMessage,
    targets: impl Future<Output = Result<Targets, Diagnostic>>,
) -> (Option<Response>, Disposition) {
    if let Some(instead) = instead(run, message) {
        return (None, instead);
    }
    let targets = match targets.await {
        Ok(targets) => targets,
        Err(error) => {
            warn!(
                body = message.to_json(),
                error_type = error.error_type,
                error = error.error_message,
                "follow-up failed: CAs not selected"
            );
            return (None, retry(message.clone()));
        }
    };
    let work = async {
        match (message, &run.config.audit_queue) {
            (AuditMessage::CompareHealth { .. }, _) => Some(compare(run, budget, &targets).await),
            (_, Some(queue)) => Some(dispatch(run, budget, &targets, queue).await),
            (_, None) => {
                info!(
                    "dispatch ignored: AUDIT_QUEUE_URL is not set; the next schedule has the same work"
                );
                None
            }
        }
    };
    // Boxed: an audit must not be as large as these.
    let mut response = Box::pin(work).await;
    if let Some(response) = &mut response {
        response.add_warnings(&targets.warnings);
    }
    (response, Disposition::Delete)
}

/// Returns what becomes of a message whose work is not done: a comparison that is not due, or a dispatch
/// that comes too late.
fn instead(run: &Run<'_>, message: &AuditMessage) -> Option<Disposition> {
    let (clock, now) = (run.budget.clock(), run.budget.now());
    match message {
        AuditMessage::CompareHealth { not_before, .. } => {
            let early = until((*not_before).into(), clock);
            let is_early = early >= Duration::from_secs(1);
            is_early.then(|| send_again(message.clone(), early))
        }
        // The next schedule has its audits, but a backlog delays the comparison of each schedule.
        AuditMessage::Dispatch { scheduled_at, .. } if is_over(*scheduled_at, now, run.config) => {
            info!(%scheduled_at, "dispatch superseded by the next schedule; comparing at once");
            let comparison = comparison(*scheduled_at, now);
            Some(send_again(comparison, Duration::ZERO))
        }
        _ => None,
    }
}

/// Compares the health document after the audits of a schedule, as at the end of a run of all CAs.
async fn compare(run: &Run<'_>, budget: Budget, targets: &Targets) -> Response {
    let states = read_states(run, &targets.audits).await;
    let mut results = Vec::new();
    add_states(&mut results, &states);
    let mut health = Health::new(run, budget, targets);
    health.at_end(&mut results).await;
    let mut response = Response::new(false, Vec::new());
    response.health_errors = Some(!health.warnings.is_empty());
    response.warnings = health.warnings;
    response
}

/// Sends messages in the place of those whose work is done for now; returns the IDs of those that must
/// stay in the queue, because that failed.
async fn carry_out(
    run: &Run<'_>,
    budget: Budget,
    dispositions: Vec<(&str, Disposition)>,
) -> Vec<String> {
    let mut kept = Vec::new();
    for (id, disposition) in dispositions {
        let body = disposition.message().map(AuditMessage::to_json);
        if let Err(error) = replace(run, budget, id, disposition).await {
            warn!(
                sqs_message_id = id,
                body, error, "message stays in the queue; SQS delivers it again"
            );
            kept.push(id.to_owned());
        }
    }
    kept
}

/// Sends what takes the place of a message.
///
/// # Errors
/// Why the message must stay in the queue.
async fn replace(
    run: &Run<'_>,
    budget: Budget,
    id: &str,
    disposition: Disposition,
) -> Result<(), String> {
    let is_dead = matches!(disposition, Disposition::DeadLetter(_));
    let message = match disposition {
        Disposition::Delete => return Ok(()),
        Disposition::SendAgain(message) => message,
        Disposition::DeadLetter(message) => Delayed::new(message, Duration::ZERO),
    };
    let body = message.message.to_json();
    let Some(queue) = &run.config.audit_queue else {
        info!(
            sqs_message_id = id,
            body,
            "message deleted from the queue: AUDIT_QUEUE_URL is not set; the next schedule has the same work"
        );
        return Ok(());
    };
    let url = match (is_dead, &queue.dead_letters_url) {
        (false, _) => &queue.url,
        (true, Some(url)) => url,
        (true, None) => {
            return Err(
                "too many failed attempts, and AUDIT_DEAD_LETTER_QUEUE_URL is not set; set it to the URL of the dead-letter queue"
                    .to_owned(),
            );
        }
    };
    let queue = Queue {
        sqs: &run.clients.sqs,
        url,
        budget: &budget,
    };
    queue.send(&message).await.map_err(|error| error.message)?;
    let delay_seconds = message.delay.as_secs();
    match is_dead {
        true => warn!(
            body,
            queue = url,
            "message sent to the dead-letter queue: too many failed attempts"
        ),
        false => info!(body, delay_seconds, "message sent again"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::control::Control;

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-21T04:10:00Z").unwrap()
    }

    fn arn() -> CertificateAuthorityArn {
        CertificateAuthorityArn::parse(CA).unwrap()
    }

    fn message(waits: u32, failures: u32) -> AuditMessage {
        AuditMessage::Audit {
            scheduled_at: Timestamp::parse("2026-11-21T04:00:00Z").unwrap(),
            certificate_authority_arn: arn(),
            waits,
            failures,
            slot_millis: None,
        }
    }

    /// Decides after an audit whose result is in the state.
    fn decide(message: &AuditMessage, response: &AuditResponse) -> Disposition {
        let arn = response.certificate_authority_arn.clone();
        let result = AuditResult {
            response: response.clone(),
            control: Some(Control::new(arn, now())),
        };
        decide_after(message, &result)
    }

    fn decide_after(message: &AuditMessage, result: &AuditResult) -> Disposition {
        // Half a second later.
        let now = SystemTime::from(now()) + Duration::from_millis(500);
        disposition(message, result, now)
    }

    fn too_soon(seconds: u64) -> AuditResponse {
        let mut response = AuditResponse::new(arn(), Outcome::TooSoon);
        response.next_report_at = Some(now().saturating_add(Duration::from_secs(seconds)));
        response
    }

    fn failed(kind: ErrorKind) -> AuditResponse {
        AuditResponse::failed(arn(), AuditError::new(kind, "message"))
    }

    fn again(waits: u32, failures: u32, seconds: u64) -> Disposition {
        send_again(message(waits, failures), Duration::from_secs(seconds))
    }

    #[test]
    fn complete_audit_deletes_the_message() {
        for outcome in [Outcome::Audited, Outcome::Skipped] {
            let response = AuditResponse::new(arn(), outcome);
            assert_eq!(decide(&message(3, 2), &response), Disposition::Delete);
        }
    }

    #[test]
    fn too_soon_is_sent_again_for_the_whole_seconds_left() {
        for (left, delay) in [(0, 0), (1, 0), (2, 1), (90, 89), (901, 900), (1500, 900)] {
            let decided = decide(&message(3, 2), &too_soon(left));
            assert_eq!(decided, again(3, 2, delay), "{left} seconds left");
        }
    }

    #[test]
    fn waits_grow_up_to_five_minutes() {
        for outcome in [Outcome::Waiting, Outcome::Busy] {
            let response = AuditResponse::new(arn(), outcome);
            let mut delays = Vec::new();
            for waits in 0..7 {
                let decided = decide(&message(waits, 1), &response);
                let Disposition::SendAgain(sent) = decided else {
                    panic!("{decided:?}")
                };
                assert_eq!(sent.message, message(waits + 1, 1));
                delays.push(sent.delay.as_secs());
            }
            assert_eq!(delays, [15, 30, 60, 120, 300, 300, 300]);
        }
        let decided = decide(
            &message(u32::MAX, 0),
            &AuditResponse::new(arn(), Outcome::Busy),
        );
        assert_eq!(decided, again(u32::MAX, 0, 300));
    }

    #[test]
    fn throttled_audits_wait_for_different_times_and_do_not_fail() {
        let throttled = |first: u32| {
            let id = format!("{first:08x}-1234-1122-2233-112233445566");
            let arn = CertificateAuthorityArn::from_parts("aws", "us-east-1", "123456789012", &id);
            let mut response = AuditResponse::new(arn, Outcome::Waiting);
            response.refused_by_aws = true;
            response
        };
        let mut delays = std::collections::BTreeSet::new();
        for first in 0..100 {
            let decided = decide(&message(2, 4), &throttled(first * 0x0101_0101));
            let Disposition::SendAgain(sent) = decided else {
                panic!("{decided:?}")
            };
            assert_eq!(sent.message, message(3, 4));
            assert!((60..120).contains(&sent.delay.as_secs()), "{sent:?}");
            delays.insert(sent.delay);
        }
        assert!(delays.len() > 30, "{delays:?}");
    }

    #[test]
    fn fifth_failed_attempt_goes_to_the_dead_letter_queue() {
        let failed = failed(ErrorKind::Unavailable);
        for (failures, delay) in [(0, 60), (1, 120), (2, 240), (3, 480)] {
            let decided = decide(&message(2, failures), &failed);
            assert_eq!(decided, again(2, failures + 1, delay));
        }
        let dead = Disposition::DeadLetter(message(2, 5));
        assert_eq!(decide(&message(2, 4), &failed), dead);
    }

    #[test]
    fn error_that_needs_an_operator_deletes_the_message() {
        let denied = failed(ErrorKind::AccessDenied);
        assert_eq!(decide(&message(0, 0), &denied), Disposition::Delete);
        let mut unconfirmed = denied;
        unconfirmed.error = unconfirmed.error.map(AuditError::unconfirmed);
        assert_eq!(decide(&message(0, 0), &unconfirmed), again(0, 1, 60));
    }

    #[test]
    fn error_that_no_state_records_is_tried_again() {
        let unrecorded = failed(ErrorKind::AccessDenied).into();
        let decided = decide_after(&message(0, 0), &unrecorded);
        assert_eq!(decided, again(0, 1, 60));
        // Another delivery of the same message goes on.
        let mut outpaced = failed(ErrorKind::StateConflict);
        outpaced.error = outpaced.error.map(AuditError::confirmed);
        let decided = decide_after(&message(0, 0), &outpaced.into());
        assert_eq!(decided, Disposition::Delete);
    }

    #[test]
    fn throttling_of_other_calls_is_a_failure() {
        let throttled = failed(ErrorKind::Throttled);
        assert_eq!(decide(&message(2, 1), &throttled), again(2, 2, 120));
    }

    #[test]
    fn messages_are_over_15_minutes_after_the_next_schedule() {
        let variables = |name: &str| {
            let value = match name {
                "AWS_REGION" => "us-east-1",
                "CERTIFICATE_AUTHORITY_ARNS" => "*",
                "REPORT_BUCKET" => "amzn-s3-demo-bucket",
                "TOPIC_ARN" => "arn:aws:sns:us-east-1:123456789012:revocations",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let mut config = Config::from_lookup(variables).unwrap();
        let scheduled_at = now();
        let later = |minutes: u64| {
            let later = Duration::from_secs(60 * minutes + 1);
            scheduled_at.saturating_add(later)
        };
        let audit = AuditMessage::audit(scheduled_at, arn(), None);
        let follow_ups = [
            AuditMessage::Dispatch {
                scheduled_at,
                certificate_authority_ids: Vec::new(),
                failures: 0,
            },
            comparison(scheduled_at, scheduled_at),
        ];
        let is_over = |minutes: u64, config: &Config| {
            for follow_up in &follow_ups {
                assert_eq!(why_deleted(follow_up, later(minutes), config), None);
            }
            why_deleted(&audit, later(minutes), config).is_some()
        };
        assert_eq!((is_over(44, &config), is_over(45, &config)), (false, true));
        config.audit_interval = Some(Duration::from_secs(3600));
        assert_eq!((is_over(74, &config), is_over(75, &config)), (false, true));
    }
}
