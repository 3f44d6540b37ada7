//! Handles one invocation: configuration → event → targets → audits → response.

use std::time::Duration;

use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use tracing::info;

use crate::alert::AlertKind;
use crate::alert::publish::Publisher;
use crate::arn::CertificateAuthorityArn;
use crate::audit::{Run, ScanLimiter, audit_all};
use crate::aws::certificate_authorities::Names;
use crate::aws::clients::Clients;
use crate::budget::{Budget, Pacer};
use crate::config::Config;
use crate::error::{ErrorKind, invocation_error};
use crate::event::{Mode, Request};
use crate::metrics;
use crate::response::{AuditResponse, Response};
use crate::state::store::{Store, UnsavedErrors};
use crate::targets::targets;

pub use crate::audit::Invocation;

/// Minimum interval between two report requests. AWS Private CA accepts one
/// `CreateCertificateAuthorityAuditReport` per second and account (AWS General Reference, "AWS
/// Private Certificate Authority endpoints and quotas"); the rest allows for jitter on the way.
const REQUEST_PACE: Duration = Duration::from_millis(1050);

/// Minimum interval between two `DescribeCertificateAuthorityAuditReport`: half of the 20 per second
/// that AWS Private CA accepts.
const STATUS_PACE: Duration = Duration::from_millis(100);

/// The function, for the life of its process.
#[derive(Debug)]
pub struct Function {
    ready: Result<(Config, Clients), Diagnostic>,
    names: Names,
    unsaved_errors: UnsavedErrors,
    /// The dimension of the metrics.
    function_name: String,
}

impl Function {
    /// Creates a function. With an invalid configuration, every invocation fails with its problems.
    pub fn new(ready: Result<(Config, Clients), Diagnostic>, function_name: String) -> Self {
        Self {
            ready,
            names: Names::default(),
            unsaved_errors: UnsavedErrors::default(),
            function_name,
        }
    }

    /// Handles one invocation and returns its response.
    ///
    /// # Errors
    /// An invalid configuration or event, before anything is done; for invocations that Lambda
    /// retries, errors that a retry may fix, after everything is done.
    pub async fn handle(
        &self,
        payload: &Value,
        invocation: &Invocation,
    ) -> Result<Value, Diagnostic> {
        let (config, clients) = self.ready.as_ref().map_err(Clone::clone)?;
        let request = Request::from_payload(payload)?;
        let run = self.run(config, clients, &request, invocation);
        let budget = run.budget;
        let targets = in_time(budget, "ListCertificateAuthorities", targets(&run)).await?;
        info!(
            request_id = invocation.request_id,
            mode = ?request.mode,
            certificate_authorities = targets.len(),
            seconds_left = budget.left().as_secs(),
            "run started"
        );
        if request.mode == Mode::TestMessage {
            let what = format!("Publish of the test message to {}", config.topic_arn);
            return in_time(
                budget,
                &what,
                test_message(&run, targets.first().map(|target| &target.arn)),
            )
            .await;
        }
        let audits = audit_all(&run, &targets).await;
        let response = Response::new(request.mode.is_dry_run(), audits);
        let is_full = request.certificate_authorities.is_none();
        // Not through the log, whose level may filter it out.
        println!(
            "{}",
            metrics::line(&self.function_name, budget.now(), &response, is_full)
        );
        info!(
            request_id = invocation.request_id,
            status = %response.status,
            duration_seconds = budget.elapsed().as_secs_f64(),
            "run finished"
        );
        response.for_trigger(&request.trigger)
    }

    fn run<'a>(
        &'a self,
        config: &'a Config,
        clients: &'a Clients,
        request: &'a Request,
        invocation: &'a Invocation,
    ) -> Run<'a> {
        Run {
            config,
            clients,
            names: &self.names,
            request,
            invocation,
            budget: &invocation.budget,
            store: Store {
                s3: &clients.s3,
                bucket: &config.report_bucket,
                prefix: &config.state_prefix,
                unsaved_errors: &self.unsaved_errors,
            },
            publisher: Publisher::new(clients, &config.topic_arn, config.chat_topic_arn.as_deref()),
            request_pacer: Pacer::new(REQUEST_PACE),
            status_pacer: Pacer::new(STATUS_PACE),
            scan_limiter: ScanLimiter::default(),
        }
    }
}

/// Publishes a sample revocation of a CA.
async fn test_message(
    run: &Run<'_>,
    arn: Option<&CertificateAuthorityArn>,
) -> Result<Value, Diagnostic> {
    let arn = arn.ok_or_else(|| {
        invocation_error(
            "NoCertificateAuthorities",
            "a test message needs a CA for its sample revocation, and there is none to audit",
        )
    })?;
    let kind = AlertKind::Test {
        request_id: run.invocation.request_id.clone(),
    };
    let (detected_at, until) = (run.budget.now(), run.budget.response_deadline());
    match run.publish(arn, kind, detected_at, until).await {
        Ok(published) => {
            let mut message = json!({
                "certificateAuthorityArn": arn,
                "topicArn": run.config.topic_arn,
                "messageId": published.message_id,
            });
            let mut warnings = published.warnings;
            warnings.extend(published.unverified.map(|error| error.message));
            if !warnings.is_empty() {
                message["warnings"] = warnings.into();
            }
            Ok(json!({ "status": "ok", "testMessage": message, "certificateAuthorities": [] }))
        }
        Err(unpublished) => {
            let failed = AuditResponse::failed(arn.clone(), unpublished.error);
            Ok(json!(Response::new(false, vec![failed])))
        }
    }
}

/// Ends work with an error in time for Lambda's deadline, even if AWS does not respond.
async fn in_time<T>(
    budget: &Budget,
    what: &str,
    work: impl Future<Output = Result<T, Diagnostic>>,
) -> Result<T, Diagnostic> {
    let result = tokio::time::timeout_at(budget.response_deadline(), work).await;
    result.unwrap_or_else(|_| {
        let message = format!(
            "{what} did not finish in the time of this invocation; no alerts were sent. If this persists, check the AWS Health Dashboard and the function's network access"
        );
        Err(invocation_error(ErrorKind::OutOfTime.name(), message))
    })
}
