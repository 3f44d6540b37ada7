//! Checks `template.yaml` against itself, the code and the docs.
//!
//! Parameters resolve, environment variables match what the function reads, alarms and the dashboard use
//! metrics that the function emits, and the role allows exactly the calls that the function makes.

#[path = "../account/mod.rs"]
mod account;
mod permissions;
mod policies;
mod recorded;
mod rehearsal;
mod template;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use local_aws::Call;
use pca_revocation_watch::config::{AuditQueue, Config, Monitoring};
use pca_revocation_watch::error::{ErrorKind, Remedy};
use pca_revocation_watch::event::{MessageContent, Mode, Request, Trigger};
use pca_revocation_watch::metrics::{ALARM_METRICS, NAMESPACE};
use pca_revocation_watch::revocation::reason::RevocationReason;
use regex_lite::Regex;
use serde_json::Value;

use permissions::{Grant, INDIRECT_GRANTS, Need, allowing, differences, grants, needs, statements};
use recorded::{CALLS, What, kinds, record};
use template::{Deployment, REGION, Refusal, STACK, Template, list, text};

/// Page with the tables of error types.
const TROUBLESHOOTING_PAGE: &str = "docs/troubleshoot.md";
/// Cell of the error table for errors that a retry may fix.
const RETRY_CELL: &str = "retry";
/// Cell of the error table for errors that need operator action.
const OPERATOR_CELL: &str = "you";
/// Page with the table of the template's parameters.
const DEPLOYMENT_PAGE: &str = "docs/deploy.md";
/// Page with the tables of metrics, alarms, permissions and costs.
const OPERATIONS_PAGE: &str = "docs/operate.md";

/// Variable that only tests set, to shorten the report interval of an emulator.
const NOT_DEPLOYED: &str = "REPORT_INTERVAL_SECONDS";

const ARN: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
const TWO_ARNS: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566,\
    arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/99887766-1234-1122-2233-112233445566";
