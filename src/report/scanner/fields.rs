//! The fields of an audit report, and which of their values are malformed.

use std::borrow::Cow;

use crate::revocation::key::serial_octets;
use crate::revocation::record::RevokedRecord;
use crate::timestamp::Timestamp;

/// A field that this program knows. Others are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    AwsAccountId,
    RequestedByServicePrincipal,
    CertificateArn,
    Serial,
    Subject,
    NotBefore,
    NotAfter,
    IssuedAt,
    RevokedAt,
    RevocationReason,
    TemplateArn,
}

/// Every field with its name in a report, in the order of the CSV report's header.
const NAMES: [(Field, &str); Field::COUNT] = [
    (Field::AwsAccountId, "awsAccountId"),
    (
        Field::RequestedByServicePrincipal,
        "requestedByServicePrincipal",
    ),
    (Field::CertificateArn, "certificateArn"),
    (Field::Serial, "serial"),
    (Field::Subject, "subject"),
    (Field::NotBefore, "notBefore"),
    (Field::NotAfter, "notAfter"),
    (Field::IssuedAt, "issuedAt"),
    (Field::RevokedAt, "revokedAt"),
    (Field::RevocationReason, "revocationReason"),
    (Field::TemplateArn, "templateArn"),
];

impl Field {
    pub const COUNT: usize = 11;

    /// Returns its name in a report.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// Returns the field of that name, ignoring ASCII case: one page of the AWS documentation shows
    /// `Subject`.
    pub fn named(name: &[u8]) -> Option<Self> {
        let is_name = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        let (field, _) = NAMES.into_iter().find(|(_, known)| is_name(known))?;
        Some(field)
    }
}

/// Builds a record from its fields. `malformed` is the verdict of the grammar.
#[inline]
pub fn revoked_record<'a>(
    raw: &'a [u8],
    malformed: bool,
    text: impl Fn(Field) -> Option<Cow<'a, str>>,
) -> RevokedRecord<'a> {
    let mut record = RevokedRecord {
        aws_account_id: text(Field::AwsAccountId),
        requested_by_service_principal: text(Field::RequestedByServicePrincipal),
        certificate_arn: text(Field::CertificateArn),
        serial: text(Field::Serial),
        subject: text(Field::Subject),
        not_before: text(Field::NotBefore),
        not_after: text(Field::NotAfter),
        issued_at: text(Field::IssuedAt),
        revoked_at: text(Field::RevokedAt),
        revocation_reason: text(Field::RevocationReason),
        template_arn: text(Field::TemplateArn),
        malformed,
        raw,
    };
    let RevokedRecord {
        not_before,
        not_after,
        issued_at,
        revoked_at,
        ..
    } = &record;
    let has_unreadable_time = [not_before, not_after, issued_at, revoked_at]
        .into_iter()
        .flatten()
        .any(|time| Timestamp::parse(time).is_none());
    let has_serial = record.serial.as_deref().and_then(serial_octets).is_some();
    record.malformed |= !has_serial || has_unreadable_time;
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_found_by_name_in_any_case() {
        for (field, name) in NAMES {
            assert_eq!(field.name(), name);
            let upper = name.to_ascii_uppercase();
            for name in [name, &upper] {
                assert_eq!(Field::named(name.as_bytes()), Some(field));
            }
        }
        for unknown in ["", "serials", "seria", "serial ", "\u{17f}erial"] {
            assert_eq!(Field::named(unknown.as_bytes()), None, "{unknown:?}");
        }
    }
}
