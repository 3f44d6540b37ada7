//! Checks what must hold at the end of every world, whatever went wrong in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use local_aws::{Call, Fault, ReportInfo};
use pca_revocation_watch::arn::CertificateAuthorityArn;
use pca_revocation_watch::state::control::Control;
use pca_revocation_watch::state::notified_set::NotifiedSetReader;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::Value;

use super::investigations::investigations_are_true;
use super::plan::{Failure, TRANSIENT_REFUSALS, outcome_is_unknown};
use super::scenario::{control_key, health_key};
use super::world::{BUCKET, Ended, InvokeOptions, ObservedCall, PERIOD, Revoked, Run, World};

/// Runs the schedule without errors for a number of periods, and returns the violations found then.
pub async fn quiet_runs(world: &World, runs: u32) -> Vec<String> {
    world.stop_injecting();
    let mut violations = Vec::new();
    let mut last = None;
    let (mut scheduled_at, mut dead) = (Timestamp::MIN, 0);
    for _ in 0..runs {
        let periods = (world.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
        world.until(PERIOD * periods).await;
        (scheduled_at, dead) = (world.aws.clock().now().into(), world.dead_letters().len());
        last = world
            .schedule(InvokeOptions::default())
            .await
            .response()
            .cloned();
        violations.extend(world.drain().await);
    }
    if world.is_scaled_out() {
        every_ca_is_audited_since(world, scheduled_at, &mut violations);
        let more = world.dead_letters().into_iter().skip(dead);
        violations.extend(more.map(|body| format!("DEAD LETTER of a quiet run: {body}")));
    }
    // Each CA was audited completely again, and the response says so.
    let response = last.unwrap_or_default();
    if response["status"] != "ok" {
        violations.push(format!("the last quiet run returned {response}"));
    }
    let outcome = match world.is_scaled_out() {
        true => "queued",
        false => "audited",
    };
    for audit in response["certificateAuthorities"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if audit["outcome"] != outcome {
            violations.push(format!("not {outcome} by the last quiet run: {audit}"));
        }
    }
    violations.extend(all(world));
    violations
}

/// Checks that the report of each CA's last complete audit was requested after the schedule's event.
fn every_ca_is_audited_since(world: &World, at: Timestamp, violations: &mut Vec<String>) {
    for (number, ca) in world.cas.iter().enumerate() {
        let control = stored(world, &control_key(world, number)).unwrap_or_default();
        let requested_at = &control["lastCompleteAudit"]["requestedAt"];
        let last = super::world::timestamp(requested_at);
        if last.is_none_or(|last| last < at) {
            violations.push(format!(
                "STARVED: a quiet run left {ca} with an audit of {requested_at}"
            ));
        }
    }
}

/// Returns all violations, provided that the last run succeeded.
pub fn all(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let messages = Messages::of(world);
    every_revocation_is_alerted(world, &messages, &mut violations);
    only_revocations_are_alerted(world, &messages, &mut violations);
    states_are_consistent(world, &mut violations);
    state_is_saved_first(world, &mut violations);
    watch_messages_alternate(world, &messages, &mut violations);
    summaries_are_true(world, &messages, &mut violations);
    health_is_at_rest(world, &mut violations);
    changes_are_announced(world, &mut violations);
    stated_audits_are_true(world, &messages, &mut violations);
    recoveries_are_true(&messages, &mut violations);
    verdicts_are_true(world, &messages, &mut violations);
    copies_are_few(world, &messages, &mut violations);
    responses_are_in_time(world, &mut violations);
    errors_are_visible(world, &mut violations);
    investigations_are_true(world, &mut violations);
    violations
}

struct Messages {
    /// Each JSON message with its index among all published messages.
    messages: Vec<(usize, Value)>,
}

impl Messages {
    fn of(world: &World) -> Self {
        let messages = world
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
                    serde_json::from_str(text).expect("the message is JSON"),
                )
            })
            .collect();
        Self { messages }
    }

    fn of_type(&self, kind: &str) -> impl Iterator<Item = &(usize, Value)> {
        self.messages
            .iter()
            .filter(move |(_, message)| message["type"] == kind)
    }
}

