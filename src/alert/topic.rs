//! What SNS says about a topic: how long its messages may be, and whether anyone has subscribed.
//!
//! Without a confirmed subscription, SNS accepts every message and delivers it to nobody. But the
//! number of subscriptions is eventually consistent, and emulators keep it at 0, so it does not decide
//! alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_sns::Client;
use serde::Serialize;
use tokio::sync::Mutex;
use tracing::warn;

use crate::alert::size::DEFAULT_LIMIT;
use crate::aws::failure::{CallFailure, FailureClass};
use crate::error::{AuditError, ErrorKind};

/// Timeout for each of the two checks.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// A topic as far as SNS describes it.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    /// `MaximumMessageSize` in bytes; `None` if it could not be read.
    pub limit: Option<usize>,
    pub subscription: Subscription,
    /// Why the result is less than certain.
    pub warning: Option<String>,
}

/// Whether a topic has a confirmed subscription.
#[derive(Clone, Debug)]
pub(super) enum Subscription {
    /// SNS shows one.
    Confirmed,
    /// It shows none, but the function may not see all.
    NotVisible,
    /// SNS could not say.
    Unknown(AuditError),
    /// There is none.
    Missing(AuditError),
}

/// Checks a topic when somebody needs to know, at most once at a time.
#[derive(Debug)]
pub(super) struct TopicCheck<'a> {
    sns: &'a Client,
    topic_arn: &'a str,
    last: Mutex<Option<Topic>>,
    /// Number of checks so far.
    finished: AtomicU64,
}

/// Number of subscriptions of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SubscriptionCount {
    /// Confirmed subscriptions, which get messages.
    pub confirmed: u64,
    /// Subscriptions that nobody has confirmed yet.
    pub pending: u64,
}

/// Counts the subscriptions of a topic. Lists them if SNS counts no confirmed one, because its number
/// does not decide alone.
///
/// # Errors
/// If SNS does not say whether there is a confirmed subscription.
pub async fn count_subscriptions(
    sns: &Client,
    topic_arn: &str,
) -> Result<SubscriptionCount, AuditError> {
    let check = TopicCheck::new(sns, topic_arn);
    let attributes = in_time("GetTopicAttributes", check.attributes()).await;
    let error = match attributes {
        Ok(Attributes {
            confirmed: Some(confirmed @ 1..),
            pending,
            ..
        }) => {
            let pending = pending.unwrap_or_default();
            return Ok(SubscriptionCount { confirmed, pending });
        }
        Ok(_) => None,
        Err(failure) => Some(failure),
    };
    let listed = in_time("ListSubscriptionsByTopic", check.listed(u64::MAX)).await;
    // The first failure says more: the second may only follow from it.
    listed.map_err(|failure| {
        let Failure { kind, message } = error.unwrap_or(failure);
        AuditError::new(kind, message)
    })
}

/// Why a call gave no result.
struct Failure {
    kind: ErrorKind,
    message: String,
}

impl From<CallFailure> for Failure {
    fn from(failure: CallFailure) -> Self {
        let kind = match failure.class {
            _ if failure.is_denied() => ErrorKind::AccessDenied,
            _ if failure.is_not_found() => ErrorKind::TopicNotFound,
            FailureClass::Refused => ErrorKind::RequestRejected,
            FailureClass::Throttled | FailureClass::Unavailable => ErrorKind::Unavailable,
        };
        Self {
            kind,
            message: failure.to_string(),
        }
    }
}

impl Failure {
    fn is_denied(&self) -> bool {
        self.kind == ErrorKind::AccessDenied
    }
}

/// What `GetTopicAttributes` returns, as far as it can be read.
#[derive(Default)]
struct Attributes {
    confirmed: Option<u64>,
    pending: Option<u64>,
    limit: Option<usize>,
}

