//! What is wrong or unknown, and what to do: the findings of a status.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::aws::bucket::AWS_MANAGED_KEY;
use crate::error::{AuditError, ErrorKind};
use crate::health::overdue::{is_overdue, max_age};
use crate::health::status_response::{BucketStatus, CaStatus, Known, StackStatus, TopicStatus};

/// Maximum CAs that a finding names.
const MAX_NAMED: usize = 3;

/// How bad a finding about a CA is; worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Error,
    Stopped,
    NeverAudited,
    Overdue,
    Unknown,
}

/// Returns the findings, worst first: nobody gets alerts, CAs without audits, the rest.
pub(super) fn findings(stack: &StackStatus, cas: &[CaStatus]) -> Vec<String> {
    let topic = &stack.topic;
    let mut findings = Vec::new();
    if let Some(message) = unread(topic) {
        let error = AuditError::new(ErrorKind::TopicWithoutSubscription, message);
        findings.push(with_hint(&error));
    }
    findings.extend(ca_findings(cas, stack.audit_interval));
    if stack.is_full && stack.listing.is_ok() && !cas.iter().any(|ca| ca.audited) {
        findings.push(nothing_to_audit(stack));
    }
    findings.extend(subscriptions_unknown(topic));
    findings.extend(why_unknown(
        "The status and revocation checking of CAs are",
        &stack.listing,
    ));
    findings.extend(announced_unknown(stack));
    findings.extend(stack.chat_topic.as_ref().and_then(chat_topic_finding));
    findings.extend(bucket_findings(&stack.bucket));
    findings
}

fn nothing_to_audit(stack: &StackStatus) -> String {
    match &stack.certificate_authority_tag {
        Some(tag) => format!(
            "No CA to audit: the account owns none in this region that is ACTIVE or DISABLED and known to have the tag {tag}. Tag the CAs, or correct CERTIFICATE_AUTHORITY_TAG (template parameter CertificateAuthorityTag)."
        ),
        None => "No CA to audit: the account owns none in this region that is ACTIVE or DISABLED. Create or activate one, or deploy the stack in the account and region of the CAs.".to_owned(),
    }
}

fn announced_unknown(stack: &StackStatus) -> Option<String> {
    let what = "Announced problems are";
    match &stack.announced_problems {
        // Unlike a control document, a damaged health document is overwritten.
        Err(error) if error.kind == ErrorKind::StateUnreadable => {
            let hint = "The next run rebuilds the health document.";
            let message = sentence(&error.message);
            Some(format!("{what} unknown: {message} {hint}"))
        }
        problems => why_unknown(what, problems),
    }
}

fn chat_topic_finding(topic: &TopicStatus) -> Option<String> {
    let unread = unread(topic).map(|unread| {
        format!("{unread}, so chat cards reach nobody. Add the topic to a channel configuration of Amazon Q Developer in chat applications.")
    });
    unread.or_else(|| subscriptions_unknown(topic))
}

fn unread(topic: &TopicStatus) -> Option<String> {
    let count = topic.subscriptions.as_ref().ok()?;
    let (arn, pending) = (&topic.arn, count.pending);
    (count.confirmed == 0)
        .then(|| format!("{arn} has no confirmed subscription ({pending} pending confirmation)"))
}

fn subscriptions_unknown(topic: &TopicStatus) -> Option<String> {
    let what = format!("The number of subscriptions of {} is", topic.arn);
    why_unknown(&what, &topic.subscriptions)
}

fn bucket_findings(bucket: &BucketStatus) -> Vec<String> {
    let name = &bucket.name;
    let versioning = match &bucket.versioning {
        Ok(status) if status != "Enabled" => Some(format!(
            "The bucket {name} is not versioned ({status}), so state that is damaged or deleted cannot be restored. Enable versioning."
        )),
        versioning => why_unknown(&format!("The versioning of {name} is"), versioning),
    };
    let encryption = match &bucket.encryption {
        Ok(encryption) if encryption == AWS_MANAGED_KEY => Some(format!(
            "The default encryption of {name} is {encryption}. Use SSE-S3 or a customer managed key."
        )),
        encryption => why_unknown(&format!("The default encryption of {name} is"), encryption),
    };
    [versioning, encryption].into_iter().flatten().collect()
}

