//! Messages about the watch itself: what they say, what identifies them, and that they fit whatever the
//! number of certificate authorities and whatever texts are in them.

use std::collections::BTreeSet;

use crate::messages::{assert_valid, schema};
use crate::support::{
    AUTHORITY, accepted, at, authorities, denied, document, email, failed, hostile_subjects,
    overdue, problem, recovered, refused, renamed, sms, started, stopped, summary, watch,
};
use pca_revocation_watch::alert::{
    Alert, AlertKind, Coverage, MAX_NAMED, MAX_REDUCED_LEN, Message, OpenProblem, Stack,
    WatchError, WatchSummary,
};
use pca_revocation_watch::revocation::reason::ReasonCounts;
use pca_revocation_watch::text::visible::is_invisible;
use proptest::prelude::*;
use serde_json::{Value, json};

/// An alert of each kind about a number of certificate authorities, with a text wherever one may be.
fn every_kind(number: usize, text: &str) -> Vec<Alert> {
    let error = WatchError {
        kind: text.to_owned(),
        resource: Some(text.to_owned()),
        message: text.to_owned(),
        hint: text.to_owned(),
        ..refused()
    };
    let problem = |position| OpenProblem {
        kind: text.to_owned(),
        resource: Some(text.to_owned()),
        ..problem(position)
    };
    let summary = WatchSummary {
        problems: (0..number).map(problem).collect(),
        without_revocation_checking: Some(authorities(number)),
        ..summary()
    };
    let kinds = [
        started(number as u64),
        failed(error.clone(), 7),
        recovered(error, 0),
        stopped(Coverage::All),
        AlertKind::WatchSummary(summary),
    ];
    let alerts = kinds.into_iter().map(|kind| watch(number, kind));
    // Only a summary can be about none.
    let alerts = alerts.skip(if number == 0 { 4 } else { 0 });
    alerts.map(|alert| renamed(alert, Some(text))).collect()
}

/// The members of the JSON message that count, by name.
fn counts(alert: &Alert) -> Value {
    document(&alert.message())["counts"].clone()
}

