//! The email: plain text that reads well in 80 columns, in a proportional font and on a phone.
//!
//! Nothing is aligned in columns, and no word is ever broken: an email address, a host name, a
//! serial or an ARN stays in one piece on one line. Text that others chose follows one of our labels;
//! if it takes several lines, each begins with `|`, so that it cannot pass for a line of the message. A
//! name of others within a line of ours is never broken.

use crate::alert::certificate::Certificate;
use crate::alert::content::{Content, List};
use crate::alert::fact::{Fact, Value};
use crate::alert::size::{INVESTIGATION_ROOM, escaped_len};
use crate::text::numbers::with_separators;
use crate::text::visible::defang;

/// Columns of a line, unless one word is longer; some mail readers quote with two more in 80.
const COLUMNS: usize = 76;

/// Maximum characters of a name.
const MAX_NAME_CHARS: usize = 64;

/// Maximum characters of an item of a list.
const MAX_ITEM_CHARS: usize = 500;

/// Maximum characters of a line about what was found out: the first with which all lines fit.
const MAX_FINDING_CHARS: [usize; 4] = [500, 250, 120, 60];

/// A space that does not break a line while a text is wrapped; defanged text has none.
const UNBROKEN: &str = "\u{a0}";

/// Maximum characters of a quotation; a usual subject has about 120.
const MAX_QUOTED_CHARS: usize = 600;

/// Returns the text of the email. `list_room` is the room for the list of revocations, in escaped
/// bytes.
pub(super) fn render(content: &Content, list_room: usize) -> String {
    let name = |name: &str| defang(name, MAX_NAME_CHARS);
    let mut page = Page::default();
    page.line(&content.headline.fitted(80, name));
    page.line("");
    if !content.intro.is_empty() {
        page.wrapped("", "", &content.intro);
        page.line("");
    }
    if !content.cause.is_empty() {
        page.facts(&content.cause);
        page.line("");
    }
    if let Some((about, steps)) = content.next_steps.first() {
        let about = match about.as_str() {
            "" => String::new(),
            about => format!("{about}: "),
        };
        page.wrapped(&about, "", &steps[0]);
        page.line("");
    }
    if let Some(authority) = &content.authority {
        page.line(&format!("CA: {}", name(authority)));
    }
    let document = &content.document;
    page.line(&format!(
        "Account: {}, {}",
        document.account_id, document.region
    ));
    page.facts(&content.facts);
    match content.certificates.as_slice() {
        [only] if content.total == 1 => {
            page.certificate(only, true);
            page.line("");
        }
        _ => {
            page.line("");
            content.lists.iter().for_each(|list| page.list(list));
            page.counts_and_list(content, list_room);
        }
    }
    page.next_steps(content);
    for (purpose, command) in &content.commands {
        page.wrapped("", "", purpose);
        for (position, line) in command.lines().enumerate() {
            let indent = if position == 0 { "  " } else { "    " };
            page.line(&format!("{indent}{line}"));
        }
        page.line("");
    }
    for (name, address) in &content.links {
        page.line(&format!("{name}: {address}"));
    }
    page.facts(&content.report);
    page.facts(&content.sources);
    let id = &document.id;
    page.line(&format!("pca-revocation-watch, message {id}"));
    page.0
}

