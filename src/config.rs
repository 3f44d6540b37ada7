//! The function's configuration, from its environment.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use lambda_runtime::Diagnostic;

use crate::arn::{CertificateAuthorityArn, is_certificate_authority_id, partition_of_region};
use crate::error::invocation_error;
use crate::report_format::ReportFormat;
use crate::revocation::reason::RevocationReason;

/// The function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The CAs to audit, each once: ARNs, or IDs of CAs in the function's account and region.
    /// `None` means every auditable CA that the account owns in the region.
    pub certificate_authorities: Option<Vec<String>>,
    /// With every CA: only those with this tag.
    pub certificate_authority_tag: Option<Tag>,
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
    /// Address of a page for the people who get an alert.
    pub runbook_url: Option<String>,
    /// Key prefix of the state's objects; ends in `/`.
    pub state_prefix: String,
    /// Private CA's minimum interval between two reports of one CA.
    pub report_interval: Duration,
    /// Time between two scheduled runs; `None` if it is not known.
    pub audit_interval: Option<Duration>,
    /// Where scheduled runs of many CAs send their audits; `None` audits all CAs in one invocation.
    pub audit_queue: Option<AuditQueue>,
    /// How often to send a `watch-summary`; `None` means never.
    pub summary_interval: Option<Duration>,
    /// Whether to look up who revoked a certificate, where it is in use, and what else is affected.
    pub investigate: bool,
    /// Which values are sent to CloudWatch as metrics.
    pub monitoring: Monitoring,
    /// Whether S3 has a custom endpoint.
    pub custom_s3_endpoint: bool,
}

/// Which values are sent to CloudWatch as metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitoring {
    /// All.
    Full,
    /// Only those that the template's alarms use. The others are in the log only.
    Basic,
}

/// A tag of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// The queue for audits of one CA per invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQueue {
    /// Its URL, or what was configured as such: a dispatch that cannot send there audits the CAs itself.
    pub url: String,
    /// The URL of the queue for audits that failed too often. Without one, their messages stay in the
    /// audit queue until its redrive policy removes them.
    pub dead_letters_url: Option<String>,
    /// A scheduled run of more CAs than this uses the queue.
    pub max_inline: usize,
}

impl Config {
    /// Reads the configuration. A blank variable counts as not set.
    ///
    /// # Errors
    /// Lists every problem, variable by variable.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Diagnostic> {
        let mut variables = Variables {
            get: |name: &str| {
                let text = lookup(name)?.trim().to_owned();
                (!text.is_empty()).then_some(text)
            },
            problems: String::new(),
        };
        let region = variables.required(
            "AWS_REGION",
            "Lambda sets it; elsewhere, set it to the region",
            |region| Ok(region.to_owned()),
        );
        let certificate_authorities = variables.required(
            "CERTIFICATE_AUTHORITY_ARNS",
            "list the CAs to audit (ARNs or IDs, separated by commas), or * for all",
            |text| certificate_authorities(text, &region),
        );
        let config = Self {
            certificate_authority_tag: variables.tag(certificate_authorities.is_some()),
            certificate_authorities,
            report_bucket: variables.required(
                "REPORT_BUCKET",
                "set it to the name of the S3 bucket for reports and state",
                bucket,
            ),
            topic_arn: variables.required(
                "TOPIC_ARN",
                "set it to the ARN of the SNS topic for alerts",
                topic,
            ),
            chat_topic_arn: variables.optional("CHAT_TOPIC_ARN", topic),
            report_format: variables
                .optional("REPORT_FORMAT", report_format)
                .unwrap_or(ReportFormat::Json),
            notify_reasons: variables.optional("NOTIFY_REASONS", |text| {
                Ok(list(text, reason)?.into_iter().collect())
            }),
            initial_lookback: variables.duration("INITIAL_LOOKBACK_HOURS", 24, 0..=876_000, 3600),
            runbook_url: variables.optional("RUNBOOK_URL", url),
            state_prefix: variables
                .optional("STATE_PREFIX", state_prefix)
                .unwrap_or_else(|| "revocation-watch/".to_owned()),
            report_interval: variables.duration("REPORT_INTERVAL_SECONDS", 1800, 0..=604_800, 1),
            audit_interval: variables.interval("AUDIT_INTERVAL_MINUTES", 1..=10_080, 60),
            audit_queue: variables.audit_queue(),
            summary_interval: variables.interval("SUMMARY_INTERVAL_HOURS", 1..=8784, 3600),
            investigate: variables.optional("INVESTIGATE", yes_or_no).unwrap_or(true),
            monitoring: variables
                .optional("MONITORING", monitoring)
                .unwrap_or(Monitoring::Full),
            custom_s3_endpoint: ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
                .iter()
                .any(|name| (variables.get)(name).is_some()),
        };
        let problems = variables.problems;
        if problems.is_empty() {
            return Ok(config);
        }
        let message = format!("invalid configuration; fix these environment variables:{problems}");
        Err(invocation_error("ConfigurationInvalid", message))
    }

    /// Whether a revocation with that reason causes a message. Unknown reasons always do.
    pub fn causes_message(&self, reason: &RevocationReason) -> bool {
        match (&self.notify_reasons, reason) {
            (None, _) | (_, RevocationReason::Other(_)) => true,
            (Some(reasons), reason) => reasons.contains(reason),
        }
    }
}

