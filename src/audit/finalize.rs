//! Ends an audit: records its error, releases the lease and saves.

use crate::audit::context::{Audit, AuditResult};
use crate::error::{AuditError, Remedy};
use crate::event::Mode;
use crate::response::AuditResponse;
use crate::state::control::{Control, SeenError};
use crate::state::store::VersionedState;

impl Audit<'_> {
    /// Records an error that needs an operator, releases the lease and saves the state. A queued audit
    /// that changed nothing, such as one that found no report yet, writes nothing.
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
        let is_leased = self.is_leased(control);
        control.release(&self.run.invocation.nonce);
        let saved = match self.is_queued() && state.is_saved() {
            true => Ok(()),
            false => self.save(&mut state).await,
        };
        match saved {
            Ok(()) => AuditResult {
                response,
                control: Some(state.control),
            },
            Err(failure) if self.is_outpaced(is_leased, &failure) => self.outpaced().into(),
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
}
