//! Compares what the template's IAM policies allow with what calls need.

use local_aws::{Call, Service};
use serde_json::Value;

use crate::template::{ACCOUNT, Deployment, REGION, list};

/// Permissions that the function needs without calling the action itself: statement, action, reason.
pub const INDIRECT_GRANTS: &[(&str, &str, &str)] = &[
    (
        "RequestReports",
        "s3:PutObject",
        "editions of Private CA's API reference require it to call CreateCertificateAuthorityAuditReport",
    ),
    (
        "WriteLog",
        "logs:CreateLogStream",
        "Lambda writes the log with the function's role",
    ),
    (
        "WriteLog",
        "logs:PutLogEvents",
        "Lambda writes the log with the function's role",
    ),
    (
        "SendFailedInvocations",
        "sqs:SendMessage",
        "Lambda sends failed invocations with the function's role",
    ),
    (
        "ReceiveRevocationEvents",
        "sqs:ReceiveMessage",
        "Lambda reads the queue with the function's role",
    ),
    (
        "ReceiveRevocationEvents",
        "sqs:DeleteMessage",
        "Lambda reads the queue with the function's role",
    ),
    (
        "ReceiveRevocationEvents",
        "sqs:GetQueueAttributes",
        "Lambda reads the queue with the function's role",
    ),
    (
        "ReceiveAudits",
        "sqs:ReceiveMessage",
        "Lambda reads the queue with the function's role",
    ),
    (
        "ReceiveAudits",
        "sqs:DeleteMessage",
        "Lambda reads the queue with the function's role",
    ),
    (
        "ReceiveAudits",
        "sqs:GetQueueAttributes",
        "Lambda reads the queue with the function's role",
    ),
    (
        "UseBucketKeyThroughS3",
        "kms:Decrypt",
        "S3 uses the key on behalf of the caller",
    ),
    (
        "UseBucketKeyThroughS3",
        "kms:GenerateDataKey",
        "S3 uses the key on behalf of the caller",
    ),
    (
        "UseTopicKeyThroughSns",
        "kms:Decrypt",
        "SNS uses the key on behalf of the caller",
    ),
    (
        "UseTopicKeyThroughSns",
        "kms:GenerateDataKey",
        "SNS uses the key on behalf of the caller",
    ),
];

/// Returns the statements of a role's inline policies that are mappings, which must all be `Allow`.
pub fn statements<'a>(deployment: &'a Deployment, role: &str) -> Vec<&'a Value> {
    let policies = deployment.resources[role]["Properties"]["Policies"]
        .as_array()
        .expect("policies");
    policies
        .iter()
        .filter(|policy| policy["PolicyDocument"].is_object())
        .flat_map(|policy| {
            policy["PolicyDocument"]["Statement"]
                .as_array()
                .expect("statements")
        })
        .inspect(|statement| assert_eq!(statement["Effect"], "Allow", "{statement}"))
        .collect()
}

/// Returns the statements of a role's inline policies that are JSON strings, which must all be `Deny`.
pub fn denying_statements(deployment: &Deployment, role: &str) -> Vec<Value> {
    let policies = &deployment.resources[role]["Properties"]["Policies"];
    let policies = policies.as_array().expect("policies").iter();
    policies
        .filter_map(|policy| policy["PolicyDocument"].as_str())
        .flat_map(|json| {
            let document: Value = serde_json::from_str(json).expect("valid JSON");
            document["Statement"]
                .as_array()
                .expect("statements")
                .clone()
        })
        .inspect(|statement| assert_eq!(statement["Effect"], "Deny", "{statement}"))
        .collect()
}

/// Returns the Sids of the statements that allow an action on a resource, assuming their conditions hold.
pub fn allowing<'a>(statements: &[&'a Value], action: &str, resource: &str) -> Vec<&'a str> {
    let any = |patterns: &Value, value: &str| list(patterns).iter().any(|p| matches(p, value));
    statements
        .iter()
        .filter(|s| any(&s["Action"], action) && any(&s["Resource"], resource))
        .map(|s| s["Sid"].as_str().expect("a Sid"))
        .collect()
}

/// Returns whether a policy's statements deny an action, given the values of condition keys.
pub fn denies(
    statements: &[Value],
    context: &[(&str, &str)],
    action: &str,
    resource: &str,
) -> bool {
    let mut denying = statements.iter().filter(|s| s["Effect"] == "Deny");
    denying.any(|statement| applies(statement, context, action, resource))
}

/// Returns whether a statement applies to an action, given the values of condition keys.
///
/// Source: IAM User Guide, "IAM JSON policy elements: Condition operators". Conditions are combined with
/// AND, values of one key with OR. Without the key, negated operators and `IfExists` hold, others do not.
pub fn applies(statement: &Value, context: &[(&str, &str)], action: &str, resource: &str) -> bool {
    let any = |patterns: &Value, value: &str| list(patterns).iter().any(|p| matches(p, value));
    let conditions = statement["Condition"].as_object();
    any(&statement["Action"], action)
        && any(&statement["Resource"], resource)
        && conditions.into_iter().flatten().all(|(operator, keys)| {
            let keys = keys.as_object().expect("condition keys");
            keys.iter()
                .all(|(key, expected)| holds(operator, key, expected, context))
        })
}

