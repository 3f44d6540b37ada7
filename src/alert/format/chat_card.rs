//! The card for a chat channel, after the custom notification schema of Amazon Q Developer in chat
//! applications (Amazon Q Developer in chat applications Administrator Guide, "Custom
//! notifications"), which shows nothing of another shape.
//!
//! The card goes to Slack, Microsoft Teams or Amazon Chime as it is, and each reads its own
//! dialect of Markdown. Texts of others therefore stand in code spans only, in which characters
//! that mean something to any of them are replaced by others that look alike: a mention, a link or
//! a format cannot be written without them. The exact text is in the e-mail and the machine
//! document.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::alert::format::email::{advice, capitalized};
use crate::alert::format::json::is_plain_arn;
use crate::alert::size::to_json;
use crate::alert::wording::{
    bare_reason, console_of_authorities, count, defang, duration, grouped, instant, name_of,
    object, reason, time, who,
};
use crate::alert::{Alert, AlertKind, ObjectLocation, ReportSource, RevocationBatch, Totals};
use crate::revocation::reason::Severity;
use crate::revocation::reason_counts::{ReasonCounts, label};
use crate::revocation::record::Revocation;

/// Revocations that a card shows one by one, as long as these are all.
const MAX_LISTED: usize = 7;

/// Revocations that a card shows before it counts them.
const MAX_EXAMPLES: usize = 3;

/// Characters of them; Slack folds longer texts away.
const LIST_CHARS: usize = 1500;

/// Reasons whose counts a card shows.
const MAX_REASONS: usize = 8;

/// The limits are not published; other senders are known to get along with these.
const MAX_TITLE_CHARS: usize = 250;

/// The card of a notice, as JSON text.
pub(in crate::alert) fn render(alert: &Alert) -> String {
    let authority = &alert.certificate_authority;
    let content = content(alert);
    let summary: String = content.title.chars().take(MAX_TITLE_CHARS).collect();
    let mut keywords = vec![alert.severity().name().to_owned(), alert.kind().to_owned()];
    keywords.extend(alert.reasons().into_iter().take(3));
    let context = [
        ("severity", alert.severity().name().to_owned()),
        ("type", alert.kind().to_owned()),
        ("certificateAuthority", plain(name_of(authority), 64)),
        ("account", plain(authority.account(), 32)),
        ("region", plain(authority.region(), 32)),
        ("messageId", alert.id()),
    ];
    to_json(&Card {
        version: "1.0",
        source: "custom",
        id: alert.id(),
        content: CardContent {
            text_type: "client-markdown",
            title: summary.clone(),
            description: content.lines.join("\n"),
            next_steps: content.next_steps,
            keywords,
        },
        metadata: CardMetadata {
            thread_id: authority.id().to_owned(),
            summary,
            event_type: alert.kind(),
            related_resources: std::iter::once(authority.arn.clone())
                .chain(content.certificate_arns)
                .collect(),
            additional_context: context.into_iter().collect(),
        },
    })
}

