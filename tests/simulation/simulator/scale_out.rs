//! The audit queue of a world, and the event source mapping that invokes the function for its messages.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use local_aws::{EventSourceMapping, MappingSettings, QueueSettings, Redrive};
use pca_revocation_watch::audit_message::AuditMessage;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::random::random_options;
use super::world::{Ended, InvokeOptions, World};

const QUEUE: &str = "pca-revocation-watch-audits";
const QUEUE_URL: &str =
    "https://sqs.us-east-1.amazonaws.com/123456789012/pca-revocation-watch-audits";
const DEAD_LETTERS: &str = "pca-revocation-watch-dead-letters";
const DEAD_LETTERS_URL: &str =
    "https://sqs.us-east-1.amazonaws.com/123456789012/pca-revocation-watch-dead-letters";

/// Settings of the audit queue in template.yaml.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(930);
const MAX_RECEIVE_COUNT: u32 = 5;

/// Time after which every message of a schedule must be gone: it is over 15 minutes after the next
/// schedule, and five processes may have died with it.
const DRAINED_WITHIN: Duration = Duration::from_secs(3 * 3600);

/// What a world needs for scale-out besides the function.
pub struct ScaleOut {
    maximum_concurrency: usize,
    is_on: Cell<bool>,
    /// Draws the conditions of the workers; without it, they are those of [`InvokeOptions::default`].
    conditions: RefCell<Option<Rng>>,
    /// One message in so many is stored twice.
    duplicates: Cell<Option<u32>>,
    /// Whether messages are received in another order than that of their delays.
    reorders: Cell<bool>,
}

impl World {
    /// Creates an account with an audit queue. Scheduled runs of any number of CAs use it, unless
    /// `variables` say otherwise.
    pub fn scaled_out(
        seed: u64,
        certificate_authorities: usize,
        variables: &[(&str, &str)],
        maximum_concurrency: usize,
    ) -> Self {
        let mut all = vec![
            ("AUDIT_QUEUE_URL", QUEUE_URL),
            ("AUDIT_DEAD_LETTER_QUEUE_URL", DEAD_LETTERS_URL),
            ("MAX_INLINE_CERTIFICATE_AUTHORITIES", "0"),
            ("AUDIT_INTERVAL_MINUTES", "30"),
        ];
        all.extend(variables);
        let mut world = Self::new(seed, certificate_authorities, &all);
        world.scale_out = Some(ScaleOut {
            maximum_concurrency,
            is_on: Cell::new(true),
            conditions: RefCell::default(),
            duplicates: Cell::default(),
            reorders: Cell::default(),
        });
        let settings = QueueSettings::default();
        let dead_letters = world.aws.sqs().create_queue(DEAD_LETTERS, settings);
        assert_eq!(dead_letters, DEAD_LETTERS_URL);
        world.create_audit_queue();
        world
    }

    fn create_audit_queue(&self) {
        let settings = QueueSettings {
            visibility_timeout: VISIBILITY_TIMEOUT,
            redrive: Some(Redrive {
                dead_letter_queue_url: DEAD_LETTERS_URL.to_owned(),
                max_receive_count: MAX_RECEIVE_COUNT,
            }),
        };
        let url = self.aws.sqs().create_queue(QUEUE, settings);
        assert_eq!(url, QUEUE_URL);
    }

    /// Returns whether scheduled runs use the audit queue.
    pub fn is_scaled_out(&self) -> bool {
        let scale_out = self.scale_out.as_ref();
        scale_out.is_some_and(|scale_out| scale_out.is_on.get())
    }

