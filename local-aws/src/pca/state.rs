//! State of the Private CA emulator.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::authority::{Authority, Status};
use super::errors::not_found;
use super::quota::Quotas;
use super::report::{Outcome, Report, ReportInfo, ReportPolicy, ReportRequest};
use crate::aws_json::throttled;
use crate::error_reply::ErrorReply;
use crate::report::render;
use crate::s3::Object;
use crate::token_bucket::Bucket;

#[derive(Debug)]
pub(super) struct State {
    pub(super) authorities: BTreeMap<String, Authority>,
    pub(super) reports: BTreeMap<String, Report>,
    /// IDs of the reports that have not been written yet.
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

    /// Takes one request from the operation's quota.
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

    /// Checks whether the certificate authority accepts a report request now.
    pub(super) fn check_request(
        &self,
        request: ReportRequest<'_>,
        now: SystemTime,
    ) -> Result<(), ErrorReply> {
        let authority = self.authority(request.authority)?;
        if !matches!(authority.status, Status::Active | Status::Disabled) {
            return Err(ErrorReply::new(
                400,
                "InvalidStateException",
                format!(
                    "The certificate authority {} is not in the correct state for this request. Its state is {}.",
                    request.authority,
                    authority.status.name()
                ),
            ));
        }
        if !self.policy.repeats && self.recent_report(request.authority, now).is_some() {
            return Err(self.policy.too_soon.clone());
        }
        Ok(())
    }

    /// Returns the ID of the last report if the interval since its request has not passed.
    pub(super) fn recent_report(&self, arn: &str, now: SystemTime) -> Option<&String> {
        let last = self.authorities.get(arn)?.last_report.as_ref()?;
        (self.reports[last].created_at + self.policy.interval > now).then_some(last)
    }

    /// Adds a requested report with the outcome that is queued for its certificate authority.
    pub(super) fn add_report(
        &mut self,
        id: String,
        request: ReportRequest<'_>,
        may_write: bool,
        now: SystemTime,
    ) {
        let authority = self
            .authorities
            .get_mut(request.authority)
            .expect("the request was checked");
        let next = authority.next_reports.pop_front().unwrap_or_default();
        let outcome = if may_write {
            next.outcome
        } else {
            Outcome::Failed
        };
        let policy = &self.policy;
        let object = (outcome == Outcome::Written).then(|| {
            let content = next.content.unwrap_or_else(|| {
                render(&authority.certificates, request.format, policy.layout).into()
            });
            let mut object = Object::new(content);
            object.content_type = Some(request.format.content_type().to_owned());
            policy.checksum.apply(&mut object);
            object
        });
        let authority_id = request.authority.rsplit('/').next().unwrap_or_default();
        let extension = request.format.extension();
        let report = Report {
            authority: request.authority.to_owned(),
            bucket: request.bucket.to_owned(),
            key: format!("audit-report/{authority_id}/{id}.{extension}"),
            created_at: now,
            ends_at: (outcome != Outcome::Never).then(|| now + next.delay.unwrap_or(policy.delay)),
            outcome,
            object,
        };
        authority.last_report = Some(id.clone());
        if report.object.is_some() {
            self.unwritten.push(id.clone());
        }
        self.reports.insert(id, report);
    }

    /// Takes the reports that have ended but are not written yet, with their end times, oldest first.
    pub(super) fn take_due(&mut self, now: SystemTime) -> Vec<(SystemTime, Report)> {
        let mut due = Vec::new();
        self.unwritten.retain(|id| {
            let Some(report) = self.reports.get_mut(id) else {
                return false;
            };
            let ended = report.ends_at.filter(|ends_at| *ends_at <= now);
            if let Some(ended) = ended {
                due.push((ended, report.clone()));
                report.object = None;
            }
            ended.is_none()
        });
        due.sort_by_key(|(ended, _)| *ended);
        due
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
