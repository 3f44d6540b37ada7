//! Checks the policies of the bucket, its key, the topics and the queues.

use serde_json::Value;

use crate::permissions::{Need, applies, denies, denying_statements, statements};
use crate::recorded::record_lost_tag;
use crate::template::{self, Deployment, REGION, list, text};
use crate::{ARN, KEY, TAG, TWO_ARNS, config, deploy, local_config, needs_of};

#[test]
fn bucket_policy_limits_writers_of_reports_and_state() {
    let deployment = deploy(&[("CertificateAuthorities", TWO_ARNS)]);
    let policy = &deployment.resources["ReportBucketPolicy"]["Properties"]["PolicyDocument"];
    let by_sid = |sid: &str| {
        let statements = policy["Statement"].as_array().unwrap();
        statements
            .iter()
            .find(|s| s["Sid"] == sid)
            .unwrap_or_else(|| panic!("no {sid}"))
    };
    let write = by_sid("AllowPrivateCAToWriteReports");
    assert_eq!(write["Principal"]["Service"], "acm-pca.amazonaws.com");
    assert_eq!(
        write["Condition"]["StringEquals"]["aws:SourceAccount"],
        template::ACCOUNT
    );
    let sources = list(&write["Condition"]["ArnLike"]["aws:SourceArn"]);
    assert_eq!(sources, TWO_ARNS.split(',').collect::<Vec<_>>());

    let only = by_sid("DenyStateWritesExceptFunction");
    let state = format!(
        "{}/{}*",
        "arn:aws:s3:::pca-revocation-watch-reportbucket",
        config(&deployment).state_prefix
    );
    assert_eq!(
        (only["Effect"].as_str(), only["Resource"].as_str()),
        (Some("Deny"), Some(state.as_str()))
    );
    assert_eq!(
        only["Condition"]["ArnNotEquals"]["aws:PrincipalArn"].as_str(),
        Some("arn:aws:iam::123456789012:role/pca-revocation-watch-WatchRole")
    );
}

/// Returns whether a deployment's bucket policy denies `action` on the object `key`.
fn bucket_policy_denies(
    deployment: &Deployment,
    context: &[(&str, &str)],
    (action, key): (&str, &str),
) -> bool {
    let policy = &deployment.resources["ReportBucketPolicy"]["Properties"]["PolicyDocument"];
    let object = format!("arn:aws:s3:::pca-revocation-watch-reportbucket/{key}");
    let statements = policy["Statement"].as_array().unwrap();
    denies(statements, context, action, &object)
}

const FUNCTION: (&str, &str) = (
    "aws:PrincipalArn",
    "arn:aws:iam::123456789012:role/pca-revocation-watch-WatchRole",
);
const ADMINISTRATOR: (&str, &str) = (
    "aws:PrincipalArn",
    "arn:aws:iam::123456789012:role/Administrator",
);
const PRIVATE_CA: (&str, &str) = ("aws:PrincipalServiceName", "acm-pca.amazonaws.com");
const REPORT: &str = "audit-report/11223344/1.json";
const STATE: &str = "revocation-watch/pca-revocation-watch/11223344.json";

#[test]
fn protected_reports_are_written_by_private_ca_and_function_only() {
    let open = deploy(&[]);
    let protected = deploy(&[("ProtectReports", "yes")]);
    for action in ["s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"] {
        let denies = |deployment, context: &[(&str, &str)]| {
            bucket_policy_denies(deployment, context, (action, REPORT))
        };
        assert!(!denies(&open, &[ADMINISTRATOR]));
        assert!(denies(&protected, &[ADMINISTRATOR]));
        assert!(denies(
            &protected,
            &[ADMINISTRATOR, ("aws:ViaAWSService", "false")]
        ));
        assert!(denies(
            &protected,
            &[("aws:PrincipalServiceName", "cloudtrail.amazonaws.com")]
        ));
        // Private CA as a service principal, and with the permissions of the function or a person.
        assert!(!denies(
            &protected,
            &[PRIVATE_CA, ("aws:ViaAWSService", "false")]
        ));
        assert!(!denies(
            &protected,
            &[ADMINISTRATOR, ("aws:ViaAWSService", "true")]
        ));
        assert!(!denies(&protected, &[FUNCTION]));
    }
    let read = ("s3:GetObject", REPORT);
    assert!(!bucket_policy_denies(&protected, &[ADMINISTRATOR], read));
}

