//! Facts in words, and texts of others made harmless.

use std::time::Duration;

use crate::alert::format::json::{is_plain_arn, is_serial};
use crate::alert::{CertificateAuthority, ObjectLocation};
use crate::revocation::distinguished_name;
use crate::revocation::reason::RevocationReason;
use crate::revocation::reason_counts::{NOT_STATED, OTHER, is_word};
use crate::revocation::record::{ReportTime, Revocation};
use crate::text::visible::{CUT_MARK, visible};
use crate::timestamp::Timestamp;

/// Somebody else's text on one line: every character visible, no address that a mail reader would
/// make a link of by its scheme, at most that many characters and a mark where it was cut.
pub(super) fn defang(text: &str, max_chars: usize) -> String {
    let start = text
        .char_indices()
        .nth(max_chars)
        .map_or(text, |(end, _)| &text[..end]);
    let shown = visible(start).replace("://", "[:]//");
    if start.len() == text.len() && shown.chars().count() <= max_chars {
        return shown;
    }
    let kept: String = shown.chars().take(max_chars).collect();
    kept + CUT_MARK
}

/// Characters of each text of a fault; errors of AWS can quote whole requests.
pub(super) const MAX_ERROR_CHARS: usize = 1000;

/// The text of a fault for the machine document.
pub(super) fn bounded(text: &str, in_ascii: bool) -> String {
    let kept = text.chars().take(MAX_ERROR_CHARS);
    if in_ascii {
        kept.map(|c| if matches!(c, ' '..='~') { c } else { '?' })
            .collect()
    } else {
        kept.collect()
    }
}

/// Somebody else's text in ASCII letters, digits and a few signs that mean nothing to any reader;
/// anything else is a question mark. At most that many characters.
pub(super) fn ascii(text: &str, max_chars: usize) -> String {
    let mut plain: String = text
        .chars()
        .take(max_chars + 1)
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | ',' | '-' | '_' | '*' | '@' | '\'' => c,
            _ => '?',
        })
        .collect();
    if plain.len() > max_chars {
        let dots = &".."[..max_chars.min(2)];
        plain.truncate(max_chars - dots.len());
        plain.push_str(dots);
    }
    plain
}

/// Whom a revoked certificate is for, on one line: its common name, else its subject, else its
/// serial.
pub(super) fn who(revocation: &Revocation) -> String {
    if let Some(subject) = revocation.subject.as_deref() {
        let decoded = distinguished_name::decode(subject);
        let text = decoded.common_name.unwrap_or(decoded.text);
        if !text.trim().is_empty() {
            return text;
        }
    }
    match revocation.serial.as_deref() {
        Some(serial) if is_serial(serial) => format!("serial {serial}"),
        _ => match revocation.certificate_arn.as_deref() {
            Some(arn) if is_plain_arn(arn) => arn.to_owned(),
            _ => "a certificate without a subject".to_owned(),
        },
    }
}

/// The name of a certificate authority, or its id where that is not known.
pub(super) fn name_of(authority: &CertificateAuthority) -> &str {
    authority.name.as_deref().unwrap_or(authority.id())
}

/// A reason in words with its code: `key compromise (1)`.
pub(super) fn reason(name: &str) -> String {
    match RevocationReason::from_report(name).code() {
        Some(code) => format!("{} ({code})", bare_reason(name)),
        None => match name {
            "" | NOT_STATED => "no reason stated".to_owned(),
            OTHER => "reasons that AWS does not document".to_owned(),
            name => format!("{} (not a reason that AWS documents)", defang(name, 64)),
        },
    }
}

/// A reason in words where there is little room.
pub(super) fn bare_reason(name: &str) -> String {
    match RevocationReason::from_report(name) {
        RevocationReason::KeyCompromise => "key compromise".to_owned(),
        RevocationReason::CertificateAuthorityCompromise => "CA compromise".to_owned(),
        RevocationReason::AACompromise => "attribute authority compromise".to_owned(),
        RevocationReason::PrivilegeWithdrawn => "privilege withdrawn".to_owned(),
        RevocationReason::Unspecified => "unspecified".to_owned(),
        RevocationReason::AffiliationChanged => "affiliation changed".to_owned(),
        RevocationReason::Superseded => "superseded".to_owned(),
        RevocationReason::CessationOfOperation => "cessation of operation".to_owned(),
        RevocationReason::Other(name) => match name.as_str() {
            "" | NOT_STATED | OTHER => "unknown reason".to_owned(),
            name => format!("reason {}", ascii(name, 24)),
        },
    }
}

