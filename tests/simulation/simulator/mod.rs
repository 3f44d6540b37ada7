//! A small world in which the function runs: certificate authorities that issue and revoke, time that
//! passes, Lambda's retries, and anything that can go wrong with a call, at any call.
//!
//! All of it happens in this process on tokio's paused clock. The whole pipeline is the real one, the
//! SDK's retries, timeouts and checksums included; only the sockets are missing. A world is made of
//! its seed: the same seed gives the same calls in the same order.
#![allow(dead_code, reason = "the tests and the example each use a part of it")]

pub mod checks;
pub mod exhaustive;
pub mod plan;
pub mod random;
pub mod scenario;
pub mod schedule;
pub mod world;

/// Runs a future of a world on a clock of its own, which stands still while anything is to be done.
pub fn on_paused_clock<F: Future>(seed: u64, world: F) -> F::Output {
    // The SDK's retries and the function's nonces draw from this generator.
    fastrand::seed(seed);
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets can be built")
        .block_on(world)
}
