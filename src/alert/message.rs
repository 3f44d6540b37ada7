//! Builds the messages that SNS gets from an alert.

use serde_json::{Value, json};

use crate::alert::content::Content;
use crate::alert::size::{
    DEFAULT_LIMIT, EMAIL_LIST_ROOM, EMAIL_SHARE, escaped_len, to_json, with_values,
};
use crate::alert::types::Alert;
use crate::alert::{chat_card, email};
use crate::revocation::reason::Severity;
use crate::text::visible::ascii;

/// Maximum characters of a subject: SNS takes fewer than 100 (`Publish`, Amazon SNS API Reference).
const MAX_SUBJECT_LEN: usize = 99;

/// SNS sends an SMS of up to 140 ASCII characters as one message (Amazon SNS FAQs).
const MAX_SMS_LEN: usize = 140;

/// Bytes by which the number of listed revocations changes the words around a list.
const SPARE: usize = 16;

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
    /// The message's `id`: a repeat has the same.
    pub id: String,
    /// Whether it shows every revocation that it is about, with every field.
    pub is_complete: bool,
    /// Whether this is the reduced form.
    pub is_reduced: bool,
}

impl Message {
    /// Returns the bytes that count toward the topic's limit: those of the body and of the
    /// attributes' names, types and values.
    pub fn size_bytes(&self) -> usize {
        let attributes = self.attributes.iter();
        let lens =
            attributes.map(|(name, data_type, value)| name.len() + data_type.len() + value.len());
        self.body.len() + lens.sum::<usize>()
    }
}

impl Alert {
    /// Returns the message for a topic of all kinds of subscribers with SNS's default limit.
    pub fn message(&self) -> Message {
        self.message_within(DEFAULT_LIMIT)
    }

    /// Returns the message for a topic that accepts `limit` bytes: with as many of the worst
    /// revocations as fit, or in its reduced form if none does.
    pub fn message_within(&self, limit: usize) -> Message {
        let mut content = Content::of(self);
        let message = self.full_message(&content, EMAIL_LIST_ROOM);
        if message.size_bytes() <= limit {
            return message;
        }
        let Some(mut entries) = content.document.revocations.take() else {
            return self.reduced();
        };
        content.document.complete = Some(false);
        content.document.revocations = Some(Vec::new());
        let rest = self.full_message(&content, 0).size_bytes();
        let room = limit.saturating_sub(rest + SPARE);
        let mut entries_room = room - room / EMAIL_SHARE;
        let fits = entries.iter().take_while(|entry| {
            let len = escaped_len(&to_json(entry)) + 1;
            let fits = len <= entries_room;
            entries_room = entries_room.saturating_sub(len);
            fits
        });
        let fits = fits.count();
        entries.truncate(fits);
        content.document.revocations = Some(entries);
        let message = self.full_message(&content, room / EMAIL_SHARE);
        if fits > 0 && message.size_bytes() <= limit {
            message
        } else {
            self.reduced()
        }
    }

    /// Returns the message for the topic of a chat channel.
    pub fn chat(&self) -> Message {
        let content = Content::of(self);
        let texts = json!({ "default": chat_card::render(self, &content) });
        self.envelope(&content, &texts)
    }

    /// `list_room` is the room for the email's list of revocations, in escaped bytes.
    pub(super) fn full_message(&self, content: &Content, list_room: usize) -> Message {
        let arn = &self.certificate_authority;
        let sms = content.title.clone().words(". CA ");
        let sms = sms.name(self.authority_name());
        let sms = sms.words(format!(", {} {}", arn.account(), arn.region()));
        let texts = json!({
            "default": to_json(&with_values(&content.document)),
            "email": email::render(self, content, list_room),
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
            is_complete: document.complete != Some(false),
            is_reduced: document.reduced == Some(true),
        }
    }
}
