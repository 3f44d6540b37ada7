//! Waits until a requested audit report is in S3.

use std::time::Duration;

use aws_sdk_acmpca::operation::describe_certificate_authority_audit_report::DescribeCertificateAuthorityAuditReportOutput;
use aws_sdk_acmpca::types::AuditReportStatus;
use tracing::{debug, warn};

use crate::arn::CertificateAuthorityArn;
use crate::aws::clients::Clients;
use crate::aws::failure::{CallFailure, FailureClass};
use crate::budget::{Budget, Pacer};
use crate::error::{AuditError, ErrorKind};
use crate::pending_report::PendingReport;
use crate::timestamp::Timestamp;

/// Timeout for a report stuck in `CREATING`.
pub const CREATING_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Timeout for the object of a report whose status is `SUCCESS`, or that Private CA does not know any
/// more: it may forget the reports of a deleted CA while one of them is on its way to S3.
pub const MISSING_OBJECT_TIMEOUT: Duration = Duration::from_secs(3600);

/// What the calls about one CA's reports need.
#[derive(Clone, Copy)]
pub struct ReportCalls<'a> {
    /// The AWS clients.
    pub clients: &'a Clients,
    /// The CA.
    pub arn: &'a CertificateAuthorityArn,
    /// The bucket that Private CA writes its reports to.
    pub bucket: &'a str,
    /// The time that this run has.
    pub budget: &'a Budget,
}

/// A report's object in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportObject {
    /// Its key.
    pub key: String,
    /// Its ETag, quotes included.
    pub e_tag: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was written.
    pub last_modified: Timestamp,
}

const FIRST_POLL: Duration = Duration::from_secs(1);
const SLOWEST_POLL: Duration = Duration::from_secs(15);

/// Timeout for asking when a report was requested.
const CREATED_AT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of failed polls, beyond the SDK's own retries.
const MAX_FAILED_POLLS: u32 = 3;

/// What a wait ends with, if the report may still be read.
#[derive(Debug)]
pub enum Waited {
    /// The object is there.
    Ready(ReportObject),
    /// The object was not there when the budget ended.
    NotReady,
    /// The budget ended, and the last poll had failed with this error.
    Unknown(AuditError),
}

/// Polls for the object and, while it is missing, the report's status, until the budget ends.
///
/// # Errors
/// The report will never be in S3 ([`ErrorKind::ends_report`]), or S3 refuses the calls. Failures to
/// get the status never end the wait.
pub async fn wait(
    calls: &ReportCalls<'_>,
    report: &PendingReport,
    pacer: &Pacer,
) -> Result<Waited, AuditError> {
    let ReportCalls { arn, budget, .. } = calls;
    let location = format!("s3://{}/{}", calls.bucket, report.key);
    let mut poll = FIRST_POLL;
    let mut failed_polls = 0;
    let mut was_written = false;
    loop {
        let object = match head(calls.clients, calls.bucket, &report.key).await {
            Ok(object) => object,
            Err(failure)
                if failure.class != FailureClass::Refused && failed_polls < MAX_FAILED_POLLS =>
            {
                failed_polls += 1;
                warn!(certificate_authority = arn.id(), report_id = report.id, error = %failure, "report poll failed; retrying");
                if !budget.wait(poll).await {
                    return Ok(Waited::Unknown(failure.error(&location)));
                }
                continue;
            }
            Err(failure) => return Err(failure.error(&location)),
        };
        let is_old = budget.now().since(report.requested_at) > MISSING_OBJECT_TIMEOUT;
        match object {
            Some(object) if object.size_bytes > 0 => return Ok(Waited::Ready(object)),
            // Polled at least once after AWS reported success.
            None if was_written && is_old => {
                let message = format!(
                    "AWS reports success for audit report {} of {arn}, but its object {} is missing",
                    report.id, report.key
                );
                return Err(AuditError::new(ErrorKind::ReportVanished, message));
            }
            object => match (is_written(calls, report, pacer).await?, object) {
                // The object of a finished report stays empty: the scanner reports the error.
                (true, Some(empty)) => return Ok(Waited::Ready(empty)),
                (is_written, _) => was_written |= is_written,
            },
        }
        // One more look is enough, and a queued audit has no time to wait for it.
        if was_written && is_old {
            continue;
        }
        if !budget.wait(poll).await {
            return Ok(Waited::NotReady);
        }
        poll = (poll * 3 / 2).min(SLOWEST_POLL);
    }
}

