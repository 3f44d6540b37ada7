//! Obtains a report to read: the pending one, else a new one.

use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use crate::audit::context::{Audit, Step};
use crate::budget::Budget;
use crate::error::{AuditError, ErrorKind};
use crate::event::Mode;
use crate::pending_report::PendingReport;
use crate::report::request::{self, Requested};
use crate::report::wait::{self, ReportCalls, ReportObject, Waited};
use crate::response::{AuditResponse, Outcome};
use crate::state::control::{CLOCK_TOLERANCE, Control, MAX_SCAN_ATTEMPTS};
use crate::state::store::VersionedState;
use crate::timestamp::Timestamp;

/// Minimum time that a run must have left after waiting for Private CA's request limit.
pub(super) const MIN_TIME_AFTER_WAIT: Duration = Duration::from_secs(300);

/// First wait after Private CA grants no new report although our record allows one: the clocks
/// differ, or somebody else requested one. It doubles each time.
const REFUSED_RETRY: Duration = Duration::from_secs(1);

/// Longest wait between two such requests.
const LONGEST_REFUSED_RETRY: Duration = Duration::from_secs(30);

/// A report whose object exists.
pub(super) struct ReadyReport {
    pub report: PendingReport,
    pub object: ReportObject,
    pub waited_seconds: f64,
}

