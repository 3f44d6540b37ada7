//! AWS CLI commands and console addresses for the person who follows up.

use crate::alert::certificate::Certificate;
use crate::alert::entry::is_plain;
use crate::alert::types::ObjectLocation;
use crate::arn::CertificateAuthorityArn;

/// Returns the commands for following up on revocations, of which `certificates` are the worst, and
/// what each is for.
pub(super) fn of_revocations(
    authority: &CertificateAuthorityArn,
    full_list: Option<&ObjectLocation>,
    certificates: &[Certificate],
) -> Vec<(&'static str, String)> {
    let region = authority.region();
    let mut commands = Vec::new();
    let mut add = |purpose, text| commands.push((purpose, text));
    if let Some(location) = full_list {
        let source = shell_word(&location.uri());
        add(
            "To download the full list (one JSON line per revocation):",
            format!("aws s3 cp {source} . --region {region}"),
        );
    }
    if let Some(arn) = certificates.iter().find_map(|item| item.arn.as_ref()) {
        let purpose = match certificates.len() {
            1 => "To inspect the certificate:",
            _ => "To inspect a certificate (for others, change the last ARN):",
        };
        let text = format!(
            "aws acm-pca get-certificate --region {region} \\\n\
             --certificate-authority-arn {authority} \\\n\
             --certificate-arn {arn} \\\n\
             --query Certificate --output text | openssl x509 -noout -text"
        );
        add(purpose, text);
    }
    if certificates.iter().any(|item| item.is_through_acm) {
        add(
            "To find the AWS resources that use certificates issued through ACM:",
            format!(
                "aws acm list-certificates --region {region} --query \\\n\
                 \"CertificateSummaryList[?Type=='PRIVATE'&&InUse].[DomainName,CertificateArn]\" \\\n\
                 --output text"
            ),
        );
    }
    add(
        "To check whether the CA publishes revocations through a CRL or OCSP:",
        format!(
            "aws acm-pca describe-certificate-authority --region {region} \\\n\
             --certificate-authority-arn {authority} \\\n\
             --query CertificateAuthority.RevocationConfiguration"
        ),
    );
    add(
        "To find out who revoked certificates in the last 90 days:",
        format!(
            "aws cloudtrail lookup-events --region {region} --lookup-attributes \\\n\
             AttributeKey=EventName,AttributeValue=RevokeCertificate"
        ),
    );
    commands
}

/// Returns the address of a console page; `None` in partitions whose console is not known.
pub(super) fn console(arn: &CertificateAuthorityArn, page: &str, view: &str) -> Option<String> {
    let domain = match arn.partition() {
        "aws" => "console.aws.amazon.com",
        "aws-cn" => "console.amazonaws.cn",
        "aws-us-gov" => "console.amazonaws-us-gov.com",
        _ => return None,
    };
    let region = arn.region();
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
            let id = "11223344-1234-1122-2233-112233445566";
            let arn = CertificateAuthorityArn::from_parts(partition, region, "123456789012", id);
            assert_eq!(console(&arn, "a", "b").as_deref(), address);
        }
    }

    #[test]
    fn shell_words_are_quoted_if_needed() {
        assert_eq!(shell_word("s3://b/k-1.jsonl"), "s3://b/k-1.jsonl");
        assert_eq!(shell_word("a b'c"), r"'a b'\''c'");
    }
}
