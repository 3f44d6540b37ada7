//! What the audits of one invocation share, and what the stages of one audit share.

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::alert::publish::{Published, Publisher, Unpublished};
use crate::alert::{Alert, AlertKind, Authority, MAX_NAMED, Stack};
use crate::arn::CertificateAuthorityArn;
use crate::audit::scan_limiter::ScanLimiter;
use crate::aws::account_cache::AccountCache;
use crate::aws::certificate_authorities::Names;
use crate::aws::clients::Clients;
use crate::aws::failure::bucket_uri;
use crate::budget::{Budget, Pacer};
use crate::config::Config;
use crate::error::{AuditError, ErrorKind};
use crate::event::{Mode, Request, Trigger};
use crate::investigate::Investigator;
use crate::response::{AuditResponse, Outcome};
use crate::state::control::{CLOCK_TOLERANCE, Control, CurrentError, Lease};
use crate::state::store::{Store, VersionedState};
use crate::timestamp::Timestamp;

/// Interval at which a waiting run checks whether a lease was released.
const LEASE_POLL: Duration = Duration::from_secs(5);

/// Wait after another run took the lease first.
const LEASE_RETRY: Duration = Duration::from_millis(200);

/// Time for which a queued audit waits for the request limit and for the report, in all. A longer wait
/// costs less as a message that is sent again with a delay.
const QUEUED_PATIENCE: Duration = Duration::from_secs(3);

/// What Lambda states about an invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's request ID; a retry has the same.
    pub request_id: String,
    /// The function's own ARN.
    pub function_arn: String,
    /// The time until Lambda's deadline.
    pub budget: Budget,
    /// Distinguishes this attempt from a retry with the same request ID.
    pub nonce: String,
}

/// A CA that an invocation covers.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub arn: CertificateAuthorityArn,
    /// Whether Private CA accepts requests for its reports; otherwise only a pending one is read.
    pub accepts_requests: bool,
}

/// What the audits of one invocation share.
pub(crate) struct Run<'a> {
    pub config: &'a Config,
    pub clients: &'a Clients,
    pub names: &'a Names,
    /// The account's CAs and tags, as earlier invocations of the process found them.
    pub account_cache: &'a AccountCache,
    pub request: &'a Request,
    pub invocation: &'a Invocation,
    pub stack: Stack,
    /// The time for audits: announcing their results has its own.
    pub budget: Budget,
    pub store: Store<'a>,
    pub publisher: Publisher<'a>,
    pub investigator: Investigator<'a>,
    /// Paces report requests: one per second and account (AWS Private CA quotas).
    pub request_pacer: Pacer,
    /// Paces report status lookups: half of the 20 per second and account.
    pub status_pacer: Pacer,
    pub scan_limiter: ScanLimiter,
    /// Whether the topic had a confirmed subscription when one was last looked for: known from the
    /// health document or from this run; `None` if neither says.
    pub had_subscription: Mutex<Option<bool>>,
}

/// Timeout for looking up the names of an alert's CAs.
const NAMES_TIMEOUT: Duration = Duration::from_secs(3);

