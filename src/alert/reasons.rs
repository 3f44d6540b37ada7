//! Revocation reasons in words, and what to do about them.

use crate::revocation::reason::{NOT_STATED, OTHER, RevocationReason};
use crate::text::visible::ascii;

/// Returns a reason in words: `key compromise`.
pub(super) fn words(label: &str) -> String {
    match RevocationReason::from_report(label) {
        RevocationReason::CertificateAuthorityCompromise => "CA compromise".to_owned(),
        RevocationReason::AACompromise => "attribute authority compromise".to_owned(),
        RevocationReason::Other(name) => match name.as_str() {
            "" | NOT_STATED => "no reason stated".to_owned(),
            OTHER => "unknown reason".to_owned(),
            name => format!("unknown reason {}", ascii(name, 24)),
        },
        known => known.name().to_lowercase().replace('_', " "),
    }
}

/// What to do about the revocation of a CA certificate, whatever its reason; most urgent first.
pub(super) const CA_CERTIFICATE_ADVICE: [&str; 2] = [
    "Find out whether this was planned: clients that check for revocations reject every certificate issued below it.",
    "Replace the certificates issued below it that are still in use.",
];

/// The same for CA certificates whose revocation no CRL or OCSP responder is known to state to clients.
pub(super) const UNCHECKED_CA_CERTIFICATE_ADVICE: [&str; 2] = [
    "Find out whether this was planned.",
    CA_CERTIFICATE_ADVICE[1],
];

/// What to do first if the key of a CA was compromised.
pub(super) const STOP_TRUSTING_CA: &str = "Stop trusting this CA everywhere: whoever has its key can issue certificates that clients accept.";

/// The same for several CAs.
pub(super) const STOP_TRUSTING_CAS: &str = "Stop trusting these CAs everywhere: whoever has their keys can issue certificates that clients accept.";

/// What to do first about a revocation without a reason, before who revoked it is considered.
pub(super) const ASK: &str = "Ask who revoked it and why";

/// The start of the advice that depends on how clients can check the certificate.
pub(super) const CONFIRM_REVOKED: &str = "Confirm that the CRL or the OCSP responder";

/// Returns what to do about a revocation for that reason, most urgent first; never empty.
pub(super) fn advice(label: &str) -> &'static [&'static str] {
    match RevocationReason::from_report(label) {
        RevocationReason::KeyCompromise => &[
            "Replace the certificate wherever it is deployed, with a new key. Until then, whoever has the key can impersonate it.",
            "Confirm that the CRL or the OCSP responder reports the serial as revoked (a new CRL takes about 30 minutes, an OCSP response up to 60).",
            "Find out how the key leaked and what it was used for.",
        ],
        RevocationReason::CertificateAuthorityCompromise => &[
            "If this is a CA certificate, stop trusting every certificate below it, and replace them.",
            "Remove the CA from trust stores, and notify everyone who trusts its chain.",
            "Confirm that the CRL or the OCSP responder of the parent CA reports the serial as revoked.",
        ],
        RevocationReason::AACompromise => &[
            "Stop trusting attributes this authority certified, such as roles and rights.",
            "Find the systems that rely on those attributes; withdraw or reissue them.",
        ],
        RevocationReason::PrivilegeWithdrawn => {
            &["Confirm that the holder's other access was removed as well."]
        }
        RevocationReason::Unspecified => {
            &["Ask who revoked it and why; treat it as a key compromise until you know."]
        }
        RevocationReason::Other(_) => {
            &["Find out what the reason means; treat it as a key compromise until you know."]
        }
        RevocationReason::AffiliationChanged => {
            &["Confirm that nothing uses the certificate under its old name or owner."]
        }
        RevocationReason::Superseded => {
            &["Confirm that the new certificate is deployed wherever this one was."]
        }
        RevocationReason::CessationOfOperation => {
            &["Confirm that the system that used the certificate is switched off."]
        }
    }
}
