//! One certificate authority through the program:
//! lease, report, wait, scan, difference, notice, publish, save.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::alert::publish::{Publisher, Unpublished};
use crate::alert::{
    Alert, AlertKind, CertificateAuthority, ObjectLocation, ReportSource, RevocationAlert, Totals,
};
use crate::arn::CertificateAuthorityArn;
use crate::audit::new_revocations::Selection;
use crate::aws::certificate_authorities::Names;
use crate::aws::clients::Clients;
use crate::budget::{Budget, Pacer};
use crate::config::Config;
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::event::Mode;
use crate::pending_report::PendingReport;
use crate::report::scanner::ScanTotals;
use crate::report::wait::{self, ReportObject};
use crate::response::{AuditResponse, Outcome, ReportSummary};
use crate::state::control::{CLOCK_TOLERANCE, CompleteAudit, Control, Lease, RecordedError};
use crate::state::notified_set::NotifiedSet;
use crate::state::store::{ErrorMarker, LeaseAttempt, SaveError, Store, VersionedState};
use crate::timestamp::Timestamp;

mod monitoring;
pub mod new_revocations;
mod obtain_report;
mod scan;
mod scan_limiter;

pub use monitoring::UnsavedErrors;
pub use scan_limiter::{ScanLimiter, ScanSlot};

use obtain_report::ReportStep;
use scan::{Scanned, abandon_if_tried_enough};

/// How often it is tried again to save what was told.
const COMMIT_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// What the audits of one invocation share.
pub struct Run<'a> {
    pub config: &'a Config,
    pub clients: &'a Clients,
    pub names: &'a Names,
    pub unrecorded: &'a UnsavedErrors,
    pub budget: &'a Budget,
    pub store: Store,
    pub publisher: Publisher<'a>,
    /// Requests for reports: one per second and account (AWS Private CA quotas).
    pub requests: Pacer,
    /// Questions for the status of reports: 20 per second and account, of which we take half.
    pub questions: Pacer,
    pub scan_limiter: ScanLimiter,
    /// Lambda's id of the invocation.
    pub request_id: String,
    /// Tells this run from another with the same request id.
    pub nonce: String,
    /// Whether to wait for Private CA's limit and for other runs.
    pub waits: bool,
    /// Whether a run without an audit counts towards an overdue one.
    pub is_scheduled: bool,
}

/// Works on one certificate authority and answers for it, whatever happens.
///
/// `expected` are the ARNs of certificates that are said to be revoked; those that the report does
/// not show as revoked come back beside the answer.
pub async fn audit(
    run: &Run<'_>,
    arn: &CertificateAuthorityArn,
    mode: Mode,
    expected: &[String],
    scan_slot: ScanSlot<'_>,
) -> (AuditResponse, Vec<String>) {
    let audit = Audit {
        run,
        arn,
        mode,
        expected,
    };
    let mut scan_slot = Some(scan_slot);
    let result = match mode {
        Mode::Audit => audit.audit_with_lease(&mut scan_slot).await,
        _ => audit.audit_read_only(&mut scan_slot).await,
    };
    let (response, unconfirmed) = result
        .unwrap_or_else(|error| (AuditResponse::failed(arn.clone(), error), expected.to_vec()));
    match &response.error {
        Some(error) => warn!(
            certificate_authority = arn.id(),
            error_type = error.kind.name(),
            error = error.message,
            hint = error.hint,
            "failed"
        ),
        None => info!(
            certificate_authority = arn.id(),
            outcome = response.outcome.name(),
            "done"
        ),
    }
    (response, unconfirmed)
}

type Answered = (AuditResponse, Vec<String>);

struct Audit<'a> {
    run: &'a Run<'a>,
    arn: &'a CertificateAuthorityArn,
    mode: Mode,
    expected: &'a [String],
}

