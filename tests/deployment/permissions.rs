//! What an IAM policy of the template allows, and what calls need.

use local_aws::{Call, Service};
use serde_json::Value;

use crate::template::{Deployment, list};

/// What is allowed without a call of the function's own: statement, action, and why.
pub const BEYOND_CALLS: &[(&str, &str, &str)] = &[
    (
        "AskForReports",
        "s3:PutObject",
        "editions of Private CA's API reference ask it of the caller of CreateCertificateAuthorityAuditReport",
    ),
    (
        "WriteTheLog",
        "logs:CreateLogStream",
        "Lambda writes the log with the function's role",
    ),
    (
        "WriteTheLog",
        "logs:PutLogEvents",
        "Lambda writes the log with the function's role",
    ),
    (
        "HandOverFailedInvocations",
        "sqs:SendMessage",
        "Lambda hands failed invocations over with the function's role",
    ),
    (
        "TakeRevocationEvents",
        "sqs:ReceiveMessage",
        "Lambda reads the queue with the function's role",
    ),
    (
        "TakeRevocationEvents",
        "sqs:DeleteMessage",
        "Lambda reads the queue with the function's role",
    ),
    (
        "TakeRevocationEvents",
        "sqs:GetQueueAttributes",
        "Lambda reads the queue with the function's role",
    ),
    (
        "UseTheBucketKeyThroughS3",
        "kms:Decrypt",
        "S3 uses the key for the caller",
    ),
    (
        "UseTheBucketKeyThroughS3",
        "kms:GenerateDataKey",
        "S3 uses the key for the caller",
    ),
    (
        "UseTheTopicKeyThroughSns",
        "kms:Decrypt",
        "SNS uses the key for the caller",
    ),
    (
        "UseTheTopicKeyThroughSns",
        "kms:GenerateDataKey",
        "SNS uses the key for the caller",
    ),
];

/// The `Allow` statements of a role's inline policies.
pub fn statements<'a>(deployment: &'a Deployment, role: &str) -> Vec<&'a Value> {
    let policies = deployment.resources[role]["Properties"]["Policies"]
        .as_array()
        .expect("policies");
    policies
        .iter()
        .flat_map(|policy| {
            policy["PolicyDocument"]["Statement"]
                .as_array()
                .expect("statements")
        })
        .inspect(|statement| assert_eq!(statement["Effect"], "Allow", "{statement}"))
        .collect()
}

/// The statements that allow an action on a resource, by `Sid`; conditions are taken as met.
pub fn allowing<'a>(statements: &[&'a Value], action: &str, resource: &str) -> Vec<&'a str> {
    let any = |patterns: &Value, value: &str| list(patterns).iter().any(|p| matches(p, value));
    statements
        .iter()
        .filter(|s| any(&s["Action"], action) && any(&s["Resource"], resource))
        .map(|s| s["Sid"].as_str().expect("a Sid"))
        .collect()
}

/// One action on one resource, as one statement allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub sid: String,
    pub action: String,
    /// A pattern.
    pub resource: String,
    /// The patterns of its condition on `s3:prefix`, or on none.
    pub prefixes: Option<Vec<String>>,
}

/// Statements, taken apart into what each allows by itself.
pub fn grants(statements: &[&Value]) -> Vec<Grant> {
    let mut grants = Vec::new();
    for statement in statements {
        for action in list(&statement["Action"]) {
            for resource in list(&statement["Resource"]) {
                let prefixes = &statement["Condition"]["StringLikeIfExists"]["s3:prefix"];
                grants.push(Grant {
                    sid: statement["Sid"].as_str().expect("a Sid").to_owned(),
                    action: action.clone(),
                    resource,
                    prefixes: (!prefixes.is_null()).then(|| list(prefixes)),
                });
            }
        }
    }
    grants
}

/// What the caller of a call must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub action: String,
    pub resource: String,
    /// What S3 calls `s3:prefix`.
    pub prefix: Option<String>,
}

/// What a call needs (Service Authorization Reference, "Actions, resources, and condition keys"; for
/// S3 also the User Guide, "Required permissions for Amazon S3 API operations").
pub fn needs(call: &Call) -> Vec<Need> {
    let need = |action: &str, resource: String| Need {
        action: action.to_owned(),
        resource,
        prefix: None,
    };
    match call.service {
        Service::PrivateCa => {
            let resource = call.certificate_authority_arn.clone();
            vec![need(
                &format!("acm-pca:{}", call.operation),
                resource.unwrap_or_else(|| "*".to_owned()),
            )]
        }
        Service::Sns => {
            let topic = call
                .topic_arn
                .clone()
                .expect("a call to SNS names its topic");
            vec![need(&format!("sns:{}", call.operation), topic)]
        }
        Service::S3 => {
            let bucket = format!(
                "arn:aws:s3:::{}",
                call.bucket
                    .as_deref()
                    .expect("a call to S3 names its bucket")
            );
            let key = call.key.clone().unwrap_or_default();
            let object = format!("{bucket}/{key}");
            // Of a missing object, a caller who may not list hears 403, not 404.
            let missing = (call.status == Some(404)).then(|| Need {
                prefix: Some(key.clone()),
                ..need("s3:ListBucket", bucket.clone())
            });
            match call.operation.as_str() {
                "GetObject" | "HeadObject" => [need("s3:GetObject", object)]
                    .into_iter()
                    .chain(missing)
                    .collect(),
                "PutObject"
                | "CreateMultipartUpload"
                | "UploadPart"
                | "CompleteMultipartUpload" => vec![need("s3:PutObject", object)],
                "AbortMultipartUpload" | "DeleteObject" => {
                    vec![need(&format!("s3:{}", call.operation), object)]
                }
                "ListObjectsV2" => vec![Need {
                    prefix: Some(call.prefix.clone().unwrap_or_default()),
                    ..need("s3:ListBucket", bucket)
                }],
                other => panic!("what does {other} need?"),
            }
        }
    }
}

/// Where what is allowed and what is needed differ, but for [`BEYOND_CALLS`].
pub fn differences(grants: &[Grant], needs: &[Need]) -> Vec<String> {
    let is_beyond = |grant: &Grant| {
        BEYOND_CALLS
            .iter()
            .any(|(sid, action, _)| *sid == grant.sid && *action == grant.action)
    };
    let missing = needs
        .iter()
        .filter(|need| {
            !grants
                .iter()
                .any(|grant| !is_beyond(grant) && grant.covers(need))
        })
        .map(|need| format!("missing: {need:?}"));
    let unused = grants
        .iter()
        .filter(|grant| !is_beyond(grant) && !needs.iter().any(|need| grant.covers(need)))
        .map(|grant| format!("unused: {grant:?}"));
    let stale = BEYOND_CALLS
        .iter()
        .filter(|(sid, action, _)| !grants.iter().any(|g| g.sid == *sid && g.action == *action))
        .map(|beyond| format!("not in the template: {beyond:?}"));
    missing.chain(unused).chain(stale).collect()
}

impl Grant {
    fn covers(&self, need: &Need) -> bool {
        let is_under = |prefix: &String| {
            self.prefixes
                .as_ref()
                .is_none_or(|patterns| patterns.iter().any(|p| matches(p, prefix)))
        };
        matches(&self.action, &need.action)
            && matches(&self.resource, &need.resource)
            && need.prefix.as_ref().is_none_or(is_under)
    }
}

/// IAM's wildcard `*`, any number of any characters.
fn matches(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((start, rest)) => value.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices()
                .any(|(at, _)| matches(rest, &tail[at..]))
                || matches(rest, "")
        }),
    }
}
