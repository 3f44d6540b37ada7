//! Subscription filter policies (SNS Developer Guide, "Amazon SNS subscription filter policies").

use std::collections::BTreeMap;

use serde_json::Value;

use super::message::Attribute;
use crate::error_reply::ErrorReply;

/// What a subscriber wants to get.
#[derive(Clone, Debug)]
pub struct FilterPolicy {
    policy: BTreeMap<String, Value>,
    body: bool,
}

impl FilterPolicy {
    /// A policy on the message's attributes.
    ///
    /// # Errors
    /// Where it is not a JSON object of at most five keys with matchers that are known here.
    pub fn on_attributes(policy: &str) -> Result<Self, ErrorReply> {
        Self::parse(policy, false)
    }

    /// A policy on the message's body, which must be JSON.
    ///
    /// # Errors
    /// As [`FilterPolicy::on_attributes`].
    pub fn on_body(policy: &str) -> Result<Self, ErrorReply> {
        Self::parse(policy, true)
    }

    fn parse(policy: &str, body: bool) -> Result<Self, ErrorReply> {
        const MOST_KEYS: usize = 5;
        let invalid = |why: String| {
            ErrorReply::new(
                400,
                "InvalidParameter",
                format!("Invalid parameter: FilterPolicy: {why}"),
            )
        };
        let policy: BTreeMap<String, Value> =
            serde_json::from_str(policy).map_err(|error| invalid(error.to_string()))?;
        let mut keys = 0;
        check(&policy, body, &mut keys).map_err(invalid)?;
        if keys > MOST_KEYS {
            return Err(invalid(
                "Filter policy can not have more than 5 keys".to_owned(),
            ));
        }
        Ok(Self { policy, body })
    }

    pub(crate) fn accepts(&self, attributes: &BTreeMap<String, Attribute>, body: &str) -> bool {
        if self.body {
            return serde_json::from_str(body)
                .is_ok_and(|body: Value| accepts_object(&self.policy, &body));
        }
        self.policy.iter().all(|(name, matchers)| {
            let values = attributes.get(name).map(values).unwrap_or_default();
            any_matches(matchers, &values)
        })
    }
}

fn check(policy: &BTreeMap<String, Value>, nested: bool, keys: &mut usize) -> Result<(), String> {
    const KNOWN: [&str; 6] = [
        "anything-but",
        "prefix",
        "suffix",
        "equals-ignore-case",
        "exists",
        "numeric",
    ];
    for (name, matchers) in policy {
        match matchers {
            Value::Array(matchers) if !matchers.is_empty() => {
                *keys += 1;
                for matcher in matchers {
                    let known = match matcher {
                        Value::Object(operators) => {
                            operators.len() == 1
                                && operators.keys().all(|name| KNOWN.contains(&name.as_str()))
                        }
                        Value::Array(_) => false,
                        _ => true,
                    };
                    if !known {
                        return Err(format!("Unrecognized match type in {name}: {matcher}"));
                    }
                }
            }
            Value::Object(inner) if nested => {
                let inner = inner.clone().into_iter().collect();
                check(&inner, true, keys)?;
            }
            _ => return Err(format!("{name} must be an object or an array")),
        }
    }
    Ok(())
}

/// The values of an attribute: the elements of an array, else the one value.
fn values(attribute: &Attribute) -> Vec<Value> {
    match attribute.data_type.as_str() {
        "String.Array" => match serde_json::from_str(&attribute.value) {
            Ok(Value::Array(values)) => values,
            _ => Vec::new(),
        },
        kind if kind == "Number" || kind.starts_with("Number.") => {
            serde_json::from_str(&attribute.value).into_iter().collect()
        }
        kind if kind == "Binary" || kind.starts_with("Binary.") => Vec::new(),
        _ => vec![Value::from(attribute.value.clone())],
    }
}

fn accepts_object(policy: &BTreeMap<String, Value>, body: &Value) -> bool {
    policy.iter().all(|(name, matchers)| match matchers {
        Value::Object(inner) => {
            let inner = inner.clone().into_iter().collect();
            match body.get(name) {
                Some(Value::Array(values)) => {
                    values.iter().any(|value| accepts_object(&inner, value))
                }
                Some(value) => accepts_object(&inner, value),
                None => accepts_object(&inner, &Value::Null),
            }
        }
        matchers => {
            let values = match body.get(name) {
                None | Some(Value::Object(_)) => Vec::new(),
                Some(Value::Array(values)) => values.clone(),
                Some(value) => vec![value.clone()],
            };
            any_matches(matchers, &values)
        }
    })
}

/// Whether any value matches any matcher; no values at all match only `{"exists": false}`.
fn any_matches(matchers: &Value, values: &[Value]) -> bool {
    let Value::Array(matchers) = matchers else {
        return false;
    };
    matchers.iter().any(|matcher| {
        if let Some(exists) = matcher.get("exists").and_then(Value::as_bool) {
            return exists != values.is_empty();
        }
        values.iter().any(|value| matches(matcher, value))
    })
}

fn matches(matcher: &Value, value: &Value) -> bool {
    let Some((operator, operand)) = matcher.as_object().and_then(|all| all.iter().next()) else {
        return equal(matcher, value);
    };
    let text = value.as_str();
    match operator.as_str() {
        "anything-but" => match operand {
            Value::Array(unwanted) => !unwanted.iter().any(|unwanted| equal(unwanted, value)),
            Value::Object(_) => !matches(operand, value),
            unwanted => !equal(unwanted, value),
        },
        "prefix" => pair(text, operand).is_some_and(|(text, prefix)| text.starts_with(prefix)),
        "suffix" => pair(text, operand).is_some_and(|(text, suffix)| text.ends_with(suffix)),
        "equals-ignore-case" => {
            pair(text, operand).is_some_and(|(text, other)| text.eq_ignore_ascii_case(other))
        }
        "numeric" => numeric(operand, value),
        _ => false,
    }
}

fn pair<'a>(text: Option<&'a str>, operand: &'a Value) -> Option<(&'a str, &'a str)> {
    text.zip(operand.as_str())
}

fn equal(wanted: &Value, value: &Value) -> bool {
    match (wanted.as_f64(), value.as_f64()) {
        (Some(wanted), Some(value)) => wanted == value,
        _ => wanted == value,
    }
}

/// A condition such as `[">=", 0, "<", 100]`.
fn numeric(condition: &Value, value: &Value) -> bool {
    let (Some(condition), Some(value)) = (condition.as_array(), value.as_f64()) else {
        return false;
    };
    !condition.is_empty()
        && condition.chunks(2).all(|pair| {
            let [operator, operand] = pair else {
                return false;
            };
            let Some(operand) = operand.as_f64() else {
                return false;
            };
            match operator.as_str() {
                Some("=") => value == operand,
                Some("<") => value < operand,
                Some("<=") => value <= operand,
                Some(">") => value > operand,
                Some(">=") => value >= operand,
                _ => false,
            }
        })
}
