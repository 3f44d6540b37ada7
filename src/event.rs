//! What an invocation asks for, from its payload.

use std::fmt;

use serde_json::{Map, Value};

use crate::timestamp::Timestamp;

/// What an invocation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub trigger: Trigger,
    /// Narrows the list: ARNs or ids. `None` means every configured certificate authority.
    pub certificate_authorities: Option<Vec<String>>,
    pub mode: Mode,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// EventBridge's clock. Waits where that saves a run, fails where a retry may help.
    Schedule,
    /// A person or a program: answered soon, and always with the whole answer.
    Manual,
    /// Private CA's own events that a certificate was revoked.
    Revocations(Vec<RevocationEvent>),
    /// The same from an SQS queue, of which each message is answered for by itself.
    Queue(Vec<QueuedEvent>),
}

impl Trigger {
    /// Whether the run may wait for Private CA's limit and for other runs.
    pub fn waits(&self) -> bool {
        !matches!(self, Trigger::Manual)
    }
}

/// Private CA's event that a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationEvent {
    pub certificate_authority_arn: String,
    pub certificate_arn: Option<String>,
}

/// A message of the queue of revocation events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedEvent {
    pub message_id: String,
    /// How often the queue has handed the message out, this time included.
    pub receive_count: u64,
    /// `None` where the message holds no revocation: it is logged and let go.
    pub event: Option<RevocationEvent>,
}

/// What to do with each certificate authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Audit, tell what is new, remember it.
    Audit,
    /// Answer what would be published; publish and remember nothing.
    DryRun,
    /// Publish again what was told and revoked since then; answer only, if `dry_run`.
    Replay { since: Timestamp, dry_run: bool },
    /// Publish a made-up revocation.
    TestMessage,
}

/// Why an event is refused; nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    problem: String,
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {KEYS}", self.problem)
    }
}

impl std::error::Error for EventError {}

const KEYS: &str = "A manual event takes these keys, all of them optional: \
    certificateAuthorityArns (list of ARNs or ids from the configured list), \
    dryRun (true or false), since (a time such as 2026-11-01T00:00:00Z), \
    testMessage (true or false). {} audits every configured certificate authority";

/// The detail type of Private CA's event for a revocation
/// (AWS Private CA User Guide, "Monitor AWS Private CA with CloudWatch Events").
const REVOCATION: &str = "ACM Private CA Certificate Revocation";

impl Request {
    /// Reads a payload.
    ///
    /// # Errors
    /// Whatever is not known for sure: a typing mistake must never turn into a full run.
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
                    .map_err(|reason| problem(format!("the event of Private CA {reason}")))?;
                Ok(Self {
                    certificate_authorities: Some(vec![event.certificate_authority_arn.clone()]),
                    ..Self::all(Trigger::Revocations(vec![event]))
                })
            }
            (Some(source), detail_type) if event.contains_key("detail-type") => {
                Err(problem(format!(
                    "an event of {source:?} with the detail type {:?} is not for this function",
                    detail_type.unwrap_or_default()
                )))
            }
            _ => from_hand(event),
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
        // Found by form: the order of the resources is not documented.
        let certificate_authority_arn = resources()
            .find(|arn| crate::arn::CertificateAuthorityArn::parse(arn).is_some())
            .ok_or("names no certificate authority among its resources")?;
        Ok(Self {
            certificate_authority_arn: certificate_authority_arn.to_owned(),
            certificate_arn: resources()
                .find(|arn| arn.contains("/certificate/"))
                .map(str::to_owned),
        })
    }
}

