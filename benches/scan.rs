//! Throughput of the scanners in memory, compared with general parsers: `cargo bench --bench scan`.
//!
//! Every parser reads the same synthetic report of 20,000 certificates and must find the same
//! counts. The others extract what this program needs: the eleven fields of the revoked records.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pca_revocation_watch::report::scanner::{ReportScanner, ScanTotals};
use pca_revocation_watch::report_format::ReportFormat;
use pca_revocation_watch::revocation::key::RevocationKey;
use pca_revocation_watch::revocation::record::RevokedRecord;
use pca_revocation_watch::state::notified_set::{NotifiedSet, NotifiedSetReader};

use self::generate::Layout;
use self::others::{Counts, Record};

#[path = "../examples/scan_report/generate.rs"]
mod generate;
#[path = "../examples/scan_report/others.rs"]
mod others;

const CERTIFICATES: u64 = 20_000;

criterion_group!(
    benches,
    by_share_of_revoked,
    by_slice,
    by_notified_set,
    beside_others
);
criterion_main!(benches);

fn by_share_of_revoked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("revoked");
    for layout in Layout::ALL {
        for percent in [0, 1, 50, 100] {
            let report = report(layout, percent);
            group.throughput(Throughput::Bytes(report.len() as u64));
            let id = BenchmarkId::new(layout.name(), format!("{percent}%"));
            group.bench_with_input(id, &report, |bencher, report| {
                bencher.iter(|| {
                    scan(layout, report, SLICE, |record| {
                        drop(black_box(record.key()));
                    })
                });
            });
        }
    }
}

fn by_slice(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slice");
    for layout in [Layout::JsonIndented, Layout::Csv] {
        let report = report(layout, 1);
        group.throughput(Throughput::Bytes(report.len() as u64));
        for slice in [1, 64, 1 << 10, 16 << 10, 64 << 10, 1 << 20] {
            let id = BenchmarkId::new(layout.name(), slice);
            group.bench_with_input(id, &report, |bencher, report| {
                bencher.iter(|| {
                    scan(layout, report, slice, |record| {
                        drop(black_box(record.key()));
                    })
                });
            });
        }
    }
}

/// Half of the certificates are revoked, and all or none of them are among a million in the set.
/// Also reads that set from its document.
fn by_notified_set(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("notified set");
    let layout = Layout::JsonIndented;
    let report = report(layout, 50);
    let mut others = NotifiedSet::default();
    others.merge((0..1_000_000_u128).map(|number| {
        let serial = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) | 1 << 127;
        RevocationKey::from_text(&format!("{serial:032x}")).expect("these are hexadecimal digits")
    }));
    let mut all = others.clone();
    let mut keys = Vec::new();
    scan(layout, &report, SLICE, |record| keys.push(record.key()));
    all.merge(keys);
    group.throughput(Throughput::Bytes(report.len() as u64));
    for (name, notified, expected) in [
        ("all new", &others, 0),
        ("all notified", &all, CERTIFICATES / 2),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut known = 0;
                scan(layout, &report, SLICE, |record| {
                    known += u64::from(notified.contains(&record.key()));
                });
                assert_eq!(known, expected);
            });
        });
    }
    let arn = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344";
    let document: Vec<u8> = std::sync::Arc::new(others.clone())
        .document_chunks(arn)
        .flatten()
        .collect();
    group.throughput(Throughput::Bytes(document.len() as u64));
    group.sample_size(20);
    group.bench_function("read a million", |bencher| {
        bencher.iter(|| {
            let mut reader = NotifiedSetReader::new(arn);
            for slice in document.chunks(SLICE) {
                reader.feed(slice);
            }
            reader.finish().expect("the document is valid")
        });
    });
}

fn beside_others(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("beside");
    group.sample_size(20);
    for layout in [Layout::JsonIndented, Layout::JsonCompact] {
        let report = report(layout, 1);
        let expected = (CERTIFICATES, CERTIFICATES / 100);
        group.throughput(Throughput::Bytes(report.len() as u64));
        let mut bench = |name: &str, count: &dyn Fn(&[u8]) -> Counts| {
            assert_eq!(count(&report), expected, "{name}");
            group.bench_function(BenchmarkId::new(name, layout.name()), |bencher| {
                bencher.iter(|| count(black_box(&report)));
            });
        };
        bench("this", &|report| counts(layout, report));
        bench("serde_json streaming", &|report| {
            others::serde_json_streaming(report).expect("the report is valid")
        });
        bench("serde_json borrowing", &serde_json_borrowing);
        bench("sonic-rs per record", &sonic_rs_per_record);
    }
    let report = report(Layout::Csv, 1);
    group.throughput(Throughput::Bytes(report.len() as u64));
    assert_eq!(
        others::csv_crate(&*report).expect("the report is valid"),
        (CERTIFICATES, CERTIFICATES / 100)
    );
    group.bench_function("this/csv", |bencher| {
        bencher.iter(|| counts(Layout::Csv, black_box(&report)));
    });
    group.bench_function("csv crate/csv", |bencher| {
        bencher.iter(|| others::csv_crate(black_box(&*report)));
    });
}

/// About what an HTTP client delivers at a time.
const SLICE: usize = 64 << 10;

fn report(layout: Layout, revoked_percent: u64) -> Vec<u8> {
    let mut report = Vec::new();
    generate::report(layout, CERTIFICATES, revoked_percent, &mut report)
        .expect("memory can be written to");
    report
}

fn scan(
    layout: Layout,
    report: &[u8],
    slice: usize,
    mut sink: impl FnMut(&RevokedRecord<'_>),
) -> ScanTotals {
    let mut scanner = ReportScanner::new(match layout {
        Layout::Csv => ReportFormat::Csv,
        _ => ReportFormat::Json,
    });
    for slice in report.chunks(slice) {
        scanner.feed(slice, &mut sink).expect("the report is valid");
    }
    scanner.finish(&mut sink).expect("the report is valid")
}

fn counts(layout: Layout, report: &[u8]) -> Counts {
    let totals = scan(layout, report, SLICE, |record| {
        drop(black_box(record.key()));
    });
    (totals.certificates, totals.revoked)
}

/// Deserializes the whole report from memory, with borrowed strings.
fn serde_json_borrowing(report: &[u8]) -> Counts {
    let mut deserializer = serde_json::Deserializer::from_slice(report);
    others::count_records(&mut deserializer).expect("the report is valid")
}

/// Deserializes each record that `sonic-rs` splits off, with borrowed strings.
fn sonic_rs_per_record(report: &[u8]) -> Counts {
    let mut counts = (0, 0);
    for record in sonic_rs::to_array_iter(report) {
        let record = record.expect("the report is valid");
        let record: Record<'_> =
            sonic_rs::from_str(record.as_raw_str()).expect("the record is valid");
        counts.0 += 1;
        counts.1 += u64::from(record.is_revoked());
    }
    counts
}
