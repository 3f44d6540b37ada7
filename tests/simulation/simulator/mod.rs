//! A simulated world in which the function runs: CAs that issue and revoke, time that passes, Lambda's
//! retries, and failures of any kind at any call.
//!
//! Everything happens in this process on tokio's paused clock. The whole pipeline is the real one,
//! including the SDK's retries, timeouts and checksums; only the sockets are missing. The same seed
//! gives the same calls in the same order.
#![allow(dead_code, reason = "the tests and the example each use a part of it")]

pub mod checks;
pub mod exhaustive;
pub mod investigations;
pub mod load;
pub mod plan;
pub mod random;
pub mod scale;
pub mod scale_out;
pub mod scale_table;
pub mod scenario;
pub mod schedule;
pub mod variety;
pub mod world;

/// Runs a world's future on its own paused clock, which advances only while nothing can run.
pub fn on_paused_clock<F: Future>(seed: u64, world: F) -> F::Output {
    // The SDK's retries and the function's nonces use this generator.
    fastrand::seed(seed);
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets can be built")
        .block_on(world)
}
