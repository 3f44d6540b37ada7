//! Parses an invocation's payload.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, SystemTime};

use lambda_runtime::Diagnostic;
use serde::Deserialize;
use serde_json::Value;

use crate::arn::CertificateAuthorityArn;
use crate::audit_message::AuditMessage;
use crate::error::invocation_error;
use crate::timestamp::Timestamp;

/// What an invocation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who invoked the function.
    pub trigger: Trigger,
    /// The CAs to audit, as ARNs or IDs; `None` means every configured CA.
    pub certificate_authorities: Option<Vec<String>>,
    /// What to do with each CA.
    pub mode: Mode,
}

/// Who invoked the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A schedule, with the time of its event. The run may wait, and fails if a retry may help.
    Schedule(Option<Timestamp>),
    /// A person or a program, who gets the whole response without long waits.
    Manual,
    /// Private CA's own revocation event.
    Revocation(RevocationEvent),
    /// Messages of an SQS queue, each with its own result: Private CA's revocation events, or this
    /// program's own messages.
    Queue(Vec<QueuedMessage>),
}

impl Trigger {
    /// Returns the ARNs of a CA's certificates that events say are revoked.
    pub fn expected(&self, arn: &CertificateAuthorityArn) -> BTreeSet<String> {
        let events = self.events().into_iter();
        events
            .filter(|event| event.certificate_authority_arn == *arn)
            .filter_map(|event| event.certificate_arn.clone())
            .collect()
    }

    fn events(&self) -> Vec<&RevocationEvent> {
        match self {
            Trigger::Schedule(_) | Trigger::Manual => Vec::new(),
            Trigger::Revocation(event) => vec![event],
            Trigger::Queue(queued) => queued.iter().filter_map(QueuedMessage::event).collect(),
        }
    }

    /// Returns the messages of a queue.
    pub fn queued(&self) -> &[QueuedMessage] {
        match self {
            Trigger::Queue(queued) => queued,
            _ => &[],
        }
    }

    /// Returns this program's own messages.
    pub fn audit_messages(&self) -> Vec<&AuditMessage> {
        let queued = self.queued().iter();
        queued.filter_map(QueuedMessage::audit_message).collect()
    }

    /// Returns the earliest time to request a CA's report, if a dispatch has chosen one.
    pub fn slot(&self, arn: &CertificateAuthorityArn) -> Option<SystemTime> {
        let slots = self.queued().iter().filter_map(|queued| queued.slot(arn));
        slots.max()
    }

    /// Returns since when the report of a CA's last complete audit must have been requested, if a message
    /// of the audit queue asks for its audit, and no event does: its revocation may be later.
    pub fn audit_since(&self, arn: &CertificateAuthorityArn) -> Option<Timestamp> {
        let mut events = self.events().into_iter();
        if events.any(|event| event.certificate_authority_arn == *arn) {
            return None;
        }
        let messages = self.audit_messages().into_iter();
        let of_ca = messages.filter_map(|message| match message {
            AuditMessage::Audit {
                scheduled_at,
                certificate_authority_arn,
                ..
            } if certificate_authority_arn == arn => Some(*scheduled_at),
            _ => None,
        });
        of_ca.max()
    }
}

/// Private CA's event that a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationEvent {
    /// The CA.
    pub certificate_authority_arn: CertificateAuthorityArn,
    /// The certificate, if the event names it.
    pub certificate_arn: Option<String>,
}

/// A message of an SQS queue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "SqsRecord")]
pub struct QueuedMessage {
    /// SQS's ID of the message.
    pub message_id: String,
    /// How often the queue has delivered the message, including this time.
    pub receive_count: u64,
    /// When it was sent, if the queue says so.
    pub sent_at: Option<SystemTime>,
    /// What it says.
    pub content: MessageContent,
}

/// What a message of an SQS queue says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageContent {
    /// Private CA's event that a certificate was revoked.
    Revocation(RevocationEvent),
    /// A message of this program.
    Audit(AuditMessage),
    /// Neither; it is logged and deleted.
    Unknown,
}

impl QueuedMessage {
    fn event(&self) -> Option<&RevocationEvent> {
        match &self.content {
            MessageContent::Revocation(event) => Some(event),
            _ => None,
        }
    }

