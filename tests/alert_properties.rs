//! Whatever is revoked, however much of it: nothing is left out, SNS takes it, the worst come
//! first, and it is the same message each time.

mod alert_support;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use alert_support::{
    AUTHORITY, accepted, alert, collect, detected_at, document, full_list, many, report, serial,
};
use pca_revocation_watch::alert::{
    Alert, AlertKind, CertificateAuthority, ObjectLocation, RevocationAlert, RevocationBatch,
    Totals, full_list_line, size,
};
use pca_revocation_watch::revocation::id::RevocationId;
use pca_revocation_watch::revocation::key::RevocationKey;
use pca_revocation_watch::revocation::reason::RevocationReason;
use pca_revocation_watch::revocation::record::{ReportTime, Revocation};
use proptest::prelude::*;
use serde_json::Value;

/// What has to hold for the message of any revocations.
fn check(told: &[Revocation]) {
    let (batch, lines) = collect(told.iter().cloned());
    assert_eq!(batch.len(), told.len() as u64);
    let needs_full_list = batch.needs_full_list();
    assert_eq!(needs_full_list, !lines.is_empty());
    let totals = Totals {
        certificates: batch.len(),
        revoked: batch.len(),
    };
    let alert = alert(AlertKind::Revocations(RevocationAlert::new(
        batch,
        report(),
        totals,
        needs_full_list.then(full_list),
    )));
    let message = alert.message();
    let document = document(&message);
    accepted(&alert.chat());
    accepted(&alert.reduced());

    // Every revocation is, whole, in the document or in the full list.
    let expected: Vec<Value> = told
        .iter()
        .map(|revocation| {
            let line = full_list_line(AUTHORITY, revocation, detected_at());
            serde_json::from_slice(&line).expect("JSON")
        })
        .collect();
    let entries = document["revocations"].as_array().expect("a list");
    if needs_full_list {
        let lines: Vec<Value> = serde_json::Deserializer::from_slice(&lines)
            .into_iter()
            .collect::<Result<_, _>>()
            .expect("JSON lines");
        // Those before the first that did not fit come worst first, the others as they are added.
        let sorted = |values: &[Value]| {
            let mut texts: Vec<String> = values.iter().map(Value::to_string).collect();
            texts.sort_unstable();
            texts
        };
        assert_eq!(sorted(&lines), sorted(&expected));
        assert_eq!(document["complete"], false);
        assert_eq!(document["fullList"], serde_json::json!(full_list()));
        assert!(!entries.is_empty());
    } else {
        assert_eq!(document["complete"], true);
        assert_eq!(entries.len(), told.len());
        let by_id: BTreeMap<&str, &Value> = expected
            .iter()
            .map(|entry| (entry["revocationId"].as_str().expect("an id"), entry))
            .collect();
        for entry in entries {
            assert_eq!(by_id[entry["revocationId"].as_str().expect("an id")], entry);
        }
    }

    // The worst come first, and none that is left out is worse than one that is not.
    let rank = |revocation: &Revocation| {
        let reason = RevocationReason::KNOWN
            .iter()
            .position(|known| *known == revocation.reason)
            .unwrap_or(8);
        let severity = match revocation.reason.severity().name() {
            "critical" => 0,
            "high" => 1,
            _ => 2,
        };
        let time = revocation
            .revoked_at
            .at
            .map_or(i64::MIN, |at| -at.unix_seconds());
        let id = RevocationId::of(AUTHORITY, &revocation.key).to_string();
        (severity, reason, time, id)
    };
    let mut worst_first: Vec<_> = told.iter().map(rank).collect();
    worst_first.sort_unstable();
    let held: Vec<&str> = entries
        .iter()
        .map(|entry| entry["revocationId"].as_str().expect("an id"))
        .collect();
    let expected: Vec<&str> = worst_first[..held.len()]
        .iter()
        .map(|(.., id)| id.as_str())
        .collect();
    assert_eq!(held, expected);

    // As many as there is room for: one more of this size would not have fitted.
    if needs_full_list && entries.iter().all(|entry| entry.get("truncated").is_none()) {
        assert!(
            message.size() > 180_000 || held.len() == told.len(),
            "{}",
            message.size()
        );
    }
}