/// Returns the revocations of a message, from its full list if it has one.
fn alerted(world: &World, message: &Value) -> Vec<Value> {
    if message["complete"] == false
        && let Some(key) = message["fullList"]["key"].as_str()
    {
        let list = world
            .aws
            .s3()
            .get(BUCKET, key)
            .expect("the full list exists");
        let lines = String::from_utf8(list.to_vec()).expect("the full list is text");
        return lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON lines"))
            .collect();
    }
    message["revocations"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

type CaAndSerial = (String, String);

/// Returns all alerted revocations: the number of the message, the CA and serial, and the
/// `revocationId`.
fn all_alerted(world: &World, messages: &Messages) -> Vec<(usize, CaAndSerial, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for (number, message) in messages.of_type("revocations") {
        for revocation in alerted(world, message) {
            let key = (
                text(&message["certificateAuthorityArn"]),
                text(&revocation["serial"]),
            );
            all.push((*number, key, text(&revocation["revocationId"])));
        }
    }
    all
}

fn every_revocation_is_alerted(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    let mut alerts: HashMap<CaAndSerial, Vec<(usize, String)>> = HashMap::new();
    for (message, revocation, id) in all_alerted(world, messages) {
        alerts.entry(revocation).or_default().push((message, id));
    }
    for revoked in world.revoked.borrow().iter() {
        let key = (revoked.ca.clone(), revoked.serial.clone());
        let alerted = alerts.get(&key).map(Vec::as_slice).unwrap_or_default();
        match (alerted, revoked.is_earlier) {
            ([], false) if !is_only_counted(world, messages, revoked) => {
                violations.push(format!("LOST: {revoked:?} was never alerted"));
            }
            ([_, ..], true) => {
                violations.push(format!("NOISE: {revoked:?} is older than the lookback"));
            }
            _ => {}
        }
        for pair in alerted.windows(2) {
            if pair[0].1 != pair[1].1 {
                violations.push(format!("{} was alerted with two ids", revoked.serial));
            }
            if !may_be_repeated(world, pair[0].0, pair[1].0) {
                violations.push(format!(
                    "NOISE: {} was alerted twice without need",
                    revoked.serial
                ));
            }
        }
    }
}

/// Returns whether a message may only have counted a revocation: it did not show all, and S3 did not
/// store the full list.
fn is_only_counted(world: &World, messages: &Messages, revoked: &Revoked) -> bool {
    let accepted = world.aws.sns().messages();
    messages.of_type("revocations").any(|(number, message)| {
        message["certificateAuthorityArn"] == revoked.ca
            && message["complete"] == false
            && message["fullList"].is_null()
            && accepted[*number].at >= revoked.at
    })
}

/// Returns whether a message may be repeated by a later one: the process died or a reply was lost after
/// SNS accepted the message and before the state was saved, or the later one was sent before that.
fn may_be_repeated(world: &World, message: usize, later: usize) -> bool {
    was_not_committed(world, message)
        || publish_had_unknown_outcome(world, later)
        || could_not_use_state(world, message)
        || could_not_use_state(world, later)
}

fn was_not_committed(world: &World, message: usize) -> bool {
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
        let failed_calls = failed_calls(puts, run.ended_at);
        !failed_calls.is_empty()
    };
    // Published although SNS could not say whether anyone had subscribed.
    let is_unverified = run.calls[..publish].iter().any(|seen| {
        let checks = ["GetTopicAttributes", "ListSubscriptionsByTopic"];
        seen.injected.is_some() && checks.contains(&seen.call.operation.as_str())
    });
    // The run's time was over before SNS responded.
    let mut warnings = run.warnings.iter();
    let is_cut_off = warnings.any(|warning| warning.contains("may or may not have accepted"));
    is_unverified
        || is_cut_off
        || had_unknown_outcome(run, &run.calls[publish])
        || state_was_refused()
}

/// Returns whether the run that published a message failed to read or write part of its state.
fn could_not_use_state(world: &World, message: usize) -> bool {
    let observed = world.observed();
    let run = observed
        .published_by
        .get(message)
        .and_then(|&(run, _)| observed.runs.get(run));
    run.is_none_or(|run| {
        let of_state = |seen: &&ObservedCall| seen.call.service == local_aws::Service::S3;
        !failed_calls(run.calls.iter().filter(of_state), run.ended_at).is_empty()
    })
}

/// Returns whether the publishing run could not know that SNS accepted the message.
fn publish_had_unknown_outcome(world: &World, message: usize) -> bool {
    let observed = world.observed();
    let Some(&(run, publish)) = observed.published_by.get(message) else {
        return true;
    };
    observed
        .runs
        .get(run)
        .is_none_or(|run| had_unknown_outcome(run, &run.calls[publish]))
}

fn had_unknown_outcome(run: &Run, seen: &ObservedCall) -> bool {
    match seen.injected.as_ref().map(|injection| &injection.failure) {
        Some(Failure::Fault(_, Fault::Late(by) | Fault::Delayed(by)))
            if run.ended_at.is_none_or(|end| end <= seen.call.at + *by) =>
        {
            true
        }
        Some(Failure::Fault(_, fault)) => outcome_is_unknown(fault),
        Some(_) => true,
        None => false,
    }
}

/// Returns the last attempt of each call that failed after all retries of the SDK, or whose response
/// was not there by `end`.
fn failed_calls<'a>(
    calls: impl Iterator<Item = &'a ObservedCall>,
    end: Option<SystemTime>,
) -> Vec<&'a ObservedCall> {
    let mut last: BTreeMap<Option<&str>, (&ObservedCall, bool)> = BTreeMap::new();
    for seen in calls {
        let injected = seen.injected.is_some();
        let entry = last
            .entry(seen.call.invocation_id.as_deref())
            .or_insert((seen, injected));
        *entry = (seen, entry.1 || injected);
    }
    last.into_values()
        .filter(|(seen, injected)| *injected && !response_arrived(seen, end))
        .map(|(seen, _)| seen)
        .collect()
}