/// After the stack is deleted, the kept policy still names the deleted role: a new stack on the kept bucket
/// writes its state only after the policy was replaced by the new stack's statements.
#[test]
fn redeployment_onto_the_kept_bucket_needs_the_new_statements() {
    let old = deploy(&[]);
    for id in ["ReportBucket", "ReportBucketPolicy"] {
        assert_eq!(
            old.resources[id]["DeletionPolicy"], "RetainExceptOnCreate",
            "{id}"
        );
        assert_eq!(old.resources[id]["UpdateReplacePolicy"], "Retain", "{id}");
    }
    let new_role = (
        "aws:PrincipalArn",
        "arn:aws:iam::123456789012:role/pca-revocation-watch-WatchRole-NEW",
    );
    let write = ("s3:PutObject", STATE);
    assert!(!bucket_policy_denies(&old, &[FUNCTION], write));
    assert!(bucket_policy_denies(&old, &[ADMINISTRATOR], write));
    assert!(bucket_policy_denies(&old, &[new_role], write));
    // Nobody is locked out of the bucket: an administrator may replace its policy.
    assert!(!bucket_policy_denies(
        &old,
        &[ADMINISTRATOR],
        ("s3:PutBucketPolicy", "")
    ));

    let new = deploy(&[("ExistingReportBucket", "pca-revocation-watch-reportbucket")]);
    let printed = text(&new.outputs["BucketPolicyStatements"]["Value"]);
    let printed = printed.replace(FUNCTION.1, new_role.1);
    let statements: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let state = format!("arn:aws:s3:::pca-revocation-watch-reportbucket/{STATE}");
    assert!(!denies(&statements, &[new_role], "s3:PutObject", &state));
    for other in [FUNCTION, ADMINISTRATOR] {
        assert!(denies(&statements, &[other], "s3:PutObject", &state));
    }
}

#[test]
fn bucket_refuses_unencrypted_and_old_transport() {
    let deployment = deploy(&[]);
    for (context, is_denied) in [
        (("aws:SecureTransport", "false"), true),
        (("s3:TlsVersion", "1.1"), true),
        (("s3:TlsVersion", "1.2"), false),
        (("s3:TlsVersion", "1.3"), false),
    ] {
        let denied =
            bucket_policy_denies(&deployment, &[FUNCTION, context], ("s3:PutObject", STATE));
        assert_eq!(denied, is_denied, "{context:?}");
    }
}

#[test]
fn bucket_key_statement_admits_private_ca_for_listed_cas() {
    for list in ["*", TWO_ARNS] {
        let deployment = deploy(&[("BucketKmsKeyArn", KEY), ("CertificateAuthorities", list)]);
        let printed = text(&deployment.outputs["BucketKeyPolicyStatement"]["Value"]);
        let statement: Value = serde_json::from_str(&printed).unwrap();
        let statements = std::slice::from_ref(&statement);
        let bucket = "arn:aws:s3:::pca-revocation-watch-reportbucket";
        let context = |account, ca, bucket| {
            [
                ("aws:SourceAccount", account),
                ("aws:SourceArn", ca),
                ("kms:EncryptionContext:aws:s3:arn", bucket),
            ]
        };
        let other_ca = ARN.replace("123456789012", "111122223333");
        for (context, is_allowed) in [
            (context(template::ACCOUNT, ARN, bucket), true),
            (context("111122223333", ARN, bucket), false),
            (context(template::ACCOUNT, &other_ca, bucket), false),
            // Without bucket keys, S3 uses the object's ARN.
            (
                context(template::ACCOUNT, ARN, "arn:aws:s3:::another"),
                false,
            ),
        ] {
            for action in ["kms:GenerateDataKey", "kms:Decrypt"] {
                let allowed = applies(&statements[0], &context, action, KEY);
                assert_eq!(allowed, is_allowed, "{context:?}");
            }
        }
        assert_eq!(statement["Principal"]["Service"], "acm-pca.amazonaws.com");
        // The statement fits a bucket that uses bucket keys, as the stack's own bucket does.
        let encryption = &deployment.resources["ReportBucket"]["Properties"]["BucketEncryption"];
        let rule = &encryption["ServerSideEncryptionConfiguration"][0];
        assert_eq!(rule["BucketKeyEnabled"], true);
    }
}

