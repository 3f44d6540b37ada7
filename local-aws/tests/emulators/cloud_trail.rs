//! The CloudTrail emulator as seen by the SDK over HTTP.

use std::time::{Duration, SystemTime};

use aws_sdk_cloudtrail::operation::lookup_events::builders::LookupEventsFluentBuilder;
use aws_sdk_cloudtrail::primitives::DateTime;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use local_aws::{Actor, Fault, LocalAws, Service};
use serde_json::Value;

use crate::clients::{Clients, World, refusal, refused};

impl World {
    fn lookup(&self) -> LookupEventsFluentBuilder {
        let attribute = attribute(LookupAttributeKey::EventName, "RevokeCertificate");
        self.cloud_trail
            .lookup_events()
            .lookup_attributes(attribute)
    }

    /// Returns the visible `RevokeCertificate` events of the first page.
    async fn revocations(&self) -> Vec<Value> {
        let found = self.lookup().send().await.unwrap();
        let parse = |text: &str| serde_json::from_str(text).unwrap();
        let events = found.events().iter();
        events
            .map(|event| parse(event.cloud_trail_event().unwrap()))
            .collect()
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn attribute(key: LookupAttributeKey, value: &str) -> LookupAttribute {
    let builder = LookupAttribute::builder().attribute_key(key);
    builder.attribute_value(value).build().unwrap()
}

#[tokio::test]
async fn revocations_are_recorded_with_their_actor() {
    let world = World::new().await;
    world.aws.cloud_trail().set_quota(None);
    let pca = world.aws.private_ca();
    let ca = pca.create("Example Root CA");
    let serial = pca.issue(&ca, "www.example.com");
    assert!(pca.revoke(&ca, &serial, "KEY_COMPROMISE"));
    assert!(!pca.revoke(&ca, "00", "KEY_COMPROMISE"));

    let events = world.revocations().await;
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event["eventSource"], "acm-pca.amazonaws.com");
    assert_eq!(event["awsRegion"], "us-east-1");
    assert_eq!(event["sourceIPAddress"], "203.0.113.5");
    assert!(event["userAgent"].as_str().unwrap().starts_with("aws-cli/"));
    let parameters = &event["requestParameters"];
    assert_eq!(parameters["certificateAuthorityArn"], ca.as_str());
    assert_eq!(parameters["certificateSerial"], serial.as_str());
    assert_eq!(parameters["revocationReason"], "KEY_COMPROMISE");
    let identity = &event["userIdentity"];
    assert_eq!(
        identity["arn"],
        "arn:aws:sts::123456789012:assumed-role/pki-admin/m.ops"
    );
    let issuer = &identity["sessionContext"]["sessionIssuer"];
    assert_eq!(issuer["userName"], "pki-admin");
    assert_eq!(world.aws.calls_to(Service::CloudTrail).len(), 1);

    for (actor, kind) in [
        (Actor::iam_user("123456789012", "alice"), "IAMUser"),
        (Actor::root("123456789012"), "Root"),
        (Actor::aws_service("acm.amazonaws.com"), "AWSService"),
    ] {
        world.aws.cloud_trail().set_actor(actor);
        let serial = pca.issue(&ca, "www.example.com");
        pca.revoke(&ca, &serial, "SUPERSEDED");
        let events = world.revocations().await;
        let of_this = events
            .iter()
            .find(|event| event["requestParameters"]["certificateSerial"] == serial.as_str());
        assert_eq!(of_this.unwrap()["userIdentity"]["type"], kind);
    }
}

#[tokio::test]
async fn rows_added_as_revoked_are_recorded_on_request() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    let ca = pca.create("Example Root CA");
    let mut row = pca.certificate(&ca, "www.example.com");
    row.revoked_at = Some(world.aws.clock().now());
    let serial = row.serial.clone();
    pca.add(&ca, row);
    assert!(world.revocations().await.is_empty());
    let valid = pca.issue(&ca, "www.example.com");
    assert!(!pca.record_revocation(&ca, &valid));
    assert!(pca.record_revocation(&ca, &serial));
    let events = world.revocations().await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0]["requestParameters"]["revocationReason"],
        "UNSPECIFIED"
    );
}

#[tokio::test]
async fn events_are_invisible_until_the_delay_has_passed() {
    let world = World::new().await;
    world
        .aws
        .cloud_trail()
        .set_delay(Duration::from_secs(15 * 60));
    let pca = world.aws.private_ca();
    let ca = pca.create("Example Root CA");
    let serial = pca.issue(&ca, "www.example.com");
    pca.revoke(&ca, &serial, "KEY_COMPROMISE");
    assert!(world.revocations().await.is_empty());
    assert_eq!(world.aws.cloud_trail().events().len(), 1);
    world.aws.advance(Duration::from_secs(15 * 60));
    assert_eq!(world.revocations().await.len(), 1);
    world.aws.advance(Duration::from_secs(91 * 24 * 3600));
    assert!(world.revocations().await.is_empty());
}

