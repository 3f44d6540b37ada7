//! What happened and how bad it is, in one line: the subject of the e-mail, and its first line.

use crate::alert::wording::{ascii, bare_reason, count, defang, grouped, name_of, who};
use crate::alert::{Alert, AlertKind, RevocationBatch};
use crate::revocation::record::Revocation;

/// SNS takes fewer than 100 characters (`Publish`, Amazon SNS API Reference).
const MAX_SUBJECT_LEN: usize = 99;

/// The subject: printable ASCII without line breaks, fewer than 100 characters, worst first.
pub(in crate::alert) fn subject(alert: &Alert, reduced: bool) -> String {
    let authority = if reduced {
        alert.certificate_authority.id()
    } else {
        name_of(&alert.certificate_authority)
    };
    let severity = alert.severity().name().to_uppercase();
    let told = |marks: &str, batch: &RevocationBatch| {
        let start = format!("{marks}[{severity}] ");
        let Some((worst, of_worst)) = batch.counts().iter().next() else {
            return fitted(
                &format!("{start}0 certificates revoked ("),
                "",
                "",
                authority,
            );
        };
        let worst = ascii(worst, 32);
        match (batch.len(), batch.worst().next()) {
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
    match &alert.kind {
        AlertKind::Revocations(batch) => told("", batch.batch()),
        AlertKind::Replay {
            revocations: again, ..
        } => told("[REPLAY] ", again.batch()),
        AlertKind::Test { .. } => told("[TEST] ", &alert.sample_batch()),
        AlertKind::WatchStarted { totals, .. } => fitted(
            &format!(
                "[STARTED] Watching {} for revocations (",
                count(totals.certificates, "certificate").replace(',', "")
            ),
            "",
            "",
            authority,
        ),
        AlertKind::WatchFailed { error, .. } => fitted(
            &format!("[{severity}] WATCH FAILED: "),
            &error.kind,
            ", revocations not told (",
            authority,
        ),
        AlertKind::WatchRecovered { .. } => fitted(
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
pub(in crate::alert) fn first_line(alert: &Alert, reduced: bool) -> String {
    let authority = if reduced {
        alert.certificate_authority.id()
    } else {
        name_of(&alert.certificate_authority)
    };
    let authority = defang(authority, 36);
    let severity = alert.severity().name().to_uppercase();
    match &alert.kind {
        AlertKind::Revocations(told) => revoked(&severity, told.batch(), reduced),
        AlertKind::Replay {
            revocations: told, ..
        } => revoked(&format!("REPLAY, {severity}"), told.batch(), reduced),
        AlertKind::Test { .. } => {
            "TEST: nothing was revoked. This is how a critical revocation would look.".to_owned()
        }
        AlertKind::WatchStarted { .. } => {
            format!("STARTED watching for revocations: {authority}")
        }
        AlertKind::WatchFailed { .. } => {
            format!("{severity}: WATCH FAILED, revocations untold: {authority}")
        }
        AlertKind::WatchRecovered { .. } => {
            format!("RECOVERED, revocations are told again: {authority}")
        }
    }
}

/// What was revoked, and how bad that is.
fn revoked(start: &str, batch: &RevocationBatch, reduced: bool) -> String {
    let Some((worst, of_worst)) = batch.counts().iter().next() else {
        return format!("{start}: no certificate was revoked.");
    };
    let all = batch.len();
    let worst = bare_reason(worst);
    match batch.worst().next() {
        Some(only) if all == 1 => {
            let who = if reduced {
                who_reduced(only)
            } else {
                who(only)
            };
            let end = format!(" was revoked: {worst}");
            // The mark of a cut takes five more.
            let room = 73_usize.saturating_sub(start.len() + end.len());
            format!("{start}: {}{end}", defang(&who, room))
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