fn any_reason() -> impl Strategy<Value = RevocationReason> {
    prop_oneof![
        8 => (0..RevocationReason::KNOWN.len()).prop_map(|index| RevocationReason::KNOWN[index].clone()),
        1 => "[A-Z_]{0,70}".prop_map(|text| RevocationReason::from_report(&text)),
        1 => any::<String>().prop_map(|text| RevocationReason::from_report(&text)),
    ]
}

fn any_time() -> impl Strategy<Value = ReportTime> {
    prop_oneof![
        8 => (1_519_600_000_i64..1_519_670_000).prop_map(|seconds| {
            let at = pca_revocation_watch::timestamp::Timestamp::from_unix_seconds(seconds);
            ReportTime::from_report(&at.expect("a time").to_string())
        }),
        1 => any::<String>().prop_map(|text| ReportTime::from_report(&text)),
    ]
}

fn any_subject() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "(CN=[a-z.]{1,40}(,[A-Z]{1,2}=[ -~]{0,30}){0,6})",
        2 => any::<String>(),
        1 => (0_usize..20_000, any::<char>()).prop_map(|(len, c)| c.to_string().repeat(len)),
        1 => (4000_usize..4200, "[a\u{0}\u{e9}\u{1f4a3}\\\\\"]").prop_map(|(len, c)| c.repeat(len)),
    ]
}

prop_compose! {
    fn any_revocation()(
        number in any::<u64>(),
        subject in prop::option::weighted(0.95, any_subject()),
        reason in any_reason(),
        revoked_at in any_time(),
        not_after in prop::option::of(any_time()),
        strange in prop::option::weighted(0.1, any::<String>()),
        principal in prop::option::of(Just("acm.amazonaws.com".to_owned())),
    ) -> Revocation {
        let serial = strange.clone().unwrap_or_else(|| serial(number));
        let arn = strange.clone().unwrap_or_else(|| format!("{AUTHORITY}/certificate/{number:032x}"));
        Revocation {
            key: RevocationKey::of(Some(&serial), Some(&arn), &number.to_be_bytes()),
            serial: Some(serial),
            subject,
            certificate_arn: Some(arn),
            reason,
            revoked_at,
            not_before: None,
            not_after,
            issued_at: None,
            aws_account_id: strange.clone().or(Some("123456789012".to_owned())),
            template_arn: strange.clone(),
            requested_by_service_principal: strange.clone().or(principal),
            malformed: strange.is_some(),
        }
    }
}

