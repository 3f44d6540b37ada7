//! The card for a chat channel, after the custom notification schema of Amazon Q Developer in chat
//! applications (Administrator Guide, "Custom notifications"), which shows no other form.
//!
//! The card goes to Slack, Microsoft Teams or Amazon Chime, which read different dialects of
//! Markdown. Text that others chose is therefore put in code spans, or has every character that
//! means something to any of them replaced by one that looks alike: it cannot contain a mention, a
//! link or a format. The exact text is in the email and the JSON message.

use serde_json::json;

use crate::alert::certificate::Certificate;
use crate::alert::content::{Content, List};
use crate::alert::fact::{Fact, Value};
use crate::alert::size::{to_json, with_values};
use crate::text::numbers::with_separators;
use crate::text::visible::defang;

/// Maximum revocations that a card shows one by one, if these are all.
const MAX_LISTED: usize = 7;

/// Maximum revocations that a card shows before it counts them.
const MAX_EXAMPLES: usize = 3;

/// Maximum next steps.
const MAX_STEPS: usize = 5;

/// The limits are not published; other senders use this many characters without problems.
const MAX_TITLE_CHARS: usize = 250;

/// Maximum characters of a name.
const MAX_NAME_CHARS: usize = 64;

/// Maximum characters of an item of a list.
const MAX_ITEM_CHARS: usize = 150;

/// Maximum characters of a line of our own words.
const MAX_PROSE_CHARS: usize = 500;

/// Maximum characters of a line of words and names: enough never to cut a name of [`MAX_NAME_CHARS`].
const MAX_LINE_CHARS: usize = 1000;

/// Returns the card as JSON text.
pub(super) fn render(content: &Content) -> String {
    let document = &content.document;
    let line = content.title.fitted(MAX_TITLE_CHARS, name);
    let title = format!("{} {line}", content.sign);
    let (kind, severity) = (document.kind, document.severity.name());
    let keywords = [severity, kind].into_iter();
    let reasons = document.reasons.iter().take(3).map(String::as_str);
    let certificates = content.certificates.iter();
    let arns = certificates.filter_map(|item| item.arn.as_deref());
    let many = document.certificate_authority_arns.iter().flatten();
    let authorities = match &document.certificate_authority_arn {
        Some(only) => vec![only],
        None => many.take(MAX_LISTED).collect(),
    };
    let authorities = authorities.into_iter().map(String::as_str);
    let resources = authorities.chain(arns.take(MAX_LISTED));
    to_json(&json!({
        "version": "1.0",
        "source": "custom",
        "id": document.id,
        "content": {
            "textType": "client-markdown",
            "title": title,
            "description": description(content).join("\n"),
            "nextSteps": next_steps(content),
            "keywords": keywords.chain(reasons).collect::<Vec<_>>(),
        },
        "metadata": {
            "threadId": content.group_id,
            "summary": title,
            "eventType": kind,
            "relatedResources": resources.collect::<Vec<_>>(),
            "additionalContext": with_values(&json!({
                "account": document.account_id,
                "certificateAuthority": content.authority.as_deref().map(name),
                "messageId": document.id,
                "region": document.region,
                "severity": severity,
                "type": kind,
            })),
        },
    }))
}

fn description(content: &Content) -> Vec<String> {
    let (account, region) = (&content.document.account_id, &content.document.region);
    let mut context = format!("{account} \u{b7} {region}");
    if let Some(authority) = &content.authority {
        context = format!("{} \u{b7} {context}", name(authority));
    }
    let facts = content.cause.iter().chain(&content.facts);
    let mut lines: Vec<String> = facts.map(fact).collect();
    if !content.intro.is_empty() {
        lines.insert(0, prose(&content.intro));
    }
    let listed = match content.certificates.as_slice() {
        [only] if content.total == 1 => {
            let mut facts = only.facts.as_slice();
            if let Value::Text(when) = &facts[0].value {
                context = format!("{context} \u{b7} revoked {when}");
                context.extend(by(only).map(|by| format!(" {by}")));
                context.extend(in_use(only).map(|in_use| format!(" \u{b7} {in_use}")));
                facts = &facts[1..];
            }
            lines.extend(only.findings.decisive.iter().map(fact));
            lines.extend(not_known(only));
            lines.extend(facts.iter().map(fact));
            1
        }
        many => list(many, content.total, &mut lines),
    };
    lines.insert(0, context);
    if listed < content.total {
        lines.extend(counts(content));
    }
    lines.extend(content.lists.iter().flat_map(lines_of));
    if let Some(list) = &content.document.full_list {
        lines.push(format!("Full list: {}", span(&list.uri())));
    }
    lines.extend(content.report.as_ref().map(fact));
    lines
}

