//! One invocation: which certificate authorities, side by side, and the answer.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::alert::publish::Publisher;
use crate::alert::{Alert, AlertKind, CertificateAuthority};
use crate::arn::CertificateAuthorityArn;
use crate::audit::{self, Run, ScanLimiter, UnsavedErrors};
use crate::aws::certificate_authorities::{Names, list_auditable};
use crate::aws::clients::Clients;
use crate::budget::{Budget, Pacer};
use crate::config::{CertificateAuthorities, Config, ConfigError, Listed};
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::event::{Mode, QueuedEvent, Request, Trigger};
use crate::metrics;
use crate::response::{AuditResponse, Outcome, Response, Status, TestMessage};
use crate::state::store::Store;

/// AWS Private CA takes one `CreateCertificateAuthorityAuditReport` per second and account
/// (AWS General Reference, "AWS Private Certificate Authority endpoints and quotas"). A little slower,
/// since requests do not arrive as evenly as they are sent.
const REQUEST_PACE: Duration = Duration::from_millis(1050);

/// Half of the 20 `DescribeCertificateAuthorityAuditReport` per second that it takes.
const DESCRIBE_PACE: Duration = Duration::from_millis(100);

/// So often a queued event comes back because the report does not show its certificate as revoked.
const MAX_UNCONFIRMED_RECEIVES: u64 = 5;

/// The function, as long as its process lives.
#[derive(Debug)]
pub struct Function {
    ready: Result<(Config, Clients), ConfigError>,
    names: Names,
    unrecorded: UnsavedErrors,
    /// The dimension of the metrics.
    function_name: String,
}

/// What Lambda says of an invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub request_id: String,
    pub function_arn: String,
    pub budget: Budget,
    /// Tells this attempt from a retry with the same request id.
    pub nonce: String,
}

/// Why an invocation fails as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationError {
    /// A stable name.
    pub kind: &'static str,
    pub message: String,
}

impl fmt::Display for InvocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for InvocationError {}

impl InvocationError {
    fn new(kind: &'static str, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }
}

impl Function {
    /// A function with this configuration, or one that answers every invocation with what is wrong
    /// with it.
    pub fn new(ready: Result<(Config, Clients), ConfigError>, function_name: String) -> Self {
        Self {
            ready,
            names: Names::default(),
            unrecorded: UnsavedErrors::default(),
            function_name,
        }
    }

    /// Works on one invocation and answers it.
    ///
    /// # Errors
    /// A bad configuration or event, before anything was done; and, for invocations that Lambda
    /// repeats, faults that a repetition may cure, after everything was done.
    pub async fn handle(
        &self,
        payload: &Value,
        invocation: &Invocation,
    ) -> Result<Value, InvocationError> {
        let (config, clients) = self
            .ready
            .as_ref()
            .map_err(|error| InvocationError::new("ConfigurationInvalid", error))?;
        let request = Request::from_payload(payload)
            .map_err(|error| InvocationError::new("EventInvalid", error))?;
        let selecting = select(
            config,
            clients,
            &self.names,
            &request,
            &invocation.function_arn,
        );
        let certificate_authorities =
            in_time(invocation, "ListCertificateAuthorities", selecting).await?;
        info!(
            request = invocation.request_id,
            mode = ?request.mode,
            certificate_authorities = certificate_authorities.len(),
            seconds_left = invocation.budget.left().as_secs(),
            "run begins"
        );
        if request.mode == Mode::TestMessage {
            let telling = self.test_message(config, clients, &certificate_authorities, invocation);
            let what = format!("Publish of the test message to {}", config.topic_arn);
            return in_time(invocation, &what, telling).await;
        }
        let dry_run = matches!(
            request.mode,
            Mode::DryRun | Mode::Replay { dry_run: true, .. }
        );
        let audits = self
            .audit_all(
                config,
                clients,
                &request,
                &certificate_authorities,
                invocation,
            )
            .await;
        let unconfirmed: Vec<String> = audits
            .iter()
            .flat_map(|(_, unconfirmed)| unconfirmed.clone())
            .collect();
        let response = Response::new(
            dry_run,
            audits.into_iter().map(|(response, _)| response).collect(),
        );
        let is_full = request.certificate_authorities.is_none();
        metrics::emit(
            &self.function_name,
            invocation.budget.now(),
            &response,
            is_full,
        );
        info!(
            request = invocation.request_id,
            status = response.status.name(),
            seconds = invocation.budget.elapsed().as_secs_f64(),
            "run ends"
        );
        match &request.trigger {
            Trigger::Queue(queued) => Ok(batch_response(queued, &response, &unconfirmed)),
            Trigger::Schedule | Trigger::Revocations(_) => fail_if_retryable(response),
            Trigger::Manual => Ok(to_value(&response)),
        }
    }