/// Returns the object of a key; `None` if there is none.
///
/// # Errors
/// The call failed. Without `s3:ListBucket`, S3 returns 403 for a missing key.
pub async fn head(
    clients: &Clients,
    bucket: &str,
    key: &str,
) -> Result<Option<ReportObject>, CallFailure> {
    let head = clients.s3.head_object().bucket(bucket).key(key);
    let response = head.send().await;
    let output = match response.map_err(|error| CallFailure::new("HeadObject", &error)) {
        Err(failure) if failure.is_not_found() => return Ok(None),
        response => response?,
    };
    let size_bytes = output.content_length().unwrap_or(0);
    let last_modified = output
        .last_modified()
        .and_then(|at| Timestamp::from_unix_seconds(at.secs()));
    Ok(Some(ReportObject {
        key: key.to_owned(),
        e_tag: output.e_tag.unwrap_or_default(),
        size_bytes: u64::try_from(size_bytes).unwrap_or(0),
        last_modified: last_modified.unwrap_or(Timestamp::MIN),
    }))
}

/// Returns when a report was requested, as Private CA knows it; `None` if it does not say.
pub async fn created_at(
    calls: &ReportCalls<'_>,
    report_id: &str,
    pacer: &Pacer,
) -> Option<Timestamp> {
    if !pacer.turn(calls.budget).await {
        return None;
    }
    let described = tokio::time::timeout(CREATED_AT_TIMEOUT, describe(calls, report_id)).await;
    let error = match described {
        Ok(Ok(output)) => {
            return Timestamp::from_unix_seconds(output.created_at()?.secs());
        }
        Ok(Err(failure)) => failure.to_string(),
        Err(_) => format!(
            "no response within {} seconds",
            CREATED_AT_TIMEOUT.as_secs()
        ),
    };
    warn!(
        certificate_authority = calls.arn.id(),
        report_id, error, "time of the report's request unknown; using a later one"
    );
    None
}

async fn describe(
    calls: &ReportCalls<'_>,
    report_id: &str,
) -> Result<DescribeCertificateAuthorityAuditReportOutput, CallFailure> {
    calls
        .clients
        .acmpca
        .describe_certificate_authority_audit_report()
        .certificate_authority_arn(calls.arn.as_str())
        .audit_report_id(report_id)
        .send()
        .await
        .map_err(|error| CallFailure::new("DescribeCertificateAuthorityAuditReport", &error))
}

/// Whether AWS has written the report; `false` also if that is unknown.
///
/// # Errors
/// The report will never be written.
async fn is_written(
    calls: &ReportCalls<'_>,
    report: &PendingReport,
    pacer: &Pacer,
) -> Result<bool, AuditError> {
    let ReportCalls { arn, budget, .. } = calls;
    if !pacer.turn(budget).await {
        return Ok(false);
    }
    let age = budget.now().since(report.requested_at);
    let timed_out = age > CREATING_TIMEOUT;
    let name = format!("audit report {} of {arn}", report.id);
    let output = match describe(calls, &report.id).await {
        Ok(output) => output,
        Err(failure) => {
            let unknown_to_aws =
                failure.is("ResourceNotFoundException") || failure.is("InvalidArgsException");
            if timed_out || unknown_to_aws && age > MISSING_OBJECT_TIMEOUT {
                return Err(failure.error_of(ErrorKind::ReportVanished, &name));
            }
            // The object alone can still show that the report is ready.
            warn!(certificate_authority = arn.id(), report_id = report.id, error = %failure, "report status unknown");
            return Ok(false);
        }
    };
    let failed = |why: String| Err(AuditError::new(ErrorKind::ReportFailed, why));
    match output.audit_report_status() {
        Some(AuditReportStatus::Failed) => {
            failed(format!("AWS Private CA failed to generate {name}"))
        }
        Some(AuditReportStatus::Success) => Ok(true),
        status if timed_out => failed(format!(
            "{name} was requested more than a day ago and is still {}",
            status.map_or("without a status", AuditReportStatus::as_str)
        )),
        status => {
            debug!(
                certificate_authority = arn.id(),
                report_id = report.id,
                status = status.map(AuditReportStatus::as_str),
                "report not ready"
            );
            Ok(false)
        }
    }
}