/// Adds the worst certificates; returns how many.
fn list(certificates: &[Certificate], total: u64, lines: &mut Vec<String>) -> u64 {
    let listed = match certificates.len() {
        all @ ..=MAX_LISTED if all as u64 == total => all,
        _ => MAX_EXAMPLES.min(certificates.len()),
    };
    lines.extend(certificates[..listed].iter().map(|item| {
        let (certificate, reason) = (code(&item.name), name(&item.reason));
        let [revoked, _, serial] = item.facts.each_ref().map(fact);
        let by = by(item).map(|by| format!(" {by}")).unwrap_or_default();
        let in_use = in_use(item).map(|text| format!("\n   {text}"));
        let in_use = in_use.unwrap_or_default();
        let decisive = item.findings.decisive.iter();
        let decisive: String = decisive
            .map(fact)
            .chain(not_known(item))
            .map(|line| format!("\n   {line}"))
            .collect();
        format!("\u{2022} {certificate}: {reason}\n   {revoked}{by}{in_use}{decisive}\n   {serial}")
    }));
    listed as u64
}

/// The counts by reason; at most 18.
fn counts(content: &Content) -> impl Iterator<Item = String> {
    let heading = format!("*All {} by reason:*", with_separators(content.total));
    let counts = content.counts.iter();
    let lines = counts
        .map(|(number, reason)| format!("\u{2022} {} {}", with_separators(*number), name(reason)));
    std::iter::once(heading).chain(lines)
}

/// A list and its heading.
fn lines_of(list: &List) -> Vec<String> {
    let shown = &list.items[..list.items.len().min(MAX_LISTED)];
    let mut lines = vec![format!("*{}:*", list.heading)];
    let items = shown
        .iter()
        .map(|item| prose(&item.fitted(MAX_ITEM_CHARS, name)));
    lines.extend(
        items
            .chain(list.more(shown.len()))
            .map(|item| format!("\u{2022} {item}")),
    );
    lines
}

/// The steps that the findings require, then those for the only reason, or the first step for each of
/// several reasons.
fn next_steps(content: &Content) -> Vec<String> {
    let groups = content.next_steps.iter();
    let steps = groups.flat_map(|(about, steps)| match about.as_str() {
        "" => steps.iter().map(|step| prose(step)).collect(),
        about => vec![format!("{}: {}", name(about), prose(&steps[0]))],
    });
    let links = content.links.iter();
    let links = links.map(|(name, address)| format!("{name}: {address}"));
    let found = content.found_steps.iter().map(|step| prose(step));
    found.chain(steps).take(MAX_STEPS).chain(links).collect()
}

fn fact(fact: &Fact) -> String {
    let value = match &fact.value {
        Value::Text(text) => prose(text),
        Value::Code(text) | Value::Quoted(text) => code(text),
        Value::Line(line) => line.fitted(MAX_LINE_CHARS, code),
    };
    format!("{}: {value}", fact.label)
}

/// Who revoked a certificate, if that is known.
fn by(certificate: &Certificate) -> Option<String> {
    let by = certificate.findings.by.as_deref()?;
    Some(format!("by {}", code(by)))
}

/// What could not be found out about a certificate, if anything.
fn not_known(certificate: &Certificate) -> Option<String> {
    let not_known = &certificate.findings.not_known;
    let what = not_known.join(", ");
    (!what.is_empty()).then(|| format!("Not known: {what} (reasons in the email)"))
}

/// Where a certificate is in use, if that is known.
fn in_use(certificate: &Certificate) -> Option<String> {
    let resource = certificate.findings.in_use_by.as_ref()?;
    Some(format!(
        "in use by {}",
        resource.fitted(MAX_LINE_CHARS, code)
    ))
}

/// A name outside of a code span.
fn name(text: &str) -> String {
    replaced(&defang(text, MAX_NAME_CHARS), ACTIVE)
}

/// Text that others chose, in a code span.
fn code(text: &str) -> String {
    span(&defang(text, MAX_NAME_CHARS))
}

/// A code span, in which only the characters that end it, or are read nevertheless, matter.
fn span(text: &str) -> String {
    let text = replaced(text, "`<>&@|");
    format!("`{}`", if text.trim().is_empty() { "-" } else { &text })
}

/// Our own words, which may quote others: no mention, link or format, but characters that our names
/// contain, such as `_`, stay as they are.
fn prose(text: &str) -> String {
    let text = replaced(text, "<>&@`*~[]|");
    text.chars().take(MAX_PROSE_CHARS).collect()
}

/// What mentions, links, entities, emoji and formats are made of.
const ACTIVE: &str = "<>&@`*_~[]|\\#!:";

/// A character that looks like each of [`ACTIVE`].
const LOOK_ALIKES: &str = "\u{2039}\u{203a}\u{ff06}\u{ff20}\u{2019}\u{2217}\u{ff3f}\u{223c}\u{298b}\u{298c}\u{2223}\u{2216}\u{ff03}\u{ff01}\u{a789}";

/// Replaces the characters in `active` by those that look like them.
fn replaced(text: &str, active: &str) -> String {
    let pairs = || ACTIVE.chars().zip(LOOK_ALIKES.chars());
    let pair = |c| pairs().find(|&(known, _)| known == c && active.contains(c));
    text.chars()
        .map(|c| pair(c).map_or(c, |(_, alike)| alike))
        .collect()
}