impl Audit<'_> {
    /// Waits for the pending report, or for a new one.
    pub(super) async fn obtain_report(
        &self,
        state: &mut VersionedState,
    ) -> Result<Step<ReadyReport>, AuditError> {
        let accepts = self.mode == Mode::AcceptReport;
        // An implausible report is read again only to accept it; else a new one takes its place.
        let pending = state.control.pending_report.clone();
        let pending = pending.filter(|report| report.implausible == accepts);
        let obtained = async {
            match pending {
                None if accepts => Err(self.not_accepted("it has no implausible report")),
                None if !self.accepts_requests => {
                    let skipped = AuditResponse::new(self.arn.clone(), Outcome::Skipped);
                    Ok(Step::Break(skipped))
                }
                None => self.request_report(state).await,
                Some(report) if accepts => self.report_to_accept(&state.control, report).await,
                Some(report) if report.attempts < MAX_SCAN_ATTEMPTS => {
                    self.wait_for(state, report, &self.patience_with_pending())
                        .await
                }
                Some(report) => {
                    state.control.pending_report = None;
                    let message = format!(
                        "{} attempts to process audit report {} of {} did not finish; it is abandoned",
                        report.attempts, report.key, self.arn
                    );
                    Err(AuditError::new(ErrorKind::ReportUnfinished, message))
                }
            }
        };
        self.in_time(obtained).await
    }

    async fn wait_for(
        &self,
        state: &mut VersionedState,
        report: PendingReport,
        patience: &Budget,
    ) -> Result<Step<ReadyReport>, AuditError> {
        let run = self.run;
        let started = run.budget.elapsed();
        let calls = ReportCalls {
            budget: patience,
            ..self.report_calls()
        };
        let waited = wait::wait(&calls, &report, &run.status_pacer).await;
        let waited_seconds = (run.budget.elapsed() - started).as_secs_f64();
        match waited {
            Ok(Waited::Ready(object)) => {
                let report = self.correct_age(report, object.last_modified);
                info!(
                    certificate_authority = self.arn.id(),
                    report_id = report.id,
                    size_bytes = object.size_bytes,
                    duration_seconds = waited_seconds,
                    "report ready"
                );
                Ok(Step::Continue(ReadyReport {
                    report,
                    object,
                    waited_seconds,
                }))
            }
            // A run that waited as long as it could leaves the report to the next one.
            Ok(Waited::Unknown(error)) if self.is_queued() => Err(error),
            Ok(Waited::NotReady | Waited::Unknown(_)) => {
                info!(
                    certificate_authority = self.arn.id(),
                    report_id = report.id,
                    duration_seconds = waited_seconds,
                    "report not ready"
                );
                let mut response = AuditResponse::new(self.arn.clone(), Outcome::Waiting);
                response.report = Some(report.summary());
                response.stats.waited_seconds = waited_seconds;
                Ok(Step::Break(response))
            }
            Err(error) => {
                if error.kind.ends_report() {
                    state.control.pending_report = None;
                }
                Err(error)
            }
        }
    }

    /// Returns the implausible report as it was read, if it still exists.
    async fn report_to_accept(
        &self,
        control: &Control,
        report: PendingReport,
    ) -> Result<Step<ReadyReport>, AuditError> {
        let found = self.find(report.clone()).await?;
        found
            .filter(|found| Some(found.object.last_modified) <= control.last_scanned)
            .map(Step::Continue)
            .ok_or_else(|| self.not_accepted(&format!("{} is gone or was replaced", report.key)))
    }

    fn not_accepted(&self, why: &str) -> AuditError {
        let message = format!("no report of {} to accept: {why}", self.arn);
        AuditError::new(ErrorKind::ReportNotAccepted, message)
    }

    /// Finds a report's object without waiting for it.
    pub(super) async fn find(
        &self,
        report: PendingReport,
    ) -> Result<Option<ReadyReport>, AuditError> {
        let bucket = &self.run.config.report_bucket;
        let object = wait::head(self.run.clients, bucket, &report.key)
            .await
            .map_err(|failure| failure.error(&format!("s3://{bucket}/{}", report.key)))?;
        Ok(object.map(|object| ReadyReport {
            report,
            object,
            waited_seconds: 0.0,
        }))
    }

    /// Corrects the time of a report that was requested before we know: its object is older.
    fn correct_age(&self, report: PendingReport, last_modified: Timestamp) -> PendingReport {
        if last_modified.saturating_add(CLOCK_TOLERANCE) >= report.requested_at {
            return report;
        }
        warn!(
            certificate_authority = self.arn.id(),
            report_id = report.id,
            %last_modified,
            "the report's object is older than the request"
        );
        PendingReport {
            requested_at: last_modified,
            ..report
        }
    }

    /// Returns the time for waiting for a report that an earlier run requested. A queued audit only looks
    /// for it: most reports take longer than its patience, which would cost time at each look.
    fn patience_with_pending(&self) -> Budget {
        match self.is_queued() {
            true => self.patience.waiting_at_most(Duration::ZERO),
            false => self.patience,
        }
    }

    fn report_calls(&self) -> ReportCalls<'_> {
        ReportCalls {
            clients: self.run.clients,
            arn: self.arn,
            bucket: &self.run.config.report_bucket,
            budget: &self.patience,
        }
    }

    /// Requests a report, or adopts one that the state does not know; saves it before anything
    /// waits for it.
    async fn request_report(
        &self,
        state: &mut VersionedState,
    ) -> Result<Step<ReadyReport>, AuditError> {
        let (budget, config) = (self.run.budget, self.run.config);
        let interval = config.report_interval;
        let slot = self.run.request.trigger.slot(self.arn);
        let slot = slot.filter(|slot| *slot > budget.clock());
        let next = state.control.next_request_at(budget.clock(), interval);
        let mut not_before = next.max(slot);
        let mut refused_by_aws = false;
        let mut refused_retry = REFUSED_RETRY;
        loop {
            if let Some(at) = not_before
                && !self.wait_until(at).await
            {
                let next_report_at = Timestamp::from(at);
                info!(certificate_authority = self.arn.id(), %next_report_at, refused_by_aws, "too soon to request a report");
                // When AWS accepts a request that it refused is unknown.
                let outcome = match refused_by_aws && self.is_queued() {
                    true => Outcome::Waiting,
                    false => Outcome::TooSoon,
                };
                let mut response = AuditResponse::new(self.arn.clone(), outcome);
                response.next_report_at = Some(next_report_at);
                response.refused_by_aws = refused_by_aws;
                return Ok(Step::Break(response));
            }
            match self.request_or_adopt(state).await {
                Ok(Some(report)) => return self.wait_for(state, report, &self.patience).await,
                Ok(None) => {}
                Err(error) if self.is_queued() && is_throttled_request(&error) => {
                    return Ok(Step::Break(self.throttled(&error)));
                }
                Err(error) => return Err(error),
            }
            refused_by_aws = true;
            not_before = Some(budget.clock() + refused_retry);
            refused_retry = (refused_retry * 2).min(LONGEST_REFUSED_RETRY);
        }
    }

    /// Returns the response for a queued audit whose request was throttled: no failure, as Private CA
    /// throttles some requests every day and the message is sent again.
    fn throttled(&self, error: &AuditError) -> AuditResponse {
        let mut response = AuditResponse::new(self.arn.clone(), Outcome::Waiting);
        response.refused_by_aws = true;
        response.warnings.push(error.to_string());
        response
    }

    /// Waits for Private CA's request limit; `false`, at once, if that is not worthwhile.
    async fn wait_until(&self, at: SystemTime) -> bool {
        let budget = self.run.budget;
        let wait = at.duration_since(budget.clock()).unwrap_or_default();
        let leaves_time = wait + MIN_TIME_AFTER_WAIT < budget.left();
        self.run.waits() && leaves_time && self.patience.wait(wait).await
    }

    /// Returns a report that was requested or adopted, and saved; `None` if Private CA refuses one for
    /// now and there is none to adopt.
    async fn request_or_adopt(
        &self,
        state: &mut VersionedState,
    ) -> Result<Option<PendingReport>, AuditError> {
        let calls = self.report_calls();
        let format = self.run.config.report_format;
        let refusal = match request::request(&calls, format, &self.run.request_pacer).await? {
            // The API model marks the request as idempotent.
            Requested::Report(report, _) if state.control.knows_report(&report.id) => {
                warn!(
                    certificate_authority = self.arn.id(),
                    report_id = report.id,
                    "request returned a known report"
                );
                None
            }
            Requested::Report(report, at) => {
                return self.requested(state, report, at).await.map(Some);
            }
            Requested::TooSoon => None,
            Requested::Refused(error) => {
                warn!(
                    certificate_authority = self.arn.id(),
                    error = error.message,
                    "report request refused; looking for a recent report"
                );
                Some(error)
            }
        };
        if let Some(report) = self.adopt(state).await? {
            return Ok(Some(report));
        }
        let (Some(error), interval) = (refusal, self.run.config.report_interval) else {
            return Ok(None);
        };
        // By Private CA's clock, the interval may not be over yet.
        let earlier = self.run.budget.clock() - CLOCK_TOLERANCE;
        match state.control.next_request_at(earlier, interval) {
            Some(_) => Ok(None),
            None => Err(error),
        }
    }

    /// Saves a report that was requested now. If Private CA created it long before, its age counts
    /// from there.
    async fn requested(
        &self,
        state: &mut VersionedState,
        mut report: PendingReport,
        at: SystemTime,
    ) -> Result<PendingReport, AuditError> {
        let certificate_authority = self.arn.id();
        let (report_id, key) = (report.id.clone(), &report.key);
        info!(certificate_authority, report_id, key, "report requested");
        state.control.set_pending_report(&report, at);
        self.save(state).await?;
        let pacer = &self.run.status_pacer;
        if let Some(created_at) = wait::created_at(&self.report_calls(), &report_id, pacer).await
            && created_at.saturating_add(CLOCK_TOLERANCE) < report.requested_at
        {
            warn!(certificate_authority, report_id, %created_at, "request returned an older report");
            report.requested_at = created_at;
            state.control.set_pending_report(&report, created_at.into());
            self.save(state).await?;
        }
        Ok(report)
    }

    /// Adopts and saves the report that was requested without our knowledge, if there is one.
    async fn adopt(&self, state: &mut VersionedState) -> Result<Option<PendingReport>, AuditError> {
        let (calls, interval) = (self.report_calls(), self.run.config.report_interval);
        let last_scanned = state.control.last_scanned;
        let found = request::find_orphaned_report(&calls, last_scanned, interval).await?;
        let Some(mut report) = found else {
            return Ok(None);
        };
        let written_at = report.requested_at;
        let created_at = wait::created_at(&calls, &report.id, &self.run.status_pacer).await;
        report.requested_at = created_at.map_or(written_at, |at| at.min(written_at));
        state.control.set_pending_report(&report, written_at.into());
        self.save(state).await?;
        Ok(Some(report))
    }
}

/// Whether Private CA throttled the request for a report, and nothing else.
fn is_throttled_request(error: &AuditError) -> bool {
    let resource = error.resource.as_deref().unwrap_or_default();
    error.kind == ErrorKind::Throttled && resource.starts_with("acm-pca:")
}
