//! The function's configuration, from its environment.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::arn::{CertificateAuthorityArn, is_certificate_authority_id, partition_of_region};
use crate::report_format::ReportFormat;
use crate::revocation::reason::RevocationReason;

/// Every variable that the function reads, besides those of the SDK and of Lambda.
pub const VARIABLES: &[&str] = &[
    "CERTIFICATE_AUTHORITY_ARNS",
    "REPORT_BUCKET",
    "TOPIC_ARN",
    "CHAT_TOPIC_ARN",
    "REPORT_FORMAT",
    "NOTIFY_REASONS",
    "INITIAL_LOOKBACK_HOURS",
    "STATE_PREFIX",
    "REPORT_INTERVAL_SECONDS",
];

/// The function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The CAs to audit.
    pub certificate_authorities: CertificateAuthorities,
    /// Bucket for reports and state.
    pub report_bucket: String,
    /// SNS topic for alerts.
    pub topic_arn: String,
    /// SNS topic for chat cards.
    pub chat_topic_arn: Option<String>,
    /// Format of the reports to request.
    pub report_format: ReportFormat,
    /// The reasons that cause a message; `None` means all.
    pub notify_reasons: Option<BTreeSet<RevocationReason>>,
    /// How far back the first audit of a CA reports revocations.
    pub initial_lookback: Duration,
    /// Key prefix of the state's objects; ends in `/`.
    pub state_prefix: String,
    /// Private CA's minimum interval between two reports of one CA.
    pub report_interval: Duration,
    /// The function's region.
    pub region: String,
    /// Whether S3 has a custom endpoint.
    pub custom_s3_endpoint: bool,
}

/// The configured CAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateAuthorities {
    /// Every auditable CA that the account owns in the region, listed in each run.
    All,
    /// These, in this order, without duplicates.
    Listed(Vec<Listed>),
}

/// One configured CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// By ARN.
    Arn(CertificateAuthorityArn),
    /// By the ID of a CA in the function's account and region.
    Id(String),
}

impl Listed {
    /// Returns the CA's ID, the last part of its ARN.
    pub fn id(&self) -> &str {
        match self {
            Listed::Arn(arn) => arn.id(),
            Listed::Id(id) => id,
        }
    }
}

/// All problems of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Each variable with what is wrong and how to fix it.
    pub problems: Vec<(&'static str, String)>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid configuration; fix these environment variables:")?;
        for (variable, problem) in &self.problems {
            write!(f, "\n  {variable}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the configuration. A blank variable counts as not set.
    ///
    /// # Errors
    /// Lists every problem, variable by variable.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut variables = Variables {
            lookup: |name: &str| lookup(name).filter(|value| !value.trim().is_empty()),
            problems: Vec::new(),
        };
        let region = variables.required(
            "AWS_REGION",
            "Lambda sets it; elsewhere, set it to the region",
        );
        let certificate_authorities = variables.certificate_authorities(&region);
        let config = Self {
            certificate_authorities,
            report_bucket: variables.bucket(),
            topic_arn: variables.topic("TOPIC_ARN").unwrap_or_else(|| {
                variables.required("TOPIC_ARN", "set it to the ARN of the SNS topic for alerts")
            }),
            chat_topic_arn: variables.topic("CHAT_TOPIC_ARN"),
            report_format: variables.report_format(),
            notify_reasons: variables.notify_reasons(),
            initial_lookback: Duration::from_secs(
                3600 * variables.number("INITIAL_LOOKBACK_HOURS", 24, 0..=876_000),
            ),
            state_prefix: variables.state_prefix(),
            report_interval: Duration::from_secs(variables.number(
                "REPORT_INTERVAL_SECONDS",
                1800,
                0..=604_800,
            )),
            custom_s3_endpoint: ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
                .iter()
                .any(|name| (variables.lookup)(name).is_some()),
            region,
        };
        if variables.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError {
                problems: variables.problems,
            })
        }
    }

    /// Returns the topic's region, which may differ from the function's.
    pub fn topic_region(&self) -> &str {
        self.topic_arn.split(':').nth(3).unwrap_or(&self.region)
    }

    /// Whether a revocation with that reason causes a message. Unknown reasons always do.
    pub fn notifies(&self, reason: &RevocationReason) -> bool {
        match (&self.notify_reasons, reason) {
            (None, _) | (_, RevocationReason::Other(_)) => true,
            (Some(reasons), reason) => reasons.contains(reason),
        }
    }
}

