//! A test's own look at every call, before and after it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::call::Call;
use crate::fault::Fault;

/// When a hook is asked about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The request has arrived and is recorded; nothing was done yet.
    Before,
    /// The service is done (see [`Call::done`]); the answer has not been sent yet.
    After,
}

/// What a hook wants to happen to a call.
pub enum Action {
    /// Goes on.
    Proceed,
    /// Goes wrong. Of a fault that lies before the work, nothing is left to go wrong after it.
    Misbehave(Fault),
    /// Never goes on. Whoever waits for the call can be dropped now: before the work nothing was
    /// done, after it everything was.
    Stop,
    /// Goes on when this is done.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
}

pub(crate) type Hook = Arc<dyn Fn(&Call, Phase) -> Action + Send + Sync>;
