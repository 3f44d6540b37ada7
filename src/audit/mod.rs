//! One certificate authority through the program:
//! lease, report, wait, scan, difference, notice, publish, save.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::alert::publish::{Publisher, Unpublished};
use crate::alert::{
    CertificateAuthority, Event, Notice, ObjectLocation, ReportSource, Told, Totals,
};
use crate::arn::CertificateAuthorityArn;
use crate::audit::new_revocations::Wanted;
use crate::aws::certificate_authorities::Names;
use crate::aws::clients::Clients;
use crate::budget::{Budget, Pacer};
use crate::config::Config;
use crate::error::{Cure, Fault, FaultKind};
use crate::event::Mode;
use crate::pending_report::ReportInHand;
use crate::report::scanner::ScanTotals;
use crate::report::wait::{self, ReportObject};
use crate::response::{AuditAnswer, Outcome, ReportAnswer};
use crate::state::control::{CLOCK_TOLERANCE, CompleteAudit, Control, Lease, RecordedFault};
use crate::state::notified_set::ToldList;
use crate::state::store::{Note, SaveError, Slot, Store, Taken};
use crate::timestamp::Timestamp;

mod monitoring;
pub mod new_revocations;
mod obtain_report;
mod scan;
mod scan_limiter;

pub use monitoring::Unrecorded;
pub use scan_limiter::{Gate, Place};

use obtain_report::Found;
use scan::{Scanned, drop_if_tried_enough};

/// How often it is tried again to save what was told.
const REMEMBER_AGAIN: Duration = Duration::from_secs(2);

/// What the audits of one invocation share.
pub struct Run<'a> {
    pub config: &'a Config,
    pub clients: &'a Clients,
    pub names: &'a Names,
    pub unrecorded: &'a Unrecorded,
    pub budget: &'a Budget,
    pub store: Store,
    pub publisher: Publisher<'a>,
    /// Requests for reports: one per second and account (AWS Private CA quotas).
    pub requests: Pacer,
    /// Questions for the status of reports: 20 per second and account, of which we take half.
    pub questions: Pacer,
    pub gate: Gate,
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
/// `watched` are the ARNs of certificates that are said to be revoked; those that the report does
/// not show as revoked come back beside the answer.
pub async fn audit(
    run: &Run<'_>,
    arn: &CertificateAuthorityArn,
    mode: Mode,
    watched: &[String],
    place: Place<'_>,
) -> (AuditAnswer, Vec<String>) {
    let audit = Audit {
        run,
        arn,
        mode,
        watched,
    };
    let mut place = Some(place);
    let result = match mode {
        Mode::Audit => audit.by_lease(&mut place).await,
        _ => audit.reading_only(&mut place).await,
    };
    let (answer, unseen) =
        result.unwrap_or_else(|fault| (AuditAnswer::failed(arn.clone(), fault), watched.to_vec()));
    match &answer.error {
        Some(fault) => warn!(
            certificate_authority = arn.id(),
            error_type = fault.kind.name(),
            error = fault.message,
            hint = fault.hint,
            "failed"
        ),
        None => info!(
            certificate_authority = arn.id(),
            outcome = answer.outcome.name(),
            "done"
        ),
    }
    (answer, unseen)
}

type Answered = (AuditAnswer, Vec<String>);

struct Audit<'a> {
    run: &'a Run<'a>,
    arn: &'a CertificateAuthorityArn,
    mode: Mode,
    watched: &'a [String],
}

