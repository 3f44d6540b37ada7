//! What CloudTrail has about revocations, shared by all CAs of a run and by the runs of a process.
//!
//! CloudTrail's event history cannot be searched by certificate. All `RevokeCertificate` events around
//! the time of the revocation are read and compared with it. The times are aligned, so that revocations
//! of about the same time share a lookup.
//!
//! With one invocation per CA, hundreds of runs need the same events, and CloudTrail allows two requests
//! per second. For some minutes, a run uses the events that an earlier run of the process found. It
//! never relies on what an earlier run did not find, because events are minutes late.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_cloudtrail::operation::lookup_events::LookupEventsOutput;
use aws_sdk_cloudtrail::primitives::DateTime;

use crate::aws::failure::{CallFailure, FailureClass};
use crate::budget::Pacer;
use crate::investigate::revoke_event::{Parsed, RevokeEvent, is_same_identity, parse};
use crate::investigate::words::reason;
use crate::revocation::investigation::{Finding, Revoker};
use crate::revocation::key::RevocationKey;
use crate::revocation::record::Revocation;
use crate::text::numbers::duration;
use crate::timestamp::Timestamp;

/// Interval between requests: CloudTrail allows two per second in an account and region (AWS CloudTrail
/// API Reference, `LookupEvents`).
const INTERVAL: Duration = Duration::from_millis(550);

/// Maximum pages of a window.
const MAX_PAGES: usize = 10;

/// Maximum windows that a run looks up, and maximum lookups that are kept. It limits requests and memory.
const MAX_WINDOWS: usize = 8;

/// Age from which later runs do not use a lookup. Their counts of revocations are that old at most.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// Windows begin at multiples of it.
const ALIGNMENT: Duration = Duration::from_secs(15 * 60);

/// Length of a window: it ends at least 15 minutes after the revocation.
const WINDOW: Duration = Duration::from_secs(45 * 60);

/// Time after which an event is expected to be in the event history. Events appear about 5 minutes late,
/// without a guarantee (AWS CloudTrail User Guide, "How CloudTrail works").
const MAX_DELAY: Duration = Duration::from_secs(20 * 60);

/// Age at which events leave the event history (AWS CloudTrail User Guide, "Working with CloudTrail
/// event history").
const HISTORY: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What was looked up in CloudTrail, for the life of the process.
#[derive(Debug)]
pub struct Trail {
    /// Paces the requests of all CAs.
    pub pacer: Pacer,
    /// Number of runs so far.
    runs: AtomicU64,
    /// The oldest first; at most [`MAX_WINDOWS`].
    lookups: Mutex<Vec<Arc<Lookup>>>,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            pacer: Pacer::new(INTERVAL),
            runs: AtomicU64::default(),
            lookups: Mutex::default(),
        }
    }
}

/// The lookup of one window. A caller that runs out of time leaves complete pages; the next one
/// continues after them.
#[derive(Debug)]
pub struct Lookup {
    pub window: Window,
    /// Number of the run that began it.
    pub run: u64,
    /// When the run began it.
    began: Timestamp,
    /// Held by the caller that reads pages.
    pub reader: tokio::sync::Mutex<()>,
    pages: Mutex<Pages>,
}

/// The time that is searched for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// What was read so far.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// When the first page was requested.
    pub started: Option<Timestamp>,
    events: Vec<RevokeEvent>,
    /// Number of events of any source that were read.
    read: u64,
    /// Number of events of Private CA that could not be parsed.
    pub unreadable: u64,
    pages: usize,
    pub next_token: Option<String>,
    /// Why the last request failed, if it did.
    failed: Option<String>,
    pub end: Option<End>,
}

/// Why no further page is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All events were read.
    Complete,
    /// There are more than [`MAX_PAGES`].
    CutOff,
    /// CloudTrail refuses requests. After any other failure, the next caller tries again.
    Refused,
}

impl Window {
    /// Returns the window for a time of revocation.
    fn around(revoked_at: Timestamp) -> Self {
        let past_boundary = revoked_at
            .unix_seconds()
            .rem_euclid(ALIGNMENT.as_secs() as i64);
        let from = revoked_at
            .saturating_sub(Duration::from_secs(past_boundary as u64))
            .saturating_sub(ALIGNMENT);
        Self {
            from,
            until: from.saturating_add(WINDOW),
        }
    }
}

