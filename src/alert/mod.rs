//! What is sent to SNS about certificate authorities.
//!
//! [`types`] holds the facts; `kinds`, `revocations`, `watch` and `summary` turn them into what the
//! message says, a `content`; `message` and its formats turn that into text. All of them are pure: the
//! text depends on the report, the state, the configuration, the names of certificate authorities and
//! what was found out about revocations. A name that could not be looked up changes texts for people and
//! `certificateAuthorityName`, but no ID. What was found out changes texts for people and
//! `investigation`, but no ID and not which revocations a message holds. Only [`publish`], `topic` and [`full_list`] call AWS.

mod batch;
mod certificate;
mod chat_card;
mod commands;
mod content;
mod email;
mod entry;
mod fact;
mod findings;
pub mod full_list;
mod investigation;
mod kinds;
mod line;
mod message;
pub mod publish;
mod reasons;
mod reduced;
mod revocations;
mod size;
mod summary;
pub mod topic;
pub mod types;
mod watch;

pub use batch::RevocationBatch;
pub use message::Message;
pub use reduced::MAX_REDUCED_LEN;
pub use types::{
    Alert, AlertKind, Authority, Coverage, FirstAudit, ObjectLocation, OpenProblem, ReportSource,
    RevocationAlert, Stack, WatchError, WatchSummary,
};
pub use watch::MAX_NAMED;
