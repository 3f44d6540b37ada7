//! Scans an audit report in a file and prints what that took, or generates a synthetic report.
//!
//! ```sh
//! cargo run --release --example scan_report -- REPORT.json
//! cargo run --release --example scan_report -- --generate json-indented 1000000 1 > REPORT.json
//! ```
//!
//! The last two arguments are the number of certificates and the percentage of revoked ones;
//! layouts are `json-indented`, `json-compact` and `csv`. For comparison, `--with serde_json` and
//! `--with csv` read a report with these crates, and `--with nothing` only reads its bytes. CPU time
//! and memory come from `/proc`, so they are printed on Linux only.

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Read, Write};
use std::process::ExitCode;

use pca_revocation_watch::report::scanner::ReportScanner;
use pca_revocation_watch::report_format::ReportFormat;
use pca_revocation_watch::revocation::record::RevokedRecord;

use self::generate::Layout;
use self::others::Counts;

mod generate;
mod others;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: scan_report [--with serde_json | csv | nothing] FILE
       scan_report --generate json-indented | json-compact | csv CERTIFICATES REVOKED_PERCENT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["--generate", layout, certificates, revoked_percent] => {
            generate(layout, certificates, revoked_percent)
        }
        ["--with", "serde_json", path] => run(path, |_, file| others::serde_json_streaming(file)),
        ["--with", "csv", path] => run(path, |_, file| others::csv_crate(file)),
        ["--with", "nothing", path] => run(path, |_, file| read_only(file)),
        [path] if !path.starts_with('-') => run(path, scan),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &str, count: impl FnOnce(&str, File) -> Result<Counts>) -> Result<()> {
    let in_file = |error: Box<dyn Error>| format!("{path}: {error}");
    let file = File::open(path).map_err(|error| in_file(error.into()))?;
    let counts = count(path, file).map_err(in_file)?;
    print(path, counts);
    Ok(())
}

/// Bytes read from a file at a time.
const SLICE: usize = 128 << 10;

fn scan(path: &str, mut file: File) -> Result<Counts> {
    let format = ReportFormat::from_key(path).ok_or("neither .json nor .csv")?;
    let mut scanner = ReportScanner::new(format);
    let mut sink = |record: &RevokedRecord<'_>| drop(black_box(record.key()));
    let mut slice = vec![0; SLICE];
    let totals = loop {
        match file.read(&mut slice)? {
            0 => break scanner.finish(&mut sink)?,
            len => scanner.feed(&slice[..len], &mut sink)?,
        }
    };
    Ok((totals.certificates, totals.revoked))
}

fn read_only(mut file: File) -> Result<Counts> {
    let mut slice = vec![0; SLICE];
    while file.read(&mut slice)? > 0 {
        black_box(&slice);
    }
    Ok((0, 0))
}

fn print(path: &str, (certificates, revoked): Counts) {
    print!("{certificates} certificates, {revoked} revoked in {path}");
    match (cpu_seconds(), peak_resident_kib()) {
        (Some(seconds), Some(kib)) => {
            println!("; {seconds:.3} CPU seconds, peak {kib} KiB resident");
        }
        _ => println!(),
    }
}

/// Returns user and system time of this process.
fn cpu_seconds() -> Option<f64> {
    let nanoseconds: f64 = std::fs::read_to_string("/proc/self/schedstat")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    Some(nanoseconds / 1e9)
}

fn peak_resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn generate(layout: &str, certificates: &str, revoked_percent: &str) -> Result<()> {
    let layout = Layout::ALL
        .into_iter()
        .find(|known| known.name() == layout)
        .ok_or("LAYOUT is json-indented, json-compact or csv")?;
    let mut to = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    generate::report(
        layout,
        certificates.parse()?,
        revoked_percent.parse()?,
        &mut to,
    )?;
    to.flush()?;
    Ok(())
}
