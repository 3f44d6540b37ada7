//! Announces that auditing a CA fails and that it works again.

use tracing::warn;

use crate::alert::publish::Unpublished;
use crate::alert::{AlertKind, ObjectLocation, ReportSource};
use crate::audit::context::Audit;
use crate::error::{AuditError, Remedy};
use crate::state::control::{Control, RecordedError};
use crate::timestamp::Timestamp;

impl Audit<'_> {
    /// Confirms an error that people know of or that an earlier run saw; records one that is new in
    /// `seen`. Lambda's retries and other runs at about the same time confirm nothing.
    pub(super) fn confirm(
        &self,
        known: Option<&RecordedError>,
        seen: &mut Option<RecordedError>,
        error: AuditError,
    ) -> AuditError {
        if !error.is_unconfirmed {
            return error;
        }
        let (name, request_id) = (error.kind.name(), &self.run.invocation.request_id);
        let now = self.run.budget.now();
        let is_same = |known: &RecordedError| known.kind == name;
        if known.is_some_and(|known| is_same(known) && known.possibly_announced()) {
            return error.confirmed();
        }
        match seen.as_ref().filter(|seen| is_same(seen)) {
            Some(first) => {
                let is_later = now.since(first.since) >= self.run.config.report_interval / 2;
                if is_later && first.seen_by != *request_id {
                    return error.confirmed();
                }
            }
            None => *seen = Some(RecordedError::new(name, now, request_id)),
        }
        error
    }

    /// Publishes `watch-failed` once per kind of error.
    pub(super) async fn announce_error(&self, control: &mut Control, error: &AuditError) {
        let last = control.last_complete_audit.as_ref();
        let last = last.map(|audit| audit.requested_at);
        let known = control.error.clone();
        let confirmed_topic = &mut control.confirmed_topic;
        let recorded = self.announce(error, known, last, confirmed_topic).await;
        // An announced error stays recorded until another one or its end is announced.
        let stays =
            |known: &RecordedError| known.kind != recorded.kind && known.possibly_announced();
        if recorded.announced || !control.error.as_ref().is_some_and(stays) {
            control.error = Some(recorded);
        }
    }

    /// Publishes `watch-recovered` if `watch-failed` was published and the report of the last
    /// complete audit was requested after the error began: an older one cannot show that it is over.
    pub(super) async fn announce_recovery(&self, control: &mut Control) {
        let (Some(error), Some(audit)) = (&control.error, &control.last_complete_audit) else {
            return;
        };
        if error.possibly_announced() && audit.requested_at < error.since {
            return;
        }
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
                certificates: audit.certificates,
                revoked: audit.revoked,
            },
        };
        let until = self.run.budget.announce_deadline();
        if error.possibly_announced() {
            let confirmed_topic = &mut control.confirmed_topic;
            let published = self.publish(kind, audit.last_modified, until, confirmed_topic);
            let unpublished = match published.await {
                Ok(published) => published.unverified,
                Err(unpublished) => Some(unpublished.error),
            };
            if let Some(error) = unpublished {
                warn!(
                    certificate_authority = self.arn.id(),
                    error = error.message,
                    "watch-recovered not published"
                );
                return;
            }
        }
        control.error = None;
    }

    /// Announces that the state cannot be read or written; returns the error, which is confirmed if
    /// an earlier run saw it. A marker beside the state records that, or this process if S3 does not
    /// store the marker.
    pub(super) async fn announce_error_without_state(&self, error: AuditError) -> AuditError {
        if error.kind.remedy() != Remedy::Operator {
            return error;
        }
        let Ok(known) = self.run.store.read_error_marker(self.arn).await else {
            return error;
        };
        let mut seen = known.clone();
        let mut error = self.confirm(known.as_ref(), &mut seen, error);
        if error.is_unconfirmed {
            let is_recorded = match seen {
                seen if seen == known => true,
                // The marker has room for one error: people know already that this CA fails.
                _ if known
                    .as_ref()
                    .is_some_and(RecordedError::possibly_announced) =>
                {
                    false
                }
                Some(seen) => self.run.store.write_error_marker(self.arn, &seen).await,
                None => false,
            };
            if is_recorded {
                return error;
            }
            // No later run could know that this one saw it.
            error = error.confirmed();
        }
        let recorded = self.announce(&error, known.clone(), None, &mut None).await;
        let is_recorded = recorded.announced && known.as_ref() == Some(&recorded);
        if recorded.possibly_announced() && !is_recorded {
            self.run.store.write_error_marker(self.arn, &recorded).await;
        }
        error
    }

    /// Moves what was announced without a state into the state, so that its end is announced;
    /// returns it.
    pub(super) async fn adopt_error_marker(&self, control: &mut Control) -> Option<RecordedError> {
        let error = self.run.store.read_error_marker(self.arn).await.ok()??;
        match &mut control.error {
            _ if !error.possibly_announced() => {
                control
                    .unconfirmed_error
                    .get_or_insert_with(|| error.clone());
            }
            Some(known) if known.kind == error.kind => {
                known.announced |= error.announced;
                known.maybe_announced |= error.maybe_announced;
            }
            // The end of that error will be announced.
            Some(known) if known.possibly_announced() => {}
            unknown => *unknown = Some(error.clone()),
        }
        Some(error)
    }

    /// Publishes `watch-failed`, unless this kind of error is known to be announced; returns what
    /// is known then.
    async fn announce(
        &self,
        error: &AuditError,
        known: Option<RecordedError>,
        last_complete_audit_at: Option<Timestamp>,
        confirmed_topic: &mut Option<String>,
    ) -> RecordedError {
        let name = error.kind.name();
        let known = known.filter(|known| known.kind == name);
        let mut recorded = known.unwrap_or_else(|| {
            let seen_by = &self.run.invocation.request_id;
            RecordedError::new(name, self.run.budget.now(), seen_by)
        });
        if recorded.announced {
            return recorded;
        }
        let since = recorded.since;
        let kind = AlertKind::WatchFailed {
            error: error.clone(),
            last_complete_audit_at,
        };
        let until = self.run.budget.announce_deadline();
        let published = self.publish(kind, since, until, confirmed_topic).await;
        let (error, is_unknown) = match published {
            Ok(published) => match published.unverified {
                Some(error) => (error, true),
                None => {
                    recorded.announced = true;
                    return recorded;
                }
            },
            Err(Unpublished { error, is_unknown }) => (error, is_unknown),
        };
        recorded.maybe_announced |= is_unknown;
        warn!(
            certificate_authority = self.arn.id(),
            error_type = error.kind.name(),
            error = error.message,
            "watch-failed not published"
        );
        recorded
    }
}
