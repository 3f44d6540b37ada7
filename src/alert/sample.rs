//! The sample revocation of a test message.

use std::time::Duration;

use crate::alert::batch::RevocationBatch;
use crate::revocation::key::RevocationKey;
use crate::revocation::reason::RevocationReason;
use crate::revocation::record::{ReportTime, Revocation};
use crate::timestamp::Timestamp;

/// Returns the one revocation of a test message, in the style of AWS's documentation.
pub(super) fn batch(certificate_authority_arn: &str, detected_at: Timestamp) -> RevocationBatch {
    const ARN: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566/certificate/e8cbd2bedb122329f97706bcfec990f8";
    const SERIAL: &str = "e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8";
    const HOUR: u64 = 3600;
    let ago = |seconds| {
        let at = detected_at.saturating_sub(Duration::from_secs(seconds));
        ReportTime::from_report(&at.to_string())
    };
    let end = detected_at.saturating_add(Duration::from_secs(365 * 24 * HOUR));
    let mut batch = RevocationBatch::new(certificate_authority_arn, detected_at);
    batch.add(Revocation {
        key: RevocationKey::of(Some(SERIAL), Some(ARN), b""),
        serial: Some(SERIAL.to_owned()),
        subject: Some(
            "CN=www.example1.com,OU=Test message,O=Example Company,L=Seattle,ST=Washington,C=US"
                .to_owned(),
        ),
        certificate_arn: Some(ARN.to_owned()),
        reason: RevocationReason::KeyCompromise,
        revoked_at: ago(HOUR / 2),
        not_before: Some(ago(25 * HOUR)),
        not_after: Some(ReportTime::from_report(&end.to_string())),
        issued_at: Some(ago(24 * HOUR)),
        aws_account_id: Some("123456789012".to_owned()),
        template_arn: Some("arn:aws:acm-pca:::template/EndEntityCertificate/V1".to_owned()),
        requested_by_service_principal: None,
        malformed: false,
    });
    batch
}
