//! Publishes messages to SNS, unless the topic has no confirmed subscription.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::time::Duration;

use aws_sdk_sns::Client;
use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::error::SdkError;
use aws_sdk_sns::operation::publish::PublishError;
use aws_sdk_sns::operation::publish::builders::PublishFluentBuilder;
use aws_sdk_sns::types::MessageAttributeValue;
use aws_smithy_runtime_api::client::dns::ResolveDnsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::alert::full_list::FullList;
use crate::alert::message::Message;
use crate::alert::reduced::MAX_REDUCED_LEN;
use crate::alert::topic::{Subscription, Topic, TopicCheck};
use crate::alert::types::Alert;
use crate::aws::clients::Clients;
use crate::aws::failure::{CallFailure, FailureClass};
use crate::error::{AuditError, ErrorKind};

/// Timeout for publishing a chat card.
const CARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that checks and full lists leave for `Publish` itself.
const PUBLISH_RESERVE: Duration = Duration::from_secs(3);

/// Waits between attempts that surely had no effect; up to as much again is added at random.
const RETRY_WAITS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(1000),
    Duration::from_millis(3000),
];

/// Publishes to the topics of an invocation.
#[derive(Debug)]
pub struct Publisher<'a> {
    clients: &'a Clients,
    topic_arn: &'a str,
    chat_topic_arn: Option<&'a str>,
    topic: TopicCheck<'a>,
}

/// A published message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// SNS's ID of the message on the first topic.
    pub message_id: String,
    /// Problems that did not prevent the message.
    pub warnings: Vec<String>,
    /// Whether a confirmed subscription was seen.
    pub has_reader: bool,
    /// Why it is not known whether anyone has subscribed, if SNS could not say.
    pub unverified: Option<AuditError>,
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpublished {
    /// The error.
    pub error: AuditError,
    /// Whether SNS's response was lost, so that the message may have been published.
    pub is_unknown: bool,
}

impl<'a> Publisher<'a> {
    /// Returns a publisher for the topic and, if given, the chat topic.
    pub fn new(clients: &'a Clients, topic_arn: &'a str, chat_topic_arn: Option<&'a str>) -> Self {
        Self {
            clients,
            topic_arn,
            chat_topic_arn,
            topic: TopicCheck::new(&clients.sns, topic_arn),
        }
    }

    /// Returns the error if the topic surely has no confirmed subscription, so that nothing can be
    /// delivered.
    pub async fn undeliverable(&self) -> Option<AuditError> {
        match self.topic.get().await.subscription {
            Subscription::Missing(error) => Some(error),
            _ => None,
        }
    }

    /// Publishes an alert to the topic and its card to the chat topic, within the time until
    /// `until`.
    ///
    /// A message that SNS refuses as invalid is sent once more in its reduced form. Neither a full list
    /// nor a card that could not be written holds it back; both are only warnings.
    ///
    /// # Errors
    /// If the topic has no confirmed subscription or did not accept the message: nobody was
    /// notified.
    pub async fn publish(&self, alert: Alert, until: Instant) -> Result<Published, Unpublished> {
        let checked = tokio::time::timeout_at(until - PUBLISH_RESERVE, self.topic.get()).await;
        let topic = checked.unwrap_or_else(|_| Topic::without_response(self.topic_arn));
        let (has_reader, unverified) = match &topic.subscription {
            Subscription::Confirmed => (true, None),
            Subscription::NotVisible => (false, None),
            Subscription::Unknown(error) => (false, Some(error.clone())),
            Subscription::Missing(error) => {
                let (error, is_unknown) = (error.clone(), false);
                return Err(Unpublished { error, is_unknown });
            }
        };
        let mut publication = Publication {
            publisher: self,
            warnings: Vec::from_iter(topic.warning.clone()),
            alert,
            topic,
            until,
        };
        let message_id = publication.publish().await?;
        publication.publish_card().await;
        let ca = publication.alert.only_authority().map(|ca| ca.arn.id());
        for warning in &publication.warnings {
            warn!(
                certificate_authority = ca,
                warning, "alert published with a warning"
            );
        }
        Ok(Published {
            message_id,
            warnings: publication.warnings,
            has_reader,
            unverified,
        })
    }

