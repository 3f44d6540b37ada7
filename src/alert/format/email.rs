//! The e-mail: plain text that reads well in 80 columns and on a phone.
//!
//! Mail readers show plain text in proportional type and wrap it as they like, so nothing is
//! aligned in columns. Text of others stands on lines of its own or after a label of ours, and
//! where it goes on over several lines each of them begins with `|`, so that it cannot pass for a
//! line of the message.

use crate::alert::format::headline;
use crate::alert::format::json::{TruncatedRevocation, is_plain_arn, is_serial};
use crate::alert::size::{EMAIL_LIST_ROOM, escaped_len};
use crate::alert::wording::{
    console, console_of_authorities, count, defang, duration, grouped, instant, name_of, object,
    reason, shell_word, template, time, who,
};
use crate::alert::{
    Alert, AlertKind, ObjectLocation, ReportSource, RevocationAlert, RevocationBatch, Totals,
    wording,
};
use crate::revocation::distinguished_name;
use crate::revocation::reason::RevocationReason;
use crate::revocation::reason_counts::{ReasonCounts, is_word, label};
use crate::revocation::record::{ReportTime, Revocation};
use crate::text::visible::visible;
use crate::timestamp::Timestamp;

/// Revocations that a person reads through; what goes beyond is counted.
const MAX_LISTED: usize = 25;

/// Columns of running text; some mail readers quote with two more in 80. Lines of our own are
/// written to need no break, since on a phone a broken line is broken once more.
const COLUMNS: usize = 76;

/// Columns of quoted text, as many as a phone shows.
const QUOTED_COLUMNS: usize = 42;

/// The e-mail of a notice.
pub(in crate::alert) fn render(alert: &Alert, reduced: bool) -> String {
    let mut page = Page::default();
    page.line(&headline::first_line(alert, reduced));
    page.blank();
    let mail = Mail { alert, reduced };
    match &alert.kind {
        AlertKind::Revocations(told) => mail.told(&mut page, told),
        AlertKind::Replay {
            revocations: told,
            since,
            request_id,
        } => {
            page.line(&format!(
                "Somebody asked for all revocations since {} again.",
                instant(*since)
            ));
            page.line("You may know of them already: revocationId is the same.");
            page.line(&format!("Request: {}", defang(request_id, 64)));
            page.blank();
            mail.told(&mut page, told);
        }
        AlertKind::Test { request_id } => {
            page.line("Somebody asked for a test message.");
            page.line("The certificate below is made up, after AWS's documentation.");
            page.line("There is nothing to do.");
            page.line(&format!("Request: {}", defang(request_id, 64)));
            page.blank();
            let sample_batch = alert.sample_batch();
            mail.summary(&mut page);
            mail.revocations(&mut page, &sample_batch, None);
            mail.what_to_do(&mut page, &sample_batch);
        }
        AlertKind::WatchStarted {
            totals,
            revoked,
            notify_from,
            to_notify,
            ..
        } => mail.started(&mut page, *totals, revoked, *notify_from, *to_notify),
        AlertKind::WatchFailed {
            error,
            since,
            last_complete_audit_at,
        } => {
            let text = |text| {
                let text = wording::bounded(text, reduced);
                defang(&text, wording::MAX_ERROR_CHARS)
            };
            page.field(
                0,
                "What happened",
                &format!("{}: {}", defang(&error.kind, 64), text(&error.message)),
            );
            page.field(0, "Since", &instant(*since));
            match last_complete_audit_at {
                Some(at) => {
                    page.field(0, "Last complete audit", &instant(*at));
                    page.line("Revocations after that may not have been told.");
                }
                None => page.line("There has been no complete audit yet."),
            }
            page.blank();
            page.heading("WHAT IT MEANS");
            page.line("While this lasts, you may not hear of revocations by this CA.");
            page.line("None is lost: they are told as soon as the watch works again.");
            page.line("You are told once that it failed, and once that it works again.");
            page.blank();
            page.heading("WHAT TO DO NEXT");
            page.paragraph(&text(&error.hint));
            page.blank();
        }
        AlertKind::WatchRecovered {
            error_type,
            since,
            report,
        } => {
            page.line(&format!("The fault {} is over.", defang(error_type, 48)));
            page.line(&format!("It was met at {}.", instant(*since)));
            page.line("Revocations of the meantime are told in a message of their own.");
            page.line("There is nothing to do.");
            page.blank();
            mail.source(&mut page, Some(report), None);
            return page.text;
        }
    }
    match &alert.kind {
        AlertKind::Revocations(told)
        | AlertKind::Replay {
            revocations: told, ..
        } => {
            mail.source(&mut page, Some(&told.report), Some(told.totals));
        }
        AlertKind::WatchStarted { report, totals, .. } => {
            mail.source(&mut page, Some(report), Some(*totals));
        }
        _ => mail.source(&mut page, None, None),
    }
    page.text
}

