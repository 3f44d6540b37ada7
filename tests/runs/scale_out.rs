//! Scheduled runs of many CAs, which send one message per CA to the audit queue, and the invocations that
//! work on the messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::account::many::{BUCKET, Queues, outcomes};
use crate::account::{InProcess, TIMEOUT};
use crate::common::text;
use local_aws::{
    EventSourceMapping, Fault, LocalAws, MappingSettings, On, Outcome, Protocol, Service, Status,
    Subscription,
};
use pca_revocation_watch::audit_message::AuditMessage;
use pca_revocation_watch::config::Config;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

const PERIOD: Duration = Duration::from_secs(1800);

/// An account with an audit queue, and the function.
struct Fleet {
    aws: LocalAws,
    topic: String,
    queue: String,
    dead_letters: String,
    cas: Vec<String>,
    function: InProcess,
}

impl Fleet {
    /// More than two CAs are dispatched.
    fn new(cas: usize) -> Self {
        Self::with(cas, &[("MAX_INLINE_CERTIFICATE_AUTHORITIES", "2")])
    }

    /// Sets variables of the function's environment. Each CA has issued a certificate; its reports take
    /// 20 seconds.
    fn with(cas: usize, variables: &[(&str, &str)]) -> Self {
        let aws = LocalAws::new();
        aws.s3().create_bucket(BUCKET);
        let topic = aws.sns().create_topic("revocations");
        let subscription = Subscription::new(Protocol::Sqs, "somebody");
        let subscribed = aws.sns().subscribe(&topic, subscription);
        subscribed.expect("a standard topic");
        let Queues {
            audits: queue,
            dead_letters,
        } = Queues::create(&aws);
        let pca = aws.private_ca();
        pca.set_reports(|reports| reports.delay = Duration::from_secs(20));
        let mut cas: Vec<_> = (0..cas)
            .map(|number| pca.create(&format!("Example Corp CA {number}")))
            .collect();
        cas.sort();
        for ca in &cas {
            pca.issue(ca, "www.example.com");
        }
        let mut environment = vec![("AUDIT_QUEUE_URL", queue.as_str())];
        environment.push(("AUDIT_DEAD_LETTER_QUEUE_URL", &dead_letters));
        environment.extend(variables);
        let function = function(&aws, &topic, &environment);
        Self {
            aws,
            topic,
            queue,
            dead_letters,
            cas,
            function,
        }
    }

    /// Replaces the function by one with other variables.
    fn deploy(&mut self, variables: &[(&str, &str)]) {
        self.function = function(&self.aws, &self.topic, variables);
    }

    /// Issues and revokes a certificate of each CA.
    fn revoke_one_of_each(&self) {
        let pca = self.aws.private_ca();
        for ca in &self.cas {
            let serial = pca.issue(ca, "new.example.com");
            pca.revoke(ca, &serial, "KEY_COMPROMISE");
        }
    }

    /// Returns the schedule's event of now.
    fn scheduled(&self) -> Value {
        json!({
            "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": "{}",
            "time": Timestamp::from(self.aws.clock().now()),
        })
    }

    /// Sends the schedule's event.
    async fn dispatch(&self) -> Value {
        let dispatched = self.function.invoke(self.scheduled()).await;
        dispatched.expect("a scheduled run")
    }

    /// Works on the messages of the queue with five workers until there are none.
    async fn drain(&self) {
        self.drain_without_audits_of(&[]).await;
    }

    /// Like [`drain`](Self::drain); messages that ask for audits of these CAs are lost.
    async fn drain_without_audits_of(&self, lost: &[&str]) {
        let settings = MappingSettings {
            maximum_concurrency: 5,
            batch_size: 1,
            batching_window: Duration::ZERO,
        };
        let mapping = EventSourceMapping::new(&self.aws, &self.queue, settings);
        let workers = mapping.run(async |event| {
            let body = text(&event["Records"][0]["body"]);
            if lost.iter().any(|ca| body.contains(ca)) {
                return Ok(json!({ "batchItemFailures": [] }));
            }
            let worked = self.function.invoke(event).await;
            worked.map_err(|error| error.error_message)
        });
        tokio::select! {
            never = workers => never,
            () = self.aws.sqs().drained(&self.queue) => {}
        }
    }

    /// Invokes the function with messages; returns the IDs of those that return to the queue.
    async fn deliver(&self, bodies: &[String]) -> Vec<String> {
        self.deliver_for(bodies, TIMEOUT).await
    }

