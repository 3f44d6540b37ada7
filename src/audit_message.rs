//! The messages of the audit queue: one invocation each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arn::CertificateAuthorityArn;
use crate::timestamp::Timestamp;

/// A message that this program sends itself through the audit queue.
///
/// Messages may arrive twice, late, in any order or never: what is done is decided by the state, and the
/// next schedule has the same work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum AuditMessage {
    /// Audits one CA.
    Audit {
        /// The time of the schedule's event: an audit whose report was requested since then is enough.
        scheduled_at: Timestamp,
        /// The CA.
        certificate_authority_arn: CertificateAuthorityArn,
        /// How often the report was not there yet, or another run held the CA.
        waits: u32,
        /// Number of failed attempts after which the message was sent again.
        failures: u32,
        /// The slot of the report's request, in milliseconds after the message was sent: queues deliver
        /// after whole seconds, and not on time. Only a dispatch's own messages have slots.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot_millis: Option<u32>,
    },
    /// Dispatches the CAs that had no slot in the dispatch before.
    Dispatch {
        /// The time of the schedule's event.
        scheduled_at: Timestamp,
        /// The IDs of the CAs.
        certificate_authority_ids: Vec<String>,
        /// Number of failed attempts after which the message was sent again.
        #[serde(default)]
        failures: u32,
    },
    /// Compares the health document after the audits of a schedule.
    CompareHealth {
        /// The time of the schedule's event.
        scheduled_at: Timestamp,
        /// When the comparison is due; SQS delays a message by 15 minutes at most.
        not_before: Timestamp,
        /// Number of failed attempts after which the message was sent again.
        #[serde(default)]
        failures: u32,
    },
}

impl AuditMessage {
    /// Returns the message for the first attempt at an audit of a CA, with the slot of its request if it
    /// has one.
    pub fn audit(
        scheduled_at: Timestamp,
        certificate_authority_arn: CertificateAuthorityArn,
        slot: Option<Duration>,
    ) -> Self {
        Self::Audit {
            scheduled_at,
            certificate_authority_arn,
            waits: 0,
            failures: 0,
            slot_millis: slot.and_then(|slot| u32::try_from(slot.as_millis()).ok()),
        }
    }

    /// Returns the message of a queue's record; `None` if it is none of this program.
    pub fn read(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }

    /// Returns the body of the queue's record.
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// Returns the time of the schedule's event.
    pub fn scheduled_at(&self) -> Timestamp {
        match self {
            Self::Audit { scheduled_at, .. }
            | Self::Dispatch { scheduled_at, .. }
            | Self::CompareHealth { scheduled_at, .. } => *scheduled_at,
        }
    }

    /// Returns the number of failed attempts, to be counted up.
    pub fn failures_mut(&mut self) -> &mut u32 {
        match self {
            Self::Audit { failures, .. }
            | Self::Dispatch { failures, .. }
            | Self::CompareHealth { failures, .. } => failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

    #[test]
    fn messages_survive_a_round_trip() {
        let at = Timestamp::parse("2026-11-21T04:00:00Z").unwrap();
        let arn = CertificateAuthorityArn::parse(CA).unwrap();
        for message in [
            AuditMessage::audit(at, arn.clone(), None),
            AuditMessage::audit(at, arn.clone(), Some(Duration::from_millis(1550))),
            AuditMessage::Dispatch {
                scheduled_at: at,
                certificate_authority_ids: vec![arn.id().to_owned()],
                failures: 1,
            },
            AuditMessage::CompareHealth {
                scheduled_at: at,
                not_before: at,
                failures: 0,
            },
        ] {
            assert_eq!(AuditMessage::read(&message.to_json()), Some(message));
        }
    }

    #[test]
    fn audit_is_readable_in_the_console_of_sqs() {
        let at = Timestamp::parse("2026-11-21T04:00:00Z").unwrap();
        let audit = AuditMessage::audit(at, CertificateAuthorityArn::parse(CA).unwrap(), None);
        assert_eq!(
            audit.to_json(),
            format!(
                r#"{{"type":"audit","scheduledAt":"2026-11-21T04:00:00Z","certificateAuthorityArn":"{CA}","waits":0,"failures":0}}"#
            )
        );
    }

    #[test]
    fn other_messages_are_none_of_ours() {
        for body in [
            "",
            "no JSON",
            "{}",
            r#"{"type":"audit"}"#,
            r#"{"type":"other","scheduledAt":"2026-11-21T04:00:00Z"}"#,
            r#"{"type":"compareHealth","scheduledAt":"2026-11-21T04:00:00Z","notBefore":"2026-11-21T04:00:00Z","more":1}"#,
        ] {
            assert_eq!(AuditMessage::read(body), None, "{body}");
        }
    }
}
