//! The Private CA emulator as seen by the SDK over HTTP.

use std::time::{Duration, SystemTime};

use crate::clients::{BUCKET, Clients, World, refusal, refused};
use aws_sdk_acmpca::types::{
    AuditReportResponseFormat, AuditReportStatus, CertificateAuthorityStatus,
    CertificateAuthorityUsageMode, ResourceOwner,
};
use aws_sdk_s3::types::ChecksumMode;
use local_aws::{
    ChecksumAlgorithm, ErrorReply, Fault, JsonLayout, LocalAws, NextReport, Outcome,
    PrivateCaAccess, Quotas, ReportChecksum, ReportFormat, RevocationConfiguration, Service,
    Status, UsageMode,
};

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

impl World {
    async fn without_quotas() -> Self {
        let world = Self::new().await;
        world.aws.private_ca().set_quotas(Quotas::UNLIMITED);
        world
    }

    fn create(
        &self,
        arn: &str,
    ) -> aws_sdk_acmpca::operation::create_certificate_authority_audit_report::builders::CreateCertificateAuthorityAuditReportFluentBuilder
    {
        self.pca
            .create_certificate_authority_audit_report()
            .certificate_authority_arn(arn)
            .s3_bucket_name(BUCKET)
            .audit_report_response_format(AuditReportResponseFormat::Json)
    }

    async fn status(&self, arn: &str, id: &str) -> AuditReportStatus {
        let describe = self
            .pca
            .describe_certificate_authority_audit_report()
            .certificate_authority_arn(arn)
            .audit_report_id(id);
        describe.send().await.unwrap().audit_report_status.unwrap()
    }
}

#[tokio::test]
async fn report_lists_issued_and_revoked_certificates() {
    let world = World::new().await;
    let ca = world.aws.private_ca().create("Example Root CA");
    let first = world.aws.private_ca().issue(&ca, "www.example1.com");
    world.aws.private_ca().issue(&ca, "www.example2.com");
    assert!(world.aws.private_ca().revoke(&ca, &first, "KEY_COMPROMISE"));
    assert!(!world.aws.private_ca().revoke(&ca, "00", "KEY_COMPROMISE"));

    let created = world.create(&ca).send().await.unwrap();
    let (id, key) = (created.audit_report_id.unwrap(), created.s3_key.unwrap());
    let ca_id = ca.rsplit('/').next().unwrap();
    assert_eq!(key, format!("audit-report/{ca_id}/{id}.json"));
    assert_eq!(world.status(&ca, &id).await, AuditReportStatus::Success);

    // The SDK verifies the CRC-64/NVME checksum.
    let get = world.s3.get_object().bucket(BUCKET).key(&key);
    let got = get
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert!(got.checksum_crc64_nvme().is_some());
    let report = got.body.collect().await.unwrap().to_vec();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let record = &report[0];
    assert_eq!(record["awsAccountId"], "123456789012");
    assert_eq!(record["serial"], first.as_str());
    assert_eq!(record["revocationReason"], "KEY_COMPROMISE");
    let digits = first.replace(':', "");
    assert_eq!(
        record["certificateArn"],
        format!("{ca}/certificate/{digits}")
    );
    assert_eq!(report[1].get("revokedAt"), None);
    assert_eq!(report.as_array().unwrap().len(), 2);

    let call = &world.aws.calls_to(Service::PrivateCa)[0];
    assert_eq!(call.certificate_authority_arn.as_ref(), Some(&ca));
    assert_eq!(call.parameters["AuditReportResponseFormat"], "JSON");
    assert_eq!(call.bucket.as_deref(), Some(BUCKET));
}

#[tokio::test]
async fn reports_end_with_the_configured_delay_and_outcome() {
    let world = World::without_quotas().await;
    let pca = world.aws.private_ca();
    for (next, now, later, written) in [
        (
            NextReport::new().delay(Duration::from_secs(60)),
            AuditReportStatus::Creating,
            AuditReportStatus::Success,
            true,
        ),
        (
            NextReport::new().outcome(Outcome::Failed),
            AuditReportStatus::Failed,
            AuditReportStatus::Failed,
            false,
        ),
        (
            NextReport::new().outcome(Outcome::Never),
            AuditReportStatus::Creating,
            AuditReportStatus::Creating,
            false,
        ),
        (
            NextReport::new().outcome(Outcome::NotWritten),
            AuditReportStatus::Success,
            AuditReportStatus::Success,
            false,
        ),
    ] {
        let ca = pca.create("Example CA");
        pca.next_report(&ca, next);
        let created = world.create(&ca).send().await.unwrap();
        let (id, key) = (created.audit_report_id.unwrap(), created.s3_key.unwrap());
        assert_eq!(world.status(&ca, &id).await, now);
        world.aws.advance(Duration::from_secs(59));
        let asked_at = world.aws.clock().now();
        world.aws.advance(Duration::from_secs(1));
        assert_eq!(world.status(&ca, &id).await, later);
        let object = world.aws.s3().list(BUCKET, &key).pop();
        assert_eq!(object.is_some(), written);
        if let Some(object) = object {
            assert!(
                object.last_modified.duration_since(asked_at).unwrap() <= Duration::from_secs(1)
            );
        }
    }
}