#[tokio::test]
async fn pages_are_newest_first_and_tokens_are_bound_to_the_request() {
    let world = World::new().await;
    let trail = world.aws.cloud_trail();
    trail.set_quota(None);
    let now = whole_seconds(world.aws.clock().now());
    for age in 0..120_u64 {
        // Not added in the order of their times.
        let at = now - Duration::from_secs((age * 7) % 120);
        trail.add_event("{\"eventName\":\"RevokeCertificate\"}", at);
    }
    trail.add_event("{\"eventName\":\"IssueCertificate\"}", now);
    let mut times = Vec::new();
    let mut sizes = Vec::new();
    let mut token = None;
    loop {
        let page = world.lookup().set_next_token(token.clone());
        let page = page.send().await.unwrap();
        sizes.push(page.events().len());
        times.extend(page.events().iter().map(|event| event.event_time.unwrap()));
        match page.next_token {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    assert_eq!(sizes, [50, 50, 20]);
    assert!(times.is_sorted_by(|newer, older| newer > older));

    let other = world.lookup().max_results(10).set_next_token(token.clone());
    let code = refused(400, "InvalidNextTokenException");
    assert_eq!(refusal(other.send().await), code);
    assert_eq!(refusal(world.lookup().next_token("x").send().await), code);

    let time = |time: SystemTime| DateTime::from(time);
    let range = world
        .lookup()
        .start_time(time(now - Duration::from_secs(10)))
        .end_time(time(now - Duration::from_secs(5)));
    assert_eq!(range.send().await.unwrap().events().len(), 6);

    trail.set_page_size(Some(3));
    assert_eq!(world.revocations().await.len(), 3);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let world = World::new().await;
    world.aws.cloud_trail().set_quota(None);
    let by_user = world
        .cloud_trail
        .lookup_events()
        .lookup_attributes(attribute(LookupAttributeKey::Username, "alice"));
    let two = world
        .lookup()
        .lookup_attributes(attribute(LookupAttributeKey::EventName, "IssueCertificate"));
    let attributes = refused(400, "InvalidLookupAttributesException");
    assert_eq!(refusal(by_user.send().await), attributes);
    assert_eq!(refusal(two.send().await), attributes);
    for size in [0, 51] {
        let sized = world.lookup().max_results(size);
        let code = refused(400, "InvalidMaxResultsException");
        assert_eq!(refusal(sized.send().await), code);
    }
    let backwards = world
        .lookup()
        .start_time(DateTime::from_secs(2))
        .end_time(DateTime::from_secs(1));
    assert_eq!(
        refusal(backwards.send().await),
        refused(400, "InvalidTimeRangeException")
    );
    let other = world.cloud_trail.describe_trails();
    assert_eq!(
        refusal(other.send().await),
        refused(400, "UnknownOperationException")
    );
}

#[tokio::test(start_paused = true)]
async fn more_than_two_lookups_per_second_are_throttled() {
    let aws = LocalAws::new();
    let client = Clients::in_process(&aws).cloud_trail();
    let lookup = || client.lookup_events().send();
    let throttled = refused(400, "ThrottlingException");
    assert!(lookup().await.is_ok());
    assert!(lookup().await.is_ok());
    assert_eq!(refusal(lookup().await), throttled);
    aws.advance(Duration::from_secs(1));
    assert!(lookup().await.is_ok());
    aws.cloud_trail().set_quota(None);
    for _ in 0..5 {
        assert!(lookup().await.is_ok());
    }
}

#[tokio::test]
async fn faults_and_malformed_events_reach_the_caller() {
    let world = World::new().await;
    world.aws.cloud_trail().set_quota(None);
    let denied = Fault::access_denied(Service::CloudTrail);
    world.aws.inject("LookupEvents", denied);
    assert_eq!(
        refusal(world.lookup().send().await),
        refused(400, "AccessDeniedException")
    );
    world.aws.inject("LookupEvents", Fault::Throttle);
    assert_eq!(
        refusal(world.lookup().send().await),
        refused(400, "ThrottlingException")
    );
    let now = world.aws.clock().now();
    world.aws.cloud_trail().add_event("{\"cut", now);
    let found = world.lookup().send().await.unwrap();
    assert_eq!(found.events()[0].cloud_trail_event(), Some("{\"cut"));
    assert_eq!(found.events()[0].event_source(), None);
}