impl Trail {
    /// Returns the number of a run that begins, and forgets old lookups.
    pub fn begin_run(&self, now: Timestamp) -> u64 {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        forget_old(&mut locked(&self.lookups), run, now);
        run
    }

    /// Returns the lookup that finds the event of a revocation, or why there is none: that of an earlier
    /// run if it found the event, else that of this run.
    pub fn lookup(
        &self,
        run: u64,
        certificate_authority: &str,
        revocation: &Revocation,
        now: Timestamp,
    ) -> Result<Arc<Lookup>, String> {
        let RevocationKey::Serial(serial) = &revocation.key else {
            return Err("the report states no valid serial".to_owned());
        };
        let Some(revoked_at) = revocation.revoked_at.at else {
            return Err("the report states no readable time of revocation".to_owned());
        };
        let window = Window::around(revoked_at);
        if now.since(revoked_at) > HISTORY {
            return Err(
                "revoked more than 90 days ago; CloudTrail's event history ends there".to_owned(),
            );
        }
        if window.from > now {
            return Err("the report states a time of revocation in the future".to_owned());
        }
        let mut lookups = locked(&self.lookups);
        forget_old(&mut lookups, run, now);
        let has_event =
            |lookup: &Lookup| lookup.has_event(certificate_authority, serial, revoked_at);
        // The newest first.
        let mut of_window = lookups.iter().rev().filter(|it| it.window == window);
        let known = of_window
            .clone()
            .find(|lookup| has_event(lookup))
            .or_else(|| of_window.find(|lookup| lookup.run == run));
        if let Some(lookup) = known {
            return Ok(Arc::clone(lookup));
        }
        if lookups.len() >= MAX_WINDOWS {
            let Some(oldest) = lookups.iter().position(|lookup| lookup.run != run) else {
                return Err(format!(
                    "this run already searched CloudTrail for {MAX_WINDOWS} other periods (limit: {MAX_WINDOWS})"
                ));
            };
            lookups.remove(oldest);
        }
        let lookup = Arc::new(Lookup::new(window, run, now));
        lookups.push(Arc::clone(&lookup));
        Ok(lookup)
    }
}

/// Forgets lookups that are too old for a run and not its own.
fn forget_old(lookups: &mut Vec<Arc<Lookup>>, run: u64, now: Timestamp) {
    lookups.retain(|lookup| lookup.run == run || now.since(lookup.began) < MAX_AGE);
}

impl Lookup {
    fn new(window: Window, run: u64, now: Timestamp) -> Self {
        Self {
            window,
            run,
            began: now,
            reader: tokio::sync::Mutex::default(),
            pages: Mutex::default(),
        }
    }

    /// Whether the pages read so far have the event of a revocation. If CloudTrail refused a page, what
    /// the others have is not used.
    fn has_event(&self, arn: &str, serial: &[u8; 20], revoked_at: Timestamp) -> bool {
        let pages = self.pages();
        pages.end != Some(End::Refused) && pages.matching(arn, serial, revoked_at).is_some()
    }

    /// Returns what was read so far.
    pub fn pages(&self) -> MutexGuard<'_, Pages> {
        locked(&self.pages)
    }

    /// Returns who revoked the certificate, as far as pages were read.
    pub fn finding(
        &self,
        certificate_authority: &str,
        revocation: &Revocation,
        now: Timestamp,
    ) -> Finding<Revoker> {
        let pages = self.pages();
        let RevocationKey::Serial(serial) = &revocation.key else {
            return Finding::Unknown("the report states no valid serial".to_owned());
        };
        let Some(revoked_at) = revocation.revoked_at.at else {
            return Finding::Unknown("the report states no readable time of revocation".to_owned());
        };
        match pages.matching(certificate_authority, serial, revoked_at) {
            Some(event) => Finding::Known(Revoker {
                revocations: pages.revocations_by(&event.revoker),
                at_least: pages.end != Some(End::Complete) || pages.unreadable > 0,
                from: Some(self.window.from),
                until: Some(self.window.until.min(pages.started.unwrap_or(now))),
                ..event.revoker.clone()
            }),
            None => Finding::Unknown(pages.reason(revoked_at, now)),
        }
    }
}

