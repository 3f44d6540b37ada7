//! Parses an invocation's payload.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
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
    /// Returns the ARNs of a CA's certificates that events say are revoked.
    pub fn expected(&self, arn: &CertificateAuthorityArn) -> BTreeSet<String> {
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

/// Why an invocation fails as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationError {
    /// A stable name.
    pub kind: &'static str,
    /// What failed, on which resource, why.
    pub message: String,
}

impl InvocationError {
    /// Creates an error.
    pub fn new(kind: &'static str, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for InvocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for InvocationError {}

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

/// An event of EventBridge.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct EventBridgeEvent {
    source: String,
    detail_type: String,
    #[serde(default)]
    resources: Vec<String>,
}

/// A record of an SQS batch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SqsRecord {
    message_id: String,
    event_source: String,
    body: String,
    attributes: HashMap<String, String>,
}

impl Request {
    /// Parses a payload.
    ///
    /// # Errors
    /// If anything is unknown: a typing mistake must never turn into a full run.
    pub fn from_payload(payload: &Value) -> Result<Self, InvocationError> {
        let Value::Object(keys) = payload else {
            return Err(invalid("the event is not a JSON object"));
        };
        if let Some(records @ Value::Array(_)) = keys.get("Records") {
            return from_queue(records);
        }
        let Ok(event) = EventBridgeEvent::deserialize(payload) else {
            return from_keys(keys);
        };
        match (event.source.as_str(), event.detail_type.as_str()) {
            ("aws.events" | "aws.scheduler", "Scheduled Event") => Ok(Self::all(Trigger::Schedule)),
            ("aws.acm-pca", REVOCATION) => {
                let event = RevocationEvent::find(event.resources).ok_or_else(|| {
                    invalid("the event from Private CA names no CA among its resources")
                })?;
                Ok(Self {
                    certificate_authorities: Some(vec![event.certificate_authority_arn.clone()]),
                    ..Self::all(Trigger::Revocations(vec![event]))
                })
            }
            (source, detail_type) => Err(invalid(format!(
                "events from {source:?} with the detail type {detail_type:?} are not supported"
            ))),
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
    /// Recognizes an event's resources by form: their order is not documented.
    fn find(mut resources: Vec<String>) -> Option<Self> {
        let is_ca = |arn: &String| CertificateAuthorityArn::parse(arn).is_some();
        let ca = resources.iter().position(is_ca)?;
        Some(Self {
            certificate_authority_arn: resources.swap_remove(ca),
            certificate_arn: resources
                .into_iter()
                .find(|arn| arn.contains("/certificate/")),
        })
    }
}

impl From<SqsRecord> for QueuedEvent {
    fn from(record: SqsRecord) -> Self {
        let event = serde_json::from_str::<EventBridgeEvent>(&record.body).ok();
        let receive_count = record.attributes.get("ApproximateReceiveCount");
        Self {
            message_id: record.message_id,
            receive_count: receive_count
                .and_then(|count| count.parse().ok())
                .unwrap_or(1),
            event: event
                .filter(|event| event.detail_type == REVOCATION)
                .and_then(|event| RevocationEvent::find(event.resources)),
        }
    }
}

fn from_queue(records: &Value) -> Result<Request, InvocationError> {
    let records = Vec::<SqsRecord>::deserialize(records)
        .ok()
        .filter(|records| {
            records
                .iter()
                .all(|record| record.event_source == "aws:sqs")
        })
        .ok_or_else(|| invalid("the event's records are not those of an SQS queue"))?;
    let queued: Vec<_> = records.into_iter().map(QueuedEvent::from).collect();
    let events = queued.iter().filter_map(|queued| queued.event.as_ref());
    let named: BTreeSet<_> = events
        .map(|event| &event.certificate_authority_arn)
        .collect();
    Ok(Request {
        certificate_authorities: Some(named.into_iter().cloned().collect()),
        ..Request::all(Trigger::Queue(queued))
    })
}

fn from_keys(event: &Map<String, Value>) -> Result<Request, InvocationError> {
    if let Some(key) = event.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(invalid(format!("the event has an unknown key: {key:?}")));
    }
    let list = "a list of at least one ARN or ID";
    let named: Option<Vec<String>> = get(event, "certificateAuthorityArns", list)?;
    if named.as_ref().is_some_and(Vec::is_empty) {
        return Err(invalid(format!("certificateAuthorityArns must be {list}")));
    }
    let since = get(event, "since", "a time such as \"2026-11-01T00:00:00Z\"")?;
    let flag = |key| Ok(get(event, key, "true or false")?.unwrap_or_default());
    let mode = match (flag("testMessage")?, since, flag("dryRun")?) {
        (true, None, false) => Mode::TestMessage,
        (true, ..) => return Err(invalid("testMessage excludes since and dryRun")),
        (false, Some(since), dry_run) => Mode::Replay { since, dry_run },
        (false, None, true) => Mode::DryRun,
        (false, None, false) => Mode::Audit,
    };
    Ok(Request {
        trigger: Trigger::Manual,
        certificate_authorities: named,
        mode,
    })
}

/// Returns the value of a key of a manual event; `null` is none.
fn get<T: DeserializeOwned>(
    event: &Map<String, Value>,
    key: &str,
    expected: &str,
) -> Result<Option<T>, InvocationError> {
    let value = event.get(key).unwrap_or(&Value::Null);
    Option::deserialize(value)
        .map_err(|_| invalid(format!("{key} must be {expected}, not {value}")))
}

fn invalid(problem: impl fmt::Display) -> InvocationError {
    InvocationError::new("EventInvalid", format!("{problem}. {USAGE}"))
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
            (json!({ "certificateAuthorityArns": [1] }), "at least one"),
            (
                json!({ "testMessage": true, "dryRun": true }),
                "testMessage excludes",
            ),
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
