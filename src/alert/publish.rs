//! Publishes messages to SNS, if the topic has confirmed subscriptions.

use std::time::Duration;

use aws_sdk_sns::Client;
use aws_sdk_sns::types::MessageAttributeValue;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::alert::message::Message;
use crate::alert::types::Alert;
use crate::aws::clients::Clients;
use crate::aws::failure::{CallFailure, FailureClass};
use crate::error::{AuditError, ErrorKind};

/// Timeout for publishing a chat card.
const CARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes to the topics of an invocation.
#[derive(Debug)]
pub struct Publisher<'a> {
    sns: &'a Client,
    topic_arn: &'a str,
    chat_topic_arn: Option<&'a str>,
    subscriptions: OnceCell<Result<(), AuditError>>,
}

/// A published message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// SNS's ID of the message on the first topic.
    pub message_id: String,
    /// Problems that did not prevent the message.
    pub warnings: Vec<String>,
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
            sns: &clients.sns,
            topic_arn,
            chat_topic_arn,
            subscriptions: OnceCell::new(),
        }
    }

    /// Publishes an alert to the topic and its card to the chat topic, within the time until
    /// `until`.
    ///
    /// A message that SNS refuses as invalid is sent once more in its reduced form. A card that could
    /// not be published is only a warning.
    ///
    /// # Errors
    /// If the topic has no confirmed subscription or did not accept the message: nobody was
    /// notified.
    pub async fn publish(&self, alert: &Alert, until: Instant) -> Result<Published, Unpublished> {
        let out_of_time = |is_unknown| {
            let topic = self.topic_arn;
            let message = format!(
                "no response from SNS in time: {topic} may or may not have accepted the message"
            );
            let error = AuditError::new(ErrorKind::OutOfTime, message);
            Unpublished { error, is_unknown }
        };
        let is_unknown = false;
        let check = || self.check_subscriptions();
        let checked = tokio::time::timeout_at(until, self.subscriptions.get_or_init(check)).await;
        let checked = checked.map_err(|_| out_of_time(is_unknown))?.clone();
        checked.map_err(|error| Unpublished { error, is_unknown })?;
        let message = alert.message();
        let sent = tokio::time::timeout_at(until, self.send_message(alert, &message)).await;
        let mut published = sent.map_err(|_| out_of_time(true))??;
        info!(
            certificate_authority = alert.certificate_authority.id(),
            message_id = message.id,
            r#type = message.kind,
            severity = message.severity.name(),
            sns_message_id = published.message_id,
            "alert published"
        );
        if let Some(chat_topic_arn) = self.chat_topic_arn
            && let Err(error) = self.send_card(chat_topic_arn, alert, until).await
        {
            warn!(topic = chat_topic_arn, error, "chat card not published");
            published.warnings.push(format!(
                "the chat card was not published to {chat_topic_arn}: {error}"
            ));
        }
        Ok(published)
    }

    async fn send_message(
        &self,
        alert: &Alert,
        message: &Message,
    ) -> Result<Published, Unpublished> {
        let mut warnings = Vec::new();
        let mut sent = self.send(self.topic_arn, message).await;
        if let Err(failure) = &sent
            && is_invalid(failure)
        {
            warn!(topic = self.topic_arn, error = %failure, "message refused; sending the reduced form");
            warnings.push(format!(
                "SNS refused the full message ({failure}); the reduced form was sent"
            ));
            sent = self.send(self.topic_arn, &alert.reduced()).await;
        }
        let message_id = sent.map_err(|failure| Unpublished {
            error: self.error(&failure),
            is_unknown: failure.class == FailureClass::Unavailable,
        })?;
        Ok(Published {
            message_id,
            warnings,
        })
    }

    /// Publishes the card. The timeout leaves time to save that the first topic was notified.
    async fn send_card(
        &self,
        chat_topic_arn: &str,
        alert: &Alert,
        until: Instant,
    ) -> Result<(), String> {
        let card = alert.chat();
        let sent = tokio::time::timeout(CARD_TIMEOUT, self.send(chat_topic_arn, &card));
        match tokio::time::timeout_at(until, sent).await {
            Ok(Ok(sent)) => sent.map(drop).map_err(|failure| failure.to_string()),
            _ => Err("no response in time".to_owned()),
        }
    }

    /// Checks for a confirmed subscription: without one, SNS accepts every message and delivers it
    /// to nobody.
    async fn check_subscriptions(&self) -> Result<(), AuditError> {
        let topic = self.topic_arn;
        let request = self.sns.get_topic_attributes().topic_arn(topic);
        let response = request.send().await;
        let response = response.map_err(|error| CallFailure::new("GetTopicAttributes", &error));
        let attributes = match response {
            Ok(output) => output.attributes.unwrap_or_default(),
            Err(failure) if failure.is_denied() => {
                warn!(topic, error = %failure, "cannot check the topic's subscriptions: permission denied");
                return Ok(());
            }
            Err(failure) => return Err(self.error(&failure)),
        };
        let number = |name| attributes.get(name).map(String::as_str);
        if number("SubscriptionsConfirmed") != Some("0") {
            return Ok(());
        }
        let pending = number("SubscriptionsPending").unwrap_or("0");
        Err(AuditError::new(
            ErrorKind::TopicWithoutSubscription,
            format!("{topic} has no confirmed subscription ({pending} pending confirmation)"),
        ))
    }

    async fn send(&self, topic_arn: &str, message: &Message) -> Result<String, CallFailure> {
        let mut publish = self
            .sns
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
                .message_deduplication_id(&message.id);
        }
        let sent = publish.send().await;
        let sent = sent.map_err(|error| CallFailure::new("Publish", &error))?;
        Ok(sent.message_id.unwrap_or_default())
    }

    fn error(&self, failure: &CallFailure) -> AuditError {
        if failure.class == FailureClass::Refused && failure.is_not_found() {
            failure.error_of(ErrorKind::TopicNotFound, self.topic_arn)
        } else if is_invalid(failure) {
            failure.error_of(ErrorKind::MessageRefused, self.topic_arn)
        } else {
            failure.error(self.topic_arn)
        }
    }
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
