//! Whatever is revoked and however much of it: nothing is missing, SNS accepts the message, the worst
//! come first, and the message is the same each time.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::messages::{assert_valid, schema};
use crate::support::{
    self, AUTHORITY, SIZE_LIMIT, accepted, alert, collect, detected_at, document, full_list, many,
    renamed, report, serial,
};
use pca_revocation_watch::alert::{
    Alert, AlertKind, Message, ObjectLocation, RevocationAlert, RevocationBatch,
};
use pca_revocation_watch::revocation::key::{RevocationId, RevocationKey};
use pca_revocation_watch::revocation::reason::RevocationReason;
use pca_revocation_watch::revocation::record::{ReportTime, Revocation};
use proptest::prelude::*;
use serde_json::Value;

/// Asserts that SNS accepts the reduced form, on a topic that takes 4 KiB.
fn reduced(alert: &Alert) -> Message {
    let message = alert.reduced();
    accepted(&message);
    assert!(message.body.is_ascii());
    assert!(
        message.size_bytes() <= 4096,
        "{} bytes: {}",
        message.size_bytes(),
        message.body
    );
    message
}

/// Asserts what must be true of the message of any revocations.
fn check(revoked: &[Revocation]) {
    let (batch, lines) = collect(revoked.iter().cloned());
    assert_eq!(batch.counts.total(), revoked.len() as u64);
    let needs_full_list = batch.needs_full_list;
    assert_eq!(needs_full_list, !lines.is_empty());
    let alert = alert(AlertKind::Revocations(RevocationAlert::new(
        batch,
        report(),
        needs_full_list.then(full_list),
    )));
    let message = alert.message();
    let document = document(&message);
    accepted(&alert.chat());
    reduced(&alert);
    let entries = document["revocations"].as_array().expect("a list");
    if needs_full_list {
        assert_eq!(document["complete"], false);
        assert_eq!(document["fullList"], serde_json::json!(full_list()));
        assert!(!entries.is_empty());
    } else {
        assert_eq!(document["complete"], true);
    }
    check_all_are_listed(revoked, if needs_full_list { &[] } else { entries }, &lines);
    check_worst_first(revoked, entries);

    // As many as fit: there is no room for one more of this size.
    if needs_full_list && entries.iter().all(|entry| entry.get("truncated").is_none()) {
        assert!(
            message.body.len() > 180_000 || entries.len() == revoked.len(),
            "{}",
            message.body.len()
        );
    }
}

/// Every revocation is, in full, in the JSON message or in the full list. Lines before the first
/// revocation that did not fit come worst first, the others as they were added.
fn check_all_are_listed(revoked: &[Revocation], entries: &[Value], lines: &[u8]) {
    let sorted = |values: Vec<Value>| {
        let mut texts: Vec<String> = values.iter().map(Value::to_string).collect();
        texts.sort_unstable();
        texts
    };
    let batch = RevocationBatch::new(AUTHORITY, detected_at());
    let expected = revoked.iter().map(|revocation| {
        let line = batch.line(revocation);
        serde_json::from_slice(&line).expect("JSON")
    });
    let lines = serde_json::Deserializer::from_slice(lines).into_iter();
    let lines = lines.map(|line| line.expect("JSON lines"));
    // A line says what the report states; an entry also what was found out.
    let entries = entries.iter().cloned().map(|mut entry| {
        let fields = entry.as_object_mut().expect("an object");
        let found = fields.shift_remove("investigation");
        assert_eq!(found, Some("notInvestigated".into()));
        entry
    });
    let listed = entries.chain(lines);
    assert_eq!(sorted(listed.collect()), sorted(expected.collect()));
}

