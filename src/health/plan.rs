//! Compares what CAs are like with what was announced: what is to be announced now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::alert::FirstAudit;
use crate::arn::CertificateAuthorityArn;
use crate::error::{AuditError, ErrorKind};
use crate::health::overdue::Overdue;
use crate::state::control::{Control, CurrentError, SeenError};
use crate::state::health::{Condition, HealthDocument, Problem, UnrecordedError};
use crate::timestamp::Timestamp;

/// How much earlier than due a summary may come, unless its interval is short.
const SUMMARY_TOLERANCE: Duration = Duration::from_secs(1800);

/// What a run knows of a CA.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    /// Its control document, which says whether it has an error.
    Recorded(Box<Control>),
    /// An error that needs an operator and that its control document cannot record.
    Unrecorded(AuditError, CurrentError),
    /// Nothing: another run audits it, or AWS did not respond.
    Unknown,
}

/// What a run knows, by CA.
pub(super) type Facts = BTreeMap<CertificateAuthorityArn, Fact>;

/// What a comparison depends on besides the facts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub now: Timestamp,
    /// When the run began: other runs may know CAs since then.
    pub began: Timestamp,
    pub request_id: &'a str,
    pub report_interval: Duration,
    pub initial_lookback: Duration,
    /// The topic, and whether its own errors are left out: they may be over soon.
    pub topic_arn: &'a str,
    pub is_start: bool,
    /// All CAs that are watched, if the run knows all: those that are not among them left.
    pub watched: Option<&'a BTreeSet<CertificateAuthorityArn>>,
    /// How often a summary is sent, if this run may send one.
    pub summary_interval: Option<Duration>,
    /// When an audit is overdue, if this run may say so.
    pub overdue: Option<Overdue<'a>>,
}

/// What is to be announced, and the document that says what is about to be.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub document: HealthDocument,
    /// The errors of all CAs that have one.
    pub errors: BTreeMap<CertificateAuthorityArn, CurrentError>,
    /// CAs whose errors turned out to need an operator, because an earlier run saw them.
    pub confirmed: Vec<CertificateAuthorityArn>,
    /// CAs whose condition changed.
    pub changed: BTreeSet<CertificateAuthorityArn>,
    /// Errors about which the topic cannot deliver a message.
    pub silenced: Vec<CurrentError>,
    pub started: BTreeMap<CertificateAuthorityArn, FirstAudit>,
    pub stopped: BTreeSet<CertificateAuthorityArn>,
    pub is_summary_due: bool,
}

impl Plan {
    /// Compares the facts with the document.
    pub fn new(document: &HealthDocument, facts: &Facts, now: Circumstances<'_>) -> Self {
        let last_summary = document.last_summary_at;
        // Runs of one schedule do not compare at the same second of an hour.
        let is_summary_due = now.summary_interval.is_some_and(|interval| {
            let early = interval - SUMMARY_TOLERANCE.min(interval / 10);
            last_summary.is_none_or(|last| now.now.since(last) >= early)
        });
        let mut plan = Self {
            document: document.clone(),
            errors: BTreeMap::new(),
            confirmed: Vec::new(),
            changed: BTreeSet::new(),
            silenced: Vec::new(),
            started: BTreeMap::new(),
            stopped: BTreeSet::new(),
            is_summary_due,
        };
        // One that is left is that of a dead run.
        plan.document.lease = None;
        plan.document.forget_left(now.now);
        let known: BTreeSet<_> = document.known(now.began).collect();
        for &arn in &known {
            let has_left = now.watched.is_some_and(|watched| !watched.contains(arn));
            if has_left && plan.document.stop(arn, now.now) {
                plan.stopped.insert(arn.clone());
            }
        }
        for (arn, fact) in facts {
            match fact {
                Fact::Recorded(control) => plan.compare(arn, control, now),
                Fact::Unrecorded(error, current) => plan.remember(arn, error, current, now),
                Fact::Unknown => {}
            }
        }
        let problems = plan.document.problems.iter_mut();
        problems.for_each(|problem| problem.recovering |= problem.is_over());
        plan
    }

