//! Parses an invocation's payload.

use std::fmt;

use serde_json::{Map, Value};

use crate::arn::CertificateAuthorityArn;
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
    /// A schedule. The run may wait, and fails if a retry may help.
    Schedule,
    /// A person or a program, who gets the whole response without long waits.
    Manual,
    /// Private CA's own revocation events.
    Revocations(Vec<RevocationEvent>),
    /// Private CA's revocation events from an SQS queue, each with its own result.
    Queue(Vec<QueuedEvent>),
}

impl Trigger {
    /// Whether the run may wait for Private CA's request limit and for other runs.
    pub fn waits(&self) -> bool {
        !matches!(self, Trigger::Manual)
    }

    /// Returns the ARNs of a CA's certificates that events say are revoked.
    pub fn expected(&self, arn: &CertificateAuthorityArn) -> Vec<String> {
        let events: Vec<_> = match self {
            Trigger::Revocations(events) => events.iter().collect(),
            Trigger::Queue(queued) => queued.iter().filter_map(|q| q.event.as_ref()).collect(),
            Trigger::Schedule | Trigger::Manual => Vec::new(),
        };
        events
            .into_iter()
            .filter(|event| event.certificate_authority_arn == arn.as_str())
            .filter_map(|event| event.certificate_arn.clone())
            .collect()
    }
}

/// Private CA's event that a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationEvent {
    /// The CA.
    pub certificate_authority_arn: String,
    /// The certificate, if the event names it.
    pub certificate_arn: Option<String>,
}

/// A message of the SQS queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedEvent {
    /// SQS's ID of the message.
    pub message_id: String,
    /// How often the queue has delivered the message, including this time.
    pub receive_count: u64,
    /// `None` if the message is no revocation event; it is logged and deleted.
    pub event: Option<RevocationEvent>,
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
    /// Publish a sample revocation.
    TestMessage,
}

impl Mode {
    /// Whether nothing is published.
    pub fn is_dry_run(self) -> bool {
        matches!(self, Mode::DryRun | Mode::Replay { dry_run: true, .. })
    }
}

/// Why an event is refused before anything is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError(String);

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {USAGE}", self.0)
    }
}

impl std::error::Error for EventError {}

/// The keys of a manual event.
const KEYS: &[&str] = &["certificateAuthorityArns", "dryRun", "since", "testMessage"];

/// What a refused event should have been.
const USAGE: &str = "A manual event accepts these keys, all of them optional: \
    certificateAuthorityArns (list of ARNs or IDs from the configured list), \
    dryRun (true or false), since (a time such as 2026-11-01T00:00:00Z), \
    testMessage (true or false). {} audits every configured CA";

/// The detail type of Private CA's event for a revocation
/// (AWS Private CA User Guide, "Monitor AWS Private CA with CloudWatch Events").
const REVOCATION: &str = "ACM Private CA Certificate Revocation";

impl Request {
    /// Parses a payload.
    ///
    /// # Errors
    /// If anything is unknown: a typing mistake must never turn into a full run.
    pub fn from_payload(payload: &Value) -> Result<Self, EventError> {
        let Value::Object(event) = payload else {
            return Err(problem(format!(
                "the event is not a JSON object but {}",
                kind(payload)
            )));
        };
        if let Some(Value::Array(records)) = event.get("Records") {
            return from_queue(records);
        }
        match (text(event, "source"), text(event, "detail-type")) {
            (Some("aws.events" | "aws.scheduler"), Some("Scheduled Event")) => {
                Ok(Self::all(Trigger::Schedule))
            }
            (Some("aws.acm-pca"), Some(REVOCATION)) => {
                let event = RevocationEvent::read(event)
                    .map_err(|reason| problem(format!("the event from Private CA {reason}")))?;
                Ok(Self {
                    certificate_authorities: Some(vec![event.certificate_authority_arn.clone()]),
                    ..Self::all(Trigger::Revocations(vec![event]))
                })
            }
            (Some(source), detail_type) if event.contains_key("detail-type") => {
                Err(problem(format!(
                    "events from {source:?} with the detail type {:?} are not supported",
                    detail_type.unwrap_or_default()
                )))
            }
            _ => from_keys(event),
        }
    }

    fn all(trigger: Trigger) -> Self {
        Self {
            trigger,
            certificate_authorities: None,
            mode: Mode::Audit,
        }
    }
}

impl RevocationEvent {
    fn read(event: &Map<String, Value>) -> Result<Self, &'static str> {
        let resources = || {
            event
                .get("resources")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        };
        // Recognized by form: the order of the resources is not documented.
        let certificate_authority_arn = resources()
            .find(|arn| CertificateAuthorityArn::parse(arn).is_some())
            .ok_or("names no CA among its resources")?;
        Ok(Self {
            certificate_authority_arn: certificate_authority_arn.to_owned(),
            certificate_arn: resources()
                .find(|arn| arn.contains("/certificate/"))
                .map(str::to_owned),
        })
    }
}

impl QueuedEvent {
    /// Reads a record; `None` if it is not one of an SQS queue.
    fn read(record: &Value) -> Option<Self> {
        let record = record.as_object()?;
        if text(record, "eventSource") != Some("aws:sqs") {
            return None;
        }
        let attributes = record.get("attributes").and_then(Value::as_object);
        let receive_count = attributes
            .and_then(|attributes| text(attributes, "ApproximateReceiveCount"))
            .and_then(|count| count.parse().ok());
        let body = text(record, "body").and_then(|body| serde_json::from_str::<Value>(body).ok());
        let event = body
            .as_ref()
            .and_then(Value::as_object)
            .filter(|event| text(event, "detail-type") == Some(REVOCATION))
            .and_then(|event| RevocationEvent::read(event).ok());
        Some(Self {
            message_id: text(record, "messageId")?.to_owned(),
            receive_count: receive_count.unwrap_or(1),
            event,
        })
    }
}

