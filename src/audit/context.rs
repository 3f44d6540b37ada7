//! What the audits of one invocation share, and what the stages of one audit share.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::info;

use crate::alert::publish::Publisher;
use crate::arn::CertificateAuthorityArn;
use crate::audit::scan_limiter::ScanLimiter;
use crate::aws::certificate_authorities::Names;
use crate::aws::clients::Clients;
use crate::budget::{Budget, Pacer};
use crate::config::Config;
use crate::error::{AuditError, ErrorKind};
use crate::event::Mode;
use crate::response::{AuditResponse, Outcome};
use crate::state::control::{CLOCK_TOLERANCE, Lease, RecordedError};
use crate::state::store::{LeaseAttempt, SaveError, Store, VersionedState};

/// What the audits of one invocation share.
pub struct Run<'a> {
    /// The function's configuration.
    pub config: &'a Config,
    /// The AWS clients.
    pub clients: &'a Clients,
    /// Names of CAs, for messages.
    pub names: &'a Names,
    /// Announced errors that S3 did not store.
    pub unsaved_errors: &'a UnsavedErrors,
    /// The time that the invocation has left.
    pub budget: &'a Budget,
    /// The state in S3.
    pub store: Store,
    /// The SNS topics.
    pub publisher: Publisher<'a>,
    /// Paces report requests: one per second and account (AWS Private CA quotas).
    pub request_pacer: Pacer,
    /// Paces report status lookups: half of the 20 per second and account.
    pub status_pacer: Pacer,
    /// Limits concurrent scans.
    pub scan_limiter: ScanLimiter,
    /// Lambda's request ID.
    pub request_id: String,
    /// Distinguishes this run from a retry with the same request ID.
    pub nonce: String,
    /// Whether to wait for Private CA's request limit and for other runs.
    pub waits: bool,
    /// Whether a run without a complete audit counts toward `ReportOverdue`.
    pub is_scheduled: bool,
}

/// Errors that were announced but that S3 did not store: only this process knows of them.
#[derive(Debug, Default)]
pub struct UnsavedErrors(Mutex<HashMap<CertificateAuthorityArn, RecordedError>>);

impl UnsavedErrors {
    /// Returns the errors by CA.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<CertificateAuthorityArn, RecordedError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The audit of one CA in one run; each stage is a method.
pub(super) struct Audit<'a> {
    pub run: &'a Run<'a>,
    pub arn: &'a CertificateAuthorityArn,
    pub mode: Mode,
    /// ARNs of certificates that events say are revoked.
    pub expected: Vec<String>,
}

impl Audit<'_> {
    /// Takes the CA's lease until this run's deadline.
    pub async fn take_lease(&self) -> Result<LeaseAttempt, AuditError> {
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
        self.run
            .store
            .save(state, &self.run.nonce)
            .await
            .map_err(SaveError::into_error)
    }

    /// Cuts off work while there is still time to save the state.
    pub async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, AuditError>>,
    ) -> Result<T, AuditError> {
        tokio::time::timeout_at(self.run.budget.saving_starts(), work)
            .await
            .unwrap_or_else(|_| Err(self.out_of_time("the run ended before its report was read")))
    }

    /// Returns the error for an audit that the run has no time for.
    pub fn out_of_time(&self, why: &str) -> AuditError {
        AuditError::new(ErrorKind::OutOfTime, format!("{}: {why}", self.arn))
    }
}
