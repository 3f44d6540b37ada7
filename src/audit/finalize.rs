//! Ends an audit: announces changes of the watch itself, releases the lease and saves.

use crate::audit::context::Audit;
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::event::{Mode, Trigger};
use crate::response::{AuditResponse, Outcome};
use crate::state::control::{Control, RecordedError};
use crate::state::store::VersionedState;

impl Audit<'_> {
    /// Announces an error or its end, releases the lease and saves the state.
    pub(super) async fn finalize(
        &self,
        mut state: VersionedState,
        result: Result<AuditResponse, AuditError>,
        marker: Option<RecordedError>,
    ) -> Result<AuditResponse, AuditError> {
        let control = &mut state.control;
        let known = control.error.clone();
        let mut response =
            result.unwrap_or_else(|error| AuditResponse::failed(self.arn.clone(), error));
        if let Some(error) = response.error.take() {
            let seen = &mut control.unconfirmed_error;
            response.error = Some(self.confirm(control.error.as_ref(), seen, error));
        }
        if let Some(error) = self.overdue(control, &response) {
            response.outcome = Outcome::Failed;
            response.error = Some(error);
        }
        match &response.error {
            // The operator who accepts a report reads the response; only the next audit shows whether
            // new reports are plausible again.
            _ if self.mode == Mode::AcceptReport => {}
            Some(error) if response.remedy() == Some(Remedy::Operator) => {
                self.announce_error(control, error).await;
            }
            // The report that was read is complete, even if a newer one is still awaited.
            None if response.read.is_some() => self.announce_recovery(control).await,
            _ => {}
        }
        let last = control.last_complete_audit.as_ref();
        response.last_complete_audit_at = last.map(|audit| audit.requested_at);
        let first_seen_at = Some(control.first_seen_at);
        response.stats.unaudited_since = response.last_complete_audit_at.or(first_seen_at);
        control.release(&self.run.invocation.nonce);
        if let Err(failure) = self.save(&mut state).await {
            // The state does not know what was just announced.
            let announced = state
                .control
                .error
                .filter(RecordedError::possibly_announced);
            if announced != known
                && let Some(error) = announced
            {
                self.run.store.write_error_marker(self.arn, &error).await;
            }
            return Err(failure);
        }
        if let Some(error) = marker {
            self.run.store.remove_error_marker(self.arn, &error).await;
        }
        Ok(response)
    }

    /// Counts a scheduled run without a complete audit; returns an error after too many of them.
    fn overdue(&self, control: &mut Control, response: &AuditResponse) -> Option<AuditError> {
        let now = self.run.budget.now();
        if matches!(response.outcome, Outcome::Audited | Outcome::Skipped)
            || self.run.request.trigger != Trigger::Schedule
            || !control.count_missed_run(now, self.run.config.report_interval)
        {
            return None;
        }
        // People who know of another error know that there is no audit.
        let knows_other = |known: &RecordedError| {
            known.possibly_announced() && known.kind != ErrorKind::ReportOverdue.name()
        };
        if response.remedy() == Some(Remedy::Operator)
            || control.error.as_ref().is_some_and(knows_other)
        {
            return None;
        }
        let since = control.without_audit_since.unwrap_or(now);
        let cause = match &response.error {
            Some(error) => format!("the last run failed with {error}"),
            None => format!("the last run ended as {}", response.outcome),
        };
        let overdue = AuditError::new(
            ErrorKind::ReportOverdue,
            format!(
                "{} has had no complete audit since {since}; {cause}",
                self.arn
            ),
        );
        Some(AuditError {
            // A CA that is overdue needs its retries most.
            is_retryable: response
                .error
                .as_ref()
                .is_some_and(|error| error.is_retryable),
            ..overdue
        })
    }
}
