//! What messages say about what was found out: known, unknown, or nothing.

use crate::support::{
    self, accepted, ca_certificate, document, email, findings, investigated, leaked, many, report,
    revoker, sibling, unknown, unknown_because, without_pointers,
};
use pca_revocation_watch::alert::{Alert, ObjectLocation, RevocationAlert};
use pca_revocation_watch::revocation::checking::RevocationChecking;
use pca_revocation_watch::revocation::investigation::{
    AcmCertificate, Affected, ClientChecks, Finding, Investigation, Revoker, Sibling, Usage,
};
use pca_revocation_watch::revocation::reason::RevocationReason;
use pca_revocation_watch::revocation::record::Revocation;
use serde_json::json;

/// The email with its wrapped lines joined.
fn unwrapped(alert: &Alert) -> String {
    email(&alert.message())
        .replace("\n   ", " ")
        .replace("\n  ", " ")
}

fn email_of(found: Investigation) -> String {
    unwrapped(&investigated([leaked()], [found]))
}

/// Asserts that the text has the words, wherever its lines end.
#[track_caller]
fn assert_words(text: &str, words: &str) {
    assert!(text.replace('\n', " ").contains(words), "{words}\n\n{text}");
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|shown| shown == line), "{line}\n\n{text}");
}

fn revoked_by(revoker: Revoker) -> Investigation {
    Investigation {
        revoked_by: Finding::Known(revoker),
        ..unknown()
    }
}

#[test]
fn revoked_by_names_every_kind_of_identity() {
    let nobody = || Revoker {
        role: None,
        session: None,
        arn: None,
        identity_type: String::new(),
        ..revoker()
    };
    let user = |user: &str| Revoker {
        user: Some(user.to_owned()),
        ..nobody()
    };
    let root = Revoker {
        identity_type: "Root".to_owned(),
        ..user("root")
    };
    let service = Some("acm.amazonaws.com".to_owned());
    let service = Revoker {
        source_ip: service.clone(),
        service,
        ..nobody()
    };
    let federated = Revoker {
        arn: Some("arn:aws:sts::123456789012:federated-user/bob".to_owned()),
        ..nobody()
    };
    for (revoker, line) in [
        (revoker(), "role pki-admin, session m.ops, from 203.0.113.5"),
        (user("alice"), "user alice, from 203.0.113.5"),
        (user("root"), "user root, from 203.0.113.5"),
        (root, "root user, from 203.0.113.5"),
        (service, "AWS service acm.amazonaws.com"),
        (
            federated,
            "arn:aws:sts::123456789012:federated-user/bob, from 203.0.113.5",
        ),
        (
            nobody(),
            "an identity that CloudTrail does not name, from 203.0.113.5",
        ),
    ] {
        assert_line(
            &email_of(revoked_by(revoker)),
            &format!("Revoked by: {line}"),
        );
    }
}

#[test]
fn revoked_by_says_other_account_service_and_number() {
    let other_account = Revoker {
        account: Some("222233334444".to_owned()),
        source_ip: None,
        ..revoker()
    };
    let through_service = Revoker {
        service: Some("acm.amazonaws.com".to_owned()),
        ..revoker()
    };
    let many = Revoker {
        revocations: 37,
        ..revoker()
    };
    let at_least = Revoker {
        revocations: 500,
        at_least: true,
        ..revoker()
    };
    for (revoker, end) in [
        (other_account, " of account 222233334444"),
        (
            through_service,
            ", through acm.amazonaws.com, from 203.0.113.5",
        ),
        (many, ", from 203.0.113.5 (37 revocations in 45 minutes)"),
        (
            at_least,
            ", from 203.0.113.5 (at least 500 revocations in 45 minutes)",
        ),
    ] {
        let line = format!("Revoked by: role pki-admin, session m.ops{end}");
        assert_line(&email_of(revoked_by(revoker)), &line);
    }
}

