//! Reports that are not right.

use std::time::Duration;

use local_aws::{Certificate, Fault, JsonLayout, NextReport, On, Outcome, ReportFormat, render};
use pca_revocation_watch::report::wait::MISSING_OBJECT_TIMEOUT;
use serde_json::{Value, json};

use super::{
    FORMATS, Left, REPORTS, assert_failed, assert_failed_and_recovered_once, assert_failure_told,
    assert_same_fault, audit_of, audited_world, comes_in_order, control, documents, entries,
    is_told_once_without_a_word, lasts, named, only, run, run_well, sorted, told,
};
use crate::simulator::on_paused_clock;
use crate::simulator::plan::{Blow, Extent, Strike};
use crate::simulator::world::{Ended, How, PERIOD, Revoked, World};

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
            is_invalid(&world, next, std::slice::from_ref(&whole), at).await;

            assert_eq!(told(&world), sorted([&whole, &cut]));
        });
    }
}

#[test]
fn a_fault_after_a_thousand_good_records_keeps_back_only_what_comes_after_it() {
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
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
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
            let message = "1 revoked record belongs to another CA";
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

/// The run after the first audit failed as an invocation, with that fault.
fn assert_second_run_failed(world: &World, kind: &str) {
    let ended = world.observed().runs[1].ended.clone();
    let Some(Ended::Failed(error)) = ended else {
        panic!("{ended:?}");
    };
    assert!(error.message.contains(kind), "{error}");
}

/// One bit, wherever it is: in a bracket, in a text, where the JSON stays valid and says another
/// thing.
#[test]
fn nothing_is_told_from_damaged_bytes_and_all_of_it_from_the_next_reading() {
    for (_, variable) in FORMATS {
        for at in [0, 150, 700, 1_000_003] {
            on_paused_clock(1, async {
                let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
                let serial = world.revoke(0, "KEY_COMPROMISE");
                let reading = On::operation("GetObject").key_contains(REPORTS);
                world.aws.misbehave(reading, Fault::FlipByte { at });

                let audit = run_well(&world).await;

                assert_eq!(audit["published"], 1, "{audit:#}");
                assert_second_run_failed(&world, "ReportCorrupted");
                assert_eq!(world.observed().runs.len(), 3);
                is_told_once_without_a_word(&world, &serial).await;
            });
        }
    }
}

/// Damage that makes the report invalid long before its end: what is whole before it must wait for
/// the checksum of what comes after it, too.
#[test]
fn nothing_is_told_before_the_rest_of_a_damaged_report_was_read() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        for _ in 0..1_000 {
            world.issue(0);
        }
        let report = report(&world, ReportFormat::Json);
        let (at, _) = report.match_indices('{').nth(9).expect("the tenth record");
        let reading = On::operation("GetObject").key_contains(REPORTS);
        world
            .aws
            .misbehave(reading, Fault::FlipByte { at: at as u64 });

        run_well(&world).await;

        assert_second_run_failed(&world, "ReportCorrupted");
        is_told_once_without_a_word(&world, &serial).await;
    });
}

#[test]
fn bytes_that_always_arrive_damaged_are_told_once_and_made_up_for() {
    let unfinished = named(
        "ReportUnfinished",
        &["2 attempts", REPORTS, "is not what S3 holds"],
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

/// Other faults of the same cause come and go in between, an overdue audit among them.
#[test]
fn damaged_bytes_of_many_periods_are_told_once() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world.aws.misbehave(reading, Fault::FlipByte { at: 700 });
        for period in 1..=12 {
            world.until(PERIOD * period).await;
            world.schedule(How::default()).await;
        }
        assert_eq!(
            only(&world, "watch-failed")["error"]["type"],
            "ReportUnfinished"
        );

        world.aws.behave();
        comes_in_order(&world).await;

        assert_eq!(told(&world), [serial]);
        assert_failed_and_recovered_once(&world, "ReportUnfinished");
    });
}

/// One that is there is not given up because S3 does not say so for once.
#[test]
fn a_report_of_which_s3_says_nothing_for_a_while_has_not_vanished() {
    for fault in [
        Fault::Hang,
        Fault::error(503, "SlowDown", "Please reduce your request rate."),
    ] {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            next_report(&world, NextReport::new().delay(MISSING_OBJECT_TIMEOUT));
            world.until(PERIOD).await;
            world.schedule(How::default()).await;
            let report = control(&world)["pendingReport"]["key"].clone();
            world.until(PERIOD + MISSING_OBJECT_TIMEOUT).await;
            let looking = On::operation("HeadObject").times(9);
            world.aws.misbehave(looking, fault.clone());

            let audit = run_well(&world).await;

            assert_eq!(audit["report"]["key"], report);
            is_told_once_without_a_word(&world, &serial).await;
        });
    }
}

