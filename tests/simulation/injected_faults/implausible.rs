//! Valid reports that cannot be right: shrunken, emptied, or with another schema.

use local_aws::{Certificate, Fault, JsonLayout, NextReport, On, ReportFormat, render};
use serde_json::{Value, json};

use super::{
    FORMATS, REPORTS, alerted_entries, alerted_serials, assert_failed,
    assert_failed_and_recovered_once, assert_failure_alerted, assert_same_error, assert_settles,
    audit_of, audited_world, control, expected_error, messages_of_type, put, run, run_audited,
    sorted,
};
use crate::simulator::on_paused_clock;
use crate::simulator::world::{BUCKET, InvokeOptions, PERIOD, World};

/// Makes a bad report of the CA's certificates.
type Spoil = fn(&[Certificate], ReportFormat) -> String;

/// How a report can become worthless without becoming invalid, and what the error says of it.
const WORTHLESS: [(Spoil, &str); 3] = [
    (
        emptied,
        "no certificate; the last complete audit had 3 certificates",
    ),
    (renamed, "neither serial nor certificateArn"),
    (
        without_revocations,
        "no revocation; the last complete audit had 2 revocations",
    ),
];

fn emptied(_: &[Certificate], format: ReportFormat) -> String {
    render(&[], format, JsonLayout::TwoSpaces)
}

/// Gives the fields that matter other names.
fn renamed(certificates: &[Certificate], format: ReportFormat) -> String {
    render(certificates, format, JsonLayout::TwoSpaces)
        .replace("serial", "serialNumber")
        .replace("certificateArn", "arn")
        .replace("revokedAt", "revocationTime")
}

fn without_revocations(certificates: &[Certificate], format: ReportFormat) -> String {
    let valid = certificates.iter().filter(|one| one.revoked_at.is_none());
    let valid: Vec<Certificate> = valid.cloned().collect();
    render(&valid, format, JsonLayout::TwoSpaces)
}

/// Replaces the next report.
fn spoil_next(world: &World, format: ReportFormat, spoil: Spoil) {
    let certificates = world.aws.private_ca().certificates(&world.cas[0]);
    let next = NextReport::new().content(spoil(&certificates, format));
    world.aws.private_ca().next_report(&world.cas[0], next);
}

/// Returns a valid certificate of the CA that nothing identifies.
fn unidentified(world: &World) -> Certificate {
    let pca = world.aws.private_ca();
    pca.certificate(&world.cas[0], "www.example.org")
        .with("serial", Value::Null)
        .with("certificateArn", Value::Null)
}

fn accepting(world: &World) -> Value {
    json!({ "acceptReport": true, "certificateAuthorityArns": [world.cas[0]] })
}

async fn accept(world: &World) -> Value {
    let ended = world
        .invoke(accepting(world), InvokeOptions::default())
        .await;
    audit_of(&ended).clone()
}

/// Checks that an audit failed because of an implausible report, and that the hint says how to accept it.
fn assert_implausible(world: &World, audit: &Value, why: &str) {
    let words = [REPORTS, &world.cas[0], why];
    let hint = ["new report", "accept"];
    assert_failed(audit, &expected_error("ReportImplausible", &words, &[]));
    let text = audit["error"]["hint"].as_str().expect("there is a hint");
    let event = format!(
        r#"{{"acceptReport": true, "certificateAuthorityArns": ["{}"]}}"#,
        world.cas[0]
    );
    for word in hint.into_iter().chain([event.as_str()]) {
        assert!(text.contains(word), "{word:?} in {text}");
    }
    assert_eq!(control(world)["pendingReport"]["implausible"], true);
}

fn requests(world: &World) -> usize {
    let requests = world.aws.calls_of("CreateCertificateAuthorityAuditReport");
    requests.len()
}

#[test]
fn worthless_report_is_no_complete_audit_until_a_good_one() {
    for (format, variable) in FORMATS {
        for (spoil, why) in WORTHLESS {
            on_paused_clock(1, async {
                let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
                let before = world.revoke(0, "SUPERSEDED");
                let good = run_audited(&world).await;
                let complete = control(&world)["lastCompleteAudit"].clone();
                let during = world.revoke(0, "KEY_COMPROMISE");
                let mut keys = vec![good["report"]["key"].clone()];
                for _ in 0..2 {
                    spoil_next(&world, format, spoil);

                    let audit = run(&world).await;

                    assert_implausible(&world, &audit, why);
                    assert_failure_alerted(&world, &audit, 1);
                    assert_eq!(audit["lastCompleteAuditAt"], good["lastCompleteAuditAt"]);
                    assert_eq!(control(&world)["lastCompleteAudit"], complete);
                    assert!(!keys.contains(&audit["report"]["key"]), "read again");
                    keys.push(audit["report"]["key"].clone());
                }
                assert_eq!(alerted_serials(&world), [before.as_str()]);

                let audit = run_audited(&world).await;

                assert_eq!(control(&world)["pendingReport"], Value::Null);
                assert_ne!(audit["lastCompleteAuditAt"], good["lastCompleteAuditAt"]);
                assert_settles(&world).await;
                assert_eq!(alerted_serials(&world), sorted([&before, &during]));
                assert_same_error(assert_failed_and_recovered_once(
                    &world,
                    "ReportImplausible",
                ));
            });
        }
    }
}