/// The text of the email without line breaks.
fn words(alert: &Alert) -> String {
    let text = email(&alert.message());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn assert_says(alert: &Alert, subject: &str, parts: &[&str]) {
    assert_eq!(alert.message().subject, subject);
    let words = words(alert);
    for part in parts {
        assert!(words.contains(part), "{part:?} in {words}");
    }
    assert_valid(&schema(), &document(&alert.message()));
    assert_valid(&schema(), &document(&alert.reduced()));
}

#[test]
fn watch_failed_says_the_consequence_and_what_to_do() {
    let long = WatchError {
        message: "m\u{e9}ssage\n".repeat(1000),
        hint: "hint ".repeat(1000),
        ..denied()
    };
    let kind = AlertKind::WatchFailed {
        error: long,
        earlier: 0,
        last_complete_audit_at: None,
    };
    let alert = watch(1, kind.clone());
    assert_says(
        &alert,
        "[HIGH] MONITORING FAILED: Example Corp Issuing CA, AccessDenied",
        &[
            "Audits of this CA have failed since 2018-02-26 20:30:31 UTC. Revocations after the last complete audit may not have been reported yet.",
            "None is lost: alerts go out as soon as audits work again.",
            "You will get a recovery message then.",
            "Cause: AccessDenied: m\u{e9}ssage",
            "Fix: hint hint",
            "Resource: acm-pca:CreateCertificateAuthorityAuditReport",
            "Last complete audit: none yet",
        ],
    );
    assert!(words(&watch(2, kind)).contains("at least one CA has none yet"));
    let reduced = accepted(&alert.reduced());
    assert!(reduced["email"].as_str().is_some_and(str::is_ascii));
}

#[test]
fn no_alert_is_promised_for_a_ca_that_is_too_large() {
    let error = WatchError {
        kind: "CertificateAuthorityTooLarge".to_owned(),
        resource: None,
        ..denied()
    };
    let words = words(&watch(1, failed(error, 0)));
    assert!(words.contains("Revocations after the last complete audit are not reported."));
    for absent in ["lost", "recovery", "again."] {
        assert!(!words.contains(absent), "{absent:?} in {words}");
    }
}

#[test]
fn watch_failed_counts_cas_alerted_before() {
    let alert = watch(2, failed(refused(), 18));
    assert_says(
        &alert,
        "[HIGH] MONITORING FAILED: 2 more CAs, ReportBucketRefused",
        &[
            "An error that began 2018-02-26 20:00:31 UTC now makes audits of 2 CAs fail as well.",
            "Revocations after their last complete audits may not have been reported yet.",
            "Cause: ReportBucketRefused, for example: AWS Private CA cannot write",
            "To see the error of each CA, run the command in the stack output StatusCommand, or invoke the function with: {\"status\": true}",
            "It affects 20 CAs in total; you were alerted to the others before.",
            "You will get a recovery message when all of them work again.",
        ],
    );
    let expected = json!({ "certificateAuthorities": 20, "added": 2 });
    assert_eq!(counts(&alert), expected);
    let one = watch(1, failed(refused(), 18));
    assert!(words(&one).contains("audits of this CA fail as well. It affects 19 CAs in total"));
}

#[test]
fn overdue_audits_are_not_said_to_fail() {
    for (number, earlier, text) in [
        (
            1,
            0,
            "A complete audit of this CA has been overdue since 2018-02-26 20:25:02 UTC. Revocations after the last",
        ),
        (
            3,
            0,
            "Complete audits of 3 CAs have been overdue since 2018-02-26 20:25:02 UTC. Revocations after their last",
        ),
        (1, 19, "A complete audit of this CA is now overdue as well."),
        (
            3,
            17,
            "Complete audits of 3 CAs are now overdue as well. This began 2018-02-26 20:25:02 UTC and affects 20 CAs in total;",
        ),
    ] {
        let words = words(&watch(number, overdue(earlier)));
        assert!(words.contains(text), "{words}");
    }
}

#[test]
fn emails_name_the_first_cas_and_count_the_others() {
    let lines = |number: usize| -> Vec<String> {
        let text = email(&watch(number, failed(refused(), 0)).message());
        let items = text.lines().filter(|line| line.starts_with("- "));
        items.map(str::to_owned).collect()
    };
    assert_eq!(lines(1), Vec::<String>::new());
    assert_eq!(
        lines(2),
        ["- Example Corp Issuing CA", "- Example Corp Device CA"]
    );
    assert_eq!(lines(MAX_NAMED).len(), MAX_NAMED);
    let many = lines(1_234);
    assert_eq!(many.len(), MAX_NAMED + 1);
    assert_eq!(many[MAX_NAMED], "- and 1,224 more");
    let unnamed = renamed(watch(2, failed(refused(), 0)), None);
    assert!(email(&unnamed.message()).contains("- 11223344-1234-1122-2233-112233445566\n"));
}

#[test]
fn watch_started_says_what_each_first_audit_found() {
    assert_says(
        &watch(3, started(3)),
        "[LOW] MONITORING STARTED: 3 CAs, 3,606 certificates, 24 revoked",
        &[
            "First audits: 3,606 certificates, 24 revoked",
            "Alerts: revocations since 2018-02-25 20:30:02 UTC or, for some CAs, up to 2018-02-25 20:30:04 UTC",
            "- Example Corp Device CA: 1,202 certificates, 8 revoked",
            "{\"since\": \"2018-01-26T20:30:02Z\", \"certificateAuthorityArns\": [ \"arn:aws:acm-pca:",
        ],
    );
    // More ARNs would hide the command.
    let four = words(&watch(4, started(4)));
    assert!(four.contains("(this repeats the alerts of every CA of the stack since then): {\"since\": \"2018-01-26T20:30:02Z\"}"));
    assert_says(
        &watch(1, started(1)),
        "[LOW] MONITORING STARTED: Example Corp Issuing CA, 2 certificates, 1 revoked",
        &[
            "new revocations by this CA",
            "Alerts: revocations since 2018-02-25 20:30:02 UTC Older revocations",
        ],
    );
    let expected = json!({ "certificateAuthorities": 3, "certificates": 3606, "revoked": 24 });
    assert_eq!(counts(&watch(3, started(3))), expected);
}

#[test]
fn watch_recovered_says_how_many_left() {
    let cause = "Error: ReportBucketRefused, since 2018-02-26 20:00:31 UTC";
    let subject = "[LOW] MONITORING RECOVERED: 20 CAs, ReportBucketRefused is over";
    for (left, text) in [
        (0, "Audits of all 20 CAs work again. Revocations made"),
        (
            1,
            "Audits of 19 CAs work again; 1 other is no longer monitored. Revocations made",
        ),
        (
            19,
            "Audits of 1 CA work again; 19 others are no longer monitored. Revocations made",
        ),
    ] {
        let alert = watch(20, recovered(refused(), left));
        assert_says(&alert, subject, &[text, cause]);
        let expected = json!({ "certificateAuthorities": 20, "left": left });
        assert_eq!(counts(&alert), expected);
    }
    let all_left = |number: usize| {
        let kind = AlertKind::WatchRecovered {
            error_type: "AccessDenied".to_owned(),
            resource: None,
            since: at("2018-02-26T18:00:31Z"),
            audited_since: None,
            left: number as u64,
        };
        watch(number, kind)
    };
    for (number, text) in [
        (1, "The CA with this error is no longer monitored."),
        (3, "The 3 CAs with this error are no longer monitored."),
    ] {
        let subject = all_left(number).message().subject;
        assert!(
            subject.starts_with("[LOW] NO LONGER MONITORED: ")
                && subject.ends_with(" with AccessDenied"),
            "{subject}"
        );
        let card = all_left(number).chat().body;
        assert!(!card.contains('\u{2705}') && !card.contains(":white_check_mark:"));
        let words = words(&all_left(number));
        assert!(words.contains(text), "{words}");
        assert!(!words.contains("work again") && !words.contains("complete audit"));
    }
}

#[test]
fn watch_stopped_says_why_and_what_to_do() {
    assert_says(
        &watch(1, stopped(Coverage::All)),
        "[HIGH] MONITORING STOPPED: Example Corp Issuing CA, no longer ACTIVE or DISABLED",
        &[
            "Revocations by this CA are no longer reported: AWS Private CA no longer lists it as ACTIVE or DISABLED.",
            "Otherwise, activate, renew or restore it",
        ],
    );
    assert_says(
        &watch(2, stopped(Coverage::Tagged("Team=payments".to_owned()))),
        "[HIGH] MONITORING STOPPED: 2 CAs, tag removed or no longer ACTIVE or DISABLED",
        &[
            "AWS Private CA no longer lists them as ACTIVE or DISABLED with the tag Team=payments (CERTIFICATE_AUTHORITY_TAG, template parameter CertificateAuthorityTag).",
            "Otherwise, tag, activate, renew or restore them",
        ],
    );
    assert_says(
        &watch(2, stopped(Coverage::Listed)),
        "[HIGH] MONITORING STOPPED: 2 CAs, removed from CERTIFICATE_AUTHORITY_ARNS",
        &[
            "Revocations by these 2 CAs are no longer reported: CERTIFICATE_AUTHORITY_ARNS (template parameter CertificateAuthorities) no longer contains them.",
            "Otherwise, add them again.",
        ],
    );
}

#[test]
fn summary_states_unknown_as_unknown() {
    let healthy = watch(12, AlertKind::WatchSummary(summary()));
    assert_says(
        &healthy,
        "[LOW] MONITORING SUMMARY: 12 CAs, 3 revocations notified, no open problems",
        &[
            "The next one is due 2018-03-05 20:30:31 UTC. If it does not arrive, check the alarms WatchSilentAlarm and HealthAlarm",
            "Oldest audit: 30 minutes ago (2018-02-26 20:00:02 UTC)",
            "Revocations notified: 3 since 2018-02-19 20:30:31 UTC",
            "- 1 key compromise - 2 superseded",
            "Without CRL and OCSP: 1 CA (revocation has no effect on clients)",
            "CAs without CRL and OCSP - Example Corp Device CA",
        ],
    );
    for absent in ["Never audited", "Unknown"] {
        assert!(!words(&healthy).contains(absent));
    }
    let unhealthy = WatchSummary {
        since: None,
        next_at: at("2018-03-05T20:30:31Z"),
        oldest_audit_at: None,
        never_audited: 2,
        unknown: 1,
        notified: ReasonCounts::default(),
        problems: (0..30).map(problem).collect(),
        without_revocation_checking: None,
    };
    let unhealthy = watch(3, AlertKind::WatchSummary(unhealthy));
    assert_says(
        &unhealthy,
        "[LOW] MONITORING SUMMARY: 3 CAs, 0 revocations notified, 30 open problems",
        &[
            "Oldest audit: unknown",
            "Never audited: 2 CAs",
            "Unknown: 1 CA, whose state could not be read: their numbers are missing here",
            "Revocations notified: none so far",
            "Without CRL and OCSP: unknown (AWS did not list every CA)",
            "- AccessDenied: 2 CAs since 2018-02-26 18:00:31 UTC (s3://amzn-s3-demo-bucket1)",
            "- and 20 more",
        ],
    );
    let document = document(&unhealthy.message());
    assert_eq!(document["counts"]["problems"], 30);
    assert_eq!(document["problems"].as_array().map(Vec::len), Some(25));
    assert_eq!(document.get("since"), None);
    assert_eq!(document.get("withoutRevocationChecking"), None);
}

#[test]
fn ids_depend_on_stack_type_error_and_cas_only() {
    let base = || watch(3, failed(refused(), 0));
    let id = base().message().id;
    // Receivers store these: a change here breaks their detection of repeats.
    assert_eq!(id, "a857c66e9e07e6f5211d04d3f36bf43f");
    let other_error = WatchError {
        message: "other".to_owned(),
        hint: "other".to_owned(),
        ..refused()
    };
    let same = [
        renamed(base(), None),
        Alert {
            detected_at: at("2018-02-27T00:00:00Z"),
            runbook_url: None,
            ..base()
        },
        watch(3, failed(other_error, 17)),
    ];
    for alert in same {
        assert_eq!(alert.message().id, id);
        assert_eq!(alert.reduced().id, id);
        assert_eq!(alert.message_within(4096).id, id);
        assert_eq!(alert.chat().id, id);
    }
    let with = |error: WatchError| watch(3, failed(error, 0));
    let mut other_stack = base();
    other_stack.stack.state.push('x');
    let mut other_cas = base();
    other_cas.certificate_authorities.remove(1);
    let different = [
        with(WatchError {
            kind: "AccessDenied".to_owned(),
            ..refused()
        }),
        with(WatchError {
            resource: None,
            ..refused()
        }),
        with(WatchError {
            resource: Some("another".to_owned()),
            ..refused()
        }),
        with(WatchError {
            since: at("2018-02-26T20:00:32Z"),
            ..refused()
        }),
        watch(3, recovered(refused(), 0)),
        watch(3, started(3)),
        watch(3, stopped(Coverage::Listed)),
        watch(3, AlertKind::WatchSummary(summary())),
        other_stack,
        other_cas,
    ];
    let ids: BTreeSet<String> = different.iter().map(|alert| alert.message().id).collect();
    assert_eq!(ids.len(), different.len());
    assert!(!ids.contains(&id));
}

#[test]
fn ids_of_starts_and_ends_depend_on_since() {
    let later = Some(at("2018-02-27T00:00:00Z"));
    for kind in [started(2), stopped(Coverage::All)] {
        let mut other = kind.clone();
        match &mut other {
            AlertKind::WatchStarted { since, .. } | AlertKind::WatchStopped { since, .. } => {
                *since = later;
            }
            _ => panic!("{other:?}"),
        }
        let ids = [kind, other].map(|kind| watch(2, kind).message().id);
        assert_ne!(ids[0], ids[1]);
    }
}

#[test]
fn ids_of_summaries_depend_on_the_stack_and_since() {
    let of = |number: usize, summary: WatchSummary| {
        watch(number, AlertKind::WatchSummary(summary)).message().id
    };
    let id = of(12, summary());
    let other_numbers = WatchSummary {
        never_audited: 3,
        notified: ReasonCounts::default(),
        without_revocation_checking: None,
        ..summary()
    };
    assert_eq!(of(13, other_numbers), id);
    let first = WatchSummary {
        since: None,
        ..summary()
    };
    assert_ne!(of(12, first), id);
    let mut other_stack = watch(12, AlertKind::WatchSummary(summary()));
    other_stack.stack.state.push('x');
    assert_ne!(other_stack.message().id, id);
}

#[test]
fn messages_about_the_watch_have_the_group_of_the_stack() {
    let groups = |alerts: &[Alert]| -> BTreeSet<String> {
        let groups = alerts.iter().flat_map(|alert| {
            let card = document(&alert.chat());
            let thread = card["metadata"]["threadId"].as_str().map(str::to_owned);
            [
                alert.message().group_id,
                alert.reduced().group_id,
                thread.expect("a thread"),
            ]
        });
        groups.collect()
    };
    let mut alerts = every_kind(1, "x");
    alerts.extend(every_kind(3, "y"));
    let of_stack = groups(&alerts);
    assert_eq!(of_stack.len(), 1);
    for alert in &mut alerts {
        alert.stack.state = "s3://other/\u{e9} ".to_owned();
    }
    let of_other = groups(&alerts);
    assert_eq!(of_other.len(), 1);
    assert_ne!(of_stack, of_other);
}

#[test]
fn one_ca_is_named_in_field_and_attribute_several_in_the_array() {
    for number in [1, 2] {
        for alert in every_kind(number, "x") {
            for message in [alert.message(), alert.reduced()] {
                let document = document(&message);
                let is_one = number == 1;
                let arn = document.get("certificateAuthorityArn");
                assert_eq!(arn, is_one.then(|| json!(AUTHORITY)).as_ref());
                let arns = document["certificateAuthorityArns"].as_array();
                assert_eq!(arns.map(Vec::len), Some(number));
                let attribute = message.attributes.iter();
                let mut attribute =
                    attribute.filter(|(name, ..)| *name == "certificateAuthorityArn");
                assert_eq!(attribute.next().is_some(), is_one);
                assert_eq!(document["reasons"], json!([]));
                assert_eq!(document["severity"], message.severity.name());
            }
        }
    }
}

#[test]
fn account_and_region_are_those_of_the_stack() {
    for mut alert in every_kind(1, "x") {
        alert.stack = Stack {
            partition: "aws-cn".to_owned(),
            account: "111122223333".to_owned(),
            region: "cn-north-1".to_owned(),
            ..alert.stack
        };
        let json = document(&alert.message());
        assert_eq!(
            (&json["accountId"], &json["region"]),
            (&json!("111122223333"), &json!("cn-north-1"))
        );
        assert!(email(&alert.message()).contains("\nAccount: 111122223333, cn-north-1\n"));
        assert!(sms(&alert.message()).contains("111122223333"));
        assert!(
            alert
                .chat()
                .body
                .contains("https://cn-north-1.console.amazonaws.cn/acm-pca/home")
        );
    }
}

/// The array that is cut, and whether it is the first of the certificate authorities.
fn listed(document: &Value, name: &str) -> Option<usize> {
    let listed = document[name].as_array()?;
    let all = authorities(listed.len());
    let expected: Vec<&str> = all.iter().map(|authority| authority.arn.as_str()).collect();
    assert_eq!(listed, &expected);
    Some(listed.len())
}

#[test]
fn any_number_of_cas_fits_any_topic() {
    let schema = schema();
    for number in [0, 1, 2, 9, 10, 11, 50, 200, 1000, 3000] {
        for alert in every_kind(number, "Example") {
            let mut before = 0;
            for limit in [4096, 8192, 16_384, 65_536, 262_144] {
                let message = alert.message_within(limit);
                assert!(
                    message.size_bytes() <= limit,
                    "{} of {limit}",
                    message.size_bytes()
                );
                let document = document(&message);
                assert_valid(&schema, &document);
                let counted = &document["counts"]["certificateAuthorities"];
                let earlier = if message.kind == "watch-failed" { 7 } else { 0 };
                assert_eq!(counted, number + earlier);
                let arns = listed(&document, "certificateAuthorityArns").expect("an array");
                assert!(
                    arns >= before.min(number) && arns >= number.min(1),
                    "{arns}"
                );
                before = arns;
                let without = listed(&document, "withoutRevocationChecking");
                assert_eq!(without.is_some(), message.kind == "watch-summary");
                // The room is used.
                let is_cut = arns < number;
                assert!(!is_cut || limit < 16_384 || message.size_bytes() > limit - 300);
            }
            let message = alert.message();
            let arns = listed(&document(&message), "certificateAuthorityArns");
            // The documentation says how many: a summary may have two such lists.
            let promised = if message.kind == "watch-summary" {
                1000
            } else {
                2000
            };
            assert!(arns >= Some(number.min(promised)), "{arns:?} of {number}");
            assert!(alert.reduced().size_bytes() <= MAX_REDUCED_LEN);
            assert!(alert.chat().size_bytes() <= 65_536);
            accepted(&alert.chat());
        }
    }
}

#[test]
fn the_schema_rejects_malformed_messages_about_the_watch() {
    let schema = schema();
    let of = |kind: AlertKind| document(&watch(2, kind).message());
    let failed = of(failed(refused(), 0));
    let summary = of(AlertKind::WatchSummary(summary()));
    for (valid, pointer, wrong) in [
        (&failed, "/certificateAuthorityArn", json!(AUTHORITY)),
        (&failed, "/certificateAuthorityArns", Value::Null),
        (&failed, "/certificateAuthorityArns/1", json!(AUTHORITY)),
        (&failed, "/counts/certificateAuthorities", Value::Null),
        (&failed, "/counts/added", json!(-1)),
        (&failed, "/counts/more", json!(1)),
        (&failed, "/error/hint", Value::Null),
        (&failed, "/error/more", json!("")),
        (&failed, "/since", Value::Null),
        (&failed, "/severity", json!("low")),
        (&failed, "/reasons", json!(["KEY_COMPROMISE"])),
        (&failed, "/problems", json!([])),
        (&failed, "/complete", json!(true)),
        (&summary, "/problems", Value::Null),
        (&summary, "/counts/byReason", Value::Null),
        (&summary, "/withoutRevocationChecking", json!(["x"])),
        (&summary, "/error", json!({ "type": "AccessDenied" })),
        (&summary, "/type", json!("watch-ended")),
        (&summary, "/type", json!("watch-started")),
    ] {
        assert_valid(&schema, valid);
        let mut document = valid.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        match document.pointer_mut(parent).expect("a parent") {
            Value::Array(items) => items[name.parse::<usize>().expect("a position")] = wrong,
            parent => parent[name] = wrong,
        }
        assert!(!schema.is_valid(&document), "{pointer}");
    }
}

/// The lines of an email that begin with a label of ours or a mark of ours.
fn labels(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.starts_with([' ', '-']));
    lines
        .map(|line| line.split([':', ',']).next().unwrap_or(line))
        .filter(|label| !label.is_empty())
        .collect()
}

