//! Requests an audit report of a CA, or finds one that was requested without our knowledge.

use std::time::{Duration, SystemTime};

use aws_sdk_acmpca::config::retry::RetryConfig;
use aws_sdk_acmpca::operation::create_certificate_authority_audit_report::CreateCertificateAuthorityAuditReportOutput;
use aws_sdk_acmpca::types::AuditReportResponseFormat;
use aws_sdk_s3::types::Object;
use tracing::{info, warn};

use crate::aws::failure::{CallFailure, FailureClass, bucket_uri};
use crate::budget::Pacer;
use crate::error::{AuditError, ErrorKind};
use crate::pending_report::PendingReport;
use crate::report::wait::ReportCalls;
use crate::report_format::ReportFormat;
use crate::timestamp::Timestamp;

/// Minimum interval between two report requests. AWS Private CA accepts one
/// `CreateCertificateAuthorityAuditReport` per second and account (AWS General Reference, "AWS
/// Private Certificate Authority endpoints and quotas"); the rest allows for jitter on the way.
pub(crate) const REQUEST_PACE: Duration = Duration::from_millis(1050);

/// Wait after the first failed request; doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);

/// Maximum attempts of a request without a response: the second one shows if the first arrived.
const MAX_ATTEMPTS_WITHOUT_RESPONSE: u32 = 2;

/// Maximum difference between S3's clock and ours.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Private CA's response to a request for a report.
pub enum Requested {
    /// The report, and when it was requested at the latest.
    Report(PendingReport, SystemTime),
    /// Another report was requested too recently, or is still being written.
    TooSoon,
    /// Refused, and AWS does not document how it refuses a request that comes too soon: this error,
    /// unless a recent report shows that it was one.
    Refused(AuditError),
}

/// Requests a report. Waits while throttled, as long as the budget allows.
///
/// The API has no idempotency token. The SDK must not retry, or a lost response would cost a whole
/// report interval.
///
/// # Errors
/// AWS refuses the CA or the permission, or the time is over.
pub async fn request(
    calls: &ReportCalls<'_>,
    format: ReportFormat,
    pacer: &Pacer,
) -> Result<Requested, AuditError> {
    let ReportCalls { arn, budget, .. } = calls;
    let certificate_authority = arn.id();
    let mut backoff = FIRST_BACKOFF;
    let mut without_response = 0;
    loop {
        if !pacer.turn(budget).await {
            let message = format!(
                "no time was left to request an audit report of {arn}, at one request per second"
            );
            return Err(AuditError::new(ErrorKind::OutOfTime, message));
        }
        let failure = match create_report(calls, format).await {
            Ok(created) => return requested(calls, created),
            Err(failure) => failure,
        };
        match failure.class {
            _ if failure.is("RequestInProgressException") => return Ok(Requested::TooSoon),
            FailureClass::Refused => return refusal(&failure, calls),
            FailureClass::Throttled => {
                warn!(certificate_authority, error = %failure, "report request throttled");
            }
            FailureClass::Unavailable => {
                without_response += 1;
                warn!(certificate_authority, error = %failure, "report request outcome unknown");
            }
        }
        if without_response == MAX_ATTEMPTS_WITHOUT_RESPONSE || !budget.wait(backoff).await {
            return Err(failure.error(arn.as_str()));
        }
        backoff *= 2;
    }
}

/// Calls `CreateCertificateAuthorityAuditReport` once.
async fn create_report(
    calls: &ReportCalls<'_>,
    format: ReportFormat,
) -> Result<CreateCertificateAuthorityAuditReportOutput, CallFailure> {
    calls
        .clients
        .acmpca
        .create_certificate_authority_audit_report()
        .certificate_authority_arn(calls.arn.as_str())
        .s3_bucket_name(calls.bucket)
        .audit_report_response_format(match format {
            ReportFormat::Json => AuditReportResponseFormat::Json,
            ReportFormat::Csv => AuditReportResponseFormat::Csv,
        })
        .customize()
        .config_override(
            aws_sdk_acmpca::config::Builder::new().retry_config(RetryConfig::disabled()),
        )
        .send()
        .await
        .map_err(|error| CallFailure::new("CreateCertificateAuthorityAuditReport", &error))
}