    async fn audit_all(
        &self,
        config: &Config,
        clients: &Clients,
        request: &Request,
        certificate_authorities: &[CertificateAuthorityArn],
        invocation: &Invocation,
    ) -> Vec<(AuditResponse, Vec<String>)> {
        let run = Run {
            config,
            clients,
            names: &self.names,
            unrecorded: &self.unrecorded,
            budget: &invocation.budget,
            store: Store {
                s3: clients.s3.clone(),
                bucket: config.report_bucket.clone(),
                prefix: config.state_prefix.clone(),
            },
            publisher: Publisher::new(clients, &config.topic_arn, config.chat_topic_arn.as_deref()),
            requests: Pacer::new(REQUEST_PACE),
            questions: Pacer::new(DESCRIBE_PACE),
            scan_limiter: ScanLimiter::new(),
            request_id: invocation.request_id.clone(),
            nonce: invocation.nonce.clone(),
            waits: request.trigger.waits(),
            is_scheduled: request.trigger == Trigger::Schedule,
        };
        let audits: Vec<_> = certificate_authorities
            .iter()
            .map(|arn| {
                (
                    arn,
                    expected(&request.trigger, arn),
                    run.scan_limiter.scan_slot(),
                )
            })
            .collect();
        let run = &run;
        join_all(
            audits
                .into_iter()
                .map(|(arn, expected, scan_slot)| async move {
                    // Boxed: two hundred of them are held at once, each as large as its deepest await.
                    let audit =
                        Box::pin(audit::audit(run, arn, request.mode, &expected, scan_slot));
                    match tokio::time::timeout_at(invocation.budget.response_due(), audit).await {
                        Ok(answered) => answered,
                        Err(_) => {
                            let message =
                                format!("{arn}: the run's time was over in the middle of its work");
                            error!(
                                certificate_authority = arn.id(),
                                error = message,
                                "out of time"
                            );
                            let error = AuditError::new(ErrorKind::OutOfTime, message);
                            (AuditResponse::failed(arn.clone(), error), expected)
                        }
                    }
                }),
        )
        .await
    }

