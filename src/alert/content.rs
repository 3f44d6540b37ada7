//! What a message says, independent of its formats.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::alert::certificate::Certificate;
use crate::alert::commands::Command;
use crate::alert::fact::Fact;
use crate::alert::line::Line;
use crate::alert::reasons;
use crate::alert::types::{Alert, ObjectLocation};
use crate::revocation::key::{hash, hex};
use crate::revocation::reason::{ReasonCounts, Severity};
use crate::text::numbers::with_separators;
use crate::timestamp::Timestamp;

/// Maximum characters of an error's texts, because AWS's errors can quote whole requests, and of a
/// CA's name.
pub(super) const MAX_CHARS: usize = 1000;

/// The JSON message for programs: SQS, Lambda, HTTP, HTTPS, Firehose and email-JSON subscribers.
///
/// Its schema is `docs/message.schema.json`. Everything that a filter policy of scope `MessageBody`
/// needs is at the top level. Fields without a value are left out.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    /// A change that a reader of this version would misread gets a new one.
    pub schema: &'static str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub id: String,
    pub severity: Severity,
    /// The only certificate authority that the message is about.
    pub certificate_authority_arn: Option<String>,
    pub certificate_authority_name: Option<String>,
    /// As many as fit.
    pub certificate_authority_arns: Option<Vec<String>>,
    pub account_id: String,
    pub region: String,
    pub reasons: Vec<String>,
    pub detected_at: Option<Timestamp>,
    pub since: Option<Timestamp>,
    pub request_id: Option<String>,
    pub error: Option<Value>,
    pub last_complete_audit_at: Option<Timestamp>,
    pub next_summary_at: Option<Timestamp>,
    pub oldest_audit_at: Option<Timestamp>,
    pub problems: Option<Vec<Value>>,
    /// As many as fit.
    pub without_revocation_checking: Option<Vec<String>>,
    pub report: Option<Value>,
    pub notify_from: Option<Timestamp>,
    pub counts: Option<Value>,
    pub reduced: Option<bool>,
    pub complete: Option<bool>,
    pub full_list: Option<ObjectLocation>,
    pub revocations: Option<Vec<Map<String, Value>>>,
}

/// A list with a heading.
pub(super) struct List {
    pub heading: &'static str,
    /// The first items.
    pub items: Vec<Line>,
    /// Number of all items.
    pub total: u64,
}

impl List {
    /// Returns the line after the first items, if there are more.
    pub fn more(&self, shown: usize) -> Option<String> {
        let more = self.total.saturating_sub(shown as u64);
        (more > 0).then(|| format!("and {} more", with_separators(more)))
    }
}

/// The facts of a message, in the order in which people should read them.
#[derive(Default)]
pub(super) struct Content {
    pub document: Document,
    /// The name of the certificate authority, if the message is about exactly one; may be any text.
    pub authority: Option<String>,
    /// `MessageGroupId` for a FIFO topic, and the thread of a chat channel.
    pub group_id: String,
    /// The emoji before the chat card's title.
    pub sign: &'static str,
    /// The email's subject line.
    pub subject: Line,
    /// The email's first line.
    pub headline: Line,
    /// The chat card's title.
    pub title: Line,
    /// The SMS.
    pub sms: Line,
    /// What it means.
    pub intro: String,
    /// What is wrong, and how to fix it.
    pub cause: Vec<Fact>,
    pub facts: Vec<Fact>,
    pub lists: Vec<List>,
    /// Numbers of revocations by reason, in words.
    pub counts: Vec<(u64, String)>,
    /// The worst revocations.
    pub certificates: Vec<Certificate>,
    /// Number of all revocations of the message.
    pub total: u64,
    /// What to do, most urgent first: a reason in words (empty if there are no others) and its
    /// instructions (at least one).
    pub next_steps: Vec<(String, Vec<String>)>,
    /// What to do because of what was found out, most urgent first.
    pub found_steps: Vec<String>,
    pub commands: Vec<Command>,
    /// Names and addresses of pages: the operator's runbook, and the AWS console.
    pub links: Vec<(&'static str, String)>,
    /// The audit report that the message is based on.
    pub report: Option<Fact>,
    /// Where the message comes from.
    pub sources: Vec<Fact>,
}

impl Content {
    /// Returns a content without texts. `identity` is what distinguishes the message from all others.
    pub fn new(alert: &Alert, kind: &'static str, severity: Severity, identity: &[&[u8]]) -> Self {
        let only = alert.only_authority();
        Self {
            document: Document {
                schema: "pca-revocation-watch/1",
                kind,
                id: hex(&hash(identity)),
                severity,
                certificate_authority_arn: only.map(|authority| authority.arn.to_string()),
                certificate_authority_name: only
                    .and_then(|authority| authority.name.as_deref())
                    .map(bounded),
                detected_at: Some(alert.detected_at),
                ..Document::default()
            },
            authority: only.map(|authority| authority.name().to_owned()),
            sign: match severity {
                Severity::Critical => "\u{1f534}",
                Severity::High => "\u{1f7e0}",
                Severity::Low => "\u{1f535}",
            },
            ..Self::default()
        }
    }

    pub fn fact(&mut self, label: &'static str, text: impl Into<String>) {
        self.facts.push(Fact::text(label, text));
    }
}

/// Returns numbers by reason, in words.
pub(super) fn by_reason(counts: &ReasonCounts) -> Vec<(u64, String)> {
    let in_words = |(name, number)| (number, reasons::words(name));
    counts.iter().map(in_words).collect()
}

/// Returns the start of a text of AWS or others for the JSON message.
pub(super) fn bounded(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}
