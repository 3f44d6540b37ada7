//! SNS's protocol: AWS Query, version 2010-03-31.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::Response;

use super::emulator::{Sns, State};
use super::errors::{invalid, no_topic};
use super::message::Message;
use super::publish::Draft;
use super::topic::Subscribed;
use crate::body::{self, Body, escape_xml};
use crate::call::Call;
use crate::error_reply::ErrorReply;

const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

impl Sns {
    /// Processes one request: the action and its form fields.
    pub(crate) fn respond(&self, call: &Call, request_id: &str) -> Response<Body> {
        let (action, fields) = (call.operation.as_str(), &call.parameters);
        let result = match action {
            _ if !is_local(call) => Err(invalid("TopicArn")),
            "Publish" => self.publish(fields),
            "GetTopicAttributes" => self.topic_attributes(fields),
            "ListSubscriptionsByTopic" => self.subscriptions(fields),
            _ => Err(ErrorReply::new(
                400,
                "InvalidAction",
                format!("The action {action} is not valid for this endpoint."),
            )),
        };
        match result {
            Ok(result) => xml_response(
                200,
                format!(
                    "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
                ),
                request_id,
            ),
            Err(error) => error_response(&error, request_id),
        }
    }

    fn publish(&self, fields: &BTreeMap<String, String>) -> Result<String, ErrorReply> {
        let now = self.0.clock.now();
        let topic_arn = topic_arn(fields, &["TopicArn", "TargetArn"])?;
        let mut state = self.state();
        let State {
            topics,
            messages,
            deliveries,
            ..
        } = &mut *state;
        let topic = topics.get_mut(topic_arn).ok_or_else(no_topic)?;
        let mut draft = Draft::read(fields)?;
        draft.check_topic(topic)?;
        let mut message = Message {
            message_id: self.0.ids.uuid(),
            topic_arn: topic_arn.to_owned(),
            message: draft.message,
            variants: draft.variants,
            subject: draft.subject,
            attributes: draft.attributes,
            message_group_id: draft.message_group_id,
            message_deduplication_id: draft.message_deduplication_id,
            sequence_number: None,
            duplicate: false,
            at: now,
        };
        if topic.fifo {
            topic.deduplicate(&mut message);
        }
        if !message.duplicate {
            deliveries.extend(topic.deliveries(&message));
        }
        let mut result = format!("<MessageId>{}</MessageId>", message.message_id);
        if let Some(number) = &message.sequence_number {
            write!(result, "<SequenceNumber>{number}</SequenceNumber>")
                .expect("writing to a String cannot fail");
        }
        messages.push(message);
        Ok(result)
    }

    fn topic_attributes(&self, fields: &BTreeMap<String, String>) -> Result<String, ErrorReply> {
        let arn = topic_arn(fields, &["TopicArn"])?;
        let state = self.state();
        let topic = state.topics.get(arn).ok_or_else(no_topic)?;
        let confirmed = topic.stated_confirmed.unwrap_or_else(|| topic.confirmed());
        let pending = topic.subscriptions.len() - topic.confirmed();
        let account = &self.0.account;
        let mut attributes = vec![
            ("TopicArn", arn.to_owned()),
            ("Owner", account.clone()),
            ("DisplayName", String::new()),
            (
                "Policy",
                serde_json::json!({
                    "Version": "2008-10-17",
                    "Statement": [{
                        "Effect": "Allow",
                        "Principal": { "AWS": account },
                        "Action": "SNS:Publish",
                        "Resource": arn,
                    }],
                })
                .to_string(),
            ),
            ("SubscriptionsConfirmed", confirmed.to_string()),
            ("SubscriptionsPending", pending.to_string()),
            ("SubscriptionsDeleted", "0".to_owned()),
            ("MaximumMessageSize", topic.maximum_message_size.to_string()),
        ];
        if topic.fifo {
            attributes.push(("FifoTopic", "true".to_owned()));
            attributes.push((
                "ContentBasedDeduplication",
                topic.content_based_deduplication.to_string(),
            ));
        }
        let mut result = String::from("<Attributes>");
        for (name, value) in attributes {
            write!(
                result,
                "<entry><key>{name}</key><value>{}</value></entry>",
                escape_xml(&value)
            )
            .expect("writing to a String cannot fail");
        }
        result.push_str("</Attributes>");
        Ok(result)
    }

    fn subscriptions(&self, fields: &BTreeMap<String, String>) -> Result<String, ErrorReply> {
        let arn = topic_arn(fields, &["TopicArn"])?;
        let state = self.state();
        let topic = state.topics.get(arn).ok_or_else(no_topic)?;
        let first = match fields.get("NextToken") {
            None => 0,
            Some(token) => token.parse().map_err(|_| invalid("NextToken"))?,
        };
        let mut result = String::from("<Subscriptions>");
        let page = topic.subscriptions.iter().skip(first).take(state.page_size);
        for Subscribed {
            arn: own,
            subscription,
        } in page
        {
            let own = match subscription.confirmed {
                true => own,
                false => "PendingConfirmation",
            };
            write!(
                result,
                "<member><TopicArn>{arn}</TopicArn><Protocol>{}</Protocol><SubscriptionArn>{own}</SubscriptionArn><Owner>{}</Owner><Endpoint>{}</Endpoint></member>",
                subscription.protocol.name(),
                self.0.account,
                escape_xml(&subscription.endpoint),
            )
            .expect("writing to a String cannot fail");
        }
        result.push_str("</Subscriptions>");
        let next = first + state.page_size;
        if next < topic.subscriptions.len() {
            write!(result, "<NextToken>{next}</NextToken>")
                .expect("writing to a String cannot fail");
        }
        Ok(result)
    }
}

/// Whether a request was signed for the region of its topic: SNS serves only topics of its own region.
fn is_local(call: &Call) -> bool {
    let topic = call.topic_arn.as_deref().unwrap_or_default();
    let region = topic.split(':').nth(3);
    match (&call.region, region) {
        (Some(signed), Some(region)) => signed == region,
        _ => true,
    }
}

/// Builds an AWS Query error response.
pub(crate) fn error_response(error: &ErrorReply, request_id: &str) -> Response<Body> {
    let kind = if error.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    let document = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        escape_xml(&error.code),
        escape_xml(&error.message)
    );
    xml_response(error.status, document, request_id)
}

fn xml_response(status: u16, document: String, request_id: &str) -> Response<Body> {
    let mut response = Response::new(body::full(document));
    *response.status_mut() = body::status(status);
    let headers = response.headers_mut();
    body::insert(headers, "content-type", "text/xml");
    body::insert(headers, "x-amzn-requestid", request_id);
    response
}

/// Returns the first of these fields that is set, after checking that it is a topic ARN.
fn topic_arn<'a>(
    fields: &'a BTreeMap<String, String>,
    names: &[&str],
) -> Result<&'a str, ErrorReply> {
    let arn = names
        .iter()
        .find_map(|name| fields.get(*name))
        .filter(|arn| !arn.is_empty())
        .ok_or_else(|| {
            invalid(&format!(
                "{} Reason: no value for required parameter",
                names.join(" or ")
            ))
        })?;
    let parts: Vec<&str> = arn.split(':').collect();
    if parts.len() == 6 && parts[0] == "arn" && parts[2] == "sns" {
        Ok(arn)
    } else {
        Err(invalid(&format!(
            "{} Reason: An ARN must have at least 6 elements, not {}",
            names[0],
            parts.len()
        )))
    }
}
