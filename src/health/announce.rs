//! Publishes what a plan says, one message after the other, and updates the document.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::alert::{AlertKind, Authority, Coverage, OpenProblem, WatchError, WatchSummary};
use crate::arn::CertificateAuthorityArn;
use crate::audit::Run;
use crate::aws::certificate_authorities::{ListedCa, list};
use crate::error::AuditError;
use crate::health::plan::{Fact, Facts, Plan};
use crate::revocation::reason::ReasonCounts;
use crate::state::health::{HealthDocument, Over, Problem, Watched};
use crate::targets::Targets;
use crate::timestamp::Timestamp;

/// Timeout for listing the CAs for a summary.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes the messages of a plan.
pub(super) struct Announcer<'a> {
    pub run: &'a Run<'a>,
    pub targets: &'a Targets,
    pub facts: &'a Facts,
    /// Its document becomes what was announced.
    pub plan: Plan,
    /// The document before the plan.
    pub base: &'a HealthDocument,
    pub until: Instant,
    pub warnings: Vec<String>,
    /// Whether SNS did not say that it accepted a message.
    pub is_unclear: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Yes,
    No,
    /// SNS's response was lost, or perhaps nobody reads the message.
    Perhaps,
}

impl Announcer<'_> {
    /// Publishes everything: errors first.
    pub async fn publish(&mut self) {
        let now = self.run.budget.now();
        let problems = std::mem::take(&mut self.plan.document.problems);
        // Even those that cannot be announced now.
        let open: Vec<_> = problems.iter().filter_map(open).collect();
        for problem in problems {
            if let Some(left) = self.announce_problem(problem, now).await {
                self.plan.document.problems.push(left);
            }
        }
        self.announce_stopped(now).await;
        self.announce_started(now).await;
        if self.plan.is_summary_due {
            self.announce_summary(now, open).await;
        }
    }

    /// Announces the beginning, the growth or the end of a problem; returns what is left of it.
    async fn announce_problem(&mut self, mut problem: Problem, now: Timestamp) -> Option<Problem> {
        if problem.is_over() {
            let sent = self.announce_recovery(&problem, now).await;
            if sent == Sent::No {
                let before = self.base.problems.iter();
                let mut before = before.filter(|known| known.is_like(&problem));
                problem.recovering = before.any(|known| known.recovering);
            }
            return (sent != Sent::Yes).then_some(problem);
        }
        let added = self.plan.added(&problem);
        if added.is_empty() {
            return Some(problem);
        }
        match self.announce_failure(&problem, &added, now).await {
            Sent::Yes => {
                for (arn, affected) in &mut problem.certificate_authorities {
                    affected.announced |= added.contains(arn);
                }
            }
            Sent::Perhaps => {}
            Sent::No => {
                // An earlier run may have announced it for others.
                let known = self.known(&problem);
                let affected = &mut problem.certificate_authorities;
                affected.retain(|arn, _| !added.contains(arn) || known.contains(arn));
            }
        }
        (!problem.certificate_authorities.is_empty()).then_some(problem)
    }

    /// Returns the CAs that a problem had before the plan.
    fn known(&self, problem: &Problem) -> BTreeSet<CertificateAuthorityArn> {
        let before = self.base.problems.iter();
        let same = before.filter(|known| known.is_like(problem) && !known.recovering);
        same.flat_map(|known| known.certificate_authorities.keys().cloned())
            .collect()
    }

    async fn announce_failure(
        &mut self,
        problem: &Problem,
        added: &[CertificateAuthorityArn],
        now: Timestamp,
    ) -> Sent {
        let Some(error) = added.first().and_then(|arn| self.plan.errors.get(arn)) else {
            return Sent::No;
        };
        let audits: Option<Vec<_>> = added.iter().map(|arn| self.audited_at(arn)).collect();
        let kind = AlertKind::WatchFailed {
            error: WatchError {
                kind: error.kind.clone(),
                resource: error.resource.clone(),
                message: error.message.clone(),
                hint: error.hint.clone(),
                since: problem.since,
            },
            earlier: problem.open().count() as u64,
            last_complete_audit_at: audits.and_then(|audits| audits.into_iter().min()),
        };
        self.send(added, kind, now).await
    }

    async fn announce_recovery(&mut self, problem: &Problem, now: Timestamp) -> Sent {
        let affected = problem.certificate_authorities.values();
        let audits = affected.clone().filter_map(|affected| match affected.over {
            Some(Over::Audited(at)) => Some(at),
            _ => None,
        });
        let left = affected.filter(|affected| affected.over == Some(Over::Left));
        let kind = AlertKind::WatchRecovered {
            error_type: problem.kind.clone(),
            resource: problem.resource.clone(),
            since: problem.since,
            audited_since: audits.min(),
            left: left.count() as u64,
        };
        let arns: Vec<_> = problem.certificate_authorities.keys().cloned().collect();
        self.send(&arns, kind, now).await
    }

    async fn announce_stopped(&mut self, now: Timestamp) {
        let arns: Vec<_> = self.plan.stopped.iter().cloned().collect();
        let config = self.run.config;
        let kind = AlertKind::WatchStopped {
            coverage: match (
                &config.certificate_authorities,
                &config.certificate_authority_tag,
            ) {
                (Some(_), _) => Coverage::Listed,
                (None, None) => Coverage::All,
                (None, Some(tag)) => Coverage::Tagged(tag.to_string()),
            },
            since: self.since(&arns),
        };
        self.announce_watched(&arns, kind, now).await;
    }

    async fn announce_started(&mut self, now: Timestamp) {
        let arns: Vec<_> = self.plan.started.keys().cloned().collect();
        let kind = AlertKind::WatchStarted {
            audits: self.plan.started.values().copied().collect(),
            since: self.since(&arns),
        };
        self.announce_watched(&arns, kind, now).await;
    }

    /// Returns the stored time of a start or end.
    fn since(&self, arns: &[CertificateAuthorityArn]) -> Option<Timestamp> {
        let watched = &self.plan.document.certificate_authorities;
        let watched = arns.iter().filter_map(|arn| watched.get(arn));
        watched.map(|watched| watched.since).max()
    }

    /// Announces that CAs are watched, or are no longer.
    async fn announce_watched(
        &mut self,
        arns: &[CertificateAuthorityArn],
        kind: AlertKind,
        now: Timestamp,
    ) {
        if arns.is_empty() {
            return;
        }
        let sent = self.send(arns, kind, now).await;
        let watched = &mut self.plan.document.certificate_authorities;
        for arn in arns {
            let before = self.base.certificate_authorities.get(arn).cloned();
            let announced = watched.remove(arn);
            let after = match sent {
                Sent::Yes => announced.map(|watched| Watched {
                    announced: true,
                    ..watched
                }),
                Sent::Perhaps => announced,
                Sent::No => before,
            };
            watched.extend(after.map(|after| (arn.clone(), after)));
        }
    }

    async fn announce_summary(&mut self, now: Timestamp, open: Vec<OpenProblem>) {
        let arns = self.targets.audits.iter().map(|target| target.arn.clone());
        let arns: BTreeSet<_> = arns.collect();
        let arns: Vec<_> = arns.into_iter().collect();
        let interval = self.run.config.summary_interval.unwrap_or_default();
        // Summaries keep their rhythm, although no run comes exactly when one is due.
        let last = self.plan.document.last_summary_at;
        let due = last.map(|last| last.saturating_add(interval));
        let is_near = |due: &Timestamp| now.since(*due).max(due.since(now)) < interval / 3;
        let due = due.filter(is_near).unwrap_or(now);
        let next_at = due.saturating_add(interval);
        let summary = self.summary(&arns, open, next_at).await;
        if self
            .send(&arns, AlertKind::WatchSummary(summary), now)
            .await
            != Sent::Yes
        {
            return;
        }
        let document = &mut self.plan.document;
        document.last_summary_at = Some(due);
        for (arn, watched) in &mut document.certificate_authorities {
            if let Some(Fact::Recorded(control)) = self.facts.get(arn) {
                watched.summarized = control.notified_by_reason.clone();
            }
        }
    }

    async fn summary(
        &self,
        arns: &[CertificateAuthorityArn],
        problems: Vec<OpenProblem>,
        next_at: Timestamp,
    ) -> WatchSummary {
        let document = &self.plan.document;
        let mut notified = ReasonCounts::default();
        let (mut never_audited, mut unknown, mut oldest) = (0, 0, None::<Timestamp>);
        for arn in arns {
            let Some(Fact::Recorded(control)) = self.facts.get(arn) else {
                unknown += 1;
                continue;
            };
            // What was counted of the others could not be recorded: they count once their watch started.
            if let Some(watched) = document.certificate_authorities.get(arn) {
                notified.merge(&control.notified_by_reason.since(&watched.summarized));
            }
            match &control.last_complete_audit {
                Some(last) => {
                    let at = last.requested_at;
                    oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
                }
                None => never_audited += 1,
            }
        }
        WatchSummary {
            since: document.last_summary_at,
            next_at,
            oldest_audit_at: oldest,
            never_audited,
            unknown,
            notified,
            problems,
            without_revocation_checking: self.without_revocation_checking(arns).await,
        }
    }

    /// Returns the watched CAs of whose revocations clients cannot learn; `None` if AWS does not list
    /// them all.
    async fn without_revocation_checking(
        &self,
        arns: &[CertificateAuthorityArn],
    ) -> Option<Vec<Authority>> {
        let listed = match &self.targets.listed {
            Some(listed) => listed.clone(),
            None => {
                let listed = list(self.run.clients, self.run.names);
                let log = |error: &AuditError| warn!(error = error.message, "CAs not listed");
                let listed = tokio::time::timeout(LIST_TIMEOUT, listed).await;
                let listed = listed
                    .inspect_err(|_| warn!("CAs not listed in time"))
                    .ok()?;
                listed.inspect_err(log).ok()?
            }
        };
        let find = |arn: &CertificateAuthorityArn| listed.iter().find(|ca| ca.arn == *arn);
        let watched: Option<Vec<&ListedCa>> = arns.iter().map(find).collect();
        let mut without = Vec::new();
        for ca in watched?.into_iter().filter(|ca| ca.checking.is_missing()) {
            let (arn, name) = (ca.arn.clone(), ca.name.clone());
            without.push(Authority { arn, name });
        }
        Some(without)
    }

    fn audited_at(&self, arn: &CertificateAuthorityArn) -> Option<Timestamp> {
        match self.facts.get(arn) {
            Some(Fact::Recorded(control)) => {
                Some(control.last_complete_audit.as_ref()?.requested_at)
            }
            _ => None,
        }
    }

    async fn send(
        &mut self,
        arns: &[CertificateAuthorityArn],
        kind: AlertKind,
        detected_at: Timestamp,
    ) -> Sent {
        if self.run.budget.has_passed(self.until) {
            let warning = "no time was left for messages about monitoring";
            self.warnings.push(warning.to_owned());
            return Sent::No;
        }
        let published = self.run.publish(arns, kind, detected_at, self.until).await;
        let (sent, error) = match published {
            Ok(published) => match published.unverified {
                None => return Sent::Yes,
                Some(error) => (Sent::Perhaps, error),
            },
            Err(unpublished) if unpublished.is_unknown => (Sent::Perhaps, unpublished.error),
            Err(unpublished) => (Sent::No, unpublished.error),
        };
        self.is_unclear |= sent == Sent::Perhaps;
        self.warnings
            .push(format!("message about monitoring not published: {error}"));
        sent
    }
}

/// Returns a problem as a summary states it, unless it is over.
fn open(problem: &Problem) -> Option<OpenProblem> {
    let affected = problem.certificate_authorities.values();
    let affected = affected.filter(|affected| affected.over.is_none());
    let certificate_authorities = affected.count() as u64;
    (certificate_authorities > 0).then(|| OpenProblem {
        kind: problem.kind.clone(),
        resource: problem.resource.clone(),
        since: problem.since,
        certificate_authorities,
    })
}
