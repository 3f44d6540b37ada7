//! The one place that distinguishes the kinds of alerts. A new kind is a variant of [`AlertKind`] and an
//! arm of [`content`].

use crate::alert::content::Content;
use crate::alert::types::{Alert, AlertKind};
use crate::alert::{revocations, summary, watch};

/// Returns what the message of an alert says.
pub(super) fn content(alert: &Alert) -> Content {
    match &alert.kind {
        AlertKind::Revocations(revocations) => revocations::new(alert, revocations),
        AlertKind::Replay {
            revocations,
            since,
            request_id,
        } => revocations::replay(alert, revocations, *since, request_id),
        AlertKind::Test { request_id } => revocations::test(alert, request_id),
        AlertKind::WatchStarted { audits, since } => watch::started(alert, audits, *since),
        AlertKind::WatchFailed {
            error,
            earlier,
            last_complete_audit_at,
        } => watch::failed(alert, error, *earlier, *last_complete_audit_at),
        AlertKind::WatchRecovered {
            error_type,
            resource,
            since,
            audited_since,
            left,
        } => {
            let problem = watch::Problem {
                kind: error_type,
                resource: resource.as_deref(),
                since: *since,
            };
            watch::recovered(alert, problem, *audited_since, *left)
        }
        AlertKind::WatchStopped { coverage, since } => watch::stopped(alert, coverage, *since),
        AlertKind::WatchSummary(summary) => summary::of(alert, summary),
    }
}
