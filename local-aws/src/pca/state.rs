//! What Private CA knows.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::authority::Authority;
use super::errors::{not_found, throttled};
use super::quota::{Bucket, Quotas};
use super::report::{Report, ReportInfo, ReportPolicy};
use crate::error_reply::ErrorReply;

#[derive(Debug)]
pub(super) struct State {
    pub(super) authorities: BTreeMap<String, Authority>,
    pub(super) reports: BTreeMap<String, Report>,
    /// Reports that are still to be written, by id.
    pub(super) unwritten: Vec<String>,
    pub(super) policy: ReportPolicy,
    pub(super) quotas: Quotas,
    pub(super) buckets: BTreeMap<String, Bucket>,
    pub(super) page_size: Option<usize>,
}

impl State {
    pub(super) fn authority(&self, arn: &str) -> Result<&Authority, ErrorReply> {
        self.authorities
            .get(arn)
            .ok_or_else(|| not_found(format!("Could not find resource {arn}.")))
    }

    /// Takes one request out of its operation's quota.
    pub(super) fn spend(&mut self, operation: &str, now: SystemTime) -> Result<(), ErrorReply> {
        let Some(rate) = self.quotas.of(operation) else {
            return Ok(());
        };
        let bucket = self
            .buckets
            .entry(operation.to_owned())
            .or_insert_with(|| Bucket::full(rate, now));
        if bucket.take(rate, now) {
            return Ok(());
        }
        Err(throttled())
    }

    pub(super) fn info(&self, id: &str, now: SystemTime) -> ReportInfo {
        let report = &self.reports[id];
        ReportInfo {
            id: id.to_owned(),
            certificate_authority_arn: report.authority.clone(),
            bucket: report.bucket.clone(),
            key: report.key.clone(),
            created_at: report.created_at,
            status: report.status(now),
        }
    }
}