/// Returns whether the caller received the response, whole and in time: before `end`, if there is one.
fn response_arrived(seen: &ObservedCall, end: Option<SystemTime>) -> bool {
    match seen.injected.as_ref().map(|injection| &injection.failure) {
        None => true,
        Some(Failure::Fault(_, Fault::Late(by) | Fault::Delayed(by))) => {
            by.as_secs() < 30 && end.is_none_or(|end| seen.call.at + *by < end)
        }
        // A body shorter than the cut is intact, and not every caller reads the body.
        Some(Failure::Fault(
            _,
            Fault::CutBody { .. } | Fault::StallBody { .. } | Fault::FlipByte { .. },
        )) => true,
        Some(_) => false,
    }
}

fn only_revocations_are_alerted(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    let revoked = world.revoked.borrow();
    let find = |ca: &str, serial: &str| -> Option<&Revoked> {
        revoked
            .iter()
            .find(|revoked| revoked.ca == ca && revoked.serial == serial)
    };
    for (_, message) in messages
        .messages
        .iter()
        .filter(|(_, d)| d["type"] == "revocations" || d["type"] == "replay")
    {
        let ca = message["certificateAuthorityArn"]
            .as_str()
            .unwrap_or_default();
        for alerted in alerted(world, message) {
            let serial = alerted["serial"].as_str().unwrap_or_default();
            let Some(revoked) = find(ca, serial) else {
                violations.push(format!("INVENTED: {alerted} was never revoked"));
                continue;
            };
            let at = super::world::timestamp(&alerted["revokedAt"]);
            if alerted["reason"] != revoked.reason || at != Some(revoked.at.into()) {
                violations.push(format!("DISTORTED: {alerted} is really {revoked:?}"));
            }
        }
    }
}

fn states_are_consistent(world: &World, violations: &mut Vec<String>) {
    for (number, ca) in world.cas.iter().enumerate() {
        let key = control_key(world, number);
        let arn = CertificateAuthorityArn::parse(ca).expect("the world's ARNs are valid");
        let Some(bytes) = world.aws.s3().get(BUCKET, &key) else {
            violations.push(format!("{key} does not exist"));
            continue;
        };
        match Control::read(&bytes, &arn, &key) {
            Ok(control) => control_is_at_rest(world, ca, &key, &control, violations),
            Err(error) => violations.push(error.to_string()),
        }
    }
}

