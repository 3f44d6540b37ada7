//! Requests an audit report of a certificate authority, or finds the one that is under way.

use std::time::{Duration, SystemTime};

use aws_sdk_acmpca::config::retry::RetryConfig;
use aws_sdk_acmpca::types::AuditReportResponseFormat;
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::aws::clients::Clients;
use crate::aws::failure::{CallFailure, FailureClass};
use crate::budget::{Budget, Pacer};
use crate::error::{AuditError, ErrorKind};
use crate::pending_report::PendingReport;
use crate::report_format::ReportFormat;
use crate::timestamp::Timestamp;

/// What AWS said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The report is requested, at that instant at the latest; its object is not there yet.
    Requested(PendingReport, SystemTime),
    /// Another report of this certificate authority was requested too short a time ago, or is
    /// still being written.
    TooSoon,
}

/// The first wait after a throttled request; it doubles with each.
const THROTTLED_BACKOFF: Duration = Duration::from_secs(2);

/// A request whose answer was lost is tried so often: once more tells whether it arrived.
const UNANSWERED_TRIES: u32 = 2;

/// S3's clock and ours may differ by so much.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// Requests a report. Throttling is waited out within the budget.
///
/// There is no idempotency token: the SDK must not retry by itself, or a lost reply would cost the
/// interval until the next report.
///
/// # Errors
/// By what AWS refused: the certificate authority, the bucket, the permission.
pub async fn request(
    clients: &Clients,
    arn: &CertificateAuthorityArn,
    bucket: &str,
    format: ReportFormat,
    pacer: &Pacer,
    budget: &Budget,
) -> Result<RequestOutcome, AuditError> {
    let mut backoff = THROTTLED_BACKOFF;
    let mut unanswered = 0;
    loop {
        if !pacer.turn(budget).await {
            return Err(AuditError::new(
                ErrorKind::OutOfTime,
                format!(
                    "no time was left to request an audit report of {arn}, at one request per second"
                ),
            ));
        }
        let sent = clients
            .acmpca
            .create_certificate_authority_audit_report()
            .certificate_authority_arn(arn.as_str())
            .s3_bucket_name(bucket)
            .audit_report_response_format(match format {
                ReportFormat::Json => AuditReportResponseFormat::Json,
                ReportFormat::Csv => AuditReportResponseFormat::Csv,
            })
            .customize()
            .config_override(
                aws_sdk_acmpca::config::Builder::new().retry_config(RetryConfig::disabled()),
            )
            .send()
            .await;
        let failure = match sent {
            Ok(output) => match (output.audit_report_id(), output.s3_key()) {
                (Some(id), Some(key)) => {
                    let at = budget.clock();
                    let report = PendingReport {
                        id: id.to_owned(),
                        key: key.to_owned(),
                        requested_at: at.into(),
                        attempts: 0,
                    };
                    return Ok(RequestOutcome::Requested(report, at));
                }
                _ => {
                    return Err(AuditError::new(
                        ErrorKind::Unavailable,
                        format!(
                            "AWS answered the request for an audit report of {arn} without id or key"
                        ),
                    ));
                }
            },
            Err(error) => CallFailure::new("CreateCertificateAuthorityAuditReport", &error),
        };
        match failure.class {
            _ if failure.is("RequestInProgressException") => return Ok(RequestOutcome::TooSoon),
            FailureClass::Throttled => {
                warn!(certificate_authority = arn.id(), error = %failure, "request throttled");
                if !budget.wait(backoff).await {
                    return Err(failure.error(arn.as_str()));
                }
                backoff *= 2;
            }
            FailureClass::Unavailable => {
                unanswered += 1;
                warn!(certificate_authority = arn.id(), error = %failure, "request not answered");
                if unanswered == UNANSWERED_TRIES || !budget.wait(THROTTLED_BACKOFF).await {
                    return Err(failure.error(arn.as_str()));
                }
            }
            FailureClass::Refused => return Err(refusal(&failure, arn, bucket)),
        }
    }
}

/// The report that was requested without our knowing it: the newest object of the certificate
/// authority that is younger than the last report scanned, and young enough to be the reason why AWS
/// refuses another one.
///
/// # Errors
/// The faults of listing the bucket.
pub async fn find_unrecorded(
    clients: &Clients,
    arn: &CertificateAuthorityArn,
    bucket: &str,
    last_scanned: Option<Timestamp>,
    report_interval: Duration,
    now: Timestamp,
) -> Result<Option<PendingReport>, AuditError> {
    let prefix = format!("audit-report/{}/", arn.id());
    let oldest = now.saturating_sub(report_interval + CLOCK_SLACK);
    let mut newest: Option<PendingReport> = None;
    // Key order says nothing about age: all pages count.
    let mut pages = clients
        .s3
        .list_objects_v2()
        .bucket(bucket)
        .prefix(&prefix)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            CallFailure::new("ListObjectsV2", &error).error(&format!("s3://{bucket}/{prefix}"))
        })?;
        for object in page.contents() {
            let (Some(key), Some(modified)) = (
                object.key(),
                object
                    .last_modified()
                    .and_then(|at| Timestamp::from_unix_seconds(at.secs())),
            ) else {
                continue;
            };
            let Some(id) = report_id(key).filter(|_| ReportFormat::from_key(key).is_some()) else {
                continue;
            };
            let young = modified > oldest
                && last_scanned.is_none_or(|last_scanned| modified > last_scanned);
            if young
                && newest
                    .as_ref()
                    .is_none_or(|newest| modified > newest.requested_at)
            {
                newest = Some(PendingReport {
                    id: id.to_owned(),
                    key: key.to_owned(),
                    requested_at: modified,
                    attempts: 0,
                });
            }
        }
    }
    if let Some(report) = &newest {
        info!(
            certificate_authority = arn.id(),
            report = report.id,
            key = report.key,
            "adopted a report"
        );
    }
    Ok(newest)
}

/// The id of the report that lies under a key: its last part without the ending.
fn report_id(key: &str) -> Option<&str> {
    key.rsplit('/')
        .next()?
        .rsplit_once('.')
        .map(|(id, _)| id)
        .filter(|id| !id.is_empty())
}

fn refusal(failure: &CallFailure, arn: &CertificateAuthorityArn, bucket: &str) -> AuditError {
    let kind = match failure.code.as_deref() {
        Some("InvalidStateException") => ErrorKind::CertificateAuthorityState,
        // The same code stands for a missing bucket; the message of AWS says which.
        Some("ResourceNotFoundException" | "InvalidArnException") => {
            ErrorKind::CertificateAuthorityNotFound
        }
        Some("InvalidArgsException" | "RequestFailedException" | "ValidationException") => {
            ErrorKind::ReportBucketRefused
        }
        _ => ErrorKind::AccessDenied,
    };
    failure.error_of(kind, &format!("{arn} to bucket {bucket}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_known_by_the_last_part_of_its_key() {
        assert_eq!(report_id("audit-report/ca/a1b2.json"), Some("a1b2"));
        assert_eq!(report_id("audit-report/ca/"), None);
        assert_eq!(report_id("audit-report/ca/.json"), None);
    }
}