/// Returns one finding for all CAs with the same problem.
fn ca_findings(cas: &[CaStatus], interval: Option<Duration>) -> Vec<String> {
    let mut problems: BTreeMap<Problem, Vec<&CaStatus>> = BTreeMap::new();
    for ca in cas {
        if let Some(problem) = problem(ca, interval) {
            problems.entry(problem).or_default().push(ca);
        }
    }
    let mut findings = Vec::new();
    for (problem, cas) in problems {
        // Messages mostly name their CA, so several CAs have no common one.
        let message = match (cas.as_slice(), problem.rank) {
            ([ca], Rank::Error) => ca.error.as_ref().and_then(|error| error.message.as_deref()),
            _ => None,
        };
        let message = message.map_or(String::new(), |message| format!(": {message}"));
        let Problem { what, hint, .. } = problem;
        let what = sentence(&format!("{}: {what}{message}", named(&cas)));
        findings.push(format!("{what} {hint}"));
    }
    findings
}

/// What is wrong with a CA; CAs with equal problems share a finding.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    rank: Rank,
    what: String,
    hint: String,
}

/// Returns the worst problem of a CA.
fn problem(ca: &CaStatus, interval: Option<Duration>) -> Option<Problem> {
    let of = |rank, what: &str, hint: &str| {
        let (what, hint) = (what.to_owned(), hint.to_owned());
        Some(Problem { rank, what, hint })
    };
    if !ca.audited && !ca.is_unfinished() {
        return tag_unknown(ca);
    }
    if let Some(error) = &ca.error {
        let resource = error.resource.iter();
        let resource: String = resource.map(|resource| format!(" ({resource})")).collect();
        let what = format!("{}{resource}", error.kind);
        return of(Rank::Error, &what, &error.hint);
    }
    let age = ca.audits.as_ref().map(|audits| audits.age);
    match (&ca.status, ca.audit_age_minutes()) {
        (Ok(status), _) if !matches!(status.as_str(), "ACTIVE" | "DISABLED") => {
            let error = AuditError::new(ErrorKind::CertificateAuthorityState, status);
            of(Rank::Stopped, status, &error.hint)
        }
        _ if age.is_some_and(|age| is_overdue(age, interval)) => of(
            Rank::Overdue,
            &format!(
                "no complete audit in the last {} minutes",
                max_age(interval).as_secs() / 60
            ),
            "Check that the schedule is enabled, and what the function's log says about this CA.",
        ),
        (_, None) => of(
            Rank::NeverAudited,
            "no complete audit yet",
            "The next run audits it; invoke the function with {} to audit it now.",
        ),
        (Err(error), _) if error.kind == ErrorKind::CertificateAuthorityNotFound => {
            of(Rank::Unknown, "not listed by Private CA", &error.hint)
        }
        _ => tag_unknown(ca),
    }
}

fn tag_unknown(ca: &CaStatus) -> Option<Problem> {
    let Some(Err(error)) = &ca.has_tag else {
        return None;
    };
    let what = match ca.audited {
        true => "unknown whether the tag is still there, audited as before",
        false => "unknown whether the tag is there, not audited",
    };
    Some(Problem {
        rank: Rank::Unknown,
        what: format!("{what} (ListTags: {})", error.kind.name()),
        hint: error.hint.clone(),
    })
}

/// Returns the first few names, and the number of the others.
fn named(cas: &[&CaStatus]) -> String {
    let shown = cas.iter().take(MAX_NAMED).map(|ca| ca.name());
    let shown = shown.collect::<Vec<_>>().join(", ");
    match cas.len().checked_sub(MAX_NAMED) {
        None | Some(0) => shown,
        Some(more) => format!("{} CAs ({shown} and {more} more)", cas.len()),
    }
}

fn why_unknown<T>(what: &str, known: &Known<T>) -> Option<String> {
    let error = known.as_ref().err()?;
    Some(format!("{what} unknown: {}", with_hint(error)))
}

fn with_hint(error: &AuditError) -> String {
    format!("{} {}", sentence(&error.message), error.hint)
}

