//! Emulates AWS Private CA: certificate authorities, certificates and audit reports.
//!
//! Behavior that AWS does not document is configurable; the defaults are the most likely behavior.

mod authority;
mod emulator;
mod errors;
mod protocol;
mod quota;
mod report;
mod state;

pub use authority::{RevocationConfiguration, Status, UsageMode};
pub(crate) use emulator::Destinations;
pub use emulator::PrivateCa;
pub use quota::Quotas;
pub use report::{NextReport, Outcome, ReportChecksum, ReportInfo, ReportPolicy};
