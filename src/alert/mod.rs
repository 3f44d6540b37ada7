//! What is sent to SNS about one certificate authority.
//!
//! From the same facts, each reader gets a text of its own: the machine document (`document`), the
//! e-mail (`text`), the line for a phone (`sms`), the card for a chat channel (`chat`). All of them
//! are pure: what they hold depends on the report, the state and the configuration only. The name
//! of the certificate authority is in texts for people alone, so that a name that could not be
//! looked up changes neither the machine document nor any identity.

mod batch;
mod format;
pub mod full_list;
pub mod publish;
pub mod size;
mod wording;

use std::time::Duration;

use serde::Serialize;

pub use batch::{RevocationBatch, full_list_line};
pub use format::json::SCHEMA;

use crate::alert::format::{chat_card, email, headline, json, sms};
use crate::revocation::id::{hash, hex};
use crate::revocation::key::RevocationKey;
use crate::revocation::reason::{RevocationReason, Severity};
use crate::revocation::reason_counts::ReasonCounts;
use crate::revocation::record::{ReportTime, Revocation};
use crate::timestamp::Timestamp;

/// Everything that one message says.
#[derive(Clone, Debug)]
pub struct Alert {
    pub certificate_authority: CertificateAuthority,
    /// When it came to light: when S3 had the report that states it; of a fault, when it was first
    /// met.
    pub detected_at: Timestamp,
    pub kind: AlertKind,
}

/// What there is to tell.
#[derive(Clone, Debug)]
pub enum AlertKind {
    /// Revocations that nobody has been told of.
    Revocations(RevocationAlert),
    /// Revocations that somebody asked to be told of again.
    Replay {
        revocations: RevocationAlert,
        /// From when on they were revoked.
        since: Timestamp,
        /// The request that asked for it.
        request_id: String,
    },
    /// The first audit of a certificate authority.
    WatchStarted {
        report: ReportSource,
        totals: Totals,
        /// Every revocation in the report, by reason.
        revoked: ReasonCounts,
        /// Revocations before this instant are counted, not told.
        notify_from: Timestamp,
        /// Those that are told, in a message of their own.
        to_notify: u64,
    },
    /// A fault that only a person can cure.
    WatchFailed {
        error: WatchError,
        since: Timestamp,
        last_complete_audit_at: Option<Timestamp>,
    },
    /// The end of such a fault.
    WatchRecovered {
        /// The fault's stable name.
        error_type: String,
        since: Timestamp,
        /// The first report that was audited completely after it.
        report: ReportSource,
    },
    /// A made-up revocation, to try where messages go.
    Test {
        /// The request that asked for it.
        request_id: String,
    },
}

/// The certificate authority that a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateAuthority {
    pub arn: String,
    /// The common name of its own subject, where that could be looked up.
    pub name: Option<String>,
}

impl CertificateAuthority {
    /// `name` may be anything; it is made safe for each text where it is shown.
    pub fn new(arn: impl Into<String>, name: Option<String>) -> Self {
        let name = name.filter(|name| !name.trim().is_empty());
        Self {
            arn: arn.into(),
            name,
        }
    }

    /// `11223344-1234-1122-2233-112233445566`
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    /// `aws`, `aws-cn`, `aws-us-gov`
    pub fn partition(&self) -> &str {
        self.part(1)
    }

    /// `us-east-1`
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// `123456789012`
    pub fn account(&self) -> &str {
        self.part(4)
    }

    fn part(&self, index: usize) -> &str {
        self.arn.splitn(6, ':').nth(index).unwrap_or("")
    }
}

/// An object in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectLocation {
    pub bucket: String,
    pub key: String,
}

/// The audit report that a message rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSource {
    pub location: ObjectLocation,
    pub requested_at: Timestamp,
    /// When the last complete one before it was requested: how often the watch looks.
    pub previous_requested_at: Option<Timestamp>,
}

/// What the whole report states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub revoked: u64,
    pub certificates: u64,
}

/// The revocations of a message and where they come from.
#[derive(Clone, Debug)]
pub struct RevocationAlert {
    batch: RevocationBatch,
    /// Of the sorted identities of all revocations.
    digest: [u8; 32],
    report: ReportSource,
    totals: Totals,
    full_list: Option<ObjectLocation>,
}

