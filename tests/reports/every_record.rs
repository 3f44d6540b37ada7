//! Scans of every record, not only of the revoked ones.

use pca_revocation_watch::report::scanner::ReportScanner;
use pca_revocation_watch::report_format::ReportFormat;
use pca_revocation_watch::revocation::record::RevokedRecord;
use serde_json::Value;

use crate::random::Random;
use crate::scanning::{FIELDS, PassedOn, Scan, owned, scan_whole};

const GUIDE: &[u8] = include_bytes!("../data/reports/guide-2018-b.json");
const CSV: &[u8] = include_bytes!("../data/reports/report.csv");

fn scan_every<'a>(format: ReportFormat, slices: impl IntoIterator<Item = &'a [u8]>) -> Scan {
    let mut passed_on = Vec::new();
    let mut sink = |record: &RevokedRecord<'_>| passed_on.push(owned(record));
    let mut scanner = ReportScanner::of_every_record(format);
    let fed = slices
        .into_iter()
        .try_for_each(|slice| scanner.feed(slice, &mut sink));
    let result = fed.and_then(|()| scanner.finish(&mut sink));
    let certificates = scanner.totals().certificates;
    assert_eq!(certificates, passed_on.len() as u64);
    Scan {
        passed_on,
        result,
        certificates,
    }
}

/// Asserts that the scan has the result of a scan of revoked records, and those records among others.
fn assert_like_a_scan_of_revoked_records(format: ReportFormat, report: &[u8], every: &Scan) {
    let revoked = scan_whole(format, report);
    assert_eq!(every.result, revoked.result);
    assert_eq!(every.certificates, revoked.certificates);
    let is_revoked =
        |record: &&PassedOn| record.field("revokedAt").is_some_and(|at| !at.is_empty());
    let among: Vec<_> = every.passed_on.iter().filter(is_revoked).collect();
    assert_eq!(among, revoked.passed_on.iter().collect::<Vec<_>>());
}

#[test]
fn every_record_is_passed_on_at_every_split() {
    for (format, report) in [(ReportFormat::Json, GUIDE), (ReportFormat::Csv, CSV)] {
        let whole = scan_every(format, [report]);
        assert!(whole.result.is_ok());
        assert!(whole.certificates > whole.result.as_ref().unwrap().revoked);
        assert_like_a_scan_of_revoked_records(format, report, &whole);
        for at in 0..=report.len() {
            let (head, tail) = report.split_at(at);
            assert_eq!(scan_every(format, [head, tail]), whole, "split at {at}");
        }
        for size in 1..=report.len().min(700) {
            let sliced = scan_every(format, report.chunks(size));
            assert_eq!(sliced, whole, "slices of {size}");
        }
    }
}

#[test]
fn every_json_record_is_what_serde_json_reads() {
    let mut compared = 0;
    for seed in 0..2_000 {
        let mut random = Random::new(seed);
        let mut report = random.json_report();
        if random.once_in(3) {
            random.damage(&mut report);
        }
        let every = scan_every(ReportFormat::Json, random.slices(&report));
        assert_like_a_scan_of_revoked_records(ReportFormat::Json, &report, &every);
        let (true, Ok(values)) = (
            every.result.is_ok(),
            serde_json::from_slice::<Vec<Value>>(&report),
        ) else {
            continue;
        };
        assert_eq!(every.passed_on.len(), values.len(), "seed {seed}");
        for (record, value) in every.passed_on.iter().zip(values) {
            let raw: Value = serde_json::from_slice(&record.raw).unwrap();
            assert_eq!(raw, value);
            if record.malformed {
                continue;
            }
            for (key, value) in value.as_object().unwrap() {
                let field = FIELDS.iter().find(|field| field.eq_ignore_ascii_case(key));
                if let Some(field) = field {
                    assert_eq!(record.field(field), value.as_str(), "seed {seed}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 2_000, "{compared} fields compared");
}

#[test]
fn every_csv_record_is_a_row() {
    let mut compared = 0;
    for seed in 0..1_000 {
        let mut random = Random::new(seed);
        let report = random.csv_report();
        let every = scan_every(ReportFormat::Csv, random.slices(&report.bytes));
        assert_like_a_scan_of_revoked_records(ReportFormat::Csv, &report.bytes, &every);
        if every.result.is_err() {
            continue;
        }
        let (header, rows) = report.rows.split_first().unwrap();
        assert_eq!(every.passed_on.len(), rows.len(), "seed {seed}");
        for (record, row) in every.passed_on.iter().zip(rows) {
            for (name, text) in header.iter().zip(row) {
                let field = FIELDS.iter().find(|field| field.eq_ignore_ascii_case(name));
                if let Some(field) = field {
                    let text = Some(text.as_str()).filter(|text| !text.is_empty());
                    assert_eq!(record.field(field), text, "seed {seed}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 1_000, "{compared} fields compared");
}
