//! CloudTrail's protocol: AWS JSON 1.1.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::emulator::{CloudTrail, State, TrailEvent};
use crate::aws_json::{self, epoch_seconds};
use crate::error_reply::ErrorReply;
use crate::token_bucket::Bucket;

/// Most events of a page (CloudTrail API Reference, `LookupEvents`).
const PAGE: usize = 50;

/// Age at which the event history drops events (CloudTrail API Reference, `LookupEvents`).
const HISTORY: Duration = Duration::from_secs(90 * 24 * 3600);

impl CloudTrail {
    /// Processes one request: the operation's name and its JSON document.
    pub(crate) fn perform(&self, operation: &str, document: &[u8]) -> Result<Value, ErrorReply> {
        let request = aws_json::parse(document)?;
        if operation != "LookupEvents" {
            return Err(aws_json::unknown_operation(operation));
        }
        let now = self.0.clock.now();
        let mut state = self.state();
        state.spend(now)?;
        state.lookup(&request, now)
    }
}

impl State {
    fn spend(&mut self, now: SystemTime) -> Result<(), ErrorReply> {
        let Some(rate) = self.quota else {
            return Ok(());
        };
        let bucket = self.bucket.get_or_insert_with(|| Bucket::full(rate, now));
        if bucket.take(rate, now) {
            return Ok(());
        }
        Err(aws_json::throttled())
    }

    fn lookup(&self, request: &Value, now: SystemTime) -> Result<Value, ErrorReply> {
        let name = event_name(&request["LookupAttributes"])?;
        let (from, until) = time_range(request)?;
        let most = page_size(&request["MaxResults"])?.min(self.page_size);
        let skip = position(request)?;
        let mut found: Vec<_> = self
            .events
            .iter()
            .filter(|event| event.visible_at <= now && event.at + HISTORY >= now)
            .filter(|event| from.is_none_or(|from| event.at >= from))
            .filter(|event| until.is_none_or(|until| event.at <= until))
            .filter(|event| name.is_none_or(|name| event.name == name))
            .collect();
        // Newest first; of the same time, the last one that was added.
        found.reverse();
        found.sort_by_key(|event| std::cmp::Reverse(event.at));
        let start = match skip {
            None => 0,
            Some(last) => {
                let index = found.iter().position(|event| event.id == last);
                index.ok_or_else(invalid_token)? + 1
            }
        };
        let page = &found[start..found.len().min(start.saturating_add(most))];
        let events: Vec<_> = page.iter().map(|event| describe(event)).collect();
        let mut response = json!({ "Events": events });
        if start + page.len() < found.len()
            && let Some(last) = page.last()
        {
            let token = json!([last.id, without_token(request)]).to_string();
            response["NextToken"] = STANDARD.encode(token).into();
        }
        Ok(response)
    }
}

fn describe(event: &TrailEvent) -> Value {
    let parsed: Value = serde_json::from_str(&event.text).unwrap_or_default();
    let identity = &parsed["userIdentity"];
    let username = identity["userName"]
        .as_str()
        .or_else(|| identity["arn"].as_str()?.rsplit('/').next());
    let mut described = json!({
        "EventId": event.id,
        "EventName": event.name,
        "ReadOnly": "false",
        "EventTime": epoch_seconds(event.at),
        "Resources": [],
        "CloudTrailEvent": event.text,
    });
    if let Some(source) = &event.source {
        described["EventSource"] = source.as_str().into();
    }
    if let Some(username) = username {
        described["Username"] = username.into();
    }
    described
}

fn event_name(attributes: &Value) -> Result<Option<&str>, ErrorReply> {
    let invalid = |message: &str| ErrorReply::new(400, "InvalidLookupAttributesException", message);
    match attributes.as_array().map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([one]) if one["AttributeKey"] == "EventName" => one["AttributeValue"]
            .as_str()
            .filter(|name| !name.is_empty())
            .map(Some)
            .ok_or_else(|| invalid("AttributeValue is required.")),
        Some([_]) => Err(invalid("local-aws looks events up by EventName only.")),
        Some(_) => Err(invalid("You can only specify one lookup attribute.")),
    }
}

fn time_range(request: &Value) -> Result<(Option<SystemTime>, Option<SystemTime>), ErrorReply> {
    let from = aws_json::time(&request["StartTime"]);
    let until = aws_json::time(&request["EndTime"]);
    if from.zip(until).is_some_and(|(from, until)| from > until) {
        return Err(ErrorReply::new(
            400,
            "InvalidTimeRangeException",
            "The start time is after the end time.",
        ));
    }
    Ok((from, until))
}

fn page_size(asked: &Value) -> Result<usize, ErrorReply> {
    if asked.is_null() {
        return Ok(PAGE);
    }
    asked
        .as_u64()
        .and_then(|asked| usize::try_from(asked).ok())
        .filter(|asked| (1..=PAGE).contains(asked))
        .ok_or_else(|| {
            ErrorReply::new(
                400,
                "InvalidMaxResultsException",
                "MaxResults must be between 1 and 50.",
            )
        })
}

/// Returns the ID of the last event of the page before, which must have been asked for alike.
fn position(request: &Value) -> Result<Option<String>, ErrorReply> {
    let Some(token) = request["NextToken"].as_str() else {
        return Ok(None);
    };
    let decoded = STANDARD.decode(token).map_err(|_| invalid_token())?;
    let (last, earlier): (String, Value) =
        serde_json::from_slice(&decoded).map_err(|_| invalid_token())?;
    if earlier != without_token(request) {
        return Err(invalid_token());
    }
    Ok(Some(last))
}

fn without_token(request: &Value) -> Value {
    let mut request = request.clone();
    if let Some(members) = request.as_object_mut() {
        members.remove("NextToken");
    }
    request
}

fn invalid_token() -> ErrorReply {
    ErrorReply::new(
        400,
        "InvalidNextTokenException",
        "The token is invalid, or was returned for other parameters.",
    )
}
