//! Ends an audit: records its error, releases the lease and saves.

use crate::audit::context::{Audit, AuditResult};
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::event::{Mode, Trigger};
use crate::response::{AuditResponse, Outcome};
use crate::state::control::{Control, CurrentError, SeenError};
use crate::state::store::VersionedState;

impl Audit<'_> {
    /// Records an error that needs an operator, releases the lease and saves the state.
    pub(super) async fn finalize(
        &self,
        mut state: VersionedState,
        result: Result<AuditResponse, AuditError>,
    ) -> AuditResult {
        let control = &mut state.control;
        let mut response =
            result.unwrap_or_else(|error| AuditResponse::failed(self.arn.clone(), error));
        if let Some(error) = response.error.take() {
            response.error = Some(self.confirm(control, error));
        }
        if let Some(error) = self.overdue(control, &response) {
            response.outcome = Outcome::Failed;
            response.error = Some(error);
        }
        // The operator who accepts a report reads the response; only the next audit shows whether new
        // reports are plausible again.
        if self.mode != Mode::AcceptReport
            && let Some(error) = &response.error
            && error.remedy() == Remedy::Operator
        {
            control.set_error(self.run.current_error(error));
        }
        let last = control.last_complete_audit.as_ref();
        response.last_complete_audit_at = last.map(|audit| audit.requested_at);
        let first_seen_at = Some(control.first_seen_at);
        response.stats.unaudited_since = response.last_complete_audit_at.or(first_seen_at);
        control.release(&self.run.invocation.nonce);
        match self.save(&mut state).await {
            Ok(()) => AuditResult {
                response,
                control: Some(state.control),
            },
            Err(failure) => AuditResponse::failed(self.arn.clone(), failure).into(),
        }
    }

    /// Confirms an error that an earlier run recorded or saw; remembers one that no run has seen
    /// before. Lambda's retries and other runs at about the same time confirm nothing.
    fn confirm(&self, control: &mut Control, error: AuditError) -> AuditError {
        if !error.is_unconfirmed {
            return error;
        }
        let (name, request_id) = (error.kind.name(), &self.run.invocation.request_id);
        let (now, interval) = (self.run.budget.now(), self.run.config.report_interval);
        let current = self.run.current_error(&error);
        let known = control.error.as_ref();
        if known.is_some_and(|known| known.is_same(&current)) {
            return error.confirmed();
        }
        let seen = &mut control.unconfirmed_error;
        match seen.as_ref().filter(|seen| seen.kind == name) {
            Some(seen) if seen.is_confirmed_by(request_id, now, interval) => error.confirmed(),
            Some(_) => error,
            None => {
                *seen = Some(SeenError::new(name, now, request_id));
                error
            }
        }
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
        let is_other = |known: &CurrentError| {
            let kind = &known.kind;
            kind != ErrorKind::ReportOverdue.name() && !ErrorKind::silences_the_topic(kind)
        };
        if response.remedy() == Some(Remedy::Operator)
            || control.error.as_ref().is_some_and(is_other)
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
