//! Telling about the watch itself: that it failed, and that it works again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::Audit;
use crate::alert::publish::Unpublished;
use crate::alert::{AlertKind, ObjectLocation, ReportSource, WatchError};
use crate::arn::CertificateAuthorityArn;
use crate::error::{AuditError, Remedy};
use crate::state::control::{Control, RecordedError};
use crate::state::store::ErrorMarker;
use crate::timestamp::Timestamp;

/// The faults that were told and that S3 took no record of: known to this process only.
#[derive(Debug, Default)]
pub struct UnsavedErrors(Mutex<HashMap<CertificateAuthorityArn, RecordedError>>);

impl UnsavedErrors {
    fn lock(&self) -> MutexGuard<'_, HashMap<CertificateAuthorityArn, RecordedError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit<'_> {
    /// Publishes `watch-failed` once per kind of fault.
    pub(super) async fn announce_error(
        &self,
        control: &mut Control,
        error: &AuditError,
        now: Timestamp,
    ) {
        let kind = error.kind.name();
        let (same, other) = match control.error.take() {
            Some(known) if known.kind == kind => (Some(known), None),
            other => (None, other),
        };
        let mut recorded = same.unwrap_or_else(|| RecordedError::new(kind, now));
        if !recorded.announced {
            let last = control
                .last_complete_audit
                .as_ref()
                .map(|audit| audit.completed_at);
            match self.publish_watch_failed(error, recorded.since, last).await {
                Ok(()) => recorded.announced = true,
                Err(unpublished) => recorded.maybe_announced |= unpublished.is_unknown,
            }
        }
        // A fault that people were told of is remembered until they are told of another one, or of
        // its end.
        control.error = match other {
            Some(other) if other.may_be_announced() && !recorded.announced => Some(other),
            _ => Some(recorded),
        };
    }

    /// Publishes `watch-recovered` where `watch-failed` was published.
    pub(super) async fn announce_recovery(&self, control: &mut Control) {
        let (Some(error), Some(audit)) = (&control.error, &control.last_complete_audit) else {
            return;
        };
        let kind = AlertKind::WatchRecovered {
            error_type: error.kind.clone(),
            since: error.since,
            report: ReportSource {
                location: ObjectLocation {
                    bucket: self.run.config.report_bucket.clone(),
                    key: audit.key.clone(),
                },
                requested_at: audit.requested_at,
                previous_requested_at: None,
            },
        };
        let until = self.run.budget.response_due();
        if error.may_be_announced()
            && let Err(unpublished) = self.publish(kind, audit.last_modified, until).await
        {
            warn!(
                certificate_authority = self.arn.id(),
                error = unpublished.error.message,
                "could not tell that the watch recovered"
            );
            return;
        }
        control.error = None;
    }

    /// Tells of a state that cannot be had. It cannot remember that this was told: a note beside it
    /// does, and where S3 takes none, this process.
    pub(super) async fn announce_error_without_state(&self, error: &AuditError) {
        if error.kind.remedy() != Remedy::Operator {
            return;
        }
        let kind = error.kind.name();
        let marker = self.marker().await;
        let may_not_be_read = marker.is_there && marker.error.is_none();
        let known = marker.error.filter(|known| known.kind == kind);
        if may_not_be_read || known.as_ref().is_some_and(|known| known.announced) {
            return;
        }
        let mut recorded = known.unwrap_or_else(|| RecordedError::new(kind, self.run.budget.now()));
        match self.publish_watch_failed(error, recorded.since, None).await {
            Ok(()) => recorded.announced = true,
            Err(unpublished) => recorded.maybe_announced |= unpublished.is_unknown,
        }
        if recorded.may_be_announced() {
            self.write_error_marker(&recorded).await;
        }
    }

    /// Puts what was told while no state could record it into the state that can: its end is told,
    /// or another fault, as of any other.
    pub(super) async fn adopt_error_marker(&self, control: &mut Control) -> ErrorMarker {
        let marker = self.marker().await;
        if let Some(error) = &marker.error {
            match &mut control.error {
                Some(known) if known.kind == error.kind => {
                    known.announced |= error.announced;
                    known.maybe_announced |= error.maybe_announced;
                }
                // People know that something is wrong, and will be told of its end.
                Some(known) if known.may_be_announced() => {}
                unknown => *unknown = Some(error.clone()),
            }
        }
        marker
    }

    /// Forgets what the control document holds by now.
    pub(super) async fn clear_error_marker(&self, marker: &ErrorMarker) {
        self.run.unrecorded.lock().remove(self.arn);
        if marker.is_there
            && let Some(error) = &marker.error
        {
            self.run.store.remove_error_marker(self.arn, error).await;
        }
    }

    /// Keeps a fault that was told in mind where the control document does not.
    pub(super) async fn write_error_marker(&self, error: &RecordedError) {
        let unrecorded = &self.run.unrecorded;
        // First of all, as the time of this run may end while S3 does not answer.
        unrecorded.lock().insert(self.arn.clone(), error.clone());
        if self.run.store.write_error_marker(self.arn, error).await {
            unrecorded.lock().remove(self.arn);
        }
    }

    async fn marker(&self) -> ErrorMarker {
        let marker = self.run.store.read_error_marker(self.arn).await;
        let remembered = self.run.unrecorded.lock().get(self.arn).cloned();
        ErrorMarker {
            error: remembered.or(marker.error),
            ..marker
        }
    }

    /// Publishes `watch-failed`; where it is not published, the answer and the log must do.
    async fn publish_watch_failed(
        &self,
        error: &AuditError,
        since: Timestamp,
        last: Option<Timestamp>,
    ) -> Result<(), Unpublished> {
        let error = WatchError {
            kind: error.kind.name().to_owned(),
            message: error.message.clone(),
            hint: error.hint.clone(),
        };
        let kind = AlertKind::WatchFailed {
            error,
            since,
            last_complete_audit_at: last,
        };
        self.publish(kind, since, self.run.budget.response_due())
            .await
            .map(drop)
            .inspect_err(|unpublished| {
                warn!(
                    certificate_authority = self.arn.id(),
                    error_type = unpublished.error.kind.name(),
                    error = unpublished.error.message,
                    "could not tell that the watch failed"
                );
            })
    }
}
