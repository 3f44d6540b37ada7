//! Answers that are no errors of a call, reports that are not right and states that are not right:
//! how each is called, that it is told once, and that nothing is lost or repeated over it.
//!
//! Whole scheduled runs in the simulated world, half an hour apart. Faults of single calls are the
//! matter of `simulation.rs`, kills of the real binary that of `crash.rs`.

#[path = "simulation/mod.rs"]
mod simulation;

use local_aws::{
    Certificate, Fault, JsonLayout, NextReport, On, Outcome, PrivateCaAccess, Protocol,
    ReportFormat, Service, Status, Subscription, render,
};
use serde_json::{Value, json};
use simulation::scenario::control_key;
use simulation::world::{BUCKET, Ended, How, PERIOD, Revoked, World};
use simulation::{checks, on_paused_clock};

const REPORTS: &str = "audit-report/";
const STATE: &str = "revocation-watch/";

const FORMATS: [(ReportFormat, &str); 2] =
    [(ReportFormat::Json, "JSON"), (ReportFormat::Csv, "CSV")];

/// What a fault is called, and the words without which nobody would know what happened to what, and
/// what to do next.
struct Named {
    kind: &'static str,
    message: Vec<String>,
    hint: &'static [&'static str],
}

fn named(kind: &'static str, message: &[&str], hint: &'static [&'static str]) -> Named {
    let message = message.iter().map(|&word| word.to_owned()).collect();
    Named {
        kind,
        message,
        hint,
    }
}

/// A world whose certificate authority was audited once.
async fn watched(variables: &[(&str, &str)]) -> World {
    first_audit(World::new(1, 1, variables)).await
}

async fn first_audit(world: World) -> World {
    world.issue(0);
    world.revoke_long_ago(0, "SUPERSEDED");
    world.schedule(How::default()).await;
    world
}

/// What the next scheduled run answers for the first certificate authority.
async fn run(world: &World) -> Value {
    let periods = (world.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
    world.until(PERIOD * periods).await;
    match world.schedule(How::default()).await {
        Ended::Answered(answer) => answer["certificateAuthorities"][0].clone(),
        ended => panic!("{ended:?}"),
    }
}

/// The next scheduled run tells all there is.
async fn run_well(world: &World) -> Value {
    let audit = run(world).await;
    assert_eq!(audit["outcome"], "audited", "{audit:#}");
    audit
}

/// Two quiet runs later all is in order: everything told, nothing twice or invented, the state
/// consistent, the watch's own messages in turns.
async fn comes_in_order(world: &World) {
    let violations = checks::quiet_runs(world, 2).await;
    let story = || world.story().join("\n");
    assert!(
        violations.is_empty(),
        "{}\n{}",
        violations.join("\n"),
        story()
    );
}

fn documents(world: &World, kind: &str) -> Vec<Value> {
    let messages = world.aws.sns().messages();
    let documents = messages.iter().map(|message| {
        let text = &message.variants["default"];
        serde_json::from_str::<Value>(text).expect("the document is JSON")
    });
    documents
        .filter(|document| document["type"] == kind)
        .collect()
}

/// The one message of its type.
fn only(world: &World, kind: &str) -> Value {
    let mut documents = documents(world, kind);
    assert_eq!(documents.len(), 1, "{kind}: {documents:#?}");
    documents.remove(0)
}

/// Every entry of every message of revocations, as often as it was told.
fn entries(world: &World) -> Vec<Value> {
    let entries = |document: Value| document["revocations"].as_array().cloned();
    let documents = documents(world, "revocations");
    documents
        .into_iter()
        .flat_map(|document| entries(document).expect("a list"))
        .collect()
}

fn told(world: &World) -> Vec<String> {
    let serial = |entry: &Value| entry["serial"].as_str().unwrap_or_default().to_owned();
    let mut told: Vec<String> = entries(world).iter().map(serial).collect();
    told.sort();
    told
}

fn sorted<const N: usize>(serials: [&String; N]) -> Vec<String> {
    let mut serials = serials.map(Clone::clone).to_vec();
    serials.sort();
    serials
}

fn control(world: &World) -> Value {
    let bytes = world.aws.s3().get(BUCKET, &control_key(world, 0));
    serde_json::from_slice(&bytes.expect("there is a state")).expect("the state is JSON")
}

fn told_list(world: &World) -> String {
    control(world)["toldList"]
        .as_str()
        .expect("there is a told list")
        .to_owned()
}

fn assert_failed(audit: &Value, named: &Named) {
    assert_eq!(audit["outcome"], "failed", "{audit:#}");
    let error = &audit["error"];
    assert_eq!(error["type"], named.kind, "{audit:#}");
    let has = |text: &Value, word: &str| text.as_str().is_some_and(|text| text.contains(word));
    for word in &named.message {
        assert!(has(&error["message"], word), "{word:?} in {error:#}");
    }
    for word in named.hint {
        assert!(has(&error["hint"], word), "{word:?} in {error:#}");
    }
}

/// `watch-failed` was published that often, in the words of the answer.
fn assert_failure_told(world: &World, audit: &Value, times: usize) {
    let failed = documents(world, "watch-failed");
    assert_eq!(failed.len(), times, "{failed:#?}");
    for document in failed {
        assert_eq!(document["error"]["type"], audit["error"]["type"]);
        assert_eq!(document["error"]["hint"], audit["error"]["hint"]);
    }
    assert_eq!(documents(world, "watch-recovered").len(), 0);
}

/// `watch-failed` and `watch-recovered`, each once.
fn assert_failed_and_recovered_once(world: &World, kind: &str) -> (Value, Value) {
    let (failed, recovered) = (only(world, "watch-failed"), only(world, "watch-recovered"));
    assert_eq!(failed["error"]["type"], kind);
    (failed, recovered)
}

/// The end of a fault is told by its name and its beginning.
fn assert_same_fault((failed, recovered): (Value, Value)) {
    assert_eq!(failed["error"]["type"], recovered["error"]["type"]);
    assert_eq!(failed["since"], recovered["since"]);
}

/// What is left to tell and to remember a fault with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// SNS and the state.
    All,
    /// SNS, and an object beside the state, which cannot be read itself.
    Marker,
    /// SNS, and the memory of the process: nothing can be written in S3.
    Process,
    /// The answer and the log.
    Answer,
}

/// Three scheduled runs meet a fault that `begin` sets in and what that returns ends: what was
/// revoked before anybody looked and while it lasts is told once, afterwards.
///
/// People hear of it and of its end once, though the second run begins in a new process; unless it
/// is SNS that they would hear it from.
async fn lasts<E: FnOnce(&World)>(named: Named, left: Left, begin: impl FnOnce(&World) -> E) {
    let sns_works = left != Left::Answer;
    let world = watched(&[]).await;
    let before = world.revoke(0, "KEY_COMPROMISE");
    let end = begin(&world);
    // One that is gone does not revoke.
    let during =
        (named.kind != "CertificateAuthorityNotFound").then(|| world.revoke(0, "SUPERSEDED"));
    for number in 0..3 {
        if number == 1 && left != Left::Process {
            new_process(&world);
        }
        let audit = run(&world).await;
        assert_failed(&audit, &named);
        assert_failure_told(&world, &audit, usize::from(sns_works));
        assert_eq!(told(&world), [""; 0]);
    }

    end(&world);
    comes_in_order(&world).await;

    let mut expected: Vec<String> = during.into_iter().chain([before]).collect();
    expected.sort();
    assert_eq!(told(&world), expected);
    if !sns_works {
        assert_eq!(documents(&world, "watch-failed").len(), 0);
        assert_eq!(documents(&world, "watch-recovered").len(), 0);
        return;
    }
    let told = assert_failed_and_recovered_once(&world, named.kind);
    if left == Left::All {
        assert_same_fault(told);
    }
}

// Answers that are no errors of a call.

#[test]
fn a_certificate_authority_in_a_state_without_reports_is_told_once_and_made_up_for() {
    for status in [
        Status::Expired,
        Status::PendingCertificate,
        Status::Creating,
        Status::Deleted,
        Status::Failed,
    ] {
        let state = named(
            "CertificateAuthorityState",
            &[":certificate-authority/", status.name()],
            &["ACTIVE or DISABLED", "CERTIFICATE_AUTHORITY_ARNS"],
        );
        let set = |world: &World, status| {
            world.aws.private_ca().set_status(&world.cas[0], status);
        };
        on_paused_clock(
            1,
            lasts(state, Left::All, |world| {
                set(world, status);
                move |world: &World| set(world, Status::Active)
            }),
        );
    }
}

#[test]
fn a_disabled_certificate_authority_is_audited_like_any_other() {
    on_paused_clock(1, async {
        let world = watched(&[]).await;
        let pca = world.aws.private_ca();
        pca.set_status(&world.cas[0], Status::Disabled);
        let serial = world.revoke(0, "KEY_COMPROMISE");

        run_well(&world).await;

        assert_eq!(told(&world), [serial]);
        comes_in_order(&world).await;
        assert_eq!(documents(&world, "watch-failed").len(), 0);
    });
}

#[test]
fn a_certificate_authority_that_is_not_there_is_told_once() {
    let not_found = named(
        "CertificateAuthorityNotFound",
        &[":certificate-authority/"],
        &["CERTIFICATE_AUTHORITY_ARNS", "CertificateAuthorities"],
    );
    on_paused_clock(
        1,
        lasts(not_found, Left::All, |world| {
            let ca = world.cas[0].clone();
            let certificates = world.aws.private_ca().certificates(&ca);
            world.aws.private_ca().remove(&ca);
            move |world: &World| {
                let id = ca.rsplit('/').next().expect("an ARN has an id");
                let pca = world.aws.private_ca();
                pca.create_with_id(id, "Example Corp Issuing CA 0");
                pca.set_certificates(&ca, certificates);
            }
        }),
    );
}

#[test]
fn a_denied_request_for_reports_is_told_once_and_made_up_for() {
    let denied = named(
        "AccessDenied",
        &[
            "CreateCertificateAuthorityAuditReport",
            ":certificate-authority/",
        ],
        &["role", "template.yaml", "policy"],
    );
    on_paused_clock(
        1,
        lasts(denied, Left::All, |world| {
            let requests = On::operation("CreateCertificateAuthorityAuditReport").always();
            world
                .aws
                .misbehave(requests, Fault::access_denied(Service::PrivateCa));
            |world: &World| world.aws.behave()
        }),
    );
}

#[test]
fn whatever_s3_denies_is_told_once_and_made_up_for() {
    for (action, prefix, operation, left) in [
        ("s3:GetObject", REPORTS, "HeadObject", Left::All),
        ("s3:GetObject", STATE, "GetObject", Left::Marker),
        ("s3:PutObject", STATE, "PutObject", Left::Process),
    ] {
        let denied = named(
            "AccessDenied",
            &[operation, BUCKET, prefix],
            &["role", "template.yaml", "bucket"],
        );
        on_paused_clock(
            1,
            lasts(denied, left, |world| {
                world.aws.s3().deny(action, BUCKET, prefix);
                |world: &World| world.aws.s3().allow_all()
            }),
        );
    }
}

#[test]
fn a_bucket_that_refuses_reports_is_told_once_and_made_up_for() {
    let refused = named(
        "ReportBucketRefused",
        &[BUCKET, "policy"],
        &["acm-pca.amazonaws.com", "Object Lock", "KMS key", "aws/s3"],
    );
    let missing = PrivateCaAccess::missing_policy(BUCKET);
    on_paused_clock(
        1,
        lasts(refused, Left::All, |world| lets_write(world, missing)),
    );
}

/// With a default Object Lock, or a key that Private CA may not use, requests go well and the
/// reports do not.
#[test]
fn a_bucket_whose_reports_fail_later_is_told_once_and_made_up_for() {
    let failed = named(
        "ReportFailed",
        &["audit report", ":certificate-authority/"],
        &["policy", "encryption", "Object Lock"],
    );
    let later = PrivateCaAccess::FailsLater;
    on_paused_clock(
        1,
        lasts(failed, Left::All, |world| lets_write(world, later)),
    );
}

fn lets_write(world: &World, access: PrivateCaAccess) -> impl FnOnce(&World) + use<> {
    world.aws.s3().set_private_ca_access(BUCKET, access);
    |world| {
        let granted = PrivateCaAccess::Granted;
        world.aws.s3().set_private_ca_access(BUCKET, granted);
    }
}

#[test]
fn a_missing_bucket_is_told_once_and_made_up_for_when_its_state_is_restored() {
    let not_found = named(
        "ReportBucketNotFound",
        &[BUCKET],
        &["REPORT_BUCKET", "restore the state"],
    );
    on_paused_clock(
        1,
        lasts(not_found, Left::Process, |world| {
            let s3 = world.aws.s3();
            let keep = |key: String| (s3.get(BUCKET, &key).expect("it is listed"), key);
            let kept: Vec<_> = s3.keys(BUCKET, "").into_iter().map(keep).collect();
            s3.delete_bucket(BUCKET);
            move |world: &World| {
                world.aws.s3().create_bucket(BUCKET);
                for (bytes, key) in kept {
                    world.aws.s3().put(BUCKET, &key, bytes);
                }
            }
        }),
    );
}

#[test]
fn a_denied_publish_shows_in_the_answer_and_nothing_counts_as_told() {
    let denied = named(
        "AccessDenied",
        &["Publish", ":revocations"],
        &["role", "topic", "key policy"],
    );
    on_paused_clock(
        1,
        lasts(denied, Left::Answer, |world| {
            let publish = On::operation("Publish").always();
            world
                .aws
                .misbehave(publish, Fault::access_denied(Service::Sns));
            |world: &World| world.aws.behave()
        }),
    );
}

#[test]
fn a_missing_topic_shows_in_the_answer_and_nothing_counts_as_told() {
    let not_found = named(
        "TopicNotFound",
        &[":revocations"],
        &["TOPIC_ARN", "subscribe"],
    );
    on_paused_clock(
        1,
        lasts(not_found, Left::Answer, |world| {
            world.aws.sns().delete_topic(&world.topic);
            |world: &World| {
                world.aws.sns().create_topic("revocations");
                subscribe(world, Subscription::new(Protocol::Sqs, "queue"));
            }
        }),
    );
}

#[test]
fn a_topic_that_nobody_confirmed_shows_in_the_answer_and_nothing_counts_as_told() {
    let unconfirmed = named(
        "TopicWithoutSubscription",
        &[":revocations", "1 wait for confirmation"],
        &["Confirm the subscription", "e-mail"],
    );
    on_paused_clock(
        1,
        lasts(unconfirmed, Left::Answer, |world| {
            world.aws.sns().delete_topic(&world.topic);
            world.aws.sns().create_topic("revocations");
            let mail = Subscription::new(Protocol::Email, "security@example.com");
            let subscription = subscribe(world, mail.pending());
            move |world: &World| assert!(world.aws.sns().confirm(&subscription))
        }),
    );
}

#[test]
fn a_message_that_sns_refuses_in_both_forms_shows_in_the_answer_and_does_not_count_as_told() {
    let refused = named(
        "MessageRefused",
        &["Publish", ":revocations", "InvalidParameter"],
        &["encryption", "data protection policy"],
    );
    on_paused_clock(
        1,
        lasts(refused, Left::Answer, |world| {
            let invalid = Fault::error(400, "InvalidParameter", "Invalid parameter: Message");
            world
                .aws
                .misbehave(On::operation("Publish").always(), invalid);
            |world: &World| world.aws.behave()
        }),
    );
}

fn subscribe(world: &World, subscription: Subscription) -> String {
    let subscribed = world.aws.sns().subscribe(&world.topic, subscription);
    subscribed.expect("a standard topic takes it")
}

// Reports that are not right.

/// The report that Private CA would write now.
fn report(world: &World, format: ReportFormat) -> String {
    let certificates = world.aws.private_ca().certificates(&world.cas[0]);
    render(&certificates, format, JsonLayout::TwoSpaces)
}

fn next_report(world: &World, next: NextReport) {
    world.aws.private_ca().next_report(&world.cas[0], next);
}

/// The next report is not valid: two runs try it, tell `whole` once and call no audit complete; the
/// third reads another one and tells the rest.
async fn is_invalid(world: &World, next: NextReport, whole: &[String], message: &[&str]) {
    let invalid = named(
        "ReportInvalid",
        message,
        &["before the fault was told", "new report"],
    );
    let complete = control(world)["lastCompleteAudit"].clone();
    next_report(world, next);
    let mut keys = Vec::new();
    for _ in 0..2 {
        let audit = run(world).await;
        assert_failed(&audit, &invalid);
        assert_failure_told(world, &audit, 1);
        assert_eq!(told(world), whole);
        assert_eq!(control(world)["lastCompleteAudit"], complete);
        keys.push(audit["report"]["key"].clone());
    }
    assert_eq!(keys[0], keys[1]);
    let audit = run_well(world).await;
    assert_ne!(audit["report"]["key"], keys[0]);
    comes_in_order(world).await;
    assert_same_fault(assert_failed_and_recovered_once(world, "ReportInvalid"));
}

#[test]
fn a_cut_report_tells_its_whole_records_and_is_replaced_after_two_attempts() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = watched(&[("REPORT_FORMAT", variable)]).await;
            let whole = world.revoke(0, "KEY_COMPROMISE");
            let cut = world.revoke(0, "SUPERSEDED");
            let mut report = report(&world, format);
            report.truncate(report.find(&cut).expect("it is listed"));

            let next = NextReport::new().content(report);
            let at = ["byte ", "record 4", "ends too early"];
            let at = if variable == "JSON" {
                &at[..]
            } else {
                &at[..2]
            };
            is_invalid(&world, next, std::slice::from_ref(&whole), at).await;

            assert_eq!(told(&world), sorted([&whole, &cut]));
        });
    }
}

