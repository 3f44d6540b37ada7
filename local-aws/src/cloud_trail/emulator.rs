//! The CloudTrail emulator: its events, and the methods that tests call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::actor::Actor;
use crate::clock::Clock;
use crate::ids::Ids;
use crate::settings::Settings;
use crate::token_bucket::Bucket;

/// `LookupEvents` per second, account and region (CloudTrail User Guide, "Quotas in AWS CloudTrail").
const QUOTA: u32 = 2;

/// An event of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrailEvent {
    /// `EventId`.
    pub id: String,
    /// `EventName`.
    pub name: String,
    /// `EventSource`, if the event states one.
    pub source: Option<String>,
    /// `EventTime`.
    pub at: SystemTime,
    /// When lookups begin to return it.
    pub visible_at: SystemTime,
    /// `CloudTrailEvent`: the event's own JSON text, which tests may make malformed.
    pub text: String,
}

/// Emulates CloudTrail. Every emulated revocation adds a `RevokeCertificate` event.
///
/// The methods need no permission, are not recorded and get no injected faults.
#[derive(Clone, Debug)]
pub struct CloudTrail(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    pub(super) clock: Clock,
    ids: Ids,
    account: String,
    region: String,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) events: Vec<TrailEvent>,
    pub(super) quota: Option<u32>,
    pub(super) bucket: Option<Bucket>,
    pub(super) page_size: usize,
    actor: Actor,
    delay: Duration,
}

/// A revocation to record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RevokeCall<'a> {
    pub(crate) authority: &'a str,
    pub(crate) serial: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) at: SystemTime,
}

impl CloudTrail {
    pub(crate) fn new(settings: &Settings, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                events: Vec::new(),
                quota: Some(QUOTA),
                bucket: None,
                page_size: usize::MAX,
                actor: Actor::assumed_role(&settings.account, "pki-admin", "m.ops"),
                delay: Duration::ZERO,
            }),
            clock,
            // Its own sequence: revocations do not change the identifiers of other services.
            ids: Ids::new(!settings.seed),
            account: settings.account.clone(),
            region: settings.region.clone(),
        }))
    }

    /// Sets who makes later revocations; default the session `m.ops` of the role `pki-admin`.
    pub fn set_actor(&self, actor: Actor) {
        self.state().actor = actor;
    }

    /// Sets how long after a revocation lookups begin to return its event; default zero.
    ///
    /// Applies to events that are added later.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Sets the requests per second; default 2, `None` for no limit.
    pub fn set_quota(&self, requests_per_second: Option<u32>) {
        let mut state = self.state();
        state.quota = requests_per_second;
        state.bucket = None;
    }

    /// Limits the page size below the API's 50 events; `None` for no extra limit.
    pub fn set_page_size(&self, events: Option<usize>) {
        self.state().page_size = events.unwrap_or(usize::MAX).max(1);
    }

    /// Adds any event, also a malformed one. Lookups find it by its `eventName`, else as a
    /// `RevokeCertificate` event.
    pub fn add_event(&self, text: &str, at: SystemTime) {
        let parsed: Value = serde_json::from_str(text).unwrap_or_default();
        let member = |name: &str| parsed[name].as_str().map(str::to_owned);
        let id = self.0.ids.uuid();
        let mut state = self.state();
        let event = TrailEvent {
            id,
            name: member("eventName").unwrap_or_else(|| "RevokeCertificate".to_owned()),
            source: member("eventSource"),
            at,
            visible_at: at + state.delay,
            text: text.to_owned(),
        };
        state.events.push(event);
    }

    /// Returns all events in the order in which they were added, also those that are not visible yet.
    pub fn events(&self) -> Vec<TrailEvent> {
        self.state().events.clone()
    }

    /// Deletes all events, as if none had ever been recorded.
    pub fn forget_events(&self) {
        self.state().events.clear();
    }

    /// Adds the event of a successful `RevokeCertificate` call by the current actor.
    pub(crate) fn record_revocation(&self, call: RevokeCall<'_>) {
        let actor = self.state().actor.clone();
        let event = json!({
            "eventVersion": "1.11",
            "userIdentity": actor.identity,
            "eventTime": event_time(call.at),
            "eventSource": "acm-pca.amazonaws.com",
            "eventName": "RevokeCertificate",
            "awsRegion": self.0.region,
            "sourceIPAddress": actor.source_ip,
            "userAgent": actor.user_agent,
            "requestParameters": {
                "certificateAuthorityArn": call.authority,
                "certificateSerial": call.serial,
                "revocationReason": call.reason,
            },
            "responseElements": null,
            "requestID": self.0.ids.uuid(),
            "eventID": self.0.ids.uuid(),
            "readOnly": false,
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": self.0.account,
            "eventCategory": "Management",
        });
        self.add_event(&event.to_string(), call.at);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Formats a time as in events: `2026-11-21T04:00:00Z`.
fn event_time(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second]Z"
        ))
        .expect("every component of the format is part of a date with time")
}
