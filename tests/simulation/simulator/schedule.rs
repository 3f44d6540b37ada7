//! Checks that no period is skipped although Private CA's minimum interval between two reports is as
//! long as the schedule's.

use std::time::Duration;

use fastrand::Rng;

use super::on_paused_clock;
use super::world::{InvokeOptions, PERIOD, World};

/// Results of many periods.
#[derive(Debug, Default)]
pub struct Periods {
    pub audits: usize,
    /// Audits that are missing from a period.
    pub skipped: Vec<String>,
    /// Duration of the longest run.
    pub longest: Duration,
}

/// Simulates a schedule whose event is up to a minute late, execution environments whose clocks differ by
/// up to 0.1 s, calls that take up to a third of a second, and reports that take up to 90 s.
pub fn simulate(seed: u64, certificate_authorities: usize, periods: u32) -> Periods {
    on_paused_clock(seed, async {
        let mut rng = Rng::with_seed(seed);
        let world = World::new(seed, certificate_authorities, &[]);
        world.only_delay(Duration::from_millis(160));
        let mut result = Periods::default();
        for period in 0..periods {
            world.aws.private_ca().set_reports(|reports| {
                reports.delay = Duration::from_millis(rng.u64(2_000..90_000));
            });
            world
                .until(PERIOD * period + Duration::from_millis(rng.u64(..60_000)))
                .await;
            let began = world.age();
            let options = InvokeOptions {
                clock_ahead_ms: rng.i64(-50..=50),
                ..InvokeOptions::default()
            };
            let ended = world.schedule(options).await;
            result.longest = result.longest.max(world.age() - began);
            let response = ended.response().cloned().unwrap_or_default();
            for audit in response["certificateAuthorities"]
                .as_array()
                .into_iter()
                .flatten()
            {
                if audit["outcome"] == "audited" {
                    result.audits += 1;
                } else {
                    result.skipped.push(format!("period {period}: {audit}"));
                }
            }
            if response.is_null() {
                result.skipped.push(format!("period {period}: {ended:?}"));
            }
        }
        result
    })
}
