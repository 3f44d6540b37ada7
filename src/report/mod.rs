//! One audit report: requested, waited for, fetched, scanned.

pub mod csv;
pub mod fetch;
pub mod json;
pub mod key;
pub mod reason;
pub mod record;
pub mod request;
pub mod scan;
pub mod subject;
pub mod wait;
