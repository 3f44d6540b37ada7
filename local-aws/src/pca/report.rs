//! Requested reports and their outcomes.

use std::time::{Duration, SystemTime};

use crate::error_reply::ErrorReply;
use crate::report::{JsonLayout, ReportFormat};
use crate::s3::{Checksum, ChecksumAlgorithm, Content, Object};

/// Minimum interval between two reports of one certificate authority (Private CA API Reference,
/// `CreateCertificateAuthorityAuditReport`).
const REPORT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// How reports are generated, unless [`NextReport`] customizes one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReportPolicy {
    /// Minimum interval between two reports of one certificate authority; default 30 minutes.
    pub interval: Duration,
    /// Time from the request until the object is written; default zero.
    pub delay: Duration,
    /// Layout of JSON reports.
    pub layout: JsonLayout,
    /// Checksum stored with the object; default full-object CRC-64/NVME.
    pub checksum: ReportChecksum,
    /// Whether a request that comes too soon returns the earlier report instead of an error: the API model
    /// calls the operation idempotent.
    pub repeats: bool,
    /// Error for a request that comes too soon; default `RequestInProgressException`, as AWS documents none.
    pub too_soon: ErrorReply,
}

impl Default for ReportPolicy {
    fn default() -> Self {
        Self {
            interval: REPORT_INTERVAL,
            delay: Duration::ZERO,
            layout: JsonLayout::default(),
            checksum: ReportChecksum::FullObject(ChecksumAlgorithm::Crc64Nvme),
            repeats: false,
            too_soon: ErrorReply::new(
                400,
                "RequestInProgressException",
                "Your request is already in progress.",
            ),
        }
    }
}

/// Checksum that S3 stores with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportChecksum {
    /// No checksum.
    None,
    /// Checksum of the whole object.
    FullObject(ChecksumAlgorithm),
    /// Checksum of the checksums of parts of this many bytes.
    Composite(ChecksumAlgorithm, usize),
}

/// Parameters of a report request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportRequest<'a> {
    pub(super) authority: &'a str,
    pub(super) bucket: &'a str,
    pub(super) format: ReportFormat,
}

#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) authority: String,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) created_at: SystemTime,
    /// When `CREATING` ends; `None` for never.
    pub(super) ends_at: Option<SystemTime>,
    pub(super) outcome: Outcome,
    /// The object to write; `None` once it is written.
    pub(super) object: Option<Object>,
}

/// Outcome of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// `SUCCESS`, with an object.
    #[default]
    Written,
    /// `SUCCESS`, without an object.
    NotWritten,
    /// `FAILED`.
    Failed,
    /// `CREATING` forever.
    Never,
}

/// Customizes the next report of a certificate authority.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct NextReport {
    pub(super) delay: Option<Duration>,
    pub(super) outcome: Outcome,
    pub(super) content: Option<Content>,
}

impl NextReport {
    /// Creates a customization that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time until the report is written.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Sets the outcome.
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Replaces the content.
    pub fn content(mut self, content: impl Into<Content>) -> Self {
        self.content = Some(content.into());
        self
    }
}

/// A requested report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportInfo {
    /// `AuditReportId`.
    pub id: String,
    /// ARN of the certificate authority.
    pub certificate_authority_arn: String,
    /// Bucket of the object.
    pub bucket: String,
    /// Key of the object.
    pub key: String,
    /// Time of the request.
    pub created_at: SystemTime,
    /// `CREATING`, `SUCCESS` or `FAILED`.
    pub status: &'static str,
}

impl Report {
    pub(super) fn status(&self, now: SystemTime) -> &'static str {
        match (self.ends_at, self.outcome) {
            (None, _) => "CREATING",
            (Some(ends_at), _) if ends_at > now => "CREATING",
            (Some(_), Outcome::Failed) => "FAILED",
            (Some(_), _) => "SUCCESS",
        }
    }
}

impl ReportChecksum {
    /// Sets the object's checksum. Generated objects keep their own, except with [`ReportChecksum::None`].
    pub(super) fn apply(self, object: &mut Object) {
        match (self, &object.content) {
            (Self::None, _) => object.checksum = None,
            (_, Content::Generated(_)) => {}
            (Self::FullObject(algorithm), Content::Bytes(bytes)) => {
                object.checksum = Some(Checksum::of(algorithm, bytes));
            }
            (Self::Composite(algorithm, part), Content::Bytes(bytes)) => {
                let parts = bytes.chunks(part.max(1));
                object.checksum = Some(Checksum::composite(algorithm, parts));
            }
        }
    }
}