#[test]
fn topics_sign_with_version_2() {
    let deployment = deploy(&[]);
    for id in ["Topic", "AlarmTopic"] {
        assert_eq!(
            deployment.resources[id]["Properties"]["SignatureVersion"], "2",
            "{id}"
        );
    }
}

#[test]
fn dead_letter_queue_serves_only_the_queues_that_exist() {
    let allowed = |deployment: &Deployment| {
        deployment.resources["DeadLetters"]["Properties"]["RedriveAllowPolicy"].clone()
    };
    assert_eq!(
        allowed(&deploy(&[])),
        serde_json::json!({ "redrivePermission": "denyAll" })
    );
    let queues = [
        ("RevocationEvents", "RevocationEventQueue"),
        ("ScaleOut", "AuditQueue"),
    ];
    for chosen in [&queues[..1], &queues[1..], &queues[..]] {
        let parameters: Vec<_> = chosen.iter().map(|(name, _)| (*name, "yes")).collect();
        let deployment = deploy(&parameters);
        let arns: Vec<_> = chosen
            .iter()
            .map(|(_, id)| {
                let queue = &deployment.resources[*id]["Properties"];
                let target = &queue["RedrivePolicy"]["deadLetterTargetArn"];
                let name = text(&queue["QueueName"]);
                let prefix = format!("arn:aws:sqs:{REGION}:{}", template::ACCOUNT);
                assert_eq!(
                    *target,
                    format!("{prefix}:pca-revocation-watch-DeadLetters")
                );
                format!("{prefix}:{name}")
            })
            .collect();
        assert_eq!(
            allowed(&deployment),
            serde_json::json!({ "redrivePermission": "byQueue", "sourceQueueArns": arns })
        );
    }
}

#[test]
fn queues_refuse_unencrypted_transport() {
    let deployment = deploy(&[("RevocationEvents", "yes"), ("ScaleOut", "yes")]);
    let queues = deployment.resources.iter();
    let queues = queues.filter(|(_, it)| it["Type"] == "AWS::SQS::Queue");
    let mut checked = Vec::new();
    for (id, queue) in queues {
        assert_eq!(queue["Properties"]["SqsManagedSseEnabled"], true, "{id}");
        let policy = &deployment.resources[&format!("{id}Policy")]["Properties"];
        let name = queue["Properties"].get("QueueName").map(text);
        let name = name.unwrap_or_else(|| format!("pca-revocation-watch-{id}"));
        let arn = format!("arn:aws:sqs:{REGION}:{}:{name}", template::ACCOUNT);
        let statements = policy["PolicyDocument"]["Statement"].as_array().unwrap();
        for (is_secure, is_denied) in [("false", true), ("true", false)] {
            let context = [("aws:SecureTransport", is_secure)];
            let denied = denies(statements, &context, "sqs:SendMessage", &arn);
            assert_eq!(denied, is_denied, "{id}");
        }
        checked.push(id.as_str());
    }
    assert_eq!(
        checked,
        ["AuditQueue", "DeadLetters", "RevocationEventQueue"]
    );
}

