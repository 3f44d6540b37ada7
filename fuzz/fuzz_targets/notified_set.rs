//! Reads any bytes as a notified set: an error, or a set of the stated size that survives its
//! document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pca_revocation_watch::error::AuditError;
use pca_revocation_watch::state::notified_set::{NotifiedSet, NotifiedSetReader};

const ARN: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

fuzz_target!(|document: &[u8]| {
    let whole = read(document, document.len().max(1));
    let in_slices = read(document, 1 + document.len() % 67);
    assert_eq!(in_slices, whole);
    let Ok(set) = whole else {
        return;
    };
    let lines = serde_json::Deserializer::from_slice(document).into_iter::<serde_json::Value>();
    let lines: Vec<_> = lines.map(|line| line.expect("it is JSON")).collect();
    assert_eq!(lines[0]["count"], set.keys().len());
    assert_eq!(lines.len() - 1, set.keys().len());
    let written: Vec<u8> = std::sync::Arc::new(set.clone())
        .document_chunks(ARN)
        .flatten()
        .collect();
    assert_eq!(read(&written, 1013), Ok(set));
});

fn read(document: &[u8], size: usize) -> Result<NotifiedSet, AuditError> {
    let mut reader = NotifiedSetReader::new(ARN);
    document.chunks(size).for_each(|slice| reader.feed(slice));
    reader.finish()
}
