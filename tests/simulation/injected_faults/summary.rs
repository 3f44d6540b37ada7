//! Periodic summaries: their rhythm, and what they count.

use std::collections::BTreeMap;
use std::time::Duration;

use local_aws::{Fault, JsonLayout, NextReport, On, ReportFormat, Status, render};
use serde_json::{Value, json};

use super::runs::another_run;
use super::{
    alerted_serials, assert_settles, audited_world, first_audit, health, messages_of_type,
    only_message, run_all, run_all_audited, types,
};
use crate::simulator::on_paused_clock;
use crate::simulator::world::{InvokeOptions, PERIOD, World, timestamp};

const EVERY_TWO_HOURS: [(&str, &str); 1] = [("SUMMARY_INTERVAL_HOURS", "2")];
const INTERVAL: Duration = Duration::from_secs(2 * 3600);

fn summaries(world: &World) -> Vec<Value> {
    messages_of_type(world, "watch-summary")
}

/// Checks that each summary counts from when the one before was due, an interval earlier, and says when
/// the next one is due.
fn assert_rhythm(summaries: &[Value], interval: Duration) {
    assert_eq!(summaries[0]["since"], Value::Null);
    let since = |summary: &Value| timestamp(&summary["since"]).expect("a time");
    for pair in summaries[1..].windows(2) {
        assert_eq!(since(&pair[1]).since(since(&pair[0])), interval);
    }
    for pair in summaries.windows(2) {
        let next = timestamp(&pair[0]["nextSummaryAt"]).expect("a time");
        assert_eq!(next.since(since(&pair[1])), interval);
    }
}

#[test]
fn each_summary_counts_the_revocations_since_the_last() {
    const REASONS: [&str; 3] = ["KEY_COMPROMISE", "SUPERSEDED", "CESSATION_OF_OPERATION"];
    on_paused_clock(1, async {
        let world = World::new(1, 2, &EVERY_TWO_HOURS);
        run_all_audited(&world).await;
        assert_eq!(summaries(&world).len(), 1);
        let mut revoked: BTreeMap<&str, u64> = BTreeMap::new();
        for number in 0..40 {
            let reason = REASONS[number * number % 3];
            world.revoke(number % 2, reason);
            *revoked.entry(reason).or_default() += 1;
            run_all_audited(&world).await;
        }
        // Let the last of them be counted.
        for _ in 0..4 {
            run_all_audited(&world).await;
        }

        let summaries = summaries(&world);

        assert_eq!(summaries.len(), 1 + 44 / 4);
        assert_rhythm(&summaries, INTERVAL);
        let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
        for summary in &summaries {
            let by_reason = summary["counts"]["byReason"].as_object().expect("reasons");
            for (reason, number) in by_reason {
                let number = number.as_u64().expect("a number");
                *counted.entry(reason).or_default() += number;
            }
            assert_eq!(summary["certificateAuthorityArns"], json!(world.cas));
        }
        assert_eq!(counted, revoked);
        assert_settles(&world).await;
    });
}

/// The next summary is due an interval after the one before was, not after it was sent.
#[test]
fn late_summary_does_not_delay_the_next() {
    on_paused_clock(1, async {
        let world = audited_world(&EVERY_TWO_HOURS).await;
        world.until(4 * PERIOD).await;
        run_all(&world).await;
        assert_eq!(summaries(&world).len(), 2);
        run_all(&world).await;
        assert_eq!(summaries(&world).len(), 2);
        world.until(7 * PERIOD).await;

        run_all(&world).await;

        let summaries = summaries(&world);
        assert_eq!(summaries.len(), 3);
        assert_rhythm(&summaries, INTERVAL);
    });
}

/// A daily run compares some seconds earlier or later than the day before.
#[test]
fn daily_runs_send_one_summary_each() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    on_paused_clock(1, async {
        let world = World::new(1, 1, &[("SUMMARY_INTERVAL_HOURS", "24")]);
        for (day, seconds) in [40, 20, 60, 0, 59, 1].into_iter().enumerate() {
            world
                .until(DAY * day as u32 + Duration::from_secs(seconds))
                .await;
            world.schedule(InvokeOptions::default()).await;
            assert_eq!(summaries(&world).len(), day + 1);
        }
        assert_rhythm(&summaries(&world), DAY);
    });
}

/// After a pause of several intervals, one summary is sent, and the rhythm starts again.
#[test]
fn missed_summaries_are_not_made_up_for() {
    on_paused_clock(1, async {
        let world = audited_world(&EVERY_TWO_HOURS).await;
        world.until(30 * PERIOD).await;

        for _ in 0..4 {
            run_all(&world).await;
            assert_eq!(summaries(&world).len(), 2);
        }

        run_all(&world).await;
        assert_eq!(summaries(&world).len(), 3);
    });
}

/// Its counts were added to a state that another run had changed.
#[test]
fn revocations_saved_after_a_state_conflict_are_counted_once() {
    on_paused_clock(1, async {
        let world = audited_world(&EVERY_TWO_HOURS).await;
        let ours = world.revoke(0, "KEY_COMPROMISE");
        tokio::join!(run_all_audited(&world), another_run(&world));
        assert_eq!(alerted_serials(&world), [ours]);

        for _ in 0..5 {
            run_all_audited(&world).await;
        }

        let last = summaries(&world).pop().expect("two");
        assert_eq!(last["counts"]["byReason"], json!({ "KEY_COMPROMISE": 1 }));
    });
}