    /// Returns the message of this program.
    pub fn audit_message(&self) -> Option<&AuditMessage> {
        match &self.content {
            MessageContent::Audit(message) => Some(message),
            _ => None,
        }
    }

    /// Returns the slot of a CA's request, if the message has one.
    fn slot(&self, arn: &CertificateAuthorityArn) -> Option<SystemTime> {
        match self.audit_message()? {
            AuditMessage::Audit {
                certificate_authority_arn,
                slot_millis: Some(millis),
                ..
            } if certificate_authority_arn == arn => {
                Some(self.sent_at? + Duration::from_millis((*millis).into()))
            }
            _ => None,
        }
    }
}

/// What to do with each certificate authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Audit, publish what is new and record it.
    Audit,
    /// Return what would be published; publish and record nothing.
    DryRun,
    /// Publish again what was notified about before.
    Replay {
        /// The earliest revocation time.
        since: Timestamp,
        /// Whether to only return what would be published.
        dry_run: bool,
    },
    /// Like [`Mode::Audit`], but of the pending report that an earlier run found implausible.
    AcceptReport,
    /// Publish a sample revocation.
    TestMessage,
    /// Return the state of the monitoring; audit, publish and record nothing.
    Status,
}

impl Mode {
    /// Whether changes of the watch itself are announced.
    pub fn announces(self) -> bool {
        matches!(self, Mode::Audit | Mode::AcceptReport)
    }

    /// Whether nothing is published.
    pub fn is_dry_run(self) -> bool {
        matches!(self, Mode::DryRun | Mode::Replay { dry_run: true, .. })
    }
}

/// What a refused event should have been.
const USAGE: &str = "A manual event accepts these keys, all of them optional: \
    certificateAuthorityArns (list of at least one ARN or ID from the configured list), \
    dryRun (true or false), since (a time such as 2026-11-01T00:00:00Z), \
    testMessage (true or false), status (true or false), \
    acceptReport (true or false; true needs certificateAuthorityArns). \
    {} audits every configured CA";

