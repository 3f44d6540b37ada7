//! The formats of an audit report.

/// The formats of `CreateCertificateAuthorityAuditReport` (AWS Private CA API Reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportFormat {
    Json,
    Csv,
}

impl ReportFormat {
    /// The format that an object key's ending states; `None` where it is neither `.json` nor
    /// `.csv`.
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
