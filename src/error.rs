//! Errors of one CA's audit, and how each is resolved.

use std::fmt;

use lambda_runtime::Diagnostic;
use serde::Serialize;

/// Why a CA could not be audited, as shown in the response, the log and `watch-failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditError {
    /// The stable name of the error.
    #[serde(rename = "type")]
    pub kind: ErrorKind,
    /// What failed, on which resource, and why.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// The affected resource, if it is known and not the CA itself: errors of one kind and resource
    /// have one cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whether a retry may resolve it, so that a scheduled run with such an error fails as an
    /// invocation.
    #[serde(skip)]
    pub is_retryable: bool,
    /// Whether it needs an operator only if the next run sees it again.
    #[serde(skip)]
    pub is_unconfirmed: bool,
}

impl AuditError {
    /// Creates an error with the hint of its kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: kind.hint().to_owned(),
            resource: None,
            is_retryable: kind.remedy() == Remedy::Retry,
            is_unconfirmed: false,
        }
    }

    /// Marks an error that may be over by the next run: it is retried before it is announced.
    #[must_use]
    pub fn unconfirmed(self) -> Self {
        Self {
            is_retryable: true,
            is_unconfirmed: true,
            ..self
        }
    }

    /// Marks an error that must be announced: a later run saw it, or none could know of it.
    #[must_use]
    pub fn confirmed(self) -> Self {
        Self {
            is_retryable: false,
            is_unconfirmed: false,
            ..self
        }
    }

    /// Returns how the error is resolved.
    pub fn remedy(&self) -> Remedy {
        if self.is_unconfirmed {
            Remedy::Retry
        } else {
            self.kind.remedy()
        }
    }
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

/// Creates the error that an invocation fails with.
pub(crate) fn invocation_error(error_type: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        error_type: error_type.to_owned(),
        error_message: message.into(),
    }
}

macro_rules! error_kinds {
    ($($(#[$meaning:meta])? $kind:ident, $remedy:ident, $hint:literal;)*) => {
        /// The kinds of errors. Their names are stable: alarms and runbooks may rely on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        pub enum ErrorKind {
            $($(#[$meaning])? #[doc = $hint] $kind,)*
        }

        impl ErrorKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// Returns the stable name, as in responses and messages.
            pub fn name(self) -> &'static str {
                match self { $(ErrorKind::$kind => stringify!($kind),)* }
            }

            /// Returns how an error of this kind is resolved, once it is confirmed.
            pub fn remedy(self) -> Remedy {
                match self { $(ErrorKind::$kind => Remedy::$remedy,)* }
            }

            /// Whether an error of reading the pending report means that it can never be read, so that a
            /// later run requests a new one. (A report with invalid content is read twice before.)
            pub fn ends_report(self) -> bool {
                matches!(self, Self::ReportFailed | Self::ReportVanished | Self::ReportInvalid)
            }

            /// Whether it concerns one CA only: the same error of another CA has another cause.
            pub fn concerns_one_ca(self) -> bool {
                matches!(
                    self,
                    Self::CertificateAuthorityState
                        | Self::CertificateAuthorityNotFound
                        | Self::CertificateAuthorityTooLarge
                )
            }

            /// Whether the topic itself cannot deliver a message about an error of this name.
            pub fn silences_the_topic(name: &str) -> bool {
                let kinds = [Self::TopicNotFound, Self::TopicWithoutSubscription];
                kinds.iter().any(|kind| kind.name() == name)
            }

            /// Returns what to do if the cause is not known in more detail.
            fn hint(self) -> &'static str {
                match self { $(ErrorKind::$kind => $hint,)* }
            }
        }
    };
}

/// How an error is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A retry may resolve it.
    Retry,
    /// Needs operator action: reported once as `watch-failed`, later as `watch-recovered`. `HealthAlarm`
    /// reports an error of the topic itself instead.
    Operator,
}

