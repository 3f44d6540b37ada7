//! What a summary says: a proof of life, and the state of the watch.

use serde_json::{Map, json};

use crate::alert::content::{Content, Document, by_reason};
use crate::alert::fact::Fact;
use crate::alert::line::Line;
use crate::alert::size::with_values;
use crate::alert::types::{Alert, OpenProblem, WatchSummary};
use crate::alert::watch::{self, Problem};
use crate::revocation::reason::Severity;
use crate::text::numbers::{count, duration, instant, with_separators};
use crate::text::visible::defang;

/// Maximum open problems in the JSON message; the others are only counted.
const MAX_PROBLEMS: usize = 25;

/// Returns the content of a summary.
pub(super) fn of(alert: &Alert, summary: &WatchSummary) -> Content {
    let since = summary.since.map(|at| at.to_string()).unwrap_or_default();
    let mut content = watch::content(alert, "watch-summary", Severity::Low, ["", "", &since]);
    summarize(&mut content.document, alert, summary);
    let open = match summary.problems.len() as u64 {
        0 => "no open problems".to_owned(),
        some => count(some, "open problem"),
    };
    let cas = watch::number_of_cas(alert);
    let notified = count(summary.notified.total(), "revocation");
    let title = format!("{cas}, {notified} notified, {open}");
    content.title("MONITORING SUMMARY", Line::new(title));
    let next = instant(summary.next_at);
    content.intro = format!(
        "This summary shows that the function runs and that its messages reach you. The next one is due {next}. If it does not arrive, check the alarms WatchSilentAlarm and HealthAlarm of the stack."
    );
    content.facts = summary_facts(alert, summary);
    let by_reason = by_reason(&summary.notified).into_iter();
    let by_reason =
        by_reason.map(|(number, reason)| format!("{} {reason}", with_separators(number)));
    content.list("Revocations notified, by reason", by_reason.map(Line::new));
    let problems = summary.problems.iter();
    content.list("Open problems", problems.map(problem_line));
    let without = summary.without_revocation_checking.as_deref();
    let without = without.unwrap_or_default().iter();
    let names = without.map(|authority| Line::default().name(authority.name()));
    content.list("CAs without CRL and OCSP", names);
    content.commands.push(watch::status("the state"));
    content
}

/// Sets the fields of a summary.
fn summarize(document: &mut Document, alert: &Alert, summary: &WatchSummary) {
    document.since = summary.since;
    document.next_summary_at = Some(summary.next_at);
    document.oldest_audit_at = summary.oldest_audit_at;
    let by_reason = summary.notified.iter();
    let by_reason = by_reason.map(|(name, number)| (name.to_owned(), number.into()));
    let without = summary.without_revocation_checking.as_ref();
    let counts = json!({
        "certificateAuthorities": alert.certificate_authorities.len(),
        "neverAudited": summary.never_audited,
        "unknown": summary.unknown,
        "notified": summary.notified.total(),
        "byReason": Map::from_iter(by_reason),
        "problems": summary.problems.len(),
        "withoutRevocationChecking": without.map(Vec::len),
    });
    document.counts = Some(with_values(&counts).into());
    let problems = summary.problems.iter().take(MAX_PROBLEMS);
    let problems = problems.map(|problem| {
        let mut json = known(problem).json();
        json.insert("since".to_owned(), json!(problem.since));
        let number = problem.certificate_authorities.into();
        json.insert("certificateAuthorities".to_owned(), number);
        json.into()
    });
    document.problems = Some(problems.collect());
    document.without_revocation_checking = without.map(|authorities| watch::arns(authorities));
}

fn summary_facts(alert: &Alert, summary: &WatchSummary) -> Vec<Fact> {
    let number = |number: u64| match number {
        0 => "none".to_owned(),
        some => with_separators(some),
    };
    let mut facts = Vec::new();
    let oldest = match summary.oldest_audit_at {
        Some(at) => {
            let age = duration(alert.detected_at.since(at));
            format!("{age} ago ({})", instant(at))
        }
        None if summary.unknown > 0 => "unknown".to_owned(),
        None => "none".to_owned(),
    };
    facts.push(Fact::text("Oldest audit", oldest));
    if summary.never_audited > 0 {
        let never = count(summary.never_audited, "CA");
        facts.push(Fact::text("Never audited", never));
    }
    if summary.unknown > 0 {
        let cas = count(summary.unknown, "CA");
        let text = format!("{cas}, whose state could not be read: their numbers are missing here");
        facts.push(Fact::text("Unknown", text));
    }
    let since = summary
        .since
        .map_or("so far".to_owned(), |at| format!("since {}", instant(at)));
    let notified = number(summary.notified.total());
    facts.push(Fact::text(
        "Revocations notified",
        format!("{notified} {since}"),
    ));
    let problems = number(summary.problems.len() as u64);
    facts.push(Fact::text("Open problems", problems));
    let without = match summary.without_revocation_checking.as_deref() {
        None => "unknown (AWS did not list every CA)".to_owned(),
        Some([]) => "none".to_owned(),
        Some(some) => {
            let cas = count(some.len() as u64, "CA");
            format!("{cas} (revocation has no effect on clients)")
        }
    };
    facts.push(Fact::text("Without CRL and OCSP", without));
    facts
}

fn problem_line(problem: &OpenProblem) -> Line {
    let known = known(problem);
    let (kind, since) = (defang(known.kind, 64), instant(known.since));
    let cas = count(problem.certificate_authorities, "CA");
    let resource = known.shown_resource();
    let resource = resource.map_or_else(String::new, |text| format!(" ({text})"));
    Line::new(format!("{kind}: {cas} since {since}{resource}"))
}

fn known(problem: &OpenProblem) -> Problem<'_> {
    Problem {
        kind: &problem.kind,
        resource: problem.resource.as_deref(),
        since: problem.since,
    }
}
