//! Times, as in audit reports and in everything that this program writes.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use time::{OffsetDateTime, UtcOffset};

/// A time in UTC with a resolution of one second, between the years 0 and 9999.
///
/// Parses the times of audit reports (`2018-02-26T18:39:57+0000`) and RFC 3339
/// (`2018-02-26T18:39:57Z`, `+00:00`, fractions of a second); writes RFC 3339 with `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// The first second of the year 0.
    pub const MIN: Self = Self(datetime!(0000-01-01 00:00:00 UTC));

    /// The last second of the year 9999, which X.509 uses for "no end" (RFC 5280, section 4.1.2.5).
    pub const MAX: Self = Self(datetime!(9999-12-31 23:59:59 UTC));

    /// Parses a time; `None` if the text is not one between the years 0 and 9999.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rfc_3339 = text.to_owned();
        // RFC 3339 requires a colon in the offset; reports have none.
        if let [.., b'+' | b'-', _, _, b'0'..=b'9', b'0'..=b'9'] = text.as_bytes() {
            rfc_3339.insert(text.len() - 2, ':');
        }
        let at = OffsetDateTime::parse(&rfc_3339, &Rfc3339).ok()?;
        let at = at.checked_to_offset(UtcOffset::UTC)?;
        (at.year() >= 0).then(|| Self::saturating(at))
    }

    /// Returns the time from seconds since the start of 1970; `None` outside the years 0 to 9999.
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
        (at.year() >= 0).then_some(Self(at))
    }

    /// Returns the seconds since the start of 1970.
    pub fn unix_seconds(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// Returns the time that much later, at most [`MAX`](Self::MAX).
    pub fn saturating_add(self, duration: Duration) -> Self {
        let duration = duration.try_into().unwrap_or(time::Duration::MAX);
        Self::saturating(self.0.saturating_add(duration))
    }

    /// Returns the time that much earlier, at least [`MIN`](Self::MIN).
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let duration = duration.try_into().unwrap_or(time::Duration::MAX);
        Self::saturating(self.0.saturating_sub(duration))
    }

    /// Returns the time since `earlier`; zero if this is not later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        (self.0 - earlier.0).try_into().unwrap_or_default()
    }

    fn saturating(at: OffsetDateTime) -> Self {
        Self(at.truncate_to_second()).clamp(Self::MIN, Self::MAX)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        Self::saturating(at.into())
    }
}

impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        at.0.into()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Option<String> {
        Timestamp::parse(text).map(|at| at.to_string())
    }

    /// Every number in every place, compared with the parser of RFC 3339.
    #[test]
    fn report_time_is_read_as_the_same_rfc_3339_time() {
        let mut valid = 0;
        for (at, len) in [(0, 4), (5, 2), (8, 2), (11, 2), (14, 2), (17, 2), (20, 4)] {
            for (number, sign) in (0..10_u32.pow(len)).flat_map(|n| [(n, '+'), (n, '-')]) {
                let mut report = format!("2018-02-26T18:39:57{sign}0000");
                let number = format!("{number:0len$}", len = len as usize);
                report.replace_range(at..at + len as usize, &number);
                let mut rfc_3339 = report.clone();
                rfc_3339.insert(22, ':');
                assert_eq!(written(&report), written(&rfc_3339), "{report}");
                valid += u32::from(written(&report).is_some());
            }
        }
        // Years, months, days, hours, minutes, seconds, offsets.
        assert_eq!(valid, 2 * (10_000 + 12 + 28 + 24 + 60 + 60 + 24 * 60));
        for text in [
            "2018-02-26T18:39:57+000",
            "2018-02-26T18:39:57 0000",
            "2018-02-26T18-39-57+0000",
            "201a-02-26T18:39:57+0000",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn reads_every_notation_of_an_offset() {
        for text in [
            "2018-02-26T18:39:57+0000",
            "2018-02-26T18:39:57+00:00",
            "2018-02-26T18:39:57Z",
            "2018-02-26T18:39:57.999Z",
            "2018-02-26T20:09:57+0130",
            "2018-02-26T10:39:57-08:00",
        ] {
            assert_eq!(
                written(text).as_deref(),
                Some("2018-02-26T18:39:57Z"),
                "{text}"
            );
        }
    }

    #[test]
    fn reads_the_last_second_of_the_year_9999() {
        assert_eq!(
            Timestamp::parse("9999-12-31T23:59:59+0000"),
            Some(Timestamp::MAX)
        );
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::parse("9999-12-31T23:59:59-0100"), None);
    }

    #[test]
    fn refuses_text_that_is_not_a_time() {
        for text in [
            "",
            " ",
            "yesterday",
            "2018-02-26",
            "2018-02-26T18:39:57",
            "2018-02-30T18:39:57Z",
            "2018-02-26T24:39:57Z",
            "2018-02-26T18:39:57Z ",
            "1519670397",
            "2018-02-26T18:39:57+00",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(
            Timestamp::MAX.saturating_add(Duration::from_secs(1)),
            Timestamp::MAX
        );
        assert_eq!(Timestamp::MIN.saturating_sub(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
    }
}
