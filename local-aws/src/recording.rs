//! Records the calls in order.

use std::collections::VecDeque;

use crate::call::Call;

/// The recorded calls.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    calls: VecDeque<Call>,
    begun: u64,
    keep: Option<usize>,
}

impl Recording {
    pub(crate) fn begin(&mut self, mut call: Call) -> Call {
        call.number = self.begun;
        self.begun += 1;
        self.calls.push_back(call.clone());
        self.trim();
        call
    }

    /// Changes a call, unless it has been dropped from the recording.
    pub(crate) fn update(&mut self, number: u64, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self
            .index(number)
            .and_then(|index| self.calls.get_mut(index))
        {
            change(call);
        }
    }

    pub(crate) fn get(&self, number: u64) -> Option<Call> {
        self.calls.get(self.index(number)?).cloned()
    }

    pub(crate) fn keep(&mut self, keep: Option<usize>) {
        self.keep = keep;
        self.trim();
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    pub(crate) fn forget(&mut self) {
        self.calls.clear();
    }

    fn index(&self, number: u64) -> Option<usize> {
        let first = self.begun - self.calls.len() as u64;
        usize::try_from(number.checked_sub(first)?).ok()
    }

    fn trim(&mut self) {
        while self.keep.is_some_and(|keep| self.calls.len() > keep) {
            self.calls.pop_front();
        }
    }
}
