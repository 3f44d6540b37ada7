//! Reports that were requested, and how they turn out.

use std::time::{Duration, SystemTime};

use crate::error_reply::ErrorReply;
use crate::report::{JsonLayout, ReportFormat};
use crate::s3::{Checksum, ChecksumAlgorithm, Content, Object};

/// Private CA's own limit: one new report per certificate authority in that time (API Reference,
/// `CreateCertificateAuthorityAuditReport`).
const REPORT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// How reports are made, unless [`NextReport`] says otherwise for one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReportPolicy {
    /// Least time between two reports of one certificate authority; 30 minutes at first.
    pub interval: Duration,
    /// Time from a request to the object; zero at first.
    pub delay: Duration,
    /// Layout of JSON reports.
    pub layout: JsonLayout,
    /// Checksum stored with the object; CRC-64/NVME of the whole at first.
    pub checksum: ReportChecksum,
    /// The refusal of a request that comes too soon. Not documented; `RequestInProgressException` at first.
    pub too_soon: ErrorReply,
}

impl Default for ReportPolicy {
    fn default() -> Self {
        Self {
            interval: REPORT_INTERVAL,
            delay: Duration::ZERO,
            layout: JsonLayout::default(),
            checksum: ReportChecksum::FullObject(ChecksumAlgorithm::Crc64Nvme),
            too_soon: ErrorReply::new(
                400,
                "RequestInProgressException",
                "Your request is already in progress.",
            ),
        }
    }
}

/// The checksum that S3 stores with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportChecksum {
    /// None.
    None,
    /// Of the whole object.
    FullObject(ChecksumAlgorithm),
    /// Of the checksums of parts of that many bytes.
    Composite(ChecksumAlgorithm, usize),
}

/// What a request for a report says.
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
    /// When it ends, one way or the other; `None`: never.
    pub(super) ends_at: Option<SystemTime>,
    pub(super) outcome: Outcome,
    /// The object, until it is written.
    pub(super) object: Option<Object>,
}

/// How a report ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// `SUCCESS`, with an object.
    #[default]
    Written,
    /// `SUCCESS`, without an object.
    NotWritten,
    /// `FAILED`.
    Failed,
    /// `CREATING` for ever.
    Never,
}

/// What is special about the next report of a certificate authority. Nothing, as long as nothing is set.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct NextReport {
    pub(super) delay: Option<Duration>,
    pub(super) outcome: Outcome,
    pub(super) content: Option<Content>,
}

impl NextReport {
    /// A report like any other.
    pub fn new() -> Self {
        Self::default()
    }

    /// It takes that long.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// It ends so.
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// It holds these bytes, whatever was issued.
    pub fn content(mut self, content: impl Into<Content>) -> Self {
        self.content = Some(content.into());
        self
    }
}

/// A report as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportInfo {
    /// `AuditReportId`.
    pub id: String,
    /// The certificate authority it is of.
    pub certificate_authority_arn: String,
    /// Bucket of the object.
    pub bucket: String,
    /// Key of the object.
    pub key: String,
    /// When it was asked for.
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
    /// Stores this checksum with an object; a generated one keeps what it states, unless it is to have none.
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
