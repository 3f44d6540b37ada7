//! The SQS emulator: its state, and the methods that tests call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::errors::{invalid_address, no_queue};
use super::message::{Received, SqsMessage, Stored};
use super::queue::{Queue, QueueSettings, Receipt};
use crate::clock::Clock;
use crate::error_reply::ErrorReply;
use crate::ids::Ids;
use crate::settings::Settings;

/// Emulates SQS: standard queues. Messages do not expire.
///
/// The methods set up queues and inspect them. They need no permission, are not recorded and get no
/// injected faults. They panic if the queue does not exist, except where they say otherwise.
#[derive(Clone, Debug)]
pub struct Sqs(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    /// Queues by URL.
    queues: Mutex<BTreeMap<String, Queue>>,
    /// Signals that a message was added or deleted, or that a queue was created or deleted.
    changed: Notify,
    pub(super) clock: Clock,
    /// Its own sequence: messages do not change the identifiers of other services.
    ids: Ids,
    /// Decides which sends are lost or stored twice, and the order of messages.
    chances: Ids,
    account: String,
    pub(super) region: String,
}

/// A message to store.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) body: String,
    pub(super) delay: Duration,
}

/// Longest additional delay of a duplicate, in milliseconds.
const LATEST_DUPLICATE: u64 = 60_000;