fn holds(operator: &str, key: &str, expected: &Value, context: &[(&str, &str)]) -> bool {
    let expected = list(expected);
    let actual = context.iter().find(|(name, _)| *name == key);
    let actual = actual.map(|(_, value)| *value);
    let any = |test: &dyn Fn(&str, &str) -> bool| {
        actual.is_some_and(|actual| expected.iter().any(|value| test(value, actual)))
    };
    match operator {
        "StringEquals" | "Bool" => any(&|value, actual| value == actual),
        "BoolIfExists" => actual.is_none() || any(&|value, actual| value == actual),
        "StringNotEquals" => !any(&|value, actual| value == actual),
        "ArnLike" | "ArnEquals" => any(&matches),
        "ArnNotEquals" => !any(&matches),
        "NumericLessThan" => any(&|value, actual| number(actual) < number(value)),
        other => panic!("unknown condition operator {other}"),
    }
}

fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

/// One action on one resource, allowed by one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub sid: String,
    pub action: String,
    /// Resource ARN pattern.
    pub resource: String,
    /// Patterns of the condition on `s3:prefix`, if there is one.
    pub prefixes: Option<Vec<String>>,
}

/// Splits statements into single grants.
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

/// A permission that a call requires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub action: String,
    pub resource: String,
    /// Value of the condition key `s3:prefix`.
    pub prefix: Option<String>,
}

/// Returns the permission that has the name of the call's operation, on a resource or on `*`.
fn on(prefix: &str, call: &Call, resource: Option<&String>) -> Vec<Need> {
    vec![Need {
        action: format!("{prefix}:{}", call.operation),
        resource: resource.map_or_else(|| "*".to_owned(), String::clone),
        prefix: None,
    }]
}

/// Returns the permissions that a call requires.
///
/// Sources: Service Authorization Reference, "Actions, resources, and condition keys"; for S3 also the
/// User Guide, "Required permissions for Amazon S3 API operations".
pub fn needs(call: &Call) -> Vec<Need> {
    let need = |action: &str, resource: String| Need {
        action: action.to_owned(),
        resource,
        prefix: None,
    };
    match call.service {
        Service::PrivateCa => on("acm-pca", call, call.certificate_authority_arn.as_ref()),
        Service::CloudTrail => on("cloudtrail", call, None),
        Service::Acm => on("acm", call, call.parameters.get("CertificateArn")),
        Service::Sns => {
            let topic = call
                .topic_arn
                .clone()
                .expect("a call to SNS names its topic");
            vec![need(&format!("sns:{}", call.operation), topic)]
        }
        // Both operations need the same action (SQS Developer Guide, "Amazon SQS API permissions").
        Service::Sqs => {
            assert!(call.operation.starts_with("SendMessage"), "{call:?}");
            let url = call.queue_url.as_deref().expect("a queue");
            let name = url.rsplit('/').next().unwrap_or_default();
            vec![need(
                "sqs:SendMessage",
                format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"),
            )]
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
            // Without s3:ListBucket, S3 returns 403 instead of 404 for a missing object.
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
                "GetBucketVersioning" => vec![need("s3:GetBucketVersioning", bucket)],
                "GetBucketEncryption" => vec![need("s3:GetEncryptionConfiguration", bucket)],
                other => panic!("add the permissions of s3 operation {other}"),
            }
        }
    }
}

/// Returns the missing and the unused grants, and those of [`INDIRECT_GRANTS`] not in the template.
pub fn differences(grants: &[Grant], needs: &[Need]) -> Vec<String> {
    let is_indirect = |grant: &Grant| {
        INDIRECT_GRANTS
            .iter()
            .any(|(sid, action, _)| *sid == grant.sid && *action == grant.action)
    };
    let missing = needs
        .iter()
        .filter(|need| {
            !grants
                .iter()
                .any(|grant| !is_indirect(grant) && grant.covers(need))
        })
        .map(|need| format!("missing: {need:?}"));
    let unused = grants
        .iter()
        .filter(|grant| !is_indirect(grant) && !needs.iter().any(|need| grant.covers(need)))
        .map(|grant| format!("unused: {grant:?}"));
    let stale = INDIRECT_GRANTS
        .iter()
        .filter(|(sid, action, _)| !grants.iter().any(|g| g.sid == *sid && g.action == *action))
        .map(|indirect| format!("not in the template: {indirect:?}"));
    missing.chain(unused).chain(stale).collect()
}

impl Grant {
    /// Returns whether the grant has the action, resource and prefix of a need.
    pub fn covers(&self, need: &Need) -> bool {
        let is_allowed_prefix = |prefix: &String| {
            self.prefixes
                .as_ref()
                .is_none_or(|patterns| patterns.iter().any(|p| matches(p, prefix)))
        };
        matches(&self.action, &need.action)
            && matches(&self.resource, &need.resource)
            && need.prefix.as_ref().is_none_or(is_allowed_prefix)
    }
}

/// Matches a value against an IAM pattern, in which `*` stands for any number of characters.
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