fn unique(mut told: Vec<Revocation>) -> Vec<Revocation> {
    let mut seen = BTreeSet::new();
    told.retain(|revocation| seen.insert(revocation.key.clone()));
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_revocations_make_a_message(told in prop::collection::vec(any_revocation(), 1..40)) {
        check(&unique(told));
    }

    #[test]
    fn the_order_of_the_report_does_not_matter(
        told in prop::collection::vec(any_revocation(), 1..12),
        copies in 1_u64..40,
    ) {
        // Enough of them that not all fit.
        let told: Vec<Revocation> = unique(told)
            .into_iter()
            .flat_map(|revocation| (0..copies).map(move |copy| Revocation {
                key: RevocationKey::of(Some(&format!("{copy:x}")), None, b"")
                    .clone()
                    .min(revocation.key.clone()),
                ..revocation.clone()
            }))
            .collect();
        let told = unique(told);
        let forwards = alert_support::revocations(told.clone());
        let backwards = alert_support::revocations(told.into_iter().rev());
        prop_assert_eq!(forwards.id(), backwards.id());
        prop_assert_eq!(forwards.message(), backwards.message());
        prop_assert_eq!(forwards.chat(), backwards.chat());
        prop_assert_eq!(forwards.message(), forwards.message());
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// A small one does not take the place of a worse one that was too long.
    #[test]
    fn what_is_held_is_the_worst_whatever_their_lengths(
        lengths in prop::collection::vec((0_usize..8, any_reason()), 150..250),
    ) {
        let told: Vec<Revocation> = many(250)
            .zip(lengths)
            .map(|(revocation, (length, reason))| Revocation {
                subject: Some("x".repeat(length * 500)),
                reason,
                ..revocation
            })
            .collect();
        check(&told);
    }

    #[test]
    fn locations_and_names_of_any_length_fit(
        key in prop_oneof![any::<String>(), Just("\u{0}".repeat(1024)), Just("\u{1f4a3}".repeat(256))],
        name in any_subject(),
        told in prop::collection::vec(any_revocation(), 25..40),
    ) {
        let location = ObjectLocation {
            bucket: "b".repeat(63),
            key: key.chars().scan(0, |len, c| {
                *len += c.len_utf8();
                (*len <= 1024).then_some(c)
            }).collect(),
        };
        let mut report = report();
        report.location = location.clone();
        let (batch, _) = collect(told.iter().cloned().chain(many(300)));
        let totals = Totals { certificates: u64::MAX, revoked: u64::MAX };
        let alert = Alert {
            certificate_authority: CertificateAuthority::new(AUTHORITY, Some(name)),
            ..alert(AlertKind::Replay {
                revocations: RevocationAlert::new(batch, report, totals, Some(location)),
                since: detected_at(),
                request_id: "r".repeat(64),
            })
        };
        accepted(&alert.message());
        accepted(&alert.reduced());
        accepted(&alert.chat());
    }
}

#[test]
fn any_number_of_revocations_makes_a_message() {
    for number in [1, 2, 24, 25, 26, 150, 190, 200, 210, 250, 1000, 2000] {
        let told: Vec<Revocation> = many(number).collect();
        check(&told);
    }
}

/// The same on the stream, as [`check`] would take its time over so many.
#[test]
fn a_hundred_thousand_revocations_make_a_message() {
    const MANY: u64 = 100_000;
    let mut batch = RevocationBatch::new(AUTHORITY, detected_at());
    let mut listed = BTreeSet::new();
    let mut most_due = 0;
    for revocation in many(MANY) {
        let due = batch.add(revocation);
        most_due = most_due.max(due.len());
        for line in due
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let id = line
                .strip_prefix(b"{\"revocationId\":\"")
                .and_then(|rest| rest.first_chunk::<32>());
            listed.insert(*id.expect("an id"));
        }
    }
    assert_eq!(listed.len() as u64, MANY);
    assert!(most_due < size::LIMIT, "{most_due}");
    assert_eq!(batch.len(), MANY);
    let totals = Totals {
        certificates: MANY,
        revoked: MANY,
    };
    let told = RevocationAlert::new(batch, report(), totals, Some(full_list()));
    let alert = alert(AlertKind::Revocations(told));
    let document = document(&alert.message());
    accepted(&alert.chat());
    accepted(&alert.reduced());
    assert_eq!(document["complete"], false);
    assert_eq!(document["counts"]["new"], MANY);
    let entries = document["revocations"].as_array().expect("a list");
    assert!(entries.len() > 150, "{}", entries.len());
    // There are more critical ones than fit.
    assert!(entries.iter().all(|entry| entry["severity"] == "critical"));
    let rank = |entry: &Value| {
        let reason = document["reasons"].as_array().expect("a list");
        let reason = reason.iter().position(|known| *known == entry["reason"]);
        let revoked_at = entry["revokedAt"].as_str().expect("a time").to_owned();
        (reason, Reverse(revoked_at))
    };
    assert!(entries.iter().map(rank).is_sorted());
}

#[test]
fn at_the_edge_of_the_room_the_message_is_just_complete() {
    // One more octet of one subject, and it is no longer.
    let with = |length: usize| {
        let mut told: Vec<Revocation> = many(150).collect();
        for (revocation, share) in told.iter_mut().zip(0..) {
            let length = (length / 150 + usize::from(share < length % 150)).min(4000);
            revocation.subject = Some("x".repeat(length));
        }
        collect(told).0.needs_full_list()
    };
    let (mut fits, mut too_long) = (0, 150 * 4000);
    assert!(!with(fits) && with(too_long));
    while too_long - fits > 1 {
        let middle = fits.midpoint(too_long);
        if with(middle) {
            too_long = middle;
        } else {
            fits = middle;
        }
    }
    let told = |length: usize| -> Vec<Revocation> {
        many(150)
            .zip(0..)
            .map(|(revocation, share)| Revocation {
                subject: Some("x".repeat(length / 150 + usize::from(share < length % 150))),
                ..revocation
            })
            .collect()
    };
    check(&told(fits));
    check(&told(too_long));
    let message = alert_support::revocations(told(fits)).message();
    assert!(message.size() > size::LIMIT * 3 / 4, "{}", message.size());
}
