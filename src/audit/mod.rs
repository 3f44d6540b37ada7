//! The audit of one CA: lease → report → scan → new revocations → alert → publish → commit, release.
//!
//! A queued audit takes the lease with its scan; before that, conditional writes decide between runs.
//!
//! Each stage is a file, from one value to the next; this one puts them in order.

use std::slice;
use std::time::Duration;

use futures_util::future::join_all;
use tracing::{info, warn};

use crate::alert::AlertKind;
use crate::error::AuditError;
use crate::event::Mode;
use crate::report::wait::ReportObject;
use crate::response::{AuditResponse, AuditStats, Outcome};
use crate::revocation::investigation::MAX_INVESTIGATED;
use crate::state::control::Control;
use crate::state::store::VersionedState;

mod commit;
mod context;
mod dry_run_or_replay;
mod finalize;
mod findings;
mod new_revocations;
mod obtain_report;
mod scan;
mod scan_limiter;

pub use context::Invocation;
pub(crate) use context::{AuditResult, Run, StatesFound, Target};
pub(crate) use scan_limiter::ScanLimiter;

use context::{Audit, Step};
use obtain_report::MIN_TIME_AFTER_WAIT;
use scan::keep_or_abandon;
use scan_limiter::ScanSlot;

/// Audits CAs side by side; returns a result for each, in their order.
pub(crate) async fn audit_all(
    run: &Run<'_>,
    targets: &[Target],
    found: &StatesFound,
) -> Vec<AuditResult> {
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
                found,
                since: run.request.trigger.audit_since(&target.arn),
                patience: run.patience(&target.arn),
            };
            let result = audit.respond(scan_slot).await;
            if result.response.outcome != Outcome::Skipped {
                log(&result.response);
            }
            result
        });
    join_all(audits).await
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
    /// Audits the CA; returns a result whatever happens, and in time.
    async fn respond(&self, scan_slot: ScanSlot<'_>) -> AuditResult {
        // Boxed: hundreds are in memory at once, each as large as its deepest await.
        let work = Box::pin(async move {
            match self.mode {
                Mode::Audit | Mode::AcceptReport => self.audit_with_lease(&scan_slot).await,
                _ => self.dry_run_or_replay(&scan_slot).await.map(Into::into),
            }
        });
        tokio::time::timeout_at(self.run.budget.response_deadline(), work)
            .await
            .unwrap_or_else(|_| Err(self.out_of_time("the run ended during the audit")))
            .unwrap_or_else(|error| AuditResponse::failed(self.arn.clone(), error).into())
    }

    /// Audits from the first look at the state to the last write, under the lease. A queued audit takes
    /// the lease with its scan: before that, the run whose conditional write succeeds first goes on.
    async fn audit_with_lease(&self, scan_slot: &ScanSlot<'_>) -> Result<AuditResult, AuditError> {
        let mut state = match self.begin().await? {
            Step::Continue(state) => state,
            Step::Break(response) => return Ok(response.into()),
        };
        let result = self.audit_reports(&mut state, scan_slot).await;
        if let Err(error) = &result
            && self.is_outpaced(self.is_leased(&state.control), error)
        {
            return Ok(self.outpaced().into());
        }
        Ok(self.finalize(state, result).await)
    }

    /// Audits the pending report or a new one. After an outdated report, which misses later
    /// revocations, also audits a new one.
    async fn audit_reports(
        &self,
        state: &mut VersionedState,
        scan_slot: &ScanSlot<'_>,
    ) -> Result<AuditResponse, AuditError> {
        // Boxed: debug builds copy it to the stack at every level.
        let first = Box::pin(self.audit_report(state, scan_slot)).await?;
        if first.outcome != Outcome::Audited || !self.is_outdated(&state.control) {
            return Ok(first);
        }
        info!(
            certificate_authority = self.arn.id(),
            "report outdated; requesting a new one"
        );
        if self.is_queued() {
            // The request saves it, together with the audit of the first report.
            state.control.release(&self.run.invocation.nonce);
            if let Some(holder) = self.other_holder(&state.control) {
                return Ok(first.followed_by(self.busy(holder)));
            }
        }
        let second = Box::pin(self.audit_report(state, scan_slot)).await;
        let second = second.unwrap_or_else(|error| AuditResponse::failed(self.arn.clone(), error));
        Ok(first.followed_by(second))
    }

    /// Whether the last complete audit is so old that this run should audit a newer report: its report
    /// was requested before this run, a report interval ago. A queued audit is not done before its
    /// report is recent enough.
    fn is_outdated(&self, control: &Control) -> bool {
        if self.is_queued() {
            return self.accepts_requests && !self.is_done(control);
        }
        let (budget, interval) = (self.run.budget, self.run.config.report_interval);
        let began = budget.began();
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
        let mut response = findings.response;
        let warnings = self.alert(findings.alert, &report.object, &response.stats);
        response.warnings.extend(warnings.await?);
        let complete = match findings.result {
            Ok(complete) => Some(complete),
            Err(invalid) => {
                response.outcome = Outcome::Failed;
                response.error = Some(keep_or_abandon(&mut state.control, invalid));
                None
            }
        };
        let notified = (findings.notified, findings.counts);
        self.commit_notified(state, notified, complete).await?;
        Ok(response)
    }

    /// Looks up what is behind an alert, if there is one, and publishes it while there is still time to
    /// save the state; returns warnings.
    ///
    /// If nobody may have read it, the audit fails as if it had not gone out.
    async fn alert(
        &self,
        alert: Option<AlertKind>,
        report: &ReportObject,
        scan: &AuditStats,
    ) -> Result<Vec<String>, AuditError> {
        let Some(mut kind) = alert else {
            return Ok(Vec::new());
        };
        let (run, until) = (self.run, self.run.budget.save_deadline());
        if let Some(revocations) = kind.revocations_mut() {
            let worst = revocations.worst(MAX_INVESTIGATED);
            let scan_duration = Duration::from_secs_f64(scan.scanned_seconds);
            let found = run
                .investigator
                .investigate(self.arn, &worst, report, scan_duration);
            // Boxed: every audit is as large as its deepest await.
            let found = Box::pin(found).await;
            revocations.set_investigations(found);
        }
        let arns = slice::from_ref(self.arn);
        let published = run.publish(arns, kind, report.last_modified, until).await;
        let published = published.map_err(|unpublished| unpublished.error)?;
        match published.unverified {
            Some(error) => Err(error),
            None => Ok(published.warnings),
        }
    }
}
