//! Invalid, damaged and missing reports.

use std::time::Duration;

use local_aws::{Certificate, Fault, JsonLayout, NextReport, On, Outcome, ReportFormat, render};
use pca_revocation_watch::report::wait::MISSING_OBJECT_TIMEOUT;
use serde_json::{Value, json};

use super::{
    Available, FORMATS, REPORTS, alerted_entries, alerted_serials,
    assert_alerted_once_while_it_lasts, assert_alerted_once_without_errors, assert_failed,
    assert_failed_and_recovered_once, assert_failure_alerted, assert_same_error, assert_settles,
    audit_of, audited_world, control, expected_error, messages_of_type, only_message, run,
    run_audited, sorted,
};
use crate::simulator::on_paused_clock;
use crate::simulator::plan::{Extent, Failure, Injection};
use crate::simulator::world::{Ended, InvokeOptions, PERIOD, Revoked, World};

/// Renders the report that Private CA would write now.
fn report(world: &World, format: ReportFormat) -> String {
    let certificates = world.aws.private_ca().certificates(&world.cas[0]);
    render(&certificates, format, JsonLayout::TwoSpaces)
}

fn next_report(world: &World, next: NextReport) {
    world.aws.private_ca().next_report(&world.cas[0], next);
}

/// Checks an invalid report: two runs scan it, alert `whole` once and complete no audit; the third run
/// reads a new report and alerts the rest.
async fn assert_invalid_report_is_replaced(
    world: &World,
    next: NextReport,
    whole: &[String],
    message: &[&str],
) {
    let invalid = expected_error(
        "ReportInvalid",
        message,
        &["before the error", "new report"],
    );
    let complete = control(world)["lastCompleteAudit"].clone();
    next_report(world, next);
    let mut keys = Vec::new();
    for _ in 0..2 {
        let audit = run(world).await;
        assert_failed(&audit, &invalid);
        assert_failure_alerted(world, &audit, 1);
        assert_eq!(alerted_serials(world), whole);
        assert_eq!(control(world)["lastCompleteAudit"], complete);
        keys.push(audit["report"]["key"].clone());
    }
    assert_eq!(keys[0], keys[1]);
    let audit = run_audited(world).await;
    assert_ne!(audit["report"]["key"], keys[0]);
    assert_settles(world).await;
    assert_same_error(assert_failed_and_recovered_once(world, "ReportInvalid"));
}

#[test]
fn truncated_report_alerts_its_whole_records_then_is_replaced() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
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
            assert_invalid_report_is_replaced(&world, next, std::slice::from_ref(&whole), at).await;

            assert_eq!(alerted_serials(&world), sorted([&whole, &cut]));
        });
    }
}

#[test]
fn error_after_1000_records_withholds_only_later_records() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
            let first = world.revoke(0, "KEY_COMPROMISE");
            for _ in 0..998 {
                world.issue(0);
            }
            let last = world.revoke(0, "UNSPECIFIED");
            let bad = world.issue(0);
            let after = world.revoke(0, "SUPERSEDED");
            // A quote inside a string is an error in both formats.
            let report = report(&world, format).replace(&bad, &bad.replacen(':', "\"", 1));

            let next = NextReport::new().content(report);
            let before = sorted([&first, &last]);
            assert_invalid_report_is_replaced(&world, next, &before, &["byte ", "record 1003"])
                .await;

            assert_eq!(alerted_serials(&world), sorted([&first, &last, &after]));
        });
    }
}

#[test]
fn empty_report_or_wrong_format_is_replaced() {
    for (format, variable) in FORMATS {
        for is_empty in [false, true] {
            on_paused_clock(1, async {
                let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
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
                assert_invalid_report_is_replaced(&world, next, &[], &[message]).await;

                assert_eq!(alerted_serials(&world), [serial]);
            });
        }
    }
}

