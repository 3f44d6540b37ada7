//! The health document of a stack: what was announced about the watch itself.
//!
//! It holds announcements, not conditions: each CA's condition is in its control document. Comparing
//! the two shows what is to be announced. Everything here is pure; `store` reads and writes it in S3.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arn::CertificateAuthorityArn;
use crate::error::AuditError;
use crate::revocation::reason::ReasonCounts;
use crate::state::control::{
    CLOCK_TOLERANCE, CurrentError, Lease, SeenError, VERSION, Versioned, unreadable,
};
use crate::timestamp::Timestamp;

/// Maximum time for comparing and announcing: a lease is that long, plus the clocks' tolerance.
pub(crate) const COMPARISON_TIMEOUT: Duration = Duration::from_secs(30);

/// Time after which a CA that left is forgotten: longer than it can take to restore or renew it.
const FORGET_AFTER: Duration = Duration::from_secs(400 * 86_400);

/// The health document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthDocument {
    version: u64,
    /// Number of writes so far.
    pub(super) sequence: u64,
    /// Identifies the write, like that of a control document.
    pub(super) nonce: String,
    /// The lease of the run that announces changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Lease>,
    /// The topic on which a confirmed subscription was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confirmed_topic: Option<String>,
    /// When the last summary was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_summary_at: Option<Timestamp>,
    /// The CAs whose start was announced, or may have been.
    pub(crate) certificate_authorities: BTreeMap<CertificateAuthorityArn, Watched>,
    /// The errors that were announced and are not over for all their CAs.
    pub(crate) problems: Vec<Problem>,
    /// Errors of CAs whose control document cannot be read or written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) unrecorded: BTreeMap<CertificateAuthorityArn, UnrecordedError>,
}

/// A CA whose start was announced, or may have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Watched {
    /// Whether people know that it is watched, as opposed to that it left.
    #[serde(rename = "watched")]
    pub(crate) is_watched: bool,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Whether that was published; otherwise, it may have been.
    pub(crate) announced: bool,
    /// Numbers of its revocations in messages at the time of the last summary.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub(crate) summarized: ReasonCounts,
}

fn is_empty(counts: &ReasonCounts) -> bool {
    *counts == ReasonCounts::default()
}

/// An error and the CAs that it affects: one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Problem {
    /// The stable name of the error.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The affected resource, if it is not the only CA itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<String>,
    /// When it first occurred.
    pub(crate) since: Timestamp,
    pub(crate) certificate_authorities: BTreeMap<CertificateAuthorityArn, Affected>,
    /// Whether `watch-recovered` may have been published, although that is not recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) recovering: bool,
}

/// A CA that an error affects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Affected {
    /// When it first occurred there.
    pub(crate) since: Timestamp,
    /// Whether `watch-failed` was published; otherwise, it may have been: the run died, or SNS's
    /// response was lost.
    pub(crate) announced: bool,
    /// How it ended there, if it did: others may still be affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) over: Option<Over>,
}

/// How an error ended for a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Over {
    /// The CA was audited completely; its report was requested at that time.
    Audited(Timestamp),
    /// The CA is no longer watched.
    Left,
}

/// An error that no control document records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnrecordedError {
    pub(crate) error: CurrentError,
    /// Set while the error may be over by the next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unconfirmed: Option<SeenError>,
}

/// A CA's condition as far as a run knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'a> {
    pub error: Option<&'a CurrentError>,
    /// When the report of the last complete audit was requested.
    pub audited_at: Option<Timestamp>,
}

impl Default for HealthDocument {
    fn default() -> Self {
        Self {
            version: VERSION,
            sequence: 0,
            nonce: String::new(),
            lease: None,
            confirmed_topic: None,
            last_summary_at: None,
            certificate_authorities: BTreeMap::new(),
            problems: Vec::new(),
            unrecorded: BTreeMap::new(),
        }
    }
}