/// The message went out, but its reply was lost: the repeat has the same id and numbers.
#[test]
fn unconfirmed_summary_is_repeated() {
    on_paused_clock(1, async {
        let world = World::new(1, 1, &EVERY_TWO_HOURS);
        run_all_audited(&world).await;
        world.revoke(0, "KEY_COMPROMISE");
        run_all_audited(&world).await;
        world.until(5 * PERIOD).await;
        let before = health(&world);
        world
            .aws
            .inject(On::operation("Publish").always(), Fault::LostReply);
        run_all(&world).await;
        assert_eq!(health(&world)["lastSummaryAt"], before["lastSummaryAt"]);
        world.aws.clear_faults();

        run_all_audited(&world).await;
        run_all_audited(&world).await;

        let summaries = summaries(&world);
        let [_, first, repeat] = &summaries[..] else {
            panic!("{summaries:#?}");
        };
        assert_eq!(first["id"], repeat["id"]);
        for summary in [first, repeat] {
            assert_eq!(summary["counts"]["notified"], 1, "{summary:#}");
        }
    });
}

#[test]
fn summary_lists_open_problems() {
    on_paused_clock(1, async {
        let world = first_audit(World::new(1, 2, &EVERY_TWO_HOURS)).await;
        let pca = world.aws.private_ca();
        pca.set_status(&world.cas[1], Status::Expired);
        for _ in 0..5 {
            run_all(&world).await;
        }

        let last = summaries(&world).pop().expect("two");

        let failed = only_message(&world, "watch-failed");
        let problem = &last["problems"][0];
        assert_eq!(problem["type"], failed["error"]["type"]);
        assert_eq!(problem["since"], failed["since"]);
        assert_eq!(problem["certificateAuthorities"], 1);
        let oldest = timestamp(&last["oldestAuditAt"]);
        assert_eq!(oldest, timestamp(&failed["lastCompleteAuditAt"]));
    });
}

#[test]
fn summary_counts_a_problem_that_could_not_be_announced() {
    let refused = Fault::error(400, "InvalidParameter", "Invalid parameter: Message");
    for fault in [refused, Fault::LostReply] {
        on_paused_clock(1, async {
            let world = audited_world(&EVERY_TWO_HOURS).await;
            world.until(3 * PERIOD).await;
            world
                .aws
                .private_ca()
                .set_status(&world.cas[0], Status::Expired);
            let failed = On::operation("Publish")
                .when(|call| call.parameters["Message"].contains("watch-failed"));
            world.aws.inject(failed.always(), fault.clone());

            run_all(&world).await;

            let summaries = summaries(&world);
            assert_eq!(summaries.len(), 2, "{fault:?}");
            let problem = &summaries[1]["problems"][0];
            assert_eq!(problem["type"], "CertificateAuthorityState", "{fault:?}");
            assert_eq!(problem["certificateAuthorities"], 1, "{fault:?}");
        });
    }
}

/// The other messages of the run are recorded, and are not repeated.
#[test]
fn summary_does_not_wait_for_a_hanging_list() {
    on_paused_clock(1, async {
        let world = World::new(1, 1, &EVERY_TWO_HOURS);
        let list = On::operation("ListCertificateAuthorities").always();
        world.aws.inject(list, Fault::Hang);

        for _ in 0..2 {
            let response = run_all_audited(&world).await;
            assert_eq!(response["warnings"], Value::Null, "{response:#}");
            assert_eq!(types(&world), ["watch-started", "watch-summary"]);
        }

        let summary = only_message(&world, "watch-summary");
        for unknown in [&summary, &summary["counts"]] {
            assert_eq!(unknown["withoutRevocationChecking"], Value::Null);
        }
    });
}

#[test]
fn without_an_interval_no_summary_is_sent() {
    on_paused_clock(1, async {
        let world = audited_world(&[]).await;
        world.until(400 * PERIOD).await;
        world.schedule(InvokeOptions::default()).await;
        assert_eq!(summaries(&world).len(), 0);
    });
}

/// The start of its watch is announced with its first complete audit, and what it counts from there.
#[test]
fn revocations_before_the_first_complete_audit_are_counted_once() {
    on_paused_clock(1, async {
        let world = World::new(1, 1, &EVERY_TWO_HOURS);
        let serial = world.revoke(0, "KEY_COMPROMISE");
        world.issue(0);
        let pca = world.aws.private_ca();
        let certificates = pca.certificates(&world.cas[0]);
        let report = render(&certificates, ReportFormat::Json, JsonLayout::TwoSpaces);
        let truncated = &report[..report.len() - 30];
        for _ in 0..6 {
            pca.next_report(
                &world.cas[0],
                NextReport::new().content(truncated.to_owned()),
            );
            run_all(&world).await;
        }
        assert_eq!(alerted_serials(&world), [serial]);
        pca.next_report(&world.cas[0], NextReport::new());
        for _ in 0..12 {
            run_all(&world).await;
        }

        let summaries = summaries(&world);

        assert!(summaries.len() > 3);
        let notified = summaries
            .iter()
            .map(|summary| &summary["counts"]["notified"]);
        let notified: u64 = notified.filter_map(Value::as_u64).sum();
        assert_eq!(notified, 1, "{summaries:#?}");
        assert_settles(&world).await;
    });
}
