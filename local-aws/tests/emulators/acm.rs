//! The ACM emulator as seen by the SDK over HTTP.

use aws_sdk_acm::types::{
    AcmCertificateMetadataFilter, CertificateFilter, CertificateFilterStatement,
    CertificateMetadata, CommonNameFilter, ComparisonOperator, DnsNameFilter,
    SubjectAlternativeNameFilter, SubjectFilter, X509AttributeFilter,
};
use local_aws::{AcmCertificate, Fault, Service};

use crate::clients::{World, refusal, refused};

const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
const LOAD_BALANCER: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/prod-web/50dc6c495c0c9188";

fn arn(number: u32) -> String {
    format!("arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-{number:012}")
}

fn x509(filter: X509AttributeFilter) -> CertificateFilterStatement {
    CertificateFilterStatement::Filter(CertificateFilter::X509AttributeFilter(filter))
}

fn by_serial(serial: &str) -> CertificateFilterStatement {
    x509(X509AttributeFilter::SerialNumber(serial.to_owned()))
}

fn by_common_name(name: &str, operator: ComparisonOperator) -> CertificateFilterStatement {
    let filter = CommonNameFilter::builder()
        .value(name)
        .comparison_operator(operator);
    let filter = SubjectFilter::CommonName(filter.build().unwrap());
    x509(X509AttributeFilter::Subject(filter))
}

fn by_dns_name(name: &str) -> CertificateFilterStatement {
    let filter = DnsNameFilter::builder()
        .value(name)
        .comparison_operator(ComparisonOperator::Equals);
    let filter = SubjectAlternativeNameFilter::DnsName(filter.build().unwrap());
    x509(X509AttributeFilter::SubjectAlternativeName(filter))
}

impl World {
    async fn found(&self, statement: CertificateFilterStatement) -> Vec<String> {
        let search = self.acm.search_certificates().filter_statement(statement);
        let results = search.send().await.unwrap().results.unwrap_or_default();
        let arns = results.into_iter().map(|found| found.certificate_arn);
        arns.collect::<Option<_>>().unwrap()
    }
}

fn two(world: &World) {
    let mut first = AcmCertificate::new(&arn(1), "www.example.com", "0a:1b:2c", CA);
    first
        .subject_alternative_names
        .push("example.com".to_owned());
    world.aws.acm().add(first.used_by(LOAD_BALANCER));
    let mut second = AcmCertificate::new(&arn(2), "api.example.com", "4d:5e:6f", CA);
    second.exported = true;
    world.aws.acm().add(second);
}

#[tokio::test]
async fn search_compares_serials_as_text() {
    let world = World::new().await;
    two(&world);
    assert_eq!(world.found(by_serial("0a:1b:2c")).await, [arn(1)]);
    for other in ["0A:1B:2C", "0a1b2c", "a:1b:2c", "00:0a:1b:2c"] {
        assert!(world.found(by_serial(other)).await.is_empty(), "{other}");
    }
    let search = world
        .acm
        .search_certificates()
        .filter_statement(by_serial("4d:5e:6f"));
    let found = search.send().await.unwrap().results.unwrap().remove(0);
    let attributes = found.x509_attributes.unwrap();
    assert_eq!(attributes.serial_number.as_deref(), Some("4d:5e:6f"));
    let Some(CertificateMetadata::AcmCertificateMetadata(metadata)) = found.certificate_metadata
    else {
        panic!("no metadata");
    };
    assert_eq!(metadata.in_use, Some(false));
    assert_eq!(metadata.exported, Some(true));
}

