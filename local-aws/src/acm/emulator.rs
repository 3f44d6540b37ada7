//! The ACM emulator: its certificates, and the methods that tests call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::certificate::AcmCertificate;

/// Emulates ACM of the account and region.
///
/// The methods need no permission, are not recorded and get no injected faults.
#[derive(Clone, Debug, Default)]
pub struct Acm(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) certificates: Vec<AcmCertificate>,
    pub(super) page_size: Option<usize>,
}

impl Acm {
    /// Adds a certificate, or replaces the one with its ARN.
    pub fn add(&self, certificate: AcmCertificate) {
        let mut state = self.state();
        state
            .certificates
            .retain(|known| known.arn != certificate.arn);
        state.certificates.push(certificate);
    }

    /// Renews a certificate: the ARN and its use stay, the serial number changes. Returns whether the
    /// certificate exists.
    pub fn renew(&self, arn: &str, new_serial: &str) -> bool {
        let mut state = self.state();
        let mut all = state.certificates.iter_mut();
        let found = all.find(|known| known.arn == arn);
        found
            .map(|known| new_serial.clone_into(&mut known.serial))
            .is_some()
    }

    /// Deletes a certificate.
    pub fn remove(&self, arn: &str) {
        self.state().certificates.retain(|known| known.arn != arn);
    }

    /// Returns all certificates in the order in which they were added.
    pub fn certificates(&self) -> Vec<AcmCertificate> {
        self.state().certificates.clone()
    }

    /// Limits the page size of `SearchCertificates`; `None` for no extra limit.
    pub fn set_page_size(&self, certificates: Option<usize>) {
        self.state().page_size = certificates;
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
