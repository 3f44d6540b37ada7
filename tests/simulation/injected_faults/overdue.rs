//! Overdue audits: reported at the end of a run of all CAs, once, and never because a schedule was
//! disabled.

use std::time::Duration;

use local_aws::{Fault, NextReport, On, Outcome};
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};

use super::{
    REPORTS, assert_failed_and_recovered_once, assert_same_error, assert_settles, audit_of,
    audited_world, first_audit, messages_of_type, only_message, run, types,
};
use crate::simulator::on_paused_clock;
use crate::simulator::world::{BUCKET, InvokeOptions, PERIOD, World};

const MINUTE: Duration = Duration::from_secs(60);

fn next_report(world: &World, ca: usize, next: NextReport) {
    world.aws.private_ca().next_report(&world.cas[ca], next);
}

/// Returns a time after the first second of a world.
fn at(minutes: u32) -> Value {
    let start = Timestamp::parse("2026-11-21T04:00:00Z").expect("a time");
    json!(start.saturating_add(minutes * MINUTE))
}

/// Breaks every body of a report: an error that a retry may fix.
fn break_reading(world: &World) {
    let reading = On::operation("GetObject").key_contains(REPORTS).always();
    world.aws.inject(reading, Fault::CutBody { after: 0 });
}

/// Runs the schedule at the beginning of a period.
async fn run_at(world: &World, period: u32) {
    world.until(PERIOD * period).await;
    world.schedule(InvokeOptions::default()).await;
}

#[test]
fn overdue_audit_is_reported_once_with_its_last_audit() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        break_reading(&world);
        for period in 1..=2 {
            run_at(&world, period).await;
        }
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
        for period in 3..=6 {
            run_at(&world, period).await;
        }

        let failed = only_message(&world, "watch-failed");
        assert_eq!(failed["error"]["type"], "ReportOverdue");
        let message = failed["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&world.cas[0]), "{message}");
        assert!(message.contains("minutes (limit: 90)"), "{message}");
        let hint = failed["error"]["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("audit failed"), "{hint}");
        assert_eq!(failed["since"], at(90));
        assert_eq!(failed["lastCompleteAuditAt"], at(0));

        world.aws.clear_faults();
        assert_settles(&world).await;
        assert_same_error(assert_failed_and_recovered_once(&world, "ReportOverdue"));
    });
}

#[test]
fn limit_is_three_audit_intervals() {
    on_paused_clock(1, async {
        let world = audited_world(&[("AUDIT_INTERVAL_MINUTES", "60")]).await;
        break_reading(&world);
        for period in [2, 4, 5] {
            run_at(&world, period).await;
        }
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);

        run_at(&world, 8).await;

        let failed = only_message(&world, "watch-failed");
        assert_eq!(failed["since"], at(180));
        world.aws.clear_faults();
        assert_settles(&world).await;
        assert_failed_and_recovered_once(&world, "ReportOverdue");
    });
}

/// Its report is not ready when the first run ends.
#[test]
fn disabled_schedule_makes_no_audit_overdue() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.until(20 * PERIOD).await;
        next_report(&world, 0, NextReport::new().delay(20 * MINUTE));

        let audit = run(&world).await;

        assert_eq!(audit["outcome"], "waiting");
        assert_settles(&world).await;
        assert_eq!(types(&world), ["watch-started"]);
    });
}

#[test]
fn ca_that_was_never_audited_counts_from_when_it_was_first_seen() {
    on_paused_clock(1, async {
        let world = World::new(1, 2, &[]);
        next_report(&world, 1, NextReport::new().outcome(Outcome::Never));
        for period in 0..=4 {
            run_at(&world, period).await;
        }

        let failed = only_message(&world, "watch-failed");

        assert_eq!(failed["error"]["type"], "ReportOverdue");
        assert_eq!(failed["certificateAuthorityArns"], json!([world.cas[1]]));
        assert_eq!(failed["since"], at(90));
        assert_eq!(failed["lastCompleteAuditAt"], Value::Null);
    });
}

/// Neither a run of some CAs nor one that has just begun knows enough.
#[test]
fn only_full_runs_report_overdue_audits() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        break_reading(&world);
        run_at(&world, 1).await;
        world.until(8 * PERIOD).await;
        let one = json!({ "certificateAuthorityArns": [world.cas[0]] });
        let ended = world.invoke(one, InvokeOptions::default()).await;
        assert_eq!(audit_of(&ended)["error"]["type"], "Unavailable");
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);

        world.invoke(json!({}), InvokeOptions::default()).await;

        only_message(&world, "watch-failed");
        world.aws.clear_faults();
        // Any run may report the end.
        world.next_period().await;
        let one = json!({ "certificateAuthorityArns": [world.cas[0]] });
        world.invoke(one, InvokeOptions::default()).await;
        assert_same_error(assert_failed_and_recovered_once(&world, "ReportOverdue"));
        assert_settles(&world).await;
    });
}

/// SNS's response is lost, so the next run publishes the message again, as the same one.
#[test]
fn repeated_message_about_an_overdue_audit_has_the_same_id() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        break_reading(&world);
        run_at(&world, 1).await;
        let lost = On::operation("Publish").always();
        world.aws.inject(lost, Fault::LostReply);
        world.until(6 * PERIOD).await;
        world.invoke(json!({}), InvokeOptions::default()).await;
        world.aws.clear_faults();
        break_reading(&world);

        run_at(&world, 8).await;

        let failed = messages_of_type(&world, "watch-failed");
        assert_eq!(failed.len(), 2, "{failed:#?}");
        assert_eq!(failed[0]["id"], failed[1]["id"]);
        run_at(&world, 10).await;
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 2);
    });
}

/// People who know of another error know that there is no audit.
#[test]
fn recorded_error_is_not_reported_as_overdue_as_well() {
    on_paused_clock(1, async {
        let world = first_audit(World::new(1, 1, &[])).await;
        world.was_refused.set(true);
        world.aws.s3().deny("s3:GetObject", BUCKET, REPORTS);
        for period in 1..=8 {
            run_at(&world, period).await;
        }
        world.aws.s3().allow_all();
        assert_settles(&world).await;
        assert_same_error(assert_failed_and_recovered_once(&world, "AccessDenied"));
    });
}

/// Each would be overdue again before the next one is read.
#[test]
fn reports_that_take_longer_than_an_hour_are_reported_once() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        let pca = world.aws.private_ca();
        pca.set_reports(|reports| reports.delay = 70 * MINUTE);
        for _ in 0..16 {
            run(&world).await;
        }
        assert_eq!(
            only_message(&world, "watch-failed")["error"]["type"],
            "ReportOverdue"
        );
        assert_eq!(messages_of_type(&world, "watch-recovered").len(), 0);

        pca.set_reports(|reports| reports.delay = Duration::ZERO);
        run(&world).await;
        run(&world).await;
        run(&world).await;
        assert_same_error(assert_failed_and_recovered_once(&world, "ReportOverdue"));
        assert_settles(&world).await;
    });
}