    /// Compares a CA's control document.
    fn compare(
        &mut self,
        arn: &CertificateAuthorityArn,
        control: &Control,
        now: Circumstances<'_>,
    ) {
        // What a CA recorded before it left may be over: this run's audit shows that, if there is one.
        if now.is_start && self.document.has_left(arn) {
            return;
        }
        // At the start, a run cannot tell yet whether the control document can be written again.
        if !now.is_start {
            self.document.unrecorded.remove(arn);
        }
        let last = control.last_complete_audit.as_ref();
        let audited_at = last.map(|audit| audit.requested_at);
        // People who know of another error know that there is no audit.
        let recorded = control.error.as_ref();
        let is_known = recorded.is_some_and(|error| !ErrorKind::silences_the_topic(&error.kind));
        let overdue = now.overdue.filter(|_| !is_known);
        let overdue = overdue.and_then(|overdue| overdue.error(control));
        self.observe(arn, overdue.as_ref().or(recorded), audited_at, now);
        if let Some(last) = last
            && self.document.start(arn, last.requested_at, now.now)
        {
            let first = FirstAudit {
                certificates: last.certificates,
                revoked: last.revoked,
                notify_from: control.first_seen_at.saturating_sub(now.initial_lookback),
            };
            self.started.insert(arn.clone(), first);
            self.changed.insert(arn.clone());
        }
    }

    /// Remembers the error of a CA whose control document cannot record it.
    fn remember(
        &mut self,
        arn: &CertificateAuthorityArn,
        error: &AuditError,
        current: &CurrentError,
        now: Circumstances<'_>,
    ) {
        let unrecorded = &mut self.document.unrecorded;
        let known = unrecorded.get(arn).cloned();
        let mut known = match known.filter(|known| known.error.is_same(current)) {
            Some(known) => known,
            None => UnrecordedError {
                error: current.clone(),
                unconfirmed: error
                    .is_unconfirmed
                    .then(|| SeenError::new(&current.kind, now.now, now.request_id)),
            },
        };
        let is_confirmed = known.unconfirmed.as_ref().is_none_or(|seen| {
            !error.is_unconfirmed
                || seen.is_confirmed_by(now.request_id, now.now, now.report_interval)
        });
        if is_confirmed {
            known.unconfirmed = None;
        }
        let current = known.error.clone();
        unrecorded.insert(arn.clone(), known);
        if is_confirmed {
            self.confirmed.push(arn.clone());
            self.observe(arn, Some(&current), None, now);
        }
    }

    fn observe(
        &mut self,
        arn: &CertificateAuthorityArn,
        error: Option<&CurrentError>,
        audited_at: Option<Timestamp>,
        now: Circumstances<'_>,
    ) {
        let is_of_topic = |error: &&CurrentError| error.resource.as_deref() == Some(now.topic_arn);
        if let Some(error) = error.filter(is_of_topic) {
            if ErrorKind::silences_the_topic(&error.kind) {
                if !self.silenced.iter().any(|known| known.is_same(error)) {
                    self.silenced.push(error.clone());
                }
                return;
            }
            if now.is_start {
                return;
            }
        }
        if let Some(error) = error {
            self.errors.insert(arn.clone(), error.clone());
        }
        let condition = Condition { error, audited_at };
        if self.document.observe(arn, condition) {
            self.changed.insert(arn.clone());
        }
    }

    /// Whether there is something to publish.
    pub fn announces(&self) -> bool {
        let mut problems = self.document.problems.iter();
        let is_pending = |problem: &Problem| problem.is_over() || !self.added(problem).is_empty();
        problems.any(is_pending)
            || !self.started.is_empty()
            || !self.stopped.is_empty()
            || self.is_summary_due
    }