struct Mail<'a> {
    alert: &'a Alert,
    reduced: bool,
}

impl Mail<'_> {
    fn told(&self, page: &mut Page, told: &RevocationAlert) {
        self.summary(page);
        self.revocations(page, &told.batch, told.full_list.as_ref());
        self.what_to_do(page, &told.batch);
    }

    /// Who revoked where, and when it came to light.
    fn summary(&self, page: &mut Page) {
        page.field(0, "Certificate authority", &self.authority());
        let authority = &self.alert.certificate_authority;
        page.field(
            0,
            "Account and region",
            &format!("{}, {}", authority.account(), authority.region()),
        );
        page.field(0, "Detected", &instant(self.alert.detected_at));
        page.blank();
    }

    fn authority(&self) -> String {
        let authority = &self.alert.certificate_authority;
        if self.reduced {
            authority.id().to_owned()
        } else {
            defang(name_of(authority), 48)
        }
    }

    /// The worst, one by one, then counts of all.
    fn revocations(
        &self,
        page: &mut Page,
        batch: &RevocationBatch,
        full_list: Option<&ObjectLocation>,
    ) {
        let mut listed = 0;
        let mut len = 0;
        for (position, cut) in batch.held().take(MAX_LISTED).enumerate() {
            let mut item = Page::default();
            self.revocation(&mut item, position + 1, cut);
            len += escaped_len(&item.text);
            if len > EMAIL_LIST_ROOM {
                break;
            }
            page.text.push_str(&item.text);
            listed += 1;
        }
        let all = batch.len();
        if listed < all {
            page.heading(&format!("ALL {} BY REASON", grouped(all)));
            page.line(&format!(
                "Above are the worst {listed}. Altogether, there are:"
            ));
            page.counts(batch.counts());
            page.blank();
        }
        if let Some(location) = full_list {
            page.line("The full list, one JSON line for each revocation, is in S3:");
            page.command(&format!(
                "aws s3 cp {} . --region {}",
                shell_word(&object(location)),
                shell_word(self.alert.certificate_authority.region())
            ));
        } else if listed < all && !self.reduced {
            page.line("All of them are in the message that SQS, Lambda or HTTPS subscribers get.");
            page.blank();
        }
    }

    fn revocation(&self, page: &mut Page, number: usize, cut: &TruncatedRevocation) {
        let revocation = &cut.revocation;
        let who = if self.reduced {
            let serial = revocation.serial.as_deref();
            format!(
                "serial {}",
                serial.filter(|s| is_serial(s)).unwrap_or("not readable")
            )
        } else {
            who(revocation)
        };
        page.line(&format!("{number}. {}", defang(&who, 64)));
        page.field(3, "Reason", &reason(label(&revocation.reason)));
        page.field(3, "Revoked", &self.revoked(&revocation.revoked_at));
        page.field(3, "Still valid", &self.still_valid(revocation));
        match revocation.serial.as_deref() {
            Some(serial) if is_serial(serial) => page.field(3, "Serial", serial),
            Some(serial) if !self.reduced => page.quoted(3, "Serial (strange)", serial),
            _ => page.field(3, "Serial", "not readable"),
        }
        if !self.reduced {
            page.field(3, "Issued", &issued(revocation));
            if let Some(arn) = revocation.template_arn.as_deref() {
                match template(arn) {
                    Some(name) if name.contains("CACertificate") => {
                        page.field(3, "Template", &format!("{name} (a CA's own)"));
                    }
                    Some(name) => page.field(3, "Template", name),
                    None => page.quoted(3, "Template (strange)", arn),
                }
            }
            if let Some(text) = revocation.subject.as_deref() {
                page.quoted(3, "Subject", &distinguished_name::decode(text).text);
            }
        }
        match revocation.certificate_arn.as_deref() {
            Some(arn) if is_plain_arn(arn) => {
                page.line("   ARN:");
                page.line(&format!("   {arn}"));
            }
            Some(arn) if !self.reduced => page.quoted(3, "ARN (strange)", arn),
            _ => page.field(3, "ARN", "not readable"),
        }
        if revocation.malformed && !self.reduced {
            page.field(
                3,
                "Note",
                "this record of the report is malformed; it is told as it stands.",
            );
        }
        page.blank();
    }

    fn revoked(&self, at: &ReportTime) -> String {
        match at.at {
            Some(revoked_at) => format!(
                "{}, detected {} later",
                instant(revoked_at),
                duration(self.alert.detected_at.since(revoked_at))
            ),
            None if self.reduced => "time not readable".to_owned(),
            None => time(at),
        }
    }

    /// Whether the certificate would still be accepted by who does not check for revocations.
    fn still_valid(&self, revocation: &Revocation) -> String {
        let detected_at = self.alert.detected_at;
        let Some(not_after) = &revocation.not_after else {
            return "not known, take it for valid".to_owned();
        };
        let from = match revocation.not_before.as_ref().and_then(|time| time.at) {
            Some(start) if start > detected_at => format!("from {} ", instant(start)),
            _ => String::new(),
        };
        match not_after.at {
            Some(end) if end < detected_at => format!("no, expired on {}", instant(end)),
            Some(end) if end == Timestamp::MAX => {
                format!("{from}without end, had it not been revoked")
            }
            Some(end) => format!("{from}until {}, had it not been revoked", instant(end)),
            None if self.reduced => "not known, take it for valid".to_owned(),
            None => format!("until {}", time(not_after)),
        }
    }

    /// Advice for every reason that occurs, then commands and links.
    fn what_to_do(&self, page: &mut Page, batch: &RevocationBatch) {
        page.heading("WHAT TO DO NEXT");
        let mut reasons = batch.counts().iter().map(|(name, _)| name).peekable();
        while let Some(name) = reasons.next() {
            page.line(&format!("{}:", capitalized(&reason(name))));
            let same = |next: &&str| std::ptr::eq(advice(next), advice(name));
            if reasons.peek().is_some_and(same) {
                continue;
            }
            for advice in advice(name) {
                page.item(advice);
            }
            page.blank();
        }
        let through_acm = !self.reduced && batch.worst().any(is_through_acm);
        if through_acm {
            page.line("Issued through ACM:");
            page.item("It may be in use by a load balancer, CloudFront or an API.");
            page.item("A command below lists ACM's private certificates that are in use.");
            page.blank();
        }

        if let AlertKind::Test { .. } = self.alert.kind {
            page.line("Here, a real message has commands to look at the certificate, and links.");
            return page.blank();
        }
        let authority = &self.alert.certificate_authority;
        let region = shell_word(authority.region());
        let authority_arn = shell_word(&authority.arn);
        let with_arn = batch
            .worst()
            .enumerate()
            .find_map(|(position, revocation)| {
                let arn = revocation.certificate_arn.as_deref()?;
                (position < MAX_LISTED && is_plain_arn(arn)).then_some((position + 1, arn))
            });
        if let Some((number, arn)) = with_arn {
            let others = if batch.len() > 1 {
                format!(" (number {number}; for others put in their ARN)")
            } else {
                String::new()
            };
            page.line(&format!("To look at the certificate{others}:"));
            page.command(&format!(
                "aws acm-pca get-certificate --region {region} \\\n\
                 --certificate-authority-arn {authority_arn} \\\n\
                 --certificate-arn {arn} \\\n\
                 --query Certificate --output text | openssl x509 -noout -text"
            ));
        }
        if through_acm {
            page.line("To find where ACM's private certificates are in use:");
            page.command(&format!(
                "aws acm list-certificates --region {region} --query \\\n\
                 \"CertificateSummaryList[?Type=='PRIVATE'&&InUse].[DomainName,CertificateArn]\" \\\n\
                 --output text"
            ));
        }
        page.line("To see whether a CRL or OCSP serves revocations:");
        page.command(&format!(
            "aws acm-pca describe-certificate-authority --region {region} \\\n\
             --certificate-authority-arn {authority_arn} \\\n\
             --query CertificateAuthority.RevocationConfiguration"
        ));
        page.line("To see who revoked it, in the last 90 days:");
        page.command(&format!(
            "aws cloudtrail lookup-events --region {region} --lookup-attributes \\\n\
             AttributeKey=EventName,AttributeValue=RevokeCertificate"
        ));
        let acm = console(authority, "acm/home?region={region}#/certificates/list");
        for (label, address) in [
            (
                "AWS Private CA in the console",
                console_of_authorities(authority),
            ),
            ("ACM in the console", acm.filter(|_| through_acm)),
        ] {
            if let Some(address) = address {
                page.line(&format!("{label}:"));
                page.line(&address);
            }
        }
        page.blank();
    }

    fn started(
        &self,
        page: &mut Page,
        totals: Totals,
        revoked: &ReasonCounts,
        notify_from: Timestamp,
        to_notify: u64,
    ) {
        page.line("From now on, you are told of new revocations by this CA.");
        page.line("There is nothing to do.");
        page.blank();
        page.line(&format!(
            "The first audit found {}, {} of them revoked{}",
            count(totals.certificates, "certificate"),
            grouped(totals.revoked),
            if totals.revoked == 0 { "." } else { ":" }
        ));
        page.counts(revoked);
        page.blank();
        let recent = match to_notify {
            0 => "none.".to_owned(),
            1 => "1, told in a message of its own.".to_owned(),
            some => format!("{}, told in a message of their own.", grouped(some)),
        };
        page.line(&format!(
            "Of these, since {}: {recent}",
            instant(notify_from)
        ));
        page.line("Older ones are counted here and not told. To be told of them too,");
        page.line("invoke the function with the time from which on you want them:");
        page.command(&format!(
            "{{\"since\": \"{}\"}}",
            notify_from.saturating_sub(std::time::Duration::from_secs(30 * 24 * 3600))
        ));
    }

    /// Where the message comes from, so that its reader can judge and check it.
    fn source(&self, page: &mut Page, report: Option<&ReportSource>, totals: Option<Totals>) {
        let authority = &self.alert.certificate_authority;
        page.heading("WHERE THIS COMES FROM");
        page.line(&format!("Certificate authority: {}", self.authority()));
        page.line(&visible(&authority.arn));
        if let Some(report) = report {
            page.line(&format!(
                "Audit report of {}:",
                instant(report.requested_at)
            ));
            page.line(&object(&report.location));
            if let Some(totals) = totals {
                page.line(&format!(
                    "It states {}, {} of them revoked.",
                    count(totals.certificates, "certificate"),
                    grouped(totals.revoked)
                ));
            }
            if let Some(before) = report.previous_requested_at {
                page.line(&format!(
                    "The report before it was requested {} earlier.",
                    duration(report.requested_at.since(before))
                ));
            }
        }
        page.line("Sent by pca-revocation-watch.");
        page.line(&format!(
            "Message {} of type {}.",
            self.alert.id(),
            self.alert.kind()
        ));
    }
}