/// Reads variables and collects their problems.
struct Variables<G> {
    /// Returns a variable without surrounding white space.
    get: G,
    /// One indented line each.
    problems: String,
}

impl<G: Fn(&str) -> Option<String>> Variables<G> {
    fn optional<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(&(self.get)(name)?)
            .map_err(|problem| self.report(name, &problem))
            .ok()
    }

    fn report(&mut self, name: &str, problem: &str) {
        self.problems += &format!("\n  {name}: {problem}");
    }

    fn required<T: Default>(
        &mut self,
        name: &str,
        advice: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        if (self.get)(name).is_none() {
            self.report(name, &format!("is not set; {advice}"));
        }
        self.optional(name, parse).unwrap_or_default()
    }

    fn number(&mut self, name: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.optional_number(name, range).unwrap_or(default)
    }

    /// Reads a duration in units of that many seconds.
    fn duration(
        &mut self,
        name: &str,
        default: u64,
        range: RangeInclusive<u64>,
        seconds: u64,
    ) -> Duration {
        Duration::from_secs(seconds * self.number(name, default, range))
    }

    /// Reads an interval in units of that many seconds.
    fn interval(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
        seconds: u64,
    ) -> Option<Duration> {
        let number = self.optional_number(name, range)?;
        Some(Duration::from_secs(seconds * number))
    }

    /// Reads the tag, which selects CAs only if none are listed.
    fn tag(&mut self, are_listed: bool) -> Option<Tag> {
        let tag = self.optional("CERTIFICATE_AUTHORITY_TAG", tag);
        if tag.is_some() && are_listed {
            let problem = "selects CAs only if CERTIFICATE_AUTHORITY_ARNS is *; set that to *, or remove this variable";
            self.report("CERTIFICATE_AUTHORITY_TAG", problem);
        }
        tag
    }

    fn audit_queue(&mut self) -> Option<AuditQueue> {
        let max_inline = self.number("MAX_INLINE_CERTIFICATE_AUTHORITIES", 20, 0..=10_000);
        let dead_letters_url = (self.get)("AUDIT_DEAD_LETTER_QUEUE_URL");
        Some(AuditQueue {
            url: (self.get)("AUDIT_QUEUE_URL")?,
            dead_letters_url,
            max_inline: max_inline as usize,
        })
    }

    fn optional_number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.optional(name, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                format!("{text:?} is not a whole number from {least} to {most}")
            })
        })
    }
}

/// Parses entries that are separated by commas or white space. Names every problem.
fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let mut problems = Vec::new();
    let entries = text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|entry| !entry.is_empty())
        .filter_map(|entry| parse(entry).map_err(|problem| problems.push(problem)).ok())
        .collect();
    if problems.is_empty() {
        Ok(entries)
    } else {
        Err(problems.join("; "))
    }
}

fn certificate_authorities(text: &str, region: &str) -> Result<Option<Vec<String>>, String> {
    if text == "*" {
        return Ok(None);
    }
    let mut listed = list(text, |entry| certificate_authority(entry, region))?;
    let mut ids = BTreeSet::new();
    listed.retain(|listed| ids.insert(listed.rsplit('/').next().map(str::to_owned)));
    Ok(Some(listed))
}