#[test]
fn hostile_texts_are_inert_in_every_format() {
    let (schema, harmless) = (schema(), every_kind(3, "Harmless"));
    let one_septet = |c: char| matches!(c, ' '..='~') && !"[]{}\\^~|`".contains(c);
    for text in hostile_subjects() {
        for (alert, harmless) in every_kind(3, &text).iter().zip(&harmless) {
            let message = alert.message();
            let subject = &message.subject;
            assert!(
                subject.matches(['[', ']', '(', ')']).count() == 2,
                "{subject}"
            );
            let sms = sms(&message);
            assert!(sms.len() <= 140 && sms.chars().all(one_septet), "{sms}");

            let (shown, expected) = (email(&message), email(&harmless.message()));
            assert!(
                !shown.chars().any(|c| c != '\n' && is_invisible(c)),
                "{shown}"
            );
            assert_eq!(labels(&shown)[1..], labels(&expected)[1..], "{shown}");
            assert_eq!(
                shown.matches("://").count(),
                expected.matches("://").count()
            );

            let card = document(&alert.chat());
            let of_harmless = document(&harmless.chat());
            for part in [
                "/content/title",
                "/content/description",
                "/metadata/summary",
            ] {
                let (shown, expected) = (card.pointer(part), of_harmless.pointer(part));
                let [shown, expected] =
                    [shown, expected].map(|text| text.and_then(Value::as_str).expect("text"));
                assert!(!shown.contains(['<', '>', '@', '&']), "{shown}");
                for sign in ["`", "*", "[", "://", "\n"] {
                    assert_eq!(
                        shown.matches(sign).count(),
                        expected.matches(sign).count(),
                        "{sign:?} in {shown}"
                    );
                }
                assert!(shown.chars().count() <= 2500, "{shown}");
            }

            let json = document(&message);
            if let Some(error) = json["error"]["message"].as_str() {
                assert!(
                    text.starts_with(error) && (error == text || error.chars().count() == 1000)
                );
            }
            // A kind of error has a name.
            if !text.is_empty() {
                assert_valid(&schema, &json);
            }
        }
    }
}

