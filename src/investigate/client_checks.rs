//! Finds how clients can learn of a revocation.

use futures_util::future::join;

use crate::aws::certificate_authorities::describe_checking;
use crate::investigate::certificates::PRIVATE_CA;
use crate::investigate::{Case, Investigator, reason};
use crate::revocation::certificate::CertificateFacts;
use crate::revocation::checking::RevocationChecking;
use crate::revocation::investigation::{ClientChecks, Finding};

impl Investigator<'_> {
    /// Returns a finding for each revocation of the case.
    pub(super) async fn client_checks(&self, case: &Case<'_>) -> Vec<Finding<ClientChecks>> {
        let (certificates, authority) =
            join(self.revoked_certificates(case), self.checking_now(case)).await;
        let checks = certificates.iter().map(|certificate| {
            let facts = certificate.as_ref();
            facts.map(|facts| client_checks(facts, authority))
        });
        checks.collect()
    }

    /// Returns what the CA is configured for now; `None` if it could not be looked up.
    async fn checking_now(&self, case: &Case<'_>) -> Option<RevocationChecking> {
        let describe = async {
            let reason = match describe_checking(&self.clients.acmpca_lookups, case.arn).await {
                Ok(Some(checking)) => return Finding::Known(checking),
                Ok(None) => {
                    format!("{PRIVATE_CA} returned no CA to DescribeCertificateAuthority")
                }
                Err(failure) => reason(PRIVATE_CA, &failure),
            };
            case.warn("DescribeCertificateAuthority", &reason);
            Finding::Unknown(reason)
        };
        match case.in_time(PRIVATE_CA, describe).await {
            Finding::Known(checking) => Some(checking),
            Finding::Unknown(_) | Finding::NotApplicable(_) => None,
        }
    }
}

fn client_checks(facts: &CertificateFacts, authority: Option<RevocationChecking>) -> ClientChecks {
    ClientChecks {
        crl_urls: facts.crl.uris.clone(),
        crl_total: facts.crl.total,
        ocsp_urls: facts.ocsp.uris.clone(),
        ocsp_total: facts.ocsp.total,
        authority,
    }
}