    /// Sends a message, and again after failures that surely had no effect: at most one attempt may
    /// have published it without a response. On a FIFO topic, the SDK may repeat any attempt, because
    /// SNS recognizes the message.
    async fn send(
        &self,
        sns: &Client,
        topic_arn: &str,
        message: &Message,
        deduplication_id: &str,
    ) -> Result<String, CallFailure> {
        let mut waits = RETRY_WAITS.iter();
        loop {
            let publish = request(sns, topic_arn, message, deduplication_id).customize();
            let publish = match topic_arn.ends_with(".fifo") {
                true => publish,
                false => publish.config_override(
                    aws_sdk_sns::Config::builder().retry_config(RetryConfig::disabled()),
                ),
            };
            let error = match publish.send().await {
                Ok(sent) => return Ok(sent.message_id.unwrap_or_default()),
                Err(error) => error,
            };
            let failure = CallFailure::new("Publish", &error);
            let is_final = failure.class == FailureClass::Refused || !had_no_effect(&error);
            let Some(&wait) = waits.next().filter(|_| !is_final) else {
                return Err(failure);
            };
            warn!(topic = topic_arn, error = %failure, "message not accepted; retrying");
            tokio::time::sleep(wait.mul_f64(1.0 + fastrand::f64())).await;
        }
    }

    /// `len` is the number of bytes of the message that SNS did not accept.
    fn error(&self, failure: &CallFailure, limit: Option<usize>, len: usize) -> AuditError {
        if failure.class == FailureClass::Refused && failure.is_not_found() {
            failure.error_of(ErrorKind::TopicNotFound, self.topic_arn)
        } else if is_invalid(failure) {
            let refused = failure.error_of(ErrorKind::MessageRefused, self.topic_arn);
            match limit {
                Some(limit) if limit < len => AuditError {
                    hint: format!(
                        "Set the topic's attribute MaximumMessageSize to at least {MAX_REDUCED_LEN} bytes; it is {limit}. Revocations stay pending until then."
                    ),
                    ..refused
                },
                _ => refused,
            }
        } else {
            failure.error(self.topic_arn)
        }
    }
}

/// One alert on its way to the topics.
struct Publication<'p> {
    publisher: &'p Publisher<'p>,
    alert: Alert,
    topic: Topic,
    until: Instant,
    warnings: Vec<String>,
}

impl Publication<'_> {
    /// Publishes the message; returns SNS's ID of it.
    async fn publish(&mut self) -> Result<String, Unpublished> {
        let limit = self.topic.message_limit();
        let mut message = self.alert.message_within(limit);
        if !message.is_complete && self.write_full_list().await {
            message = self.alert.message_within(limit);
        }
        let (publisher, until) = (self.publisher, self.until);
        let sent = tokio::time::timeout_at(until, self.send(&message)).await;
        let message_id = sent.unwrap_or_else(|_| {
            let topic = publisher.topic_arn;
            let message = format!(
                "no response from SNS in time: {topic} may or may not have accepted the message"
            );
            let (error, is_unknown) = (AuditError::new(ErrorKind::OutOfTime, message), true);
            Err(Unpublished { error, is_unknown })
        })?;
        info!(
            certificate_authority = self.alert.only_authority().map(|ca| ca.arn.id()),
            certificate_authorities = self.alert.certificate_authorities.len(),
            message_id = message.id,
            r#type = message.kind,
            severity = message.severity.name(),
            sns_message_id = message_id,
            "alert published"
        );
        Ok(message_id)
    }

    /// Returns the message's ID. One that perhaps nobody reads has another, so that a FIFO topic does
    /// not drop its repeat for the first reader.
    fn deduplication_id(&self, message: &Message) -> String {
        match self.topic.subscription {
            Subscription::Unknown(_) => format!("{}-unverified", message.id),
            _ => message.id.clone(),
        }
    }

    /// Sends the message or, if SNS refuses it, its reduced form.
    async fn send(&mut self, message: &Message) -> Result<String, Unpublished> {
        let publisher = self.publisher;
        let (sns, topic_arn) = (&publisher.clients.sns, publisher.topic_arn);
        let deduplication_id = self.deduplication_id(message);
        let mut sent = publisher
            .send(sns, topic_arn, message, &deduplication_id)
            .await;
        let mut len = message.size_bytes();
        if let Err(failure) = &sent
            && is_invalid(failure)
            && !message.is_reduced
        {
            self.warnings.push(format!(
                "SNS refused the full message ({failure}); the reduced form was sent"
            ));
            self.write_full_list().await;
            let reduced = self.alert.reduced();
            len = reduced.size_bytes();
            sent = publisher
                .send(sns, topic_arn, &reduced, &deduplication_id)
                .await;
        }
        sent.map_err(|failure| Unpublished {
            error: publisher.error(&failure, self.topic.limit, len),
            is_unknown: failure.class == FailureClass::Unavailable,
        })
    }

    /// Writes the full list of an alert whose message does not show everything, unless that was tried
    /// before. Returns whether it was written now.
    async fn write_full_list(&mut self) -> bool {
        let Some(revocations) = self.alert.revocations_mut() else {
            return false;
        };
        let mut is_written = false;
        if let Some((location, lines)) = revocations.unwritten_list() {
            let mut list = FullList::new(self.publisher.clients, location);
            let deadline = self.until - PUBLISH_RESERVE;
            list.push(&lines).await;
            is_written = list.finish(deadline).await.is_some();
            revocations.set_list_written(is_written);
        }
        if revocations.full_list().is_none() && !self.warnings.iter().any(|known| known == NO_LIST)
        {
            self.warnings.push(NO_LIST.to_owned());
        }
        is_written
    }

    /// Publishes the card, if there is a topic for it. The timeout leaves time to save that the first
    /// topic was notified.
    async fn publish_card(&mut self) {
        let publisher = self.publisher;
        let (Some(sns), Some(topic_arn)) = (&publisher.clients.chat_sns, publisher.chat_topic_arn)
        else {
            return;
        };
        let card = self.alert.chat();
        let sent = publisher.send(sns, topic_arn, &card, &card.id);
        let sent = tokio::time::timeout(CARD_TIMEOUT, sent);
        let error = match tokio::time::timeout_at(self.until, sent).await {
            Ok(Ok(Ok(_))) => return,
            Ok(Ok(Err(failure))) => failure.to_string(),
            _ => "no response in time".to_owned(),
        };
        self.warnings.push(format!(
            "the chat card was not published to {topic_arn}: {error}"
        ));
    }
}