impl Pages {
    /// Adds the next page, or the reason why there is none.
    pub fn add(&mut self, page: Result<LookupEventsOutput, CallFailure>) {
        let page = match page {
            Ok(page) => page,
            Err(failure) => {
                let is_refused = failure.class == FailureClass::Refused;
                self.end = is_refused.then_some(End::Refused);
                self.failed = Some(reason("CloudTrail", &failure));
                return;
            }
        };
        self.failed = None;
        self.pages += 1;
        for event in page.events.unwrap_or_default() {
            self.read += 1;
            let text = event.cloud_trail_event().unwrap_or_default();
            let listed_at = event.event_time().map(DateTime::secs);
            let listed_at = listed_at.and_then(Timestamp::from_unix_seconds);
            match parse(text, event.event_source(), listed_at) {
                Parsed::Revocation(event) => self.events.push(*event),
                Parsed::Unreadable => self.unreadable += 1,
                Parsed::Other => {}
            }
        }
        self.next_token = page.next_token.filter(|token| !token.is_empty());
        self.end = match self.next_token {
            None => Some(End::Complete),
            Some(_) if self.pages >= MAX_PAGES => Some(End::CutOff),
            Some(_) => None,
        };
    }

    /// Returns the event of a revocation; of several, the one closest to it.
    fn matching(
        &self,
        certificate_authority: &str,
        serial: &[u8; 20],
        revoked_at: Timestamp,
    ) -> Option<&RevokeEvent> {
        let distance = |event: &&RevokeEvent| match event.revoker.at {
            Some(at) => at.since(revoked_at).max(revoked_at.since(at)),
            None => Duration::MAX,
        };
        self.events
            .iter()
            .filter(|event| event.certificate_authority == certificate_authority)
            .filter(|event| event.serial == *serial)
            .min_by_key(distance)
    }

    /// Counts the certificates that an identity revoked.
    fn revocations_by(&self, revoker: &Revoker) -> u64 {
        let revoked: BTreeSet<_> = self
            .events
            .iter()
            .filter(|event| is_same_identity(&event.revoker, revoker))
            .map(|event| (&event.certificate_authority, &event.serial))
            .collect();
        revoked.len() as u64
    }

    /// Returns why there is no event of a revocation.
    fn reason(&self, revoked_at: Timestamp, now: Timestamp) -> String {
        if let Some(failed) = &self.failed {
            return failed.clone();
        }
        match &self.end {
            None | Some(End::Refused) => "CloudTrail did not respond in time".to_owned(),
            Some(End::Complete | End::CutOff) if self.unreadable > 0 => {
                "CloudTrail has events of that time that could not be parsed".to_owned()
            }
            Some(End::CutOff) => format!(
                "not among the newest {} RevokeCertificate events of that time",
                self.read
            ),
            Some(_) if self.started.unwrap_or(now).since(revoked_at) < MAX_DELAY => format!(
                "CloudTrail has no event yet (revoked {} ago)",
                duration(now.since(revoked_at))
            ),
            Some(End::Complete) => {
                "CloudTrail of this account and region has no such event".to_owned()
            }
        }
    }
}

