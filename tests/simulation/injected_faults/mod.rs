//! Injected faults that last: AWS resources in the wrong condition, invalid reports, invalid state and
//! concurrent runs. Checks each error's type and wording, that it is alerted once, and that it neither
//! loses nor repeats a revocation.
//!
//! These are whole runs in the simulated world, scheduled half an hour apart. `worlds.rs` injects
//! failures of single calls, and `tests/runs/crash.rs` kills the real binary.

mod causes;
mod health;
mod implausible;
mod investigation;
mod load;
mod overdue;
mod publishing;
mod reports;
mod requests;
mod responses;
mod runs;
mod states;
mod summary;
mod workers;

use crate::simulator::checks;
use crate::simulator::scenario::{control_key, health_key};
use crate::simulator::world::{BUCKET, Ended, InvokeOptions, PERIOD, World};
use local_aws::ReportFormat;
use serde_json::{Value, json};

const REPORTS: &str = "audit-report/";
const STATE: &str = "revocation-watch/";

const FORMATS: [(ReportFormat, &str); 2] =
    [(ReportFormat::Json, "JSON"), (ReportFormat::Csv, "CSV")];

/// An error's type, and the words that its message and hint need so that a reader knows what happened
/// to which resource, and what to do.
struct ExpectedError {
    kind: &'static str,
    message: Vec<String>,
    hint: &'static [&'static str],
}

fn expected_error(
    kind: &'static str,
    message: &[&str],
    hint: &'static [&'static str],
) -> ExpectedError {
    let message = message.iter().map(|&word| word.to_owned()).collect();
    ExpectedError {
        kind,
        message,
        hint,
    }
}

/// Returns a world whose CA was audited once.
async fn audited_world(variables: &[(&str, &str)]) -> World {
    first_audit(World::new(1, 1, variables)).await
}

async fn first_audit(world: World) -> World {
    world.issue(0);
    world.revoke_long_ago(0, "SUPERSEDED");
    world.schedule(InvokeOptions::default()).await;
    world
}

