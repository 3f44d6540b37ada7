//! Private CA's protocol: AWS JSON 1.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::authority::{Authority, CRL_BUCKET, RevocationConfiguration};
use super::emulator::PrivateCa;
use super::errors::{invalid, not_found};
use super::report::ReportRequest;
use super::state::State;
use crate::aws_json::{self, epoch_seconds};
use crate::error_reply::ErrorReply;
use crate::report::ReportFormat;
use crate::x509;

impl PrivateCa {
    /// Processes one request: the operation's name and its JSON document.
    pub(crate) fn perform(&self, operation: &str, document: &[u8]) -> Result<Value, ErrorReply> {
        let request = aws_json::parse(document)?;
        let now = self.0.clock.now();
        let mut state = self.state();
        state.spend(operation, now)?;
        match operation {
            "CreateCertificateAuthorityAuditReport" => {
                let bucket = text(&request, "S3BucketName")?;
                let format = text(&request, "AuditReportResponseFormat")?;
                let format = ReportFormat::from_name(format).ok_or_else(|| {
                    invalid(format!(
                        "1 validation error detected: Value '{format}' at 'auditReportResponseFormat' failed to satisfy constraint: Member must satisfy enum value set: [JSON, CSV]"
                    ))
                })?;
                let arn = authority_arn(&request)?;
                let report = ReportRequest {
                    authority: arn,
                    bucket,
                    format,
                };
                let id = self.create_report(&mut state, report, now)?;
                let key = state.reports[&id].key.clone();
                drop(state);
                self.write_due_reports();
                Ok(json!({ "AuditReportId": id, "S3Key": key }))
            }
            "DescribeCertificateAuthorityAuditReport" => {
                let arn = authority_arn(&request)?;
                let id = text(&request, "AuditReportId")?;
                state.authority(arn)?;
                let report = state
                    .reports
                    .get(id)
                    .filter(|report| report.authority == arn);
                let report = report
                    .ok_or_else(|| not_found(format!("Could not find audit report {id}.")))?;
                Ok(json!({
                    "AuditReportStatus": report.status(now),
                    "S3BucketName": report.bucket,
                    "S3Key": report.key,
                    "CreatedAt": epoch_seconds(report.created_at),
                }))
            }
            "DescribeCertificateAuthority" => {
                let arn = authority_arn(&request)?;
                let authority = state.authority(arn)?;
                Ok(json!({ "CertificateAuthority": authority.describe(arn) }))
            }
            "ListCertificateAuthorities" => self.list(&state, &request),
            "GetCertificate" => {
                let authority = state.authority(authority_arn(&request)?)?;
                authority.get_certificate(text(&request, "CertificateArn")?)
            }
            "ListTags" => list_tags(&state, &request),
            _ => Err(aws_json::unknown_operation(operation)),
        }
    }

    fn list(&self, state: &State, request: &Value) -> Result<Value, ErrorReply> {
        let page = page_size(state, request)?;
        let shared = match request["ResourceOwner"].as_str() {
            None | Some("SELF") => false,
            Some("OTHER_ACCOUNTS") => true,
            Some(other) => {
                return Err(invalid(format!(
                    "Value '{other}' at 'resourceOwner' failed to satisfy constraint: Member must satisfy enum value set: [SELF, OTHER_ACCOUNTS]"
                )));
            }
        };
        let after = next_token(request)?;
        let mut rest = state
            .authorities
            .iter()
            .filter(|(_, authority)| (authority.owner_account != self.0.account) == shared)
            .filter(|(arn, _)| after.as_ref().is_none_or(|after| *arn > after))
            .peekable();
        let mut listed = Vec::new();
        let mut last = None;
        while listed.len() < page
            && let Some((arn, authority)) = rest.next()
        {
            listed.push(authority.describe(arn));
            last = Some(arn);
        }
        let mut response = json!({ "CertificateAuthorities": listed });
        if rest.peek().is_some()
            && let Some(last) = last
        {
            response["NextToken"] = STANDARD.encode(last).into();
        }
        Ok(response)
    }
}

impl Authority {
    fn get_certificate(&self, arn: &str) -> Result<Value, ErrorReply> {
        let mut all = self.certificates.iter();
        let found = all.find(|row| row.certificate_arn == arn);
        let row = found.ok_or_else(|| not_found(format!("Could not find certificate {arn}.")))?;
        let pem = match (&row.pem, &row.x509) {
            (Some(text), _) => text.clone(),
            (None, Some(profile)) => x509::pem(row, profile),
            (None, None) => unreachable!("adding a certificate sets its profile"),
        };
        Ok(json!({ "Certificate": pem, "CertificateChain": x509::chain() }))
    }

