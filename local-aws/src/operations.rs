//! Identifies the service, operation and parameters of a request.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use serde_json::Value;

use crate::call::Call;
use crate::service::Service;

/// Parses a request into a call.
pub(crate) fn identify(request: &Request<Bytes>, at: SystemTime) -> Call {
    let mut call = aws_json(request, at)
        .or_else(|| sns(request, at))
        .unwrap_or_else(|| s3(request, at));
    let headers = request.headers();
    // `attempt=1; max=3`
    call.attempt = header(headers, "amz-sdk-request").and_then(|value| {
        let attempt = value
            .split(';')
            .find_map(|part| part.trim().strip_prefix("attempt="));
        attempt?.parse().ok()
    });
    call.invocation_id = header(headers, "amz-sdk-invocation-id");
    call.user_agent = header(headers, "user-agent");
    // `... Credential=ID/DATE/REGION/SERVICE/aws4_request, ...`
    call.region = header(headers, "authorization").and_then(|value| {
        let (_, credential) = value.split_once("Credential=")?;
        credential.split('/').nth(2).map(str::to_owned)
    });
    call
}

/// Parses a request of Private CA, CloudTrail, ACM or SQS: AWS JSON with the operation in `x-amz-target`.
fn aws_json(request: &Request<Bytes>, at: SystemTime) -> Option<Call> {
    let target = header(request.headers(), "x-amz-target")?;
    // CloudTrail's may have a Java package in front.
    let (prefix, operation) = target.rsplit_once('.')?;
    let service = match prefix.rsplit('.').next()? {
        "ACMPrivateCA" => Service::PrivateCa,
        "CloudTrail_20131101" => Service::CloudTrail,
        "CertificateManager" => Service::Acm,
        "AmazonSQS" => Service::Sqs,
        _ => return None,
    };
    let mut call = Call::new(service, operation, at);
    let document: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    for (name, value) in document.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        call.parameters.insert(name.clone(), value);
    }
    call.certificate_authority_arn = call.parameters.get("CertificateAuthorityArn").cloned();
    call.queue_url = call.parameters.get("QueueUrl").cloned();
    call.bucket = call.parameters.get("S3BucketName").cloned();
    Some(call)
}

/// Parses an SNS request: a form with the operation in `Action`.
fn sns(request: &Request<Bytes>, at: SystemTime) -> Option<Call> {
    let form = header(request.headers(), "content-type")
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    if request.method() != Method::POST || !form {
        return None;
    }
    let fields: BTreeMap<String, String> = serde_urlencoded::from_bytes(request.body()).ok()?;
    let mut call = Call::new(Service::Sns, fields.get("Action")?, at);
    let topic = fields.get("TopicArn").or_else(|| fields.get("TargetArn"));
    call.topic_arn = topic.cloned();
    call.parameters = fields;
    Some(call)
}

/// Parses any other request as S3, which encodes the operation in method, path, query and headers.
fn s3(request: &Request<Bytes>, at: SystemTime) -> Call {
    let (method, headers) = (request.method(), request.headers());
    let path = request.uri().path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let query: BTreeMap<String, String> =
        serde_urlencoded::from_str(request.uri().query().unwrap_or_default()).unwrap_or_default();
    let has = |name: &str| query.contains_key(name);
    let operation = match (method.as_str(), bucket.is_empty(), key.is_empty()) {
        ("GET", false, true) if query.get("list-type").is_some_and(|kind| kind == "2") => {
            "ListObjectsV2"
        }
        ("GET", false, true) if has("versioning") => "GetBucketVersioning",
        ("GET", false, true) if has("encryption") => "GetBucketEncryption",
        ("GET", _, false) if !has("uploadId") => "GetObject",
        ("HEAD", _, false) => "HeadObject",
        ("PUT", _, false) if has("uploadId") => "UploadPart",
        ("PUT", _, false) if !headers.contains_key("x-amz-copy-source") => "PutObject",
        ("DELETE", _, false) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", _, false) => "DeleteObject",
        ("POST", _, false) if has("uploads") => "CreateMultipartUpload",
        ("POST", _, false) if has("uploadId") => "CompleteMultipartUpload",
        _ => "Unknown",
    };
    let mut call = Call::new(Service::S3, operation, at);
    call.bucket = (!bucket.is_empty()).then(|| bucket.to_owned());
    call.key = (!key.is_empty()).then(|| percent_decode(key));
    call.prefix = query.get("prefix").cloned();
    call.if_match = header(headers, "if-match");
    call.if_none_match = header(headers, "if-none-match");
    call.range = header(headers, "range");
    call.parameters = query;
    call
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let decoded = match (first, after.get(..2)) {
            (b'%', Some(digits)) => hex::decode(digits).ok(),
            _ => None,
        };
        match decoded {
            Some(byte) => {
                bytes.extend(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