/// What takes the process down while it reads, memory or time, has been counted before.
#[test]
fn a_report_over_which_the_process_died_twice_is_dropped_and_told_once() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        for period in 1..=2 {
            world.until(PERIOD * period).await;
            world.kill_at_key(REPORTS.to_owned());
            let ended = world.invoke(json!({}), How::default()).await;
            assert!(matches!(ended, Ended::Killed), "{ended:?}");
            assert_eq!(control(&world)["pendingReport"]["attempts"], period);
        }

        let audit = run(&world).await;

        let words = [REPORTS, &world.cas[0], "2 runs died"];
        assert_failed(
            &audit,
            &named("ReportUnfinished", &words, &["memory", "new report"]),
        );
        assert_failure_told(&world, &audit, 1);
        assert_eq!(told(&world), [""; 0]);
        comes_in_order(&world).await;
        assert_eq!(told(&world), [serial]);
        assert_same_fault(assert_failed_and_recovered_once(&world, "ReportUnfinished"));
    });
}

/// The scan of a report is counted with its request, but only a scan may get it abandoned.
#[test]
fn runs_that_die_while_waiting_do_not_abandon_a_report() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        for period in 1..=4 {
            world.until(PERIOD * period).await;
            // The first run requests the report and saves that, the others resume it.
            let waits_at = if period == 1 { 5 } else { 3 };
            world.arm([Strike {
                run: 0,
                call: waits_at,
                blow: Blow::KillBefore,
                extent: Extent::Attempt,
            }]);
            let ended = world.invoke(json!({}), How::default()).await;
            assert!(matches!(ended, Ended::Killed), "{ended:?}");
            let observed = world.observed();
            let calls = &observed.runs.last().expect("a run").calls;
            assert_eq!(calls.last().expect("a call").call.operation, "HeadObject");
            drop(observed);
            assert_eq!(control(&world)["pendingReport"]["attempts"], 1);
        }
        world.disarm();

        is_told_once_without_a_word(&world, &serial).await;
    });
}

#[test]
fn run_that_only_waits_gives_its_attempt_back() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        next_report(&world, NextReport::new().delay(PERIOD / 2));
        world.until(PERIOD).await;

        let hurried = How {
            left: Duration::from_secs(60),
            ..How::default()
        };

        let ended = world.invoke(json!({}), hurried).await;

        assert_eq!(audit_of(&ended)["outcome"], "waiting");
        assert_eq!(control(&world)["pendingReport"]["attempts"], 0);
        is_told_once_without_a_word(&world, &serial).await;
    });
}

/// Five times it is read on where it broke; S3 gets a day before the report is blamed.
#[test]
fn a_connection_that_breaks_again_and_again_wedges_nothing() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        let reading = On::operation("GetObject").key_contains(REPORTS).always();
        world.aws.misbehave(reading, Fault::CutBody { after: 100 });
        let before = reads_of_reports(&world);
        world.until(PERIOD).await;
        let first = world.invoke(json!({}), How::default()).await;
        let first = audit_of(&first);
        assert_eq!(first["error"]["type"], "Unavailable", "{first:#}");
        assert_eq!(reads_of_reports(&world) - before, 1 + 5);
        let report = control(&world)["pendingReport"]["id"].clone();
        assert!(report.is_string());

        world.until(Duration::from_secs(24 * 3600)).await;
        for _ in 0..2 {
            world.schedule(How::default()).await;
            assert_eq!(control(&world)["pendingReport"]["id"], report);
        }
        for _ in 0..4 {
            let period = (world.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
            world.until(PERIOD * period).await;
            world.schedule(How::default()).await;
        }

        assert_ne!(control(&world)["pendingReport"]["id"], report);
        world.aws.behave();
        comes_in_order(&world).await;
        assert_eq!(told(&world), [serial]);
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

/// What is odd about a revoked record, in which formats it can be so, and what is told of it.
type Odd = (
    fn(Certificate) -> Certificate,
    &'static [(ReportFormat, &'static str)],
    Value,
);

#[test]
fn an_odd_record_is_told_as_it_stands_and_once() {
    let json = &FORMATS[..1];
    let malformed: [Odd; 9] = [
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
    for (change, formats, expected) in malformed {
        for (_, variable) in formats {
            on_paused_clock(1, async {
                let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
                add_revoked(&world, "KEY_COMPROMISE", change);

                let audit = run_well(&world).await;
                let again = run_well(&world).await;

                assert_eq!(
                    audit["warnings"],
                    json!(["1 record is malformed but readable"])
                );
                let entries = entries(&world);
                assert_eq!(entries.len(), 1, "{entries:#?}");
                assert_eq!(entries[0]["malformed"], true);
                for (field, value) in expected.as_object().expect("an object") {
                    assert_eq!(&entries[0][field], value, "{variable}: {:#}", entries[0]);
                }
                assert_eq!(
                    (&again["malformedRecords"], &again["published"]),
                    (&json!(1), &json!(0))
                );
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
                let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
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
                    (&entry["severity"], &entry["malformed"]),
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
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
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
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
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
                    "the report lists 2 certificates; the previous one listed 3",
                    "the report lists 1 revocation; the previous one listed 2",
                ])
            );
            assert_eq!(control(&world)["notifiedCount"], 3);
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
        let world = audited_world(&[]).await;
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
