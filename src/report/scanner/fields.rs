//! The fields of an audit report, and what makes one of them odd.

use std::borrow::Cow;

use wide::i8x16;

use crate::revocation::key::serial_octets;
use crate::revocation::record::RevokedRecord;
use crate::timestamp::Timestamp;

/// A field that this program knows. There may be others; they are read over.
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

    /// Its name in a report.
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

    /// The field of that name, without regard to ASCII case: one page of AWS's shows `Subject`.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|field| field.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Puts a record together from its fields. `malformed` is what the grammar found odd about it.
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
    let readable_times = times
        .into_iter()
        .all(|time| time.as_deref().is_none_or(is_readable_time));
    record.malformed |= !usable_serial || !readable_times;
    record
}

/// Whether [`Timestamp::parse`] reads it. The form that every report uses is recognised without
/// it, except on the last days of a month, since this is asked four times per revoked record.
fn is_readable_time(text: &str) -> bool {
    is_plain_report_time(text.as_bytes()) || Timestamp::parse(text).is_some()
}

/// `2018-02-26T18:39:57+0000`, on a day that every month has.
fn is_plain_report_time(text: &[u8]) -> bool {
    const FORM: &[u8; 24] = b"0000-00-00T00:00:00+0000";
    let Ok(text) = <&[u8; 24]>::try_from(text) else {
        return false;
    };
    // A digit where the form has one, else the form's own byte; 16 places at once, some twice.
    let has_form = |from: usize| {
        let lanes = |bytes: &[u8; 24]| {
            let block: &[u8; 16] = bytes[from..].first_chunk().expect("24 bytes are 8 and 16");
            i8x16::from_ne_bytes(*block)
        };
        let (text, form) = (lanes(text), lanes(FORM));
        let is_digit =
            text.simd_gt(i8x16::splat(b'0' as i8 - 1)) & text.simd_lt(i8x16::splat(b'9' as i8 + 1));
        let may_be_digit = form.simd_eq(i8x16::splat(b'0' as i8));
        (text.simd_eq(form) | (is_digit & may_be_digit)).all()
    };
    let number = |at: usize| 10 * (text[at] - b'0') + (text[at + 1] - b'0');
    has_form(0)
        && has_form(8)
        && (1..=12).contains(&number(5))
        && (1..=28).contains(&number(8))
        && number(11) < 24
        && number(14) < 60
        && number(17) < 60
        && text[20..] == *b"0000"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_in_any_case() {
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

    /// The shortcut says yes only where the parser does: every number in every place.
    #[test]
    fn plain_times_are_readable_times() {
        let mut plain = 0;
        for (at, len) in [(0, 4), (5, 2), (8, 2), (11, 2), (14, 2), (17, 2), (20, 4)] {
            for number in 0..10_usize.pow(len) {
                let mut text = String::from("2018-02-26T18:39:57+0000");
                text.replace_range(
                    at..at + len as usize,
                    &format!("{number:0len$}", len = len as usize),
                );
                if is_plain_report_time(text.as_bytes()) {
                    plain += 1;
                    assert!(Timestamp::parse(&text).is_some(), "{text}");
                }
            }
        }
        // Years, months, days, hours, minutes, seconds, and one offset.
        assert_eq!(plain, 10_000 + 12 + 28 + 24 + 60 + 60 + 1);
        for text in [
            "2018-02-26T18:39:57-0000",
            "2018-02-26 18:39:57+0000",
            "2018-02-26T18:39:57+000",
        ] {
            assert!(!is_plain_report_time(text.as_bytes()), "{text}");
        }
    }
}
