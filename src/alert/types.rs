//! What an alert is about: the data that the caller provides.

use serde::Serialize;

use crate::alert::batch::RevocationBatch;
use crate::arn::CertificateAuthorityArn;
use crate::revocation::investigation::Investigation;
use crate::revocation::reason::ReasonCounts;
use crate::revocation::record::Revocation;
use crate::text::visible::visible;
use crate::timestamp::Timestamp;

/// Everything that one message says.
#[derive(Clone, Debug)]
pub struct Alert {
    /// The stack that sends it.
    pub stack: Stack,
    /// The certificate authorities that the alert is about: exactly one for `revocations`, `replay` and
    /// `test`; sorted by ARN for alerts about the watch.
    pub certificate_authorities: Vec<Authority>,
    /// When the report that states the revocations was written to S3; for alerts about the watch, when
    /// the function noticed.
    pub detected_at: Timestamp,
    /// What happened.
    pub kind: AlertKind,
    /// The operator's own page for the people who get alerts about revocations.
    pub runbook_url: Option<String>,
}

/// A stack: one function with its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The AWS partition, such as `aws`.
    pub partition: String,
    /// The account ID.
    pub account: String,
    /// The region.
    pub region: String,
    /// Where its state is, as `s3://BUCKET/PREFIX`: identifies the stack.
    pub state: String,
}

/// A certificate authority as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its ARN.
    pub arn: CertificateAuthorityArn,
    /// The common name of its own subject, if it could be looked up; may be any text. Alerts about many
    /// certificate authorities look up the first few only.
    pub name: Option<String>,
}

impl Alert {
    /// Returns the revocations of a report, if the alert is about any.
    pub(super) fn revocations(&self) -> Option<&RevocationAlert> {
        match &self.kind {
            AlertKind::Revocations(revocations) | AlertKind::Replay { revocations, .. } => {
                Some(revocations)
            }
            _ => None,
        }
    }

    /// Returns the same, to change them.
    pub(super) fn revocations_mut(&mut self) -> Option<&mut RevocationAlert> {
        self.kind.revocations_mut()
    }

    /// Returns the certificate authority of `revocations`, `replay` or `test`.
    pub(super) fn authority(&self) -> &Authority {
        &self.certificate_authorities[0]
    }

    /// Returns the certificate authority if the alert is about exactly one.
    pub(super) fn only_authority(&self) -> Option<&Authority> {
        match self.certificate_authorities.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Removes the names of certificate authorities.
    pub(super) fn hide_names(&mut self) {
        let without = match &mut self.kind {
            AlertKind::WatchSummary(summary) => summary.without_revocation_checking.as_mut(),
            _ => None,
        };
        let authorities = &mut self.certificate_authorities;
        for authority in authorities.iter_mut().chain(without.into_iter().flatten()) {
            authority.name = None;
        }
    }
}

impl Authority {
    /// Returns the name, else the ID.
    pub fn name(&self) -> &str {
        let name = self.name.as_deref().filter(|name| !name.trim().is_empty());
        name.unwrap_or(self.arn.id())
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
    /// The first audits of certificate authorities are complete.
    WatchStarted {
        /// What they found, in the order of the certificate authorities.
        audits: Vec<FirstAudit>,
        /// When that was first to be announced: distinguishes the message from an earlier one.
        since: Option<Timestamp>,
    },
    /// An error that needs operator action stops audits.
    WatchFailed {
        /// The error, of the first of the certificate authorities.
        error: WatchError,
        /// Number of certificate authorities for which this error was alerted before.
        earlier: u64,
        /// The oldest of the last complete audits, if each had one.
        last_complete_audit_at: Option<Timestamp>,
    },
    /// Audits work again: the error is over for the last certificate authority.
    WatchRecovered {
        /// The stable name of the error.
        error_type: String,
        /// The affected resource, if the error has one other than the certificate authority.
        resource: Option<String>,
        /// When it first occurred.
        since: Timestamp,
        /// When the oldest of the reports was requested that were audited completely since then;
        /// `None` if every certificate authority left the list instead.
        audited_since: Option<Timestamp>,
        /// Number of certificate authorities that left the list instead of recovering.
        left: u64,
    },
    /// Certificate authorities are no longer audited.
    WatchStopped {
        /// Which ones the stack audits.
        coverage: Coverage,
        /// When that was first to be announced: distinguishes the message from an earlier one.
        since: Option<Timestamp>,
    },
    /// What the watch did since the last summary. The certificate authorities are those watched.
    WatchSummary(WatchSummary),
    /// A sample revocation, to test where messages go.
    Test {
        /// The ID of the request.
        request_id: String,
    },
}

impl AlertKind {
    /// Returns the revocations of a report, if the alert is about any.
    pub fn revocations_mut(&mut self) -> Option<&mut RevocationAlert> {
        match self {
            Self::Revocations(revocations) | Self::Replay { revocations, .. } => Some(revocations),
            _ => None,
        }
    }
}

/// Which certificate authorities a stack audits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Those that `CERTIFICATE_AUTHORITY_ARNS` lists.
    Listed,
    /// Every one that is ACTIVE or DISABLED.
    All,
    /// Of these, every one with this tag, `Key=Value`.
    Tagged(String),
}

/// What a first audit found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstAudit {
    /// Number of certificates in the report.
    pub certificates: u64,
    /// Number of revoked certificates in the report.
    pub revoked: u64,
    /// Revocations before this time are counted but not reported.
    pub notify_from: Timestamp,
}

/// An error that stops audits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchError {
    /// The stable name of its kind.
    pub kind: String,
    /// The affected resource, if it is not the certificate authority itself: errors of one kind and
    /// resource have one cause.
    pub resource: Option<String>,
    /// What failed, and why.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// When it first occurred.
    pub since: Timestamp,
}

/// What the watch did since the last summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSummary {
    /// When the last summary was due; `None` for the first one.
    pub since: Option<Timestamp>,
    /// When the next summary is due.
    pub next_at: Timestamp,
    /// When the report of the oldest last complete audit was requested.
    pub oldest_audit_at: Option<Timestamp>,
    /// Number of certificate authorities without a complete audit.
    pub never_audited: u64,
    /// Number of certificate authorities whose state could not be read: their numbers are missing.
    pub unknown: u64,
    /// Revocations notified since the last summary.
    pub notified: ReasonCounts,
    /// Errors that are announced and not over.
    pub problems: Vec<OpenProblem>,
    /// Certificate authorities with neither CRL nor OCSP whose certificates are not short-lived; `None`
    /// if AWS did not list them.
    pub without_revocation_checking: Option<Vec<Authority>>,
}

/// An announced error that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenProblem {
    /// The stable name of the error.
    pub kind: String,
    /// The affected resource, if it is not the certificate authority itself.
    pub resource: Option<String>,
    /// When it first occurred.
    pub since: Timestamp,
    /// Number of certificate authorities that it affects.
    pub certificate_authorities: u64,
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

    /// Returns the worst revocations, at most `max`.
    pub fn worst(&self, max: usize) -> Vec<Revocation> {
        self.batch.worst_first().take(max).cloned().collect()
    }

    /// Adds what was found out about the worst revocations, in the order of [`Self::worst`].
    pub fn set_investigations(&mut self, investigations: Vec<Investigation>) {
        self.batch.set_investigations(investigations);
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
