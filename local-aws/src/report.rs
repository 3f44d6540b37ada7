//! Renders audit reports as Private CA writes them.
//!
//! The layouts follow the samples in the AWS Private CA User Guide, "Using audit reports with your private
//! CA": JSON indented with two spaces (2018 edition) or three (later editions), and CSV.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

/// What the X.509 certificate of a report row has beyond the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Number of the public key: the same number is the same key.
    pub key: u32,
    /// URLs of the CRL distribution points.
    pub crl_urls: Vec<String>,
    /// URLs of the OCSP responders.
    pub ocsp_urls: Vec<String>,
}

/// A certificate as a report lists it.
///
/// Fields are public so that tests can make them anomalous. [`Certificate::with`] sets anything else.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Account that owns the certificate authority.
    pub aws_account_id: String,
    /// `acm.amazonaws.com` if ACM requested the certificate.
    pub requested_by_service_principal: Option<String>,
    /// ARN of the certificate.
    pub certificate_arn: String,
    /// Serial number, in lowercase hex with colons.
    pub serial: String,
    /// Subject, as Private CA writes it.
    pub subject: String,
    /// Start of the validity period.
    pub not_before: SystemTime,
    /// End of the validity period.
    pub not_after: SystemTime,
    /// Time of issue.
    pub issued_at: SystemTime,
    /// Time of revocation.
    pub revoked_at: Option<SystemTime>,
    /// Revocation reason.
    pub revocation_reason: Option<String>,
    /// ARN of the certificate template.
    pub template_arn: Option<String>,
    /// Key and pointers of the X.509 certificate; `None` until it is added, which then sets a key of its
    /// own and pointers according to the revocation configuration.
    pub x509: Option<Profile>,
    /// Text that `GetCertificate` returns instead, such as a malformed certificate.
    pub pem: Option<String>,
    overrides: Vec<(String, Value)>,
}

impl Certificate {
    pub(crate) fn new(
        account: &str,
        certificate_authority_arn: &str,
        serial: String,
        common_name: &str,
        issued_at: SystemTime,
    ) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        Self {
            aws_account_id: account.to_owned(),
            requested_by_service_principal: None,
            certificate_arn: format!(
                "{certificate_authority_arn}/certificate/{}",
                serial.replace(':', "")
            ),
            serial,
            subject: format!(
                "CN={common_name},OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US"
            ),
            // Private CA backdates certificates by an hour to allow for slow clocks.
            not_before: issued_at - HOUR,
            not_after: issued_at + YEAR,
            issued_at,
            revoked_at: None,
            revocation_reason: None,
            template_arn: Some("arn:aws:acm-pca:::template/EndEntityCertificate/V1".to_owned()),
            x509: None,
            pem: None,
            overrides: Vec::new(),
        }
    }

    /// Sets key and pointers of the X.509 certificate.
    #[must_use]
    pub fn with_x509(mut self, profile: Profile) -> Self {
        self.x509 = Some(profile);
        self
    }

    /// Sets the text that `GetCertificate` returns for the certificate.
    #[must_use]
    pub fn with_pem(mut self, text: impl Into<String>) -> Self {
        self.pem = Some(text.into());
        self
    }

    /// Sets a field of the report's record to any value. Adds a field that a record does not have (JSON only).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.overrides.push((name.to_owned(), value.into()));
        self
    }

    /// Returns the record's fields in report order; `None` for a field that does not apply.
    fn fields(&self) -> Vec<(&str, Option<Value>)> {
        let text = |text: &str| Some(Value::from(text));
        let optional = |value: &Option<String>| value.clone().map(Value::from);
        let time = |time| Some(Value::from(report_time(time)));
        let mut fields = vec![
            ("awsAccountId", text(&self.aws_account_id)),
            (
                "requestedByServicePrincipal",
                optional(&self.requested_by_service_principal),
            ),
            ("certificateArn", text(&self.certificate_arn)),
            ("serial", text(&self.serial)),
            ("subject", text(&self.subject)),
            ("notBefore", time(self.not_before)),
            ("notAfter", time(self.not_after)),
            ("issuedAt", time(self.issued_at)),
            ("revokedAt", self.revoked_at.and_then(time)),
            ("revocationReason", optional(&self.revocation_reason)),
            ("templateArn", optional(&self.template_arn)),
        ];
        for (name, value) in &self.overrides {
            match fields.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = Some(value.clone()),
                None => fields.push((name, Some(value.clone()))),
            }
        }
        fields
    }
}

/// Layout of a JSON report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonLayout {
    /// Fields are indented by two spaces; brackets adjoin the records.
    #[default]
    TwoSpaces,
    /// Records are indented by three spaces, fields by six.
    ThreeSpaces,
    /// One line without spaces.
    Compact,
}

/// Format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// JSON.
    Json,
    /// CSV.
    Csv,
}

impl ReportFormat {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "JSON" => Some(Self::Json),
            "CSV" => Some(Self::Csv),
            _ => None,
        }
    }

    /// Returns the extension of the object's key.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
        }
    }
}

/// Renders the report of these certificates.
pub fn render(certificates: &[Certificate], format: ReportFormat, layout: JsonLayout) -> String {
    match format {
        ReportFormat::Json => json(certificates, layout),
        ReportFormat::Csv => csv(certificates),
    }
}

const COLUMNS: &str = "awsAccountId,requestedByServicePrincipal,certificateArn,serial,subject,notBefore,notAfter,issuedAt,revokedAt,revocationReason,templateArn";

fn csv(certificates: &[Certificate]) -> String {
    let mut report = format!("{COLUMNS}\n");
    for certificate in certificates {
        let fields = certificate.fields();
        for (index, (_, value)) in fields.iter().take(COLUMNS.split(',').count()).enumerate() {
            if index > 0 {
                report.push(',');
            }
            let text = match value {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            if text.contains([',', '"', '\n', '\r']) {
                write!(report, "\"{}\"", text.replace('"', "\"\""))
                    .expect("writing to a String cannot fail");
            } else {
                report.push_str(&text);
            }
        }
        report.push('\n');
    }
    report
}

fn json(certificates: &[Certificate], layout: JsonLayout) -> String {
    // Opening, field indent, colon, end of a record, separator of records, end of the report.
    let (open, indent, colon, close, between, end) = match layout {
        JsonLayout::TwoSpaces => ("[{", "\n  ", ": ", "\n}", ",\n{", "]"),
        JsonLayout::ThreeSpaces => ("[\n   {", "\n      ", ":", "\n   }", ",\n   {", "\n]"),
        JsonLayout::Compact => ("[{", "", ":", "}", ",{", "]"),
    };
    if certificates.is_empty() {
        return "[]".to_owned();
    }
    let mut report = String::from(open);
    for (index, certificate) in certificates.iter().enumerate() {
        if index > 0 {
            report.push_str(between);
        }
        let fields = certificate.fields();
        let present = fields
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (index, (name, value)) in present.enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(
                report,
                "{comma}{indent}{}{colon}{value}",
                Value::from(*name)
            )
            .expect("writing to a String cannot fail");
        }
        report.push_str(close);
    }
    report.push_str(end);
    report
}

/// Formats a time as in reports: `2018-02-26T18:39:57+0000`.
fn report_time(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second]+0000"
        ))
        .expect("every component of the format is part of a date with time")
}
