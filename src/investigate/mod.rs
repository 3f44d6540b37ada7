//! Looks up what people ask first about a revocation: who revoked the certificate, where it is in use,
//! what else is affected, and whether clients can learn of the revocation.
//!
//! The alert comes first: all lookups of a message together take at most [`TIMEOUT`], run at the same
//! time, and never fail. What cannot be found out becomes [`Finding::Unknown`] with the reason.

use std::time::Duration;

use futures_util::future::join4;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;
use tracing::info;

use crate::arn::CertificateAuthorityArn;
use crate::aws::certificate_authorities::{ListedCa, Names};
use crate::aws::clients::Clients;
use crate::budget::Budget;
use crate::report::wait::ReportObject;
use crate::revocation::certificate::CertificateFacts;
use crate::revocation::investigation::{Finding, Investigation, MAX_INVESTIGATED};
use crate::revocation::record::Revocation;

mod affected;
mod certificates;
mod client_checks;
mod revoke_event;
mod revoker;
mod trail;
mod usage;
mod words;

pub(crate) use trail::Trail;
use words::reason;

/// Time by which all lookups of a message together may delay it.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Minimum time left to look anything up.
const MIN_TIME_LEFT: Duration = Duration::from_secs(60);

/// Looks up revocations for all CAs of a run.
#[derive(Debug)]
pub(crate) struct Investigator<'a> {
    clients: &'a Clients,
    bucket: &'a str,
    budget: Budget,
    is_enabled: bool,
    /// What this and earlier runs found in CloudTrail.
    trail: &'a Trail,
    /// The number of this run in the trail.
    run: u64,
    names: Names,
    /// Every CA of the account and region, if they were listed.
    authorities: OnceCell<Vec<ListedCa>>,
    /// One report at a time is read again: together they would take the memory and the processor time
    /// that audits need.
    second_scans: Semaphore,
}

/// The revocations of one message.
pub(crate) struct Case<'a> {
    pub arn: &'a CertificateAuthorityArn,
    /// The worst revocations, at most [`MAX_INVESTIGATED`].
    pub revocations: &'a [Revocation],
    /// The report that states them, after it was verified.
    pub report: &'a ReportObject,
    /// How long the scan of the report took.
    pub scan_duration: Duration,
    /// When the lookups end.
    pub deadline: Instant,
    /// The certificates of the revocations, once they were requested.
    certificates: OnceCell<Vec<Finding<CertificateFacts>>>,
}

impl<'a> Investigator<'a> {
    /// `is_enabled` is whether anything is looked up at all.
    pub fn new(
        clients: &'a Clients,
        bucket: &'a str,
        budget: Budget,
        is_enabled: bool,
        trail: &'a Trail,
    ) -> Self {
        Self {
            clients,
            bucket,
            budget,
            is_enabled,
            trail,
            run: trail.begin_run(budget.now()),
            names: Names::default(),
            authorities: OnceCell::new(),
            second_scans: Semaphore::new(1),
        }
    }

    /// Looks up revocations of a verified report; returns an investigation of each, or none at all if
    /// lookups are switched off or the run has too little time left.
    pub async fn investigate(
        &self,
        arn: &CertificateAuthorityArn,
        revocations: &[Revocation],
        report: &ReportObject,
        scan_duration: Duration,
    ) -> Vec<Investigation> {
        if !self.is_enabled || self.budget.left() < MIN_TIME_LEFT {
            return Vec::new();
        }
        let case = Case {
            arn,
            revocations: &revocations[..revocations.len().min(MAX_INVESTIGATED)],
            report,
            scan_duration,
            deadline: self.budget.ending_within(TIMEOUT),
            certificates: OnceCell::new(),
        };
        let started = self.budget.elapsed();
        // Boxed: together they are too large for the stack of a thread in a debug build.
        let (revoked_by, in_use, affected, clients) = join4(
            Box::pin(self.revokers(&case)),
            Box::pin(self.usages(&case)),
            Box::pin(self.affected(&case)),
            Box::pin(self.client_checks(&case)),
        )
        .await;
        let investigations: Vec<_> = revoked_by
            .into_iter()
            .zip(in_use)
            .zip(affected)
            .zip(clients)
            .map(
                |(((revoked_by, in_use), affected), clients)| Investigation {
                    revoked_by,
                    in_use,
                    affected,
                    clients,
                },
            )
            .collect();
        for (revocation, found) in case.revocations.iter().zip(&investigations) {
            info!(
                certificate_authority = arn.id(),
                serial = revocation.serial,
                duration_seconds = (self.budget.elapsed() - started).as_secs_f64(),
                revoked_by = found.revoked_by.state(),
                in_use = found.in_use.state(),
                affected = found.affected.state(),
                clients = found.clients.state(),
                "investigation finished"
            );
        }
        investigations
    }
}

