//! Handles one invocation: configuration → event → targets → audits → response.

use std::slice;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::{FutureExt, join};
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::alert::publish::Publisher;
use crate::alert::{AlertKind, Stack};
use crate::arn::CertificateAuthorityArn;
use crate::audit::{AuditResult, Run, ScanLimiter, audit_all};
use crate::aws::account_cache::AccountCache;
use crate::aws::certificate_authorities::Names;
use crate::aws::clients::Clients;
use crate::budget::{Budget, Pacer};
use crate::config::Config;
use crate::error::{ErrorKind, invocation_error};
use crate::event::{Mode, Request, Trigger};
use crate::health::{Health, status};
use crate::investigate::{Investigator, Trail};
use crate::metrics;
use crate::report::request::REQUEST_PACE;
use crate::response::{AuditResponse, Outcome, Response, batch_response};
use crate::scale_out::{current, dispatch, queue_for, work};
use crate::state::store::Store;
use crate::targets::{Targets, targets};

pub use crate::audit::Invocation;

/// Minimum interval between two `DescribeCertificateAuthorityAuditReport`: half of the 20 per second
/// that AWS Private CA accepts.
const STATUS_PACE: Duration = Duration::from_millis(100);

/// The function, for the life of its process.
#[derive(Debug)]
pub struct Function {
    ready: Result<(Config, Clients), Diagnostic>,
    names: Names,
    account_cache: AccountCache,
    trail: Trail,
    /// The dimension of the metrics.
    function_name: String,
}

impl Function {
    /// Creates a function. With an invalid configuration, every invocation fails with its problems.
    pub fn new(ready: Result<(Config, Clients), Diagnostic>, function_name: String) -> Self {
        Self {
            ready,
            names: Names::default(),
            account_cache: AccountCache::default(),
            trail: Trail::default(),
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
        let Trigger::Queue(queued) = request.trigger else {
            let run = self.run(config, clients, &request, invocation);
            // Without a type of its own: the compiler limits the depth of nested futures to 128.
            return self.handle_request(&run).boxed_local().await;
        };
        let queued = current(queued, config, invocation.budget.now());
        let parts = Request::of_batch(queued);
        let mut kept = Vec::new();
        for request in &parts {
            let run = self.run(config, clients, request, invocation);
            match self.handle_messages(&run).boxed_local().await {
                Ok(part) => kept.extend(part),
                Err(error) if parts.len() == 1 => return Err(error),
                Err(error) => {
                    let queued = request.trigger.queued().iter();
                    let ids: Vec<_> = queued.map(|queued| queued.message_id.clone()).collect();
                    warn!(
                        sqs_message_ids = ?ids,
                        error_type = error.error_type,
                        error = error.error_message,
                        "messages stay in the queue; SQS delivers them again"
                    );
                    kept.extend(ids);
                }
            }
        }
        Ok(batch_response(&kept))
    }

    async fn handle_request(&self, run: &Run<'_>) -> Result<Value, Diagnostic> {
        let (budget, mode) = (&run.invocation.budget, run.request.mode);
        if mode == Mode::Status {
            // Boxed: an audit must not be as large as the status.
            return Box::pin(status(run)).await;
        }
        let targets = Box::pin(start(run)).await?;
        if mode == Mode::TestMessage {
            let what = format!("Publish of the test message to {}", run.config.topic_arn);
            let arn = targets.audits.first().map(|target| &target.arn);
            return in_time(budget, &what, test_message(run, arn)).await;
        }
        // Boxed: both are as large as the deepest await of a comparison.
        let mut response = match queue_for(run, &targets) {
            Some(queue) => Box::pin(dispatch(run, *budget, &targets, queue)).await,
            None => Box::pin(audit_and_announce(run, *budget, &targets)).await,
        };
        response.add_warnings(&targets.warnings);
        self.finish(run, &response);
        response.for_trigger(&run.request.trigger)
    }

    /// Handles messages of a queue; returns the IDs of those that it must deliver again.
    async fn handle_messages(&self, run: &Run<'_>) -> Result<Vec<String>, Diagnostic> {
        let (budget, trigger) = (run.invocation.budget, &run.request.trigger);
        if !trigger.audit_messages().is_empty() {
            let worked = Box::pin(work(run, budget, Box::pin(start(run)))).await;
            if let Some(response) = &worked.response {
                self.finish(run, response);
            }
            return Ok(worked.kept);
        }
        let targets = Box::pin(start(run)).await?;
        let mut response = Box::pin(audit_and_announce(run, budget, &targets)).await;
        response.add_warnings(&targets.warnings);
        self.finish(run, &response);
        Ok(response.undone_events(trigger))
    }

    /// Writes the metrics of a run.
    fn finish(&self, run: &Run<'_>, response: &Response) {
        let budget = &run.invocation.budget;
        let is_full = run.request.certificate_authorities.is_none();
        // Not through the log, whose level may filter it out.
        let monitoring = run.config.monitoring;
        let line = metrics::line(
            &self.function_name,
            budget.now(),
            response,
            is_full,
            monitoring,
        );
        println!("{line}");
        info!(
            request_id = run.invocation.request_id,
            status = %response.status,
            duration_seconds = budget.elapsed().as_secs_f64(),
            "run finished"
        );
    }

    fn run<'a>(
        &'a self,
        config: &'a Config,
        clients: &'a Clients,
        request: &'a Request,
        invocation: &'a Invocation,
    ) -> Run<'a> {
        let sends_again = !request.trigger.audit_messages().is_empty();
        let budget = match request.announces() {
            true => invocation.budget.before_announcing(),
            false if sends_again => invocation.budget.before_sending(),
            false => invocation.budget,
        };
        Run {
            config,
            clients,
            names: &self.names,
            account_cache: &self.account_cache,
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
                &self.trail,
            ),
            request_pacer: Pacer::new(REQUEST_PACE),
            status_pacer: Pacer::new(STATUS_PACE),
            scan_limiter: ScanLimiter::default(),
            had_subscription: Mutex::default(),
        }
    }
}

/// Selects the CAs of a run.
async fn start(run: &Run<'_>) -> Result<Targets, Diagnostic> {
    let budget = &run.invocation.budget;
    let what = "selecting the CAs (ListCertificateAuthorities, ListTags)";
    let targets = in_time(budget, what, targets(run)).await?;
    info!(
        request_id = run.invocation.request_id,
        mode = ?run.request.mode,
        certificate_authorities = targets.audits.len(),
        seconds_left = budget.left().as_secs(),
        "run started"
    );
    Ok(targets)
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