impl Run<'_> {
    /// Publishes an alert about CAs. It counts as sent only if somebody reads it: a confirmed
    /// subscription of the topic was seen now or, if SNS cannot say now, before; otherwise, `unverified`
    /// says why not.
    pub async fn publish(
        &self,
        arns: &[CertificateAuthorityArn],
        kind: AlertKind,
        detected_at: Timestamp,
        until: Instant,
    ) -> Result<Published, Unpublished> {
        let alert = Alert {
            stack: self.stack.clone(),
            certificate_authorities: self.authorities(arns).await,
            detected_at,
            kind,
            runbook_url: self.config.runbook_url.clone(),
        };
        // Boxed: every audit is as large as its deepest await.
        let published = Box::pin(self.publisher.publish(alert, until)).await;
        if published.as_ref().is_ok_and(|one| one.unverified.is_some()) {
            Box::pin(self.recall_subscription(until)).await;
        }
        let mut had_subscription = self.had_subscription();
        let mut published = published.inspect_err(|unpublished| {
            // Whoever had subscribed before is gone.
            if ErrorKind::silences_the_topic(unpublished.error.kind.name()) {
                *had_subscription = Some(false);
            }
        })?;
        if published.has_reader {
            *had_subscription = Some(true);
        } else if *had_subscription == Some(true)
            && let Some(error) = published.unverified.take()
        {
            // Nobody reads the response of a queued audit.
            warn!(
                error = error.message,
                "subscriptions not checked; published because the topic had a confirmed one"
            );
            published.warnings.push(error.message);
        }
        Ok(published)
    }

    /// Learns from the health document whether the topic had a confirmed subscription, unless this run
    /// knows: audits of the audit queue have not read that document.
    async fn recall_subscription(&self, until: Instant) {
        if self.had_subscription().is_some() {
            return;
        }
        let health = tokio::time::timeout_at(until, self.store.read_health()).await;
        if let Ok(Ok(health)) = health
            && health.confirmed_topic.as_ref() == Some(&self.config.topic_arn)
        {
            *self.had_subscription() = Some(true);
        }
    }

    /// Returns CAs with the names of the first few, as far as they can be looked up in time.
    async fn authorities(&self, arns: &[CertificateAuthorityArn]) -> Vec<Authority> {
        let named = arns.iter().map(|arn| Authority {
            arn: arn.clone(),
            name: None,
        });
        let mut authorities: Vec<_> = named.collect();
        let look_up = async {
            for authority in authorities.iter_mut().take(MAX_NAMED) {
                authority.name = self.names.get(self.clients, &authority.arn).await;
            }
        };
        if tokio::time::timeout(NAMES_TIMEOUT, look_up).await.is_err() {
            warn!("CA names not looked up in time; using the CA IDs");
        }
        authorities
    }

    /// Returns whether the topic had a confirmed subscription when one was last looked for.
    pub fn had_subscription(&self) -> MutexGuard<'_, Option<bool>> {
        let known = self.had_subscription.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an error as the state records it, beginning now.
    pub fn current_error(&self, error: &AuditError) -> CurrentError {
        CurrentError {
            kind: error.kind.name().to_owned(),
            resource: self.affected_resource(error),
            message: error.message.clone(),
            hint: error.hint.clone(),
            since: self.budget.now(),
        }
    }

    /// Returns the resource that an error affects, if it is not the CA itself.
    pub fn affected_resource(&self, error: &AuditError) -> Option<String> {
        use ErrorKind::{
            ReportBucketNotFound, ReportFailed, ReportImplausible, ReportInvalid, ReportOverdue,
            ReportUnfinished, ReportVanished, StateNewer, StateUnreadable,
        };
        let bucket = &self.config.report_bucket;
        match error.kind {
            kind if kind.concerns_one_ca() => None,
            StateUnreadable | StateNewer => Some(self.stack.state.clone()),
            ReportFailed | ReportImplausible | ReportInvalid | ReportOverdue | ReportUnfinished
            | ReportVanished => Some(format!("{}/audit-report/", bucket_uri(bucket))),
            ReportBucketNotFound => Some(bucket_uri(bucket)),
            kind if ErrorKind::silences_the_topic(kind.name()) => {
                Some(self.config.topic_arn.clone())
            }
            _ => error.resource.clone(),
        }
    }

    /// Whether the run may wait for Private CA's request limit and for other runs.
    pub fn waits(&self) -> bool {
        self.request.trigger != Trigger::Manual
    }

    /// Returns the time for waiting for the request limit and for the report of a CA, from now.
    pub(super) fn patience(&self, arn: &CertificateAuthorityArn) -> Budget {
        match self.request.trigger.audit_since(arn) {
            Some(_) => self.budget.waiting_at_most(QUEUED_PATIENCE),
            None => self.budget,
        }
    }
}

/// The result of one CA's audit.
#[derive(Debug)]
pub(crate) struct AuditResult {
    pub response: AuditResponse,
    /// The control document that the audit saved; `None` if it saved none.
    pub control: Option<Control>,
}

impl From<AuditResponse> for AuditResult {
    fn from(response: AuditResponse) -> Self {
        let control = None;
        Self { response, control }
    }
}

/// Where audits send the control documents that they find first, or `None` if they cannot read it.
pub(crate) type StatesFound = UnboundedSender<(CertificateAuthorityArn, Option<Control>)>;

/// What a stage yields; or the response that the audit ends with, although nothing failed.
pub(super) type Step<T> = ControlFlow<AuditResponse, T>;

/// The audit of one CA in one run; each stage is a method.
pub(super) struct Audit<'a> {
    pub run: &'a Run<'a>,
    pub arn: &'a CertificateAuthorityArn,
    pub mode: Mode,
    /// Whether a report may be requested; otherwise only a pending one is read.
    pub accepts_requests: bool,
    pub found: &'a StatesFound,
    /// Since when the report must have been requested, if a message of the audit queue asks for this
    /// audit.
    pub since: Option<Timestamp>,
    /// The time for waiting for the request limit and for the report.
    pub patience: Budget,
}