/// Parses `Key=Value`; the value may be empty or contain `=`, too (AWS General Reference, "Tagging
/// AWS resources").
fn tag(text: &str) -> Result<Tag, String> {
    let is_valid = |part: &str, most: usize| {
        let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
        part.chars().count() <= most && part.chars().all(allowed)
    };
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && is_valid(key, 128) && is_valid(value, 256) => {
            Ok(Tag {
                key: key.to_owned(),
                value: value.to_owned(),
            })
        }
        _ => Err(format!(
            "{text:?} is not a tag (expected Key=Value, of letters, digits, spaces and _.:/=+-@, with at most 128 and 256 characters)"
        )),
    }
}

fn certificate_authority(entry: &str, region: &str) -> Result<String, String> {
    if entry == "*" {
        return Err("* means every CA and cannot be combined with others".to_owned());
    }
    if is_certificate_authority_id(entry) {
        return Ok(entry.to_owned());
    }
    let arn = CertificateAuthorityArn::parse(entry).ok_or_else(|| {
        format!(
            "{entry:?} is neither a CA ARN (expected arn:aws:acm-pca:REGION:ACCOUNT:certificate-authority/ID) nor a CA ID"
        )
    })?;
    if arn.region() != region {
        return Err(format!(
            "{entry} is in region {}, but the function runs in {region}; deploy one stack per region",
            arn.region()
        ));
    }
    let (partition, expected) = (arn.partition(), partition_of_region(region));
    if partition != expected {
        return Err(format!(
            "{entry} is in partition {partition}, but {region} is in partition {expected}"
        ));
    }
    Ok(entry.to_owned())
}

fn bucket(name: &str) -> Result<String, String> {
    let well_formed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
    if (3..=63).contains(&name.len()) && name.chars().all(well_formed) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "{name:?} is not a bucket name; use the plain name without ARN or s3://"
    ))
}

fn topic(arn: &str) -> Result<String, String> {
    match arn.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "sns", region, account, topic]
            if partition.starts_with("aws") && ![region, account, topic].contains(&"") =>
        {
            Ok(arn.to_owned())
        }
        _ => Err(format!(
            "{arn:?} is not an SNS topic ARN (expected arn:aws:sns:REGION:ACCOUNT:NAME)"
        )),
    }
}

fn report_format(text: &str) -> Result<ReportFormat, String> {
    match text.to_ascii_uppercase().as_str() {
        "JSON" => Ok(ReportFormat::Json),
        "CSV" => Ok(ReportFormat::Csv),
        other => Err(format!("{other:?} is neither JSON nor CSV")),
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(format!("{other:?} is neither yes nor no")),
    }
}

fn monitoring(text: &str) -> Result<Monitoring, String> {
    match text.to_ascii_lowercase().as_str() {
        "full" => Ok(Monitoring::Full),
        "basic" => Ok(Monitoring::Basic),
        other => Err(format!("{other:?} is neither full nor basic")),
    }
}

fn reason(entry: &str) -> Result<RevocationReason, String> {
    let mut known = RevocationReason::KNOWN.into_iter();
    known.find(|reason| reason.name() == entry).ok_or_else(|| {
        let known = RevocationReason::KNOWN.map(|reason| reason.name().to_owned());
        let known = known.join(", ");
        format!("{entry:?} is not a revocation reason; use {known}")
    })
}

/// Accepts what stays one word in an email and cannot break out of a chat card.
fn url(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"<>\"'`|\\^{}".contains(c);
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    if is_web && text.len() <= 500 && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not a web address (expected https://HOST/PATH, at most 500 ASCII characters without spaces, quotes, angle brackets or braces)"
    ))
}