/// Ends a text with one period; some messages of AWS have their own.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::topic::SubscriptionCount;
    use crate::arn::CertificateAuthorityArn;
    use crate::config::Tag;
    use crate::health::status_response::{AuditsStatus, ErrorStatus, StatusResponse};
    use crate::revocation::checking::RevocationChecking;
    use crate::state::control::{CompleteAudit, Control, SeenError};
    use crate::timestamp::Timestamp;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-24T20:00:00Z").unwrap()
    }

    fn healthy() -> StackStatus {
        StackStatus {
            topic: TopicStatus {
                arn: "the topic".to_owned(),
                subscriptions: Ok(SubscriptionCount {
                    confirmed: 1,
                    pending: 0,
                }),
            },
            chat_topic: None,
            bucket: BucketStatus {
                name: "the bucket".to_owned(),
                versioning: Ok("Enabled".to_owned()),
                encryption: Ok("SSE-S3".to_owned()),
            },
            state: "s3://the bucket/state/".to_owned(),
            announced_problems: Ok(Vec::new()),
            listing: Ok(()),
            certificate_authority_tag: None,
            is_full: true,
            audit_interval: None,
        }
    }

    fn control(number: usize, requested_at: &str) -> Control {
        let arn = format!(
            "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/{number:08}-1234-1122-2233-112233445566"
        );
        let arn = CertificateAuthorityArn::parse(&arn).unwrap();
        let requested_at = Timestamp::parse(requested_at).unwrap();
        let mut control = Control::new(arn, requested_at);
        control.last_complete_audit = Some(CompleteAudit {
            report_id: "1".to_owned(),
            key: "1.json".to_owned(),
            e_tag: "1".to_owned(),
            requested_at,
            last_modified: requested_at,
            certificates: 3,
            revoked: 2,
            unidentified: 0,
        });
        control
    }

    /// A CA whose last complete audit's report was requested then.
    fn audited(number: usize, requested_at: &str) -> CaStatus {
        let control = control(number, requested_at);
        CaStatus {
            name: Some(format!("CA {number}")),
            status: Ok("ACTIVE".to_owned()),
            audited: true,
            has_tag: None,
            audits: Some(AuditsStatus::new(&control, now(), None)),
            error: ErrorStatus::of(&control),
            revocation_checking: Ok(RevocationChecking::default().into()),
            certificate_authority_arn: control.certificate_authority_arn,
        }
    }

    fn recent(number: usize) -> CaStatus {
        audited(number, "2026-11-24T19:48:00Z")
    }

    fn failed(number: usize, kind: ErrorKind, resource: Option<&str>) -> CaStatus {
        let mut error = ErrorStatus::from(AuditError::new(kind, format!("message {number}")));
        error.resource = resource.map(str::to_owned);
        CaStatus {
            error: Some(error),
            ..recent(number)
        }
    }

    fn denied<T>(operation: &str) -> Known<T> {
        let message = format!("{operation} failed");
        Err(AuditError::new(ErrorKind::AccessDenied, message))
    }

    fn respond(stack: StackStatus, cas: Vec<CaStatus>) -> StatusResponse {
        StatusResponse::new(findings(&stack, &cas), stack, cas)
    }

    /// Returns how each finding begins, up to its first period.
    fn found(stack: &StackStatus, cas: &[CaStatus]) -> Vec<String> {
        let findings = findings(stack, cas).into_iter();
        let first = |finding: String| finding.split(". ").next().unwrap().to_owned();
        findings.map(first).collect()
    }

    #[test]
    fn healthy_stack_has_no_findings() {
        let cas = vec![recent(1), audited(2, "2026-11-24T18:30:00Z")];
        let response = respond(healthy(), cas);
        assert_eq!((response.status, response.findings), ("ok", vec![]));
        assert_eq!(response.oldest_audit_age_minutes, Some(90));
    }

    #[test]
    fn cas_with_one_cause_share_a_finding() {
        let bucket = Some("the bucket");
        let mut cas: Vec<_> = (1..=5)
            .map(|number| failed(number, ErrorKind::ReportBucketRefused, bucket))
            .collect();
        cas.push(failed(6, ErrorKind::ReportBucketRefused, Some("another")));
        cas.push(failed(7, ErrorKind::ReportFailed, None));
        cas.push(recent(8));
        assert_eq!(
            found(&healthy(), &cas),
            [
                "CA 6: ReportBucketRefused (another): message 6",
                "5 CAs (CA 1, CA 2, CA 3 and 2 more): ReportBucketRefused (the bucket)",
                "CA 7: ReportFailed: message 7",
            ]
        );
    }

    #[test]
    fn findings_are_listed_worst_first() {
        let mut stack = healthy();
        stack.topic.subscriptions = Ok(SubscriptionCount {
            confirmed: 0,
            pending: 1,
        });
        stack.chat_topic = Some(TopicStatus {
            arn: "the chat topic".to_owned(),
            subscriptions: Ok(SubscriptionCount::default()),
        });
        stack.bucket.versioning = Ok("Never enabled".to_owned());
        stack.bucket.encryption = Ok(AWS_MANAGED_KEY.to_owned());
        let mut never = recent(2);
        never.audits = Some(AuditsStatus::new(
            &Control::new(never.certificate_authority_arn.clone(), now()),
            now(),
            None,
        ));
        let mut expired = recent(4);
        expired.status = Ok("EXPIRED".to_owned());
        let mut unlisted = recent(5);
        unlisted.status = Err(AuditError::new(ErrorKind::CertificateAuthorityNotFound, ""));
        let old = audited(1, "2026-11-21T19:59:00Z");
        let cas = [
            old,
            never,
            failed(3, ErrorKind::AccessDenied, None),
            expired,
            unlisted,
        ];
        assert_eq!(
            found(&stack, &cas),
            [
                "the topic has no confirmed subscription (1 pending confirmation)",
                "CA 3: AccessDenied: message 3",
                "CA 4: EXPIRED",
                "CA 2: no complete audit yet",
                "CA 1: no complete audit in the last 90 minutes",
                "CA 5: not listed by Private CA",
                "the chat topic has no confirmed subscription (0 pending confirmation), so chat cards reach nobody",
                "The bucket the bucket is not versioned (Never enabled), so state that is damaged or deleted cannot be restored",
                "The default encryption of the bucket is SSE-KMS with aws/s3, which Private CA cannot use",
            ]
        );
        assert_eq!(respond(stack, cas.into()).oldest_audit_age_minutes, None);
    }

    #[test]
    fn whatever_is_unknown_is_a_finding() {
        let mut stack = healthy();
        stack.topic.subscriptions = denied("GetTopicAttributes");
        stack.listing = denied("ListCertificateAuthorities");
        stack.announced_problems = denied("GetObject");
        stack.bucket.versioning = denied("GetBucketVersioning");
        stack.bucket.encryption = denied("GetBucketEncryption");
        let mut ca = recent(1);
        ca.status = denied("ListCertificateAuthorities");
        assert_eq!(
            found(&stack, &[ca]),
            [
                "The number of subscriptions of the topic is unknown: GetTopicAttributes failed",
                "The status and revocation checking of CAs are unknown: ListCertificateAuthorities failed",
                "Announced problems are unknown: GetObject failed",
                "The versioning of the bucket is unknown: GetBucketVersioning failed",
                "The default encryption of the bucket is unknown: GetBucketEncryption failed",
            ]
        );
        let unreadable = CaStatus {
            audits: None,
            ..failed(2, ErrorKind::StateUnreadable, None)
        };
        assert_eq!(
            found(&healthy(), &[unreadable]),
            ["CA 2: StateUnreadable: message 2"]
        );
    }

    #[test]
    fn damaged_health_document_is_rebuilt_and_a_newer_one_kept() {
        let unknown = |kind| {
            let mut stack = healthy();
            stack.announced_problems = Err(AuditError::new(kind, "health.json: no JSON."));
            findings(&stack, &[recent(1)])
        };
        assert_eq!(
            unknown(ErrorKind::StateUnreadable),
            [
                "Announced problems are unknown: health.json: no JSON. The next run rebuilds the health document."
            ]
        );
        let newer = unknown(ErrorKind::StateNewer);
        assert!(newer[0].contains("no JSON. Deploy that version"));
    }

    #[test]
    fn unconfirmed_error_says_when_it_is_announced() {
        let mut control = control(1, "2026-11-24T19:48:00Z");
        control.unconfirmed_error = Some(SeenError::new("RequestRejected", now(), "1"));
        let ca = CaStatus {
            error: ErrorStatus::of(&control),
            ..recent(1)
        };
        assert_eq!(
            findings(&healthy(), &[ca]),
            [
                "CA 1: RequestRejected. The next run tries again. If a run at least 15 minutes later sees the error, too, it is announced."
            ]
        );
    }

    #[test]
    fn audit_is_overdue_after_three_intervals_and_ninety_minutes() {
        let mut stack = healthy();
        let mut never = audited(3, "2026-11-24T18:29:00Z");
        let mut seen = control(3, "2026-11-24T18:29:00Z");
        seen.last_complete_audit = None;
        never.audits = Some(AuditsStatus::new(&seen, now(), None));
        let cas = [
            audited(1, "2026-11-24T18:30:00Z"),
            audited(2, "2026-11-24T18:29:00Z"),
            never,
        ];
        for interval in [None, Some(600), Some(1800)] {
            stack.audit_interval = interval.map(Duration::from_secs);
            assert_eq!(
                found(&stack, &cas),
                ["CA 2, CA 3: no complete audit in the last 90 minutes"]
            );
        }
        stack.audit_interval = Some(Duration::from_secs(3600));
        assert_eq!(found(&stack, &cas), ["CA 3: no complete audit yet"]);
    }

    #[test]
    fn tag_that_cannot_be_read_needs_attention_and_a_missing_one_does_not() {
        let tagged = |has_tag, audited| CaStatus {
            has_tag: Some(has_tag),
            audited,
            ..recent(1)
        };
        let denied = || Err(AuditError::new(ErrorKind::AccessDenied, "ListTags failed"));
        let cas = [tagged(Ok(false), false), tagged(Ok(true), true)];
        assert_eq!(found(&healthy(), &cas), [""; 0]);
        for (audited, what) in [
            (
                true,
                "CA 1: unknown whether the tag is still there, audited as before (ListTags: AccessDenied)",
            ),
            (
                false,
                "CA 1: unknown whether the tag is there, not audited (ListTags: AccessDenied)",
            ),
        ] {
            let cas = [tagged(denied(), audited), recent(2)];
            let found = findings(&healthy(), &cas);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(what), "{found:?}");
        }
    }

    #[test]
    fn stack_without_a_ca_that_can_be_audited_needs_attention() {
        let expired = || CaStatus {
            status: Ok("EXPIRED".to_owned()),
            audited: false,
            ..recent(1)
        };
        let mut stack = healthy();
        for cas in [vec![], vec![expired()]] {
            let found = found(&stack, &cas);
            assert_eq!(found.len(), 1);
            assert!(found[0].starts_with("No CA to audit: "), "{found:?}");
        }
        let (key, value) = ("Team".to_owned(), "payments".to_owned());
        stack.certificate_authority_tag = Some(Tag { key, value });
        let found_with_tag = findings(&stack, &[expired()]);
        assert!(
            found_with_tag[0].contains("the tag Team=payments."),
            "{found_with_tag:?}"
        );
        stack.certificate_authority_tag = None;
        let cas = [expired(), recent(2)];
        assert_eq!(found(&stack, &cas), [""; 0]);
        stack.is_full = false;
        assert_eq!(found(&stack, &[expired()]), [""; 0]);
    }

    #[test]
    fn ca_that_runs_skip_needs_attention_only_if_unfinished() {
        let stack = StackStatus {
            is_full: false,
            ..healthy()
        };
        let mut ca = failed(1, ErrorKind::ReportFailed, None);
        ca.status = Ok("EXPIRED".to_owned());
        ca.audited = false;
        assert_eq!(found(&stack, &[ca]), [""; 0]);

        let mut ca = failed(1, ErrorKind::ReportFailed, None);
        ca.status = Ok("EXPIRED".to_owned());
        ca.audited = false;
        ca.audits.as_mut().unwrap().pending_report = Some(serde_json::json!({}));
        assert_eq!(found(&stack, &[ca]), ["CA 1: ReportFailed: message 1"]);
    }
}