#[test]
fn record_of_another_ca_is_alerted_as_an_incomplete_audit() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
            let pca = world.aws.private_ca();
            let other = pca.create("Example Corp Other CA");
            let mut foreign = pca.certificate(&other, "www.example.net");
            let at = world.aws.clock().now();
            foreign.revoked_at = Some(at);
            foreign.revocation_reason = Some("KEY_COMPROMISE".to_owned());
            let serial = foreign.serial.clone();
            let mut all = pca.certificates(&world.cas[0]);
            all.push(foreign);
            let report = render(&all, format, JsonLayout::TwoSpaces);
            world.revoked.borrow_mut().push(Revoked {
                ca: world.cas[0].clone(),
                serial: serial.clone(),
                reason: "KEY_COMPROMISE",
                at,
                is_earlier: false,
                by: None,
            });

            let next = NextReport::new().content(report);
            let message = "1 revoked record belongs to another CA";
            assert_invalid_report_is_replaced(
                &world,
                next,
                std::slice::from_ref(&serial),
                &[message],
            )
            .await;

            assert_eq!(alerted_serials(&world), [serial]);
            assert!(
                alerted_entries(&world)[0]["certificateArn"]
                    .as_str()
                    .is_some_and(|arn| arn.starts_with(&other))
            );
        });
    }
}

/// Checks that the run after the first audit failed as an invocation with this error.
fn assert_second_run_failed(world: &World, kind: &str) {
    let ended = world.observed().runs[1].ended.clone();
    let Some(Ended::Failed(error)) = ended else {
        panic!("{ended:?}");
    };
    assert!(error.error_message.contains(kind), "{error:?}");
}

/// Flips one bit: in a bracket, or in a string, where the report stays valid and means something else.
#[test]
fn damaged_bytes_alert_nothing_until_the_next_read() {
    for (_, variable) in FORMATS {
        for at in [0, 150, 700, 1_000_003] {
            on_paused_clock(1, async {
                let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
                let serial = world.revoke(0, "KEY_COMPROMISE");
                let reading = On::operation("GetObject").key_contains(REPORTS);
                world.aws.inject(reading, Fault::FlipByte { at });

                let audit = run_audited(&world).await;

                assert_eq!(audit["published"], 1, "{audit:#}");
                assert_second_run_failed(&world, "ReportCorrupted");
                assert_eq!(world.observed().runs.len(), 3);
                assert_alerted_once_without_errors(&world, &serial).await;
            });
        }
    }
}

/// If damage makes a report invalid long before its end, the whole records before it must wait for the
/// checksum of the rest.
#[test]
fn damaged_report_is_read_to_its_end_before_any_alert() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        for _ in 0..1_000 {
            world.issue(0);
        }
        let report = report(&world, ReportFormat::Json);
        let (at, _) = report.match_indices('{').nth(9).expect("the tenth record");
        let reading = On::operation("GetObject").key_contains(REPORTS);
        world.aws.inject(reading, Fault::FlipByte { at: at as u64 });

        run_audited(&world).await;

        assert_second_run_failed(&world, "ReportCorrupted");
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn permanently_damaged_bytes_are_alerted_once_then_recover() {
    let unfinished = expected_error(
        "ReportUnfinished",
        &["2 attempts", REPORTS, "is not what S3 holds"],
        &["new report"],
    );
    on_paused_clock(
        1,
        assert_alerted_once_while_it_lasts(unfinished, Available::Everything, |world| {
            let reading = On::operation("GetObject").key_contains(REPORTS).always();
            world.aws.inject(reading, Fault::FlipByte { at: 700 });
            |world: &World| world.aws.clear_faults()
        }),
    );
}

/// Other errors of the same cause come and go meanwhile, such as an overdue audit.
#[test]
fn damaged_bytes_over_many_periods_are_alerted_once() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world.aws.inject(reading, Fault::FlipByte { at: 700 });
        for period in 1..=12 {
            world.until(PERIOD * period).await;
            world.schedule(InvokeOptions::default()).await;
        }
        assert_eq!(
            only_message(&world, "watch-failed")["error"]["type"],
            "ReportUnfinished"
        );

        world.aws.clear_faults();
        assert_settles(&world).await;

        assert_eq!(alerted_serials(&world), [serial]);
        assert_failed_and_recovered_once(&world, "ReportUnfinished");
    });
}

