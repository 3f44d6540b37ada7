//! One certificate authority through the program:
//! lease, report, wait, scan, difference, notice, publish, save.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tracing::{info, warn};

use crate::answer::{
    AuditAnswer, Effort, MAX_LISTED, Outcome, ReadAnswer, ReportAnswer, RevocationAnswer,
};
use crate::arn::CertificateAuthorityArn;
use crate::aws::Clients;
use crate::budget::{Budget, Pacer};
use crate::certificate_authorities::Names;
use crate::config::Config;
use crate::error::{Cure, Fault, FaultKind};
use crate::event::Mode;
use crate::notice::{
    CertificateAuthority, Event, Notice, ObjectLocation, ReasonCounts, ReportSource, Told, Totals,
    WatchError,
};
use crate::publish::full_list::FullList;
use crate::publish::{Publisher, Unpublished};
use crate::report::fetch::{Fetch, FetchError};
use crate::report::reason::Severity;
use crate::report::request::{self, Answer as RequestAnswer};
use crate::report::scan::{ReportFormat, ReportScanner, ScanTotals};
use crate::report::subject::decode;
use crate::report::wait::{self, ReportObject, Waited};
use crate::state::difference::{Difference, Wanted};
use crate::state::store::{SaveError, Slot, Store, Taken};
use crate::state::told::ToldList;
use crate::state::{
    CLOCK_TOLERANCE, CompleteAudit, Control, Lease, MAX_ATTEMPTS, NextStep, RecordedFault,
    ReportInHand,
};
use crate::timestamp::Timestamp;

/// So many reports are scanned at once: one works while another's bytes are under way.
const SCANS_AT_ONCE: u32 = 2;

/// A run waits for Private CA's limit only if that leaves it so much time to go on.
const LEFT_AFTER_LIMIT: Duration = Duration::from_secs(300);

/// The first wait after AWS refused a request against our own record, which clocks alone may
/// explain; it doubles with each up to the longest.
const REFUSED_RETRY: Duration = Duration::from_secs(1);
const LONGEST_REFUSED_RETRY: Duration = Duration::from_secs(30);

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

