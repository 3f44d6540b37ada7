//! The situations in which failures are injected, and the invocations that they are injected into.

use std::time::Duration;

use local_aws::{JsonLayout, NextReport, PrivateCaAccess, ReportFormat, Status, render};
use serde_json::{Value, json};

use super::plan::Injection;
use super::world::{BUCKET, Ended, InvokeOptions, PERIOD, World};

/// The smallest `MaximumMessageSize` at which the program promises a message, in bytes.
pub const SMALLEST_TOPIC: usize = 4096;

/// A situation, and the runs into which failures are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// New revocations of two CAs that were audited before.
    Steady,
    /// The first audit, with revocations inside and outside its lookback.
    First,
    /// A report that an earlier run requested and did not read.
    PendingReport,
    /// A report that was requested but is not in the state.
    UnrecordedReport,
    /// The end of an error that was alerted.
    Recovery,
    /// A CA that cannot be audited, and one that can.
    Expired,
    /// A truncated report.
    Invalid,
    /// More revocations than fit into a message.
    Many,
    /// Every CA of the account, with CSV reports.
    All,
    /// Private CA's event for a revocation.
    Revocation,
    /// A manual replay.
    Replay,
    /// A manual dry run before any audit.
    DryRun,
    /// A state that cannot be read.
    UnreadableState,
    /// A chat topic in addition to the first topic.
    Chat,
    /// A report that is not ready before the run's deadline.
    Slow,
    /// No new revocations.
    Quiet,
    /// A report that was requested a day ago and not published, because nobody had subscribed.
    Stale,
    /// A report without certificates.
    Emptied,
    /// More revocations than fit into the topic's smallest messages.
    SmallTopic,
    /// SNS counts no subscription although there is one.
    Uncounted,
    /// A CA that was deleted after its report was requested, and one that was not.
    Deleted,
    /// A CA that is no longer auditable, and one that is.
    Left,
    /// Two CAs whose reports the bucket refuses.
    Refused,
    /// A periodic summary that is due.
    Summary,
    /// A schedule that dispatches two CAs, and the workers that audit them.
    ScaledOut,
}

impl Scenario {
    pub const EVERY: &[Scenario] = &[
        Scenario::Steady,
        Scenario::First,
        Scenario::PendingReport,
        Scenario::UnrecordedReport,
        Scenario::Recovery,
        Scenario::Expired,
        Scenario::Invalid,
        Scenario::Many,
        Scenario::All,
        Scenario::Revocation,
        Scenario::Replay,
        Scenario::DryRun,
        Scenario::UnreadableState,
        Scenario::Chat,
        Scenario::Slow,
        Scenario::Quiet,
        Scenario::Stale,
        Scenario::Emptied,
        Scenario::SmallTopic,
        Scenario::Uncounted,
        Scenario::Deleted,
        Scenario::Left,
        Scenario::Refused,
        Scenario::Summary,
        Scenario::ScaledOut,
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::EVERY
            .iter()
            .copied()
            .find(|scenario| format!("{scenario:?}") == name)
    }

    fn certificate_authorities(self) -> usize {
        match self {
            Scenario::Steady
            | Scenario::Expired
            | Scenario::All
            | Scenario::Deleted
            | Scenario::Left
            | Scenario::Refused
            | Scenario::ScaledOut => 2,
            _ => 1,
        }
    }

    /// Builds the situation, injects the failures, and returns the world after the affected runs and
    /// all of Lambda's retries, with nothing injected anymore.
    pub async fn run(self, seed: u64, injections: &[Injection]) -> World {
        let world = self.world(seed);
        // Each scenario investigates other revocations.
        world.vary(2 * self as u32);
        for ca in 0..world.cas.len() {
            world.issue(ca);
            world.revoke_long_ago(ca, "SUPERSEDED");
        }
        if !matches!(self, Scenario::First | Scenario::DryRun) {
            schedule_and_drain(&world).await;
        }
        self.prepare_earlier_period(&world).await;
        world.next_period().await;
        self.prepare_period(&world);
        if self == Scenario::UnreadableState {
            run_with_unreadable_state(&world, injections).await;
            return world;
        }
        world.inject(injections.iter().cloned());
        self.invoke(&world).await;
        // A failure may be planned for a later run than the retries reached.
        let is_later = |injection: &Injection| injection.run > 0;
        if self != Scenario::ScaledOut && injections.iter().any(is_later) {
            world.next_period().await;
            world.revoke(0, "PRIVILEGE_WITHDRAWN");
            world.schedule(InvokeOptions::default()).await;
        }
        world.stop_injecting();
        for ca in &world.cas {
            world.aws.private_ca().set_status(ca, Status::Active);
        }
        world
            .aws
            .s3()
            .set_private_ca_access(BUCKET, PrivateCaAccess::Granted);
        world
    }

