//! Subjects are chosen by whoever requests certificates. Whatever they contain, a message says the
//! same, and their text appears only where the message shows the subject.

use crate::support::{
    accepted, alert, collect, document, email, findings_with, hostile_subjects, investigated,
    renamed, report, revocation, sample, serial, sms, unknown_with,
};
use pca_revocation_watch::alert::{Alert, AlertKind, RevocationAlert};
use pca_revocation_watch::text::visible::is_invisible;
use serde_json::Value;

const HARMLESS: &str = "CN=www.example.com,O=Example Company";

fn alert_of(subject: &str) -> Alert {
    let revoked_at = "2018-02-26T20:00:36+0000";
    let (batch, _) = collect([revocation(
        &serial(1),
        subject,
        "KEY_COMPROMISE",
        revoked_at,
    )]);
    // Without a full list, so that messages differ in nothing but the subject.
    alert(AlertKind::Revocations(RevocationAlert::new(
        batch,
        report(),
        None,
    )))
}

/// The lines of an email except those that show the subject.
fn frame(email: &str) -> Vec<&str> {
    let shows_subject = |line: &&str| {
        ["CRITICAL: ", "Subject:", "| "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    email.lines().filter(|line| !shows_subject(line)).collect()
}

#[test]
fn email_lines_are_the_same_for_any_subject() {
    let harmless = email(&alert_of(HARMLESS).message());
    for subject in hostile_subjects() {
        let text = email(&alert_of(&subject).message());
        assert_eq!(frame(&text), frame(&harmless), "{subject:.200?}");
        let shown = text.chars().filter(|&c| c != '\n');
        assert!(!shown.clone().any(is_invisible), "{text}");
        let first_line = text.lines().next().expect("a line");
        assert!(
            first_line.ends_with(" was revoked: key compromise."),
            "{first_line}"
        );
        for start in ["CRITICAL: ", "CA: ", "Revoked: ", "Serial: ", "1. "] {
            let lines = text.lines().filter(|line| line.starts_with(start));
            assert_eq!(lines.count(), 1, "{start:?} in\n{text}");
        }
        assert!(first_line.chars().count() <= 80, "{first_line}");
        // A line is longer only if it is one word.
        for line in text.lines().filter(|line| line.starts_with("| ")) {
            let columns = line.chars().map(|c| if c < '\u{1100}' { 1 } else { 2 });
            let is_one_word = !line[2..].contains(' ');
            assert!(is_one_word || columns.sum::<usize>() <= 76, "{line}");
            assert!(line.chars().count() <= 700, "{line}");
        }
        let links = text.matches("://").count();
        assert_eq!(links, harmless.matches("://").count(), "{text}");
    }
}

#[test]
fn cards_contain_no_foreign_mention_link_or_format() {
    let strings = |card: &Value| {
        let mut found = Vec::new();
        strings_of(card, &mut found);
        found
    };
    let harmless = document(&alert_of(HARMLESS).chat());
    for subject in hostile_subjects() {
        let card = document(&alert_of(&subject).chat());
        assert_eq!(strings(&card).len(), strings(&harmless).len());
        for (text, expected) in strings(&card).iter().zip(strings(&harmless)) {
            assert!(!text.contains(['<', '>', '@', '&']), "{text}");
            for sign in ["`", "*", "\n", "://", "!", "["] {
                let outside = outside_of_code(text);
                let (found, allowed) = match sign {
                    "`" | "\n" | "://" => (text.matches(sign), expected.matches(sign)),
                    _ => (outside.matches(sign), expected.matches(sign)),
                };
                assert_eq!(found.count(), allowed.count(), "{sign:?} in {text}");
            }
            assert!(
                !text.chars().any(|c| c != '\n' && is_invisible(c)),
                "{text:?}"
            );
        }
        let title = card["content"]["title"].as_str().expect("a title");
        assert!(title.chars().count() <= 250);
        let description = card["content"]["description"].as_str().expect("a text");
        assert!(description.chars().count() <= 2500, "{description}");
    }
}

/// The text without its code spans.
fn outside_of_code(text: &str) -> String {
    text.split('`').step_by(2).collect()
}

fn strings_of(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings_of(item, found)),
        Value::Object(members) => members
            .values()
            .for_each(|member| strings_of(member, found)),
        _ => {}
    }
}

#[test]
fn json_messages_contain_the_exact_subject() {
    for subject in hostile_subjects() {
        let message = alert_of(&subject).message();
        let variants = accepted(&message);
        let json = variants["default"].as_str().expect("a string");
        assert!(!json.chars().any(is_invisible), "{json}");
        let document: Value = serde_json::from_str(json).expect("JSON");
        let entry = &document["revocations"][0];
        if subject.len() <= 4096 {
            assert_eq!(entry["subject"], subject.as_str());
            assert_eq!(document["complete"], true);
        } else {
            assert_eq!(document["complete"], false);
            assert_eq!(entry["truncated"][0], "subject");
        }
        assert_eq!(document["severity"], "critical");
        assert_eq!(document["revocations"].as_array().map(Vec::len), Some(1));

        let hostile = revocation(
            &serial(1),
            &subject,
            "KEY_COMPROMISE",
            "2018-02-26T20:00:36Z",
        );
        let (batch, lines) = collect([hostile]);
        assert_eq!(batch.needs_full_list, subject.len() > 4096);
        if batch.needs_full_list {
            assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let line: Value = serde_json::from_slice(&lines).expect("JSON");
            assert_eq!(line["subject"], subject.as_str());
        }
    }
}

