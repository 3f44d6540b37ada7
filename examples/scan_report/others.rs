//! Counts certificates and revoked ones with general parsers, for comparison.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::hint::black_box;
use std::io::{BufReader, Read};

use pca_revocation_watch::revocation::key::RevocationKey;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

pub type Counts = (u64, u64);

/// Bytes read at a time.
const BUFFER: usize = 128 << 10;

/// Streams with `serde_json`: from a reader, in constant memory, with allocated strings.
pub fn serde_json_streaming(report: impl Read) -> Result<Counts, Box<dyn Error>> {
    let reader = BufReader::with_capacity(BUFFER, report);
    Ok(count_records(&mut serde_json::Deserializer::from_reader(
        reader,
    ))?)
}

/// Counts records while they are deserialized.
pub fn count_records<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Counts, D::Error> {
    struct Count;
    impl<'de> Visitor<'de> for Count {
        type Value = Counts;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Counts, A::Error> {
            let mut counts = (0, 0);
            while let Some(record) = records.next_element::<Record<'de>>()? {
                counts.0 += 1;
                counts.1 += u64::from(record.is_revoked());
            }
            Ok(counts)
        }
    }
    deserializer.deserialize_seq(Count)
}

/// The fields that this program needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "all of it is deserialized, as the scanner finds all of it"
)]
pub struct Record<'a> {
    #[serde(borrow)]
    aws_account_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    requested_by_service_principal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    certificate_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    serial: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    not_before: Option<Cow<'a, str>>,
    #[serde(borrow)]
    not_after: Option<Cow<'a, str>>,
    #[serde(borrow)]
    issued_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    revoked_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    revocation_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    template_arn: Option<Cow<'a, str>>,
}

impl Record<'_> {
    pub fn is_revoked(&self) -> bool {
        let is_revoked = self.revoked_at.as_deref().is_some_and(|at| !at.is_empty());
        if is_revoked {
            let (serial, arn) = (self.serial.as_deref(), self.certificate_arn.as_deref());
            black_box(RevocationKey::of(serial, arn, b""));
        }
        is_revoked
    }
}

/// Reads row by row with the `csv` crate.
pub fn csv_crate(report: impl Read) -> Result<Counts, Box<dyn Error>> {
    let mut rows = csv::ReaderBuilder::new()
        .buffer_capacity(BUFFER)
        .from_reader(report);
    let header = rows.headers()?.clone();
    let column = |name: &str| header.iter().position(|column| column == name);
    let revoked_at = column("revokedAt").ok_or("no column revokedAt")?;
    let (serial, arn) = (column("serial"), column("certificateArn"));
    let mut row = csv::StringRecord::new();
    let mut counts = (0, 0);
    while rows.read_record(&mut row)? {
        counts.0 += 1;
        if !row[revoked_at].is_empty() {
            counts.1 += 1;
            let field = |column: Option<usize>| column.and_then(|column| row.get(column));
            black_box(RevocationKey::of(field(serial), field(arn), b""));
        }
    }
    Ok(counts)
}
