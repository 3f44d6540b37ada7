//! What can go wrong with one certificate authority, and who can cure it.

use std::fmt;

use serde::Serialize;

/// Why a certificate authority could not be audited: what the answer, the log and the
/// `watch-failed` message say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditError {
    /// The stable name of what happened.
    #[serde(rename = "type")]
    pub kind: ErrorKind,
    /// What happened, to what.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl AuditError {
    /// A fault with the advice that goes with its kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: kind.hint().to_owned(),
        }
    }

    /// The same fault with advice of its own.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

impl std::error::Error for AuditError {}

macro_rules! error_kinds {
    ($($kind:ident, $remedy:ident, $meaning:literal, $hint:literal;)*) => {
        /// The kinds of faults. Their names are stable: alarms and runbooks may rely on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind {
            $(#[doc = $meaning] $kind,)*
        }

        impl ErrorKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// The stable name, as the answer and the messages carry it.
            pub fn name(self) -> &'static str {
                match self { $(ErrorKind::$kind => stringify!($kind),)* }
            }

            /// Who can cure it.
            pub fn remedy(self) -> Remedy {
                match self { $(ErrorKind::$kind => Remedy::$remedy,)* }
            }

            /// What to do where nothing more particular is known.
            fn hint(self) -> &'static str {
                match self { $(ErrorKind::$kind => $hint,)* }
            }
        }
    };
}

/// Who can cure a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A retry may: a scheduled run with such a fault fails as an invocation.
    Retry,
    /// Only a person can: told once as `watch-failed`, later as `watch-recovered`.
    Operator,
}

error_kinds! {
    Throttled, Retry,
        "AWS refused too many requests in too short a time.",
        "Nothing to do unless it lasts: the next run tries again. If it lasts, something else in the account uses up the request quota of AWS Private CA, S3 or SNS.";
    Unavailable, Retry,
        "AWS did not answer, or answered with a fault of its own.",
        "Nothing to do unless it lasts: the next run tries again. If it lasts, look at the AWS Health Dashboard and at the function's network access.";
    OutOfTime, Retry,
        "The invocation's time was over before the work was done.",
        "The next run goes on where this one stopped. If it lasts, raise the function's timeout (up to 15 minutes) or its memory, which brings CPU along.";
    StateConflict, Retry,
        "Another run changed the state at the same time.",
        "Nothing to do: the next run starts from the newer state. If it lasts, something other than this function writes to the state.";
    ReportCorrupted, Retry,
        "The bytes that arrived are not the ones that S3 holds.",
        "Nothing was told from these bytes. The next run reads the report again.";
    AccessDenied, Operator,
        "AWS denied the function a permission.",
        "Compare the function's role with the policies in template.yaml; look for a service control policy, a bucket, topic or key policy that denies it.";
    CertificateAuthorityState, Operator,
        "The certificate authority is in a state in which no audit report can be requested.",
        "AWS Private CA writes reports for certificate authorities that are ACTIVE or DISABLED. Finish, renew or restore this one, or take it off CERTIFICATE_AUTHORITY_ARNS.";
    CertificateAuthorityNotFound, Operator,
        "There is no such certificate authority in this account and region.",
        "Correct CERTIFICATE_AUTHORITY_ARNS (parameter CertificateAuthorities of the template), or take the certificate authority off it.";
    ReportBucketNotFound, Operator,
        "The bucket for reports and state does not exist, or is in another region than the function.",
        "Create the bucket again and restore the state in it (without it, every certificate authority starts anew), or correct REPORT_BUCKET: it names a bucket of the function's region.";
    ReportBucketRefused, Operator,
        "AWS Private CA refused to write the audit report to the bucket.",
        "The bucket needs the policy that lets acm-pca.amazonaws.com write and read its ACL and location, no Object Lock as default, and SSE-S3 or a customer-managed KMS key (aws/s3 does not work) whose policy lets acm-pca.amazonaws.com use it.";
    ReportFailed, Operator,
        "AWS Private CA failed to generate the audit report.",
        "A later run requests a new report. If it fails again, check the bucket's policy, encryption and Object Lock, then ask AWS Support with the report's id.";
    ReportVanished, Operator,
        "An audit report that was there, or should be, is gone.",
        "A later run requests a new report. If it happens again, see who deletes objects under audit-report/ (lifecycle rules shorter than a day, other tools).";
    ReportInvalid, Operator,
        "The audit report is not a whole, valid report.",
        "Every whole revoked record before the fault was told. The next run reads the report once more, the one after that requests a new report. If that is invalid too, open an issue with the byte and the form of the record, its names and serial made up.";
    ReportUnfinished, Operator,
        "The audit report could not be read to its end in two attempts.",
        "Raise the function's memory (which brings CPU and time along) and its timeout up to 15 minutes. A later run requests a new report.";
    ReportOverdue, Operator,
        "More than three scheduled runs and an hour and a half went by without a complete audit.",
        "Look at the earlier answers and log lines of this certificate authority: reports that never become ready, or requests that are always refused because somebody else requests reports of it.";
    StateUnreadable, Operator,
        "The state of this certificate authority cannot be read.",
        "The state is never overwritten. Go back to an earlier version of the object by deleting the newer versions (the bucket is versioned), or, to start anew on purpose, delete every version of the control document and of all objects of this certificate authority: see docs/operations.md, Repairing the state.";
    StateNewer, Operator,
        "The state was written by a newer version of this program.",
        "Deploy that version, or restore an earlier version of the object.";
    TopicNotFound, Operator,
        "The SNS topic does not exist.",
        "Correct TOPIC_ARN, or create the topic and subscribe to it.";
    TopicWithoutSubscription, Operator,
        "Nobody has confirmed a subscription to the SNS topic, so a message would reach nobody.",
        "Confirm the subscription: open the e-mail of AWS Notifications and follow its link, or subscribe something else. Nothing is marked as told until then.";
    MessageRefused, Operator,
        "SNS refused the message, and its reduced form too.",
        "Nothing of it is marked as told. Look at the topic's settings (type, encryption, data protection policy) and at the message of SNS.";
}

impl Serialize for ErrorKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
