//! `CERTIFICATE_AUTHORITY_TAG`: which CAs of the account a run covers.

use std::time::Duration;

use crate::account::InProcess;
use crate::account::many::BUCKET;
use local_aws::{
    Action, Fault, LocalAws, NextReport, On, Outcome, Protocol, Service, Status, Subscription,
};
use pca_revocation_watch::arn::CertificateAuthorityArn;
use pca_revocation_watch::audit_message::AuditMessage;
use pca_revocation_watch::config::Config;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

/// A little more than Private CA's interval between two reports.
const PERIOD: Duration = Duration::from_secs(31 * 60);

/// A stack for the tag `Team=payments`.
struct Stack {
    aws: LocalAws,
    function: InProcess,
    cas: Vec<String>,
}

impl Stack {
    /// Creates an account in which the first few CAs have the tag.
    fn new(tagged: usize, others: usize) -> Self {
        let aws = LocalAws::new();
        aws.s3().create_bucket(BUCKET);
        let topic = aws.sns().create_topic("revocations");
        let subscription = Subscription::new(Protocol::Sqs, "somebody");
        aws.sns()
            .subscribe(&topic, subscription)
            .expect("a standard topic");
        let pca = aws.private_ca();
        let create = |number| {
            let id = format!("{number:08}-1234-1122-2233-112233445566");
            pca.create_with_id(&id, &format!("Example Corp CA {number}"))
        };
        let cas: Vec<_> = (0..tagged + others).map(create).collect();
        for ca in &cas[..tagged] {
            pca.tag(ca, "Team", "payments");
        }
        let config = Config::from_lookup(|name| {
            let value = match name {
                "AWS_REGION" => "us-east-1",
                "AWS_ENDPOINT_URL" => "http://localhost",
                "CERTIFICATE_AUTHORITY_ARNS" => "*",
                "CERTIFICATE_AUTHORITY_TAG" => "Team=payments",
                "INVESTIGATE" => "no",
                "REPORT_BUCKET" => BUCKET,
                "TOPIC_ARN" => &topic,
                _ => return None,
            };
            Some(value.to_owned())
        });
        let function = InProcess::new(&aws, config.expect("a configuration"));
        Self { aws, function, cas }
    }

    /// Returns a stack whose first run is over.
    async fn audited(tagged: usize, others: usize) -> Self {
        let stack = Self::new(tagged, others);
        stack.schedule().await;
        assert_eq!(stack.requested().len(), tagged);
        stack.forget();
        stack
    }

    async fn schedule(&self) -> Value {
        let event =
            json!({ "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": "{}" });
        self.function.invoke(event).await.expect("a response")
    }

    /// Delivers a message of the audit queue for the audit of a CA; returns whether it is over.
    async fn work(&self, ca: &str) -> bool {
        let now = Timestamp::from(self.aws.clock().now());
        let arn = CertificateAuthorityArn::parse(ca).expect("an ARN");
        let record = json!({
            "messageId": "1",
            "body": AuditMessage::audit(now, arn, None).to_json(),
            "attributes": { "ApproximateReceiveCount": "1" },
        });
        let response = self.function.invoke(json!({ "Records": [record] })).await;
        response.is_ok()
    }

    /// Denies `ListTags` for a CA.
    fn deny_tags_of(&self, ca: &str) {
        let ca = ca.to_owned();
        let of_ca = On::operation("ListTags")
            .when(move |call| call.certificate_authority_arn.as_deref() == Some(&*ca));
        self.aws
            .inject(of_ca.always(), Fault::access_denied(Service::PrivateCa));
    }

    /// Returns the CAs of successful calls, sorted.
    fn cas_of(&self, operation: &str) -> Vec<String> {
        let calls = self.aws.calls_of(operation).into_iter();
        let calls = calls.filter(|call| call.status == Some(200));
        let mut cas: Vec<_> = calls
            .filter_map(|call| call.certificate_authority_arn)
            .collect();
        cas.sort();
        cas
    }

