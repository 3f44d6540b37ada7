//! Messages as subscribers get them: the files of `docs/messages/`, the published schema, and what
//! each format says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::{
    self, AUTHORITY, accepted, alert, arn, collect, detected_at, document, email, many, renamed,
    revocation, revocations, sample, scenarios, serial, seven, sms, watch,
};
use pca_revocation_watch::alert::{
    Alert, AlertKind, Authority, Coverage, ObjectLocation, RevocationAlert, RevocationBatch, Stack,
};
use pca_revocation_watch::revocation::key::{RevocationId, RevocationKey};
use pca_revocation_watch::revocation::reason::{RevocationReason, Severity};
use pca_revocation_watch::revocation::record::{ReportTime, Revocation};
use serde_json::{Value, json};

/// The published schema, and besides no member that it does not name.
pub fn schema() -> jsonschema::Validator {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(members) => {
                for member in members.values_mut() {
                    close(member);
                }
                // Not the conditions, which state only part of an object.
                if members.contains_key("properties") && members.contains_key("type") {
                    members.insert("additionalProperties".to_owned(), json!(false));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut schema: Value =
        serde_json::from_str(include_str!("../../docs/message.schema.json")).expect("JSON");
    jsonschema::meta::validate(&schema).expect("a valid schema");
    close(&mut schema);
    assert_eq!(schema["additionalProperties"], false);
    jsonschema::validator_for(&schema).expect("a schema")
}

pub fn assert_valid(schema: &jsonschema::Validator, document: &Value) {
    let errors: Vec<String> = schema
        .iter_errors(document)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn documented_messages_are_what_the_code_generates() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/messages");
    for (scenario, alert) in scenarios() {
        for (name, content) in support::files(&alert) {
            let path = directory.join(scenario).join(name);
            let documented = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                documented == content,
                "{} differs: run `cargo run --example messages` and look at the difference",
                path.display()
            );
        }
    }
}

#[test]
fn json_messages_match_the_schema() {
    let schema = schema();
    for (scenario, alert) in scenarios() {
        println!("{scenario}");
        let whole = document(&alert.message());
        assert_valid(&schema, &whole);
        let reduced = document(&alert.reduced());
        assert_valid(&schema, &reduced);
        for member in [
            "type",
            "id",
            "severity",
            "certificateAuthorityArn",
            "accountId",
            "reasons",
        ] {
            assert_eq!(whole[member], reduced[member]);
        }
    }
    for subject in support::hostile_subjects() {
        let hostile = revocation(&serial(1), &subject, "KEY_COMPROMISE", "never");
        assert_valid(&schema, &document(&revocations([hostile]).message()));
    }
}

#[test]
fn the_schema_rejects_malformed_messages() {
    let schema = schema();
    let valid = document(&revocations([sample()]).message());
    for (member, wrong) in [
        ("schema", json!("pca-revocation-watch/2")),
        ("type", json!("revocation")),
        ("type", json!("watch-failed")),
        ("id", json!("")),
        ("severity", json!("CRITICAL")),
        ("reasons", json!([])),
        ("detectedAt", json!("2018-02-26T20:30:31+0000")),
        ("complete", Value::Null),
        ("revocations", json!([])),
        ("fullList", json!({ "bucket": "b", "key": "k" })),
        ("more", json!(1)),
    ] {
        let mut document = valid.clone();
        document[member] = wrong.clone();
        assert!(!schema.is_valid(&document), "{member}: {wrong}");
    }
}

#[test]
fn full_list_lines_are_entries_of_the_json_message() {
    let line = RevocationBatch::new(AUTHORITY, detected_at()).line(&sample());
    assert_eq!(line.last(), Some(&b'\n'));
    let line: Value = serde_json::from_slice(&line).expect("JSON");
    let document = document(&revocations([sample()]).message());
    let mut entry = document["revocations"][0].clone();
    let fields = entry.as_object_mut().expect("an object");
    let found = fields.shift_remove("investigation");
    assert_eq!(found, Some(json!("notInvestigated")));
    assert_eq!(line, entry);
    assert_eq!(
        line["subjectText"],
        "emailAddress=sales@example.com, CN=www.example1.com, OU=Sales, O=Example Company, L=Seattle, ST=Washington, C=US"
    );
    assert_eq!(line["commonName"], "www.example1.com");
    assert_eq!(line["reasonCode"], 1);
    assert_eq!(line["revokedAt"], "2018-02-26T20:00:36Z");
    assert_eq!(line["expired"], false);
}

#[test]
fn subject_lines_say_the_worst_first() {
    let superseded = |number| {
        revocation(
            &serial(number),
            "CN=x",
            "SUPERSEDED",
            "2018-02-26T20:00:00Z",
        )
    };
    let compromised = |number| Revocation {
        reason: RevocationReason::KeyCompromise,
        ..superseded(number)
    };
    for (revoked, subject) in [
        (
            vec![sample()],
            "[CRITICAL] KEY_COMPROMISE: www.example1.com revoked (Example Corp Issuing CA)",
        ),
        (
            vec![superseded(1), compromised(2), compromised(3)],
            "[CRITICAL] 3 certificates revoked, 2 KEY_COMPROMISE (Example Corp Issuing CA)",
        ),
        (
            vec![superseded(1), superseded(2)],
            "[LOW] 2 certificates revoked, all SUPERSEDED (Example Corp Issuing CA)",
        ),
    ] {
        assert_eq!(revocations(revoked).message().subject, subject);
    }
}

#[test]
fn long_names_share_the_subject_line() {
    let alert = revocations([revocation(
        &serial(1),
        &format!("CN={}", "a.very.long.name.".repeat(6)),
        "CERTIFICATE_AUTHORITY_COMPROMISE",
        "2018-02-26T20:00:36+0000",
    )]);
    let name = "A Certificate Authority of a Very Long Name ".repeat(3);
    let message = renamed(alert, Some(&name)).message();
    accepted(&message);
    assert_eq!(message.subject.len(), 99);
    assert!(
        message.subject.contains("a.very.long"),
        "{}",
        message.subject
    );
    assert!(
        message.subject.contains("(A Certific"),
        "{}",
        message.subject
    );
}

#[test]
fn ca_name_changes_only_its_field_and_texts_for_people() {
    for (_, named) in scenarios() {
        let is_one = named.certificate_authorities.len() == 1;
        let nameless = renamed(named.clone(), None);
        let (named, nameless) = (named.message(), nameless.message());
        let mut document = support::document(&named);
        let name = document
            .as_object_mut()
            .and_then(|fields| fields.shift_remove("certificateAuthorityName"));
        assert_eq!(name, is_one.then(|| json!("Example Corp Issuing CA")));
        assert_eq!(document, support::document(&nameless));
        assert_eq!(named.id, nameless.id);
        assert_eq!(named.attributes, nameless.attributes);
        assert_eq!(
            nameless.subject.contains("11223344-1234-1122"),
            is_one,
            "{}",
            nameless.subject
        );
        assert!(!email(&nameless).contains("Example Corp Issuing CA"));
    }
}

#[test]
fn every_kind_is_marked_in_every_format() {
    for (scenario, mark) in [
        ("replay", "REPLAY"),
        ("watch-started", "MONITORING STARTED"),
        ("watch-failed", "MONITORING FAILED"),
        ("watch-failed-many", "MONITORING FAILED"),
        ("watch-recovered", "MONITORING RECOVERED"),
        ("watch-stopped", "MONITORING STOPPED"),
        ("watch-summary", "MONITORING SUMMARY"),
        ("test", "TEST"),
    ] {
        let (_, alert) = scenarios()
            .into_iter()
            .find(|(name, _)| *name == scenario)
            .expect("a scenario");
        let kind = scenario.trim_end_matches("-many");
        for message in [alert.message(), alert.reduced()] {
            assert!(message.subject.contains(mark), "{}", message.subject);
            assert!(sms(&message).contains(mark));
            let first_line = email(&message).lines().next().map(str::to_owned);
            assert!(first_line.expect("a line").contains(mark));
            assert_eq!(document(&message)["type"], kind);
        }
        let card = document(&alert.chat());
        let title = card["content"]["title"].as_str().expect("a title");
        assert!(title.contains(mark), "{title}");
        assert_eq!(card["metadata"]["eventType"], kind);
    }
}

#[test]
fn ids_depend_only_on_the_set_of_revocations() {
    let of = |revoked: Vec<Revocation>| revocations(revoked).message().id;
    let forwards = of(seven());
    let backwards = of(seven().into_iter().rev().collect());
    assert_eq!(forwards, backwards);
    assert_ne!(forwards, of(seven().into_iter().skip(1).collect()));
    // A repeated record is the same revocation.
    assert_eq!(forwards, of(seven().into_iter().chain(seven()).collect()));

    let ids: BTreeSet<String> = scenarios()
        .iter()
        .map(|(_, alert)| alert.message().id)
        .collect();
    assert_eq!(ids.len(), scenarios().len());

    let key = |serial: &str| RevocationKey::of(Some(serial), None, b"");
    let id = RevocationId::of(AUTHORITY, &key("0a:bc"));
    assert_eq!(id, RevocationId::of(AUTHORITY, &key("ABC")));
    assert_ne!(
        id,
        RevocationId::of("arn:aws:acm-pca:us-east-1:111122223333:x", &key("0a:bc"))
    );
    // Receivers store these: a change here breaks their detection of repeats.
    assert_eq!(id.to_string(), "045b1cd785985b96f927b78b4c38644f");
    assert_eq!(of(vec![sample()]), "7e76d38e8be8ab30098391d772fdf5f9");
}

#[test]
fn the_worst_revocations_come_first() {
    let revoked = vec![
        revocation(&serial(1), "CN=e", "SUPERSEDED", "2018-02-26T20:00:00Z"),
        revocation(&serial(2), "CN=c", "QUANTUM_BREAK", "2018-02-26T20:00:00Z"),
        revocation(
            &serial(3),
            "CN=b2",
            "KEY_COMPROMISE",
            "2018-02-26T20:00:00Z",
        ),
        revocation(
            &serial(4),
            "CN=b1",
            "KEY_COMPROMISE",
            "2018-02-26T20:00:01Z",
        ),
        revocation(&serial(5), "CN=a", "KEY_COMPROMISE", "some time ago"),
        revocation(
            &serial(6),
            "CN=b3",
            "A_A_COMPROMISE",
            "2018-02-26T20:29:00Z",
        ),
        revocation(&serial(7), "CN=d", "", "2018-02-26T19:00:00Z"),
        revocation(
            &serial(8),
            "CN=b4",
            "PRIVILEGE_WITHDRAWN",
            "2018-02-26T20:29:00Z",
        ),
    ];
    let document = document(&revocations(revoked).message());
    let entries = document["revocations"].as_array().expect("a list");
    let names: Vec<&str> = entries
        .iter()
        .map(|entry| entry["commonName"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["a", "b1", "b2", "b3", "b4", "c", "d", "e"]);
    assert_eq!(
        document["reasons"],
        json!([
            "KEY_COMPROMISE",
            "A_A_COMPROMISE",
            "PRIVILEGE_WITHDRAWN",
            "QUANTUM_BREAK",
            "NOT_STATED",
            "SUPERSEDED"
        ])
    );
    assert_eq!(entries[0]["revokedAt"], "some time ago");
    assert_eq!(entries[5]["reason"], "QUANTUM_BREAK");
    assert_eq!(entries[5]["severity"], "high");
    assert_eq!(entries[5].get("reasonCode"), None);
    assert_eq!(entries[6]["reason"], "NOT_STATED");
}

#[test]
fn revocations_that_do_not_fit_are_in_the_full_list() {
    let (batch, lines) = collect(many(5000));
    assert!(batch.needs_full_list);
    assert_eq!(batch.counts.total(), 5000);
    assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 5000);
    let document = document(&revocations(many(5000)).message());
    assert_eq!(document["complete"], false);
    assert_eq!(document["fullList"], json!(support::full_list()));
    assert_eq!(document["counts"]["new"], 5000);
    assert_eq!(document["counts"]["byReason"]["SUPERSEDED"], 4956);
    let held = document["revocations"].as_array().expect("a list").len();
    assert!(held > 150, "{held}");

    let text = email(&revocations(many(5000)).message());
    assert!(text.contains("\nCertificate 25 of 5,000: "));
    assert!(!text.contains("\nCertificate 26 of 5,000: "));
    assert!(text.contains("- 4,956 superseded\n"));
    assert!(text.contains("These are the worst 25 of 5,000 revocations."));
    assert!(text.contains("aws s3 cp s3://amzn-s3-demo-bucket/revocation-watch/"));
}

#[test]
fn a_malformed_record_is_reported_as_it_is() {
    let text = "\u{202e}\0 {\"a\": [1, \"\\u0000\"]} ".repeat(1000);
    let time = || ReportTime::from_report(&text);
    let malformed = Revocation {
        key: RevocationKey::Text(format!("arn:{text}").into()),
        serial: Some(text.clone()),
        subject: Some(text.clone()),
        certificate_arn: Some(text.clone()),
        reason: RevocationReason::from_report(&text),
        revoked_at: time(),
        not_before: Some(time()),
        not_after: Some(time()),
        issued_at: Some(time()),
        aws_account_id: Some(text.clone()),
        template_arn: Some(text.clone()),
        requested_by_service_principal: Some(text.clone()),
        malformed: true,
    };
    let (batch, lines) = collect([malformed.clone(), sample()]);
    assert!(batch.needs_full_list);
    let lines: Vec<Value> = serde_json::Deserializer::from_slice(&lines)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("JSON lines");
    assert_eq!(lines.len(), 2);
    for field in [
        "serial",
        "subject",
        "certificateArn",
        "revokedAt",
        "awsAccountId",
        "reason",
    ] {
        assert_eq!(lines[0][field], text, "{field}");
    }

    let alert = revocations([malformed, sample()]);
    let document = document(&alert.message());
    assert_valid(&schema(), &document);
    let entries = document["revocations"].as_array().expect("a list");
    assert_eq!(entries.len(), 2);
    assert_eq!(document["complete"], false);
    assert_eq!(document["reasons"], json!(["KEY_COMPROMISE", "OTHER"]));
    assert_eq!(entries[1]["revocationId"], lines[0]["revocationId"]);
    let start = entries[1]["subject"].as_str().expect("a subject");
    assert!(text.starts_with(start) && start.len() > 4000);
    assert_eq!(entries[1]["truncated"].as_array().map(Vec::len), Some(11));
    let reduced = alert.reduced();
    assert_eq!(
        support::document(&reduced)["revocations"][1],
        json!({
            "revocationId": entries[1]["revocationId"],
            "reason": "OTHER",
            "severity": "high",
            "malformed": true,
        })
    );
    assert!(email(&reduced).contains("\nSerial (malformed): not shown\n"));
    accepted(&alert.chat());
}

#[test]
fn reduced_messages_are_ascii_without_foreign_text() {
    for (_, alert) in scenarios() {
        let message = alert.reduced();
        accepted(&message);
        assert!(message.body.is_ascii());
        for of_subject in ["www.example", "device-0", "Seattle", "evil", "Example Corp"] {
            let is_sample = message.kind == "test";
            assert!(
                is_sample || !message.body.contains(of_subject),
                "{of_subject}"
            );
        }
    }
    let reduced = revocations(seven()).reduced();
    let document = document(&reduced);
    assert_eq!(document["reduced"], true);
    assert_eq!(document["complete"], false);
    let entries = document["revocations"].as_array().expect("a list");
    assert_eq!(entries.len(), 2);
    assert_eq!(document["counts"]["new"], 7);
    for entry in entries {
        for field in [
            "revocationId",
            "serial",
            "certificateArn",
            "reason",
            "revokedAt",
        ] {
            assert!(entry[field].is_string(), "{field}");
        }
    }
}

#[test]
fn sms_are_one_line_of_one_septet_characters() {
    // The GSM 03.38 default alphabet without its extension, as far as it is ASCII.
    let one_septet = |c: char| matches!(c, ' '..='~') && !"[]{}\\^~|`".contains(c);
    for (_, alert) in scenarios() {
        for message in [alert.message(), alert.reduced()] {
            let text = sms(&message);
            assert!(text.len() <= 140, "{text}");
            assert!(text.chars().all(one_septet), "{text}");
        }
    }
    assert_eq!(
        sms(&revocations([sample()]).message()),
        "CRITICAL: www.example1.com revoked, key compromise. CA Example Corp Issuing CA, 123456789012 us-east-1"
    );
}

#[test]
fn commands_quote_shell_characters() {
    let (batch, _) = collect(many(300));
    let full_list = ObjectLocation {
        key: "$(reboot)/'x'.jsonl".to_owned(),
        ..support::full_list()
    };
    let revocations = RevocationAlert::new(batch, support::report(), Some(full_list));
    let text = email(&alert(AlertKind::Revocations(revocations)).message());
    let command = r"aws s3 cp 's3://amzn-s3-demo-bucket/$(reboot)/'\''x'\''.jsonl' . --region";
    assert!(text.contains(command), "{text}");
    // An ARN with other characters is not offered to a shell at all.
    let malformed = Revocation {
        certificate_arn: Some("arn:aws:acm-pca:us-east-1:123456789012:x/$(reboot)".to_owned()),
        ..sample()
    };
    let text = email(&support::revocations([malformed]).message());
    assert!(!text.contains("get-certificate"));
    assert!(
        text.contains("(malformed ARN):\n| arn:aws:acm-pca:us-east-1:123456789012:x/$(reboot)")
    );
}

#[test]
fn console_links_follow_the_partition() {
    for (text, link) in [
        (
            "arn:aws-cn:acm-pca:cn-north-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566",
            "https://cn-north-1.console.amazonaws.cn/acm-pca/home?region=cn-north-1#/certificateAuthorities",
        ),
        (
            "arn:aws-us-gov:acm-pca:us-gov-west-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566",
            "https://us-gov-west-1.console.amazonaws-us-gov.com/acm-pca/home?region=us-gov-west-1#/certificateAuthorities",
        ),
    ] {
        let arn = arn(text);
        let stack = Stack {
            partition: arn.partition().to_owned(),
            region: arn.region().to_owned(),
            ..support::stack()
        };
        let certificate_authorities = vec![Authority { arn, name: None }];
        let alert = Alert {
            certificate_authorities,
            ..revocations([sample()])
        };
        assert!(email(&alert.message()).contains(link));
        assert!(alert.chat().body.contains(link));
        let alert = Alert {
            stack,
            ..watch(2, support::stopped(Coverage::All))
        };
        assert!(email(&alert.message()).contains(link));
    }
}

#[test]
fn emails_answer_the_questions_of_on_call() {
    let text = email(&revocations(seven()).message());
    let lines: BTreeSet<&str> = text.lines().collect();
    for line in [
        "CRITICAL: 7 certificates were revoked (1 key compromise).",
        "CA: Example Corp Issuing CA",
        "Account: 123456789012, us-east-1",
        "Certificate 1 of 7: api.example.com",
        "Reason: key compromise",
        "Revoked: 2018-02-26 20:02:54 UTC (detected 27 minutes later)",
        "Expires: 2019-02-26 19:39:57 UTC",
        "Expired: 2018-02-25 08:00:00 UTC",
        "Expires: never",
        "Serial: 7a:11:52:9d:31:c0:04:8e:00:00:00:00:00:00:00:03",
        "Issued: 2018-02-26 19:39:58 UTC through ACM",
        "Template: arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1",
        "Subject: CN=Example Corp Device CA 3, O=\"Example Company, Inc.\", C=US",
    ] {
        assert!(lines.contains(line), "{line}\n\n{text}");
    }
    for line in &lines {
        let unbreakable = ["arn:", "://", "[?contains", "SerialNumber"];
        let unbreakable = unbreakable.iter().any(|part| line.contains(part));
        assert!(unbreakable || line.chars().count() <= 80, "{line}");
    }
    let position = |text: &str, part: &str| text.find(part).expect("a part of the email");
    let one = email(&revocations([sample()]).message());
    let parts = [
        "was revoked",
        "Replace",
        "CA: ",
        "Account: ",
        "Revoked: ",
        "Next steps",
        "aws ",
    ];
    let positions = parts.map(|part| position(&one, part));
    assert!(positions.is_sorted(), "{one}");
}

#[test]
fn follow_up_commands_name_serial_account_and_time() {
    let issued_to = |account: &str| Revocation {
        aws_account_id: Some(account.to_owned()),
        requested_by_service_principal: Some("acm.amazonaws.com".to_owned()),
        ..sample()
    };
    let text = email(&revocations([issued_to("111122223333")]).message());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let serial = sample().serial.expect("the sample has a serial");
    for part in [
        "with access to account 111122223333 (no output: ACM there does not have this serial):",
        &format!("\"SerialNumber\":\"{serial}\""),
        "with access to account 123456789012:",
        "--start-time 2018-02-26T19:45:36Z --end-time 2018-02-26T20:15:36Z",
        &format!("contains(CloudTrailEvent,'{serial}')"),
        "(a new CRL takes about 30 minutes, an OCSP response up to 60)",
        "clients use only those that the certificate named when it was issued",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(text.matches("aws acm search-certificates").count(), 1);
}

#[test]
fn every_format_names_account_region_and_runbook() {
    let alert = revocations([sample()]);
    let (message, card) = (alert.message(), document(&alert.chat()));
    let json = document(&message);
    assert_eq!(json["accountId"], "123456789012");
    assert_eq!(json["region"], "us-east-1");
    assert_eq!(json["certificateAuthorityName"], "Example Corp Issuing CA");
    assert!(sms(&message).ends_with("CA Example Corp Issuing CA, 123456789012 us-east-1"));
    let runbook = "Runbook: https://wiki.example.com/pki/revoked";
    assert!(email(&message).contains(&format!("\n{runbook}\n")));
    let steps = card["content"]["nextSteps"].as_array().expect("steps");
    assert!(steps.contains(&json!(runbook)), "{card:#}");
    let context = card["content"]["description"].as_str().expect("text");
    assert!(context.starts_with("Example Corp Issuing CA \u{b7} 123456789012 \u{b7} us-east-1"));

    let unnamed = Alert {
        runbook_url: None,
        ..renamed(alert, None)
    };
    let message = unnamed.message();
    assert!(document(&message).get("certificateAuthorityName").is_none());
    assert_eq!(message.id, revocations([sample()]).message().id);
    assert!(!email(&message).contains("Runbook"));
}

#[test]
fn revoked_ca_certificate_is_critical_whatever_the_reason() {
    let of_ca = |reason: RevocationReason| Revocation {
        reason,
        template_arn: Some(
            "arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1".to_owned(),
        ),
        ..sample()
    };
    for reason in RevocationReason::KNOWN {
        let message = revocations([of_ca(reason.clone())]).message();
        assert_eq!(message.severity, Severity::Critical, "{reason}");
        let start = format!("[CRITICAL] {reason}: CA certificate ");
        assert!(message.subject.starts_with(&start), "{}", message.subject);
        let text = email(&message);
        assert!(text.starts_with("CRITICAL: CA certificate "), "{text}");
        // On the first screen, unless the reason itself is worse.
        let advice = match reason.severity() {
            Severity::Critical => "\nCA certificate: next steps\n1. Find out whether",
            _ => "\n\nCA certificate: Find out whether",
        };
        assert!(text.contains(advice), "{text}");
        let reduced = revocations([of_ca(reason)]).reduced();
        assert!(reduced.subject.starts_with(&start), "{}", reduced.subject);
        for message in [&message, &reduced] {
            assert_eq!(document(message)["revocations"][0]["severity"], "critical");
        }
    }
    let other = revocation(
        &serial(7),
        "CN=other.example.com",
        "SUPERSEDED",
        "2018-02-26T20:02:54+0000",
    );
    let both = [other, of_ca(RevocationReason::Superseded)];
    let message = revocations(both).message();
    assert_eq!(
        message.subject,
        "[CRITICAL] 2 certificates revoked, 1 CA certificate (Example Corp Issuing CA)"
    );
    let entries = &document(&message)["revocations"];
    assert_eq!(entries[0]["severity"], "critical");
    assert_eq!(entries[1]["severity"], "low");
}

#[test]
fn subject_and_body_state_the_same_number() {
    for (number, text) in [
        (1, "1 certificate"),
        (2, "2 certificates"),
        (1234, "1,234 certificates"),
    ] {
        let message = revocations(many(number)).message();
        let card = document(&revocations(many(number)).chat());
        let title = card["content"]["title"]
            .as_str()
            .expect("a title")
            .to_owned();
        let texts = [
            message.subject.clone(),
            email(&message),
            sms(&message),
            title,
        ];
        for shown in texts {
            let states_number = shown.contains(&format!("{text} "));
            assert_eq!(states_number, number > 1, "{shown}");
            assert!(!shown.contains(" 1 certificates"), "{shown}");
        }
    }
}

#[test]
fn emails_keep_names_and_identifiers_on_one_line() {
    let host = format!(
        "{}.example.com",
        ["a-long-label-of-a-host-name"; 8].join(".")
    );
    let address = format!("{}@{host}", "certificates.of.sales".repeat(2));
    let subject = format!("emailAddress={address},CN={host},OU={host},O=Example Company");
    let serial = serial(1);
    let long = revocation(&serial, &subject, "KEY_COMPROMISE", "2018-02-26T20:00:36Z");
    let arn = long.certificate_arn.clone().expect("an ARN");
    let only_name = revocation(&serial, &format!("CN={host}"), "SUPERSEDED", "");
    let list = vec![long.clone(), sample()];
    for (revoked, words) in [
        (vec![long], vec![&address, &host, &serial, &arn]),
        (vec![only_name], vec![&host, &serial, &arn]),
        (list, vec![&address, &host, &serial, &arn]),
    ] {
        let text = email(&revocations(revoked).message());
        for word in words {
            assert!(
                text.lines().any(|line| line.contains(word)),
                "{word}\n\n{text}"
            );
        }
    }
}