impl Audit<'_> {
    /// An audit that tells and remembers: under the lease from the first look to the last write.
    async fn by_lease(&self, place: &mut Option<Place<'_>>) -> Result<Answered, Fault> {
        let mut slot = match self.take_lease().await {
            Ok(Taken::Held(slot)) => *slot,
            Ok(Taken::Busy(holder)) => return Ok(self.busy(&holder)),
            Err(fault) => {
                self.tell_without_state(&fault).await;
                return Err(fault);
            }
        };
        let note = self.take_note_over(&mut slot.control).await;
        let result = self.under_lease(&mut slot, place).await;
        self.settle(slot, result, note).await
    }

    async fn under_lease(
        &self,
        slot: &mut Slot,
        place: &mut Option<Place<'_>>,
    ) -> Result<Answered, Fault> {
        let wanted = self.wanted(&slot.control);
        let read = async {
            match self.find_report(slot).await? {
                Found::Ready(report, object, waited_seconds) => {
                    let mut scanned = self
                        .scan_counted(slot, &report, &object, wanted, place)
                        .await?;
                    scanned.effort.waited_seconds = waited_seconds;
                    Ok(Ok((report, object, scanned)))
                }
                Found::Not(answer) => Ok(Err(answer)),
            }
        };
        let (report, object, scanned) = match self.in_time(read).await {
            Ok(Ok(read)) => read,
            Ok(Err(answer)) => return Ok((*answer, self.watched.to_vec())),
            Err(fault) => return Err(drop_if_tried_enough(&mut slot.control, fault)),
        };

        let mut warnings = scanned.warnings.clone();
        let source = self.source(&slot.control, &report);
        let totals = totals(&scanned.totals);
        if let Wanted::New {
            told_from: Some(told_from),
        } = wanted
            && scanned.invalid.is_none()
            && !slot.control.started
        {
            let event = Event::WatchStarted {
                report: source.clone(),
                totals,
                revoked: scanned.revoked,
                told_from,
                to_tell: scanned.collected.len(),
            };
            warnings.extend(self.tell(event, object.last_modified).await?);
            // Not said again where the next message fails.
            slot.control.started = true;
        }
        if !scanned.collected.is_empty() {
            let event = Event::Revocations(Told::new(
                scanned.collected,
                source,
                totals,
                scanned.full_list,
            ));
            warnings.extend(self.tell(event, object.last_modified).await?);
        }

        let mut answer = AuditAnswer::new(self.arn.clone(), Outcome::Audited);
        answer.report = Some(ReportAnswer::from(&report));
        answer.read = Some(scanned.read);
        answer.effort = scanned.effort;
        warn_if_shrunk(
            slot.control.last_complete_audit.as_ref(),
            totals,
            &mut warnings,
        );
        answer.warnings = warnings;
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
                let fault = Fault::new(
                    FaultKind::ReportInvalid,
                    format!(
                        "the audit report {} of {} is not valid: {error}",
                        report.key, self.arn
                    ),
                );
                answer.outcome = Outcome::Failed;
                answer.error = Some(drop_if_tried_enough(&mut slot.control, fault));
                None
            }
        };
        self.remember(slot, scanned.told, scanned.fresh, complete)
            .await?;
        Ok((answer, scanned.unseen))
    }

    /// A dry run or a replay: reads the last complete report, and asks for one only where there is
    /// none. Nothing is marked as told.
    async fn reading_only(&self, place: &mut Option<Place<'_>>) -> Result<Answered, Fault> {
        let slot = self.run.store.load(self.arn, self.run.budget.now()).await?;
        if let Some(last) = &slot.control.last_complete_audit {
            let bucket = &self.run.config.report_bucket;
            let object = wait::head(self.run.clients, bucket, &last.key)
                .await
                .map_err(|failure| failure.fault(&format!("s3://{bucket}/{}", last.key)))?
                .filter(|object| object.e_tag == last.e_tag);
            if let Some(object) = object {
                let report = ReportInHand {
                    id: last.report_id.clone(),
                    key: last.key.clone(),
                    requested_at: last.requested_at,
                    attempts: 0,
                };
                let scanned = self
                    .scan_only(&slot.control, &report, &object, place)
                    .await?;
                return self
                    .answer_reading(&slot.control, &report, &object, scanned)
                    .await;
            }
        }
        let mut slot = match self.take_lease().await? {
            Taken::Held(slot) => *slot,
            Taken::Busy(holder) => return Ok(self.busy(&holder)),
        };
        let read = async {
            match self.find_report(&mut slot).await? {
                Found::Ready(report, object, _) => {
                    let scanned = self
                        .scan_only(&slot.control, &report, &object, place)
                        .await?;
                    Ok(Ok((report, object, scanned)))
                }
                Found::Not(answer) => Ok(Err(answer)),
            }
        };
        let result = match self.in_time(read).await {
            Ok(Ok((report, object, scanned))) => {
                self.answer_reading(&slot.control, &report, &object, scanned)
                    .await
            }
            Ok(Err(answer)) => Ok((*answer, Vec::new())),
            Err(fault) => Err(fault),
        };
        slot.control.release(&self.run.nonce);
        self.save(&mut slot).await?;
        result
    }

    /// Stops work that does not end by itself while the state can still be saved.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        match tokio::time::timeout_at(self.run.budget.saving_starts(), work).await {
            Ok(result) => result,
            Err(_) => Err(self.out_of_time("the time for reading its report was over")),
        }
    }

    async fn take_lease(&self) -> Result<Taken, Fault> {
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
        let mut answer = AuditAnswer::new(self.arn.clone(), Outcome::Busy);
        answer.busy_until = Some(holder.until);
        (answer, self.watched.to_vec())
    }

    async fn save(&self, slot: &mut Slot) -> Result<(), Fault> {
        self.run
            .store
            .save(slot, &self.run.nonce)
            .await
            .map_err(SaveError::into_fault)
    }

    /// The answer of a dry run, or of a replay after it was published.
    async fn answer_reading(
        &self,
        control: &Control,
        report: &ReportInHand,
        object: &ReportObject,
        scanned: Scanned,
    ) -> Result<Answered, Fault> {
        if let Some(error) = &scanned.invalid {
            return Err(Fault::new(
                FaultKind::ReportInvalid,
                format!(
                    "the audit report {} of {} is not valid: {error}",
                    report.key, self.arn
                ),
            ));
        }
        let mut answer = AuditAnswer::new(self.arn.clone(), Outcome::Audited);
        answer.report = Some(ReportAnswer::from(report));
        answer.read = Some(scanned.read);
        answer.effort = scanned.effort;
        answer.warnings = scanned.warnings;
        answer.last_complete_audit_at = control
            .last_complete_audit
            .as_ref()
            .map(|audit| audit.completed_at);
        if let Mode::Replay {
            since,
            dry_run: false,
        } = self.mode
            && !scanned.collected.is_empty()
        {
            let event = Event::Replay {
                told: Told::new(
                    scanned.collected,
                    self.source(control, report),
                    totals(&scanned.totals),
                    scanned.full_list,
                ),
                since,
                request_id: self.run.request_id.clone(),
            };
            answer
                .warnings
                .extend(self.tell(event, object.last_modified).await?);
        }
        Ok((answer, Vec::new()))
    }

    /// Writes what was told: the told list first, then the control document that points to it and
    /// calls the audit complete.
    ///
    /// Told is told: where another run changed the state meanwhile, the union is kept.
    async fn remember(
        &self,
        slot: &mut Slot,
        mut told: ToldList,
        fresh: ToldList,
        mut complete: Option<CompleteAudit>,
    ) -> Result<(), Fault> {
        // The first list is written even if it is empty: where there is one, a control document
        // that is not there was deleted.
        if fresh.is_empty() && slot.control.told_list.is_some() {
            if let Some(complete) = complete {
                slot.control.complete(complete);
            }
            return Ok(());
        }
        let store = &self.run.store;
        told.union_with(fresh);
        let mut told = Arc::new(told);
        loop {
            let switched = async {
                slot.control.told_list = Some(store.write_told(&slot.control, &told).await?);
                slot.control.told = told.len() as u64;
                if let Some(complete) = complete.take() {
                    slot.control.complete(complete);
                }
                match store.save(slot, &self.run.nonce).await {
                    Ok(()) => Ok(None),
                    Err(SaveError::Conflict(newer)) => {
                        Ok(Some((store.load_told(&newer.control).await?, newer)))
                    }
                    Err(SaveError::Fault(fault)) => Err(fault),
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
                    union.union_with(Arc::unwrap_or_clone(told));
                    told = Arc::new(union);
                    *slot = *newer;
                }
                // SNS has accepted the message: until it is saved, all the time left is well spent.
                Err(fault) if fault.kind.cure() == Cure::Retry => {
                    warn!(
                        certificate_authority = self.arn.id(),
                        error = fault.message,
                        "saving again what was told"
                    );
                    if REMEMBER_AGAIN >= self.run.budget.left_to_answer() {
                        return Err(fault);
                    }
                    tokio::time::sleep(REMEMBER_AGAIN).await;
                }
                Err(fault) => return Err(fault),
            }
        }
        info!(
            certificate_authority = self.arn.id(),
            told = told.len(),
            told_list = slot.control.told_list,
            "remembered what was told"
        );
        store.remove_older_told(&slot.control).await;
        Ok(())
    }

    /// Tells what changed about the watch itself, releases the lease and saves.
    async fn settle(
        &self,
        mut slot: Slot,
        result: Result<Answered, Fault>,
        note: Note,
    ) -> Result<Answered, Fault> {
        let now = self.run.budget.now();
        let known = slot.control.fault.clone();
        let control = &mut slot.control;
        let (mut answer, unseen) = result.unwrap_or_else(|fault| {
            (
                AuditAnswer::failed(self.arn.clone(), fault),
                self.watched.to_vec(),
            )
        });
        if answer.outcome != Outcome::Audited
            && self.run.is_scheduled
            && control.count_run_without_audit(now, self.run.config.report_interval)
            && answer
                .error
                .as_ref()
                .is_none_or(|fault| fault.kind.cure() == Cure::Retry)
            // People who know of another fault know that there is no audit.
            && control.fault.as_ref().is_none_or(|known| {
                !known.may_be_known() || known.kind == FaultKind::ReportOverdue.name()
            })
        {
            let cause = match &answer.error {
                Some(fault) => format!("the last run failed with {fault}"),
                None => format!("the last run ended as {:?}", answer.outcome),
            };
            let since = control.without_audit_since.unwrap_or(now);
            answer.outcome = Outcome::Failed;
            answer.error = Some(Fault::new(
                FaultKind::ReportOverdue,
                format!("{} had no complete audit since {since}; {cause}", self.arn),
            ));
        }
        match &answer.error {
            Some(fault) if fault.kind.cure() == Cure::Person => {
                self.tell_fault(control, fault, now).await;
            }
            None if answer.outcome == Outcome::Audited => self.tell_recovery(control).await,
            _ => {}
        }
        answer.last_complete_audit_at = control
            .last_complete_audit
            .as_ref()
            .map(|audit| audit.completed_at);
        answer.unaudited_since = answer
            .last_complete_audit_at
            .or(Some(control.watched_since));
        control.release(&self.run.nonce);
        if let Err(failure) = self.save(&mut slot).await {
            // The state does not know what people were told of just now.
            let recorded = slot.control.fault.filter(RecordedFault::may_be_known);
            if recorded != known
                && let Some(fault) = recorded
            {
                self.write_note(&fault).await;
            }
            return Err(failure);
        }
        self.forget_note(&note).await;
        Ok((answer, unseen))
    }

    /// Publishes what the audit has to say, and gives the warnings on the way. An answer that does
    /// not come leaves the time to save.
    async fn tell(&self, event: Event, detected_at: Timestamp) -> Result<Vec<String>, Fault> {
        let until = self.run.budget.saving_starts();
        let published = self.publish(event, detected_at, until).await;
        published.map_err(|unpublished| unpublished.fault)
    }

    async fn publish(
        &self,
        event: Event,
        detected_at: Timestamp,
        until: Instant,
    ) -> Result<Vec<String>, Unpublished> {
        let name = self.run.names.get(self.run.clients, self.arn).await;
        let notice = Notice {
            certificate_authority: CertificateAuthority::new(self.arn.as_str(), name),
            detected_at,
            event,
        };
        let published = self.run.publisher.publish(&notice, until).await?;
        Ok(published.warnings)
    }

    fn wanted(&self, control: &Control) -> Wanted {
        let told_from = control
            .watched_since
            .saturating_sub(self.run.config.initial_lookback);
        Wanted::New {
            told_from: control.last_complete_audit.is_none().then_some(told_from),
        }
    }

    fn source(&self, control: &Control, report: &ReportInHand) -> ReportSource {
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

    fn out_of_time(&self, what: &str) -> Fault {
        Fault::new(FaultKind::OutOfTime, format!("{}: {what}", self.arn))
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