const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Values of each parameter that exercise different branches of the template.
const VALUES: &[(&str, &[&str])] = &[
    ("NotificationEmail", &["", "security@example.com"]),
    ("CertificateAuthorities", &["*", ARN, TWO_ARNS]),
    (
        "AuditIntervalMinutes",
        &["30", "60", "180", "360", "720", "1440"],
    ),
    ("RevocationEvents", &["no", "yes"]),
    (
        "NotifyReasons",
        &["", "KEY_COMPROMISE", "KEY_COMPROMISE,A_A_COMPROMISE"],
    ),
    ("InitialLookbackHours", &["24", "0", "87600"]),
    ("SummaryIntervalHours", &["", "168", "1", "8784"]),
    (
        "RunbookUrl",
        &["", "https://wiki.example.com/pki?page=revoked#now"],
    ),
    ("Investigate", &["yes", "no"]),
    (
        "ExistingTopicArn",
        &[
            "",
            "arn:aws:sns:us-east-1:123456789012:revocations",
            "arn:aws:sns:eu-west-1:111122223333:central.fifo",
        ],
    ),
    (
        "ChatTopicArn",
        &["", "arn:aws:sns:us-east-1:123456789012:chat"],
    ),
    (
        "AlarmTopicArn",
        &["", "arn:aws:sns:us-east-1:123456789012:alarms"],
    ),
    ("TopicKmsKeyArn", &["", KEY]),
    ("ExistingReportBucket", &["", "amzn-s3-demo-bucket"]),
    ("BucketKmsKeyArn", &["", KEY]),
    ("ReportFormat", &["JSON", "CSV"]),
    ("ReportRetentionDays", &["7", "2", "3650"]),
    ("ProtectReports", &["no", "yes"]),
    ("AllowReportWrites", &["no", "yes"]),
    ("ScaleOut", &["no", "yes"]),
    ("MaxInlineCertificateAuthorities", &["20", "0", "10000"]),
    ("MaximumConcurrency", &["5", "2", "1000"]),
    (
        "CertificateAuthorityTag",
        &["", "Watch=yes", "pki/Watch by=team one"],
    ),
    ("Monitoring", &["full", "basic"]),
    ("MemorySize", &["256", "128", "10240"]),
    ("LogRetentionDays", &["90", "7", "3653"]),
    ("Architecture", &["arm64", "x86_64"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

fn template() -> Template {
    Template::parse(&read(root().join("template.yaml")))
}

fn deploy(parameters: &[(&str, &str)]) -> Deployment {
    template()
        .deploy(parameters)
        .unwrap_or_else(|refusal| panic!("{parameters:?}: {refusal:?}"))
}

fn function(deployment: &Deployment) -> &Value {
    &deployment.resources["WatchFunction"]["Properties"]
}

fn environment(deployment: &Deployment) -> BTreeMap<String, String> {
    let variables = &function(deployment)["Environment"]["Variables"];
    variables
        .as_object()
        .expect("a mapping")
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

/// Returns the configuration that the function reads from the template's environment variables.
fn config(deployment: &Deployment) -> Config {
    let environment = environment(deployment);
    Config::from_lookup(|name| match name {
        "AWS_REGION" => Some(REGION.to_owned()),
        name => environment.get(name).cloned(),
    })
    .unwrap_or_else(|error| panic!("{error:?}"))
}

/// Returns the names of the metrics in the golden file of a full run.
fn metrics() -> BTreeSet<String> {
    let line = include_str!("../data/metrics/run.json");
    let line: Value = serde_json::from_str(line).expect("valid JSON");
    let metrics = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"];
    let metrics = metrics.as_array().expect("a list").iter();
    metrics.map(|metric| text(&metric["Name"])).collect()
}

/// Metrics that only a run that dispatches audits emits.
const DISPATCH_METRICS: [&str; 2] = ["AuditsQueued", "DispatchErrors"];

/// Selects CAs by tag.
const TAG: (&str, &str) = ("CertificateAuthorityTag", "Watch=yes");

/// Adds the chat topic.
const CHAT: (&str, &str) = ("ChatTopicArn", "arn:aws:sns:us-east-1:123456789012:chat");

fn known_reasons() -> [String; RevocationReason::KNOWN.len()] {
    RevocationReason::KNOWN.map(|reason| reason.name().to_owned())
}

/// Returns the name in the URL of a queue.
fn queue_name(url: &str) -> &str {
    url.rsplit('/').next().expect("a URL")
}

/// Returns the body of the dashboard.
fn dashboard(deployment: &Deployment) -> Value {
    let body = text(&deployment.resources["Dashboard"]["Properties"]["DashboardBody"]);
    serde_json::from_str(&body).expect("the dashboard's body is JSON")
}

/// Returns the metrics that a dashboard shows, each with namespace, name and dimensions.
fn shown_metrics(dashboard: &Value) -> Vec<Vec<Value>> {
    let widgets = dashboard["widgets"].as_array().expect("a list").iter();
    let metrics = widgets.filter_map(|widget| widget["properties"]["metrics"].as_array());
    metrics.flat_map(|rows| without_dots(rows)).collect()
}

/// Replaces "." in a metric by what the metric above has in its place.
fn without_dots(rows: &[Value]) -> Vec<Vec<Value>> {
    let mut whole: Vec<Vec<Value>> = Vec::new();
    for row in rows {
        let cells = row.as_array().expect("a metric").iter().enumerate();
        let cells = cells.map(|(index, cell)| match (cell.as_str(), whole.last()) {
            (Some("."), Some(above)) => above[index].clone(),
            _ => cell.clone(),
        });
        let cells = cells.collect();
        whole.push(cells);
    }
    whole
}

fn alarms(deployment: &Deployment) -> impl Iterator<Item = (&String, &Value)> {
    deployment
        .resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm")
        .map(|(id, resource)| (id, &resource["Properties"]))
}

#[test]
fn pairs_of_parameter_values_give_a_valid_configuration() {
    let template = template();
    let named: BTreeSet<&str> = VALUES.iter().map(|(name, _)| *name).collect();
    let parameters = template.section("Parameters");
    assert_eq!(named, parameters.keys().map(String::as_str).collect());

    let mut refused = BTreeSet::new();
    for (index, (first, first_values)) in VALUES.iter().enumerate() {
        for (second, second_values) in &VALUES[index + 1..] {
            for one in *first_values {
                for other in *second_values {
                    match template.deploy(&[(first, one), (second, other)]) {
                        Ok(deployment) => {
                            config(&deployment);
                        }
                        Err(refusal) => {
                            refused.insert((*first, *second, format!("{refusal:?}")));
                        }
                    }
                }
            }
        }
    }
    let expected = [
        (
            "CertificateAuthorities",
            "CertificateAuthorityTag",
            r#"Rule("TagRequiresAllCertificateAuthorities")"#.to_owned(),
        ),
        (
            "NotificationEmail",
            "ExistingTopicArn",
            r#"Rule("EmailRequiresStackTopic")"#.to_owned(),
        ),
    ];
    assert_eq!(refused, BTreeSet::from(expected));
}

#[test]
fn parameters_have_group_description_and_constraint() {
    let template = template();
    let interface = &template.section("Metadata")["AWS::CloudFormation::Interface"];
    let groups = interface["ParameterGroups"].as_array().unwrap();
    let grouped: Vec<String> = groups
        .iter()
        .flat_map(|group| list(&group["Parameters"]))
        .collect();
    // Guided deployments ask in template order.
    let names: Vec<String> = template.section("Parameters").keys().cloned().collect();
    assert_eq!(names, grouped);
    // Only these depend on the deployment.
    assert_eq!(names[..2], ["NotificationEmail", "CertificateAuthorities"]);
    assert_eq!(names[..2], list(&groups[0]["Parameters"]));
    for group in &groups[1..] {
        let label = group["Label"]["default"].as_str().expect("a label");
        assert!(label.starts_with("Only "), "{label:?} does not say when");
    }
    // Without labels, the console shows the names that the docs use.
    assert!(interface.get("ParameterLabels").is_none());
    for (name, parameter) in template.section("Parameters") {
        for key in ["Description", "ConstraintDescription"] {
            assert!(parameter[key].is_string(), "{name} has no {key}");
        }
        assert!(parameter.get("Default").is_some(), "{name} has no default");
        assert!(
            ["AllowedPattern", "AllowedValues", "MinValue"]
                .iter()
                .any(|key| parameter.get(key).is_some()),
            "{name} has no constraint"
        );
    }
}

#[test]
fn invalid_parameter_values_are_rejected() {
    let long = [ARN; 40].join(",");
    let others = ["", &format!("*,{ARN}"), &format!("{ARN}, {ARN}"), &long];
    let lists = others.map(|list| ("CertificateAuthorities", list));
    for (name, value) in lists.into_iter().chain([
        (
            "CertificateAuthorities",
            "11223344-1234-1122-2233-112233445566",
        ),
        ("NotificationEmail", "security"),
        ("AuditIntervalMinutes", "29"),
        ("AuditIntervalMinutes", "90"),
        ("RevocationEvents", "true"),
        ("NotifyReasons", "KEYCOMPROMISE"),
        ("InitialLookbackHours", "-1"),
        ("SummaryIntervalHours", "0"),
        ("SummaryIntervalHours", "8785"),
        ("SummaryIntervalHours", "weekly"),
        ("RunbookUrl", "wiki.example.com"),
        ("RunbookUrl", "https://wiki.example.com/key compromise"),
        ("Investigate", "true"),
        ("Investigate", ""),
        ("Monitoring", "none"),
        ("ExistingTopicArn", "revocations"),
        (
            "ChatTopicArn",
            "arn:aws:sns:us-east-1:123456789012:chat.fifo",
        ),
        ("AlarmTopicArn", "arn:aws:sqs:us-east-1:123456789012:alarms"),
        ("TopicKmsKeyArn", "alias/aws/sns"),
        ("ExistingReportBucket", "arn:aws:s3:::amzn-s3-demo-bucket"),
        ("BucketKmsKeyArn", "alias/aws/s3"),
        ("ReportFormat", "XML"),
        ("ReportRetentionDays", "1"),
        ("ProtectReports", "true"),
        ("AllowReportWrites", "true"),
        ("ScaleOut", "true"),
        ("MaxInlineCertificateAuthorities", "-1"),
        ("MaxInlineCertificateAuthorities", "10001"),
        ("MaximumConcurrency", "1"),
        ("MaximumConcurrency", "1001"),
        ("MemorySize", "64"),
        ("LogRetentionDays", "8"),
        ("Architecture", "riscv64"),
    ]) {
        assert_refused(name, value);
    }
}

#[test]
fn invalid_tags_are_rejected() {
    for tag in [
        "Watch",
        "Watch=",
        "=yes",
        "Watch=yes=no",
        " Watch=yes",
        "Watch =yes",
        "Watch= yes",
        "Watch=yes ",
        "Watch= ",
        "Watch=\"yes\"",
        "Watch=${aws:username}",
    ] {
        assert_refused("CertificateAuthorityTag", tag);
    }
}

fn assert_refused(parameter: &str, value: &str) {
    let refusal = template().deploy(&[(parameter, value)]).err();
    let expected = Refusal::Constraint(parameter.to_owned());
    assert_eq!(refusal, Some(expected), "{value:?}");
}

#[test]
fn environment_sets_exactly_the_variables_that_code_reads() {
    let set: BTreeSet<String> = environment(&deploy(&[])).into_keys().collect();
    let read = RefCell::new(BTreeSet::new());
    let config = Config::from_lookup(|name| {
        read.borrow_mut().insert(name.to_owned());
        None
    });
    assert!(config.is_err());
    let mut read = read.into_inner();
    // Those of Lambda and of the SDK.
    read.retain(|name| !name.starts_with("AWS_") && name != NOT_DEPLOYED);
    assert_eq!(set, read);
}

/// Returns the longest value that `CertificateAuthorities` accepts, for the shortest region: most CAs.
fn longest_ca_list() -> String {
    let template = template();
    let parameter = &template.section("Parameters")["CertificateAuthorities"];
    let limit = parameter["MaxLength"].as_u64().unwrap() as usize;
    let list = vec![ARN; (limit + 1) / (ARN.len() + 1)].join(",");
    assert!(list.len() > limit - ARN.len(), "another CA would fit");
    list
}

#[test]
fn longest_ca_list_fits_the_lambda_environment_limit() {
    let limit = template().section("Parameters")["CertificateAuthorities"]["MaxLength"].as_u64();
    let limit = limit.unwrap() as usize;
    let reasons = known_reasons().join(",");
    // The longest names of regions; that of the test's region is shorter.
    for (partition, region, domain) in [
        ("aws", "ap-southeast-1", "amazonaws.com"),
        ("aws-us-gov", "us-gov-west-1", "amazonaws.com"),
        ("aws-cn", "cn-northwest-1", "amazonaws.com.cn"),
    ] {
        // SNS API Reference, CreateTopic: at most 256 characters.
        let topic = "t".repeat(256);
        let topic = format!("arn:{partition}:sns:{region}:123456789012:{topic}");
        // CloudFormation User Guide: a stack name has at most 128 characters. The queue allows 73.
        for (scale_out, stack_name) in [("no", 128), ("yes", 73)] {
            let mut environment = environment(&deploy(&[
                ("CertificateAuthorities", &longest_ca_list()),
                ("ScaleOut", scale_out),
                ("MaxInlineCertificateAuthorities", "10000"),
                ("NotifyReasons", &reasons),
                ("SummaryIntervalHours", "8784"),
                ("RunbookUrl", &format!("https://{}", "w".repeat(192))),
                ("ExistingTopicArn", &topic),
                ("ChatTopicArn", &topic),
                ("ExistingReportBucket", &"b".repeat(63)),
            ]));
            let list = environment.get_mut("CERTIFICATE_AUTHORITY_ARNS").unwrap();
            list.push_str(&"x".repeat(limit - list.len()));
            let prefix = environment.get_mut("STATE_PREFIX").unwrap();
            *prefix = prefix.replace(STACK, &"s".repeat(stack_name));
            // SQS Developer Guide, "Amazon SQS message quotas": a queue name has at most 80 characters.
            for url in ["AUDIT_QUEUE_URL", "AUDIT_DEAD_LETTER_QUEUE_URL"] {
                let url = environment.get_mut(url).unwrap();
                if !url.is_empty() {
                    let name = "q".repeat(80);
                    *url = format!("https://sqs.{region}.{domain}/123456789012/{name}");
                }
            }
            // AWS Lambda Developer Guide, "Lambda quotas"; Lambda counts names and values as JSON.
            let size = serde_json::to_string(&environment).unwrap().len();
            assert!(size <= 4096, "{region}: {size} bytes");
        }
    }
}

#[test]
fn template_defaults_equal_the_code_defaults() {
    let deployed = config(&deploy(&[]));
    let required = environment(&deploy(&[]));
    let own = Config::from_lookup(|name| match name {
        "AWS_REGION" => Some(REGION.to_owned()),
        "CERTIFICATE_AUTHORITY_ARNS" | "REPORT_BUCKET" | "TOPIC_ARN" => required.get(name).cloned(),
        _ => None,
    })
    .unwrap();
    assert_eq!(
        deployed.state_prefix,
        format!("{}{STACK}/", own.state_prefix)
    );
    // Only the template knows the schedule.
    assert_eq!(
        (
            deployed.audit_interval.map(|interval| interval.as_secs()),
            own.audit_interval
        ),
        (Some(1800), None)
    );
    assert_eq!(
        Config {
            state_prefix: own.state_prefix.clone(),
            audit_interval: None,
            ..deployed
        },
        own
    );
}

#[test]
fn parameters_reach_the_configuration() {
    let deployment = deploy(&[
        ("CertificateAuthorities", TWO_ARNS),
        ("NotifyReasons", "KEY_COMPROMISE"),
        ("InitialLookbackHours", "48"),
        ("AuditIntervalMinutes", "360"),
        ("SummaryIntervalHours", "168"),
        ("RunbookUrl", "https://wiki.example.com/pki"),
        ("Investigate", "no"),
        ("Monitoring", "basic"),
        ("ChatTopicArn", "arn:aws:sns:us-east-1:123456789012:chat"),
        (
            "ExistingTopicArn",
            "arn:aws:sns:eu-west-1:111122223333:central.fifo",
        ),
        ("ExistingReportBucket", "amzn-s3-demo-bucket"),
    ]);
    let config = config(&deployment);
    assert_eq!(config.certificate_authorities.map(|cas| cas.len()), Some(2));
    assert_eq!(
        config.notify_reasons,
        Some(BTreeSet::from([RevocationReason::KeyCompromise]))
    );
    assert_eq!(config.initial_lookback.as_secs(), 48 * 3600);
    assert_eq!(
        config.audit_interval.map(|interval| interval.as_secs()),
        Some(360 * 60)
    );
    assert_eq!(
        config.summary_interval.map(|interval| interval.as_secs()),
        Some(168 * 3600)
    );
    assert_eq!(
        config.runbook_url.as_deref(),
        Some("https://wiki.example.com/pki")
    );
    assert!(!config.investigate);
    assert_eq!(config.monitoring, Monitoring::Basic);
    assert_eq!(
        config.chat_topic_arn.as_deref(),
        Some("arn:aws:sns:us-east-1:123456789012:chat")
    );
    assert_eq!(
        config.topic_arn,
        "arn:aws:sns:eu-west-1:111122223333:central.fifo"
    );
    assert_eq!(config.report_bucket, "amzn-s3-demo-bucket");
}

#[test]
fn scale_out_parameters_reach_the_configuration() {
    let deployment = deploy(&[
        ("ScaleOut", "yes"),
        ("MaxInlineCertificateAuthorities", "35"),
        ("CertificateAuthorityTag", "Watch=yes"),
    ]);
    let config = config(&deployment);
    let url = |name| format!("https://sqs.{REGION}.amazonaws.com/123456789012/{STACK}-{name}");
    let expected = AuditQueue {
        url: url("audits"),
        dead_letters_url: Some(url("DeadLetters")),
        max_inline: 35,
    };
    assert_eq!(config.audit_queue, Some(expected));
    let tag = config.certificate_authority_tag.expect("a tag");
    assert_eq!((tag.key.as_str(), tag.value.as_str()), ("Watch", "yes"));
    let outputs = &deployment.outputs;
    assert_eq!(outputs["AuditQueueUrl"]["Value"], url("audits"));

    // MaxInlineCertificateAuthorities alone changes nothing.
    let without = deploy(&[("MaxInlineCertificateAuthorities", "0")]);
    assert_eq!(self::config(&without).audit_queue, None);
}

#[test]
fn scale_out_alone_uses_the_documented_defaults() {
    let deployment = deploy(&[("ScaleOut", "yes")]);
    let deployed = config(&deployment).audit_queue.expect("a queue");
    assert_eq!(deployed.max_inline, 20);
    let mut environment = environment(&deployment);
    environment.remove("MAX_INLINE_CERTIFICATE_AUTHORITIES");
    let own = Config::from_lookup(|name| match name {
        "AWS_REGION" => Some(REGION.to_owned()),
        name => environment.get(name).cloned(),
    });
    assert_eq!(own.unwrap().audit_queue, Some(deployed));
    let source = &deployment.resources["AuditSource"]["Properties"];
    let concurrency = &source["ScalingConfig"]["MaximumConcurrency"];
    assert_eq!(text(concurrency), "5");
}

#[test]
fn notify_reasons_accepts_exactly_the_known_reasons() {
    let all = known_reasons().join(",");
    let chosen = config(&deploy(&[("NotifyReasons", &all)]))
        .notify_reasons
        .unwrap();
    assert_eq!(chosen.len(), RevocationReason::KNOWN.len());
    let template = template();
    let pattern = template.section("Parameters")["NotifyReasons"]["AllowedPattern"]
        .as_str()
        .unwrap();
    let named: BTreeSet<String> = pattern
        .split(|c: char| !c.is_ascii_uppercase() && c != '_')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    assert_eq!(named, known_reasons().into());
}

#[test]
fn handler_and_build_settings_name_the_built_binary() {
    let deployment = deploy(&[]);
    let binary = Path::new(env!("CARGO_BIN_EXE_bootstrap"))
        .file_stem()
        .unwrap();
    let metadata = &deployment.resources["WatchFunction"]["Metadata"];
    assert_eq!(
        metadata["BuildProperties"]["Binary"].as_str(),
        binary.to_str()
    );
    assert_eq!(function(&deployment)["Handler"].as_str(), binary.to_str());
    assert_eq!(function(&deployment)["Runtime"], "provided.al2023");
}

/// Returns the settings of each environment of samconfig.toml that deploys.
fn samconfig() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut environments = BTreeMap::<_, BTreeMap<_, _>>::new();
    let mut current = None;
    for line in read(root().join("samconfig.toml")).lines() {
        if let Some(table) = line.strip_prefix('[') {
            let name = table.strip_suffix(".global.parameters]");
            let name = name.unwrap_or_else(|| panic!("{line:?} is no table of global parameters"));
            current = Some(name.to_owned());
        } else if let Some((key, value)) = line.split_once(" = ")
            && !line.starts_with('#')
            && let Some(name) = &current
        {
            let quotes = ['"', '\''].into_iter().find(|q| value.starts_with(*q));
            let value = quotes.map_or(value, |quote| value.trim_matches(quote));
            let settings = environments.entry(name.clone()).or_default();
            settings.insert(key.to_owned(), value.to_owned());
        }
    }
    environments
}

#[test]
fn template_accepts_the_parameters_of_every_samconfig_section() {
    let environments = samconfig();
    let names: Vec<&str> = environments.keys().map(String::as_str).collect();
    let expected = [
        "central-topic",
        "default",
        "low-cost",
        "many-cas",
        "revocation-events",
        "x86_64",
    ];
    assert_eq!(names, expected);
    let mut common = BTreeSet::new();
    for (name, mut settings) in environments {
        let overrides = settings.remove("parameter_overrides").expect(&name);
        let pairs = overrides.split(' ').map(|pair| {
            let (parameter, value) = pair.split_once('=').expect("Parameter=Value");
            (parameter, value.trim_matches('"'))
        });
        let pairs: Vec<_> = pairs.collect();
        let architecture = if name == "x86_64" { "x86_64" } else { "arm64" };
        assert_eq!(pairs[0], ("Architecture", architecture), "{name}");
        let template = template();
        let deployment = template
            .deploy(&pairs)
            .unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        config(&deployment);
        // Each parameter changes something: the default again would be noise.
        let defaults = template.parameters(&[]);
        for (parameter, value) in &pairs[1..] {
            let resets = (name.as_str(), *parameter) == ("central-topic", "NotificationEmail");
            assert!(
                resets || defaults[*parameter] != *value,
                "{name}: {parameter}"
            );
        }
        common.insert(settings);
    }
    assert_eq!(common.len(), 1, "the other settings differ: {common:?}");
}

#[test]
fn role_reaches_only_reports_and_state_of_its_stack() {
    for bucket in ["", "amzn-s3-demo-bucket"] {
        let deployment = deploy(&[("ExistingReportBucket", bucket)]);
        let config = config(&deployment);
        let role = statements(&deployment, "WatchRole");
        let object = |key: &str| format!("arn:aws:s3:::{}/{key}", config.report_bucket);
        let state = |name: &str| object(&format!("{}{name}", config.state_prefix));
        let control = state("11223344.json");
        let notified = state("11223344/notified-7.jsonl");
        let full = state("11223344/full-list/1.jsonl");
        let health = state("health.json");

        for key in [&control, &notified, &full, &health] {
            for action in ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"] {
                assert_eq!(
                    allowing(&role, action, key),
                    ["ReadAndWriteState"],
                    "{action} {key}"
                );
            }
        }
        assert_eq!(
            allowing(&role, "s3:DeleteObject", &notified),
            ["DeleteSupersededState"]
        );
        for key in [&control, &full, &health, &object("audit-report/1/2.json")] {
            assert!(
                allowing(&role, "s3:DeleteObject", key).is_empty(),
                "{key} may be deleted"
            );
        }
        let report = object("audit-report/11223344/1.json");
        assert_eq!(allowing(&role, "s3:GetObject", &report), ["ReadReports"]);
        assert!(allowing(&role, "s3:PutObject", &report).is_empty());
        for other in [
            "crl/1.crl",
            "revocation-watch/another-stack/1.json",
            "revocation-watch/another-stack/1/notified-1.jsonl",
            "1.json",
        ] {
            for action in ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"] {
                assert!(
                    allowing(&role, action, &object(other)).is_empty(),
                    "{action} {other}"
                );
            }
        }
        let bucket = format!("arn:aws:s3:::{}", config.report_bucket);
        assert_eq!(
            allowing(&role, "s3:ListBucket", &bucket),
            ["ListReportsAndState"]
        );
    }
}

#[test]
fn list_of_sdk_calls_matches_the_source() {
    let call = Regex::new(r"\b(?:s3|sns|sqs|acmpca(?:_lookups)?|acm|cloudtrail)\.([a-z0-9_]+)\(\)")
        .unwrap();
    let mut found = BTreeSet::new();
    let mut sources = vec![root().join("src")];
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            sources.extend(entries.map(|entry| entry.unwrap().path()));
            continue;
        }
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let source: String = read(&path).split_whitespace().collect();
        let methods: Vec<&str> = call
            .captures_iter(&source)
            .map(|captures| captures.get(1).unwrap().as_str())
            .filter(|method| *method != "clone")
            .collect();
        // Every SDK request ends in `.send()`: this finds requests that the pattern above misses.
        let sent = source.matches(".send()").count();
        assert_eq!(
            sent,
            methods.len(),
            "{file} sends requests that the pattern does not recognize"
        );
        found.extend(
            methods
                .iter()
                .map(|method| (file.clone(), operation(method))),
        );
    }
    let listed = CALLS
        .iter()
        .map(|(file, operation, _)| ((*file).to_owned(), (*operation).to_owned()));
    assert_eq!(found, listed.collect());
}

