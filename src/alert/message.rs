//! Builds the messages that SNS gets from an alert.

use serde_json::{Value, json};

use crate::alert::content::Content;
use crate::alert::entry::HIDDEN;
use crate::alert::size::{to_json, with_values};
use crate::alert::types::{Alert, AlertKind};
use crate::alert::{chat_card, email};
use crate::revocation::reason::Severity;
use crate::text::visible::ascii;

/// Maximum characters of a subject: SNS takes fewer than 100 (`Publish`, Amazon SNS API Reference).
const MAX_SUBJECT_LEN: usize = 99;

/// SNS sends an SMS of up to 140 ASCII characters as one message (Amazon SNS FAQs).
const MAX_SMS_LEN: usize = 140;

/// The parameters of a `Publish` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message's type, such as `revocations` or `watch-failed`.
    pub kind: &'static str,
    /// The severity: that of the worst revocation. `watch-failed` is high, since alerts are paused;
    /// a test is critical like its sample, so that the path to a pager can be tested.
    pub severity: Severity,
    /// Fewer than 100 printable ASCII characters.
    pub subject: String,
    /// The document of `MessageStructure=json`.
    pub body: String,
    /// The message attributes: name, data type (`String` or `String.Array`) and value.
    pub attributes: Vec<(&'static str, &'static str, String)>,
    /// `MessageGroupId` for a FIFO topic.
    pub group_id: String,
    /// The message's `id`, also `MessageDeduplicationId` for a FIFO topic: a repeat after a lost
    /// reply has the same.
    pub id: String,
}

impl Alert {
    /// Returns the message for the topic of all kinds of subscribers.
    pub fn message(&self) -> Message {
        self.full_message(&Content::of(self))
    }

    /// Returns the same message for when SNS refuses it: no text that others chose, and ASCII only.
    pub fn reduced(&self) -> Message {
        let mut alert = self.clone();
        alert.name = None;
        if let AlertKind::Revocations(revocations) | AlertKind::Replay { revocations, .. } =
            &mut alert.kind
        {
            revocations.batch.hide_free_text();
        }
        let mut content = Content::of(&alert);
        let document = &mut content.document;
        document.reduced = Some(true);
        document.complete = document.complete.map(|_| false);
        for entry in document.revocations.iter_mut().flatten() {
            entry.retain(|_, value| value != HIDDEN);
        }
        let mut message = alert.full_message(&content);
        message.body = message.body.replace(|c: char| !c.is_ascii(), "?");
        message
    }

    /// Returns the message for the topic of a chat channel.
    pub fn chat(&self) -> Message {
        let content = Content::of(self);
        let texts = json!({ "default": chat_card::render(self, &content) });
        self.envelope(&content, &texts)
    }

    fn full_message(&self, content: &Content) -> Message {
        let arn = &self.certificate_authority;
        let sms = content.title.clone().words(". CA ");
        let sms = sms.name(self.authority_name());
        let sms = sms.words(format!(", {} {}", arn.account(), arn.region()));
        let texts = json!({
            "default": to_json(&with_values(&content.document)),
            "email": email::render(self, content),
            "sms": sms.fitted(MAX_SMS_LEN, |name| ascii(name, MAX_SMS_LEN)),
        });
        self.envelope(content, &texts)
    }

    /// `texts` has the text for each protocol.
    fn envelope(&self, content: &Content, texts: &Value) -> Message {
        let (document, arn) = (&content.document, &self.certificate_authority);
        let mut attributes = vec![
            ("severity", "String", document.severity.name().to_owned()),
            ("type", "String", document.kind.to_owned()),
            ("certificateAuthorityArn", "String", arn.to_string()),
        ];
        if !document.reasons.is_empty() {
            attributes.push(("reasons", "String.Array", to_json(&document.reasons)));
        }
        let name = |name: &str| ascii(name, MAX_SUBJECT_LEN);
        Message {
            kind: document.kind,
            severity: document.severity,
            subject: content.subject.fitted(MAX_SUBJECT_LEN, name),
            body: to_json(texts),
            attributes,
            group_id: arn.id().to_owned(),
            id: document.id.clone(),
        }
    }
}
