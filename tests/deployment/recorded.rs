//! Records every kind of AWS call that the function makes.

use std::collections::BTreeSet;
use std::time::Duration;

use local_aws::{
    AcmCertificate, Call, Fault, LocalAws, On, Protocol, QueueSettings, Service, Subscription,
};
use pca_revocation_watch::config::Config;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::account::InProcess;

/// Every SDK call in the source: file name, operation, and what the call is about.
///
/// A new call in the source must be added here, and [`record`] needs a scenario that makes it.
pub const CALLS: &[(&str, &str, What)] = &[
    ("bucket.rs", "GetBucketEncryption", What::Bucket),
    ("bucket.rs", "GetBucketVersioning", What::Bucket),
    (
        "certificate_authorities.rs",
        "DescribeCertificateAuthority",
        What::CertificateAuthority,
    ),
    (
        "certificate_authorities.rs",
        "ListCertificateAuthorities",
        What::Account,
    ),
    (
        "certificate_authorities.rs",
        "ListTags",
        What::CertificateAuthority,
    ),
    (
        "certificates.rs",
        "GetCertificate",
        What::CertificateAuthority,
    ),
    ("fetch.rs", "GetObject", What::PartOfReport),
    ("fetch.rs", "GetObject", What::Report),
    ("full_list.rs", "AbortMultipartUpload", What::FullList),
    ("full_list.rs", "CompleteMultipartUpload", What::FullList),
    ("full_list.rs", "CreateMultipartUpload", What::FullList),
    ("full_list.rs", "PutObject", What::FullList),
    ("full_list.rs", "UploadPart", What::FullList),
    ("publish.rs", "Publish", What::ChatTopic),
    ("publish.rs", "Publish", What::Topic),
    (
        "request.rs",
        "CreateCertificateAuthorityAuditReport",
        What::CertificateAuthority,
    ),
    ("queue.rs", "SendMessage", What::AuditQueue),
    ("queue.rs", "SendMessage", What::DeadLetterQueue),
    ("queue.rs", "SendMessageBatch", What::AuditQueue),
    ("request.rs", "ListObjectsV2", What::Reports),
    ("revoker.rs", "LookupEvents", What::Events),
    ("store.rs", "DeleteObject", What::NotifiedSet),
    ("store.rs", "GetObject", What::Control),
    ("store.rs", "GetObject", What::HealthDocument),
    ("store.rs", "GetObject", What::NotifiedSet),
    ("store.rs", "ListObjectsV2", What::NotifiedSets),
    ("store.rs", "PutObject", What::Control),
    ("store.rs", "PutObject", What::HealthDocument),
    ("store.rs", "PutObject", What::NotifiedSet),
    ("topic.rs", "GetTopicAttributes", What::ChatTopic),
    ("topic.rs", "GetTopicAttributes", What::Topic),
    ("topic.rs", "ListSubscriptionsByTopic", What::ChatTopic),
    ("topic.rs", "ListSubscriptionsByTopic", What::Topic),
    ("usage.rs", "DescribeCertificate", What::AcmCertificate),
    ("usage.rs", "SearchCertificates", What::AcmCertificates),
    (
        "wait.rs",
        "DescribeCertificateAuthorityAuditReport",
        What::CertificateAuthority,
    ),
    ("wait.rs", "HeadObject", What::Report),
];

/// The kind of object or resource that a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Account,
    CertificateAuthority,
    /// The event history of the account and region.
    Events,
    /// All certificates of ACM.
    AcmCertificates,
    AcmCertificate,
    Bucket,
    Report,
    /// The rest of a report whose response body ended early.
    PartOfReport,
    Reports,
    Control,
    NotifiedSet,
    NotifiedSets,
    /// Records what was announced about the watch itself.
    HealthDocument,
    FullList,
    Topic,
    ChatTopic,
    AuditQueue,
    DeadLetterQueue,
}