impl Case<'_> {
    /// Ends one lookup at the deadline.
    async fn in_time<T>(
        &self,
        service: &str,
        lookup: impl Future<Output = Finding<T>>,
    ) -> Finding<T> {
        let looked_up = tokio::time::timeout_at(self.deadline, Box::pin(lookup)).await;
        looked_up.unwrap_or_else(|_| {
            let reason = format!("{service} did not respond in time");
            self.warn(service, &reason);
            Finding::Unknown(reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    use crate::revocation::record::RevokedRecord;

    /// A revocation of account 123456789012 that ACM requested.
    pub(super) fn revocation(serial: Option<&str>, revoked_at: &str) -> Revocation {
        let text = |text: &'static str| Some(Cow::Borrowed(text));
        let record = RevokedRecord {
            aws_account_id: text("123456789012"),
            requested_by_service_principal: text("acm.amazonaws.com"),
            certificate_arn: None,
            serial: serial.map(Cow::Borrowed),
            subject: text("CN=www.example.com,O=Example"),
            not_before: None,
            not_after: None,
            issued_at: None,
            revoked_at: Some(Cow::Borrowed(revoked_at)),
            revocation_reason: text("KEY_COMPROMISE"),
            template_arn: text("arn:aws:acm-pca:::template/EndEntityCertificate/V1"),
            malformed: false,
            raw: b"{}",
        };
        record.to_revocation(record.key())
    }
}

/// Tests of whole lookups against scripted responses, on a paused clock.
#[cfg(test)]
mod lookup_tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, SystemTime};

    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use crate::arn::CertificateAuthorityArn;
    use crate::aws::clients::Clients;
    use crate::budget::Budget;
    use crate::config::Config;
    use crate::investigate::tests::revocation;
    use crate::investigate::{Case, Investigator, TIMEOUT, Trail};
    use crate::report::wait::ReportObject;
    use crate::revocation::investigation::{Finding, Revoker, Usage};
    use crate::revocation::record::Revocation;

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
    const OTHER_CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/99999999-1234-1122-2233-112233445566";
    const SERIAL: &str = "e8:cb:d2:be:db:12:23:29";
    const REVOKED_AT: &str = "2026-11-24T20:22:47+0000";

    /// Status and body; `None` for a response that never comes.
    type Response = Option<(u16, Value)>;

    /// Scripted responses in order, and the requests received.
    #[derive(Clone, Debug, Default)]
    struct Script {
        responses: Arc<Mutex<VecDeque<Response>>>,
        requests: Arc<Mutex<Vec<(Instant, String, Value)>>>,
    }

    impl Script {
        fn new(responses: impl IntoIterator<Item = Response>) -> Self {
            Self {
                responses: Arc::new(Mutex::new(responses.into_iter().collect())),
                requests: Arc::default(),
            }
        }

        fn requests(&self) -> Vec<(Instant, String, Value)> {
            self.requests.lock().unwrap().clone()
        }
    }

    impl HttpConnector for Script {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
            let body = request.body().bytes().unwrap_or_default();
            let body = serde_json::from_slice(body).unwrap();
            let mut requests = self.requests.lock().unwrap();
            requests.push((Instant::now(), operation, body));
            let response = self.responses.lock().unwrap().pop_front();
            let response = response.expect("a scripted response");
            HttpConnectorFuture::new(async move {
                let Some((status, body)) = response else {
                    return std::future::pending().await;
                };
                let status = StatusCode::try_from(status).unwrap();
                let mut response = HttpResponse::new(status, SdkBody::from(body.to_string()));
                let headers = response.headers_mut();
                headers.insert("content-type", "application/x-amz-json-1.1");
                Ok(response)
            })
        }
    }

    fn clients(script: &Script) -> Clients {
        let connector = SharedHttpConnector::new(script.clone());
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test");
        let sdk_config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        let config = Config::from_lookup(|name| match name {
            "AWS_REGION" => Some("us-east-1".to_owned()),
            "CERTIFICATE_AUTHORITY_ARNS" => Some("*".to_owned()),
            "REPORT_BUCKET" => Some("amzn-s3-demo-bucket".to_owned()),
            "TOPIC_ARN" => Some("arn:aws:sns:us-east-1:123456789012:topic".to_owned()),
            _ => None,
        });
        Clients::new(&sdk_config, &config.expect("a valid configuration"))
    }

    /// A run at 20:40 UTC, 18 minutes after the revocation, or later.
    fn budget(minutes_later: u64) -> Budget {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_552_800 + 60 * minutes_later);
        Budget::starting(now, Duration::from_secs(900))
    }

    async fn look_up<T>(
        investigator: &Investigator<'_>,
        ca: &str,
        revocations: &[Revocation],
        lookup: impl AsyncFnOnce(&Investigator<'_>, &Case<'_>) -> T,
    ) -> T {
        let case = Case {
            certificates: tokio::sync::OnceCell::new(),
            arn: &CertificateAuthorityArn::parse(ca).unwrap(),
            revocations,
            report: &ReportObject {
                key: String::new(),
                e_tag: String::new(),
                size_bytes: 0,
                last_modified: investigator.budget.now(),
            },
            scan_duration: Duration::ZERO,
            deadline: investigator.budget.ending_within(TIMEOUT),
        };
        let started = Instant::now();
        let found = lookup(investigator, &case).await;
        assert!(started.elapsed() <= TIMEOUT, "{:?}", started.elapsed());
        found
    }

    async fn revokers(investigator: &Investigator<'_>, ca: &str) -> Vec<Finding<Revoker>> {
        // Two revocations of one window.
        let revocations = [
            revocation(Some(SERIAL), REVOKED_AT),
            revocation(Some("01:02"), "2026-11-24T20:29:00+0000"),
        ];
        look_up(investigator, ca, &revocations, async |it, case| {
            it.revokers(case).await
        })
        .await
    }

    async fn usage(responses: &[Response]) -> (Finding<Usage>, Script) {
        let script = Script::new(responses.iter().cloned());
        let (clients, trail) = (clients(&script), Trail::default());
        let investigator = Investigator::new(&clients, "bucket", budget(0), true, &trail);
        let revocations = [revocation(Some(SERIAL), REVOKED_AT)];
        let found = look_up(&investigator, CA, &revocations, async |it, case| {
            it.usages(case).await
        })
        .await;
        (found.into_iter().next().unwrap(), script)
    }

    fn event(ca: &str, serial: &str) -> Value {
        let record = json!({
            "eventSource": "acm-pca.amazonaws.com",
            "eventName": "RevokeCertificate",
            "eventTime": "2026-11-24T20:22:46Z",
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice"},
            "requestParameters": {"certificateAuthorityArn": ca, "certificateSerial": serial},
        });
        json!({"EventName": "RevokeCertificate", "CloudTrailEvent": record.to_string()})
    }

    fn page(events: &[Value], next_token: Option<&str>) -> Response {
        let mut page = json!({"Events": events});
        if let Some(token) = next_token {
            page["NextToken"] = json!(token);
        }
        Some((200, page))
    }

    fn denied() -> Response {
        Some((
            400,
            json!({"__type": "AccessDeniedException", "message": "no"}),
        ))
    }

    fn unknown<T>(reason: &str) -> Finding<T> {
        Finding::Unknown(reason.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn one_paced_lookup_serves_all_revocations_of_a_window() {
        let script = Script::new([
            page(&[event(CA, SERIAL)], Some("second")),
            page(&[event(OTHER_CA, SERIAL)], None),
        ]);
        let (clients, trail) = (clients(&script), Trail::default());
        let investigator = Investigator::new(&clients, "bucket", budget(10), true, &trail);
        let (one, other) = tokio::join!(
            revokers(&investigator, CA),
            revokers(&investigator, OTHER_CA)
        );
        for found in [&one, &other] {
            match &found[0] {
                Finding::Known(revoker) => {
                    assert_eq!(revoker.user.as_deref(), Some("alice"));
                    assert_eq!((revoker.revocations, revoker.at_least), (2, false));
                }
                other => panic!("{other:?}"),
            }
            let absent = "CloudTrail of this account and region has no such event";
            assert_eq!(found[1], unknown(absent));
        }
        let requests = script.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].1, "LookupEvents");
        let first = &requests[0].2;
        assert_eq!(first["LookupAttributes"][0]["AttributeKey"], "EventName");
        assert_eq!(
            first["LookupAttributes"][0]["AttributeValue"],
            "RevokeCertificate"
        );
        assert_eq!(first["StartTime"], 1_795_550_400.0);
        assert_eq!(first["EndTime"], 1_795_553_100.0);
        assert_eq!(requests[1].2["NextToken"], "second");
        assert!(requests[1].0 - requests[0].0 >= Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn failed_lookup_is_not_repeated_in_the_run() {
        let script = Script::new([denied()]);
        let (clients, trail) = (clients(&script), Trail::default());
        let investigator = Investigator::new(&clients, "bucket", budget(0), true, &trail);
        let reason = "CloudTrail denied LookupEvents";
        for ca in [CA, OTHER_CA] {
            let found = revokers(&investigator, ca).await;
            assert_eq!(found, [unknown(reason), unknown(reason)]);
        }
        assert_eq!(script.requests().len(), 1);
        // The window has not ended yet.
        assert_eq!(script.requests()[0].2.get("EndTime"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn throttled_lookup_is_repeated_and_left_to_the_next_ca() {
        // Three calls of two attempts each.
        let mut responses = vec![throttled(); 6];
        responses.extend(vec![throttled(); 4]);
        responses.push(page(&[event(OTHER_CA, SERIAL)], None));
        let script = Script::new(responses);
        let (clients, trail) = (clients(&script), Trail::default());
        let investigator = Investigator::new(&clients, "bucket", budget(10), true, &trail);
        // Both revocations are of one time: each attempt is for both.
        let found = revokers(&investigator, CA).await;
        let reason = "CloudTrail throttled LookupEvents";
        assert_eq!(found, [unknown(reason), unknown(reason)]);
        assert_eq!(script.requests().len(), 6);
        let found = revokers(&investigator, OTHER_CA).await;
        assert_eq!(found[0].state(), "known");
        assert_eq!(script.requests().len(), 11);
    }

    /// What a run of the process at that time finds about the revocation of [`SERIAL`].
    async fn run_at(minutes_later: u64, trail: &Trail, script: &Script, ca: &str) -> Found {
        let before = script.requests().len();
        let clients = clients(script);
        let budget = budget(minutes_later);
        let investigator = Investigator::new(&clients, "bucket", budget, true, trail);
        let revocations = [revocation(Some(SERIAL), REVOKED_AT)];
        let found = look_up(&investigator, ca, &revocations, async |it, case| {
            it.revokers(case).await
        })
        .await;
        let requests = script.requests();
        let requests = requests[before..].iter();
        Found {
            revoker: found.into_iter().next().unwrap(),
            tokens: requests.map(|it| it.2["NextToken"].clone()).collect(),
        }
    }

    struct Found {
        revoker: Finding<Revoker>,
        /// The page of each request.
        tokens: Vec<Value>,
    }

    impl Found {
        /// The number of revocations, whether there may be more, and when they were counted.
        fn count(&self) -> (u64, bool, String) {
            match &self.revoker {
                Finding::Known(it) => (it.revocations, it.at_least, it.until.unwrap().to_string()),
                other => panic!("{other:?}"),
            }
        }
    }

    fn throttled() -> Response {
        Some((400, json!({"__type": "ThrottlingException"})))
    }

    #[tokio::test(start_paused = true)]
    async fn later_run_uses_the_event_that_an_earlier_one_found() {
        let events = [event(CA, SERIAL), event(OTHER_CA, SERIAL)];
        let script = Script::new([page(&events, None), page(&events, None)]);
        let trail = Trail::default();
        let when_read = (2, false, "2026-11-24T20:40:00Z".to_owned());
        for (minutes_later, ca, requests, count) in [
            (0, CA, 1, &when_read),
            (1, OTHER_CA, 0, &when_read),
            (4, CA, 0, &when_read),
            // It is too old now.
            (5, CA, 1, &(2, false, "2026-11-24T20:45:00Z".to_owned())),
        ] {
            let found = run_at(minutes_later, &trail, &script, ca).await;
            assert_eq!(found.tokens.len(), requests, "{minutes_later}");
            assert_eq!(found.count(), *count);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn missing_event_is_looked_up_again_by_the_next_run() {
        let both = [event(CA, SERIAL), event(OTHER_CA, SERIAL)];
        let script = Script::new([
            page(&[event(CA, SERIAL)], None),
            page(&[event(CA, SERIAL)], None),
            denied(),
            page(&both, None),
        ]);
        let trail = Trail::default();
        assert_eq!(run_at(0, &trail, &script, CA).await.count().0, 1);
        let missing = run_at(1, &trail, &script, OTHER_CA).await;
        let reason = "CloudTrail has no event yet (revoked 18 minutes ago)";
        assert_eq!(missing.revoker, unknown(reason));
        assert_eq!(missing.tokens, [Value::Null]);
        // A failure does not replace what was found.
        let failed = run_at(2, &trail, &script, OTHER_CA).await;
        assert_eq!(failed.revoker, unknown("CloudTrail denied LookupEvents"));
        assert_eq!(failed.tokens, [Value::Null]);
        assert_eq!(run_at(3, &trail, &script, CA).await.tokens.len(), 0);
        let found = run_at(3, &trail, &script, OTHER_CA).await;
        assert_eq!((found.count().0, found.tokens.len()), (2, 1));
        assert_eq!(run_at(4, &trail, &script, CA).await.count(), found.count());
    }

    #[tokio::test(start_paused = true)]
    async fn failed_lookup_is_tried_again_by_the_next_run() {
        let trail = Trail::default();
        let first_page = || page(&[event(CA, SERIAL)], Some("second"));
        let second = || json!("second");
        let script = Script::new([
            denied(),
            first_page(),
            // CloudTrail does not respond.
            None,
            None,
            page(&[], None),
            page(&[event(OTHER_CA, SERIAL)], None),
        ]);
        let denied = run_at(0, &trail, &script, CA).await;
        assert_eq!(denied.revoker, unknown("CloudTrail denied LookupEvents"));
        let partial = run_at(0, &trail, &script, CA).await;
        assert_eq!(partial.tokens, [Value::Null, second(), second()]);
        let until = || "2026-11-24T20:40:00Z".to_owned();
        assert_eq!(partial.count(), (1, true, until()));
        // The pages before the failure are not read again.
        let whole = run_at(1, &trail, &script, CA).await;
        assert_eq!(whole.tokens, [second()]);
        assert_eq!(whole.count(), (1, false, until()));
        let other = run_at(1, &trail, &script, OTHER_CA).await;
        assert_eq!(
            (other.tokens, other.revoker.state()),
            (vec![Value::Null], "known")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn refused_lookup_is_not_used_by_the_next_run() {
        let trail = Trail::default();
        let first_page = || page(&[event(CA, SERIAL)], Some("second"));
        let script = Script::new([first_page(), denied(), first_page(), page(&[], None)]);
        assert!(run_at(0, &trail, &script, CA).await.count().1);
        let again = run_at(0, &trail, &script, CA).await;
        assert_eq!(again.tokens, [Value::Null, json!("second")]);
        assert!(!again.count().1);
    }

    #[tokio::test(start_paused = true)]
    async fn copy_of_the_certificate_of_another_account_is_told_apart() {
        let script = Script::new([found(SERIAL), described(SERIAL)]);
        let (clients, trail) = (clients(&script), Trail::default());
        let investigator = Investigator::new(&clients, "bucket", budget(0), true, &trail);
        let mut revocation = revocation(Some(SERIAL), REVOKED_AT);
        revocation.aws_account_id = Some("222233334444".to_owned());
        let found = look_up(&investigator, CA, &[revocation], async |it, case| {
            it.usages(case).await
        })
        .await;
        match &found[..] {
            [Finding::Known(usage)] => {
                assert_eq!(usage.other_account.as_deref(), Some("222233334444"));
                assert_eq!(usage.certificates[0].in_use_total, 1);
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cut_subject_is_not_searched_for_a_name() {
        let script = Script::new([nothing()]);
        let (clients, trail) = (clients(&script), Trail::default());
        let investigator = Investigator::new(&clients, "bucket", budget(0), true, &trail);
        let mut revocation = revocation(Some(SERIAL), REVOKED_AT);
        revocation.subject = Some(format!("CN=www.example.com,O={}", "a".repeat(4074)));
        let found = look_up(&investigator, CA, &[revocation], async |it, case| {
            it.usages(case).await
        })
        .await;
        let reason = "ACM of this account and region does not have its serial, and the subject is \
                      too long to find a renewed certificate by";
        assert_eq!(found, [unknown(reason)]);
    }

    #[tokio::test(start_paused = true)]
    async fn pages_before_the_deadline_count_and_the_next_ca_continues() {
        let script = Script::new([
            page(&[event(CA, SERIAL)], Some("second")),
            None,
            None,
            page(&[event(OTHER_CA, SERIAL)], None),
        ]);
        let (clients, trail) = (clients(&script), Trail::default());
        let investigator = Investigator::new(&clients, "bucket", budget(10), true, &trail);
        let revocations = [revocation(Some(SERIAL), REVOKED_AT)];
        let arn = CertificateAuthorityArn::parse(CA).unwrap();
        let report = ReportObject {
            key: String::new(),
            e_tag: String::new(),
            size_bytes: 0,
            last_modified: investigator.budget.now(),
        };
        let case = Case {
            certificates: tokio::sync::OnceCell::new(),
            arn: &arn,
            revocations: &revocations,
            report: &report,
            scan_duration: Duration::ZERO,
            // Ends during the first attempt of the second page.
            deadline: investigator.budget.ending_within(Duration::from_secs(3)),
        };
        match &investigator.revokers(&case).await[..] {
            [Finding::Known(revoker)] => {
                assert_eq!((revoker.revocations, revoker.at_least), (1, true));
            }
            other => panic!("{other:?}"),
        }
        match &revokers(&investigator, OTHER_CA).await[0] {
            Finding::Known(revoker) => {
                assert_eq!((revoker.revocations, revoker.at_least), (2, false));
            }
            other => panic!("{other:?}"),
        }
        let tokens = script.requests();
        let tokens = tokens.iter().map(|request| request.2["NextToken"].as_str());
        let second = Some("second");
        assert_eq!(tokens.collect::<Vec<_>>(), [None, second, second, second]);
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_cloudtrail_is_unknown_in_time() {
        let script = Script::new([None, None]);
        let (clients, trail) = (clients(&script), Trail::default());
        let investigator = Investigator::new(&clients, "bucket", budget(0), true, &trail);
        let found = revokers(&investigator, CA).await;
        let reason = "CloudTrail did not respond to LookupEvents";
        assert_eq!(found, [unknown(reason), unknown(reason)]);
    }

    fn found(serial: &str) -> Response {
        let arn = "arn:aws:acm:us-east-1:123456789012:certificate/1";
        let result = json!({
            "CertificateArn": arn,
            "X509Attributes": {"SerialNumber": serial},
            "CertificateMetadata": {"AcmCertificateMetadata": {"Exported": false, "InUse": true}},
        });
        Some((200, json!({"Results": [result]})))
    }

    fn described(serial: &str) -> Response {
        let detail = json!({
            "Serial": serial,
            "CertificateAuthorityArn": CA,
            "InUseBy": ["arn:aws:cloudfront::123456789012:distribution/1"],
        });
        Some((200, json!({"Certificate": detail})))
    }

    fn nothing() -> Response {
        Some((200, json!({"Results": []})))
    }

    #[tokio::test(start_paused = true)]
    async fn certificate_is_found_by_serial_or_after_its_renewal() {
        let (by_serial, script) = usage(&[found(SERIAL), described(SERIAL)]).await;
        let Finding::Known(by_serial) = by_serial else {
            panic!("{by_serial:?}");
        };
        let certificate = &by_serial.certificates[0];
        assert!(certificate.is_revoked_one);
        assert_eq!(
            (certificate.in_use_total, certificate.exported),
            (1, Some(false))
        );
        let filter = &script.requests()[0].2["FilterStatement"]["Or"];
        let serial =
            |at: usize| filter[at]["Filter"]["X509AttributeFilter"]["SerialNumber"].clone();
        assert_eq!(
            [serial(0), serial(1)],
            [json!(SERIAL), json!(format!("00:{SERIAL}"))]
        );

        let renewed = "01:02:03:04:05:06:07:08";
        let (by_name, script) = usage(&[nothing(), found(renewed), described(renewed)]).await;
        let Finding::Known(by_name) = by_name else {
            panic!("{by_name:?}");
        };
        assert!(!by_name.certificates[0].is_revoked_one);
        assert_eq!(by_name.certificates[0].serial.as_deref(), Some(renewed));
        let requests = script.requests();
        let filter = &requests[1].2["FilterStatement"]["Filter"]["X509AttributeFilter"];
        let name = json!({"Value": "www.example.com", "ComparisonOperator": "EQUALS"});
        assert_eq!(filter["Subject"]["CommonName"], name);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_acm_calls_are_unknown_with_the_reason() {
        for (responses, reason) in [
            (vec![denied()], "ACM denied SearchCertificates"),
            (vec![nothing(), denied()], "ACM denied SearchCertificates"),
            (
                vec![found(SERIAL), denied()],
                "ACM reports that AWS services use it, but ACM denied DescribeCertificate",
            ),
            (
                vec![nothing(), nothing()],
                "ACM of this account and region no longer has it",
            ),
            (
                vec![None, None],
                "ACM did not respond to SearchCertificates",
            ),
            (
                vec![Some((200, json!({"Results": 7}))); 2],
                "ACM returned an invalid response to SearchCertificates",
            ),
            (
                vec![nothing(), None, None],
                "ACM did not respond to SearchCertificates",
            ),
        ] {
            assert_eq!(usage(&responses).await.0, unknown(reason), "{responses:?}");
        }
    }
}
