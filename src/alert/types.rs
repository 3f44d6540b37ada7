//! What an alert is about: the data that the caller provides.

use serde::Serialize;

use crate::alert::batch::RevocationBatch;
use crate::arn::CertificateAuthorityArn;
use crate::revocation::reason_counts::ReasonCounts;
use crate::text::visible::visible;
use crate::timestamp::Timestamp;

/// Everything that one message says.
#[derive(Clone, Debug)]
pub struct Alert {
    /// The certificate authority that the alert is about.
    pub certificate_authority: CertificateAuthority,
    /// When the report that states the revocations was written to S3; for errors, when the error
    /// first occurred.
    pub detected_at: Timestamp,
    /// What happened.
    pub kind: AlertKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum AlertKind {
    /// New revocations.
    Revocations(RevocationAlert),
    /// Revocations that were requested again.
    Replay {
        /// The revocations.
        revocations: RevocationAlert,
        /// The earliest revocation time requested.
        since: Timestamp,
        /// The ID of the request.
        request_id: String,
    },
    /// The first audit of a certificate authority is complete.
    WatchStarted {
        /// The report that was audited.
        report: ReportSource,
        /// Numbers of certificates in the report.
        totals: Totals,
        /// Every revocation in the report, by reason.
        revoked: ReasonCounts,
        /// Revocations before this time are counted but not reported.
        notify_from: Timestamp,
        /// Number of revocations that are reported, in a separate message.
        to_notify: u64,
    },
    /// An error that needs operator action stops the audits.
    WatchFailed {
        /// The error.
        error: MonitoringError,
        /// When it first occurred.
        since: Timestamp,
        /// The last complete audit, if there was one.
        last_complete_audit_at: Option<Timestamp>,
    },
    /// Audits work again.
    WatchRecovered {
        /// The stable name of the error that is over.
        error_type: String,
        /// When it first occurred.
        since: Timestamp,
        /// The first report that was audited completely afterwards.
        report: ReportSource,
    },
    /// A sample revocation, to test where messages go.
    Test {
        /// The ID of the request.
        request_id: String,
    },
}

/// The certificate authority that an alert is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateAuthority {
    /// Its ARN.
    pub arn: CertificateAuthorityArn,
    /// The common name of its own subject, if it could be looked up.
    pub name: Option<String>,
}

impl CertificateAuthority {
    /// `name` may be any text; the formats make it harmless.
    pub fn new(arn: &CertificateAuthorityArn, name: Option<String>) -> Self {
        Self {
            arn: arn.clone(),
            name: name.filter(|name| !name.trim().is_empty()),
        }
    }
}

/// The location of an S3 object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectLocation {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
}

impl ObjectLocation {
    /// Returns `s3://bucket/key`, on one line.
    pub(super) fn uri(&self) -> String {
        visible(&format!("s3://{}/{}", self.bucket, self.key))
    }
}

/// The audit report that an alert is based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSource {
    /// The report's object.
    pub location: ObjectLocation,
    /// When the report was requested.
    pub requested_at: Timestamp,
    /// When the previous complete report was requested.
    pub previous_requested_at: Option<Timestamp>,
}

/// Numbers of certificates in a whole report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// All revoked certificates.
    pub revoked: u64,
    /// All certificates.
    pub certificates: u64,
}

/// The revocations of an alert and the report that states them.
#[derive(Clone, Debug)]
pub struct RevocationAlert {
    pub(super) batch: RevocationBatch,
    /// Hash of the sorted IDs of all revocations.
    pub(super) digest: [u8; 32],
    pub(super) report: ReportSource,
    pub(super) totals: Totals,
    pub(super) full_list: Option<ObjectLocation>,
}

impl RevocationAlert {
    /// `full_list` is the location of the lines that [`RevocationBatch::add`] returned, if it
    /// returned any.
    pub fn new(
        mut batch: RevocationBatch,
        report: ReportSource,
        totals: Totals,
        full_list: Option<ObjectLocation>,
    ) -> Self {
        Self {
            digest: batch.take_digest(),
            full_list: full_list.filter(|_| batch.needs_full_list()),
            batch,
            report,
            totals,
        }
    }
}

/// An error as an alert describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitoringError {
    /// Stable name.
    pub kind: String,
    /// What failed, on which resource, and why.
    pub message: String,
    /// What to do next.
    pub hint: String,
}
