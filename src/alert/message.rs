//! Builds the messages that SNS gets from an alert.

use serde_json::{Map, Value, json};

use crate::alert::content::Content;
use crate::alert::size::{
    DEFAULT_LIMIT, EMAIL_LIST_ROOM, EMAIL_SHARE, escaped_len, to_json, with_values,
};
use crate::alert::types::Alert;
use crate::alert::{chat_card, email, kinds};
use crate::revocation::reason::Severity;
use crate::text::visible::ascii;

/// Maximum characters of a subject: SNS takes fewer than 100 (`Publish`, Amazon SNS API Reference).
const MAX_SUBJECT_LEN: usize = 99;

/// SNS sends an SMS of up to 140 ASCII characters as one message (Amazon SNS FAQs).
const MAX_SMS_LEN: usize = 140;

/// Bytes by which the number of listed revocations changes the words around a list.
const SPARE: usize = 16;

/// Which revocations a message holds.
struct Form {
    /// Number of the worst in the JSON message; `usize::MAX` if it holds all of the batch.
    entries: usize,
    /// The room for the email's list.
    email_list_room: usize,
}

impl Form {
    /// Removes the revocations that the message does not hold.
    fn apply(&self, content: &mut Content) {
        if self.entries < usize::MAX {
            let document = &mut content.document;
            document.complete = Some(false);
            let entries = document.revocations.iter_mut();
            entries.for_each(|entries| entries.truncate(self.entries));
        }
    }
}

/// The parameters of a `Publish` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message's type, such as `revocations` or `watch-failed`.
    pub kind: &'static str,
    /// The severity: that of the worst revocation. `watch-failed` and `watch-stopped` are high, since
    /// there are no alerts; a test is critical like its sample, so that the path to a pager can be tested.
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
    /// revocations or of the certificate authorities as fit, or in its reduced form if none does.
    ///
    /// What it holds is decided as if nothing had been investigated. Then it gets the investigations of
    /// as many of the worst revocations as fit.
    pub fn message_within(&self, limit: usize) -> Message {
        let investigated = self.revocations().map_or(0, |it| it.batch.investigated());
        if investigated == 0 {
            return self.uninvestigated_within(limit).0;
        }
        let base = self.with_investigations(0).uninvestigated_within(limit);
        let (message, Some(form)) = base else {
            return base.0;
        };
        for number in (1..=investigated).rev() {
            let alert = self.with_investigations(number);
            let mut content = kinds::content(&alert);
            form.apply(&mut content);
            let message = alert.full_message(&content, form.email_list_room);
            if message.size_bytes() <= limit {
                return message;
            }
        }
        message
    }

    /// Returns the message of an alert without investigations, and its form unless it is the reduced one.
    fn uninvestigated_within(&self, limit: usize) -> (Message, Option<Form>) {
        let mut content = kinds::content(self);
        let message = self.full_message(&content, EMAIL_LIST_ROOM);
        if message.size_bytes() <= limit {
            let form = Form {
                entries: usize::MAX,
                email_list_room: EMAIL_LIST_ROOM,
            };
            return (message, Some(form));
        }
        let fitted = match content.document.revocations.take() {
            Some(entries) => self.with_fewer_revocations(content, entries, limit),
            None => {
                let message = self.with_fewer_authorities(&mut content, limit);
                Some((message, None))
            }
        };
        let fitted = fitted.filter(|(message, _)| message.size_bytes() <= limit);
        fitted.unwrap_or_else(|| (self.reduced(), None))
    }

    /// Returns the alert with the investigations of the worst `number` revocations only.
    fn with_investigations(&self, number: usize) -> Self {
        let mut alert = self.clone();
        if let Some(revocations) = alert.revocations_mut() {
            revocations.batch.keep_investigations(number);
        }
        alert
    }

    /// Returns the message with as many of the revocations as fit, if any does.
    fn with_fewer_revocations(
        &self,
        mut content: Content,
        mut entries: Vec<Map<String, Value>>,
        limit: usize,
    ) -> Option<(Message, Option<Form>)> {
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
        let email_list_room = room / EMAIL_SHARE;
        let form = Form {
            entries: fits,
            email_list_room,
        };
        (fits > 0).then(|| (self.full_message(&content, email_list_room), Some(form)))
    }

    /// Returns the message with as many of the certificate authorities as fit, but at least one.
    pub(super) fn with_fewer_authorities(&self, content: &mut Content, limit: usize) -> Message {
        let document = &mut content.document;
        let without = split_rest(&mut document.without_revocation_checking);
        let arns = split_rest(&mut document.certificate_authority_arns);
        let rest = self.full_message(content, EMAIL_LIST_ROOM).size_bytes();
        let room = limit.saturating_sub(rest);
        let document = &mut content.document;
        // In a summary, those without revocation checking matter more than the whole list.
        let used = refill(&mut document.without_revocation_checking, without, room / 2);
        refill(&mut document.certificate_authority_arns, arns, room - used);
        self.full_message(content, EMAIL_LIST_ROOM)
    }

    /// Returns the message for the topic of a chat channel.
    pub fn chat(&self) -> Message {
        let content = kinds::content(self);
        let texts = json!({ "default": chat_card::render(&content) });
        envelope(&content, &texts)
    }

    /// `list_room` is the room for the email's list of revocations, in escaped bytes.
    pub(super) fn full_message(&self, content: &Content, list_room: usize) -> Message {
        let texts = json!({
            "default": to_json(&with_values(&content.document)),
            "email": email::render(content, list_room),
            "sms": content.sms.fitted(MAX_SMS_LEN, |name| ascii(name, MAX_SMS_LEN)),
        });
        envelope(content, &texts)
    }
}

/// `texts` has the text for each protocol.
fn envelope(content: &Content, texts: &Value) -> Message {
    let document = &content.document;
    let mut attributes = vec![
        ("severity", "String", document.severity.name().to_owned()),
        ("type", "String", document.kind.to_owned()),
    ];
    if let Some(arn) = &document.certificate_authority_arn {
        attributes.push(("certificateAuthorityArn", "String", arn.clone()));
    }
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
        group_id: content.group_id.clone(),
        id: document.id.clone(),
        is_complete: document.complete != Some(false),
        is_reduced: document.reduced == Some(true),
    }
}

/// Removes everything after the first item; returns it.
fn split_rest(list: &mut Option<Vec<String>>) -> Vec<String> {
    let rest = list.as_mut().map(|list| list.split_off(list.len().min(1)));
    rest.unwrap_or_default()
}

/// Adds items until `room` bytes of the message are used; returns how many are.
fn refill(list: &mut Option<Vec<String>>, rest: Vec<String>, room: usize) -> usize {
    let mut used = 0;
    for item in rest {
        let len = escaped_len(&to_json(&item)) + 1;
        if used + len > room {
            break;
        }
        used += len;
        list.get_or_insert_default().push(item);
    }
    used
}
