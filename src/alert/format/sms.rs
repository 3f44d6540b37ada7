//! The line for a phone: one text message of at most 140 characters.

use crate::alert::wording::{ascii, bare_reason, count, name_of, who};
use crate::alert::{Alert, AlertKind, RevocationBatch};

/// SNS sends up to 140 ASCII characters as one message (Amazon SNS FAQs).
const MAX_LEN: usize = 140;

/// One line of characters of the GSM 03.38 default alphabet that take one septet each.
pub(in crate::alert) fn render(alert: &Alert, reduced: bool) -> String {
    ascii_line(&line(alert, reduced))
}

fn line(alert: &Alert, reduced: bool) -> String {
    let authority = if reduced {
        alert.certificate_authority.id()
    } else {
        name_of(&alert.certificate_authority)
    };
    let authority = ascii(authority, 36);
    let severity = alert.severity().name().to_uppercase();
    match &alert.kind {
        AlertKind::Revocations(told) => {
            told_line(&format!("{severity}: "), told.batch(), &authority, reduced)
        }
        AlertKind::Replay {
            revocations: told, ..
        } => told_line(
            &format!("REPLAY {severity}: "),
            told.batch(),
            &authority,
            reduced,
        ),
        AlertKind::Test { .. } => told_line(
            &format!("TEST {severity}: "),
            &alert.sample_batch(),
            &authority,
            reduced,
        ),
        AlertKind::WatchStarted { totals, .. } => format!(
            "STARTED: watching {} of {authority} for revocations",
            count(totals.certificates, "certificate")
        ),
        AlertKind::WatchFailed { error, .. } => format!(
            "{severity}: WATCH FAILED, revocations of {authority} are NOT being told ({})",
            ascii(&error.kind, 32)
        ),
        AlertKind::WatchRecovered { .. } => {
            format!("RECOVERED: revocations of {authority} are being told again")
        }
    }
}

/// Cut where counts of many digits and long names come together.
fn ascii_line(line: &str) -> String {
    line.chars().take(MAX_LEN).collect()
}

fn told_line(start: &str, batch: &RevocationBatch, authority: &str, reduced: bool) -> String {
    let Some((worst, of_worst)) = batch.counts().iter().next() else {
        return format!("{start}no certificate revoked by {authority}");
    };
    let worst = bare_reason(worst);
    match batch.worst().next() {
        Some(only) if batch.len() == 1 => {
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
            count(batch.len(), "certificate")
        ),
    }
}
