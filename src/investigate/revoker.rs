//! Finds the identity that revoked a certificate in CloudTrail.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudtrail::operation::lookup_events::LookupEventsOutput;
use aws_sdk_cloudtrail::primitives::DateTime;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use futures_util::future::join_all;
use tokio::time::timeout_at;

use crate::aws::failure::{CallFailure, FailureClass};
use crate::investigate::trail::{Lookup, Window};
use crate::investigate::words::reason;
use crate::investigate::{Case, Investigator};
use crate::revocation::investigation::{Finding, Revoker};
use crate::text::numbers::count;
use crate::timestamp::Timestamp;

/// Maximum events of a page (AWS CloudTrail API Reference, `LookupEvents`).
const PAGE_SIZE: i32 = 50;

/// Maximum calls for a page that CloudTrail throttles. Processes do not share the pace of their requests.
const MAX_THROTTLED_CALLS: usize = 3;

/// Time between these calls.
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);

impl Investigator<'_> {
    /// Returns a finding for each revocation of the case.
    pub(super) async fn revokers(&self, case: &Case<'_>) -> Vec<Finding<Revoker>> {
        let now = self.budget.now();
        let lookups: Vec<_> = case
            .revocations
            .iter()
            .map(|revocation| {
                let trail = self.trail;
                trail.lookup(self.run, case.arn.as_str(), revocation, now)
            })
            .collect();
        // Revocations of the same time share a lookup.
        let by_window: BTreeMap<_, _> = lookups
            .iter()
            .flatten()
            .map(|lookup| ((lookup.window.from, lookup.run), lookup))
            .collect();
        let reads = by_window.values().map(|lookup| self.read(case, lookup));
        // What was read before the deadline counts.
        let in_time = timeout_at(case.deadline, join_all(reads)).await;
        if in_time.is_err() {
            case.warn("LookupEvents", "CloudTrail did not respond in time");
        }
        let revocations = case.revocations.iter().zip(lookups);
        revocations
            .map(|(revocation, lookup)| match lookup {
                Ok(lookup) => lookup.finding(case.arn.as_str(), revocation, self.budget.now()),
                Err(reason) => Finding::Unknown(reason),
            })
            .collect()
    }

    /// Reads all pages of a window that were not read yet.
    async fn read(&self, case: &Case<'_>, lookup: &Lookup) {
        let _reader = lookup.reader.lock().await;
        let mut throttled = 0;
        while lookup.pages().end.is_none() {
            if !self.trail.pacer.turn(&self.budget).await {
                return;
            }
            let (started, next_token) = {
                let mut pages = lookup.pages();
                let started = *pages.started.get_or_insert(self.budget.now());
                (started, pages.next_token.clone())
            };
            let page = self.page(lookup.window, started, next_token).await;
            let class = page.as_ref().err().map(|failure| failure.class);
            if let Err(failure) = &page {
                case.warn("LookupEvents", &reason("CloudTrail", failure));
            }
            let unreadable = {
                let mut pages = lookup.pages();
                let before = pages.unreadable;
                pages.add(page);
                pages.unreadable - before
            };
            if unreadable > 0 {
                let events = count(unreadable, "event");
                case.warn(
                    "LookupEvents",
                    &format!("CloudTrail returned {events} that could not be parsed"),
                );
            }
            match class {
                None => throttled = 0,
                Some(FailureClass::Throttled) if throttled + 1 < MAX_THROTTLED_CALLS => {
                    throttled += 1;
                    if !self.budget.wait(THROTTLED_PAUSE).await {
                        return;
                    }
                }
                // Leaves a repetition to the next CA.
                Some(_) => return,
            }
        }
    }

    async fn page(
        &self,
        window: Window,
        started: Timestamp,
        next_token: Option<String>,
    ) -> Result<LookupEventsOutput, CallFailure> {
        let by_name = LookupAttribute::builder()
            .attribute_key(LookupAttributeKey::EventName)
            .attribute_value("RevokeCertificate")
            .build()
            .expect("key and value are set");
        // An end in the future might be refused; without one, CloudTrail searches until now. All pages of
        // a lookup need the same times.
        let until = (window.until <= started).then_some(window.until);
        let seconds = |at: Timestamp| DateTime::from_secs(at.unix_seconds());
        self.clients
            .cloudtrail
            .lookup_events()
            .lookup_attributes(by_name)
            .start_time(seconds(window.from))
            .set_end_time(until.map(seconds))
            .max_results(PAGE_SIZE)
            .set_next_token(next_token)
            .send()
            .await
            .map_err(|error| CallFailure::new("LookupEvents", &error))
    }
}
