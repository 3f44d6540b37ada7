//! What happened and how bad it is, in one line: the subject of the e-mail, and its first line.

use crate::alert::wording::{ascii, bare_reason, count, grouped, inert, name_of, who};
use crate::alert::{Collected, Event, Notice};
use crate::revocation::record::Revocation;

/// SNS takes fewer than 100 characters (`Publish`, Amazon SNS API Reference).
const MAX_SUBJECT_LEN: usize = 99;

/// The subject: printable ASCII without line breaks, fewer than 100 characters, worst first.
pub(in crate::alert) fn subject(notice: &Notice, reduced: bool) -> String {
    let authority = if reduced {
        notice.certificate_authority.id()
    } else {
        name_of(&notice.certificate_authority)
    };
    let severity = notice.severity().name().to_uppercase();
    let told = |marks: &str, collected: &Collected| {
        let start = format!("{marks}[{severity}] ");
        let Some((worst, of_worst)) = collected.counts().iter().next() else {
            return fitted(
                &format!("{start}0 certificates revoked ("),
                "",
                "",
                authority,
            );
        };
        let worst = ascii(worst, 32);
        match (collected.len(), collected.worst().next()) {
            (1, Some(only)) => {
                let who = if reduced {
                    who_reduced(only)
                } else {
                    who(only)
                };
                fitted(&format!("{start}{worst}: "), &who, " revoked (", authority)
            }
            (all, _) => {
                let share = if of_worst == all {
                    "all".to_owned()
                } else {
                    of_worst.to_string()
                };
                let what = count(all, "certificate").replace(',', "");
                let start = format!("{start}{what} revoked, {share} {worst} (");
                fitted(&start, "", "", authority)
            }
        }
    };
    match &notice.event {
        Event::Revocations(collected) => told("", collected.collected()),
        Event::Replay { told: again, .. } => told("[REPLAY] ", again.collected()),
        Event::Test { .. } => told("[TEST] ", &notice.made_up()),
        Event::WatchStarted { totals, .. } => fitted(
            &format!(
                "[STARTED] Watching {} for revocations (",
                count(totals.certificates, "certificate").replace(',', "")
            ),
            "",
            "",
            authority,
        ),
        Event::WatchFailed { error, .. } => fitted(
            &format!("[{severity}] WATCH FAILED: "),
            &error.kind,
            ", revocations not told (",
            authority,
        ),
        Event::WatchRecovered { .. } => fitted(
            "[RECOVERED] Revocations are told again (",
            "",
            "",
            authority,
        ),
    }
}

/// The parts in a row with `authority` and `)` at the end, the two names cut as far as they have to
/// be.
fn fitted(start: &str, name: &str, middle: &str, authority: &str) -> String {
    let room = MAX_SUBJECT_LEN.saturating_sub(start.len() + middle.len() + 1);
    let name_len = name.chars().count();
    let for_authority = room.saturating_sub(name_len).max(room / 3);
    let authority = ascii(authority, for_authority);
    let name = ascii(name, room - authority.len());
    format!("{start}{name}{middle}{authority})")
}

fn who_reduced(revocation: &Revocation) -> String {
    who(&Revocation {
        subject: None,
        ..revocation.clone()
    })
}

/// The first line of the e-mail: never longer than 80 columns, so that no name in it can begin a
/// line of its own.
pub(in crate::alert) fn first_line(notice: &Notice, reduced: bool) -> String {
    let authority = if reduced {
        notice.certificate_authority.id()
    } else {
        name_of(&notice.certificate_authority)
    };
    let authority = inert(authority, 36);
    let severity = notice.severity().name().to_uppercase();
    match &notice.event {
        Event::Revocations(told) => revoked(&severity, told.collected(), reduced),
        Event::Replay { told, .. } => {
            revoked(&format!("REPLAY, {severity}"), told.collected(), reduced)
        }
        Event::Test { .. } => {
            "TEST: nothing was revoked. This is how a critical revocation would look.".to_owned()
        }
        Event::WatchStarted { .. } => {
            format!("STARTED watching for revocations: {authority}")
        }
        Event::WatchFailed { .. } => {
            format!("{severity}: WATCH FAILED, revocations untold: {authority}")
        }
        Event::WatchRecovered { .. } => {
            format!("RECOVERED, revocations are told again: {authority}")
        }
    }
}

/// What was revoked, and how bad that is.
fn revoked(start: &str, collected: &Collected, reduced: bool) -> String {
    let Some((worst, of_worst)) = collected.counts().iter().next() else {
        return format!("{start}: no certificate was revoked.");
    };
    let all = collected.len();
    let worst = bare_reason(worst);
    match collected.worst().next() {
        Some(only) if all == 1 => {
            let who = if reduced {
                who_reduced(only)
            } else {
                who(only)
            };
            let end = format!(" was revoked: {worst}");
            // The mark of a cut takes five more.
            let room = 73_usize.saturating_sub(start.len() + end.len());
            format!("{start}: {}{end}", inert(&who, room))
        }
        _ => {
            let share = if of_worst == all {
                "all".to_owned()
            } else {
                grouped(of_worst)
            };
            let what = count(all, "certificate");
            format!("{start}: {what} were revoked, {share} of them: {worst}")
        }
    }
}