fn in_acm(is_revoked_one: bool, resources: &[&str], total: u64) -> AcmCertificate {
    AcmCertificate {
        arn: "arn:aws:acm:us-east-1:123456789012:certificate/7d1c4c6b".to_owned(),
        serial: Some("0a:0b".to_owned()),
        is_revoked_one,
        in_use_by: resources.iter().map(|&arn| arn.to_owned()).collect(),
        in_use_total: total,
        exported: None,
    }
}

fn used(certificates: Vec<AcmCertificate>) -> Investigation {
    let total = certificates.len() as u64;
    let usage = Usage {
        certificates,
        total,
        ..Usage::default()
    };
    Investigation {
        in_use: Finding::Known(usage),
        ..unknown()
    }
}

#[test]
fn in_use_by_names_resources_and_counts_the_others() {
    let balancer = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer";
    let app = format!("{balancer}/app/prod-web/50dc6c495c0c9188");
    let net = format!("{balancer}/net/prod-tcp/50dc6c495c0c9188");
    let classic = format!("{balancer}/old-web");
    let cdn = "arn:aws:cloudfront::123456789012:distribution/E1EXAMPLE";
    let api = "arn:aws:apigateway:eu-west-1::/domainnames/api.example.com";
    let pool = "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Ab";
    for (resources, total, line) in [
        (
            vec![app.as_str()],
            1,
            "load balancer prod-web (us-east-1)".to_owned(),
        ),
        (
            vec![&net, &classic, cdn, api],
            15,
            "load balancer prod-tcp (us-east-1), load balancer old-web (us-east-1), CloudFront distribution E1EXAMPLE and 12 more".to_owned(),
        ),
        (
            vec![api, pool],
            2,
            "API Gateway domain name api.example.com (eu-west-1), cognito-idp:us-east-1:123456789012:userpool/us-east-1_Ab (us-east-1)".to_owned(),
        ),
        (vec!["something else"], 1, "\"something else\"".to_owned()),
        (vec![], 4, "4 AWS resources".to_owned()),
        (
            vec![],
            0,
            "ACM reports no AWS service in this account and region that uses it".to_owned(),
        ),
    ] {
        let text = email_of(used(vec![in_acm(true, &resources, total)]));
        assert_line(&text, &format!("In use by: {line}"));
    }
}

#[test]
fn in_use_by_never_claims_more_than_acm_said() {
    let exported = AcmCertificate {
        exported: Some(true),
        ..in_acm(true, &[], 0)
    };
    assert_line(
        &email_of(used(vec![exported])),
        "In use by: ACM reports no AWS service in this account and region that uses it; it was exported: copies outside AWS cannot be seen",
    );
    let renewed = in_acm(
        false,
        &["arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/app/prod-web/5"],
        1,
    );
    let text = email_of(used(vec![renewed]));
    assert_line(
        &text,
        "In use by: unknown for this serial: ACM of this account and region no longer has it (see Same name)",
    );
    assert_line(
        &text,
        "Same name: ACM certificate arn:aws:acm:us-east-1:123456789012:certificate/7d1c4c6b has the same domain name; its serial is now 0a:0b; used by load balancer prod-web (us-east-1)",
    );
    assert!(!text.contains("Replace the certificate on"), "{text}");
    // Not all that were found were looked up.
    let mut some = used(vec![in_acm(true, &[], 0)]);
    if let Finding::Known(usage) = &mut some.in_use {
        usage.total = 12;
    }
    let text = email_of(some);
    assert_line(
        &text,
        "In use by: unknown: ACM has 11 more matching certificates that could not be looked up",
    );
    assert!(!text.contains("no AWS service"), "{text}");
    let mut some = findings();
    if let Finding::Known(usage) = &mut some.in_use {
        usage.total = 3;
    }
    assert_line(
        &email_of(some),
        "In use by: load balancer prod-web (us-east-1); 2 more ACM certificates could not be looked up",
    );
}

fn affected(siblings: Vec<Sibling>, total: u64) -> Investigation {
    Investigation {
        affected: Finding::Known(Affected::Certificates { siblings, total }),
        ..unknown()
    }
}

