//! The Private CA emulator: its state, and the methods that tests call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::authority::{Authority, RevocationConfiguration, Status, UsageMode};
use super::quota::Quotas;
use super::report::{NextReport, Report, ReportInfo, ReportPolicy, ReportRequest};
use super::state::State;
use crate::clock::Clock;
use crate::cloud_trail::{CloudTrail, RevokeCall};
use crate::error_reply::ErrorReply;
use crate::ids::Ids;
use crate::report::{Certificate, ReportFormat};
use crate::s3::{ObjectPath, PrivateCaAccess, S3};
use crate::settings::Settings;

/// Emulates Private CA. The methods set up certificate authorities, certificates and reports.
///
/// They need no permission, are not recorded and get no injected faults.
#[derive(Clone, Debug)]
pub struct PrivateCa(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    pub(super) clock: Clock,
    pub(super) ids: Arc<Ids>,
    pub(super) s3: S3,
    cloud_trail: CloudTrail,
    pub(super) account: String,
    pub(super) region: String,
}

/// Where Private CA writes.
#[derive(Clone, Debug)]
pub(crate) struct Destinations {
    pub(crate) s3: S3,
    pub(crate) cloud_trail: CloudTrail,
}

impl PrivateCa {
    pub(crate) fn new(
        settings: &Settings,
        clock: Clock,
        ids: Arc<Ids>,
        destinations: Destinations,
    ) -> Self {
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
            s3: destinations.s3,
            cloud_trail: destinations.cloud_trail,
            account: settings.account.clone(),
            region: settings.region.clone(),
        }))
    }

    /// Creates an active certificate authority and returns its ARN.
    pub fn create(&self, common_name: &str) -> String {
        let id = self.0.ids.uuid();
        self.create_with_id(&id, common_name)
    }

    /// Creates an active certificate authority with this ID and returns its ARN.
    pub fn create_with_id(&self, id: &str, common_name: &str) -> String {
        let account = self.0.account.clone();
        self.create_shared(id, common_name, &account)
    }

    /// Creates an active certificate authority that another account owns and shares, and returns its ARN.
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
            usage_mode: UsageMode::default(),
            revocation: RevocationConfiguration::default(),
            created_at: now,
            last_state_change_at: now,
            not_before: now,
            not_after: now + TEN_YEARS,
            serial: self.0.ids.serial(),
            omits_crl_pointer: false,
            tags: BTreeMap::new(),
            certificates: Vec::new(),
            last_report: None,
            next_reports: VecDeque::new(),
        };
        self.state().authorities.insert(arn.clone(), authority);
        arn
    }

    /// Sets the status of a certificate authority.
    ///
    /// # Panics
    /// If the certificate authority does not exist. The same applies to the other methods that take an ARN.
    pub fn set_status(&self, certificate_authority_arn: &str, status: Status) {
        let now = self.0.clock.now();
        self.with(certificate_authority_arn, |authority| {
            authority.status = status;
            authority.last_state_change_at = now;
        });
    }

    /// Sets whether a certificate authority has a CRL and an OCSP responder; default a CRL only.
    pub fn set_revocation(
        &self,
        certificate_authority_arn: &str,
        revocation: RevocationConfiguration,
    ) {
        self.with(certificate_authority_arn, |authority| {
            authority.revocation = revocation;
        });
    }

    /// Sets whether later certificates get no CRL distribution point although there is a CRL; default no.
    pub fn set_omit_crl_pointer(&self, certificate_authority_arn: &str, omit: bool) {
        self.with(certificate_authority_arn, |authority| {
            authority.omits_crl_pointer = omit;
        });
    }

    /// Sets the serial number of the certificate authority's own certificate, in hex with colons.
    pub fn set_serial(&self, certificate_authority_arn: &str, serial: &str) {
        self.with(certificate_authority_arn, |authority| {
            serial.clone_into(&mut authority.serial);
        });
    }

    /// Sets the usage mode of a certificate authority; default [`UsageMode::GeneralPurpose`].
    pub fn set_usage_mode(&self, certificate_authority_arn: &str, usage_mode: UsageMode) {
        self.with(certificate_authority_arn, |authority| {
            authority.usage_mode = usage_mode;
        });
    }

    /// Adds a tag to a certificate authority, or changes its value.
    pub fn tag(&self, certificate_authority_arn: &str, key: &str, value: &str) {
        self.with(certificate_authority_arn, |authority| {
            authority.tags.insert(key.to_owned(), value.to_owned());
        });
    }

    /// Removes the tag with this key, if there is one, from a certificate authority.
    pub fn untag(&self, certificate_authority_arn: &str, key: &str) {
        self.with(certificate_authority_arn, |authority| {
            authority.tags.remove(key);
        });
    }

    /// Deletes a certificate authority permanently.
    pub fn remove(&self, certificate_authority_arn: &str) {
        self.state().authorities.remove(certificate_authority_arn);
    }

    /// Issues a certificate that is valid for a year and returns its serial number.
    pub fn issue(&self, certificate_authority_arn: &str, common_name: &str) -> String {
        let certificate = self.certificate(certificate_authority_arn, common_name);
        let serial = certificate.serial.clone();
        self.add(certificate_authority_arn, certificate);
        serial
    }

    /// Returns a certificate as it would be issued now, to be modified and passed to [`PrivateCa::add`].
    pub fn certificate(&self, certificate_authority_arn: &str, common_name: &str) -> Certificate {
        let (now, serial) = (self.0.clock.now(), self.0.ids.serial());
        Certificate::new(
            &self.0.account,
            certificate_authority_arn,
            serial,
            common_name,
            now,
        )
    }

    /// Adds a certificate to the reports.
    pub fn add(&self, certificate_authority_arn: &str, mut certificate: Certificate) {
        self.with(certificate_authority_arn, |authority| {
            authority.complete(certificate_authority_arn, &mut certificate);
            authority.certificates.push(certificate);
        });
    }

    /// Revokes a certificate now. Returns whether it exists.
    pub fn revoke(&self, certificate_authority_arn: &str, serial: &str, reason: &str) -> bool {
        let now = self.0.clock.now();
        self.revoke_at(certificate_authority_arn, serial, reason, now)
    }

    /// Revokes a certificate as of `at`. Returns whether it exists.
    pub fn revoke_at(
        &self,
        certificate_authority_arn: &str,
        serial: &str,
        reason: &str,
        at: SystemTime,
    ) -> bool {
        let exists = self.change(certificate_authority_arn, serial, |certificate| {
            certificate.revoked_at = Some(at);
            certificate.revocation_reason = Some(reason.to_owned());
        });
        if exists {
            self.0.cloud_trail.record_revocation(RevokeCall {
                authority: certificate_authority_arn,
                serial,
                reason,
                at,
            });
        }
        exists
    }

    /// Records in CloudTrail that the current actor revoked a certificate that was added as revoked.
    /// Returns whether there is such a certificate.
    pub fn record_revocation(&self, certificate_authority_arn: &str, serial: &str) -> bool {
        let found = self.with(certificate_authority_arn, |authority| {
            let mut all = authority.certificates.iter();
            let row = all.find(|row| row.serial == serial)?;
            Some((row.revoked_at?, row.revocation_reason.clone()))
        });
        let Some((at, reason)) = found else {
            return false;
        };
        self.0.cloud_trail.record_revocation(RevokeCall {
            authority: certificate_authority_arn,
            serial,
            reason: reason.as_deref().unwrap_or("UNSPECIFIED"),
            at,
        });
        true
    }

    /// Modifies a certificate. Returns whether it exists.
    fn change(
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

    /// Returns the certificates that a report would list now.
    pub fn certificates(&self, certificate_authority_arn: &str) -> Vec<Certificate> {
        self.with(certificate_authority_arn, |authority| {
            authority.certificates.clone()
        })
    }

    /// Replaces all certificates of a certificate authority.
    pub fn set_certificates(
        &self,
        certificate_authority_arn: &str,
        mut certificates: Vec<Certificate>,
    ) {
        self.with(certificate_authority_arn, |authority| {
            for certificate in &mut certificates {
                authority.complete(certificate_authority_arn, certificate);
            }
            authority.certificates = certificates;
        });
    }

    /// Changes how later reports are generated.
    pub fn set_reports(&self, change: impl FnOnce(&mut ReportPolicy)) {
        change(&mut self.state().policy);
    }

    /// Sets the request quotas.
    pub fn set_quotas(&self, quotas: Quotas) {
        let mut state = self.state();
        state.quotas = quotas;
        state.buckets.clear();
    }

    /// Limits the page size of `ListCertificateAuthorities` and `ListTags`; `None` for no extra limit.
    pub fn set_page_size(&self, items: Option<usize>) {
        self.state().page_size = items;
    }

    /// Customizes the next report of a certificate authority. Several calls queue up.
    pub fn next_report(&self, certificate_authority_arn: &str, next: NextReport) {
        self.with(certificate_authority_arn, |authority| {
            authority.next_reports.push_back(next);
        });
    }

    /// Requests a report as another client would: all of Private CA's rules except the request quota apply.
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
        let request = ReportRequest {
            authority: certificate_authority_arn,
            bucket,
            format,
        };
        let id = self.create_report(&mut state, request, now)?;
        let info = state.info(&id, now);
        drop(state);
        self.write_due_reports();
        Ok(info)
    }

    /// Returns all reports of a certificate authority, oldest first.
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

    /// Resets the report interval, so that the next report can be requested at once.
    pub fn forget_interval(&self, certificate_authority_arn: &str) {
        self.with(certificate_authority_arn, |authority| {
            authority.last_report = None;
        });
    }

    /// Writes the reports that are due. Runs before every access to the emulators.
    pub(crate) fn write_due_reports(&self) {
        let now = self.0.clock.now();
        let due = self.state().take_due(now);
        for (ended, report) in due {
            if let Some(object) = report.object {
                let path = ObjectPath {
                    bucket: &report.bucket,
                    key: &report.key,
                };
                self.0.s3.put_report(path, object, ended);
            }
        }
    }

    pub(super) fn create_report(
        &self,
        state: &mut State,
        request: ReportRequest<'_>,
        now: SystemTime,
    ) -> Result<String, ErrorReply> {
        state.check_request(request, now)?;
        if let Some(recent) = state.recent_report(request.authority, now) {
            return Ok(recent.clone());
        }
        let access = self.0.s3.private_ca_access(request.bucket);
        let access = access.ok_or_else(|| {
            ErrorReply::new(
                400,
                "InvalidArgsException",
                format!("The S3 bucket '{}' does not exist.", request.bucket),
            )
        })?;
        if let PrivateCaAccess::Refused(error) = access {
            return Err(error);
        }
        let id = self.0.ids.uuid();
        let may_write = access == PrivateCaAccess::Granted;
        state.add_report(id.clone(), request, may_write, now);
        Ok(id)
    }

    fn with<T>(&self, arn: &str, act: impl FnOnce(&mut Authority) -> T) -> T {
        match self.state().authorities.get_mut(arn) {
            Some(authority) => act(authority),
            None => panic!("there is no certificate authority {arn}: create it first"),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
