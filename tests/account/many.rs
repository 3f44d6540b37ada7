//! An account with as many CAs as Private CA's default quota allows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use local_aws::{
    EventSourceMapping, Generated, JsonLayout, LocalAws, MappingSettings, NextReport, Outcome,
    Protocol, QueueSettings, Redrive, ReportFormat, Status, Subscription, render,
};
use serde_json::Value;

pub const BUCKET: &str = "amzn-s3-demo-bucket";

/// The default quota of a region (AWS General Reference, "AWS Private Certificate Authority endpoints
/// and quotas").
pub const CERTIFICATE_AUTHORITIES: usize = 200;

/// All but one, which has expired and cannot be audited.
pub const AUDITABLE: usize = CERTIFICATE_AUTHORITIES - 1;

/// Number of certificates that each kind of CA has issued.
#[derive(Clone, Copy, Debug)]
pub struct Certificates {
    pub ordinary: usize,
    pub huge: usize,
}

/// The account. The emulator enforces Private CA's real quotas.
pub struct Account {
    pub aws: LocalAws,
    pub topic: String,
    /// A CA whose reports fail.
    pub failing: String,
    /// A CA that `*` leaves out.
    pub expired: String,
    pub huge: String,
    pub ordinary: Vec<String>,
}

impl Account {
    /// One certificate in fifty was revoked ten days ago.
    pub fn new(certificates: Certificates) -> Self {
        let aws = LocalAws::new();
        aws.s3().create_bucket(BUCKET);
        let topic = aws.sns().create_topic("revocations");
        let subscription = Subscription::new(Protocol::Sqs, "somebody");
        aws.sns()
            .subscribe(&topic, subscription)
            .expect("a standard topic");
        let pca = aws.private_ca();
        let mut cas: Vec<String> = (0..CERTIFICATE_AUTHORITIES)
            .map(|number| pca.create(&format!("Example Corp CA {number}")))
            .collect();
        let huge = cas.remove(100);
        let failing = cas.remove(50);
        let expired = cas.remove(10);
        pca.set_status(&expired, Status::Expired);
        let long_ago = aws.clock().now() - Duration::from_secs(10 * 86_400);
        let issue = |ca: &str, count: usize| {
            let issued = (0..count).map(|number| {
                let mut certificate = pca.certificate(ca, &format!("host-{number}.example.com"));
                if number % 50 == 7 {
                    certificate.revoked_at = Some(long_ago);
                    certificate.revocation_reason = Some("SUPERSEDED".to_owned());
                }
                certificate
            });
            pca.set_certificates(ca, issued.collect());
        };
        for ca in cas.iter().chain([&failing]) {
            issue(ca, certificates.ordinary);
        }
        issue(&huge, certificates.huge);
        Self {
            aws,
            topic,
            failing,
            expired,
            huge,
            ordinary: cas,
        }
    }

    pub fn auditable(&self) -> impl Iterator<Item = &String> {
        self.ordinary.iter().chain([&self.failing, &self.huge])
    }

    /// Makes the next reports take 5 to 64 seconds, the huge one three minutes, and one fail.
    ///
    /// They are rendered now: rendering a huge one takes seconds, during which the emulator would
    /// serve no requests and then find too many of them waiting.
    pub fn schedule_reports(&self) {
        let pca = self.aws.private_ca();
        for (number, ca) in self.ordinary.iter().enumerate() {
            let delay = Duration::from_secs(5 + (number as u64 * 37) % 60);
            pca.next_report(ca, NextReport::new().delay(delay).content(self.report(ca)));
        }
        let delay = Duration::from_secs(180);
        pca.next_report(
            &self.huge,
            NextReport::new()
                .delay(delay)
                .content(self.report(&self.huge)),
        );
        pca.next_report(&self.failing, NextReport::new().outcome(Outcome::Failed));
    }

    fn report(&self, ca: &str) -> Generated {
        let certificates = self.aws.private_ca().certificates(ca);
        let report = Bytes::from(render(
            &certificates,
            ReportFormat::Json,
            JsonLayout::default(),
        ));
        Generated::measured(move |offset| {
            let mut rest = report.slice(usize::try_from(offset).expect("an offset in memory")..);
            Box::new(std::iter::from_fn(move || {
                (!rest.is_empty()).then(|| rest.split_to(rest.len().min(64 * 1024)))
            }))
        })
    }

    /// Issues and revokes a certificate of each CA that can be audited.
    pub fn revoke_one_of_each(&self) {
        let pca = self.aws.private_ca();
        for ca in self.auditable() {
            let serial = pca.issue(ca, "new.example.com");
            pca.revoke(ca, &serial, "KEY_COMPROMISE");
        }
    }

