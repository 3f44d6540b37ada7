//! Planned failures: which call of which run fails, how, and for how long.

use std::fmt;
use std::time::Duration;

use local_aws::{Call, Fault, Service};

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Fault(&'static str, Fault),
    /// The process dies before the service has done anything.
    KillBefore,
    /// The process dies after the service has done its work and before it receives the response.
    KillAfter,
}

impl Failure {
    pub fn name(&self) -> &'static str {
        match self {
            Failure::Fault(name, _) => name,
            Failure::KillBefore => "killed before",
            Failure::KillAfter => "killed after",
        }
    }
}

/// How many calls a failure affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// This attempt only: a retry by the SDK succeeds.
    Attempt,
    /// Every attempt of this call: the SDK returns an error.
    Call,
    /// This and all later calls of the operation in this run.
    Rest,
}

/// One planned failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Index of the run, from the first run after the injection.
    pub run: usize,
    /// Index of the call in its run.
    pub call: usize,
    pub failure: Failure,
    pub extent: Extent,
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            run, call, extent, ..
        } = self;
        write!(
            f,
            "run {run} call {call}: {} ({extent:?})",
            self.failure.name()
        )
    }
}

/// Returns every failure that can be injected into a call like this one.
pub fn failures(call: &Call) -> Vec<(Failure, Extent)> {
    let mut failures = vec![
        (Failure::KillBefore, Extent::Attempt),
        (Failure::KillAfter, Extent::Attempt),
    ];
    let mut faults = call_faults(call.service);
    if !call.operation.starts_with("Head") {
        faults.extend(BODY_FAULTS.iter().cloned());
    }
    if call.operation == "CreateCertificateAuthorityAuditReport" {
        let failed = Fault::error(
            400,
            "RequestFailedException",
            "The request has failed for an unspecified reason.",
        );
        faults.push((TRANSIENT_REFUSALS[0], failed, &[Extent::Call]));
    }
    if call.operation == "PutObject" {
        let conflict = Fault::conditional_request_conflict();
        faults.push(("in conflict (409)", conflict, ANY));
    }
    for (name, fault, extents) in faults {
        let with_extent = |&extent| (Failure::Fault(name, fault.clone()), extent);
        failures.extend(extents.iter().map(with_extent));
    }
    failures
}

/// A fault, its name, and how many calls it may affect.
type NamedFault = (&'static str, Fault, &'static [Extent]);

const ANY: &[Extent] = &[Extent::Attempt, Extent::Call, Extent::Rest];
const ATTEMPT: &[Extent] = &[Extent::Attempt];
const ATTEMPT_OR_CALL: &[Extent] = &[Extent::Attempt, Extent::Call];

/// Faults that can be injected into any call.
fn call_faults(service: Service) -> Vec<NamedFault> {
    let code = match service {
        Service::PrivateCa | Service::CloudTrail | Service::Acm | Service::Sqs => "InternalFailure",
        Service::S3 | Service::Sns => "InternalError",
    };
    let text = "We encountered an internal error. Please try again.";
    let seconds = Duration::from_secs;
    let denied = Fault::access_denied(service);
    let expired = match service {
        Service::PrivateCa | Service::CloudTrail | Service::Acm => (400, "ExpiredTokenException"),
        Service::S3 => (400, "ExpiredToken"),
        Service::Sns => (403, "ExpiredToken"),
        Service::Sqs => (403, "ExpiredTokenException"),
    };
    let expired = Fault::error(
        expired.0,
        expired.1,
        "The security token included in the request is expired",
    );
    vec![
        ("error before", Fault::error(500, code, text), ANY),
        ("error after", Fault::error_after(500, code, text), ANY),
        ("throttled", Fault::Throttle, ANY),
        ("disconnected", Fault::Disconnect, ATTEMPT_OR_CALL),
        ("reply lost", Fault::LostReply, ANY),
        ("late by 20 s", Fault::Late(seconds(20)), ATTEMPT),
        ("late by 45 s", Fault::Late(seconds(45)), ATTEMPT_OR_CALL),
        (
            "done 45 s later",
            Fault::Delayed(seconds(45)),
            ATTEMPT_OR_CALL,
        ),
        ("done 10 min later", Fault::Delayed(seconds(600)), ATTEMPT),
        ("hanging", Fault::Hang, ANY),
        ("done and hanging", Fault::HangAfter, ANY),
        ("denied", denied, &[Extent::Call, Extent::Rest]),
        (TRANSIENT_REFUSALS[1], expired, &[Extent::Call]),
    ]
}

/// Faults of a response's body.
const BODY_FAULTS: &[NamedFault] = &[
    (
        "cut after 0 bytes",
        Fault::CutBody { after: 0 },
        ATTEMPT_OR_CALL,
    ),
    ("cut after 100 bytes", Fault::CutBody { after: 100 }, ANY),
    (
        "stalled after 100 bytes",
        Fault::StallBody { after: 100 },
        ANY,
    ),
    (
        "byte 5 flipped",
        Fault::FlipByte { at: 5 },
        &[Extent::Attempt, Extent::Rest],
    ),
    ("byte 141 flipped", Fault::FlipByte { at: 141 }, ATTEMPT),
    ("byte 1003 flipped", Fault::FlipByte { at: 1003 }, ATTEMPT),
];

/// Refusals that say nothing about permissions or settings.
pub const TRANSIENT_REFUSALS: &[&str] = &["request failed", "token expired"];

/// Returns whether the caller cannot know what the service did.
pub fn outcome_is_unknown(fault: &Fault) -> bool {
    match fault {
        Fault::Error(_) | Fault::Throttle | Fault::Hang | Fault::Disconnect => false,
        Fault::Late(by) | Fault::Delayed(by) => *by >= Duration::from_secs(30),
        _ => true,
    }
}
