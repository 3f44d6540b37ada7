//! The audit of one CA: lease → report → scan → new revocations → alert → publish → commit, release.
//!
//! Each stage is a file, from one value to the next; this one puts them in order.

use futures_util::future::join_all;
use tracing::{info, warn};

use crate::alert::AlertKind;
use crate::error::AuditError;
use crate::event::Mode;
use crate::response::{AuditResponse, Outcome};
use crate::state::control::Control;
use crate::state::store::VersionedState;
use crate::timestamp::Timestamp;

mod commit;
mod context;
mod dry_run_or_replay;
mod finalize;
mod findings;
mod monitoring;
mod new_revocations;
mod obtain_report;
mod scan;
mod scan_limiter;

pub use context::Invocation;
pub(crate) use context::{Run, Target};
pub(crate) use scan_limiter::ScanLimiter;

use context::{Audit, Step};
use obtain_report::MIN_TIME_AFTER_WAIT;
use scan::keep_or_abandon;
use scan_limiter::ScanSlot;

/// Audits CAs side by side; returns a response for each, in their order, except those skipped.
pub(crate) async fn audit_all(run: &Run<'_>, targets: &[Target]) -> Vec<AuditResponse> {
    // Every audit has its slot before the first one starts.
    let slots: Vec<_> = targets
        .iter()
        .map(|_| run.scan_limiter.scan_slot())
        .collect();
    let mode = run.request.mode;
    let audits = targets
        .iter()
        .zip(slots)
        .map(|(target, scan_slot)| async move {
            let audit = Audit {
                run,
                arn: &target.arn,
                mode,
                accepts_requests: target.accepts_requests,
            };
            let response = audit.respond(scan_slot).await;
            (response.outcome != Outcome::Skipped).then(|| {
                log(&response);
                response
            })
        });
    join_all(audits).await.into_iter().flatten().collect()
}

fn log(response: &AuditResponse) {
    let arn = &response.certificate_authority_arn;
    match &response.error {
        Some(error) => warn!(
            certificate_authority = arn.id(),
            error_type = error.kind.name(),
            error = error.message,
            hint = error.hint,
            "audit failed"
        ),
        None => info!(
            certificate_authority = arn.id(),
            outcome = %response.outcome,
            "audit finished"
        ),
    }
}

impl Audit<'_> {
    /// Audits the CA; returns a response whatever happens, and in time.
    async fn respond(&self, scan_slot: ScanSlot<'_>) -> AuditResponse {
        // Boxed: hundreds are in memory at once, each as large as its deepest await.
        let work = Box::pin(async move {
            match self.mode {
                Mode::Audit | Mode::AcceptReport => self.audit_with_lease(&scan_slot).await,
                _ => self.dry_run_or_replay(&scan_slot).await,
            }
        });
        tokio::time::timeout_at(self.run.budget.response_deadline(), work)
            .await
            .unwrap_or_else(|_| Err(self.out_of_time("the run ended during the audit")))
            .unwrap_or_else(|error| AuditResponse::failed(self.arn.clone(), error))
    }

    /// Audits under the lease, from the first look at the state to the last write.
    async fn audit_with_lease(
        &self,
        scan_slot: &ScanSlot<'_>,
    ) -> Result<AuditResponse, AuditError> {
        let mut state = match self.take_lease().await {
            Ok(Step::Continue(state)) => state,
            Ok(Step::Break(busy)) => return Ok(busy),
            Err(error) => {
                return Err(self.announce_error_without_state(error).await);
            }
        };
        let marker = self.adopt_error_marker(&mut state.control).await;
        let result = self.audit_reports(&mut state, scan_slot).await;
        self.finalize(state, result, marker).await
    }

    /// Audits the pending report or a new one. After an outdated report, which misses later
    /// revocations, also audits a new one.
    async fn audit_reports(
        &self,
        state: &mut VersionedState,
        scan_slot: &ScanSlot<'_>,
    ) -> Result<AuditResponse, AuditError> {
        let first = self.audit_report(state, scan_slot).await?;
        if first.outcome != Outcome::Audited || !self.is_outdated(&state.control) {
            return Ok(first);
        }
        info!(
            certificate_authority = self.arn.id(),
            "report outdated; requesting a new one"
        );
        let second = self.audit_report(state, scan_slot).await;
        let second = second.unwrap_or_else(|error| AuditResponse::failed(self.arn.clone(), error));
        Ok(first.followed_by(second))
    }

    /// Whether the last complete audit is so old that this run should audit a newer report: its report
    /// was requested before this run, a report interval ago.
    fn is_outdated(&self, control: &Control) -> bool {
        let (budget, interval) = (self.run.budget, self.run.config.report_interval);
        let began = Timestamp::from(budget.clock() - budget.elapsed());
        let is_old = control.last_complete_audit.as_ref().is_some_and(|last| {
            last.requested_at < began && budget.now().since(last.requested_at) >= interval
        });
        self.mode == Mode::Audit
            && self.accepts_requests
            && is_old
            && budget.left() > MIN_TIME_AFTER_WAIT
    }

    /// Takes one report from its request to the record of what was published.
    async fn audit_report(
        &self,
        state: &mut VersionedState,
        scan_slot: &ScanSlot<'_>,
    ) -> Result<AuditResponse, AuditError> {
        let report = match self.obtain_report(state).await? {
            Step::Continue(report) => report,
            Step::Break(response) => return Ok(response),
        };
        // The memory is held until the commit.
        let (scan, _memory) = self.scan(state, &report, scan_slot).await?;
        let findings = self.findings(&state.control, &report, scan);
        let (mut response, alerts) = (findings.response, findings.alerts);
        let detected_at = report.object.last_modified;
        let warnings = self.alert(&mut state.control, alerts, detected_at).await?;
        response.warnings.extend(warnings);
        let complete = match findings.result {
            Ok(complete) => Some(complete),
            Err(invalid) => {
                response.outcome = Outcome::Failed;
                response.error = Some(keep_or_abandon(&mut state.control, invalid));
                None
            }
        };
        self.commit_notified(state, findings.notified, complete)
            .await?;
        Ok(response)
    }

    /// Publishes alerts while there is still time to save the state; returns warnings.
    ///
    /// If nobody may have read them, all go out, and the audit fails as if none had.
    async fn alert(
        &self,
        control: &mut Control,
        alerts: Vec<AlertKind>,
        detected_at: Timestamp,
    ) -> Result<Vec<String>, AuditError> {
        let until = self.run.budget.save_deadline();
        let mut warnings = Vec::new();
        let (mut is_started, mut unverified) = (false, None);
        for kind in alerts {
            let is_start = matches!(kind, AlertKind::WatchStarted { .. });
            let published = self.publish(kind, detected_at, until, &mut control.confirmed_topic);
            let published = published.await.map_err(|unpublished| unpublished.error)?;
            warnings.extend(published.warnings);
            is_started |= is_start;
            // Recorded even if the next alert fails, so that it is not sent twice.
            control.started |= is_start && published.unverified.is_none();
            unverified = unverified.or(published.unverified);
        }
        if let Some(error) = unverified {
            if control.confirmed_topic.as_ref() != Some(&self.run.config.topic_arn) {
                return Err(error);
            }
            // A later alert found a reader.
            warnings.push(error.message);
        }
        control.started |= is_started;
        Ok(warnings)
    }
}
