//! Announces changes of the watch itself: CAs that start or leave, errors that begin or end, and
//! periodic summaries.
//!
//! One cause makes one message, whatever the number of CAs and runs. [`plan`] compares what CAs are like
//! with the health document, which says what was announced. The run that gets the document's lease
//! publishes, then records: a crash in between repeats a message with the same `id`. What is about to be
//! announced is in the document before, so that the end of an error is announced even then.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::arn::CertificateAuthorityArn;
use crate::audit::{AuditResult, Run};
use crate::budget::Budget;
use crate::error::{AuditError, ErrorKind, Remedy};
use crate::response::Outcome;
use crate::state::control::{CLOCK_TOLERANCE, Control, Lease};
use crate::state::health::{COMPARISON_TIMEOUT, HealthDocument};
use crate::state::store::{CONCURRENT_READS, VersionedHealth};
use crate::targets::Targets;

mod announce;
mod findings;
mod overdue;
mod plan;
mod status;
mod status_response;

use announce::Announcer;
use overdue::Overdue;
use plan::{Circumstances, Fact, Facts, Plan};

pub(crate) use status::status;

/// Maximum time to wait for the states that audits begin with.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that publishing leaves for recording what was published.
const RECORD_RESERVE: Duration = Duration::from_secs(5);

/// Maximum attempts to get the lease while other runs change the document.
const LEASE_ATTEMPTS: u32 = 3;

/// The announcements of one run.
pub(crate) struct Health<'a> {
    run: &'a Run<'a>,
    /// The whole time of the invocation: that of audits ends earlier.
    budget: Budget,
    targets: &'a Targets,
    /// `None` if S3 has not returned it.
    stored: Option<VersionedHealth>,
    /// The CAs that are watched; `None` if the run does not know all.
    watched: Option<BTreeSet<CertificateAuthorityArn>>,
    /// Whether it is unknown which messages SNS accepted, or that is not recorded: this run repeats none.
    is_unclear: bool,
    /// What could not be compared, published or recorded.
    pub warnings: Vec<String>,
}

impl<'a> Health<'a> {
    pub fn new(run: &'a Run<'a>, budget: Budget, targets: &'a Targets) -> Self {
        Self {
            run,
            budget,
            targets,
            stored: None,
            watched: is_full(run).then(|| targets.watched()),
            is_unclear: false,
            warnings: Vec::new(),
        }
    }