fn requested(
    calls: &ReportCalls<'_>,
    created: CreateCertificateAuthorityAuditReportOutput,
) -> Result<Requested, AuditError> {
    let (Some(id), Some(key)) = (created.audit_report_id, created.s3_key) else {
        let message = format!(
            "the response to the request for an audit report of {} has no ID or no key",
            calls.arn
        );
        return Err(AuditError::new(ErrorKind::Unavailable, message));
    };
    let at = calls.budget.clock();
    let report = PendingReport::new(id, key, at.into());
    Ok(Requested::Report(report, at))
}

/// Returns the report that was requested without our knowledge: the newest object of the CA that is
/// newer than the last scanned report, and recent enough for AWS to refuse another request. Its time
/// is that of the object: it was requested then at the latest.
///
/// # Errors
/// The bucket cannot be listed.
pub async fn find_orphaned_report(
    calls: &ReportCalls<'_>,
    last_scanned: Option<Timestamp>,
    report_interval: Duration,
) -> Result<Option<PendingReport>, AuditError> {
    let prefix = format!("audit-report/{}/", calls.arn.id());
    let oldest = calls
        .budget
        .now()
        .saturating_sub(report_interval + CLOCK_SKEW);
    let newer_than = last_scanned.unwrap_or(oldest).max(oldest);
    let mut newest: Option<PendingReport> = None;
    // Keys are not in the order of age: look at all pages.
    let mut pages = calls
        .clients
        .s3
        .list_objects_v2()
        .bucket(calls.bucket)
        .prefix(&prefix)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            let location = format!("s3://{}/{prefix}", calls.bucket);
            CallFailure::new("ListObjectsV2", &error).error(&location)
        })?;
        let reports = page.contents().iter().filter_map(report_of);
        let newer = reports.filter(|report| report.requested_at > newer_than);
        newest = newest
            .into_iter()
            .chain(newer)
            .max_by_key(|report| report.requested_at);
    }
    if let Some(report) = &newest {
        info!(
            certificate_authority = calls.arn.id(),
            report_id = report.id,
            key = report.key,
            "report adopted"
        );
    }
    Ok(newest)
}

/// Returns the report that an object is; `None` if it is none.
fn report_of(object: &Object) -> Option<PendingReport> {
    let key = object.key()?;
    ReportFormat::from_key(key)?;
    let written_at = Timestamp::from_unix_seconds(object.last_modified()?.secs())?;
    let id = report_id(key)?.to_owned();
    Some(PendingReport::new(id, key.to_owned(), written_at))
}

/// Returns the report ID in a key: its last part without the ending.
fn report_id(key: &str) -> Option<&str> {
    let (id, _) = key.rsplit('/').next()?.rsplit_once('.')?;
    (!id.is_empty()).then_some(id)
}

fn refusal(failure: &CallFailure, calls: &ReportCalls) -> Result<Requested, AuditError> {
    let target = format!("{} to bucket {}", calls.arn, calls.bucket);
    let kind = match failure.code.as_deref() {
        Some("InvalidStateException") => ErrorKind::CertificateAuthorityState,
        // Audit reports are not supported beyond 100 million certificates (AWS Private CA User
        // Guide, "Use audit reports with your private CA").
        Some("LimitExceededException") => ErrorKind::CertificateAuthorityTooLarge,
        // AWS uses the same code for a missing bucket; its message says which one is missing.
        Some("ResourceNotFoundException" | "InvalidArnException") => {
            ErrorKind::CertificateAuthorityNotFound
        }
        Some("InvalidArgsException" | "ValidationException") => {
            let (arn, bucket, reason) = (calls.arn, calls.bucket, failure.reason());
            let message =
                format!("AWS Private CA cannot write audit reports of {arn} to {bucket}: {reason}");
            return Ok(Requested::Refused(AuditError {
                resource: Some(bucket_uri(bucket)),
                ..AuditError::new(ErrorKind::ReportBucketRefused, message)
            }));
        }
        _ if failure.is_denied() => ErrorKind::AccessDenied,
        _ => return Ok(Requested::Refused(failure.rejected(&target))),
    };
    Err(failure.error_of(kind, &target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_id_is_the_last_part_of_the_key() {
        assert_eq!(report_id("audit-report/ca/a1b2.json"), Some("a1b2"));
        assert_eq!(report_id("audit-report/ca/"), None);
        assert_eq!(report_id("audit-report/ca/.json"), None);
    }
}