    fn describe(&self, arn: &str) -> Value {
        let RevocationConfiguration { crl, ocsp } = self.revocation;
        let crl = match crl {
            true => json!({
                "Enabled": true,
                "ExpirationInDays": 7,
                "S3BucketName": CRL_BUCKET,
                "S3ObjectAcl": "BUCKET_OWNER_FULL_CONTROL",
                "CrlDistributionPointExtensionConfiguration": {
                    "OmitExtension": self.omits_crl_pointer,
                },
            }),
            false => json!({ "Enabled": false }),
        };
        json!({
            "Arn": arn,
            "OwnerAccount": self.owner_account,
            "CreatedAt": epoch_seconds(self.created_at),
            "LastStateChangeAt": epoch_seconds(self.last_state_change_at),
            "Type": "ROOT",
            "Serial": self.serial.replace(':', ""),
            "Status": self.status.name(),
            "NotBefore": epoch_seconds(self.not_before),
            "NotAfter": epoch_seconds(self.not_after),
            "CertificateAuthorityConfiguration": {
                "KeyAlgorithm": "RSA_2048",
                "SigningAlgorithm": "SHA256WITHRSA",
                "Subject": {
                    "Country": "US",
                    "Organization": "Example Company",
                    "CommonName": self.common_name,
                },
            },
            "RevocationConfiguration": {
                "CrlConfiguration": crl,
                "OcspConfiguration": { "Enabled": ocsp },
            },
            "KeyStorageSecurityStandard": "FIPS_140_2_LEVEL_3_OR_HIGHER",
            "UsageMode": self.usage_mode.name(),
        })
    }
}

fn list_tags(state: &State, request: &Value) -> Result<Value, ErrorReply> {
    let authority = state.authority(authority_arn(request)?)?;
    let (page, after) = (page_size(state, request)?, next_token(request)?);
    let rest = authority.tags.iter();
    let mut rest = rest.filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let listed: Vec<_> = rest.by_ref().take(page).collect();
    let tags = listed
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }));
    let mut response = json!({ "Tags": tags.collect::<Vec<_>>() });
    if rest.next().is_some()
        && let Some((last, _)) = listed.last()
    {
        response["NextToken"] = STANDARD.encode(last).into();
    }
    Ok(response)
}

/// Returns the maximum number of items in the response.
fn page_size(state: &State, request: &Value) -> Result<usize, ErrorReply> {
    let asked = match &request["MaxResults"] {
        Value::Null => 1000,
        value => value
            .as_u64()
            .filter(|asked| (1..=1000).contains(asked))
            .ok_or_else(|| invalid("MaxResults must be between 1 and 1000.".to_owned()))?,
    };
    let asked = usize::try_from(asked).unwrap_or(usize::MAX);
    Ok(asked.min(state.page_size.unwrap_or(usize::MAX)))
}

/// Returns the last item of the page before, if there was one.
fn next_token(request: &Value) -> Result<Option<String>, ErrorReply> {
    let Some(token) = request["NextToken"].as_str() else {
        return Ok(None);
    };
    decode_token(token).map(Some).ok_or_else(|| {
        ErrorReply::new(
            400,
            "InvalidNextTokenException",
            "The token specified in the NextToken argument is not valid. Use the token returned from your previous call.",
        )
    })
}

fn text<'a>(request: &'a Value, member: &str) -> Result<&'a str, ErrorReply> {
    request[member]
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid(format!("{member} is required.")))
}

fn authority_arn(request: &Value) -> Result<&str, ErrorReply> {
    let arn = text(request, "CertificateAuthorityArn")?;
    let mut parts = arn.splitn(6, ':');
    let well_formed = parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| !partition.is_empty())
        && parts.next() == Some("acm-pca")
        && parts.next().is_some()
        && parts
            .next()
            .is_some_and(|account| account.bytes().all(|byte| byte.is_ascii_digit()))
        && parts
            .next()
            .is_some_and(|resource| resource.starts_with("certificate-authority/"));
    if well_formed {
        return Ok(arn);
    }
    Err(ErrorReply::new(
        400,
        "InvalidArnException",
        format!(
            "The requested Amazon Resource Name (ARN) {arn} does not refer to an existing resource."
        ),
    ))
}

fn decode_token(token: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(token).ok()?).ok()
}