/// The warning for a message that does not show everything and has no full list.
const NO_LIST: &str =
    "the full list could not be written, and the message does not show everything";

/// `deduplication_id` is for a FIFO topic: it drops a message with the same one within five minutes.
fn request(
    sns: &Client,
    topic_arn: &str,
    message: &Message,
    deduplication_id: &str,
) -> PublishFluentBuilder {
    let mut publish = sns
        .publish()
        .topic_arn(topic_arn)
        .subject(&message.subject)
        .message_structure("json")
        .message(&message.body);
    for (name, data_type, value) in &message.attributes {
        let value = MessageAttributeValue::builder()
            .data_type(*data_type)
            .string_value(value)
            .build()
            .expect("a data type is the only required field");
        publish = publish.message_attributes(*name, value);
    }
    if topic_arn.ends_with(".fifo") {
        publish = publish
            .message_group_id(&message.group_id)
            .message_deduplication_id(deduplication_id);
    }
    publish
}

/// Returns whether SNS refused the message itself, as opposed to the caller or the topic.
fn is_invalid(failure: &CallFailure) -> bool {
    const CODES: [&str; 4] = [
        "InvalidParameter",
        "InvalidParameterValue",
        "ParameterValueInvalid",
        "ValidationException",
    ];
    failure.class == FailureClass::Refused && CODES.iter().any(|code| failure.is(code))
}

/// Returns whether SNS surely did not accept the message: it said so itself, or it was never reached.
fn had_no_effect(error: &SdkError<PublishError, HttpResponse>) -> bool {
    match error {
        // Without a code, the response may be a proxy's.
        SdkError::ServiceError(response) => response.err().meta().code().is_some(),
        SdkError::DispatchFailure(_) => {
            let first: &(dyn Error + 'static) = error;
            successors(Some(first), |&error| error.source()).any(is_failure_to_connect)
        }
        _ => false,
    }
}

fn is_failure_to_connect(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(
        kind,
        Some(ConnectionRefused | HostUnreachable | NetworkUnreachable)
    ) || error.is::<ResolveDnsError>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the SDK's real HTTP client.
    #[tokio::test]
    async fn refused_connection_surely_had_no_effect() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", closed.local_addr().unwrap());
        drop(closed);
        let config = aws_sdk_sns::Config::builder()
            .behavior_version(aws_sdk_sns::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_sns::config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_sns::config::Credentials::new(
                "AKIAIOSFODNN7EXAMPLE",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                None,
                None,
                "test",
            ))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(endpoint)
            .build();
        let sns = Client::from_conf(config);
        let publish = sns
            .publish()
            .topic_arn("arn:aws:sns:us-east-1:123456789012:revocations");
        let error = publish.message("x").send().await.unwrap_err();
        assert!(had_no_effect(&error), "{error:?}");
    }
}
