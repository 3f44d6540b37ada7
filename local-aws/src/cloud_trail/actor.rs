//! Who makes the emulated revocations.

use serde_json::{Value, json};

const CLI: &str = "aws-cli/2.31.0 md/awscrt#0.28.1 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.13.7 md/command#acm-pca.revoke-certificate";

/// An identity as CloudTrail's events state it, and how it calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// `userIdentity`.
    pub identity: Value,
    /// `sourceIPAddress`.
    pub source_ip: String,
    /// `userAgent`.
    pub user_agent: String,
}

impl Actor {
    /// Creates a session of an IAM role, which uses the AWS CLI from 203.0.113.5.
    pub fn assumed_role(account: &str, role: &str, session: &str) -> Self {
        Self::cli(json!({
            "type": "AssumedRole",
            "principalId": format!("AROAEXAMPLEROLEEXAMPLE:{session}"),
            "arn": format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            "accountId": account,
            "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": "AROAEXAMPLEROLEEXAMPLE",
                    "arn": format!("arn:aws:iam::{account}:role/{role}"),
                    "accountId": account,
                    "userName": role,
                },
                "attributes": { "mfaAuthenticated": "true" },
            },
        }))
    }

    /// Creates an IAM user, who uses the AWS CLI from 203.0.113.5.
    pub fn iam_user(account: &str, name: &str) -> Self {
        Self::cli(json!({
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLEUSEREXAMPLE",
            "arn": format!("arn:aws:iam::{account}:user/{name}"),
            "accountId": account,
            "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
            "userName": name,
        }))
    }

    /// Creates the root user of an account, who uses the AWS CLI from 203.0.113.5.
    pub fn root(account: &str) -> Self {
        Self::cli(json!({
            "type": "Root",
            "principalId": account,
            "arn": format!("arn:aws:iam::{account}:root"),
            "accountId": account,
            "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
        }))
    }

    /// Creates an AWS service, such as `acm.amazonaws.com`.
    pub fn aws_service(name: &str) -> Self {
        Self {
            identity: json!({ "type": "AWSService", "invokedBy": name }),
            source_ip: name.to_owned(),
            user_agent: name.to_owned(),
        }
    }

    fn cli(identity: Value) -> Self {
        Self {
            identity,
            source_ip: "203.0.113.5".to_owned(),
            user_agent: CLI.to_owned(),
        }
    }
}