    /// Returns the CAs for which a problem is to be announced: this run knows that they have it.
    pub fn added(&self, problem: &Problem) -> Vec<CertificateAuthorityArn> {
        let affected = problem.certificate_authorities.iter();
        let added = affected.filter(|(arn, affected)| {
            let error = self.errors.get(arn);
            let is_current = error.is_some_and(|error| problem.is_of(arn, error));
            is_current && !affected.announced && affected.over.is_none()
        });
        added.map(|(arn, _)| arn.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pending_report::PendingReport;
    use crate::revocation::reason::ReasonCounts;
    use crate::state::control::{CompleteAudit, Lease};
    use crate::state::health::{Over, Watched};

    const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alerts";
    const INTERVAL: Duration = Duration::from_secs(1800);

    fn arn(number: u32) -> CertificateAuthorityArn {
        let id = format!("{number:08x}-1234-1122-2233-112233445566");
        CertificateAuthorityArn::from_parts("aws", "us-east-1", "123456789012", &id)
    }

    /// Returns a time on the hour.
    fn at(hour: u32) -> Timestamp {
        Timestamp::parse(&format!("2026-11-21T{hour:02}:00:00Z")).unwrap()
    }

    /// Returns the circumstances of the end of a run of some CAs.
    fn circumstances(hour: u32) -> Circumstances<'static> {
        Circumstances {
            now: at(hour),
            began: at(hour),
            request_id: "r",
            report_interval: INTERVAL,
            initial_lookback: Duration::from_secs(3600),
            topic_arn: TOPIC,
            is_start: false,
            watched: None,
            summary_interval: None,
            overdue: None,
        }
    }

    /// Returns the circumstances of the end of a run of all CAs.
    fn end_of_full_run(hour: u32) -> Circumstances<'static> {
        Circumstances {
            overdue: Some(Overdue {
                now: at(hour),
                audit_interval: None,
                report_interval: INTERVAL,
                resource: "s3://amzn-s3-demo-bucket/audit-report/",
            }),
            ..circumstances(hour)
        }
    }

    fn error(kind: ErrorKind, resource: Option<&str>, hour: u32) -> CurrentError {
        CurrentError {
            kind: kind.name().to_owned(),
            resource: resource.map(str::to_owned),
            message: "It failed.".to_owned(),
            hint: "Repair it.".to_owned(),
            since: at(hour),
        }
    }

    fn denied(hour: u32) -> CurrentError {
        let bucket = Some("s3://amzn-s3-demo-bucket");
        error(ErrorKind::AccessDenied, bucket, hour)
    }

    /// Returns the facts of CAs that were audited at this hour, with an error or without.
    fn facts(numbers: &[u32], audited: u32, error: Option<&CurrentError>) -> Facts {
        let fact = |&number: &u32| {
            let mut control = Control::new(arn(number), at(2));
            control.last_complete_audit = Some(CompleteAudit {
                report_id: "a1b2c3d4-1234-1122-2233-112233445566".to_owned(),
                key: "audit-report/1.json".to_owned(),
                e_tag: "\"1\"".to_owned(),
                requested_at: at(audited),
                last_modified: at(audited),
                certificates: 2,
                revoked: 1,
                unidentified: 0,
            });
            control.error = error.cloned();
            (arn(number), Fact::Recorded(Box::new(control)))
        };
        numbers.iter().map(fact).collect()
    }

    /// Returns a document in which the start of these CAs was announced.
    fn watching(numbers: &[u32]) -> HealthDocument {
        let mut document = HealthDocument::default();
        for &number in numbers {
            let watched = Watched {
                is_watched: true,
                since: at(2),
                announced: true,
                summarized: ReasonCounts::default(),
            };
            document
                .certificate_authorities
                .insert(arn(number), watched);
        }
        document
    }

    /// Returns the document of a plan whose messages were all published.
    fn published(mut plan: Plan) -> HealthDocument {
        for problem in &mut plan.document.problems {
            let affected = problem.certificate_authorities.values_mut();
            affected.for_each(|affected| affected.announced = true);
        }
        plan.document
    }

    /// Returns the CAs for which each problem is to be announced.
    fn added(plan: &Plan) -> Vec<Vec<CertificateAuthorityArn>> {
        let problems = plan.document.problems.iter();
        problems.map(|problem| plan.added(problem)).collect()
    }

    #[test]
    fn nothing_changed_announces_nothing() {
        let document = watching(&[1, 2]);
        let plan = Plan::new(&document, &facts(&[1, 2], 4, None), circumstances(4));
        assert!(!plan.announces());
        assert_eq!(plan.document, document);
        assert!(plan.changed.is_empty());
    }

