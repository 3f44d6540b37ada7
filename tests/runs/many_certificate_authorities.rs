//! One invocation for 200 CAs, Private CA's default quota per region, under its real request quotas.
//! docs/scale.md has the figures of the real binary.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::account::many::{
    AUDITABLE, Account, BUCKET, CERTIFICATE_AUTHORITIES, Certificates, outcomes,
};
use crate::account::{InProcess, TIMEOUT};
use local_aws::PrivateCaAccess;
use pca_revocation_watch::config::Config;
use serde_json::{Value, json};
use tokio::time::Instant;

const PERIOD: Duration = Duration::from_secs(1800);

fn account() -> (Account, InProcess) {
    let account = Account::new(Certificates {
        ordinary: 20,
        huge: 2_000,
    });
    let config = Config::from_lookup(|name| {
        let value = match name {
            "AWS_REGION" => "us-east-1",
            "AWS_ENDPOINT_URL" => "http://localhost",
            "CERTIFICATE_AUTHORITY_ARNS" => "*",
            "REPORT_BUCKET" => BUCKET,
            "TOPIC_ARN" => &account.topic,
            _ => return None,
        };
        Some(value.to_owned())
    });
    let function = InProcess::new(&account.aws, config.expect("a configuration"));
    (account, function)
}

fn scheduled() -> Value {
    json!({ "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": "{}" })
}

fn expect(outcomes: &[(&str, usize)]) -> BTreeMap<String, usize> {
    outcomes
        .iter()
        .map(|(outcome, count)| ((*outcome).to_owned(), *count))
        .collect()
}

/// Returns the number of published messages by type, and forgets them.
fn types(account: &Account) -> BTreeMap<String, usize> {
    let mut types = BTreeMap::new();
    for delivery in account.aws.sns().deliveries() {
        let document: Value = serde_json::from_str(&delivery.text).unwrap();
        *types
            .entry(document["type"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    account.aws.sns().forget_messages();
    types
}

fn assert_quotas_kept(account: &Account) {
    let (by_operation, throttled) = account.calls();
    assert_eq!(throttled, 0, "{by_operation:?}");
    assert_eq!(
        by_operation["CreateCertificateAuthorityAuditReport"],
        AUDITABLE
    );
    account.aws.forget_calls();
}

#[tokio::test(start_paused = true)]
async fn one_invocation_audits_200_cas_within_the_quotas() {
    let (account, function) = account();
    assert_eq!(account.auditable().count() + 1, CERTIFICATE_AUTHORITIES);
    account.schedule_reports();
    let began = Instant::now();

    let first = function.invoke(scheduled()).await.unwrap();
    let took = began.elapsed();

    assert!(
        took > Duration::from_secs(AUDITABLE as u64 - 1),
        "one request per second: {took:?}"
    );
    assert!(took < TIMEOUT / 2, "{took:?}");
    assert_all_but_the_failing_audited(&account, &first);
    assert_eq!(
        types(&account),
        expect(&[("watch-failed", 1), ("watch-started", 1)])
    );
    assert_quotas_kept(&account);

    // In the next period every CA has a new revocation, and the failed report works again.
    account.revoke_one_of_each();
    tokio::time::sleep_until(began + PERIOD).await;
    let second = function.invoke(scheduled()).await.unwrap();

    assert_eq!(outcomes(&second), expect(&[("audited", AUDITABLE)]));
    assert_eq!(
        types(&account),
        expect(&[
            ("revocations", AUDITABLE),
            ("watch-recovered", 1),
            ("watch-started", 1)
        ])
    );
    assert_quotas_kept(&account);
}

fn assert_all_but_the_failing_audited(account: &Account, response: &Value) {
    assert_eq!(
        outcomes(response),
        expect(&[("audited", AUDITABLE - 1), ("failed", 1)])
    );
    let all = response["certificateAuthorities"].as_array().unwrap();
    let failed = all.iter().find(|ca| ca["outcome"] == "failed").unwrap();
    assert_eq!(failed["certificateAuthorityArn"], json!(account.failing));
    assert_eq!(failed["error"]["type"], "ReportFailed");
    assert!(
        all.iter()
            .all(|ca| ca["certificateAuthorityArn"] != json!(account.expired))
    );
    let huge = all
        .iter()
        .find(|ca| ca["certificateAuthorityArn"] == json!(account.huge))
        .unwrap();
    assert_eq!(
        (&huge["certificates"], &huge["revoked"]),
        (&json!(2_000), &json!(40))
    );
}

/// All reports are late, so the next run finds all of them ready at once.
#[tokio::test(start_paused = true)]
async fn next_run_reads_200_late_reports_within_the_quotas() {
    let (account, function) = account();
    account
        .aws
        .private_ca()
        .set_reports(|reports| reports.delay = Duration::from_secs(1200));
    let began = Instant::now();

    // Just enough time to request all of them, and half a minute to announce the results.
    let short = Duration::from_secs(AUDITABLE as u64 + 70);
    let first = function.invoke_for(scheduled(), short).await.unwrap();
    // No report is so old yet that a new one is requested as well.
    tokio::time::sleep_until(began + PERIOD - Duration::from_secs(1)).await;
    let second = function.invoke(scheduled()).await.unwrap();

    assert_eq!(outcomes(&first), expect(&[("waiting", AUDITABLE)]));
    assert_eq!(outcomes(&second), expect(&[("audited", AUDITABLE)]));
    assert_eq!(types(&account), expect(&[("watch-started", 1)]));
    assert_quotas_kept(&account);
}

/// Private CA refuses to write to the bucket, for a period.
#[tokio::test(start_paused = true)]
async fn one_broken_bucket_policy_sends_two_messages() {
    let (account, function) = account();
    let began = Instant::now();
    function.invoke(scheduled()).await.unwrap();
    types(&account);
    let s3 = account.aws.s3();
    s3.set_private_ca_access(BUCKET, PrivateCaAccess::missing_policy(BUCKET));

    tokio::time::sleep_until(began + PERIOD).await;
    let failed = function.invoke(scheduled()).await.unwrap();
    let first = types(&account);
    tokio::time::sleep_until(began + 2 * PERIOD).await;
    function.invoke(scheduled()).await.unwrap();
    let second = types(&account);
    s3.set_private_ca_access(BUCKET, PrivateCaAccess::Granted);
    tokio::time::sleep_until(began + 3 * PERIOD).await;
    let repaired = function.invoke(scheduled()).await.unwrap();

    assert_eq!(outcomes(&failed), expect(&[("failed", AUDITABLE)]));
    assert_eq!(first, expect(&[("watch-failed", 1)]));
    assert_eq!(second, BTreeMap::new());
    assert_eq!(outcomes(&repaired), expect(&[("audited", AUDITABLE)]));
    assert_eq!(types(&account), expect(&[("watch-recovered", 1)]));
}
