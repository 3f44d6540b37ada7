//! Selects the calls that get an injected fault.

use std::fmt;
use std::sync::Arc;

use crate::call::Call;
use crate::fault::Fault;
use crate::service::Service;

/// Selects the calls that get a fault. Conditions that are not set match every call. Applies once by default.
#[derive(Clone)]
pub struct On {
    service: Option<Service>,
    operation: Option<String>,
    condition: Option<Condition>,
    skip: u32,
    times: Option<u32>,
}

type Condition = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

impl On {
    /// Matches any call.
    pub fn any() -> Self {
        Self {
            service: None,
            operation: None,
            condition: None,
            skip: 0,
            times: Some(1),
        }
    }

    /// Matches calls of this operation, by its API name.
    pub fn operation(name: impl Into<String>) -> Self {
        Self {
            operation: Some(name.into()),
            ..Self::any()
        }
    }

    /// Matches calls to this service.
    pub fn service(service: Service) -> Self {
        Self {
            service: Some(service),
            ..Self::any()
        }
    }

    /// Adds a condition; all conditions must hold.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        let before = self.condition.take();
        self.condition = Some(Arc::new(move |call| {
            before.as_ref().is_none_or(|before| before(call)) && condition(call)
        }));
        self
    }

    /// Matches only calls whose object key contains `part`.
    #[must_use]
    pub fn key_contains(self, part: impl Into<String>) -> Self {
        let part = part.into();
        self.when(move |call| call.key.as_ref().is_some_and(|key| key.contains(&part)))
    }

    /// Skips this many matching calls first.
    #[must_use]
    pub fn after(mut self, calls: u32) -> Self {
        self.skip = calls;
        self
    }

    /// Applies to this many calls.
    #[must_use]
    pub fn times(mut self, calls: u32) -> Self {
        self.times = Some(calls);
        self
    }

    /// Applies to every matching call, until `LocalAws::clear_faults`.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    fn matches(&self, call: &Call) -> bool {
        self.service.is_none_or(|service| service == call.service)
            && self
                .operation
                .as_ref()
                .is_none_or(|operation| *operation == call.operation)
            && self
                .condition
                .as_ref()
                .is_none_or(|condition| condition(call))
    }
}

impl From<&str> for On {
    fn from(operation: &str) -> Self {
        Self::operation(operation)
    }
}

impl fmt::Debug for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("On")
            .field("service", &self.service)
            .field("operation", &self.operation)
            .field("condition", &self.condition.is_some())
            .field("skip", &self.skip)
            .field("times", &self.times)
            .finish()
    }
}

/// The injected faults that have not been used up, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(On, Fault)>);

impl Faults {
    pub(crate) fn add(&mut self, on: On, fault: Fault) {
        self.0.push((on, fault));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn pending(&self) -> usize {
        self.0.len()
    }

    /// Returns the fault of the oldest entry that matches this call and does not skip it.
    pub(crate) fn take(&mut self, call: &Call) -> Option<Fault> {
        let mut chosen = None;
        for (index, (on, fault)) in self.0.iter_mut().enumerate() {
            if !on.matches(call) {
                continue;
            }
            if on.skip > 0 {
                on.skip -= 1;
                continue;
            }
            chosen = Some((index, fault.clone()));
            break;
        }
        let (index, fault) = chosen?;
        if let Some(times) = &mut self.0[index].0.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.0.remove(index);
            }
        }
        Some(fault)
    }
}
