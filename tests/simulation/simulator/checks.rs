//! Checks what must hold at the end of every world, whatever went wrong in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use local_aws::{Call, Fault, ReportInfo};
use pca_revocation_watch::arn::CertificateAuthorityArn;
use pca_revocation_watch::state::control::Control;
use pca_revocation_watch::state::notified_set::NotifiedSetReader;
use serde_json::Value;

use super::plan::{Failure, TRANSIENT_REFUSALS, outcome_is_unknown};
use super::scenario::control_key;
use super::world::{BUCKET, Ended, InvokeOptions, ObservedCall, PERIOD, Revoked, Run, World};

/// Runs the schedule without errors for a number of periods, and returns the violations found then.
pub async fn quiet_runs(world: &World, runs: u32) -> Vec<String> {
    world.stop_injecting();
    let mut violations = Vec::new();
    let mut last = None;
    for _ in 0..runs {
        let periods = (world.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
        world.until(PERIOD * periods).await;
        last = world
            .schedule(InvokeOptions::default())
            .await
            .response()
            .cloned();
    }
    // Each CA was audited completely again, and the response says so.
    let response = last.unwrap_or_default();
    if response["status"] != "ok" {
        violations.push(format!("the last quiet run returned {response}"));
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

/// Returns all violations, provided that the last run succeeded.
pub fn all(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let messages = Messages::of(world);
    every_revocation_is_alerted(world, &messages, &mut violations);
    only_revocations_are_alerted(world, &messages, &mut violations);
    states_are_consistent(world, &mut violations);
    state_is_saved_first(world, &mut violations);
    watch_messages_alternate(world, &messages, &mut violations);
    stated_audits_are_true(world, &messages, &mut violations);
    recoveries_are_true(&messages, &mut violations);
    verdicts_are_true(world, &messages, &mut violations);
    copies_are_few(world, &messages, &mut violations);
    responses_are_in_time(world, &mut violations);
    errors_are_visible(world, &mut violations);
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
    is_unverified || had_unknown_outcome(run, &run.calls[publish]) || state_was_refused()
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
    let error_marker = key.replace(".json", "/error.json");
    if world.aws.s3().get(BUCKET, &error_marker).is_some() {
        violations.push(format!("{error_marker} still exists"));
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

/// Checks that `watch-started` comes once, and `watch-failed` and `watch-recovered` alternate.
fn watch_messages_alternate(world: &World, messages: &Messages, violations: &mut Vec<String>) {
    for ca in &world.cas {
        let of_ca = |kind| {
            messages
                .of_type(kind)
                .filter(|(_, message)| message["certificateAuthorityArn"] == ca.as_str())
                .map(|(number, _)| *number)
                .collect::<Vec<_>>()
        };
        let started = of_ca("watch-started");
        if started.is_empty() {
            violations.push(format!("{ca} has no watch-started"));
        }
        for pair in started.windows(2) {
            if !may_be_repeated(world, pair[0], pair[1]) {
                violations.push(format!("NOISE: {ca} has two watch-started"));
            }
        }
        let (failed, recovered) = (of_ca("watch-failed"), of_ca("watch-recovered"));
        match (failed.last(), recovered.last()) {
            // The failure was not saved, and had ended by the next run.
            (Some(failed), _) if was_not_committed(world, *failed) => {}
            (Some(failed), None) => {
                violations.push(format!(
                    "message {failed}: watch-failed of {ca} has no watch-recovered"
                ));
            }
            (Some(failed), Some(recovered)) if failed > recovered => {
                violations.push(format!(
                    "message {failed}: watch-failed of {ca} has no watch-recovered"
                ));
            }
            // If SNS did not confirm `watch-failed`, the recovery is published to be sure.
            (None, Some(_)) if has_failed_publish(world) => {}
            (None, Some(recovered)) => {
                violations.push(format!(
                    "message {recovered}: watch-recovered of {ca} has no watch-failed"
                ));
            }
            _ => {}
        }
        let kinds: Vec<(usize, String)> = messages
            .of_type("watch-failed")
            .filter(|(_, message)| message["certificateAuthorityArn"] == ca.as_str())
            .map(|(number, message)| (*number, message["error"]["type"].to_string()))
            .collect();
        for pair in kinds.windows(2) {
            let recovered_between = recovered.iter().any(|r| (pair[0].0..pair[1].0).contains(r));
            if pair[0].1 == pair[1].1
                && !recovered_between
                && !may_be_repeated(world, pair[0].0, pair[1].0)
            {
                violations.push(format!("NOISE: {} of {ca} was alerted twice", pair[0].1));
            }
        }
    }
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
                if !is_warned || !is_written_at(world, &reports, stated) {
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

/// Checks that an error's end is announced only after a report that was requested after it began.
fn recoveries_are_true(messages: &Messages, violations: &mut Vec<String>) {
    for (number, message) in messages.of_type("watch-recovered") {
        let since = super::world::timestamp(&message["since"]);
        let requested_at = super::world::timestamp(&message["report"]["requestedAt"]);
        if since.is_none() || requested_at < since {
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

fn has_failed_publish(world: &World) -> bool {
    let observed = world.observed();
    let mut published = observed.runs.iter().flat_map(|run| {
        failed_calls(
            run.calls
                .iter()
                .filter(|seen| seen.call.operation == "Publish"),
            None,
        )
    });
    published.next().is_some()
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
                || response["certificateAuthorities"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(malformed))
        }
        _ => true,
    }
}
