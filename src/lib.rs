//! Tells people and systems about new certificate revocations of AWS Private CA.
//!
//! One invocation takes each certificate authority this way:
//!
//! > event → configuration → load state, take the lease → report in hand? else request one → wait →
//! > stream → scan → difference → notice → publish → save state, release the lease
//!
//! The modules below stand in that order: [`runtime`] serves Lambda, [`config`] and [`event`] say what
//! to do, [`handler`] works on certificate authorities side by side, [`audit`] is the sentence above for
//! one of them, [`response`] is what comes back. [`report`] requests, awaits, fetches and scans one
//! report; [`state`] is what the program remembers and works out what is new; [`alert`] turns that into
//! messages, and [`publish`] hands them to SNS. The rest serves all of them.
//!
//! # Promises
//!
//! 1. No revocation is lost: it is recorded as told only after SNS accepted the message.
//! 2. No noise: it is told twice only where, between the two, the process died, SNS's reply was lost
//!    or S3 did not take the state.
//! 3. Unknown never reads as good: what cannot be read, fetched or understood is a [`AuditError`](error::AuditError)
//!    in the answer, the log and the metrics.
//! 4. Memory is bounded by one record, the new revocations that fit a message and the told list, never
//!    by the report.
//!
//! # Architecture invariants
//!
//! - Only [`aws`], [`certificate_authorities`], `report::{request, wait, fetch}`, [`state::store`] and
//!   [`publish`] know the AWS SDK.
//! - The scanners (`report::{scan, json, csv}`), [`report::subject`], [`state`] but its store, and
//!   [`alert`] do no I/O and read no clock. What a message holds depends on report, state and
//!   configuration only, so that a repeat is recognised as one.
//! - [`budget`] is the only module that reads a clock; everything else is given the time.
//! - A requested report is in the state before anything waits for it; an attempt to scan it is counted
//!   there before it starts.
//! - State is written under conditions only (`If-None-Match: *`, `If-Match`), and state that cannot be
//!   read is never overwritten.
//! - What people were told about the watch itself is in the state, else in a note beside it, else in
//!   this process: told once, and its end told once.
//! - Nothing is told from bytes that are not known to be what S3 holds.
//! - Nothing runs on after the answer: Lambda freezes the process.
#![forbid(unsafe_code)]

pub mod runtime;

pub mod config;
pub mod event;

pub mod handler;
pub mod targets;

pub mod audit;

pub mod response;

pub mod report;

pub mod state;

pub mod alert;

pub mod revocation;

pub mod arn;
pub mod aws;
pub mod budget;
pub mod error;
pub mod logging;
pub mod metrics;
pub mod pending_report;
pub mod report_format;
pub mod text;
pub mod timestamp;
