//! Subscriptions and their protocols.

/// Protocol of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the API's own")]
pub enum Protocol {
    Email,
    EmailJson,
    Sms,
    Sqs,
    Lambda,
    Http,
    Https,
    Firehose,
}

impl Protocol {
    /// Returns the API's name, which is also the key in a message with `MessageStructure=json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::EmailJson => "email-json",
            Self::Sms => "sms",
            Self::Sqs => "sqs",
            Self::Lambda => "lambda",
            Self::Http => "http",
            Self::Https => "https",
            Self::Firehose => "firehose",
        }
    }
}

/// A subscription.
#[derive(Clone, Debug)]
#[must_use]
pub struct Subscription {
    pub(super) protocol: Protocol,
    pub(super) endpoint: String,
    pub(super) confirmed: bool,
}

impl Subscription {
    /// Creates a confirmed subscription.
    pub fn new(protocol: Protocol, endpoint: impl Into<String>) -> Self {
        Self {
            protocol,
            endpoint: endpoint.into(),
            confirmed: true,
        }
    }

    /// Makes the subscription unconfirmed, so that it receives nothing.
    pub fn pending(mut self) -> Self {
        self.confirmed = false;
        self
    }
}
