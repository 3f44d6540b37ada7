//! Reports compared with AWS's samples.

use std::time::{Duration, SystemTime};

use local_aws::{Certificate, JsonLayout, LocalAws, ReportFormat, render};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Returns the first record of AWS's sample.
fn sample() -> Certificate {
    let aws = LocalAws::new();
    let ca = aws
        .private_ca()
        .create_with_id("11223344-1234-1122-2233-112233445566", "Example CA");
    let mut certificate = aws.private_ca().certificate(&ca, "www.example1.com");
    certificate.serial = "e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8".to_owned();
    certificate.certificate_arn = format!("{ca}/certificate/e8cbd2bedb122329f97706bcfec990f8");
    certificate.subject = "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,CN=www.example1.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US".to_owned();
    certificate.not_before = at(1_519_670_397);
    certificate.not_after = at(1_551_209_997);
    certificate.issued_at = at(1_519_673_998);
    certificate.revoked_at = Some(at(1_519_675_236));
    certificate.revocation_reason = Some("KEY_COMPROMISE".to_owned());
    certificate
}

#[test]
fn two_space_json_equals_the_sample_of_2018() {
    let mut certificate = sample();
    certificate.template_arn = None;
    let expected = r#"[{
  "awsAccountId": "123456789012",
  "certificateArn": "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566/certificate/e8cbd2bedb122329f97706bcfec990f8",
  "serial": "e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8",
  "subject": "1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,CN=www.example1.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US",
  "notBefore": "2018-02-26T18:39:57+0000",
  "notAfter": "2019-02-26T19:39:57+0000",
  "issuedAt": "2018-02-26T19:39:58+0000",
  "revokedAt": "2018-02-26T20:00:36+0000",
  "revocationReason": "KEY_COMPROMISE"
}]"#;
    assert_eq!(
        render(&[certificate], ReportFormat::Json, JsonLayout::TwoSpaces),
        expected
    );
}

#[test]
fn csv_equals_the_sample() {
    let mut issued_by_acm = sample();
    issued_by_acm.requested_by_service_principal = Some("acm.amazonaws.com".to_owned());
    issued_by_acm.revoked_at = None;
    issued_by_acm.revocation_reason = Some("UNSPECIFIED".to_owned());
    let report = render(
        &[sample(), issued_by_acm],
        ReportFormat::Csv,
        JsonLayout::default(),
    );
    let expected = r#"awsAccountId,requestedByServicePrincipal,certificateArn,serial,subject,notBefore,notAfter,issuedAt,revokedAt,revocationReason,templateArn
123456789012,,arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566/certificate/e8cbd2bedb122329f97706bcfec990f8,e8:cb:d2:be:db:12:23:29:f9:77:06:bc:fe:c9:90:f8,"1.2.840.113549.1.9.1=#161173616c6573406578616d706c652e636f6d,CN=www.example1.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US",2018-02-26T18:39:57+0000,2019-02-26T19:39:57+0000,2018-02-26T19:39:58+0000,2018-02-26T20:00:36+0000,KEY_COMPROMISE,arn:aws:acm-pca:::template/EndEntityCertificate/V1
"#;
    let (header_and_first, second) = report.split_at(expected.len());
    assert_eq!(header_and_first, expected);
    assert!(second.contains(",acm.amazonaws.com,"));
    assert!(second.ends_with(
        ",2018-02-26T19:39:58+0000,,UNSPECIFIED,arn:aws:acm-pca:::template/EndEntityCertificate/V1\n"
    ));
}

#[test]
fn all_json_layouts_parse_to_the_same_records() {
    let anomalous = sample()
        .with("revokedAt", 7)
        .with("newKey", serde_json::json!({ "a": [1, "\n\"ü\""] }));
    let certificates = [sample(), anomalous, sample()];
    let parsed: Vec<serde_json::Value> = [
        JsonLayout::TwoSpaces,
        JsonLayout::ThreeSpaces,
        JsonLayout::Compact,
    ]
    .into_iter()
    .map(|layout| {
        let report = render(&certificates, ReportFormat::Json, layout);
        serde_json::from_str(&report).unwrap()
    })
    .collect();
    assert_eq!(parsed[0], parsed[1]);
    assert_eq!(parsed[0], parsed[2]);
    assert_eq!(parsed[0].as_array().unwrap().len(), 3);
    assert_eq!(parsed[0][1]["newKey"]["a"][0], 1);
    assert_eq!(parsed[0][1]["revokedAt"], 7);
    assert_eq!(render(&[], ReportFormat::Json, JsonLayout::TwoSpaces), "[]");
    let empty = render(&[], ReportFormat::Csv, JsonLayout::TwoSpaces);
    assert_eq!(empty.lines().count(), 1);
}

#[test]
fn year_9999_is_rendered() {
    let mut certificate = sample();
    certificate.not_after = at(253_402_300_799);
    let report = render(&[certificate], ReportFormat::Csv, JsonLayout::default());
    assert!(report.contains(",9999-12-31T23:59:59+0000,"), "{report}");
}