/// A report that exists is not abandoned because S3 fails to confirm it for a while.
#[test]
fn unresponsive_s3_does_not_make_a_report_vanish() {
    for fault in [
        Fault::Hang,
        Fault::error(503, "SlowDown", "Please reduce your request rate."),
    ] {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            next_report(&world, NextReport::new().delay(MISSING_OBJECT_TIMEOUT));
            world.until(PERIOD).await;
            world.schedule(InvokeOptions::default()).await;
            let report = control(&world)["pendingReport"]["key"].clone();
            let report = report.as_str().expect("a report is pending").to_owned();
            world.until(PERIOD + MISSING_OBJECT_TIMEOUT).await;
            let looking = On::operation("HeadObject").times(9);
            world.aws.inject(looking, fault.clone());

            run_audited(&world).await;

            let reads = world.aws.calls_of("GetObject");
            assert!(reads.iter().any(|call| call.key.as_ref() == Some(&report)));
            assert_alerted_once_without_errors(&world, &serial).await;
        });
    }
}

/// The attempt is saved before the scan, so a scan that crashes the process is counted.
#[test]
fn report_that_crashed_two_runs_is_abandoned_and_alerted_once() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        for period in 1..=2 {
            world.until(PERIOD * period).await;
            world.kill_at_key(REPORTS.to_owned());
            let ended = world.invoke(json!({}), InvokeOptions::default()).await;
            assert!(matches!(ended, Ended::Killed), "{ended:?}");
            assert_eq!(control(&world)["pendingReport"]["attempts"], period);
        }

        let audit = run(&world).await;

        let words = [REPORTS, &world.cas[0], "2 attempts"];
        assert_failed(
            &audit,
            &expected_error("ReportUnfinished", &words, &["memory", "new report"]),
        );
        assert_failure_alerted(&world, &audit, 1);
        assert_eq!(alerted_serials(&world), [""; 0]);
        assert_settles(&world).await;
        assert_eq!(alerted_serials(&world), [serial]);
        assert_same_error(assert_failed_and_recovered_once(&world, "ReportUnfinished"));
    });
}

#[test]
fn runs_that_die_while_waiting_do_not_abandon_a_report() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        for period in 1..=4 {
            world.until(PERIOD * period).await;
            // The first run requests the report and saves that, the others resume it.
            let waits_at = if period == 1 { 5 } else { 2 };
            world.inject([Injection {
                run: 0,
                call: waits_at,
                failure: Failure::KillBefore,
                extent: Extent::Attempt,
            }]);
            let ended = world.invoke(json!({}), InvokeOptions::default()).await;
            assert!(matches!(ended, Ended::Killed), "{ended:?}");
            let observed = world.observed();
            let calls = &observed.runs.last().expect("a run").calls;
            assert_eq!(calls[waits_at].call.operation, "HeadObject");
            drop(observed);
            assert_eq!(control(&world)["pendingReport"]["attempts"], 0);
        }
        world.stop_injecting();

        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

#[test]
fn run_that_only_waits_counts_no_attempt() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        next_report(&world, NextReport::new().delay(PERIOD / 2));
        world.until(PERIOD).await;

        let hurried = InvokeOptions {
            left: Duration::from_secs(60),
            ..InvokeOptions::default()
        };

        let ended = world.invoke(json!({}), hurried).await;

        assert_eq!(audit_of(&ended)["outcome"], "waiting");
        assert_eq!(control(&world)["pendingReport"]["attempts"], 0);
        assert_alerted_once_without_errors(&world, &serial).await;
    });
}

