use pca_revocation_watch::report::scanner::MAX_RECORD_BYTES;
use pca_revocation_watch::report_format::ReportFormat;
use serde_json::Value;

use crate::oracle;
use crate::random::Random;
use crate::scanning::{
    FIELDS, PassedOn, REVOKED_AT, Scan, assert_same_at_every_split, scan, scan_whole,
};

const GUIDE_A: &[u8] = include_bytes!("../data/reports/guide-2018-a.json");
const GUIDE_B: &[u8] = include_bytes!("../data/reports/guide-2018-b.json");

fn scan_json(report: impl AsRef<[u8]>) -> Scan {
    scan_whole(ReportFormat::Json, report.as_ref())
}

/// The records of a valid report.
fn passed_on(report: impl AsRef<[u8]>) -> Vec<PassedOn> {
    let scan = scan_json(report);
    scan.result.unwrap();
    scan.passed_on
}

/// The error, its byte and its record.
fn refused(report: impl AsRef<[u8]>) -> (String, u64, u64) {
    let error = scan_json(report).result.unwrap_err();
    (error.problem, error.byte, error.record)
}

#[test]
fn samples_of_the_guide_have_one_revocation_each() {
    for (report, subject) in [
        (
            GUIDE_A,
            "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US",
        ),
        (
            GUIDE_B,
            "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,CN=www.example1.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US",
        ),
    ] {
        let scan = scan_json(report);
        let totals = scan.result.unwrap();
        assert_eq!(
            (totals.certificates, totals.revoked, totals.malformed),
            (2, 1, 0)
        );
        assert_eq!(totals.bytes, report.len() as u64);
        let [record] = &scan.passed_on[..] else {
            panic!("{:?}", scan.passed_on)
        };
        assert_eq!(record.field("subject"), Some(subject));
        assert_eq!(
            record.field("serial"),
            Some("e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8")
        );
        assert_eq!(record.field("revokedAt"), Some("2018-02-26T20:00:36+0000"));
        assert_eq!(record.field("revocationReason"), Some("KEY_COMPROMISE"));
        assert_eq!(record.field("templateArn"), None);
        assert_eq!(record.key, "e8cbd2bedb122329f97706bcfec990f8");
        let raw: Value = serde_json::from_slice(&record.raw).unwrap();
        assert_eq!(raw["subject"], subject);
    }
}

#[test]
fn empty_revoked_at_means_not_revoked() {
    for record in [
        r#"{}"#,
        r#"{"revocationReason":"KEY_COMPROMISE"}"#,
        r#"{"serial":"01","revokedAt":null,"revocationReason":"KEY_COMPROMISE"}"#,
        r#"{"serial":"01","revokedAt":"","revocationReason":"KEY_COMPROMISE"}"#,
        r#"{"revoked":"2018-02-26T20:00:36+0000","x":{"revokedAt":"2018-02-26T20:00:36+0000"}}"#,
    ] {
        let scan = scan_json(format!("[{record}]"));
        assert_eq!(scan.passed_on, [], "{record}");
        assert_eq!(scan.result.unwrap().certificates, 1);
    }
}