error_kinds! {
    Throttled, Retry,
        "No action needed unless it persists: the next run tries again. If it persists, find out what else in the account uses the request quota of AWS Private CA, S3 or SNS.";
    Unavailable, Retry,
        "No action needed unless it persists: the next run tries again. If it persists, check the AWS Health Dashboard and the function's network access.";
    OutOfTime, Retry,
        "The next run continues from here. If it persists, raise the function's memory (template parameter MemorySize), which also raises its CPU share, or audit fewer CAs in each stack.";
    /// Another run changed the state at the same time.
    StateConflict, Retry,
        "No action needed: the next run starts from the newer state. If it persists, find out what else writes to the state.";
    /// The bytes received differ from the report in S3.
    ReportCorrupted, Retry,
        "No alert was sent from these bytes. The next run reads the report again.";
    AccessDenied, Operator,
        "Compare the function's role with the policies in template.yaml, and check service control policies and the policies of the bucket, the topic and the KMS key.";
    /// AWS refused a request for a reason other than a missing permission.
    RequestRejected, Operator,
        "Look up the error code in the API reference of the service that the message names. If it is about a token, a signature or a clock, change any setting of the function, so that Lambda starts it again with new credentials; otherwise correct the resource that the message names, or contact AWS Support with the message.";
    /// The CA is in a state in which no audit report can be requested.
    CertificateAuthorityState, Operator,
        "AWS Private CA writes reports only for CAs that are ACTIVE or DISABLED. Activate, renew or restore this CA, or remove it from CERTIFICATE_AUTHORITY_ARNS.";
    CertificateAuthorityNotFound, Operator,
        "Correct CERTIFICATE_AUTHORITY_ARNS (template parameter CertificateAuthorities), or remove the CA from it.";
    /// The CA has issued more certificates than an audit report may list.
    CertificateAuthorityTooLarge, Operator,
        "AWS Private CA writes no audit reports for a CA that has issued more than 100 million certificates; no permission or retry changes that. Issue from a new CA, and remove this one from CERTIFICATE_AUTHORITY_ARNS (instead of *, list the other CAs) once you follow its revocations in another way: its CRL, or an EventBridge rule for the events of AWS Private CA.";
    /// The bucket for reports and state does not exist, or is in another region than the function.
    ReportBucketNotFound, Operator,
        "Create the bucket again and restore the state in it (without the state, every CA starts with a first audit), or set REPORT_BUCKET (template parameter ExistingReportBucket) to a bucket in the function's region.";
    /// AWS Private CA cannot write audit reports to the bucket.
    ReportBucketRefused, Operator,
        "If you use your own bucket, add the statements of the stack output BucketPolicyStatements to its policy; it must have no default Object Lock. If the bucket has a KMS key, add the statement of the output BucketKeyPolicyStatement to the key's policy; the key aws/s3 does not work.";
    ReportFailed, Operator,
        "A later run requests a new report. If it fails again, check the bucket's policy, encryption and Object Lock, then contact AWS Support with the report ID.";
    ReportVanished, Operator,
        "A later run requests a new report. If it happens again, find out what deletes objects under audit-report/ (lifecycle rules shorter than a day, other tools).";
    ReportInvalid, Operator,
        "Alerts were sent for every revoked record before the error. The next run reads the report again, and the one after that requests a new report. If that one is invalid too, open an issue with the byte offset and the structure of the record; replace names and serials with sample values.";
    /// A valid report lists nothing although the last one did, or has records that nothing identifies.
    ReportImplausible, Operator,
        "New revocations that it lists are alerted as usual. If the report is right, accept it once an audit has refused it: see docs/operate.md, Accept an implausible report.";
    /// An operator accepted a report, but none can be accepted.
    ReportNotAccepted, Operator,
        "Nothing was changed. Run an audit with {}: it reads a new report. If that one is implausible as well, accept it.";
    /// The audit report could not be read to its end in two attempts.
    ReportUnfinished, Operator,
        "Raise the function's memory (template parameter MemorySize), which also raises its CPU share. A later run requests a new report.";
    /// The last complete audit is older than three audit intervals, but at least 90 minutes.
    ReportOverdue, Operator,
        "Check the function's log for \"audit failed\", \"report not ready\" and \"too soon to request a report\" on this CA: something else may request its audit reports. Run {\"status\": true} for its current error. With ScaleOut, also check the alarms of the audit queue: see docs/scale.md, Watch it.";
    StateUnreadable, Operator,
        "The function never overwrites unreadable state. If the bucket is versioned, restore an earlier version of the object by deleting the newer versions: see docs/troubleshoot.md, Restore the state. To start over on purpose, see Start a CA from scratch there.";
    /// A newer version of this program wrote the state.
    StateNewer, Operator,
        "Deploy that version, or restore an earlier version of the object.";
    TopicNotFound, Operator,
        "Correct TOPIC_ARN (template parameter ExistingTopicArn), or create the topic and subscribe to it.";
    TopicWithoutSubscription, Operator,
        "Confirm the subscription: open the confirmation email from AWS and follow its link, or add another subscription. Revocations stay pending until then.";
    /// SNS refused the message and its reduced form.
    MessageRefused, Operator,
        "Its revocations stay pending. Check the topic's settings (type, encryption, data protection policy, MaximumMessageSize of at least 4096) and the error message from SNS.";
}
