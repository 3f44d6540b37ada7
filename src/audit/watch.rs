//! Telling about the watch itself: that it failed, and that it works again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::Audit;
use crate::arn::CertificateAuthorityArn;
use crate::error::{Cure, Fault, FaultKind};
use crate::notice::{Event, WatchError};
use crate::publish::Unpublished;
use crate::state::{Control, RecordedFault};
use crate::timestamp::Timestamp;

/// The faults that were told although no state could record it: known to this process only.
#[derive(Debug, Default)]
pub struct Unrecorded(Mutex<HashMap<CertificateAuthorityArn, Telling>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Telling {
    pub kind: FaultKind,
    /// SNS said so; otherwise its answer was lost.
    pub is_sure: bool,
}

impl Unrecorded {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<CertificateAuthorityArn, Telling>> {
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
        let mut recorded = same.unwrap_or_else(|| RecordedFault {
            kind: kind.to_owned(),
            since: now,
            told: false,
            maybe_told: false,
        });
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
        let is_told = |fault: &RecordedFault| fault.told || fault.maybe_told;
        control.fault = match other {
            Some(other) if is_told(&other) && !recorded.told => Some(other),
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
            report: None,
        };
        if (fault.told || fault.maybe_told)
            && let Err(unpublished) = self.publish(event, audit.last_modified).await
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

    /// A state that cannot be read cannot remember that this was told: an object beside it does, and
    /// where that cannot be reached either, this process.
    pub(super) async fn tell_unreadable_state(&self, fault: &Fault) {
        let told = self.run.unrecorded.lock().get(self.arn).copied();
        let is_told = told
            == Some(Telling {
                kind: fault.kind,
                is_sure: true,
            });
        if fault.kind.cure() != Cure::Person || is_told || self.is_marked_unreadable().await {
            return;
        }
        let now = self.run.budget.now();
        let is_sure = match self.publish_failure(fault, now, None).await {
            Ok(()) => true,
            Err(unpublished) if unpublished.is_in_doubt => false,
            Err(_) => return,
        };
        self.run.unrecorded.lock().insert(
            self.arn.clone(),
            Telling {
                kind: fault.kind,
                is_sure,
            },
        );
        if is_sure {
            self.run.store.mark_unreadable(self.arn, fault, now).await;
        }
    }

    pub(super) async fn tell_readable_state(&self, control: &Control) {
        let marked = self.is_marked_unreadable().await;
        let unrecorded = self.run.unrecorded.lock().remove(self.arn);
        if !marked && unrecorded.is_none() {
            return;
        }
        let kind = unrecorded.map_or(FaultKind::StateUnreadable, |telling| telling.kind);
        let event = Event::WatchRecovered {
            error_type: kind.name().to_owned(),
            since: control
                .last_complete_audit
                .as_ref()
                .map_or(control.watched_since, |last| last.completed_at),
            report: None,
        };
        match self.publish(event, self.run.budget.now()).await {
            Ok(_) if marked => self.run.store.unmark_unreadable(self.arn).await,
            Ok(_) => {}
            Err(unpublished) => {
                warn!(
                    certificate_authority = self.arn.id(),
                    error = unpublished.fault.message,
                    "could not tell that the watch recovered"
                );
                self.run.unrecorded.lock().insert(
                    self.arn.clone(),
                    Telling {
                        kind,
                        is_sure: true,
                    },
                );
            }
        }
    }

    async fn is_marked_unreadable(&self) -> bool {
        match self.run.store.is_marked_unreadable(self.arn).await {
            Ok(marked) => marked,
            Err(failure) => {
                warn!(certificate_authority = self.arn.id(), error = %failure, "not known whether an unreadable state was told");
                false
            }
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
        self.publish(event, since)
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
