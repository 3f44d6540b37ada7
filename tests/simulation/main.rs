//! Simulated worlds: the function in this process, on a paused clock, with errors of every kind.

mod injected_faults;
mod simulator;
mod worlds;
