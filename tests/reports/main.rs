//! Reports, the notified set, and certificates.
//!
//! Each parser is compared with an independent one, on samples, on every split and prefix, and on
//! random documents: `serde_json` and the `csv` crate for reports, `serde_json` for the notified
//! set, `x509-cert` for subjects and certificates. Fetching is tested over HTTP.

mod certificate_oracle;
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod csv_reports;
mod every_record;
mod fetching;
mod json_reports;
mod notified_set;
mod oracle;
mod random;
mod scanning;
mod subjects;
