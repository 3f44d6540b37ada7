//! Messages about the watch itself for many CAs, from the real binary.

use std::time::Duration;

use crate::account::many::outcomes;
use crate::common::{BUCKET, World, text};
use local_aws::ReportFormat;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};

const ALL: (&str, &str) = ("CERTIFICATE_AUTHORITY_ARNS", "*");

/// Returns a world with this many CAs, and their ARNs.
async fn world_of(number: usize) -> (World, Vec<String>) {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    pca.set_reports(|reports| {
        reports.interval = Duration::ZERO;
        reports.delay = Duration::ZERO;
    });
    let mut cas = vec![world.ca.clone()];
    cas.extend((1..number).map(|number| pca.create(&format!("Example Corp CA {number}"))));
    for ca in &cas {
        pca.issue(ca, "www.example.com");
    }
    cas.sort();
    (world, cas)
}

/// Requests a report of each CA and records it as pending, as a run without time to read it does. The
/// function may request one per second only.
fn request_reports(world: &World, cas: &[String]) {
    let s3 = world.aws.s3();
    for ca in cas {
        let requested = world
            .aws
            .private_ca()
            .request_report(ca, BUCKET, ReportFormat::Json);
        let report = requested.expect("the interval is zero");
        let id = ca.rsplit('/').next().expect("an ARN has an id");
        let key = format!("revocation-watch/{id}.json");
        let new = || {
            json!({
                "version": 1, "certificateAuthorityArn": ca, "sequence": 0, "nonce": "",
                "firstSeenAt": Timestamp::from(report.created_at), "lastRequestedAtMillis": 0,
                "notifiedCount": 0,
            })
        };
        let mut control = s3.get(BUCKET, &key).map_or_else(new, |bytes| {
            serde_json::from_slice(&bytes).expect("a control document is JSON")
        });
        let requested_at = json!(Timestamp::from(report.created_at));
        control["lastRequestedAt"] = requested_at.clone();
        control["pendingReport"] =
            json!({ "id": report.id, "key": report.key, "requestedAt": requested_at });
        s3.put(BUCKET, &key, control.to_string());
    }
}

fn arns(message: &Value) -> Vec<String> {
    let arns = message["certificateAuthorityArns"].as_array();
    arns.expect("a list").iter().map(text).collect()
}

#[tokio::test]
async fn two_hundred_first_audits_send_one_message() {
    let (world, cas) = world_of(200).await;
    request_reports(&world, &cas);
    let function = world.function(&[ALL]).await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(outcomes(&response)["audited"], 200);
    let messages = world.messages();
    assert_eq!(world.types(), ["watch-started"]);
    assert_eq!(arns(&messages[0]), cas);
    assert_eq!(messages[0]["counts"]["certificateAuthorities"], 200);
}

#[tokio::test]
async fn one_broken_policy_of_20_cas_sends_two_messages() {
    let (world, cas) = world_of(20).await;
    request_reports(&world, &cas);
    let function = world.function(&[ALL]).await;
    function.invoke(json!({})).await.unwrap();
    world.aws.s3().deny("s3:GetObject", BUCKET, "audit-report/");
    request_reports(&world, &cas);

    let first = function.invoke(json!({})).await.unwrap();
    let second = function.invoke(json!({})).await.unwrap();
    let during = world.types();
    world.aws.s3().allow_all();
    request_reports(&world, &cas);
    let repaired = function.invoke(json!({})).await.unwrap();

    for response in [&first, &second] {
        assert_eq!(outcomes(response)["failed"], 20, "{response:#}");
    }
    assert_eq!(during, ["watch-started", "watch-failed"]);
    assert_eq!(outcomes(&repaired)["audited"], 20, "{repaired:#}");
    assert_eq!(
        world.types(),
        ["watch-started", "watch-failed", "watch-recovered"]
    );
    for message in &world.messages()[1..] {
        assert_eq!(arns(message), cas);
        assert_eq!(message["error"]["type"], "AccessDenied");
        assert_eq!(message["error"]["resource"], format!("s3://{BUCKET}"));
    }
}
