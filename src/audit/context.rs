//! What the audits of one invocation share, and what the stages of one audit share.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::alert::publish::{Published, Publisher, Unpublished};
use crate::alert::{Alert, AlertKind};
use crate::arn::CertificateAuthorityArn;
use crate::audit::scan_limiter::ScanLimiter;
use crate::aws::certificate_authorities::Names;
use crate::aws::clients::Clients;
use crate::budget::{Budget, Pacer};
use crate::config::Config;
use crate::error::{AuditError, ErrorKind};
use crate::event::{Mode, Request, Trigger};
use crate::response::{AuditResponse, Outcome};
use crate::state::control::{CLOCK_TOLERANCE, Lease};
use crate::state::store::{Store, VersionedState};
use crate::timestamp::Timestamp;

/// Interval at which a waiting run checks whether a lease was released.
const LEASE_POLL: Duration = Duration::from_secs(5);

/// Wait after another run took the lease first.
const LEASE_RETRY: Duration = Duration::from_millis(200);

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
    pub request: &'a Request,
    pub invocation: &'a Invocation,
    pub budget: &'a Budget,
    pub store: Store<'a>,
    pub publisher: Publisher<'a>,
    /// Paces report requests: one per second and account (AWS Private CA quotas).
    pub request_pacer: Pacer,
    /// Paces report status lookups: half of the 20 per second and account.
    pub status_pacer: Pacer,
    pub scan_limiter: ScanLimiter,
}

impl Run<'_> {
    /// Publishes an alert about a CA.
    pub async fn publish(
        &self,
        arn: &CertificateAuthorityArn,
        kind: AlertKind,
        detected_at: Timestamp,
        until: Instant,
    ) -> Result<Published, Unpublished> {
        let alert = Alert {
            certificate_authority: arn.clone(),
            name: self.names.get(self.clients, arn).await,
            detected_at,
            kind,
            runbook_url: self.config.runbook_url.clone(),
        };
        // Boxed: every audit is as large as its deepest await.
        Box::pin(self.publisher.publish(alert, until)).await
    }

    /// Whether the run may wait for Private CA's request limit and for other runs.
    pub fn waits(&self) -> bool {
        self.request.trigger != Trigger::Manual
    }
}

/// What a stage yields; or the response that the audit ends with, although nothing failed.
pub(super) type Step<T> = ControlFlow<AuditResponse, T>;

/// The audit of one CA in one run; each stage is a method.
pub(super) struct Audit<'a> {
    pub run: &'a Run<'a>,
    pub arn: &'a CertificateAuthorityArn,
    pub mode: Mode,
    /// Whether a report may be requested; otherwise only a pending one is read.
    pub accepts_requests: bool,
}

impl Audit<'_> {
    /// Takes the CA's lease until this run's deadline. A run that waits waits for another run's end
    /// as long as its own time allows.
    ///
    /// Lambda retries a request after its run ended, so a lease of the same request is taken over. If
    /// that run still lives (a duplicate delivery), its conditional writes fail from then on.
    pub async fn take_lease(&self) -> Result<Step<VersionedState>, AuditError> {
        let (budget, invocation) = (self.run.budget, self.run.invocation);
        loop {
            let mut state = self.run.store.load(self.arn, budget.now()).await?;
            if let Some(holder) = state.control.lease_holder(budget.now())
                && holder.request_id != invocation.request_id
            {
                // Most leases are released long before they expire.
                let left = holder.until.since(budget.now());
                if self.run.waits() && budget.wait(left.min(LEASE_POLL)).await {
                    continue;
                }
                return Ok(Step::Break(self.busy(holder)));
            }
            state.control.lease = Some(Lease {
                request_id: invocation.request_id.clone(),
                nonce: invocation.nonce.clone(),
                until: budget.deadline().saturating_add(CLOCK_TOLERANCE),
            });
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

    /// Returns the response for a CA that another run holds.
    fn busy(&self, holder: &Lease) -> AuditResponse {
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

    /// Publishes an alert that counts as sent only if somebody reads it: a confirmed subscription of the
    /// topic was seen now or, if SNS cannot say now, before.
    pub async fn publish(
        &self,
        kind: AlertKind,
        detected_at: Timestamp,
        until: Instant,
        confirmed_topic: &mut Option<String>,
    ) -> Result<Published, Unpublished> {
        let (run, topic_arn) = (self.run, &self.run.config.topic_arn);
        let published = run.publish(self.arn, kind, detected_at, until).await;
        let mut published = published.inspect_err(|unpublished| {
            // Whoever had subscribed before is gone.
            let kind = unpublished.error.kind;
            if kind == ErrorKind::TopicWithoutSubscription || kind == ErrorKind::TopicNotFound {
                *confirmed_topic = None;
            }
        })?;
        if published.has_reader {
            *confirmed_topic = Some(topic_arn.clone());
        } else if confirmed_topic.as_ref() == Some(topic_arn)
            && let Some(error) = published.unverified.take()
        {
            published.warnings.push(error.message);
        }
        Ok(published)
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