#[tokio::test]
async fn second_report_within_the_interval_is_refused() {
    let world = World::without_quotas().await;
    let pca = world.aws.private_ca();
    let (ca, other) = (pca.create("Example CA"), pca.create("Another CA"));
    world.create(&ca).send().await.unwrap();
    let too_soon = refused(400, "RequestInProgressException");
    assert_eq!(refusal(world.create(&ca).send().await), too_soon);
    world.create(&other).send().await.unwrap();
    world.aws.advance(HALF_AN_HOUR - Duration::from_secs(60));
    assert_eq!(refusal(world.create(&ca).send().await), too_soon);
    world.aws.advance(Duration::from_secs(60));
    world.create(&ca).send().await.unwrap();

    // Another client's report counts too.
    world.aws.advance(HALF_AN_HOUR);
    pca.request_report(&ca, BUCKET, ReportFormat::Csv).unwrap();
    assert_eq!(refusal(world.create(&ca).send().await), too_soon);
    // The API model calls the operation idempotent: it may return the earlier report instead.
    pca.set_reports(|reports| reports.repeats = true);
    let before = pca.reports(&ca);
    let repeated = world.create(&ca).send().await.unwrap();
    assert_eq!(
        repeated.audit_report_id.as_ref(),
        before.last().map(|r| &r.id)
    );
    assert_eq!(pca.reports(&ca), before);
    pca.set_reports(|reports| reports.repeats = false);
    pca.forget_interval(&ca);
    pca.set_reports(|reports| {
        reports.interval = Duration::from_secs(5);
        reports.too_soon = ErrorReply::new(400, "ThrottlingException", "not documented");
    });
    world.create(&ca).send().await.unwrap();
    let throttled = refused(400, "ThrottlingException");
    assert_eq!(refusal(world.create(&ca).send().await), throttled);
    world.aws.advance(Duration::from_secs(5));
    world.create(&ca).send().await.unwrap();
    assert_eq!(pca.reports(&ca).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn requests_over_the_quota_are_throttled() {
    let aws = LocalAws::new();
    aws.s3().create_bucket(BUCKET);
    let client = Clients::in_process(&aws).pca();
    let throttled = refused(400, "ThrottlingException");
    let create = async || {
        let ca = aws.private_ca().create("Example CA");
        let create = client
            .create_certificate_authority_audit_report()
            .certificate_authority_arn(ca)
            .s3_bucket_name(BUCKET)
            .audit_report_response_format(AuditReportResponseFormat::Csv);
        create.send().await
    };
    create().await.unwrap();
    assert_eq!(refusal(create().await), throttled);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(refusal(create().await), throttled);
    tokio::time::sleep(Duration::from_millis(100)).await;
    create().await.unwrap();
    // One request per second is never refused. Unused quota does not accumulate beyond one second.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        create().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    create().await.unwrap();
    assert_eq!(refusal(create().await), throttled);

    for _ in 0..20 {
        client.list_certificate_authorities().send().await.unwrap();
    }
    let list = client.list_certificate_authorities().send().await;
    assert_eq!(refusal(list), throttled);
    aws.private_ca().set_quotas(Quotas::UNLIMITED);
    for _ in 0..100 {
        client.list_certificate_authorities().send().await.unwrap();
        create().await.unwrap();
    }
}

#[tokio::test]
async fn report_needs_an_active_or_disabled_ca() {
    let world = World::without_quotas().await;
    let pca = world.aws.private_ca();
    for (status, allowed) in [
        (Status::Active, true),
        (Status::Disabled, true),
        (Status::Creating, false),
        (Status::PendingCertificate, false),
        (Status::Expired, false),
        (Status::Deleted, false),
        (Status::Failed, false),
    ] {
        let ca = pca.create("Example CA");
        pca.set_status(&ca, status);
        let created = world.create(&ca).send().await;
        if allowed {
            created.unwrap();
        } else {
            assert_eq!(
                refusal(created),
                refused(400, "InvalidStateException"),
                "{status:?}"
            );
        }
    }
}

#[tokio::test]
async fn malformed_report_requests_are_refused() {
    let world = World::without_quotas().await;
    let pca = world.aws.private_ca();
    let missing = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
    let not_found = refused(400, "ResourceNotFoundException");
    assert_eq!(refusal(world.create(missing).send().await), not_found);
    let error = world.create("nonsense").send().await.unwrap_err();
    assert!(error.into_service_error().is_invalid_arn_exception());

    let ca = pca.create("Example CA");
    let elsewhere = world.create(&ca).s3_bucket_name("elsewhere").send().await;
    assert!(
        elsewhere
            .unwrap_err()
            .into_service_error()
            .is_invalid_args_exception()
    );
    let format = AuditReportResponseFormat::from("XML");
    let format = world.create(&ca).audit_report_response_format(format);
    assert_eq!(
        refusal(format.send().await),
        refused(400, "ValidationException")
    );
}

#[tokio::test]
async fn report_fails_without_access_to_the_bucket() {
    let world = World::without_quotas().await;
    let ca = world.aws.private_ca().create("Example CA");
    world
        .aws
        .s3()
        .set_private_ca_access(BUCKET, PrivateCaAccess::missing_policy(BUCKET));
    let policy = world.create(&ca).send().await.unwrap_err();
    assert!(format!("{policy:?}").contains("Permission error with your S3 bucket 'reports'"));
    world
        .aws
        .s3()
        .set_private_ca_access(BUCKET, PrivateCaAccess::FailsLater);
    let id = world
        .create(&ca)
        .send()
        .await
        .unwrap()
        .audit_report_id
        .unwrap();
    assert_eq!(world.status(&ca, &id).await, AuditReportStatus::Failed);
}

#[tokio::test]
async fn unknown_reports_and_removed_cas_are_not_found() {
    let world = World::without_quotas().await;
    let pca = world.aws.private_ca();
    let not_found = refused(400, "ResourceNotFoundException");
    let ca = pca.create("Example CA");
    let id = world.create(&ca).send().await.unwrap();
    let id = id.audit_report_id.unwrap();

    let other = pca.create("Another CA");
    let describe = world
        .pca
        .describe_certificate_authority_audit_report()
        .certificate_authority_arn(&other)
        .audit_report_id(id);
    assert_eq!(refusal(describe.send().await), not_found);
    world.aws.inject(
        "DescribeCertificateAuthority",
        Fault::access_denied(Service::PrivateCa),
    );
    let describe = || {
        world
            .pca
            .describe_certificate_authority()
            .certificate_authority_arn(&other)
    };
    assert_eq!(
        refusal(describe().send().await),
        refused(400, "AccessDeniedException")
    );
    pca.remove(&other);
    assert_eq!(refusal(describe().send().await), not_found);
}

#[tokio::test]
async fn certificate_authorities_are_described_and_listed_in_pages() {
    let world = World::without_quotas().await;
    let pca = world.aws.private_ca();
    let mut own: Vec<String> = (0..5).map(|n| pca.create(&format!("CA {n}"))).collect();
    own.sort();
    pca.set_status(&own[1], Status::Disabled);
    let shared = "99999999-1234-1122-2233-112233445566";
    let shared = pca.create_shared(shared, "Shared CA", "111122223333");

    let describe = world.pca.describe_certificate_authority();
    let described = describe
        .certificate_authority_arn(&own[1])
        .send()
        .await
        .unwrap();
    let described = described.certificate_authority.unwrap();
    assert_eq!(
        described.status(),
        Some(&CertificateAuthorityStatus::Disabled)
    );
    let subject = described
        .certificate_authority_configuration()
        .unwrap()
        .subject();
    assert!(subject.unwrap().common_name().unwrap().starts_with("CA "));
    let not_after = SystemTime::try_from(*described.not_after().unwrap()).unwrap();
    assert!(not_after > world.aws.clock().now());

    pca.set_page_size(Some(2));
    let mut pages = world
        .pca
        .list_certificate_authorities()
        .into_paginator()
        .send();
    let mut listed = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        let authorities = page.certificate_authorities().iter();
        listed.extend(authorities.map(|authority| authority.arn().unwrap().to_owned()));
    }
    assert_eq!(listed, own);
    assert_eq!(world.aws.calls_of("ListCertificateAuthorities").len(), 3);
    let others = world.pca.list_certificate_authorities();
    let others = others
        .resource_owner(ResourceOwner::OtherAccounts)
        .send()
        .await;
    assert_eq!(
        others.unwrap().certificate_authorities()[0].arn(),
        Some(shared.as_str())
    );
    let token = world
        .pca
        .list_certificate_authorities()
        .next_token("nonsense!");
    let token = token.send().await.unwrap_err().into_service_error();
    assert!(token.is_invalid_next_token_exception());
}

#[tokio::test]
async fn listing_shows_revocation_configuration_and_usage_mode() {
    let world = World::without_quotas().await;
    let pca = world.aws.private_ca();
    let ca = pca.create("CA");
    let listed = async || {
        let list = world.pca.list_certificate_authorities();
        let listed = list.send().await.unwrap().certificate_authorities;
        let ca = listed.unwrap().remove(0);
        let revocation = ca.revocation_configuration.unwrap();
        let crl = revocation.crl_configuration.unwrap();
        let ocsp = revocation.ocsp_configuration.unwrap();
        (
            crl.enabled(),
            crl.s3_bucket_name().is_some(),
            ocsp.enabled(),
            ca.usage_mode.unwrap(),
        )
    };
    let general = CertificateAuthorityUsageMode::GeneralPurpose;
    assert_eq!(listed().await, (true, true, false, general));

    let (crl, ocsp) = (false, true);
    pca.set_revocation(&ca, RevocationConfiguration { crl, ocsp });
    pca.set_usage_mode(&ca, UsageMode::ShortLivedCertificate);

    let short_lived = CertificateAuthorityUsageMode::ShortLivedCertificate;
    assert_eq!(listed().await, (false, false, true, short_lived));
}

#[tokio::test]
async fn report_has_the_configured_content_and_checksum() {
    let world = World::without_quotas().await;
    let pca = world.aws.private_ca();
    let ca = pca.create("Example CA");
    pca.issue(&ca, "www.example.com");
    let report = async |next: NextReport| {
        pca.next_report(&ca, next);
        let created = world.create(&ca).send().await.unwrap();
        world.aws.advance(HALF_AN_HOUR);
        let key = created.s3_key.unwrap();
        let info = world.aws.s3().list(BUCKET, &key).pop().unwrap();
        (world.aws.s3().get(BUCKET, &key).unwrap(), info)
    };
    let (bytes, _) = report(NextReport::new().content("[{\"serial\":")).await;
    assert_eq!(bytes, "[{\"serial\":");
    pca.set_reports(|reports| {
        reports.layout = JsonLayout::Compact;
        reports.checksum = ReportChecksum::None;
    });
    let (bytes, info) = report(NextReport::new()).await;
    assert!(!bytes.contains(&b'\n'));
    assert_eq!(info.checksum, None);
    pca.set_reports(|reports| {
        reports.checksum = ReportChecksum::Composite(ChecksumAlgorithm::Crc32, 100);
    });
    let (bytes, info) = report(NextReport::new()).await;
    let checksum = info.checksum.unwrap();
    let parts = bytes.len().div_ceil(100);
    assert!(checksum.composite && checksum.value.ends_with(&format!("-{parts}")));
}

#[tokio::test]
async fn tags_are_listed_in_pages_within_the_quota() {
    let world = World::without_quotas().await;
    let pca = world.aws.private_ca();
    let ca = pca.create("CA");
    let tags = |ca: &str| world.pca.list_tags().certificate_authority_arn(ca);
    let listed = async || {
        let mut pages = tags(&ca).into_paginator().items().send();
        let mut listed = Vec::new();
        while let Some(tag) = pages.next().await {
            let tag = tag.unwrap();
            listed.push(format!("{}={}", tag.key(), tag.value().unwrap()));
        }
        listed
    };
    assert_eq!(listed().await, [""; 0]);
    for (key, value) in [
        ("Team", "web"),
        ("Stage", "prod"),
        ("Empty", ""),
        ("Team", "pay"),
    ] {
        pca.tag(&ca, key, value);
    }
    pca.set_page_size(Some(2));
    world.aws.forget_calls();
    assert_eq!(listed().await, ["Empty=", "Stage=prod", "Team=pay"]);
    assert_eq!(world.aws.calls_of("ListTags").len(), 2);
    pca.untag(&ca, "Stage");
    assert_eq!(listed().await, ["Empty=", "Team=pay"]);

    let not_found = refused(400, "ResourceNotFoundException");
    let other = ca.replace("certificate-authority/", "certificate-authority/0");
    assert_eq!(refusal(tags(&other).send().await), not_found);
    let nonsense = refused(400, "InvalidArnException");
    assert_eq!(refusal(tags("nonsense").send().await), nonsense);
    let token = refused(400, "InvalidNextTokenException");
    let nonsense = tags(&ca).next_token("nonsense!");
    assert_eq!(refusal(nonsense.send().await), token);
    pca.set_quotas(Quotas {
        list_tags: Some(1),
        ..Quotas::UNLIMITED
    });
    assert!(tags(&ca).send().await.is_ok());
    let throttled = refused(400, "ThrottlingException");
    assert_eq!(refusal(tags(&ca).send().await), throttled);
}
