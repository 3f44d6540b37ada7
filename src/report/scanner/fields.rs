//! The fields of an audit report, and which of their values are malformed.

use std::borrow::Cow;

use crate::revocation::key::serial_octets;
use crate::revocation::record::RevokedRecord;
use crate::timestamp::Timestamp;

/// A field of a record. Those that this program does not know are one.
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
    Unknown,
}

/// The known fields with their names in a report, in the order of the CSV report's header.
const KNOWN: [(Field, &str); Field::Unknown as usize] = {
    use Field::*;
    [
        (AwsAccountId, "awsAccountId"),
        (RequestedByServicePrincipal, "requestedByServicePrincipal"),
        (CertificateArn, "certificateArn"),
        (Serial, "serial"),
        (Subject, "subject"),
        (NotBefore, "notBefore"),
        (NotAfter, "notAfter"),
        (IssuedAt, "issuedAt"),
        (RevokedAt, "revokedAt"),
        (RevocationReason, "revocationReason"),
        (TemplateArn, "templateArn"),
    ]
};

impl Field {
    pub const COUNT: usize = KNOWN.len() + 1;

    /// Returns a known field's name in a report.
    pub fn name(self) -> &'static str {
        KNOWN[self as usize].1
    }

    /// Returns the field of that name, ignoring ASCII case: one page of the AWS documentation shows
    /// `Subject`.
    pub fn named(name: &[u8]) -> Self {
        let is_name = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        let mut known = KNOWN.into_iter();
        known
            .find(|(_, known)| is_name(known))
            .map_or(Field::Unknown, |(field, _)| field)
    }

    /// Returns the bit of a known field, 0 for an unknown one.
    #[inline(always)]
    pub fn known_bit(self) -> u16 {
        (1 << self as u16) & ((1 << Field::Unknown as u16) - 1)
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
    let is_unreadable = |time: &Option<Cow<'a, str>>| {
        let time = time.as_deref();
        time.is_some_and(|time| Timestamp::parse(time).is_none())
    };
    let has_serial = record.serial.as_deref().and_then(serial_octets).is_some();
    record.malformed |= !has_serial
        || is_unreadable(&record.not_before)
        || is_unreadable(&record.not_after)
        || is_unreadable(&record.issued_at)
        || is_unreadable(&record.revoked_at);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_found_by_name_in_any_case() {
        for (field, name) in KNOWN {
            assert_eq!(field.name(), name);
            let upper = name.to_ascii_uppercase();
            for name in [name, &upper] {
                assert_eq!(Field::named(name.as_bytes()), field);
            }
        }
        for unknown in ["", "serials", "seria", "serial ", "\u{17f}erial"] {
            let field = Field::named(unknown.as_bytes());
            assert_eq!(field, Field::Unknown, "{unknown:?}");
        }
    }
}
