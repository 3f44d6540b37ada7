//! The reduced form of a message, for when SNS refuses the full one: ASCII, no text that others
//! chose, and short enough for almost every topic.

use serde_json::{Value, json};

use crate::alert::content::Content;
use crate::alert::entry::HIDDEN;
use crate::alert::fact::{Fact, Value as FactValue};
use crate::alert::kinds;
use crate::alert::message::Message;
use crate::alert::types::{Alert, ObjectLocation};

/// Maximum bytes of a reduced message with its attributes, whatever it is about.
pub const MAX_REDUCED_LEN: usize = 4096;

/// How much a reduced message says.
struct Detail {
    /// Maximum revocations, and items of any other list.
    listed: usize,
    /// Maximum characters of each of an error's texts.
    chars: usize,
    /// Whether it states the key of the report.
    report_key: bool,
    /// Whether it counts the revocations by reason.
    by_reason: bool,
    /// Whether it states the location of the full list.
    full_list: bool,
}

/// From the most to the least: the first that fits is used. The last fits whatever the alert is about.
const DETAILS: [Detail; 5] = [
    Detail { listed: 5, ..ALL },
    ALL,
    Detail {
        report_key: false,
        ..ALL
    },
    Detail {
        report_key: false,
        by_reason: false,
        ..ALL
    },
    Detail {
        listed: 1,
        chars: 100,
        report_key: false,
        by_reason: false,
        full_list: false,
    },
];

const ALL: Detail = Detail {
    listed: 2,
    chars: 400,
    report_key: true,
    by_reason: true,
    full_list: true,
};

/// The fields of a revocation in a reduced message.
const FIELDS: [&str; 7] = [
    "revocationId",
    "certificateArn",
    "serial",
    "reason",
    "severity",
    "revokedAt",
    "malformed",
];

impl Alert {
    /// Returns the message in its reduced form.
    pub fn reduced(&self) -> Message {
        let mut alert = self.clone();
        alert.hide_names();
        if let Some(revocations) = alert.revocations_mut() {
            revocations.batch.hide_free_text();
        }
        let mut message = alert.reduced_to(&DETAILS[0]);
        for detail in &DETAILS[1..] {
            if message.size_bytes() > MAX_REDUCED_LEN {
                message = alert.reduced_to(detail);
            }
        }
        message
    }

    fn reduced_to(&self, detail: &Detail) -> Message {
        let mut content = kinds::content(self);
        reduce_document(&mut content, detail);
        reduce_text(&mut content, detail);
        let mut message = self.full_message(&content, usize::MAX);
        if message.size_bytes() > MAX_REDUCED_LEN {
            message = self.with_fewer_authorities(&mut content, MAX_REDUCED_LEN);
        }
        message.body = message.body.replace(|c: char| !c.is_ascii(), "?");
        message
    }
}

fn reduce_document(content: &mut Content, detail: &Detail) {
    let document = &mut content.document;
    document.reduced = Some(true);
    document.complete = document.complete.map(|_| false);
    if let Some(revocations) = &mut document.revocations {
        revocations.truncate(detail.listed);
        for entry in revocations {
            entry.retain(|name, value| FIELDS.contains(&name.as_str()) && value != HIDDEN);
        }
    }
    let problems = document.problems.iter_mut();
    problems.for_each(|problems| problems.truncate(detail.listed));
    let errors = document.problems.iter_mut().flatten();
    for error in errors.chain(&mut document.error) {
        for (name, chars) in [
            ("type", 64),
            ("resource", detail.chars),
            ("message", detail.chars),
            ("hint", detail.chars),
        ] {
            if let Some(Value::String(text)) = error.get_mut(name) {
                *text = plain(text, chars);
            }
        }
    }
    if let Some(report) = document.report.as_mut().filter(|_| !detail.report_key) {
        report["key"] = HIDDEN.into();
    }
    let by_reason = document
        .counts
        .as_mut()
        .and_then(|counts| counts.get_mut("byReason"));
    if let Some(by_reason) = by_reason.filter(|_| !detail.by_reason) {
        *by_reason = json!({});
    }
    document.full_list.take_if(|_| !detail.full_list);
}

/// Shortens the texts for people: the first step, and no commands or links.
fn reduce_text(content: &mut Content, detail: &Detail) {
    content.certificates.truncate(detail.listed);
    for certificate in &mut content.certificates {
        certificate.details.clear();
    }
    content.found_steps.clear();
    content.next_steps.truncate(1);
    for (about, steps) in &mut content.next_steps {
        about.clear();
        steps.truncate(1);
        steps[0] = plain(&steps[0], detail.chars);
    }
    for list in &mut content.lists {
        list.items.truncate(detail.listed);
    }
    for fact in content.cause.iter_mut().chain(&mut content.facts) {
        if let FactValue::Text(text) = &mut fact.value {
            *text = plain(text, detail.chars);
        }
    }
    content
        .counts
        .truncate(if detail.by_reason { 18 } else { 0 });
    content.commands.clear();
    content.links.clear();
    content.report = None;
    let document = &content.document;
    let arn = document.certificate_authority_arn.as_deref();
    content.sources = Vec::from_iter(arn.map(|arn| Fact::code("CA ARN", arn)));
    let location = document.full_list.as_ref().map(ObjectLocation::uri);
    // A longer one is in the JSON message only.
    let location = location.filter(|location| location.len() <= 256);
    content
        .sources
        .extend(location.map(|location| Fact::code("Full list", location)));
}

/// Returns at most `max_chars` characters of a text, all of them printable ASCII.
fn plain(text: &str, max_chars: usize) -> String {
    let printable = |c| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().take(max_chars).map(printable).collect()
}
