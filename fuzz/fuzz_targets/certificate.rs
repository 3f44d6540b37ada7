//! Reads any bytes as a certificate, in DER and in PEM: an error, or what `x509-cert` reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pca_revocation_watch::revocation::certificate::CertificateFacts;

#[path = "../../tests/reports/certificate_oracle.rs"]
#[allow(dead_code)]
mod certificate_oracle;

fuzz_target!(|bytes: &[u8]| {
    let facts = CertificateFacts::from_der(bytes);
    certificate_oracle::compare(bytes, &facts);
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = CertificateFacts::from_pem(text);
    }
});