#[test]
fn certificates_with_the_same_key_are_named_and_urgent() {
    let same = |number| Sibling {
        same_key: Some(true),
        ..sibling(number)
    };
    let serial = support::serial;
    let alert = investigated([leaked()], [affected(vec![same(1), sibling(2)], 14)]);
    let text = unwrapped(&alert);
    let (one, two) = (serial(1), serial(2));
    assert_line(
        &text,
        &format!("Same key: at least 1 other valid certificate: {one} (expires 2019-03-02)"),
    );
    assert_line(
        &text,
        &format!(
            "Same subject: 13 other valid certificates: {two} (expires 2019-03-02, keys not compared) and 12 more; the keys of 13 were not compared"
        ),
    );
    let step = format!("Revoke and replace {one} as well: it has the same key.");
    assert_line(&text, &format!("1. {step}"));
    assert_line(
        &text,
        "2. Compare the keys of the 13 other certificates with this subject, and revoke those with the same key.",
    );
    assert!(text.contains("jq --arg serial"), "{text}");
    let card = document(&alert.chat());
    assert_eq!(card["content"]["nextSteps"][0], step.as_str());
    let description = card["content"]["description"].as_str().expect("text");
    assert!(description.contains("\nSame key: at least 1 other valid certificate: `"));

    let four = (1..=4).map(same).collect();
    let text = email_of(affected(four, 4));
    let first = [serial(1), serial(2), serial(3)].join(", ");
    let step =
        format!("1. Revoke and replace 4 certificates with the same key as well (first {first}).");
    assert_line(&text, &step);
    assert!(!text.contains("Same subject"), "{text}");
    // One that cannot be named is not left out.
    let nameless = Sibling {
        serial: None,
        certificate_arn: None,
        ..same(1)
    };
    let text = email_of(affected(vec![nameless], 1));
    assert_line(
        &text,
        "1. Revoke and replace 1 certificate with the same key as well.",
    );
    assert_line(
        &text,
        "Same key: 1 other valid certificate: serial not stated (expires 2019-03-02)",
    );
}

#[test]
fn replacements_are_recognized_but_not_with_the_same_key() {
    let after = |same_key| Sibling {
        issued_after_revocation: Some(true),
        same_key,
        ..sibling(1)
    };
    for (same_key, says_replacement) in [(Some(true), false), (Some(false), true), (None, true)] {
        let text = email_of(affected(vec![after(same_key)], 1));
        assert!(text.contains("issued after the revocation"), "{text}");
        assert_eq!(
            text.contains("probably the replacement"),
            says_replacement,
            "{text}"
        );
        assert_eq!(text.contains("keys not compared"), same_key.is_none());
    }
    let text = email_of(affected(Vec::new(), 0));
    assert_line(
        &text,
        "Same subject: no other valid certificate of this CA (certificates with other subjects were not compared)",
    );
}

#[test]
fn keys_not_compared_never_read_as_another_key() {
    let compared = |same_key| Sibling {
        same_key,
        ..sibling(1)
    };
    for (siblings, total, not_compared) in [
        (vec![compared(Some(false))], 1, None),
        (vec![compared(Some(true))], 1, None),
        (vec![compared(None)], 1, Some("1")),
        (vec![compared(Some(false))], 9, Some("8")),
        (vec![], 2, Some("2")),
    ] {
        let alert = investigated([leaked()], [affected(siblings, total)]);
        let text = unwrapped(&alert);
        assert_eq!(text.contains("Compare the key"), not_compared.is_some());
        assert_eq!(text.contains("jq --arg"), not_compared.is_some(), "{text}");
        let ending = not_compared.map(|number| match number {
            "1" => "; the key of 1 was not compared".to_owned(),
            many => format!("; the keys of {many} were not compared"),
        });
        assert!(text.contains(ending.as_deref().unwrap_or("")), "{text}");
        let card = document(&alert.chat()).to_string();
        let says = card.contains("Not known: who revoked it, where it is in use, same key,");
        assert_eq!(says, not_compared.is_some(), "{card}");
    }
}

const NO_POINTER: &str =
    "no client can learn of this revocation: the certificate has no CRL or OCSP pointer";