impl<'a> TopicCheck<'a> {
    pub fn new(sns: &'a Client, topic_arn: &'a str) -> Self {
        Self {
            sns,
            topic_arn,
            last: Mutex::new(None),
            finished: AtomicU64::new(0),
        }
    }

    /// Returns what SNS says about the topic. Those who wait for one check share its result; only a
    /// confirmed subscription is remembered for longer.
    pub async fn get(&self) -> Topic {
        let before = self.finished.load(Ordering::Relaxed);
        let mut last = self.last.lock().await;
        let is_shared = self.finished.load(Ordering::Relaxed) > before;
        if let Some(topic) = last
            .as_ref()
            .filter(|topic| is_shared || topic.is_certain())
        {
            return topic.clone();
        }
        let topic = self.check().await;
        *last = Some(topic.clone());
        self.finished.fetch_add(1, Ordering::Relaxed);
        topic
    }

    /// Counts the subscriptions; lists them only if that shows none.
    async fn check(&self) -> Topic {
        let attributes = in_time("GetTopicAttributes", self.attributes()).await;
        let limit = attributes.as_ref().ok().and_then(|read| read.limit);
        let count = attributes.and_then(|read| match read.confirmed {
            Some(confirmed) => Ok((confirmed, read.pending.unwrap_or_default())),
            None => Err(Failure {
                kind: ErrorKind::Unavailable,
                message: "GetTopicAttributes returned no number of subscriptions".to_owned(),
            }),
        });
        let (subscription, warning) = match count {
            Ok((1.., _)) => (Subscription::Confirmed, None),
            count => {
                let listed = in_time("ListSubscriptionsByTopic", self.listed(1)).await;
                let has_confirmed = listed.map(|listed| listed.confirmed > 0);
                judge(self.topic_arn, count, has_confirmed)
            }
        };
        Topic {
            limit,
            subscription,
            warning,
        }
    }

    async fn attributes(&self) -> Result<Attributes, Failure> {
        let request = self.sns.get_topic_attributes().topic_arn(self.topic_arn);
        let response = request.send().await;
        let response = response.map_err(|error| CallFailure::new("GetTopicAttributes", &error))?;
        let attributes = response.attributes.unwrap_or_default();
        let number = |name| attributes.get(name).and_then(|text| text.parse().ok());
        let limit = attributes.get("MaximumMessageSize");
        Ok(Attributes {
            confirmed: number("SubscriptionsConfirmed"),
            pending: number("SubscriptionsPending"),
            limit: limit.and_then(|text| text.parse().ok()),
        })
    }

    /// Lists the subscriptions until this many are confirmed, and counts them.
    async fn listed(&self, confirmed: u64) -> Result<SubscriptionCount, Failure> {
        let mut count = SubscriptionCount::default();
        let request = self.sns.list_subscriptions_by_topic();
        let request = request.topic_arn(self.topic_arn);
        let mut listed = request.into_paginator().items().send();
        while let Some(subscription) = listed.next().await {
            let subscription = subscription
                .map_err(|error| CallFailure::new("ListSubscriptionsByTopic", &error))?;
            // Others have a word in its place, such as `PendingConfirmation` or `Deleted`.
            let arn = subscription.subscription_arn.unwrap_or_default();
            count.confirmed += u64::from(arn.starts_with("arn:"));
            count.pending += u64::from(arn == "PendingConfirmation");
            if count.confirmed >= confirmed {
                break;
            }
        }
        Ok(count)
    }
}

impl Topic {
    /// Whether another check could tell nothing more.
    fn is_certain(&self) -> bool {
        matches!(self.subscription, Subscription::Confirmed) && self.limit.is_some()
    }

    /// Returns the bytes that a message may have; `GetTopicAttributes` may state more than the
    /// default limit.
    pub fn message_limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT).min(DEFAULT_LIMIT)
    }

    /// Returns a topic about which SNS did not respond in time.
    pub fn without_response(topic_arn: &str) -> Self {
        let failure = no_response("GetTopicAttributes");
        Self {
            limit: None,
            subscription: unknown(topic_arn, &failure.message),
            warning: None,
        }
    }
}

