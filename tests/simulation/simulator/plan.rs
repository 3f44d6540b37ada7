//! What goes wrong: which call of which run, how, and for how long.

use std::fmt;
use std::time::Duration;

use local_aws::{Call, Fault, Service};

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blow {
    Fault(&'static str, Fault),
    /// The process dies before the service did anything.
    KillBefore,
    /// The process dies after the service did its work and before it could know.
    KillAfter,
}

impl Blow {
    pub fn name(&self) -> &'static str {
        match self {
            Blow::Fault(name, _) => name,
            Blow::KillBefore => "killed before",
            Blow::KillAfter => "killed after",
        }
    }
}

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// This attempt only: a retry inside the SDK finds all well.
    Attempt,
    /// Every attempt of this call: the SDK gives up on it.
    Call,
    /// This and all further calls of the operation in this run.
    Rest,
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// Counted from the first run that is struck at.
    pub run: usize,
    /// Counted from the run's first call.
    pub call: usize,
    pub blow: Blow,
    pub extent: Extent,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            run, call, extent, ..
        } = self;
        write!(
            f,
            "run {run} call {call}: {} ({extent:?})",
            self.blow.name()
        )
    }
}

/// Everything that can go wrong with a call that arrives like this one.
pub fn blows(call: &Call) -> Vec<(Blow, Extent)> {
    use Extent::{Attempt, Call as WholeCall, Rest};
    let (status, code) = match call.service {
        Service::PrivateCa => (500, "InternalFailure"),
        Service::S3 => (500, "InternalError"),
        Service::Sns => (500, "InternalError"),
    };
    let error = || {
        Fault::error(
            status,
            code,
            "We encountered an internal error. Please try again.",
        )
    };
    let error_after = || {
        Fault::error_after(
            status,
            code,
            "We encountered an internal error. Please try again.",
        )
    };
    let seconds = Duration::from_secs;
    let mut blows = vec![(Blow::KillBefore, Attempt), (Blow::KillAfter, Attempt)];
    let mut add = |name, fault: Fault, extents: &[Extent]| {
        blows.extend(
            extents
                .iter()
                .map(|&extent| (Blow::Fault(name, fault.clone()), extent)),
        );
    };
    add("error before", error(), &[Attempt, WholeCall, Rest]);
    add("error after", error_after(), &[Attempt, WholeCall, Rest]);
    add("throttled", Fault::Throttle, &[Attempt, WholeCall, Rest]);
    add("disconnected", Fault::Disconnect, &[Attempt, WholeCall]);
    add("reply lost", Fault::LostReply, &[Attempt, WholeCall, Rest]);
    add("late by 20 s", Fault::Late(seconds(20)), &[Attempt]);
    add(
        "late by 45 s",
        Fault::Late(seconds(45)),
        &[Attempt, WholeCall],
    );
    add(
        "done 45 s later",
        Fault::Delayed(seconds(45)),
        &[Attempt, WholeCall],
    );
    add(
        "done 10 min later",
        Fault::Delayed(seconds(600)),
        &[Attempt],
    );
    add("hanging", Fault::Hang, &[Attempt, WholeCall, Rest]);
    add(
        "done and hanging",
        Fault::HangAfter,
        &[Attempt, WholeCall, Rest],
    );
    add(
        "denied",
        Fault::access_denied(call.service),
        &[WholeCall, Rest],
    );
    if !call.operation.starts_with("Head") {
        add(
            "cut after 0 bytes",
            Fault::CutBody { after: 0 },
            &[Attempt, WholeCall],
        );
        add(
            "cut after 100 bytes",
            Fault::CutBody { after: 100 },
            &[Attempt, WholeCall, Rest],
        );
        add(
            "stalled after 100 bytes",
            Fault::StallBody { after: 100 },
            &[Attempt, WholeCall, Rest],
        );
        add(
            "byte 5 flipped",
            Fault::FlipByte { at: 5 },
            &[Attempt, Rest],
        );
        add("byte 141 flipped", Fault::FlipByte { at: 141 }, &[Attempt]);
        add(
            "byte 1003 flipped",
            Fault::FlipByte { at: 1003 },
            &[Attempt],
        );
    }
    if call.operation == "PutObject" {
        add(
            "in conflict (409)",
            Fault::conditional_request_conflict(),
            &[Attempt, WholeCall, Rest],
        );
    }
    blows
}

/// Whether the caller may not know what the service did.
pub fn leaves_in_doubt(fault: &Fault) -> bool {
    match fault {
        Fault::Error(_) | Fault::Throttle | Fault::Hang | Fault::Disconnect => false,
        Fault::Late(by) | Fault::Delayed(by) => *by >= Duration::from_secs(30),
        _ => true,
    }
}
