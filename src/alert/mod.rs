//! What is sent to SNS about one certificate authority.
//!
//! [`types`] holds the facts; `content` turns them into what the message says; each `format` turns
//! that into text: the JSON message, the email, the SMS, the chat card. All of them are pure: the
//! text depends on the report, the state and the configuration only. The name of the certificate
//! authority appears only in texts for people, so a failed lookup changes neither the JSON message
//! nor any ID. Only [`publish`] and [`full_list`] call AWS.

mod batch;
mod certificate;
mod commands;
mod content;
mod entry;
mod format;
pub mod full_list;
mod line;
mod message;
pub mod publish;
mod reasons;
mod reduced;
mod sample;
pub mod size;
pub mod types;

pub use batch::{RevocationBatch, full_list_line};
pub use message::{Attribute, Message};
pub use types::{
    Alert, AlertKind, CertificateAuthority, MonitoringError, ObjectLocation, ReportSource,
    RevocationAlert, Totals,
};
