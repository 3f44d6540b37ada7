//! Publishes what an audit found.

use tokio::time::Instant;

use crate::alert::publish::Unpublished;
use crate::alert::{Alert, AlertKind, CertificateAuthority, RevocationAlert};
use crate::audit::context::Audit;
use crate::audit::findings::News;
use crate::error::AuditError;
use crate::state::control::Control;
use crate::timestamp::Timestamp;

impl Audit<'_> {
    /// Publishes `watch-started` after the first complete audit, and the new revocations; returns
    /// warnings.
    pub(super) async fn alert(
        &self,
        control: &mut Control,
        news: News,
    ) -> Result<Vec<String>, AuditError> {
        let mut warnings = Vec::new();
        if let Some(notify_from) = news.first_audit_from
            && !control.started
        {
            let kind = AlertKind::WatchStarted {
                report: news.report.clone(),
                totals: news.totals,
                revoked: news.revoked.clone(),
                notify_from,
                to_notify: news.batch.len(),
            };
            warnings.extend(self.publish_news(kind, news.detected_at).await?);
            // Recorded even if the next message fails, so that it is not sent twice.
            control.started = true;
        }
        if !news.batch.is_empty() {
            let detected_at = news.detected_at;
            let kind = AlertKind::Revocations(news.into());
            warnings.extend(self.publish_news(kind, detected_at).await?);
        }
        Ok(warnings)
    }

    /// Publishes revocations again; returns warnings.
    pub(super) async fn replay(
        &self,
        since: Timestamp,
        news: News,
    ) -> Result<Vec<String>, AuditError> {
        if news.batch.is_empty() {
            return Ok(Vec::new());
        }
        let detected_at = news.detected_at;
        let kind = AlertKind::Replay {
            revocations: news.into(),
            since,
            request_id: self.run.request_id.clone(),
        };
        self.publish_news(kind, detected_at).await
    }

    /// Publishes while there is still time to save the state afterwards.
    async fn publish_news(
        &self,
        kind: AlertKind,
        detected_at: Timestamp,
    ) -> Result<Vec<String>, AuditError> {
        let until = self.run.budget.saving_starts();
        let published = self.publish(kind, detected_at, until).await;
        published.map_err(|unpublished| unpublished.error)
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

impl From<News> for RevocationAlert {
    fn from(news: News) -> Self {
        Self::new(news.batch, news.report, news.totals, news.full_list)
    }
}
