//! One audit report: requested, waited for, fetched, scanned.

pub mod fetch;
pub mod request;
pub mod scanner;
pub mod wait;
