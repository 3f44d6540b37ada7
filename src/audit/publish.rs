//! Publishes alerts about one CA.

use tokio::time::Instant;

use crate::alert::publish::Unpublished;
use crate::alert::{Alert, AlertKind, CertificateAuthority};
use crate::audit::context::Audit;
use crate::error::AuditError;
use crate::state::control::Control;
use crate::timestamp::Timestamp;

impl Audit<'_> {
    /// Publishes what an audit found while there is still time to save the state; returns warnings.
    pub(super) async fn alert(
        &self,
        control: &mut Control,
        alerts: Vec<AlertKind>,
        detected_at: Timestamp,
    ) -> Result<Vec<String>, AuditError> {
        let until = self.run.budget.saving_starts();
        let mut warnings = Vec::new();
        for kind in alerts {
            let is_start = matches!(kind, AlertKind::WatchStarted { .. });
            let published = self.publish(kind, detected_at, until).await;
            warnings.extend(published.map_err(|unpublished| unpublished.error)?);
            // Recorded even if the next alert fails, so that it is not sent twice.
            control.started |= is_start;
        }
        Ok(warnings)
    }

    /// Publishes an alert about this CA; returns warnings.
    pub(super) async fn publish(
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
}
