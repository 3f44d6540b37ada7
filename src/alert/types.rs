//! What an alert is about: the data that the caller provides.

use serde::Serialize;

use crate::alert::batch::RevocationBatch;
use crate::arn::CertificateAuthorityArn;
use crate::error::AuditError;
use crate::revocation::reason::ReasonCounts;
use crate::text::visible::visible;
use crate::timestamp::Timestamp;

/// Everything that one message says.
#[derive(Clone, Debug)]
pub struct Alert {
    /// The certificate authority that the alert is about.
    pub certificate_authority: CertificateAuthorityArn,
    /// The common name of its own subject, if it could be looked up; may be any text.
    pub name: Option<String>,
    /// When the report that states the revocations was written to S3; for errors, when the error
    /// first occurred.
    pub detected_at: Timestamp,
    /// What happened.
    pub kind: AlertKind,
    /// The operator's own page for the people who get alerts about revocations.
    pub runbook_url: Option<String>,
}

impl Alert {
    /// Returns the revocations of a report, if the alert is about any.
    pub(super) fn revocations_mut(&mut self) -> Option<&mut RevocationAlert> {
        match &mut self.kind {
            AlertKind::Revocations(revocations) | AlertKind::Replay { revocations, .. } => {
                Some(revocations)
            }
            _ => None,
        }
    }

    /// Returns the name of the certificate authority, else its ID.
    pub(super) fn authority_name(&self) -> &str {
        let name = self.name.as_deref().filter(|name| !name.trim().is_empty());
        name.unwrap_or(self.certificate_authority.id())
    }
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
        error: AuditError,
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
    /// Number of certificates in the report.
    pub certificates: u64,
    /// Number of revoked certificates in the report.
    pub revoked: u64,
}

/// The revocations of an alert and the report that states them.
#[derive(Clone, Debug)]
pub struct RevocationAlert {
    pub(super) batch: RevocationBatch,
    /// Hash of the sorted IDs of all revocations.
    pub(super) digest: [u8; 32],
    pub(super) report: ReportSource,
    /// Where the full list is, or is written if the topic needs a shorter message.
    list_location: Option<ObjectLocation>,
    has_full_list: bool,
}

impl RevocationAlert {
    /// `list_location` is where the lines that [`RevocationBatch::add`] returned were written or, if
    /// it returned none, where a full list can still be written; `None` if there is no such place.
    pub fn new(
        mut batch: RevocationBatch,
        report: ReportSource,
        list_location: Option<ObjectLocation>,
    ) -> Self {
        Self {
            digest: batch.take_digest(),
            has_full_list: batch.needs_full_list && list_location.is_some(),
            batch,
            report,
            list_location,
        }
    }

    /// Returns the location of the full list, if it was written.
    pub(super) fn full_list(&self) -> Option<&ObjectLocation> {
        self.list_location.as_ref().filter(|_| self.has_full_list)
    }

    /// Returns the location and the lines of a full list that can still be written.
    pub(super) fn unwritten_list(&self) -> Option<(ObjectLocation, Vec<u8>)> {
        // Otherwise the batch no longer holds every revocation.
        if self.batch.needs_full_list {
            return None;
        }
        let revocations = self.batch.worst_first();
        let lines = revocations.flat_map(|revocation| self.batch.line(revocation));
        Some((self.list_location.clone()?, lines.collect()))
    }

    /// Records that the full list was written, or that it cannot be.
    pub(super) fn set_list_written(&mut self, is_written: bool) {
        self.has_full_list = is_written;
        self.list_location.take_if(|_| !is_written);
    }
}