/// `1 certificate`, `5,000 certificates`
pub(super) fn count(number: u64, singular: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {singular}{plural}", grouped(number))
}

/// `5,000`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `2018-02-26 20:00:36 UTC`
pub(super) fn instant(at: Timestamp) -> String {
    at.to_string().replace('T', " ").replace('Z', " UTC")
}

/// An instant, or what the report states instead of one.
pub(super) fn time(time: &ReportTime) -> String {
    match time.at {
        Some(at) => instant(at),
        None => format!("\"{}\" (unreadable)", defang(&time.text, 32)),
    }
}

/// `29 minutes`, `3 days`: one unit, rounded down.
pub(super) fn duration(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = duration.as_secs();
    match seconds {
        0..MINUTE => "less than a minute".to_owned(),
        MINUTE..HOUR => count(seconds / MINUTE, "minute"),
        HOUR..DAY => count(seconds / HOUR, "hour"),
        _ => count(seconds / DAY, "day"),
    }
}

/// The name of a template, `EndEntityCertificate/V1`; `None` where it does not look like one.
pub(super) fn template(arn: &str) -> Option<&str> {
    let (_, name) = arn.split_once(":template/")?;
    (name.len() <= 60 && name.split('/').all(is_word)).then_some(name)
}

/// A console address of the partition: of AWS in China and AWS GovCloud (US), a different domain.
pub(super) fn console(authority: &CertificateAuthority, path: &str) -> Option<String> {
    let region = authority.region();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if region.is_empty() || !region.bytes().all(plain) {
        return None;
    }
    let domain = match authority.partition() {
        "aws" => "console.aws.amazon.com",
        "aws-cn" => "console.amazonaws.cn",
        "aws-us-gov" => "console.amazonaws-us-gov.com",
        _ => return None,
    };
    Some(format!(
        "https://{region}.{domain}/{}",
        path.replace("{region}", region)
    ))
}

/// The list of certificate authorities; the console publishes no address of a single one.
pub(super) fn console_of_authorities(authority: &CertificateAuthority) -> Option<String> {
    console(
        authority,
        "acm-pca/home?region={region}#/certificateAuthorities",
    )
}

/// `s3://bucket/key`, on one line.
pub(super) fn object(location: &ObjectLocation) -> String {
    visible(&format!("s3://{}/{}", location.bucket, location.key))
}

/// A word of a command for a POSIX shell.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'_' | b'+' | b'=' | b'/' | b',' | b'.' | b'@' | b'-' | b':'
            )
    };
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations() {
        assert_eq!(count(1, "certificate"), "1 certificate");
        assert_eq!(count(0, "certificate"), "0 certificates");
        assert_eq!(count(1_234_567, "certificate"), "1,234,567 certificates");
        for (seconds, words) in [
            (0, "less than a minute"),
            (59, "less than a minute"),
            (60, "1 minute"),
            (3599, "59 minutes"),
            (7200, "2 hours"),
            (86_400, "1 day"),
            (8_000_000, "92 days"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn addresses_of_others_are_no_links() {
        assert_eq!(
            defang("https://evil.example/", 99),
            "https[:]//evil.example/"
        );
        assert_eq!(defang("a\nb\u{202e}", 99), r"a\u000Ab\u202E");
        assert_eq!(defang("abcdef", 3), "abc[...]");
        assert_eq!(defang("\0\0", 8), r"\u0000\u[...]");
    }

    #[test]
    fn consoles_of_all_partitions() {
        for (arn, address) in [
            (
                "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/x",
                Some("https://us-east-1.console.aws.amazon.com/a?region=us-east-1"),
            ),
            (
                "arn:aws-cn:acm-pca:cn-north-1:123456789012:certificate-authority/x",
                Some("https://cn-north-1.console.amazonaws.cn/a?region=cn-north-1"),
            ),
            (
                "arn:aws-us-gov:acm-pca:us-gov-west-1:123456789012:certificate-authority/x",
                Some("https://us-gov-west-1.console.amazonaws-us-gov.com/a?region=us-gov-west-1"),
            ),
            (
                "arn:aws-new:acm-pca:r:123456789012:certificate-authority/x",
                None,
            ),
        ] {
            let authority = CertificateAuthority::new(arn, None);
            let written = console(&authority, "a?region={region}");
            assert_eq!(written.as_deref(), address);
        }
    }

    #[test]
    fn words_of_a_shell() {
        assert_eq!(shell_word("s3://b/k-1.jsonl"), "s3://b/k-1.jsonl");
        assert_eq!(shell_word("a b'c"), r"'a b'\''c'");
    }
}
