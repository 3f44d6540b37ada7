//! Records what was published, once SNS has accepted it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::audit::context::Audit;
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::revocation::reason::ReasonCounts;
use crate::state::control::CompleteAudit;
use crate::state::notified_set::NotifiedSet;
use crate::state::store::VersionedState;

/// Interval between two attempts to save what was published.
const COMMIT_RETRY_INTERVAL: Duration = Duration::from_secs(2);

impl Audit<'_> {
    /// Writes the notified set, then the control document that points to it and records the audit
    /// as complete.
    ///
    /// If another run changed the state in the meantime, the union of both sets is kept.
    pub(super) async fn commit_notified(
        &self,
        state: &mut VersionedState,
        (notified, counts): (NotifiedSet, ReasonCounts),
        mut complete: Option<CompleteAudit>,
    ) -> Result<(), AuditError> {
        let (control, count) = (&mut state.control, notified.keys().len() as u64);
        // The first set is written even if it is empty: if a set exists but no control document
        // does, the control document was deleted.
        if control.notified_set.is_some() && control.notified_count == count {
            if let Some(complete) = complete {
                control.complete(complete);
            }
            return Ok(());
        }
        control.notified_by_reason.merge(&counts);
        let mut notified = Arc::new(notified);
        loop {
            let written = self.write_notified(state, &mut notified, &mut complete);
            let error = match written.await {
                Ok(true) => break,
                Ok(false) => {
                    state.control.notified_by_reason.merge(&counts);
                    continue;
                }
                Err(error) => error,
            };
            // SNS has accepted the message: any time left is well spent on saving that.
            if error.remedy() != Remedy::Retry
                || COMMIT_RETRY_INTERVAL >= self.run.budget.time_to_respond()
            {
                return Err(error);
            }
            warn!(
                certificate_authority = self.arn.id(),
                error = error.message,
                "notified set not saved; retrying"
            );
            tokio::time::sleep(COMMIT_RETRY_INTERVAL).await;
        }
        info!(
            certificate_authority = self.arn.id(),
            notified = notified.keys().len(),
            notified_set = state.control.notified_set,
            "state saved"
        );
        let store = &self.run.store;
        store.remove_older_notified_sets(&state.control).await;
        Ok(())
    }

    /// Writes the notified set and the control document that names it. Returns `false` if another run
    /// changed the state in between: `state` and `notified` are then those of both runs.
    async fn write_notified(
        &self,
        state: &mut VersionedState,
        notified: &mut Arc<NotifiedSet>,
        complete: &mut Option<CompleteAudit>,
    ) -> Result<bool, AuditError> {
        let store = &self.run.store;
        let control = &mut state.control;
        control.notified_set = Some(store.write_notified_set(control, notified).await?);
        control.notified_count = notified.keys().len() as u64;
        if let Some(complete) = complete.clone() {
            control.complete(complete);
        }
        match self.save(state).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == ErrorKind::StateConflict => {
                let newer = store.load(self.arn, self.run.budget.now()).await?;
                let mut union = store.load_notified_set(&newer.control).await?;
                warn!(
                    certificate_authority = self.arn.id(),
                    sequence = newer.control.sequence,
                    "state changed by another run; keeping both notified sets"
                );
                union.merge(notified.keys().iter().cloned());
                *notified = Arc::new(union);
                let ours = std::mem::replace(state, newer).control;
                state.control.keep_progress(&ours);
                complete.take_if(|complete| !state.control.is_pending(&complete.report_id));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