/// The faults that were told although no state could record it: known to this process only.
#[derive(Debug, Default)]
pub struct Unrecorded(Mutex<HashMap<CertificateAuthorityArn, Telling>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Telling {
    kind: FaultKind,
    /// SNS said so; otherwise its answer was lost.
    is_sure: bool,
}

impl Unrecorded {
    fn lock(&self) -> MutexGuard<'_, HashMap<CertificateAuthorityArn, Telling>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets a few scans run at once, and those that may take the process down last and alone.
#[derive(Debug)]
pub struct Gate {
    scans: Semaphore,
    ordinary: watch::Sender<usize>,
}

/// The place of an audit among the ordinary ones, until it is dropped.
#[derive(Debug)]
pub struct Place<'a>(&'a Gate);

impl Gate {
    pub fn new() -> Self {
        Self {
            scans: Semaphore::new(SCANS_AT_ONCE as usize),
            ordinary: watch::Sender::new(0),
        }
    }

    /// A place among the ordinary audits; every audit takes one before any of them starts.
    pub fn place(&self) -> Place<'_> {
        self.ordinary.send_modify(|count| *count += 1);
        Place(self)
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.ordinary.send_modify(|count| *count -= 1);
    }
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

/// What came of looking for a report to read.
enum Found {
    /// With the seconds that it was waited for.
    Ready(ReportInHand, ReportObject, f64),
    /// There is none to read yet.
    Not(Box<AuditAnswer>),
}

/// Why a scan did not come to its end.
enum ScanFailure {
    /// The told list could not be read.
    State(Fault),
    Report(FetchError),
}

impl ScanFailure {
    fn into_fault(self) -> Fault {
        match self {
            ScanFailure::State(fault)
            | ScanFailure::Report(FetchError::Vanished(fault) | FetchError::Fault(fault)) => fault,
        }
    }
}

/// A report, read to its end or to its fault.
struct Scanned {
    told: ToldList,
    fresh: ToldList,
    collected: crate::notice::Collected,
    revoked: ReasonCounts,
    totals: ScanTotals,
    full_list: Option<ObjectLocation>,
    /// Why this is not a whole, valid report of this certificate authority.
    invalid: Option<String>,
    read: ReadAnswer,
    effort: Effort,
    unseen: Vec<String>,
    warnings: Vec<String>,
}

impl Audit<'_> {
    /// An audit that tells and remembers: under the lease from the first look to the last write.
    async fn by_lease(&self, place: &mut Option<Place<'_>>) -> Result<Answered, Fault> {
        let mut slot = match self.take_lease().await {
            Ok(Taken::Held(slot)) => *slot,
            Ok(Taken::Busy(holder)) => return Ok(self.busy(&holder)),
            Err(fault) => {
                self.tell_unreadable_state(&fault).await;
                return Err(fault);
            }
        };
        self.tell_readable_state(&slot.control).await;
        let result = self.under_lease(&mut slot, place).await;
        self.settle(slot, result).await
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

    /// The report in hand, else a new one, waited for.
    async fn find_report(&self, slot: &mut Slot) -> Result<Found, Fault> {
        let report = match slot
            .control
            .next_step(self.run.budget.clock(), self.run.config.report_interval)
        {
            NextStep::Resume(report) => report,
            NextStep::Request { not_before } => {
                match self.request_report(slot, not_before).await? {
                    Ok(report) => report,
                    Err(too_soon) => return Ok(Found::Not(too_soon)),
                }
            }
        };
        if report.attempts >= MAX_ATTEMPTS {
            slot.control.report_in_hand = None;
            return Err(Fault::new(
                FaultKind::ReportUnfinished,
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
                Ok(Found::Ready(report, object, waited_seconds))
            }
            Waited::NotYet => {
                info!(
                    certificate_authority = self.arn.id(),
                    report = report.id,
                    waited_seconds,
                    "report is not there yet: the next run takes it up"
                );
                let mut answer = AuditAnswer::new(self.arn.clone(), Outcome::Waiting);
                answer.report = Some(ReportAnswer::from(&report));
                answer.effort.waited_seconds = waited_seconds;
                Ok(Found::Not(Box::new(answer)))
            }
            Waited::Gone(fault) => {
                slot.control.report_in_hand = None;
                Err(fault)
            }
        }
    }

    /// Requests a report, or adopts one that is under way, and puts it into the state before
    /// anything waits for it.
    async fn request_report(
        &self,
        slot: &mut Slot,
        mut not_before: Option<SystemTime>,
    ) -> Result<Result<ReportInHand, Box<AuditAnswer>>, Fault> {
        let run = self.run;
        let mut refused_by_aws = false;
        let mut refused_retry = REFUSED_RETRY;
        loop {
            if let Some(at) = not_before {
                let next_report_at = Timestamp::from(at);
                let over_in = run.budget.until_clock(at);
                let worthwhile = run.waits && over_in + LEFT_AFTER_LIMIT < run.budget.left();
                if !worthwhile || !run.budget.wait(over_in).await {
                    info!(certificate_authority = self.arn.id(), %next_report_at, refused_by_aws, "too soon");
                    let mut answer = AuditAnswer::new(self.arn.clone(), Outcome::TooSoon);
                    answer.next_report_at = Some(next_report_at);
                    answer.refused_by_aws = refused_by_aws;
                    return Ok(Err(Box::new(answer)));
                }
            }
            let answer = request::request(
                run.clients,
                self.arn,
                &run.config.report_bucket,
                run.config.report_format,
                &run.requests,
                run.budget,
            )
            .await?;
            let report = match answer {
                RequestAnswer::Requested(report, at) => {
                    info!(
                        certificate_authority = self.arn.id(),
                        report = report.id,
                        key = report.key,
                        "report requested"
                    );
                    Some((report, at))
                }
                RequestAnswer::TooSoon => request::find_unrecorded(
                    run.clients,
                    self.arn,
                    &run.config.report_bucket,
                    slot.control.last_scanned,
                    run.config.report_interval,
                    run.budget.now(),
                )
                .await?
                .map(|report| (report.clone(), report.requested_at.into())),
            };
            match report {
                Some((report, at)) => {
                    slot.control.take_in_hand(report.clone(), at);
                    self.save(slot).await?;
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

    /// A scan that is counted in the state before it starts: one that takes the process down is
    /// known of.
    async fn scan_counted(
        &self,
        slot: &mut Slot,
        report: &ReportInHand,
        object: &ReportObject,
        wanted: Wanted,
        place: &mut Option<Place<'_>>,
    ) -> Result<Scanned, Fault> {
        let turn = self.turn(slot.control.has_unfinished_scan(), place).await?;
        if let Some(in_hand) = &mut slot.control.report_in_hand {
            in_hand.attempts += 1;
        }
        slot.control.last_scanned = slot.control.last_scanned.max(Some(object.last_modified));
        self.save(slot).await?;
        let scanned = self.scan(&slot.control, report, object, wanted).await;
        drop(turn);
        // What is not the report's doing, now or from here on, is not counted against it.
        let is_at_fault = match &scanned {
            Ok(scanned) => scanned.invalid.is_some(),
            Err(ScanFailure::State(_)) => false,
            Err(ScanFailure::Report(_)) => true,
        };
        if let Some(in_hand) = &mut slot.control.report_in_hand
            && !is_at_fault
        {
            in_hand.attempts -= 1;
        }
        if let Err(ScanFailure::Report(FetchError::Vanished(_))) = &scanned {
            slot.control.report_in_hand = None;
        }
        scanned.map_err(ScanFailure::into_fault)
    }

    /// A scan that changes nothing.
    async fn scan_only(
        &self,
        control: &Control,
        report: &ReportInHand,
        object: &ReportObject,
        place: &mut Option<Place<'_>>,
    ) -> Result<Scanned, Fault> {
        let wanted = match self.mode {
            Mode::Replay { since, .. } => Wanted::ToldSince(since),
            _ => self.wanted(control),
        };
        let _turn = self.turn(control.has_unfinished_scan(), place).await?;
        self.scan(control, report, object, wanted)
            .await
            .map_err(ScanFailure::into_fault)
    }

    /// Waits for the turn to scan: alone where an earlier scan did not come to its end, and after all
    /// others, but never so long that half of the time left would be gone.
    async fn turn<'g>(
        &'g self,
        suspicious: bool,
        place: &mut Option<Place<'_>>,
    ) -> Result<SemaphorePermit<'g>, Fault> {
        let gate = &self.run.gate;
        let turn = async {
            if suspicious {
                *place = None;
                let mut ordinary = gate.ordinary.subscribe();
                let others = ordinary.wait_for(|&count| count == 0);
                let _ = tokio::time::timeout(self.run.budget.left() / 2, others).await;
                gate.scans.acquire_many(SCANS_AT_ONCE).await
            } else {
                gate.scans.acquire().await
            }
        };
        match tokio::time::timeout_at(self.run.budget.work_ends(), turn).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.out_of_time("no time was left to scan its report")),
        }
    }

    fn out_of_time(&self, what: &str) -> Fault {
        Fault::new(FaultKind::OutOfTime, format!("{}: {what}", self.arn))
    }

    /// Reads a report from its first byte to its last, and works out what is to be told.
    async fn scan(
        &self,
        control: &Control,
        report: &ReportInHand,
        object: &ReportObject,
        wanted: Wanted,
    ) -> Result<Scanned, ScanFailure> {
        let run = self.run;
        let bucket = &run.config.report_bucket;
        let started = run.budget.elapsed();
        let told = run
            .store
            .load_told(control)
            .await
            .map_err(ScanFailure::State)?;
        let Some(format) = ReportFormat::from_key(&object.key) else {
            return Err(ScanFailure::Report(FetchError::Vanished(Fault::new(
                FaultKind::ReportInvalid,
                format!("{} ends neither in .json nor in .csv", object.key),
            ))));
        };
        let full_list_key = match self.mode {
            Mode::Replay { .. } => format!("{}-{}", report.id, run.request_id),
            _ => report.id.clone(),
        };
        let mut full_list = FullList::new(
            run.clients,
            bucket,
            format!(
                "{}full-list/{full_list_key}.jsonl",
                run.store.prefix_of(self.arn)
            ),
        );
        let publishes = !matches!(self.mode, Mode::DryRun | Mode::Replay { dry_run: true, .. });
        let mut difference = Difference::new(
            run.config,
            self.arn.as_str(),
            &told,
            wanted,
            object.last_modified,
            self.watched,
        );
        let reading = async {
            let mut scanner = ReportScanner::new(format);
            let mut invalid = None;
            let mut fetch = Fetch::open(run.clients, bucket, object).await?;
            while let Some(chunk) = fetch.next().await? {
                // After a fault the rest is read all the same: only then length and checksum tell
                // whether these bytes are what S3 holds.
                if invalid.is_none() {
                    invalid = scanner
                        .feed(&chunk, &mut |record| difference.see(record))
                        .err();
                    let lines = difference.take_full_list_lines();
                    if publishes {
                        full_list.push(&lines);
                        full_list.flush().await.map_err(FetchError::Fault)?;
                    }
                }
            }
            if invalid.is_none() {
                invalid = scanner.finish(&mut |record| difference.see(record)).err();
                let lines = difference.take_full_list_lines();
                if publishes {
                    full_list.push(&lines);
                }
            }
            Ok((scanner.totals(), invalid))
        };
        let read = match tokio::time::timeout_at(run.budget.work_ends(), reading).await {
            Ok(read) => read,
            Err(_) => Err(FetchError::Fault(self.out_of_time(&format!(
                "its report {} of {} bytes could not be read in the time of this run",
                object.key, object.size_bytes
            )))),
        };
        let (totals, invalid) = match read {
            Ok(read) => read,
            Err(error) => {
                full_list.abort().await;
                return Err(ScanFailure::Report(error));
            }
        };
        let full_list = full_list
            .finish()
            .await
            .map_err(|fault| ScanFailure::Report(FetchError::Fault(fault)))?;
        let scanned_seconds = (run.budget.elapsed() - started).as_secs_f64();
        let collected = &difference.collected;
        info!(
            certificate_authority = self.arn.id(),
            report = report.id,
            size_bytes = object.size_bytes,
            scanned_seconds,
            certificates = totals.certificates,
            revoked = totals.revoked,
            odd = totals.odd,
            already_told = told.len(),
            new = difference.new,
            not_notified = difference.unnotified,
            before_lookback = difference.earlier,
            valid = invalid.is_none(),
            "report scanned"
        );
        for revocation in collected.worst().take(MAX_LISTED) {
            info!(
                certificate_authority = self.arn.id(),
                serial = revocation.serial,
                reason = revocation.reason.name(),
                common_name = revocation
                    .subject
                    .as_deref()
                    .and_then(|s| decode(s).common_name),
                "revocation to tell"
            );
        }
        let mut warnings = Vec::new();
        let foreign = (difference.foreign > 0).then(|| {
            format!(
                "{} revoked records are of another certificate authority",
                difference.foreign
            )
        });
        let invalid = invalid.map(|error| error.to_string()).or(foreign);
        if totals.odd > 0 {
            warnings.push(format!("{} records are valid but odd", totals.odd));
        }
        let read = ReadAnswer {
            certificates: totals.certificates,
            revoked: totals.revoked,
            new_revocations: difference.new,
            published: collected.len(),
            pending: matches!(wanted, Wanted::ToldSince(_)).then_some(difference.pending),
            odd: totals.odd,
            revocations: collected
                .worst()
                .take(MAX_LISTED)
                .map(RevocationAnswer::from)
                .collect(),
        };
        let effort = Effort {
            waited_seconds: 0.0,
            scanned_seconds,
            report_bytes: object.size_bytes,
            new_critical: collected.counts().by_severity(Severity::Critical),
            new_high: collected.counts().by_severity(Severity::High),
            new_low: collected.counts().by_severity(Severity::Low),
        };
        let unseen = difference.unseen().map(str::to_owned).collect();
        let (collected, fresh, revoked) = difference.into_parts();
        Ok(Scanned {
            told,
            fresh,
            collected,
            revoked,
            totals,
            full_list: full_list.map(|key| ObjectLocation {
                bucket: bucket.clone(),
                key,
            }),
            invalid,
            read,
            effort,
            unseen,
            warnings,
        })
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
    ) -> Result<Answered, Fault> {
        let now = self.run.budget.now();
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
        if let Err(fault) = self.save(&mut slot).await {
            // The state does not know that the fault was told.
            if let (Some(told), Some(recorded)) = (answer.error, slot.control.fault)
                && (recorded.told || recorded.maybe_told)
            {
                let telling = Telling {
                    kind: told.kind,
                    is_sure: recorded.told,
                };
                self.run.unrecorded.lock().insert(self.arn.clone(), telling);
            }
            return Err(fault);
        }
        Ok((answer, unseen))
    }

    /// Publishes `watch-failed` once per kind of fault.
    async fn tell_fault(&self, control: &mut Control, fault: &Fault, now: Timestamp) {
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
    async fn tell_recovery(&self, control: &mut Control) {
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
    async fn tell_unreadable_state(&self, fault: &Fault) {
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

    async fn tell_readable_state(&self, control: &Control) {
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

    /// Publishes what the audit has to say, and gives the warnings on the way.
    async fn tell(&self, event: Event, detected_at: Timestamp) -> Result<Vec<String>, Fault> {
        let published = self.publish(event, detected_at).await;
        published.map_err(|unpublished| unpublished.fault)
    }

    async fn publish(
        &self,
        event: Event,
        detected_at: Timestamp,
    ) -> Result<Vec<String>, Unpublished> {
        let name = self.run.names.get(self.run.clients, self.arn).await;
        let notice = Notice {
            certificate_authority: CertificateAuthority::new(self.arn.as_str(), name),
            detected_at,
            event,
        };
        Ok(self.run.publisher.publish(&notice).await?.warnings)
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
}

/// A report that failed so often is not worth another attempt. What only time or luck was missing
/// for becomes a fault that a person is told of.
fn drop_if_tried_enough(control: &mut Control, fault: Fault) -> Fault {
    let Some(report) = control
        .report_in_hand
        .take_if(|report| report.attempts >= MAX_ATTEMPTS)
    else {
        return fault;
    };
    warn!(
        report = report.id,
        attempts = report.attempts,
        "report dropped"
    );
    match fault.kind {
        FaultKind::OutOfTime | FaultKind::ReportCorrupted => Fault::new(
            FaultKind::ReportUnfinished,
            format!(
                "after {} attempts the audit report {} is dropped: {}",
                report.attempts, report.key, fault.message
            ),
        ),
        _ => fault,
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