#[test]
fn a_fault_after_a_thousand_good_records_keeps_back_only_what_comes_after_it() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = watched(&[("REPORT_FORMAT", variable)]).await;
            let first = world.revoke(0, "KEY_COMPROMISE");
            for _ in 0..998 {
                world.issue(0);
            }
            let last = world.revoke(0, "UNSPECIFIED");
            let bad = world.issue(0);
            let after = world.revoke(0, "SUPERSEDED");
            // A quote within a text is a fault in both formats.
            let report = report(&world, format).replace(&bad, &bad.replacen(':', "\"", 1));

            let next = NextReport::new().content(report);
            let before = sorted([&first, &last]);
            is_invalid(&world, next, &before, &["byte ", "record 1003"]).await;

            assert_eq!(told(&world), sorted([&first, &last, &after]));
        });
    }
}

#[test]
fn a_report_of_the_other_format_or_of_no_bytes_tells_nothing_and_is_replaced() {
    for (format, variable) in FORMATS {
        for is_empty in [false, true] {
            on_paused_clock(1, async {
                let world = watched(&[("REPORT_FORMAT", variable)]).await;
                let serial = world.revoke(0, "KEY_COMPROMISE");
                let other = FORMATS
                    .map(|(format, _)| format)
                    .into_iter()
                    .find(|other| *other != format);
                let content = match other {
                    Some(other) if !is_empty => report(&world, other),
                    _ => String::new(),
                };

                let next = NextReport::new().content(content);
                let message = if is_empty { "is empty" } else { "byte " };
                is_invalid(&world, next, &[], &[message]).await;

                assert_eq!(told(&world), [serial]);
            });
        }
    }
}

