use pca_revocation_watch::report::scanner::MAX_RECORD_BYTES;
use pca_revocation_watch::report_format::ReportFormat;

use crate::oracle;
use crate::random::Random;
use crate::scanning::{FIELDS, Scan, assert_same_at_every_split, scan, scan_whole};

const SAMPLE: &[u8] = include_bytes!("../data/reports/report.csv");

fn scan_csv(report: impl AsRef<[u8]>) -> Scan {
    scan_whole(ReportFormat::Csv, report.as_ref())
}

/// The error, its byte and its record.
fn refused(report: impl AsRef<[u8]>) -> (String, u64, u64) {
    let error = scan_csv(report).result.unwrap_err();
    (error.problem, error.byte, error.record)
}

#[test]
fn sample_has_one_revocation_and_one_unused_reason() {
    let scan = scan_csv(SAMPLE);
    let totals = scan.result.unwrap();
    assert_eq!(
        (totals.certificates, totals.revoked, totals.malformed),
        (2, 1, 0)
    );
    assert_eq!(totals.bytes, SAMPLE.len() as u64);
    let [record] = &scan.passed_on[..] else {
        panic!("{:?}", scan.passed_on)
    };
    assert_eq!(
        record.field("serial"),
        Some("e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8")
    );
    assert_eq!(
        record.field("subject"),
        Some(
            "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,CN=www.example1.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US"
        )
    );
    assert_eq!(record.field("revokedAt"), Some("2018-02-26T20:00:36+0000"));
    assert_eq!(record.field("revocationReason"), Some("KEY_COMPROMISE"));
    assert_eq!(record.field("requestedByServicePrincipal"), None);
    assert_eq!(record.key, "e8cbd2bedb122329f97706bcfec990f8");
    assert_eq!(
        record.raw,
        SAMPLE.split(|&byte| byte == b'\n').nth(1).unwrap()
    );
}

#[test]
fn columns_are_found_in_any_order_and_case() {
    let scan = scan_csv(
        "x,Subject,REVOKEDAT,x,\"serial\"\n1,\"a \"\"b\"\",\nc\",2018-02-26T20:00:36Z,,0A\n"
            .replace(",\nc", ",\r\nc"),
    );
    let [record] = &scan.passed_on[..] else {
        panic!("{scan:?}")
    };
    assert_eq!(record.field("subject"), Some("a \"b\",\r\nc"));
    assert_eq!(record.field("serial"), Some("0A"));
    assert_eq!(record.field("revokedAt"), Some("2018-02-26T20:00:36Z"));
    assert!(!record.malformed);
}

#[test]
fn lf_crlf_and_missing_last_line_end_are_accepted() {
    for report in [
        "serial,revokedAt\n01,x\n02,\n",
        "serial,revokedAt\n01,x\n02,",
        "serial,revokedAt\r\n01,x\r\n02,\r\n",
        "serial,revokedAt\r\n01,\"x\"\r\n02,\"\"",
        "\u{feff}serial,revokedAt\n01,x\n02,\r\n",
        "\u{feff}\"serial\",revokedAt\n01,x\n\"02\",",
    ] {
        let scan = scan_csv(report);
        let totals = scan.result.unwrap();
        assert_eq!((totals.certificates, totals.revoked), (2, 1), "{report:?}");
        assert_eq!(
            scan.passed_on[0].raw.split(|&byte| byte == b',').next(),
            Some(&b"01"[..])
        );
        assert!(!scan.passed_on[0].raw.ends_with(b"\r"), "{report:?}");
    }
}

#[test]
fn header_alone_is_a_report_of_no_certificates() {
    for report in [
        "serial,revokedAt\n",
        "serial,revokedAt\r\n",
        "serial,revokedAt",
    ] {
        assert_eq!(
            scan_csv(report).result.unwrap().certificates,
            0,
            "{report:?}"
        );
    }
}

#[test]
fn malformed_rows_are_passed_on_unchanged() {
    for row in [
        "xyz,2018-02-26T20:00:36Z,",
        ",2018-02-26T20:00:36Z,",
        "01,yesterday,",
        "01, ,",
        "01,2018-02-26T20:00:36Z,soon",
    ] {
        let scan = scan_csv(format!("serial,revokedAt,notAfter\n{row}\n"));
        assert!(scan.passed_on[0].malformed, "{row}");
        assert_eq!(scan.passed_on[0].raw, row.as_bytes());
        assert_eq!(scan.result.unwrap().malformed, 1);
    }
}

