//! Alerts people and systems when an AWS Private CA certificate is revoked, especially for key
//! compromise.
//!
//! Each certificate authority (CA) is audited like this:
//!
//! > lease → pending report, else request one → wait → fetch and scan → new revocations → alert →
//! > publish → commit as notified, release
//!
//! # Layers
//!
//! From top to bottom; a module imports only from its own directory or from a lower layer.
//!
//! 1. [`runtime`] serves the Lambda Runtime API.
//! 2. [`handler`] processes one invocation: `targets` selects the CAs, and each is audited, all
//!    side by side.
//! 3. [`audit`] is the sentence above for one CA, the only module that combines the next three.
//! 4. [`report`] requests, awaits, fetches and scans audit reports; [`state`] keeps control documents
//!    and notified sets in S3; [`alert`] builds messages and publishes them to SNS. They do not import
//!    one another.
//! 5. [`aws`] has the SDK clients, classified failures, and the account's CAs.
//! 6. Everything else is shared: configuration, events, responses and metrics, facts about
//!    revocations ([`revocation`]), text ([`text`]), time ([`budget`], [`timestamp`]).
//!
//! # Invariants
//!
//! Checked by `tests/architecture.rs` and `clippy.toml`:
//!
//! - Imports have no cycles and go down the layers.
//! - Only `aws/`, `report/{request,wait,fetch}`, `state/store` and `alert/{publish,topic,full_list}` use the
//!   AWS SDK. The scanner, [`revocation`], [`text`], [`state`] except its store, and [`alert`] except
//!   publishing do no I/O, so that a repeated message can be recognized.
//! - Only [`budget`] reads a clock, and only `runtime` and `config` read the environment.
//!
//! Checked by the simulation and the other tests (`docs/reliability.md` has the guarantees):
//!
//! - A revocation is recorded as notified only after SNS accepted the message, and nothing is
//!   published before length and checksum show that the bytes read are what S3 holds.
//! - A requested report is in the state before anything waits for it, and a scan attempt is counted
//!   there before it starts.
//! - The age of an audit is that of its report. A report that lists nothing although the one before
//!   did, or that identifies no certificate, is no complete audit.
//! - State is written under conditions only (`If-None-Match: *`, `If-Match`). State that cannot be
//!   read is never overwritten.
//! - Errors that need operator action are announced once, and so is their end.
//! - Memory is bounded by one record, the new revocations that fit a message, and the notified set,
//!   never by the report; and for all audits of a run together, by 64 MiB or one larger set.
//! - No task outlives the response, because Lambda then freezes the process.
#![warn(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        reason = "unit tests control their own time and fail by panicking"
    )
)]

pub mod alert;
pub mod arn;
pub mod audit;
pub mod aws;
pub mod budget;
pub mod config;
pub mod error;
pub mod event;
pub mod handler;
pub mod logging;
pub mod metrics;
pub mod pending_report;
pub mod report;
pub mod report_format;
mod response;
pub mod revocation;
pub mod runtime;
pub mod state;
mod targets;
pub mod text;
pub mod timestamp;