#[test]
fn subject_lines_and_sms_stay_one_plain_line() {
    for subject in hostile_subjects() {
        let message = alert_of(&subject).message();
        accepted(&message);
        assert!(message.subject.starts_with("[CRITICAL] KEY_COMPROMISE: "));
        assert!(
            message.subject.contains(" revoked (Example Corp"),
            "{}",
            message.subject
        );
        assert_eq!(
            message.subject.matches(['[', ']', '(', ')', ':']).count(),
            5
        );
        let text = sms(&message);
        assert!(
            text.len() <= 140 && text.starts_with("CRITICAL: "),
            "{text}"
        );
        assert!(
            text.contains(" revoked, key compromise. CA Example"),
            "{text}"
        );
    }
}

#[test]
fn reduced_messages_contain_no_text_of_the_subject() {
    let harmless = alert_of(HARMLESS).reduced();
    for subject in hostile_subjects() {
        assert_eq!(alert_of(&subject).reduced().body, harmless.body);
        assert_eq!(alert_of(&subject).reduced().subject, harmless.subject);
    }
}

#[test]
fn ca_names_are_defanged_too() {
    for name in hostile_subjects() {
        let alert = renamed(alert_of(HARMLESS), Some(&name));
        let text = email(&alert.message());
        assert!(!text.chars().any(|c| c != '\n' && is_invisible(c)));
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("Revoked: "))
                .count(),
            1
        );
        accepted(&alert.chat());
        let card = document(&alert.chat()).to_string();
        assert!(!card.contains(['<', '>', '@', '&']), "{card}");
    }
}

/// An alert with texts of others in everything that was found out.
fn alerts_with(text: &str) -> [Alert; 2] {
    [findings_with(text, 4), unknown_with(text)].map(|found| investigated([sample()], [found]))
}

#[test]
fn findings_add_no_line_that_passes_for_another() {
    let harmless = alerts_with("harmless").map(|alert| email(&alert.message()));
    for text in hostile_subjects() {
        for (alert, harmless) in alerts_with(&text).iter().zip(&harmless) {
            let message = alert.message();
            let shown = email(&message);
            assert!(
                !shown.chars().any(|c| c != '\n' && is_invisible(c)),
                "{shown}"
            );
            let starts = |email: &str| -> Vec<String> {
                let starts = email
                    .lines()
                    .map(|line| line.split(':').next().unwrap_or(""));
                let starts = starts.filter(|start| !start.starts_with([' ', '|']));
                starts
                    .map(|start| start.chars().take(10).collect())
                    .collect()
            };
            assert_eq!(starts(&shown), starts(harmless), "{text:.200?}\n{shown}");
            assert_eq!(
                shown.matches("://").count(),
                harmless.matches("://").count(),
                "{shown}"
            );
            let expected = sms(&investigated([sample()], []).message());
            assert_eq!(sms(&message), expected);
            assert_eq!(
                message.subject,
                investigated([sample()], []).message().subject
            );
        }
    }
}

#[test]
fn findings_keep_commands_and_steps_free_of_foreign_text() {
    let text = "'; reboot; $(reboot) `reboot` \"";
    for alert in alerts_with(text) {
        let shown = email(&alert.message());
        let commands = shown.split("\n\n").filter(|part| part.contains("  aws "));
        for command in commands {
            assert!(!command.contains("reboot"), "{command}");
        }
    }
    let found = findings_with("x`<!channel>`*y*[z](https://evil.example/)", 1);
    let shown = email(&investigated([sample()], [found]).message());
    let steps = shown.split("Next steps\n").nth(1).expect("next steps");
    let steps = steps.split("\n\n").next().expect("steps");
    assert!(!steps.contains(['<', '>', '`', '[', '/']), "{steps}");
}

#[test]
fn cards_contain_no_active_text_of_findings() {
    for text in hostile_subjects() {
        for alert in alerts_with(&text) {
            let card = document(&alert.chat());
            let mut strings = Vec::new();
            strings_of(&card, &mut strings);
            for text in strings {
                assert!(!text.contains(['<', '>', '@', '&']), "{text}");
                assert_eq!(text.matches('`').count() % 2, 0, "{text}");
                let outside = outside_of_code(&text);
                assert!(!outside.contains(['*', '!', '[']), "{text}");
                let is_ours = text.starts_with("Runbook: ") || text.starts_with("AWS Private CA");
                assert!(is_ours || !text.contains("://"), "{text}");
                assert!(
                    !text.chars().any(|c| c != '\n' && is_invisible(c)),
                    "{text:?}"
                );
            }
            let description = card["content"]["description"].as_str().expect("a text");
            assert!(description.chars().count() <= 3000, "{description}");
        }
    }
}

#[test]
fn json_of_findings_is_exact_or_short_and_always_valid() {
    let schema = crate::messages::schema();
    for text in hostile_subjects() {
        for alert in alerts_with(&text) {
            let message = alert.message();
            let json = accepted(&message)["default"].to_string();
            assert!(!json.chars().any(is_invisible), "{json}");
            let document = document(&message);
            crate::messages::assert_valid(&schema, &document);
            let found = &document["revocations"][0]["investigation"];
            let escaped = Value::String(found.to_string()).to_string();
            assert!(escaped.len() <= 2050, "{}", escaped.len());
            for part in ["revokedBy", "inUse", "affected", "clients"] {
                assert!(found[part]["status"].is_string(), "{part}");
            }
            let reduced = alert.reduced().body;
            assert_eq!(reduced, investigated([sample()], []).reduced().body);
        }
    }
}
