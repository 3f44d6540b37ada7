//! Downloads over HTTP that break off, are damaged or find another object.

use crate::common::{World, only, sample, text};
use local_aws::{ChecksumAlgorithm, Fault, NextReport, On, ReportChecksum};
use serde_json::{Value, json};

const TELL_ALL: (&str, &str) = ("INITIAL_LOOKBACK_HOURS", "876000");
/// Lookups read the report of a critical revocation again.
const NO_LOOKUPS: (&str, &str) = ("INVESTIGATE", "no");
const SAMPLE: &str = "guide-2018-b.json";

async fn world(checksum: ReportChecksum) -> World {
    let world = World::new().await;
    world
        .aws
        .private_ca()
        .set_reports(|reports| reports.checksum = checksum);
    let next = NextReport::new().content(sample(SAMPLE));
    world.aws.private_ca().next_report(&world.ca, next);
    world
}

fn get_of_the_report() -> On {
    On::operation("GetObject").key_contains("audit-report/")
}

/// The `Range` of every GET of the report.
fn ranges(world: &World) -> Vec<Option<String>> {
    let gets = world.aws.calls_of("GetObject").into_iter();
    gets.filter(|get| {
        get.key
            .as_ref()
            .is_some_and(|key| key.starts_with("audit-report/"))
    })
    .inspect(|get| assert!(get.if_match.is_some(), "{get:?}"))
    .map(|get| get.range)
    .collect()
}

#[tokio::test]
async fn report_is_read_with_one_get() {
    let world = world(ReportChecksum::FullObject(ChecksumAlgorithm::Crc64Nvme)).await;
    let function = world.function(&[TELL_ALL, NO_LOOKUPS]).await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(only(&response)["published"], 1);
    assert_eq!(ranges(&world), [None]);
}

#[tokio::test]
async fn interrupted_download_is_resumed_with_any_checksum() {
    for checksum in [
        ReportChecksum::FullObject(ChecksumAlgorithm::Crc64Nvme),
        ReportChecksum::FullObject(ChecksumAlgorithm::Crc32c),
        ReportChecksum::FullObject(ChecksumAlgorithm::Sha256),
        ReportChecksum::Composite(ChecksumAlgorithm::Crc32, 512),
        ReportChecksum::None,
    ] {
        let world = world(checksum).await;
        world
            .aws
            .inject(get_of_the_report(), Fault::CutBody { after: 700 });
        let function = world.function(&[TELL_ALL, NO_LOOKUPS]).await;

        let response = function.invoke(json!({})).await.unwrap();

        assert_eq!(
            only(&response)["outcome"],
            "audited",
            "{checksum:?}: {response:#}"
        );
        assert_eq!(only(&response)["published"], 1);
        assert_eq!(ranges(&world), [None, Some("bytes=700-".to_owned())]);
        let without = "no checksum of the whole report; relying on length and ETag";
        let lines = function.output().await;
        let is_logged = lines.iter().any(|line| line["message"] == without);
        let is_full = matches!(checksum, ReportChecksum::FullObject(_));
        assert_eq!(is_logged, !is_full, "{checksum:?}");
        // The SDK would warn that it cannot validate a composite checksum.
        let by_sdk = lines
            .iter()
            .find(|line| line.to_string().contains("part-level checksum"));
        assert_eq!(by_sdk, None, "the SDK validates checksums, too");
    }
}

#[tokio::test]
async fn damaged_download_is_refused_and_nothing_is_published() {
    for broken_before in [false, true] {
        let world = world(ReportChecksum::FullObject(ChecksumAlgorithm::Crc64Nvme)).await;
        if broken_before {
            world
                .aws
                .inject(get_of_the_report(), Fault::CutBody { after: 100 });
        }
        // Within a string: the report remains valid.
        world
            .aws
            .inject(get_of_the_report(), Fault::FlipByte { at: 130 });
        let function = world.function(&[TELL_ALL]).await;

        let corrupted = function.invoke(json!({})).await.unwrap();
        let types = world.types();
        let again = function.invoke(json!({})).await.unwrap();

        assert_eq!(
            only(&corrupted)["error"]["type"],
            "ReportCorrupted",
            "{corrupted:#}"
        );
        assert!(text(&only(&corrupted)["error"]["message"]).contains("crc64nvme"));
        assert_eq!(types, Vec::<String>::new());
        assert_eq!(only(&again)["published"], 1, "{again:#}");
        assert_eq!(world.types(), ["revocations", "watch-started"]);
    }
}

#[tokio::test]
async fn replaced_report_is_not_resumed() {
    let world = world(ReportChecksum::None).await;
    world
        .aws
        .inject(get_of_the_report(), Fault::CutBody { after: 700 });
    let aws = world.aws.clone();
    let replaced = sample(SAMPLE).to_ascii_uppercase();
    // Replaced between the two GETs.
    world.aws.on_call(move |call, phase| {
        if phase == local_aws::Phase::Before && call.range.is_some() {
            let key = call.key.clone().expect("a GET has a key");
            aws.s3().put(crate::common::BUCKET, &key, replaced.clone());
        }
        local_aws::Action::Proceed
    });
    let function = world.function(&[TELL_ALL]).await;

    let response = function.invoke(json!({})).await.unwrap();

    assert_eq!(
        only(&response)["error"]["type"],
        "ReportVanished",
        "{response:#}"
    );
    assert_eq!(world.control()["pendingReport"], Value::Null);
    assert_eq!(world.types(), ["watch-failed"]);
}
