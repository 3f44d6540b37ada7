//! The filter policies and regular expressions of `docs/route-messages.md` select the sample messages
//! that the page says, and the template for Jira Service Management makes an alert of each.

use crate::support::{AUTHORITY, document, email, revocation, revocations, scenarios, serial};
use regex_lite::Regex;
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/route-messages.md");

/// Whether SNS delivers a message with a policy of scope `MessageBody` (Amazon SNS Developer Guide,
/// "Subscription filter policies"), as far as the recipes use it.
fn matches(policy: &Value, message: &Value) -> bool {
    let conditions = policy.as_object().expect("a policy is an object");
    conditions.iter().all(|(key, condition)| {
        let alternatives = condition.as_array().expect("a condition is an array");
        if key == "$or" {
            return alternatives.iter().any(|policy| matches(policy, message));
        }
        let values = match &message[key] {
            Value::Null => Vec::new(),
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        // One value of an array is enough.
        values.iter().any(|value| {
            alternatives
                .iter()
                .any(|expected| matches_value(expected, value))
        })
    })
}

fn matches_value(expected: &Value, value: &Value) -> bool {
    let Some(operator) = expected.as_object() else {
        return expected == value;
    };
    let text = value.as_str().expect("the recipes filter on strings");
    match operator.iter().next().expect("an operator") {
        (name, Value::String(prefix)) if name == "prefix" => text.starts_with(prefix),
        (name, Value::Array(others)) if name == "anything-but" => !others.contains(value),
        other => panic!("operator unknown to this test: {other:?}"),
    }
}

/// The code blocks of the page in this language, in its order.
fn blocks(language: &str) -> Vec<&'static str> {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .map(str::trim)
        .collect()
}

/// The policies of the page, in its order.
fn recipes() -> Vec<Value> {
    let blocks = blocks("json").into_iter();
    blocks
        .map(|block| serde_json::from_str(block).expect("a filter policy"))
        .collect()
}

#[test]
fn filter_recipes_select_what_the_page_says() {
    let all: Vec<&str> = scenarios().iter().map(|(name, _)| *name).collect();
    let about_watch: Vec<&str> = all
        .iter()
        .copied()
        .filter(|name| name.starts_with("watch-"))
        .collect();
    let except = |excluded: &[&str]| -> Vec<&str> {
        let included = all.iter().filter(|name| !excluded.contains(name));
        included.copied().collect()
    };
    let revocations = [
        "one",
        "key-compromise",
        "unknown",
        "no-crl-no-ocsp",
        "seven",
        "five-thousand",
        "hostile",
    ];
    let critical = [&revocations[..], &["replay", "test"]].concat();
    let failures = [
        "watch-failed",
        "watch-failed-many",
        "watch-failed-overdue",
        "watch-stopped",
    ];
    let expected = [
        // One CA: every sample is about it, alone or among others.
        all.clone(),
        about_watch,
        except(&["watch-started", "watch-recovered", "watch-summary"]),
        except(&["watch-started", "watch-recovered", "watch-summary"]),
        revocations.to_vec(),
        critical.clone(),
    ];
    // The samples are all critical or about the watch, and all critical ones have a key compromise.
    assert_eq!(all.len(), critical.len() + failures.len() + 3);
    let recipes = recipes();
    assert_eq!(recipes.len(), expected.len(), "a recipe without a test");
    for (policy, expected) in recipes.iter().zip(expected) {
        let selected: Vec<&str> = scenarios()
            .into_iter()
            .filter(|(_, alert)| matches(policy, &document(&alert.message())))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(selected, expected, "{policy}");
    }
}

#[test]
fn filter_by_ca_excludes_messages_about_others() {
    let recipe = recipes().remove(0);
    let text = recipe
        .to_string()
        .replace(AUTHORITY, &format!("{AUTHORITY}0"));
    let of_another: Value = serde_json::from_str(&text).expect("a filter policy");
    for (name, alert) in scenarios() {
        for message in [alert.message(), alert.reduced()] {
            let message = document(&message);
            assert!(matches(&recipe, &message), "{name}");
            assert!(!matches(&of_another, &message), "{name}");
        }
    }
    // The last of the CAs of a message is found as well.
    let mut scenarios = scenarios().into_iter();
    let (_, alert) = scenarios
        .find(|(name, _)| *name == "watch-failed-many")
        .expect("a sample about many CAs");
    let last = alert
        .certificate_authorities
        .last()
        .expect("CAs")
        .arn
        .as_str();
    let text = recipe.to_string().replace(AUTHORITY, last);
    let of_last = serde_json::from_str(&text).expect("a filter policy");
    assert!(matches(&of_last, &document(&alert.message())));
    assert_ne!(last, AUTHORITY);
}

#[test]
fn pagerduty_expressions_select_like_the_filters() {
    let expressions: Vec<Regex> = blocks("regex")
        .into_iter()
        .map(|block| Regex::new(block).expect("a regular expression"))
        .collect();
    let [critical, with_failures, key] = &expressions[..] else {
        panic!("an expression without a test");
    };
    let only_critical = serde_json::json!({ "severity": ["critical"] });
    let with_failures_filter = &recipes()[3];
    // No sample has only revocations of these severities.
    let others = ["UNSPECIFIED", "SUPERSEDED"].map(|reason| {
        let revocation = revocation(
            &serial(1),
            "CN=www.example.com",
            reason,
            "2018-02-26T20:00:36+0000",
        );
        (reason, revocations([revocation]))
    });
    for (name, alert) in scenarios().into_iter().chain(others) {
        for message in [alert.message(), alert.reduced()] {
            let body = document(&message);
            for (expression, filter) in [
                (critical, &only_critical),
                (with_failures, with_failures_filter),
            ] {
                let pages = expression.is_match(&message.subject);
                assert_eq!(pages, matches(filter, &body), "{name}: {expression}");
            }
            let text = email(&message);
            let found = key.captures(&text).expect(name);
            assert_eq!(&found[1], message.id, "{name}");
        }
    }
}

#[test]
fn jira_filter_with_failures_is_the_recipe() {
    let [yaml] = &blocks("yaml")[..] else {
        panic!("a snippet without a test");
    };
    let policy = yaml.strip_prefix("FilterPolicy: ").expect("a property");
    let policy: Value = serde_json::from_str(policy).expect("a filter policy");
    assert_eq!(policy, recipes()[3]);
}

/// EventBridge inserts values as they are: a quotation mark in one would break the alert.
#[test]
fn jira_template_inserts_only_fields_that_nobody_can_choose() {
    let template = include_str!("../../docs/routes/jira-service-management.yaml");
    let (_, rest) = template.split_once("InputTemplate: |-\n").expect("input");
    let (input, _) = rest.split_once("\n\n").expect("the template ends");
    let variable = Regex::new(r"<\$\.body\.([A-Za-z]+)>").expect("a pattern");
    let fixed = ["severity", "type", "accountId", "region", "id"];
    for (name, alert) in scenarios() {
        for message in [alert.message(), alert.reduced()] {
            let body = document(&message);
            let alert = variable.replace_all(input, |found: &regex_lite::Captures| {
                let field = &found[1];
                assert!(fixed.contains(&field), "{field} may hold any text");
                body[field].as_str().expect(field).to_owned()
            });
            assert!(!alert.contains("<$"), "{name}: {alert}");
            let alert: Value = serde_json::from_str(&alert).expect(name);
            assert_eq!(alert["alias"], *message.id, "{name}");
            // The only field that Jira Service Management requires.
            assert!(alert["message"].is_string(), "{name}");
        }
    }
}
