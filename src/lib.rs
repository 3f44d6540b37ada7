//! Alerts people and systems when an AWS Private CA certificate is revoked, especially for key
//! compromise.
//!
//! Each certificate authority (CA) is audited like this:
//!
//! > lease → pending report, else request one → wait → fetch and scan → new revocations → alert →
//! > publish → commit as notified, release
//!
//! A queued audit takes the lease with its scan; before that, conditional writes decide between runs.
//!
//! # Layers
//!
//! From top to bottom; a module imports only from its own directory or from a lower layer.
//!
//! 1. [`runtime`] serves the Lambda Runtime API.
//! 2. [`handler`] processes one invocation.
//! 3. `scale_out` makes a scheduled run of many CAs one invocation per CA, through the audit queue.
//! 4. `health` is about all CAs of the stack: at the start and at the end of a run, it announces what
//!    changed about the watch itself; and it returns the status.
//! 5. `targets` selects the CAs of an invocation.
//! 6. [`audit`] is the sentence above for one CA, all of them side by side. It combines the next
//!    four; `health` combines three of them.
//! 7. `investigate` looks up who revoked a certificate, where it is in use, and what else is affected.
//! 8. [`report`] requests, awaits, fetches and scans audit reports; [`state`] keeps control documents,
//!    notified sets and the health document in S3; [`alert`] builds messages and publishes them to SNS.
//!    They do not import one another.
//! 9. [`aws`] has the SDK clients, classified failures, and the account's CAs.
//! 10. Everything else is shared: configuration, events, responses and metrics, facts about
//!     revocations ([`revocation`]), text ([`text`]), time ([`budget`], [`timestamp`]), the build
//!     ([`version`]).
//!
//! # Invariants
//!
//! Checked by `tests/architecture.rs` and `clippy.toml`:
//!
//! - Imports have no cycles and go down the layers.
//! - Only `aws/`, `investigate/`, `report/{request,wait,fetch}`, `state/store` and
//!   `alert/{publish,topic,full_list}` use the AWS SDK. The scanner, [`revocation`], [`text`],
//!   [`state`] except its store, and [`alert`] except publishing do no I/O, so that a repeated message
//!   can be recognized.
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
//! - State is written under conditions only (`If-None-Match: *`, `If-Match`). A CA's state that cannot
//!   be read is never overwritten; a damaged health document is rebuilt.
//! - Errors that need operator action are announced once per kind and affected resource, and so is their
//!   end. An error is over for a CA after an audit of a report that was requested after it began.
//! - The health document has what was announced about the watch. What is about to be announced is
//!   written to it, then published, then recorded as announced. A run without its lease announces
//!   nothing.
//! - Only a run that covers every CA decides that a CA left. Audits and revocation alerts do not depend
//!   on the health document.
//! - If it is unknown whether a CA has the configured tag, it has not left, and it is audited only if it
//!   was before or a dispatch has chosen it.
//! - A message of the audit queue is deleted only after the state shows the audit, or the error that needs
//!   operator action; another message took its place; its CA is no longer audited; or the next schedule
//!   has the same work.
//! - Lookups delay an alert by at most ten seconds. They never prevent it, and never change its `id`,
//!   its `revocationId`s or which revocations it holds. What they could not find out is unknown, with
//!   the reason.
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
pub mod audit_message;
pub mod aws;
pub mod budget;
pub mod config;
pub mod error;
pub mod event;
pub mod handler;
mod health;
mod investigate;
pub mod logging;
pub mod metrics;
pub mod pending_report;
pub mod report;
pub mod report_format;
mod response;
pub mod revocation;
pub mod runtime;
mod scale_out;
pub mod state;
mod targets;
pub mod text;
pub mod timestamp;
pub mod version;