#[test]
fn a_report_of_another_certificate_authority_is_told_and_is_no_complete_audit() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = watched(&[("REPORT_FORMAT", variable)]).await;
            let pca = world.aws.private_ca();
            let other = pca.create("Example Corp Other CA");
            let mut strange = pca.certificate(&other, "www.example.net");
            let at = world.aws.clock().now();
            strange.revoked_at = Some(at);
            strange.revocation_reason = Some("KEY_COMPROMISE".to_owned());
            let serial = strange.serial.clone();
            let mut all = pca.certificates(&world.cas[0]);
            all.push(strange);
            let report = render(&all, format, JsonLayout::TwoSpaces);
            world.revoked.borrow_mut().push(Revoked {
                ca: world.cas[0].clone(),
                serial: serial.clone(),
                reason: "KEY_COMPROMISE",
                at,
                is_earlier: false,
            });

            let next = NextReport::new().content(report);
            let message = "1 revoked records are of another certificate authority";
            is_invalid(&world, next, std::slice::from_ref(&serial), &[message]).await;

            assert_eq!(told(&world), [serial]);
            assert!(
                entries(&world)[0]["certificateArn"]
                    .as_str()
                    .is_some_and(|arn| arn.starts_with(&other))
            );
        });
    }
}

/// One bit, wherever it is: in a bracket, in a text, where the JSON stays valid and says another
/// thing.
#[test]
fn nothing_is_told_from_damaged_bytes_and_all_of_it_from_the_next_reading() {
    for (_, variable) in FORMATS {
        for at in [0, 150, 700, 1_000_003] {
            on_paused_clock(1, async {
                let world = watched(&[("REPORT_FORMAT", variable)]).await;
                let serial = world.revoke(0, "KEY_COMPROMISE");
                let reading = On::operation("GetObject").key_contains(REPORTS);
                world.aws.misbehave(reading, Fault::FlipByte { at });

                let audit = run_well(&world).await;

                assert_eq!(audit["published"], 1, "{audit:#}");
                let damaged = world.observed().runs[1].ended.clone();
                let Some(Ended::Failed(error)) = damaged else {
                    panic!("byte {at}: {damaged:?}");
                };
                assert!(error.message.contains("ReportCorrupted"), "{error}");
                assert_eq!(world.observed().runs.len(), 3);
                assert_eq!(told(&world), [serial]);
                comes_in_order(&world).await;
                assert_eq!(documents(&world, "watch-failed").len(), 0);
            });
        }
    }
}