    /// Announces what earlier runs recorded and could not announce, while the audits begin with these
    /// `states`.
    pub async fn at_start(
        &mut self,
        mut states: UnboundedReceiver<(CertificateAuthorityArn, Option<Control>)>,
    ) {
        let until = self.budget.ending_within(START_TIMEOUT);
        let loaded = timeout_at(until, self.load()).await;
        let error = match loaded {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.message),
            Err(_) => Some("no response in time".to_owned()),
        };
        if let Some(error) = error {
            warn!(
                error,
                "health document not read; trying again at the end of the run"
            );
            return;
        }
        let mut facts = Facts::new();
        for _ in &self.targets.audits {
            match timeout_at(until, states.recv()).await {
                Ok(Some((arn, Some(control)))) => {
                    facts.insert(arn, Fact::Recorded(Box::new(control)));
                }
                Ok(Some((_, None))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.announce_in_time(facts, true).await;
    }

    /// Announces what this run's audits changed. Errors that turn out to need an operator are marked in
    /// the results.
    pub async fn at_end(&mut self, results: &mut [AuditResult]) {
        if self.is_unclear {
            return;
        }
        // The comparison at the start is repeated.
        self.warnings.clear();
        // A CA that is no longer watched has nothing to announce.
        let audited = |result: &&AuditResult| result.response.outcome != Outcome::Skipped;
        let facts = results.iter().filter(audited).map(|result| {
            let arn = result.response.certificate_authority_arn.clone();
            let fact = match (&result.control, &result.response.error) {
                (Some(control), _) => Fact::Recorded(Box::new(control.clone())),
                (None, Some(error)) if error.kind.remedy() == Remedy::Operator => {
                    Fact::Unrecorded(error.clone(), self.run.current_error(error))
                }
                (None, _) => Fact::Unknown,
            };
            (arn, fact)
        });
        let facts = facts.collect();
        let confirmed = self.announce_in_time(facts, false).await;
        for result in results {
            let response = &mut result.response;
            if confirmed.contains(&response.certificate_authority_arn) {
                response.error = response.error.take().map(AuditError::confirmed);
            }
        }
    }

    /// Announces in time; returns the CAs whose errors turned out to need an operator.
    async fn announce_in_time(
        &mut self,
        facts: Facts,
        is_start: bool,
    ) -> Vec<CertificateAuthorityArn> {
        let until = self.budget.ending_within(COMPARISON_TIMEOUT);
        let announced = timeout_at(until, self.announce(facts, is_start, until)).await;
        let announced = announced.unwrap_or_else(|_| {
            let message = "S3 or SNS did not respond in time";
            Err(AuditError::new(ErrorKind::Unavailable, message))
        });
        announced.unwrap_or_else(|error| {
            self.warn(format!(
                "could not announce monitoring changes: {error}. {}",
                error.hint
            ));
            Vec::new()
        })
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            warn!(warning, "monitoring changes not announced");
            self.warnings.push(warning);
        }
    }

    /// Reads the health document.
    async fn load(&mut self) -> Result<(), AuditError> {
        let stored = self.run.store.load_health().await?;
        if stored.health.confirmed_topic.as_ref() == Some(&self.run.config.topic_arn) {
            self.run.had_subscription().get_or_insert(true);
        }
        self.stored = Some(stored);
        Ok(())
    }

    async fn announce(
        &mut self,
        mut facts: Facts,
        is_start: bool,
        until: Instant,
    ) -> Result<Vec<CertificateAuthorityArn>, AuditError> {
        for _ in 0..LEASE_ATTEMPTS {
            let Some((mut stored, plan)) = self.compare(&mut facts, is_start).await? else {
                return Ok(Vec::new());
            };
            if !plan.announces() && plan.document == stored.health {
                return Ok(plan.confirmed);
            }
            if plan.announces() {
                self.check_topic(&mut stored).await?;
            }
            let confirmed = plan.confirmed.clone();
            let base = std::mem::replace(&mut stored.health, plan.document.clone());
            stored.health.lease = plan.announces().then(|| self.lease());
            match self.save(stored).await {
                Ok(()) => {
                    if plan.announces() {
                        self.publish(plan, &base, &facts, until).await?;
                    }
                    return Ok(confirmed);
                }
                Err(error) if error.kind == ErrorKind::StateConflict => {}
                Err(error) => return Err(error),
            }
        }
        info!("other runs changed the health document; the next run compares it");
        Ok(Vec::new())
    }

    /// Compares the facts with the document; returns the document that S3 has and what is to be
    /// announced. `None` if another run announces changes.
    async fn compare(
        &mut self,
        facts: &mut Facts,
        is_start: bool,
    ) -> Result<Option<(VersionedHealth, Plan)>, AuditError> {
        if self.stored.is_none() {
            self.load().await?;
        }
        let Some(stored) = self.stored.clone() else {
            return Ok(None);
        };
        let request_id = &self.run.invocation.request_id;
        let now = self.run.budget.now();
        if let Some(holder) = stored.health.other_holder(request_id, now) {
            let holder = &holder.request_id;
            info!(holder, "another run announces monitoring changes");
            return Ok(None);
        }
        self.reread(facts, &unknown(facts)).await;
        let mut plan = self.plan(&stored.health, facts, is_start);
        if !plan.changed.is_empty() || !plan.stopped.is_empty() {
            // Other runs may have audited these CAs since, and a CA that the first list lacked may be in
            // the second.
            self.reread(facts, &plan.changed).await;
            if !plan.stopped.is_empty() {
                self.relist(&plan.stopped).await;
            }
            plan = self.plan(&stored.health, facts, is_start);
        }
        for error in &plan.silenced {
            self.warn(format!("{}: {}. {}", error.kind, error.message, error.hint));
        }
        Ok(Some((stored, plan)))
    }

    /// Fails if the topic surely has no confirmed subscription; the document then no longer says that it
    /// had one.
    async fn check_topic(&mut self, stored: &mut VersionedHealth) -> Result<(), AuditError> {
        let Some(error) = self.run.publisher.undeliverable().await else {
            return Ok(());
        };
        *self.run.had_subscription() = Some(false);
        if stored.health.confirmed_topic.take().is_some() {
            self.save(stored.clone()).await?;
        }
        Err(error)
    }

    /// With `*`, lists the CAs again and adds those of these CAs that are still watched. Without a second
    /// list, it is unknown which CAs left.
    async fn relist(&mut self, stopped: &BTreeSet<CertificateAuthorityArn>) {
        if self.targets.listed.is_none() {
            return;
        }
        match self.targets.relist(self.run, self.budget, stopped).await {
            Ok(there) => {
                if let Some(watched) = &mut self.watched {
                    watched.extend(there);
                }
            }
            Err(error) => {
                self.watched = None;
                self.warn(format!(
                    "could not check which CAs left; the next run tries again: {error}"
                ));
            }
        }
    }

    /// Publishes what is to be announced, and records what was.
    async fn publish(
        &mut self,
        plan: Plan,
        base: &HealthDocument,
        facts: &Facts,
        until: Instant,
    ) -> Result<(), AuditError> {
        let mut announcer = Announcer {
            run: self.run,
            targets: self.targets,
            facts,
            plan,
            base,
            until: until - RECORD_RESERVE,
            warnings: Vec::new(),
            is_unclear: false,
        };
        // Until it is recorded, it is unknown what was published.
        self.is_unclear = true;
        announcer.publish().await;
        let is_unclear = announcer.is_unclear;
        let (mut document, warnings) = (announcer.plan.document, announcer.warnings);
        warnings.into_iter().for_each(|warning| self.warn(warning));
        let Some(mut stored) = self.stored.take() else {
            return Ok(());
        };
        self.set_confirmed_topic(&mut document);
        stored.health.replace_content(document);
        self.save(stored).await?;
        self.is_unclear = is_unclear;
        Ok(())
    }

    /// Writes the document, unless another run changed it.
    async fn save(&mut self, mut stored: VersionedHealth) -> Result<(), AuditError> {
        self.stored = None;
        let nonce = &self.run.invocation.nonce;
        self.run.store.save_health(&mut stored, nonce).await?;
        self.stored = Some(stored);
        Ok(())
    }

    fn plan(&self, document: &HealthDocument, facts: &Facts, is_start: bool) -> Plan {
        let (run, config) = (self.run, self.run.config);
        let is_end_of_full_run = is_full(run) && !is_start;
        let overdue = AuditError::new(ErrorKind::ReportOverdue, "");
        let resource = run.affected_resource(&overdue).unwrap_or_default();
        let overdue = Overdue {
            now: run.budget.now(),
            audit_interval: config.audit_interval,
            report_interval: config.report_interval,
            resource: &resource,
        };
        let mut plan = Plan::new(
            document,
            facts,
            Circumstances {
                now: run.budget.now(),
                request_id: &run.invocation.request_id,
                report_interval: config.report_interval,
                initial_lookback: config.initial_lookback,
                topic_arn: &config.topic_arn,
                is_start,
                began: run.budget.began(),
                watched: self.watched.as_ref().filter(|_| is_end_of_full_run),
                summary_interval: config.summary_interval.filter(|_| is_end_of_full_run),
                overdue: is_end_of_full_run.then_some(overdue),
            },
        );
        self.set_confirmed_topic(&mut plan.document);
        plan
    }

    fn set_confirmed_topic(&self, document: &mut HealthDocument) {
        if let Some(is_confirmed) = *self.run.had_subscription() {
            let topic = &self.run.config.topic_arn;
            document.confirmed_topic = is_confirmed.then(|| topic.clone());
        }
    }

    /// Returns a lease on the document, for as long as announcing may take.
    fn lease(&self) -> Lease {
        let (now, invocation) = (self.run.budget.now(), self.run.invocation);
        Lease {
            request_id: invocation.request_id.clone(),
            nonce: invocation.nonce.clone(),
            until: now.saturating_add(COMPARISON_TIMEOUT + CLOCK_TOLERANCE),
        }
    }

    /// Reads the control documents of these CAs again, unless they cannot record the CA's error.
    async fn reread(&self, facts: &mut Facts, arns: &BTreeSet<CertificateAuthorityArn>) {
        let is_recorded =
            |arn: &&CertificateAuthorityArn| !matches!(facts.get(*arn), Some(Fact::Unrecorded(..)));
        let arns: Vec<_> = arns.iter().filter(is_recorded).collect();
        let read: Vec<_> = stream::iter(arns)
            .map(|arn| async move {
                (
                    arn,
                    self.run
                        .store
                        .load_in_time(arn, self.run.budget.now())
                        .await,
                )
            })
            .buffered(CONCURRENT_READS)
            .collect()
            .await;
        for (arn, state) in read {
            match state {
                Ok(state) => {
                    facts.insert(arn.clone(), Fact::Recorded(Box::new(state.control)));
                }
                Err(error) => warn!(
                    certificate_authority = arn.id(),
                    error = error.message,
                    "state not read again"
                ),
            }
        }
    }
}

/// Whether a run covers every CA.
fn is_full(run: &Run<'_>) -> bool {
    run.request.certificate_authorities.is_none()
}

fn unknown(facts: &Facts) -> BTreeSet<CertificateAuthorityArn> {
    let unknown = facts
        .iter()
        .filter(|(_, fact)| matches!(fact, Fact::Unknown));
    unknown.map(|(arn, _)| arn.clone()).collect()
}