const CHECK: RevocationChecking = RevocationChecking {
    crl: false,
    crl_without_pointer: false,
    ocsp: false,
    short_lived: false,
};

fn with_clients(clients: ClientChecks) -> Investigation {
    Investigation {
        clients: Finding::Known(clients),
        ..unknown()
    }
}

/// Asserts what is said about clients, and that the generic advice is not shown then.
#[track_caller]
fn assert_clients(
    (crl_total, ocsp_total): (u64, u64),
    authority: Option<RevocationChecking>,
    line: &str,
    step: &str,
) {
    let found = with_clients(ClientChecks {
        crl_total,
        ocsp_total,
        authority,
        ..ClientChecks::default()
    });
    let alert = investigated([leaked()], [found]);
    let text = unwrapped(&alert);
    assert_line(&text, &format!("Clients: {line}"));
    assert!(text.contains(step), "{step}\n\n{text}");
    assert!(!text.contains("CRL or the OCSP responder"), "{text}");
    let card = document(&alert.chat()).to_string();
    let is_decisive = crl_total + ocsp_total == 0 || line.contains("names");
    assert_eq!(card.contains("Clients: "), is_decisive, "{card}");
}

#[test]
fn clients_line_says_which_pointers_the_certificate_has() {
    let both = RevocationChecking {
        crl: true,
        ocsp: true,
        ..CHECK
    };
    let crl = "Confirm that the CRL lists the serial";
    let ocsp = "Confirm that OCSP reports";
    assert_clients((1, 1), Some(both), "can check CRL and OCSP", crl);
    assert_clients((2, 0), None, "can check the CRL only (no OCSP)", crl);
    assert_clients((0, 1), Some(both), "can check OCSP only (no CRL)", ocsp);
    let off = "Switch the CA's CRL or OCSP on again, or replace the certificate everywhere and remove trust in it: clients may not learn of this revocation.";
    for (totals, what) in [
        ((1, 0), "a CRL"),
        ((0, 1), "OCSP"),
        ((1, 1), "a CRL and OCSP"),
    ] {
        let line = format!(
            "the certificate names {what}, but the CA has none now: clients may not learn of this revocation"
        );
        assert_clients(totals, Some(CHECK), &line, off);
    }
    let only_crl = RevocationChecking {
        ocsp: false,
        ..both
    };
    let only_ocsp = RevocationChecking { crl: false, ..both };
    assert_clients(
        (1, 1),
        Some(only_crl),
        "can check the CRL only: the certificate names OCSP, but the CA has no OCSP responder now",
        "Confirm that the CRL lists the serial (a new",
    );
    assert_clients(
        (1, 1),
        Some(only_ocsp),
        "can check OCSP only: the certificate names a CRL, but the CA publishes none now",
        ocsp,
    );
}

#[test]
fn certificates_without_pointer_need_removal_of_trust() {
    let now = |crl, ocsp| RevocationChecking { crl, ocsp, ..CHECK };
    let trust = "replace the certificate everywhere and remove trust in it";
    for (authority, has) in [
        (Some(CHECK), ""),
        (Some(now(true, false)), "a CRL"),
        (Some(now(false, true)), "OCSP"),
        (Some(now(true, true)), "CRL and OCSP"),
    ] {
        let line = match has {
            "" => NO_POINTER.to_owned(),
            has => format!(
                "no client learns of this revocation by itself: the certificate has no CRL or OCSP pointer; the CA has {has} now, but pointers added after it was issued do not help (only clients configured with its address)"
            ),
        };
        assert_clients((0, 0), authority, &line, trust);
        let configure = "configure servers with the CA's CRL or OCSP responder";
        let text = unwrapped(&investigated(
            [leaked()],
            [with_clients(ClientChecks {
                authority,
                ..ClientChecks::default()
            })],
        ));
        assert_eq!(text.contains(configure), !has.is_empty(), "{text}");
        assert!(!text.contains("describe-certificate-authority"), "{text}");
    }
    let text = email_of(with_clients(ClientChecks::default()));
    assert!(text.contains("acm-pca describe-certificate-authority"));
    assert!(!text.contains("acm-pca get-certificate"), "{text}");
    assert_clients(
        (0, 0),
        None,
        "only clients that were given the address of a CRL, if there is one, can learn of this revocation: the certificate has no CRL or OCSP pointer, and the configuration of the CA is unknown",
        "for all others, replace the certificate and remove trust in it",
    );
    let short_lived = RevocationChecking {
        short_lived: true,
        ..CHECK
    };
    assert_clients(
        (0, 0),
        Some(short_lived),
        &format!("{NO_POINTER} (short-lived by design)"),
        "block the certificate where it matters until it expires",
    );
    let omitted = RevocationChecking {
        crl_without_pointer: true,
        ..now(true, false)
    };
    assert_clients(
        (0, 0),
        Some(omitted),
        "only clients that were given the address of the CRL can learn of this revocation: the certificate has no CRL or OCSP pointer",
        "for all others, replace the certificate and remove trust in it",
    );
}