#[test]
fn reduced_messages_name_no_ca() {
    for (secret, harmless) in every_kind(3, "Harmless")
        .into_iter()
        .zip(every_kind(3, "Harmless"))
    {
        let secret = renamed(secret, Some("Secret"));
        assert_eq!(secret.reduced(), harmless.reduced());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_texts_fit_4_kib(
        text in prop_oneof![
            any::<String>(), Just("\"\\".repeat(2000)), Just("\u{e0041}".repeat(2000)),
            Just("\u{1f4a3}".repeat(2000)), Just("word ".repeat(1000)), Just(String::new()),
        ],
        number in prop_oneof![Just(0_usize), Just(1), 2_usize..30, Just(1000)],
    ) {
        let schema = schema();
        for alert in every_kind(number, &text) {
            let reduced = alert.reduced();
            accepted(&reduced);
            prop_assert!(reduced.body.is_ascii());
            prop_assert!(reduced.size_bytes() <= MAX_REDUCED_LEN, "{} bytes: {}", reduced.size_bytes(), reduced.body);
            let members = |message: &Message| -> Vec<String> {
                let counts = document(message)["counts"].clone();
                counts.as_object().expect("an object").keys().cloned().collect()
            };
            prop_assert_eq!(members(&reduced), members(&alert.message()));
            for limit in [4096, 8192, 20_000, 65_536, 262_144] {
                let message = alert.message_within(limit);
                prop_assert!(message.size_bytes() <= limit);
                if !text.is_empty() {
                    assert_valid(&schema, &document(&message));
                }
            }
            accepted(&alert.chat());
        }
    }
}
