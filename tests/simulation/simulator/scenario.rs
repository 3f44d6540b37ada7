//! What the world looks like when something goes wrong, and which invocation it goes wrong with.

use std::time::Duration;

use local_aws::{NextReport, Status};
use serde_json::{Value, json};

use super::plan::Strike;
use super::world::{BUCKET, How, PERIOD, World};

/// A situation, and the runs in which things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// New revocations of two certificate authorities that are watched already.
    Steady,
    /// The first audit, with revocations before and after its look-back.
    First,
    /// A report that an earlier run requested and did not live to see.
    InHand,
    /// A report that is under way although the state knows of none.
    UnsavedErrors,
    /// The end of a fault that was told.
    Recovery,
    /// A certificate authority that cannot be audited, and one that can.
    Expired,
    /// A report that breaks off.
    Invalid,
    /// More revocations than a message holds.
    Many,
    /// Every certificate authority of the account, reports as CSV.
    All,
    /// Private CA's own event.
    Revocation,
    /// A replay by hand.
    Replay,
    /// A dry run by hand, before any audit.
    DryRun,
    /// A state that cannot be read.
    UnreadableState,
    /// A chat topic beside the first one.
    Chat,
    /// A report that does not come in the time of the run.
    Slow,
    /// Nothing new.
    Quiet,
}

impl Scenario {
    pub const EVERY: &[Scenario] = &[
        Scenario::Steady,
        Scenario::First,
        Scenario::InHand,
        Scenario::UnsavedErrors,
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
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::EVERY
            .iter()
            .copied()
            .find(|scenario| format!("{scenario:?}") == name)
    }

    fn certificate_authorities(self) -> usize {
        match self {
            Scenario::Steady | Scenario::Expired | Scenario::All => 2,
            _ => 1,
        }
    }

    /// Builds the situation, lets `strikes` fall on the runs in question, and gives the world back
    /// when nothing goes wrong any more and all of Lambda's own retries are over.
    pub async fn play(self, seed: u64, strikes: &[Strike]) -> World {
        let chat;
        let mut variables = Vec::new();
        let world = match self {
            Scenario::All => {
                variables.extend([
                    ("CERTIFICATE_AUTHORITY_ARNS", "*"),
                    ("REPORT_FORMAT", "CSV"),
                ]);
                World::new(seed, self.certificate_authorities(), &variables)
            }
            Scenario::Chat => {
                chat = "arn:aws:sns:us-east-1:123456789012:chat";
                variables.push(("CHAT_TOPIC_ARN", chat));
                let world = World::new(seed, self.certificate_authorities(), &variables);
                world.aws.sns().create_topic("chat");
                world
            }
            _ => World::new(seed, self.certificate_authorities(), &variables),
        };
        let how = How::default();
        let pca = world.aws.private_ca().clone();
        for ca in 0..world.cas.len() {
            world.issue(ca);
            world.revoke_long_ago(ca, "SUPERSEDED");
        }
        if !matches!(self, Scenario::First | Scenario::DryRun) {
            world.schedule(how).await;
        }
        match self {
            Scenario::Recovery => {
                pca.set_status(&world.cas[0], Status::Expired);
                world.until(PERIOD).await;
                world.schedule(how).await;
                pca.set_status(&world.cas[0], Status::Active);
            }
            Scenario::InHand => {
                world.until(PERIOD).await;
                let slow = NextReport::new().delay(Duration::from_secs(20 * 60));
                pca.next_report(&world.cas[0], slow);
                world.revoke(0, "KEY_COMPROMISE");
                world
                    .schedule(How {
                        left: Duration::from_secs(30),
                        ..how
                    })
                    .await;
            }
            Scenario::UnsavedErrors => {
                world
                    .until(PERIOD + PERIOD - Duration::from_secs(120))
                    .await;
                world.revoke(0, "KEY_COMPROMISE");
                pca.request_report(&world.cas[0], BUCKET, local_aws::ReportFormat::Json)
                    .expect("the interval is over");
            }
            Scenario::Expired => pca.set_status(&world.cas[1], Status::Expired),
            _ => {}
        }
        let periods = (world.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
        world.until(PERIOD * periods).await;
        let new = if self == Scenario::Many { 300 } else { 2 };
        if self != Scenario::Quiet {
            for _ in 0..new {
                world.revoke(0, "KEY_COMPROMISE");
            }
        }
        match self {
            Scenario::Steady | Scenario::All => {
                world.revoke(1, "CESSATION_OF_OPERATION");
            }
            Scenario::Invalid => {
                let certificates = pca.certificates(&world.cas[0]);
                let report = local_aws::render(
                    &certificates,
                    local_aws::ReportFormat::Json,
                    local_aws::JsonLayout::TwoSpaces,
                );
                let broken = report[..report.len() - 30].to_owned();
                pca.next_report(&world.cas[0], NextReport::new().content(broken));
            }
            Scenario::Slow => {
                let slow = NextReport::new().delay(Duration::from_secs(25 * 60));
                pca.next_report(&world.cas[0], slow);
            }
            Scenario::UnreadableState => {
                let key = control_key(&world, 0);
                let state = world.aws.s3().get(BUCKET, &key).expect("there is a state");
                world.aws.s3().put(BUCKET, &key, &state[..state.len() / 2]);
                world.arm(strikes.iter().cloned());
                world.schedule(how).await;
                world.aws.s3().put(BUCKET, &key, state);
                world.disarm();
                return world;
            }
            _ => {}
        }
        world.arm(strikes.iter().cloned());
        match self.by_hand(&world) {
            Some(payload) => {
                world.invoke(payload, how).await;
            }
            None if self == Scenario::Revocation => {
                world.asynchronously(revocation(&world), how).await;
            }
            None if self == Scenario::Slow => {
                world
                    .schedule(How {
                        left: Duration::from_secs(45),
                        ..how
                    })
                    .await;
            }
            None => {
                world.schedule(how).await;
            }
        }
        // A run may be struck at whose number is higher than the retries reached.
        if strikes.iter().any(|strike| strike.run > 0) {
            let periods = (world.age().as_secs() / PERIOD.as_secs()) as u32 + 1;
            world.until(PERIOD * periods).await;
            world.revoke(0, "PRIVILEGE_WITHDRAWN");
            world.schedule(how).await;
        }
        world.disarm();
        if self == Scenario::Expired {
            pca.set_status(&world.cas[1], Status::Active);
        }
        world
    }

    fn by_hand(self, world: &World) -> Option<Value> {
        match self {
            Scenario::Replay => Some(json!({ "since": "2026-01-01T00:00:00Z" })),
            Scenario::DryRun => Some(json!({ "dryRun": true })),
            Scenario::UnsavedErrors | Scenario::Quiet => {
                Some(json!({ "certificateAuthorityArns": [world.cas[0]] }))
            }
            _ => None,
        }
    }
}

pub fn control_key(world: &World, ca: usize) -> String {
    let id = world.cas[ca].rsplit('/').next().expect("an ARN has an id");
    format!("{}{id}.json", world.config.state_prefix)
}

/// Private CA's event that a certificate was revoked.
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
