//! Audit reports of any size, generated while they are sent.

use std::fmt;

use bytes::Bytes;
use local_aws::{Generated, Pieces, ReportFormat};
use pca_revocation_watch::text::numbers::with_separators;

/// Records in each piece of a report.
const RECORDS: u64 = 128;

/// Size of the parts of a large object. S3 accepts no object over 5 GB in one part.
const PART: u64 = 1024 * 1024 * 1024;

/// A report in which the revoked certificates are evenly distributed.
#[derive(Clone, Copy)]
pub struct Report {
    pub certificates: u64,
    pub revoked: u64,
    pub format: ReportFormat,
}

impl Report {
    /// Creates the object. Runs through the whole report once, for its checksum.
    ///
    /// The ETag looks like that of an object uploaded in parts, and is not computed: an MD5 takes minutes.
    pub fn generate(self, ca: &str) -> Generated {
        let text = Text::new(self, ca);
        let parts = text.length().div_ceil(PART);
        let e_tag = format!("{:032x}-{parts}", self.certificates);
        let expected = text.length();
        let generated = Generated::with_e_tag(e_tag, move |offset| text.pieces(offset));
        assert_eq!(generated.length, expected);
        generated
    }

    /// Returns how many of the first `count` certificates are revoked.
    fn revoked_of_first(&self, count: u64) -> u64 {
        count * self.revoked / self.certificates
    }

    fn is_revoked(&self, number: u64) -> bool {
        self.revoked_of_first(number + 1) > self.revoked_of_first(number)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (certificates, revoked) = (
            with_separators(self.certificates),
            with_separators(self.revoked),
        );
        write!(f, "{certificates} certificates, {revoked} revoked")
    }
}

/// The text of a report. All records of a kind have the same length, so that the record at any byte
/// offset is known without a pass over the records before it.
#[derive(Clone)]
struct Text {
    report: Report,
    head: &'static str,
    valid: Record,
    revoked: Record,
    /// Between two records.
    separator: &'static str,
    end: &'static str,
}

impl Text {
    fn new(report: Report, ca: &str) -> Self {
        match report.format {
            ReportFormat::Json => Self {
                report,
                head: "[ {",
                valid: Record::json(ca, false),
                revoked: Record::json(ca, true),
                separator: "\n}, {",
                end: "\n} ]",
            },
            ReportFormat::Csv => Self {
                report,
                head: "awsAccountId,requestedByServicePrincipal,certificateArn,serial,subject,notBefore,\
                       notAfter,issuedAt,revokedAt,revocationReason,templateArn\n",
                valid: Record::csv(ca, false),
                revoked: Record::csv(ca, true),
                separator: "\n",
                end: "\n",
            },
        }
    }

    /// Returns the offset of the record with this number.
    fn offset(&self, number: u64) -> u64 {
        let revoked = self.report.revoked_of_first(number);
        let lengths = self.valid.text.len() as u64 * (number - revoked)
            + self.revoked.text.len() as u64 * revoked;
        self.head.len() as u64 + lengths + self.separator.len() as u64 * number
    }

    fn length(&self) -> u64 {
        self.offset(self.report.certificates) - self.separator.len() as u64 + self.end.len() as u64
    }

