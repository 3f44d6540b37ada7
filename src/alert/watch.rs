//! What messages about the watch itself say: which certificate authorities are audited, and what keeps
//! them from being audited.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::alert::commands::{self, Command};
use crate::alert::content::{Content, List, MAX_CHARS, bounded};
use crate::alert::fact::Fact;
use crate::alert::line::Line;
use crate::alert::size::with_values;
use crate::alert::types::{Alert, Authority, Coverage, FirstAudit, WatchError};
use crate::error::ErrorKind;
use crate::revocation::key::{hash, hex};
use crate::revocation::reason::Severity;
use crate::text::numbers::{count, instant, with_separators};
use crate::text::visible::{defang, visible};
use crate::timestamp::Timestamp;

/// Maximum certificate authorities that a message for people names; the others are only counted.
pub const MAX_NAMED: usize = 10;

/// Maximum certificate authorities that a command lists.
const MAX_IN_COMMAND: usize = 3;

/// Maximum characters of a resource; a topic's ARN has at most 320.
const MAX_RESOURCE_CHARS: usize = 320;

/// What an error is known by: errors of one kind and resource have one cause.
#[derive(Clone, Copy)]
pub(super) struct Problem<'a> {
    pub kind: &'a str,
    pub resource: Option<&'a str>,
    /// When it first occurred.
    pub since: Timestamp,
}

impl Problem<'_> {
    /// Returns the field `error` of the JSON message, but for its texts.
    pub fn json(self) -> Map<String, Value> {
        with_values(&json!({ "type": bounded(self.kind), "resource": self.resource.map(bounded) }))
    }

    /// Returns the resource for people.
    pub fn shown_resource(self) -> Option<String> {
        let resource = self.resource?;
        // Mail readers make no link of this scheme.
        Some(match resource.strip_prefix("s3://") {
            Some(rest) => format!("s3://{}", defang(rest, MAX_RESOURCE_CHARS)),
            None => defang(resource, MAX_RESOURCE_CHARS),
        })
    }
}

/// Returns the content of a message about first audits.
pub(super) fn started(alert: &Alert, audits: &[FirstAudit], since: Option<Timestamp>) -> Content {
    let since = since.map(|at| at.to_string()).unwrap_or_default();
    let mut content = content(alert, "watch-started", Severity::Low, ["", "", &since]);
    content.sign = "\u{2705}";
    let sum =
        |number: fn(&FirstAudit) -> u64| audits.iter().map(number).fold(0, u64::saturating_add);
    let (certificates, revoked) = (sum(|audit| audit.certificates), sum(|audit| audit.revoked));
    content.document.counts = Some(json!({
        "certificateAuthorities": alert.certificate_authorities.len(),
        "certificates": certificates,
        "revoked": revoked,
    }));
    let found = found(certificates, revoked);
    content.title("MONITORING STARTED", who(alert).words(format!(", {found}")));
    let (by, label) = match alert.only_authority() {
        Some(_) => ("this CA".to_owned(), "First audit"),
        None => (format!("these {}", number_of_cas(alert)), "First audits"),
    };
    content.intro = format!("You will be alerted to new revocations by {by}. No action is needed.");
    content.fact(label, found);
    let times = || audits.iter().map(|audit| audit.notify_from);
    if let (Some(from), Some(latest)) = (times().min(), times().max()) {
        content.document.notify_from = Some(from);
        let mut text = format!("revocations since {}", instant(from));
        if latest > from {
            let latest = instant(latest);
            text = format!("{text} or, for some CAs, up to {latest}");
        }
        content.fact("Alerts", text);
        content.commands.push(replay(alert, from));
    }
    content.names(alert, |position| {
        audits.get(position).map_or_else(String::new, |audit| {
            let found = self::found(audit.certificates, audit.revoked);
            format!(": {found}")
        })
    });
    content
}

