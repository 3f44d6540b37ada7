//! Half an hour between two reports of one certificate authority, and a schedule of half an hour:
//! whether a period is ever skipped.

use std::time::Duration;

use fastrand::Rng;

use super::on_paused_clock;
use super::world::{How, PERIOD, World};

/// What came of many periods.
#[derive(Debug, Default)]
pub struct Periods {
    pub audits: usize,
    /// Audits that a period went without.
    pub skipped: Vec<String>,
    /// The longest that a run took.
    pub longest: Duration,
}

/// Lives through that many periods of a schedule whose event comes up to a minute late, with sandboxes
/// whose clocks differ by up to a tenth of a second, calls that take up to a third of a second, and
/// reports that take up to a minute and a half.
pub fn live(seed: u64, certificate_authorities: usize, periods: u32) -> Periods {
    on_paused_clock(seed, async {
        let mut rng = Rng::with_seed(seed);
        let world = World::new(seed, certificate_authorities, &[]);
        world.only_delay(Duration::from_millis(160));
        let mut came_of = Periods::default();
        for period in 0..periods {
            world.aws.private_ca().set_reports(|reports| {
                reports.delay = Duration::from_millis(rng.u64(2_000..90_000));
            });
            world
                .until(PERIOD * period + Duration::from_millis(rng.u64(..60_000)))
                .await;
            let began = world.age();
            let how = How {
                clock_ahead_ms: rng.i64(-50..=50),
                ..How::default()
            };
            let ended = world.schedule(how).await;
            came_of.longest = came_of.longest.max(world.age() - began);
            let response = ended.response().cloned().unwrap_or_default();
            for audit in response["certificateAuthorities"]
                .as_array()
                .into_iter()
                .flatten()
            {
                if audit["outcome"] == "audited" {
                    came_of.audits += 1;
                } else {
                    came_of.skipped.push(format!("period {period}: {audit}"));
                }
            }
            if response.is_null() {
                came_of.skipped.push(format!("period {period}: {ended:?}"));
            }
        }
        came_of
    })
}
