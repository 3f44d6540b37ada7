//! The SMS: one line of at most 140 characters.

use crate::alert::content::Content;
use crate::text::defang::ascii;

/// SNS sends up to 140 ASCII characters as one message (Amazon SNS FAQs).
const MAX_LEN: usize = 140;

/// Returns one line of characters of the GSM 03.38 default alphabet that take one septet each.
pub fn render(content: &Content) -> String {
    let title = content.title.clone();
    let line = title.words(". CA ").name(&content.authority_name);
    line.fitted(MAX_LEN, |name| ascii(name, MAX_LEN))
}
