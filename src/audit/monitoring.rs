//! Telling about the watch itself: that it failed, and that it works again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::Audit;
use crate::alert::publish::Unpublished;
use crate::alert::{Event, ObjectLocation, ReportSource, WatchError};
use crate::arn::CertificateAuthorityArn;
use crate::error::{Cure, Fault};
use crate::state::control::{Control, RecordedFault};
use crate::state::store::Note;
use crate::timestamp::Timestamp;

/// The faults that were told and that S3 took no record of: known to this process only.
#[derive(Debug, Default)]
pub struct Unrecorded(Mutex<HashMap<CertificateAuthorityArn, RecordedFault>>);

impl Unrecorded {
    fn lock(&self) -> MutexGuard<'_, HashMap<CertificateAuthorityArn, RecordedFault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit<'_> {
    /// Publishes `watch-failed` once per kind of fault.
    pub(super) async fn tell_fault(&self, control: &mut Control, fault: &Fault, now: Timestamp) {
        let kind = fault.kind.name();
        let (same, other) = match control.fault.take() {
            Some(known) if known.kind == kind => (Some(known), None),
            other => (None, other),
        };
        let mut recorded = same.unwrap_or_else(|| RecordedFault::new(kind, now));
        if !recorded.told {
            let last = control
                .last_complete_audit
                .as_ref()
                .map(|audit| audit.completed_at);
            match self.publish_failure(fault, recorded.since, last).await {
                Ok(()) => recorded.told = true,
                Err(unpublished) => recorded.maybe_told |= unpublished.is_in_doubt,
            }
        }
        // A fault that people were told of is remembered until they are told of another one, or of
        // its end.
        control.fault = match other {
            Some(other) if other.may_be_known() && !recorded.told => Some(other),
            _ => Some(recorded),
        };
    }

    /// Publishes `watch-recovered` where `watch-failed` was published.
    pub(super) async fn tell_recovery(&self, control: &mut Control) {
        let (Some(fault), Some(audit)) = (&control.fault, &control.last_complete_audit) else {
            return;
        };
        let event = Event::WatchRecovered {
            error_type: fault.kind.clone(),
            since: fault.since,
            report: ReportSource {
                location: ObjectLocation {
                    bucket: self.run.config.report_bucket.clone(),
                    key: audit.key.clone(),
                },
                requested_at: audit.requested_at,
                previous_requested_at: None,
            },
        };
        let until = self.run.budget.answer_due();
        if fault.may_be_known()
            && let Err(unpublished) = self.publish(event, audit.last_modified, until).await
        {
            warn!(
                certificate_authority = self.arn.id(),
                error = unpublished.fault.message,
                "could not tell that the watch recovered"
            );
            return;
        }
        control.fault = None;
    }

    /// Tells of a state that cannot be had. It cannot remember that this was told: a note beside it
    /// does, and where S3 takes none, this process.
    pub(super) async fn tell_without_state(&self, fault: &Fault) {
        if fault.kind.cure() != Cure::Person {
            return;
        }
        let kind = fault.kind.name();
        let note = self.note().await;
        let may_not_be_read = note.is_there && note.fault.is_none();
        let known = note.fault.filter(|known| known.kind == kind);
        if may_not_be_read || known.as_ref().is_some_and(|known| known.told) {
            return;
        }
        let mut recorded = known.unwrap_or_else(|| RecordedFault::new(kind, self.run.budget.now()));
        match self.publish_failure(fault, recorded.since, None).await {
            Ok(()) => recorded.told = true,
            Err(unpublished) => recorded.maybe_told |= unpublished.is_in_doubt,
        }
        if recorded.may_be_known() {
            self.write_note(&recorded).await;
        }
    }

    /// Puts what was told while no state could record it into the state that can: its end is told,
    /// or another fault, as of any other.
    pub(super) async fn take_note_over(&self, control: &mut Control) -> Note {
        let note = self.note().await;
        if let Some(fault) = &note.fault {
            match &mut control.fault {
                Some(known) if known.kind == fault.kind => {
                    known.told |= fault.told;
                    known.maybe_told |= fault.maybe_told;
                }
                // People know that something is wrong, and will be told of its end.
                Some(known) if known.may_be_known() => {}
                unknown => *unknown = Some(fault.clone()),
            }
        }
        note
    }

    /// Forgets what the control document holds by now.
    pub(super) async fn forget_note(&self, note: &Note) {
        self.run.unrecorded.lock().remove(self.arn);
        if note.is_there
            && let Some(fault) = &note.fault
        {
            self.run.store.remove_note(self.arn, fault).await;
        }
    }

    /// Keeps a fault that was told in mind where the control document does not.
    pub(super) async fn write_note(&self, fault: &RecordedFault) {
        let unrecorded = &self.run.unrecorded;
        // First of all, as the time of this run may end while S3 does not answer.
        unrecorded.lock().insert(self.arn.clone(), fault.clone());
        if self.run.store.write_note(self.arn, fault).await {
            unrecorded.lock().remove(self.arn);
        }
    }

    async fn note(&self) -> Note {
        let note = self.run.store.read_note(self.arn).await;
        let remembered = self.run.unrecorded.lock().get(self.arn).cloned();
        Note {
            fault: remembered.or(note.fault),
            ..note
        }
    }

    /// Publishes `watch-failed`; where it is not published, the answer and the log must do.
    async fn publish_failure(
        &self,
        fault: &Fault,
        since: Timestamp,
        last: Option<Timestamp>,
    ) -> Result<(), Unpublished> {
        let error = WatchError {
            kind: fault.kind.name().to_owned(),
            message: fault.message.clone(),
            hint: fault.hint.clone(),
        };
        let event = Event::WatchFailed {
            error,
            since,
            last_complete_audit_at: last,
        };
        self.publish(event, since, self.run.budget.answer_due())
            .await
            .map(drop)
            .inspect_err(|unpublished| {
                warn!(
                    certificate_authority = self.arn.id(),
                    error_type = unpublished.fault.kind.name(),
                    error = unpublished.fault.message,
                    "could not tell that the watch failed"
                );
            })
    }
}