impl Audit<'_> {
    /// Reads the state and takes the CA's lease until this run's deadline. A run that waits waits for
    /// another run's end as long as its own time allows. A queued audit does not, takes the lease later,
    /// and ends at once if it is done.
    ///
    /// Lambda retries a request after its run ended, so a lease of the same request is taken over. If
    /// that run still lives (a duplicate delivery), its conditional writes fail from then on.
    pub async fn begin(&self) -> Result<Step<VersionedState>, AuditError> {
        let budget = self.run.budget;
        let mut found = Some(self.found);
        loop {
            let state = self.run.store.load(self.arn, budget.now()).await;
            if let Some(found) = found.take() {
                let control = state.as_ref().ok().map(|state| state.control.clone());
                // Nobody may be listening anymore.
                found.send((self.arn.clone(), control)).ok();
            }
            let mut state = state?;
            if self.is_done(&state.control) {
                info!(
                    certificate_authority = self.arn.id(),
                    "audited already; nothing to do"
                );
                let done = AuditResponse::new(self.arn.clone(), Outcome::Skipped);
                return Ok(Step::Break(done));
            }
            if let Some(holder) = self.other_holder(&state.control) {
                // Most leases are released long before they expire.
                let left = holder.until.since(budget.now());
                let waits = self.run.waits() && !self.is_queued();
                if waits && budget.wait(left.min(LEASE_POLL)).await {
                    continue;
                }
                return Ok(Step::Break(self.busy(holder)));
            }
            if self.is_queued() {
                return Ok(Step::Continue(state));
            }
            state.control.lease = Some(self.lease());
            match self.save(&mut state).await {
                Ok(()) => return Ok(Step::Continue(state)),
                // Another run was faster: its lease is treated like any other.
                Err(error)
                    if error.kind == ErrorKind::StateConflict && budget.wait(LEASE_RETRY).await => {
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns this run's lease.
    pub fn lease(&self) -> Lease {
        let (budget, invocation) = (self.run.budget, self.run.invocation);
        Lease {
            request_id: invocation.request_id.clone(),
            nonce: invocation.nonce.clone(),
            until: budget.deadline().saturating_add(CLOCK_TOLERANCE),
        }
    }

    /// Whether a message of the audit queue asks for this audit.
    pub fn is_queued(&self) -> bool {
        self.since.is_some()
    }

    /// Whether a queued audit has nothing left to do: the last complete audit is recent enough.
    pub fn is_done(&self, control: &Control) -> bool {
        let last = control.last_complete_audit.as_ref();
        let requested_at = last.map(|audit| audit.requested_at);
        self.since.is_some() && requested_at >= self.since
    }

    /// Returns the lease if another run holds it.
    pub fn other_holder<'c>(&self, control: &'c Control) -> Option<&'c Lease> {
        let holder = control.lease_holder(self.run.budget.now());
        holder.filter(|holder| holder.request_id != self.run.invocation.request_id)
    }

    /// Whether this run has the lease.
    pub fn is_leased(&self, control: &Control) -> bool {
        let lease = control.lease.as_ref();
        lease.is_some_and(|lease| lease.nonce == self.run.invocation.nonce)
    }

    /// Whether the error is that another run changed the state before a queued audit took the lease.
    pub fn is_outpaced(&self, is_leased: bool, error: &AuditError) -> bool {
        self.is_queued() && !is_leased && error.kind == ErrorKind::StateConflict
    }

    /// Returns the response for a CA whose state another run changed first.
    pub fn outpaced(&self) -> AuditResponse {
        info!(
            certificate_authority = self.arn.id(),
            "another run changed the state first; the message is sent again"
        );
        AuditResponse::new(self.arn.clone(), Outcome::Busy)
    }

    /// Returns the response for a CA that another run holds.
    pub fn busy(&self, holder: &Lease) -> AuditResponse {
        info!(
            certificate_authority = self.arn.id(),
            holder = holder.request_id,
            until = %holder.until,
            "another run holds the lease"
        );
        let mut response = AuditResponse::new(self.arn.clone(), Outcome::Busy);
        response.busy_until = Some(holder.until);
        response
    }

    /// Saves the state. If a duplicate delivery of this request has taken the lease over, Lambda need not
    /// retry this one.
    pub async fn save(&self, state: &mut VersionedState) -> Result<(), AuditError> {
        let (run, invocation) = (self.run, self.run.invocation);
        let saved = run.store.save(state, &invocation.nonce).await;
        let Err(mut error) = saved else { return Ok(()) };
        if error.kind == ErrorKind::StateConflict
            && let Ok(newer) = run.store.load(self.arn, run.budget.now()).await
            && let Some(holder) = newer.control.lease_holder(run.budget.now())
        {
            error.is_retryable =
                holder.request_id != invocation.request_id || holder.nonce == invocation.nonce;
        }
        Err(error)
    }

    /// Cuts off work while there is still time to save the state.
    pub async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, AuditError>>,
    ) -> Result<T, AuditError> {
        tokio::time::timeout_at(self.run.budget.save_deadline(), work)
            .await
            .unwrap_or_else(|_| Err(self.out_of_time("the run ended before its report was read")))
    }

    /// Returns the error for an audit that the run has no time for.
    pub fn out_of_time(&self, why: &str) -> AuditError {
        AuditError::new(ErrorKind::OutOfTime, format!("{}: {why}", self.arn))
    }
}