    /// Returns the CAs of whose reports were requested.
    fn requested(&self) -> Vec<String> {
        self.cas_of("CreateCertificateAuthorityAuditReport")
    }

    fn lists(&self) -> usize {
        self.aws.calls_of("ListCertificateAuthorities").len()
    }

    /// Returns the published messages.
    fn messages(&self) -> Vec<Value> {
        let deliveries = self.aws.sns().deliveries().into_iter();
        deliveries
            .map(|delivery| serde_json::from_str(&delivery.text).expect("JSON"))
            .collect()
    }

    fn types(&self) -> Vec<String> {
        let messages = self.messages().into_iter();
        messages
            .map(|message| message["type"].as_str().expect("a type").to_owned())
            .collect()
    }

    /// Forgets calls and messages.
    fn forget(&self) {
        self.aws.forget_calls();
        self.aws.sns().forget_messages();
    }
}

/// Returns the outcome of each CA of a response.
fn outcomes(response: &Value) -> Vec<(String, String)> {
    let all = response["certificateAuthorities"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.expect("the response lists the CAs")
        .iter()
        .map(|ca| (text(&ca["certificateAuthorityArn"]), text(&ca["outcome"])))
        .collect()
}

fn audited(cas: &[String]) -> Vec<(String, String)> {
    let audited = |ca: &String| (ca.clone(), "audited".to_owned());
    cas.iter().map(audited).collect()
}

fn warnings(response: &Value) -> String {
    response["warnings"].to_string()
}

#[tokio::test(start_paused = true)]
async fn only_tagged_cas_are_audited() {
    let stack = Stack::new(2, 4);
    let pca = stack.aws.private_ca();
    pca.set_page_size(Some(1));
    pca.tag(&stack.cas[1], "Stage", "prod");
    pca.tag(&stack.cas[2], "Team", "Payments");
    pca.tag(&stack.cas[3], "team", "payments");
    pca.tag(&stack.cas[4], "Teams", "payments");
    pca.tag(&stack.cas[5], "Team", "payments");
    pca.set_status(&stack.cas[5], Status::Expired);

    let response = stack.schedule().await;

    assert_eq!(outcomes(&response), audited(&stack.cas[..2]));
    assert_eq!(response["warnings"], Value::Null);
    assert_eq!(stack.requested(), stack.cas[..2]);
    assert!(!stack.cas_of("ListTags").contains(&stack.cas[5]));
    assert_eq!(stack.types(), ["watch-started"]);
    let started = &stack.messages()[0]["certificateAuthorityArns"];
    assert_eq!(*started, json!(stack.cas[..2]));
}

#[tokio::test(start_paused = true)]
async fn tags_are_looked_up_at_half_the_quota() {
    let stack = Stack::new(1, 79);

    stack.schedule().await;

    let calls = stack.aws.calls_of("ListTags");
    assert_eq!(calls.len(), 80);
    assert!(calls.iter().all(|call| call.status == Some(200)));
    for pair in calls.windows(2) {
        let pause = pair[1].at.duration_since(pair[0].at).unwrap();
        assert!(pause >= Duration::from_millis(100), "{pause:?}");
    }
    let all = calls[79].at.duration_since(calls[0].at).unwrap();
    assert!(all < Duration::from_secs(9), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn ca_that_loses_its_tag_stops_and_starts_again_with_it() {
    let stack = Stack::audited(2, 0).await;
    stack.aws.private_ca().untag(&stack.cas[1], "Team");
    stack.aws.advance(PERIOD);

    let response = stack.schedule().await;

    assert_eq!(outcomes(&response), audited(&stack.cas[..1]));
    assert_eq!(stack.types(), ["watch-stopped"]);
    let stopped = &stack.messages()[0];
    assert_eq!(stopped["certificateAuthorityArn"], json!(stack.cas[1]));
    // The run that announces it lists the CAs again, but not the tags.
    assert_eq!(stack.lists(), 2);
    assert_eq!(stack.cas_of("ListTags"), stack.cas);

    stack.forget();
    stack
        .aws
        .private_ca()
        .tag(&stack.cas[1], "Team", "payments");
    stack.aws.advance(PERIOD);
    let response = stack.schedule().await;
    assert_eq!(outcomes(&response), audited(&stack.cas));
    assert_eq!(stack.types(), ["watch-started"]);
}

#[tokio::test(start_paused = true)]
async fn pending_report_of_a_ca_without_its_tag_is_read() {
    let stack = Stack::audited(1, 1).await;
    let (ca, pca) = (&stack.cas[0], stack.aws.private_ca());
    stack.aws.advance(PERIOD);
    let serial = pca.issue(ca, "www.example.com");
    assert!(pca.revoke(ca, &serial, "KEY_COMPROMISE"));
    pca.next_report(ca, NextReport::new().delay(20 * MINUTE));
    let waiting = stack.schedule().await;
    assert_eq!(outcomes(&waiting)[0].1, "waiting");
    pca.untag(ca, "Team");
    stack.forget();
    stack.aws.advance(PERIOD);

    let response = stack.schedule().await;

    assert_eq!(outcomes(&response), audited(&stack.cas[..1]));
    assert_eq!(stack.requested(), [""; 0]);
    assert_eq!(stack.types(), ["revocations"]);
    stack.forget();
    let response = stack.schedule().await;
    assert_eq!(outcomes(&response), []);
    assert_eq!(stack.types(), ["watch-stopped"]);
}

#[tokio::test(start_paused = true)]
async fn unknown_tag_neither_stops_nor_starts_a_watch() {
    let stack = Stack::audited(2, 2).await;
    let pca = stack.aws.private_ca();
    pca.tag(&stack.cas[2], "Team", "payments");
    for ca in &stack.cas[1..] {
        stack.deny_tags_of(ca);
    }
    stack.aws.advance(PERIOD);

    let response = stack.schedule().await;

    let expected = audited(&stack.cas[..2]);
    assert_eq!(outcomes(&response), expected);
    assert_eq!(stack.requested(), stack.cas[..2]);
    assert_eq!(stack.types(), [""; 0]);
    for part in [
        "unknown whether 3 CAs (00000001-",
        "have the tag Team=payments: ListTags failed for arn:",
        "1 audited all the same, as before; 2 not audited, the next run tries again. Compare",
    ] {
        assert!(warnings(&response).contains(part), "{part} in {response:#}");
    }

    // The state says so without a health document.
    stack
        .aws
        .s3()
        .delete(BUCKET, "revocation-watch/health.json");
    stack.aws.advance(PERIOD);
    let response = stack.schedule().await;
    assert_eq!(outcomes(&response), expected);

    stack.aws.clear_faults();
    stack.forget();
    stack.aws.advance(PERIOD);
    let response = stack.schedule().await;
    assert_eq!(outcomes(&response), audited(&stack.cas[..3]));
    assert_eq!(response["warnings"], Value::Null);
    assert_eq!(stack.types(), ["watch-started"]);
    let started = &stack.messages()[0];
    assert_eq!(started["certificateAuthorityArn"], json!(stack.cas[2]));
}

/// It has no complete audit yet, so nothing says that it is to be audited.
#[tokio::test(start_paused = true)]
async fn problem_of_a_ca_with_unknown_tag_is_not_over() {
    let stack = Stack::new(2, 0);
    let failing = &stack.cas[1];
    let failure = NextReport::new().outcome(Outcome::Failed);
    stack.aws.private_ca().next_report(failing, failure);
    stack.schedule().await;
    assert_eq!(stack.types(), ["watch-failed", "watch-started"]);
    stack.forget();
    stack.deny_tags_of(failing);
    stack.aws.advance(PERIOD);

    let response = stack.schedule().await;

    assert_eq!(outcomes(&response), audited(&stack.cas[..1]));
    assert_eq!(stack.types(), [""; 0]);
    let text = warnings(&response);
    assert!(
        text.contains("Not audited; the next run tries again."),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn run_without_any_known_tag_fails_and_says_what_to_do() {
    let stack = Stack::new(2, 0);
    let denied = Fault::access_denied(Service::PrivateCa);
    stack.aws.inject(On::operation("ListTags").always(), denied);

    let failed = stack.function.invoke(json!({})).await.unwrap_err();

    assert_eq!(failed.error_type, "AccessDenied");
    for part in ["ListTags failed for arn:", "nothing was done. Compare"] {
        assert!(failed.error_message.contains(part), "{failed:?}");
    }
    assert_eq!(stack.requested(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn tag_that_is_slow_to_look_up_is_unknown() {
    let stack = Stack::audited(2, 1).await;
    let slow = stack.cas[1].clone();
    let of_slow = On::operation("ListTags")
        .when(move |call| call.certificate_authority_arn.as_ref() == Some(&slow));
    stack.aws.inject(of_slow.always(), Fault::Hang);
    stack.aws.advance(PERIOD);

    let response = stack.schedule().await;

    assert_eq!(outcomes(&response), audited(&stack.cas[..2]));
    let text = warnings(&response);
    assert!(text.contains("unknown whether 00000001-"), "{text}");
    assert!(
        text.contains(" has the tag Team=payments: ListTags failed for arn:"),
        "{text}"
    );
    assert!(text.contains("Audited all the same, as before."), "{text}");
    assert_eq!(stack.types(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn tags_are_looked_up_for_named_cas_only() {
    let stack = Stack::audited(2, 2).await;
    stack.aws.advance(PERIOD);
    let named = |ca: &str| json!({ "certificateAuthorityArns": [ca] });

    let response = stack.function.invoke(named(&stack.cas[1])).await.unwrap();

    assert_eq!(outcomes(&response), audited(&stack.cas[1..2]));
    assert_eq!(stack.cas_of("ListTags"), stack.cas[1..2]);
    let refused = stack.function.invoke(named(&stack.cas[2])).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.error_type, "EventInvalid");
    let why = "which CERTIFICATE_AUTHORITY_ARNS and CERTIFICATE_AUTHORITY_TAG (Team=payments) do not select ({\"status\": true} shows which CAs have the tag); nothing was done";
    assert!(refused.error_message.ends_with(why), "{refused:?}");
    // It may have the tag.
    stack.deny_tags_of(&stack.cas[2]);
    let failed = stack.function.invoke(named(&stack.cas[2])).await;
    assert_eq!(failed.unwrap_err().error_type, "AccessDenied");
}

#[tokio::test(start_paused = true)]
async fn revocation_event_of_a_ca_with_unknown_tag_is_delivered_again() {
    let stack = Stack::audited(1, 1).await;
    let event = |ca: &str| {
        json!({
            "source": "aws.acm-pca", "detail-type": "ACM Private CA Certificate Revocation",
            "resources": [ca], "detail": { "result": "success" },
        })
    };
    let other = event(&stack.cas[1]);
    let ignored = stack.function.invoke(other.clone()).await.unwrap();
    assert_eq!(outcomes(&ignored), []);
    stack.deny_tags_of(&stack.cas[1]);

    let failed = stack.function.invoke(other).await.unwrap_err();

    assert_eq!(failed.error_type, "AccessDenied");
    assert_eq!(stack.requested(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn manual_run_looks_up_every_tag() {
    let stack = Stack::audited(2, 0).await;
    stack.aws.advance(MINUTE);
    stack.aws.private_ca().untag(&stack.cas[1], "Team");

    let response = stack.function.invoke(json!({})).await.unwrap();

    assert_eq!(outcomes(&response).len(), 1, "{response:#}");
    assert_eq!(stack.types(), ["watch-stopped"]);
}

#[tokio::test(start_paused = true)]
async fn messages_of_the_audit_queue_share_a_list() {
    let stack = Stack::audited(2, 1).await;
    for ca in &stack.cas[..2] {
        assert!(stack.work(ca).await);
    }
    assert_eq!((stack.lists(), stack.cas_of("ListTags").len()), (0, 0));

    // The dispatch may have seen a CA that the list lacks, or a newer tag.
    let pca = stack.aws.private_ca();
    pca.tag(&stack.cas[2], "Team", "payments");
    assert!(stack.work(&stack.cas[2]).await);
    assert_eq!((stack.lists(), stack.cas_of("ListTags").len()), (0, 1));
    let new = pca.create("Example Corp New CA");
    stack.deny_tags_of(&new);
    assert!(stack.work(&new).await);
    assert_eq!(stack.lists(), 1);
    assert_eq!(stack.requested(), {
        let mut cas = vec![stack.cas[2].clone(), new];
        cas.sort();
        cas
    });

    stack.forget();
    stack.aws.advance(PERIOD);
    assert!(stack.work(&stack.cas[0]).await);
    assert_eq!((stack.lists(), stack.cas_of("ListTags").len()), (1, 1));
    assert_eq!(stack.requested(), stack.cas[..1]);
}

#[tokio::test(start_paused = true)]
async fn message_for_a_ca_without_the_tag_requests_nothing() {
    let stack = Stack::audited(1, 1).await;
    stack.aws.advance(PERIOD);

    assert!(stack.work(&stack.cas[1]).await);

    assert_eq!(stack.requested(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn ca_that_the_first_list_lacked_does_not_stop() {
    let stack = Stack::audited(2, 0).await;
    stack.aws.advance(PERIOD);
    let pca = stack.aws.private_ca();
    pca.set_status(&stack.cas[1], Status::Expired);
    let (again, ca) = (pca.clone(), stack.cas[1].clone());
    stack.aws.on_call(move |call, _| {
        if call.operation == "CreateCertificateAuthorityAuditReport" {
            again.set_status(&ca, Status::Active);
        }
        Action::Proceed
    });

    let response = stack.schedule().await;

    assert_eq!(outcomes(&response), audited(&stack.cas[..1]));
    assert_eq!((stack.lists(), stack.cas_of("ListTags").len()), (2, 2));
    assert_eq!(stack.types(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn test_message_needs_one_tagged_ca() {
    let stack = Stack::new(1, 50);

    let sent = stack.function.invoke(json!({ "testMessage": true })).await;

    let ca = &sent.unwrap()["testMessage"]["certificateAuthorityArn"];
    assert_eq!(*ca, json!(stack.cas[0]));
    assert!(stack.cas_of("ListTags").len() < 5);
}

#[tokio::test(start_paused = true)]
async fn status_says_which_cas_have_the_tag() {
    let stack = Stack::audited(2, 2).await;
    for ca in [&stack.cas[1], &stack.cas[3]] {
        stack.deny_tags_of(ca);
    }

    let status = stack.function.invoke(json!({ "status": true })).await;

    let status = status.unwrap();
    assert_eq!(status["certificateAuthorityTag"], "Team=payments");
    let of = |number: usize| {
        let all = status["certificateAuthorities"].as_array().unwrap();
        let arn = json!(stack.cas[number]);
        let mut all = all.iter();
        all.find(|ca| ca["certificateAuthorityArn"] == arn).unwrap()
    };
    let tags = [0, 2].map(|number| (&of(number)["audited"], &of(number)["hasTag"]));
    assert_eq!(
        tags,
        [(&json!(true), &json!(true)), (&json!(false), &json!(false))]
    );
    for (number, is_audited) in [(1, true), (3, false)] {
        let (audited, has_tag) = (&of(number)["audited"], &of(number)["hasTag"]);
        assert_eq!(*audited, json!(is_audited));
        let why = has_tag.as_str().unwrap();
        assert!(
            why.starts_with("unknown: ListTags failed for arn:"),
            "{why}"
        );
    }
    let findings = status["findings"].to_string();
    for part in [
        "Example Corp CA 1: unknown whether the tag is still there, audited as before",
        "Example Corp CA 3: unknown whether the tag is there, not audited",
    ] {
        assert!(findings.contains(part), "{part} in {findings}");
    }
    assert!(!findings.contains("Example Corp CA 2"), "{findings}");
    assert_eq!(stack.aws.calls_of("PutObject").len(), 0);
}
