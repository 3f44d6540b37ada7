//! The reduced form of a message, for when SNS refuses the full one: no text that others chose, and
//! ASCII only.

use serde_json::{Map, Value};

use crate::alert::certificate::{self, Certificate, Fact};
use crate::alert::content::Content;
use crate::alert::entry::{is_plain_arn, is_serial};
use crate::alert::line::{Line, Name};
use crate::revocation::reason::RevocationReason;
use crate::revocation::reason_counts::{is_word, label};
use crate::timestamp::Timestamp;

/// Replaces names by identifiers, removes quotations and writes everything else in ASCII.
pub(super) fn reduce(mut content: Content) -> Content {
    for line in [
        &mut content.subject,
        &mut content.headline,
        &mut content.title,
    ] {
        Line::names_mut(line).for_each(identify);
    }
    identify(&mut content.authority_name);
    content.facts.iter_mut().for_each(reduce_fact);
    content.sources.iter_mut().for_each(reduce_fact);
    content.report.iter_mut().for_each(reduce_fact);
    content.certificates.iter_mut().for_each(reduce_certificate);
    let steps = content.next_steps.iter_mut();
    steps.flat_map(|group| &mut group.steps).for_each(to_ascii);
    let document = &mut content.document;
    document.reduced = Some(true);
    document.complete = document.complete.map(|_| false);
    let error = document.error.as_mut().and_then(Value::as_object_mut);
    for field in error.into_iter().flat_map(|error| error.values_mut()) {
        if let Value::String(text) = field {
            to_ascii(text);
        }
    }
    for entry in document.revocations.iter_mut().flatten() {
        reduce_entry(entry);
    }
    content
}

fn identify(name: &mut Name) {
    name.text.clone_from(&name.identifier);
}

fn reduce_fact(fact: &mut Fact) {
    match &mut fact.value {
        certificate::Value::Text(text) | certificate::Value::Code(text) => to_ascii(text),
        quoted => *quoted = certificate::Value::Text("not shown".to_owned()),
    }
}

fn reduce_certificate(certificate: &mut Certificate) {
    identify(&mut certificate.name);
    certificate
        .details
        .retain(|fact| !matches!(fact.value, certificate::Value::Quoted(_)));
    certificate.facts.iter_mut().for_each(reduce_fact);
}

fn reduce_entry(entry: &mut Map<String, Value>) {
    entry.retain(|name, value| {
        let text = value.as_str().unwrap_or_default();
        match name.as_str() {
            "certificateArn" => is_plain_arn(text),
            "serial" => is_serial(text),
            "awsAccountId" | "requestedByServicePrincipal" => is_word(text),
            "revokedAt" | "notBefore" | "notAfter" | "issuedAt" => Timestamp::parse(text).is_some(),
            "subject" | "subjectText" | "commonName" | "templateArn" | "truncated" => false,
            "reason" => {
                *value = label(&RevocationReason::from_report(text)).into();
                true
            }
            _ => true,
        }
    });
}

fn to_ascii(text: &mut String) {
    *text = text
        .chars()
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .collect();
}