/// Runs the next scheduled invocation and returns its entry for the first CA.
async fn run(world: &World) -> Value {
    let periods = (world.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
    world.until(PERIOD * periods).await;
    audit_of(&world.schedule(InvokeOptions::default()).await).clone()
}

/// Runs the next scheduled invocation and returns the whole response.
async fn run_all(world: &World) -> Value {
    world.next_period().await;
    let ended = world.schedule(InvokeOptions::default()).await;
    let response = ended.response();
    response.unwrap_or_else(|| panic!("{ended:?}")).clone()
}

/// Runs the next scheduled invocation, which must audit every CA.
async fn run_all_audited(world: &World) -> Value {
    let response = run_all(world).await;
    assert_eq!(response["status"], "ok", "{response:#}");
    let audits = response["certificateAuthorities"].as_array();
    let mut audits = audits.expect("a list").iter();
    assert!(
        audits.all(|audit| audit["outcome"] == "audited"),
        "{response:#}"
    );
    response
}

/// Returns the warnings of an audit or of a response, one per line.
fn warnings(response: &Value) -> String {
    let all = response["warnings"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// Returns an invocation's entry for the first CA.
fn audit_of(ended: &Ended) -> &Value {
    let response = ended.response().unwrap_or_else(|| panic!("{ended:?}"));
    &response["certificateAuthorities"][0]
}

/// Runs the next scheduled invocation, which must audit the first CA.
async fn run_audited(world: &World) -> Value {
    let audit = run(world).await;
    assert_eq!(audit["outcome"], "audited", "{audit:#}");
    audit
}

/// Checks after two undisturbed runs that every revocation was alerted, nothing was repeated or invented,
/// the state is consistent, and `watch-failed` and `watch-recovered` alternate.
async fn assert_settles(world: &World) {
    let violations = checks::quiet_runs(world, 2).await;
    let story = || world.story().join("\n");
    assert!(
        violations.is_empty(),
        "{}\n{}",
        violations.join("\n"),
        story()
    );
}

/// Checks that the revocation was alerted once, and that no error was alerted.
async fn assert_alerted_once_without_errors(world: &World, serial: &str) {
    assert_settles(world).await;
    assert_eq!(alerted_serials(world), [serial]);
    assert_eq!(messages_of_type(world, "watch-failed").len(), 0);
}

/// Returns the JSON messages, oldest first.
fn messages(world: &World) -> Vec<Value> {
    let published = world.aws.sns().messages();
    let messages = published.iter().map(|message| {
        let text = &message.variants["default"];
        serde_json::from_str(text).expect("the message is JSON")
    });
    messages.collect()
}

/// Returns the JSON messages of a type, oldest first.
fn messages_of_type(world: &World, kind: &str) -> Vec<Value> {
    let messages = messages(world).into_iter();
    messages.filter(|message| message["type"] == kind).collect()
}

/// Returns the types of all messages, oldest first.
fn types(world: &World) -> Vec<String> {
    let kind = |message: &Value| message["type"].as_str().unwrap_or_default().to_owned();
    messages(world).iter().map(kind).collect()
}

/// Returns the only message of a type.
fn only_message(world: &World, kind: &str) -> Value {
    let mut messages = messages_of_type(world, kind);
    assert_eq!(messages.len(), 1, "{kind}: {messages:#?}");
    messages.remove(0)
}

/// Returns every entry of every `revocations` message, including repeats.
fn alerted_entries(world: &World) -> Vec<Value> {
    let entries = |message: Value| message["revocations"].as_array().cloned();
    messages_of_type(world, "revocations")
        .into_iter()
        .flat_map(|message| entries(message).expect("a list"))
        .collect()
}

/// Returns the serials of these entries, sorted.
fn alerted_serials(world: &World) -> Vec<String> {
    let serial = |entry: &Value| entry["serial"].as_str().unwrap_or_default().to_owned();
    let mut serials: Vec<String> = alerted_entries(world).iter().map(serial).collect();
    serials.sort();
    serials
}

fn sorted<const N: usize>(serials: [&String; N]) -> Vec<String> {
    let mut serials = serials.map(Clone::clone).to_vec();
    serials.sort();
    serials
}

/// Returns the control document of the first CA.
fn control(world: &World) -> Value {
    document(world, &control_key(world, 0))
}

/// Returns the health document.
fn health(world: &World) -> Value {
    document(world, &health_key(world))
}

fn document(world: &World, key: &str) -> Value {
    let bytes = world.aws.s3().get(BUCKET, key);
    serde_json::from_slice(&bytes.expect("there is a state")).expect("the state is JSON")
}

/// Returns the key of the notified set.
fn notified_set(world: &World) -> String {
    control(world)["notifiedSet"]
        .as_str()
        .expect("there is a notified set")
        .to_owned()
}

fn assert_failed(audit: &Value, expected_error: &ExpectedError) {
    assert_eq!(audit["outcome"], "failed", "{audit:#}");
    let error = &audit["error"];
    assert_eq!(error["type"], expected_error.kind, "{audit:#}");
    let has = |text: &Value, word: &str| text.as_str().is_some_and(|text| text.contains(word));
    for word in &expected_error.message {
        assert!(has(&error["message"], word), "{word:?} in {error:#}");
    }
    for word in expected_error.hint {
        assert!(has(&error["hint"], word), "{word:?} in {error:#}");
    }
}

/// Checks that `watch-failed` was published this often, with the response's error.
fn assert_failure_alerted(world: &World, audit: &Value, times: usize) {
    let failed = messages_of_type(world, "watch-failed");
    assert_eq!(failed.len(), times, "{failed:#?}");
    for message in failed {
        assert_eq!(message["error"]["type"], audit["error"]["type"]);
        assert_eq!(message["error"]["hint"], audit["error"]["hint"]);
        assert_eq!(message["certificateAuthorityArns"], json!([world.cas[0]]));
    }
    assert_eq!(messages_of_type(world, "watch-recovered").len(), 0);
}

/// Checks that `watch-failed` and `watch-recovered` were published once each, and returns them.
fn assert_failed_and_recovered_once(world: &World, kind: &str) -> (Value, Value) {
    let (failed, recovered) = (
        only_message(world, "watch-failed"),
        only_message(world, "watch-recovered"),
    );
    assert_eq!(failed["error"]["type"], kind);
    (failed, recovered)
}

/// Checks that the recovery has the type, resource, start and CAs of the error.
fn assert_same_error((failed, recovered): (Value, Value)) {
    assert_eq!(failed["error"]["type"], recovered["error"]["type"]);
    assert_eq!(failed["error"]["resource"], recovered["error"]["resource"]);
    for field in ["since", "certificateAuthorityArns"] {
        assert_eq!(failed[field], recovered[field], "{field}");
    }
}

fn put(world: &World, key: &str, content: String) {
    world.aws.s3().put(BUCKET, key, content);
}

/// Makes Lambda repeat the next run in a new process: the first one dies.
fn crash_next_run(world: &World) {
    world.kill_at_key(control_key(world, 0));
}

/// What an error still reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Available {
    /// SNS and the health document.
    Everything,
    /// The response and the log only.
    ResponseOnly,
}

/// Runs the schedule three times under a fault that `begin` starts and the closure it returns ends.
/// Revocations from before and during the fault are alerted once, after its end.
///
/// The error and its end are alerted once each, although the second run starts in a new process, unless
/// SNS itself or the health document is affected.
async fn assert_alerted_once_while_it_lasts<E: FnOnce(&World)>(
    expected_error: ExpectedError,
    available: Available,
    begin: impl FnOnce(&World) -> E,
) {
    let is_alerted = available == Available::Everything;
    let world = audited_world(&[]).await;
    let before = world.revoke(0, "KEY_COMPROMISE");
    world.was_refused.set(true);
    let end = begin(&world);
    // A CA that does not exist cannot revoke.
    let during = (expected_error.kind != "CertificateAuthorityNotFound")
        .then(|| world.revoke(0, "SUPERSEDED"));
    for number in 0..3 {
        if number == 1 {
            crash_next_run(&world);
        }
        let audit = run(&world).await;
        assert_failed(&audit, &expected_error);
        assert_failure_alerted(&world, &audit, usize::from(is_alerted));
        assert_eq!(alerted_serials(&world), [""; 0]);
    }

    end(&world);
    assert_settles(&world).await;

    let mut expected: Vec<String> = during.into_iter().chain([before]).collect();
    expected.sort();
    assert_eq!(alerted_serials(&world), expected);
    if !is_alerted {
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
        assert_eq!(messages_of_type(&world, "watch-recovered").len(), 0);
        return;
    }
    assert_same_error(assert_failed_and_recovered_once(
        &world,
        expected_error.kind,
    ));
}