/// Both lookups that need certificates, against responses of AWS.
#[cfg(test)]
mod tests {
    use std::fmt;
    use std::future;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, SystemTime};

    use aws_sdk_s3::config::{
        BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient,
    };
    use aws_smithy_runtime_api::client::http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
    use aws_smithy_types::body::SdkBody;
    use futures_util::future::join3;
    use serde_json::{Value, json};
    use tokio::sync::OnceCell;

    use super::*;
    use crate::alert::RevocationBatch;
    use crate::arn::CertificateAuthorityArn;
    use crate::aws::clients::Clients;
    use crate::budget::Budget;
    use crate::config::Config;
    use crate::investigate::Trail;
    use crate::report::scanner::ReportScanner;
    use crate::report::wait::ReportObject;
    use crate::report_format::ReportFormat;
    use crate::revocation::investigation::Affected;
    use crate::revocation::record::{Revocation, RevokedRecord};
    use crate::timestamp::Timestamp;

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
    const LEAF: &str = include_str!("../../tests/fixtures/certificates/crl-and-ocsp.pem");
    const SAME_KEY: &str = include_str!("../../tests/fixtures/certificates/same-key.pem");
    const OTHER_KEY: &str = include_str!("../../tests/fixtures/certificates/other-key.pem");
    const ROOT_CA: &str = include_str!("../../tests/fixtures/certificates/root-ca.pem");

    type Respond = dyn Fn(&str, &str) -> Option<(u16, String)> + Send + Sync;

    /// Responds to an operation with this body; to none that hangs.
    #[derive(Clone)]
    struct FakeAws {
        respond: Arc<Respond>,
        calls: Arc<Mutex<Vec<String>>>,
    }

    impl fmt::Debug for FakeAws {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("FakeAws")
        }
    }

    impl HttpClient for FakeAws {
        fn http_connector(
            &self,
            _: &HttpConnectorSettings,
            _: &RuntimeComponents,
        ) -> SharedHttpConnector {
            SharedHttpConnector::new(self.clone())
        }
    }

    impl HttpConnector for FakeAws {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let target = request.headers().get("x-amz-target").unwrap_or("GetObject");
            let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
            let body = request.body().bytes().unwrap_or_default();
            let response = (self.respond)(&operation, &String::from_utf8_lossy(body));
            self.calls.lock().unwrap().push(operation);
            HttpConnectorFuture::new(async move {
                let Some((status, body)) = response else {
                    return future::pending().await;
                };
                let status = status.try_into().unwrap();
                Ok(HttpResponse::new(status, SdkBody::from(body)))
            })
        }
    }

    fn record(serial: &str, fields: &Value) -> Value {
        let id = serial.replace(':', "");
        let mut record = json!({
            "certificateArn": format!("{CA}/certificate/{id}"),
            "serial": serial,
            "subject": "CN=a",
            "notAfter": "2028-01-17T21:10:49+0000",
        });
        let fields = fields.as_object().unwrap().clone();
        record.as_object_mut().unwrap().extend(fields);
        record
    }

    /// A report of a leaked key, another certificate with it and one without.
    fn report() -> String {
        let revoked =
            json!({"revokedAt": "2026-11-24T20:22:47+0000", "revocationReason": "KEY_COMPROMISE"});
        json!([
            record(
                "ff:ee:dd:cc:bb:aa:99:88:77:66:55:44:33:22:11:00:ff:ee:dd:cc",
                &json!({})
            ),
            record("2b:ae:9a:75:d7:1b:42:b4:e4:1e:36:f8:b4:b4:88:fc", &revoked),
            record("ff", &json!({"issuedAt": "2026-11-25T00:00:00+0000"})),
        ])
        .to_string()
    }

    fn revocations(report: &str) -> Vec<Revocation> {
        let mut revocations = Vec::new();
        let mut scanner = ReportScanner::new(ReportFormat::Json);
        let mut sink = |record: &RevokedRecord<'_>| {
            revocations.push(record.to_revocation(record.key()));
        };
        scanner.feed(report.as_bytes(), &mut sink).unwrap();
        revocations
    }

    /// Responds like AWS to `report`.
    fn respond(report: &str, operation: &str, body: &str) -> (u16, String) {
        let response = match operation {
            "GetObject" => return (200, report.to_owned()),
            "GetCertificate" => {
                let pem = match body {
                    _ if body.contains("/certificate/2bae9a75") => LEAF,
                    _ if body.contains("/certificate/ffeeddcc") => OTHER_KEY,
                    _ if body.contains("/certificate/01") => ROOT_CA,
                    _ => SAME_KEY,
                };
                json!({"Certificate": pem})
            }
            "DescribeCertificateAuthority" => json!({"CertificateAuthority": {
                "Arn": CA,
                "UsageMode": "SHORT_LIVED_CERTIFICATE",
                "RevocationConfiguration": {
                    "CrlConfiguration": {
                        "Enabled": true,
                        "CrlDistributionPointExtensionConfiguration": {"OmitExtension": true},
                    },
                    "OcspConfiguration": {"Enabled": false},
                },
            }}),
            _ => json!({"CertificateAuthorities": [
                {"Arn": CA, "Serial": "00:01", "CertificateAuthorityConfiguration": {
                    "KeyAlgorithm": "EC_prime256v1",
                    "SigningAlgorithm": "SHA256WITHECDSA",
                    "Subject": {"CommonName": "Example Corp Issuing CA"},
                }},
            ]}),
        };
        (200, response.to_string())
    }

    struct Found {
        affected: Vec<Finding<Affected>>,
        clients: Vec<Finding<ClientChecks>>,
        calls: Vec<String>,
        took: Duration,
    }

    fn clients(aws: &FakeAws) -> Clients {
        let config = Config::from_lookup(|name| {
            let value = match name {
                "AWS_REGION" => "us-east-1",
                "CERTIFICATE_AUTHORITY_ARNS" => "*",
                "REPORT_BUCKET" => "amzn-s3-demo-bucket",
                "TOPIC_ARN" => "arn:aws:sns:us-east-1:123456789012:alerts",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test");
        let sdk_config = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(SharedHttpClient::new(aws.clone()))
            .build();
        Clients::new(&sdk_config, &config.unwrap())
    }

    async fn look_up(
        report: &str,
        scan_duration: Duration,
        respond: impl Fn(&str, &str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Found {
        look_up_beside(report, scan_duration, None, respond).await
    }

    /// Looks up while another report is read again, for `other_scan`.
    async fn look_up_beside(
        report: &str,
        scan_duration: Duration,
        other_scan: Option<Duration>,
        respond: impl Fn(&str, &str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Found {
        let aws = FakeAws {
            respond: Arc::new(respond),
            calls: Arc::default(),
        };
        let clients = clients(&aws);
        let started = Timestamp::parse("2026-11-24T20:30:00Z").unwrap();
        let started = Duration::from_secs(started.unix_seconds().try_into().unwrap());
        let started = SystemTime::UNIX_EPOCH + started;
        let budget = Budget::starting(started, Duration::from_secs(900));
        let arn = CertificateAuthorityArn::parse(CA).unwrap();
        let object = ReportObject {
            key: "audit-report/report.json".to_owned(),
            e_tag: "\"etag\"".to_owned(),
            size_bytes: report.len() as u64,
            last_modified: budget.now(),
        };
        let trail = Trail::default();
        let investigator = Investigator::new(&clients, "amzn-s3-demo-bucket", budget, true, &trail);
        let case = Case {
            arn: &arn,
            revocations: &revocations(report),
            report: &object,
            scan_duration,
            deadline: budget.ending_within(crate::investigate::TIMEOUT),
            certificates: OnceCell::new(),
        };
        let other_scan = async {
            if let Some(duration) = other_scan {
                let _turn = investigator.second_scans.acquire().await;
                tokio::time::sleep(duration).await;
            }
        };
        let (_, affected, clients) = join3(
            other_scan,
            investigator.affected(&case),
            investigator.client_checks(&case),
        )
        .await;
        let calls = aws.calls.lock().unwrap().clone();
        Found {
            affected,
            clients,
            calls,
            took: budget.elapsed(),
        }
    }

    fn reason<T: fmt::Debug>(finding: &Finding<T>) -> &str {
        match finding {
            Finding::Unknown(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn siblings(found: &Found) -> Vec<(Option<bool>, Option<bool>)> {
        let Finding::Known(Affected::Certificates { siblings, total }) = &found.affected[0] else {
            panic!("{:?}", found.affected);
        };
        assert_eq!(*total, siblings.len() as u64);
        let siblings = siblings.iter();
        siblings
            .map(|sibling| (sibling.same_key, sibling.issued_after_revocation))
            .collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn certificates_are_fetched_once_and_compared() {
        let report = report();
        let respond = {
            let report = report.clone();
            move |operation: &str, body: &str| Some(respond(&report, operation, body))
        };
        let found = look_up(&report, SECOND, respond).await;
        assert_eq!(
            siblings(&found),
            [(Some(true), Some(true)), (Some(false), None)]
        );
        let Finding::Known(checks) = &found.clients[0] else {
            panic!("{:?}", found.clients);
        };
        assert_eq!((checks.crl_total, checks.ocsp_total), (2, 1));
        assert_eq!(checks.ocsp_urls, ["http://ocsp.example.com"]);
        let authority = RevocationChecking {
            crl: true,
            crl_without_pointer: true,
            ocsp: false,
            short_lived: true,
        };
        assert_eq!(checks.authority, Some(authority));
        let count = |name: &str| found.calls.iter().filter(|call| *call == name).count();
        assert_eq!(count("GetCertificate"), 3);
        assert_eq!(count("DescribeCertificateAuthority"), 1);
        assert_eq!(count("ListCertificateAuthorities"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn every_error_becomes_a_reason_in_time() {
        let report = report();
        let denied = || Some((400, r#"{"__type":"AccessDeniedException"}"#.to_owned()));
        let wrong = || Some((200, json!({"Certificate": OTHER_KEY}).to_string()));
        let none = || Some((200, "{}".to_owned()));
        type Failure = fn() -> Option<(u16, String)>;
        let cases: [(&str, Failure, &str); 6] = [
            ("GetCertificate", denied, "Private CA denied GetCertificate"),
            (
                "GetCertificate",
                || None,
                "Private CA did not respond to GetCertificate",
            ),
            ("GetCertificate", wrong, "a certificate with another serial"),
            ("GetCertificate", none, "it returned no certificate"),
            (
                "GetCertificate",
                || Some((500, String::new())),
                "Private CA failed GetCertificate",
            ),
            (
                "GetCertificate",
                || Some((400, r#"{"__type":"ThrottlingException"}"#.to_owned())),
                "Private CA throttled GetCertificate",
            ),
        ];
        for (failing, failure, expected) in cases {
            let text = report.clone();
            let found = look_up(&report, SECOND, move |operation, body| {
                match operation == failing {
                    true => failure(),
                    false => Some(respond(&text, operation, body)),
                }
            });
            let found = found.await;
            let reason = reason(&found.clients[0]);
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(siblings(&found), [(None, None), (None, Some(true))]);
            assert!(found.took <= crate::investigate::TIMEOUT + SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn report_that_cannot_be_read_again_is_unknown() {
        let whole = report();
        let with = |body: Option<(u16, String)>| {
            let text = whole.clone();
            move |operation: &str, request: &str| match operation {
                "GetObject" => body.clone(),
                _ => Some(respond(&text, operation, request)),
            }
        };
        let mut other = whole.clone();
        other.replace_range(whole.len() - 1.., "}");
        for (body, expected) in [
            (
                Some((412, String::new())),
                "could not be read again: GetObject failed",
            ),
            (
                Some((403, String::new())),
                "could not be read again: GetObject failed",
            ),
            (None, "could not be read again in time"),
            (Some((200, other)), "the report is not valid"),
            (Some((200, whole[1..].to_owned())), "the report"),
        ] {
            let found = look_up(&whole, SECOND, with(body)).await;
            let reason = reason(&found.affected[0]);
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(found.clients[0].state(), "known");
            assert!(found.took <= crate::investigate::TIMEOUT + SECOND);
        }
        let found = look_up(&whole, 4 * SECOND, with(None)).await;
        let too_slow =
            "the first scan of the report took 4 seconds; a second one would delay the alert";
        assert_eq!(reason(&found.affected[0]), too_slow);
        assert!(!found.calls.contains(&"GetObject".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_report_at_a_time_is_read_again() {
        let report = report();
        let look_up = |other_scan| {
            let text = report.clone();
            look_up_beside(&report, SECOND, Some(other_scan), move |operation, body| {
                Some(respond(&text, operation, body))
            })
        };
        let found = look_up(9 * SECOND).await;
        assert_eq!(found.affected[0].state(), "known");
        assert!(found.took >= 9 * SECOND);
        let found = look_up(11 * SECOND).await;
        let expected = "other reports were being read again";
        assert_eq!(reason(&found.affected[0]), expected);
        assert!(!found.calls.contains(&"GetObject".to_owned()));
        assert_eq!(found.clients[0].state(), "known");
    }

    #[tokio::test(start_paused = true)]
    async fn cut_subject_is_not_searched() {
        let long = format!("CN={}", "\u{20ac}".repeat(1500));
        let revoked = json!({"revokedAt": "2026-11-24T20:22:47+0000",
            "revocationReason": "KEY_COMPROMISE", "subject": long});
        let report = json!([record(
            "2b:ae:9a:75:d7:1b:42:b4:e4:1e:36:f8:b4:b4:88:fc",
            &revoked
        )]);
        let mut batch = RevocationBatch::new(CA, Timestamp::MIN);
        for revocation in revocations(&report.to_string()) {
            batch.add(revocation);
        }
        let cut = batch.worst_first().next().unwrap().subject.clone();
        assert!(cut.as_ref().unwrap().len() < long.len());
        let cut = report.to_string().replace(&long, &cut.unwrap());
        let text = cut.clone();
        let respond = move |operation: &str, body: &str| Some(respond(&text, operation, body));
        let found = look_up(&cut, SECOND, respond).await;
        let expected = "the subject is too long to search for";
        assert_eq!(reason(&found.affected[0]), expected);
        assert!(!found.calls.contains(&"GetObject".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn ca_certificate_without_template_is_recognized() {
        let revoked = json!({"revokedAt": "2026-11-24T20:22:47+0000",
            "revocationReason": "SUPERSEDED"});
        let report = json!([record("01", &revoked)]).to_string();
        let text = report.clone();
        let respond = move |operation: &str, body: &str| Some(respond(&text, operation, body));
        let found = look_up(&report, SECOND, respond).await;
        assert!(
            matches!(
                &found.affected[0],
                Finding::Known(Affected::CertificateAuthority {
                    authority: Finding::Known(Some(_))
                })
            ),
            "{:?}",
            found.affected
        );
    }

    #[tokio::test(start_paused = true)]
    async fn authority_of_a_ca_certificate_is_looked_up() {
        let revoked = json!({"revokedAt": "2026-11-24T20:22:47+0000", "revocationReason": "SUPERSEDED",
            "templateArn": "arn:aws:acm-pca:::template/RootCACertificate/V1"});
        let report = json!([record("01", &revoked)]).to_string();
        let text = report.clone();
        let respond_to = move |operation: &str, body: &str| Some(respond(&text, operation, body));
        let found = look_up(&report, SECOND, respond_to.clone()).await;
        let Finding::Known(Affected::CertificateAuthority { authority }) = &found.affected[0]
        else {
            panic!("{:?}", found.affected);
        };
        let Finding::Known(Some((_, name))) = authority else {
            panic!("{authority:?}");
        };
        assert_eq!(name.as_deref(), Some("Example Corp Issuing CA"));
        let found = look_up(&report, SECOND, move |operation, body| match operation {
            "ListCertificateAuthorities" => {
                Some((400, r#"{"__type":"AccessDeniedException"}"#.to_owned()))
            }
            _ => respond_to(operation, body),
        });
        let found = found.await;
        // What is below it is affected all the same.
        let Finding::Known(Affected::CertificateAuthority { authority }) = &found.affected[0]
        else {
            panic!("{:?}", found.affected);
        };
        let denied = "Private CA denied ListCertificateAuthorities";
        assert_eq!(reason(authority), denied);
    }
}