/// The detail type of Private CA's event for a revocation
/// (AWS Private CA User Guide, "Monitor AWS Private CA with CloudWatch Events").
const REVOCATION: &str = "ACM Private CA Certificate Revocation";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct EventBridgeEvent {
    source: String,
    detail_type: String,
    #[serde(default)]
    resources: Vec<String>,
    time: Option<String>,
    /// A JSON object; from EventBridge Scheduler, a string.
    #[serde(default)]
    detail: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SqsRecord {
    message_id: String,
    body: String,
    attributes: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ManualEvent {
    certificate_authority_arns: Option<Vec<String>>,
    dry_run: Option<bool>,
    since: Option<Timestamp>,
    test_message: Option<bool>,
    accept_report: Option<bool>,
    status: Option<bool>,
}

impl Request {
    /// Whether changes of the watch itself are announced by the run. After the audits of a schedule's
    /// messages, a message of its own does that.
    pub fn announces(&self) -> bool {
        let messages = self.trigger.audit_messages();
        let mut messages = messages.iter();
        self.mode.announces()
            && !messages.any(|message| matches!(message, AuditMessage::Audit { .. }))
    }

    /// Parses a payload.
    ///
    /// # Errors
    /// If anything is unknown: a typing mistake must never turn into a full run.
    pub fn from_payload(payload: &Value) -> Result<Self, Diagnostic> {
        if !payload.is_object() {
            return Err(invalid("the event is not a JSON object"));
        }
        if payload["Records"].is_array() {
            return Vec::deserialize(&payload["Records"])
                .map(|queued| Self::from_events(Trigger::Queue(queued)))
                .map_err(|_| invalid("the event's records are not those of an SQS queue"));
        }
        let Ok(event) = EventBridgeEvent::deserialize(payload) else {
            let event = serde_path_to_error::deserialize(payload);
            return Self::from_manual(event.map_err(invalid)?);
        };
        match (event.source.as_str(), event.detail_type.as_str()) {
            ("aws.events" | "aws.scheduler", "Scheduled Event") => Ok(Self {
                trigger: Trigger::Schedule(event.time.as_deref().and_then(Timestamp::parse)),
                certificate_authorities: None,
                mode: Mode::Audit,
            }),
            ("aws.acm-pca", REVOCATION) => RevocationEvent::from_resources(&event.resources)
                .map(|event| Self::from_events(Trigger::Revocation(event)))
                .ok_or_else(|| {
                    invalid("the event from Private CA names no CA among its resources")
                }),
            (source, detail_type) => Err(invalid(format!(
                "events from {source:?} with the detail type {detail_type:?} are not supported"
            ))),
        }
    }

    /// Covers the CAs that the events and messages name, each once; for a comparison, every configured
    /// CA.
    pub(crate) fn from_events(trigger: Trigger) -> Self {
        let events = trigger.events().into_iter();
        let mut named: BTreeSet<_> = events
            .map(|event| event.certificate_authority_arn.to_string())
            .collect();
        let mut is_full = false;
        for message in trigger.audit_messages() {
            match message {
                AuditMessage::Audit {
                    certificate_authority_arn,
                    ..
                } => drop(named.insert(certificate_authority_arn.to_string())),
                AuditMessage::Dispatch {
                    certificate_authority_ids,
                    ..
                } => named.extend(certificate_authority_ids.iter().cloned()),
                AuditMessage::CompareHealth { .. } => is_full = true,
            }
        }
        Self {
            certificate_authorities: (!is_full).then(|| named.into_iter().collect()),
            trigger,
            mode: Mode::Audit,
        }
    }

    /// Returns the requests of a batch: one for all audits, one for all events, and one for each other
    /// message.
    pub(crate) fn of_batch(queued: Vec<QueuedMessage>) -> Vec<Self> {
        let mut parts = vec![Vec::new(), Vec::new()];
        for queued in queued {
            match queued.audit_message() {
                Some(AuditMessage::Audit { .. }) => parts[0].push(queued),
                None => parts[1].push(queued),
                Some(AuditMessage::Dispatch { .. } | AuditMessage::CompareHealth { .. }) => {
                    parts.push(vec![queued]);
                }
            }
        }
        parts.retain(|part| !part.is_empty());
        let parts = parts.into_iter().map(Trigger::Queue);
        parts.map(Self::from_events).collect()
    }

    fn from_manual(event: ManualEvent) -> Result<Self, Diagnostic> {
        let named = event.certificate_authority_arns;
        if named.as_ref().is_some_and(Vec::is_empty) {
            return Err(invalid("certificateAuthorityArns is empty"));
        }
        let is_true = |key: Option<bool>| key.unwrap_or(false);
        let (dry_run, accept_report) = (is_true(event.dry_run), is_true(event.accept_report));
        let is_test = is_true(event.test_message);
        let mode = match (is_test, event.since) {
            (false, None) if is_true(event.status) && !dry_run && !accept_report => Mode::Status,
            _ if is_true(event.status) => {
                return Err(invalid(
                    "status excludes since, dryRun, testMessage and acceptReport",
                ));
            }
            (true, None) if !dry_run && !accept_report => Mode::TestMessage,
            (true, _) => {
                return Err(invalid(
                    "testMessage excludes since, dryRun and acceptReport",
                ));
            }
            (false, None) if accept_report && !dry_run => Mode::AcceptReport,
            _ if accept_report => return Err(invalid("acceptReport excludes since and dryRun")),
            (false, Some(since)) => Mode::Replay { since, dry_run },
            (false, None) if dry_run => Mode::DryRun,
            (false, None) => Mode::Audit,
        };
        if accept_report && named.is_none() {
            return Err(invalid("acceptReport needs certificateAuthorityArns"));
        }
        Ok(Self {
            trigger: Trigger::Manual,
            certificate_authorities: named,
            mode,
        })
    }
}

impl RevocationEvent {
    /// Returns the event of a queue's record; `None` if it is none of a successful revocation.
    fn read(body: &str) -> Option<Self> {
        let event: EventBridgeEvent = serde_json::from_str(body).ok()?;
        let is_revocation = event.detail_type == REVOCATION && event.detail["result"] != "failure";
        is_revocation.then(|| Self::from_resources(&event.resources))?
    }

    /// Recognizes an event's resources by form: their order is not documented.
    fn from_resources(resources: &[String]) -> Option<Self> {
        let parse = |arn: &String| CertificateAuthorityArn::parse(arn);
        let is_certificate = |arn: &&String| arn.contains("/certificate/");
        Some(Self {
            certificate_authority_arn: resources.iter().find_map(parse)?,
            certificate_arn: resources.iter().find(is_certificate).cloned(),
        })
    }
}

impl From<SqsRecord> for QueuedMessage {
    fn from(record: SqsRecord) -> Self {
        let content = match AuditMessage::read(&record.body) {
            Some(message) => MessageContent::Audit(message),
            None => RevocationEvent::read(&record.body)
                .map_or(MessageContent::Unknown, MessageContent::Revocation),
        };
        let receive_count = record.attributes.get("ApproximateReceiveCount");
        let sent_at = record.attributes.get("SentTimestamp");
        let sent_at = sent_at.and_then(|millis| millis.parse().ok());
        Self {
            message_id: record.message_id,
            receive_count: receive_count
                .and_then(|count| count.parse().ok())
                .unwrap_or(1),
            sent_at: sent_at.map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis)),
            content,
        }
    }
}