/// Checks that nothing is in progress, and that the notified set has every revocation.
fn control_is_at_rest(
    world: &World,
    ca: &str,
    key: &str,
    control: &Control,
    violations: &mut Vec<String>,
) {
    if control.lease.is_some() || control.pending_report.is_some() || control.error.is_some() {
        violations.push(format!("{key} is not at rest: {control:?}"));
    }
    let mut notified = BTreeSet::new();
    let set = control
        .notified_set
        .as_deref()
        .and_then(|key| world.aws.s3().get(BUCKET, key));
    if let Some(set) = set {
        let mut reader = NotifiedSetReader::new(ca);
        reader.feed(&set);
        match reader.finish() {
            Ok(set) => notified.extend(set.keys().iter().map(ToString::to_string)),
            Err(error) => violations.push(format!("notified set of {ca}: {error}")),
        }
    }
    let revoked = world.revoked.borrow();
    let of_ca = revoked.iter().filter(|revoked| revoked.ca == *ca);
    let expected: BTreeSet<String> = of_ca
        .map(|revoked| {
            let digits = revoked.serial.replace(':', "");
            digits.trim_start_matches("00").to_owned()
        })
        .collect();
    if notified != expected {
        violations.push(format!(
            "the notified set of {ca} has {notified:?}, not {expected:?}"
        ));
    }
}