#[test]
fn bytes_that_always_arrive_damaged_are_told_once_and_made_up_for() {
    let unfinished = named(
        "ReportUnfinished",
        &["2 attempts", REPORTS, "did not arrive as S3 holds it"],
        &["new report"],
    );
    on_paused_clock(
        1,
        lasts(unfinished, Left::All, |world| {
            let reading = On::operation("GetObject").key_contains(REPORTS).always();
            world.aws.misbehave(reading, Fault::FlipByte { at: 700 });
            |world: &World| world.aws.behave()
        }),
    );
}

/// What is odd about a revoked record, in which formats it can be so, and what is told of it.
type Odd = (
    fn(Certificate) -> Certificate,
    &'static [(ReportFormat, &'static str)],
    Value,
);

#[test]
fn an_odd_record_is_told_as_it_stands_and_once() {
    let json = &FORMATS[..1];
    let odd: [Odd; 9] = [
        (
            |c| c.with("serial", "not hex"),
            &FORMATS,
            json!({ "serial": "not hex" }),
        ),
        (
            |c| c.with("serial", Value::Null),
            &FORMATS,
            json!({ "serial": null }),
        ),
        (
            |c| {
                c.with("serial", Value::Null)
                    .with("certificateArn", Value::Null)
            },
            &FORMATS,
            json!({ "serial": null, "certificateArn": null }),
        ),
        (
            |c| c.with("revokedAt", "the day before yesterday"),
            &FORMATS,
            json!({ "revokedAt": "the day before yesterday" }),
        ),
        (
            |c| c.with("revokedAt", "2026-02-30T00:00:00+0000"),
            &FORMATS,
            json!({ "revokedAt": "2026-02-30T00:00:00+0000" }),
        ),
        (
            |c| c.with("revokedAt", 1_795_233_600),
            json,
            json!({ "revokedAt": "1795233600" }),
        ),
        (|c| c.with("revokedAt", true), json, json!({})),
        (|c| c.with("revocationReason", 1), json, json!({})),
        // Names of fields are known in any case: this is the second one.
        (|c| c.with("Subject", "CN=somebody else"), json, json!({})),
    ];
    for (change, formats, expected) in odd {
        for (_, variable) in formats {
            on_paused_clock(1, async {
                let world = watched(&[("REPORT_FORMAT", variable)]).await;
                add_revoked(&world, "KEY_COMPROMISE", change);

                let audit = run_well(&world).await;
                let again = run_well(&world).await;

                assert_eq!(audit["warnings"], json!(["1 records are valid but odd"]));
                let entries = entries(&world);
                assert_eq!(entries.len(), 1, "{entries:#?}");
                assert_eq!(entries[0]["odd"], true);
                for (field, value) in expected.as_object().expect("an object") {
                    assert_eq!(&entries[0][field], value, "{variable}: {:#}", entries[0]);
                }
                assert_eq!((&again["odd"], &again["published"]), (&json!(1), &json!(0)));
                assert_eq!(documents(&world, "watch-failed").len(), 0);
            });
        }
    }
}

