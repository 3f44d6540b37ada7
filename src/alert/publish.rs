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
        let mut is_unknown = false;
        let sent = tokio::time::timeout_at(until, self.send_message(alert, &mut is_unknown)).await;
        let mut published = sent.unwrap_or_else(|_| {
            let topic = self.topic_arn;
            let message = format!(
                "no response from SNS in time: {topic} may or may not have accepted the message"
            );
            let error = AuditError::new(ErrorKind::OutOfTime, message);
            Err(Unpublished { error, is_unknown })
        })?;
        info!(
            certificate_authority = alert.certificate_authority.arn.id(),
            message_id = alert.id(),
            r#type = alert.kind(),
            severity = alert.severity().name(),
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

    /// `is_unknown` is set while SNS may have accepted the message without a response.
    async fn send_message(
        &self,
        alert: &Alert,
        is_unknown: &mut bool,
    ) -> Result<Published, Unpublished> {
        let check = || self.check_subscriptions();
        if let Err(error) = self.subscriptions.get_or_init(check).await.clone() {
            let is_unknown = false;
            return Err(Unpublished { error, is_unknown });
        }
        let mut warnings = Vec::new();
        *is_unknown = true;
        let sent = match self.send(self.topic_arn, &alert.message()).await {
            Err(failure) if is_invalid(&failure) => {
                warn!(topic = self.topic_arn, error = %failure, "message refused; sending the reduced form");
                warnings.push(format!(
                    "SNS refused the full message ({failure}); the reduced form was sent"
                ));
                self.send(self.topic_arn, &alert.reduced()).await
            }
            sent => sent,
        };
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
            Ok(Err(_)) | Err(_) => Err("no response in time".to_owned()),
        }
    }

    /// Checks for a confirmed subscription: without one, SNS accepts every message and delivers it
    /// to nobody.
    async fn check_subscriptions(&self) -> Result<(), AuditError> {
        let topic = self.topic_arn;
        let request = self.sns.get_topic_attributes().topic_arn(topic);
        let attributes = match request.send().await {
            Ok(output) => output.attributes.unwrap_or_default(),
            Err(error) => {
                let failure = CallFailure::new("GetTopicAttributes", &error);
                if !failure.is_denied() {
                    return Err(self.error(&failure));
                }
                warn!(topic, error = %failure, "cannot check the topic's subscriptions: permission denied");
                return Ok(());
            }
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
        for attribute in &message.attributes {
            let value = MessageAttributeValue::builder()
                .data_type(attribute.data_type)
                .string_value(&attribute.value)
                .build()
                .expect("a data type is the only required field");
            publish = publish.message_attributes(attribute.name, value);
        }
        if topic_arn.ends_with(".fifo") {
            publish = publish
                .message_group_id(&message.group_id)
                .message_deduplication_id(&message.deduplication_id);
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