impl Sqs {
    pub(crate) fn new(settings: &Settings, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            queues: Mutex::default(),
            changed: Notify::new(),
            clock,
            ids: Ids::new(settings.seed ^ 0x73_7173),
            chances: Ids::new(settings.seed ^ 0x6368_616e_6365),
            account: settings.account.clone(),
            region: settings.region.clone(),
        }))
    }

    /// Creates a standard queue and returns its URL. If it exists, it keeps its messages and gets these
    /// settings.
    ///
    /// # Panics
    /// If SQS would refuse it: because of the name, or because the dead-letter queue does not exist.
    pub fn create_queue(&self, name: &str, settings: QueueSettings) -> String {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(
            (1..=80).contains(&name.len()) && name.bytes().all(is_valid),
            "the name of a standard queue has up to 80 letters, digits, hyphens and underscores, not {name:?}"
        );
        let Inner {
            region, account, ..
        } = &*self.0;
        let url = format!("https://sqs.{region}.amazonaws.com/{account}/{name}");
        let mut queues = self.queues();
        if let Some(redrive) = &settings.redrive {
            let dead_letters = &redrive.dead_letter_queue_url;
            assert!(
                *dead_letters != url && queues.contains_key(dead_letters),
                "there is no dead-letter queue {dead_letters}: create it first"
            );
        }
        match queues.get_mut(&url) {
            Some(queue) => queue.settings = settings,
            None => {
                let arn = format!("arn:aws:sqs:{region}:{account}:{name}");
                queues.insert(url.clone(), Queue::new(arn, settings));
            }
        }
        drop(queues);
        self.0.changed.notify_waiters();
        url
    }

    /// Deletes a queue with its messages, if it exists.
    pub fn delete_queue(&self, url: &str) {
        self.queues().remove(url);
        self.0.changed.notify_waiters();
    }

    /// Deletes all messages of a queue.
    pub fn purge(&self, url: &str) {
        self.with(url, Queue::purge);
        self.0.changed.notify_waiters();
    }

    /// Returns all messages of a queue, also delayed ones and those in flight; the next one that can be
    /// received first.
    pub fn messages(&self, url: &str) -> Vec<SqsMessage> {
        let now = self.0.clock.now();
        self.with(url, |queue| queue.views(now))
    }

    /// Returns all messages that were sent to a queue, as they were sent, oldest first: also lost ones,
    /// but neither duplicates nor messages from a redrive.
    pub fn sent(&self, url: &str) -> Vec<SqsMessage> {
        self.with(url, |queue| queue.sent.clone())
    }

    /// Deletes what [`Sqs::sent`] returns.
    pub fn forget_sent(&self, url: &str) {
        self.with(url, |queue| queue.sent.clear());
    }

    /// Stores one send in about this many twice: the copy has the same message ID, and becomes visible up
    /// to a minute later. The seed decides which ones; `None` (the default) for no duplicates.
    pub fn set_duplicates(&self, url: &str, one_in: Option<u32>) {
        self.with(url, |queue| queue.duplicates = one_in);
    }

    /// Accepts one send in about this many without storing it. The seed decides which ones; `None` (the
    /// default) for no losses.
    pub fn set_losses(&self, url: &str, one_in: Option<u32>) {
        self.with(url, |queue| queue.losses = one_in);
    }

    /// Sets whether visible messages are received in random order, which the seed decides. By default, the
    /// message that became visible first is received first.
    pub fn set_reordering(&self, url: &str, reorders: bool) {
        self.with(url, |queue| queue.reorders = reorders);
    }

    /// Makes the next `count` entries of `SendMessageBatch` fail with `InternalError`, which is not the
    /// sender's fault.
    pub fn fail_entries(&self, url: &str, count: u32) {
        self.with(url, |queue| queue.failing_entries = count);
    }

    /// Waits until a queue has no message at all, neither visible nor delayed nor in flight. A queue that
    /// does not exist has none.
    pub async fn drained(&self, url: &str) {
        loop {
            let changed = self.0.changed.notified();
            if self.queues().get(url).is_none_or(Queue::is_empty) {
                return;
            }
            changed.await;
        }
    }

    /// Receives up to `most` messages; waits for the first one until `deadline`.
    pub(crate) async fn receive(
        &self,
        url: &str,
        most: usize,
        visibility_timeout: Option<Duration>,
        deadline: SystemTime,
    ) -> Result<Vec<Received>, ErrorReply> {
        loop {
            // From here on, no change is missed.
            let changed = self.changed();
            let received = self.try_receive(url, most, visibility_timeout)?;
            if !received.is_empty() || self.0.clock.now() >= deadline {
                return Ok(received);
            }
            let visible_at = self.next_visible_at(url);
            let until = visible_at.map_or(deadline, |at| at.min(deadline));
            tokio::select! {
                () = changed => {}
                () = self.0.clock.sleep_until(until) => {}
            }
        }
    }

    /// Receives up to `most` messages that are visible now, and moves dead ones to the dead-letter queue.
    pub(crate) fn try_receive(
        &self,
        url: &str,
        most: usize,
        visibility_timeout: Option<Duration>,
    ) -> Result<Vec<Received>, ErrorReply> {
        let now = self.0.clock.now();
        let mut queues = self.queues();
        if move_dead(&mut queues, url, now) {
            self.0.changed.notify_waiters();
        }
        let queue = queues.get_mut(url).ok_or_else(no_queue)?;
        let chosen = if queue.reorders {
            let mut visible: Vec<u64> = queue.visible(now).collect();
            self.shuffle(&mut visible, most);
            visible.truncate(most);
            visible
        } else {
            queue.visible(now).take(most).collect()
        };
        Ok(queue.receive(&chosen, visibility_timeout, now))
    }

    /// Stores a message and returns its ID.
    pub(super) fn store(&self, url: &str, draft: Draft) -> Result<String, ErrorReply> {
        let now = self.0.clock.now();
        let message = Stored {
            message_id: self.0.ids.uuid(),
            body: draft.body,
            sender: "AROAEXAMPLEROLEEXAMPLE:pca-revocation-watch".to_owned(),
            sent_at: now,
            visible_at: now + draft.delay,
            receive_count: 0,
            first_received_at: None,
            last_received_at: None,
            source_arn: None,
        };
        let message_id = message.message_id.clone();
        self.on(url, |queue| {
            queue.sent.push(message.view(now));
            if self.happens(queue.losses) {
                return;
            }
            if self.happens(queue.duplicates) {
                let mut copy = message.clone();
                let later = self.0.chances.number() % (LATEST_DUPLICATE + 1);
                copy.visible_at += Duration::from_millis(later);
                queue.add(copy);
            }
            queue.add(message);
        })?;
        self.0.changed.notify_waiters();
        Ok(message_id)
    }

    pub(crate) fn delete(&self, url: &str, receipt_handle: &str) -> Result<(), ErrorReply> {
        let receipt =
            Receipt::parse(receipt_handle).ok_or_else(|| super::errors::receipt(receipt_handle))?;
        self.on(url, |queue| queue.delete(receipt))?;
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// Returns a future that ends at the next change of any queue.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    /// Returns when the next message can be received; `None` if the queue has none or does not exist.
    pub(crate) fn next_visible_at(&self, url: &str) -> Option<SystemTime> {
        self.queues().get(url)?.next_visible_at()
    }

    pub(crate) fn region(&self) -> &str {
        &self.0.region
    }

    /// Returns the ARN of a queue; `None` if it does not exist.
    pub(crate) fn arn(&self, url: &str) -> Option<String> {
        self.queues().get(url).map(|queue| queue.arn.clone())
    }

    pub(super) fn on<T>(
        &self,
        url: &str,
        act: impl FnOnce(&mut Queue) -> T,
    ) -> Result<T, ErrorReply> {
        if let Some(queue) = self.queues().get_mut(url) {
            return Ok(act(queue));
        }
        let endpoint = format!("https://sqs.{}.amazonaws.com/", self.0.region);
        Err(if url.starts_with(&endpoint) {
            no_queue()
        } else {
            invalid_address(url)
        })
    }

    /// Moves random elements to the first `most` places.
    fn shuffle(&self, numbers: &mut [u64], most: usize) {
        for index in 0..most.min(numbers.len()) {
            let left = (numbers.len() - index) as u64;
            let chosen = usize::try_from(self.0.chances.number() % left).unwrap_or_default();
            numbers.swap(index, index + chosen);
        }
    }

    fn happens(&self, one_in: Option<u32>) -> bool {
        one_in.is_some_and(|one_in| {
            self.0
                .chances
                .number()
                .is_multiple_of(u64::from(one_in.max(1)))
        })
    }

    fn with<T>(&self, url: &str, act: impl FnOnce(&mut Queue) -> T) -> T {
        match self.queues().get_mut(url) {
            Some(queue) => act(queue),
            None => panic!("there is no queue {url}: create it first"),
        }
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<String, Queue>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves the messages that a receive would exceed `maxReceiveCount` for to the dead-letter queue, if that
/// exists. Returns whether there were any.
fn move_dead(queues: &mut BTreeMap<String, Queue>, url: &str, now: SystemTime) -> bool {
    let redrive = queues
        .get(url)
        .and_then(|queue| queue.settings.redrive.clone());
    let Some(redrive) = redrive.filter(|to| queues.contains_key(&to.dead_letter_queue_url)) else {
        return false;
    };
    let mut dead = Vec::new();
    if let Some(queue) = queues.get_mut(url) {
        while let Some(mut message) = queue.take_dead(now) {
            message.visible_at = now;
            message.last_received_at = None;
            message.source_arn = Some(queue.arn.clone());
            dead.push(message);
        }
    }
    let is_any = !dead.is_empty();
    if let Some(dead_letters) = queues.get_mut(&redrive.dead_letter_queue_url) {
        dead.into_iter()
            .for_each(|message| dead_letters.add(message));
    }
    is_any
}
