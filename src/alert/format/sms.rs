//! The line for a phone: one text message of at most 140 characters.

use crate::alert::wording::{ascii, bare_reason, count, name_of, who};
use crate::alert::{Collected, Event, Notice};

/// SNS sends up to 140 ASCII characters as one message (Amazon SNS FAQs).
const MAX_LEN: usize = 140;

/// One line of characters of the GSM 03.38 default alphabet that take one septet each.
pub(in crate::alert) fn render(notice: &Notice, reduced: bool) -> String {
    ascii_line(&line(notice, reduced))
}

fn line(notice: &Notice, reduced: bool) -> String {
    let authority = if reduced {
        notice.certificate_authority.id()
    } else {
        name_of(&notice.certificate_authority)
    };
    let authority = ascii(authority, 36);
    let severity = notice.severity().name().to_uppercase();
    match &notice.event {
        Event::Revocations(told) => told_line(
            &format!("{severity}: "),
            told.collected(),
            &authority,
            reduced,
        ),
        Event::Replay { told, .. } => told_line(
            &format!("REPLAY {severity}: "),
            told.collected(),
            &authority,
            reduced,
        ),
        Event::Test { .. } => told_line(
            &format!("TEST {severity}: "),
            &notice.made_up(),
            &authority,
            reduced,
        ),
        Event::WatchStarted { totals, .. } => format!(
            "STARTED: watching {} of {authority} for revocations",
            count(totals.certificates, "certificate")
        ),
        Event::WatchFailed { error, .. } => format!(
            "{severity}: WATCH FAILED, revocations of {authority} are NOT being told ({})",
            ascii(&error.kind, 32)
        ),
        Event::WatchRecovered { .. } => {
            format!("RECOVERED: revocations of {authority} are being told again")
        }
    }
}

/// Cut where counts of many digits and long names come together.
fn ascii_line(line: &str) -> String {
    line.chars().take(MAX_LEN).collect()
}

fn told_line(start: &str, collected: &Collected, authority: &str, reduced: bool) -> String {
    let Some((worst, of_worst)) = collected.counts().iter().next() else {
        return format!("{start}no certificate revoked by {authority}");
    };
    let worst = bare_reason(worst);
    match collected.worst().next() {
        Some(only) if collected.len() == 1 => {
            let end = format!(" revoked: {worst}. CA {authority}");
            let room = MAX_LEN - start.len() - end.len();
            let name = match only.serial.as_deref() {
                Some(serial) if reduced => serial.to_owned(),
                _ if reduced => "a certificate".to_owned(),
                _ => who(only),
            };
            format!("{start}{}{end}", ascii(&name, room))
        }
        _ => format!(
            "{start}{} revoked, {of_worst} of them: {worst}. CA {authority}",
            count(collected.len(), "certificate")
        ),
    }
}
