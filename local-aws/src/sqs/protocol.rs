//! SQS's protocol: AWS JSON 1.0, with the error codes of its older protocol in a header (SQS Developer
//! Guide, "Interpreting Amazon SQS JSON API responses").

use std::time::Duration;

use http::{HeaderMap, Response};
use serde_json::{Map, Value, json};

use super::emulator::Sqs;
use super::errors::{invalid, invalid_address, missing, unsupported};
use super::message::Received;
use super::queue::MAXIMUM_VISIBILITY_TIMEOUT;
use crate::aws_json;
use crate::body::{self, Body};
use crate::call::Call;
use crate::error_reply::ErrorReply;
use crate::md5::md5_hex;

/// Most messages of a `ReceiveMessage` (SQS API Reference).
const MAXIMUM_RECEIVED: u64 = 10;

/// Longest wait of a `ReceiveMessage` (SQS API Reference).
const MAXIMUM_WAIT: Duration = Duration::from_secs(20);

/// System attributes of received messages.
const SYSTEM_ATTRIBUTES: &[&str] = &[
    "All",
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "DeadLetterQueueSourceArn",
    // Standard queues do not have these.
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
];

impl Sqs {
    /// Processes one request: the operation's name and its JSON document.
    pub(crate) async fn respond(
        &self,
        call: &Call,
        document: &[u8],
        request_id: &str,
    ) -> Response<Body> {
        match self.perform(call, document).await {
            Ok(document) => json_response(200, &document, request_id),
            Err(error) => error_response(&error, request_id),
        }
    }

    async fn perform(&self, call: &Call, document: &[u8]) -> Result<Value, ErrorReply> {
        let request = aws_json::parse(document)?;
        let url = request["QueueUrl"].as_str().unwrap_or_default();
        if url.is_empty() {
            return Err(missing("QueueUrl"));
        }
        let region = call.region.as_ref();
        if region.is_some_and(|signed| *signed != self.0.region) {
            return Err(invalid_address(url));
        }
        // Every operation refuses a queue that does not exist.
        self.on(url, |_| ())?;
        match call.operation.as_str() {
            "SendMessage" => self.send(url, &request),
            "SendMessageBatch" => self.send_batch(url, &request),
            "ReceiveMessage" => self.receive_messages(url, &request).await,
            "DeleteMessage" => self.delete_message(url, &request),
            operation => Err(unsupported(operation)),
        }
    }

    async fn receive_messages(&self, url: &str, request: &Value) -> Result<Value, ErrorReply> {
        let most = match &request["MaxNumberOfMessages"] {
            Value::Null => 1,
            most => most
                .as_u64()
                .filter(|most| (1..=MAXIMUM_RECEIVED).contains(most))
                .ok_or_else(|| {
                    invalid(format!(
                        "Value {most} for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and {MAXIMUM_RECEIVED}, if provided."
                    ))
                })?,
        };
        let most = usize::try_from(most).unwrap_or(1);
        let timeout = seconds(request, "VisibilityTimeout", MAXIMUM_VISIBILITY_TIMEOUT)?;
        let wait = seconds(request, "WaitTimeSeconds", MAXIMUM_WAIT)?.unwrap_or_default();
        let mut names = names(request, "MessageSystemAttributeNames");
        names.extend(self::names(request, "AttributeNames"));
        if let Some(unknown) = names.iter().find(|name| !SYSTEM_ATTRIBUTES.contains(name)) {
            return Err(unknown_attribute(unknown));
        }
        let deadline = self.0.clock.now() + wait;
        let received = self.receive(url, most, timeout, deadline).await?;
        if received.is_empty() {
            return Ok(json!({}));
        }
        let received = received.into_iter();
        let messages: Vec<_> = received.map(|message| describe(message, &names)).collect();
        Ok(json!({ "Messages": messages }))
    }

    fn delete_message(&self, url: &str, request: &Value) -> Result<Value, ErrorReply> {
        let handle = request["ReceiptHandle"].as_str().unwrap_or_default();
        if handle.is_empty() {
            return Err(missing("ReceiptHandle"));
        }
        self.delete(url, handle)?;
        Ok(json!({}))
    }
}

fn describe(message: Received, names: &[&str]) -> Value {
    let asked = |name: &str| names.contains(&"All") || names.contains(&name);
    let attributes: Map<_, _> = message
        .attributes
        .into_iter()
        .filter(|(name, _)| asked(name))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let mut described = json!({
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": md5_hex(message.body.as_bytes()),
        "Body": message.body,
    });
    if !attributes.is_empty() {
        described["Attributes"] = attributes.into();
    }
    described
}

fn names<'a>(request: &'a Value, member: &str) -> Vec<&'a str> {
    let names = request[member].as_array().into_iter().flatten();
    names.filter_map(Value::as_str).collect()
}

/// Returns a duration in whole seconds, up to a maximum.
fn seconds(request: &Value, name: &str, most: Duration) -> Result<Option<Duration>, ErrorReply> {
    let value = &request[name];
    if value.is_null() {
        return Ok(None);
    }
    let duration = value.as_u64().map(Duration::from_secs);
    let valid = duration.filter(|duration| *duration <= most);
    valid.map(Some).ok_or_else(|| {
        invalid(format!(
            "Value {value} for parameter {name} is invalid. Reason: Must be >= 0 and <= {}, if provided.",
            most.as_secs()
        ))
    })
}

fn unknown_attribute(name: &str) -> ErrorReply {
    ErrorReply::new(
        400,
        "InvalidAttributeName",
        format!("Unknown Attribute {name}."),
    )
}

/// Builds an error response: the older protocol's code is in a header, the shape's name in the document.
pub(crate) fn error_response(error: &ErrorReply, request_id: &str) -> Response<Body> {
    let code = &error.code;
    let shape = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
    let shape = match shape {
        "NonExistentQueue" => "QueueDoesNotExist",
        other => other,
    };
    let document = json!({
        "__type": format!("com.amazonaws.sqs#{shape}"),
        "message": error.message,
    });
    let mut response = json_response(error.status, &document, request_id);
    let side = if error.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    let query_error = format!("{code};{side}");
    body::insert(response.headers_mut(), ERROR_HEADER, &query_error);
    response
}

/// Returns the error code of a response of SQS, as the SDKs do.
pub(crate) fn error_code(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(ERROR_HEADER)?.to_str().ok()?;
    let (code, _) = value.split_once(';')?;
    Some(code.to_owned())
}

/// Header with the code of an error.
const ERROR_HEADER: &str = "x-amzn-query-error";

fn json_response(status: u16, document: &Value, request_id: &str) -> Response<Body> {
    let mut response = Response::new(body::full(document.to_string()));
    *response.status_mut() = body::status(status);
    let headers = response.headers_mut();
    body::insert(headers, "content-type", "application/x-amz-json-1.0");
    body::insert(headers, "x-amzn-requestid", request_id);
    response
}
