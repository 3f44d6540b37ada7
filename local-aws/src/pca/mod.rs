//! AWS Private CA: certificate authorities, what they issued, and audit reports of it.
//!
//! Protocol: AWS JSON 1.1. What AWS does not document is settable; the defaults are the likely ones.

mod protocol;
mod quota;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub(crate) use protocol::{error_response, throttled};
pub use quota::Quotas;

use crate::Settings;
use crate::clock::Clock;
use crate::faults::ErrorReply;
use crate::ids::Ids;
use crate::report::{self, Certificate, JsonLayout, ReportFormat};
use crate::s3::{Checksum, ChecksumAlgorithm, Content, PrivateCaAccess, S3};
use protocol::not_found;
use quota::Bucket;

/// Private CA's own limit: one new report per certificate authority in that time (API Reference,
/// `CreateCertificateAuthorityAuditReport`).
pub const REPORT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Private CA from the side of its owner: certificate authorities, certificates, and how reports turn out.
///
/// These calls need no permission, are not recorded and meet no faults.
#[derive(Clone, Debug)]
pub struct PrivateCa(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    clock: Clock,
    ids: Arc<Ids>,
    s3: S3,
    account: String,
    region: String,
}

#[derive(Debug)]
struct State {
    authorities: BTreeMap<String, Authority>,
    reports: BTreeMap<String, Report>,
    /// Reports that are still to be written, by id.
    unwritten: Vec<String>,
    policy: ReportPolicy,
    quotas: Quotas,
    buckets: BTreeMap<String, Bucket>,
    page_size: Option<usize>,
}

/// How reports are made, unless [`NextReport`] says otherwise for one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReportPolicy {
    /// Least time between two reports of one certificate authority; [`REPORT_INTERVAL`] at first.
    pub interval: Duration,
    /// Whether that time runs from the request (at first) or from the completed report.
    pub interval_from_completion: bool,
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
            interval_from_completion: false,
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

/// The states of a certificate authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the API's own")]
pub enum Status {
    Creating,
    PendingCertificate,
    Active,
    Disabled,
    Expired,
    Deleted,
    Failed,
}

impl Status {
    /// The API's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::PendingCertificate => "PENDING_CERTIFICATE",
            Self::Active => "ACTIVE",
            Self::Disabled => "DISABLED",
            Self::Expired => "EXPIRED",
            Self::Deleted => "DELETED",
            Self::Failed => "FAILED",
        }
    }
}

#[derive(Debug)]
struct Authority {
    common_name: String,
    owner_account: String,
    status: Status,
    created_at: SystemTime,
    last_state_change_at: SystemTime,
    not_before: SystemTime,
    not_after: SystemTime,
    serial: String,
    certificates: Vec<Certificate>,
    last_report: Option<String>,
    next_reports: VecDeque<NextReport>,
}

#[derive(Clone, Debug)]
struct Report {
    authority: String,
    bucket: String,
    key: String,
    format: ReportFormat,
    created_at: SystemTime,
    /// When it ends, one way or the other; `None`: never.
    ends_at: Option<SystemTime>,
    outcome: Outcome,
    /// The object, until it is written.
    content: Option<Content>,
    checksum: Option<Option<Checksum>>,
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
    delay: Option<Duration>,
    outcome: Outcome,
    content: Option<Content>,
    checksum: Option<Option<Checksum>>,
    layout: Option<JsonLayout>,
    extension: Option<String>,
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

    /// This checksum is stored with it, right or wrong.
    pub fn checksum(mut self, checksum: Option<Checksum>) -> Self {
        self.checksum = Some(checksum);
        self
    }

    /// Its JSON is laid out so.
    pub fn layout(mut self, layout: JsonLayout) -> Self {
        self.layout = Some(layout);
        self
    }

