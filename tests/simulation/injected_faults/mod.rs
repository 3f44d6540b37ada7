//! Answers that are no errors of a call, reports that are not right, states that are not right, and
//! two runs at once: how each is called, that it is told once, and that nothing is lost or repeated
//! over it.
//!
//! Whole runs in the simulated world, scheduled ones half an hour apart. Faults of single calls are
//! the matter of `simulation.rs`, kills of the real binary that of `crash.rs`.

mod reports;
mod responses;
mod runs;
mod states;

use crate::simulator::checks;
use crate::simulator::scenario::control_key;
use crate::simulator::world::{BUCKET, Ended, How, PERIOD, World};
use local_aws::ReportFormat;
use serde_json::Value;

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
async fn audited_world(variables: &[(&str, &str)]) -> World {
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
    audit_of(&world.schedule(How::default()).await).clone()
}

/// What an invocation answered for the first certificate authority.
fn audit_of(ended: &Ended) -> &Value {
    let response = ended.response().unwrap_or_else(|| panic!("{ended:?}"));
    &response["certificateAuthorities"][0]
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

/// In the end the revocation was told once, and people heard nothing of what went wrong meanwhile.
async fn is_told_once_without_a_word(world: &World, serial: &str) {
    comes_in_order(world).await;
    assert_eq!(told(world), [serial]);
    assert_eq!(documents(world, "watch-failed").len(), 0);
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

fn notified_set(world: &World) -> String {
    control(world)["notifiedSet"]
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

fn put(world: &World, key: &str, content: String) {
    world.aws.s3().put(BUCKET, key, content);
}

/// Lambda runs the next run in a new process: the one that it begins in dies.
fn new_process(world: &World) {
    world.kill_at_key(control_key(world, 0));
}

/// What is left to tell and to remember a fault with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// SNS and the state.
    All,
    /// SNS, and an object beside the state, which cannot be read itself.
    Note,
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
    let world = audited_world(&[]).await;
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
