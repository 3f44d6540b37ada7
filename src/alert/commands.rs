//! AWS CLI commands and console addresses for the person who follows up.

use std::time::Duration;

use crate::alert::certificate::Certificate;
use crate::alert::entry::is_plain;
use crate::alert::findings::MAX_STEP_NAME_CHARS;
use crate::alert::types::ObjectLocation;
use crate::arn::CertificateAuthorityArn;
use crate::revocation::key::{acm_serials, serial_octets};
use crate::revocation::reason::Severity;
use crate::text::visible::ascii;
use crate::timestamp::Timestamp;

/// Time before and after a revocation in which to look for its CloudTrail event.
const CLOUDTRAIL_WINDOW: Duration = Duration::from_secs(15 * 60);

/// A command, and what it is for.
pub(super) type Command = (String, String);

/// Returns the commands for following up on revocations, of which `certificates` are the worst.
pub(super) fn of_revocations(
    authority: &CertificateAuthorityArn,
    full_list: Option<&ObjectLocation>,
    report: &ObjectLocation,
    certificates: &[Certificate],
) -> Vec<Command> {
    let region = authority.region();
    let which = |item: &Certificate, to_change: &str| match certificates.len() {
        1 => "the certificate".to_owned(),
        _ => {
            let name = ascii(&item.name, MAX_STEP_NAME_CHARS);
            format!("{name} (for others, change {to_change})")
        }
    };
    let full_list = full_list.map(|location| download(region, location));
    let clients_open = || {
        certificates
            .iter()
            .filter(|item| item.findings.open.clients)
    };
    let first = clients_open().find_map(|item| Some((item, item.arn.as_ref()?)));
    let inspect = first.map(|(item, arn)| inspect(authority, arn, &which(item, "the last ARN")));
    let resources = certificates.iter().find_map(|item| {
        let account = item.acm_account.as_deref()?;
        let serial = item.serial.as_deref()?;
        let which = which(item, "account and serials");
        let is_open = item.findings.open.in_use;
        is_open.then(|| find_resources(region, account, serial, &which))
    });
    let is_configuration_open = certificates
        .iter()
        .any(|item| item.findings.open.configuration);
    let publication = is_configuration_open.then(|| find_pointers(authority));
    let same_subject = certificates
        .iter()
        .find_map(|item| find_same_subject(region, report, item, &which(item, "the serial")));
    let event = certificates.iter().find_map(|item| {
        let (at, serial) = (item.revoked_at?, item.serial.as_deref()?);
        let which = which(item, "times and serial");
        let is_open = item.findings.open.revoked_by;
        is_open.then(|| find_event(authority, at, serial, &which))
    });
    let optional = [
        full_list,
        inspect,
        resources,
        same_subject,
        publication,
        event,
    ];
    optional.into_iter().flatten().collect()
}

/// Downloads the full list.
fn download(region: &str, full_list: &ObjectLocation) -> Command {
    let source = shell_word(&full_list.uri());
    (
        "To download the full list (one JSON line per revocation):".to_owned(),
        format!("aws s3 cp {source} . --region {region}"),
    )
}

/// Shows a certificate.
fn inspect(authority: &CertificateAuthorityArn, arn: &str, which: &str) -> Command {
    let region = authority.region();
    (
        format!("To inspect {which}:"),
        format!(
            "aws acm-pca get-certificate --region {region} \\\n\
             --certificate-authority-arn {authority} \\\n\
             --certificate-arn {arn} \\\n\
             --query Certificate --output text | openssl x509 -noout -text"
        ),
    )
}

/// Shows the revocation configuration of the CA.
fn find_pointers(authority: &CertificateAuthorityArn) -> Command {
    let region = authority.region();
    (
        "To check whether the CA publishes a CRL or has an OCSP responder (clients use only those that the certificate named when it was issued):".to_owned(),
        format!(
            "aws acm-pca describe-certificate-authority --region {region} \\\n\
             --certificate-authority-arn {authority} \\\n\
             --query CertificateAuthority.RevocationConfiguration"
        ),
    )
}

/// Lists the certificates of a JSON report with the same subject as one that was revoked critically, if a
/// lookup failed to.
fn find_same_subject(
    region: &str,
    report: &ObjectLocation,
    certificate: &Certificate,
    which: &str,
) -> Option<Command> {
    let is_open = certificate.findings.open.affected && !certificate.is_ca;
    let is_critical = certificate.severity == Severity::Critical;
    let serial = certificate.serial.as_deref();
    let serial = serial.filter(|_| is_open && is_critical && report.key.ends_with(".json"))?;
    let source = shell_word(&report.uri());
    Some((
        format!(
            "To list the unrevoked certificates with the same subject as {which} (then compare their keys):"
        ),
        format!(
            "aws s3 cp {source} - --region {region} |\n\
             jq --arg serial {serial} \\\n\
             '[.[] | select(.serial == $serial) | .subject][0] as $subject |\n\
             .[] | select(.subject == $subject and (.revokedAt // \"\") == \"\")'"
        ),
    ))
}