    #[test]
    fn first_audits_start_the_watch() {
        let plan = Plan::new(
            &watching(&[1]),
            &facts(&[1, 2, 3], 4, None),
            circumstances(4),
        );
        assert!(plan.announces());
        assert_eq!(
            plan.started.keys().cloned().collect::<Vec<_>>(),
            [arn(2), arn(3)]
        );
        let first = &plan.started[&arn(2)];
        assert_eq!((first.certificates, first.revoked), (2, 1));
        assert_eq!(first.notify_from, at(1));
        assert_eq!(plan.changed, BTreeSet::from([arn(2), arn(3)]));
        let watched = &plan.document.certificate_authorities;
        let announced = [1, 2, 3].map(|number| watched[&arn(number)].announced);
        assert_eq!(announced, [true, false, false]);
    }

    #[test]
    fn error_is_announced_until_its_message_was_published() {
        let (document, error) = (watching(&[1, 2]), denied(4));
        let failing = facts(&[1, 2], 3, Some(&error));
        let plan = Plan::new(&document, &failing, circumstances(4));
        assert!(plan.announces());
        assert_eq!(added(&plan), [[arn(1), arn(2)]]);
        assert_eq!(plan.errors[&arn(1)], error);
        // The run may have died after it published the message.
        let again = Plan::new(&plan.document, &failing, circumstances(5));
        assert_eq!(added(&again), [[arn(1), arn(2)]]);
        let after = Plan::new(&published(plan), &failing, circumstances(5));
        assert!(!after.announces());
        assert!(after.changed.is_empty());
    }

    #[test]
    fn only_cas_that_join_are_announced() {
        let error = denied(4);
        let first = Plan::new(
            &watching(&[1, 2]),
            &facts(&[1], 3, Some(&error)),
            circumstances(4),
        );
        let both = facts(&[1, 2], 3, Some(&error));
        let plan = Plan::new(&published(first), &both, circumstances(5));
        assert_eq!(added(&plan), [[arn(2)]]);
        assert_eq!(plan.document.problems.len(), 1);
    }

    /// A run of some CAs does not know whether others still have the error.
    #[test]
    fn unpublished_error_of_a_ca_outside_the_run_waits() {
        let error = denied(4);
        let first = Plan::new(
            &watching(&[1, 2]),
            &facts(&[1], 3, Some(&error)),
            circumstances(4),
        );
        let other = facts(&[2], 5, None);
        let plan = Plan::new(&first.document, &other, circumstances(5));
        assert!(!plan.announces());
        assert_eq!(plan.document, first.document);
    }

    #[test]
    fn problem_is_over_when_all_its_cas_are_audited() {
        let failing = facts(&[1, 2], 3, Some(&denied(4)));
        let document = published(Plan::new(&watching(&[1, 2]), &failing, circumstances(4)));
        let one = Plan::new(&document, &facts(&[1], 5, None), circumstances(5));
        assert!(!one.announces());
        assert_eq!(one.changed, BTreeSet::from([arn(1)]));
        let both = Plan::new(&one.document, &facts(&[2], 6, None), circumstances(6));
        assert!(both.announces());
        assert!(both.document.problems[0].is_over());
    }

    #[test]
    fn departed_cas_stop_and_their_problems_are_over() {
        // The start of the third may have been announced.
        let failing = facts(&[2, 3], 3, Some(&denied(4)));
        let document = published(Plan::new(&watching(&[1, 2]), &failing, circumstances(4)));
        let watched = BTreeSet::from([arn(1)]);
        let full = Circumstances {
            watched: Some(&watched),
            ..circumstances(5)
        };
        let plan = Plan::new(&document, &facts(&[1], 5, None), full);
        assert!(plan.announces());
        assert_eq!(plan.stopped, BTreeSet::from([arn(2), arn(3)]));
        let affected = plan.document.problems[0].certificate_authorities.values();
        let over: Vec<_> = affected.map(|affected| affected.over).collect();
        assert_eq!(over, [Some(Over::Left); 2]);
        let some = Plan::new(&document, &facts(&[1], 5, None), circumstances(5));
        assert!(!some.announces() && some.stopped.is_empty());
    }

    /// A run with a longer list may have announced it meanwhile.
    #[test]
    fn ca_announced_since_the_run_began_does_not_stop() {
        let failing = facts(&[2], 3, Some(&denied(4)));
        let document = published(Plan::new(&watching(&[1]), &failing, circumstances(4)));
        let watched = BTreeSet::from([arn(1)]);
        let stopped = |began| {
            let full = Circumstances {
                began: at(began),
                watched: Some(&watched),
                ..circumstances(5)
            };
            let plan = Plan::new(&document, &Facts::new(), full);
            assert_eq!(plan.announces(), !plan.stopped.is_empty());
            plan.stopped
        };
        assert_eq!(stopped(3), BTreeSet::new());
        assert_eq!(stopped(4), BTreeSet::from([arn(2)]));
    }

