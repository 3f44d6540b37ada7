//! The told list: a set, compact, and its document.

use std::collections::BTreeSet;
use std::sync::Arc;

use pca_revocation_watch::revocation::key::RevocationKey;
use pca_revocation_watch::state::notified_set::{
    NotifiedSet, NotifiedSetError, NotifiedSetErrorKind, NotifiedSetReader,
};
use proptest::prelude::*;

const ARN: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

fn key(text: &str) -> RevocationKey {
    RevocationKey::from_text(text).unwrap()
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> NotifiedSet {
    let mut list = NotifiedSet::new();
    list.merge(texts.into_iter().map(key));
    list
}

fn document(list: &NotifiedSet) -> Vec<u8> {
    list.document_chunks(ARN).flatten().collect()
}

fn read(document: &[u8]) -> Result<NotifiedSet, NotifiedSetError> {
    let mut reader = NotifiedSetReader::new(ARN);
    reader.feed(document)?;
    reader.finish()
}

fn refused(document: impl AsRef<[u8]>) -> NotifiedSetErrorKind {
    read(document.as_ref()).unwrap_err().kind
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
fn the_document_is_one_serial_per_line_in_ascending_order() {
    let list = list([
        "e8cbd2be",
        "arn:aws:x/\"é\"",
        "02",
        "0abc",
        "00",
        "e8cbd2be",
    ]);
    let expected = format!(
        "{{\"version\":1,\"certificateAuthorityArn\":\"{ARN}\",\"count\":5,\"told\":[\n\"00\",\n\"02\",\n\"0abc\",\n\"e8cbd2be\",\n\"arn:aws:x/\\\"é\\\"\"\n]}}\n"
    );
    assert_eq!(String::from_utf8(document(&list)).unwrap(), expected);
    assert_eq!(list.document_len(ARN), expected.len() as u64);
    assert_eq!(read(expected.as_bytes()), Ok(list));
}

#[test]
fn an_empty_list_has_a_document_too() {
    let empty = NotifiedSet::new();
    assert!(empty.is_empty());
    let document = document(&empty);
    assert_eq!(empty.document_len(ARN), document.len() as u64);
    let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(value["revocations"], serde_json::json!([]));
    assert_eq!(read(&document), Ok(empty));
}

#[test]
fn a_long_list_is_a_set_and_survives_its_document() {
    let mut list = NotifiedSet::new();
    list.merge(serials(30_000));
    list.merge(serials(100_000));
    assert_eq!(list.len(), 100_000);
    assert!(serials(100_000).all(|key| list.contains(&key)));
    assert!(
        !serials(200_000)
            .skip(100_000)
            .any(|key| list.contains(&key))
    );

    let list = Arc::new(list);
    let chunks: Vec<_> = Arc::clone(&list).into_document_chunks(ARN).collect();
    assert!(
        chunks.iter().all(|chunk| chunk.len() <= 64 << 10),
        "pieces stay small"
    );
    assert!(chunks.len() < 100, "and are not tiny");
    let document = chunks.concat();
    assert_eq!(document.len() as u64, list.document_len(ARN));
    let mut reader = NotifiedSetReader::new(ARN);
    for slice in document.chunks(1013) {
        reader.feed(slice).unwrap();
    }
    assert_eq!(reader.finish().as_ref(), Ok(&*list));
}

#[test]
fn a_body_can_be_sent_between_threads() {
    fn is_body<T: Iterator<Item = Vec<u8>> + Send + Sync + 'static>(_: T) {}
    is_body(Arc::new(NotifiedSet::new()).into_document_chunks(ARN));
}

#[test]
fn serials_that_are_not_random_are_found_too() {
    let ascending = (0..20_000_u32).map(|number| {
        let mut octets = [0; 20];
        octets[0] = 1;
        octets[16..].copy_from_slice(&(2 * number).to_be_bytes());
        RevocationKey::Serial(octets)
    });
    let mut list = NotifiedSet::new();
    list.merge(ascending.clone());
    assert!(ascending.clone().all(|key| list.contains(&key)));
    let malformed = ascending.map(|key| match key {
        RevocationKey::Serial(mut octets) => {
            octets[19] |= 1;
            RevocationKey::Serial(octets)
        }
        text => text,
    });
    assert!(!malformed.clone().any(|key| list.contains(&key)));
}

/// What `jq` makes of the document, sorted keys and all, and what a person's editor does.
#[test]
fn the_same_content_laid_out_differently_is_read() {
    let expected = list(["02", "0abc", "arn:aws:x"]);
    for document in [
        format!(
            "{{\n  \"certificateAuthorityArn\": \"{ARN}\",\n  \"count\": 3,\n  \"told\": [\n    \"02\",\n    \"0abc\",\n    \"arn:aws:x\"\n  ],\n  \"version\": 1\n}}\n"
        ),
        format!(
            r#"{{"revocations":["arn\u003aaws:x","00:0A:BC","2"],"version":1,"count":3,"certificateAuthorityArn":"{ARN}"}}"#
        ),
    ] {
        assert_eq!(
            read(document.as_bytes()).as_ref(),
            Ok(&expected),
            "{document}"
        );
    }
}

#[test]
fn what_is_not_this_authoritys_list_is_refused_by_kind() {
    use NotifiedSetErrorKind as Kind;
    let with = |version: &str, arn: &str, count: u64, told: &str| {
        format!(
            r#"{{"version":{version},"certificateAuthorityArn":"{arn}","count":{count},"revocations":[{told}]}}"#
        )
    };
    assert_eq!(refused(with("2", ARN, 1, "{}")), Kind::NewerVersion(2));
    assert_eq!(
        refused(r#"{"version":7,"revocations":{}}"#),
        Kind::NewerVersion(7)
    );
    assert_eq!(
        refused(with("1", "arn:aws:other", 0, "")),
        Kind::OtherCertificateAuthority("arn:aws:other".to_owned())
    );
    assert_eq!(
        refused(with("1", ARN, 2, r#""01""#)),
        Kind::Count {
            stated: 2,
            found: 1
        }
    );
    assert_eq!(
        refused(with("1", ARN, 0, r#""01""#)),
        Kind::Count {
            stated: 0,
            found: 1
        }
    );
    for twice in [r#""01","01""#, r#""02","01","02""#, r#""arn:x","arn:x""#] {
        let count = twice.split(',').count() as u64;
        assert_eq!(
            refused(with("1", ARN, count, twice)),
            Kind::Count {
                stated: count,
                found: count - 1
            }
        );
    }
    for invalid in [
        with("0", ARN, 0, ""),
        with("01", ARN, 0, ""),
        with("1.0", ARN, 0, ""),
        with("\"1\"", ARN, 0, ""),
        with("1", ARN, 1, "\"neither\""),
        with("1", ARN, 1, "1"),
        with("1", ARN, 1, "\"01\","),
        with("1", ARN, 2, "\"01\" \"02\""),
        with("1", ARN, 1, "\"arn:\n\""),
        with("1", ARN, 1, "\"arn:\\ud800\""),
        with("1", ARN, 0, "") + "}",
        with("1", ARN, 0, "") + "0",
        with("1", ARN, 0, "") + "\"",
        with("1", ARN, 0, "").replace("}", ",}"),
        with("1", ARN, 0, "").replace("revocations", "revoked"),
        with("1", ARN, 0, "").replace("{", "{\"count\":0,"),
        "{}".to_owned(),
        "[]".to_owned(),
    ] {
        assert!(
            matches!(refused(&invalid), Kind::Invalid(_)),
            "{invalid}: {:?}",
            refused(&invalid)
        );
    }
    let mut not_utf8 = with("1", ARN, 1, "\"arn:x\"").into_bytes();
    let at = not_utf8.len() - 4;
    not_utf8[at] = 0xff;
    assert!(matches!(refused(not_utf8), Kind::Invalid(_)));
}

#[test]
fn every_prefix_of_a_document_is_refused() {
    let list = list(["02", "0abc", "e8cbd2be", "arn:aws:x/\"é\""]);
    let document = document(&list);
    for len in 0..document.trim_ascii_end().len() {
        let error = read(&document[..len]).unwrap_err();
        assert_eq!(error.kind, NotifiedSetErrorKind::Truncated, "{len} bytes");
        assert_eq!(error.byte, len as u64);
    }
}

#[test]
fn errors_say_what_and_where() {
    assert_eq!(
        read(b"{\"version\":1,\"told\":[\"01\",x")
            .unwrap_err()
            .to_string(),
        "an unexpected character at byte 26"
    );
    assert_eq!(
        read(b"{\"version\":3")
            .and(read(b"{\"version\":3}"))
            .unwrap_err()
            .to_string(),
        "it ends too early, at byte 12"
    );
    assert_eq!(
        read(b"{\"version\":3}").unwrap_err().to_string(),
        "its version is 3, and this program knows none above 1"
    );
}

fn any_key() -> impl Strategy<Value = RevocationKey> {
    prop_oneof![
        8 => (proptest::array::uniform20(any::<u8>()), 0..20_usize).prop_map(|(mut octets, zeros)| {
            octets[..zeros].fill(0);
            RevocationKey::Serial(octets)
        }),
        2 => (0..300_u64).prop_map(|number| {
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
    fn it_is_the_set_of_what_was_merged(
        portions in prop::collection::vec(prop::collection::vec(any_key(), 0..60), 0..5),
        others in prop::collection::vec(any_key(), 0..60),
        slice in 1..200_usize,
    ) {
        let mut list = NotifiedSet::new();
        let mut set = BTreeSet::new();
        for portion in &portions {
            list.merge(portion.iter().cloned());
            set.extend(portion.iter().cloned());
        }
        prop_assert_eq!(list.len(), set.len());
        prop_assert!(list.keys().eq(set.iter().cloned()));
        for key in set.iter().chain(&others) {
            prop_assert_eq!(list.contains(key), set.contains(key));
        }

        let document = document(&list);
        prop_assert_eq!(document.len() as u64, list.document_len(ARN));
        let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
        let texts: Vec<_> = set.iter().map(ToString::to_string).collect();
        prop_assert_eq!(&value["revocations"], &serde_json::json!(texts));
        prop_assert_eq!(&value["count"], &serde_json::json!(texts.len()));
        let mut reader = NotifiedSetReader::new(ARN);
        for slice in document.chunks(slice) {
            reader.feed(slice).unwrap();
        }
        prop_assert_eq!(reader.finish(), Ok(list.clone()));

        let mut other = NotifiedSet::new();
        other.merge(others.iter().cloned());
        list.union_with(other);
        set.extend(others);
        prop_assert!(list.keys().eq(set.iter().cloned()));
    }

    /// Whatever is damaged: never a panic, never an entry that is lost or made up unnoticed.
    #[test]
    fn a_damaged_document_is_refused_or_still_as_long_as_it_says(
        keys in prop::collection::vec(any_key(), 1..20),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut list = NotifiedSet::new();
        list.merge(keys);
        let mut document = document(&list);
        let at = at.index(document.len());
        document[at] = byte;
        if let Ok(read) = read(&document) {
            let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
            prop_assert_eq!(&value["count"], &serde_json::json!(read.len()));
            prop_assert_eq!(value["revocations"].as_array().map(Vec::len), Some(read.len()));
        }
    }
}