#[test]
fn records_without_serial_and_arn_are_counted() {
    for (report, unidentified, revoked) in [
        (
            "certificateArn,serial,revokedAt\n,01,x\narn,,x\narn,,\n",
            0,
            2,
        ),
        ("certificateArn,serial,revokedAt\n,,\n,\"\",x\n,01,\n", 2, 1),
        ("serial,revokedAt\n,x\n01,x\n", 1, 2),
        // Another schema: its header counts, and its rows may be revocations.
        ("arn,serialNumber,revocationTime\n", 1, 0),
        ("arn,serialNumber,revokedAt\na,01,x\na,02,\n", 3, 1),
    ] {
        let totals = scan_csv(report).result.unwrap();
        assert_eq!(
            (totals.unidentified, totals.revoked),
            (unidentified, revoked),
            "{report:?}"
        );
    }
}

#[test]
fn errors_state_byte_and_record() {
    let at = |kind: &str, byte, record| (kind.to_owned(), byte, record);
    assert_eq!(refused(""), at("the report is empty", 0, 1));
    assert_eq!(
        refused("\u{feff}"),
        at("the header has no column serial", 3, 1)
    );
    assert_eq!(refused(b"\xef\xbb"), at("the report ends too early", 2, 1));
    assert_eq!(refused("\n"), at("the header has no column serial", 0, 1));
    assert_eq!(
        refused("certificateArn,revokedAt\n"),
        at("the header has no column serial", 24, 1)
    );
    assert_eq!(
        refused("serial\n01\n"),
        at("the header has no column revokedAt", 6, 1)
    );
    assert_eq!(
        refused("serial,revokedAt,Serial\n"),
        at("the header has column serial twice", 17, 1)
    );
    let refused = |rows: &str| {
        let (kind, byte, record) = refused(format!("serial,revokedAt\n{rows}"));
        (kind, byte - 17, record)
    };
    assert_eq!(
        refused("01,\n02\n"),
        at("the row has 1 fields, the header 2", 6, 2)
    );
    assert_eq!(
        refused("01,\n02,,\n"),
        at("the row has more fields than the 2 of the header", 7, 2)
    );
    assert_eq!(
        refused("01,\n\n"),
        at("the row has 1 fields, the header 2", 4, 2)
    );
    assert_eq!(
        refused("01,\r02,\n"),
        at("expected LF after CR, found `0`", 4, 1)
    );
    assert_eq!(refused("01,\r"), at("the report ends too early", 4, 1));
    assert_eq!(
        refused("0\"1,\n"),
        at(
            "expected no quote within a field that does not begin with one, found `\"`",
            1,
            1
        )
    );
    assert_eq!(
        refused("\"01\"x,\n"),
        at(
            "expected `,` or a line end after the closing quote, found `x`",
            4,
            1
        )
    );
    assert_eq!(refused("\"01,\n"), at("the report ends too early", 5, 1));
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    for (field, at) in [
        (&b"\xff"[..], 0),
        (b"a\xc3\xa9\xc3", 3),
        (b"\"\xff\"", 1),
        (b"\"a\"\"\xed\xa0\x80\"", 4),
    ] {
        let report = [b"x,serial,revokedAt\n", field, b",01,\n"].concat();
        let error = scan_csv(report).result.unwrap_err();
        assert_eq!(error.problem, "the text is not UTF-8", "{field:?}");
        assert_eq!(error.byte, 19 + at, "{field:?}");
    }
    let report = "x,serial,revokedAt\né,01,\n\"中\"\"\",02,ü\n";
    assert_eq!(scan_csv(report).passed_on[0].field("revokedAt"), Some("ü"));
}

#[test]
fn row_is_refused_beyond_the_maximum_length() {
    let report = |len: usize| {
        format!(
            "x,serial,revokedAt\n{},01,x\n",
            "y".repeat(len - "y,01,x\n".len() + 1)
        )
    };
    for size in [1000, 65_536, usize::MAX] {
        let longest = report(MAX_RECORD_BYTES);
        assert_eq!(
            scan(ReportFormat::Csv, longest.as_bytes().chunks(size))
                .result
                .unwrap()
                .revoked,
            1
        );
        let longer = report(MAX_RECORD_BYTES + 1);
        let error = scan(ReportFormat::Csv, longer.as_bytes().chunks(size))
            .result
            .unwrap_err();
        assert_eq!(error.problem, "a record is longer than 1048576 bytes");
        assert_eq!(error.byte, 19 + MAX_RECORD_BYTES as u64);
    }
}