/// Checks that a report is saved before the run waits for it, and a scan attempt before it starts.
fn state_is_saved_first(world: &World, violations: &mut Vec<String>) {
    for (number, run) in world.observed().runs.iter().enumerate() {
        let counts = run.payload["dryRun"].is_null() && run.payload["since"].is_null();
        for (ca, arn) in world.cas.iter().enumerate() {
            let control = control_key(world, ca);
            let reports = format!(
                "audit-report/{}/",
                arn.rsplit('/').next().unwrap_or_default()
            );
            let (mut unsaved, mut uncounted) = (false, false);
            for ObservedCall { call, .. } in &run.calls {
                let is_report = call
                    .key
                    .as_ref()
                    .is_some_and(|key| key.starts_with(&reports));
                match call.operation.as_str() {
                    "CreateCertificateAuthorityAuditReport" => {
                        unsaved |= call.certificate_authority_arn.as_ref() == Some(arn);
                    }
                    "PutObject" if call.key.as_ref() == Some(&control) => {
                        (unsaved, uncounted) = (false, false);
                    }
                    "HeadObject" if is_report && unsaved => {
                        violations.push(format!("UNSAVED: run {number} waited for {:?}", call.key));
                    }
                    "HeadObject" if is_report => uncounted = counts,
                    "GetObject" if is_report && uncounted => {
                        violations.push(format!("UNCOUNTED: run {number} read {:?}", call.key));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Checks that each CA's start is announced once, and again only after it left; and that each error of
/// it begins and ends in turn.
fn watch_messages_alternate(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    for ca in &world.cas {
        starts_and_stops_alternate(world, messages, ca, violations);
        failures_and_recoveries_alternate(world, messages, ca, violations);
    }
}

/// Returns whether a message about the watch concerns a CA.
fn concerns(message: &Value, ca: &str) -> bool {
    let arns = message["certificateAuthorityArns"].as_array();
    arns.is_some_and(|arns| arns.iter().any(|arn| arn == ca))
}

fn starts_and_stops_alternate(
    world: &World,
    messages: &Messages,
    ca: &str,
    violations: &mut Vec<String>,
) {
    let mut last: Option<(usize, bool)> = None;
    for (number, message) in &messages.messages {
        let is_start = match message["type"].as_str() {
            Some("watch-started") => true,
            Some("watch-stopped") => false,
            _ => continue,
        };
        if !concerns(message, ca) {
            continue;
        }
        let is_known = || {
            world
                .observed()
                .runs
                .iter()
                .all(|run| !has_damaged_list(run))
        };
        if !is_start && !world.left.borrow().contains(ca) && is_known() {
            violations.push(format!("FALSE STOP: message {number}: {ca} never left"));
        }
        let is_repeated = last.is_some_and(|(_, before)| before == is_start);
        // If it is not known whether an end went out, the next start is published to be sure.
        let is_permitted = last.is_none_or(|(before, _)| {
            may_be_repeated(world, before, *number)
                || world.rebuilds.get() > 0
                || (is_start && world.left.borrow().contains(ca))
                    && may_be_unannounced(world, *number)
        });
        if is_repeated && !is_permitted {
            violations.push(format!("NOISE: message {number} repeats {message}"));
        }
        last = Some((*number, is_start));
    }
    if last.is_none_or(|(_, is_start)| !is_start) {
        violations.push(format!("UNANNOUNCED: the last word on {ca} is {last:?}"));
    }
}

fn failures_and_recoveries_alternate(
    world: &World,
    messages: &Messages,
    ca: &str,
    violations: &mut Vec<String>,
) {
    // Problems of the CA that were announced and are not over: the last message about each.
    let mut open: HashMap<(String, String), usize> = HashMap::new();
    let mut over = HashMap::new();
    for (number, message) in &messages.messages {
        let is_failure = match message["type"].as_str() {
            Some("watch-failed") => true,
            Some("watch-recovered") => false,
            _ => continue,
        };
        if !concerns(message, ca) {
            continue;
        }
        let error = &message["error"];
        let problem = (error["type"].to_string(), error["resource"].to_string());
        if is_failure {
            if let Some(before) = open.insert(problem, *number)
                && !may_be_repeated(world, before, *number)
                && world.rebuilds.get() == 0
            {
                violations.push(format!("NOISE: message {number} repeats {message}"));
            }
            continue;
        }
        let is_open = open.remove(&problem).is_some();
        let before = over.insert(problem, *number);
        let is_repeated = before.is_some_and(|before| may_be_repeated(world, before, *number));
        // If it is not known whether `watch-failed` went out, the recovery is published to be sure.
        if !is_open && !is_repeated && !may_be_unannounced(world, *number) {
            violations.push(format!("message {number} has no watch-failed: {message}"));
        }
    }
    for (problem, number) in open {
        // The intent of announcing it was in the document, unless that was lost. SNS may accept a message
        // after the run that published it, and after the recovery.
        let by = world.observed().published_by.get(number).copied();
        let was_late = by.is_none_or(|(run, _)| run == usize::MAX);
        if world.rebuilds.get() == 0 && !was_late {
            let what = format!("watch-failed of {problem:?} has no watch-recovered");
            violations.push(format!("message {number}: {what} for {ca}"));
        }
    }
}

/// Returns whether a run before a message meant to publish one, and died or got no response.
fn may_be_unannounced(world: &World, message: usize) -> bool {
    let observed = world.observed();
    let until = observed.published_by.get(message).map(|&(run, _)| run);
    let runs = &observed.runs[..until.map_or(0, |run| run.min(observed.runs.len()))];
    runs.iter().any(Run::was_killed) || has_failed_call(runs, &["Publish", "PutObject"])
}

/// Checks that summaries come once per interval, and count no revocation twice.
fn summaries_are_true(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    let accepted = world.aws.sns().messages();
    let summaries: Vec<_> = messages.of_type("watch-summary").collect();
    let interval = world.config.summary_interval.unwrap_or_default();
    for pair in summaries.windows(2) {
        let (before, number) = (pair[0].0, pair[1].0);
        // A late summary does not delay the next one.
        let is_early = accepted[number].at < accepted[before].at + interval / 2;
        if is_early && !may_be_repeated(world, before, number) && world.rebuilds.get() == 0 {
            violations.push(format!("NOISE: message {number} is an early summary"));
        }
    }
    let counted: u64 = summaries
        .iter()
        .filter_map(|(_, message)| message["counts"]["notified"].as_u64())
        .sum();
    let alerted = all_alerted(world, messages).len() as u64;
    let is_repeated = summaries.windows(2).any(|pair| {
        let (before, number) = (pair[0].0, pair[1].0);
        may_be_repeated(world, before, number)
    });
    if counted > alerted && !is_repeated && world.rebuilds.get() == 0 {
        violations.push(format!(
            "summaries count {counted} revocations, not {alerted}"
        ));
    }
}

/// Checks that the health document says what is: no problems, and every CA is watched. A dead run's
/// lease may be left.
fn health_is_at_rest(world: &World, violations: &mut Vec<String>) {
    let key = health_key(world);
    let Some(bytes) = world.aws.s3().get(BUCKET, &key) else {
        violations.push(format!("{key} does not exist"));
        return;
    };
    let health: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let watched = |ca: &String| {
        let watched = &health["certificateAuthorities"][ca];
        watched["watched"] == true && watched["announced"] == true
    };
    let is_at_rest =
        health["problems"].as_array().is_some_and(Vec::is_empty) && health["unrecorded"].is_null();
    if !is_at_rest || !world.cas.iter().all(watched) {
        violations.push(format!("{key} is not at rest: {health}"));
    }
}

/// Checks that every condition that the state recorded was announced by the end of each full run that
/// was alone and had no reason not to announce it.
fn changes_are_announced(world: &World, violations: &mut Vec<String>) {
    violations.extend(world.unannounced.borrow_mut().drain(..));
}

/// Returns what a run left unannounced although it was alone, unless it says so itself.
pub fn unannounced(world: &World, number: usize, ended: &Ended) -> Vec<String> {
    let response = match ended.response() {
        Some(response) if response["warnings"].is_null() => response,
        _ => return Vec::new(),
    };
    let health = stored(world, &health_key(world)).unwrap_or_default();
    let mut unannounced = Vec::new();
    let audits = response["certificateAuthorities"].as_array();
    for audit in audits.into_iter().flatten() {
        // A dispatch has audited nothing: the comparison comes later.
        if audit["outcome"] == "queued" {
            continue;
        }
        let arn = &audit["certificateAuthorityArn"];
        let ca = world.cas.iter().position(|ca| arn == ca.as_str());
        let control = ca.and_then(|ca| stored(world, &control_key(world, ca)));
        // What an audit committed before it could not save its error is left to the next run.
        if let Some(control) = control
            && audit["error"]["type"] == control["error"]["type"]
        {
            let what = unannounced_of(world, &control, &health);
            unannounced.extend(what.map(|what| format!("UNANNOUNCED: run {number}: {what}")));
        }
    }
    unannounced
}

/// Returns what a comparison of all CAs left unannounced although it was alone, unless it was too early
/// or too late by its own clock.
pub fn unannounced_of_all(world: &World, number: usize) -> Vec<String> {
    let key = health_key(world);
    let is_health = |seen: &ObservedCall| seen.call.key.as_ref() == Some(&key);
    let observed = world.observed();
    let run = &observed.runs[number];
    if !run.calls.iter().any(is_health) || has_damaged_list(run) {
        return Vec::new();
    }
    drop(observed);
    let health = stored(world, &key).unwrap_or_default();
    let controls = (0..world.cas.len()).filter_map(|ca| stored(world, &control_key(world, ca)));
    controls
        .filter_map(|control| unannounced_of(world, &control, &health))
        .map(|what| format!("UNANNOUNCED: run {number}: {what}"))
        .collect()
}

/// Returns whether a run had a list with a flipped bit, which may lack CAs.
fn has_damaged_list(run: &Run) -> bool {
    run.calls.iter().any(|seen| {
        let failure = seen.injected.as_ref().map(|injection| &injection.failure);
        let is_flipped = matches!(failure, Some(Failure::Fault(_, Fault::FlipByte { .. })));
        is_flipped && seen.call.operation == "ListCertificateAuthorities"
    })
}

/// Returns a JSON document of the bucket, if it is there and readable.
fn stored(world: &World, key: &str) -> Option<Value> {
    let bytes = world.aws.s3().get(BUCKET, key)?;
    serde_json::from_slice(&bytes).ok()
}

/// Returns what the health document does not say of a CA's control document.
fn unannounced_of(world: &World, control: &Value, health: &Value) -> Option<String> {
    let arn = control["certificateAuthorityArn"].as_str()?;
    let audited_at = super::world::timestamp(&control["lastCompleteAudit"]["requestedAt"]);
    let is_later = |since: &Value| super::world::timestamp(since) > audited_at;
    let watched = &health["certificateAuthorities"][arn];
    // A CA that left and returned starts with its next audit.
    let has_left = watched["watched"] == false && is_later(&watched["since"]);
    if audited_at.is_some() && watched["announced"] != true && !has_left {
        return Some(format!("the start of {arn}"));
    }
    let error = &control["error"];
    let is_open = |affected: &Value| affected["announced"] == true && affected["over"].is_null();
    let is_known = |problem: &Value| {
        problem["type"] == error["type"]
            && problem["resource"] == error["resource"]
            && is_open(&problem["certificateAuthorities"][arn])
    };
    let mut problems = health["problems"].as_array().into_iter().flatten();
    if error.is_object() {
        let is_announced = error["resource"] == world.topic || problems.any(is_known);
        return (!is_announced).then(|| format!("{error} of {arn}"));
    }
    let open = problems.map(|problem| &problem["certificateAuthorities"][arn]);
    let open: Vec<_> = open.filter(|affected| is_open(affected)).collect();
    // A later problem, such as an overdue audit, keeps earlier ones open.
    let should_be_over = !open.is_empty() && !open.iter().any(|open| is_later(&open["since"]));
    should_be_over.then(|| format!("the recovery of {arn}: {health}"))
}

/// Maximum time between a report's request as Private CA knows it and as the function states it: the
/// clocks differ, and the function knows only when it had the response.
const STATED_TOLERANCE: Duration = Duration::from_secs(60);

/// Checks every `lastCompleteAuditAt`: a report was requested then, and every earlier revocation was
/// published when the response came.
fn stated_audits_are_true(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    let published = first_published(world, messages);
    let observed = world.observed();
    for (number, run) in observed.runs.iter().enumerate() {
        let (Some(response), Some(ended_at)) =
            (run.ended.as_ref().and_then(Ended::response), run.ended_at)
        else {
            continue;
        };
        let audits = response["certificateAuthorities"].as_array();
        for audit in audits.into_iter().flatten() {
            let ca = audit["certificateAuthorityArn"]
                .as_str()
                .unwrap_or_default();
            let Some(stated) = super::world::timestamp(&audit["lastCompleteAuditAt"]) else {
                continue;
            };
            let stated = SystemTime::from(stated);
            let reports = world.aws.private_ca().reports(ca);
            let mut requested = reports.iter().map(|report| report.created_at);
            let is_requested = requested.any(|at| within(at, stated, STATED_TOLERANCE));
            if !is_requested {
                let is_warned = observed.runs.iter().any(warned_of_unknown_age);
                let mut runs = observed.runs.iter();
                let is_unknown = is_warned && is_written_at(world, &reports, stated)
                    || runs.any(|run| died_after_request(run, ca, stated));
                if !is_unknown {
                    violations.push(format!(
                        "FALSE AGE: run {number} states an audit of {ca} at {}, but no report was requested then",
                        audit["lastCompleteAuditAt"]
                    ));
                }
                continue;
            }
            for revoked in world
                .revoked
                .borrow()
                .iter()
                .filter(|r| r.ca == ca && !r.is_earlier)
            {
                let key = (revoked.ca.clone(), revoked.serial.clone());
                let is_published = published.get(&key).is_some_and(|&at| at <= ended_at);
                if revoked.at + STATED_TOLERANCE < stated
                    && !is_published
                    && !is_only_counted(world, messages, revoked)
                {
                    violations.push(format!(
                        "FALSE HEALTHY: run {number} states an audit at {}, but had not alerted {revoked:?}",
                        audit["lastCompleteAuditAt"]
                    ));
                }
            }
        }
    }
}

/// Returns whether a run warned that it uses the time of a report's object, because Private CA did not
/// say when the report was requested.
fn warned_of_unknown_age(run: &Run) -> bool {
    let mut warnings = run.warnings.iter();
    warnings.any(|warning| warning.contains("time of the report's request unknown"))
}

/// Returns whether a run requested a report at that time and died, perhaps before Private CA said that it
/// had created it earlier.
fn died_after_request(run: &Run, ca: &str, at: SystemTime) -> bool {
    let is_request = |seen: &ObservedCall| {
        seen.call.operation == "CreateCertificateAuthorityAuditReport"
            && seen.call.certificate_authority_arn.as_deref() == Some(ca)
            && within(seen.call.at, at, STATED_TOLERANCE)
    };
    run.was_killed() && run.calls.iter().any(is_request)
}

fn is_written_at(world: &World, reports: &[ReportInfo], at: SystemTime) -> bool {
    let mut objects = reports
        .iter()
        .flat_map(|report| world.aws.s3().list(&report.bucket, &report.key));
    objects.any(|object| within(object.last_modified, at, STATED_TOLERANCE))
}

fn within(one: SystemTime, other: SystemTime, tolerance: Duration) -> bool {
    one <= other + tolerance && other <= one + tolerance
}

/// Returns when each revocation was first published.
fn first_published(world: &World, messages: &Messages) -> HashMap<CaAndSerial, SystemTime> {
    let mut first = HashMap::new();
    let accepted = world.aws.sns().messages();
    for (message, revocation, _) in all_alerted(world, messages) {
        first.entry(revocation).or_insert(accepted[message].at);
    }
    first
}

/// Checks that an error's end is announced only after a report that was requested after it began, or
/// because its CAs left.
fn recoveries_are_true(messages: &Messages, violations: &mut Vec<String>) {
    for (number, message) in messages.of_type("watch-recovered") {
        let since = super::world::timestamp(&message["since"]);
        let audited_at = super::world::timestamp(&message["lastCompleteAuditAt"]);
        let all_left = message["counts"]["left"] == message["counts"]["certificateAuthorities"];
        if since.is_none() || (audited_at < since && !all_left) {
            violations.push(format!(
                "FALSE RECOVERY: message {number} relies on an older report: {message}"
            ));
        }
    }
}

/// Errors that blame the account's permissions.
const BLAMING: &[&str] = &["AccessDenied", "ReportBucketRefused", "RequestRejected"];

/// Checks that nobody hears of missing permissions because of one refusal that says nothing about them.
fn verdicts_are_true(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    let observed = world.observed();
    let injected = |names: &[&str]| {
        let calls = observed.runs.iter().flat_map(|run| &run.calls);
        let named = calls.filter(|seen| {
            let injected = seen.injected.as_ref();
            injected.is_some_and(|injection| names.contains(&injection.failure.name()))
        });
        named.count()
    };
    if world.was_refused.get() || injected(&["denied"]) > 0 || injected(TRANSIENT_REFUSALS) > 1 {
        return;
    }
    for (number, message) in messages.of_type("watch-failed") {
        let kind = message["error"]["type"].as_str().unwrap_or_default();
        if BLAMING.contains(&kind) {
            violations.push(format!(
                "FALSE VERDICT: nothing was refused, but message {number} is {message}"
            ));
        }
    }
}

/// Checks that a run publishes a message once, unless SNS reported an error after accepting it: with
/// Lambda's retries this makes three copies in a period at most.
fn copies_are_few(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    let mut copies: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    let observed = world.observed();
    for (number, message) in &messages.messages {
        let by = observed.published_by.get(*number).map(|&(run, _)| run);
        if let (Some(run), Some(id)) = (by.filter(|&run| run != usize::MAX), message["id"].as_str())
        {
            *copies.entry((run, id)).or_default() += 1;
        }
    }
    for ((run, id), copies) in copies {
        let calls = observed.runs[run].calls.iter();
        let failed_after = calls.filter(|seen| {
            let injected = seen.injected.as_ref();
            injected.is_some_and(|injection| injection.failure.name() == "error after")
                && seen.call.operation == "Publish"
        });
        if copies > 1 + failed_after.count() {
            violations.push(format!("COPIES: run {run} published {id} {copies} times"));
        }
    }
}

/// Returns whether a call of these operations failed in any of the runs.
fn has_failed_call(runs: &[Run], operations: &[&str]) -> bool {
    let mut failed = runs.iter().flat_map(|run| {
        let calls = run.calls.iter();
        let of_operations = calls.filter(|seen| operations.contains(&seen.call.operation.as_str()));
        failed_calls(of_operations, run.ended_at)
    });
    failed.next().is_some()
}

/// Time that Lambda's runtime needs to deliver the response; it takes none here.
const RESPONSE_OVERHEAD: Duration = Duration::from_secs(1);

fn responses_are_in_time(world: &World, violations: &mut Vec<String>) {
    let observed = world.observed();
    for stray in &observed.stray_calls {
        violations.push(format!("AFTER THE RESPONSE: {stray}"));
    }
    for (number, run) in observed.runs.iter().enumerate() {
        if matches!(run.ended, Some(Ended::TimedOut)) {
            violations.push(format!("run {number} had not responded by its deadline"));
        } else if !run.was_killed() && run.took + RESPONSE_OVERHEAD > run.left {
            violations.push(format!(
                "run {number} took {:?} of {:?} to respond",
                run.took, run.left
            ));
        }
    }
}

/// Checks that every failed call shows in the response, an error or a log line.
fn errors_are_visible(world: &World, violations: &mut Vec<String>) {
    let observed = world.observed();
    for (number, run) in observed.runs.iter().enumerate() {
        if is_visible(run) {
            continue;
        }
        for seen in failed_calls(run.calls.iter(), None) {
            let Call { operation, key, .. } = &seen.call;
            violations.push(format!(
                "SILENT: run {number}'s failed {operation} of {key:?} shows nowhere"
            ));
        }
    }
}

fn is_visible(run: &Run) -> bool {
    match &run.ended {
        Some(Ended::Returned(response)) => {
            let malformed = |audit: &Value| {
                audit["outcome"] == "failed"
                    || audit["refusedByAws"] == true
                    || !audit["warnings"].is_null()
            };
            !run.warnings.is_empty()
                || !response["warnings"].is_null()
                || response["certificateAuthorities"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(malformed))
        }
        _ => true,
    }
}
