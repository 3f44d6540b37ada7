//! Waits until a requested audit report lies in S3.

use std::time::Duration;

use aws_sdk_acmpca::types::AuditReportStatus;
use tracing::{debug, warn};

use crate::arn::CertificateAuthorityArn;
use crate::aws::clients::Clients;
use crate::aws::failure::{CallFailure, FailureClass};
use crate::budget::{Budget, Pacer};
use crate::error::{AuditError, ErrorKind};
use crate::pending_report::PendingReport;
use crate::timestamp::Timestamp;

/// For so long `CREATING` is believed.
pub const CREATING_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// For so long `SUCCESS` is believed although the object does not show.
pub const MISSING_OBJECT_TIMEOUT: Duration = Duration::from_secs(3600);

/// What came of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The report lies there.
    Ready(ReportObject),
    /// Not in time: the next run takes it up.
    NotYet,
    /// It will never come: the report is to be dropped.
    Gone(AuditError),
}

/// A report's object in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportObject {
    pub key: String,
    pub e_tag: String,
    pub size_bytes: u64,
    pub last_modified: Timestamp,
}

const FIRST_POLL: Duration = Duration::from_secs(1);
const SLOWEST_POLL: Duration = Duration::from_secs(15);

/// Polls the object and, where it is not there, the report's status, until the budget ends.
///
/// # Errors
/// The faults of S3; those of the status alone never end the wait.
pub async fn wait(
    clients: &Clients,
    arn: &CertificateAuthorityArn,
    bucket: &str,
    report: &PendingReport,
    pacer: &Pacer,
    budget: &Budget,
) -> Result<Waited, AuditError> {
    let mut poll = FIRST_POLL;
    let mut transient = 0;
    let mut is_done = false;
    loop {
        let object = match head(clients, bucket, &report.key).await {
            Ok(object) => object,
            // Polling outlasts what the SDK's own retries do not.
            Err(failure) if failure.class != FailureClass::Refused && transient < 3 => {
                transient += 1;
                warn!(certificate_authority = arn.id(), report = report.id, error = %failure, "polling again");
                if !budget.wait(poll).await {
                    return Ok(Waited::NotYet);
                }
                continue;
            }
            Err(failure) => return Err(failure.error(&format!("s3://{bucket}/{}", report.key))),
        };
        match object {
            Some(object) if object.size_bytes > 0 => return Ok(Waited::Ready(object)),
            // Looked for once more after AWS had said that it is written.
            None if is_done && budget.now().since(report.requested_at) > MISSING_OBJECT_TIMEOUT => {
                return Ok(Waited::Gone(AuditError::new(
                    ErrorKind::ReportVanished,
                    format!(
                        "audit report {} of {arn} is said to be done, but its object {} is not there",
                        report.id, report.key
                    ),
                )));
            }
            object => match (status(clients, arn, report, pacer, budget).await, object) {
                (Status::Gone(error), _) => return Ok(Waited::Gone(error)),
                // An empty object of a report that is done stays empty: the scanner says so.
                (Status::Done, Some(empty)) => return Ok(Waited::Ready(empty)),
                (Status::Done, None) => is_done = true,
                (Status::Open, _) => {}
            },
        }
        if !budget.wait(poll).await {
            return Ok(Waited::NotYet);
        }
        poll = (poll * 3 / 2).min(SLOWEST_POLL);
    }
}

/// The object under a key; `None` where there is none.
///
/// # Errors
/// The failure of the call. HEAD answers 403 for a missing key to a caller without
/// `s3:ListBucket`.
pub async fn head(
    clients: &Clients,
    bucket: &str,
    key: &str,
) -> Result<Option<ReportObject>, CallFailure> {
    match clients
        .s3
        .head_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
    {
        Ok(output) => Ok(Some(ReportObject {
            key: key.to_owned(),
            e_tag: output.e_tag().unwrap_or_default().to_owned(),
            size_bytes: output
                .content_length()
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0),
            last_modified: output
                .last_modified()
                .and_then(|at| Timestamp::from_unix_seconds(at.secs()))
                .unwrap_or(Timestamp::MIN),
        })),
        Err(error) => {
            let failure = CallFailure::new("HeadObject", &error);
            if failure.is_not_found() {
                Ok(None)
            } else {
                Err(failure)
            }
        }
    }
}

enum Status {
    /// Still being written, or nobody could say.
    Open,
    /// Written, says AWS.
    Done,
    Gone(AuditError),
}

async fn status(
    clients: &Clients,
    arn: &CertificateAuthorityArn,
    report: &PendingReport,
    pacer: &Pacer,
    budget: &Budget,
) -> Status {
    if !pacer.turn(budget).await {
        return Status::Open;
    }
    let age = budget.now().since(report.requested_at);
    let about = || format!("audit report {} of {arn}", report.id);
    let answered = clients
        .acmpca
        .describe_certificate_authority_audit_report()
        .certificate_authority_arn(arn.as_str())
        .audit_report_id(&report.id)
        .send()
        .await;
    match answered {
        Ok(output) => match output.audit_report_status() {
            Some(AuditReportStatus::Failed) => Status::Gone(AuditError::new(
                ErrorKind::ReportFailed,
                format!("AWS Private CA failed to generate {}", about()),
            )),
            Some(AuditReportStatus::Success) => Status::Done,
            status if age > CREATING_TIMEOUT => Status::Gone(AuditError::new(
                ErrorKind::ReportFailed,
                format!(
                    "{} was requested more than a day ago and is still {}",
                    about(),
                    status.map_or("without a status", AuditReportStatus::as_str)
                ),
            )),
            status => {
                debug!(
                    certificate_authority = arn.id(),
                    report = report.id,
                    status = status.map(AuditReportStatus::as_str),
                    "not there yet"
                );
                Status::Open
            }
        },
        Err(error) => {
            let failure = CallFailure::new("DescribeCertificateAuthorityAuditReport", &error);
            if failure.is("ResourceNotFoundException") || failure.is("InvalidArgsException") {
                return Status::Gone(failure.error_of(ErrorKind::ReportVanished, &about()));
            }
            // The object alone can still show that the report is there.
            warn!(certificate_authority = arn.id(), report = report.id, error = %failure, "no status");
            if age > CREATING_TIMEOUT {
                return Status::Gone(failure.error_of(ErrorKind::ReportVanished, &about()));
            }
            Status::Open
        }
    }
}
