//! Records what was published, once SNS has accepted it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::audit::context::Audit;
use crate::error::{AuditError, Remedy};
use crate::state::control::CompleteAudit;
use crate::state::notified_set::NotifiedSet;
use crate::state::store::{SaveError, VersionedState};

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
        [mut notified, newly_seen]: [NotifiedSet; 2],
        mut complete: Option<CompleteAudit>,
    ) -> Result<(), AuditError> {
        // The first set is written even if it is empty: if a set exists but no control document
        // does, the control document was deleted.
        if newly_seen.is_empty() && state.control.notified_set.is_some() {
            if let Some(complete) = complete {
                state.control.complete(complete);
            }
            return Ok(());
        }
        let store = &self.run.store;
        notified.union_with(newly_seen);
        let mut notified = Arc::new(notified);
        loop {
            let error = match self.write_notified(state, &notified, &mut complete).await {
                Ok(()) => break,
                Err(SaveError::AuditError(error)) => error,
                Err(SaveError::Conflict(newer)) => {
                    match store.load_notified_set(&newer.control).await {
                        Ok(mut union) => {
                            warn!(
                                certificate_authority = self.arn.id(),
                                sequence = newer.control.sequence,
                                "state changed by another run; keeping both notified sets"
                            );
                            union.union_with(Arc::unwrap_or_clone(notified));
                            notified = Arc::new(union);
                            *state = *newer;
                            continue;
                        }
                        Err(error) => error,
                    }
                }
            };
            // SNS has accepted the message: any time left is well spent on saving that.
            if error.kind.remedy() != Remedy::Retry
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
            notified = notified.len(),
            notified_set = state.control.notified_set,
            "state saved"
        );
        store.remove_older_notified_sets(&state.control).await;
        Ok(())
    }

    async fn write_notified(
        &self,
        state: &mut VersionedState,
        notified: &Arc<NotifiedSet>,
        complete: &mut Option<CompleteAudit>,
    ) -> Result<(), SaveError> {
        let store = &self.run.store;
        let written = store.write_notified_set(&state.control, notified).await;
        state.control.notified_set = Some(written.map_err(SaveError::AuditError)?);
        state.control.notified_count = notified.len() as u64;
        if let Some(complete) = complete.take() {
            state.control.complete(complete);
        }
        store.save(state, &self.run.invocation.nonce).await
    }
}
