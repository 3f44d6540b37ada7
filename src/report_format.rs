//! The formats of an audit report.

/// The formats of `CreateCertificateAuthorityAuditReport` (AWS Private CA API Reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportFormat {
    /// An array of objects.
    Json,
    /// A header and rows (RFC 4180).
    Csv,
}

impl ReportFormat {
    /// Returns the format that an object key ends with; `None` for neither `.json` nor `.csv`.
    pub fn from_key(key: &str) -> Option<Self> {
        match key.rsplit_once('.')?.1 {
            "json" => Some(ReportFormat::Json),
            "csv" => Some(ReportFormat::Csv),
            _ => None,
        }
    }
}