impl Audit<'_> {
    /// An audit that tells and remembers: under the lease from the first look to the last write.
    async fn audit_with_lease(
        &self,
        scan_slot: &mut Option<ScanSlot<'_>>,
    ) -> Result<Answered, AuditError> {
        let mut state = match self.take_lease().await {
            Ok(LeaseAttempt::Acquired(state)) => *state,
            Ok(LeaseAttempt::HeldBy(holder)) => return Ok(self.busy(&holder)),
            Err(error) => {
                self.announce_error_without_state(&error).await;
                return Err(error);
            }
        };
        let marker = self.adopt_error_marker(&mut state.control).await;
        let result = self.under_lease(&mut state, scan_slot).await;
        self.finalize(state, result, marker).await
    }

    async fn under_lease(
        &self,
        state: &mut VersionedState,
        scan_slot: &mut Option<ScanSlot<'_>>,
    ) -> Result<Answered, AuditError> {
        let selection = self.selection(&state.control);
        let read = async {
            match self.obtain_report(state).await? {
                ReportStep::Ready(report, object, waited_seconds) => {
                    let mut scanned = self
                        .scan_counted(state, &report, &object, selection, scan_slot)
                        .await?;
                    scanned.stats.waited_seconds = waited_seconds;
                    Ok(Ok((report, object, scanned)))
                }
                ReportStep::Not(response) => Ok(Err(response)),
            }
        };
        let (report, object, scanned) = match self.in_time(read).await {
            Ok(Ok(read)) => read,
            Ok(Err(response)) => return Ok((*response, self.expected.to_vec())),
            Err(error) => return Err(abandon_if_tried_enough(&mut state.control, error)),
        };

        let mut warnings = scanned.warnings.clone();
        let source = self.source(&state.control, &report);
        let totals = totals(&scanned.totals);
        if let Selection::Unnotified {
            notify_from: Some(notify_from),
        } = selection
            && scanned.invalid.is_none()
            && !state.control.started
        {
            let kind = AlertKind::WatchStarted {
                report: source.clone(),
                totals,
                revoked: scanned.revoked,
                notify_from,
                to_notify: scanned.batch.len(),
            };
            warnings.extend(self.publish_alert(kind, object.last_modified).await?);
            // Not said again where the next message fails.
            state.control.started = true;
        }
        if !scanned.batch.is_empty() {
            let kind = AlertKind::Revocations(RevocationAlert::new(
                scanned.batch,
                source,
                totals,
                scanned.full_list,
            ));
            warnings.extend(self.publish_alert(kind, object.last_modified).await?);
        }

        let mut response = AuditResponse::new(self.arn.clone(), Outcome::Audited);
        response.report = Some(ReportSummary::from(&report));
        response.read = Some(scanned.read);
        response.stats = scanned.stats;
        warn_if_shrunk(
            state.control.last_complete_audit.as_ref(),
            totals,
            &mut warnings,
        );
        response.warnings = warnings;
        let complete = match scanned.invalid {
            None => Some(CompleteAudit {
                report_id: report.id.clone(),
                key: report.key.clone(),
                e_tag: object.e_tag.clone(),
                requested_at: report.requested_at,
                last_modified: object.last_modified,
                completed_at: self.run.budget.now(),
                certificates: totals.certificates,
                revoked: totals.revoked,
            }),
            Some(error) => {
                let error = AuditError::new(
                    ErrorKind::ReportInvalid,
                    format!(
                        "the audit report {} of {} is not valid: {error}",
                        report.key, self.arn
                    ),
                );
                response.outcome = Outcome::Failed;
                response.error = Some(abandon_if_tried_enough(&mut state.control, error));
                None
            }
        };
        self.commit_notified(state, scanned.notified, scanned.newly_seen, complete)
            .await?;
        Ok((response, scanned.unconfirmed))
    }

    /// A dry run or a replay: reads the last complete report, and asks for one only where there is
    /// none. Nothing is marked as told.
    async fn audit_read_only(
        &self,
        scan_slot: &mut Option<ScanSlot<'_>>,
    ) -> Result<Answered, AuditError> {
        let state = self.run.store.load(self.arn, self.run.budget.now()).await?;
        if let Some(last) = &state.control.last_complete_audit {
            let bucket = &self.run.config.report_bucket;
            let object = wait::head(self.run.clients, bucket, &last.key)
                .await
                .map_err(|failure| failure.error(&format!("s3://{bucket}/{}", last.key)))?
                .filter(|object| object.e_tag == last.e_tag);
            if let Some(object) = object {
                let report = PendingReport {
                    id: last.report_id.clone(),
                    key: last.key.clone(),
                    requested_at: last.requested_at,
                    attempts: 0,
                };
                let scanned = self
                    .scan_only(&state.control, &report, &object, scan_slot)
                    .await?;
                return self
                    .respond_read_only(&state.control, &report, &object, scanned)
                    .await;
            }
        }
        let mut state = match self.take_lease().await? {
            LeaseAttempt::Acquired(state) => *state,
            LeaseAttempt::HeldBy(holder) => return Ok(self.busy(&holder)),
        };
        let read = async {
            match self.obtain_report(&mut state).await? {
                ReportStep::Ready(report, object, _) => {
                    let scanned = self
                        .scan_only(&state.control, &report, &object, scan_slot)
                        .await?;
                    Ok(Ok((report, object, scanned)))
                }
                ReportStep::Not(response) => Ok(Err(response)),
            }
        };
        let result = match self.in_time(read).await {
            Ok(Ok((report, object, scanned))) => {
                self.respond_read_only(&state.control, &report, &object, scanned)
                    .await
            }
            Ok(Err(response)) => Ok((*response, Vec::new())),
            Err(error) => Err(error),
        };
        state.control.release(&self.run.nonce);
        self.save(&mut state).await?;
        result
    }

    /// Stops work that does not end by itself while the state can still be saved.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, AuditError>>,
    ) -> Result<T, AuditError> {
        match tokio::time::timeout_at(self.run.budget.saving_starts(), work).await {
            Ok(result) => result,
            Err(_) => Err(self.out_of_time("the time for reading its report was over")),
        }
    }

    async fn take_lease(&self) -> Result<LeaseAttempt, AuditError> {
        let lease = Lease {
            request_id: self.run.request_id.clone(),
            nonce: self.run.nonce.clone(),
            until: self.run.budget.deadline().saturating_add(CLOCK_TOLERANCE),
        };
        self.run
            .store
            .take(self.arn, &lease, self.run.budget, self.run.waits)
            .await
    }

    fn busy(&self, holder: &Lease) -> Answered {
        info!(
            certificate_authority = self.arn.id(),
            holder = holder.request_id,
            until = %holder.until,
            "another run holds this certificate authority"
        );
        let mut response = AuditResponse::new(self.arn.clone(), Outcome::Busy);
        response.busy_until = Some(holder.until);
        (response, self.expected.to_vec())
    }

    async fn save(&self, state: &mut VersionedState) -> Result<(), AuditError> {
        self.run
            .store
            .save(state, &self.run.nonce)
            .await
            .map_err(SaveError::into_error)
    }

    /// The answer of a dry run, or of a replay after it was published.
    async fn respond_read_only(
        &self,
        control: &Control,
        report: &PendingReport,
        object: &ReportObject,
        scanned: Scanned,
    ) -> Result<Answered, AuditError> {
        if let Some(error) = &scanned.invalid {
            return Err(AuditError::new(
                ErrorKind::ReportInvalid,
                format!(
                    "the audit report {} of {} is not valid: {error}",
                    report.key, self.arn
                ),
            ));
        }
        let mut response = AuditResponse::new(self.arn.clone(), Outcome::Audited);
        response.report = Some(ReportSummary::from(report));
        response.read = Some(scanned.read);
        response.stats = scanned.stats;
        response.warnings = scanned.warnings;
        response.last_complete_audit_at = control
            .last_complete_audit
            .as_ref()
            .map(|audit| audit.completed_at);
        if let Mode::Replay {
            since,
            dry_run: false,
        } = self.mode
            && !scanned.batch.is_empty()
        {
            let kind = AlertKind::Replay {
                revocations: RevocationAlert::new(
                    scanned.batch,
                    self.source(control, report),
                    totals(&scanned.totals),
                    scanned.full_list,
                ),
                since,
                request_id: self.run.request_id.clone(),
            };
            response
                .warnings
                .extend(self.publish_alert(kind, object.last_modified).await?);
        }
        Ok((response, Vec::new()))
    }

    /// Writes what was told: the told list first, then the control document that points to it and
    /// calls the audit complete.
    ///
    /// Told is told: where another run changed the state meanwhile, the union is kept.
    async fn commit_notified(
        &self,
        state: &mut VersionedState,
        mut notified: NotifiedSet,
        newly_seen: NotifiedSet,
        mut complete: Option<CompleteAudit>,
    ) -> Result<(), AuditError> {
        // The first list is written even if it is empty: where there is one, a control document
        // that is not there was deleted.
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
            let switched = async {
                state.control.notified_set =
                    Some(store.write_notified_set(&state.control, &notified).await?);
                state.control.notified_count = notified.len() as u64;
                if let Some(complete) = complete.take() {
                    state.control.complete(complete);
                }
                match store.save(state, &self.run.nonce).await {
                    Ok(()) => Ok(None),
                    Err(SaveError::Conflict(newer)) => Ok(Some((
                        store.load_notified_set(&newer.control).await?,
                        newer,
                    ))),
                    Err(SaveError::AuditError(error)) => Err(error),
                }
            };
            match switched.await {
                Ok(None) => break,
                Ok(Some((mut union, newer))) => {
                    warn!(
                        certificate_authority = self.arn.id(),
                        sequence = newer.control.sequence,
                        "another run changed the state: keeping what both told"
                    );
                    union.union_with(Arc::unwrap_or_clone(notified));
                    notified = Arc::new(union);
                    *state = *newer;
                }
                // SNS has accepted the message: until it is saved, all the time left is well spent.
                Err(error) if error.kind.remedy() == Remedy::Retry => {
                    warn!(
                        certificate_authority = self.arn.id(),
                        error = error.message,
                        "saving again what was told"
                    );
                    if COMMIT_RETRY_INTERVAL >= self.run.budget.left_to_respond() {
                        return Err(error);
                    }
                    tokio::time::sleep(COMMIT_RETRY_INTERVAL).await;
                }
                Err(error) => return Err(error),
            }
        }
        info!(
            certificate_authority = self.arn.id(),
            notified = notified.len(),
            notified_set = state.control.notified_set,
            "remembered what was told"
        );
        store.remove_older_notified_sets(&state.control).await;
        Ok(())
    }

    /// Tells what changed about the watch itself, releases the lease and saves.
    async fn finalize(
        &self,
        mut state: VersionedState,
        result: Result<Answered, AuditError>,
        marker: ErrorMarker,
    ) -> Result<Answered, AuditError> {
        let now = self.run.budget.now();
        let known = state.control.error.clone();
        let control = &mut state.control;
        let (mut response, unconfirmed) = result.unwrap_or_else(|error| {
            (
                AuditResponse::failed(self.arn.clone(), error),
                self.expected.to_vec(),
            )
        });
        if response.outcome != Outcome::Audited
            && self.run.is_scheduled
            && control.count_run_without_audit(now, self.run.config.report_interval)
            && response
                .error
                .as_ref()
                .is_none_or(|error| error.kind.remedy() == Remedy::Retry)
            // People who know of another fault know that there is no audit.
            && control.error.as_ref().is_none_or(|known| {
                !known.may_be_announced() || known.kind == ErrorKind::ReportOverdue.name()
            })
        {
            let cause = match &response.error {
                Some(error) => format!("the last run failed with {error}"),
                None => format!("the last run ended as {:?}", response.outcome),
            };
            let since = control.without_audit_since.unwrap_or(now);
            response.outcome = Outcome::Failed;
            response.error = Some(AuditError::new(
                ErrorKind::ReportOverdue,
                format!("{} had no complete audit since {since}; {cause}", self.arn),
            ));
        }
        match &response.error {
            Some(error) if error.kind.remedy() == Remedy::Operator => {
                self.announce_error(control, error, now).await;
            }
            None if response.outcome == Outcome::Audited => self.announce_recovery(control).await,
            _ => {}
        }
        response.last_complete_audit_at = control
            .last_complete_audit
            .as_ref()
            .map(|audit| audit.completed_at);
        response.unaudited_since = response
            .last_complete_audit_at
            .or(Some(control.first_seen_at));
        control.release(&self.run.nonce);
        if let Err(failure) = self.save(&mut state).await {
            // The state does not know what people were told of just now.
            let recorded = state.control.error.filter(RecordedError::may_be_announced);
            if recorded != known
                && let Some(error) = recorded
            {
                self.write_error_marker(&error).await;
            }
            return Err(failure);
        }
        self.clear_error_marker(&marker).await;
        Ok((response, unconfirmed))
    }

    /// Publishes what the audit has to say, and gives the warnings on the way. An answer that does
    /// not come leaves the time to save.
    async fn publish_alert(
        &self,
        kind: AlertKind,
        detected_at: Timestamp,
    ) -> Result<Vec<String>, AuditError> {
        let until = self.run.budget.saving_starts();
        let published = self.publish(kind, detected_at, until).await;
        published.map_err(|unpublished| unpublished.error)
    }

    async fn publish(
        &self,
        kind: AlertKind,
        detected_at: Timestamp,
        until: Instant,
    ) -> Result<Vec<String>, Unpublished> {
        let name = self.run.names.get(self.run.clients, self.arn).await;
        let alert = Alert {
            certificate_authority: CertificateAuthority::new(self.arn, name),
            detected_at,
            kind,
        };
        let published = self.run.publisher.publish(&alert, until).await?;
        Ok(published.warnings)
    }

    fn selection(&self, control: &Control) -> Selection {
        let notify_from = control
            .first_seen_at
            .saturating_sub(self.run.config.initial_lookback);
        Selection::Unnotified {
            notify_from: control.last_complete_audit.is_none().then_some(notify_from),
        }
    }

    fn source(&self, control: &Control, report: &PendingReport) -> ReportSource {
        let previous = control.last_complete_audit.as_ref();
        ReportSource {
            location: ObjectLocation {
                bucket: self.run.config.report_bucket.clone(),
                key: report.key.clone(),
            },
            requested_at: report.requested_at,
            previous_requested_at: previous
                .map(|audit| audit.requested_at)
                .filter(|&before| before < report.requested_at),
        }
    }

    fn out_of_time(&self, what: &str) -> AuditError {
        AuditError::new(ErrorKind::OutOfTime, format!("{}: {what}", self.arn))
    }
}

/// Rows only accumulate: a report that holds fewer than the one before is worth a warning, and no
/// reason to forget.
fn warn_if_shrunk(last: Option<&CompleteAudit>, totals: Totals, warnings: &mut Vec<String>) {
    let Some(last) = last else { return };
    for (what, before, now) in [
        ("certificates", last.certificates, totals.certificates),
        ("revocations", last.revoked, totals.revoked),
    ] {
        if now < before {
            warnings.push(format!(
                "the report holds {now} {what}, the one before held {before}"
            ));
        }
    }
}

fn totals(totals: &ScanTotals) -> Totals {
    Totals {
        certificates: totals.certificates,
        revoked: totals.revoked,
    }
}