impl RevocationAlert {
    /// `full_list` is where the lines lie that [`RevocationBatch::add`] returned, if it returned any.
    pub fn new(
        mut batch: RevocationBatch,
        report: ReportSource,
        totals: Totals,
        full_list: Option<ObjectLocation>,
    ) -> Self {
        Self {
            digest: batch.take_digest(),
            full_list: full_list.filter(|_| batch.needs_full_list()),
            batch,
            report,
            totals,
        }
    }

    /// The revocations.
    pub fn batch(&self) -> &RevocationBatch {
        &self.batch
    }
}

/// A fault as a message tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchError {
    /// Its stable name.
    pub kind: String,
    /// What happened, to what.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl Alert {
    /// The identity of the message: a repeat after a lost reply has the same.
    pub fn id(&self) -> String {
        let kind = self.kind().as_bytes();
        let arn = self.certificate_authority.arn.as_bytes();
        let id = match &self.kind {
            AlertKind::Revocations(revocations) => hash(&[kind, arn, &revocations.digest]),
            AlertKind::Replay {
                revocations,
                request_id,
                ..
            } => hash(&[kind, arn, &revocations.digest, request_id.as_bytes()]),
            AlertKind::WatchStarted { .. } => hash(&[kind, arn]),
            AlertKind::WatchFailed { error, since, .. } => hash(&[
                kind,
                arn,
                error.kind.as_bytes(),
                since.to_string().as_bytes(),
            ]),
            AlertKind::WatchRecovered {
                error_type, since, ..
            } => hash(&[
                kind,
                arn,
                error_type.as_bytes(),
                since.to_string().as_bytes(),
            ]),
            AlertKind::Test { request_id } => hash(&[kind, arn, request_id.as_bytes()]),
        };
        hex(&id)
    }

    /// The type of the message: `revocations`, `replay`, `watch-started`, `watch-failed`,
    /// `watch-recovered` or `test`.
    pub fn kind(&self) -> &'static str {
        match &self.kind {
            AlertKind::Revocations(_) => "revocations",
            AlertKind::Replay { .. } => "replay",
            AlertKind::WatchStarted { .. } => "watch-started",
            AlertKind::WatchFailed { .. } => "watch-failed",
            AlertKind::WatchRecovered { .. } => "watch-recovered",
            AlertKind::Test { .. } => "test",
        }
    }

    /// How urgently it wants a person: of revocations, the worst one. A watch that failed is high,
    /// since revocations may go untold; a test is critical, like the revocation it makes up, so
    /// that the way to a pager can be tried.
    pub fn severity(&self) -> Severity {
        match &self.kind {
            AlertKind::Revocations(revocations) | AlertKind::Replay { revocations, .. } => {
                revocations.batch.severity().unwrap_or(Severity::Low)
            }
            AlertKind::WatchFailed { .. } => Severity::High,
            AlertKind::WatchStarted { .. } | AlertKind::WatchRecovered { .. } => Severity::Low,
            AlertKind::Test { .. } => Severity::Critical,
        }
    }

    /// The message for the topic of all kinds of subscribers.
    pub fn message(&self) -> Message {
        self.message_with(false)
    }

    /// The same reduced to what SNS cannot object to: serials, reasons, times and ARNs, in ASCII.
    pub fn reduced(&self) -> Message {
        self.message_with(true)
    }

    fn message_with(&self, reduced: bool) -> Message {
        let variants = Variants {
            default: json::render(self, reduced),
            email: Some(email::render(self, reduced)),
            sms: Some(sms::render(self, reduced)),
        };
        self.envelope(headline::subject(self, reduced), &variants)
    }

    /// The message for the topic that a chat channel is subscribed to.
    pub fn chat(&self) -> Message {
        let variants = Variants {
            default: chat_card::render(self),
            email: None,
            sms: None,
        };
        self.envelope(headline::subject(self, false), &variants)
    }

    fn envelope(&self, subject: String, variants: &Variants) -> Message {
        let reasons = self.reasons();
        let string = |name, value: &str| Attribute {
            name,
            data_type: "String",
            value: value.to_owned(),
        };
        let mut attributes = vec![
            string("severity", self.severity().name()),
            string("type", self.kind()),
            string("certificateAuthorityArn", &self.certificate_authority.arn),
        ];
        if !reasons.is_empty() {
            attributes.push(Attribute {
                name: "reasons",
                data_type: "String.Array",
                value: size::to_json(&reasons),
            });
        }
        Message {
            subject,
            body: size::to_json(variants),
            attributes,
            group_id: self.group_id(),
            deduplication_id: self.id(),
        }
    }

    /// The id of the certificate authority, or a hash where SNS would not take it as a group.
    fn group_id(&self) -> String {
        let id = self.certificate_authority.id();
        if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return id.to_owned();
        }
        hex(&hash(&[self.certificate_authority.arn.as_bytes()]))
    }

    /// The reasons that the message tells of, worst first.
    fn reasons(&self) -> Vec<String> {
        let names = |batch: &RevocationBatch| {
            let counted = batch.counts().iter();
            counted.map(|(name, _)| name.to_owned()).collect()
        };
        match &self.kind {
            AlertKind::Revocations(revocations) | AlertKind::Replay { revocations, .. } => {
                names(&revocations.batch)
            }
            AlertKind::Test { .. } => names(&self.sample_batch()),
            AlertKind::WatchStarted { .. }
            | AlertKind::WatchFailed { .. }
            | AlertKind::WatchRecovered { .. } => Vec::new(),
        }
    }

    /// The revocation of a test message, in the style of AWS's documentation.
    fn sample_batch(&self) -> RevocationBatch {
        const ARN: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566/certificate/e8cbd2bedb122329f97706bcfec990f8";
        const SERIAL: &str = "e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8";
        const HOUR: u64 = 3600;
        let ago = |seconds| {
            let at = self
                .detected_at
                .saturating_sub(Duration::from_secs(seconds));
            ReportTime::from_report(&at.to_string())
        };
        let year = Duration::from_secs(365 * 24 * HOUR);
        let end = self.detected_at.saturating_add(year);
        let mut batch = RevocationBatch::new(&self.certificate_authority.arn, self.detected_at);
        let due = batch.add(Revocation {
            key: RevocationKey::of(Some(SERIAL), Some(ARN), b""),
            serial: Some(SERIAL.to_owned()),
            subject: Some(
                "CN=www.example1.com,OU=Made up to try the watch,O=Example Company,L=Seattle,ST=Washington,C=US"
                    .to_owned(),
            ),
            certificate_arn: Some(ARN.to_owned()),
            reason: RevocationReason::KeyCompromise,
            revoked_at: ago(HOUR / 2),
            not_before: Some(ago(25 * HOUR)),
            not_after: Some(ReportTime::from_report(&end.to_string())),
            issued_at: Some(ago(24 * HOUR)),
            aws_account_id: Some("123456789012".to_owned()),
            template_arn: Some("arn:aws:acm-pca:::template/EndEntityCertificate/V1".to_owned()),
            requested_by_service_principal: None,
            malformed: false,
        });
        debug_assert!(due.is_empty(), "one small revocation fits");
        batch
    }
}

/// The document of `MessageStructure=json`.
#[derive(Serialize)]
struct Variants {
    default: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sms: Option<String>,
}

/// What `Publish` is called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Fewer than 100 printable ASCII characters.
    pub subject: String,
    /// The document of `MessageStructure=json`.
    pub body: String,
    pub attributes: Vec<Attribute>,
    /// `MessageGroupId` of a FIFO topic.
    pub group_id: String,
    /// `MessageDeduplicationId` of a FIFO topic.
    pub deduplication_id: String,
}

impl Message {
    /// The bytes of it that SNS limits: body, and names, types and values of the attributes. Never
    /// more than [`size::LIMIT`].
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(Attribute::size);
        self.body.len() + attributes.sum::<usize>()
    }
}

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: &'static str,
    /// `String` or `String.Array`
    pub data_type: &'static str,
    pub value: String,
}

impl Attribute {
    fn size(&self) -> usize {
        self.name.len() + self.data_type.len() + self.value.len()
    }
}