/// Returns the API operation of an SDK method: `ListObjectsV2` for `list_objects_v2`.
fn operation(method: &str) -> String {
    method
        .split('_')
        .flat_map(|word| {
            word[..1]
                .to_uppercase()
                .chars()
                .chain(word[1..].chars())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Deploys with every optional permission.
fn deploy_all(certificate_authorities: &str) -> Deployment {
    deploy_with(certificate_authorities, "yes")
}

/// Deploys with every optional permission; `investigate` decides on those of the investigation.
fn deploy_with(certificate_authorities: &str, investigate: &str) -> Deployment {
    deploy(&[
        ("CertificateAuthorities", certificate_authorities),
        ("Investigate", investigate),
        ("ChatTopicArn", "arn:aws:sns:us-east-1:123456789012:chat"),
        ("RevocationEvents", "yes"),
        ("BucketKmsKeyArn", KEY),
        ("TopicKmsKeyArn", KEY),
        ("AllowReportWrites", "yes"),
        ("ScaleOut", "yes"),
        // The account of the recorded calls has two CAs.
        ("MaxInlineCertificateAuthorities", "1"),
        match certificate_authorities {
            "*" => TAG,
            _ => ("CertificateAuthorityTag", ""),
        },
    ])
}

/// Returns every kind of call in the list that is made for these CAs.
fn all_calls(certificate_authorities: &str) -> BTreeSet<(String, What)> {
    CALLS
        .iter()
        .filter(|(_, operation, _)| *operation != "ListTags" || certificate_authorities == "*")
        .map(|(_, operation, what)| ((*operation).to_owned(), *what))
        .collect()
}

/// Returns the configuration of a deployment that uses the S3 emulator.
fn local_config(deployment: &Deployment) -> Config {
    Config {
        custom_s3_endpoint: true,
        ..config(deployment)
    }
}

#[tokio::test(start_paused = true)]
async fn role_allows_exactly_the_calls_that_are_made() {
    let deployment = deploy_all("*");
    let config = local_config(&deployment);
    let calls = record(config.clone()).await;

    assert_eq!(kinds(&calls, &config), all_calls("*"));
    let needed = needs_of(&calls);
    let granted = grants(&statements(&deployment, "WatchRole"));
    assert_eq!(differences(&granted, &needed), [""; 0]);
    assert_each_grant_is_needed(&granted, &needed);
    assert_unneeded_grants_are_found(&granted, &needed);

    // The output for the owner of a topic in another account allows the same calls.
    let existing = deploy(&[("ExistingTopicArn", &config.topic_arn)]);
    let statement = text(&existing.outputs["TopicPolicyStatement"]["Value"]);
    let statement: Value = serde_json::from_str(&statement).unwrap();
    let on_topic = needed
        .iter()
        .filter(|need| need.resource == config.topic_arn);
    assert_eq!(
        list(&statement[0]["Action"])
            .into_iter()
            .collect::<BTreeSet<_>>(),
        on_topic.map(|need| need.action.clone()).collect()
    );
}

/// Returns what the calls need, each need once.
fn needs_of(calls: &[Call]) -> Vec<Need> {
    let unique: BTreeSet<Need> = calls.iter().flat_map(needs).collect();
    unique.into_iter().collect()
}

/// Fails unless removing any grant, except indirect ones, leaves a need uncovered.
fn assert_each_grant_is_needed(granted: &[Grant], needed: &[Need]) {
    let mut removed = 0;
    for grant in granted {
        if INDIRECT_GRANTS
            .iter()
            .any(|(sid, action, _)| *sid == grant.sid && *action == grant.action)
        {
            continue;
        }
        let without: Vec<_> = granted
            .iter()
            .filter(|other| *other != grant)
            .cloned()
            .collect();
        let differences = differences(&without, needed);
        assert!(!differences.is_empty(), "{grant:?} is not needed");
        assert!(
            differences.iter().all(|d| d.starts_with("missing: ")),
            "{differences:?}"
        );
        removed += 1;
    }
    assert_eq!(removed + INDIRECT_GRANTS.len(), granted.len());
}

/// Fails unless an added grant is reported as unused.
fn assert_unneeded_grants_are_found(granted: &[Grant], needed: &[Need]) {
    for (action, resource) in [
        (
            "s3:GetObjectVersion",
            "arn:aws:s3:::pca-revocation-watch-reportbucket/*",
        ),
        (
            "s3:GetObject",
            "arn:aws:s3:::pca-revocation-watch-reportbucket/crl/*",
        ),
        ("acm-pca:RevokeCertificate", "*"),
        ("sns:Publish", "arn:aws:sns:us-east-1:123456789012:another"),
    ] {
        let mut more = granted.to_vec();
        more.push(Grant {
            sid: "Another".to_owned(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            prefixes: None,
        });
        let differences = differences(&more, needed);
        assert_eq!(differences.len(), 1, "{action} {resource}");
        assert!(differences[0].starts_with("unused: "), "{differences:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn role_for_a_ca_list_allows_exactly_the_calls_made() {
    let deployment = deploy_all(TWO_ARNS);
    let config = local_config(&deployment);
    let calls = record(config.clone()).await;
    assert_eq!(kinds(&calls, &config), all_calls(TWO_ARNS));
    let needed = needs_of(&calls);
    let granted = grants(&statements(&deployment, "WatchRole"));
    assert_eq!(differences(&granted, &needed), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn role_without_investigation_allows_exactly_the_calls_made() {
    for certificate_authorities in ["*", TWO_ARNS] {
        let deployment = deploy_with(certificate_authorities, "no");
        let config = local_config(&deployment);
        let calls = record(config.clone()).await;
        let mut expected = all_calls(certificate_authorities);
        expected.retain(|(operation, _)| {
            let of_investigation = INVESTIGATION
                .iter()
                .any(|(_, action, _)| action.ends_with(&format!(":{operation}")));
            // The names of listed CAs are looked up either way.
            let of_names =
                operation == "DescribeCertificateAuthority" && certificate_authorities != "*";
            !of_investigation || of_names
        });
        assert_eq!(kinds(&calls, &config), expected);
        let granted = grants(&statements(&deployment, "WatchRole"));
        assert_eq!(differences(&granted, &needs_of(&calls)), [""; 0]);
    }
}

#[test]
fn role_for_a_ca_list_allows_audits_of_listed_cas_only() {
    const CREATE: &str = "acm-pca:CreateCertificateAuthorityAuditReport";
    const LIST: &str = "acm-pca:ListCertificateAuthorities";
    let other = ARN.replace("11223344", "55667788");

    let listed = deploy(&[("CertificateAuthorities", TWO_ARNS)]);
    let role = statements(&listed, "WatchRole");
    for arn in TWO_ARNS.split(',') {
        assert_eq!(
            allowing(&role, CREATE, arn),
            ["AuditCertificateAuthorities"]
        );
    }
    assert!(allowing(&role, CREATE, &other).is_empty());
    let all = deploy(&[("CertificateAuthorities", "*")]);
    let role = statements(&all, "WatchRole");
    assert_eq!(
        allowing(&role, CREATE, &other),
        ["AuditCertificateAuthorities"]
    );
    assert!(
        allowing(
            &role,
            CREATE,
            &other.replace("123456789012", "111122223333")
        )
        .is_empty()
    );
    assert_eq!(allowing(&role, LIST, "*"), ["ListCertificateAuthorities"]);
}

/// Statements of the investigation: Sid, action, resources.
const INVESTIGATION: &[(&str, &str, &[&str])] = &[
    ("LookUpWhoRevoked", "cloudtrail:LookupEvents", &["*"]),
    ("SearchAcmCertificates", "acm:SearchCertificates", &["*"]),
    (
        "DescribeAcmCertificates",
        "acm:DescribeCertificate",
        &["arn:aws:acm:us-east-1:123456789012:certificate/*"],
    ),
    (
        "ReadIssuedCertificates",
        "acm-pca:GetCertificate",
        &["arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/*"],
    ),
    (
        "DescribeCertificateAuthorities",
        "acm-pca:DescribeCertificateAuthority",
        &["arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/*"],
    ),
];

#[test]
fn investigation_permissions_are_separate_and_can_be_switched_off() {
    let grants_with = |investigate: &str, cas: &str| {
        let deployment = deploy(&[
            ("Investigate", investigate),
            ("CertificateAuthorities", cas),
        ]);
        grants(&statements(&deployment, "WatchRole"))
    };
    let (with, without) = (grants_with("yes", "*"), grants_with("no", "*"));
    assert!(without.iter().all(|grant| with.contains(grant)));
    let added: Vec<_> = with.iter().filter(|g| !without.contains(g)).collect();
    let expected = INVESTIGATION.iter().flat_map(|(sid, action, resources)| {
        resources
            .iter()
            .map(move |resource| (*sid, *action, *resource))
    });
    let added = added
        .iter()
        .map(|g| (g.sid.as_str(), g.action.as_str(), g.resource.as_str()));
    assert_eq!(added.collect::<BTreeSet<_>>(), expected.collect());

    // The names of listed CAs are looked up either way.
    let (with, without) = (grants_with("yes", TWO_ARNS), grants_with("no", TWO_ARNS));
    let added: BTreeSet<_> = with
        .iter()
        .filter(|g| !without.contains(g))
        .map(|g| (g.action.as_str(), g.resource.as_str()))
        .collect();
    let mut expected: BTreeSet<_> = INVESTIGATION[..3]
        .iter()
        .map(|(_, action, resources)| (*action, resources[0]))
        .collect();
    expected.extend(
        TWO_ARNS
            .split(',')
            .map(|arn| ("acm-pca:GetCertificate", arn)),
    );
    assert_eq!(added, expected);
}

#[test]
fn operations_page_lists_the_investigation_statements() {
    let page = read(root().join(OPERATIONS_PAGE));
    for (sid, action, _) in INVESTIGATION {
        for name in [sid, action] {
            assert!(page.contains(&format!("`{name}`")), "no {name}");
        }
    }
}

#[test]
fn optional_parameters_add_only_their_own_permissions() {
    let sids = |parameters: &[(&str, &str)]| -> BTreeSet<String> {
        let deployment = deploy(parameters);
        statements(&deployment, "WatchRole")
            .iter()
            .map(|s| text(&s["Sid"]))
            .collect()
    };
    let plain = sids(&[]);
    for (parameter, value, sid) in [
        (
            "ChatTopicArn",
            "arn:aws:sns:us-east-1:123456789012:chat",
            "PublishChatCards",
        ),
        ("BucketKmsKeyArn", KEY, "UseBucketKeyThroughS3"),
        ("TopicKmsKeyArn", KEY, "UseTopicKeyThroughSns"),
        ("RevocationEvents", "yes", "ReceiveRevocationEvents"),
        ("ScaleOut", "yes", "ReceiveAudits SendAudits"),
        ("CertificateAuthorityTag", "Watch=yes", "ReadTags"),
        ("AllowReportWrites", "yes", "RequestReports"),
    ] {
        let with: BTreeSet<String> = sids(&[(parameter, value)]);
        let added: Vec<&str> = with.difference(&plain).map(String::as_str).collect();
        assert_eq!(added.join(" "), sid, "{parameter}");
    }
}

#[test]
fn lifecycle_rules_never_expire_current_state() {
    let deployment = deploy(&[]);
    let bucket = &deployment.resources["ReportBucket"];
    assert_eq!(
        bucket["Properties"]["VersioningConfiguration"]["Status"],
        "Enabled"
    );
    let state = config(&deployment).state_prefix;
    let rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
        .as_array()
        .unwrap();
    let ends = [
        "ExpirationInDays",
        "ExpirationDate",
        "ExpiredObjectDeleteMarker",
        "Transitions",
    ];
    let mut expiring = Vec::new();
    for rule in rules {
        let prefix = rule["Prefix"].as_str().unwrap();
        let touches_state = state.starts_with(prefix) || prefix.starts_with(&state);
        if ends.iter().any(|key| rule.get(key).is_some()) {
            assert!(!touches_state, "{rule}");
            expiring.push(prefix);
        }
    }
    // One rule alone expires reports: with two on one prefix, the shorter period would win.
    assert_eq!(expiring, ["audit-report/"]);
}

#[test]
fn interval_mapping_gives_valid_alarm_and_schedule_periods() {
    let template = template();
    let intervals = template.section("Mappings")["Intervals"]
        .as_object()
        .unwrap();
    let offered = template.section("Parameters")["AuditIntervalMinutes"]["AllowedValues"]
        .as_array()
        .unwrap();
    assert_eq!(intervals.len(), offered.len());
    for interval in offered {
        let minutes = interval.as_u64().unwrap();
        let mapped = &intervals[&minutes.to_string()];
        assert_eq!(mapped["Seconds"], minutes * 60);
        assert_eq!(mapped["OverdueMinutes"], minutes * 3);
        // Nobody waits hours to learn that messages do not get through.
        let repeated = mapped["HealthPeriods"].as_u64().unwrap() - 1;
        assert_eq!(repeated > 0, minutes <= 60);
        assert!(repeated * minutes <= 60, "{minutes}");

        let deployment = deploy(&[("AuditIntervalMinutes", &minutes.to_string())]);
        for (id, alarm) in alarms(&deployment) {
            let period = alarm["Period"].as_u64().unwrap();
            let whole = period * alarm["EvaluationPeriods"].as_u64().unwrap();
            // CloudWatch API Reference, PutMetricAlarm: 7 days in total, one day for periods below an hour.
            assert!(
                whole <= if period < 3600 { 86_400 } else { 604_800 },
                "{id}: {whole} s"
            );
        }
        let schedule = &function(&deployment)["Events"]["Schedule"]["Properties"];
        assert_eq!(
            schedule["ScheduleExpression"],
            format!("rate({minutes} minutes)")
        );
        assert_eq!(schedule["FlexibleTimeWindow"]["Mode"], "OFF");
    }
}

#[test]
fn alarms_and_dashboard_use_metrics_that_are_emitted() {
    let deployment = deploy(&[CHAT, ("ScaleOut", "yes")]);
    let name = "pca-revocation-watch-WatchFunction";
    let mut emitted = metrics();
    emitted.extend(DISPATCH_METRICS.map(str::to_owned));
    let mut alarmed = BTreeSet::new();
    for (id, alarm) in alarms(&deployment) {
        if alarm["Namespace"] == NAMESPACE {
            let metric = alarm["MetricName"].as_str().unwrap();
            assert!(
                emitted.contains(metric),
                "{id} uses {metric}, which is not emitted"
            );
            assert_eq!(
                alarm["Dimensions"],
                serde_json::json!([{ "Name": "FunctionName", "Value": name }]),
                "{id}"
            );
            alarmed.insert(metric);
        }
    }
    assert_eq!(
        alarmed,
        BTreeSet::from(ALARM_METRICS),
        "with Monitoring=basic, the function sends the metrics of alarms and no others"
    );

    let body = dashboard(&deployment);
    let mut shown = BTreeSet::new();
    for metric in &shown_metrics(&body) {
        if metric[0] == NAMESPACE {
            assert_eq!(
                (metric[2].as_str(), metric[3].as_str()),
                (Some("FunctionName"), Some(name))
            );
            shown.insert(metric[1].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(shown, emitted);

    let alarmed = alarms(&deployment).map(|(id, _)| id);
    let shown = text(
        &body["widgets"][0]["properties"]["alarms"]
            .to_string()
            .into(),
    );
    for id in alarmed.filter(|id| *id != "ChatTopicDeliveryAlarm") {
        assert!(shown.contains(&format!(":{STACK}-{id}\"")), "no {id}");
    }
}

#[test]
fn basic_monitoring_removes_the_dashboard_and_keeps_the_alarms() {
    let parameters = [CHAT, ("ScaleOut", "yes")];
    let full = deploy(&parameters);
    let basic = deploy(&[&parameters[..], &[("Monitoring", "basic")]].concat());
    let removed = |full: &BTreeMap<String, Value>, basic: &BTreeMap<String, Value>| {
        assert!(basic.keys().all(|id| full.contains_key(id)));
        let removed = full.keys().filter(|id| !basic.contains_key(*id)).cloned();
        removed.collect::<Vec<_>>()
    };
    assert_eq!(removed(&full.resources, &basic.resources), ["Dashboard"]);
    assert_eq!(removed(&full.outputs, &basic.outputs), ["DashboardConsole"]);
    assert!(alarms(&full).eq(alarms(&basic)));
}

#[test]
fn dashboard_without_scale_out_names_nothing_of_it() {
    let deployment = deploy(&[]);
    let body = dashboard(&deployment);
    assert_eq!(body["widgets"].as_array().unwrap().len(), 9);
    let body = body.to_string();
    assert!(!body.contains(&format!("{STACK}-audits")));
    for metric in DISPATCH_METRICS {
        assert!(!body.contains(metric), "{metric}");
    }
}

#[test]
fn dashboard_shows_the_audit_queue_only_with_scale_out() {
    let queues = |deployment: &Deployment| {
        let mut queues = BTreeMap::<_, BTreeSet<_>>::new();
        for metric in shown_metrics(&dashboard(deployment)) {
            if metric[0] == "AWS/SQS" {
                assert_eq!(metric[2], "QueueName");
                let shown = queues.entry(text(&metric[3])).or_default();
                shown.insert(text(&metric[1]));
            }
        }
        queues
    };
    let (without, with) = (deploy(&[]), deploy(&[("ScaleOut", "yes")]));
    let environment = environment(&with);
    let audits = queue_name(&environment["AUDIT_QUEUE_URL"]).to_owned();
    let dead_letters = queue_name(&environment["AUDIT_DEAD_LETTER_QUEUE_URL"]).to_owned();
    let visible = "ApproximateNumberOfMessagesVisible".to_owned();
    let of_audits = [
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateNumberOfMessagesNotVisible",
        &visible,
    ];
    let of_audits = BTreeSet::from(of_audits.map(str::to_owned));
    let mut expected = BTreeMap::from([(dead_letters, BTreeSet::from([visible.clone()]))]);
    assert_eq!(queues(&without), expected);
    expected.insert(audits, of_audits);
    assert_eq!(queues(&with), expected);
}

/// Age and new revocations per CA are properties of the metrics log line, shown by a log query: a
/// metric per CA would add the cost of a custom metric each.
#[test]
fn dashboard_query_shows_every_per_ca_property() {
    let deployment = deploy(&[]);
    let body = dashboard(&deployment);
    let queries: Vec<&str> = body["widgets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|widget| widget["type"] == "log")
        .map(|widget| widget["properties"]["query"].as_str().unwrap())
        .collect();
    let log = "SOURCE 'pca-revocation-watch-WatchLogs' | ";
    assert!(
        queries.iter().all(|query| query.starts_with(log)),
        "{queries:?}"
    );
    let list = "| unnest line.certificateAuthorities into ca |";
    let query = queries
        .iter()
        .find(|query| query.contains(list))
        .expect("a query per CA");

    let line: Value =
        serde_json::from_str(&read(root().join("tests/data/metrics/run.json"))).unwrap();
    let property = Regex::new(r"\bca\.([A-Za-z]+)").unwrap();
    let shown: BTreeSet<&str> = property
        .captures_iter(query)
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    let held = line["certificateAuthorities"][0].as_object().unwrap();
    assert_eq!(shown, held.keys().map(String::as_str).collect());
    // The query must skip lines without the list: how a widget handles them is not documented.
    assert!(
        query.contains("| filter ispresent(_aws.Timestamp) |"),
        "{query}"
    );
    assert!(line["_aws"]["Timestamp"].is_number());
}

/// An old age is the message `watch-failed`: if it kept this alarm on, the end of all runs would not
/// set it off.
#[test]
fn watch_silent_alarm_fires_on_missing_data_only() {
    let deployment = deploy(&[]);
    let alarm = &deployment.resources["WatchSilentAlarm"]["Properties"];
    assert_eq!(alarm["TreatMissingData"], "breaching");
    assert_eq!(alarm["Statistic"], "SampleCount");
    assert_eq!(alarm["ComparisonOperator"], "LessThanThreshold");
    assert_eq!(alarm["Threshold"], 1);
}

/// Alarms on what the messages `watch-failed` and `watch-recovered` say anyway.
const REPEATING_ALARMS: [&str; 2] = ["AuditAgeAlarm", "AuditFailedAlarm"];

#[test]
fn email_gets_exactly_the_alarms_that_no_message_replaces() {
    let own_topic = "arn:aws:sns:us-east-1:123456789012:alarms";
    let email = ("NotificationEmail", "security@example.com");
    let scale_out = ("ScaleOut", "yes");

    let deployment = deploy(&[CHAT, email, scale_out]);
    let subscription = &deployment.resources["AlarmEmailSubscription"]["Properties"];
    assert_eq!(subscription["Endpoint"], email.1);
    let stack_topic = text(&subscription["TopicArn"]);
    let page = read(root().join(OPERATIONS_PAGE));
    for (id, alarm) in alarms(&deployment) {
        let is_emailed = !REPEATING_ALARMS.contains(&id.as_str());
        let topics = list(&alarm["AlarmActions"]);
        assert_eq!(topics.contains(&stack_topic), is_emailed, "{id}");
        assert_eq!(topics.len(), usize::from(is_emailed), "{id}");
        let row = page
            .lines()
            .find(|line| line.starts_with("| `") && line.contains(&format!("`{id}`")))
            .unwrap_or_else(|| panic!("{OPERATIONS_PAGE} lacks {id}"));
        let cell = if is_emailed { "| yes |" } else { "| no |" };
        assert!(row.contains(cell), "{OPERATIONS_PAGE}: {row}");
        // An OK goes where the alarm went.
        let oks = alarm.get("OKActions").map(list).unwrap_or_default();
        assert!(oks.is_empty() || oks == topics, "{id}");
    }

    let deployment = deploy(&[CHAT, scale_out, ("AlarmTopicArn", own_topic)]);
    for (id, alarm) in alarms(&deployment) {
        assert_eq!(list(&alarm["AlarmActions"]), [own_topic], "{id}");
    }
}

#[test]
fn visibility_timeout_covers_timeout_and_batching_window() {
    let deployment = deploy(&[("RevocationEvents", "yes"), ("ScaleOut", "yes")]);
    for (queue, source) in [
        ("RevocationEventQueue", "RevocationEventSource"),
        ("AuditQueue", "AuditSource"),
    ] {
        let queue = &deployment.resources[queue]["Properties"];
        let source = &deployment.resources[source]["Properties"];
        let window = source.get("MaximumBatchingWindowInSeconds");
        let longest = function(&deployment)["Timeout"].as_u64().unwrap()
            + window.map_or(0, |window| window.as_u64().unwrap());
        assert!(queue["VisibilityTimeout"].as_u64().unwrap() >= longest);
        assert_eq!(
            list(&source["FunctionResponseTypes"]),
            ["ReportBatchItemFailures"]
        );
    }
}

#[test]
fn audit_source_gives_each_message_its_own_invocation() {
    let deployment = deploy(&[("ScaleOut", "yes"), ("MaximumConcurrency", "50")]);
    let source = &deployment.resources["AuditSource"]["Properties"];
    assert_eq!(source["BatchSize"], 1);
    assert_eq!(text(&source["ScalingConfig"]["MaximumConcurrency"]), "50");
    let queue = &deployment.resources["AuditQueue"]["Properties"];
    let arn = format!(
        "arn:aws:sqs:{REGION}:123456789012:{}",
        text(&queue["QueueName"])
    );
    assert_eq!(source["EventSourceArn"], arn);
    // AWS Lambda Developer Guide, "Creating and configuring an Amazon SQS event source mapping": at least 5,
    // because throttled deliveries count.
    assert_eq!(queue["RedrivePolicy"]["maxReceiveCount"], 5);
}

/// A message may wait for its slot, then for the longest invocation: that is no backlog.
#[test]
fn queue_age_alarm_allows_the_longest_delay_and_invocation() {
    /// SQS API Reference, `SendMessage`: `DelaySeconds`.
    const LONGEST_DELAY: u64 = 900;
    let deployment = deploy(&[("ScaleOut", "yes")]);
    let alarm = &deployment.resources["AuditQueueAgeAlarm"]["Properties"];
    let timeout = function(&deployment)["Timeout"].as_u64().unwrap();
    assert_eq!(alarm["Namespace"], "AWS/SQS");
    assert_eq!(alarm["MetricName"], "ApproximateAgeOfOldestMessage");
    assert_eq!(alarm["Threshold"], LONGEST_DELAY + timeout);
    assert_eq!(alarm["ComparisonOperator"], "GreaterThanThreshold");
    // A message is superseded after the shortest interval and 15 minutes: the alarm comes before.
    let fires_after = alarm["Threshold"].as_u64().unwrap() + alarm["Period"].as_u64().unwrap();
    assert!(fires_after < (30 + 15) * 60);
    let queue = text(&deployment.resources["AuditQueue"]["Properties"]["QueueName"]);
    assert_eq!(alarm["Dimensions"][0]["Name"], "QueueName");
    assert_eq!(alarm["Dimensions"][0]["Value"], queue);
    let url = &environment(&deployment)["AUDIT_QUEUE_URL"];
    assert_eq!(queue_name(url), queue);
}

#[test]
fn dead_letters_alarm_watches_the_queue_the_function_uses() {
    let deployment = deploy(&[("ScaleOut", "yes")]);
    let alarm = &deployment.resources["DeadLettersAlarm"]["Properties"];
    let queue = &environment(&deployment)["AUDIT_DEAD_LETTER_QUEUE_URL"];
    let queue = serde_json::json!([{ "Name": "QueueName", "Value": queue_name(queue) }]);
    assert_eq!(alarm["Namespace"], "AWS/SQS");
    assert_eq!(alarm["MetricName"], "ApproximateNumberOfMessagesVisible");
    assert_eq!(alarm["Dimensions"], queue);
    assert_eq!(alarm["Threshold"], 1);
    let at_least = "GreaterThanOrEqualToThreshold";
    assert_eq!(alarm["ComparisonOperator"], at_least);
}

/// SQS Developer Guide, "Amazon SQS message quotas": a queue name has at most 80 characters.
#[test]
fn named_queues_leave_73_characters_to_the_stack() {
    let deployment = deploy(&[("RevocationEvents", "yes"), ("ScaleOut", "yes")]);
    for id in ["RevocationEventQueue", "AuditQueue"] {
        let name = text(&deployment.resources[id]["Properties"]["QueueName"]);
        assert_eq!(name.len() - STACK.len() + 73, 80, "{id}");
    }
}

/// An audit that waits for a slow report is sent again more often than the 16 times that Lambda allows.
#[test]
fn lambda_does_not_stop_messages_that_are_sent_again() {
    let deployment = deploy(&[("ScaleOut", "yes")]);
    assert_eq!(function(&deployment)["RecursiveLoop"], "Allow");
    // Without the queue, nothing is sent again, and Lambda's protection stays on.
    assert!(function(&deploy(&[]))["RecursiveLoop"].is_null());
}

#[test]
fn scale_out_resources_are_absent_by_default() {
    let (without, with) = (deploy(&[]), deploy(&[("ScaleOut", "yes")]));
    let added: Vec<&String> = with
        .resources
        .keys()
        .filter(|id| !without.resources.contains_key(*id))
        .collect();
    assert_eq!(
        added,
        [
            "AuditQueue",
            "AuditQueueAgeAlarm",
            "AuditQueuePolicy",
            "AuditSource",
            "DispatchErrorsAlarm"
        ]
    );
    assert!(!without.outputs.contains_key("AuditQueueUrl"));
    let environment = environment(&without);
    for name in ["AUDIT_QUEUE_URL", "AUDIT_DEAD_LETTER_QUEUE_URL"] {
        assert_eq!(environment[name], "", "{name}");
    }
}

#[test]
fn revocation_event_rule_matches_the_sample_event() {
    let deployment = deploy(&[
        ("RevocationEvents", "yes"),
        ("CertificateAuthorities", TWO_ARNS),
    ]);
    let event: Value = serde_json::from_str(&read(root().join("events/revocation.json"))).unwrap();
    let pattern = &deployment.resources["RevocationEventRule"]["Properties"]["EventPattern"];
    for key in ["source", "detail-type"] {
        assert!(list(&pattern[key]).contains(&text(&event[key])), "{key}");
    }
}

#[test]
fn revocation_event_rule_accepts_the_longest_ca_list() {
    let deployment = deploy(&[
        ("RevocationEvents", "yes"),
        ("CertificateAuthorities", &longest_ca_list()),
    ]);
    let pattern = &deployment.resources["RevocationEventRule"]["Properties"]["EventPattern"];
    // EventBridge User Guide, "Amazon EventBridge quotas": 2,048 characters.
    let length = pattern.to_string().len();
    assert!(length <= 2048, "{length} characters");
}

#[test]
fn revocation_event_resources_are_absent_by_default() {
    let default = deploy(&[]);
    assert!(
        !default
            .resources
            .keys()
            .any(|id| id.starts_with("RevocationEvent"))
    );
}

#[test]
fn sample_events_parse_as_the_intended_requests() {
    let mut seen = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("events")).expect("events/") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let payload: Value =
            serde_json::from_str(&read(&path)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let request = Request::from_payload(&payload).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        seen.insert(name, request);
    }
    let request = |name: &str| seen.get(name).unwrap_or_else(|| panic!("no events/{name}"));
    for name in ["scheduled.json", "scheduled-rule.json"] {
        let Request { trigger, mode, .. } = request(name);
        // The dispatch needs the time of the schedule.
        assert!(matches!(trigger, Trigger::Schedule(Some(_))), "{name}");
        assert_eq!(*mode, Mode::Audit);
    }
    assert!(matches!(
        request("revocation.json").trigger,
        Trigger::Revocation(_)
    ));
    assert!(
        matches!(&request("revocation-queue.json").trigger, Trigger::Queue(events)
        if events.len() == 2 && events.iter().all(|message| matches!(message.content, MessageContent::Revocation(_))))
    );
    assert!(
        matches!(&request("audit-queue.json").trigger, Trigger::Queue(messages)
        if messages.len() == 1 && matches!(messages[0].content, MessageContent::Audit(_)))
    );
    assert_eq!(request("audit-all.json").certificate_authorities, None);
    assert_eq!(
        request("audit-one.json").certificate_authorities,
        Some(vec![ARN.to_owned()])
    );
    assert_eq!(request("dry-run.json").mode, Mode::DryRun);
    assert!(matches!(
        request("since.json").mode,
        Mode::Replay { dry_run: false, .. }
    ));
    assert!(matches!(
        request("since-dry-run.json").mode,
        Mode::Replay { dry_run: true, .. }
    ));
    assert_eq!(request("test-message.json").mode, Mode::TestMessage);
    assert_eq!(request("accept-report.json").mode, Mode::AcceptReport);
    assert_eq!(request("status.json").mode, Mode::Status);
    assert_eq!(seen.len(), 13);
}

#[test]
fn troubleshooting_page_lists_every_error_type() {
    let page = read(root().join(TROUBLESHOOTING_PAGE));
    for kind in ErrorKind::ALL {
        let cell = match kind.remedy() {
            Remedy::Retry => RETRY_CELL,
            Remedy::Operator => OPERATOR_CELL,
        };
        let row = format!("\n| `{}` | {cell} |", kind.name());
        assert!(page.contains(&row), "{TROUBLESHOOTING_PAGE} lacks {row:?}");
    }
}

/// Literals of `src/investigate` that are no reasons of an unknown finding. Some are only logged.
const NO_REASONS: [&str; 8] = [
    "CloudTrail returned {events} that could not be parsed",
    "investigation finished",
    "key and value are set",
    "lookup failed",
    "only looked up for critical revocations",
    "second scan of the report",
    "value and operator are set",
    "{PRIVATE_CA} returned no CA to DescribeCertificateAuthority",
];

/// Returns the texts in the code of the investigation that may be reasons: literals of several words.
fn reasons_in_code() -> BTreeSet<String> {
    let literal = Regex::new(r#""((?:[^"\\]|\\.)*)""#).unwrap();
    let line_break = Regex::new(r"\\\n\s*").unwrap();
    let mut reasons = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("src/investigate")).unwrap() {
        let source = read(entry.unwrap().path());
        let code = source.split("\n#[cfg(test)]\nmod ").next().unwrap();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = code.split('\n').filter(is_code).collect::<Vec<_>>();
        let code = line_break.replace_all(&code.join("\n"), "").into_owned();
        let texts = literal
            .captures_iter(&code)
            .map(|found| found[1].to_owned());
        reasons.extend(texts.filter(|text| text.contains(' ')));
    }
    reasons.retain(|text| !NO_REASONS.contains(&text.as_str()));
    reasons
}

/// Returns what a reason has between its variable parts and after the name of the service.
fn fixed_parts(reason: &str) -> Vec<String> {
    let variable =
        r"\([^)]*\.\.\.[^)]*\)|\{[^}]*\}|\.\.\.|CODE|MESSAGE|^(CloudTrail|ACM|Private CA) ";
    let parts = Regex::new(variable).unwrap();
    let parts = parts
        .split(reason)
        .map(|part| part.trim_matches(|c: char| !c.is_alphanumeric()).to_owned());
    parts.filter(|part| part.len() > 1).collect()
}

#[test]
fn troubleshooting_page_lists_the_reasons_of_unknown_findings() {
    let page = read(root().join(TROUBLESHOOTING_PAGE));
    let section = page.split("\n## Unknown in an alert\n").nth(1).unwrap();
    let table = section.split("\n\n").find(|it| it.starts_with("| reason"));
    let table = table.expect("a table of reasons");
    let reasons = reasons_in_code();
    assert!(reasons.len() > 25, "{reasons:?}");
    for reason in &reasons {
        let is_listed = fixed_parts(reason).iter().all(|part| table.contains(part));
        assert!(is_listed, "{TROUBLESHOOTING_PAGE} lacks {reason:?}");
    }
    let in_backticks = Regex::new("`([^`]+)`").unwrap();
    // Their operations are no part of a literal.
    let denied = Regex::new(r"^[A-Z]\w+( CA)? denied [A-Z]\w+$").unwrap();
    for row in table.lines().skip(2) {
        let cell = row.split(" | ").next().unwrap();
        for listed in in_backticks
            .captures_iter(cell)
            .map(|found| found[1].to_owned())
        {
            let is_in_code = |part| reasons.iter().any(|reason| reason.contains(part));
            let is_produced = fixed_parts(&listed)
                .iter()
                .all(|part| is_in_code(part.as_str()));
            assert!(
                is_produced || denied.is_match(&listed),
                "no code produces {listed:?}"
            );
        }
    }
}

#[test]
fn deployment_page_lists_parameters_in_the_groups_of_the_template() {
    let page = read(root().join(DEPLOYMENT_PAGE));
    let template = template();
    let interface = &template.section("Metadata")["AWS::CloudFormation::Interface"];
    for group in interface["ParameterGroups"].as_array().unwrap() {
        let heading = format!("\n### {}\n", text(&group["Label"]["default"]));
        let section = page.split(&heading).nth(1);
        let section = section.unwrap_or_else(|| panic!("{DEPLOYMENT_PAGE} lacks {heading:?}"));
        let section = section.split("\n#").next().unwrap();
        for name in list(&group["Parameters"]) {
            let row = format!("\n| `{name}` |");
            assert!(section.contains(&row), "{heading:?} lacks {name}");
        }
    }
}

#[test]
fn operations_page_lists_the_metrics_of_basic_monitoring() {
    let page = read(root().join(OPERATIONS_PAGE));
    let paragraph = page
        .lines()
        .find(|it| it.starts_with("With `Monitoring=basic`"));
    let paragraph = paragraph.expect("a paragraph about Monitoring=basic");
    let known = metrics()
        .into_iter()
        .chain(DISPATCH_METRICS.map(str::to_owned));
    let named = known.filter(|name| paragraph.contains(&format!("`{name}`")));
    let named: BTreeSet<String> = named.collect();
    assert_eq!(named, ALARM_METRICS.map(str::to_owned).into());
}

#[test]
fn operations_page_lists_metrics_alarms_and_indirect_grants() {
    let page = read(root().join(OPERATIONS_PAGE));
    let deployment = deploy(&[CHAT, ("ScaleOut", "yes")]);
    let metrics = metrics();
    let basic = metrics
        .iter()
        .filter(|name| ALARM_METRICS.contains(&name.as_str()));
    let fixed_costs = [
        format!("\n| {} metrics,", metrics.len()),
        format!("`Monitoring=basic`**: {} metrics,", basic.count()),
        format!("\n| {} alarms,", alarms(&deploy(&[])).count()),
    ];
    let sids = INDIRECT_GRANTS.iter().map(|(sid, ..)| *sid);
    let alarms = alarms(&deployment).map(|(id, _)| id.as_str());
    let metrics = metrics.iter().map(String::as_str).chain(DISPATCH_METRICS);
    for name in metrics.chain(sids).chain(alarms) {
        assert!(
            page.contains(&format!("`{name}`")),
            "{OPERATIONS_PAGE} lacks {name}"
        );
    }
    for cost in fixed_costs {
        assert!(page.contains(&cost), "{OPERATIONS_PAGE} lacks {cost:?}");
    }
}
