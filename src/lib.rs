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
//! `docs/architecture.md` has the invariants and `docs/reliability.md` the guarantees.
//! `tests/architecture.rs` and `clippy.toml` check the layers, and that only [`budget`] reads a
//! clock, only `runtime` and `config` read the environment, and only the edges use the AWS SDK.
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