    async fn test_message(
        &self,
        config: &Config,
        clients: &Clients,
        certificate_authorities: &[CertificateAuthorityArn],
        invocation: &Invocation,
    ) -> Result<Value, InvocationError> {
        let Some(arn) = certificate_authorities.first() else {
            return Err(InvocationError::new(
                "NoCertificateAuthorities",
                "there is no certificate authority to make up a revocation for",
            ));
        };
        let name = self.names.get(clients, arn).await;
        let alert = Alert {
            certificate_authority: CertificateAuthority::new(arn, name),
            detected_at: invocation.budget.now(),
            kind: AlertKind::Test {
                request_id: invocation.request_id.clone(),
            },
        };
        let publisher =
            Publisher::new(clients, &config.topic_arn, config.chat_topic_arn.as_deref());
        let mut response = Response::new(false, Vec::new());
        let until = invocation.budget.response_due();
        match publisher.publish(&alert, until).await {
            Ok(published) => {
                response.test_message = Some(TestMessage {
                    certificate_authority_arn: arn.clone(),
                    topic_arn: config.topic_arn.clone(),
                    message_id: published.message_id,
                    warnings: published.warnings,
                });
            }
            Err(unpublished) => {
                response.certificate_authorities =
                    vec![AuditResponse::failed(arn.clone(), unpublished.error)];
                response.status = Status::Failed;
            }
        }
        Ok(to_value(&response))
    }
}

/// Lambda gets an answer even where AWS gives none.
async fn in_time<T>(
    invocation: &Invocation,
    what: &str,
    work: impl Future<Output = Result<T, InvocationError>>,
) -> Result<T, InvocationError> {
    let due = invocation.budget.response_due();
    tokio::time::timeout_at(due, work)
        .await
        .unwrap_or_else(|_| {
            let kind = ErrorKind::OutOfTime.name();
            Err(InvocationError::new(
                kind,
                format!(
                    "{what} got no answer in the time of this invocation; no revocation was told. If it lasts, look at the AWS Health Dashboard and at the function's network access"
                ),
            ))
        })
}

/// The certificate authorities that an invocation is for.
async fn select(
    config: &Config,
    clients: &Clients,
    names: &Names,
    request: &Request,
    function_arn: &str,
) -> Result<Vec<CertificateAuthorityArn>, InvocationError> {
    let configured = match &config.certificate_authorities {
        CertificateAuthorities::All => list_auditable(clients, names).await.map_err(|error| {
            InvocationError::new(
                error.kind.name(),
                format!("{}. {}", error.message, error.hint),
            )
        })?,
        CertificateAuthorities::Listed(listed) => listed
            .iter()
            .map(|listed| resolve(listed, function_arn))
            .collect::<Result<_, _>>()?,
    };
    let Some(wanted) = &request.certificate_authorities else {
        return Ok(configured);
    };
    let find = |wanted: &String| {
        configured
            .iter()
            .find(|arn| arn.as_str() == wanted || arn.id() == wanted)
            .cloned()
    };
    let mut selected: Vec<CertificateAuthorityArn> = Vec::new();
    let mut unknown = Vec::new();
    for wanted in wanted {
        match find(wanted) {
            Some(arn) if selected.contains(&arn) => {}
            Some(arn) => selected.push(arn),
            None => unknown.push(wanted.as_str()),
        }
    }
    if unknown.is_empty() {
        return Ok(selected);
    }
    if request.trigger == Trigger::Manual {
        return Err(InvocationError::new(
            "EventInvalid",
            format!(
                "certificateAuthorityArns names {}, which CERTIFICATE_AUTHORITY_ARNS does not list; nothing was done",
                unknown.join(", ")
            ),
        ));
    }
    info!(
        unknown = unknown.join(", "),
        "an event of a certificate authority that is not on the list"
    );
    Ok(selected)
}

/// The ARN of a listed certificate authority; an id is one of the function's own account.
fn resolve(
    listed: &Listed,
    function_arn: &str,
) -> Result<CertificateAuthorityArn, InvocationError> {
    match listed {
        Listed::Arn(arn) => Ok(arn.clone()),
        Listed::Id(id) => match function_arn.split(':').collect::<Vec<_>>()[..] {
            ["arn", partition, "lambda", region, account, ..] => Ok(
                CertificateAuthorityArn::from_parts(partition, region, account, id),
            ),
            _ => Err(InvocationError::new(
                "ConfigurationInvalid",
                format!(
                    "CERTIFICATE_AUTHORITY_ARNS: the id {id} needs the account of the function, and its ARN {function_arn:?} does not tell; give ARNs instead"
                ),
            )),
        },
    }
}

/// The certificates of a certificate authority that events say are revoked.
fn expected(trigger: &Trigger, arn: &CertificateAuthorityArn) -> Vec<String> {
    let events: Vec<_> = match trigger {
        Trigger::Revocations(events) => events.iter().collect(),
        Trigger::Queue(queued) => queued
            .iter()
            .filter_map(|queued| queued.event.as_ref())
            .collect(),
        Trigger::Schedule | Trigger::Manual => Vec::new(),
    };
    events
        .into_iter()
        .filter(|event| event.certificate_authority_arn == arn.as_str())
        .filter_map(|event| event.certificate_arn.clone())
        .collect()
}

/// An asynchronous invocation fails where a repetition by Lambda may cure what went wrong.
fn fail_if_retryable(response: Response) -> Result<Value, InvocationError> {
    let retryable: Vec<String> = response
        .certificate_authorities
        .iter()
        .filter_map(|ca| ca.error.as_ref().map(|error| (ca, error)))
        .filter(|(_, error)| error.kind.remedy() == Remedy::Retry)
        .map(|(ca, error)| format!("{}: {error}", ca.certificate_authority_arn.id()))
        .collect();
    if retryable.is_empty() {
        return Ok(to_value(&response));
    }
    Err(InvocationError::new(
        "AuditsFailed",
        format!(
            "{} of {} certificate authorities failed in a way that a retry may cure. {}",
            retryable.len(),
            response.certificate_authorities.len(),
            retryable.join("; ")
        ),
    ))
}

/// Which messages of the queue are to come back
/// (AWS Lambda Developer Guide, "Handling errors for an SQS event source in Lambda").
fn batch_response(queued: &[QueuedEvent], response: &Response, unconfirmed: &[String]) -> Value {
    let comes_back = |queued: &&QueuedEvent| {
        let Some(event) = &queued.event else {
            warn!(
                sqs_message = queued.message_id,
                "a message of the queue is no revocation event"
            );
            return false;
        };
        let audited = response
            .certificate_authorities
            .iter()
            .find(|ca| ca.certificate_authority_arn.as_str() == event.certificate_authority_arn);
        let Some(audited) = audited else { return false };
        match (audited.outcome, &audited.error) {
            (Outcome::Waiting | Outcome::TooSoon | Outcome::Busy, _) => true,
            (Outcome::Failed, error) => {
                // What only a person can cure was told; the schedule goes on trying.
                error
                    .as_ref()
                    .is_some_and(|error| error.kind.remedy() == Remedy::Retry)
            }
            (Outcome::Audited, _) => {
                let is_unseen = event
                    .certificate_arn
                    .as_ref()
                    .is_some_and(|arn| unconfirmed.contains(arn));
                if is_unseen && queued.receive_count >= MAX_UNCONFIRMED_RECEIVES {
                    warn!(
                        certificate_arn = event.certificate_arn,
                        receives = queued.receive_count,
                        "no report shows this certificate as revoked; leaving it to the schedule"
                    );
                }
                is_unseen && queued.receive_count < MAX_UNCONFIRMED_RECEIVES
            }
        }
    };
    let failures: Vec<Value> = queued
        .iter()
        .filter(comes_back)
        .map(|queued| json!({ "itemIdentifier": queued.message_id }))
        .collect();
    json!({ "batchItemFailures": failures })
}

fn to_value(response: &Response) -> Value {
    serde_json::to_value(response).expect("an answer has string keys only")
}
