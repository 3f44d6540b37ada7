//! The reduced form of a message, for when SNS refuses the full one: no text that others chose, and
//! ASCII only.

use serde_json::Value;

use crate::alert::certificate::{self, Certificate, Fact};
use crate::alert::content::Content;
use crate::alert::entry::{Entry, is_plain_arn, is_serial};
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
    document.reduced = true;
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
        certificate::Value::Quoted(_) => {
            fact.value = certificate::Value::Text("not shown".to_owned())
        }
    }
}

fn reduce_certificate(certificate: &mut Certificate) {
    identify(&mut certificate.name);
    certificate
        .details
        .retain(|fact| !matches!(fact.value, certificate::Value::Quoted(_)));
    for fact in [
        &mut certificate.revoked,
        &mut certificate.expires,
        &mut certificate.serial,
    ] {
        reduce_fact(fact);
    }
}

fn reduce_entry(entry: &mut Entry) {
    let unless = |field: &mut Option<String>, is_harmless: fn(&str) -> bool| {
        *field = field.take().filter(|text| is_harmless(text));
    };
    unless(&mut entry.certificate_arn, is_plain_arn);
    unless(&mut entry.serial, is_serial);
    unless(&mut entry.aws_account_id, is_word);
    unless(&mut entry.requested_by_service_principal, is_word);
    for time in [
        &mut entry.revoked_at,
        &mut entry.not_before,
        &mut entry.not_after,
        &mut entry.issued_at,
    ] {
        unless(time, |text| Timestamp::parse(text).is_some());
    }
    entry.reason = label(&RevocationReason::from_report(&entry.reason)).to_owned();
    entry.subject = None;
    entry.subject_text = None;
    entry.common_name = None;
    entry.template_arn = None;
    entry.truncated.clear();
}

fn to_ascii(text: &mut String) {
    *text = text
        .chars()
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .collect();
}
