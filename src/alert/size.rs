//! The size limits of a message and its parts.
//!
//! SNS limits a message with its attributes to 256 KiB (`Publish`, Amazon SNS API Reference). With
//! `MessageStructure=json` the whole document counts, including escapes. Each part has a limit of
//! its own: the email names the certificate authority, and the JSON message must not depend on
//! whether that name could be looked up.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::text::visible::is_invisible;

/// Maximum bytes of a message and its attributes.
const LIMIT: usize = 262_144;

/// Maximum bytes of the email's list of revocations, escaped.
pub(super) const EMAIL_LIST_ROOM: usize = 26 * 1024;

/// Maximum bytes of the rest of the email, escaped.
const EMAIL_FRAME_ROOM: usize = 22 * 1024;

/// Maximum bytes of everything else: the rest of the JSON message, the SMS, the attributes. Most of
/// it is for two S3 keys of the maximum length, 1,024 bytes, that need escaping twice.
const FRAME_ROOM: usize = 20 * 1024;

/// Maximum bytes of all entries of `revocations`, escaped; about 200 entries of usual size.
pub(super) const ENTRIES_ROOM: usize = LIMIT - EMAIL_LIST_ROOM - EMAIL_FRAME_ROOM - FRAME_ROOM;

/// Serializes to JSON with every character that [`is_invisible`] escaped.
///
/// The values do not change, but subjects cannot rearrange a document that is shown as text in a
/// log or a terminal, and it contains no character that SNS rejects (Amazon SNS FAQs: those that XML
/// excludes).
pub(super) fn to_json(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value)
        .expect("text, numbers and lists of them serialize into memory");
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

/// Returns the bytes of a text inside a JSON string, without the quotation marks; for text without
/// control characters other than line feeds.
pub(super) fn escaped_len(text: &str) -> usize {
    let escapes = text
        .bytes()
        .filter(|byte| matches!(byte, b'"' | b'\\' | b'\n'));
    text.len() + escapes.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_len_matches_serde_json() {
        for text in [
            "",
            "plain",
            "a \"quoted\" \\ word\nand a line",
            "\u{e9}\u{1f534}",
        ] {
            let json = serde_json::to_string(text).expect("a string");
            assert_eq!(escaped_len(text), json.len() - 2, "{text:?}");
        }
    }

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