impl What {
    fn of(call: &Call, config: &Config) -> Option<Self> {
        let is_report = |key: &str| key.starts_with("audit-report/");
        match call.service {
            Service::CloudTrail => return Some(What::Events),
            Service::Acm if call.parameters.contains_key("CertificateArn") => {
                return Some(What::AcmCertificate);
            }
            Service::Acm => return Some(What::AcmCertificates),
            Service::Sqs => {
                let queue = config.audit_queue.as_ref()?;
                let url = call.queue_url.as_ref()?;
                return if *url == queue.url {
                    Some(What::AuditQueue)
                } else {
                    (call.queue_url == queue.dead_letters_url).then_some(What::DeadLetterQueue)
                };
            }
            Service::PrivateCa | Service::S3 | Service::Sns => {}
        }
        if call.operation == "ListCertificateAuthorities" {
            return Some(What::Account);
        }
        if call.certificate_authority_arn.is_some() {
            return Some(What::CertificateAuthority);
        }
        if let Some(topic_arn) = &call.topic_arn {
            return if *topic_arn == config.topic_arn {
                Some(What::Topic)
            } else {
                (config.chat_topic_arn.as_ref() == Some(topic_arn)).then_some(What::ChatTopic)
            };
        }
        if let Some(prefix) = &call.prefix {
            return if is_report(prefix) {
                Some(What::Reports)
            } else {
                Some(What::NotifiedSets)
            };
        }
        let Some(key) = call.key.as_deref() else {
            return call.bucket.is_some().then_some(What::Bucket);
        };
        if is_report(key) {
            return Some(if call.range.is_some() {
                What::PartOfReport
            } else {
                What::Report
            });
        }
        let name = key.strip_prefix(&config.state_prefix)?;
        if name == "health.json" {
            return Some(What::HealthDocument);
        }
        let (_, name) = name.split_once('/').unwrap_or(("", ""));
        Some(match name {
            "" => What::Control,
            name if name.starts_with("notified-") => What::NotifiedSet,
            name if name.starts_with("full-list/") => What::FullList,
            _ => return None,
        })
    }
}

/// Returns the kinds of these calls.
pub fn kinds(calls: &[Call], config: &Config) -> BTreeSet<(String, What)> {
    calls
        .iter()
        .map(|call| {
            let what = What::of(call, config).unwrap_or_else(|| panic!("cannot classify {call:?}"));
            (call.operation.clone(), what)
        })
        .collect()
}

/// Time between two invocations: long enough for Private CA to allow another report.
const BETWEEN_INVOCATIONS: Duration = Duration::from_secs(1_860);

/// A load balancer.
const LOAD_BALANCER: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/prod-web/50dc6c495c0c9188";

/// Makes the function run through scenarios with every kind of call, and returns the calls.
pub async fn record(config: Config) -> Vec<Call> {
    let account = Account::new(config);
    account.audit_repeatedly().await;
    account.audit_through_the_queue().await;
    account.read_the_status().await;
    account.lose_replies().await;
    account.run_without_saving().await;
    account.damage_the_state().await;
    account.upload_in_parts().await;
    account.aws.calls()
}

/// Makes a CA lose its tag while its report is pending, and returns the calls of the next two
/// runs about it.
pub async fn record_lost_tag(config: Config) -> Vec<Call> {
    let tag = config.certificate_authority_tag.clone().expect("a tag");
    let account = Account::new(config);
    let pca = account.aws.private_ca();
    pca.set_reports(|reports| reports.delay = Duration::from_secs(3_000));
    assert_eq!(account.invoke(json!({})).await, "waiting");
    pca.untag(&account.ca, &tag.key);
    let before = account.aws.calls().len();
    for _ in 0..2 {
        account.invoke(json!({})).await;
    }
    let calls = account.aws.calls().split_off(before);
    let id = account.ca.rsplit('/').next().expect("an id");
    let is_about_it = |call: &Call| {
        call.certificate_authority_arn.as_ref() == Some(&account.ca)
            || call.key.as_ref().is_some_and(|key| key.contains(id))
    };
    calls.into_iter().filter(is_about_it).collect()
}

/// An emulated account with two CAs, and the function under test.
struct Account {
    aws: LocalAws,
    config: Config,
    /// ARN of the CA that most scenarios audit.
    ca: String,
    function: InProcess,
}