#[test]
fn tag_denies_audits_and_lookups_of_other_cas() {
    let deployment = deploy(&[("CertificateAuthorityTag", "pki/Watch by=team one")]);
    let denying = denying_statements(&deployment, "WatchRole");
    let tagged = |value| [("aws:ResourceTag/pki/Watch by", value)];
    for statement in statements(&deployment, "WatchRole") {
        for action in list(&statement["Action"]) {
            // Without a resource that could have tags.
            let is_about_a_ca = action.starts_with("acm-pca:")
                && ![
                    "acm-pca:ListCertificateAuthorities",
                    // They read the tags, and a report that was requested before a CA lost its tag.
                    "acm-pca:ListTags",
                    "acm-pca:DescribeCertificateAuthorityAuditReport",
                ]
                .contains(&action.as_str());
            let resource = if action.starts_with("acm-pca:") {
                ARN
            } else {
                "*"
            };
            assert!(!denies(&denying, &tagged("team one"), &action, resource));
            for context in [&tagged("team two")[..], &[]] {
                let denied = denies(&denying, context, &action, resource);
                assert_eq!(denied, is_about_a_ca, "{action}");
            }
        }
    }
    assert!(denying_statements(&deploy(&[]), "WatchRole").is_empty());
}

/// What is left to do for a CA that lost its tag: to read a report that was requested before.
#[tokio::test(start_paused = true)]
async fn tag_policy_lets_a_pending_report_of_an_untagged_ca_be_read() {
    let deployment = deploy(&[TAG]);
    let calls = record_lost_tag(local_config(&deployment)).await;
    let denying = denying_statements(&deployment, "WatchRole");
    let is_denied = |need: &Need| denies(&denying, &[], &need.action, &need.resource);
    let needed = needs_of(&calls);
    let denied: Vec<_> = needed.iter().filter(|need| is_denied(need)).collect();
    assert!(denied.is_empty(), "{denied:?}");
    let describe = "DescribeCertificateAuthorityAuditReport";
    assert!(calls.iter().any(|call| call.operation == describe));
    assert!(calls.iter().any(|call| {
        call.operation == "GetObject"
            && call
                .key
                .as_ref()
                .is_some_and(|key| key.starts_with("audit-report/"))
    }));
}

#[test]
fn outputs_for_existing_resources_match_the_stack_policies() {
    let parameters = [
        ("CertificateAuthorities", TWO_ARNS),
        ("ProtectReports", "yes"),
        ("ExistingReportBucket", "amzn-s3-demo-bucket"),
    ];
    let existing = deploy(&parameters);
    assert!(!existing.resources.contains_key("ReportBucketPolicy"));
    let printed: Vec<Value> =
        serde_json::from_str(&text(&existing.outputs["BucketPolicyStatements"]["Value"])).unwrap();

    let created = deploy(&parameters[..2]);
    let policy =
        created.resources["ReportBucketPolicy"]["Properties"]["PolicyDocument"].to_string();
    let policy: Value = serde_json::from_str(
        &policy.replace("pca-revocation-watch-reportbucket", "amzn-s3-demo-bucket"),
    )
    .unwrap();
    let own = policy["Statement"].as_array().unwrap();
    assert_eq!(
        printed,
        own.iter()
            .filter(|s| !text(&s["Sid"]).ends_with("Transport"))
            .cloned()
            .collect::<Vec<_>>()
    );

    for list in ["*", ARN] {
        let deployment = deploy(&[
            ("CertificateAuthorities", list),
            ("ExistingReportBucket", "amzn-s3-demo-bucket"),
            (
                "ExistingTopicArn",
                "arn:aws:sns:eu-west-1:111122223333:central",
            ),
        ]);
        assert!(!deployment.resources.contains_key("TopicPolicy"));
        for output in ["BucketPolicyStatements", "TopicPolicyStatement"] {
            let statements: Value =
                serde_json::from_str(&text(&deployment.outputs[output]["Value"])).unwrap();
            assert!(statements[0]["Sid"].is_string(), "{output}");
        }
    }
}
