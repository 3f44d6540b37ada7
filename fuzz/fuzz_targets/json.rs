//! Reads any bytes as a JSON report and compares the result with `serde_json`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/reports/oracle.rs"]
#[allow(dead_code)]
mod oracle;
#[path = "../../tests/reports/scanning.rs"]
#[allow(dead_code)]
mod scanning;

fuzz_target!(|report: &[u8]| {
    let slices: Vec<&[u8]> = report.chunks(1 + report.len() % 67).collect();
    oracle::compare_json(report, &slices);
});