/// Adds a certificate that is revoked now, changed; its serial.
fn add_revoked(world: &World, reason: &str, change: fn(Certificate) -> Certificate) -> String {
    let pca = world.aws.private_ca();
    let mut certificate = pca.certificate(&world.cas[0], "www.example.org");
    certificate.revoked_at = Some(world.aws.clock().now());
    certificate.revocation_reason = Some(reason.to_owned());
    let serial = certificate.serial.clone();
    pca.add(&world.cas[0], change(certificate));
    serial
}

#[test]
fn a_reason_that_nobody_knows_is_told_as_it_stands_and_as_high() {
    for (_, variable) in FORMATS {
        // What is no plain word stays out of the names that filter policies compare.
        for (reason, name) in [
            ("QUANTUM_BREAK", "QUANTUM_BREAK"),
            ("<b>gone</b>, \"so\"", "OTHER"),
        ] {
            on_paused_clock(1, async {
                let world = watched(&[("REPORT_FORMAT", variable)]).await;
                let serial = add_revoked(&world, reason, |certificate| certificate);

                run_well(&world).await;
                run_well(&world).await;

                let document = only(&world, "revocations");
                assert_eq!(document["severity"], "high");
                assert_eq!(document["reasons"], json!([name]));
                let entry = &document["revocations"][0];
                assert_eq!(
                    (&entry["serial"], &entry["reason"]),
                    (&json!(serial), &json!(reason))
                );
                assert_eq!(
                    (&entry["severity"], &entry["odd"]),
                    (&json!("high"), &Value::Null)
                );
            });
        }
    }
}