/// Locks data that is consistent whenever it is unlocked.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::investigate::revoke_event::EVENT_SOURCE;
    use aws_sdk_cloudtrail::types::Event;
    use serde_json::{Value, json};

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
    const SERIAL: &str = "00:e8:cb:d2";

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn assumed_role() -> Value {
        json!({
            "type": "AssumedRole",
            "arn": "arn:aws:sts::123456789012:assumed-role/pki-admin/m.ops",
            "accountId": "123456789012",
            "sessionContext": {"sessionIssuer": {"type": "Role", "userName": "pki-admin"}},
        })
    }

    fn record(serial: &str, time: &str, identity: &Value) -> Value {
        json!({
            "eventSource": EVENT_SOURCE,
            "eventName": "RevokeCertificate",
            "eventTime": time,
            "sourceIPAddress": "203.0.113.5",
            "userAgent": "aws-cli/2.31",
            "userIdentity": identity,
            "requestParameters": {
                "certificateAuthorityArn": CA,
                "certificateSerial": serial,
                "revocationReason": "KEY_COMPROMISE",
            },
            "responseElements": null,
        })
    }

    fn page(events: &[String], next_token: Option<&str>) -> LookupEventsOutput {
        let events = events
            .iter()
            .map(|event| Event::builder().cloud_trail_event(event).build());
        LookupEventsOutput::builder()
            .set_events(Some(events.collect()))
            .set_next_token(next_token.map(str::to_owned))
            .build()
    }

    fn pages(events: &[Value]) -> Pages {
        let events: Vec<_> = events.iter().map(Value::to_string).collect();
        let mut pages = Pages::default();
        pages.add(Ok(page(&events, None)));
        pages
    }

    fn revocation(revoked_at: &str) -> Revocation {
        crate::investigate::tests::revocation(Some(SERIAL), revoked_at)
    }

    /// What is found in one complete page, read at noon.
    fn finding(events: &[Value], revoked_at: &str, now: &str) -> Finding<Revoker> {
        let lookup = Lookup {
            pages: Mutex::new(Pages {
                started: Some(at(now)),
                ..pages(events)
            }),
            ..Lookup::new(Window::around(at(revoked_at)), 0, at(now))
        };
        lookup.finding(CA, &revocation(revoked_at), at(now))
    }

    fn found(events: &[Value]) -> Revoker {
        match finding(events, "2026-11-24T20:22:47Z", "2026-11-24T20:30:00Z") {
            Finding::Known(revoker) => revoker,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn windows_are_aligned_and_contain_the_revocation() {
        for (revoked_at, from, until) in [
            ("20:00:00", "19:45:00", "20:30:00"),
            ("20:14:59", "19:45:00", "20:30:00"),
            ("20:15:00", "20:00:00", "20:45:00"),
        ] {
            let window = Window::around(at(&format!("2026-11-24T{revoked_at}Z")));
            assert_eq!(window.from, at(&format!("2026-11-24T{from}Z")));
            assert_eq!(window.until, at(&format!("2026-11-24T{until}Z")));
        }
        for end in [Timestamp::MIN, Timestamp::MAX] {
            let window = Window::around(end);
            assert!(window.from <= end && window.until >= end, "{window:?}");
        }
    }

    #[test]
    fn role_session_address_and_agent_are_found() {
        let found = found(&[record(SERIAL, "2026-11-24T20:22:46Z", &assumed_role())]);
        let text = |text: &str| Some(text.to_owned());
        let expected = Revoker {
            identity_type: "AssumedRole".to_owned(),
            arn: text("arn:aws:sts::123456789012:assumed-role/pki-admin/m.ops"),
            role: text("pki-admin"),
            session: text("m.ops"),
            account: text("123456789012"),
            source_ip: text("203.0.113.5"),
            user_agent: text("aws-cli/2.31"),
            at: Some(at("2026-11-24T20:22:46Z")),
            revocations: 1,
            at_least: false,
            from: Some(at("2026-11-24T20:00:00Z")),
            until: Some(at("2026-11-24T20:30:00Z")),
            ..Revoker::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn every_identity_type_is_understood() {
        let identity = |identity: Value| {
            let found = found(&[record(SERIAL, "2026-11-24T20:22:46Z", &identity)]);
            [found.role, found.user, found.service]
        };
        let text = |text: &str| Some(text.to_owned());
        let user = "arn:aws:iam::123456789012:user/team/alice";
        for (stated, expected) in [
            (
                json!({"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/admin/s"}),
                [text("admin"), None, None],
            ),
            (
                json!({"type": "IAMUser", "arn": user}),
                [None, text("alice"), None],
            ),
            (
                json!({"type": "IAMUser", "arn": user, "userName": "Alice"}),
                [None, text("Alice"), None],
            ),
            (
                json!({"type": "Root", "arn": "arn:aws:iam::1:root"}),
                [None, text("root"), None],
            ),
            (
                json!({"type": "AWSService", "invokedBy": "acm.amazonaws.com"}),
                [None, None, text("acm.amazonaws.com")],
            ),
            (
                json!({"type": "FederatedUser", "arn": "arn:aws:sts::1:federated-user/bob"}),
                [None, text("bob"), None],
            ),
            (
                json!({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "94e"}}),
                [None, text("94e"), None],
            ),
            (json!({"type": "New", "arn": "x"}), [None, None, None]),
            (json!({}), [None, None, None]),
        ] {
            assert_eq!(identity(stated.clone()), expected, "{stated}");
        }
    }

    #[test]
    fn event_of_another_certificate_or_a_failed_call_is_no_match() {
        let matching = record("E8CBD2", "2026-11-24T20:22:46Z", &assumed_role());
        let with = |pointer: &str, value: Value| {
            let mut record = matching.clone();
            *record.pointer_mut(pointer).expect(pointer) = value;
            record
        };
        let mut failed = matching.clone();
        failed["errorCode"] = json!("RequestAlreadyProcessedException");
        let others = [
            with("/eventSource", json!("acm.amazonaws.com")),
            with("/eventName", json!("IssueCertificate")),
            with("/requestParameters/certificateSerial", json!("e8:cb:d3")),
            with("/requestParameters/certificateAuthorityArn", json!("arn")),
            failed,
        ];
        let found = |events| finding(events, "2026-11-24T20:22:47Z", "2026-11-24T21:00:00Z");
        assert_eq!(
            found(&others),
            Finding::Unknown("CloudTrail of this account and region has no such event".to_owned())
        );
        assert_eq!(found(&[matching]).state(), "known");
    }

    #[test]
    fn closest_event_wins_and_certificates_are_counted_once() {
        let bob = json!({"type": "IAMUser", "arn": "arn:aws:iam::1:user/bob"});
        let event = |serial, time, identity| record(serial, time, identity);
        let events = [
            event(SERIAL, "2026-11-24T20:29:00Z", &bob),
            event(SERIAL, "2026-11-24T20:22:45Z", &assumed_role()),
            event("e8:cb:d2", "2026-11-24T20:20:00Z", &assumed_role()),
            event("01:02", "2026-11-24T20:19:00Z", &assumed_role()),
            event("01:03", "2026-11-24T20:18:00Z", &bob),
        ];
        let found = found(&events);
        assert_eq!(found.role.as_deref(), Some("pki-admin"));
        assert_eq!(found.at, Some(at("2026-11-24T20:22:45Z")));
        assert_eq!((found.revocations, found.at_least), (2, false));
    }

    #[test]
    fn identities_without_arn_are_distinguished() {
        let service = |name| json!({"type": "AWSService", "invokedBy": name});
        let found = found(&[
            record(SERIAL, "2026-11-24T20:22:46Z", &service("a.amazonaws.com")),
            record("01:02", "2026-11-24T20:22:46Z", &service("a.amazonaws.com")),
            record("01:03", "2026-11-24T20:22:46Z", &service("b.amazonaws.com")),
        ]);
        assert_eq!(found.revocations, 2);
    }

    #[test]
    fn hostile_events_are_skipped_and_make_counts_minimums() {
        let good = record(SERIAL, "2026-11-24T20:22:46Z", &assumed_role()).to_string();
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let mut hostile: Vec<String> = (1..good.len()).map(|len| good[..len].to_owned()).collect();
        hostile.extend([
            String::new(),
            "null".to_owned(),
            nested(100_000),
            format!("{{\"eventSource\":{}}}", nested(100_000)),
            good.replace("\"RevokeCertificate\"", "7"),
            good.replace("certificateSerial", "serial"),
            good.replace("userIdentity", "identity"),
        ]);
        let count = hostile.len() as u64;
        let mut pages = Pages::default();
        pages.add(Ok(page(&hostile, Some("next"))));
        assert_eq!((pages.unreadable, pages.events.len()), (count, 0));
        let now = at("2026-11-24T21:30:00Z");
        assert_eq!(
            pages.reason(at("2026-11-24T20:22:47Z"), now),
            "CloudTrail did not respond in time"
        );
        pages.add(Ok(page(&[], None)));
        assert_eq!(
            pages.reason(at("2026-11-24T20:22:47Z"), now),
            "CloudTrail has events of that time that could not be parsed"
        );
        let nested_elsewhere = good.replace("\"responseElements\":null", &{
            format!("\"responseElements\":{}", nested(100_000))
        });
        let mut pages = Pages::default();
        pages.add(Ok(page(&[nested_elsewhere], None)));
        assert_eq!(pages.read, 1);
        assert_eq!(pages.events.len() as u64 + pages.unreadable, 1);
    }

    #[test]
    fn long_texts_are_truncated_at_a_character() {
        let long = "\u{e9}".repeat(100_000);
        let mut event = record(SERIAL, "2026-11-24T20:22:46Z", &assumed_role());
        event["userAgent"] = json!(long);
        event["sourceIPAddress"] = json!(long);
        event["userIdentity"]["arn"] = json!(format!("arn:aws:sts::1:assumed-role/{long}/{long}"));
        let found = found(&[event]);
        for text in [found.user_agent, found.source_ip, found.session, found.arn] {
            let text = text.unwrap();
            assert!(text.len() <= 256 && text.ends_with("[...]"), "{text}");
        }
    }

    #[test]
    fn missing_event_is_late_or_absent() {
        let reason = |now: &str| match finding(&[], "2026-11-24T20:00:00Z", now) {
            Finding::Unknown(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            reason("2026-11-24T20:04:00Z"),
            "CloudTrail has no event yet (revoked 4 minutes ago)"
        );
        assert!(reason("2026-11-24T20:19:59Z").contains("no event yet"));
        assert_eq!(
            reason("2026-11-24T20:20:00Z"),
            "CloudTrail of this account and region has no such event"
        );
    }

    #[test]
    fn pages_are_limited_and_counts_say_so() {
        let event = record(SERIAL, "2026-11-24T20:22:46Z", &assumed_role()).to_string();
        let other = record("01:02", "2026-11-24T20:22:46Z", &assumed_role()).to_string();
        let mut pages = Pages::default();
        for _ in 0..MAX_PAGES {
            assert_eq!(pages.end, None);
            pages.add(Ok(page(std::slice::from_ref(&other), Some("next"))));
        }
        assert_eq!(pages.end, Some(End::CutOff));
        let (revoked_at, now) = (at("2026-11-24T20:22:47Z"), at("2026-11-24T20:24:00Z"));
        assert_eq!(
            pages.reason(revoked_at, now),
            "not among the newest 10 RevokeCertificate events of that time"
        );
        pages.add(Ok(page(&[event], Some("next"))));
        let lookup = Lookup {
            pages: Mutex::new(pages),
            ..Lookup::new(Window::around(revoked_at), 0, now)
        };
        match lookup.finding(CA, &revocation("2026-11-24T20:22:47Z"), now) {
            Finding::Known(found) => assert_eq!((found.revocations, found.at_least), (2, true)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lookup_is_refused_with_the_reason() {
        let trail = Trail::default();
        let now = at("2026-11-24T20:30:00Z");
        let run = trail.begin_run(now);
        let of = |serial: Option<&str>, revoked_at: &str| {
            let revocation = crate::investigate::tests::revocation(serial, revoked_at);
            let lookup = trail.lookup(run, CA, &revocation, now);
            lookup.map(|lookup| lookup.window)
        };
        for (serial, revoked_at, reason) in [
            (None, "2026-11-24T20:22:47+0000", "no valid serial"),
            (Some(SERIAL), "yesterday", "no readable time of revocation"),
            (Some(SERIAL), "2026-08-26T20:29:59Z", "more than 90 days"),
            (Some(SERIAL), "2026-11-24T21:00:00Z", "in the future"),
        ] {
            let refused = of(serial, revoked_at).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        for day in 1..=MAX_WINDOWS {
            assert!(of(Some(SERIAL), &format!("2026-11-{day:02}T00:00:00Z")).is_ok());
        }
        assert!(of(Some(SERIAL), "2026-11-01T00:14:00Z").is_ok());
        let refused = of(Some(SERIAL), "2026-11-20T00:00:00Z").unwrap_err();
        let limit = format!("for {MAX_WINDOWS} other periods (limit: {MAX_WINDOWS})");
        assert!(refused.contains(&limit), "{refused}");
    }

    #[test]
    fn lookups_of_earlier_runs_give_way_at_the_limit() {
        let trail = Trail::default();
        let now = at("2026-11-24T20:30:00Z");
        let of = |run: u64, day: usize| {
            let revocation = revocation(&format!("2026-11-{day:02}T00:00:00Z"));
            trail.lookup(run, CA, &revocation, now)
        };
        let count = || locked(&trail.lookups).len();
        let earlier = trail.begin_run(now);
        for day in 1..=MAX_WINDOWS {
            assert_eq!(of(earlier, day).unwrap().run, earlier);
        }
        let run = trail.begin_run(now);
        for day in 1..=MAX_WINDOWS {
            assert_eq!(of(run, 8 + day).unwrap().run, run);
            assert_eq!(count(), MAX_WINDOWS);
        }
        let refused = of(run, 1).unwrap_err();
        assert!(refused.contains("this run already"), "{refused}");
        // A later run forgets all of them with age.
        trail.begin_run(now.saturating_add(MAX_AGE - Duration::from_secs(1)));
        assert_eq!(count(), MAX_WINDOWS);
        trail.begin_run(now.saturating_add(MAX_AGE));
        assert_eq!(count(), 0);
    }
}