/// A read without progress resumes up to five times; the report is abandoned only after a day of broken
/// connections.
#[test]
fn breaking_connections_never_block_a_ca_for_good() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world.aws.inject(reading, Fault::CutBody { after: 0 });
        let before = reads_of_reports(&world);
        world.until(PERIOD).await;
        let first = world.invoke(json!({}), InvokeOptions::default()).await;
        let first = audit_of(&first);
        assert_eq!(first["error"]["type"], "Unavailable", "{first:#}");
        assert_eq!(reads_of_reports(&world) - before, 1 + 5);
        let report = control(&world)["pendingReport"]["id"].clone();
        assert!(report.is_string());

        world.until(Duration::from_secs(24 * 3600)).await;
        for _ in 0..2 {
            world.schedule(InvokeOptions::default()).await;
            assert_eq!(control(&world)["pendingReport"]["id"], report);
        }
        for _ in 0..4 {
            let period = (world.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
            world.until(PERIOD * period).await;
            world.schedule(InvokeOptions::default()).await;
        }

        assert_ne!(control(&world)["pendingReport"]["id"], report);
        world.aws.clear_faults();
        assert_settles(&world).await;
        assert_eq!(alerted_serials(&world), [serial]);
        assert_failed_and_recovered_once(&world, "ReportOverdue");
    });
}

fn reads_of_reports(world: &World) -> usize {
    let reads = world.aws.calls_of("GetObject").into_iter();
    let of_report = |key: &String| key.starts_with(REPORTS);
    reads
        .filter(|call| call.key.as_ref().is_some_and(of_report))
        .count()
}

/// How a revoked record is malformed, in which formats, and what the alert says.
type MalformedCase = (
    fn(Certificate) -> Certificate,
    &'static [(ReportFormat, &'static str)],
    Value,
);

/// How records can be malformed and still be identified.
fn malformed_cases() -> [MalformedCase; 8] {
    let json = &FORMATS[..1];
    [
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
        // Field names are case-insensitive, so this is a second subject.
        (|c| c.with("Subject", "CN=somebody else"), json, json!({})),
    ]
}

#[test]
fn malformed_record_is_alerted_once_with_its_own_values() {
    for (change, formats, expected) in malformed_cases() {
        for (_, variable) in formats {
            on_paused_clock(1, async {
                let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
                add_revoked(&world, "KEY_COMPROMISE", change);

                let audit = run_audited(&world).await;
                let again = run_audited(&world).await;

                assert_eq!(audit["malformedRecords"], 1, "{audit:#}");
                assert_eq!(audit["warnings"].as_array().map(Vec::len), Some(1));
                let entries = alerted_entries(&world);
                assert_eq!(entries.len(), 1, "{entries:#?}");
                assert_eq!(entries[0]["malformed"], true);
                for (field, value) in expected.as_object().expect("an object") {
                    assert_eq!(&entries[0][field], value, "{variable}: {:#}", entries[0]);
                }
                assert_eq!(
                    (&again["malformedRecords"], &again["published"]),
                    (&json!(1), &json!(0))
                );
                assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
            });
        }
    }
}

/// Adds a certificate that is revoked now, applies `change` to it, and returns its serial.
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
fn unknown_reason_is_alerted_verbatim_with_severity_high() {
    for (_, variable) in FORMATS {
        // Filter policies compare `reasons`, so only plain words appear there.
        for (reason, name) in [
            ("QUANTUM_BREAK", "QUANTUM_BREAK"),
            ("<b>gone</b>, \"so\"", "OTHER"),
        ] {
            on_paused_clock(1, async {
                let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
                let serial = add_revoked(&world, reason, |certificate| certificate);

                run_audited(&world).await;
                run_audited(&world).await;

                let message = only_message(&world, "revocations");
                assert_eq!(message["severity"], "high");
                assert_eq!(message["reasons"], json!([name]));
                let entry = &message["revocations"][0];
                assert_eq!(
                    (&entry["serial"], &entry["reason"]),
                    (&json!(serial), &json!(reason))
                );
                assert_eq!(
                    (&entry["severity"], &entry["malformed"]),
                    (&json!("high"), &Value::Null)
                );
            });
        }
    }
}