#[test]
fn a_serial_that_is_listed_twice_is_told_once() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = watched(&[("REPORT_FORMAT", variable)]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            let mut all = world.aws.private_ca().certificates(&world.cas[0]);
            let same = all.last().expect("there are some").clone();
            let other_spelling = serial.replace(':', "").to_uppercase();
            all.extend([same.clone(), same.with("serial", other_spelling)]);
            let report = render(&all, format, JsonLayout::TwoSpaces);
            next_report(&world, NextReport::new().content(report));

            let audit = run_well(&world).await;

            assert_eq!(
                (&audit["revoked"], &audit["published"]),
                (&json!(4), &json!(1))
            );
            assert_eq!(told(&world), [serial]);
            comes_in_order(&world).await;
        });
    }
}

#[test]
fn a_revocation_that_disappears_and_comes_back_is_warned_of_and_not_told_again() {
    for (_, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = watched(&[("REPORT_FORMAT", variable)]).await;
            let pca = world.aws.private_ca();
            let gone = world.revoke(0, "KEY_COMPROMISE");
            run_well(&world).await;
            let all = pca.certificates(&world.cas[0]);

            pca.set_certificates(&world.cas[0], all[..1].to_vec());
            let new = world.revoke(0, "SUPERSEDED");
            let audit = run_well(&world).await;

            assert_eq!(
                audit["warnings"],
                json!([
                    "the report holds 2 certificates, the one before held 3",
                    "the report holds 1 revocations, the one before held 2",
                ])
            );
            assert_eq!(control(&world)["told"], 3);
            let mut back = all;
            back.extend(pca.certificates(&world.cas[0]).split_off(1));
            pca.set_certificates(&world.cas[0], back);
            let audit = run_well(&world).await;
            assert_eq!(
                (&audit["revoked"], &audit["newRevocations"]),
                (&json!(3), &json!(0))
            );
            comes_in_order(&world).await;
            assert_eq!(told(&world), sorted([&gone, &new]));
            assert_eq!(documents(&world, "watch-failed").len(), 0);
        });
    }
}

