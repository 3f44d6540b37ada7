//! What must hold of a world in the end, whatever went wrong in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use local_aws::{Call, Fault};
use pca_revocation_watch::arn::CertificateAuthorityArn;
use pca_revocation_watch::state::control::Control;
use pca_revocation_watch::state::notified_set::NotifiedSetReader;
use serde_json::Value;

use super::plan::{Blow, leaves_in_doubt};
use super::scenario::control_key;
use super::world::{BUCKET, Ended, How, PERIOD, Revoked, Run, Seen, World};

/// Lets runs go by in which nothing goes wrong, and lists what is out of order then.
pub async fn quiet_runs(world: &World, runs: u32) -> Vec<String> {
    world.disarm();
    let mut violations = Vec::new();
    let mut last = None;
    for _ in 0..runs {
        let periods = (world.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
        world.until(PERIOD * periods).await;
        last = world.schedule(How::default()).await.response().cloned();
    }
    // Each certificate authority was audited completely again, and the answer says so.
    let response = last.unwrap_or_default();
    if response["status"] != "ok" {
        violations.push(format!("the last quiet run answered {response}"));
    }
    for audit in response["certificateAuthorities"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if audit["outcome"] != "audited" {
            violations.push(format!("not audited by the last quiet run: {audit}"));
        }
    }
    violations.extend(all(world));
    violations
}

/// What is out of order now, provided that the last run went well.
pub fn all(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let messages = Messages::of(world);
    each_revocation_is_told(world, &messages, &mut violations);
    nothing_else_is_told(world, &messages, &mut violations);
    states_are_consistent(world, &mut violations);
    the_state_comes_first(world, &mut violations);
    the_watch_speaks_once(world, &messages, &mut violations);
    answers_come_in_time(world, &mut violations);
    faults_are_visible(world, &mut violations);
    violations
}

struct Messages {
    /// Each with its number among all.
    documents: Vec<(usize, Value)>,
}

impl Messages {
    fn of(world: &World) -> Self {
        let documents = world
            .aws
            .sns()
            .messages()
            .iter()
            .enumerate()
            .filter(|(_, message)| message.topic_arn == world.topic)
            .map(|(number, message)| {
                let text = &message.variants["default"];
                (
                    number,
                    serde_json::from_str(text).expect("the document is JSON"),
                )
            })
            .collect();
        Self { documents }
    }

    fn of_type(&self, kind: &str) -> impl Iterator<Item = &(usize, Value)> {
        self.documents
            .iter()
            .filter(move |(_, document)| document["type"] == kind)
    }
}

/// What a message of revocations tells, the full list included: serial and the rest.
fn told(world: &World, document: &Value) -> Vec<Value> {
    if document["complete"] == false
        && let Some(key) = document["fullList"]["key"].as_str()
    {
        let list = world
            .aws
            .s3()
            .get(BUCKET, key)
            .expect("a full list that is named is there");
        let lines = String::from_utf8(list.to_vec()).expect("the full list is text");
        return lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON lines"))
            .collect();
    }
    document["revocations"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn each_revocation_is_told(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    let mut tellings: HashMap<(String, String), Vec<(usize, String)>> = HashMap::new();
    for (number, document) in messages.of_type("revocations") {
        let ca = document["certificateAuthorityArn"]
            .as_str()
            .unwrap_or_default();
        for revocation in told(world, document) {
            let serial = revocation["serial"].as_str().unwrap_or_default();
            let id = revocation["revocationId"].as_str().unwrap_or_default();
            tellings
                .entry((ca.to_owned(), serial.to_owned()))
                .or_default()
                .push((*number, id.to_owned()));
        }
    }
    for revoked in world.revoked.borrow().iter() {
        let key = (revoked.ca.clone(), revoked.serial.clone());
        let told = tellings.get(&key).map(Vec::as_slice).unwrap_or_default();
        match (told, revoked.is_earlier) {
            ([], false) => violations.push(format!("LOST: {revoked:?} was never told")),
            ([_, ..], true) => {
                violations.push(format!("NOISE: {revoked:?} is before the look-back"))
            }
            _ => {}
        }
        for pair in told.windows(2) {
            if pair[0].1 != pair[1].1 {
                violations.push(format!("{} was told with two identities", revoked.serial));
            }
            if !may_be_repeated(world, pair[0].0, pair[1].0) {
                violations.push(format!(
                    "NOISE: {} was told twice without need",
                    revoked.serial
                ));
            }
        }
    }
}

/// Whether a message may be told again as a later one: the process died, or a reply was lost, between
/// SNS's acceptance and the saved state, or the later one was on its way before.
fn may_be_repeated(world: &World, message: usize, later: usize) -> bool {
    was_not_remembered(world, message)
        || was_in_doubt(world, later)
        || had_no_state(world, message)
        || had_no_state(world, later)
}

fn was_not_remembered(world: &World, message: usize) -> bool {
    let observed = world.observed();
    let Some(&(run, publish)) = observed.published_by.get(message) else {
        return true;
    };
    let Some(run) = observed.runs.get(run) else {
        return true;
    };
    if matches!(run.ended, None | Some(Ended::Killed | Ended::TimedOut)) {
        return true;
    }
    let later = &run.calls[publish + 1..];
    let state_was_refused = || {
        let puts = later
            .iter()
            .filter(|seen| seen.call.operation == "PutObject");
        let given_up = given_up(puts);
        !given_up.is_empty()
    };
    in_doubt(run, &run.calls[publish]) || state_was_refused()
}

/// Whether the run that published a message could not read or write all of its state.
fn had_no_state(world: &World, message: usize) -> bool {
    let observed = world.observed();
    let run = observed
        .published_by
        .get(message)
        .and_then(|&(run, _)| observed.runs.get(run));
    run.is_none_or(|run| {
        let of_state = |seen: &&Seen| seen.call.service == local_aws::Service::S3;
        !given_up(run.calls.iter().filter(of_state)).is_empty()
    })
}

/// Whether whoever published a message could not know that SNS accepted it.
fn was_in_doubt(world: &World, message: usize) -> bool {
    let observed = world.observed();
    let Some(&(run, publish)) = observed.published_by.get(message) else {
        return true;
    };
    observed
        .runs
        .get(run)
        .is_none_or(|run| in_doubt(run, &run.calls[publish]))
}

fn in_doubt(run: &Run, seen: &Seen) -> bool {
    match seen.struck.as_ref().map(|strike| &strike.blow) {
        Some(Blow::Fault(_, Fault::Late(by) | Fault::Delayed(by)))
            if run.ended_at.is_none_or(|end| end <= seen.call.at + *by) =>
        {
            true
        }
        Some(Blow::Fault(_, fault)) => leaves_in_doubt(fault),
        Some(_) => true,
        None => false,
    }
}

/// The calls that the SDK gave up on, by its own identifier; the last attempt of each.
fn given_up<'a>(calls: impl Iterator<Item = &'a Seen>) -> Vec<&'a Seen> {
    let mut last: BTreeMap<Option<&str>, (&Seen, bool)> = BTreeMap::new();
    for seen in calls {
        let struck = seen.struck.is_some();
        let entry = last
            .entry(seen.call.invocation_id.as_deref())
            .or_insert((seen, struck));
        *entry = (seen, entry.1 || struck);
    }
    last.into_values()
        .filter(|(seen, struck)| *struck && !delivered(seen))
        .map(|(seen, _)| seen)
        .collect()
}

/// Whether the caller got the answer, whole and in time.
fn delivered(seen: &Seen) -> bool {
    match seen.struck.as_ref().map(|strike| &strike.blow) {
        None => true,
        Some(Blow::Fault(_, Fault::Late(by) | Fault::Delayed(by))) => by.as_secs() < 30,
        // A body shorter than the cut is not harmed, and not everybody reads bodies.
        Some(Blow::Fault(
            _,
            Fault::CutBody { .. } | Fault::StallBody { .. } | Fault::FlipByte { .. },
        )) => true,
        Some(_) => false,
    }
}

fn nothing_else_is_told(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    let revoked = world.revoked.borrow();
    let find = |ca: &str, serial: &str| -> Option<&Revoked> {
        revoked
            .iter()
            .find(|revoked| revoked.ca == ca && revoked.serial == serial)
    };
    for (_, document) in messages
        .documents
        .iter()
        .filter(|(_, d)| d["type"] == "revocations" || d["type"] == "replay")
    {
        let ca = document["certificateAuthorityArn"]
            .as_str()
            .unwrap_or_default();
        for told in told(world, document) {
            let serial = told["serial"].as_str().unwrap_or_default();
            let Some(revoked) = find(ca, serial) else {
                violations.push(format!("INVENTED: {told} was never revoked"));
                continue;
            };
            let at = super::world::timestamp(&told["revokedAt"]);
            if told["reason"] != revoked.reason || at != Some(revoked.at.into()) {
                violations.push(format!("DISTORTED: {told} is {revoked:?} in truth"));
            }
        }
    }
}

fn states_are_consistent(world: &World, violations: &mut Vec<String>) {
    for (number, ca) in world.cas.iter().enumerate() {
        let key = control_key(world, number);
        let arn = CertificateAuthorityArn::parse(ca).expect("the world's ARNs are right");
        let Some(bytes) = world.aws.s3().get(BUCKET, &key) else {
            violations.push(format!("{key} is not there"));
            continue;
        };
        let control = match Control::read(&bytes, &arn, &key) {
            Ok(control) => control,
            Err(fault) => {
                violations.push(format!("{fault}"));
                continue;
            }
        };
        if control.lease.is_some() || control.pending_report.is_some() || control.error.is_some() {
            violations.push(format!("{key} is not at rest: {control:?}"));
        }
        let note = key.replace(".json", "/error.json");
        if world.aws.s3().get(BUCKET, &note).is_some() {
            violations.push(format!("{note} is still there"));
        }
        let mut told = BTreeSet::new();
        let list = control
            .notified_set
            .as_deref()
            .and_then(|key| world.aws.s3().get(BUCKET, key));
        if let Some(list) = list {
            let mut reader = NotifiedSetReader::new(ca);
            match reader.feed(&list).and_then(|()| reader.finish()) {
                Ok(list) => told.extend(list.keys().map(|key| key.to_string())),
                Err(error) => violations.push(format!("the told list of {ca}: {error}")),
            }
        }
        let revoked = world.revoked.borrow();
        let expected: BTreeSet<String> = revoked
            .iter()
            .filter(|revoked| revoked.ca == *ca)
            .map(|revoked| {
                revoked
                    .serial
                    .replace(':', "")
                    .trim_start_matches("00")
                    .to_owned()
            })
            .collect();
        if told != expected {
            violations.push(format!(
                "the told list of {ca} holds {told:?}, not {expected:?}"
            ));
        }
    }
}

/// A report is in the state before it is waited for, and its scan is counted there before it starts.
fn the_state_comes_first(world: &World, violations: &mut Vec<String>) {
    for (number, run) in world.observed().runs.iter().enumerate() {
        let counts = run.payload["dryRun"].is_null() && run.payload["since"].is_null();
        for (ca, arn) in world.cas.iter().enumerate() {
            let control = control_key(world, ca);
            let reports = format!(
                "audit-report/{}/",
                arn.rsplit('/').next().unwrap_or_default()
            );
            let (mut unsaved, mut uncounted, mut requested) = (false, false, false);
            for Seen { call, .. } in &run.calls {
                let is_report = call
                    .key
                    .as_ref()
                    .is_some_and(|key| key.starts_with(&reports));
                match call.operation.as_str() {
                    "CreateCertificateAuthorityAuditReport" => {
                        let is_ours = call.certificate_authority_arn.as_ref() == Some(arn);
                        unsaved |= is_ours;
                        // Its scan is counted in the same write as the request.
                        requested |= is_ours;
                    }
                    "PutObject" if call.key.as_ref() == Some(&control) => {
                        (unsaved, uncounted) = (false, false);
                    }
                    "HeadObject" if is_report && unsaved => {
                        violations.push(format!(
                            "UNRECORDED: run {number} waited for {:?}",
                            call.key
                        ));
                    }
                    "HeadObject" if is_report => uncounted = counts && !requested,
                    "GetObject" if is_report && uncounted => {
                        violations.push(format!("UNCOUNTED: run {number} read {:?}", call.key));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// `watch-started` once, `watch-failed` and `watch-recovered` in turns.
fn the_watch_speaks_once(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    for ca in &world.cas {
        let of_ca = |kind| {
            messages
                .of_type(kind)
                .filter(|(_, document)| document["certificateAuthorityArn"] == ca.as_str())
                .map(|(number, _)| *number)
                .collect::<Vec<_>>()
        };
        let started = of_ca("watch-started");
        if started.is_empty() {
            violations.push(format!("the watch over {ca} never said that it started"));
        }
        for pair in started.windows(2) {
            if !may_be_repeated(world, pair[0], pair[1]) {
                violations.push(format!("NOISE: the watch over {ca} started twice"));
            }
        }
        let (failed, recovered) = (of_ca("watch-failed"), of_ca("watch-recovered"));
        match (failed.last(), recovered.last()) {
            // The state never knew of it, and the fault was over when somebody looked again.
            (Some(failed), _) if was_not_remembered(world, *failed) => {}
            (Some(failed), None) => {
                violations.push(format!(
                    "message {failed}: the watch over {ca} failed and never recovered"
                ));
            }
            (Some(failed), Some(recovered)) if failed > recovered => {
                violations.push(format!(
                    "message {failed}: the watch over {ca} failed and never recovered"
                ));
            }
            // Of a failure that SNS did not say it took, the end is told to be sure.
            (None, Some(_)) if has_failed_publish(world) => {}
            (None, Some(recovered)) => {
                violations.push(format!(
                    "message {recovered}: the watch over {ca} recovered from nothing"
                ));
            }
            _ => {}
        }
        let kinds: Vec<(usize, String)> = messages
            .of_type("watch-failed")
            .filter(|(_, document)| document["certificateAuthorityArn"] == ca.as_str())
            .map(|(number, document)| (*number, document["error"]["type"].to_string()))
            .collect();
        for pair in kinds.windows(2) {
            let recovered_between = recovered.iter().any(|r| (pair[0].0..pair[1].0).contains(r));
            if pair[0].1 == pair[1].1
                && !recovered_between
                && !may_be_repeated(world, pair[0].0, pair[1].0)
            {
                violations.push(format!("NOISE: {} of {ca} was told twice", pair[0].1));
            }
        }
    }
}

fn has_failed_publish(world: &World) -> bool {
    let observed = world.observed();
    let mut published = observed.runs.iter().flat_map(|run| {
        given_up(
            run.calls
                .iter()
                .filter(|seen| seen.call.operation == "Publish"),
        )
    });
    published.next().is_some()
}

/// What Lambda's runtime, which takes no time here, needs to hand the answer over.
const FOR_THE_ANSWER: Duration = Duration::from_secs(1);

fn answers_come_in_time(world: &World, violations: &mut Vec<String>) {
    let observed = world.observed();
    for stray in &observed.strays {
        violations.push(format!("AFTER THE ANSWER: {stray}"));
    }
    for (number, run) in observed.runs.iter().enumerate() {
        if matches!(run.ended, Some(Ended::TimedOut)) {
            violations.push(format!("run {number} had not answered by its deadline"));
        } else if !run.was_killed() && run.took + FOR_THE_ANSWER > run.left {
            violations.push(format!(
                "run {number} took {:?} of {:?} to answer",
                run.took, run.left
            ));
        }
    }
}

/// Every call that the SDK gave up on shows in an answer, an error or a log line.
fn faults_are_visible(world: &World, violations: &mut Vec<String>) {
    let observed = world.observed();
    for (number, run) in observed.runs.iter().enumerate() {
        if is_visible(run) {
            continue;
        }
        for seen in given_up(run.calls.iter()) {
            let Call { operation, key, .. } = &seen.call;
            violations.push(format!(
                "SILENT: nothing shows of run {number}'s failed {operation} of {key:?}"
            ));
        }
    }
}

fn is_visible(run: &Run) -> bool {
    match &run.ended {
        Some(Ended::Answered(response)) => {
            let malformed = |audit: &Value| {
                audit["outcome"] == "failed"
                    || audit["refusedByAws"] == true
                    || !audit["warnings"].is_null()
            };
            !run.warnings.is_empty()
                || response["certificateAuthorities"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(malformed))
        }
        _ => true,
    }
}
