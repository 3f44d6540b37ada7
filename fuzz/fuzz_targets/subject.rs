//! Decodes any text as a subject: bounded, and without characters that hide or act.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pca_revocation_watch::revocation::distinguished_name::{
    MAX_COMMON_NAME_CHARS, MAX_TEXT_CHARS, decode,
};
use pca_revocation_watch::text::visible::{TRUNCATION_MARK, is_invisible};

fuzz_target!(|subject: &str| {
    let decoded = decode(subject);
    assert_shown(&decoded.text, MAX_TEXT_CHARS);
    if let Some(common_name) = &decoded.common_name {
        assert_shown(common_name, MAX_COMMON_NAME_CHARS);
    }
});

fn assert_shown(text: &str, max_chars: usize) {
    assert!(!text.contains(is_invisible), "{text:?}");
    assert!(
        text.chars().count() <= max_chars + TRUNCATION_MARK.len(),
        "{text:?}"
    );
}
