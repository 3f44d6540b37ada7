//! Dry runs and replays: read a report and record nothing.

use crate::audit::context::{Audit, Step};
use crate::audit::obtain_report::ReadyReport;
use crate::audit::scan_limiter::ScanSlot;
use crate::error::AuditError;
use crate::pending_report::PendingReport;
use crate::response::AuditResponse;
use crate::state::control::CompleteAudit;
use crate::state::store::VersionedState;

impl Audit<'_> {
    /// Reads the report of the last complete audit, else a new one; a replay publishes again.
    pub(super) async fn dry_run_or_replay(
        &self,
        scan_slot: &ScanSlot<'_>,
    ) -> Result<AuditResponse, AuditError> {
        let mut state = self.run.store.load(self.arn, self.run.budget.now()).await?;
        if let Some(last) = &state.control.last_complete_audit
            && let Some(report) = self.last_report(last).await?
        {
            return self.read_only(&mut state, &report, scan_slot).await;
        }
        let mut state = match self.begin().await? {
            Step::Continue(state) => state,
            Step::Break(response) => return Ok(response),
        };
        let result = match self.obtain_report(&mut state).await {
            Ok(Step::Continue(report)) => self.read_only(&mut state, &report, scan_slot).await,
            Ok(Step::Break(response)) => Ok(response),
            Err(error) => Err(error),
        };
        state.control.release(&self.run.invocation.nonce);
        self.save(&mut state).await?;
        result
    }

    async fn read_only(
        &self,
        state: &mut VersionedState,
        report: &ReadyReport,
        scan_slot: &ScanSlot<'_>,
    ) -> Result<AuditResponse, AuditError> {
        let (scan, _memory) = self
            .scan_without_saving(&state.control, report, scan_slot)
            .await?;
        let findings = self.findings(&state.control, report, scan);
        findings.result?;
        let mut response = findings.response;
        let last = state.control.last_complete_audit.as_ref();
        response.last_complete_audit_at = last.map(|audit| audit.requested_at);
        if !self.mode.is_dry_run() {
            let warnings = self.alert(findings.alert, &report.object, &response.stats);
            response.warnings.extend(warnings.await?);
        }
        Ok(response)
    }

    /// Finds the report of the last complete audit, if it still exists.
    async fn last_report(&self, last: &CompleteAudit) -> Result<Option<ReadyReport>, AuditError> {
        let (id, key) = (last.report_id.clone(), last.key.clone());
        let report = PendingReport::new(id, key, last.requested_at);
        let found = self.find(report).await?;
        Ok(found.filter(|found| found.object.e_tag == last.e_tag))
    }
}