    fn world(self, seed: u64) -> World {
        let cas = self.certificate_authorities();
        match self {
            Scenario::All => {
                let variables = [
                    ("CERTIFICATE_AUTHORITY_ARNS", "*"),
                    ("REPORT_FORMAT", "CSV"),
                ];
                World::new(seed, cas, &variables)
            }
            Scenario::Deleted | Scenario::Left => {
                let variables = [("CERTIFICATE_AUTHORITY_ARNS", "*"), ("INVESTIGATE", "no")];
                World::new(seed, cas, &variables)
            }
            Scenario::Summary => World::new(seed, cas, &[("SUMMARY_INTERVAL_HOURS", "1")]),
            Scenario::ScaledOut => World::scaled_out(seed, cas, &[("INVESTIGATE", "no")], 2),
            Scenario::Chat => {
                let chat = "arn:aws:sns:us-east-1:123456789012:chat";
                let world = World::new(seed, cas, &[("CHAT_TOPIC_ARN", chat)]);
                world.aws.sns().create_topic("chat");
                world
            }
            // Other scenarios have the same calls: this limits the number of worlds.
            Scenario::Many
            | Scenario::UnrecordedReport
            | Scenario::Uncounted
            | Scenario::Expired => World::new(seed, cas, &[("INVESTIGATE", "no")]),
            _ => World::new(seed, cas, &[]),
        }
    }

    /// Prepares what happened before the period with the failures.
    async fn prepare_earlier_period(self, world: &World) {
        let pca = world.aws.private_ca();
        match self {
            Scenario::Recovery => {
                pca.set_status(&world.cas[0], Status::Expired);
                world.until(PERIOD).await;
                world.schedule(InvokeOptions::default()).await;
                pca.set_status(&world.cas[0], Status::Active);
            }
            Scenario::PendingReport | Scenario::Deleted => {
                world.until(PERIOD).await;
                let slow = NextReport::new().delay(Duration::from_secs(20 * 60));
                pca.next_report(&world.cas[0], slow);
                world.revoke(0, "KEY_COMPROMISE");
                world.schedule(InvokeOptions::ending_in(30)).await;
                if self == Scenario::Deleted {
                    pca.set_status(&world.cas[0], Status::Deleted);
                    world.left.borrow_mut().insert(world.cas[0].clone());
                }
            }
            Scenario::Stale => {
                world.until(PERIOD).await;
                world.unsubscribe_all();
                world.revoke(0, "KEY_COMPROMISE");
                world.schedule(InvokeOptions::default()).await;
                world.subscribe();
                world.until(PERIOD * 48).await;
            }
            Scenario::UnrecordedReport => {
                world.until(2 * PERIOD - Duration::from_secs(120)).await;
                world.revoke(0, "KEY_COMPROMISE");
                pca.request_report(&world.cas[0], BUCKET, ReportFormat::Json)
                    .expect("the interval is over");
            }
            Scenario::Expired => pca.set_status(&world.cas[1], Status::Expired),
            Scenario::Left => {
                pca.set_status(&world.cas[1], Status::Expired);
                world.left.borrow_mut().insert(world.cas[1].clone());
            }
            Scenario::Refused => {
                world.was_refused.set(true);
                let refused = PrivateCaAccess::missing_policy(BUCKET);
                world.aws.s3().set_private_ca_access(BUCKET, refused);
            }
            Scenario::Summary => {
                world.until(PERIOD).await;
                world.revoke(0, "SUPERSEDED");
                world.schedule(InvokeOptions::default()).await;
            }
            _ => {}
        }
    }

