//! Text that others chose, made harmless.

use crate::text::visible::{TRUNCATION_MARK, visible};

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