/// The worst come first, and no missing one is worse than one that is listed.
fn check_worst_first(revoked: &[Revocation], entries: &[Value]) {
    let rank = |revocation: &Revocation| {
        let reason = RevocationReason::KNOWN
            .iter()
            .position(|known| *known == revocation.reason)
            .unwrap_or(8);
        let severity = match revocation.severity().name() {
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
    let mut worst_first: Vec<_> = revoked.iter().map(rank).collect();
    worst_first.sort_unstable();
    let listed: Vec<&str> = entries
        .iter()
        .map(|entry| entry["revocationId"].as_str().expect("an ID"))
        .collect();
    let expected: Vec<&str> = worst_first[..listed.len()]
        .iter()
        .map(|(.., id)| id.as_str())
        .collect();
    assert_eq!(listed, expected);
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
        malformed in prop::option::weighted(0.1, any::<String>()),
        principal in prop::option::of(Just("acm.amazonaws.com".to_owned())),
    ) -> Revocation {
        let serial = malformed.clone().unwrap_or_else(|| serial(number));
        let arn = malformed.clone().unwrap_or_else(|| format!("{AUTHORITY}/certificate/{number:032x}"));
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
            aws_account_id: malformed.clone().or(Some("123456789012".to_owned())),
            template_arn: malformed.clone(),
            requested_by_service_principal: malformed.clone().or(principal),
            malformed: malformed.is_some(),
        }
    }
}