/// Text under construction, line by line.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// Adds what is known about a certificate.
    fn certificate(&mut self, certificate: &Certificate, has_findings: bool) {
        let (revoked, others) = certificate.facts.split_at(1);
        self.facts(revoked);
        if has_findings {
            self.findings(&certificate.findings.facts);
        }
        self.facts(others.iter().chain(&certificate.details));
    }

    /// Adds what was found out about a certificate, in lines as long as their room allows.
    fn findings(&mut self, facts: &[Fact]) {
        let of_at_most = |max_chars| {
            let mut page = Self::default();
            facts
                .iter()
                .for_each(|fact| page.fact_within(fact, max_chars));
            page.0
        };
        let texts = MAX_FINDING_CHARS.map(of_at_most);
        let fits = texts
            .iter()
            .find(|text| escaped_len(text) <= INVESTIGATION_ROOM);
        self.0.push_str(fits.map_or("", |text| text));
    }

    fn facts<'a>(&mut self, facts: impl IntoIterator<Item = &'a Fact>) {
        facts
            .into_iter()
            .for_each(|fact| self.fact_within(fact, MAX_ITEM_CHARS));
    }

    /// Adds a fact; `max_chars` is the maximum of a line with names.
    fn fact_within(&mut self, fact: &Fact, max_chars: usize) {
        let label = format!("{}: ", fact.label);
        match &fact.value {
            Value::Text(text) => self.wrapped(&label, "  ", text),
            Value::Code(text) => self.line(&format!("{label}{text}")),
            Value::Quoted(text) => self.quoted(&label, text),
            Value::Line(line) => self.wrapped(&label, "  ", &line.fitted(max_chars, unbroken)),
        }
    }

    fn quoted(&mut self, label: &str, text: &str) {
        let mut text = defang(text, MAX_QUOTED_CHARS);
        if text.trim().is_empty() {
            text = "(empty)".to_owned();
        }
        if width(label) + width(&text) <= COLUMNS {
            return self.line(&format!("{label}{text}"));
        }
        self.line(label.trim_end());
        self.wrapped("| ", "| ", &text);
    }

    /// Adds a text whose lines begin with `first` and `others`, broken at spaces only.
    fn wrapped(&mut self, first: &str, others: &str, text: &str) {
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let mut line = first.to_owned() + words.next().unwrap_or_default();
        for word in words {
            if width(&line) + 1 + width(word) > COLUMNS {
                self.line(&line.replace(UNBROKEN, " "));
                others.clone_into(&mut line);
            } else {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(&line.replace(UNBROKEN, " "));
    }

    fn list(&mut self, list: &List) {
        self.line(list.heading);
        for item in &list.items {
            let item = item.fitted(MAX_ITEM_CHARS, |name| defang(name, MAX_NAME_CHARS));
            self.wrapped("- ", "  ", &item);
        }
        if let Some(more) = list.more(list.items.len()) {
            self.line(&format!("- {more}"));
        }
        self.line("");
    }

    /// Adds the counts by reason, and the worst revocations one by one.
    fn counts_and_list(&mut self, content: &Content, list_room: usize) {
        if !content.counts.is_empty() {
            self.line("Revocations by reason");
            for (number, reason) in &content.counts {
                self.line(&format!("- {} {reason}", with_separators(*number)));
            }
            self.line("");
        }
        let total = with_separators(content.total);
        let mut listed = 0;
        let mut len = 0;
        for certificate in &content.certificates {
            let item = |has_findings| {
                let mut item = Page::default();
                let name = defang(&certificate.name, MAX_NAME_CHARS);
                item.line(&format!("Certificate {} of {total}: {name}", listed + 1));
                item.line(&format!("Reason: {}", certificate.reason));
                item.certificate(certificate, has_findings);
                item.line("");
                item.0
            };
            len += escaped_len(&item(false));
            if len > list_room {
                break;
            }
            self.0.push_str(&item(true));
            listed += 1;
        }
        if listed < content.total {
            let all = match content.document.complete {
                Some(true) => " The JSON message lists all of them.",
                Some(false) if content.document.full_list.is_none() => {
                    " The full list could not be written; a replay writes it again."
                }
                _ => "",
            };
            self.line(&format!(
                "These are the worst {listed} of {total} revocations.{all}"
            ));
            self.line("");
        }
    }

    /// Adds the next steps after the first one.
    fn next_steps(&mut self, content: &Content) {
        for (position, (about, steps)) in content.next_steps.iter().enumerate() {
            let steps: Vec<&String> = match position {
                0 => content.found_steps.iter().chain(&steps[1..]).collect(),
                _ => steps.iter().collect(),
            };
            if steps.is_empty() {
                continue;
            }
            match about.as_str() {
                "" => self.line("Next steps"),
                about => self.wrapped("", "", &format!("{about}: next steps")),
            }
            for (number, step) in (1..).zip(steps) {
                self.wrapped(&format!("{number}. "), "   ", step);
            }
            self.line("");
        }
    }
}

/// A name of others within a line of ours: it stays in one piece, in quotation marks if it has spaces.
fn unbroken(name: &str) -> String {
    let name = defang(name, MAX_NAME_CHARS);
    match name.contains(' ') || name.is_empty() {
        true => format!("\"{}\"", name.replace('"', "'").replace(' ', UNBROKEN)),
        false => name,
    }
}

/// Columns of a text: two for a character from where the wide scripts begin, too many rather than
/// too few.
fn width(text: &str) -> usize {
    let columns = text
        .chars()
        .map(|c| if u32::from(c) < 0x1100 { 1 } else { 2 });
    columns.sum()
}
