//! When the audits of a dispatch start.

use std::time::{Duration, SystemTime};

use crate::audit::Target;
use crate::audit_message::AuditMessage;
use crate::config::Config;
use crate::error::AuditError;
use crate::report::request::REQUEST_PACE;
use crate::state::control::Control;
use crate::timestamp::Timestamp;

/// Maximum delay of a message (Amazon SQS Developer Guide, "Amazon SQS message quotas").
pub(super) const MAX_DELAY: Duration = Duration::from_secs(900);

/// Number of audits whose slots are within [`MAX_DELAY`].
const SLOTS: usize = (MAX_DELAY.as_millis() / REQUEST_PACE.as_millis()) as usize;

/// Time between the delivery of a message and its slot at least: late deliveries and cold starts would
/// otherwise bring requests too close together for Private CA's limit of one per second.
const SLOT_MARGIN: Duration = Duration::from_millis(500);

/// Slot of the first audit of a repeated dispatch. The messages of the attempt before are in the same
/// order: a worker that reads the state up to 1.5 seconds before its slot has to see their requests.
const FIRST_SLOT_OF_A_RETRY: Duration = Duration::from_secs(4);

/// Time that the last audit gets before the comparison.
pub(super) const COMPARISON_DELAY: Duration = Duration::from_secs(900);

