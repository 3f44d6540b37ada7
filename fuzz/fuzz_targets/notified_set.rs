//! Any bytes as a told list: refused, or a list of the stated length that survives its document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pca_revocation_watch::state::notified_set::{NotifiedSet, NotifiedSetError, NotifiedSetReader};

const ARN: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

fuzz_target!(|document: &[u8]| {
    let whole = read(document, document.len().max(1));
    let in_slices = read(document, 1 + document.len() % 67);
    assert_eq!(whole.is_ok(), in_slices.is_ok());
    let Ok(list) = whole else {
        return;
    };
    assert_eq!(in_slices.as_ref(), Ok(&list));
    let seen: serde_json::Value = serde_json::from_slice(document).expect("it is JSON");
    assert_eq!(seen["revocations"].as_array().map(Vec::len), Some(list.len()));
    let written: Vec<u8> = list.document_chunks(ARN).flatten().collect();
    assert_eq!(written.len() as u64, list.document_len(ARN));
    assert_eq!(read(&written, 1013), Ok(list));
});

fn read(document: &[u8], size: usize) -> Result<NotifiedSet, NotifiedSetError> {
    let mut reader = NotifiedSetReader::new(ARN);
    document
        .chunks(size)
        .try_for_each(|slice| reader.feed(slice))?;
    reader.finish()
}
