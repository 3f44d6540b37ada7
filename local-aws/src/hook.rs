//! The hook: a test's callback before and after every call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::call::Call;
use crate::fault::Fault;

/// When the hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The request is recorded but not processed yet.
    Before,
    /// The service has processed the request (see [`Call::done`]); the response has not been sent yet.
    /// The call has its status and error code.
    After,
}

/// What happens to a call after the hook ran.
pub enum Action {
    /// The call continues.
    Proceed,
    /// Injects a fault. In [`Phase::After`], only faults that act on the response have an effect.
    Inject(Fault),
    /// The call never returns, so the caller can be dropped in this state: before the service processed the
    /// request, or after.
    Stop,
    /// The call continues when this future completes.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
}

pub(crate) type Hook = Arc<dyn Fn(&Call, Phase) -> Action + Send + Sync>;