fn from_queue(records: &[Value]) -> Result<Request, EventError> {
    let mut queued = Vec::new();
    for record in records {
        let record_of_sqs = record
            .as_object()
            .filter(|r| text(r, "eventSource") == Some("aws:sqs"));
        let (Some(record), Some(message_id)) = (
            record_of_sqs,
            record.get("messageId").and_then(Value::as_str),
        ) else {
            return Err(problem(
                "the event's records are not those of an SQS queue".to_owned(),
            ));
        };
        let receive_count = record
            .get("attributes")
            .and_then(|attributes| attributes.get("ApproximateReceiveCount"))
            .and_then(Value::as_str)
            .and_then(|count| count.parse().ok())
            .unwrap_or(1);
        let body = text(record, "body").and_then(|body| serde_json::from_str::<Value>(body).ok());
        let event = body
            .as_ref()
            .and_then(Value::as_object)
            .filter(|event| text(event, "detail-type") == Some(REVOCATION))
            .and_then(|event| RevocationEvent::read(event).ok());
        queued.push(QueuedEvent {
            message_id: message_id.to_owned(),
            receive_count,
            event,
        });
    }
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

fn from_hand(event: &Map<String, Value>) -> Result<Request, EventError> {
    let mut certificate_authorities = None;
    let mut dry_run = false;
    let mut since = None;
    let mut test_message = false;
    for (key, value) in event {
        match (key.as_str(), value) {
            (_, Value::Null) if is_manual_key(key) => {}
            ("certificateAuthorityArns", Value::Array(list)) if !list.is_empty() => {
                let arns: Option<Vec<String>> = list
                    .iter()
                    .map(|arn| arn.as_str().map(|arn| arn.trim().to_owned()))
                    .collect();
                certificate_authorities = Some(arns.ok_or_else(|| {
                    problem(
                        "certificateAuthorityArns holds something that is not a string".to_owned(),
                    )
                })?);
            }
            ("certificateAuthorityArns", _) => {
                return Err(problem(
                    "certificateAuthorityArns must be a list of at least one ARN or id".to_owned(),
                ));
            }
            ("dryRun", Value::Bool(value)) => dry_run = *value,
            ("testMessage", Value::Bool(value)) => test_message = *value,
            ("dryRun" | "testMessage", _) => {
                return Err(problem(format!(
                    "{key} must be true or false, not {}",
                    kind(value)
                )));
            }
            ("since", Value::String(value)) => {
                since = Some(Timestamp::parse(value).ok_or_else(|| {
                    problem(format!(
                        "since must be a time such as 2026-11-01T00:00:00Z, not {value:?}"
                    ))
                })?);
            }
            ("since", _) => {
                return Err(problem(
                    "since must be a time such as \"2026-11-01T00:00:00Z\"".to_owned(),
                ));
            }
            _ => {
                return Err(problem(format!(
                    "the event has a key that is not known: {key:?}"
                )));
            }
        }
    }
    let mode = match (test_message, since, dry_run) {
        (true, None, false) => Mode::TestMessage,
        (true, ..) => {
            return Err(problem(
                "testMessage goes without since and dryRun".to_owned(),
            ));
        }
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

fn is_manual_key(key: &str) -> bool {
    ["certificateAuthorityArns", "dryRun", "since", "testMessage"].contains(&key)
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

fn problem(problem: String) -> EventError {
    EventError { problem }
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
    fn both_kinds_of_schedules_audit_everything() {
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
    fn an_empty_event_is_a_full_run_by_hand() {
        assert_eq!(read(json!({})), Ok(Request::all(Trigger::Manual)));
    }

    #[test]
    fn the_keys_of_a_manual_event_say_what_to_do() {
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
    fn whatever_is_not_known_for_sure_is_refused_with_the_keys() {
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
                "testMessage goes without",
            ),
            (json!([]), "a list"),
            (json!("{}"), "a string"),
            (
                json!({ "source": "aws.s3", "detail-type": "Object Created" }),
                "aws.s3",
            ),
            (json!({ "source": "aws.scheduler" }), "source"),
            (json!({ "Records": [{ "eventSource": "aws:s3" }] }), "SQS"),
            (revocation(&[]), "names no certificate authority"),
        ] {
            let error = read(payload.clone()).unwrap_err();
            assert!(error.contains(named), "{named} in {error}");
            assert!(error.contains("certificateAuthorityArns (list"), "{error}");
        }
    }

    #[test]
    fn a_revocation_event_names_its_certificate_authority_by_form_not_position() {
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
    fn a_queue_hands_over_a_batch_of_revocation_events() {
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
