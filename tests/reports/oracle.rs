//! Compares scans with `serde_json` and the `csv` crate. The fuzz targets use this as well.

use std::fmt;

use pca_revocation_watch::report_format::ReportFormat;
use pca_revocation_watch::revocation::key::serial_octets;
use pca_revocation_watch::timestamp::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::scanning::{
    CERTIFICATE_ARN, FIELDS, PassedOn, REVOKED_AT, SERIAL, TIMES, scan, scan_whole,
};

/// Asserts that the scanner accepts what `serde_json` accepts, with the same records, whole and in
/// slices. Returns whether it is a valid report.
pub fn compare_json(report: &[u8], slices: &[&[u8]]) -> bool {
    let text = || String::from_utf8_lossy(report);
    let ours = scan_whole(ReportFormat::Json, report);
    assert_eq!(
        scan(ReportFormat::Json, slices.iter().copied()),
        ours,
        "{}",
        text()
    );
    if is_nested_too_deeply(report) {
        return false;
    }
    let Some((expected, malformed, unidentified)) = json_records(report) else {
        let error = ours.result.expect_err(&text());
        assert_is_first_error(report, error.byte);
        return false;
    };
    let totals = ours
        .result
        .unwrap_or_else(|error| panic!("{error}: {}", text()));
    assert_eq!(totals.malformed, malformed, "{}", text());
    assert_eq!(totals.unidentified, unidentified, "{}", text());
    assert_eq!(ours.passed_on.len(), expected.len(), "{}", text());
    for (record, expected) in ours.passed_on.iter().zip(&expected) {
        assert!(expected.is(record), "{record:?}, not {expected:?}");
    }
    true
}

/// Asserts that the scanner yields the rows of the `csv` crate, whole and in slices, and refuses more
/// only where RFC 4180 is stricter. Returns whether it was accepted.
pub fn compare_csv(report: &[u8], slices: &[&[u8]]) -> bool {
    let text = || String::from_utf8_lossy(report);
    let ours = scan_whole(ReportFormat::Csv, report);
    assert_eq!(
        scan(ReportFormat::Csv, slices.iter().copied()),
        ours,
        "{}",
        text()
    );
    match (&ours.result, csv_crate(report)) {
        (Ok(totals), Ok(rows)) => {
            assert_eq!(totals.certificates, rows.len() as u64 - 1, "{}", text());
            assert_eq!(totals.unidentified, unidentified_rows(&rows), "{}", text());
            assert_same_rows(&ours.passed_on, &rows);
            true
        }
        (Ok(_), Err(error)) => panic!("{error}: {}", text()),
        (Err(_), Err(_)) => false,
        // The only differences: the scanner is stricter.
        (Err(error), Ok(_)) => {
            let is_stricter = [
                "expected ",                 // a quote that is not allowed there, or a CR alone
                "the report ends too early", // within quotes or after a CR
                "the row has 1 fields",      // a blank line
                "the report is empty",
                "the header has ",
            ]
            .iter()
            .any(|problem| error.problem.starts_with(problem));
            assert!(is_stricter, "{error}: {}", text());
            false
        }
    }
}

/// Whether `serde_json` gives up because of the nesting: it limits that of the whole document, the
/// scanner that of each value.
fn is_nested_too_deeply(report: &[u8]) -> bool {
    let result = serde_json::from_slice::<Value>(report);
    result.is_err_and(|error| error.to_string().starts_with("recursion limit exceeded"))
}

/// Asserts that the document is valid up to that byte: truncated there, or a complete report that is
/// followed by something.
fn assert_is_first_error(report: &[u8], byte: u64) {
    let prefix = &report[..byte as usize];
    let theirs = serde_json::from_slice::<Value>(prefix);
    match scan_whole(ReportFormat::Json, prefix).result {
        Ok(_) => assert!(theirs.is_ok(), "before {byte}"),
        Err(error) => {
            let expected = match byte {
                0 => "the report is empty",
                _ => "the report ends too early",
            };
            assert_eq!(error.problem, expected, "before {byte}");
            let theirs = theirs.unwrap_err();
            // `serde_json` accepts a number at the end of a document.
            let is_cut_number = theirs.to_string().starts_with("number out of range");
            assert!(theirs.is_eof() || is_cut_number, "{theirs} before {byte}");
        }
    }
}

/// What the scanner must yield for a record, derived from `serde_json`'s values.
#[derive(Debug)]
struct Expected {
    fields: [Option<Value>; 11],
    conflicting_serials: bool,
    malformed: bool,
    whole: Value,
}

