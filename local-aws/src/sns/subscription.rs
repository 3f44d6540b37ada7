//! Subscriptions, and the protocols they deliver by.

/// The protocols of subscriptions.
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
    /// The API's word for it, which is also the key of its variant in a message of structure `json`.
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

/// A subscription to be made.
#[derive(Clone, Debug)]
#[must_use]
pub struct Subscription {
    pub(super) protocol: Protocol,
    pub(super) endpoint: String,
    pub(super) confirmed: bool,
}

impl Subscription {
    /// A confirmed subscription that gets everything.
    pub fn new(protocol: Protocol, endpoint: impl Into<String>) -> Self {
        Self {
            protocol,
            endpoint: endpoint.into(),
            confirmed: true,
        }
    }

    /// It has not been confirmed yet, and gets nothing.
    pub fn pending(mut self) -> Self {
        self.confirmed = false;
        self
    }
}
