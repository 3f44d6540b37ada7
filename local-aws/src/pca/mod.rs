//! AWS Private CA: certificate authorities, what they issued, and audit reports of it.
//!
//! Protocol: AWS JSON 1.1. What AWS does not document is settable; the defaults are the likely ones.

mod authority;
mod emulator;
mod errors;
mod protocol;
mod quota;
mod report;
mod state;

pub use authority::Status;
pub use emulator::PrivateCa;
pub(crate) use errors::throttled;
pub(crate) use protocol::error_response;
pub use quota::Quotas;
pub use report::{NextReport, Outcome, ReportChecksum, ReportInfo, ReportPolicy};
