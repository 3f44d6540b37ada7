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
        if key.ends_with(".json") {
            Some(ReportFormat::Json)
        } else if key.ends_with(".csv") {
            Some(ReportFormat::Csv)
        } else {
            None
        }
    }
}