/// Searches ACM for a certificate, and asks where it is in use.
fn find_resources(region: &str, account: &str, serial: &str, which: &str) -> Command {
    let filter = serial_filter(serial);
    (
        format!(
            "To find the AWS resources that use {which}, with access to account {account} (no output: ACM there does not have this serial):"
        ),
        format!(
            "aws acm search-certificates --region {region} --filter-statement \\\n\
             '{filter}' \\\n\
             --query 'Results[].CertificateArn' --output text |\n\
             xargs -r -n 1 aws acm describe-certificate --region {region} \\\n\
             --query Certificate.InUseBy --certificate-arn"
        ),
    )
}

/// Returns the search for a serial as JSON.
fn serial_filter(serial: &str) -> String {
    let octets = serial_octets(serial).unwrap_or_default();
    let filters: Vec<_> = acm_serials(&octets)
        .into_iter()
        .map(|text| {
            format!(r#"{{"Filter":{{"X509AttributeFilter":{{"SerialNumber":"{text}"}}}}}}"#)
        })
        .collect();
    match filters.as_slice() {
        [only] => only.clone(),
        several => format!(r#"{{"Or":[{}]}}"#, several.join(",")),
    }
}

/// Searches CloudTrail for the event of a revocation.
fn find_event(
    authority: &CertificateAuthorityArn,
    revoked_at: Timestamp,
    serial: &str,
    which: &str,
) -> Command {
    let (region, account) = (authority.region(), authority.account());
    let from = revoked_at.saturating_sub(CLOUDTRAIL_WINDOW);
    let until = revoked_at.saturating_add(CLOUDTRAIL_WINDOW);
    (
        format!("To find out who revoked {which}, with access to account {account}:"),
        format!(
            "aws cloudtrail lookup-events --region {region} --lookup-attributes \\\n\
             AttributeKey=EventName,AttributeValue=RevokeCertificate \\\n\
             --start-time {from} --end-time {until} \\\n\
             --output text --query \"Events[?contains(CloudTrailEvent,'{serial}')].CloudTrailEvent\""
        ),
    )
}

/// Returns the address of a console page; `None` in partitions whose console is not known.
pub(super) fn console(partition: &str, region: &str, page: &str, view: &str) -> Option<String> {
    let domain = match partition {
        "aws" => "console.aws.amazon.com",
        "aws-cn" => "console.amazonaws.cn",
        "aws-us-gov" => "console.amazonaws-us-gov.com",
        _ => return None,
    };
    Some(format!(
        "https://{region}.{domain}/{page}?region={region}#/{view}"
    ))
}

/// Quotes a word of a command for a POSIX shell.
fn shell_word(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_addresses_follow_the_partition() {
        for (partition, region, address) in [
            (
                "aws",
                "us-east-1",
                Some("https://us-east-1.console.aws.amazon.com/a?region=us-east-1#/b"),
            ),
            (
                "aws-cn",
                "cn-north-1",
                Some("https://cn-north-1.console.amazonaws.cn/a?region=cn-north-1#/b"),
            ),
            (
                "aws-us-gov",
                "us-gov-west-1",
                Some(
                    "https://us-gov-west-1.console.amazonaws-us-gov.com/a?region=us-gov-west-1#/b",
                ),
            ),
            ("aws-new", "new-1", None),
        ] {
            assert_eq!(console(partition, region, "a", "b").as_deref(), address);
        }
    }

    #[test]
    fn serial_is_searched_with_and_without_leading_zeros() {
        let filter = |serial: &str| {
            let filter = format!(r#""SerialNumber":"{serial}""#);
            format!(r#"{{"Filter":{{"X509AttributeFilter":{{{filter}}}}}}}"#)
        };
        let both = format!(r#"{{"Or":[{},{}]}}"#, filter("e8:cb"), filter("00:e8:cb"));
        assert_eq!(serial_filter("00:00:E8:CB"), both);
        assert_eq!(serial_filter("7"), filter("00:07"));
        assert_eq!(
            serial_filter(&"ff".repeat(20)),
            filter(&["ff"; 20].join(":"))
        );
    }

    #[test]
    fn shell_words_are_quoted_if_needed() {
        assert_eq!(shell_word("s3://b/k-1.jsonl"), "s3://b/k-1.jsonl");
        assert_eq!(shell_word("a b'c"), r"'a b'\''c'");
    }
}