    /// Like [`deliver`](Self::deliver), with this much time until Lambda's deadline.
    async fn deliver_for(&self, bodies: &[String], left: Duration) -> Vec<String> {
        let now = self.aws.clock().now();
        let sent_at = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        let sent_at = sent_at.as_millis().to_string();
        let records = bodies.iter().enumerate().map(|(number, body)| {
            json!({
                "messageId": number.to_string(), "body": body, "eventSource": "aws:sqs",
                "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": sent_at },
            })
        });
        let batch = json!({ "Records": records.collect::<Vec<_>>() });
        let response = self.function.invoke_for(batch, left).await;
        let response = response.expect("a batch response");
        let failures = response["batchItemFailures"].as_array().expect("a list");
        let ids = failures
            .iter()
            .map(|failure| text(&failure["itemIdentifier"]));
        ids.collect()
    }

    /// Returns the message that audits a CA, of a schedule of now.
    fn audit(&self, ca: &str, waits: u32, failures: u32) -> String {
        audit(self.now(), ca, waits, failures)
    }

    /// Returns the message that compares the health document, due in that many seconds.
    fn comparison(&self, seconds: u64) -> String {
        let message = AuditMessage::CompareHealth {
            scheduled_at: self.now(),
            not_before: self.now().saturating_add(Duration::from_secs(seconds)),
            failures: 0,
        };
        message.to_json()
    }

    /// Returns the message that dispatches all CAs.
    fn continuation(&self) -> String {
        let ids = self.cas.iter().map(|ca| id(ca));
        let message = AuditMessage::Dispatch {
            scheduled_at: self.now(),
            certificate_authority_ids: ids.map(str::to_owned).collect(),
            failures: 0,
        };
        message.to_json()
    }

    /// Returns the event of a revocation of a CA.
    fn event(&self, ca: &str, serial: &str) -> String {
        let event = json!({
            "source": "aws.acm-pca", "detail-type": "ACM Private CA Certificate Revocation",
            "resources": [ca, format!("{ca}/certificate/{serial}")],
            "detail": { "result": "success" },
        });
        event.to_string()
    }

    /// Audits each CA, at intervals of ten seconds and not in the order of the ARNs, until reports of all
    /// may be requested again; returns the order. Later reports take no time.
    async fn audit_in_another_order(&self) -> Vec<String> {
        let pca = self.aws.private_ca();
        pca.set_reports(|reports| reports.delay = Duration::ZERO);
        let mut order = self.cas.clone();
        order.reverse();
        order.rotate_left(5);
        for ca in &order {
            self.deliver(&[self.audit(ca, 0, 0)]).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(self.requested(), order);
        tokio::time::sleep(PERIOD).await;
        self.aws.forget_calls();
        order
    }

    /// Denies all calls of SQS.
    fn deny_sqs(&self) {
        let denied = Fault::access_denied(Service::Sqs);
        self.aws.inject(On::service(Service::Sqs).always(), denied);
    }

    /// Refuses the message that follows the audits of a dispatch.
    fn refuse_follow_up(&self) {
        let is_follow_up = |call: &local_aws::Call| {
            let entries = call.parameters.get("Entries");
            entries.is_some_and(|entries| entries.contains("compareHealth"))
        };
        let sends = On::operation("SendMessageBatch").when(is_follow_up);
        let denied = Fault::access_denied(Service::Sqs);
        self.aws.inject(sends.always(), denied);
    }

    /// Returns the messages that were sent to a queue, with their delays in seconds.
    fn sent_to(&self, queue: &str) -> Vec<(AuditMessage, u64)> {
        let sent = self.aws.sqs().sent(queue).into_iter();
        let sent = sent.map(|sent| {
            let delay = sent.visible_at.duration_since(sent.sent_at).unwrap();
            let message = AuditMessage::read(&sent.body).expect("one of ours");
            (message, delay.as_secs())
        });
        sent.collect()
    }

    fn sent(&self) -> Vec<(AuditMessage, u64)> {
        self.sent_to(&self.queue)
    }

    /// Returns the CAs that messages asking for an audit were sent for, in the order of their delays.
    fn queued(&self) -> Vec<String> {
        let mut sent = self.sent();
        sent.sort_by_key(|(_, delay)| *delay);
        let audits = sent.into_iter().filter_map(|(message, _)| match message {
            AuditMessage::Audit {
                certificate_authority_arn,
                ..
            } => Some(certificate_authority_arn.to_string()),
            _ => None,
        });
        audits.collect()
    }

    fn control(&self, ca: &str) -> Option<Value> {
        let key = format!("revocation-watch/{}.json", id(ca));
        let bytes = self.aws.s3().get(BUCKET, &key)?;
        Some(serde_json::from_slice(&bytes).expect("a control document is JSON"))
    }

    /// Returns the CAs whose last complete audit is of a report requested at or after this time.
    fn audited_since(&self, since: Timestamp) -> Vec<String> {
        let audited = self.cas.iter().filter(|ca| {
            let control = self.control(ca).unwrap_or_default();
            let at = control["lastCompleteAudit"]["requestedAt"].as_str();
            at.and_then(Timestamp::parse).is_some_and(|at| at >= since)
        });
        audited.cloned().collect()
    }

    /// Returns the published messages, oldest first, and forgets them.
    fn messages(&self) -> Vec<Value> {
        let deliveries = self.aws.sns().deliveries().into_iter();
        let messages = deliveries.map(|one| serde_json::from_str(&one.text).unwrap());
        let messages = messages.collect();
        self.aws.sns().forget_messages();
        messages
    }

    /// Returns the number of published messages by type, and forgets them.
    fn types(&self) -> BTreeMap<String, usize> {
        let mut types = BTreeMap::new();
        for message in self.messages() {
            *types.entry(text(&message["type"])).or_default() += 1;
        }
        types
    }

    /// Returns the number of reports that were requested, without requests that were throttled or refused.
    fn requests(&self) -> usize {
        self.requested().len()
    }

    /// Returns the CAs of the requested reports, in the order of the requests that were neither throttled
    /// nor refused.
    fn requested(&self) -> Vec<String> {
        let requests = self.aws.calls_of("CreateCertificateAuthorityAuditReport");
        let accepted = requests.into_iter().filter(|call| call.status == Some(200));
        accepted
            .filter_map(|call| call.certificate_authority_arn)
            .collect()
    }

    fn now(&self) -> Timestamp {
        self.aws.clock().now().into()
    }
}

fn audit(scheduled_at: Timestamp, ca: &str, waits: u32, failures: u32) -> String {
    let message = json!({
        "type": "audit", "scheduledAt": scheduled_at, "certificateAuthorityArn": ca,
        "waits": waits, "failures": failures,
    });
    message.to_string()
}

fn id(ca: &str) -> &str {
    ca.rsplit('/').next().expect("an ARN has an ID")
}

fn sorted(cas: &[String]) -> Vec<String> {
    let mut sorted = cas.to_vec();
    sorted.sort();
    sorted
}

fn function(aws: &LocalAws, topic: &str, variables: &[(&str, &str)]) -> InProcess {
    let config = Config::from_lookup(|name| {
        let overriding = variables.iter().rev().find(|(key, _)| *key == name);
        let value = match name {
            _ if overriding.is_some() => overriding?.1,
            "AWS_REGION" => "us-east-1",
            "AWS_ENDPOINT_URL" => "http://localhost",
            "CERTIFICATE_AUTHORITY_ARNS" => "*",
            "REPORT_BUCKET" => BUCKET,
            "TOPIC_ARN" => topic,
            _ => return None,
        };
        Some(value.to_owned())
    });
    InProcess::new(aws, config.expect("a configuration"))
}