impl Expected {
    fn is(&self, record: &PassedOn) -> bool {
        let same_fields =
            (0..FIELDS.len()).all(|field| match (&self.fields[field], &record.fields[field]) {
                (Some(Value::String(text)), Some(ours))
                    if field == SERIAL && self.conflicting_serials =>
                {
                    ours.starts_with(&format!("{text} / "))
                }
                (Some(Value::String(text)), Some(ours)) => text == ours,
                (Some(_), Some(ours)) if field == SERIAL && self.conflicting_serials => {
                    ours.contains(" / ")
                }
                (Some(value), Some(ours)) => {
                    serde_json::from_str::<Value>(ours).is_ok_and(|ours| ours == *value)
                }
                (None, None) => true,
                _ => false,
            });
        let raw: Value = serde_json::from_slice(&record.raw).unwrap();
        same_fields && record.malformed == self.malformed && raw == self.whole
    }
}

/// Returns the records that must be passed on, the number of malformed ones and that of unidentified
/// ones; `None` if it is not a report.
fn json_records(report: &[u8]) -> Option<(Vec<Expected>, u64, u64)> {
    let Value::Array(whole) = serde_json::from_slice(report).ok()? else {
        return None;
    };
    let records: Vec<Entries> = serde_json::from_slice(report).ok()?;
    let mut expected = Vec::new();
    let (mut malformed, mut unidentified) = (0, 0);
    for (Entries(entries), whole) in records.into_iter().zip(whole) {
        let mut record = Expected {
            fields: Default::default(),
            conflicting_serials: false,
            malformed: false,
            whole,
        };
        let mut stated = [false; 11];
        for (key, value) in entries {
            let Some(field) = FIELDS
                .iter()
                .position(|field| field.eq_ignore_ascii_case(&key))
            else {
                continue;
            };
            record.malformed |= stated[field] || !(value.is_string() || value.is_null());
            stated[field] = true;
            match &record.fields[field] {
                _ if value.is_null() => {}
                None => record.fields[field] = Some(value),
                Some(before) if before == "" => record.fields[field] = Some(value),
                Some(before)
                    if field == SERIAL && value != "" && text_of(before) != text_of(&value) =>
                {
                    record.conflicting_serials = true;
                }
                Some(_) => {}
            }
        }
        let is_stated = |field: usize| {
            let value: &Option<Value> = &record.fields[field];
            value.as_ref().is_some_and(|value| value != "")
        };
        unidentified += u64::from(!is_stated(SERIAL) && !is_stated(CERTIFICATE_ARN));
        let is_revoked = is_stated(REVOKED_AT);
        if is_revoked {
            let serial = record.fields[SERIAL].as_ref().map(text_of);
            record.malformed |= record.conflicting_serials
                || serial.and_then(|serial| serial_octets(&serial)).is_none();
            record.malformed |= TIMES
                .into_iter()
                .filter_map(|time| record.fields[time].as_ref())
                .any(|time| Timestamp::parse(&text_of(time)).is_none());
        }
        malformed += u64::from(record.malformed);
        if is_revoked {
            expected.push(record);
        }
    }
    Some((expected, malformed, unidentified))
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// An object's keys and values in order, including duplicates.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn csv_crate(report: &[u8]) -> Result<Vec<Vec<String>>, csv::Error> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(report);
    reader
        .records()
        .map(|row| Ok(row?.iter().map(str::to_owned).collect()))
        .collect()
}

/// Returns the number of rows with neither a serial nor a certificate ARN, the header included.
fn unidentified_rows(rows: &[Vec<String>]) -> u64 {
    let named = |field: usize| {
        let is_named = |name: &String| name.eq_ignore_ascii_case(FIELDS[field]);
        rows[0].iter().position(is_named)
    };
    let columns = [SERIAL, CERTIFICATE_ARN].map(named);
    let is_unidentified = |row: &&Vec<String>| {
        columns
            .iter()
            .flatten()
            .all(|&column| row[column].is_empty())
    };
    rows.iter().filter(is_unidentified).count() as u64
}

/// Compares the records with rows, of which the first is the header.
pub fn assert_same_rows(passed_on: &[PassedOn], rows: &[Vec<String>]) {
    let header = &rows[0];
    let columns = FIELDS.map(|field| {
        header
            .iter()
            .position(|name| name.eq_ignore_ascii_case(field))
    });
    let expected = rows[1..].iter().filter_map(|row| {
        let fields = columns.map(|column| {
            column
                .map(|column| row[column].clone())
                .filter(|text| !text.is_empty())
        });
        fields[REVOKED_AT].is_some().then_some(fields)
    });
    let expected: Vec<_> = expected.collect();
    assert_eq!(passed_on.len(), expected.len());
    for (record, fields) in passed_on.iter().zip(expected) {
        let serial = fields[SERIAL].as_deref().and_then(serial_octets);
        let has_malformed_time = TIMES.into_iter().any(|time| {
            fields[time]
                .as_deref()
                .is_some_and(|text| Timestamp::parse(text).is_none())
        });
        assert_eq!(
            record.malformed,
            serial.is_none() || has_malformed_time,
            "{record:?}"
        );
        assert_eq!(record.fields, fields);
    }
}
