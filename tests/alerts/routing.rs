//! The filter policies of `docs/route-messages.md` select the sample messages that the page says.

use crate::support::{AUTHORITY, document, scenarios};
use serde_json::Value;

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

/// The policies of the page, in its order.
fn recipes() -> Vec<Value> {
    let page = include_str!("../../docs/route-messages.md");
    let blocks = page.split("```json\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().expect("a block ends"));
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