/// Returns how to be alerted to revocations that first audits only counted.
fn replay(alert: &Alert, from: Timestamp) -> Command {
    let earlier = from.saturating_sub(Duration::from_secs(30 * 24 * 3600));
    let authorities = &alert.certificate_authorities;
    let (scope, arns) = if authorities.len() > MAX_IN_COMMAND {
        let scope = " (this repeats the alerts of every CA of the stack since then)";
        (scope, String::new())
    } else {
        let arns = authorities
            .iter()
            .map(|authority| format!("\"{}\"", authority.arn));
        let arns: Vec<String> = arns.collect();
        let arns = format!(",\n\"certificateAuthorityArns\": [\n{}]", arns.join(",\n"));
        ("", arns)
    };
    (
        format!(
            "Older revocations are only counted. To be alerted to them as well, invoke the function (stack output FunctionName) with an earlier time{scope}:"
        ),
        format!("{{\"since\": \"{earlier}\"{arns}}}"),
    )
}

/// Returns the content of a message about an error. `earlier` certificate authorities were announced
/// before.
pub(super) fn failed(
    alert: &Alert,
    error: &WatchError,
    earlier: u64,
    last_complete_audit_at: Option<Timestamp>,
) -> Content {
    let problem = Problem {
        kind: &error.kind,
        resource: error.resource.as_deref(),
        since: error.since,
    };
    let mut content = of_problem(alert, "watch-failed", Severity::High, problem);
    content.document.last_complete_audit_at = last_complete_audit_at;
    let mut json = problem.json();
    json.insert("message".to_owned(), bounded(&error.message).into());
    json.insert("hint".to_owned(), bounded(&error.hint).into());
    content.document.error = Some(json.into());
    let added = alert.certificate_authorities.len() as u64;
    let all = earlier.saturating_add(added);
    content.document.counts = Some(json!({ "certificateAuthorities": all, "added": added }));
    let is_one = alert.only_authority().is_some();
    let who = match earlier {
        1.. if !is_one => Line::new(format!("{} more CAs", with_separators(added))),
        _ => who(alert),
    };
    let title = who.words(", ").name(&error.kind);
    content.title("MONITORING FAILED", title);
    content.intro = consequence(alert, error, all, earlier);
    let (kind, message) = (defang(&error.kind, 64), defang(&error.message, MAX_CHARS));
    let cause = match is_one {
        true => format!("{kind}: {message}"),
        false => format!("{kind}, for example: {message}"),
    };
    content.cause = vec![
        Fact::text("Cause", cause),
        Fact::text("Fix", defang(&error.hint, MAX_CHARS)),
    ];
    content.resource(problem);
    let last = match last_complete_audit_at {
        Some(at) => instant(at),
        None if is_one => "none yet".to_owned(),
        None => "at least one CA has none yet".to_owned(),
    };
    content.fact(last_audit(is_one), last);
    content.names(alert, |_| String::new());
    if !is_one {
        content.commands.push(status("the error"));
    }
    content
}

/// Returns what an error means for alerts.
fn consequence(alert: &Alert, error: &WatchError, all: u64, earlier: u64) -> String {
    let since = instant(error.since);
    let (which, audit) = match alert.only_authority() {
        Some(_) => ("this CA".to_owned(), "the last complete audit"),
        None => (number_of_cas(alert), "their last complete audits"),
    };
    let total = count(all, "CA");
    let failed = if error.kind == ErrorKind::ReportOverdue.name() {
        // Perhaps no audit failed, or none began.
        let (audits, have, are) = match alert.only_authority() {
            Some(_) => ("A complete audit of this CA".to_owned(), "has", "is"),
            None => (format!("Complete audits of {which}"), "have", "are"),
        };
        match earlier {
            0 => format!("{audits} {have} been overdue since {since}."),
            _ => format!(
                "{audits} {are} now overdue as well. This began {since} and affects {total} in total; you were alerted to the others before."
            ),
        }
    } else {
        match earlier {
            0 => format!("Audits of {which} have failed since {since}."),
            _ => format!(
                "An error that began {since} now makes audits of {which} fail as well. It affects {total} in total; you were alerted to the others before."
            ),
        }
    };
    // Audits of these CAs do not work again.
    if error.kind == ErrorKind::CertificateAuthorityTooLarge.name() {
        return format!("{failed} Revocations after {audit} are not reported.");
    }
    let when = if all == 1 {
        "then"
    } else {
        "when all of them work again"
    };
    format!(
        "{failed} Revocations after {audit} may not have been reported yet. None is lost: alerts go out as soon as audits work again. You will get a recovery message {when}."
    )
}

/// Returns how to see something of each certificate authority.
pub(super) fn status(what: &str) -> Command {
    (
        format!(
            "To see {what} of each CA, run the command in the stack output StatusCommand, or invoke the function with:"
        ),
        "{\"status\": true}".to_owned(),
    )
}