fn is_through_acm(revocation: &Revocation) -> bool {
    revocation.requested_by_service_principal.as_deref() == Some("acm.amazonaws.com")
}

/// When, for whom and through what the certificate was issued.
fn issued(revocation: &Revocation) -> String {
    let mut text = match &revocation.issued_at {
        Some(at) => time(at),
        None => "time not stated".to_owned(),
    };
    if let Some(account) = revocation.aws_account_id.as_deref() {
        text.push_str(" to account ");
        text.push_str(if is_word(account) {
            account
        } else {
            "(strange)"
        });
    }
    text.push_str(" through ");
    text.push_str(match revocation.requested_by_service_principal.as_deref() {
        Some("acm.amazonaws.com") => "ACM",
        Some(principal) if is_word(principal) => principal,
        Some(_) => "(strange)",
        None => "the API",
    });
    text
}

/// What a person does about a revocation for that reason, most urgent first.
pub(in crate::alert) fn advice(reason: &str) -> &'static [&'static str] {
    match RevocationReason::from_report(reason) {
        RevocationReason::KeyCompromise => &[
            "Find where it is deployed, and replace it there, with a new key.",
            "Until then, whoever has the key can pose as its owner.",
            "Check that the CRL or OCSP serves it (a new CRL takes about 30 minutes).",
            "Find out how the key leaked, and what was done with it since.",
        ],
        RevocationReason::CertificateAuthorityCompromise => &[
            "If it is a CA's own: trust nothing it signed; replace what is below it.",
            "Take it out of trust stores, and tell everybody who trusts this chain.",
            "Check that the parent's CRL or OCSP serves the revocation.",
        ],
        RevocationReason::AACompromise => &[
            "Rely no longer on what this authority certified (roles, rights).",
            "Find who relies on it; withdraw it, or issue it anew.",
        ],
        RevocationReason::PrivilegeWithdrawn => {
            &["Check that the holder has lost the access elsewhere too."]
        }
        RevocationReason::Unspecified => {
            &["Ask who revoked it; take it for a key compromise until you know better."]
        }
        RevocationReason::Other(_) => {
            &["Find out what it means; take it for a key compromise until then."]
        }
        RevocationReason::AffiliationChanged => {
            &["Check that nothing still uses it under the old name or owner."]
        }
        RevocationReason::Superseded => {
            &["Check that the new certificate is deployed wherever this one was."]
        }
        RevocationReason::CessationOfOperation => {
            &["Check that what used it is really switched off."]
        }
    }
}

