//! Text that others chose, made visible and harmless.

/// The end of a text that was cut.
pub const TRUNCATION_MARK: &str = "[...]";

/// Returns the text with control, bidirectional and otherwise invisible characters written as
/// `\u202E`.
pub fn visible(text: &str) -> String {
    let mut shown = Visible::new(usize::MAX);
    shown.push_str(text);
    shown.finish()
}

/// Returns whether a character would affect the text around it, or hide, instead of being seen: controls,
/// line and paragraph separators, spaces of unusual width, bidirectional and zero-width format
/// characters, variation selectors, tags, noncharacters and private use.
pub fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0x00..=0x1F | 0x7F..=0xA0 | 0xAD | 0x034F | 0x061C | 0x115F..=0x1160 | 0x1680
        | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x2000..=0x200F | 0x2028..=0x202F | 0x205F..=0x206F
        | 0x2800 | 0x3000 | 0x3164 | 0xE000..=0xF8FF | 0xFDD0..=0xFDEF | 0xFE00..=0xFE0F | 0xFEFF
        | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0x10FFFF)
        || u32::from(c) & 0xFFFE == 0xFFFE
}

/// Builds a text of limited length in which every character can be seen.
pub struct Visible {
    text: String,
    room: usize,
    cut: bool,
    marks: usize,
}

impl Visible {
    /// Returns an empty text for at most `room` characters.
    pub fn new(room: usize) -> Self {
        Self {
            text: String::new(),
            room,
            cut: false,
            marks: 0,
        }
    }

    /// Appends a text.
    pub fn push_str(&mut self, text: &str) {
        for c in text.chars() {
            if self.cut {
                return;
            }
            self.push(c);
        }
    }

    /// Appends a character, escaped if it is invisible.
    pub fn push(&mut self, c: char) {
        // Letters of living languages carry two marks at most; more of them cover other lines.
        self.marks = if is_combining(c) { self.marks + 1 } else { 0 };
        if !is_invisible(c) && self.marks <= 2 {
            return self.push_plain(c);
        }
        let escaped = match u32::from(c) {
            code @ ..=0xFFFF => format!("\\u{code:04X}"),
            code => format!("\\U{code:08X}"),
        };
        if self.take(escaped.len()) {
            self.text.push_str(&escaped);
        }
    }

    /// Appends a character as it is.
    pub fn push_plain(&mut self, c: char) {
        if self.take(1) {
            self.text.push(c);
        }
    }

    fn take(&mut self, width: usize) -> bool {
        self.cut |= width > self.room;
        if !self.cut {
            self.room -= width;
        }
        !self.cut
    }

    /// Returns the text, with [`TRUNCATION_MARK`] if it was cut.
    pub fn finish(mut self) -> String {
        if self.cut {
            self.text.push_str(TRUNCATION_MARK);
        }
        self.text
    }
}

/// The blocks of combining marks that stack above and below a letter.
fn is_combining(c: char) -> bool {
    matches!(u32::from(c),
        0x0300..=0x036F | 0x0483..=0x0489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF
        | 0xFE20..=0xFE2F)
}

/// Returns the text on one line with every character visible and no link that a mail reader would
/// recognize by its scheme, cut after `max_chars` characters.
pub fn defang(text: &str, max_chars: usize) -> String {
    // One character more than is kept shows whether anything is cut.
    let start: String = text.chars().take(max_chars + 1).collect();
    let mut shown = visible(&start).replace("://", "[:]//");
    if let Some((end, _)) = shown.char_indices().nth(max_chars) {
        shown.replace_range(end.., TRUNCATION_MARK);
    }
    shown
}

/// Returns at most `max_chars` characters of the text in ASCII letters, digits and a few signs that
/// have no meaning to any reader; anything else becomes a question mark.
pub fn ascii(text: &str, max_chars: usize) -> String {
    text.chars()
        .take(max_chars)
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | ',' | '-' | '_' | '*' | '@' | '\'' => c,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_addresses_are_not_links() {
        assert_eq!(
            defang("https://evil.example/", 99),
            "https[:]//evil.example/"
        );
        assert_eq!(defang("a\nb\u{202e}", 99), r"a\u000Ab\u202E");
        assert_eq!(defang("abcdef", 3), "abc[...]");
        assert_eq!(defang("\0\0", 8), r"\u0000\u[...]");
        assert_eq!(ascii("J\u{fc}rgen <x>", 8), "J?rgen ?");
    }
}
