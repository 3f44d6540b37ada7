//! Scans in a form that can be compared.

use std::borrow::Cow;

use pca_revocation_watch::report::scanner::{ReportScanner, ScanError, ScanTotals};
use pca_revocation_watch::report_format::ReportFormat;
use pca_revocation_watch::revocation::record::RevokedRecord;

/// The known fields, in the order of [`PassedOn::fields`].
pub const FIELDS: [&str; 11] = [
    "awsAccountId",
    "requestedByServicePrincipal",
    "certificateArn",
    "serial",
    "subject",
    "notBefore",
    "notAfter",
    "issuedAt",
    "revokedAt",
    "revocationReason",
    "templateArn",
];
pub const CERTIFICATE_ARN: usize = 2;
pub const SERIAL: usize = 3;
pub const TIMES: [usize; 4] = [5, 6, 7, 8];
pub const REVOKED_AT: usize = 8;

/// A record that was passed on.
#[derive(Clone, Debug, PartialEq)]
pub struct PassedOn {
    pub fields: [Option<String>; 11],
    pub malformed: bool,
    pub raw: Vec<u8>,
    pub key: String,
}

impl PassedOn {
    pub fn field(&self, name: &str) -> Option<&str> {
        let at = FIELDS.iter().position(|field| *field == name).unwrap();
        self.fields[at].as_deref()
    }
}

/// The result of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    pub passed_on: Vec<PassedOn>,
    pub result: Result<ScanTotals, ScanError>,
    /// At the end, or at the error.
    pub certificates: u64,
}

/// Scans a report that arrives in these slices.
pub fn scan<'a>(format: ReportFormat, slices: impl IntoIterator<Item = &'a [u8]>) -> Scan {
    let mut passed_on = Vec::new();
    let mut sink = |record: &RevokedRecord<'_>| passed_on.push(owned(record));
    let mut scanner = ReportScanner::new(format);
    let fed = slices
        .into_iter()
        .try_for_each(|slice| scanner.feed(slice, &mut sink));
    let result = match fed {
        Ok(()) => scanner.finish(&mut sink),
        Err(error) => {
            // Every later call repeats the error.
            assert_eq!(scanner.feed(b" ", &mut sink), Err(error.clone()));
            assert_eq!(scanner.finish(&mut sink), Err(error.clone()));
            Err(error)
        }
    };
    let totals = scanner.totals();
    assert_eq!(totals.revoked, passed_on.len() as u64);
    Scan {
        passed_on,
        result,
        certificates: totals.certificates,
    }
}

/// Scans a report that arrives at once.
pub fn scan_whole(format: ReportFormat, report: &[u8]) -> Scan {
    scan(format, [report])
}

/// Asserts that every split in two, and slices of every size, give the same result.
pub fn assert_same_at_every_split(format: ReportFormat, report: &[u8]) {
    let whole = scan_whole(format, report);
    for at in 0..=report.len() {
        let (head, tail) = report.split_at(at);
        assert_eq!(scan(format, [head, tail]), whole, "split at {at}");
    }
    // Longer slices hold several records, as the splits in two do.
    for size in 1..=report.len().clamp(1, 1_500) {
        assert_eq!(scan(format, report.chunks(size)), whole, "slices of {size}");
    }
}

/// Copies a record.
pub fn owned(record: &RevokedRecord<'_>) -> PassedOn {
    let text = |field: &Option<Cow<'_, str>>| field.as_deref().map(str::to_owned);
    PassedOn {
        fields: [
            text(&record.aws_account_id),
            text(&record.requested_by_service_principal),
            text(&record.certificate_arn),
            text(&record.serial),
            text(&record.subject),
            text(&record.not_before),
            text(&record.not_after),
            text(&record.issued_at),
            text(&record.revoked_at),
            text(&record.revocation_reason),
            text(&record.template_arn),
        ],
        malformed: record.malformed,
        raw: record.raw.to_vec(),
        key: record.key().to_string(),
    }
}