impl Account {
    fn new(config: Config) -> Self {
        let aws = LocalAws::new();
        let (s3, pca) = (aws.s3(), aws.private_ca());
        s3.create_bucket(&config.report_bucket);
        s3.set_versioning(&config.report_bucket, true);
        for arn in [Some(&config.topic_arn), config.chat_topic_arn.as_ref()]
            .into_iter()
            .flatten()
        {
            let topic = aws
                .sns()
                .create_topic(arn.rsplit(':').next().expect("a name"));
            assert_eq!(topic, *arn);
            let subscription = Subscription::new(Protocol::Https, "https://example.com");
            aws.sns()
                .subscribe(&topic, subscription)
                .expect("a standard topic");
        }
        let cas: Vec<String> = crate::TWO_ARNS
            .split(',')
            .map(|arn| pca.create_with_id(arn.rsplit('/').next().expect("an id"), "Example Corp"))
            .collect();
        assert_eq!(cas.join(","), crate::TWO_ARNS);
        if let Some(tag) = &config.certificate_authority_tag {
            for arn in &cas {
                pca.tag(arn, &tag.key, &tag.value);
            }
        }
        pca.set_reports(|reports| reports.delay = Duration::from_secs(1));
        for url in config
            .audit_queue
            .iter()
            .flat_map(|queue| [Some(&queue.url), queue.dead_letters_url.as_ref()])
            .flatten()
        {
            let name = url.rsplit('/').next().expect("a name");
            let created = aws.sqs().create_queue(name, QueueSettings::default());
            assert_eq!(created, *url);
        }
        let function = InProcess::new(&aws, config.clone());
        let ca = cas[0].clone();
        Self {
            aws,
            config,
            ca,
            function,
        }
    }

    /// Invokes the function and returns the error type or the outcome of the first CA.
    async fn invoke(&self, payload: Value) -> String {
        self.aws.advance(BETWEEN_INVOCATIONS);
        let response = self
            .function
            .invoke(payload)
            .await
            .unwrap_or_else(|error| panic!("{error:?}"));
        let first = &response["certificateAuthorities"][0];
        let error = first["error"]["type"].as_str();
        error
            .or(first["outcome"].as_str())
            .unwrap_or_default()
            .to_owned()
    }

    /// Audits one CA only: the other has no new revocations after its first audit.
    async fn audit_one(&self) -> String {
        self.invoke(json!({ "certificateAuthorityArns": [self.ca] }))
            .await
    }

    /// Revokes certificates whose entries take about 5 KB each, so that 2,000 exceed an upload part.
    fn revoke_many(&self, count: usize) {
        let pca = self.aws.private_ca();
        for _ in 0..count {
            let mut certificate = pca.certificate(&self.ca, "www.example.com");
            certificate.subject = format!("CN=www.example.com,OU={}", "x".repeat(2_000));
            let serial = certificate.serial.clone();
            pca.add(&self.ca, certificate);
            assert!(pca.revoke(&self.ca, &serial, "SUPERSEDED"));
        }
    }

    /// A first audit of both CAs, and one that adds to the notified set. A load balancer uses the revoked
    /// certificates.
    async fn audit_repeatedly(&self) {
        let pca = self.aws.private_ca();
        for other in crate::TWO_ARNS.split(',').filter(|arn| *arn != self.ca) {
            let serial = pca.issue(other, "www.example.net");
            pca.revoke(other, &serial, "KEY_COMPROMISE");
        }
        for _ in 0..2 {
            let serial = pca.issue(&self.ca, "www.example.com");
            pca.revoke(&self.ca, &serial, "KEY_COMPROMISE");
            let arn = "arn:aws:acm:us-east-1:123456789012:certificate/1234abcd-12ab-34cd-56ef-1234567890ab";
            let in_acm = AcmCertificate::new(arn, "www.example.com", &serial, &self.ca);
            self.aws.acm().add(in_acm.used_by(LOAD_BALANCER));
            assert_eq!(self.invoke(json!({})).await, "audited");
        }
    }

    /// A report body that ends early, of more revocations than a message holds, and a report request
    /// whose reply is lost.
    async fn lose_replies(&self) {
        self.revoke_many(200);
        self.aws.inject(
            On::operation("GetObject").key_contains("audit-report/"),
            Fault::CutBody { after: 10_000 },
        );
        assert_eq!(self.audit_one().await, "audited");
        self.aws
            .inject("CreateCertificateAuthorityAuditReport", Fault::LostReply);
        assert_eq!(self.audit_one().await, "audited");
        assert_eq!(self.aws.private_ca().reports(&self.ca).len(), 4);
    }

    /// A dry run, a replay and a test message on a topic whose subscriptions SNS does not count.
    async fn run_without_saving(&self) {
        assert_eq!(self.invoke(json!({ "dryRun": true })).await, "audited");
        let replay =
            json!({ "since": "2020-01-01T00:00:00Z", "certificateAuthorityArns": [self.ca] });
        assert_eq!(self.invoke(replay).await, "audited");
        let (sns, topic) = (self.aws.sns(), &self.config.topic_arn);
        sns.count_confirmed_as(topic, Some(0));
        assert_eq!(self.invoke(json!({ "testMessage": true })).await, "");
        sns.count_confirmed_as(topic, None);
    }

