//! What the audits of one invocation share, and what the stages of one audit share.

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
use crate::state::store::{LeaseAttempt, Store, VersionedState};
use crate::timestamp::Timestamp;

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
        };
        self.publisher.publish(&alert, until).await
    }

    /// Whether the run may wait for Private CA's request limit and for other runs.
    pub fn waits(&self) -> bool {
        self.request.trigger != Trigger::Manual
    }
}

/// The audit of one CA in one run; each stage is a method.
pub(super) struct Audit<'a> {
    pub run: &'a Run<'a>,
    pub arn: &'a CertificateAuthorityArn,
    pub mode: Mode,
}

impl Audit<'_> {
    /// Takes the CA's lease until this run's deadline.
    pub async fn take_lease(&self) -> Result<LeaseAttempt, AuditError> {
        let run = self.run;
        let lease = Lease {
            request_id: run.invocation.request_id.clone(),
            nonce: run.invocation.nonce.clone(),
            until: run.budget.deadline().saturating_add(CLOCK_TOLERANCE),
        };
        run.store
            .acquire_lease(self.arn, &lease, run.budget, run.waits())
            .await
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

    /// Saves the state.
    pub async fn save(&self, state: &mut VersionedState) -> Result<(), AuditError> {
        self.run.store.save(state, &self.run.invocation.nonce).await
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