impl HealthDocument {
    /// Parses a health document; `location` names its object in errors.
    ///
    /// # Errors
    /// If it is not a health document of this version.
    pub fn read(bytes: &[u8], location: &str) -> Result<Self, AuditError> {
        let place = format!("the health document at {location}");
        let no_document = |error| unreadable(format!("{place} is not readable: {error}"));
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(no_document)?;
        versioned.check(&place)?;
        serde_json::from_slice(bytes).map_err(no_document)
    }

    /// Returns the document as indented JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        format!("{:#}\n", serde_json::json!(self)).into_bytes()
    }

    /// Replaces everything but what identifies the write.
    pub(crate) fn replace_content(&mut self, content: Self) {
        let (sequence, nonce) = (self.sequence, std::mem::take(&mut self.nonce));
        *self = Self {
            sequence,
            nonce,
            ..content
        };
    }

    /// Returns the lease if another request holds it.
    pub(crate) fn other_holder(&self, request_id: &str, now: Timestamp) -> Option<&Lease> {
        let longest = now.saturating_add(COMPARISON_TIMEOUT + 2 * CLOCK_TOLERANCE);
        let lease = self.lease.as_ref();
        lease.filter(|lease| {
            lease.request_id != request_id && now < lease.until && lease.until <= longest
        })
    }

    /// Whether people know, or may know, that the CA is no longer watched.
    pub(crate) fn has_left(&self, arn: &CertificateAuthorityArn) -> bool {
        let watched = self.certificate_authorities.get(arn);
        watched.is_some_and(|watched| !watched.is_watched)
    }

    /// Whether the CA's last complete audit starts its watch and is to be announced: it is the first
    /// one, or the first one since the CA left.
    fn is_started_by(&self, arn: &CertificateAuthorityArn, audited_at: Timestamp) -> bool {
        match self.certificate_authorities.get(arn) {
            None => true,
            Some(watched) if watched.is_watched => !watched.announced,
            Some(stopped) => stopped.since <= audited_at,
        }
    }

    /// Records that the start of a CA's watch is about to be announced; returns `false` if there is no
    /// need to.
    pub(crate) fn start(
        &mut self,
        arn: &CertificateAuthorityArn,
        audited_at: Timestamp,
        now: Timestamp,
    ) -> bool {
        let is_started = self.is_started_by(arn, audited_at);
        if is_started {
            self.set_watched(arn, true, now);
        }
        is_started
    }

    /// Records that the end of a CA's watch is about to be announced; returns `false` if there is no
    /// need to. Its problems are over.
    pub(crate) fn stop(&mut self, arn: &CertificateAuthorityArn, now: Timestamp) -> bool {
        self.unrecorded.remove(arn);
        for problem in &mut self.problems {
            if let Some(affected) = problem.certificate_authorities.get_mut(arn) {
                affected.over.get_or_insert(Over::Left);
            }
        }
        let watched = self.certificate_authorities.get(arn);
        let is_stopped = watched.is_some_and(|watched| watched.is_watched || !watched.announced);
        if is_stopped {
            self.set_watched(arn, false, now);
        }
        is_stopped
    }

    /// What is announced again keeps its time.
    fn set_watched(&mut self, arn: &CertificateAuthorityArn, is_watched: bool, now: Timestamp) {
        let known = self.certificate_authorities.entry(arn.clone());
        let known = known.or_insert_with(|| Watched {
            is_watched,
            since: now,
            announced: false,
            summarized: ReasonCounts::default(),
        });
        if known.is_watched != is_watched {
            known.is_watched = is_watched;
            known.since = now;
        }
        known.announced = false;
    }

    /// Brings the problems up to date with a CA's condition: an error joins its problem, and problems
    /// are over for a CA that has no error and was audited since they began. Returns whether that
    /// changed anything.
    pub(crate) fn observe(
        &mut self,
        arn: &CertificateAuthorityArn,
        condition: Condition<'_>,
    ) -> bool {
        let Condition { error, audited_at } = condition;
        let mut is_changed = false;
        // People may know that a problem is over: its end stays to be announced, and the error begins
        // anew.
        let problems = self.problems.iter_mut();
        for problem in problems.filter(|problem| !problem.recovering) {
            let current = error.filter(|error| problem.is_of(arn, error));
            let Some(affected) = problem.certificate_authorities.get_mut(arn) else {
                continue;
            };
            if let Some(error) = current {
                is_changed |= affected.over.take().is_some() || affected.since < error.since;
                // No audit before that shows that it is over.
                affected.since = affected.since.max(error.since);
            } else if error.is_none()
                && affected.over.is_none()
                && let Some(at) = audited_at.filter(|&at| affected.since <= at)
            {
                affected.over = Some(Over::Audited(at));
                is_changed = true;
            }
        }
        is_changed | error.is_some_and(|error| self.join(arn, error))
    }

    /// Adds a CA to the problem of its error; returns whether it was no part of it.
    fn join(&mut self, arn: &CertificateAuthorityArn, error: &CurrentError) -> bool {
        let mut problems = self.problems.iter();
        let number = problems.position(|problem| !problem.recovering && problem.is_of(arn, error));
        let number = number.unwrap_or_else(|| {
            self.problems.push(Problem {
                kind: error.kind.clone(),
                resource: error.resource.clone(),
                since: error.since,
                certificate_authorities: BTreeMap::new(),
                recovering: false,
            });
            self.problems.len() - 1
        });
        let problem = &mut self.problems[number];
        if problem.certificate_authorities.contains_key(arn) {
            return false;
        }
        // Once people know of a problem, its beginning identifies it.
        let mut affected = problem.certificate_authorities.values();
        if !affected.any(|affected| affected.announced) {
            problem.since = problem.since.min(error.since);
        }
        let affected = Affected {
            since: error.since,
            announced: false,
            over: None,
        };
        problem
            .certificate_authorities
            .insert(arn.clone(), affected);
        true
    }

    /// Forgets CAs that left long ago.
    pub(crate) fn forget_left(&mut self, now: Timestamp) {
        self.certificate_authorities.retain(|_, watched| {
            let is_over = !watched.is_watched && watched.announced;
            !is_over || now.since(watched.since) < FORGET_AFTER
        });
    }

    /// Returns the CAs that the document knew to be affected or watched at that time.
    pub(crate) fn known(&self, at: Timestamp) -> impl Iterator<Item = &CertificateAuthorityArn> {
        let watched = self.certificate_authorities.iter();
        let watched = watched.filter(move |(_, watched)| {
            (watched.is_watched || !watched.announced) && watched.since <= at
        });
        let problems = self.problems.iter();
        let affected = problems.flat_map(|problem| &problem.certificate_authorities);
        let affected =
            affected.filter(move |(_, affected)| affected.over.is_none() && affected.since <= at);
        let unrecorded = self.unrecorded.iter();
        let unrecorded = unrecorded.filter(move |(_, known)| known.error.since <= at);
        watched
            .map(|(arn, _)| arn)
            .chain(affected.map(|(arn, _)| arn))
            .chain(unrecorded.map(|(arn, _)| arn))
    }
}