fn state_prefix(prefix: &str) -> Result<String, String> {
    let with_slash = format!("{}/", prefix.strip_suffix('/').unwrap_or(prefix));
    if with_slash.starts_with("audit-report/") || with_slash.starts_with('/') {
        return Err(format!(
            "{prefix:?} must not begin with / or lie under audit-report/, where reports expire; choose another prefix"
        ));
    }
    Ok(with_slash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11223344-1234-1122-2233-112233445566";

    fn from(variables: &[(&str, &str)]) -> Result<Config, Diagnostic> {
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
        assert_eq!(config.certificate_authorities, None);
        assert_eq!(config.certificate_authority_tag, None);
        assert_eq!(config.report_format, ReportFormat::Json);
        assert_eq!(config.notify_reasons, None);
        assert_eq!(config.initial_lookback, Duration::from_secs(24 * 3600));
        assert_eq!(config.state_prefix, "revocation-watch/");
        assert_eq!(config.report_interval, Duration::from_secs(1800));
        assert_eq!(config.audit_interval, None);
        assert_eq!(config.summary_interval, None);
        assert_eq!(config.chat_topic_arn, None);
        assert!(config.investigate);
        assert_eq!(config.monitoring, Monitoring::Full);
        assert!(!config.custom_s3_endpoint);
    }

    #[test]
    fn investigate_accepts_yes_and_no_only() {
        for (value, expected) in [("yes", true), ("no", false), (" No ", false), ("", true)] {
            let config = from(&[("INVESTIGATE", value)]).unwrap();
            assert_eq!(config.investigate, expected, "{value:?}");
        }
        for value in ["true", "0", "off", "yes,no"] {
            let error = from(&[("INVESTIGATE", value)]).unwrap_err();
            let problem = format!("INVESTIGATE: {value:?} is neither yes nor no");
            assert!(error.error_message.contains(&problem), "{error:?}");
        }
    }

    #[test]
    fn monitoring_accepts_full_and_basic_only() {
        use Monitoring::{Basic, Full};
        for (value, expected) in [
            ("full", Full),
            ("basic", Basic),
            (" Basic ", Basic),
            ("", Full),
        ] {
            let config = from(&[("MONITORING", value)]).unwrap();
            assert_eq!(config.monitoring, expected, "{value:?}");
        }
        for value in ["none", "no", "full,basic"] {
            let error = from(&[("MONITORING", value)]).unwrap_err();
            let problem = format!("\n  MONITORING: {value:?} is neither full nor basic");
            assert!(error.error_message.contains(&problem), "{error:?}");
        }
    }

    #[test]
    fn ca_list_accepts_arns_and_ids_and_drops_duplicates() {
        let other = "99887766-1234-1122-2233-112233445566";
        let list = format!("{},\n {other}\t{ID} {other}", arn("us-east-1"));
        let config = from(&[("CERTIFICATE_AUTHORITY_ARNS", &list)]).unwrap();
        let expected = vec![arn("us-east-1"), other.to_owned()];
        assert_eq!(config.certificate_authorities, Some(expected));
    }

    #[test]
    fn tag_is_a_key_and_a_value() {
        for (text, key, value) in [
            ("Team=payments", "Team", "payments"),
            (" Team = a=b ", "Team ", " a=b"),
            ("a:b/c.d_e+f-g@h=", "a:b/c.d_e+f-g@h", ""),
            ("Équipe=été 2026", "Équipe", "été 2026"),
        ] {
            let config = from(&[("CERTIFICATE_AUTHORITY_TAG", text)]).unwrap();
            let tag = config.certificate_authority_tag.unwrap();
            assert_eq!((tag.key.as_str(), tag.value.as_str()), (key, value));
            assert_eq!(tag.to_string(), text.trim());
        }
        let (long_key, long_value) = ("k".repeat(129) + "=", "k=".to_owned() + &"v".repeat(257));
        for text in [
            "Team",
            "=payments",
            "Team=a,b",
            "Team=\"a\"",
            &long_key,
            &long_value,
        ] {
            let error = from(&[("CERTIFICATE_AUTHORITY_TAG", text)]).unwrap_err();
            let problem =
                format!("CERTIFICATE_AUTHORITY_TAG: {text:?} is not a tag (expected Key=Value, of");
            assert!(error.error_message.contains(&problem), "{error:?}");
        }
    }

    #[test]
    fn tag_and_list_exclude_each_other() {
        let tag = ("CERTIFICATE_AUTHORITY_TAG", "Team=payments");
        let error = from(&[tag, ("CERTIFICATE_AUTHORITY_ARNS", ID)]).unwrap_err();
        let problem = "\n  CERTIFICATE_AUTHORITY_TAG: selects CAs only if CERTIFICATE_AUTHORITY_ARNS is *; set that to *, or remove this variable";
        assert!(error.error_message.ends_with(problem), "{error:?}");
        // Nothing is said about a list that cannot be read.
        let error = from(&[tag, ("CERTIFICATE_AUTHORITY_ARNS", "nonsense")]).unwrap_err();
        assert!(!error.error_message.contains("CERTIFICATE_AUTHORITY_TAG"));
    }

    /// Audits go on, and the dispatch reports a wrong queue.
    #[test]
    fn wrong_queue_is_no_invalid_configuration() {
        let queue = |variables| from(variables).unwrap().audit_queue;
        assert_eq!(queue(&[("AUDIT_DEAD_LETTER_QUEUE_URL", "dead")]), None);
        assert_eq!(queue(&[("AUDIT_QUEUE_URL", " ")]), None);
        let malformed = AuditQueue {
            url: "my queue".to_owned(),
            dead_letters_url: None,
            max_inline: 20,
        };
        assert_eq!(queue(&[("AUDIT_QUEUE_URL", " my queue")]), Some(malformed));
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
            ("RUNBOOK_URL", "wiki/key compromise"),
            ("REPORT_INTERVAL_SECONDS", "half an hour"),
            ("AUDIT_INTERVAL_MINUTES", "hourly"),
            ("SUMMARY_INTERVAL_HOURS", "weekly"),
            ("CERTIFICATE_AUTHORITY_TAG", "payments"),
        ])
        .unwrap_err();
        let text = error.error_message;
        for part in [
            "CERTIFICATE_AUTHORITY_ARNS",
            "REPORT_BUCKET",
            "CERTIFICATE_AUTHORITY_TAG",
            "\n  TOPIC_ARN",
            "CHAT_TOPIC_ARN",
            "REPORT_FORMAT",
            "NOTIFY_REASONS",
            "INITIAL_LOOKBACK_HOURS",
            "STATE_PREFIX",
            "RUNBOOK_URL",
            "REPORT_INTERVAL_SECONDS",
            "AUDIT_INTERVAL_MINUTES",
            "SUMMARY_INTERVAL_HOURS",
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
    fn state_prefix_under_the_reports_is_refused() {
        for prefix in [
            "audit-report",
            "audit-report/",
            "audit-report/state",
            "/state",
        ] {
            assert!(from(&[("STATE_PREFIX", prefix)]).is_err(), "{prefix}");
        }
        for prefix in ["audit-reports", "state/audit-report"] {
            let config = from(&[("STATE_PREFIX", prefix)]).unwrap();
            assert_eq!(config.state_prefix, format!("{prefix}/"));
        }
    }

    #[test]
    fn audit_interval_is_from_a_minute_to_a_week() {
        for (minutes, seconds) in [("1", 60), ("30", 1800), ("10080", 604_800)] {
            let config = from(&[("AUDIT_INTERVAL_MINUTES", minutes)]).unwrap();
            assert_eq!(config.audit_interval, Some(Duration::from_secs(seconds)));
        }
        for minutes in ["0", "10081", "-1", "1.5", "hourly"] {
            let error = from(&[("AUDIT_INTERVAL_MINUTES", minutes)]).unwrap_err();
            let problem = format!(
                "\n  AUDIT_INTERVAL_MINUTES: {minutes:?} is not a whole number from 1 to 10080"
            );
            assert!(error.error_message.contains(&problem), "{error:?}");
        }
    }

    #[test]
    fn summary_interval_is_from_an_hour_to_a_year() {
        for (hours, seconds) in [("1", 3600), ("168", 604_800), ("8784", 31_622_400)] {
            let config = from(&[("SUMMARY_INTERVAL_HOURS", hours)]).unwrap();
            assert_eq!(config.summary_interval, Some(Duration::from_secs(seconds)));
        }
        for hours in ["0", "8785", "-1", "1.5", "weekly"] {
            let error = from(&[("SUMMARY_INTERVAL_HOURS", hours)]).unwrap_err();
            let problem = format!(
                "\n  SUMMARY_INTERVAL_HOURS: {hours:?} is not a whole number from 1 to 8784"
            );
            assert!(error.error_message.contains(&problem), "{error:?}");
        }
    }

    #[test]
    fn an_arn_of_another_partition_is_refused() {
        let arn = arn("us-east-1").replace("arn:aws:", "arn:aws-cn:");
        let error = from(&[("CERTIFICATE_AUTHORITY_ARNS", &arn)]).unwrap_err();
        assert!(error.error_message.contains("aws-cn"), "{error:?}");
    }

    #[test]
    fn unknown_reasons_are_always_worth_a_message() {
        let config = from(&[("NOTIFY_REASONS", "KEY_COMPROMISE")]).unwrap();
        assert!(config.causes_message(&RevocationReason::KeyCompromise));
        assert!(!config.causes_message(&RevocationReason::Superseded));
        assert!(config.causes_message(&RevocationReason::from_report("QUANTUM_BREAK")));
        assert!(config.causes_message(&RevocationReason::from_report("")));
    }
}