pub(in crate::alert) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// Text under construction, line by line.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// A line as it is; for what must not be broken, such as ARNs.
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn heading(&mut self, heading: &str) {
        self.line(heading);
        self.blank();
    }

    /// Running text of our own, with what little it quotes.
    fn paragraph(&mut self, text: &str) {
        self.wrapped("", "", text, COLUMNS);
    }

    fn field(&mut self, indent: usize, label: &str, value: &str) {
        let first = format!("{}{label}: ", " ".repeat(indent));
        self.wrapped(&first, &" ".repeat(indent + 2), value, COLUMNS);
    }

    /// Somebody else's text, each line of it marked where it takes several.
    fn quoted(&mut self, indent: usize, label: &str, text: &str) {
        let text = defang(text, MAX_QUOTED_CHARS);
        let indent = " ".repeat(indent);
        let first = format!("{indent}{label}: ");
        if width(&first) + width(&text) <= COLUMNS {
            return self.line(&format!("{first}{text}"));
        }
        self.line(first.trim_end());
        let mark = format!("{indent}| ");
        self.wrapped(&mark, &mark, &text, QUOTED_COLUMNS);
    }

    fn item(&mut self, text: &str) {
        self.wrapped("- ", "  ", text, COLUMNS);
    }

    /// A command, indented, as it is to be typed.
    fn command(&mut self, command: &str) {
        for (position, line) in command.lines().enumerate() {
            let indent = if position == 0 { "  " } else { "    " };
            self.line(&format!("{indent}{line}"));
        }
        self.blank();
    }

    fn counts(&mut self, counts: &ReasonCounts) {
        for (name, number) in counts.iter() {
            self.item(&format!("{} {}", grouped(number), reason(name)));
        }
    }

    fn wrapped(&mut self, first: &str, others: &str, text: &str, columns: usize) {
        self.text.push_str(first);
        let mut column = width(first);
        let mut at_start = true;
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let word_width = width(word);
            if !at_start && column + 1 + word_width > columns {
                self.text.push('\n');
                self.text.push_str(others);
                column = width(others);
                at_start = true;
            }
            if !at_start {
                self.text.push(' ');
                column += 1;
            }
            for c in word.chars() {
                let c_width = char_width(c);
                if column + c_width > columns {
                    self.text.push('\n');
                    self.text.push_str(others);
                    column = width(others);
                }
                self.text.push(c);
                column += c_width;
            }
            at_start = false;
        }
        self.text.push('\n');
    }
}

/// Characters of a quoted text; a usual subject has some 120.
const MAX_QUOTED_CHARS: usize = 600;

fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Columns of a character, two from where the wide scripts begin: rather too many than too few.
fn char_width(c: char) -> usize {
    if u32::from(c) < 0x1100 { 1 } else { 2 }
}
