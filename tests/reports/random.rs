//! Random reports that look like real ones, and random damage to them.

use crate::scanning::{FIELDS, REVOKED_AT, SERIAL, TIMES};

/// SplitMix64: small, fast, and the same numbers on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Returns true with a probability of one in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// Cuts `bytes` into slices, some of them empty.
    pub fn slices<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut slices = Vec::new();
        let largest = [2, 40, 200, 3000][self.below(4)];
        while !bytes.is_empty() {
            let (slice, rest) = bytes.split_at(self.below(largest).min(bytes.len()));
            slices.push(slice);
            bytes = rest;
        }
        slices
    }

    /// Returns a value of a known field, sometimes a malformed one.
    pub fn field_text(&mut self, field: usize) -> String {
        if self.once_in(25) {
            return self.strange_text();
        }
        match field {
            0 => "123456789012".to_owned(),
            1 => "acm.amazonaws.com".to_owned(),
            SERIAL => {
                let octets = self.below(21);
                let octets: Vec<_> = (0..octets)
                    .map(|_| format!("{:02x}", self.next() as u8))
                    .collect();
                octets.join(":")
            }
            4 => format!(
                "CN=host{}.example.com,OU=Sales,O=Example Company,C=US",
                self.below(5000)
            ),
            at if TIMES.contains(&at) => format!(
                "20{:02}-{:02}-{:02}T{:02}:{:02}:{:02}{}",
                self.below(100),
                1 + self.below(12),
                1 + self.below(31),
                self.below(24),
                self.below(60),
                self.below(60),
                self.one_of(&["+0000", "+0000", "+0000", "Z", "+00:00", ""])
            ),
            9 => self
                .one_of(&["KEY_COMPROMISE", "SUPERSEDED", "UNSPECIFIED", "QUANTUM"])
                .to_owned(),
            10 => "arn:aws:acm-pca:::template/EndEntityCertificate/V1".to_owned(),
            _ => format!(
                "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566/certificate/{:016x}",
                self.next()
            ),
        }
    }

    /// Returns text of any script and length, with characters that need an escape.
    pub fn strange_text(&mut self) -> String {
        let len = [0, 1, 3, 15, 16, 17, 31, 32, 33, 70][self.below(10)];
        (0..len)
            .map(|_| match self.below(12) {
                0 => '"',
                1 => '\\',
                2 => ['\n', '\r', '\t', '\u{0}', '\u{1f}', '\u{7f}', ','][self.below(7)],
                3 => ['é', 'ß', '中', '\u{10348}', '\u{ffff}', '\u{2028}'][self.below(6)],
                _ => char::from(b' ' + self.below(94) as u8).to_owned(),
            })
            .collect()
    }

    /// Damages one to three bytes of a report.
    pub fn damage(&mut self, report: &mut Vec<u8>) {
        const BYTES: &[u8] =
            b"\"\"\\{}[]:,, \n\r\t0-1eE.+tfnu/\x00\x1f\x7f\x80\xbf\xc0\xe2\xed\xf4\xff";
        for _ in 0..=self.below(3) {
            let at = self.below(report.len() + 1);
            let byte = if self.once_in(4) {
                self.next() as u8
            } else {
                BYTES[self.below(BYTES.len())]
            };
            let end = report.len().min(at + self.below(12));
            match self.below(6) {
                0 => report.truncate(at),
                1 => report.insert(at, byte),
                2 => drop(report.drain(at..end)),
                3 => {
                    let again = report[at..end].to_vec();
                    report.splice(at..at, again);
                }
                _ if at < report.len() => report[at] = byte,
                _ => report.push(byte),
            }
        }
    }

    /// Returns a JSON report. Most have the same indentation throughout, as a machine writes it.
    pub fn json_report(&mut self) -> Vec<u8> {
        let mut report = Vec::new();
        let style = self.one_of(&[COMPACT, INDENTED_2, INDENTED_3, SPACED]);
        let is_tidy = !self.once_in(6);
        let is_plain = !self.once_in(4);
        let records = [0, 1, 2, 3, 5, 8][self.below(6)];
        self.white_space(&mut report, is_tidy);
        report.push(b'[');
        for record in 0..records {
            if record > 0 {
                report.push(b',');
                report.extend_from_slice(style.record.as_bytes());
            }
            self.white_space(&mut report, is_tidy);
            self.json_record(&mut report, style, is_tidy, is_plain);
            self.white_space(&mut report, is_tidy);
        }
        report.push(b']');
        self.white_space(&mut report, is_tidy);
        report
    }

    fn json_record(&mut self, report: &mut Vec<u8>, style: &Style, is_tidy: bool, is_plain: bool) {
        let is_revoked = self.once_in(3);
        let mut keys: Vec<String> = (0..FIELDS.len())
            .filter(|&field| match field {
                1 | 10 => self.once_in(2),
                REVOKED_AT | 9 => is_revoked,
                _ => is_plain || !self.once_in(20),
            })
            .map(|field| FIELDS[field].to_owned())
            .collect();
        if !is_plain {
            for _ in 0..self.below(4) {
                let at = self.below(keys.len() + 1);
                match self.below(5) {
                    0 => keys.insert(at, self.strange_text()),
                    1 => keys.insert(at, FIELDS[self.below(FIELDS.len())].to_owned()),
                    2 => keys.insert(at, FIELDS[self.below(FIELDS.len())].to_uppercase()),
                    3 => keys.insert(at, "keyAlgorithm".to_owned()),
                    _ if keys.len() > 1 => {
                        let other = self.below(keys.len());
                        let at = at.min(keys.len() - 1);
                        keys.swap(at, other);
                    }
                    _ => {}
                }
            }
        }
        report.push(b'{');
        for (at, key) in keys.iter().enumerate() {
            if at > 0 {
                report.push(b',');
            }
            report.extend_from_slice(style.field.as_bytes());
            self.white_space(report, is_tidy);
            self.json_text(report, key, is_plain);
            report.extend_from_slice(style.colon.as_bytes());
            self.white_space(report, is_tidy);
            let field = FIELDS
                .iter()
                .position(|field| field.eq_ignore_ascii_case(key));
            if is_plain || self.below(4) > 0 {
                let text = match field {
                    Some(field) => self.field_text(field),
                    None => self.strange_text(),
                };
                self.json_text(report, &text, is_plain);
            } else {
                self.json_value(report, 0, is_tidy);
            }
            self.white_space(report, is_tidy);
        }
        report.extend_from_slice(style.end.as_bytes());
        report.push(b'}');
    }

    #[expect(clippy::too_many_lines, reason = "one list of cases")]
    fn json_value(&mut self, report: &mut Vec<u8>, depth: usize, is_tidy: bool) {
        match self.below(if depth > 3 { 5 } else { 8 }) {
            0 | 1 => report.extend_from_slice(b"null"),
            2 => report.extend_from_slice(self.one_of(&["true", "false"]).as_bytes()),
            3 => report.extend_from_slice(
                self.one_of(&[
                    "0",
                    "-0",
                    "12",
                    "-1.5",
                    "1e3",
                    "1E+308",
                    "1e309",
                    "-1e-400",
                    "0e99999999999",
                    "1.7976931348623157e308",
                    "1.7976931348623159e308",
                    "2e308",
                    "0.1",
                    "18446744073709551616",
                ])
                .as_bytes(),
            ),
            4 => {
                let text = self.strange_text();
                self.json_text(report, &text, false);
            }
            5 if self.once_in(8) => {
                // Around the limit of nesting: the report and the record are two more.
                let depth = 120 + self.below(10);
                report.extend((0..depth).map(|_| b'['));
                report.extend((0..depth).map(|_| b']'));
            }
            5 | 6 => {
                report.push(b'[');
                for at in 0..self.below(4) {
                    if at > 0 {
                        report.push(b',');
                    }
                    self.white_space(report, is_tidy);
                    self.json_value(report, depth + 1, is_tidy);
                    self.white_space(report, is_tidy);
                }
                report.push(b']');
            }
            _ => {
                report.push(b'{');
                for at in 0..self.below(4) {
                    if at > 0 {
                        report.push(b',');
                    }
                    self.white_space(report, is_tidy);
                    let key = self.strange_text();
                    self.json_text(report, &key, false);
                    self.white_space(report, is_tidy);
                    report.push(b':');
                    self.white_space(report, is_tidy);
                    self.json_value(report, depth + 1, is_tidy);
                }
                self.white_space(report, is_tidy);
                report.push(b'}');
            }
        }
    }

    /// Writes a string; unless plain, with unnecessary escapes and sometimes half a surrogate pair.
    fn json_text(&mut self, report: &mut Vec<u8>, text: &str, is_plain: bool) {
        report.push(b'"');
        for char in text.chars() {
            match char {
                '"' => report.extend_from_slice(b"\\\""),
                '\\' => report.extend_from_slice(b"\\\\"),
                '\n' => report.extend_from_slice(b"\\n"),
                '/' if !is_plain && self.once_in(4) => report.extend_from_slice(b"\\/"),
                char if char < ' ' || (!is_plain && self.once_in(12)) => {
                    let mut units = [0; 2];
                    let units = char.encode_utf16(&mut units);
                    // Not always all of them.
                    let written = units.len() - usize::from(units.len() == 2 && self.once_in(20));
                    for unit in &units[..written] {
                        let escape = match self.once_in(2) {
                            true => format!("\\u{unit:04x}"),
                            false => format!("\\u{unit:04X}"),
                        };
                        report.extend_from_slice(escape.as_bytes());
                    }
                }
                char => report.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        report.push(b'"');
    }

    fn white_space(&mut self, report: &mut Vec<u8>, is_tidy: bool) {
        if !is_tidy {
            for _ in 0..self.below(3) {
                report.push(b" \n\r\t"[self.below(4)]);
            }
        }
    }
}

struct Style {
    record: &'static str,
    field: &'static str,
    colon: &'static str,
    end: &'static str,
}

const COMPACT: &Style = &Style {
    record: "",
    field: "",
    colon: ":",
    end: "",
};
const INDENTED_2: &Style = &Style {
    record: "\n",
    field: "\n  ",
    colon: ": ",
    end: "\n",
};
const INDENTED_3: &Style = &Style {
    record: "\n   ",
    field: "\n      ",
    colon: " : ",
    end: "\n   ",
};
const SPACED: &Style = &Style {
    record: " ",
    field: " ",
    colon: ": ",
    end: " ",
};

/// A CSV report and its rows, the header's included.
pub struct CsvReport {
    pub bytes: Vec<u8>,
    pub rows: Vec<Vec<String>>,
}

impl Random {
    /// Returns a CSV report according to RFC 4180.
    pub fn csv_report(&mut self) -> CsvReport {
        let mut header: Vec<String> = FIELDS.map(str::to_owned).to_vec();
        if self.once_in(3) {
            for _ in 0..self.below(4) {
                let at = self.below(header.len() + 1);
                match self.below(4) {
                    0 => header.insert(at, "keyAlgorithm".to_owned()),
                    1 => header.insert(at, self.strange_text()),
                    2 if at < header.len() => header[at] = header[at].to_uppercase(),
                    _ => {
                        let other = self.below(header.len());
                        header.swap(at.min(other), other);
                    }
                }
            }
        }
        let mut rows = vec![header.clone()];
        for _ in 0..[0, 1, 2, 5, 9][self.below(5)] {
            let is_revoked = self.once_in(3);
            let row = header.iter().map(|column| {
                match FIELDS
                    .iter()
                    .position(|field| field.eq_ignore_ascii_case(column))
                {
                    Some(REVOKED_AT) if !is_revoked => String::new(),
                    Some(1 | 10) if self.once_in(2) => String::new(),
                    Some(field) => self.field_text(field),
                    None => self.strange_text(),
                }
            });
            rows.push(row.collect());
        }
        let line_end = self.one_of(&["\n", "\r\n"]);
        let quotes_all = self.once_in(6);
        let mut bytes = Vec::new();
        if self.once_in(10) {
            bytes.extend_from_slice(b"\xef\xbb\xbf");
        }
        for row in &rows {
            for (column, text) in row.iter().enumerate() {
                if column > 0 {
                    bytes.push(b',');
                }
                let needs_quotes = text.contains(['"', ',', '\n', '\r']);
                if quotes_all || needs_quotes || column == 4 || self.once_in(30) {
                    bytes.push(b'"');
                    bytes.extend_from_slice(text.replace('"', "\"\"").as_bytes());
                    bytes.push(b'"');
                } else {
                    bytes.extend_from_slice(text.as_bytes());
                }
            }
            bytes.extend_from_slice(line_end.as_bytes());
        }
        if self.once_in(3) {
            bytes.truncate(bytes.len() - line_end.len());
        }
        CsvReport { bytes, rows }
    }
}