#[tokio::test]
async fn search_filters_by_name_and_combines_filters() {
    use CertificateFilterStatement::{And, Not, Or};
    let world = World::new().await;
    two(&world);
    let equals = |name: &str| by_common_name(name, ComparisonOperator::Equals);
    assert_eq!(world.found(equals("www.example.com")).await, [arn(1)]);
    assert!(world.found(equals("example.com")).await.is_empty());
    let contains = by_common_name("example", ComparisonOperator::Contains);
    assert_eq!(world.found(contains.clone()).await, [arn(1), arn(2)]);
    assert_eq!(world.found(by_dns_name("example.com")).await, [arn(1)]);
    let in_use = CertificateFilterStatement::Filter(
        CertificateFilter::AcmCertificateMetadataFilter(AcmCertificateMetadataFilter::InUse(true)),
    );
    let both = And(vec![contains, in_use.clone()]);
    assert_eq!(world.found(both).await, [arn(1)]);
    assert_eq!(world.found(Not(Box::new(in_use))).await, [arn(2)]);
    let either = Or(vec![by_serial("4d:5e:6f"), by_dns_name("example.com")]);
    assert_eq!(world.found(either).await, [arn(1), arn(2)]);
}

#[tokio::test]
async fn search_pages_and_refuses_malformed_requests() {
    let world = World::new().await;
    for number in 0..5 {
        let serial = format!("40:0{number}");
        let certificate = AcmCertificate::new(&arn(number), "www.example.com", &serial, CA);
        world.aws.acm().add(certificate);
    }
    world.aws.acm().set_page_size(Some(2));
    let (mut arns, mut pages, mut token) = (Vec::new(), 0, None);
    loop {
        let search = world.acm.search_certificates().set_next_token(token);
        let page = search.send().await.unwrap();
        pages += 1;
        arns.extend(
            page.results()
                .iter()
                .map(|one| one.certificate_arn.clone().unwrap()),
        );
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(arns, (0..5).map(arn).collect::<Vec<_>>());

    let invalid = refused(400, "ValidationException");
    let search = || world.acm.search_certificates();
    assert_eq!(refusal(search().max_results(0).send().await), invalid);
    assert_eq!(refusal(search().next_token("x").send().await), invalid);
    let empty = CertificateFilterStatement::And(Vec::new());
    let empty = search().filter_statement(empty);
    assert_eq!(refusal(empty.send().await), invalid);
}

#[tokio::test]
async fn renewal_keeps_arn_and_use_but_changes_the_serial() {
    let world = World::new().await;
    two(&world);
    assert!(world.aws.acm().renew(&arn(1), "77:88"));
    assert!(!world.aws.acm().renew(&arn(3), "77:88"));
    assert!(world.found(by_serial("0a:1b:2c")).await.is_empty());
    assert_eq!(world.found(by_serial("77:88")).await, [arn(1)]);
    let describe = world.acm.describe_certificate().certificate_arn(arn(1));
    let detail = describe.send().await.unwrap().certificate.unwrap();
    assert_eq!(detail.serial.as_deref(), Some("77:88"));
    assert_eq!(detail.in_use_by(), [LOAD_BALANCER]);
    assert_eq!(detail.certificate_authority_arn.as_deref(), Some(CA));
    assert_eq!(detail.domain_name.as_deref(), Some("www.example.com"));
    assert_eq!(detail.status.unwrap().as_str(), "ISSUED");
    assert_eq!(detail.r#type.unwrap().as_str(), "PRIVATE");
    assert_eq!(world.aws.acm().certificates().len(), 2);
}

#[tokio::test]
async fn describe_refuses_unknown_arns_and_takes_faults() {
    let world = World::new().await;
    two(&world);
    let describe = |arn: &str| world.acm.describe_certificate().certificate_arn(arn);
    assert_eq!(
        refusal(describe(&arn(9)).send().await),
        refused(400, "ResourceNotFoundException")
    );
    assert_eq!(
        refusal(describe("arn:aws:acm:us-east-1").send().await),
        refused(400, "InvalidArnException")
    );
    let denied = Fault::access_denied(Service::Acm);
    world.aws.inject("DescribeCertificate", denied);
    assert_eq!(
        refusal(describe(&arn(1)).send().await),
        refused(400, "AccessDeniedException")
    );
    assert!(describe(&arn(1)).send().await.is_ok());
    world.aws.inject("SearchCertificates", Fault::Throttle);
    let search = world.acm.search_certificates();
    assert_eq!(
        refusal(search.send().await),
        refused(400, "ThrottlingException")
    );
    let calls = world.aws.calls_to(Service::Acm);
    assert_eq!(calls.len(), 5);
    assert_eq!(calls[0].parameters["CertificateArn"], arn(9));
}
