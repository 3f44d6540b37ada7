//! Finding a report to read: the one in hand, else a new one, waited for.

use std::time::{Duration, SystemTime};

use tracing::info;

use super::Audit;
use crate::error::{AuditError, ErrorKind};
use crate::pending_report::PendingReport;
use crate::report::request::{self, RequestOutcome};
use crate::report::wait::{self, ReportObject, Waited};
use crate::response::{AuditResponse, Outcome, ReportSummary};
use crate::state::control::{MAX_SCAN_ATTEMPTS, NextStep};
use crate::state::store::VersionedState;
use crate::timestamp::Timestamp;

/// A run waits for Private CA's limit only if that leaves it so much time to go on.
const MIN_TIME_AFTER_WAIT: Duration = Duration::from_secs(300);

/// The first wait after AWS refused a request against our own record, which clocks alone may
/// explain; it doubles with each up to the longest.
const REFUSED_RETRY: Duration = Duration::from_secs(1);
const LONGEST_REFUSED_RETRY: Duration = Duration::from_secs(30);

/// What came of looking for a report to read.
pub(super) enum ReportStep {
    /// With the seconds that it was waited for.
    Ready(PendingReport, ReportObject, f64),
    /// There is none to read yet.
    Not(Box<AuditResponse>),
}

impl Audit<'_> {
    /// The report in hand, else a new one, waited for.
    pub(super) async fn obtain_report(
        &self,
        state: &mut VersionedState,
    ) -> Result<ReportStep, AuditError> {
        let report = match state
            .control
            .next_step(self.run.budget.clock(), self.run.config.report_interval)
        {
            NextStep::Resume(report) => report,
            NextStep::Request { not_before } => {
                match self.request_report(state, not_before).await? {
                    Ok(report) => report,
                    Err(too_soon) => return Ok(ReportStep::Not(too_soon)),
                }
            }
        };
        if report.attempts >= MAX_SCAN_ATTEMPTS {
            state.control.pending_report = None;
            return Err(AuditError::new(
                ErrorKind::ReportUnfinished,
                format!(
                    "the audit report {} of {} was begun {} times and never read to its end; it is dropped",
                    report.key, self.arn, report.attempts
                ),
            ));
        }
        let started = self.run.budget.elapsed();
        let waited = wait::wait(
            self.run.clients,
            self.arn,
            &self.run.config.report_bucket,
            &report,
            &self.run.questions,
            self.run.budget,
        )
        .await?;
        let waited_seconds = (self.run.budget.elapsed() - started).as_secs_f64();
        match waited {
            Waited::Ready(object) => {
                info!(
                    certificate_authority = self.arn.id(),
                    report = report.id,
                    size_bytes = object.size_bytes,
                    waited_seconds,
                    "report is there"
                );
                Ok(ReportStep::Ready(report, object, waited_seconds))
            }
            Waited::NotYet => {
                info!(
                    certificate_authority = self.arn.id(),
                    report = report.id,
                    waited_seconds,
                    "report is not there yet: the next run takes it up"
                );
                let mut response = AuditResponse::new(self.arn.clone(), Outcome::Waiting);
                response.report = Some(ReportSummary::from(&report));
                response.stats.waited_seconds = waited_seconds;
                Ok(ReportStep::Not(Box::new(response)))
            }
            Waited::Gone(error) => {
                state.control.pending_report = None;
                Err(error)
            }
        }
    }

    /// Requests a report, or adopts one that is under way, and puts it into the state before
    /// anything waits for it.
    async fn request_report(
        &self,
        state: &mut VersionedState,
        mut not_before: Option<SystemTime>,
    ) -> Result<Result<PendingReport, Box<AuditResponse>>, AuditError> {
        let run = self.run;
        let mut refused_by_aws = false;
        let mut refused_retry = REFUSED_RETRY;
        loop {
            if let Some(at) = not_before {
                let next_report_at = Timestamp::from(at);
                let over_in = run.budget.until_clock(at);
                let worthwhile = run.waits && over_in + MIN_TIME_AFTER_WAIT < run.budget.left();
                if !worthwhile || !run.budget.wait(over_in).await {
                    info!(certificate_authority = self.arn.id(), %next_report_at, refused_by_aws, "too soon");
                    let mut response = AuditResponse::new(self.arn.clone(), Outcome::TooSoon);
                    response.next_report_at = Some(next_report_at);
                    response.refused_by_aws = refused_by_aws;
                    return Ok(Err(Box::new(response)));
                }
            }
            let response = request::request(
                run.clients,
                self.arn,
                &run.config.report_bucket,
                run.config.report_format,
                &run.requests,
                run.budget,
            )
            .await?;
            let report = match response {
                RequestOutcome::Requested(report, at) => {
                    info!(
                        certificate_authority = self.arn.id(),
                        report = report.id,
                        key = report.key,
                        "report requested"
                    );
                    Some((report, at))
                }
                RequestOutcome::TooSoon => request::find_unrecorded(
                    run.clients,
                    self.arn,
                    &run.config.report_bucket,
                    state.control.last_scanned,
                    run.config.report_interval,
                    run.budget.now(),
                )
                .await?
                .map(|report| (report.clone(), report.requested_at.into())),
            };
            match report {
                Some((report, at)) => {
                    state.control.set_pending_report(report.clone(), at);
                    self.save(state).await?;
                    return Ok(Ok(report));
                }
                None => {
                    refused_by_aws = true;
                    not_before = Some(run.budget.clock() + refused_retry);
                    refused_retry = (refused_retry * 2).min(LONGEST_REFUSED_RETRY);
                }
            }
        }
    }
}