#[test]
fn unknown_is_stated_as_unknown_with_its_reason() {
    let alert = investigated([leaked()], [unknown()]);
    let text = unwrapped(&alert);
    for line in [
        "Revoked by: unknown: CloudTrail has no event yet (revoked 4 minutes ago)",
        "In use by: unknown: issued to account 222233334444, whose ACM cannot be queried from here",
        "Same key or subject: unknown: the first scan of the report took 5 seconds; a second one would delay the alert",
        "Clients: unknown: Private CA denied GetCertificate",
    ] {
        assert_line(&text, line);
    }
    for no in ["no other", "no AWS service", "no client", "cannot learn"] {
        assert!(!text.contains(no), "{text}");
    }
    let entry = &document(&alert.message())["revocations"][0];
    assert_eq!(
        entry["investigation"]["clients"],
        json!({ "status": "unknown", "reason": "Private CA denied GetCertificate" })
    );
}

#[test]
fn what_does_not_apply_has_no_line() {
    let reason = || "it does not apply".to_owned();
    let text = email_of(Investigation {
        revoked_by: Finding::NotApplicable(reason()),
        in_use: Finding::NotApplicable(reason()),
        affected: Finding::NotApplicable(reason()),
        clients: Finding::NotApplicable(reason()),
    });
    for label in ["Revoked by:", "In use by:", "Same key", "Clients:", "apply"] {
        assert!(!text.contains(label), "{text}");
    }
}

const COMMANDS: [&str; 5] = [
    "cloudtrail lookup-events",
    "acm search-certificates",
    "jq --arg serial",
    "acm-pca get-certificate",
    "acm-pca describe-certificate-authority",
];

#[test]
fn commands_are_shown_only_for_what_is_unknown() {
    let shown = |found: Vec<Investigation>| {
        let text = email(&investigated([leaked()], found).message());
        COMMANDS.map(|command| text.contains(command))
    };
    assert_eq!(shown(vec![]), [true, true, false, true, true]);
    assert_eq!(shown(vec![unknown()]), [true; 5]);
    assert_eq!(shown(vec![findings()]), [false; 5]);
    let because = || "it failed".to_owned();
    for (found, expected) in [
        (
            Investigation {
                revoked_by: Finding::Unknown(because()),
                ..findings()
            },
            [true, false, false, false, false],
        ),
        (
            Investigation {
                in_use: Finding::Unknown(because()),
                ..findings()
            },
            [false, true, false, false, false],
        ),
        (
            Investigation {
                affected: Finding::Unknown(because()),
                ..findings()
            },
            [false, false, true, false, false],
        ),
        (
            Investigation {
                clients: Finding::Unknown(because()),
                ..findings()
            },
            [false, false, false, true, true],
        ),
    ] {
        assert_eq!(shown(vec![found]), expected);
    }
}