fn from_queue(records: &[Value]) -> Result<Request, EventError> {
    let queued: Option<Vec<QueuedEvent>> = records.iter().map(QueuedEvent::read).collect();
    let queued =
        queued.ok_or_else(|| problem("the event's records are not those of an SQS queue"))?;
    let mut named: Vec<String> = Vec::new();
    for event in queued.iter().filter_map(|queued| queued.event.as_ref()) {
        if !named.contains(&event.certificate_authority_arn) {
            named.push(event.certificate_authority_arn.clone());
        }
    }
    Ok(Request {
        trigger: Trigger::Queue(queued),
        certificate_authorities: Some(named),
        mode: Mode::Audit,
    })
}

fn from_keys(event: &Map<String, Value>) -> Result<Request, EventError> {
    if let Some(key) = event.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(problem(format!("the event has an unknown key: {key:?}")));
    }
    let get = |key| event.get(key).filter(|value| !value.is_null());
    let certificate_authorities = get("certificateAuthorityArns").map(arns).transpose()?;
    let since = get("since").map(time).transpose()?;
    let flag = |key| match get(key) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(value) => Err(problem(format!(
            "{key} must be true or false, not {}",
            kind(value)
        ))),
    };
    let mode = match (flag("testMessage")?, since, flag("dryRun")?) {
        (true, None, false) => Mode::TestMessage,
        (true, ..) => return Err(problem("testMessage excludes since and dryRun")),
        (false, Some(since), dry_run) => Mode::Replay { since, dry_run },
        (false, None, true) => Mode::DryRun,
        (false, None, false) => Mode::Audit,
    };
    Ok(Request {
        trigger: Trigger::Manual,
        certificate_authorities,
        mode,
    })
}

fn arns(value: &Value) -> Result<Vec<String>, EventError> {
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| {
        problem("certificateAuthorityArns must be a list of at least one ARN or ID")
    })?;
    let arns = list.iter().map(|arn| Some(arn.as_str()?.trim().to_owned()));
    arns.collect::<Option<_>>()
        .ok_or_else(|| problem("certificateAuthorityArns contains something that is not a string"))
}

fn time(value: &Value) -> Result<Timestamp, EventError> {
    let time = value.as_str().and_then(Timestamp::parse);
    time.ok_or_else(|| {
        problem(format!(
            "since must be a time such as \"2026-11-01T00:00:00Z\", not {value}"
        ))
    })
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn problem(problem: impl Into<String>) -> EventError {
    EventError(problem.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

    fn read(payload: Value) -> Result<Request, String> {
        Request::from_payload(&payload).map_err(|error| error.to_string())
    }

    fn revocation(resources: &[&str]) -> Value {
        json!({
            "version": "0", "source": "aws.acm-pca", "detail-type": REVOCATION,
            "resources": resources, "detail": { "result": "success" }
        })
    }

    #[test]
    fn both_kinds_of_schedules_audit_every_ca() {
        for (source, detail) in [("aws.events", json!({})), ("aws.scheduler", json!("{}"))] {
            let event = json!({
                "version": "0", "id": "1", "detail-type": "Scheduled Event", "source": source,
                "account": "123456789012", "time": "2026-11-21T04:00:00Z", "region": "us-east-1",
                "resources": ["arn:aws:events:us-east-1:123456789012:rule/watch"], "detail": detail
            });
            assert_eq!(read(event), Ok(Request::all(Trigger::Schedule)));
        }
    }

    #[test]
    fn empty_event_is_a_full_manual_run() {
        assert_eq!(read(json!({})), Ok(Request::all(Trigger::Manual)));
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
        let request = read(json!({ "dryRun": false, "since": null })).unwrap();
        assert_eq!(request.mode, Mode::Audit);
    }

    #[test]
    fn unknown_event_is_refused_with_the_accepted_keys() {
        for (payload, named) in [
            (
                json!({ "key1": "value1", "key2": "value2", "key3": "value3" }),
                "key1",
            ),
            (json!({ "dryrun": true }), "dryrun"),
            (json!({ "dryRun": "true" }), "dryRun"),
            (json!({ "since": "yesterday" }), "yesterday"),
            (json!({ "since": 5 }), "since"),
            (json!({ "certificateAuthorityArns": [] }), "at least one"),
            (json!({ "certificateAuthorityArns": CA }), "list"),
            (json!({ "certificateAuthorityArns": [1] }), "not a string"),
            (
                json!({ "testMessage": true, "dryRun": true }),
                "testMessage excludes",
            ),
            (json!([]), "a list"),
            (json!("{}"), "a string"),
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
    fn resources_of_a_revocation_event_are_found_by_form() {
        let certificate = format!("{CA}/certificate/2bae9a75d71b42b4e41e36f8b4b488fc");
        for resources in [[CA, &certificate], [&certificate, CA]] {
            let request = read(revocation(&resources)).unwrap();
            assert_eq!(request.certificate_authorities, Some(vec![CA.to_owned()]));
            let Trigger::Revocations(events) = request.trigger else {
                panic!()
            };
            assert_eq!(
                events[0].certificate_arn.as_deref(),
                Some(certificate.as_str())
            );
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
        ] }))
        .unwrap();
        assert_eq!(request.certificate_authorities, Some(vec![CA.to_owned()]));
        let Trigger::Queue(queued) = request.trigger else {
            panic!()
        };
        assert_eq!(queued.len(), 3);
        assert_eq!(queued[1].receive_count, 3);
        assert_eq!(queued[2].event, None);
    }
}
