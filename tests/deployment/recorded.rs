//! Every kind of call that the function makes, recorded as it made them.

use std::collections::BTreeSet;
use std::time::Duration;

use local_aws::{Call, Fault, LocalAws, On, Protocol, Subscription};
use pca_revocation_watch::config::Config;
use serde_json::{Value, json};

use crate::account::InProcess;

/// Where the source makes which call, and to what. A call that is new in the source is to be added
/// here, and one that is new here needs a scenario in [`record`].
pub const CALLS: &[(&str, &str, What)] = &[
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
    ("publish.rs", "GetTopicAttributes", What::Topic),
    ("publish.rs", "Publish", What::ChatTopic),
    ("publish.rs", "Publish", What::Topic),
    (
        "publish/full_list.rs",
        "AbortMultipartUpload",
        What::FullList,
    ),
    (
        "publish/full_list.rs",
        "CompleteMultipartUpload",
        What::FullList,
    ),
    (
        "publish/full_list.rs",
        "CreateMultipartUpload",
        What::FullList,
    ),
    ("publish/full_list.rs", "PutObject", What::FullList),
    ("publish/full_list.rs", "UploadPart", What::FullList),
    ("report/fetch.rs", "GetObject", What::PartOfReport),
    ("report/fetch.rs", "GetObject", What::Report),
    (
        "report/request.rs",
        "CreateCertificateAuthorityAuditReport",
        What::CertificateAuthority,
    ),
    ("report/request.rs", "ListObjectsV2", What::Reports),
    (
        "report/wait.rs",
        "DescribeCertificateAuthorityAuditReport",
        What::CertificateAuthority,
    ),
    ("report/wait.rs", "HeadObject", What::Report),
    ("state/store.rs", "DeleteObject", What::Note),
    ("state/store.rs", "DeleteObject", What::NotifiedSet),
    ("state/store.rs", "GetObject", What::Control),
    ("state/store.rs", "GetObject", What::Note),
    ("state/store.rs", "GetObject", What::NotifiedSet),
    ("state/store.rs", "ListObjectsV2", What::ToldLists),
    ("state/store.rs", "PutObject", What::Control),
    ("state/store.rs", "PutObject", What::Note),
    ("state/store.rs", "PutObject", What::NotifiedSet),
];

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Account,
    CertificateAuthority,
    Report,
    /// The rest of a report whose body broke off.
    PartOfReport,
    Reports,
    Control,
    NotifiedSet,
    ToldLists,
    /// Remembers that a fault was told that the control document could not record.
    Note,
    FullList,
    Topic,
    ChatTopic,
}

impl What {
    fn of(call: &Call, config: &Config) -> Option<Self> {
        let is_report = |key: &str| key.starts_with("audit-report/");
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
                Some(What::ToldLists)
            };
        }
        let key = call.key.as_deref()?;
        if is_report(key) {
            return Some(if call.range.is_some() {
                What::PartOfReport
            } else {
                What::Report
            });
        }
        let (_, name) = key
            .strip_prefix(&config.state_prefix)?
            .split_once('/')
            .unwrap_or(("", ""));
        Some(match name {
            "" => What::Control,
            "error.json" => What::Note,
            name if name.starts_with("notified-") => What::NotifiedSet,
            name if name.starts_with("full-list/") => What::FullList,
            _ => return None,
        })
    }
}

/// The kinds of calls among these.
pub fn kinds(calls: &[Call], config: &Config) -> BTreeSet<(String, What)> {
    calls
        .iter()
        .map(|call| {
            let what = What::of(call, config).unwrap_or_else(|| panic!("a call to what? {call:?}"));
            (call.operation.clone(), what)
        })
        .collect()
}

/// Lets the function do everything that it can, and gives the calls that it made.
pub async fn record(config: Config) -> Vec<Call> {
    const HALF_AN_HOUR: Duration = Duration::from_secs(1_860);
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
    let ca = &cas[0];
    pca.set_reports(|reports| reports.delay = Duration::from_secs(1));
    let function = InProcess::new(&aws, config.clone());
    let outcome = async |payload: Value| {
        aws.advance(HALF_AN_HOUR);
        let response = function
            .invoke(payload)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let first = &response["certificateAuthorities"][0];
        let error = first["error"]["type"].as_str();
        error
            .or(first["outcome"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let all = || json!({});
    // Of the first only: the second has nothing to tell but what its first audit found.
    let one = || json!({ "certificateAuthorityArns": [ca] });
    // The line of one revocation takes some 5 KB, so that 2,000 take more than a part of an upload.
    let revoke_many = |count: usize| {
        for _ in 0..count {
            let mut certificate = pca.certificate(ca, "www.example.com");
            certificate.subject = format!("CN=www.example.com,OU={}", "x".repeat(2_000));
            let serial = certificate.serial.clone();
            pca.add(ca, certificate);
            assert!(pca.revoke(ca, &serial, "SUPERSEDED"));
        }
    };

    // A first audit, and then one that adds to the told list.
    for _ in 0..2 {
        let serial = pca.issue(ca, "www.example.com");
        pca.revoke(ca, &serial, "KEY_COMPROMISE");
        assert_eq!(outcome(all()).await, "audited");
    }
    // More than a message holds; a body that breaks off.
    revoke_many(200);
    aws.inject(
        On::operation("GetObject").key_contains("audit-report/"),
        Fault::CutBody { after: 10_000 },
    );
    assert_eq!(outcome(one()).await, "audited");
    // A request whose answer is lost.
    aws.inject("CreateCertificateAuthorityAuditReport", Fault::LostReply);
    assert_eq!(outcome(one()).await, "audited");
    assert_eq!(pca.reports(ca).len(), 4);
    // Without a trace.
    let dry_run = json!({ "dryRun": true });
    assert_eq!(outcome(dry_run).await, "audited");
    let replay = json!({ "since": "2020-01-01T00:00:00Z", "certificateAuthorityArns": [ca] });
    assert_eq!(outcome(replay).await, "audited");
    assert_eq!(outcome(json!({ "testMessage": true })).await, "");
    // A state that is damaged, and then restored.
    let id = ca.rsplit('/').next().expect("an id");
    let control = format!("{}{id}.json", config.state_prefix);
    let whole = s3
        .get(&config.report_bucket, &control)
        .expect("a control document");
    s3.put(&config.report_bucket, &control, "damaged");
    assert_eq!(outcome(one()).await, "StateUnreadable");
    s3.put(&config.report_bucket, &control, whole);
    assert_eq!(outcome(one()).await, "audited");
    // More than a part of an upload holds; the first time, a byte is wrong at its end.
    revoke_many(2_000);
    aws.inject(
        On::operation("GetObject").key_contains("audit-report/"),
        Fault::FlipByte { at: 4_000_000 },
    );
    assert_eq!(outcome(one()).await, "ReportCorrupted");
    assert_eq!(outcome(one()).await, "audited");

    aws.calls()
}
