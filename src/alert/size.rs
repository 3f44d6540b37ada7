//! How much room a message has, and how it is shared out.
//!
//! SNS limits a message with its attributes to 256 KiB (`Publish`, Amazon SNS API Reference). With
//! `MessageStructure=json` the document with all its variants counts, escaping included. The room
//! is shared out in advance: what the machine document holds must not depend on how long the
//! e-mail happens to be, since that names the certificate authority and the document must be the
//! same whether or not a name could be looked up.

use serde_json::ser::Formatter;
use std::io;

use crate::text::visible::is_invisible;

/// Bytes that SNS accepts for a message and its attributes, whatever the settings of the topic.
pub const LIMIT: usize = 262_144;

/// Bytes of the e-mail's list of revocations, escaped.
pub(super) const EMAIL_LIST_ROOM: usize = 26 * 1024;

/// Bytes of the rest of the e-mail, escaped.
const EMAIL_FRAME_ROOM: usize = 22 * 1024;

/// Bytes of everything that is neither e-mail nor an entry of `revocations`: the rest of the
/// machine document, the text message, the attributes. Most of it provides for two object keys
/// of S3's greatest length, 1,024 bytes, of characters that have to be escaped twice.
const FRAME_ROOM: usize = 20 * 1024;

/// Bytes of all entries of `revocations`, escaped; some 200 of usual size.
pub(super) const ENTRIES_ROOM: usize = LIMIT - EMAIL_LIST_ROOM - EMAIL_FRAME_ROOM - FRAME_ROOM;

/// Writes JSON in which every character can be seen: what [`is_invisible`] is escaped.
///
/// The value of a string is not changed by this, but a document that is shown as text, in a log or
/// a terminal, cannot be rearranged by the subjects in it, and none of the characters that SNS does
/// not accept (Amazon SNS FAQs: those that XML excludes) is in it as such.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, VisibleFormatter);
    value
        .serialize(&mut serializer)
        .expect("text, numbers and lists of them serialize into memory");
    String::from_utf8(json).expect("serde_json writes UTF-8")
}

struct VisibleFormatter;

impl Formatter for VisibleFormatter {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut written = 0;
        for (at, c) in fragment.char_indices().filter(|&(_, c)| is_invisible(c)) {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            written = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }
}

/// Bytes of a text inside a JSON string, without the quotation marks; for text without controls
/// other than line feeds.
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
    fn escaped_len_is_what_serde_json_writes() {
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
    fn json_shows_every_character_and_keeps_its_value() {
        let text = "a\u{202e}\u{0}\u{7f}\u{e0041}\u{ffff}\u{e9}\"\\\n";
        let json = to_json(&text);
        assert_eq!(
            json,
            "\"a\\u202e\\u0000\\u007f\\udb40\\udc41\\uffff\u{e9}\\\"\\\\\\n\""
        );
        assert_eq!(serde_json::from_str::<String>(&json).expect("valid"), text);
    }
}
