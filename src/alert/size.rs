//! The size limits of a message and its parts.
//!
//! SNS limits a message with its attributes to 256 KiB, unless the topic's `MaximumMessageSize` is
//! another limit (`Publish` and `SetTopicAttributes`, Amazon SNS API Reference). With
//! `MessageStructure=json` the whole document counts, including escapes. Each part has a limit of
//! its own: the email names the certificate authority, and at the default limit the JSON message must
//! not depend on whether that name could be looked up.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::revocation::investigation::MAX_INVESTIGATED;
use crate::text::visible::is_invisible;

/// Bytes of a message that a topic accepts unless its `MaximumMessageSize` is set. The message never
/// uses a higher limit.
pub const DEFAULT_LIMIT: usize = 256 * 1024;

/// On a topic with a lower limit, the email's list gets one part in this many of the room for
/// revocations, as it does at the default limit.
pub(super) const EMAIL_SHARE: usize = 8;

/// Maximum bytes that the JSON message or the email says about one investigation, escaped.
pub(super) const INVESTIGATION_ROOM: usize = 2 * 1024;

/// Bytes reserved for investigations, in the JSON message and in the email each, so that what a message
/// holds does not depend on them.
const INVESTIGATIONS_ROOM: usize = MAX_INVESTIGATED * INVESTIGATION_ROOM;

/// Maximum bytes of the email's list of revocations without investigations, escaped.
pub(super) const EMAIL_LIST_ROOM: usize = 26 * 1024 - INVESTIGATIONS_ROOM;

/// Maximum bytes of all entries of `revocations` without investigations, escaped; about 200 entries of usual size.
///
/// The rest of the email has 22 KiB. Everything else (the rest of the JSON message, the SMS, the
/// attributes) has 20 KiB, most of it for two S3 keys of 1,024 bytes that need escaping twice.
pub(super) const ENTRIES_ROOM: usize =
    (256 - 22 - 20) * 1024 - EMAIL_LIST_ROOM - 2 * INVESTIGATIONS_ROOM;

/// Serializes to JSON with every character that [`is_invisible`] escaped.
///
/// The values do not change, but subjects cannot rearrange a document that is shown as text in a
/// log or a terminal, and it contains no character that SNS rejects (Amazon SNS FAQs: those that XML
/// excludes).
pub(super) fn to_json(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value)
        .expect("text, numbers and lists of them serialize into memory");
    if json.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return json;
    }
    // Outside of its strings, JSON has no invisible character.
    let mut visible = String::with_capacity(json.len());
    for c in json.chars() {
        if is_invisible(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                visible.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            visible.push(c);
        }
    }
    visible
}

/// Returns the fields of an object that have a value.
pub(super) fn with_values(object: &impl Serialize) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(object) else {
        unreachable!("objects of text, numbers and lists serialize into memory")
    };
    fields.retain(|_, value| !value.is_null());
    fields
}

/// Returns the bytes of a text inside a JSON string, without the quotation marks.
pub(super) fn escaped_len(text: &str) -> usize {
    to_json(&text).len() - 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_escaped_and_values_kept() {
        let text = "a\u{202e}\u{0}\u{7f}\u{e0041}\u{ffff}\u{e9}\"\\\n";
        let json = to_json(&text);
        assert_eq!(
            json,
            "\"a\\u202e\\u0000\\u007f\\udb40\\udc41\\uffff\u{e9}\\\"\\\\\\n\""
        );
        assert_eq!(serde_json::from_str::<String>(&json).expect("valid"), text);
    }
}