impl Problem {
    /// Whether this is the problem of a CA with that error. Without a resource, each CA has its own.
    pub(crate) fn is_of(&self, arn: &CertificateAuthorityArn, error: &CurrentError) -> bool {
        self.kind == error.kind
            && self.resource == error.resource
            && (self.resource.is_some() || self.certificate_authorities.contains_key(arn))
    }

    /// Whether both are one problem, known at different times.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.resource == other.resource
            && (self.resource.is_some()
                || self
                    .certificate_authorities
                    .keys()
                    .eq(other.certificate_authorities.keys()))
    }

    /// Returns the CAs for which it was announced and is not over.
    pub(crate) fn open(&self) -> impl Iterator<Item = &CertificateAuthorityArn> {
        let affected = self.certificate_authorities.iter();
        let open = affected.filter(|(_, affected)| affected.announced && affected.over.is_none());
        open.map(|(arn, _)| arn)
    }

    /// Whether it is over for each of its CAs.
    pub(crate) fn is_over(&self) -> bool {
        let mut affected = self.certificate_authorities.values();
        affected.all(|affected| affected.over.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::revocation::reason::RevocationReason;

    const BUCKET: &str = "s3://amzn-s3-demo-bucket";

    fn arn(number: u32) -> CertificateAuthorityArn {
        let id = format!("{number:08x}-1234-1122-2233-112233445566");
        CertificateAuthorityArn::from_parts("aws", "us-east-1", "123456789012", &id)
    }

    /// Returns a time on the hour.
    fn at(hour: u32) -> Timestamp {
        Timestamp::parse(&format!("2026-11-21T{hour:02}:00:00Z")).unwrap()
    }

    fn error(kind: &str, resource: Option<&str>, since: Timestamp) -> CurrentError {
        CurrentError {
            kind: kind.to_owned(),
            resource: resource.map(str::to_owned),
            message: "GetObject failed".to_owned(),
            hint: "Grant it.".to_owned(),
            since,
        }
    }

    fn denied(since: Timestamp) -> CurrentError {
        error("AccessDenied", Some(BUCKET), since)
    }

    fn fails(error: &CurrentError) -> Condition<'_> {
        Condition {
            error: Some(error),
            audited_at: None,
        }
    }

    fn audited(hour: u32) -> Condition<'static> {
        Condition {
            error: None,
            audited_at: Some(at(hour)),
        }
    }

    fn lease(request_id: &str, until: &str) -> Lease {
        Lease {
            request_id: request_id.to_owned(),
            nonce: "n".to_owned(),
            until: Timestamp::parse(until).unwrap(),
        }
    }

    /// Returns a CA whose start or end was announced.
    fn announced_as(is_watched: bool, since: Timestamp) -> Watched {
        Watched {
            is_watched,
            since,
            announced: true,
            summarized: ReasonCounts::default(),
        }
    }

    /// Returns a document in which two CAs have an error that was announced.
    fn announced() -> HealthDocument {
        let mut health = HealthDocument::default();
        for number in [1, 2] {
            health.observe(&arn(number), fails(&denied(at(4))));
        }
        let affected = health.problems[0].certificate_authorities.values_mut();
        affected.for_each(|affected| affected.announced = true);
        health
    }

    #[test]
    fn document_survives_a_round_trip() {
        let mut health = announced();
        health.lease = Some(lease("r", "2026-11-21T04:01:00Z"));
        health.confirmed_topic = Some("arn:aws:sns:us-east-1:123456789012:alerts".to_owned());
        health.last_summary_at = Some(at(4));
        health.observe(&arn(1), audited(5));
        health.stop(&arn(2), at(6));
        let mut summarized = ReasonCounts::default();
        summarized.add(&RevocationReason::from_report("KEY_COMPROMISE"));
        let watched = Watched {
            summarized,
            ..announced_as(false, at(5))
        };
        health.certificate_authorities.insert(arn(1), watched);
        let unrecorded = UnrecordedError {
            error: error("RequestRejected", None, at(5)),
            unconfirmed: Some(SeenError::new("RequestRejected", at(5), "r")),
        };
        health.unrecorded.insert(arn(3), unrecorded);
        let read = HealthDocument::read(&health.to_json(), "here");
        assert_eq!(read, Ok(health));
    }

    #[test]
    fn truncated_older_or_newer_document_is_an_error() {
        let whole = announced().to_json();
        let kind = |bytes: &[u8]| {
            let error = HealthDocument::read(bytes, "here").unwrap_err();
            assert!(error.message.contains("here"));
            error.kind
        };
        for cut in 0..whole.len() - 2 {
            assert_eq!(kind(&whole[..cut]), ErrorKind::StateUnreadable);
        }
        let text = String::from_utf8(whole).unwrap();
        for (version, expected) in [
            (0, ErrorKind::StateUnreadable),
            (2, ErrorKind::StateNewer),
            (99, ErrorKind::StateNewer),
        ] {
            let other = text.replace("\"version\": 1", &format!("\"version\": {version}"));
            assert_eq!(kind(other.as_bytes()), expected);
        }
        let renamed = text.replace("\"problems\"", "\"errors\"");
        assert_eq!(kind(renamed.as_bytes()), ErrorKind::StateUnreadable);
    }

    #[test]
    fn lease_of_another_request_is_as_long_as_announcing_may_be() {
        let mut health = HealthDocument::default();
        for (request_id, until, is_held) in [
            ("another", "2026-11-21T04:00:00Z", false),
            ("another", "2026-11-21T04:00:01Z", true),
            ("another", "2026-11-21T04:01:30Z", true),
            ("another", "2026-11-21T04:01:31Z", false),
            ("own", "2026-11-21T04:00:30Z", false),
        ] {
            health.lease = Some(lease(request_id, until));
            let holder = health.other_holder("own", at(4));
            assert_eq!(holder.is_some(), is_held, "{request_id} until {until}");
        }
    }

    #[test]
    fn errors_of_one_kind_and_resource_are_one_problem() {
        let mut health = HealthDocument::default();
        assert!(health.observe(&arn(1), fails(&denied(at(5)))));
        assert!(health.observe(&arn(2), fails(&denied(at(4)))));
        assert!(!health.observe(&arn(2), fails(&denied(at(4)))));
        assert!(health.observe(
            &arn(2),
            fails(&error("AccessDenied", Some("acm-pca:X"), at(5)))
        ));
        assert!(health.observe(
            &arn(2),
            fails(&error("RequestRejected", Some(BUCKET), at(5)))
        ));
        let cas = health.problems.iter();
        let cas: Vec<_> = cas
            .map(|problem| problem.certificate_authorities.len())
            .collect();
        assert_eq!(cas, [2, 1, 1]);
        assert_eq!(health.problems[0].since, at(4));
    }

    #[test]
    fn error_of_a_ca_itself_is_its_own_problem() {
        let mut health = HealthDocument::default();
        for number in [1, 2, 1, 2] {
            let expired = error("CertificateAuthorityState", None, at(4));
            health.observe(&arn(number), fails(&expired));
        }
        assert_eq!(health.problems.len(), 2);
    }

    #[test]
    fn announced_problem_keeps_its_beginning() {
        let mut health = announced();
        health.observe(&arn(3), fails(&denied(at(3))));
        assert_eq!(health.problems[0].since, at(4));
        let joined = &health.problems[0].certificate_authorities[&arn(3)];
        assert_eq!((joined.since, joined.announced), (at(3), false));
    }

    #[test]
    fn problem_is_over_when_its_last_ca_was_audited_since() {
        let mut health = announced();
        // The report of an earlier audit cannot show that it is over.
        assert!(!health.observe(&arn(1), audited(3)));
        assert!(health.observe(&arn(1), audited(4)));
        assert!(!health.observe(&arn(1), audited(5)));
        assert!(!health.problems[0].is_over());
        // The CA that is left may have another error meanwhile.
        let expired = error("CertificateAuthorityState", None, at(5));
        health.observe(&arn(2), fails(&expired));
        assert!(!health.problems[0].is_over());
        assert!(health.observe(&arn(2), audited(6)));
        assert!(health.problems.iter().all(Problem::is_over));
    }

    #[test]
    fn error_that_returns_before_its_end_was_announced_is_not_over() {
        let mut health = announced();
        health.observe(&arn(1), audited(5));
        assert!(health.observe(&arn(1), fails(&denied(at(6)))));
        let problem = &health.problems[0];
        assert_eq!(problem.open().count(), 2);
        assert_eq!(problem.since, at(4));
        // An audit from before the relapse does not show that it is over.
        assert!(!health.observe(&arn(1), audited(5)));
        assert!(health.observe(&arn(1), audited(6)));
    }

    #[test]
    fn error_that_returns_after_its_end_may_have_been_announced_begins_anew() {
        let mut health = announced();
        health.observe(&arn(1), audited(5));
        health.observe(&arn(2), audited(5));
        health.problems[0].recovering = true;
        assert!(health.observe(&arn(1), fails(&denied(at(6)))));
        let [over, problem] = health.problems.as_slice() else {
            panic!("{health:?}");
        };
        assert!(over.is_over());
        assert_eq!(problem.since, at(6));
        assert_eq!(problem.open().count(), 0);
        assert!(problem.certificate_authorities.keys().eq([&arn(1)]));
    }

    #[test]
    fn cas_that_left_are_forgotten_after_more_than_a_year() {
        let mut health = HealthDocument::default();
        for (number, is_watched) in [(1, true), (2, false)] {
            let watched = announced_as(is_watched, at(4));
            health.certificate_authorities.insert(arn(number), watched);
        }
        let left = |health: &HealthDocument| health.certificate_authorities.len();
        health.forget_left(at(4).saturating_add(FORGET_AFTER - Duration::from_secs(1)));
        assert_eq!(left(&health), 2);
        health.forget_left(at(4).saturating_add(FORGET_AFTER));
        assert_eq!(left(&health), 1);
    }

    #[test]
    fn problems_are_over_for_a_ca_that_left() {
        let mut health = announced();
        let unrecorded = UnrecordedError {
            error: denied(at(4)),
            unconfirmed: None,
        };
        health.unrecorded.insert(arn(2), unrecorded);
        health.observe(&arn(1), audited(5));
        health.stop(&arn(1), at(6));
        health.stop(&arn(2), at(6));
        let affected = health.problems[0].certificate_authorities.values();
        let over: Vec<_> = affected.map(|affected| affected.over).collect();
        assert_eq!(over, [Some(Over::Audited(at(5))), Some(Over::Left)]);
        assert!(health.problems[0].is_over());
        assert!(health.unrecorded.is_empty());
    }

    #[test]
    fn ca_starts_with_its_first_audit_and_the_first_since_it_left() {
        let mut health = HealthDocument::default();
        assert!(health.start(&arn(1), at(4), at(5)));
        // The message may not have been published.
        assert!(health.start(&arn(1), at(4), at(6)));
        let first = health.certificate_authorities[&arn(1)].clone();
        assert_eq!((first.is_watched, first.since), (true, at(5)));
        let started = announced_as(true, at(5));
        health.certificate_authorities.insert(arn(1), started);
        assert!(!health.start(&arn(1), at(6), at(6)));

        assert!(health.stop(&arn(1), at(7)));
        assert!(health.stop(&arn(1), at(8)));
        let stopped = health.certificate_authorities[&arn(1)].clone();
        assert_eq!((stopped.is_watched, stopped.since), (false, at(7)));
        let stopped = announced_as(false, at(7));
        health.certificate_authorities.insert(arn(1), stopped);
        assert!(!health.stop(&arn(1), at(9)));

        assert!(!health.start(&arn(1), at(6), at(9)));
        assert!(health.start(&arn(1), at(7), at(9)));
        assert_eq!(health.certificate_authorities[&arn(1)].since, at(9));
    }

    #[test]
    fn ca_without_a_start_has_no_end() {
        let mut health = HealthDocument::default();
        assert!(!health.stop(&arn(1), at(4)));
        assert_eq!(health, HealthDocument::default());
    }

    #[test]
    fn known_cas_are_watched_or_affected() {
        let mut health = announced();
        health.stop(&arn(1), at(6));
        let started = announced_as(true, at(2));
        health.certificate_authorities.insert(arn(3), started);
        let stopped = announced_as(false, at(4));
        health.certificate_authorities.insert(arn(4), stopped);
        let unrecorded = UnrecordedError {
            error: denied(at(4)),
            unconfirmed: None,
        };
        health.unrecorded.insert(arn(5), unrecorded);
        let mut known: Vec<_> = health.known(at(9)).cloned().collect();
        known.sort();
        assert_eq!(known, [arn(2), arn(3), arn(5)]);
    }
}