#[test]
fn same_subject_command_needs_a_json_report_and_a_critical_leaf() {
    let failed = || Investigation {
        affected: unknown_because("it failed"),
        ..findings()
    };
    let shown = |revocation: Revocation, key: &str| {
        let (batch, _) = support::collect([revocation]);
        let mut source = report();
        source.location = ObjectLocation {
            key: key.to_owned(),
            ..source.location
        };
        let mut revocations = RevocationAlert::new(batch, source, None);
        revocations.set_investigations(vec![failed()]);
        let kind = pca_revocation_watch::alert::AlertKind::Revocations(revocations);
        email(&support::alert(kind).message())
    };
    let text = shown(leaked(), "a 'b'.json");
    let serial = leaked().serial.expect("a serial");
    let command = format!(
        "aws s3 cp 's3://amzn-s3-demo-bucket/a '\\''b'\\''.json' - --region us-east-1 |\n    jq --arg serial {serial} \\\n    '[.[] | select(.serial == $serial) | .subject][0] as $subject |\n    .[] | select(.subject == $subject and (.revokedAt // \"\") == \"\")'\n"
    );
    assert!(text.contains(&command), "{text}");
    assert!(!shown(leaked(), "report.csv").contains("jq"));
    assert!(!shown(ca_certificate(), "report.json").contains("jq"));
    let superseded = Revocation {
        reason: RevocationReason::Superseded,
        ..leaked()
    };
    assert!(!shown(superseded, "report.json").contains("jq"));
    let hostile = Revocation {
        serial: Some("'; reboot".to_owned()),
        ..leaked()
    };
    assert!(!shown(hostile, "report.json").contains("jq"));
}

#[test]
fn steps_of_several_certificates_name_the_worst() {
    let others = many(2);
    let text = unwrapped(&investigated(others.chain([leaked()]), [findings()]));
    let same = support::serial(11);
    assert!(
        text.contains(&format!(
            "1. www.example3.com: Revoke and replace {same} as well: it has the same key.\n"
        )),
        "{text}"
    );
    assert!(
        text.contains("2. www.example3.com: Replace the certificate on load balancer prod-web.\n")
    );
    // Which pointers the others have is not known.
    assert!(text.contains("Confirm that the CRL or the OCSP responder reports the serial"));
}

#[test]
fn expired_or_routine_revocations_need_no_removal_of_trust() {
    let trust = "remove trust in it";
    let of = |revocation| unwrapped(&investigated([revocation], [without_pointers()]));
    assert!(of(leaked()).contains(trust));
    let superseded = Revocation {
        reason: RevocationReason::Superseded,
        ..leaked()
    };
    assert!(!of(superseded).contains(trust));
    let expired = Revocation {
        not_after: Some(
            pca_revocation_watch::revocation::record::ReportTime::from_report(
                "2018-02-25T08:00:00+0000",
            ),
        ),
        ..leaked()
    };
    let text = of(expired);
    assert!(!text.contains(trust), "{text}");
    assert!(!text.contains("Confirm that the CRL"), "{text}");
}

#[test]
fn cards_show_who_where_and_what_is_decisive() {
    let card = document(&investigated([leaked()], [findings()]).chat());
    let description = card["content"]["description"].as_str().expect("text");
    let first = description.lines().next().expect("a line");
    assert!(
        first.ends_with("(detected 29 minutes later) by `pki-admin` \u{b7} in use by `prod-web`"),
        "{first}"
    );
    let card = document(&investigated([ca_certificate()], [without_pointers()]).chat());
    let description = card["content"]["description"].as_str().expect("text");
    assert!(description.contains("\nAffects: everything issued by `Example Corp Device CA 3`"));
    assert!(description.contains("\nClients: no client learns of this revocation by itself"));
    let card = document(&investigated([leaked()], [unknown()]).chat());
    let description = card["content"]["description"].as_str().expect("text");
    assert!(!description.contains("unknown"), "{description}");
    assert_line(
        description,
        "Not known: who revoked it, where it is in use, same key or subject, how clients can check (reasons in the email)",
    );
    assert!(!description.contains(" by "), "{description}");
}

