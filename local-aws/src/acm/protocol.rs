//! ACM's protocol: AWS JSON 1.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::certificate::AcmCertificate;
use super::emulator::{Acm, State};
use super::search::{invalid, matches};
use crate::aws_json;
use crate::error_reply::ErrorReply;

/// Most results of a page (ACM API Reference, `SearchCertificates`).
const PAGE: usize = 500;

/// Results of a page if the request does not say how many.
const DEFAULT_PAGE: usize = 100;

impl Acm {
    /// Processes one request: the operation's name and its JSON document.
    pub(crate) fn perform(&self, operation: &str, document: &[u8]) -> Result<Value, ErrorReply> {
        let request = aws_json::parse(document)?;
        let state = self.state();
        match operation {
            "SearchCertificates" => state.search(&request),
            "DescribeCertificate" => state.describe(&request),
            _ => Err(aws_json::unknown_operation(operation)),
        }
    }
}

impl State {
    fn search(&self, request: &Value) -> Result<Value, ErrorReply> {
        let mut found = Vec::new();
        for certificate in &self.certificates {
            let statement = &request["FilterStatement"];
            if statement.is_null() || matches(statement, certificate)? {
                found.push(certificate);
            }
        }
        let most = page_size(&request["MaxResults"])?.min(self.page_size.unwrap_or(PAGE).max(1));
        let start = match request["NextToken"].as_str() {
            None => 0,
            Some(token) => {
                let last = STANDARD.decode(token).unwrap_or_default();
                let index = found
                    .iter()
                    .position(|certificate| certificate.arn.as_bytes() == last);
                index.ok_or_else(|| invalid("The NextToken is not valid."))? + 1
            }
        };
        let page = &found[start..found.len().min(start.saturating_add(most))];
        let results: Vec<_> = page.iter().map(|one| result(one)).collect();
        let mut response = json!({ "Results": results });
        if start + page.len() < found.len()
            && let Some(last) = page.last()
        {
            response["NextToken"] = STANDARD.encode(&last.arn).into();
        }
        Ok(response)
    }

    fn describe(&self, request: &Value) -> Result<Value, ErrorReply> {
        let arn = request["CertificateArn"].as_str().unwrap_or_default();
        let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
        if !arn.starts_with("arn:") || !resource.starts_with("certificate/") {
            return Err(ErrorReply::new(
                400,
                "InvalidArnException",
                format!("The ARN {arn} is not valid."),
            ));
        }
        let found = self.certificates.iter().find(|known| known.arn == arn);
        let found = found.ok_or_else(|| {
            ErrorReply::new(
                400,
                "ResourceNotFoundException",
                format!("Could not find certificate {arn}."),
            )
        })?;
        Ok(json!({ "Certificate": detail(found) }))
    }
}

fn page_size(asked: &Value) -> Result<usize, ErrorReply> {
    if asked.is_null() {
        return Ok(DEFAULT_PAGE);
    }
    asked
        .as_u64()
        .and_then(|asked| usize::try_from(asked).ok())
        .filter(|asked| (1..=PAGE).contains(asked))
        .ok_or_else(|| invalid("MaxResults must be between 1 and 500."))
}

fn result(certificate: &AcmCertificate) -> Value {
    let names: Vec<_> = certificate
        .subject_alternative_names
        .iter()
        .map(|name| json!({ "DnsName": name }))
        .collect();
    json!({
        "CertificateArn": certificate.arn,
        "X509Attributes": {
            "SerialNumber": certificate.serial,
            "Subject": { "CommonName": certificate.domain_name },
            "SubjectAlternativeNames": names,
        },
        "CertificateMetadata": {
            "AcmCertificateMetadata": {
                "InUse": !certificate.in_use_by.is_empty(),
                "Exported": certificate.exported,
                "Status": certificate.status,
                "Type": certificate.certificate_type,
            },
        },
    })
}

fn detail(certificate: &AcmCertificate) -> Value {
    let mut detail = json!({
        "CertificateArn": certificate.arn,
        "DomainName": certificate.domain_name,
        "SubjectAlternativeNames": certificate.subject_alternative_names,
        "Serial": certificate.serial,
        "Subject": format!("CN={}", certificate.domain_name),
        "InUseBy": certificate.in_use_by,
        "Status": certificate.status,
        "Type": certificate.certificate_type,
    });
    if let Some(authority) = &certificate.certificate_authority_arn {
        detail["CertificateAuthorityArn"] = authority.as_str().into();
    }
    detail
}