fn invalid(problem: impl fmt::Display) -> Diagnostic {
    invocation_error("EventInvalid", format!("{problem}. {USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

    fn read(payload: Value) -> Result<Request, String> {
        Request::from_payload(&payload).map_err(|error| error.error_message)
    }

    fn revocation(resources: &[&str]) -> Value {
        json!({
            "version": "0", "source": "aws.acm-pca", "detail-type": REVOCATION,
            "resources": resources, "detail": { "result": "success" }
        })
    }

    fn full(trigger: Trigger) -> Request {
        Request {
            trigger,
            certificate_authorities: None,
            mode: Mode::Audit,
        }
    }

    #[test]
    fn both_kinds_of_schedules_audit_every_ca() {
        for (source, detail) in [("aws.events", json!({})), ("aws.scheduler", json!("{}"))] {
            let event = json!({
                "version": "0", "id": "1", "detail-type": "Scheduled Event", "source": source,
                "account": "123456789012", "time": "2026-11-21T04:00:00Z", "region": "us-east-1",
                "resources": ["arn:aws:events:us-east-1:123456789012:rule/watch"], "detail": detail
            });
            let at = Timestamp::parse("2026-11-21T04:00:00Z");
            assert_eq!(read(event), Ok(full(Trigger::Schedule(at))));
        }
    }

    #[test]
    fn empty_event_is_a_full_manual_run() {
        assert_eq!(read(json!({})), Ok(full(Trigger::Manual)));
    }

    #[test]
    fn manual_keys_select_the_mode() {
        let request = read(json!({ "certificateAuthorityArns": [CA], "dryRun": true })).unwrap();
        assert_eq!(request.certificate_authorities, Some(vec![CA.to_owned()]));
        assert_eq!(request.mode, Mode::DryRun);
        let since = Timestamp::parse("2026-11-01T00:00:00Z").unwrap();
        let request = read(json!({ "since": "2026-11-01T00:00:00Z" })).unwrap();
        assert_eq!(
            request.mode,
            Mode::Replay {
                since,
                dry_run: false
            }
        );
        let request = read(json!({ "testMessage": true })).unwrap();
        assert_eq!(request.mode, Mode::TestMessage);
        let status = json!({ "status": true, "certificateAuthorityArns": [CA] });
        let request = read(status).unwrap();
        assert_eq!(request.mode, Mode::Status);
        assert_eq!(request.certificate_authorities, Some(vec![CA.to_owned()]));
        let accept = json!({ "acceptReport": true, "certificateAuthorityArns": [CA] });
        let request = read(accept).unwrap();
        assert_eq!(request.mode, Mode::AcceptReport);
        assert_eq!(request.certificate_authorities, Some(vec![CA.to_owned()]));
        for neither in [
            json!({ "dryRun": false, "since": null }),
            json!({ "acceptReport": false }),
            json!({ "status": false }),
        ] {
            assert_eq!(read(neither).unwrap().mode, Mode::Audit);
        }
    }

    #[test]
    fn unknown_event_is_refused_with_the_accepted_keys() {
        for (payload, named) in [
            (
                json!({ "key1": "value1", "key2": "value2", "key3": "value3" }),
                "key1",
            ),
            (json!({ "dryrun": true }), "dryrun"),
            (json!({ "dryRun": "true" }), "dryRun: invalid type"),
            (json!({ "since": "yesterday" }), "yesterday"),
            (json!({ "since": 5 }), "since: invalid type"),
            (json!({ "certificateAuthorityArns": [] }), "at least one"),
            (
                json!({ "certificateAuthorityArns": CA }),
                "expected a sequence",
            ),
            (
                json!({ "certificateAuthorityArns": [1] }),
                "certificateAuthorityArns[0]: invalid type",
            ),
            (
                json!({ "testMessage": true, "dryRun": true }),
                "testMessage excludes",
            ),
            (
                json!({ "acceptReport": true }),
                "needs certificateAuthorityArns",
            ),
            (
                json!({ "acceptReport": "true" }),
                "acceptReport: invalid type",
            ),
            (
                json!({ "acceptReport": true, "certificateAuthorityArns": [CA], "dryRun": true }),
                "acceptReport excludes",
            ),
            (
                json!({ "acceptReport": true, "certificateAuthorityArns": [CA], "since": "2026-11-01T00:00:00Z" }),
                "acceptReport excludes",
            ),
            (
                json!({ "acceptReport": true, "certificateAuthorityArns": [CA], "testMessage": true }),
                "testMessage excludes",
            ),
            (json!({ "status": "ok" }), "status: invalid type"),
            (json!([]), "not a JSON object"),
            (json!("{}"), "not a JSON object"),
            (
                json!({ "source": "aws.s3", "detail-type": "Object Created" }),
                "aws.s3",
            ),
            (json!({ "source": "aws.scheduler" }), "source"),
            (json!({ "Records": [{ "eventSource": "aws:s3" }] }), "SQS"),
            (revocation(&[]), "names no CA"),
        ] {
            let error = read(payload.clone()).unwrap_err();
            assert!(error.contains(named), "{named} in {error}");
            assert!(error.contains("certificateAuthorityArns (list"), "{error}");
        }
    }

    #[test]
    fn status_excludes_every_key_but_the_cas() {
        for (key, value) in [
            ("testMessage", json!(true)),
            ("dryRun", json!(true)),
            ("since", json!("2026-11-01T00:00:00Z")),
            ("acceptReport", json!(true)),
        ] {
            let mut payload = json!({ "status": true, "certificateAuthorityArns": [CA] });
            payload[key] = value;
            let error = read(payload).unwrap_err();
            assert!(error.contains("status excludes"), "{key}: {error}");
        }
    }

    #[test]
    fn resources_of_a_revocation_event_are_found_by_form() {
        let certificate = format!("{CA}/certificate/2bae9a75d71b42b4e41e36f8b4b488fc");
        for resources in [[CA, &certificate], [&certificate, CA]] {
            let request = read(revocation(&resources)).unwrap();
            assert_eq!(request.certificate_authorities, Some(vec![CA.to_owned()]));
            let Trigger::Revocation(event) = request.trigger else {
                panic!()
            };
            assert_eq!(event.certificate_arn.as_deref(), Some(certificate.as_str()));
        }
    }

    #[test]
    fn queue_delivers_a_batch_of_revocation_events() {
        let record = |id: &str, body: String| {
            json!({
                "messageId": id, "eventSource": "aws:sqs", "body": body,
                "attributes": { "ApproximateReceiveCount": "3" }
            })
        };
        let request = read(json!({ "Records": [
            record("1", revocation(&[CA]).to_string()),
            record("2", revocation(&[CA]).to_string()),
            record("3", "no JSON".to_owned()),
            record("4", revocation(&[CA]).to_string().replace("success", "failure")),
        ] }))
        .unwrap();
        assert_eq!(request.certificate_authorities, Some(vec![CA.to_owned()]));
        let Trigger::Queue(queued) = request.trigger else {
            panic!()
        };
        assert_eq!(queued.len(), 4);
        assert_eq!(queued[1].receive_count, 3);
        assert_eq!(queued[2].content, MessageContent::Unknown);
        assert_eq!(
            queued[3].content,
            MessageContent::Unknown,
            "nothing was revoked"
        );
    }
}