    /// Prepares the revocations and the report of the period with the failures.
    fn prepare_period(self, world: &World) {
        let new = match self {
            Scenario::Many | Scenario::SmallTopic => 300,
            Scenario::Quiet => 0,
            // A deleted CA revokes nothing.
            Scenario::Deleted => 0,
            _ => 2,
        };
        for _ in 0..new {
            world.revoke(0, "KEY_COMPROMISE");
        }
        let pca = world.aws.private_ca();
        match self {
            Scenario::Steady | Scenario::All | Scenario::Deleted => {
                world.revoke(1, "CESSATION_OF_OPERATION");
            }
            // One audit waits for its report, the other does not.
            Scenario::ScaledOut => {
                world.revoke(1, "CESSATION_OF_OPERATION");
                let slow = NextReport::new().delay(Duration::from_secs(20));
                pca.next_report(&world.cas[1], slow);
            }
            Scenario::Invalid => {
                let certificates = pca.certificates(&world.cas[0]);
                let report = render(&certificates, ReportFormat::Json, JsonLayout::TwoSpaces);
                let truncated = report[..report.len() - 30].to_owned();
                pca.next_report(&world.cas[0], NextReport::new().content(truncated));
            }
            Scenario::Emptied => {
                pca.next_report(&world.cas[0], NextReport::new().content("[]"));
            }
            Scenario::SmallTopic => {
                let sns = world.aws.sns();
                sns.set_maximum_message_size(&world.topic, SMALLEST_TOPIC);
            }
            Scenario::Uncounted => {
                world.aws.sns().count_confirmed_as(&world.topic, Some(0));
            }
            Scenario::Slow => {
                let slow = NextReport::new().delay(Duration::from_secs(25 * 60));
                pca.next_report(&world.cas[0], slow);
            }
            _ => {}
        }
    }

    /// Makes the invocation that the failures are injected into.
    async fn invoke(self, world: &World) {
        let options = InvokeOptions::default();
        match self.manual_payload(world) {
            Some(payload) => world.invoke(payload, options).await,
            None if self == Scenario::Revocation => {
                let payload = revocation(world);
                world.invoke_asynchronously(payload, options).await
            }
            None if self == Scenario::Slow => world.schedule(InvokeOptions::ending_in(45)).await,
            None => schedule_and_drain(world).await,
        };
    }

    fn manual_payload(self, world: &World) -> Option<Value> {
        match self {
            Scenario::Replay => Some(json!({ "since": "2026-01-01T00:00:00Z" })),
            Scenario::DryRun => Some(json!({ "dryRun": true })),
            Scenario::UnrecordedReport | Scenario::Quiet => {
                Some(json!({ "certificateAuthorityArns": [world.cas[0]] }))
            }
            _ => None,
        }
    }
}

/// Sends the schedule's event and waits until its messages are gone, if it sends any.
async fn schedule_and_drain(world: &World) -> Ended {
    let work = async {
        let ended = world.schedule(InvokeOptions::default()).await;
        // What is left then shows after the quiet runs.
        drop(world.drain().await);
        ended
    };
    world.with_workers(work).await
}

/// Truncates the control document for one scheduled run, into which the failures are injected.
async fn run_with_unreadable_state(world: &World, injections: &[Injection]) {
    let key = control_key(world, 0);
    let s3 = world.aws.s3();
    let state = s3.get(BUCKET, &key).expect("there is a state");
    s3.put(BUCKET, &key, &state[..state.len() / 2]);
    world.inject(injections.iter().cloned());
    world.schedule(InvokeOptions::default()).await;
    s3.put(BUCKET, &key, state);
    world.stop_injecting();
}

/// Returns the key of a CA's control document.
pub fn control_key(world: &World, ca: usize) -> String {
    let id = world.cas[ca].rsplit('/').next().expect("an ARN has an id");
    format!("{}{id}.json", world.config.state_prefix)
}

/// Returns the key of the health document.
pub fn health_key(world: &World) -> String {
    format!("{}health.json", world.config.state_prefix)
}

/// Returns Private CA's event for the latest revocation.
pub fn revocation(world: &World) -> Value {
    let revoked = world.revoked.borrow();
    let last = revoked.last().expect("something was revoked");
    let certificate = format!("{}/certificate/{}", last.ca, last.serial.replace(':', ""));
    json!({
        "version": "0", "id": "77789ebe-2b5c-4bd0-9a1c-6a06a6f9bd4b",
        "detail-type": "ACM Private CA Certificate Revocation", "source": "aws.acm-pca",
        "account": "123456789012", "time": "2026-11-21T04:30:00Z", "region": "us-east-1",
        "resources": [last.ca, certificate], "detail": { "result": "success" },
    })
}
