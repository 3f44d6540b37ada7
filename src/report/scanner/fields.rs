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

impl Field {
    /// Every field, in the order of the CSV report's header.
    pub const ALL: [Field; 11] = [
        Field::AwsAccountId,
        Field::RequestedByServicePrincipal,
        Field::CertificateArn,
        Field::Serial,
        Field::Subject,
        Field::NotBefore,
        Field::NotAfter,
        Field::IssuedAt,
        Field::RevokedAt,
        Field::RevocationReason,
        Field::TemplateArn,
    ];

    /// Returns its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Field::AwsAccountId => "awsAccountId",
            Field::RequestedByServicePrincipal => "requestedByServicePrincipal",
            Field::CertificateArn => "certificateArn",
            Field::Serial => "serial",
            Field::Subject => "subject",
            Field::NotBefore => "notBefore",
            Field::NotAfter => "notAfter",
            Field::IssuedAt => "issuedAt",
            Field::RevokedAt => "revokedAt",
            Field::RevocationReason => "revocationReason",
            Field::TemplateArn => "templateArn",
        }
    }

    /// Returns the field of that name, ignoring ASCII case: one page of the AWS documentation shows
    /// `Subject`.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|field| field.name().as_bytes().eq_ignore_ascii_case(name))
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
    let usable_serial = record.serial.as_deref().and_then(serial_octets).is_some();
    let times = [
        &record.not_before,
        &record.not_after,
        &record.issued_at,
        &record.revoked_at,
    ];
    let readable_times = times.into_iter().all(|time| {
        time.as_deref()
            .is_none_or(|time| Timestamp::parse(time).is_some())
    });
    record.malformed |= !usable_serial || !readable_times;
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_found_by_name_in_any_case() {
        for field in Field::ALL {
            assert_eq!(Field::named(field.name().as_bytes()), Some(field));
            assert_eq!(
                Field::named(field.name().to_ascii_uppercase().as_bytes()),
                Some(field)
            );
        }
        for unknown in ["", "serials", "seria", "serial ", "\u{17f}erial"] {
            assert_eq!(Field::named(unknown.as_bytes()), None, "{unknown:?}");
        }
    }
}