    /// Returns facts of a CA whose control document cannot record its error.
    fn unrecorded(is_unconfirmed: bool, hour: u32) -> Facts {
        let error = AuditError::new(ErrorKind::RequestRejected, "It failed.");
        let error = match is_unconfirmed {
            true => error.unconfirmed(),
            false => error,
        };
        let bucket = Some("s3://amzn-s3-demo-bucket");
        let current = self::error(ErrorKind::RequestRejected, bucket, hour);
        Facts::from([(arn(1), Fact::Unrecorded(error, current))])
    }

    #[test]
    fn unrecorded_error_is_announced_once_another_run_confirms_it() {
        let first = Plan::new(&watching(&[1]), &unrecorded(true, 4), circumstances(4));
        assert!(!first.announces());
        assert!(first.confirmed.is_empty());
        // Lambda's retry of the same request, and another run at about the same time.
        let another = |hour| Circumstances {
            request_id: "another",
            ..circumstances(hour)
        };
        for early in [circumstances(5), another(4)] {
            let plan = Plan::new(&first.document, &unrecorded(true, 5), early);
            assert!(!plan.announces());
            assert_eq!(plan.document, first.document);
        }

        let plan = Plan::new(&first.document, &unrecorded(true, 5), another(5));

        assert_eq!(plan.confirmed, [arn(1)]);
        assert_eq!(added(&plan), [[arn(1)]]);
        assert_eq!(plan.document.problems[0].since, at(4));
        let after = Plan::new(&published(plan), &unrecorded(true, 6), circumstances(6));
        assert!(!after.announces());
        // The control document is readable again, and records a complete audit.
        let audited = Plan::new(&after.document, &facts(&[1], 6, None), circumstances(6));
        assert!(audited.document.problems[0].is_over());
        assert!(audited.document.unrecorded.is_empty());
    }

    #[test]
    fn unrecorded_error_that_is_certain_is_announced_at_once() {
        let plan = Plan::new(&watching(&[1]), &unrecorded(false, 4), circumstances(4));
        assert_eq!(plan.confirmed, [arn(1)]);
        assert_eq!(added(&plan), [[arn(1)]]);
    }

    #[test]
    fn error_of_the_topic_is_announced_at_the_end_if_at_all() {
        let document = watching(&[1]);
        let start = Circumstances {
            is_start: true,
            ..circumstances(4)
        };
        let refused = error(ErrorKind::MessageRefused, Some(TOPIC), 4);
        let refused = facts(&[1], 3, Some(&refused));
        assert!(!Plan::new(&document, &refused, start).announces());
        assert!(Plan::new(&document, &refused, circumstances(4)).announces());
        let missing = error(ErrorKind::TopicWithoutSubscription, Some(TOPIC), 4);
        let facts = facts(&[1], 3, Some(&missing));
        for now in [start, circumstances(4)] {
            let plan = Plan::new(&document, &facts, now);
            assert!(!plan.announces());
            assert_eq!(plan.silenced, std::slice::from_ref(&missing));
        }
    }

    #[test]
    fn overdue_audits_are_one_problem_until_each_ca_is_audited() {
        let old = facts(&[1, 2], 3, None);
        let document = watching(&[1, 2]);
        // Only the end of a full run says so.
        assert!(!Plan::new(&document, &old, circumstances(5)).announces());

        let plan = Plan::new(&document, &old, end_of_full_run(5));

        assert_eq!(added(&plan), [[arn(1), arn(2)]]);
        let since = at(4).saturating_add(Duration::from_secs(1800));
        assert_eq!(plan.document.problems[0].since, since);
        let error = &plan.errors[&arn(1)];
        assert_eq!(error.kind, "ReportOverdue");
        assert!(
            error.message.contains("for 120 minutes (limit: 90)"),
            "{error:?}"
        );
        let document = published(plan);
        for now in [end_of_full_run(6), circumstances(6)] {
            let later = Plan::new(&document, &old, now);
            assert!(!later.announces());
            assert_eq!(later.document, document);
        }
        let one = Plan::new(&document, &facts(&[1], 6, None), end_of_full_run(6));
        assert!(!one.announces());
        // Any run sees that it is over.
        let both = Plan::new(&one.document, &facts(&[2], 6, None), circumstances(6));
        assert!(both.announces());
        assert!(both.document.problems[0].is_over());
    }