fn unique(mut revoked: Vec<Revocation>) -> Vec<Revocation> {
    let mut seen = BTreeSet::new();
    revoked.retain(|revocation| seen.insert(revocation.key.clone()));
    revoked
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_revocations_fit_a_message(revoked in prop::collection::vec(any_revocation(), 1..40)) {
        check(&unique(revoked));
    }

    #[test]
    fn the_order_of_the_report_does_not_matter(
        revoked in prop::collection::vec(any_revocation(), 1..12),
        copies in 1_u64..40,
    ) {
        // More than fit.
        let revoked: Vec<Revocation> = unique(revoked)
            .into_iter()
            .flat_map(|revocation| (0..copies).map(move |copy| Revocation {
                key: RevocationKey::of(Some(&format!("{copy:x}")), None, b"")
                    .clone()
                    .min(revocation.key.clone()),
                ..revocation.clone()
            }))
            .collect();
        let revoked = unique(revoked);
        let forwards = support::revocations(revoked.clone());
        let backwards = support::revocations(revoked.into_iter().rev());
        prop_assert_eq!(forwards.message().id, backwards.message().id);
        prop_assert_eq!(forwards.message(), backwards.message());
        prop_assert_eq!(forwards.chat(), backwards.chat());
        prop_assert_eq!(forwards.message(), forwards.message());
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// A short one does not displace a worse one that was too long.
    #[test]
    fn the_worst_are_listed_whatever_their_lengths(
        lengths in prop::collection::vec((0_usize..8, any_reason()), 150..250),
    ) {
        let revoked: Vec<Revocation> = many(250)
            .zip(lengths)
            .map(|(revocation, (length, reason))| Revocation {
                subject: Some("x".repeat(length * 500)),
                reason,
                ..revocation
            })
            .collect();
        check(&revoked);
    }

    #[test]
    fn locations_and_names_of_any_length_fit(
        key in prop_oneof![any::<String>(), Just("\u{0}".repeat(1024)), Just("\u{1f4a3}".repeat(256))],
        name in any_subject(),
        revoked in prop::collection::vec(any_revocation(), 25..40),
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
        let (batch, _) = collect(revoked.iter().cloned().chain(many(300)));
        report.certificates = u64::MAX;
        report.revoked = u64::MAX;
        let alert = Alert {
            runbook_url: Some(format!("https://{}", "w".repeat(492))),
            ..alert(AlertKind::Replay {
                revocations: RevocationAlert::new(batch, report, Some(location)),
                since: detected_at(),
                request_id: "r".repeat(64),
            })
        };
        let alert = renamed(alert, Some(&name));
        accepted(&alert.message());
        reduced(&alert);
        accepted(&alert.chat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reduced_form_fits_4_kib_whatever_the_content(
        key in prop_oneof![
            any::<String>(), Just("\u{0}".repeat(1024)), Just("\"".repeat(1024)),
            Just("\u{1f4a3}".repeat(256)), "[a-z]{900,960}",
        ],
        text in prop_oneof![
            any::<String>(), Just("\"\\".repeat(2000)), Just("\u{e0041}".repeat(2000)),
            Just("word ".repeat(1000)),
        ],
        revoked in prop::collection::vec(any_revocation(), 1..40),
        unknown_reasons in 0_usize..20,
    ) {
        let location = ObjectLocation { bucket: "b".repeat(63), key };
        let mut source = report();
        source.location = location.clone();
        (source.certificates, source.revoked) = (u64::MAX, u64::MAX);
        let others = (0..unknown_reasons).map(|number| Revocation {
            reason: RevocationReason::Other(format!("{}{number:02}", "R".repeat(62))),
            ..many(1).next().expect("one")
        });
        let (batch, _) = collect(revoked.into_iter().chain(many(60)).chain(others));
        let revocations = || RevocationAlert::new(batch.clone(), source.clone(), Some(location.clone()));
        let kinds = [
            AlertKind::Revocations(revocations()),
            AlertKind::Replay {
                revocations: revocations(),
                since: detected_at(),
                request_id: "r".repeat(64),
            },
            AlertKind::Test { request_id: "r".repeat(64) },
        ];
        let schema = schema();
        for kind in kinds {
            let alert = renamed(alert(kind), Some(&text));
            let message = reduced(&alert);
            assert_valid(&schema, &document(&message));
            // The full form respects any limit from there on.
            for limit in [4096, 8192, 20_000, 65_536] {
                prop_assert!(alert.message_within(limit).size_bytes() <= limit);
            }
        }
    }
}

/// What a message is about, whatever was found out.
fn substance(message: &Message) -> (String, Vec<Value>, Value, bool, bool) {
    let document = document(message);
    let entries = document["revocations"].as_array().expect("a list");
    let ids = entries.iter().map(|entry| entry["revocationId"].clone());
    (
        message.id.clone(),
        ids.collect(),
        document["complete"].clone(),
        message.is_complete,
        message.is_reduced,
    )
}

/// The certificates that an email lists, and what it says about the others.
fn listed(message: &Message) -> Vec<String> {
    let text = support::email(message);
    let lines = text.lines();
    let about = |line: &&str| line.starts_with("Certificate ") || line.starts_with("These are ");
    lines.filter(about).map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_message_holds_does_not_depend_on_findings(
        revoked in prop::collection::vec(any_revocation(), 1..12),
        copies in prop_oneof![Just(0_u64), Just(300)],
        found in prop::collection::vec((any_subject(), 0_usize..=10, any::<bool>()), 1..=5),
        limit in 1024_usize..40_000,
    ) {
        let revoked: Vec<Revocation> = unique(revoked).into_iter().chain(many(copies)).collect();
        let found = found.iter().map(|(text, items, is_known)| match is_known {
            true => support::findings_with(text, *items),
            false => support::unknown_with(text),
        });
        let without = support::revocations(revoked.clone());
        let number = found.len().min(revoked.len());
        let with = support::investigated(revoked, found);
        for limit in [limit, 65_536, 131_072, SIZE_LIMIT] {
            let (expected, message) = (without.message_within(limit), with.message_within(limit));
            prop_assert_eq!(substance(&message), substance(&expected));
            prop_assert_eq!(listed(&message), listed(&expected));
            prop_assert!(message.size_bytes() <= limit.max(expected.size_bytes()));
            prop_assert_eq!(&message.attributes, &expected.attributes);
            assert_valid(&schema(), &document(&message));
        }
        // At the default limit, there is room for all of them.
        let document = document(&with.message());
        let entries = document["revocations"].as_array().expect("a list");
        let looked_up = entries.iter().filter(|entry| entry["investigation"].is_object());
        prop_assert_eq!(looked_up.count(), number.min(entries.len()));
        accepted(&with.chat());
        prop_assert_eq!(reduced(&with), reduced(&without));
    }
}

#[test]
fn findings_use_the_room_that_the_topic_leaves() {
    let found = [(); 3].map(|()| support::findings());
    let alert = support::investigated(many(3), found);
    let without = support::revocations(many(3)).message().size_bytes();
    let mut numbers = Vec::new();
    for limit in (without..without + 12_000).step_by(200) {
        let message = alert.message_within(limit);
        assert!(message.size_bytes() <= limit);
        let document = document(&message);
        let entries = document["revocations"].as_array().expect("a list");
        let are_known = entries
            .iter()
            .map(|entry| entry["investigation"].is_object());
        let are_known: Vec<bool> = are_known.collect();
        assert!(are_known.is_sorted_by(|worse, better| worse >= better));
        let number = are_known.iter().filter(|&&is_known| is_known).count();
        let lines = support::email(&message).matches("\nRevoked by: ").count();
        assert_eq!(number, lines);
        numbers.push(number);
    }
    assert!(numbers.is_sorted());
    numbers.dedup();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[test]
fn message_lists_as_many_as_the_topic_takes() {
    let alert = support::revocations(many(300));
    let mut before = 0;
    for limit in [4096, 8192, 16_384, 65_536, 131_072] {
        let message = alert.message_within(limit);
        let document = document(&message);
        let entries = document["revocations"].as_array().expect("a list").len();
        assert!(
            message.size_bytes() <= limit && entries > before,
            "{limit}: {entries}"
        );
        assert!(
            limit < 16_384 || message.size_bytes() > limit * 3 / 4,
            "{limit}: {}",
            message.size_bytes()
        );
        assert_eq!(document["complete"], false);
        assert_eq!(document["counts"]["new"], 300);
        assert!(!message.is_complete);
        before = entries;
    }
}

#[test]
fn any_number_of_revocations_fits_a_message() {
    for number in [1, 2, 24, 25, 26, 150, 190, 200, 210, 250, 1000, 2000] {
        let revoked: Vec<Revocation> = many(number).collect();
        check(&revoked);
    }
}

/// On the stream, since [`check`] would be slow with so many.
#[test]
fn a_hundred_thousand_revocations_fit_a_message() {
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
            listed.insert(*id.expect("an ID"));
        }
    }
    assert_eq!(listed.len() as u64, MANY);
    assert!(most_due < SIZE_LIMIT, "{most_due}");
    assert_eq!(batch.counts.total(), MANY);
    let revoked = RevocationAlert::new(batch, report(), Some(full_list()));
    let alert = alert(AlertKind::Revocations(revoked));
    let document = document(&alert.message());
    accepted(&alert.chat());
    reduced(&alert);
    assert_eq!(document["complete"], false);
    assert_eq!(document["counts"]["new"], MANY);
    let entries = document["revocations"].as_array().expect("a list");
    assert!(entries.len() > 150, "{}", entries.len());
    // More critical ones than fit.
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
fn a_message_at_the_size_limit_is_complete() {
    // With one more octet in one subject, it is not.
    let with = |length: usize| {
        let mut revoked: Vec<Revocation> = many(150).collect();
        for (revocation, share) in revoked.iter_mut().zip(0..) {
            let length = (length / 150 + usize::from(share < length % 150)).min(4000);
            revocation.subject = Some("x".repeat(length));
        }
        collect(revoked).0.needs_full_list
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
    let revoked = |length: usize| -> Vec<Revocation> {
        many(150)
            .zip(0..)
            .map(|(revocation, share)| Revocation {
                subject: Some("x".repeat(length / 150 + usize::from(share < length % 150))),
                ..revocation
            })
            .collect()
    };
    check(&revoked(fits));
    check(&revoked(too_long));
    let message = support::revocations(revoked(fits)).message();
    assert!(
        message.body.len() > SIZE_LIMIT * 3 / 4,
        "{}",
        message.body.len()
    );
}
