//! Filters of `SearchCertificates` (ACM API Reference, `CertificateFilterStatement`).

use serde_json::Value;

use super::certificate::AcmCertificate;
use crate::error_reply::ErrorReply;

/// Returns whether a certificate matches a filter statement.
pub(super) fn matches(statement: &Value, certificate: &AcmCertificate) -> Result<bool, ErrorReply> {
    let (kind, value) = union(statement, "FilterStatement")?;
    match kind {
        "Filter" => filter(value, certificate),
        "Not" => Ok(!matches(value, certificate)?),
        "And" | "Or" => {
            let all = value.as_array().filter(|all| !all.is_empty());
            let all = all.ok_or_else(|| invalid(&format!("{kind} needs statements.")))?;
            let results: Result<Vec<_>, _> =
                all.iter().map(|one| matches(one, certificate)).collect();
            let mut results = results?.into_iter();
            Ok(match kind {
                "And" => results.all(|matched| matched),
                _ => results.any(|matched| matched),
            })
        }
        other => Err(unsupported(other)),
    }
}

fn filter(filter: &Value, certificate: &AcmCertificate) -> Result<bool, ErrorReply> {
    match union(filter, "Filter")? {
        ("CertificateArn", arn) => Ok(text(arn)? == certificate.arn),
        ("X509AttributeFilter", attribute) => x509_attribute(attribute, certificate),
        ("AcmCertificateMetadataFilter", metadata) => match union(metadata, "Metadata")? {
            ("Status", status) => Ok(text(status)? == certificate.status),
            ("Type", kind) => Ok(text(kind)? == certificate.certificate_type),
            ("InUse", in_use) => Ok(flag(in_use)? != certificate.in_use_by.is_empty()),
            ("Exported", exported) => Ok(flag(exported)? == certificate.exported),
            (other, _) => Err(unsupported(other)),
        },
        (other, _) => Err(unsupported(other)),
    }
}

fn x509_attribute(attribute: &Value, certificate: &AcmCertificate) -> Result<bool, ErrorReply> {
    match union(attribute, "X509AttributeFilter")? {
        // As text: another spelling of the same number finds nothing.
        ("SerialNumber", serial) => Ok(text(serial)? == certificate.serial),
        ("Subject", subject) => match union(subject, "Subject")? {
            ("CommonName", name) => compare(name, &[&certificate.domain_name]),
            (other, _) => Err(unsupported(other)),
        },
        ("SubjectAlternativeName", name) => match union(name, "SubjectAlternativeName")? {
            ("DnsName", name) => {
                let names: Vec<_> = certificate
                    .subject_alternative_names
                    .iter()
                    .map(String::as_str)
                    .collect();
                compare(name, &names)
            }
            (other, _) => Err(unsupported(other)),
        },
        (other, _) => Err(unsupported(other)),
    }
}

fn compare(name: &Value, candidates: &[&str]) -> Result<bool, ErrorReply> {
    let value = text(&name["Value"])?.to_lowercase();
    let mut candidates = candidates.iter().map(|name| name.to_lowercase());
    match text(&name["ComparisonOperator"])? {
        "EQUALS" => Ok(candidates.any(|name| name == value)),
        "CONTAINS" => Ok(candidates.any(|name| name.contains(&value))),
        other => Err(invalid(&format!("Unknown ComparisonOperator {other}."))),
    }
}

/// Returns the only member of a union.
fn union<'a>(value: &'a Value, name: &str) -> Result<(&'a str, &'a Value), ErrorReply> {
    let mut members = value.as_object().into_iter().flatten();
    match (members.next(), members.next()) {
        (Some((kind, value)), None) => Ok((kind, value)),
        _ => Err(invalid(&format!("{name} must have exactly one member."))),
    }
}

fn text(value: &Value) -> Result<&str, ErrorReply> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid("A filter's value is missing."))
}

fn flag(value: &Value) -> Result<bool, ErrorReply> {
    value
        .as_bool()
        .ok_or_else(|| invalid("A filter's value is not a Boolean."))
}

fn unsupported(member: &str) -> ErrorReply {
    invalid(&format!(
        "local-aws does not implement the filter {member}."
    ))
}

pub(super) fn invalid(message: &str) -> ErrorReply {
    ErrorReply::new(400, "ValidationException", message)
}
