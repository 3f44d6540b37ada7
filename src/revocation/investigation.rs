//! What was found out about a revocation beyond its report: who revoked the certificate, where it is in
//! use, what else is affected, and whether clients can learn of the revocation.

use crate::arn::CertificateAuthorityArn;
use crate::revocation::checking::RevocationChecking;
use crate::timestamp::Timestamp;

/// Maximum revocations of a message that are looked up: the worst.
pub const MAX_INVESTIGATED: usize = 5;

/// Maximum items of a list that an investigation keeps; the others are counted.
pub const MAX_ITEMS: usize = 10;

/// The result of one lookup. Nothing unknown is ever stated as a "no".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding<T> {
    /// What was found.
    Known(T),
    /// It could not be found out; why, in words, as in "CloudTrail denied LookupEvents".
    Unknown(String),
    /// The question does not apply to this revocation; why, in words.
    NotApplicable(String),
}

impl<T> Finding<T> {
    /// Returns the finding with a reference to what is known.
    pub fn as_ref(&self) -> Finding<&T> {
        match self {
            Self::Known(known) => Finding::Known(known),
            Self::Unknown(reason) => Finding::Unknown(reason.clone()),
            Self::NotApplicable(reason) => Finding::NotApplicable(reason.clone()),
        }
    }

    /// Changes what is known.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Finding<U> {
        match self {
            Self::Known(known) => Finding::Known(change(known)),
            Self::Unknown(reason) => Finding::Unknown(reason),
            Self::NotApplicable(reason) => Finding::NotApplicable(reason),
        }
    }

    /// Returns `known`, `unknown` or `notApplicable`.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Known(_) => "known",
            Self::Unknown(_) => "unknown",
            Self::NotApplicable(_) => "notApplicable",
        }
    }
}

/// What was found out about one revocation. All texts of AWS or of others may have any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Investigation {
    /// Who revoked the certificate.
    pub revoked_by: Finding<Revoker>,
    /// Which AWS resources use it.
    pub in_use: Finding<Usage>,
    /// What else is affected.
    pub affected: Finding<Affected>,
    /// How clients can learn of the revocation.
    pub clients: Finding<ClientChecks>,
}

/// The identity that revoked a certificate, as CloudTrail's `RevokeCertificate` event states it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoker {
    /// `userIdentity.type`, such as `AssumedRole`.
    pub identity_type: String,
    /// `userIdentity.arn`.
    pub arn: Option<String>,
    /// The name of the role.
    pub role: Option<String>,
    /// The name of the role's session.
    pub session: Option<String>,
    /// The name of the IAM user, or `root`.
    pub user: Option<String>,
    /// The AWS service, such as `acm.amazonaws.com`.
    pub service: Option<String>,
    /// The account of the identity.
    pub account: Option<String>,
    /// `sourceIPAddress`.
    pub source_ip: Option<String>,
    /// `userAgent`.
    pub user_agent: Option<String>,
    /// `eventTime`.
    pub at: Option<Timestamp>,
    /// Number of revocations by the same identity between `from` and `until`, of all CAs of the account
    /// and region.
    pub revocations: u64,
    /// Whether there may be more than `revocations`, because not all events were read.
    pub at_least: bool,
    /// The start of the time that was searched.
    pub from: Option<Timestamp>,
    /// The end of the time that was searched.
    pub until: Option<Timestamp>,
}

/// What AWS Certificate Manager of the account and region knows about a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The certificates found, at most [`MAX_ITEMS`].
    pub certificates: Vec<AcmCertificate>,
    /// Number of all certificates found, those that could not be described included.
    pub total: u64,
    /// Whether there may be more than `total`, because ACM has more results than were read.
    pub at_least: bool,
    /// The account that the certificate was issued to, if that is another one: its ACM cannot be
    /// queried, and may have more resources that use the certificate.
    pub other_account: Option<String>,
}

/// A certificate of AWS Certificate Manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmCertificate {
    /// Its ARN, which survives renewals.
    pub arn: String,
    /// Its current serial.
    pub serial: Option<String>,
    /// Whether that is the serial of the revoked certificate; otherwise it has the same domain name and
    /// the same CA: it was probably renewed.
    pub is_revoked_one: bool,
    /// The ARNs of the resources that use it, at most [`MAX_ITEMS`].
    pub in_use_by: Vec<String>,
    /// Number of all resources that use it.
    pub in_use_total: u64,
    /// Whether it was exported, so that copies outside of AWS may exist; `None` if ACM does not say.
    pub exported: Option<bool>,
}

/// What else a revocation affects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affected {
    /// Other valid certificates of the CA with the same subject.
    Certificates {
        /// The first of them, those with the same key first, at most [`MAX_ITEMS`].
        siblings: Vec<Sibling>,
        /// Number of all of them.
        total: u64,
    },
    /// The certificate is that of a CA: everything below it is affected.
    CertificateAuthority {
        /// Which CA of the account and region it is the certificate of, and its name; `None` if of none.
        authority: Finding<Option<(CertificateAuthorityArn, Option<String>)>>,
    },
}

/// Another valid certificate with the subject of a revoked one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sibling {
    /// Its serial as in the report.
    pub serial: Option<String>,
    /// Its ARN.
    pub certificate_arn: Option<String>,
    /// The end of its validity, if it is readable.
    pub not_after: Option<Timestamp>,
    /// Whether it was issued after the revocation, and is probably the replacement; `None` if one of
    /// the times is unreadable.
    pub issued_after_revocation: Option<bool>,
    /// Whether it has the public key of the revoked certificate; `None` if the keys were not compared.
    pub same_key: Option<bool>,
}

/// How clients can learn of a revocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientChecks {
    /// The CRL distribution points of the certificate itself, at most [`MAX_ITEMS`].
    pub crl_urls: Vec<String>,
    /// Number of all of them.
    pub crl_total: u64,
    /// The OCSP responders of the certificate itself, at most [`MAX_ITEMS`].
    pub ocsp_urls: Vec<String>,
    /// Number of all of them.
    pub ocsp_total: u64,
    /// What the CA is configured for now; `None` if it could not be looked up.
    pub authority: Option<RevocationChecking>,
}
