//! One audit report: request, wait, fetch, scan.

pub mod fetch;
pub mod request;
pub mod scanner;
pub mod wait;
