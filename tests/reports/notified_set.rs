//! The notified set: exact, compact, and the same after a round trip through its document.

use std::collections::BTreeSet;
use std::sync::Arc;

use pca_revocation_watch::error::{AuditError, ErrorKind};
use pca_revocation_watch::revocation::key::RevocationKey;
use pca_revocation_watch::state::notified_set::{NotifiedSet, NotifiedSetReader};
use proptest::prelude::*;

const ARN: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

fn key(text: &str) -> RevocationKey {
    RevocationKey::from_text(text).unwrap()
}

fn set<'a>(texts: impl IntoIterator<Item = &'a str>) -> NotifiedSet {
    let mut set = NotifiedSet::default();
    set.merge(texts.into_iter().map(key));
    set
}

fn header(version: &str, arn: &str, count: u64) -> String {
    format!("{{\"version\":{version},\"certificateAuthorityArn\":\"{arn}\",\"count\":{count}}}\n")
}

fn document(set: &NotifiedSet) -> Vec<u8> {
    let set = Arc::new(set.clone());
    set.document_chunks(ARN).flatten().collect()
}

fn read(document: &[u8]) -> Result<NotifiedSet, AuditError> {
    read_in_slices(document, document.len().max(1))
}

fn read_in_slices(document: &[u8], size: usize) -> Result<NotifiedSet, AuditError> {
    let mut reader = NotifiedSetReader::new(ARN);
    document.chunks(size).for_each(|slice| reader.feed(slice));
    reader.finish()
}

/// The document's lines as `serde_json` reads them: the header, and the entries.
fn oracle(document: &[u8]) -> (serde_json::Value, Vec<serde_json::Value>) {
    let values = serde_json::Deserializer::from_slice(document).into_iter();
    let mut values: Vec<_> = values.map(|value| value.expect("it is JSON")).collect();
    (values.remove(0), values)
}

fn refused(document: impl AsRef<[u8]>) -> String {
    read(document.as_ref()).unwrap_err().message
}