    /// Its key ends so, whatever was asked for.
    pub fn extension(mut self, extension: impl Into<String>) -> Self {
        self.extension = Some(extension.into());
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

impl PrivateCa {
    pub(crate) fn new(settings: &Settings, clock: Clock, ids: Arc<Ids>, s3: S3) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                authorities: BTreeMap::new(),
                reports: BTreeMap::new(),
                unwritten: Vec::new(),
                policy: ReportPolicy::default(),
                quotas: Quotas::default(),
                buckets: BTreeMap::new(),
                page_size: None,
            }),
            clock,
            ids,
            s3,
            account: settings.account.clone(),
            region: settings.region.clone(),
        }))
    }

    /// Creates an active certificate authority of this common name and gives its ARN.
    pub fn create(&self, common_name: &str) -> String {
        let id = self.0.ids.uuid();
        self.create_with_id(&id, common_name)
    }

    /// Creates an active certificate authority with an id of the caller's choosing and gives its ARN.
    pub fn create_with_id(&self, id: &str, common_name: &str) -> String {
        let account = self.0.account.clone();
        self.create_shared(id, common_name, &account)
    }

    /// Creates an active certificate authority that another account owns and shares with this one.
    pub fn create_shared(&self, id: &str, common_name: &str, owner_account: &str) -> String {
        const TEN_YEARS: Duration = Duration::from_secs(3650 * 24 * 3600);
        let now = self.0.clock.now();
        let arn = format!(
            "arn:aws:acm-pca:{}:{owner_account}:certificate-authority/{id}",
            self.0.region
        );
        let authority = Authority {
            common_name: common_name.to_owned(),
            owner_account: owner_account.to_owned(),
            status: Status::Active,
            created_at: now,
            last_state_change_at: now,
            not_before: now,
            not_after: now + TEN_YEARS,
            serial: self.0.ids.serial(),
            certificates: Vec::new(),
            last_report: None,
            next_reports: VecDeque::new(),
        };
        self.state().authorities.insert(arn.clone(), authority);
        arn
    }

    /// Changes the state of a certificate authority.
    ///
    /// # Panics
    /// Where there is no such certificate authority, here as in all methods that take an ARN.
    pub fn set_status(&self, certificate_authority_arn: &str, status: Status) {
        let now = self.0.clock.now();
        self.with(certificate_authority_arn, |authority| {
            authority.status = status;
            authority.last_state_change_at = now;
        });
    }

    /// Removes a certificate authority for good.
    pub fn remove(&self, certificate_authority_arn: &str) {
        self.state().authorities.remove(certificate_authority_arn);
    }

    /// Issues a certificate for a year to this common name and gives its serial.
    pub fn issue(&self, certificate_authority_arn: &str, common_name: &str) -> String {
        let certificate = self.certificate(certificate_authority_arn, common_name);
        let serial = certificate.serial.clone();
        self.add(certificate_authority_arn, certificate);
        serial
    }

    /// A certificate as it would be issued now, to be changed and then given to [`PrivateCa::add`].
    pub fn certificate(&self, certificate_authority_arn: &str, common_name: &str) -> Certificate {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let (now, serial) = (self.0.clock.now(), self.0.ids.serial());
        Certificate::new(
            &self.0.account,
            certificate_authority_arn,
            serial,
            common_name,
            now,
            YEAR,
        )
    }

    /// Adds a certificate to those that the reports list.
    pub fn add(&self, certificate_authority_arn: &str, certificate: Certificate) {
        self.with(certificate_authority_arn, |authority| {
            authority.certificates.push(certificate);
        });
    }

    /// Revokes a certificate now, and says whether there is one with this serial.
    pub fn revoke(&self, certificate_authority_arn: &str, serial: &str, reason: &str) -> bool {
        let now = self.0.clock.now();
        self.revoke_at(certificate_authority_arn, serial, reason, now)
    }

    /// Revokes a certificate as of `at`, and says whether there is one with this serial.
    pub fn revoke_at(
        &self,
        certificate_authority_arn: &str,
        serial: &str,
        reason: &str,
        at: SystemTime,
    ) -> bool {
        self.change(certificate_authority_arn, serial, |certificate| {
            certificate.revoked_at = Some(at);
            certificate.revocation_reason = Some(reason.to_owned());
        })
    }

    /// Changes a certificate, and says whether there is one with this serial.
    pub fn change(
        &self,
        certificate_authority_arn: &str,
        serial: &str,
        change: impl FnOnce(&mut Certificate),
    ) -> bool {
        self.with(certificate_authority_arn, |authority| {
            let mut all = authority.certificates.iter_mut();
            all.find(|certificate| certificate.serial == serial)
                .map(change)
                .is_some()
        })
    }

    /// The certificates a report would list now.
    pub fn certificates(&self, certificate_authority_arn: &str) -> Vec<Certificate> {
        self.with(certificate_authority_arn, |authority| {
            authority.certificates.clone()
        })
    }

    /// Replaces all certificates of a certificate authority.
    pub fn set_certificates(
        &self,
        certificate_authority_arn: &str,
        certificates: Vec<Certificate>,
    ) {
        self.with(certificate_authority_arn, |authority| {
            authority.certificates = certificates;
        });
    }

    /// Changes how reports are made from now on.
    pub fn set_reports(&self, change: impl FnOnce(&mut ReportPolicy)) {
        change(&mut self.state().policy);
    }

    /// Sets the request quotas.
    pub fn set_quotas(&self, quotas: Quotas) {
        let mut state = self.state();
        state.quotas = quotas;
        state.buckets.clear();
    }

    /// Shortens the pages of `ListCertificateAuthorities`; `None`: as many as the caller asks for.
    pub fn set_page_size(&self, certificate_authorities: Option<usize>) {
        self.state().page_size = certificate_authorities;
    }

    /// Says what is special about the next report of a certificate authority; several queue up.
    pub fn next_report(&self, certificate_authority_arn: &str, next: NextReport) {
        self.with(certificate_authority_arn, |authority| {
            authority.next_reports.push_back(next);
        });
    }

    /// Requests a report as somebody else would: all of Private CA's rules but the request quota apply.
    ///
    /// # Errors
    /// Those of `CreateCertificateAuthorityAuditReport`.
    pub fn request_report(
        &self,
        certificate_authority_arn: &str,
        bucket: &str,
        format: ReportFormat,
    ) -> Result<ReportInfo, ErrorReply> {
        let now = self.0.clock.now();
        let mut state = self.state();
        let id = self.create_report(&mut state, certificate_authority_arn, bucket, format, now)?;
        let info = state.info(&id, now);
        drop(state);
        self.settle();
        Ok(info)
    }

    /// All reports that were requested of a certificate authority, oldest first.
    pub fn reports(&self, certificate_authority_arn: &str) -> Vec<ReportInfo> {
        let now = self.0.clock.now();
        let state = self.state();
        let of_this = |(id, report): (&String, &Report)| {
            (report.authority == certificate_authority_arn).then(|| state.info(id, now))
        };
        let mut reports: Vec<_> = state.reports.iter().filter_map(of_this).collect();
        reports.sort_by_key(|report| report.created_at);
        reports
    }

    /// Forgets the time of the last report, so that the next may be requested at once.
    pub fn forget_interval(&self, certificate_authority_arn: &str) {
        self.with(certificate_authority_arn, |authority| {
            authority.last_report = None;
        });
    }

    /// Writes the reports that are due by now. Everything that looks at the stand-ins does this first.
    pub(crate) fn settle(&self) {
        let now = self.0.clock.now();
        let mut due = Vec::new();
        {
            let mut state = self.state();
            let State {
                reports, unwritten, ..
            } = &mut *state;
            unwritten.retain(|id| {
                let Some(report) = reports.get_mut(id) else {
                    return false;
                };
                let ended = report.ends_at.filter(|ends_at| *ends_at <= now);
                if let Some(ended) = ended {
                    due.push((ended, report.clone()));
                    report.content = None;
                }
                ended.is_none()
            });
        }
        due.sort_by_key(|(ended, _)| *ended);
        for (ended, report) in due {
            if let Some(content) = report.content {
                self.0.s3.put_report(
                    &report.bucket,
                    &report.key,
                    content,
                    report.format.content_type(),
                    report.checksum,
                    ended,
                );
            }
        }
    }

    fn create_report(
        &self,
        state: &mut State,
        arn: &str,
        bucket: &str,
        format: ReportFormat,
        now: SystemTime,
    ) -> Result<String, ErrorReply> {
        let authority = state.authority(arn)?;
        if !matches!(authority.status, Status::Active | Status::Disabled) {
            return Err(ErrorReply::new(
                400,
                "InvalidStateException",
                format!(
                    "The certificate authority {arn} is not in the correct state for this request. Its state is {}.",
                    authority.status.name()
                ),
            ));
        }
        if let Some(last) = authority.last_report.as_ref().map(|id| &state.reports[id]) {
            let from = if state.policy.interval_from_completion {
                last.ends_at
            } else {
                Some(last.created_at)
            };
            // A report that never ends holds up the next one only where completion counts.
            if from.is_none_or(|from| from + state.policy.interval > now) {
                return Err(state.policy.too_soon.clone());
            }
        }
        let access = self.0.s3.private_ca_access(bucket).ok_or_else(|| {
            ErrorReply::new(
                400,
                "InvalidArgsException",
                format!("The S3 bucket '{bucket}' does not exist."),
            )
        })?;
        if let PrivateCaAccess::Refused(error) = access {
            return Err(error);
        }
        let policy = state.policy.clone();
        let id = self.0.ids.uuid();
        let authority = state
            .authorities
            .get_mut(arn)
            .expect("it was found a moment ago");
        let next = authority.next_reports.pop_front().unwrap_or_default();
        let outcome = match access {
            PrivateCaAccess::FailsLater => Outcome::Failed,
            _ => next.outcome,
        };
        let content = (outcome == Outcome::Written).then(|| {
            next.content.unwrap_or_else(|| {
                let layout = next.layout.unwrap_or(policy.layout);
                report::render(&authority.certificates, format, layout).into()
            })
        });
        let checksum = next
            .checksum
            .or_else(|| policy.checksum.of(content.as_ref()));
        let extension = next
            .extension
            .unwrap_or_else(|| format.extension().to_owned());
        let authority_id = arn.rsplit('/').next().unwrap_or_default();
        let report = Report {
            authority: arn.to_owned(),
            bucket: bucket.to_owned(),
            key: format!("audit-report/{authority_id}/{id}.{extension}"),
            format,
            created_at: now,
            ends_at: (outcome != Outcome::Never).then(|| now + next.delay.unwrap_or(policy.delay)),
            outcome,
            content,
            checksum,
        };
        authority.last_report = Some(id.clone());
        if report.content.is_some() {
            state.unwritten.push(id.clone());
        }
        state.reports.insert(id.clone(), report);
        Ok(id)
    }

    fn with<T>(&self, arn: &str, act: impl FnOnce(&mut Authority) -> T) -> T {
        match self.state().authorities.get_mut(arn) {
            Some(authority) => act(authority),
            None => panic!("there is no certificate authority {arn}: create it first"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn authority(&self, arn: &str) -> Result<&Authority, ErrorReply> {
        self.authorities
            .get(arn)
            .ok_or_else(|| not_found(format!("Could not find resource {arn}.")))
    }

    /// Takes one request out of its operation's quota.
    fn spend(&mut self, operation: &str, now: SystemTime) -> Result<(), ErrorReply> {
        let Some(rate) = self.quotas.of(operation) else {
            return Ok(());
        };
        let bucket = self
            .buckets
            .entry(operation.to_owned())
            .or_insert_with(|| Bucket::full(rate, now));
        if bucket.take(rate, now) {
            return Ok(());
        }
        Err(throttled())
    }

    fn info(&self, id: &str, now: SystemTime) -> ReportInfo {
        let report = &self.reports[id];
        ReportInfo {
            id: id.to_owned(),
            certificate_authority_arn: report.authority.clone(),
            bucket: report.bucket.clone(),
            key: report.key.clone(),
            created_at: report.created_at,
            status: report.status(now),
        }
    }
}

impl Report {
    fn status(&self, now: SystemTime) -> &'static str {
        match (self.ends_at, self.outcome) {
            (None, _) => "CREATING",
            (Some(ends_at), _) if ends_at > now => "CREATING",
            (Some(_), Outcome::Failed) => "FAILED",
            (Some(_), _) => "SUCCESS",
        }
    }
}

impl ReportChecksum {
    /// What to store; the outer `None`: what the content states by itself.
    fn of(self, content: Option<&Content>) -> Option<Option<Checksum>> {
        let bytes = match content {
            Some(Content::Bytes(bytes)) => bytes,
            Some(Content::Generated(_)) if self == Self::None => return Some(None),
            Some(Content::Generated(_)) | None => return None,
        };
        Some(match self {
            Self::None => None,
            Self::FullObject(algorithm) => Some(Checksum::of(algorithm, bytes)),
            Self::Composite(algorithm, part) => {
                Some(Checksum::composite(algorithm, bytes.chunks(part.max(1))))
            }
        })
    }
}