/// Returns the content of a message about the end of an error. `left` certificate authorities are no
/// longer audited; `audited_since` is the oldest of the last complete audits of the others.
pub(super) fn recovered(
    alert: &Alert,
    problem: Problem<'_>,
    audited_since: Option<Timestamp>,
    left: u64,
) -> Content {
    let mut content = of_problem(alert, "watch-recovered", Severity::Low, problem);
    content.document.last_complete_audit_at = audited_since;
    content.document.error = Some(problem.json().into());
    let all = alert.certificate_authorities.len() as u64;
    content.document.counts = Some(json!({ "certificateAuthorities": all, "left": left }));
    if left < all {
        content.sign = "\u{2705}";
        let title = who(alert).words(", ").name(problem.kind).words(" is over");
        content.title("MONITORING RECOVERED", title);
    } else {
        let title = who(alert).words(" with ").name(problem.kind);
        content.title("NO LONGER MONITORED", title);
    }
    let is_one = alert.only_authority().is_some();
    content.intro = works_again(alert, all, left);
    let (kind, since) = (defang(problem.kind, 64), instant(problem.since));
    content.fact("Error", format!("{kind}, since {since}"));
    content.resource(problem);
    if let Some(at) = audited_since {
        content.fact(last_audit(is_one), instant(at));
    }
    content.names(alert, |_| String::new());
    content
}

fn works_again(alert: &Alert, all: u64, left: u64) -> String {
    let is_one = alert.only_authority().is_some();
    let works = match (all.saturating_sub(left), left) {
        (0, _) if is_one => return "The CA with this error is no longer monitored.".to_owned(),
        (0, _) => {
            let cas = number_of_cas(alert);
            return format!("The {cas} with this error are no longer monitored.");
        }
        (_, 0) if is_one => "Audits of this CA work again.".to_owned(),
        (_, 0) => format!("Audits of all {} work again.", number_of_cas(alert)),
        (works, left) => {
            let others = match left {
                1 => "1 other is".to_owned(),
                some => format!("{} others are", with_separators(some)),
            };
            let works = count(works, "CA");
            format!("Audits of {works} work again; {others} no longer monitored.")
        }
    };
    format!(
        "{works} Revocations made in the meantime, if any, are in separate messages. No action is needed."
    )
}

/// Returns the content of a message about certificate authorities that are no longer audited.
pub(super) fn stopped(alert: &Alert, coverage: &Coverage, since: Option<Timestamp>) -> Content {
    let since = since.map(|at| at.to_string()).unwrap_or_default();
    let mut content = content(alert, "watch-stopped", Severity::High, ["", "", &since]);
    let number = alert.certificate_authorities.len();
    content.document.counts = Some(json!({ "certificateAuthorities": number }));
    let title = match coverage {
        Coverage::All => ", no longer ACTIVE or DISABLED",
        Coverage::Tagged(_) => ", tag removed or no longer ACTIVE or DISABLED",
        Coverage::Listed => ", removed from CERTIFICATE_AUTHORITY_ARNS",
    };
    content.title("MONITORING STOPPED", who(alert).words(title));
    let (these, them) = match alert.only_authority() {
        Some(_) => ("this CA".to_owned(), "it"),
        None => (format!("these {}", number_of_cas(alert)), "them"),
    };
    let (why, fix) = match coverage {
        Coverage::All => (
            format!("AWS Private CA no longer lists {them} as ACTIVE or DISABLED"),
            format!("activate, renew or restore {them}: the next run audits {them} again"),
        ),
        Coverage::Tagged(tag) => (
            format!(
                "AWS Private CA no longer lists {them} as ACTIVE or DISABLED with the tag {tag} (CERTIFICATE_AUTHORITY_TAG, template parameter CertificateAuthorityTag)"
            ),
            format!("tag, activate, renew or restore {them}: the next run audits {them} again"),
        ),
        Coverage::Listed => (
            format!(
                "CERTIFICATE_AUTHORITY_ARNS (template parameter CertificateAuthorities) no longer contains {them}"
            ),
            format!("add {them} again"),
        ),
    };
    content.intro = format!("Revocations by {these} are no longer reported: {why}.");
    let step = format!("If that was intended, no action is needed. Otherwise, {fix}.");
    content.next_steps.push((String::new(), vec![step]));
    content.names(alert, |_| String::new());
    content
}