/// Time between two schedules if the configuration does not say: that of the template's default.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Returns the time between two schedules.
pub(super) fn interval(config: &Config) -> Duration {
    config.audit_interval.unwrap_or(DEFAULT_INTERVAL)
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delayed {
    pub message: AuditMessage,
    /// Whole seconds, at most [`MAX_DELAY`].
    pub delay: Duration,
}

impl Delayed {
    /// Delays a message by the whole seconds of a duration, rounded down, at most [`MAX_DELAY`].
    pub fn new(message: AuditMessage, delay: Duration) -> Self {
        let delay = Duration::from_secs(delay.min(MAX_DELAY).as_secs());
        Self { message, delay }
    }
}

/// A CA to audit, and its control document unless it could not be read.
pub(super) type Candidate = (Target, Result<Control, AuditError>);

/// The messages of a dispatch.
#[derive(Debug)]
pub(super) struct Plan {
    /// One message for each of the first CAs: each has a slot, unless it accepts no requests.
    pub audits: Vec<Delayed>,
    /// The CAs of `audits`, then those of the next dispatch.
    pub order: Vec<Target>,
    /// The next dispatch or, after the last one, the comparison.
    pub follow_up: Delayed,
}

impl Plan {
    /// Gives the CA whose report was requested first the first slot. Lambda's retry of a dispatch sends
    /// equivalent messages: only their slots may differ, because they depend on the states.
    pub fn new(
        candidates: &[Candidate],
        scheduled_at: Timestamp,
        now: SystemTime,
        report_interval: Duration,
    ) -> Self {
        let mut sorted: Vec<&Candidate> = candidates.iter().collect();
        sorted.sort_by_key(|(target, control)| {
            let control = control.as_ref().ok();
            let last = control.and_then(|control| {
                Some((control.last_requested_at?, control.last_requested_at_millis))
            });
            (last, &target.arn)
        });
        let mut free = if is_retry(candidates, scheduled_at) {
            FIRST_SLOT_OF_A_RETRY
        } else {
            SLOT_MARGIN
        };
        let audits: Vec<_> = sorted
            .iter()
            .take(SLOTS)
            .map(|candidate| {
                let (target, _) = candidate;
                let message = |slot| AuditMessage::audit(scheduled_at, target.arn.clone(), slot);
                if !target.accepts_requests {
                    return Delayed::new(message(None), Duration::ZERO);
                }
                // Next requests may be close together, and between those of CAs that may request now.
                let slot = free.max(until_next_request(candidate, now, report_interval));
                free = slot + REQUEST_PACE;
                Delayed::new(message(Some(slot)), slot.saturating_sub(SLOT_MARGIN))
            })
            .collect();
        let order: Vec<_> = sorted.iter().map(|(target, _)| target.clone()).collect();
        let follow_up = match &order[audits.len()..] {
            [] => compare_after(&audits, scheduled_at, now),
            rest => Delayed::new(
                AuditMessage::Dispatch {
                    scheduled_at,
                    certificate_authority_ids: ids(rest),
                    failures: 0,
                },
                MAX_DELAY,
            ),
        };
        Self {
            audits,
            order,
            follow_up,
        }
    }
}

fn ids(targets: &[Target]) -> Vec<String> {
    let ids = targets.iter().map(|target| target.arn.id().to_owned());
    ids.collect()
}

/// Whether reports were requested since the schedule, so that messages of an attempt before may be in the
/// queue.
fn is_retry(candidates: &[Candidate], scheduled_at: Timestamp) -> bool {
    let mut controls = candidates
        .iter()
        .filter_map(|(_, control)| control.as_ref().ok());
    controls.any(|control| control.last_requested_at >= Some(scheduled_at))
}

/// Returns the time until Private CA accepts the next request; zero if it is not known.
fn until_next_request(
    (_, control): &Candidate,
    now: SystemTime,
    report_interval: Duration,
) -> Duration {
    let control = control.as_ref().ok();
    let next = control.and_then(|control| control.next_request_at(now, report_interval));
    next.map_or(Duration::ZERO, |next| until(next, now))
}

/// Returns the comparison after the last of these audits.
fn compare_after(audits: &[Delayed], scheduled_at: Timestamp, now: SystemTime) -> Delayed {
    let last = audits.iter().map(|audit| audit.delay).max();
    let not_before = Timestamp::from(now + last.unwrap_or_default() + COMPARISON_DELAY);
    Delayed::new(
        comparison(scheduled_at, not_before),
        until(not_before.into(), now),
    )
}

/// Returns the message of the comparison after the audits of a schedule.
pub(super) fn comparison(scheduled_at: Timestamp, not_before: Timestamp) -> AuditMessage {
    AuditMessage::CompareHealth {
        scheduled_at,
        not_before,
        failures: 0,
    }
}

/// Returns the time until `at`; zero if it is over.
pub(super) fn until(at: SystemTime, now: SystemTime) -> Duration {
    at.duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arn::CertificateAuthorityArn;
    use crate::error::ErrorKind;

    const INTERVAL: Duration = Duration::from_secs(1800);

    fn now() -> SystemTime {
        Timestamp::parse("2026-11-21T04:00:00Z").unwrap().into()
    }

    fn arn(number: usize) -> CertificateAuthorityArn {
        let id = format!("{number:08}-1234-1122-2233-112233445566");
        CertificateAuthorityArn::from_parts("aws", "us-east-1", "123456789012", &id)
    }

    /// Returns a CA whose last report was requested that long ago.
    fn candidate(number: usize, requested_ago: Option<Duration>) -> Candidate {
        let arn = arn(number);
        let mut control = Control::new(arn.clone(), now().into());
        if let Some(ago) = requested_ago {
            let at = now() - ago;
            let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            control.last_requested_at = Some(at.into());
            control.last_requested_at_millis = since_1970.subsec_millis();
        }
        let accepts_requests = true;
        (
            Target {
                arn,
                accepts_requests,
            },
            Ok(control),
        )
    }

    fn plan(candidates: &[Candidate]) -> Plan {
        Plan::new(candidates, now().into(), now(), INTERVAL)
    }

    fn new_cas(count: usize) -> Vec<Candidate> {
        (0..count).map(|number| candidate(number, None)).collect()
    }

    /// Returns number and delay of each CA with a slot.
    fn slots(plan: &Plan) -> Vec<(usize, u64)> {
        let number = |message: &AuditMessage| match message {
            AuditMessage::Audit {
                certificate_authority_arn,
                waits: 0,
                failures: 0,
                ..
            } => certificate_authority_arn.id()[..8].parse().unwrap(),
            other => panic!("{other:?}"),
        };
        let audits = plan.audits.iter();
        audits
            .map(|audit| (number(&audit.message), audit.delay.as_secs()))
            .collect()
    }

    #[test]
    fn oldest_request_has_the_first_slot() {
        let hours = |hours: u64| Some(Duration::from_secs(3600 * hours));
        let unreadable = AuditError::new(ErrorKind::StateUnreadable, "unreadable");
        let mut candidates = vec![
            candidate(0, hours(1)),
            candidate(1, hours(3)),
            candidate(2, hours(3).map(|ago| ago + Duration::from_millis(1))),
            candidate(3, None),
            candidate(5, None),
            candidate(4, hours(9)),
        ];
        candidates[5].1 = Err(unreadable);

        let plan = plan(&candidates);

        assert_eq!(
            slots(&plan),
            [(3, 0), (4, 1), (5, 2), (2, 3), (1, 4), (0, 5)]
        );
    }

    #[test]
    fn delays_are_whole_seconds_rounded_down() {
        let plan = plan(&new_cas(21));
        let last = &slots(&plan)[18..];
        assert_eq!(
            last,
            [(18, 18), (19, 19), (20, 21)],
            "18.90, 19.95 and 21.00"
        );
    }

    #[test]
    fn later_of_slot_and_next_request_counts() {
        let millis_left = |millis| Some(INTERVAL - Duration::from_millis(millis));
        let plan = plan(&[
            candidate(0, Some(INTERVAL * 2)),
            candidate(1, millis_left(500)),
            candidate(2, millis_left(30_900)),
            candidate(3, millis_left(1_000_000)),
        ]);
        assert_eq!(slots(&plan), [(0, 0), (1, 1), (2, 30), (3, 900)]);
    }

    #[test]
    fn slots_are_apart_although_next_requests_are_not() {
        let millis_left = |millis| Some(INTERVAL - Duration::from_millis(millis));
        let plan = plan(&[
            candidate(0, millis_left(30_500)),
            candidate(1, millis_left(30_600)),
            candidate(2, millis_left(31_700)),
            candidate(3, millis_left(40_000)),
        ]);
        let slots = plan.audits.iter().map(|audit| match audit.message {
            AuditMessage::Audit { slot_millis, .. } => slot_millis.unwrap(),
            _ => panic!("{audit:?}"),
        });
        assert_eq!(slots.collect::<Vec<_>>(), [30_500, 31_550, 32_600, 40_000]);
    }

    #[test]
    fn retry_starts_after_the_requests_of_the_attempt_before() {
        let requested = candidate(0, Some(Duration::from_secs(30)));
        let candidates = [requested, candidate(1, None), candidate(2, None)];
        let scheduled_before = |seconds| {
            let scheduled_at = now() - Duration::from_secs(seconds);
            slots(&Plan::new(
                &candidates,
                scheduled_at.into(),
                now(),
                INTERVAL,
            ))
        };
        assert_eq!(scheduled_before(60), [(1, 3), (2, 4), (0, 900)]);
        assert_eq!(scheduled_before(0), [(1, 0), (2, 1), (0, 900)]);
    }

    #[test]
    fn ca_that_accepts_no_requests_needs_no_slot() {
        let requested_ago = |number, intervals| candidate(number, Some(INTERVAL * intervals));
        let mut candidates = [
            requested_ago(0, 9),
            requested_ago(1, 8),
            requested_ago(2, 7),
            candidate(3, Some(Duration::from_secs(60))),
        ];
        for deleted in [1, 3] {
            candidates[deleted].0.accepts_requests = false;
        }

        let plan = plan(&candidates);

        assert_eq!(slots(&plan), [(0, 0), (1, 0), (2, 1), (3, 0)]);
        let has_slot = |audit: &Delayed| match audit.message {
            AuditMessage::Audit { slot_millis, .. } => slot_millis.is_some(),
            _ => panic!("{audit:?}"),
        };
        let have_slots: Vec<_> = plan.audits.iter().map(has_slot).collect();
        assert_eq!(have_slots, [true, false, true, false]);
    }

    #[test]
    fn comparison_follows_the_last_audit_by_15_minutes() {
        let plan = plan(&new_cas(200));
        let AuditMessage::CompareHealth { not_before, .. } = plan.follow_up.message else {
            panic!("{:?}", plan.follow_up)
        };
        let last = slots(&plan)[199].1;
        assert_eq!(last, 208);
        assert_eq!(
            not_before.since(now().into()),
            Duration::from_secs(last) + Duration::from_secs(900)
        );
        assert_eq!(plan.follow_up.delay, MAX_DELAY);
    }

    #[test]
    fn cas_without_a_slot_are_dispatched_later() {
        let exactly = plan(&new_cas(857));
        assert_eq!(slots(&exactly)[856], (856, 898));
        assert!(matches!(
            exactly.follow_up.message,
            AuditMessage::CompareHealth { .. }
        ));

        let more = plan(&new_cas(860));

        assert_eq!(more.audits, exactly.audits);
        assert_eq!(more.order.len(), 860);
        let ids = (857..860).map(|number| arn(number).id().to_owned());
        let expected = AuditMessage::Dispatch {
            scheduled_at: now().into(),
            certificate_authority_ids: ids.collect(),
            failures: 0,
        };
        assert_eq!(more.follow_up, Delayed::new(expected, MAX_DELAY));
    }

    #[test]
    fn equal_states_have_equal_plans_in_any_order() {
        let mut candidates: Vec<_> = (0..900)
            .map(|number| candidate(number, Some(Duration::from_secs(number as u64 % 7 * 600))))
            .collect();
        let first = plan(&candidates);
        candidates.reverse();
        let second = plan(&candidates);
        assert_eq!(first.audits, second.audits);
        assert_eq!(first.follow_up, second.follow_up);
    }
}