struct Variables<L> {
    lookup: L,
    problems: Vec<(&'static str, String)>,
}

impl<L: Fn(&str) -> Option<String>> Variables<L> {
    fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned())
    }

    fn problem(&mut self, name: &'static str, problem: impl Into<String>) {
        self.problems.push((name, problem.into()));
    }

    fn required(&mut self, name: &'static str, advice: &str) -> String {
        if self.get(name).is_none() && !self.problems.iter().any(|(at, _)| *at == name) {
            self.problem(name, format!("is not set; {advice}"));
        }
        self.get(name).unwrap_or_default()
    }

    fn certificate_authorities(&mut self, region: &str) -> CertificateAuthorities {
        const NAME: &str = "CERTIFICATE_AUTHORITY_ARNS";
        let text = self.required(
            NAME,
            "list the CAs to audit (ARNs or IDs, separated by commas), or * for all",
        );
        if text == "*" {
            return CertificateAuthorities::All;
        }
        let mut listed: Vec<Listed> = Vec::new();
        for entry in text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|e| !e.is_empty())
        {
            let parsed = match CertificateAuthorityArn::parse(entry) {
                _ if entry == "*" => {
                    self.problem(NAME, "* means every CA and cannot be combined with others");
                    continue;
                }
                _ if is_certificate_authority_id(entry) => Listed::Id(entry.to_owned()),
                Some(arn) if arn.region() != region => {
                    self.problem(
                        NAME,
                        format!(
                            "{entry} is in region {}, but the function runs in {region}; deploy one stack per region",
                            arn.region()
                        ),
                    );
                    continue;
                }
                Some(arn) if arn.partition() != partition_of_region(region) => {
                    self.problem(
                        NAME,
                        format!(
                            "{entry} is in partition {}, but {region} is in partition {}",
                            arn.partition(),
                            partition_of_region(region)
                        ),
                    );
                    continue;
                }
                Some(arn) => Listed::Arn(arn),
                None => {
                    self.problem(
                        NAME,
                        format!(
                            "{entry:?} is neither a CA ARN (expected arn:aws:acm-pca:REGION:ACCOUNT:certificate-authority/ID) nor a CA ID"
                        ),
                    );
                    continue;
                }
            };
            if !listed.iter().any(|other| other.id() == parsed.id()) {
                listed.push(parsed);
            }
        }
        CertificateAuthorities::Listed(listed)
    }

    fn bucket(&mut self) -> String {
        const NAME: &str = "REPORT_BUCKET";
        let bucket = self.required(
            NAME,
            "set it to the name of the S3 bucket for reports and state",
        );
        let well_formed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
        let is_name = (3..=63).contains(&bucket.len()) && bucket.chars().all(well_formed);
        if !bucket.is_empty() && !is_name {
            self.problem(
                NAME,
                format!("{bucket:?} is not a bucket name; use the plain name without ARN or s3://"),
            );
        }
        bucket
    }

    fn topic(&mut self, name: &'static str) -> Option<String> {
        let arn = self.get(name)?;
        let parts: Vec<&str> = arn.split(':').collect();
        if !matches!(parts[..], ["arn", partition, "sns", region, account, topic]
            if partition.starts_with("aws") && !region.is_empty() && !account.is_empty() && !topic.is_empty())
        {
            self.problem(
                name,
                format!(
                    "{arn:?} is not an SNS topic ARN (expected arn:aws:sns:REGION:ACCOUNT:NAME)"
                ),
            );
        }
        Some(arn)
    }

    fn report_format(&mut self) -> ReportFormat {
        match self
            .get("REPORT_FORMAT")
            .map(|text| text.to_ascii_uppercase())
            .as_deref()
        {
            None | Some("JSON") => ReportFormat::Json,
            Some("CSV") => ReportFormat::Csv,
            Some(other) => {
                self.problem(
                    "REPORT_FORMAT",
                    format!("{other:?} is neither JSON nor CSV"),
                );
                ReportFormat::Json
            }
        }
    }

    fn notify_reasons(&mut self) -> Option<BTreeSet<RevocationReason>> {
        let text = self.get("NOTIFY_REASONS")?;
        let mut reasons = BTreeSet::new();
        for entry in text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|e| !e.is_empty())
        {
            match RevocationReason::from_report(entry) {
                RevocationReason::Other(_) => {
                    let known = RevocationReason::KNOWN.map(|reason| reason.name().to_owned());
                    self.problem(
                        "NOTIFY_REASONS",
                        format!(
                            "{entry:?} is not a revocation reason; use {}",
                            known.join(", ")
                        ),
                    );
                }
                reason => {
                    reasons.insert(reason);
                }
            }
        }
        Some(reasons)
    }

    fn state_prefix(&mut self) -> String {
        let Some(prefix) = self.get("STATE_PREFIX") else {
            return "revocation-watch/".to_owned();
        };
        if prefix.starts_with("audit-report/") || prefix.starts_with('/') {
            self.problem(
                "STATE_PREFIX",
                format!(
                    "{prefix:?} must not begin with / or with audit-report/, where reports expire; choose another prefix"
                ),
            );
        }
        if prefix.ends_with('/') {
            prefix
        } else {
            prefix + "/"
        }
    }

    fn number(
        &mut self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let Some(text) = self.get(name) else {
            return default;
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.problem(
                    name,
                    format!(
                        "{text:?} is not a whole number from {} to {}",
                        range.start(),
                        range.end()
                    ),
                );
                default
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11223344-1234-1122-2233-112233445566";

    fn from(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_lookup(|name| {
            let overridden = variables.iter().find(|(key, _)| *key == name);
            let (_, value) = overridden.or(DEFAULTS.iter().find(|(key, _)| *key == name))?;
            Some((*value).to_owned())
        })
    }

    const DEFAULTS: &[(&str, &str)] = &[
        ("AWS_REGION", "us-east-1"),
        ("CERTIFICATE_AUTHORITY_ARNS", "*"),
        ("REPORT_BUCKET", "amzn-s3-demo-bucket"),
        (
            "TOPIC_ARN",
            "arn:aws:sns:us-east-1:123456789012:revocations",
        ),
    ];

    fn arn(region: &str) -> String {
        format!("arn:aws:acm-pca:{region}:123456789012:certificate-authority/{ID}")
    }

    #[test]
    fn the_least_that_is_required_gets_the_documented_defaults() {
        let config = from(&[]).unwrap();
        assert_eq!(config.certificate_authorities, CertificateAuthorities::All);
        assert_eq!(config.report_format, ReportFormat::Json);
        assert_eq!(config.notify_reasons, None);
        assert_eq!(config.initial_lookback, Duration::from_secs(24 * 3600));
        assert_eq!(config.state_prefix, "revocation-watch/");
        assert_eq!(config.report_interval, Duration::from_secs(1800));
        assert_eq!(config.chat_topic_arn, None);
        assert!(!config.custom_s3_endpoint);
    }

    #[test]
    fn the_list_takes_arns_and_ids_by_commas_or_white_space_once_each() {
        let other = "99887766-1234-1122-2233-112233445566";
        let list = format!("{},\n {other}\t{ID} {other}", arn("us-east-1"));
        let config = from(&[("CERTIFICATE_AUTHORITY_ARNS", &list)]).unwrap();
        let expected = vec![
            Listed::Arn(CertificateAuthorityArn::parse(&arn("us-east-1")).unwrap()),
            Listed::Id(other.to_owned()),
        ];
        assert_eq!(
            config.certificate_authorities,
            CertificateAuthorities::Listed(expected)
        );
    }

    #[test]
    fn one_error_names_every_problem() {
        let error = from(&[
            (
                "CERTIFICATE_AUTHORITY_ARNS",
                &format!("{} nonsense *", arn("eu-west-1")),
            ),
            ("REPORT_BUCKET", " "),
            ("TOPIC_ARN", "revocations"),
            ("CHAT_TOPIC_ARN", "arn:aws:sqs:us-east-1:123456789012:queue"),
            ("REPORT_FORMAT", "XML"),
            ("NOTIFY_REASONS", "KEY_COMPROMISE,KEYCOMPROMISE"),
            ("INITIAL_LOOKBACK_HOURS", "-1"),
            ("STATE_PREFIX", "audit-report/state"),
            ("REPORT_INTERVAL_SECONDS", "half an hour"),
        ])
        .unwrap_err();
        let named: BTreeSet<&str> = error.problems.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, VARIABLES.iter().copied().collect());
        let text = error.to_string();
        for part in [
            "eu-west-1",
            "nonsense",
            "cannot be combined",
            "is not set",
            "XML",
            "KEYCOMPROMISE",
            "\"-1\"",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn an_arn_of_another_partition_is_refused() {
        let arn = arn("us-east-1").replace("arn:aws:", "arn:aws-cn:");
        let error = from(&[("CERTIFICATE_AUTHORITY_ARNS", &arn)]).unwrap_err();
        assert!(error.to_string().contains("aws-cn"), "{error}");
    }

    #[test]
    fn unknown_reasons_are_always_worth_a_message() {
        let config = from(&[("NOTIFY_REASONS", "KEY_COMPROMISE")]).unwrap();
        assert!(config.notifies(&RevocationReason::KeyCompromise));
        assert!(!config.notifies(&RevocationReason::Superseded));
        assert!(config.notifies(&RevocationReason::from_report("QUANTUM_BREAK")));
        assert!(config.notifies(&RevocationReason::from_report("")));
    }

    #[test]
    fn messages_go_to_the_region_of_the_topic() {
        let config = from(&[("TOPIC_ARN", "arn:aws:sns:eu-west-1:123456789012:central")]).unwrap();
        assert_eq!(config.topic_region(), "eu-west-1");
    }
}