    /// Returns the number of CAs whose state has a complete audit of that many certificates, by number.
    pub fn audited(&self) -> BTreeMap<u64, usize> {
        let mut audited = BTreeMap::new();
        for ca in self.auditable() {
            let id = ca.rsplit('/').next().expect("an ARN has an ID");
            let key = format!("revocation-watch/{id}.json");
            let Some(document) = self.aws.s3().get(BUCKET, &key) else {
                continue;
            };
            let control: Value = serde_json::from_slice(&document).expect("the state is JSON");
            if let Some(certificates) = control["lastCompleteAudit"]["certificates"].as_u64() {
                *audited.entry(certificates).or_default() += 1;
            }
        }
        audited
    }

    /// Returns the published messages.
    fn messages(&self) -> impl Iterator<Item = Value> {
        let deliveries = self.aws.sns().deliveries().into_iter();
        deliveries.map(|one| serde_json::from_str(&one.text).expect("a JSON document"))
    }

    /// Returns the number of published revocations by what the message says about who revoked.
    pub fn revoked_by(&self) -> BTreeMap<String, usize> {
        let mut revoked_by = BTreeMap::new();
        for message in self.messages() {
            for revocation in message["revocations"].as_array().into_iter().flatten() {
                let found = &revocation["investigation"]["revokedBy"];
                let found = found["reason"].as_str().or(found["status"].as_str());
                let found = found.unwrap_or("notInvestigated").to_owned();
                *revoked_by.entry(found).or_default() += 1;
            }
        }
        revoked_by
    }

    /// Returns how often each revocation was published, by CA and serial.
    pub fn published(&self) -> BTreeMap<(String, String), usize> {
        let mut published = BTreeMap::new();
        for message in self.messages() {
            let ca = message["certificateAuthorityArn"].as_str();
            for revocation in message["revocations"].as_array().into_iter().flatten() {
                let serial = revocation["serial"].as_str().expect("a serial");
                let ca = ca.expect("revocations are those of one CA");
                let revocation = (ca.to_owned(), serial.to_owned());
                *published.entry(revocation).or_default() += 1;
            }
        }
        published
    }

    /// Returns the number of calls by operation, and of throttled calls.
    pub fn calls(&self) -> (BTreeMap<String, usize>, usize) {
        let mut by_operation = BTreeMap::new();
        let mut throttled = 0;
        for call in self.aws.calls() {
            *by_operation.entry(call.operation).or_default() += 1;
            if call
                .error_code
                .is_some_and(|code| code == "ThrottlingException")
            {
                throttled += 1;
            }
        }
        (by_operation, throttled)
    }
}

/// The queues of the template's resources for one invocation per CA.
pub struct Queues {
    pub audits: String,
    pub dead_letters: String,
}

impl Queues {
    /// Creates the queues with the template's settings.
    pub fn create(aws: &LocalAws) -> Self {
        let sqs = aws.sqs();
        let dead_letters = sqs.create_queue("dead-letters", QueueSettings::default());
        let settings = QueueSettings {
            visibility_timeout: Duration::from_secs(930),
            redrive: Some(Redrive {
                dead_letter_queue_url: dead_letters.clone(),
                max_receive_count: 5,
            }),
        };
        let audits = sqs.create_queue("audits", settings);
        Self {
            audits,
            dead_letters,
        }
    }

    /// Returns the function's variables for the queues.
    pub fn environment(&self) -> [(&'static str, &str); 2] {
        [
            ("AUDIT_QUEUE_URL", &self.audits),
            ("AUDIT_DEAD_LETTER_QUEUE_URL", &self.dead_letters),
        ]
    }

    /// Returns the event source mapping with that many workers.
    pub fn mapping(&self, aws: &LocalAws, workers: usize) -> EventSourceMapping {
        let settings = MappingSettings {
            maximum_concurrency: workers,
            batch_size: 1,
            batching_window: Duration::ZERO,
        };
        EventSourceMapping::new(aws, &self.audits, settings)
    }

    /// Works on the messages with these workers, each of which is invoked with one message at a time.
    pub async fn work<W>(
        &self,
        aws: &LocalAws,
        workers: &[W],
        invoke: impl AsyncFn(&W, Value) -> Result<Value, String>,
    ) -> ! {
        let free: RefCell<Vec<&W>> = RefCell::new(workers.iter().collect());
        let mapping = self.mapping(aws, workers.len());
        let work = mapping.run(async |event| {
            let worker = free.borrow_mut().pop().ok_or("no worker is free")?;
            let worked = invoke(worker, event).await;
            free.borrow_mut().push(worker);
            worked
        });
        work.await
    }

    /// Returns the number of CAs whose audit has a message in the queue.
    pub fn unfinished(&self, aws: &LocalAws) -> usize {
        let messages = aws.sqs().messages(&self.audits).into_iter();
        let unfinished = messages.filter(|message| !message.body.contains("\"compareHealth\""));
        unfinished.count()
    }
}

/// Returns the number of CAs by outcome.
pub fn outcomes(response: &Value) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for ca in response["certificateAuthorities"]
        .as_array()
        .expect("the response lists the CAs")
    {
        let outcome = ca["outcome"].as_str().expect("an outcome").to_owned();
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}
