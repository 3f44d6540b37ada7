//! Handles one invocation: configuration → event → targets → audits → response.

use std::slice;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join;
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::info;

use crate::alert::publish::Publisher;
use crate::alert::{AlertKind, Stack};
use crate::arn::CertificateAuthorityArn;
use crate::audit::{AuditResult, Run, ScanLimiter, audit_all};
use crate::aws::certificate_authorities::Names;
use crate::aws::clients::Clients;
use crate::budget::{Budget, Pacer};
use crate::config::Config;
use crate::error::{ErrorKind, invocation_error};
use crate::event::{Mode, Request};
use crate::health::{Health, status};
use crate::investigate::Investigator;
use crate::metrics;
use crate::response::{AuditResponse, Outcome, Response};
use crate::state::store::Store;
use crate::targets::{Targets, targets};

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
    /// The dimension of the metrics.
    function_name: String,
}

impl Function {
    /// Creates a function. With an invalid configuration, every invocation fails with its problems.
    pub fn new(ready: Result<(Config, Clients), Diagnostic>, function_name: String) -> Self {
        Self {
            ready,
            names: Names::default(),
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
        let budget = &invocation.budget;
        if request.mode == Mode::Status {
            // Boxed: an audit must not be as large as the status.
            return Box::pin(status(&run)).await;
        }
        let targets = in_time(budget, "ListCertificateAuthorities", targets(&run)).await?;
        info!(
            request_id = invocation.request_id,
            mode = ?request.mode,
            certificate_authorities = targets.audits.len(),
            seconds_left = budget.left().as_secs(),
            "run started"
        );
        if request.mode == Mode::TestMessage {
            let what = format!("Publish of the test message to {}", config.topic_arn);
            return in_time(
                budget,
                &what,
                test_message(&run, targets.audits.first().map(|target| &target.arn)),
            )
            .await;
        }
        // Boxed: it is as large as the deepest await of a comparison.
        let response = Box::pin(audit_and_announce(&run, *budget, &targets)).await;
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
        let budget = match request.mode.announces() {
            true => invocation.budget.before_announcing(),
            false => invocation.budget,
        };
        Run {
            config,
            clients,
            names: &self.names,
            request,
            invocation,
            stack: stack(config, &invocation.function_arn),
            budget,
            store: Store {
                s3: &clients.s3,
                bucket: &config.report_bucket,
                prefix: &config.state_prefix,
            },
            publisher: Publisher::new(clients, &config.topic_arn, config.chat_topic_arn.as_deref()),
            investigator: Investigator::new(
                clients,
                &config.report_bucket,
                budget,
                config.investigate,
            ),
            request_pacer: Pacer::new(REQUEST_PACE),
            status_pacer: Pacer::new(STATUS_PACE),
            scan_limiter: ScanLimiter::default(),
            had_subscription: Mutex::default(),
        }
    }
}

/// Audits the CAs and, unless nothing is to be recorded, announces changes of the watch.
async fn audit_and_announce(run: &Run<'_>, budget: Budget, targets: &Targets) -> Response {
    let (found, states) = mpsc::unbounded_channel();
    let audits = audit_all(run, &targets.audits, &found);
    let mode = run.request.mode;
    let is_narrowed = run.request.certificate_authorities.is_some();
    if !mode.announces() || (is_narrowed && targets.audits.is_empty()) {
        return Response::new(mode.is_dry_run(), responses(audits.await));
    }
    let mut health = Health::new(run, budget, targets);
    let (mut results, ()) = join(audits, health.at_start(states)).await;
    health.at_end(&mut results).await;
    let mut response = Response::new(false, responses(results));
    response.health_errors = Some(!health.warnings.is_empty());
    response.warnings = health.warnings;
    response
}

/// Returns the responses of all audits but those skipped.
fn responses(results: Vec<AuditResult>) -> Vec<AuditResponse> {
    let responses = results.into_iter().map(|result| result.response);
    responses
        .filter(|response| response.outcome != Outcome::Skipped)
        .collect()
}

/// Returns the stack that a function belongs to.
fn stack(config: &Config, function_arn: &str) -> Stack {
    let mut parts = function_arn.split(':').map(str::to_owned).skip(1);
    let partition = parts.next().unwrap_or_default();
    let mut parts = parts.skip(1);
    Stack {
        partition,
        region: parts.next().unwrap_or_default(),
        account: parts.next().unwrap_or_default(),
        state: format!("s3://{}/{}", config.report_bucket, config.state_prefix),
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
    let arns = slice::from_ref(arn);
    match run.publish(arns, kind, detected_at, until).await {
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
