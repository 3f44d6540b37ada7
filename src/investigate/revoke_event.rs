//! Parses CloudTrail's events of revoked certificates.

use serde::Deserialize;

use crate::investigate::words::bounded;
use crate::revocation::investigation::Revoker;
use crate::revocation::key::serial_octets;
use crate::timestamp::Timestamp;

/// A successful `RevokeCertificate` call of Private CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeEvent {
    /// The ARN of the CA.
    pub certificate_authority: String,
    pub serial: [u8; 20],
    /// The identity, without counts.
    pub revoker: Revoker,
}

/// What an event is.
pub enum Parsed {
    /// A revocation.
    Revocation(Box<RevokeEvent>),
    /// Of another service, or a failed call.
    Other,
    /// Perhaps a revocation.
    Unreadable,
}

/// What is read of an event (AWS CloudTrail User Guide, "CloudTrail record contents").
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_source: String,
    event_name: Option<String>,
    error_code: Option<String>,
    event_time: Option<String>,
    #[serde(rename = "sourceIPAddress")]
    source_ip: Option<String>,
    user_agent: Option<String>,
    user_identity: Option<UserIdentity>,
    request_parameters: Option<RequestParameters>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestParameters {
    certificate_authority_arn: Option<String>,
    certificate_serial: Option<String>,
}

/// See the AWS CloudTrail User Guide, "CloudTrail userIdentity element".
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserIdentity {
    r#type: Option<String>,
    arn: Option<String>,
    account_id: Option<String>,
    user_name: Option<String>,
    invoked_by: Option<String>,
    session_context: Option<SessionContext>,
    on_behalf_of: Option<OnBehalfOf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionContext {
    session_issuer: Option<SessionIssuer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionIssuer {
    user_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnBehalfOf {
    user_id: Option<String>,
}

/// Event source of Private CA. ACM has an operation of the same name.
pub const EVENT_SOURCE: &str = "acm-pca.amazonaws.com";

/// Parses the JSON text of an event. `source` and `listed_at` are what CloudTrail states beside it.
pub fn parse(text: &str, source: Option<&str>, listed_at: Option<Timestamp>) -> Parsed {
    let is_other = |source: &str| source != EVENT_SOURCE;
    if source.is_some_and(is_other) {
        return Parsed::Other;
    }
    let Ok(record) = serde_json::from_str::<Record>(text) else {
        return Parsed::Unreadable;
    };
    let is_revocation = match record.event_name.as_deref() {
        Some(name) => name == "RevokeCertificate",
        None => true,
    };
    if is_other(&record.event_source) || !is_revocation || record.error_code.is_some() {
        return Parsed::Other;
    }
    match revocation(record, listed_at) {
        Some(event) => Parsed::Revocation(Box::new(event)),
        None => Parsed::Unreadable,
    }
}

/// Returns the revocation of a record; `None` if it does not identify a certificate or an identity.
fn revocation(record: Record, listed_at: Option<Timestamp>) -> Option<RevokeEvent> {
    let parameters = record.request_parameters?;
    let at = record.event_time.as_deref().and_then(Timestamp::parse);
    Some(RevokeEvent {
        certificate_authority: bounded(parameters.certificate_authority_arn?),
        serial: serial_octets(parameters.certificate_serial?)?,
        revoker: Revoker {
            source_ip: record.source_ip.and_then(stated),
            user_agent: record.user_agent.and_then(stated),
            at: at.or(listed_at),
            ..identity(record.user_identity?)
        },
    })
}

fn identity(identity: UserIdentity) -> Revoker {
    let identity_type = identity.r#type.unwrap_or_default();
    let arn = identity.arn.filter(|arn| !arn.is_empty());
    // `assumed-role/ROLE/SESSION`, `user/PATH/NAME`, `federated-user/NAME`, `root`
    let resource = |arn: &String| arn.splitn(6, ':').nth(5).map(str::to_owned);
    let resource = arn.as_ref().and_then(resource).unwrap_or_default();
    let last = || resource.rsplit_once('/').map(|(_, last)| last.to_owned());
    let user_name = identity.user_name;
    let (mut role, mut session, mut user) = (None, None, None);
    match identity_type.as_str() {
        "AssumedRole" => {
            let issuer = identity.session_context.and_then(|it| it.session_issuer);
            let in_arn = || resource.split('/').nth(1).map(str::to_owned);
            role = issuer.and_then(|it| it.user_name).or_else(in_arn);
            session = resource.split('/').nth(2).map(str::to_owned);
        }
        "Role" => role = user_name.or_else(last),
        "Root" => user = Some("root".to_owned()),
        "IdentityCenterUser" => user = identity.on_behalf_of.and_then(|it| it.user_id),
        "AWSService" | "AWSAccount" => {}
        _ => user = user_name.or_else(last),
    }
    let in_arn = |arn: &String| arn.split(':').nth(4).map(str::to_owned);
    let account = identity
        .account_id
        .or_else(|| arn.as_ref().and_then(in_arn));
    Revoker {
        identity_type: bounded(identity_type),
        role: role.and_then(stated),
        session: session.and_then(stated),
        user: user.and_then(stated),
        service: identity.invoked_by.and_then(stated),
        account: account.and_then(stated),
        arn: arn.map(bounded),
        ..Revoker::default()
    }
}

/// Returns a text that is not empty, with a bounded length.
fn stated(text: String) -> Option<String> {
    (!text.is_empty()).then(|| bounded(text))
}

/// Returns whether two events have the same identity: the same ARN, or if there is none, the same type,
/// service, user and account.
pub fn is_same_identity(one: &Revoker, other: &Revoker) -> bool {
    match (&one.arn, &other.arn) {
        (Some(one), Some(other)) => one == other,
        (None, None) => {
            one.identity_type == other.identity_type
                && one.service == other.service
                && one.user == other.user
                && one.account == other.account
        }
        _ => false,
    }
}
