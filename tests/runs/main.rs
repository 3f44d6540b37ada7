//! Whole runs of the function: the real binary over HTTP, or the same code in this process.

#[path = "../account/mod.rs"]
mod account;
#[path = "../common/mod.rs"]
mod common;

mod crash;
mod demo;
mod events_queue;
mod first_hour;
mod investigation;
mod many_certificate_authorities;
mod scale_out;
mod selection;
mod status;
mod version;
mod watch;
mod whole_runs;
mod worker_processes;