#[derive(Serialize)]
struct Card {
    version: &'static str,
    source: &'static str,
    id: String,
    content: CardContent,
    metadata: CardMetadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CardContent {
    text_type: &'static str,
    title: String,
    description: String,
    next_steps: Vec<String>,
    keywords: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CardMetadata {
    thread_id: String,
    summary: String,
    event_type: &'static str,
    related_resources: Vec<String>,
    additional_context: BTreeMap<&'static str, String>,
}

/// What differs from notice to notice.
#[derive(Default)]
struct Content {
    title: String,
    lines: Vec<String>,
    next_steps: Vec<String>,
    certificate_arns: Vec<String>,
}

fn content(alert: &Alert) -> Content {
    let authority = plain(name_of(&alert.certificate_authority), 64);
    let sign = match alert.severity() {
        Severity::Critical => "\u{1f534}",
        Severity::High => "\u{1f7e0}",
        Severity::Low => "\u{1f535}",
    };
    let severity = alert.severity().name().to_uppercase();
    match &alert.kind {
        AlertKind::Revocations(told) => {
            let mut content = revocations(alert, told.batch(), told.full_list.as_ref());
            content.title = format!("{sign} {severity}: {}", content.title);
            content
                .lines
                .push(from_report(&told.report, Some(told.totals)));
            content
        }
        AlertKind::Replay {
            revocations: told,
            since,
            ..
        } => {
            let mut content = revocations(alert, told.batch(), told.full_list.as_ref());
            content.title = format!("\u{1f501} REPLAY, {severity}: {}", content.title);
            let why = format!(
                "Told again on request: every revocation since {}.",
                instant(*since)
            );
            content.lines.insert(0, why);
            content
                .lines
                .push(from_report(&told.report, Some(told.totals)));
            content
        }
        AlertKind::Test { .. } => {
            let mut content = revocations(alert, &alert.sample_batch(), None);
            content.title = format!("\u{1f9ea} TEST, nothing was revoked: {}", content.title);
            content
                .lines
                .insert(0, "A made-up revocation, to try this channel.".to_owned());
            content.next_steps = vec!["Nothing: this is a test.".to_owned()];
            content.certificate_arns.clear();
            content
        }
        AlertKind::WatchStarted {
            report,
            totals,
            revoked,
            notify_from,
            to_notify,
        } => {
            let mut lines = counts(revoked);
            lines.push(format!(
                "Told one by one from {} on: {} so far.",
                instant(*notify_from),
                grouped(*to_notify)
            ));
            lines.push(from_report(report, Some(*totals)));
            Content {
                title: format!("\u{2705} Watching {authority} for revocations"),
                lines,
                next_steps: vec!["Nothing: new revocations are told from now on.".to_owned()],
                ..Content::default()
            }
        }
        AlertKind::WatchFailed {
            error,
            since,
            last_complete_audit_at,
        } => Content {
            title: format!("{sign} WATCH FAILED: revocations of {authority} are not being told"),
            lines: vec![
                format!("*{}* since {}", plain(&error.kind, 64), instant(*since)),
                prose(&error.message, 500),
                match last_complete_audit_at {
                    Some(at) => format!("Last complete audit: {}", instant(*at)),
                    None => "There has been no complete audit yet.".to_owned(),
                },
            ],
            next_steps: vec![prose(&error.hint, 500)],
            ..Content::default()
        },
        AlertKind::WatchRecovered {
            error_type,
            since,
            report,
        } => Content {
            title: format!("\u{2705} RECOVERED: revocations of {authority} are being told again"),
            lines: vec![
                format!(
                    "*{}* began at {} and is over.",
                    plain(error_type, 64),
                    instant(*since)
                ),
                from_report(report, None),
            ],
            next_steps: vec!["Nothing.".to_owned()],
            ..Content::default()
        },
    }
}

fn revocations(
    alert: &Alert,
    batch: &RevocationBatch,
    full_list: Option<&ObjectLocation>,
) -> Content {
    let authority = &alert.certificate_authority;
    let mut content = Content::default();
    let name = plain(name_of(authority), 64);
    let worst = batch.counts().iter().next();
    let (worst, of_worst) = worst.map_or_else(
        || ("none".to_owned(), 0),
        |(name, count)| (plain(&bare_reason(name), 64), count),
    );
    let all = batch.len();
    content.title = match batch.worst().next() {
        Some(only) if all == 1 => format!("{} revoked, {worst} - {name}", plain(&who(only), 64)),
        _ => {
            let share = if of_worst == all {
                "all".to_owned()
            } else {
                grouped(of_worst)
            };
            let what = count(all, "certificate");
            format!("{what} revoked, {share} of them: {worst} - {name}")
        }
    };
    let mut room = LIST_CHARS;
    let listed = if all > MAX_LISTED as u64 {
        MAX_EXAMPLES
    } else {
        MAX_LISTED
    };
    for revocation in batch.worst().take(listed) {
        let line = line(alert, revocation);
        let chars = line.chars().count();
        if chars > room {
            break;
        }
        room -= chars;
        content.lines.push(line);
    }
    if all > content.lines.len() as u64 {
        content.lines.push(format!(
            "*All {} by reason, the worst above:*",
            grouped(all)
        ));
        content.lines.extend(counts(batch.counts()));
    }
    if let Some(location) = full_list {
        content
            .lines
            .push(format!("Full list: {}", span(&object(location))));
    }
    for (name, _) in batch.counts().iter().take(3) {
        if let Some(first) = advice(name).first() {
            let reason = capitalized(&plain(&reason(name), 120));
            content.next_steps.push(format!("{reason}: {first}"));
        }
    }
    content.next_steps.extend(
        console_of_authorities(authority).map(|address| format!("AWS Private CA: {address}")),
    );
    content.certificate_arns = batch
        .worst()
        .filter_map(|revocation| revocation.certificate_arn.clone())
        .filter(|arn| is_plain_arn(arn))
        .take(MAX_LISTED)
        .collect();
    content
}

/// One revocation: whose, why, when.
fn line(alert: &Alert, revocation: &Revocation) -> String {
    let when = match revocation.revoked_at.at {
        Some(at) => format!(
            "{}, detected {} later",
            instant(at),
            duration(alert.detected_at.since(at))
        ),
        None => code(&time(&revocation.revoked_at), 80),
    };
    format!(
        "\u{2022} {}: {}\n   revoked {when}\n   serial {}",
        code(&who(revocation), 64),
        plain(&reason(label(&revocation.reason)), 100),
        code(revocation.serial.as_deref().unwrap_or("not stated"), 64),
    )
}

fn counts(counts: &ReasonCounts) -> Vec<String> {
    let line = |(name, number): (&str, u64)| {
        format!("\u{2022} {} {}", grouped(number), plain(&reason(name), 100))
    };
    let mut lines: Vec<String> = counts.iter().take(MAX_REASONS).map(line).collect();
    let rest: u64 = counts
        .iter()
        .skip(MAX_REASONS)
        .map(|(_, number)| number)
        .sum();
    if rest > 0 {
        lines.push(format!("\u{2022} {} for other reasons", grouped(rest)));
    }
    lines
}

fn from_report(report: &ReportSource, totals: Option<Totals>) -> String {
    let content = totals.map_or(String::new(), |totals| {
        format!(
            ": {}, {} revoked",
            count(totals.certificates, "certificate"),
            grouped(totals.revoked)
        )
    });
    format!("Audit report of {}{content}", instant(report.requested_at))
}

/// Somebody else's text in a code span.
fn code(text: &str, max_chars: usize) -> String {
    span(&defang(text, max_chars))
}

/// A code span, in which only what ends it, or is read nevertheless, matters.
fn span(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| match c {
            '`' | '<' | '>' | '&' | '@' | '|' => look_alike(c),
            harmless => harmless,
        })
        .collect();
    format!("`{}`", if text.trim().is_empty() { "-" } else { &text })
}

/// Text of our own that may quote somebody: no mention and no link, but signs that names of ours
/// have, such as `_`, stay as they are.
fn prose(text: &str, max_chars: usize) -> String {
    defang(text, max_chars)
        .chars()
        .map(|c| match c {
            '_' | ':' | '#' | '!' | '\\' => c,
            active => look_alike(active),
        })
        .collect()
}

/// Somebody else's text outside of a code span.
fn plain(text: &str, max_chars: usize) -> String {
    defang(text, max_chars).chars().map(look_alike).collect()
}

/// A character that means nothing, for each of which mentions, links, entities, emoji and formats
/// are made.
fn look_alike(c: char) -> char {
    match c {
        '<' => '\u{2039}',
        '>' => '\u{203a}',
        '&' => '\u{ff06}',
        '@' => '\u{ff20}',
        '`' => '\u{2019}',
        '*' => '\u{2217}',
        '_' => '\u{ff3f}',
        '~' => '\u{223c}',
        '[' => '\u{298b}',
        ']' => '\u{298c}',
        '|' => '\u{2223}',
        '\\' => '\u{2216}',
        '#' => '\u{ff03}',
        '!' => '\u{ff01}',
        ':' => '\u{a789}',
        other => other,
    }
}