    /// Returns the last piece that starts at or before the byte offset.
    fn piece_at(&self, offset: u64) -> u64 {
        let (mut low, mut high) = (0, self.report.certificates.div_ceil(RECORDS));
        while low + 1 < high {
            let middle = low.midpoint(high);
            if self.offset(middle * RECORDS) <= offset {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Returns the report's bytes from that offset on.
    fn pieces(&self, offset: u64) -> Pieces {
        let text = self.clone();
        let first = text.piece_at(offset);
        let start = match first {
            0 => 0,
            _ => text.offset(first * RECORDS),
        };
        let mut skip = offset - start;
        let pieces = (first..text.report.certificates.div_ceil(RECORDS)).map(move |piece| {
            let bytes = text.piece(piece);
            let skipped = skip.min(bytes.len() as u64);
            skip -= skipped;
            bytes.slice(usize::try_from(skipped).expect("a piece is in memory")..)
        });
        Box::new(pieces)
    }

    fn piece(&self, piece: u64) -> Bytes {
        let length = self.revoked.text.len() + self.separator.len();
        let mut text = Vec::with_capacity(self.head.len() + length * RECORDS as usize);
        if piece == 0 {
            text.extend_from_slice(self.head.as_bytes());
        }
        let first = piece * RECORDS;
        for number in first..(first + RECORDS).min(self.report.certificates) {
            let record = match self.report.is_revoked(number) {
                true => &self.revoked,
                false => &self.valid,
            };
            record.push(&mut text, number);
            let after = match number + 1 == self.report.certificates {
                true => self.end,
                false => self.separator,
            };
            text.extend_from_slice(after.as_bytes());
        }
        Bytes::from(text)
    }
}

/// A record as the text of all certificates, and where the text of one differs.
#[derive(Clone, Default)]
struct Record {
    text: Vec<u8>,
    serial_in_arn: usize,
    serial: usize,
    host: usize,
}

impl Record {
    const SERIAL: &str = "00000000000000000000000000000000";
    const SERIAL_WITH_COLONS: &str = "00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00";
    const HOST: &str = "000000000";

    fn json(ca: &str, is_revoked: bool) -> Self {
        let mut record = Self::default();
        record.add("\n  \"awsAccountId\" : \"123456789012\",\n  \"certificateArn\" : \"");
        record.add_identity(ca, "\",\n  \"serial\" : \"", "\",\n  \"subject\" : \"");
        record.add(
            "\",\n  \"notBefore\" : \"2026-02-26T18:39:57+0000\",\n  \"notAfter\" : \"2027-02-26T19:39:57+0000\",\n  \
             \"issuedAt\" : \"2026-02-26T19:39:58+0000\",\n  \"templateArn\" : \"arn:aws:acm-pca:::template/EndEntityCertificate/V1\"",
        );
        if is_revoked {
            record.add(
                ",\n  \"revokedAt\" : \"2026-03-01T20:00:36+0000\",\n  \"revocationReason\" : \"SUPERSEDED\"",
            );
        }
        record
    }

    fn csv(ca: &str, is_revoked: bool) -> Self {
        let mut record = Self::default();
        record.add("123456789012,,");
        record.add_identity(ca, ",", ",\"");
        record
            .add("\",2026-02-26T18:39:57+0000,2027-02-26T19:39:57+0000,2026-02-26T19:39:58+0000,");
        record.add(match is_revoked {
            true => "2026-03-01T20:00:36+0000,SUPERSEDED",
            false => ",",
        });
        record.add(",arn:aws:acm-pca:::template/EndEntityCertificate/V1");
        record
    }

    fn add(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    /// Adds ARN, serial and subject, with these texts between them.
    fn add_identity(&mut self, ca: &str, before_serial: &str, before_subject: &str) {
        self.add(&format!("{ca}/certificate/"));
        self.serial_in_arn = self.text.len();
        self.add(Self::SERIAL);
        self.add(before_serial);
        self.serial = self.text.len();
        self.add(Self::SERIAL_WITH_COLONS);
        self.add(before_subject);
        self.add("CN=host-");
        self.host = self.text.len();
        self.add(Self::HOST);
        self.add(".example.com,OU=Sales,O=Example Company,L=Seattle,ST=Washington,C=US");
    }

    /// Appends the record of one certificate.
    fn push(&self, text: &mut Vec<u8>, number: u64) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let start = text.len();
        text.extend_from_slice(&self.text);
        let record = &mut text[start..];
        // Multiplying by an odd number distributes the serials over all values without duplicates.
        let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let serial = (u128::from(high) << 64 | u128::from(number)).to_be_bytes();
        for (index, byte) in serial.into_iter().enumerate() {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            let in_arn = self.serial_in_arn + 2 * index;
            record[in_arn..in_arn + 2].copy_from_slice(&digits);
            let with_colons = self.serial + 3 * index;
            record[with_colons..with_colons + 2].copy_from_slice(&digits);
        }
        let mut rest = number;
        for digit in record[self.host..self.host + Self::HOST.len()]
            .iter_mut()
            .rev()
        {
            *digit = HEX[(rest % 10) as usize];
            rest /= 10;
        }
    }
}

/// Checks that a range of a report is what the whole report has there.
pub fn check_ranges(ca: &str) {
    for format in [ReportFormat::Json, ReportFormat::Csv] {
        let report = Report {
            certificates: 1_000,
            revoked: 77,
            format,
        };
        let generated = report.generate(ca);
        let whole: Vec<u8> = (generated.open)(0).flatten().collect();
        for offset in (0..generated.length).step_by(977) {
            let range: Vec<u8> = (generated.open)(offset).flatten().collect();
            let at = usize::try_from(offset).expect("the report is in memory");
            assert!(range == whole[at..], "the range from byte {offset} differs");
        }
    }
}