#[test]
fn revocation_in_an_implausible_report_is_alerted_once() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            let mut all = world.aws.private_ca().certificates(&world.cas[0]);
            all.push(unidentified(&world));
            let report = render(&all, format, JsonLayout::TwoSpaces);
            let next = NextReport::new().content(report);
            world.aws.private_ca().next_report(&world.cas[0], next);

            let audit = run(&world).await;

            assert_implausible(
                &world,
                &audit,
                "4 certificates and has 1 record with neither",
            );
            assert_eq!(audit["unidentifiedRecords"], 1, "{audit:#}");
            assert_eq!(alerted_serials(&world), [serial.as_str()]);
            assert_settles(&world).await;
            assert_eq!(alerted_serials(&world), [serial]);
            assert_same_error(assert_failed_and_recovered_once(
                &world,
                "ReportImplausible",
            ));
        });
    }
}

/// The record stays in every report, so the first acceptance makes it known.
#[test]
fn unidentified_revocation_is_alerted_once_and_can_be_accepted() {
    for (_, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
            let mut revoked = unidentified(&world);
            revoked.revoked_at = Some(world.aws.clock().now());
            world.aws.private_ca().add(&world.cas[0], revoked);
            for _ in 0..2 {
                let audit = run(&world).await;
                assert_implausible(&world, &audit, "1 record with neither");
                assert_eq!(audit["malformedRecords"], 1, "{audit:#}");
                assert_failure_alerted(&world, &audit, 1);
            }

            let accepted = accept(&world).await;
            run_audited(&world).await;
            run_audited(&world).await;

            assert_eq!(accepted["outcome"], "audited", "{accepted:#}");
            let entries = alerted_entries(&world);
            assert_eq!(entries.len(), 1, "{entries:#?}");
            let entry = &entries[0];
            assert_eq!(
                (&entry["serial"], &entry["certificateArn"]),
                (&Value::Null, &Value::Null)
            );
            assert_eq!(entry["malformed"], true);
            assert_failed_and_recovered_once(&world, "ReportImplausible");
        });
    }
}

#[test]
fn accepted_report_is_the_new_baseline() {
    for (_, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
            world
                .aws
                .private_ca()
                .set_certificates(&world.cas[0], Vec::new());
            let refused = run(&world).await;
            assert_implausible(&world, &refused, "no certificate");
            let before = requests(&world);

            let accepted = accept(&world).await;

            assert_eq!(accepted["outcome"], "audited", "{accepted:#}");
            assert_eq!(accepted["report"], refused["report"]);
            assert_eq!(requests(&world), before);
            let control = control(&world);
            assert_eq!(control["pendingReport"], Value::Null);
            let complete = &control["lastCompleteAudit"];
            assert_eq!(complete["key"], refused["report"]["key"]);
            assert_eq!(
                (&complete["certificates"], &complete["revoked"]),
                (&json!(0), &json!(0))
            );
            assert_ne!(
                accepted["lastCompleteAuditAt"],
                refused["lastCompleteAuditAt"]
            );
            // It is forgotten as little as after any other report.
            assert_eq!(control["notifiedCount"], 1);
            run_audited(&world).await;
            assert_settles(&world).await;
            assert_same_error(assert_failed_and_recovered_once(
                &world,
                "ReportImplausible",
            ));
        });
    }
}

#[test]
fn accepting_without_an_implausible_report_changes_nothing() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let before = requests(&world);
        let document = |world: &World| {
            let mut control = control(world);
            for written in ["sequence", "nonce"] {
                control.as_object_mut().expect("an object").remove(written);
            }
            control
        };
        let unchanged = document(&world);

        let refused = accept(&world).await;

        let words = [world.cas[0].as_str(), "no implausible report"];
        let nothing = expected_error("ReportNotAccepted", &words, &["Nothing was changed", "{}"]);
        assert_failed(&refused, &nothing);
        assert_eq!((document(&world), requests(&world)), (unchanged, before));
        assert_settles(&world).await;
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
    });
}

/// What an operator accepts is what the error described, not what lies there now.
#[test]
fn report_that_is_gone_or_replaced_cannot_be_accepted() {
    for is_replaced in [false, true] {
        on_paused_clock(1, async {
            let world = audited_world(&[]).await;
            let serial = world.revoke(0, "KEY_COMPROMISE");
            spoil_next(&world, ReportFormat::Json, emptied);
            let refused = run(&world).await;
            assert_implausible(&world, &refused, "no certificate");
            let pending = control(&world)["pendingReport"].clone();
            let key = pending["key"].as_str().expect("there is a key");
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
            if is_replaced {
                put(&world, key, "[]".to_owned());
            } else {
                world.aws.s3().delete(BUCKET, key);
            }

            let audit = accept(&world).await;

            let words = [key, "is gone or was replaced"];
            assert_failed(
                &audit,
                &expected_error("ReportNotAccepted", &words, &["{}"]),
            );
            assert_eq!(control(&world)["pendingReport"], pending);
            assert_eq!(messages_of_type(&world, "watch-failed").len(), 1);
            assert_settles(&world).await;
            assert_eq!(alerted_serials(&world), [serial]);
            assert_failed_and_recovered_once(&world, "ReportImplausible");
        });
    }
}