async fn in_time<T>(
    operation: &str,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let response = tokio::time::timeout(CHECK_TIMEOUT, call).await;
    response
        .unwrap_or_else(|_| Err(no_response(operation)))
        .inspect_err(|failure| {
            warn!(
                error = failure.message,
                "cannot check the topic's subscriptions"
            );
        })
}

fn no_response(operation: &str) -> Failure {
    Failure {
        kind: ErrorKind::Unavailable,
        message: format!("{operation} failed: no response in time"),
    }
}

fn unknown(topic_arn: &str, why: &str) -> Subscription {
    let message = format!("cannot tell whether {topic_arn} has a confirmed subscription: {why}");
    Subscription::Unknown(AuditError::new(ErrorKind::Unavailable, message))
}

/// Judges what is known after both checks; `count` shows no confirmed subscription. Also returns a
/// warning.
fn judge(
    topic_arn: &str,
    count: Result<(u64, u64), Failure>,
    listed: Result<bool, Failure>,
) -> (Subscription, Option<String>) {
    let warning = |why: &str| Some(format!("subscriptions of {topic_arn} not verified: {why}"));
    match (count, listed) {
        (Ok(_), Ok(true)) => {
            let why = "SNS counts no confirmed subscription, but lists one";
            (Subscription::Confirmed, warning(why))
        }
        (Err(failure), Ok(true)) => (Subscription::Confirmed, warning(&failure.message)),
        (Ok((_, pending)), Ok(false)) => {
            let message = format!(
                "{topic_arn} has no confirmed subscription ({pending} pending confirmation)"
            );
            let error = AuditError::new(ErrorKind::TopicWithoutSubscription, message);
            (Subscription::Missing(error), None)
        }
        (count, listed) => {
            let failures = [count.err(), listed.err()].into_iter().flatten();
            // What nobody read must stay pending, so an outage outweighs a denial.
            match failures.min_by_key(Failure::is_denied) {
                Some(failure) if failure.is_denied() => {
                    (Subscription::NotVisible, warning(&failure.message))
                }
                failure => {
                    let why = failure.map_or_else(String::new, |failure| failure.message);
                    (unknown(topic_arn, &why), None)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_responses_is_judged() {
        let failure = |kind: ErrorKind| Failure {
            kind,
            message: kind.name().to_owned(),
        };
        let denied = || failure(ErrorKind::AccessDenied);
        let failed = || failure(ErrorKind::Unavailable);
        let judged = |count, listed| match judge("topic", count, listed) {
            (Subscription::Confirmed, warning) => ("confirmed", warning.is_some()),
            (Subscription::NotVisible, warning) => ("not visible", warning.is_some()),
            (Subscription::Unknown(_), warning) => ("unknown", warning.is_some()),
            (Subscription::Missing(_), warning) => ("missing", warning.is_some()),
        };
        for (count, listed, expected) in [
            (Ok((0, 1)), Ok(true), ("confirmed", true)),
            (Ok((0, 1)), Ok(false), ("missing", false)),
            (Ok((0, 1)), Err(denied()), ("not visible", true)),
            (Ok((0, 1)), Err(failed()), ("unknown", false)),
            (Err(denied()), Ok(true), ("confirmed", true)),
            (Err(denied()), Ok(false), ("not visible", true)),
            (Err(denied()), Err(denied()), ("not visible", true)),
            (Err(denied()), Err(failed()), ("unknown", false)),
            (Err(failed()), Ok(true), ("confirmed", true)),
            (Err(failed()), Ok(false), ("unknown", false)),
            (Err(failed()), Err(denied()), ("unknown", false)),
            (Err(failed()), Err(failed()), ("unknown", false)),
        ] {
            assert_eq!(judged(count, listed), expected);
        }
    }
}