    /// Does some work while the event source mapping invokes the function for messages of the audit
    /// queue. The work ends only when the queue is drained, or the mapping's invocations are cut off.
    pub async fn with_workers<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(scale_out) = &self.scale_out else {
            return work.await;
        };
        let settings = MappingSettings {
            maximum_concurrency: scale_out.maximum_concurrency,
            batch_size: 1,
            batching_window: Duration::ZERO,
        };
        let mapping = EventSourceMapping::new(&self.aws, QUEUE_URL, settings);
        // Boxed: the compiler limits how deep futures nest.
        let work = Box::pin(work);
        tokio::select! {
            biased;
            result = work => result,
            never = Box::pin(mapping.run(|payload| self.work(payload))) => never,
        }
    }

    /// Delivers messages of the audit queue.
    async fn work(&self, payload: Value) -> Result<Value, String> {
        let options = self.worker_conditions();
        match self.attempt(&payload, options, &self.request_id()).await {
            Ended::Returned(response) => Ok(response),
            Ended::Failed(error) => Err(error.error_message),
            Ended::Killed | Ended::TimedOut => Err("the process died".to_owned()),
        }
    }

    fn worker_conditions(&self) -> InvokeOptions {
        let scale_out = self.scale_out.as_ref();
        let mut conditions = scale_out.map(|scale_out| scale_out.conditions.borrow_mut());
        let rng = conditions.as_mut().and_then(|rng| rng.as_mut());
        rng.map(random_options).unwrap_or_default()
    }

    /// Gives each worker its own deadline and clock, stores some messages twice, and delivers messages in
    /// another order.
    pub fn disturb_workers(&self, rng: &mut Rng) {
        if let Some(scale_out) = &self.scale_out {
            scale_out.conditions.replace(Some(rng.fork()));
            let one_in = [None, Some(2), Some(7)][rng.usize(..3)];
            scale_out.duplicates.set(one_in);
            scale_out.reorders.set(rng.bool());
            self.disturb_deliveries(scale_out);
        }
    }

    fn disturb_deliveries(&self, scale_out: &ScaleOut) {
        let sqs = self.aws.sqs();
        sqs.set_duplicates(QUEUE_URL, scale_out.duplicates.get());
        sqs.set_reordering(QUEUE_URL, scale_out.reorders.get());
    }

    /// Ends what [`disturb_workers`](Self::disturb_workers) began; copies of messages and their order go on.
    pub fn stop_disturbing_workers(&self) {
        if let Some(scale_out) = &self.scale_out {
            scale_out.conditions.replace(None);
            self.disturb_sends(None, 0);
        }
    }

    /// Loses one sent message in so many, and refuses that many of the next messages of a batch.
    pub fn disturb_sends(&self, lose_one_in: Option<u32>, refused: u32) {
        if self.is_scaled_out() {
            self.aws.sqs().set_losses(QUEUE_URL, lose_one_in);
            self.aws.sqs().fail_entries(QUEUE_URL, refused);
        }
    }

    /// Deletes the audit queue with its messages, or creates it, as a stack update with the other value
    /// of the parameter `ScaleOut` does.
    pub fn switch_scale_out(&self, on: bool) {
        let Some(scale_out) = &self.scale_out else {
            return;
        };
        if scale_out.is_on.replace(on) == on {
            return;
        }
        match on {
            true => {
                self.create_audit_queue();
                self.disturb_deliveries(scale_out);
            }
            false => self.aws.sqs().delete_queue(QUEUE_URL),
        }
        self.replace_processes();
    }

    /// Loses all messages that wait in the audit queue.
    pub fn lose_messages(&self) {
        if self.is_scaled_out() {
            self.aws.sqs().purge(QUEUE_URL);
        }
    }

    /// Waits until the audit queue has no message at all; returns a violation if it keeps one.
    pub async fn drain(&self) -> Option<String> {
        if self.is_scaled_out() {
            let drained = self.aws.sqs().drained(QUEUE_URL);
            if timeout(DRAINED_WITHIN, drained).await.is_err() {
                let left = self.aws.sqs().messages(QUEUE_URL);
                return Some(format!("NOT DRAINED: {left:?}"));
            }
        }
        // The mapping knows that an invocation has ended a moment later.
        while self.active() > 0 {
            sleep(Duration::from_secs(1)).await;
        }
        None
    }

    /// Returns the bodies of the messages in the dead-letter queue.
    pub fn dead_letters(&self) -> Vec<String> {
        if self.scale_out.is_none() {
            return Vec::new();
        }
        let messages = self.aws.sqs().messages(DEAD_LETTERS_URL).into_iter();
        messages.map(|message| message.body).collect()
    }

    /// Returns the number of deliveries of messages that the audit queue had stored twice.
    pub(super) fn duplicates(&self) -> usize {
        let mut delivered = BTreeSet::new();
        let observed = self.observed();
        let messages = observed.runs.iter().map(|run| &run.payload["Records"][0]);
        let duplicates = messages.filter(|message| {
            let id = message["messageId"].as_str();
            // The message itself is received again only after its visibility timeout.
            let is_first_receive = message["attributes"]["ApproximateReceiveCount"] == "1";
            id.is_some_and(|id| !delivered.insert(id)) && is_first_receive
        });
        duplicates.count()
    }

    /// Returns whether an event is a message that compares the health document.
    pub(super) fn is_comparison(payload: &Value) -> bool {
        let body = payload["Records"][0]["body"].as_str().unwrap_or_default();
        let message = AuditMessage::read(body);
        matches!(message, Some(AuditMessage::CompareHealth { .. }))
    }
}
