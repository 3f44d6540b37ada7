//! Runs any number of simulated worlds and checks that none of them loses a revocation.
//!
//! ```text
//! cargo run --release --example simulate -- random 10000 1       # number of worlds, first seed
//! cargo run --release --example simulate -- scaled-out 5000 1    # the same with an audit queue
//! cargo run --release --example simulate -- single               # every world with one failure
//! cargo run --release --example simulate -- pairs Steady         # one scenario
//! cargo run --release --example simulate -- single Steady 1234   # one world again
//! cargo run --release --example simulate -- schedule 200 500     # number of CAs, of periods
//! cargo run --release --example simulate -- load 130 16          # number of CAs, of periods
//! cargo run --release --example simulate -- scale 12             # number of periods: table of docs/scale.md
//! cargo run --release --example simulate -- scale 12 200 30      # one world: number of CAs, minutes
//! ```
//! The function's metrics go to standard output, the results to standard error.

#[path = "../tests/simulation/simulator/mod.rs"]
mod simulator;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use simulator::exhaustive::{Case, Kind, simulate_all};
use simulator::load::Load;
use simulator::random::{self, Audits, Summary};
use simulator::scale::{Figures, Scale};
use simulator::scale_table;
use simulator::scenario::Scenario;
use simulator::schedule;
use simulator::world::{PERIOD, TIMEOUT, keep_log};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    let violations = match arguments[..] {
        ["random", worlds, seed] => many(number(worlds), number(seed), Audits::Inline),
        ["scaled-out", worlds, seed] => many(number(worlds), number(seed), Audits::ScaledOut),
        ["schedule", certificate_authorities, periods] => {
            let periods = schedule::simulate(
                1,
                number(certificate_authorities) as usize,
                number(periods) as u32,
            );
            eprintln!(
                "{} audits; the longest run took {:.0} s",
                periods.audits,
                periods.longest.as_secs_f64()
            );
            periods
                .skipped
                .iter()
                .for_each(|skipped| eprintln!("{skipped}"));
            periods.skipped
        }
        ["load", certificate_authorities, periods] => {
            load(number(certificate_authorities), number(periods))
        }
        ["scale", periods] => {
            let worlds = [(200, 30), (850, 30), (1500, 60)];
            simulate_scales(number(periods), &worlds)
        }
        ["scale", periods, cas, minutes] => {
            simulate_scales(number(periods), &[(number(cas), number(minutes))])
        }
        [kind, ref rest @ ..] if Kind::named(kind).is_some() => {
            exhaustive(Kind::named(kind).expect("it was just found"), rest)
        }
        _ => {
            eprintln!("see the top of examples/simulate.rs for the arguments");
            return ExitCode::FAILURE;
        }
    };
    eprintln!(
        "{:.0} s, {} violations",
        began.elapsed().as_secs_f64(),
        violations.len()
    );
    if violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn number(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

/// Reports that take 28 s each.
fn load(certificate_authorities: u64, periods: u64) -> Vec<String> {
    let figures = simulator::load::simulate(Load {
        certificate_authorities: certificate_authorities as usize,
        periods: periods as u32,
        run: TIMEOUT,
        scan: Duration::from_secs(28),
    });
    let intervals = |age: Duration| age.as_secs_f64() / PERIOD.as_secs_f64();
    eprintln!(
        "{} audits in {} runs, at most {} CAs per run; the oldest audit was {:.1} intervals old, {} are allowed; messages: {:?}",
        figures.audits,
        figures.runs,
        figures.scanned_per_run,
        intervals(figures.worst_age),
        intervals(figures.worst_allowed_age),
        figures.messages
    );
    let violations = figures.violations.iter();
    violations.for_each(|violation| eprintln!("{violation}"));
    figures.violations
}

/// Simulates numbers of CAs at intervals of so many minutes, each inline and with an audit queue.
fn simulate_scales(periods: u64, worlds: &[(u64, u64)]) -> Vec<String> {
    let mut scales = Vec::new();
    for &(certificate_authorities, minutes) in worlds {
        scales.extend([Audits::Inline, Audits::ScaledOut].map(|audits| Scale {
            audits,
            certificate_authorities: certificate_authorities as usize,
            interval: Duration::from_secs(60 * minutes),
            periods: periods as u32,
            maximum_concurrency: 5,
        }));
    }
    let all: Vec<(Scale, Figures)> = std::thread::scope(|scope| {
        let simulate =
            |&scale: &Scale| scope.spawn(move || (scale, simulator::scale::simulate(1, scale)));
        let threads: Vec<_> = scales.iter().map(simulate).collect();
        let results = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        results
            .map(|figures| figures.expect("no thread panicked"))
            .collect()
    });
    for line in scale_table::lines(&all) {
        eprintln!("{line}");
    }
    let violations = all.into_iter().flat_map(|(scale, figures)| {
        let of = scale.certificate_authorities;
        let violations = figures.violations.into_iter();
        violations.map(move |violation| format!("{of} CAs: {violation}"))
    });
    violations
        .inspect(|violation| eprintln!("{violation}"))
        .collect()
}

fn exhaustive(kind: Kind, rest: &[&str]) -> Vec<String> {
    let scenarios = match rest.first() {
        Some(name) => vec![Scenario::named(name).unwrap_or_else(|| panic!("no scenario {name}"))],
        None => Scenario::EVERY.to_vec(),
    };
    let mut cases: Vec<Case> = scenarios
        .iter()
        .flat_map(|&scenario| kind.cases(scenario))
        .collect();
    if let Some(only) = rest.get(1) {
        cases.retain(|case| case.number as u64 == number(only));
    }
    let tally = simulate_all(&cases);
    eprintln!("{tally}");
    tally.violations
}

fn many(worlds: u64, first_seed: u64, audits: Audits) -> Vec<String> {
    let next = AtomicU64::new(first_seed);
    let all = Mutex::new(Summary::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _log = keep_log();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first_seed + worlds {
                        return;
                    }
                    let summary = random::simulate(seed, audits);
                    if worlds == 1 {
                        eprintln!("{}", summary.story.join("\n"));
                    }
                    let mut all = all.lock().expect("no thread panicked");
                    all.invocations += summary.invocations;
                    all.calls += summary.calls;
                    all.injected += summary.injected;
                    all.killed += summary.killed;
                    all.revocations += summary.revocations;
                    all.messages += summary.messages;
                    for (kind, number) in summary.checked {
                        *all.checked.entry(kind).or_default() += number;
                    }
                    for violation in summary.violations {
                        eprintln!("[{} 1 {seed}]: {violation}", audits.name());
                        all.violations.push(violation);
                    }
                }
            });
        }
    });
    let all = all.into_inner().expect("no thread panicked");
    eprintln!(
        "{worlds} worlds: {} invocations, {} of them killed; {} calls, {} of them failed; {} revocations, {} messages",
        all.invocations, all.killed, all.calls, all.injected, all.revocations, all.messages
    );
    eprintln!("checked statements of investigations: {:?}", all.checked);
    all.violations
}