/// Until Private CA allows a new report, the implausible one stays the one to accept.
#[test]
fn implausible_report_is_kept_until_a_new_one_is_requested() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        spoil_next(&world, ReportFormat::Json, emptied);
        let refused = run(&world).await;
        assert_implausible(&world, &refused, "no certificate");
        let before = requests(&world);

        let ended = world.invoke(json!({}), InvokeOptions::default()).await;

        assert_eq!(audit_of(&ended)["outcome"], "tooSoon");
        assert_eq!(requests(&world), before);
        let pending = control(&world)["pendingReport"].clone();
        assert_eq!(pending["id"], refused["report"]["id"]);
        assert_eq!(pending["implausible"], true);
        assert_eq!(accept(&world).await["outcome"], "audited");
    });
}

/// The report may be accepted before its revocations were recorded: they are alerted again, once.
#[test]
fn acceptance_records_what_the_failed_audit_could_not() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world
            .aws
            .private_ca()
            .add(&world.cas[0], unidentified(&world));
        let recording = On::operation("PutObject")
            .key_contains("notified-")
            .always();
        world.aws.inject(
            recording,
            Fault::error(503, "SlowDown", "Please reduce your request rate."),
        );
        world.until(PERIOD).await;
        let ended = world.invoke(json!({}), InvokeOptions::default()).await;
        assert_eq!(audit_of(&ended)["error"]["type"], "Throttled", "{ended:?}");
        world.aws.clear_faults();

        let accepted = accept(&world).await;
        run_audited(&world).await;

        assert_eq!(
            (&accepted["outcome"], &accepted["published"]),
            (&json!("audited"), &json!(1))
        );
        assert_eq!(alerted_serials(&world), [serial.as_str(), &serial]);
    });
}

#[test]
fn smaller_report_is_a_complete_audit_with_a_warning() {
    for (_, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = audited_world(&[("REPORT_FORMAT", variable)]).await;
            let pca = world.aws.private_ca();
            pca.set_certificates(&world.cas[0], pca.certificates(&world.cas[0])[1..].to_vec());

            let audit = run_audited(&world).await;

            let warning = "the report lists 1 certificate; the previous one listed 2";
            assert_eq!(audit["warnings"], json!([warning]), "{audit:#}");
            assert_eq!(control(&world)["lastCompleteAudit"]["certificates"], 1);
            assert_settles(&world).await;
            assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
        });
    }
}

/// A new CA has no certificates; records that nothing identifies are unknown from the start.
#[test]
fn first_report_may_be_empty_but_not_of_another_schema() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = World::new(1, 1, &[("REPORT_FORMAT", variable)]);
            spoil_next(&world, format, emptied);
            run_audited(&world).await;
            assert_settles(&world).await;
        });
        on_paused_clock(1, async {
            let world = World::new(1, 1, &[("REPORT_FORMAT", variable)]);
            world.revoke_long_ago(0, "SUPERSEDED");
            spoil_next(&world, format, renamed);

            let audit = run(&world).await;

            assert_implausible(&world, &audit, "neither serial nor certificateArn");
            assert_eq!(control(&world)["lastCompleteAudit"], Value::Null);
            assert_eq!(messages_of_type(&world, "watch-started").len(), 0);
            assert_settles(&world).await;
            assert_failed_and_recovered_once(&world, "ReportImplausible");
        });
    }
}

#[test]
fn dry_run_of_an_implausible_report_shows_the_error_only() {
    for (format, variable) in FORMATS {
        on_paused_clock(1, async {
            let world = World::new(1, 1, &[("REPORT_FORMAT", variable)]);
            world.revoke_long_ago(0, "SUPERSEDED");
            spoil_next(&world, format, renamed);

            let dry_run = json!({ "dryRun": true });
            let ended = world.invoke(dry_run, InvokeOptions::default()).await;

            assert_failed(
                audit_of(&ended),
                &expected_error("ReportImplausible", &[REPORTS, &world.cas[0]], &["accept"]),
            );
            assert_eq!(world.aws.sns().messages().len(), 0);
            // It is pending as after any dry run: the next audit reads it and refuses it.
            assert_eq!(control(&world)["pendingReport"]["implausible"], Value::Null);
            let refused = accept(&world).await;
            assert_eq!(refused["error"]["type"], "ReportNotAccepted");
            assert_implausible(&world, &run(&world).await, "neither");
            assert_settles(&world).await;
        });
    }
}