#[test]
fn keys_are_found_in_any_case_order_and_escaping() {
    let records = passed_on(
        r#"[{"revokedAt":"2018-02-26T20:00:36+0000","Subject":"CN=\u00e9\/\"","\u0073erial":"0A","x":[{"serial":"02"},1]}]"#,
    );
    assert_eq!(records[0].field("subject"), Some("CN=é/\""));
    assert_eq!(records[0].field("serial"), Some("0A"));
    assert_eq!(records[0].key, "0a");
    assert!(!records[0].malformed);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one list of cases")]
fn malformed_records_are_passed_on_unchanged() {
    const AT: &str = r#""revokedAt":"2018-02-26T20:00:36+0000""#;
    // Fields, serial as passed on, revokedAt as passed on.
    for (fields, serial, revoked_at) in [
        (AT.to_owned(), None, "2018-02-26T20:00:36+0000"),
        (
            format!(r#""serial":null,{AT}"#),
            None,
            "2018-02-26T20:00:36+0000",
        ),
        (
            format!(r#""serial":"xyz",{AT}"#),
            Some("xyz"),
            "2018-02-26T20:00:36+0000",
        ),
        (
            format!(r#""serial":"01","serial":"01",{AT}"#),
            Some("01"),
            "2018-02-26T20:00:36+0000",
        ),
        (
            format!(r#""serial":"","serial":"01",{AT}"#),
            Some("01"),
            "2018-02-26T20:00:36+0000",
        ),
        (
            format!(r#""serial":"01","Serial":"02",{AT}"#),
            Some("01 / 02"),
            "2018-02-26T20:00:36+0000",
        ),
        (
            format!(r#""serial":["01"],{AT}"#),
            Some(r#"["01"]"#),
            "2018-02-26T20:00:36+0000",
        ),
        (
            format!(r#""serial":"01","issuedAt":"soon",{AT}"#),
            Some("01"),
            "2018-02-26T20:00:36+0000",
        ),
        (
            r#""serial":"01","revokedAt":"yesterday""#.to_owned(),
            Some("01"),
            "yesterday",
        ),
        (
            r#""serial":"01","revokedAt":1519675236"#.to_owned(),
            Some("01"),
            "1519675236",
        ),
        (
            r#""serial":"01","revokedAt":false"#.to_owned(),
            Some("01"),
            "false",
        ),
        (
            r#""serial":"01","revokedAt":{"at": 1}"#.to_owned(),
            Some("01"),
            r#"{"at": 1}"#,
        ),
        (
            format!(r#""serial":"01","revokedAt":null,{AT}"#),
            Some("01"),
            "2018-02-26T20:00:36+0000",
        ),
        (
            format!(r#""serial":"01",{AT},"revokedAt":"""#),
            Some("01"),
            "2018-02-26T20:00:36+0000",
        ),
        (
            format!(r#""serial":"01",{AT},"templateArn":1"#),
            Some("01"),
            "2018-02-26T20:00:36+0000",
        ),
    ] {
        let scan = scan_json(format!("[{{{fields}}}]"));
        let [record] = &scan.passed_on[..] else {
            panic!("{fields}")
        };
        assert_eq!(record.field("serial"), serial, "{fields}");
        assert_eq!(record.field("revokedAt"), Some(revoked_at), "{fields}");
        assert!(record.malformed, "{fields}");
        assert_eq!(scan.result.unwrap().malformed, 1, "{fields}");
    }
}

#[test]
fn two_different_serials_are_not_a_valid_serial() {
    let report = br#"[{"serial":"01","serial":"02","certificateArn":"arn:aws:x","revokedAt":"2018-02-26T20:00:36Z"}]"#;
    assert_eq!(passed_on(report)[0].key, "arn:aws:x");
}

#[test]
fn records_without_serial_and_arn_are_counted() {
    for (records, unidentified) in [
        (
            r#"{"serial":"01"},{"certificateArn":"arn"},{"SERIAL":"01"}"#,
            0,
        ),
        (r#"{"serial":null,"certificateArn":""},{}"#, 2),
        (
            r#"{"serialNumber":"01","arn":"arn","revocationTime":"x"}"#,
            1,
        ),
        (r#"{"revokedAt":"x"},{"serial":"01","revokedAt":"x"}"#, 1),
    ] {
        let scan = scan_whole(ReportFormat::Json, format!("[{records}]").as_bytes());
        assert_eq!(scan.result.unwrap().unidentified, unidentified, "{records}");
    }
}

#[test]
fn malformed_records_that_are_not_revoked_are_counted() {
    for record in [
        r#"{"serial":"01","serial":"01"}"#,
        r#"{"serial":1}"#,
        r#"{"notAfter":null,"notAfter":null}"#,
        r#"{"subject":[]}"#,
    ] {
        let totals = scan_json(format!("[{record},{record}]")).result.unwrap();
        assert_eq!((totals.malformed, totals.revoked), (2, 0), "{record}");
    }
}

#[test]
fn empty_array_is_a_report_of_no_certificates() {
    for report in ["[]", " [ ] ", "\r\n[\t]\n"] {
        assert_eq!(
            scan_json(report).result.unwrap().certificates,
            0,
            "{report:?}"
        );
    }
}

#[test]
fn errors_state_byte_and_record() {
    let at = |kind: &str, byte, record| (kind.to_owned(), byte, record);
    assert_eq!(refused(""), at("the report is empty", 0, 1));
    assert_eq!(refused(" "), at("the report ends too early", 1, 1));
    assert_eq!(refused("[{},"), at("the report ends too early", 4, 2));
    assert_eq!(refused("{}"), at("expected `[`, found `{`", 0, 1));
    assert_eq!(
        refused("\u{feff}[]"),
        at("expected `[`, found byte 0xef", 0, 1)
    );
    assert_eq!(refused("[1]"), at("expected `{` or `]`, found `1`", 1, 1));
    assert_eq!(refused("[{},]"), at("expected `{`, found `]`", 4, 2));
    assert_eq!(
        refused("[{}{}]"),
        at("expected `,` or `]`, found `{`", 3, 2)
    );
    assert_eq!(
        refused("[]]"),
        at("expected nothing after the report's `]`, found `]`", 2, 1)
    );
    assert_eq!(
        refused(r#"[{},{"a":1,}]"#),
        at("expected `\"`, found `}`", 11, 2)
    );
    assert_eq!(
        refused(r#"[{"a":"\u12g4"}]"#),
        at("invalid JSON value", 6, 1)
    );
    assert_eq!(
        refused(r#"[{"a":"\ud800x"}]"#),
        at("invalid JSON value", 6, 1)
    );
    assert_eq!(
        refused(r#"[{"a":"\udc00"}]"#),
        at("invalid JSON value", 6, 1)
    );
    assert_eq!(
        refused(b"[{\"a\":\"\x1f\"}]"),
        at(
            "expected no control character within a string, found byte 0x1f",
            7,
            1
        )
    );
    assert_eq!(
        refused(b"[{\"a\":\"x\xed\xa0\x80\"}]"),
        at("the text is not UTF-8", 8, 1)
    );
    assert_eq!(refused(r#"[{"a":1e999}]"#), at("invalid JSON value", 6, 1));
    let digits = "9".repeat(400);
    assert_eq!(
        refused(format!(r#"[{{"a":{digits}}}]"#)),
        at("invalid JSON value", 6, 1)
    );
    let error = scan_json("[{},7]").result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected `{`, found `7` at byte 4, in record 2"
    );
}

#[test]
fn nesting_of_a_value_is_limited_as_by_serde_json() {
    for (depth, is_valid) in [(127, true), (128, false)] {
        for (open, innermost, close) in [("[", "", "]"), (r#"{"a":"#, "1", "}")] {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            let value = format!("{open}{innermost}{close}");
            assert_eq!(serde_json::from_str::<Value>(&value).is_ok(), is_valid);
            let report = format!(r#"[{{"x":{value}}}]"#);
            assert_eq!(scan_json(&report).result.is_ok(), is_valid, "{report}");
        }
    }
}

#[test]
fn record_is_refused_beyond_the_maximum_length() {
    let report = |len: usize| {
        let frame = r#"{"serial":"01","revokedAt":"x","y":""}"#;
        let text = "y".repeat(len - frame.len());
        format!(r#"[{{}}, {{"serial":"01","revokedAt":"x","y":"{text}"}}]"#)
    };
    for size in [1000, 65_536, usize::MAX] {
        let longest = report(MAX_RECORD_BYTES);
        let slices = || longest.as_bytes().chunks(size);
        assert_eq!(
            scan(ReportFormat::Json, slices()).result.unwrap().revoked,
            1
        );

        let longer = report(MAX_RECORD_BYTES + 1);
        let slices = || longer.as_bytes().chunks(size);
        let error = scan(ReportFormat::Json, slices()).result.unwrap_err();
        assert_eq!(error.problem, "a record is longer than 1048576 bytes");
        assert_eq!((error.byte, error.record), (5 + MAX_RECORD_BYTES as u64, 2));
    }
}

#[test]
fn white_space_between_records_has_no_limit() {
    let report = format!("[{{}}{},{{}}]", " ".repeat(3 * MAX_RECORD_BYTES));
    assert_eq!(scan_json(&report).result.unwrap().certificates, 2);
    assert_eq!(
        scan(ReportFormat::Json, report.as_bytes().chunks(999))
            .result
            .unwrap()
            .certificates,
        2
    );
}

/// Small slices must not take time quadratic in a record's length.
#[test]
fn slices_of_one_byte_take_linear_time() {
    let text = "y".repeat(MAX_RECORD_BYTES - 100);
    let report = format!(r#"[{{"serial":"01","revokedAt":"x","y":"{text}"}}]"#);
    // With work in the square of it, this would take hours.
    assert_eq!(
        scan(ReportFormat::Json, report.as_bytes().chunks(1))
            .passed_on
            .len(),
        1
    );
}

#[test]
fn every_split_of_a_report_gives_the_same_result() {
    assert_same_at_every_split(ReportFormat::Json, GUIDE_B);
    assert_same_at_every_split(ReportFormat::Json, &realistic_report());
    for report in [
        r#"[{"a":"\ud83d\ude00","serial":"é\\","revokedAt":-1.5e3},{"b":[[{}],{"c":"}"}]}]"#,
        r#"[{"a":1,"revokedAt":"x"},{"revokedAt":"y"},{"b":tru }]"#,
        r#"[{"a":"\ud83d\ude0"},{}]"#,
        r#"[{"a":[}]"#,
        r#"[{"a":]},{"revokedAt":1}]"#,
        "[{\"a\":\"\u{1}\"},{}]",
        // The escape lacks digits, whatever follows it, and the record has no end.
        r#"[{"a":"\u"}]"#,
        r#"[{"a":["\u"]}]"#,
        r#"[{"a=\ud83d\u"]"#,
        r#"[{"a":-}]"#,
        r#"[{"a":[1,}]"#,
    ] {
        assert_same_at_every_split(ReportFormat::Json, report.as_bytes());
    }
}

#[test]
fn every_prefix_of_a_report_is_refused_at_its_end() {
    let report = realistic_report();
    let report = report.trim_ascii_end();
    let whole = passed_on(report);
    let ends: Vec<_> = whole
        .iter()
        .map(|record| {
            let start = report
                .windows(record.raw.len())
                .position(|bytes| bytes == record.raw);
            start.unwrap() + record.raw.len()
        })
        .collect();
    for len in 0..report.len() {
        let scan = scan_json(&report[..len]);
        let error = scan.result.unwrap_err();
        assert_eq!(error.byte, len as u64);
        let expected = if len == 0 {
            "the report is empty"
        } else {
            "the report ends too early"
        };
        assert_eq!(error.problem, expected, "{len} bytes");
        // Every complete record was passed on.
        let before = ends.iter().filter(|&&end| end <= len).count();
        assert_eq!(scan.passed_on, whole[..before], "{len} bytes");
    }
}

/// A dozen records as AWS writes them, with their usual differences.
fn realistic_report() -> Vec<u8> {
    let mut records = Vec::new();
    for number in 0..12 {
        let mut record = serde_json::Map::new();
        let mut random = Random::new(number);
        for (field, name) in FIELDS.iter().enumerate() {
            let is_stated = match field {
                1 => number % 5 == 0,
                REVOKED_AT | 9 => number % 3 == 0,
                10 => number != 4,
                _ => true,
            };
            if is_stated {
                record.insert((*name).to_owned(), random.field_text(field).into());
            }
        }
        if number == 6 {
            record.insert(
                "keyUsage".to_owned(),
                serde_json::json!({"é": [1.5, null, {}], "b": "\u{1}"}),
            );
        }
        records.push(Value::Object(record));
    }
    let mut report = serde_json::to_string_pretty(&records).unwrap().into_bytes();
    report.push(b'\n');
    report
}

#[test]
fn random_documents_match_serde_json() {
    assert!(compare_with_serde_json(0..6_000) > 2_000);
}

/// `cargo test --release --test reports -- --ignored --nocapture`
#[test]
#[ignore = "a million documents take a minute in a release build"]
fn a_million_random_documents_match_serde_json() {
    let valid = compare_with_serde_json(1_000_000..2_000_000);
    println!("1,000,000 JSON documents, {valid} of them valid: no mismatch");
}

/// Compares random documents with these seeds. Returns how many are valid reports.
fn compare_with_serde_json(seeds: std::ops::Range<u64>) -> usize {
    let is_valid = |seed: &u64| {
        let mut random = Random::new(*seed);
        let mut report = random.json_report();
        if random.once_in(2) {
            random.damage(&mut report);
        }
        oracle::compare_json(&report, &random.slices(&report))
    };
    seeds.filter(is_valid).count()
}