/// The numbers of a fixed pseudo-random sequence as serials of 16 octets.
fn serials(count: u64) -> impl Iterator<Item = RevocationKey> {
    (0..count).map(|number| {
        let mixed = |seed: u64| {
            (number ^ seed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        let mut octets = [0; 20];
        octets[4..12].copy_from_slice(&(mixed(0) | 1 << 63).to_be_bytes());
        octets[12..].copy_from_slice(&mixed(1 << 40).to_be_bytes());
        RevocationKey::Serial(octets)
    })
}

#[test]
fn document_is_a_header_and_sorted_json_strings() {
    let set = set([
        "e8cbd2be",
        "arn:aws:x/\"é\"",
        "02",
        "0abc",
        "01",
        "e8cbd2be",
    ]);
    let expected = format!(
        "{{\"version\":1,\"certificateAuthorityArn\":\"{ARN}\",\"count\":5}}\n\"01\"\n\"02\"\n\"0abc\"\n\"e8cbd2be\"\n\"arn:aws:x/\\\"é\\\"\"\n"
    );
    assert_eq!(String::from_utf8(document(&set)).unwrap(), expected);
    assert_eq!(read(expected.as_bytes()), Ok(set));
}

#[test]
fn empty_set_has_a_header_only() {
    let empty = NotifiedSet::default();
    assert_eq!(empty.keys(), []);
    let document = document(&empty);
    assert_eq!(document, header("1", ARN, 0).into_bytes());
    assert_eq!(read(&document), Ok(empty));
}

#[test]
fn large_set_survives_its_document() {
    let mut set = NotifiedSet::default();
    set.merge(serials(30_000));
    set.merge(serials(100_000));
    assert_eq!(set.keys().len(), 100_000);
    assert!(serials(100_000).all(|key| set.contains(&key)));
    assert!(!serials(200_000).skip(100_000).any(|key| set.contains(&key)));

    let set = Arc::new(set);
    let chunks: Vec<_> = Arc::clone(&set).document_chunks(ARN).collect();
    assert!(
        chunks.iter().all(|chunk| chunk.len() <= 64 << 10),
        "chunks stay small"
    );
    assert!(chunks.len() < 100, "and are not tiny");
    let document = chunks.concat();
    let mut reader = NotifiedSetReader::new(ARN);
    for slice in document.chunks(1013) {
        reader.feed(slice);
    }
    assert_eq!(reader.finish().as_ref(), Ok(&*set));
}

#[test]
fn ascending_serials_are_found() {
    let ascending = (0..20_000_u32).map(|number| {
        let mut octets = [0; 20];
        octets[0] = 1;
        octets[16..].copy_from_slice(&(2 * number).to_be_bytes());
        RevocationKey::Serial(octets)
    });
    let mut set = NotifiedSet::default();
    set.merge(ascending.clone());
    assert!(ascending.clone().all(|key| set.contains(&key)));
    let others = ascending.map(|key| match key {
        RevocationKey::Serial(mut octets) => {
            octets[19] |= 1;
            RevocationKey::Serial(octets)
        }
        text => text,
    });
    assert!(!others.clone().any(|key| set.contains(&key)));
}

#[test]
fn edited_document_is_read_in_any_order() {
    let expected = set(["02", "0abc", "arn:aws:x"]);
    for document in [
        format!(
            "{{\"count\": 3, \"certificateAuthorityArn\": \"{ARN}\", \"version\": 1}}\r\n\"02\"\r\n\"0abc\"\r\n\"arn:aws:x\"\r\n"
        ),
        header("1", ARN, 3) + "\"arn\\u003aaws:x\"\n\n  \"00:0A:BC\" \n\"2\"",
    ] {
        assert_eq!(
            read(document.as_bytes()).as_ref(),
            Ok(&expected),
            "{document}"
        );
    }
}

#[test]
fn wrong_document_is_refused_with_the_reason() {
    let with = |count: u64, entries: &[&str]| header("1", ARN, count) + &entries.join("\n") + "\n";
    for (document, version, kind) in [
        (header("2", ARN, 0), 2, ErrorKind::StateNewer),
        (
            "{\"version\":7,\"entries\":{}}\n".to_owned(),
            7,
            ErrorKind::StateNewer,
        ),
        (header("0", ARN, 0), 0, ErrorKind::StateUnreadable),
    ] {
        let error = read(document.as_bytes()).unwrap_err();
        assert_eq!(error.kind, kind);
        assert_eq!(
            error.message,
            format!("it has version {version}; this program supports version 1")
        );
    }
    assert_eq!(
        refused(header("1", "arn:aws:other", 0)),
        "it belongs to another certificate authority, arn:aws:other"
    );
    for (stated, entries, found) in [
        (2, &["\"01\""][..], 1),
        (0, &["\"01\""], 1),
        (2, &["\"01\"", "\"01\""], 1),
        (3, &["\"02\"", "\"01\"", "\"02\""], 2),
        (2, &["\"arn:x\"", "\"arn:x\""], 1),
    ] {
        let expected =
            format!("its header states {stated} revocations, but it holds {found} different ones");
        assert_eq!(refused(with(stated, entries)), expected, "{entries:?}");
    }
    for invalid in [
        header("01", ARN, 0),
        header("1.0", ARN, 0),
        header("\"1\"", ARN, 0),
        header("1", ARN, 0).replace("count", "number"),
        header("1", ARN, 0).replace('{', "{\"count\":0,"),
        "{}\n".to_owned(),
        "[]\n".to_owned(),
        with(1, &["\"neither\""]),
        with(1, &["1"]),
        with(1, &["\"01\","]),
        with(2, &["\"01\" \"02\""]),
        with(1, &["01\""]),
        with(1, &["\""]),
        with(1, &["\"arn:\t\""]),
        with(1, &["\"arn:\\ud800\""]),
        with(1, &["{}"]),
    ] {
        let error = read(invalid.as_bytes()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::StateUnreadable);
        assert!(error.message.contains(" in line "), "{invalid}: {error}");
    }
    let mut not_utf8 = with(1, &["\"arn:x\""]).into_bytes();
    let at = not_utf8.len() - 3;
    not_utf8[at] = 0xff;
    assert!(refused(not_utf8).contains(" in line 2 "));
}

#[test]
fn line_without_end_is_refused_within_bounded_memory() {
    let mut reader = NotifiedSetReader::new(ARN);
    let chunk = [b'a'; 1 << 20];
    (0..100).for_each(|_| reader.feed(&chunk));
    assert_eq!(
        reader.finish().unwrap_err().message,
        "too long a line in line 1 at byte 0"
    );
}

#[test]
fn every_prefix_of_a_document_is_refused() {
    let set = set(["02", "0abc", "e8cbd2be", "arn:aws:x/\"é\""]);
    let document = document(&set);
    for len in 0..document.trim_ascii_end().len() {
        let error = refused(&document[..len]);
        let is_of_a_line = error.contains(" in line ") || error == "it is empty";
        // Cut between two lines.
        let lacks_entries = (0..4).any(|found| {
            error == format!("its header states 4 revocations, but it holds {found} different ones")
        });
        assert!(is_of_a_line || lacks_entries, "{len} bytes: {error}");
    }
}

#[test]
fn every_split_of_a_document_gives_the_same_set() {
    let set = set(["02", "0abc", "e8cbd2be", "arn:aws:x/\"é\"", "sha256:00"]);
    let document = document(&set);
    for at in 0..=document.len() {
        for second in at..=document.len() {
            let mut reader = NotifiedSetReader::new(ARN);
            for slice in [&document[..at], &document[at..second], &document[second..]] {
                reader.feed(slice);
            }
            assert_eq!(
                reader.finish().as_ref(),
                Ok(&set),
                "split at {at}, {second}"
            );
        }
    }
}

#[test]
fn errors_state_line_and_byte() {
    let header = header("1", ARN, 2);
    for (document, expected) in [
        (
            format!("{header}\"01\"\n\"02\"x\n\"03\"\n"),
            format!("no JSON string in line 3 at byte {}", header.len() + 5),
        ),
        (
            // JSON has no form feeds.
            format!("{header}\"01\"\n\u{c}\n\"02\"\n"),
            format!("no JSON string in line 3 at byte {}", header.len() + 5),
        ),
        (
            format!("{header}\"01\"\n\"0"),
            format!("no JSON string in line 3 at byte {}", header.len() + 5),
        ),
        (
            format!("{header}\"01\"\n"),
            "its header states 2 revocations, but it holds 1 different ones".to_owned(),
        ),
        (
            "{\"version\":3}\n".to_owned(),
            "it has version 3; this program supports version 1".to_owned(),
        ),
        (
            "{\"version\":3".to_owned(),
            "no header of a notified set in line 1 at byte 0".to_owned(),
        ),
        (String::new(), "it is empty".to_owned()),
    ] {
        for size in [1, 7, 1 << 20] {
            let error = read_in_slices(document.as_bytes(), size).unwrap_err();
            assert_eq!(error.message, expected, "{document}");
        }
    }
}

#[test]
fn first_error_is_final() {
    let mut reader = NotifiedSetReader::new(ARN);
    reader.feed(b"[]\n");
    reader.feed(header("1", ARN, 0).as_bytes());
    assert_eq!(
        reader.finish().unwrap_err().message,
        "no header of a notified set in line 1 at byte 0"
    );
}

fn any_key() -> impl Strategy<Value = RevocationKey> {
    prop_oneof![
        8 => (proptest::array::uniform20(any::<u8>()), 0..20_usize).prop_map(|(mut octets, zeros)| {
            octets[..zeros].fill(0);
            // A serial is never zero.
            octets[19] = octets[19].max(1);
            RevocationKey::Serial(octets)
        }),
        2 => (1..300_u64).prop_map(|number| {
            let mut octets = [0; 20];
            octets[12..].copy_from_slice(&number.to_be_bytes());
            RevocationKey::Serial(octets)
        }),
        1 => "arn:[ -~é\n]{0,20}".prop_map(|text| RevocationKey::Text(text.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn set_contains_exactly_what_was_merged(
        portions in prop::collection::vec(prop::collection::vec(any_key(), 0..60), 0..5),
        others in prop::collection::vec(any_key(), 0..60),
        slice in 1..200_usize,
    ) {
        let mut notified = NotifiedSet::default();
        let mut set = BTreeSet::new();
        for portion in &portions {
            notified.merge(portion.iter().cloned());
            set.extend(portion.iter().cloned());
        }
        prop_assert_eq!(notified.keys().len(), set.len());
        prop_assert!(notified.keys().iter().eq(&set));
        for key in set.iter().chain(&others) {
            prop_assert_eq!(notified.contains(key), set.contains(key));
        }

        let document = document(&notified);
        let (header, entries) = oracle(&document);
        let texts: Vec<_> = set.iter().map(ToString::to_string).collect();
        prop_assert_eq!(&entries, &texts);
        prop_assert_eq!(&header["count"], &serde_json::json!(texts.len()));
        prop_assert_eq!(read_in_slices(&document, slice), Ok(notified.clone()));

    }

    #[test]
    fn damaged_document_is_refused_or_holds_its_count(
        keys in prop::collection::vec(any_key(), 1..20),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut set = NotifiedSet::default();
        set.merge(keys);
        let mut document = document(&set);
        let at = at.index(document.len());
        document[at] = byte;
        if let Ok(read) = read(&document) {
            let (header, entries) = oracle(&document);
            prop_assert_eq!(&header["count"], &serde_json::json!(read.keys().len()));
            prop_assert_eq!(entries.len(), read.keys().len());
        }
    }
}