/// `identity` is the error's kind and resource, and since when, as far as there are any.
pub(super) fn content(
    alert: &Alert,
    kind: &'static str,
    severity: Severity,
    identity: [&str; 3],
) -> Content {
    let stack = &alert.stack;
    let arns = arns(&alert.certificate_authorities);
    let mut parts = vec![kind, &stack.state];
    parts.extend(identity);
    // A summary is the same one when the list of certificate authorities has changed.
    if kind != "watch-summary" {
        parts.extend(arns.iter().map(String::as_str));
    }
    let parts: Vec<&[u8]> = parts.into_iter().map(str::as_bytes).collect();
    let mut content = Content::new(alert, kind, severity, &parts);
    content.group_id = hex(&hash(&[stack.state.as_bytes()]));
    let console = commands::console(
        &stack.partition,
        &stack.region,
        "acm-pca/home",
        "certificateAuthorities",
    );
    content
        .links
        .extend(console.map(|url| ("AWS Private CA console", url)));
    let only = alert.only_authority();
    let arn = only.map(|authority| Fact::code("CA ARN", authority.arn.as_str()));
    content.sources.extend(arn);
    let state = Fact::code("State", visible(&stack.state));
    content.sources.push(state);
    content.document.account_id.clone_from(&stack.account);
    content.document.region.clone_from(&stack.region);
    content.document.certificate_authority_arns = Some(arns);
    content
}

/// Returns the content of a message about an error or its end.
fn of_problem(
    alert: &Alert,
    kind: &'static str,
    severity: Severity,
    problem: Problem<'_>,
) -> Content {
    let resource = problem.resource.unwrap_or_default();
    let since = problem.since.to_string();
    let mut content = content(alert, kind, severity, [problem.kind, resource, &since]);
    content.document.since = Some(problem.since);
    content
}

impl Content {
    /// Sets the lines of a message about the watch.
    pub fn title(&mut self, event: &str, what: Line) {
        let severity = self.document.severity.name().to_uppercase();
        let (account, region) = (&self.document.account_id, &self.document.region);
        self.title = Line::new(format!("{event}: ")).line(&what);
        self.headline = self.title.clone();
        self.subject = Line::new(format!("[{severity}] ")).line(&self.title);
        self.sms = self.title.clone().words(format!(". {account} {region}"));
    }

    fn resource(&mut self, problem: Problem<'_>) {
        let resource = problem.shown_resource();
        self.facts
            .extend(resource.map(|resource| Fact::text("Resource", resource)));
    }

    /// Lists several certificate authorities by name, with what to add to the one at a position.
    fn names(&mut self, alert: &Alert, more: impl Fn(usize) -> String) {
        let authorities = alert.certificate_authorities.iter().enumerate();
        if alert.only_authority().is_none() {
            let names = authorities.map(|(position, authority)| {
                Line::default().name(authority.name()).words(more(position))
            });
            self.list("CAs", names);
        }
    }

    /// Adds a list, unless it is empty.
    pub fn list(&mut self, heading: &'static str, items: impl ExactSizeIterator<Item = Line>) {
        let total = items.len() as u64;
        if total > 0 {
            let items = items.take(MAX_NAMED).collect();
            self.lists.push(List {
                heading,
                items,
                total,
            });
        }
    }
}

/// The only certificate authority by name, or the number of them.
fn who(alert: &Alert) -> Line {
    match alert.only_authority() {
        Some(authority) => Line::default().name(authority.name()),
        None => Line::new(number_of_cas(alert)),
    }
}

pub(super) fn number_of_cas(alert: &Alert) -> String {
    count(alert.certificate_authorities.len() as u64, "CA")
}

/// What an audit, or several, found.
fn found(certificates: u64, revoked: u64) -> String {
    let certificates = count(certificates, "certificate");
    format!("{certificates}, {} revoked", with_separators(revoked))
}

fn last_audit(is_one: bool) -> &'static str {
    if is_one {
        "Last complete audit"
    } else {
        "Oldest last complete audit"
    }
}

pub(super) fn arns(authorities: &[Authority]) -> Vec<String> {
    let arns = authorities.iter().map(|authority| &authority.arn);
    arns.map(ToString::to_string).collect()
}
