//! Hands messages to SNS, and knows whether anybody reads them.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sns::types::MessageAttributeValue;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::alert::{Alert, Message};
use crate::aws::clients::Clients;
use crate::aws::failure::{CallFailure, FailureClass};
use crate::error::{AuditError, ErrorKind};

/// A card is worth no longer wait.
const CARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The topics of an invocation.
#[derive(Debug)]
pub struct Publisher<'a> {
    clients: &'a Clients,
    topic_arn: &'a str,
    chat_topic_arn: Option<&'a str>,
    readers: OnceCell<Result<(), AuditError>>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// SNS's id of the message on the first topic.
    pub message_id: String,
    /// What went wrong on the way without holding the message back.
    pub warnings: Vec<String>,
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpublished {
    pub error: AuditError,
    /// SNS's answer was lost: it may have been published after all.
    pub is_unknown: bool,
}

impl<'a> Publisher<'a> {
    pub fn new(clients: &'a Clients, topic_arn: &'a str, chat_topic_arn: Option<&'a str>) -> Self {
        Self {
            clients,
            topic_arn,
            chat_topic_arn,
            readers: OnceCell::new(),
        }
    }

    /// Publishes a notice on the topic and its card on the chat topic, as far as SNS answers by then.
    ///
    /// A message that SNS refuses as invalid is sent once more in its reduced form. What becomes of
    /// the card never counts.
    ///
    /// # Errors
    /// If the topic has no reader or did not take the message: it is not told.
    pub async fn publish(&self, alert: &Alert, until: Instant) -> Result<Published, Unpublished> {
        let mut is_unknown = false;
        let sent = tokio::time::timeout_at(until, self.send_message(alert, &mut is_unknown)).await;
        let mut published = sent.unwrap_or_else(|_| {
            let error = AuditError::new(
                ErrorKind::OutOfTime,
                format!(
                    "SNS did not say in the time of this run whether {} took the message",
                    self.topic_arn
                ),
            );
            Err(Unpublished { error, is_unknown })
        })?;
        info!(
            certificate_authority = alert.certificate_authority.id(),
            message_id = alert.id(),
            r#type = alert.kind(),
            severity = alert.severity().name(),
            sns_message_id = published.message_id,
            "published"
        );
        if let Some(chat_topic_arn) = self.chat_topic_arn
            && let Err(error) = self.send_card(chat_topic_arn, alert, until).await
        {
            warn!(
                topic = chat_topic_arn,
                error, "the chat topic did not take the message"
            );
            published.warnings.push(format!(
                "the chat topic {chat_topic_arn} did not take the message: {error}"
            ));
        }
        Ok(published)
    }

    /// `is_unknown` is set while SNS may have taken the message without our knowing.
    async fn send_message(
        &self,
        alert: &Alert,
        is_unknown: &mut bool,
    ) -> Result<Published, Unpublished> {
        let readers = self.readers.get_or_init(|| self.find_readers()).await;
        readers.clone().map_err(|error| Unpublished {
            error,
            is_unknown: false,
        })?;
        let mut warnings = Vec::new();
        *is_unknown = true;
        let sent = match self.send(self.topic_arn, &alert.message()).await {
            Err(failure) if is_invalid(&failure) => {
                warn!(topic = self.topic_arn, error = %failure, "message refused; sending its reduced form");
                warnings.push(format!(
                    "SNS refused the full message ({failure}); its reduced form was sent"
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

    /// What the first topic took is not saved yet: the card must not take the time for that.
    async fn send_card(
        &self,
        chat_topic_arn: &str,
        alert: &Alert,
        until: Instant,
    ) -> Result<(), String> {
        let card = alert.chat();
        let until = until.min(Instant::now() + CARD_TIMEOUT);
        match tokio::time::timeout_at(until, self.send(chat_topic_arn, &card)).await {
            Ok(sent) => sent.map(drop).map_err(|failure| failure.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// A topic with no confirmed subscription accepts every message, and nobody gets it.
    async fn find_readers(&self) -> Result<(), AuditError> {
        let answered = self
            .clients
            .sns
            .get_topic_attributes()
            .topic_arn(self.topic_arn)
            .send()
            .await;
        let attributes: HashMap<String, String> = match answered {
            Ok(output) => output.attributes().cloned().unwrap_or_default(),
            Err(error) => {
                let failure = CallFailure::new("GetTopicAttributes", &error);
                return if failure.is_denied() {
                    warn!(topic = self.topic_arn, error = %failure, "nobody may say whether the topic has readers");
                    Ok(())
                } else {
                    Err(self.error(&failure))
                };
            }
        };
        if attributes
            .get("SubscriptionsConfirmed")
            .is_some_and(|confirmed| confirmed == "0")
        {
            let pending = attributes
                .get("SubscriptionsPending")
                .map_or("0", String::as_str);
            return Err(AuditError::new(
                ErrorKind::TopicWithoutSubscription,
                format!(
                    "{} has no confirmed subscription ({pending} wait for confirmation)",
                    self.topic_arn
                ),
            ));
        }
        Ok(())
    }

    async fn send(&self, topic_arn: &str, message: &Message) -> Result<String, CallFailure> {
        let mut publish = self
            .clients
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
                .expect("a data type is all that the builder asks for");
            publish = publish.message_attributes(attribute.name, value);
        }
        if topic_arn.ends_with(".fifo") {
            publish = publish
                .message_group_id(&message.group_id)
                .message_deduplication_id(&message.deduplication_id);
        }
        match publish.send().await {
            Ok(output) => Ok(output.message_id().unwrap_or_default().to_owned()),
            Err(error) => Err(CallFailure::new("Publish", &error)),
        }
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

/// Whether SNS found fault with the message itself, not with the caller or the topic.
fn is_invalid(failure: &CallFailure) -> bool {
    failure.class == FailureClass::Refused
        && [
            "InvalidParameter",
            "InvalidParameterValue",
            "ParameterValueInvalid",
            "ValidationException",
        ]
        .iter()
        .any(|code| failure.is(code))
}
