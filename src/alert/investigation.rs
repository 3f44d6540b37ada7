//! What was found out about a revocation, as the JSON message contains it.

use serde_json::{Map, Value, json};

use crate::alert::size::{INVESTIGATION_ROOM, escaped_len, to_json, with_values};
use crate::revocation::investigation::{
    AcmCertificate, Affected, ClientChecks, Finding, Investigation, Revoker, Sibling, Usage,
};
use crate::text::visible::TRUNCATION_MARK;

/// What the JSON message has in place of an investigation that did not take place.
pub(super) const NOT_INVESTIGATED: &str = "notInvestigated";

/// How much the JSON says about an investigation.
struct Limits {
    items: usize,
    chars: usize,
    has_user_agent: bool,
    has_arns_of_siblings: bool,
}

/// From the most to the least: the first that fits is used.
const LIMITS: [Limits; 7] = [
    Limits::new(10, 512).complete(),
    Limits::new(10, 512),
    Limits::new(5, 512),
    Limits::new(3, 384),
    Limits::new(2, 256),
    Limits::new(1, 160),
    Limits::new(1, 40),
];

impl Limits {
    const fn new(items: usize, chars: usize) -> Self {
        Self {
            items,
            chars,
            has_user_agent: false,
            has_arns_of_siblings: false,
        }
    }

    const fn complete(self) -> Self {
        Self {
            has_user_agent: true,
            has_arns_of_siblings: true,
            ..self
        }
    }

    /// Cuts a text that is still of use then.
    fn cut(&self, text: &str) -> String {
        match text.char_indices().nth(self.chars) {
            Some((end, _)) => format!("{}{TRUNCATION_MARK}", &text[..end]),
            None => text.to_owned(),
        }
    }

    /// Leaves out an identifier that is too long: the start of one identifies nothing.
    fn whole<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.char_indices()
            .nth(self.chars)
            .is_none()
            .then_some(text)
    }

    fn list<'t>(&self, texts: &'t [String]) -> Vec<&'t str> {
        let whole = texts.iter().filter_map(|text| self.whole(text));
        whole.take(self.items).collect()
    }
}

/// Returns the field `investigation` of an entry of `revocations`; at most [`INVESTIGATION_ROOM`]
/// bytes, escaped.
pub(super) fn json(found: &Investigation) -> Value {
    let all = LIMITS.iter().map(|limits| {
        json!({
            "revokedBy": finding(&found.revoked_by, limits, revoker),
            "inUse": finding(&found.in_use, limits, usage),
            "affected": finding(&found.affected, limits, affected),
            "clients": finding(&found.clients, limits, clients),
        })
    });
    let fits = |value: &Value| escaped_len(&to_json(value)) <= INVESTIGATION_ROOM;
    all.into_iter().find(fits).unwrap_or_else(|| {
        json!({
            "revokedBy": { "status": found.revoked_by.state() },
            "inUse": { "status": found.in_use.state() },
            "affected": { "status": found.affected.state() },
            "clients": { "status": found.clients.state() },
        })
    })
}

fn finding<T>(
    finding: &Finding<T>,
    limits: &Limits,
    facts: impl Fn(&T, &Limits) -> Value,
) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("status".to_owned(), finding.state().into());
    match finding {
        Finding::Known(found) => fields.extend(with_values(&facts(found, limits))),
        Finding::Unknown(reason) | Finding::NotApplicable(reason) => {
            fields.insert("reason".to_owned(), limits.cut(reason).into());
        }
    }
    fields
}

fn revoker(found: &Revoker, limits: &Limits) -> Value {
    let text = |text: &Option<String>| text.as_deref().map(|text| limits.cut(text));
    let arn = found.arn.as_deref().and_then(|arn| limits.whole(arn));
    let user_agent = text(&found.user_agent).filter(|_| limits.has_user_agent);
    json!({
        "identityType": Some(limits.cut(&found.identity_type)).filter(|text| !text.is_empty()),
        "arn": arn,
        "role": text(&found.role),
        "session": text(&found.session),
        "user": text(&found.user),
        "service": text(&found.service),
        "accountId": text(&found.account),
        "sourceIp": text(&found.source_ip),
        "userAgent": user_agent,
        "at": found.at,
        "revocations": found.revocations,
        "revocationsAtLeast": found.at_least.then_some(true),
        "from": found.from,
        "until": found.until,
    })
}

fn usage(found: &Usage, limits: &Limits) -> Value {
    let certificate = |item: &AcmCertificate| {
        with_values(&json!({
            "certificateArn": limits.whole(&item.arn),
            "serial": item.serial.as_deref().and_then(|serial| limits.whole(serial)),
            "isRevokedOne": item.is_revoked_one,
            "inUseBy": limits.list(&item.in_use_by),
            "inUseByTotal": item.in_use_total,
            "exported": item.exported,
        }))
    };
    let certificates = found.certificates.iter().take(limits.items);
    json!({
        "certificates": certificates.map(certificate).collect::<Vec<_>>(),
        "certificatesTotal": found.total,
        "certificatesTotalAtLeast": found.at_least.then_some(true),
        "otherAccountId": found.other_account.as_deref().map(|account| limits.cut(account)),
    })
}

fn affected(found: &Affected, limits: &Limits) -> Value {
    let sibling = |item: &Sibling| {
        let serial = item.serial.as_deref();
        let serial = serial.and_then(|serial| limits.whole(serial));
        let arn = item.certificate_arn.as_deref();
        let arn = arn.filter(|_| limits.has_arns_of_siblings || serial.is_none());
        with_values(&json!({
            "serial": serial,
            "certificateArn": arn.and_then(|arn| limits.whole(arn)),
            "notAfter": item.not_after,
            "issuedAfterRevocation": item.issued_after_revocation,
            "sameKey": item.same_key,
        }))
    };
    match found {
        Affected::Certificates { siblings, total } => json!({
            "certificates": siblings.iter().take(limits.items).map(sibling).collect::<Vec<_>>(),
            "certificatesTotal": total,
        }),
        Affected::CertificateAuthority { authority } => {
            let (found, unknown) = match authority {
                Finding::Known(found) => (found.as_ref(), None),
                Finding::Unknown(reason) | Finding::NotApplicable(reason) => (None, Some(reason)),
            };
            let (arn, name) = found.map(|(arn, name)| (arn, name)).unzip();
            let name = name.and_then(Option::as_deref);
            json!({
                "everythingIssuedBelow": true,
                "certificateAuthorityArn": arn,
                "certificateAuthorityName": name.map(|name| limits.cut(name)),
                "certificateAuthorityUnknown": unknown.map(|reason| limits.cut(reason)),
            })
        }
    }
}

fn clients(found: &ClientChecks, limits: &Limits) -> Value {
    let authority = found.authority.map(|authority| {
        json!({
            "crl": authority.crl,
            "crlWithoutPointer": authority.crl_without_pointer,
            "ocsp": authority.ocsp,
            "shortLived": authority.short_lived,
        })
    });
    json!({
        "crlUrls": limits.list(&found.crl_urls),
        "crlUrlsTotal": found.crl_total,
        "ocspUrls": limits.list(&found.ocsp_urls),
        "ocspUrlsTotal": found.ocsp_total,
        "authority": authority,
    })
}
