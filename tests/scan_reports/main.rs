//! The scanners against oracles: `serde_json` and the `csv` crate, on samples, on every split and
//! prefix of realistic reports, and on random documents.

mod csv_reports;
mod json_reports;
mod oracle;
mod random;
mod scanning;