#[test]
fn duplicate_serial_is_alerted_once() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            let mut all = world.aws.private_ca().certificates(&world.cas[0]);
            let same = all.last().expect("there are some").clone();
            let other_spelling = serial.replace(':', "").to_uppercase();
            all.extend([same.clone(), same.with("serial", other_spelling)]);
            let report = render(&all, format, JsonLayout::TwoSpaces);
            next_report(&world, NextReport::new().content(report));

            let audit = run_audited(&world).await;

            assert_eq!(
                (&audit["revoked"], &audit["published"]),
                (&json!(4), &json!(1))
            );
            assert_eq!(alerted_serials(&world), [serial]);
            assert_settles(&world).await;
        });
    }
}

#[test]
fn reappearing_revocation_causes_a_warning_and_no_second_alert() {
    for (_, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
            let pca = world.aws.private_ca();
            let gone = world.revoke(0, "KEY_COMPROMISE");
            run_audited(&world).await;
            let all = pca.certificates(&world.cas[0]);

            pca.set_certificates(&world.cas[0], all[..1].to_vec());
            let new = world.revoke(0, "SUPERSEDED");
            let audit = run_audited(&world).await;

            let warnings = audit["warnings"].as_array().expect("there are warnings");
            assert_eq!(warnings.len(), 2, "{warnings:#?}");
            for (warning, words) in warnings
                .iter()
                .zip([["certificates", "2", "3"], ["revocation", "1", "2"]])
            {
                let warning = warning.as_str().expect("a warning is a string");
                assert!(words.iter().all(|word| warning.contains(word)), "{warning}");
            }
            assert_eq!(control(&world)["notifiedCount"], 3);
            let mut back = all;
            back.extend(pca.certificates(&world.cas[0]).split_off(1));
            pca.set_certificates(&world.cas[0], back);
            let audit = run_audited(&world).await;
            assert_eq!(
                (&audit["revoked"], &audit["newRevocations"]),
                (&json!(3), &json!(0))
            );
            assert_settles(&world).await;
            assert_eq!(alerted_serials(&world), sorted([&gone, &new]));
            assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
        });
    }
}

/// After `SUCCESS`, a missing object is awaited for an hour.
#[test]
fn missing_report_object_is_awaited_then_replaced() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        next_report(&world, NextReport::new().outcome(Outcome::NotWritten));
        for _ in 0..2 {
            assert_eq!(run(&world).await["outcome"], "waiting");
        }

        let audit = run(&world).await;

        let vanished = expected_error(
            "ReportVanished",
            &[REPORTS],
            &["new report", "lifecycle rules"],
        );
        assert_failed(&audit, &vanished);
        assert_failure_alerted(&world, &audit, 1);
        assert_settles(&world).await;
        assert_same_error(assert_failed_and_recovered_once(&world, vanished.kind));
        assert_eq!(alerted_serials(&world), [serial]);
    });
}

/// A report in `CREATING` is abandoned after a day; the overdue audit is alerted long before.
#[test]
fn report_never_ready_is_alerted_as_overdue_then_as_failed() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
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
        assert_eq!(outcomes, ["waiting", "ReportFailed"]);

        assert_settles(&world).await;

        for message_type in ["watch-failed", "watch-recovered"] {
            let messages = messages_of_type(&world, message_type);
            let kinds = messages.iter().map(|message| &message["error"]["type"]);
            let kinds: Vec<&Value> = kinds.collect();
            assert_eq!(kinds, ["ReportOverdue", "ReportFailed"], "{message_type}");
        }
        assert_eq!(alerted_serials(&world), [serial]);
    });
}

/// Nobody was notified of the topic's error.
#[test]
fn error_of_the_topic_does_not_hide_an_overdue_audit() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.was_refused.set(true);
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.unsubscribe_all();
        let audit = run(&world).await;
        assert_eq!(audit["error"]["type"], "TopicWithoutSubscription");
        world.subscribe();
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world.aws.inject(reading, Fault::CutBody { after: 0 });

        for _ in 0..4 {
            world.next_period().await;
            world.schedule(InvokeOptions::default()).await;
        }

        only_message(&world, "watch-failed");
        assert_settles(&world).await;
        assert_failed_and_recovered_once(&world, "ReportOverdue");
        assert_eq!(alerted_serials(&world), [serial]);
    });
}