#[test]
fn every_split_of_a_report_gives_the_same_result() {
    assert_same_at_every_split(ReportFormat::Csv, SAMPLE);
    for report in [
        "\u{feff}x,serial,revokedAt\r\n\"a\r\n\"\"b\"\"\",01,x\r\né,02,\"ü\"\r\n\"\",\"03\",y",
        "x,serial,revokedAt\na,01,x\nb\"c\n,02,y\nd,03,z\n",
        "x,serial,revokedAt\na,01,x\n\"b\"c\n,02,y\n",
        "x,serial,revokedAt\na,01,x\nb,02\nc,03,z\n",
        "x,serial,revokedAt\na,01,x\n\n",
        "x,serial,revokedAt\na,01,x\rb,02,y",
    ] {
        assert_same_at_every_split(ReportFormat::Csv, report.as_bytes());
    }
}

/// A header with neither key column is a changed schema, which may end anywhere. Elsewhere, the grammar
/// does not show a truncation after a row or within a row's last field.
#[test]
fn truncated_report_is_refused_where_the_grammar_shows_it() {
    let header = SAMPLE.iter().position(|&byte| byte == b'\n').unwrap();
    for len in 0..SAMPLE.len() {
        let accepted = scan_csv(&SAMPLE[..len]).result.is_ok();
        // In the header: before a key column, or once the columns that it takes are named.
        let names = |name: &str| {
            let name = name.as_bytes();
            SAMPLE[..len].windows(name.len()).any(|part| part == name)
        };
        let in_header =
            (1..=header).contains(&len) && (!names("certificateArn") || names("revokedAt"));
        // Further on: in the last field of a row, or after its end.
        let row_start = SAMPLE[..len]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let row = SAMPLE[row_start..]
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap();
        let last_field = row_start
            + row
                .iter()
                .rposition(|&byte| byte == b',')
                .map_or(0, |at| at + 1);
        let is_whole = len > header && (len == row_start || len >= last_field);
        assert_eq!(accepted, in_header || is_whole, "{len} bytes");
    }
}

#[test]
fn random_reports_yield_the_rows_they_were_built_from() {
    let mut revoked = 0;
    for seed in 0..4_000 {
        let mut random = Random::new(seed);
        let report = random.csv_report();
        let scan = scan_csv(&report.bytes);
        let text = || String::from_utf8_lossy(&report.bytes).into_owned();
        let in_slices = super::scanning::scan(ReportFormat::Csv, random.slices(&report.bytes));
        assert_eq!(in_slices, scan, "seed {seed}: {}", text());
        let Ok(totals) = scan.result else {
            let known = |name: &String| FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name));
            let known = report.rows[0].iter().filter(|name| known(name)).count();
            // The damage that a header's swaps and names can do: a known column twice.
            assert_ne!(
                known,
                FIELDS.len(),
                "seed {seed}: {:?}: {}",
                scan.result,
                text()
            );
            continue;
        };
        assert_eq!(
            totals.certificates,
            report.rows.len() as u64 - 1,
            "seed {seed}"
        );
        oracle::assert_same_rows(&scan.passed_on, &report.rows);
        revoked += totals.revoked;
    }
    assert!(revoked > 1_000);
}

#[test]
fn random_documents_match_the_csv_crate() {
    let accepted = compare_with_csv_crate(0..10_000);
    assert!(accepted > 4_000, "{accepted}");
}

/// `cargo test --release --test reports -- --ignored --nocapture`
#[test]
#[ignore = "a million documents take a minute in a release build"]
fn a_million_random_documents_match_the_csv_crate() {
    let accepted = compare_with_csv_crate(1_000_000..2_000_000);
    println!("1,000,000 CSV documents, {accepted} of them accepted: no mismatch");
}

/// Compares random documents with these seeds. Returns how many were accepted.
fn compare_with_csv_crate(seeds: std::ops::Range<u64>) -> usize {
    let is_accepted = |seed: &u64| {
        let mut random = Random::new(*seed);
        let mut report = random.csv_report().bytes;
        if random.once_in(2) {
            random.damage(&mut report);
        }
        oracle::compare_csv(&report, &random.slices(&report))
    };
    seeds.filter(is_accepted).count()
}