    /// The status of topics whose subscriptions SNS does not count.
    async fn read_the_status(&self) {
        let chat = self.config.chat_topic_arn.as_ref();
        let topics = || [&self.config.topic_arn].into_iter().chain(chat);
        for topic in topics() {
            self.aws.sns().count_confirmed_as(topic, Some(0));
        }
        let response = self.function.invoke(json!({ "status": true })).await;
        assert_eq!(response.expect("a response")["status"], "ok");
        for topic in topics() {
            self.aws.sns().count_confirmed_as(topic, None);
        }
    }

    /// A control document that is damaged, then restored.
    async fn damage_the_state(&self) {
        let s3 = self.aws.s3();
        let bucket = &self.config.report_bucket;
        let id = self.ca.rsplit('/').next().expect("an id");
        let control = format!("{}{id}.json", self.config.state_prefix);
        let whole = s3.get(bucket, &control).expect("a control document");
        s3.put(bucket, &control, "damaged");
        assert_eq!(self.audit_one().await, "StateUnreadable");
        s3.put(bucket, &control, whole);
        assert_eq!(self.audit_one().await, "audited");
    }

    /// A dispatch of both CAs, a message whose audit is too soon, and one whose audit fails too often.
    async fn audit_through_the_queue(&self) {
        let Some(queue) = &self.config.audit_queue else {
            return;
        };
        let sqs = self.aws.sqs();
        let schedule = include_str!("../../events/scheduled.json");
        let mut schedule: Value = serde_json::from_str(schedule).expect("valid JSON");
        self.aws.advance(BETWEEN_INVOCATIONS);
        let now = self.now();
        schedule["time"] = json!(now);
        self.function.invoke(schedule).await.expect("a dispatch");
        let sent = sqs.sent(&queue.url);
        assert_eq!(sent.len(), 3, "two audits and the comparison");

        // Its reports stay small.
        let other = crate::TWO_ARNS.split(',').find(|arn| *arn != self.ca);
        let audit = |scheduled_at: &str, failures: u32| {
            json!({ "type": "audit", "scheduledAt": scheduled_at, "certificateAuthorityArn": other,
                "waits": 0, "failures": failures })
        };
        assert_eq!(self.work_on(audit(&now, 0)).await, 3, "audited");
        self.aws.advance(Duration::from_secs(60));
        assert_eq!(self.work_on(audit(&self.now(), 0)).await, 4, "too soon");
        self.aws.inject(
            On::operation("CreateCertificateAuthorityAuditReport").always(),
            Fault::error(500, "InternalFailure", "internal failure"),
        );
        self.aws.advance(BETWEEN_INVOCATIONS);
        assert_eq!(self.work_on(audit(&self.now(), 4)).await, 4, "failed");
        self.aws.clear_faults();
        let dead_letters = queue.dead_letters_url.as_ref().expect("a queue");
        assert_eq!(sqs.sent(dead_letters).len(), 1);
    }

    /// Delivers a message of the audit queue, and returns how many were sent to it so far.
    async fn work_on(&self, message: Value) -> usize {
        let event = json!({ "Records": [{
            "messageId": "7d7b1f0e-5b0a-4c0e-9a59-0a9f7a1c3f11",
            "body": message.to_string(),
            "attributes": { "ApproximateReceiveCount": "1" },
            "eventSource": "aws:sqs",
        }] });
        let response = self.function.invoke(event).await.expect("a response");
        assert_eq!(response, json!({ "batchItemFailures": [] }));
        let queue = self.config.audit_queue.as_ref().expect("a queue");
        self.aws.sqs().sent(&queue.url).len()
    }

    /// Returns the time by the emulators' clock, in the form of EventBridge.
    fn now(&self) -> String {
        Timestamp::from(self.aws.clock().now()).to_string()
    }

    /// Full lists larger than one upload part. The first report has a wrong byte near its end, so its
    /// upload is aborted.
    async fn upload_in_parts(&self) {
        self.revoke_many(2_000);
        self.aws.inject(
            On::operation("GetObject").key_contains("audit-report/"),
            Fault::FlipByte { at: 4_000_000 },
        );
        assert_eq!(self.audit_one().await, "ReportCorrupted");
        assert_eq!(self.audit_one().await, "audited");
    }
}