/// `SUCCESS` without an object is believed for an hour.
#[test]
fn a_report_that_never_shows_is_waited_for_and_replaced() {
    on_paused_clock(1, async {
        let world = watched(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        next_report(&world, NextReport::new().outcome(Outcome::NotWritten));
        for _ in 0..2 {
            assert_eq!(run(&world).await["outcome"], "waiting");
        }

        let audit = run(&world).await;

        let vanished = named(
            "ReportVanished",
            &[REPORTS],
            &["new report", "lifecycle rules"],
        );
        assert_failed(&audit, &vanished);
        assert_failure_told(&world, &audit, 1);
        comes_in_order(&world).await;
        assert_same_fault(assert_failed_and_recovered_once(&world, vanished.kind));
        assert_eq!(told(&world), [serial]);
    });
}

/// `CREATING` is believed for a day; long before, people hear that there was no audit.
#[test]
fn a_report_that_is_never_ready_is_told_as_overdue_and_as_failed_each_once() {
    on_paused_clock(1, async {
        let world = watched(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        next_report(&world, NextReport::new().outcome(Outcome::Never));
        let mut outcomes = Vec::new();
        while outcomes.last() != Some(&json!("ReportFailed")) {
            assert!(outcomes.len() < 50, "{outcomes:?}");
            let audit = run(&world).await;
            outcomes.push(match &audit["error"]["type"] {
                Value::Null => audit["outcome"].clone(),
                kind => kind.clone(),
            });
        }
        outcomes.dedup();
        assert_eq!(outcomes, ["waiting", "ReportOverdue", "ReportFailed"]);

        comes_in_order(&world).await;

        let kind = |document: &Value| document["error"]["type"].clone();
        let failed = documents(&world, "watch-failed");
        let kinds: Vec<Value> = failed.iter().map(kind).collect();
        assert_eq!(kinds, ["ReportOverdue", "ReportFailed"]);
        assert_eq!(kind(&only(&world, "watch-recovered")), "ReportFailed");
        assert_eq!(told(&world), [serial]);
    });
}

// States that are not right.

/// Whether the bucket is versioned, as the template's is.
async fn watched_in(versioned: bool) -> World {
    let world = World::new(1, 1, &[]);
    world.aws.s3().set_versioning(BUCKET, versioned);
    first_audit(world).await
}

/// Lambda runs the next run in a new process: the one that it begins in dies.
fn new_process(world: &World) {
    world.kill_at_key(control_key(world, 0));
}

/// Puts these bytes in the place of the object.
type Spoil = fn(&World, &str, &str);

fn put(world: &World, key: &str, content: String) {
    world.aws.s3().put(BUCKET, key, content);
}

const CUT: Spoil = |world, key, content| put(world, key, content[..content.len() / 2].to_owned());
const EMPTY: Spoil = |world, key, _| put(world, key, String::new());
const DELETED: Spoil = |world, key, _| world.aws.s3().delete(BUCKET, key);
const NEWER: Spoil = |world, key, content| {
    let newer = content.replacen("\"version\": 1", "\"version\": 99", 1);
    put(
        world,
        key,
        newer.replacen("\"version\":1", "\"version\":99", 1),
    );
};
const OF_ANOTHER: Spoil = |world, key, content| {
    let (ours, another) = (&world.cas[0], "00000000-1111-2222-3333-444444444444");
    let id = ours.rsplit('/').next().expect("an ARN has an id");
    put(
        world,
        key,
        content.replace(ours, &ours.replace(id, another)),
    );
};
/// Somebody edited it, and an entry got lost.
const SHORT: Spoil = |world, key, content| {
    let mut list: Value = serde_json::from_str(content).expect("the list is JSON");
    list["told"].as_array_mut().expect("a list").pop();
    put(world, key, list.to_string());
};
/// A whole list, but an earlier one.
const EARLIER: Spoil = |world, key, content| {
    let mut list: Value = serde_json::from_str(content).expect("the list is JSON");
    let told = list["told"].as_array_mut().expect("a list");
    told.pop();
    list["count"] = json!(told.len());
    put(world, key, list.to_string());
};

const RESTORE: &[&str] = &[
    "never overwritten",
    "earlier version",
    "deleting the newer versions",
    "start anew",
    "docs/operations.md",
];
const DEPLOY: &[&str] = &["Deploy that version", "restore an earlier version"];

/// An object of the state is not right for three runs, the second of which begins in a new process:
/// told once, never overwritten, nothing told meanwhile, and all of it when the object is back.
async fn is_restored(world: World, key: fn(&World) -> String, named: Named, spoil: Spoil) {
    let known = world.revoke(0, "KEY_COMPROMISE");
    run_well(&world).await;
    let key = key(&world);
    let named = Named {
        message: named.message.into_iter().chain([key.clone()]).collect(),
        ..named
    };
    let s3 = world.aws.s3();
    let whole = s3.get(BUCKET, &key).expect("it is there");
    spoil(&world, &key, str::from_utf8(&whole).expect("JSON is text"));
    let spoiled = s3.versions(BUCKET, &key);
    let meanwhile = world.revoke(0, "SUPERSEDED");
    for number in 0..3 {
        if number == 1 {
            new_process(&world);
        }
        let audit = run(&world).await;
        assert_failed(&audit, &named);
        assert_failure_told(&world, &audit, 1);
        assert_eq!(s3.versions(BUCKET, &key), spoiled);
        assert_eq!(told(&world), std::slice::from_ref(&known));
    }

    s3.put(BUCKET, &key, whole);
    comes_in_order(&world).await;

    assert_eq!(told(&world), sorted([&known, &meanwhile]));
    assert_failed_and_recovered_once(&world, named.kind);
    assert_eq!(s3.keys(BUCKET, &marker_key(&world)), [""; 0]);
}

/// What remembers a fault that no control document could record.
fn marker_key(world: &World) -> String {
    control_key(world, 0).replace(".json", "/fault.json")
}

fn control_document(world: &World) -> String {
    control_key(world, 0)
}

#[test]
fn a_control_document_that_is_not_right_is_told_once_and_never_overwritten() {
    for (spoil, message) in [
        (CUT, "is not a control document"),
        (EMPTY, "is not a control document"),
        (OF_ANOTHER, "belongs to "),
        (DELETED, "was deleted"),
    ] {
        on_paused_clock(1, async {
            let unreadable = named("StateUnreadable", &[message], RESTORE);
            is_restored(watched_in(true).await, control_document, unreadable, spoil).await;
        });
    }
}

/// Without versions nothing but the told list shows that there was a control document.
#[test]
fn a_control_document_that_was_deleted_without_a_trace_is_no_fresh_start() {
    on_paused_clock(1, async {
        let deleted = named("StateUnreadable", &["was deleted"], RESTORE);
        is_restored(watched_in(false).await, control_document, deleted, DELETED).await;
    });
}

/// In a versioned bucket, deleting leaves the versions behind, and nobody knows that it was on
/// purpose.
#[test]
fn a_state_that_was_deleted_whole_is_no_fresh_start_as_long_as_its_versions_are_there() {
    on_paused_clock(1, async {
        let world = watched_in(true).await;
        let known = world.revoke(0, "KEY_COMPROMISE");
        run_well(&world).await;
        let s3 = world.aws.s3();
        let get = |key: String| (s3.get(BUCKET, &key).expect("it is listed"), key);
        let kept: Vec<_> = s3.keys(BUCKET, STATE).into_iter().map(get).collect();
        for (_, key) in &kept {
            s3.delete(BUCKET, key);
        }
        let new = world.revoke(0, "SUPERSEDED");

        let audit = run(&world).await;

        let deleted = named("StateUnreadable", &["was deleted"], RESTORE);
        assert_failed(&audit, &deleted);
        assert_failure_told(&world, &audit, 1);
        for (bytes, key) in kept {
            s3.put(BUCKET, &key, bytes);
        }
        comes_in_order(&world).await;
        assert_eq!(told(&world), sorted([&known, &new]));
        assert_failed_and_recovered_once(&world, "StateUnreadable");
    });
}

#[test]
fn a_control_document_of_a_newer_version_is_told_once_and_never_overwritten() {
    on_paused_clock(1, async {
        let newer = named("StateNewer", &["version 99", "up to 1"], DEPLOY);
        is_restored(watched_in(true).await, control_document, newer, NEWER).await;
    });
}

#[test]
fn a_told_list_that_is_not_right_is_told_once_and_never_overwritten() {
    for (spoil, message) in [
        (CUT, "cannot be read"),
        (EMPTY, "cannot be read"),
        (OF_ANOTHER, "belongs to another certificate authority"),
        (SHORT, "cannot be read"),
        (EARLIER, "where the control document says 2"),
        (DELETED, "is gone"),
    ] {
        on_paused_clock(1, async {
            let unreadable = named("StateUnreadable", &[message], RESTORE);
            is_restored(watched_in(true).await, told_list, unreadable, spoil).await;
        });
    }
}

#[test]
fn a_told_list_of_a_newer_version_is_told_once_and_never_overwritten() {
    on_paused_clock(1, async {
        let newer = named("StateNewer", &["told list", "version is 99"], DEPLOY);
        is_restored(watched_in(true).await, told_list, newer, NEWER).await;
    });
}

/// As `message.schema.json` says of `error.type` and `since`, whichever process sees the end.
#[test]
fn the_end_of_an_unreadable_state_is_told_by_the_name_and_the_beginning_of_the_fault() {
    for is_new_process in [false, true] {
        for spoil in [CUT, NEWER] {
            on_paused_clock(1, async {
                let world = watched_in(true).await;
                let key = control_key(&world, 0);
                let whole = world.aws.s3().get(BUCKET, &key).expect("it is there");
                spoil(&world, &key, str::from_utf8(&whole).expect("JSON is text"));
                let audit = run(&world).await;
                world.aws.s3().put(BUCKET, &key, whole);
                if is_new_process {
                    new_process(&world);
                }

                run_well(&world).await;

                let kind = audit["error"]["type"].as_str().expect("it failed");
                assert_same_fault(assert_failed_and_recovered_once(&world, kind));
            });
        }
    }
}

/// A world whose state went back to before `later` was told, and the key and bytes of the told list
/// of then, which has been removed since.
async fn gone_back() -> (World, [String; 2], (String, bytes::Bytes)) {
    let world = watched_in(true).await;
    let s3 = world.aws.s3();
    let early = world.revoke(0, "KEY_COMPROMISE");
    run_well(&world).await;
    let (key, list) = (control_key(&world, 0), told_list(&world));
    let old = s3.get(BUCKET, &key).expect("there is a state");
    let old_list = s3.get(BUCKET, &list).expect("there is a list");
    let later = world.revoke(0, "SUPERSEDED");
    run_well(&world).await;
    assert_eq!(s3.get(BUCKET, &list), None);
    s3.put(BUCKET, &key, old);
    (world, [early, later], (list, old_list))
}

/// `later` was told a second time as the same, and nothing else was.
fn assert_told_again(world: &World, [early, later]: &[String; 2], new: &String) {
    assert_eq!(told(world), sorted([early, later, later, new]));
    let entries = entries(world);
    let mut ids = entries
        .iter()
        .filter(|entry| entry["serial"] == later.as_str())
        .map(|entry| &entry["revocationId"]);
    assert_eq!(ids.next(), ids.next());
    // The one before the look-back is remembered, too.
    assert_eq!(control(world)["told"], 4);
    assert_eq!(documents(world, "watch-started").len(), 1);
}

#[test]
fn an_earlier_version_of_the_state_tells_again_as_the_same_and_loses_none() {
    on_paused_clock(1, async {
        let (world, serials, (list, bytes)) = gone_back().await;
        world.aws.s3().put(BUCKET, &list, bytes);
        let new = world.revoke(0, "UNSPECIFIED");

        run_well(&world).await;
        run_well(&world).await;

        assert_told_again(&world, &serials, &new);
        assert_eq!(documents(&world, "watch-failed").len(), 0);
    });
}

#[test]
fn an_earlier_version_of_the_state_without_its_told_list_tells_nothing_until_that_is_back() {
    on_paused_clock(1, async {
        let (world, serials, (list, bytes)) = gone_back().await;
        let new = world.revoke(0, "UNSPECIFIED");
        let gone = named("StateUnreadable", &[&list, "is gone"], RESTORE);
        for _ in 0..3 {
            let audit = run(&world).await;
            assert_failed(&audit, &gone);
            assert_failure_told(&world, &audit, 1);
            assert_eq!(told(&world), sorted([&serials[0], &serials[1]]));
        }

        world.aws.s3().put(BUCKET, &list, bytes);
        run_well(&world).await;
        run_well(&world).await;

        assert_told_again(&world, &serials, &new);
        assert_failed_and_recovered_once(&world, "StateUnreadable");
    });
}

/// What was revoked within the look-back is told by the first audit of a fresh start, too; it has the
/// same id as before.
#[test]
fn a_state_that_was_deleted_whole_on_purpose_is_a_fresh_start() {
    on_paused_clock(1, async {
        let world = watched_in(false).await;
        let recent = world.revoke(0, "KEY_COMPROMISE");
        run_well(&world).await;
        let s3 = world.aws.s3();
        for key in s3.keys(BUCKET, STATE) {
            s3.delete(BUCKET, &key);
        }
        let new = world.revoke(0, "SUPERSEDED");

        run_well(&world).await;
        run_well(&world).await;

        assert_eq!(told(&world), sorted([&recent, &recent, &new]));
        let entries = entries(&world);
        let again = entries.iter().filter(|e| e["serial"] == recent.as_str());
        let ids: Vec<_> = again.map(|entry| &entry["revocationId"]).collect();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(control(&world)["told"], 3);
        assert_eq!(documents(&world, "watch-started").len(), 2);
        assert_eq!(documents(&world, "watch-failed").len(), 0);
    });
}