fn count(types: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let types = types.iter();
    types
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn schedule_of_30_cas_is_worked_off_by_five_workers() {
    let fleet = Fleet::with(30, &[]);
    let slow = Fault::Late(Duration::from_millis(40));
    fleet.aws.inject(On::any().always(), slow);
    let scheduled_at = fleet.now();

    let dispatched = fleet.dispatch().await;

    assert_eq!(outcomes(&dispatched), count(&[("queued", 30)]));
    assert_eq!(dispatched["status"], "ok");
    assert_eq!(fleet.requests(), 0);
    let sent = fleet.sent();
    assert_eq!(sent.len(), 31);
    let delays: BTreeSet<u64> = sent.iter().map(|(_, delay)| *delay).collect();
    assert_eq!(delays.len(), 31, "each has its own second: {delays:?}");
    assert!(
        sent.iter()
            .all(|(message, _)| message.scheduled_at() == scheduled_at)
    );
    assert_eq!(fleet.queued(), fleet.cas);

    fleet.drain().await;

    assert_eq!(fleet.audited_since(scheduled_at), fleet.cas);
    assert_eq!(fleet.requests(), 30);
    let requests = fleet.aws.calls_of("CreateCertificateAuthorityAuditReport");
    assert_eq!(requests.len(), 30, "none was throttled or refused");
    assert_eq!(fleet.types(), count(&[("watch-started", 1)]));
    assert_eq!(fleet.aws.sqs().messages(&fleet.dead_letters), []);
}

#[tokio::test(start_paused = true)]
async fn next_schedule_notifies_about_each_revocation_once() {
    let fleet = Fleet::new(15);
    fleet.dispatch().await;
    fleet.drain().await;
    fleet.types();
    fleet.revoke_one_of_each();
    fleet.aws.sqs().set_duplicates(&fleet.queue, Some(2));
    tokio::time::sleep(PERIOD).await;
    let scheduled_at = fleet.now();

    fleet.dispatch().await;
    fleet.drain().await;

    assert_eq!(fleet.audited_since(scheduled_at), fleet.cas);
    assert_eq!(fleet.types(), count(&[("revocations", 15)]));
}

/// Lambda's retry has the same event. Messages of another time would be superseded before their work.
#[tokio::test(start_paused = true)]
async fn messages_have_the_plausible_time_of_the_event() {
    let fleet = Fleet::with(
        3,
        &[
            ("MAX_INLINE_CERTIFICATE_AUTHORITIES", "2"),
            ("AUDIT_INTERVAL_MINUTES", "60"),
        ],
    );
    let now = fleet.now();
    let ago = |seconds| json!(now.saturating_sub(Duration::from_secs(seconds)));
    let ahead = |seconds| json!(now.saturating_add(Duration::from_secs(seconds)));
    for (time, is_plausible) in [
        (ago(0), true),
        (ago(90), true),
        (ago(3600), true),
        (ago(3601), false),
        (ahead(30), true),
        (ahead(31), false),
        (ahead(3600), false),
        (json!("yesterday"), false),
        (Value::Null, false),
    ] {
        let mut event = fleet.scheduled();
        event["time"] = time.clone();
        fleet.function.invoke(event).await.unwrap();

        let expected = if is_plausible {
            time.clone()
        } else {
            json!(now)
        };
        let sent = fleet.sent();
        assert_eq!(sent.len(), 4, "{time}");
        for (message, _) in sent {
            assert_eq!(json!(message.scheduled_at()), expected, "{time}");
        }
        fleet.aws.sqs().forget_sent(&fleet.queue);
    }
}

#[tokio::test(start_paused = true)]
async fn few_cas_and_manual_runs_stay_inline() {
    let fleet = Fleet::with(3, &[("MAX_INLINE_CERTIFICATE_AUTHORITIES", "3")]);
    assert_eq!(outcomes(&fleet.dispatch().await), count(&[("audited", 3)]));
    let more = Fleet::with(3, &[("MAX_INLINE_CERTIFICATE_AUTHORITIES", "2")]);
    let manual = more.function.invoke(json!({})).await.unwrap();
    assert_eq!(outcomes(&manual), count(&[("audited", 3)]));
    assert_eq!((fleet.sent(), more.sent()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn message_that_comes_too_soon_returns_when_the_limit_ends() {
    let fleet = Fleet::new(1);
    let ca = &fleet.cas[0];
    fleet.deliver(&[fleet.audit(ca, 0, 0)]).await;
    fleet.drain().await;
    fleet.aws.sqs().forget_sent(&fleet.queue);
    let requested_at = fleet.control(ca).unwrap()["lastRequestedAt"].clone();
    let requested_at = Timestamp::parse(&text(&requested_at)).unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let scheduled_at = fleet.now();
    let early = scheduled_at.since(requested_at);

    let kept = fleet.deliver(&[fleet.audit(ca, 2, 1)]).await;

    assert_eq!(kept, [""; 0]);
    let sent = fleet.sent();
    assert_eq!(sent[0].1, 900, "the most that SQS allows");
    assert_eq!(sent[0].0.to_json(), fleet.audit(ca, 2, 1));
    fleet.drain().await;
    let delays: Vec<_> = fleet.sent().iter().map(|(_, delay)| *delay).collect();
    let rest = (PERIOD - early).as_secs() - 900;
    assert!((rest - 1..=rest).contains(&delays[1]), "{delays:?}");
    assert_eq!(fleet.audited_since(scheduled_at), fleet.cas);
    assert_eq!(fleet.requests(), 2);
}

/// A late delivery or a cold start must not bring two requests too close together.
#[tokio::test(start_paused = true)]
async fn report_is_requested_at_the_exact_time_of_its_slot() {
    let fleet = Fleet::new(1);
    let message = json!({
        "type": "audit", "scheduledAt": fleet.now(), "certificateAuthorityArn": fleet.cas[0],
        "waits": 0, "failures": 0, "slotMillis": 1550,
    });
    let sent_at = fleet.aws.clock().now();

    fleet.deliver(&[message.to_string()]).await;

    let requests = fleet.aws.calls_of("CreateCertificateAuthorityAuditReport");
    let waited = requests[0].at.duration_since(sent_at).unwrap();
    let slot = Duration::from_millis(1550);
    assert!(waited + Duration::from_millis(2) >= slot, "{waited:?}");
    assert!(waited < slot + Duration::from_millis(10), "{waited:?}");
    let AuditMessage::Audit { slot_millis, .. } = fleet.sent()[0].0 else {
        panic!()
    };
    assert_eq!(slot_millis, None, "it was for the first attempt");
}

#[tokio::test(start_paused = true)]
async fn report_is_looked_for_less_and_less_often() {
    let fleet = Fleet::new(1);
    let pca = fleet.aws.private_ca();
    pca.set_reports(|reports| reports.delay = Duration::from_secs(1200));
    let scheduled_at = fleet.now();

    fleet.deliver(&[fleet.audit(&fleet.cas[0], 0, 0)]).await;
    fleet.drain().await;

    let sent = fleet.sent();
    let delays: Vec<_> = sent.iter().map(|(_, delay)| *delay).collect();
    assert_eq!(delays, [15, 30, 60, 120, 300, 300, 300, 300]);
    for (number, (message, _)) in sent.iter().enumerate() {
        let AuditMessage::Audit {
            waits, failures: 0, ..
        } = message
        else {
            panic!("{message:?}")
        };
        assert_eq!(*waits as usize, number + 1);
    }
    assert_eq!(fleet.audited_since(scheduled_at), fleet.cas);
}

#[tokio::test(start_paused = true)]
async fn retry_of_a_dispatch_requests_no_report_twice() {
    const CAS: usize = 100;
    let fleet = Fleet::new(CAS);
    let (scheduled, scheduled_at) = (fleet.scheduled(), fleet.now());
    fleet.function.invoke(scheduled.clone()).await.unwrap();
    let retried = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let requested = fleet.requests();
        assert!((50..60).contains(&requested), "{requested}");
        fleet.aws.sqs().forget_sent(&fleet.queue);
        fleet.function.invoke(scheduled).await.unwrap();
        let queued: BTreeSet<_> = fleet.queued().into_iter().collect();
        assert_eq!(queued.into_iter().collect::<Vec<_>>(), fleet.cas);
    };
    tokio::join!(retried, fleet.drain());

    let calls = fleet.aws.calls_of("CreateCertificateAuthorityAuditReport");
    let of_cas: BTreeSet<_> = calls
        .iter()
        .map(|call| &call.certificate_authority_arn)
        .collect();
    assert_eq!((fleet.requests(), of_cas.len()), (CAS, CAS));
    let throttled = calls.len() - CAS;
    assert!(
        throttled * 100 < calls.len(),
        "{throttled} of {}",
        calls.len()
    );
    assert_eq!(fleet.audited_since(scheduled_at), fleet.cas);
    // The second dispatch announces what was audited by then, the comparison the others.
    let mut announced = Vec::new();
    for message in fleet.messages() {
        assert_eq!(message["type"], "watch-started");
        let arns = message["certificateAuthorityArns"].as_array().unwrap();
        announced.extend(arns.iter().map(text));
    }
    announced.sort();
    assert_eq!(announced, fleet.cas);
}

#[tokio::test(start_paused = true)]
async fn dispatch_audits_inline_what_it_cannot_send() {
    for what in ["missing", "denied", "wrong URL", "malformed URL"] {
        let mut fleet = Fleet::new(5);
        let url = match what {
            "wrong URL" => "https://sqs.us-east-1.amazonaws.com/123456789012/other",
            "malformed URL" => "sqs audits",
            _ => &fleet.queue.clone(),
        };
        match what {
            "missing" => fleet.aws.sqs().delete_queue(&fleet.queue),
            "denied" => fleet.deny_sqs(),
            _ => fleet.deploy(&[
                ("MAX_INLINE_CERTIFICATE_AUTHORITIES", "2"),
                ("AUDIT_QUEUE_URL", url),
                ("AUDIT_DEAD_LETTER_QUEUE_URL", &fleet.dead_letters.clone()),
            ]),
        }

        let dispatched = fleet.dispatch().await;

        assert_eq!(outcomes(&dispatched), count(&[("audited", 5)]), "{what}");
        assert_eq!(fleet.types(), count(&[("watch-started", 1)]), "{what}");
        let warnings = dispatched["warnings"].as_array().expect("warnings");
        assert_eq!(warnings.len(), 1, "{what}: {warnings:?}");
        let warning = text(&warnings[0]);
        for part in [
            "the audits of 5 CAs",
            "SendMessageBatch failed for",
            url,
            "AUDIT_QUEUE_URL",
            "sqs:SendMessage",
        ] {
            assert!(warning.contains(part), "{what}: {part} in {warning}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_fail_are_sent_again() {
    let fleet = Fleet::new(25);
    fleet.aws.sqs().fail_entries(&fleet.queue, 7);

    let dispatched = fleet.dispatch().await;

    assert_eq!(outcomes(&dispatched), count(&[("queued", 25)]));
    assert_eq!(dispatched["warnings"], Value::Null);
    assert_eq!(fleet.queued(), fleet.cas);
}

#[tokio::test(start_paused = true)]
async fn oldest_audits_that_cannot_be_sent_are_made_inline() {
    let fleet = Fleet::new(15);
    // Four attempts of the first batch.
    let first = fleet.cas[0].clone();
    let refuse = move |call: &local_aws::Call| {
        call.parameters
            .get("Entries")
            .is_some_and(|entries| entries.contains(&first))
    };
    fleet.aws.inject(
        On::operation("SendMessageBatch").when(refuse).always(),
        Fault::error(500, "InternalError", "please try again"),
    );

    let dispatched = fleet.dispatch().await;

    assert_eq!(
        outcomes(&dispatched),
        count(&[("audited", 10), ("queued", 5)])
    );
    let mut queued = fleet.queued();
    queued.sort();
    assert_eq!(queued, fleet.cas[10..]);
    assert!(text(&dispatched["warnings"][0]).contains("the audits of 10 CAs"));
    let scheduled_at = fleet.now();
    assert_eq!(fleet.types(), count(&[("watch-started", 1)]));
    fleet.drain().await;
    assert!(fleet.audited_since(scheduled_at).len() >= 5);
    assert_eq!(fleet.requests(), 15);
}

#[tokio::test(start_paused = true)]
async fn inline_audits_of_a_dispatch_begin_with_the_oldest_request() {
    let fleet = Fleet::new(12);
    let order = fleet.audit_in_another_order().await;
    fleet.deny_sqs();

    let dispatched = fleet.dispatch().await;

    assert_eq!(outcomes(&dispatched), count(&[("audited", 12)]));
    assert_eq!(fleet.requested(), order);
}

#[tokio::test(start_paused = true)]
async fn dispatch_without_time_for_all_audits_the_oldest() {
    let fleet = Fleet::new(12);
    let order = fleet.audit_in_another_order().await;
    fleet.deny_sqs();
    let (scheduled, scheduled_at) = (fleet.scheduled(), fleet.now());

    let left = Duration::from_secs(20);
    let dispatched = fleet.function.invoke_for(scheduled.clone(), left).await;

    // One request per second, and 10 of these seconds are for the state and the response.
    let (audited, others) = order.split_at(8);
    assert_eq!(fleet.requested(), audited);
    assert_eq!(fleet.audited_since(scheduled_at), sorted(audited));
    // Lambda retries it.
    let error = dispatched.unwrap_err();
    assert_eq!(error.error_type, "AuditsFailed");
    let message = error.error_message;
    assert!(message.starts_with("4 of 12 CAs failed"), "{message}");
    for ca in others {
        let failed = format!("{}: OutOfTime: no time was left", id(ca));
        assert!(message.contains(&failed), "{failed} in {message}");
    }
    assert_eq!(fleet.types(), count(&[("watch-started", 1)]));
    tokio::time::sleep(Duration::from_secs(60)).await;

    let retried = fleet.function.invoke(scheduled).await.unwrap();

    let expected = count(&[("audited", 4), ("tooSoon", 8)]);
    assert_eq!(outcomes(&retried), expected);
    assert_eq!(fleet.requested(), order);
    assert_eq!(fleet.types(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_end_in_the_dead_letter_queue() {
    let fleet = Fleet::new(1);
    fleet.aws.inject(
        On::operation("GetObject")
            .key_contains("audit-report/")
            .always(),
        Fault::error(500, "InternalError", "please try again"),
    );

    fleet.deliver(&[fleet.audit(&fleet.cas[0], 0, 0)]).await;
    fleet.drain().await;

    let failures = |messages: &[(AuditMessage, u64)]| -> Vec<(u32, u64)> {
        let failures = messages
            .iter()
            .filter_map(|(message, delay)| match message {
                AuditMessage::Audit { failures, .. } if *failures > 0 => Some((*failures, *delay)),
                _ => None,
            });
        failures.collect()
    };
    let sent = fleet.sent();
    assert_eq!(failures(&sent), [(1, 60), (2, 120), (3, 240), (4, 480)]);
    assert_eq!(failures(&fleet.sent_to(&fleet.dead_letters)), [(5, 0)]);
}

#[tokio::test(start_paused = true)]
async fn listing_that_fails_counts_as_a_failed_attempt() {
    let fleet = Fleet::new(1);
    fleet.aws.inject(
        On::operation("ListCertificateAuthorities").times(10),
        Fault::error(500, "InternalFailure", "please try again"),
    );
    let (scheduled_at, ca) = (fleet.now(), &fleet.cas[0]);

    let kept = fleet.deliver(&[audit(scheduled_at, ca, 1, 0)]).await;

    assert_eq!(kept, [""; 0]);
    let sent = fleet.sent();
    assert_eq!(sent.len(), 1);
    let expected = audit(scheduled_at, ca, 1, 1);
    assert_eq!((sent[0].0.to_json(), sent[0].1), (expected, 60));
}

#[tokio::test(start_paused = true)]
async fn message_stays_if_none_can_be_sent_in_its_place() {
    let fleet = Fleet::new(2);
    fleet.aws.inject(
        On::operation("SendMessage").always(),
        Fault::access_denied(Service::Sqs),
    );
    // Both reports take 20 seconds.
    let audits: Vec<_> = fleet.cas.iter().map(|ca| fleet.audit(ca, 0, 0)).collect();
    assert_eq!(fleet.deliver(&audits).await, ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn lost_response_to_a_message_sends_it_again() {
    let fleet = Fleet::new(1);
    for fault in [Fault::Hang, Fault::HangAfter, Fault::Throttle] {
        fleet
            .aws
            .inject(On::operation("SendMessage"), fault.clone());
        let (message, began) = (fleet.audit(&fleet.cas[0], 0, 0), Instant::now());
        assert_eq!(fleet.deliver(&[message]).await, [""; 0], "{fault:?}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(12), "{fault:?}: {took:?}");
    }
    // One of them twice.
    assert_eq!(fleet.sent().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn messages_without_work_are_deleted() {
    let fleet = Fleet::new(2);
    let over = fleet.audit(&fleet.cas[0], 3, 0);
    let gone = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/99999999-1234-1122-2233-112233445566";
    tokio::time::sleep(PERIOD + Duration::from_secs(15 * 60 + 1)).await;
    let messages = [
        over,
        fleet.audit(gone, 0, 0),
        json!({ "type": "audit", "certificateAuthorityArn": gone }).to_string(),
        "hello".to_owned(),
    ];

    for message in &messages {
        assert_eq!(
            fleet.deliver(std::slice::from_ref(message)).await,
            [""; 0],
            "{message}"
        );
    }
    assert_eq!(fleet.deliver(&messages).await, [""; 0]);

    assert_eq!(fleet.requests(), 0);
    assert_eq!(fleet.sent(), []);
}

#[tokio::test(start_paused = true)]
async fn message_just_in_time_is_worked_on() {
    let fleet = Fleet::with(1, &[("AUDIT_INTERVAL_MINUTES", "60")]);
    let message = fleet.audit(&fleet.cas[0], 0, 0);
    tokio::time::sleep(Duration::from_secs(75 * 60)).await;
    fleet.deliver(&[message]).await;
    assert_eq!(fleet.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_record_of_a_batch_has_its_own_result() {
    let fleet = Fleet::new(3);
    let pca = fleet.aws.private_ca();
    pca.set_reports(|reports| reports.delay = Duration::ZERO);
    pca.next_report(
        &fleet.cas[1],
        local_aws::NextReport::new().delay(Duration::from_secs(60)),
    );
    let serial = pca.issue(&fleet.cas[2], "new.example.com");
    pca.revoke(&fleet.cas[2], &serial, "KEY_COMPROMISE");
    let scheduled_at = fleet.now();
    let messages = [
        fleet.audit(&fleet.cas[0], 0, 0),
        fleet.audit(&fleet.cas[1], 0, 0),
        fleet.event(&fleet.cas[2], &serial.replace(':', "")),
        fleet.event(&fleet.cas[2], "01"),
        "hello".to_owned(),
    ];

    let kept = fleet.deliver(&messages).await;

    assert_eq!(kept, ["3"], "no report shows its certificate as revoked");
    let sent = fleet.sent();
    assert_eq!(sent.len(), 1);
    let expected = audit(scheduled_at, &fleet.cas[1], 1, 0);
    assert_eq!((sent[0].0.to_json(), sent[0].1), (expected, 15));
    assert_eq!(fleet.types()["revocations"], 1);
}

#[tokio::test(start_paused = true)]
async fn cas_without_a_slot_are_sent_in_a_second_dispatch() {
    let fleet = Fleet::new(860);
    for service in [Service::S3, Service::Sqs] {
        let slow = Fault::Late(Duration::from_millis(100));
        fleet.aws.inject(On::service(service).always(), slow);
    }
    let (scheduled_at, began) = (fleet.now(), Instant::now());

    let dispatched = fleet.dispatch().await;

    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(outcomes(&dispatched), count(&[("queued", 860)]));
    assert_eq!(fleet.queued(), fleet.cas[..857]);
    let sent = fleet.sent();
    let continuations: Vec<_> = sent
        .iter()
        .filter(|(message, _)| !matches!(message, AuditMessage::Audit { .. }))
        .collect();
    let [(continuation, 900)] = continuations[..] else {
        panic!("{continuations:?}")
    };
    fleet.aws.sqs().forget_sent(&fleet.queue);
    tokio::time::sleep(Duration::from_secs(900)).await;

    assert_eq!(fleet.deliver(&[continuation.to_json()]).await, [""; 0]);

    assert_eq!(fleet.queued(), fleet.cas[857..]);
    let sent = fleet.sent();
    assert!(
        sent.iter()
            .all(|(message, _)| message.scheduled_at() == scheduled_at)
    );
    let comparisons = sent
        .iter()
        .filter(|(message, _)| matches!(message, AuditMessage::CompareHealth { .. }));
    assert_eq!(comparisons.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn comparison_waits_until_it_is_due() {
    let fleet = Fleet::new(2);
    for (seconds, delay) in [(1200, 900), (200, 200)] {
        let message = fleet.comparison(seconds);
        fleet.aws.sqs().forget_sent(&fleet.queue);
        assert_eq!(fleet.deliver(std::slice::from_ref(&message)).await, [""; 0]);
        let sent = fleet.sent();
        assert_eq!(sent[0].0.to_json(), message);
        // The time is in whole seconds.
        assert!((delay - 1..=delay).contains(&sent[0].1), "{sent:?}");
    }
    fleet.aws.forget_calls();
    assert_eq!(fleet.deliver(&[fleet.comparison(0)]).await, [""; 0]);
    assert!(!fleet.aws.calls_of("GetObject").is_empty());
}

#[tokio::test(start_paused = true)]
async fn comparison_announces_what_changed_since_the_dispatch() {
    let mut fleet = Fleet::new(8);
    fleet.dispatch().await;
    fleet.drain().await;
    fleet.types();
    let pca = fleet.aws.private_ca();
    // One CA left, one fails, and the state of one is damaged.
    let gone = fleet.cas.remove(0);
    pca.set_status(&gone, Status::Deleted);
    pca.next_report(
        &fleet.cas[0],
        local_aws::NextReport::new().outcome(Outcome::Failed),
    );
    let key = format!("revocation-watch/{}.json", id(&fleet.cas[1]));
    fleet.aws.s3().put(BUCKET, &key, "no JSON".to_owned());
    tokio::time::sleep(PERIOD).await;

    fleet.aws.sqs().forget_sent(&fleet.queue);
    let dispatched = fleet.dispatch().await;
    assert_eq!(fleet.types(), BTreeMap::new());
    assert_eq!(outcomes(&dispatched), count(&[("queued", 7)]));
    assert_eq!(fleet.queued()[0], fleet.cas[1], "unknown comes first");
    fleet.drain().await;

    assert_eq!(
        fleet.types(),
        count(&[("watch-failed", 2), ("watch-stopped", 1)])
    );
}

/// Its messages are lost, so that no audit can record an error.
#[tokio::test(start_paused = true)]
async fn comparison_reports_an_overdue_audit_once() {
    let fleet = Fleet::new(3);
    let began = Instant::now();
    fleet.dispatch().await;
    fleet.drain().await;
    assert_eq!(fleet.types(), count(&[("watch-started", 1)]));
    let overdue = fleet.cas[1].as_str();
    let mut published = Vec::new();
    for period in 1..=7 {
        tokio::time::sleep_until(began + PERIOD * period).await;
        fleet.dispatch().await;
        assert_eq!(fleet.messages(), [Value::Null; 0], "only the comparison");
        let lost: &[&str] = if period < 6 { &[overdue] } else { &[] };
        fleet.drain_without_audits_of(lost).await;
        if period < 6 {
            assert_eq!(fleet.control(overdue).unwrap()["error"], Value::Null);
        }
        let messages = fleet.messages().into_iter();
        published.extend(messages.map(|message| (period, message)));
    }

    let [(3, failed), (6, recovered)] = &published[..] else {
        panic!("{published:?}")
    };
    assert_eq!(failed["type"], "watch-failed");
    assert_eq!(recovered["type"], "watch-recovered");
    for message in [failed, recovered] {
        assert_eq!(message["error"]["type"], "ReportOverdue");
        assert_eq!(message["certificateAuthorityArns"], json!([overdue]));
    }
}

#[tokio::test(start_paused = true)]
async fn switching_off_with_messages_in_flight_loses_nothing() {
    let mut fleet = Fleet::new(8);
    fleet.dispatch().await;
    fleet.drain().await;
    fleet.types();
    fleet.revoke_one_of_each();
    tokio::time::sleep(PERIOD).await;
    fleet.dispatch().await;
    fleet.deploy(&[]);
    // Lambda still delivers the messages: they end after one attempt each.
    let sent = fleet.aws.sqs().sent(&fleet.queue).len();
    fleet.drain().await;
    assert_eq!(fleet.aws.sqs().sent(&fleet.queue).len(), sent);
    assert_eq!(fleet.types(), BTreeMap::new());
    let requested = fleet.requests();
    fleet.aws.sqs().delete_queue(&fleet.queue);
    tokio::time::sleep(PERIOD).await;

    let inline = fleet.dispatch().await;

    assert_eq!(outcomes(&inline), count(&[("audited", 8)]));
    assert!(fleet.requests() > requested);
    let published = fleet.types();
    assert_eq!(published, count(&[("revocations", 8)]));
}

/// A worker knows from the health document that somebody reads the topic, although SNS cannot say now.
#[tokio::test(start_paused = true)]
async fn worker_without_a_look_at_the_subscriptions_publishes_once() {
    let fleet = Fleet::new(3);
    fleet.dispatch().await;
    fleet.drain().await;
    assert_eq!(fleet.types(), count(&[("watch-started", 1)]));
    let ca = fleet.cas[0].clone();
    let serial = fleet.aws.private_ca().issue(&ca, "new.example.com");
    fleet
        .aws
        .private_ca()
        .revoke(&ca, &serial, "KEY_COMPROMISE");
    for operation in ["GetTopicAttributes", "ListSubscriptionsByTopic"] {
        fleet.aws.inject(
            On::operation(operation).always(),
            Fault::error(500, "InternalError", "please try again"),
        );
    }
    tokio::time::sleep(PERIOD).await;

    fleet.deliver(&[fleet.audit(&ca, 0, 0)]).await;
    fleet.drain().await;

    assert_eq!(fleet.types(), count(&[("revocations", 1)]));
    assert_eq!(fleet.control(&ca).unwrap()["notifiedCount"], json!(1));
}

/// Private CA accepts one request per second, and all messages are due at the same time.
#[tokio::test(start_paused = true)]
async fn backlog_is_worked_off_without_failures() {
    let fleet = Fleet::new(20);
    let scheduled_at = fleet.now();
    fleet.dispatch().await;
    tokio::time::sleep(Duration::from_secs(600)).await;

    fleet.drain().await;

    assert_eq!(fleet.audited_since(scheduled_at), fleet.cas);
    let calls = fleet.aws.calls_of("CreateCertificateAuthorityAuditReport");
    assert!(calls.len() > fleet.requests(), "some were throttled");
    let has_failed = |(message, _): &(AuditMessage, u64)| matches!(message, AuditMessage::Audit { failures, .. } if *failures > 0);
    assert!(!fleet.sent().iter().any(has_failed));
}

/// A comparison is needed in a backlog, and harmless at any time.
#[tokio::test(start_paused = true)]
async fn comparison_an_hour_late_still_compares() {
    let fleet = Fleet::with(2, &[("AUDIT_INTERVAL_MINUTES", "30")]);
    let comparison = fleet.comparison(900);
    tokio::time::sleep(2 * PERIOD + Duration::from_secs(900)).await;

    assert_eq!(fleet.deliver(&[comparison]).await, [""; 0]);

    assert_eq!(fleet.aws.calls_of("GetObject").len(), 3, "all states");
}

#[tokio::test(start_paused = true)]
async fn comparison_of_1700_cas_at_30_minutes_is_not_superseded() {
    // Those without a slot in the first dispatch.
    let fleet = Fleet::with(843, &[("AUDIT_INTERVAL_MINUTES", "30")]);
    let continuation = fleet.continuation();
    // It comes a minute late.
    tokio::time::sleep(Duration::from_secs(960)).await;
    fleet.deliver(&[continuation]).await;
    let mut sent = fleet.sent().into_iter();
    let follow_up = sent.find(|(message, _)| !matches!(message, AuditMessage::Audit { .. }));
    let comparison = follow_up.expect("a comparison").0;
    let AuditMessage::CompareHealth { not_before, .. } = comparison else {
        panic!("{comparison:?}")
    };
    tokio::time::sleep(not_before.since(fleet.now())).await;
    fleet.aws.forget_calls();

    fleet.deliver(&[comparison.to_json()]).await;

    assert!(fleet.aws.calls_of("GetObject").len() > 843, "all states");
}

/// The next schedule has its audits. In a backlog, no later comparison may come in time.
#[tokio::test(start_paused = true)]
async fn continuation_that_comes_too_late_compares() {
    let fleet = Fleet::with(2, &[("AUDIT_INTERVAL_MINUTES", "30")]);
    let (scheduled_at, continuation) = (fleet.now(), fleet.continuation());
    tokio::time::sleep(Duration::from_secs(45 * 60 + 1)).await;

    assert_eq!(fleet.deliver(&[continuation]).await, [""; 0]);

    let sent = fleet.sent();
    let [(comparison, 0)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(comparison.scheduled_at(), scheduled_at);
    assert_eq!(fleet.requests(), 0);
    fleet.deliver(&[comparison.to_json()]).await;
    assert_eq!(fleet.aws.calls_of("GetObject").len(), 3, "all states");
    assert_eq!(fleet.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn follow_up_without_a_list_of_cas_ends_in_the_dead_letter_queue() {
    let fleet = Fleet::new(2);
    fleet.aws.inject(
        On::operation("ListCertificateAuthorities").always(),
        Fault::error(500, "InternalFailure", "please try again"),
    );
    for message in [fleet.comparison(0), fleet.continuation()] {
        fleet.aws.sqs().forget_sent(&fleet.queue);
        fleet.aws.sqs().forget_sent(&fleet.dead_letters);
        assert_eq!(fleet.deliver(&[message]).await, [""; 0]);
        fleet.drain().await;

        let delays = fleet.sent().into_iter().map(|(_, delay)| delay);
        assert_eq!(delays.collect::<Vec<_>>(), [60, 120, 240, 480]);
        let dead = fleet.sent_to(&fleet.dead_letters);
        assert_eq!(dead.len(), 1, "{dead:?}");
        assert_eq!(*dead[0].0.clone().failures_mut(), 5);
    }
}

/// Somebody typed a wrong year: the message must not be sent again forever.
#[tokio::test(start_paused = true)]
async fn message_of_the_future_is_deleted() {
    let fleet = Fleet::new(1);
    let in_an_hour = fleet.now().saturating_add(PERIOD * 2);
    let scheduled_at = fleet.now();
    let follow_ups = [(scheduled_at, in_an_hour), (in_an_hour, scheduled_at)];
    let follow_ups = follow_ups.map(|(scheduled_at, not_before)| {
        let message = AuditMessage::CompareHealth {
            scheduled_at,
            not_before,
            failures: 0,
        };
        message.to_json()
    });
    let dispatch = AuditMessage::Dispatch {
        scheduled_at: in_an_hour,
        certificate_authority_ids: Vec::new(),
        failures: 0,
    };
    let audit = audit(in_an_hour, &fleet.cas[0], 0, 0);
    fleet.aws.forget_calls();
    for message in follow_ups.into_iter().chain([dispatch.to_json(), audit]) {
        assert_eq!(fleet.deliver(&[message]).await, [""; 0]);
    }
    assert!(fleet.aws.calls().is_empty());
}

/// Nobody would learn of it for 90 minutes.
#[tokio::test(start_paused = true)]
async fn error_that_cannot_be_recorded_ends_in_the_dead_letter_queue() {
    let fleet = Fleet::new(1);
    fleet.aws.inject(
        On::operation("PutObject").always(),
        Fault::access_denied(Service::S3),
    );

    let again = fleet.audit(&fleet.cas[0], 0, 1);

    let kept = fleet.deliver(&[fleet.audit(&fleet.cas[0], 0, 0)]).await;

    assert_eq!(kept, [""; 0]);
    let sent = fleet.sent();
    assert_eq!((sent[0].0.to_json(), sent[0].1), (again, 60));
    fleet.drain().await;
    assert_eq!(fleet.sent_to(&fleet.dead_letters).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_follow_up_stops_no_audit() {
    let fleet = Fleet::new(12);
    fleet.refuse_follow_up();

    let dispatched = fleet.dispatch().await;

    assert_eq!(outcomes(&dispatched), count(&[("queued", 12)]));
    assert_eq!(fleet.queued(), fleet.cas);
    let warning = text(&dispatched["warnings"][0]);
    assert!(
        warning.starts_with("the comparison of monitoring changes could not be sent"),
        "{warning}"
    );
}

#[tokio::test(start_paused = true)]
async fn dispatch_that_compares_itself_knows_all_states() {
    let fleet = Fleet::with(3, &[("MAX_INLINE_CERTIFICATE_AUTHORITIES", "2")]);
    fleet.dispatch().await;
    fleet.drain().await;
    fleet.types();
    // More than 90 minutes without an audit.
    tokio::time::sleep(4 * PERIOD).await;
    fleet.refuse_follow_up();

    let dispatched = fleet.dispatch().await;

    assert_eq!(outcomes(&dispatched), count(&[("queued", 3)]));
    assert_eq!(fleet.types(), count(&[("watch-failed", 1)]));
}

#[tokio::test(start_paused = true)]
async fn only_the_throttled_request_of_a_report_is_no_failure() {
    let fleet = Fleet::new(1);
    let ca = &fleet.cas[0];
    fleet.aws.inject(
        On::operation("CreateCertificateAuthorityAuditReport").always(),
        Fault::Throttle,
    );
    let (message, again) = (fleet.audit(ca, 2, 1), fleet.audit(ca, 3, 1));
    fleet.deliver(&[message]).await;
    let sent = fleet.sent();
    assert_eq!(sent[0].0.to_json(), again);
    assert!((60..120).contains(&sent[0].1), "{sent:?}");

    fleet.aws.clear_faults();
    fleet.aws.sqs().forget_sent(&fleet.queue);
    let pca = fleet.aws.private_ca();
    pca.set_reports(|reports| reports.delay = Duration::ZERO);
    fleet.aws.inject(
        On::operation("GetObject")
            .key_contains("audit-report/")
            .always(),
        Fault::Throttle,
    );
    let message = fleet.audit(ca, 2, 1);
    fleet.deliver(&[message]).await;
    let sent = fleet.sent();
    let AuditMessage::Audit {
        waits: 2,
        failures: 2,
        ..
    } = sent[0].0
    else {
        panic!("{sent:?}")
    };
}

#[tokio::test(start_paused = true)]
async fn audit_that_takes_all_its_time_is_sent_again() {
    let fleet = Fleet::new(1);
    fleet.aws.inject(
        On::operation("PutObject")
            .key_contains("revocation-watch/")
            .always(),
        Fault::Hang,
    );
    let slow = Fault::Late(Duration::from_millis(100));
    fleet.aws.inject(On::service(Service::Sqs).always(), slow);
    let message = fleet.audit(&fleet.cas[0], 0, 0);
    let again = fleet.audit(&fleet.cas[0], 0, 1);

    let kept = fleet.deliver_for(&[message], Duration::from_secs(25)).await;

    assert_eq!(kept, [""; 0]);
    assert_eq!(fleet.sent()[0].0.to_json(), again);
}

#[tokio::test(start_paused = true)]
async fn part_of_a_batch_that_fails_stops_no_other() {
    let fleet = Fleet::new(2);
    fleet.aws.inject(
        On::operation("ListCertificateAuthorities").always(),
        Fault::error(500, "InternalFailure", "please try again"),
    );
    let messages = [
        fleet.audit(&fleet.cas[0], 0, 0),
        fleet.event(&fleet.cas[1], "01"),
        fleet.comparison(0),
    ];
    let mut comparison = AuditMessage::read(&messages[2]).expect("one of ours");
    *comparison.failures_mut() = 1;
    let again = [fleet.audit(&fleet.cas[0], 0, 1), comparison.to_json()];

    assert_eq!(fleet.deliver(&messages).await, ["1"]);

    let sent = fleet.sent().into_iter();
    let sent: Vec<_> = sent
        .map(|(message, delay)| (message.to_json(), delay))
        .collect();
    assert_eq!(sent, again.map(|message| (message, 60)));
}

#[tokio::test(start_paused = true)]
async fn without_a_dead_letter_queue_the_last_attempt_stays_in_the_queue() {
    let mut fleet = Fleet::new(1);
    let queue = fleet.queue.clone();
    fleet.deploy(&[("AUDIT_QUEUE_URL", &queue)]);
    fleet.aws.inject(
        On::operation("GetObject").always(),
        Fault::error(500, "InternalError", "please try again"),
    );
    let last = fleet.audit(&fleet.cas[0], 0, 4);

    let kept = fleet.deliver(&[last]).await;

    assert_eq!(kept, ["0"]);
    assert_eq!(fleet.sent(), []);
}
