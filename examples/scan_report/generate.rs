//! Synthetic audit reports of any size, the same for the same arguments on every machine.

use std::fmt::Write as _;
use std::io::{self, Write};

/// The layout of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    JsonIndented,
    JsonCompact,
    Csv,
}

impl Layout {
    pub const ALL: [Layout; 3] = [Layout::JsonIndented, Layout::JsonCompact, Layout::Csv];

    pub fn name(self) -> &'static str {
        match self {
            Layout::JsonIndented => "json-indented",
            Layout::JsonCompact => "json-compact",
            Layout::Csv => "csv",
        }
    }
}

const CSV_HEADER: &str = "awsAccountId,requestedByServicePrincipal,certificateArn,serial,subject,notBefore,notAfter,issuedAt,revokedAt,revocationReason,templateArn\n";

/// Writes a report of which `revoked_percent` of the certificates are revoked, evenly distributed.
/// ACM requested one in four.
pub fn report(
    layout: Layout,
    certificates: u64,
    revoked_percent: u64,
    to: &mut impl Write,
) -> io::Result<()> {
    to.write_all(match layout {
        Layout::Csv => CSV_HEADER.as_bytes(),
        _ => b"[",
    })?;
    let mut text = String::new();
    for number in 0..certificates {
        text.clear();
        let record = Record::new(number, (number * revoked_percent) % 100 < revoked_percent);
        let is_last = number + 1 == certificates;
        match layout {
            Layout::Csv => record.write_csv(&mut text),
            Layout::JsonIndented => {
                record.write_json(&mut text, "\n  ", " : ", "\n");
                text.push_str(if is_last { "\n" } else { ",\n" });
            }
            Layout::JsonCompact => {
                record.write_json(&mut text, "", ":", "");
                text.push_str(if is_last { "" } else { "," });
            }
        }
        to.write_all(text.as_bytes())?;
    }
    match layout {
        Layout::Csv => Ok(()),
        _ => to.write_all(b"]"),
    }
}

struct Record {
    serial: u128,
    subject: String,
    by_acm: bool,
    issued: Day,
    revoked: Option<(Day, &'static str)>,
}

struct Day(u64);

impl Record {
    fn new(number: u64, is_revoked: bool) -> Self {
        let random = mixed(number);
        let serial = u128::from(random) << 64 | u128::from(mixed(!number)) | 1 << 127;
        let names = [
            "www",
            "api",
            "mail",
            "internal-gateway",
            "eu-west-1.orders.prod",
        ];
        let units = [
            "Sales",
            "Engineering",
            "Customer Support",
            "Information Technology",
        ];
        let subject = format!(
            "CN={}{}.example{}.com,OU={},O=Example Company,L=Seattle,ST=Washington,C=US",
            names[(random % 5) as usize],
            random % 100_000,
            random % 7,
            units[(random >> 8) as usize % 4]
        );
        let reasons = [
            "KEY_COMPROMISE",
            "SUPERSEDED",
            "CESSATION_OF_OPERATION",
            "UNSPECIFIED",
        ];
        let issued = Day(random >> 16);
        let revoked = is_revoked.then(|| {
            (
                Day((random >> 16) + 77),
                reasons[(random >> 4) as usize % 4],
            )
        });
        Self {
            serial,
            subject,
            by_acm: random & 3 == 0,
            issued,
            revoked,
        }
    }

    fn fields(&self, mut field: impl FnMut(&'static str, std::fmt::Arguments<'_>)) {
        const AUTHORITY: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
        field("awsAccountId", format_args!("123456789012"));
        if self.by_acm {
            field(
                "requestedByServicePrincipal",
                format_args!("acm.amazonaws.com"),
            );
        }
        field(
            "certificateArn",
            format_args!("{AUTHORITY}/certificate/{:032x}", self.serial),
        );
        let serial = self
            .serial
            .to_be_bytes()
            .map(|octet| format!("{octet:02x}"))
            .join(":");
        field("serial", format_args!("{serial}"));
        field("subject", format_args!("{}", self.subject));
        field("notBefore", format_args!("{}", self.issued));
        field("notAfter", format_args!("{}", Day(self.issued.0 + 395)));
        field("issuedAt", format_args!("{}", self.issued));
        if let Some((at, reason)) = &self.revoked {
            field("revokedAt", format_args!("{at}"));
            field("revocationReason", format_args!("{reason}"));
        }
        field(
            "templateArn",
            format_args!("arn:aws:acm-pca:::template/EndEntityCertificate/V1"),
        );
    }

    fn write_json(&self, text: &mut String, before_key: &str, colon: &str, before_end: &str) {
        text.push('{');
        let mut separator = "";
        self.fields(|name, value| {
            let _ = write!(text, "{separator}{before_key}\"{name}\"{colon}\"{value}\"");
            separator = ",";
        });
        text.push_str(before_end);
        text.push('}');
    }

    fn write_csv(&self, text: &mut String) {
        let mut columns = CSV_HEADER.trim_end().split(',');
        self.fields(|name, value| {
            // The fields that the record does not state are empty columns.
            for _ in columns.by_ref().take_while(|column| *column != name) {
                text.push(',');
            }
            let quote = if name == "subject" { "\"" } else { "" };
            let comma = if name == "templateArn" { "\n" } else { "," };
            let _ = write!(text, "{quote}{value}{quote}{comma}");
        });
    }
}

/// Returns a date in the years 2018 to 2027, on the 28th of a month at the latest.
impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (day, month, year) = (
            self.0 % 28 + 1,
            self.0 / 28 % 12 + 1,
            self.0 / 336 % 10 + 2018,
        );
        let second = mixed(self.0) % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+0000"
        )
    }
}

/// SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut z = number
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
