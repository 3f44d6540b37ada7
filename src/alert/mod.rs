//! What is sent to SNS about one certificate authority.
//!
//! [`types`] holds the facts; `content` turns them into what the message says; `message` and its
//! formats turn that into text. All of them are pure: the text depends on the report, the state, the
//! configuration and the name of the certificate authority. A name that could not be looked up
//! changes texts for people and `certificateAuthorityName`, but no ID. Only [`publish`], `topic` and
//! [`full_list`] call AWS.

mod batch;
mod certificate;
mod chat_card;
mod commands;
mod content;
mod email;
mod entry;
pub mod full_list;
mod line;
mod message;
pub mod publish;
mod reasons;
mod reduced;
mod size;
mod topic;
pub mod types;

pub use batch::RevocationBatch;
pub use message::Message;
pub use reduced::MAX_REDUCED_LEN;
pub use types::{Alert, AlertKind, ObjectLocation, ReportSource, RevocationAlert};