#[test]
fn revoked_ca_certificate_gets_advice_about_the_ca() {
    let compromised = || Revocation {
        reason: RevocationReason::KeyCompromise,
        ..ca_certificate()
    };
    let stop = "Stop trusting this CA everywhere: whoever has its key can issue certificates that clients accept.";
    let disable = "1. Disable the CA Example Corp Device CA 3 so that it issues nothing more (aws acm-pca update-certificate-authority --status DISABLED).";
    let text = unwrapped(&investigated([compromised()], [without_pointers()]));
    assert_words(&text, stop);
    assert_line(&text, disable);
    for absent in [
        "wherever it is deployed",
        "reject every certificate",
        "CRL or the OCSP responder",
    ] {
        assert!(!text.contains(absent), "{absent}\n\n{text}");
    }
    // The certificate of a CA that was not found, and pointers: the general advice.
    let known = Investigation {
        affected: Finding::Known(Affected::CertificateAuthority {
            authority: Finding::Known(None),
        }),
        ..findings()
    };
    let text = unwrapped(&investigated([compromised()], [known]));
    assert_words(&text, stop);
    assert!(!text.contains("Disable the CA"), "{text}");
    assert!(text.contains("reject every certificate"), "{text}");
    // A leaf with the same reason keeps its own advice.
    let text = unwrapped(&investigated([compromised(), leaked()], []));
    assert_words(&text, "wherever it is deployed");
    // CA compromise: the contradiction is in another group.
    let text = unwrapped(&investigated([ca_certificate()], [without_pointers()]));
    assert!(!text.contains("CRL or the OCSP responder"), "{text}");
    assert!(!text.contains("reject every certificate"), "{text}");
}

#[test]
fn advice_names_whom_to_ask() {
    let unspecified = || Revocation {
        reason: RevocationReason::Unspecified,
        ..leaked()
    };
    let of = |found| unwrapped(&investigated([unspecified()], [found]));
    let rest = "why; treat it as a key compromise until you know.";
    assert_words(
        &of(findings()),
        &format!("Ask m.ops (role pki-admin) {rest}"),
    );
    assert_words(
        &of(unknown()),
        &format!("Find out who revoked it and {rest}"),
    );
    let several = [unspecified(), many(1).next().expect("one")];
    let text = unwrapped(&investigated(several, [findings()]));
    assert_words(&text, "Ask who revoked it and why");
}

#[test]
fn steps_cover_every_investigated_certificate() {
    let second = Revocation {
        reason: RevocationReason::Superseded,
        ..leaked()
    };
    let second = Revocation {
        subject: Some("CN=second.example.com".to_owned()),
        ..support::revocation(
            &support::serial(5),
            "CN=second.example.com",
            second.reason.name(),
            "2018-02-26T20:00:36+0000",
        )
    };
    let alert = investigated([leaked(), second], [findings(), findings()]);
    let text = unwrapped(&alert);
    let step = "second.example.com: Replace the certificate on load balancer prod-web.";
    assert_line(&text, &format!("4. {step}"));
    let card = document(&alert.chat());
    assert_eq!(card["content"]["nextSteps"][3], step);
}

#[test]
fn commands_name_the_certificate_they_are_about() {
    let others = many(2);
    let text = unwrapped(&investigated(others.chain([leaked()]), [unknown()]));
    for purpose in [
        "To inspect www.example3.com (for others, change the last ARN):",
        "To list the unrevoked certificates with the same subject as www.example3.com (for others, change the serial) (then compare their keys):",
        "To find out who revoked www.example3.com (for others, change times and serial), with access to account 123456789012:",
    ] {
        assert_words(&text, purpose);
    }
}

#[test]
fn test_and_full_list_have_no_investigation() {
    let request_id = "r".to_owned();
    let kind = pca_revocation_watch::alert::AlertKind::Test { request_id };
    let test = support::alert(kind).message();
    let found = &document(&test)["revocations"][0];
    assert_eq!(found.get("investigation"), None);
    accepted(&test);
    let reduced = investigated([leaked()], [findings()]).reduced();
    let found = &document(&reduced)["revocations"][0];
    assert_eq!(found.get("investigation"), None);
    assert!(!email(&reduced).contains("pki-admin"));
}