    #[test]
    fn overdue_audit_with_another_error_is_that_error() {
        let failing = facts(&[1], 3, Some(&denied(4)));
        let plan = Plan::new(&watching(&[1]), &failing, end_of_full_run(6));
        assert_eq!(plan.errors[&arn(1)].kind, "AccessDenied");
        // Nobody was notified of an error of the topic.
        let missing = error(ErrorKind::TopicWithoutSubscription, Some(TOPIC), 4);
        let failing = facts(&[1], 3, Some(&missing));
        let plan = Plan::new(&watching(&[1]), &failing, end_of_full_run(6));
        assert_eq!(plan.errors[&arn(1)].kind, "ReportOverdue");
        assert!(plan.silenced.is_empty());
        // Without its state, nobody knows how old its audit is.
        let unknown = Facts::from([(arn(1), Fact::Unknown)]);
        assert!(!Plan::new(&watching(&[1]), &unknown, end_of_full_run(9)).announces());
    }

    /// It would recover and fail again with each report otherwise.
    #[test]
    fn slow_reports_are_overdue_once() {
        let mut document = watching(&[1]);
        let mut announced = Vec::new();
        // Each report is read two hours after its request, and the next one is requested then.
        for (hour, audited, requested) in [
            (4, 2, 4),
            (5, 2, 4),
            (6, 4, 6),
            (7, 4, 6),
            (8, 6, 8),
            (9, 6, 8),
            (10, 10, 10),
        ] {
            let mut facts = facts(&[1], audited, None);
            if let Some(Fact::Recorded(control)) = facts.get_mut(&arn(1)) {
                let (id, key) = ("1".to_owned(), "1.json".to_owned());
                control.pending_report = Some(PendingReport::new(id, key, at(requested)));
            }
            let plan = Plan::new(&document, &facts, end_of_full_run(hour));
            if plan.announces() {
                announced.push((hour, plan.document.problems[0].is_over()));
            }
            document = published(plan);
        }
        assert_eq!(announced, [(5, false), (10, true)]);
    }

    #[test]
    fn summary_is_due_an_interval_after_the_last() {
        let every_two_hours = |hour| Circumstances {
            summary_interval: Some(Duration::from_secs(2 * 3600)),
            ..circumstances(hour)
        };
        let mut document = watching(&[1]);
        let due = |document: &HealthDocument, now| {
            let plan = Plan::new(document, &Facts::new(), now);
            assert_eq!(plan.announces(), plan.is_summary_due);
            plan.is_summary_due
        };
        assert!(due(&document, every_two_hours(4)));
        document.last_summary_at = Some(at(4));
        assert!(!due(&document, every_two_hours(5)));
        assert!(due(&document, every_two_hours(6)));
        assert!(!due(&document, circumstances(6)));
    }

    #[test]
    fn summary_may_come_a_little_early() {
        let mut document = watching(&[1]);
        document.last_summary_at = Some(at(4));
        for (hours, early_minutes) in [(1, 6), (24, 30)] {
            let interval = Duration::from_secs(hours * 3600);
            let early = Duration::from_secs(early_minutes * 60);
            for (after, is_due) in [
                (interval, true),
                (interval - early, true),
                (interval - early - Duration::from_secs(1), false),
            ] {
                let now = Circumstances {
                    now: at(4).saturating_add(after),
                    summary_interval: Some(interval),
                    ..circumstances(4)
                };
                let plan = Plan::new(&document, &Facts::new(), now);
                assert_eq!(plan.is_summary_due, is_due, "{after:?} of {interval:?}");
            }
        }
    }

    #[test]
    fn lease_of_a_dead_run_is_removed() {
        let mut document = watching(&[1]);
        document.lease = Some(Lease {
            request_id: "another".to_owned(),
            nonce: "n".to_owned(),
            until: at(3),
        });
        let plan = Plan::new(&document, &Facts::new(), circumstances(4));
        assert_eq!(plan.document, watching(&[1]));
    }
}
