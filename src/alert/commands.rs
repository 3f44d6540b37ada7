//! AWS CLI commands and console addresses for the person who follows up.

use std::time::Duration;

use crate::alert::certificate::Certificate;
use crate::alert::entry::is_plain;
use crate::alert::types::ObjectLocation;
use crate::arn::CertificateAuthorityArn;
use crate::timestamp::Timestamp;

/// Time before and after a revocation in which to look for its CloudTrail event.
const CLOUDTRAIL_WINDOW: Duration = Duration::from_secs(15 * 60);

/// A command, and what it is for.
pub(super) type Command = (String, String);

/// Returns the commands for following up on revocations, of which `certificates` are the worst.
pub(super) fn of_revocations(
    authority: &CertificateAuthorityArn,
    full_list: Option<&ObjectLocation>,
    certificates: &[Certificate],
) -> Vec<Command> {
    let region = authority.region();
    let which = |to_change: &str| match certificates.len() {
        1 => "the certificate".to_owned(),
        _ => format!("a certificate (for others, change {to_change})"),
    };
    let full_list = full_list.map(|location| {
        let source = shell_word(&location.uri());
        (
            "To download the full list (one JSON line per revocation):".to_owned(),
            format!("aws s3 cp {source} . --region {region}"),
        )
    });
    let first_arn = certificates.iter().find_map(|item| item.arn.as_ref());
    let inspect = first_arn.map(|arn| {
        let command = format!(
            "aws acm-pca get-certificate --region {region} \\\n\
             --certificate-authority-arn {authority} \\\n\
             --certificate-arn {arn} \\\n\
             --query Certificate --output text | openssl x509 -noout -text"
        );
        (format!("To inspect {}:", which("the last ARN")), command)
    });
    let in_acm = |item: &Certificate| Some((item.acm_account.clone()?, item.serial.clone()?));
    let resources = certificates.iter().find_map(in_acm);
    let resources = resources.map(|(account, serial)| {
        find_resources(region, &account, &serial, &which("account and serial"))
    });
    let publication = (
        "To check whether the CA publishes a CRL or has an OCSP responder (clients use only those that the certificate named when it was issued):".to_owned(),
        format!(
            "aws acm-pca describe-certificate-authority --region {region} \\\n\
             --certificate-authority-arn {authority} \\\n\
             --query CertificateAuthority.RevocationConfiguration"
        ),
    );
    let known = |item: &Certificate| Some((item.revoked_at?, item.serial.clone()?));
    let event = certificates.iter().find_map(known);
    let event =
        event.map(|(at, serial)| find_event(authority, at, &serial, &which("times and serial")));
    let optional = [full_list, inspect, resources, Some(publication), event];
    optional.into_iter().flatten().collect()
}

/// Searches ACM for a certificate, and asks where it is in use.
fn find_resources(region: &str, account: &str, serial: &str, which: &str) -> Command {
    (
        format!("To find the AWS resources that use {which}, with access to account {account}:"),
        format!(
            "aws acm search-certificates --region {region} --filter-statement \\\n\
             '{{\"Filter\":{{\"X509AttributeFilter\":{{\"SerialNumber\":\"{serial}\"}}}}}}' \\\n\
             --query 'Results[].CertificateArn' --output text |\n\
             xargs -r -n 1 aws acm describe-certificate --region {region} \\\n\
             --query Certificate.InUseBy --certificate-arn"
        ),
    )
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
    fn shell_words_are_quoted_if_needed() {
        assert_eq!(shell_word("s3://b/k-1.jsonl"), "s3://b/k-1.jsonl");
        assert_eq!(shell_word("a b'c"), r"'a b'\''c'");
    }
}
