//! Finds what else a revocation affects: other valid certificates with the same subject or key.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join3;
use tokio::time::timeout_at;

use crate::arn::CertificateAuthorityArn;
use crate::aws::certificate_authorities::{ListedCa, list_calling};
use crate::error::AuditError;
use crate::investigate::certificates::{NamedCertificate, PRIVATE_CA};
use crate::investigate::{Case, Investigator, reason};
use crate::report::fetch::Fetch;
use crate::report::scanner::ReportScanner;
use crate::report_format::ReportFormat;
use crate::revocation::certificate::CertificateFacts;
use crate::revocation::investigation::{Affected, Finding, MAX_ITEMS, Sibling};
use crate::revocation::key::{RevocationKey, serial_octets};
use crate::revocation::reason::Severity;
use crate::revocation::record::{Revocation, RevokedRecord};
use crate::text::numbers::count;
use crate::timestamp::Timestamp;

/// Maximum duration of the first scan of a report that is read again.
const MAX_SCAN_DURATION: Duration = Duration::from_secs(4);

/// Maximum certificates of a message whose keys are compared with those of revoked ones.
const MAX_COMPARED: usize = 10;

/// Maximum length of a serial that is kept: 20 octets with colons, and some leading zeros.
const MAX_SERIAL_LEN: usize = 64;

/// Maximum length of a certificate's ARN that is kept.
const MAX_ARN_LEN: usize = 256;

/// What is to be found out about a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Nothing.
    None,
    /// Which CA has the certificate.
    Authority,
    /// Which other certificates have its subject.
    Siblings,
    /// The same, but there is no subject.
    NoSubject,
    /// The same, but the subject was cut.
    CutSubject,
}

/// Other valid certificates with the subject of a revocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Siblings {
    kept: Vec<Sibling>,
    total: u64,
}

impl Question {
    fn about(revocation: &Revocation) -> Self {
        let subject = revocation.subject.as_deref().unwrap_or_default();
        match revocation.severity() {
            Severity::Critical if revocation.is_ca_certificate() => Self::Authority,
            Severity::Critical if subject.trim().is_empty() => Self::NoSubject,
            Severity::Critical if revocation.may_have_cut_subject() => Self::CutSubject,
            Severity::Critical => Self::Siblings,
            _ => Self::None,
        }
    }

    /// Returns the question once the certificate is known: reports of before 2020 state no template, so
    /// only the certificate itself says whether it is that of a CA.
    fn with(self, certificate: &Finding<CertificateFacts>) -> Self {
        match certificate {
            Finding::Known(facts) if facts.is_ca => Self::Authority,
            _ => self,
        }
    }
}

impl Investigator<'_> {
    /// Returns a finding for each revocation of the case.
    pub(super) async fn affected(&self, case: &Case<'_>) -> Vec<Finding<Affected>> {
        let mut questions: Vec<_> = case.revocations.iter().map(Question::about).collect();
        let list = async {
            match questions.contains(&Question::Authority) {
                true => Some(self.authorities(case).await),
                false => None,
            }
        };
        let (certificates, siblings, mut authorities) = join3(
            self.revoked_certificates(case),
            self.siblings(case, &questions),
            list,
        )
        .await;
        for (question, certificate) in questions.iter_mut().zip(certificates) {
            *question = question.with(certificate);
        }
        if authorities.is_none() && questions.contains(&Question::Authority) {
            authorities = Some(self.authorities(case).await);
        }
        let siblings = match siblings {
            Finding::Known(mut siblings) => {
                self.compare_keys(case, certificates, &mut siblings).await;
                Finding::Known(siblings)
            }
            other => other,
        };
        let findings = case.revocations.iter().zip(questions).enumerate();
        let findings = findings.map(|(at, (revocation, question))| match question {
            Question::None => not_critical(),
            Question::Authority => Finding::Known(Affected::CertificateAuthority {
                authority: authority(authorities.as_ref(), revocation),
            }),
            Question::NoSubject => unknown("the report states no subject to search for"),
            Question::CutSubject => unknown("the subject is too long to search for"),
            Question::Siblings => siblings.as_ref().map(|siblings| Affected::Certificates {
                siblings: siblings[at].kept.clone(),
                total: siblings[at].total,
            }),
        });
        findings.collect()
    }

    /// Returns every CA of the account and region; lists them once per run, unless that fails.
    async fn authorities(&self, case: &Case<'_>) -> Finding<&[ListedCa]> {
        let list = async {
            let list = || list_calling(&self.clients.acmpca_lookups, &self.names);
            match self.authorities.get_or_try_init(list).await {
                // A list without the CA itself is that of another account or region, or empty.
                Ok(listed) if listed.iter().all(|ca| ca.arn != *case.arn) => {
                    unknown("Private CA returned an incomplete list to ListCertificateAuthorities")
                }
                Ok(listed) => Finding::Known(listed.as_slice()),
                Err(failure) => {
                    let reason = reason(PRIVATE_CA, &failure);
                    case.warn("ListCertificateAuthorities", &reason);
                    Finding::Unknown(reason)
                }
            }
        };
        case.in_time(PRIVATE_CA, list).await
    }

    /// Reads the report again for other valid certificates with the subject of a revocation; returns
    /// those of each revocation.
    async fn siblings(&self, case: &Case<'_>, questions: &[Question]) -> Finding<Vec<Siblings>> {
        let mut search = Search::new(case.revocations, questions, self.budget.now());
        if search.by_subject.is_empty() {
            return Finding::Known(search.found);
        }
        if case.scan_duration >= MAX_SCAN_DURATION {
            let took = count(case.scan_duration.as_secs(), "second");
            return Finding::Unknown(format!(
                "the first scan of the report took {took}; a second one would delay the alert"
            ));
        }
        let read = self.read_in_turn(case, &mut search).await;
        match read {
            Ok(()) => Finding::Known(search.found),
            Err(reason) => {
                case.warn("second scan of the report", &reason);
                Finding::Unknown(reason)
            }
        }
    }

    /// Reads the report again, while no other one is read again, until the deadline.
    async fn read_in_turn(&self, case: &Case<'_>, search: &mut Search<'_>) -> Result<(), String> {
        let turn = timeout_at(case.deadline, self.second_scans.acquire()).await;
        let _turn = turn.map_err(|_| "other reports were being read again")?;
        let read = timeout_at(case.deadline, self.read_again(case, search)).await;
        read.unwrap_or_else(|_| Err("the report could not be read again in time".to_owned()))
    }

    /// Passes every record of the report to a search, from the first byte to the last; returns why
    /// that is not possible.
    async fn read_again(&self, case: &Case<'_>, search: &mut Search<'_>) -> Result<(), String> {
        let format = ReportFormat::from_key(&case.report.key).ok_or("the report has no format")?;
        let mut scanner = ReportScanner::of_every_record(format);
        let unreadable =
            |error: AuditError| format!("the report could not be read again: {}", error.message);
        let invalid = |error| format!("the report is not valid: {error}");
        let fetch = Fetch::open(self.clients, self.bucket, case.report).await;
        let mut fetch = fetch.map_err(unreadable)?;
        let mut see = |record: &RevokedRecord<'_>| search.see(record);
        while let Some(chunk) = fetch.next().await.map_err(unreadable)? {
            scanner.feed(&chunk, &mut see).map_err(invalid)?;
        }
        scanner.finish(&mut see).map_err(invalid)?;
        Ok(())
    }

    /// Compares the keys of certificates with that of the revoked one, and sorts them.
    async fn compare_keys(
        &self,
        case: &Case<'_>,
        revoked: &[Finding<CertificateFacts>],
        found: &mut [Siblings],
    ) {
        let named = to_compare(case.arn, revoked, found);
        let arns: Vec<_> = named
            .iter()
            .flat_map(|named| named.arn)
            .map(str::to_owned)
            .collect();
        let facts = self.get_certificates(case, named).await;
        let facts = arns.into_iter().zip(facts).collect();
        set_same_key(revoked, &facts, found);
    }
}

/// Records which certificates have the key of the revoked one, and sorts them: first those that have
/// it, then those that may have it.
fn set_same_key(
    revoked: &[Finding<CertificateFacts>],
    facts: &HashMap<String, Finding<CertificateFacts>>,
    found: &mut [Siblings],
) {
    for (revoked, siblings) in revoked.iter().zip(found) {
        let Finding::Known(revoked) = revoked else {
            continue;
        };
        for sibling in &mut siblings.kept {
            let arn = sibling.certificate_arn.as_ref();
            if let Some(Finding::Known(facts)) = arn.and_then(|arn| facts.get(arn))
                // Two records may state the same ARN.
                && sibling.serial.as_deref().and_then(serial_octets) == Some(facts.serial)
            {
                sibling.same_key = Some(facts.public_key == revoked.public_key);
            }
        }
        siblings.kept.sort_by_key(|sibling| match sibling.same_key {
            Some(true) => 0,
            None => 1,
            Some(false) => 2,
        });
    }
}

/// Finds the CA that a revoked certificate is the certificate of.
fn authority(
    authorities: Option<&Finding<&[ListedCa]>>,
    revocation: &Revocation,
) -> Finding<Option<(CertificateAuthorityArn, Option<String>)>> {
    let RevocationKey::Serial(serial) = &revocation.key else {
        return unknown("the report states no valid serial to search for the CA by");
    };
    let Some(authorities) = authorities else {
        return unknown("the CAs of the account were not listed");
    };
    let has_it =
        |ca: &&ListedCa| ca.serial.as_deref().and_then(serial_octets).as_ref() == Some(serial);
    authorities.as_ref().map(|listed| {
        let authority = listed.iter().find(has_it);
        authority.map(|ca| (ca.arn.clone(), ca.name.clone()))
    })
}

fn unknown<T>(reason: &str) -> Finding<T> {
    Finding::Unknown(reason.to_owned())
}

fn not_critical() -> Finding<Affected> {
    Finding::NotApplicable("only looked up for critical revocations".to_owned())
}

/// Returns the certificates whose keys are compared: the first of each revocation, then the second of
/// each, and so on.
fn to_compare<'f>(
    arn: &CertificateAuthorityArn,
    revoked: &[Finding<CertificateFacts>],
    found: &'f [Siblings],
) -> Vec<NamedCertificate<'f>> {
    let mut named: Vec<NamedCertificate<'f>> = Vec::new();
    for rank in 0..MAX_ITEMS {
        for (revoked, siblings) in revoked.iter().zip(found) {
            let (Finding::Known(_), Some(sibling)) = (revoked, siblings.kept.get(rank)) else {
                continue;
            };
            let candidate = NamedCertificate {
                arn: sibling.certificate_arn.as_deref(),
                serial: sibling.serial.as_deref(),
            };
            let is_known = named.iter().any(|known| known.arn == candidate.arn);
            if named.len() < MAX_COMPARED && !is_known && candidate.checked(arn).is_ok() {
                named.push(candidate);
            }
        }
    }
    named
}

/// A search of a report for other valid certificates with the subjects of revoked ones.
struct Search<'a> {
    revocations: &'a [Revocation],
    /// Positions of the revocations with each subject.
    by_subject: HashMap<&'a str, Vec<usize>>,
    now: Timestamp,
    /// What was found for each revocation.
    found: Vec<Siblings>,
}

impl<'a> Search<'a> {
    fn new(revocations: &'a [Revocation], questions: &[Question], now: Timestamp) -> Self {
        let mut by_subject: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, revocation) in revocations.iter().enumerate() {
            if questions[at] == Question::Siblings
                && let Some(subject) = revocation.subject.as_deref()
            {
                by_subject.entry(subject).or_default().push(at);
            }
        }
        Self {
            revocations,
            by_subject,
            now,
            found: vec![Siblings::default(); revocations.len()],
        }
    }

    /// Takes the next record of the report.
    fn see(&mut self, record: &RevokedRecord<'_>) {
        let subject = record.subject.as_deref().unwrap_or_default();
        let Some(positions) = self.by_subject.get(subject) else {
            return;
        };
        let is_revoked = record
            .revoked_at
            .as_deref()
            .is_some_and(|at| !at.is_empty());
        let time = |text: Option<&str>| text.and_then(Timestamp::parse);
        // A certificate whose end is unreadable may be valid.
        let not_after = time(record.not_after.as_deref());
        if is_revoked || not_after.is_some_and(|end| end <= self.now) {
            return;
        }
        let key = record.key();
        let issued_at = time(record.issued_at.as_deref());
        for &at in positions {
            let revocation = &self.revocations[at];
            if revocation.key == key {
                continue;
            }
            let found = &mut self.found[at];
            found.total += 1;
            if found.kept.len() < MAX_ITEMS {
                let revoked_at = revocation.revoked_at.at;
                found.kept.push(Sibling {
                    serial: kept(record.serial.as_deref(), MAX_SERIAL_LEN),
                    certificate_arn: kept(record.certificate_arn.as_deref(), MAX_ARN_LEN),
                    not_after,
                    issued_after_revocation: issued_at
                        .zip(revoked_at)
                        .map(|(issued, revoked)| issued > revoked),
                    same_key: None,
                });
            }
        }
    }
}

/// Returns a copy of a text, unless it is too long.
fn kept(text: Option<&str>, max_len: usize) -> Option<String> {
    let text = text.filter(|text| text.len() <= max_len);
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::investigation::MAX_INVESTIGATED;

    const CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
    const REVOKED: &str = r#""serial":"2b:ae","revokedAt":"2026-11-24T20:22:47+0000","revocationReason":"KEY_COMPROMISE""#;

    /// Returns a record with the subject of the others.
    fn record(serial: &str, fields: &str) -> String {
        let id = serial.replace(':', "");
        format!(
            r#"{{"serial":"{serial}","certificateArn":"{CA}/certificate/{id}","subject":"CN=a"{fields}}}"#
        )
    }

    fn revocations(fields: &str) -> Vec<Revocation> {
        let mut revocations = Vec::new();
        let report = format!("[{{{fields}}}]");
        let mut scanner = ReportScanner::new(ReportFormat::Json);
        let mut sink = |record: &RevokedRecord<'_>| {
            revocations.push(record.to_revocation(record.key()));
        };
        scanner.feed(report.as_bytes(), &mut sink).unwrap();
        scanner.finish(&mut sink).unwrap();
        revocations
    }

    /// Returns what a report has beside a revoked certificate with the same subject.
    fn search(records: &[String]) -> Siblings {
        let revocations = revocations(&format!(r#"{REVOKED},"subject":"CN=a""#));
        let now = Timestamp::parse("2026-11-24T20:30:00Z").unwrap();
        let mut search = Search::new(&revocations, &[Question::Siblings], now);
        let report = format!("[{}]", records.join(","));
        let mut scanner = ReportScanner::of_every_record(ReportFormat::Json);
        let mut see = |record: &RevokedRecord<'_>| search.see(record);
        scanner.feed(report.as_bytes(), &mut see).unwrap();
        scanner.finish(&mut see).unwrap();
        search.found.remove(0)
    }

    fn serials(siblings: &Siblings) -> Vec<&str> {
        let serials = siblings.kept.iter().flat_map(|kept| kept.serial.as_deref());
        serials.collect()
    }

    #[test]
    fn only_other_valid_certificates_are_found() {
        let found = search(&[
            record("2b:ae", r#","revokedAt":"2026-11-24T20:22:47+0000""#),
            // The revoked certificate again, written otherwise.
            record("00:2B:AE", ""),
            record("03", r#","notAfter":"2026-11-24T20:30:01+0000""#),
            record("04", r#","notAfter":"2026-11-24T20:30:00+0000""#),
            record("05", r#","notAfter":"2025-01-01T00:00:00+0000""#),
            record("06", r#","notAfter":"soon""#),
            record("07", ""),
            record("08", r#","revokedAt":"soon""#),
            record("09", r#","revokedAt":"""#),
            record("0a", "").replace("CN=a", "CN=b"),
            record("0b", "").replace("CN=a", "CN=A"),
            r#"{"serial":"0c"}"#.to_owned(),
        ]);
        assert_eq!(serials(&found), ["03", "06", "07", "09"]);
        assert_eq!(found.total, 4);
    }

    #[test]
    fn certificates_issued_after_the_revocation_are_marked() {
        let found = search(&[
            record("03", r#","issuedAt":"2026-11-24T20:22:48+0000""#),
            record("04", r#","issuedAt":"2026-11-24T20:22:47+0000""#),
            record("05", r#","issuedAt":"later""#),
            record("06", ""),
        ]);
        let marked: Vec<_> = found
            .kept
            .iter()
            .map(|kept| kept.issued_after_revocation)
            .collect();
        assert_eq!(marked, [Some(true), Some(false), None, None]);
    }

    #[test]
    fn ten_are_kept_and_all_counted_without_long_texts() {
        let records: Vec<_> = (16..66)
            .map(|serial| record(&format!("{serial:x}"), ""))
            .collect();
        let found = search(&records);
        assert_eq!((found.kept.len(), found.total), (MAX_ITEMS, 50));
        let long = search(&[record(&"ab".repeat(200), "")]);
        assert_eq!(long.total, 1);
        assert_eq!(long.kept[0].serial, None);
        assert_eq!(long.kept[0].certificate_arn, None);
    }

    fn facts(serial: &str, key: u8, is_ca: bool) -> Finding<CertificateFacts> {
        Finding::Known(CertificateFacts {
            serial: serial_octets(serial).unwrap(),
            public_key: [key; 32],
            crl: Default::default(),
            ocsp: Default::default(),
            is_ca,
            not_after: None,
        })
    }

    #[test]
    fn same_key_comes_first_and_unknown_before_other() {
        let mut found = [search(
            &["03", "04", "05", "06"].map(|serial| record(serial, "")),
        )];
        let arn = |id: &str| format!("{CA}/certificate/{id}");
        let got = HashMap::from([
            (arn("03"), facts("03", 2, false)),
            (
                arn("04"),
                Finding::Unknown("Private CA denied GetCertificate".to_owned()),
            ),
            (arn("05"), facts("ff", 1, false)),
            (arn("06"), facts("06", 1, false)),
        ]);
        set_same_key(&[facts("2bae", 1, false)], &got, &mut found);
        assert_eq!(serials(&found[0]), ["06", "04", "05", "03"]);
        let same: Vec<_> = found[0].kept.iter().map(|kept| kept.same_key).collect();
        assert_eq!(same, [Some(true), None, None, Some(false)]);
        // Without the revoked certificate nothing is compared.
        let mut found = [search(&[record("03", "")])];
        set_same_key(&[Finding::Unknown("denied".to_owned())], &got, &mut found);
        assert_eq!(found[0].kept[0].same_key, None);
    }

    #[test]
    fn ten_certificates_are_compared_each_once() {
        let ca = CertificateAuthorityArn::parse(CA).unwrap();
        let arn = |named: NamedCertificate<'_>| named.arn.unwrap_or_default().to_owned();
        let many = |first: u8| -> Siblings {
            let records = (first..first + 10).map(|it| record(&format!("{it:x}"), ""));
            search(&records.collect::<Vec<_>>())
        };
        let revoked = vec![facts("01", 1, false); MAX_INVESTIGATED];
        let found = [many(16), many(16), many(48)];
        let compared = to_compare(&ca, &revoked, &found);
        let compared: Vec<_> = compared.into_iter().map(arn).collect();
        assert_eq!(compared.len(), MAX_COMPARED);
        assert_eq!(compared[0], format!("{CA}/certificate/10"));
        assert_eq!(compared[1], format!("{CA}/certificate/30"));
        let foreign = search(&[record("03", "").replace("11223344-", "11223345-")]);
        assert_eq!(to_compare(&ca, &revoked, &[foreign]), []);
        let unknown = [Finding::Unknown("denied".to_owned())];
        assert_eq!(to_compare(&ca, &unknown, &found), []);
    }

    #[test]
    fn question_depends_on_severity_and_kind_of_certificate() {
        let template = r#","templateArn":"arn:aws:acm-pca:::template/RootCACertificate/V1""#;
        let superseded = REVOKED.replace("KEY_COMPROMISE", "SUPERSEDED");
        for (fields, is_ca, question) in [
            (
                format!(r#"{REVOKED},"subject":"CN=a""#),
                false,
                Question::Siblings,
            ),
            (
                format!(r#"{REVOKED},"subject":"CN=a""#),
                true,
                Question::Authority,
            ),
            (
                format!(r#"{REVOKED},"subject":" ""#),
                false,
                Question::NoSubject,
            ),
            (REVOKED.to_owned(), false, Question::NoSubject),
            (REVOKED.to_owned(), true, Question::Authority),
            (format!("{superseded}{template}"), true, Question::Authority),
            (superseded.clone(), false, Question::None),
            (superseded, true, Question::Authority),
            (
                format!(r#"{REVOKED},"subject":"{}""#, "a".repeat(4096)),
                false,
                Question::CutSubject,
            ),
            (
                format!(r#"{REVOKED},"subject":"{}""#, "a".repeat(4092)),
                false,
                Question::Siblings,
            ),
        ] {
            let asked = Question::about(&revocations(&fields)[0]);
            assert_eq!(asked.with(&facts("2bae", 1, is_ca)), question, "{fields}");
        }
    }

    #[test]
    fn authority_is_found_by_serial_as_integer() {
        let listed = |serial: Option<&str>| ListedCa {
            arn: CertificateAuthorityArn::parse(CA).unwrap(),
            name: Some("Example Corp Issuing CA".to_owned()),
            serial: serial.map(str::to_owned),
            status: None,
            checking: Default::default(),
        };
        let revocation = &revocations(REVOKED)[0];
        for (serials, is_found) in [
            (vec![None, Some("00:2B:ae")], true),
            (vec![None, Some("2b:af")], false),
            (vec![], false),
        ] {
            let listed: Vec<_> = serials.into_iter().map(listed).collect();
            let authorities = Finding::Known(listed.as_slice());
            let found = authority(Some(&authorities), revocation);
            let Finding::Known(authority) = found else {
                panic!("{found:?}");
            };
            assert_eq!(authority.is_some(), is_found);
        }
        let denied = Finding::Unknown("Private CA denied ListCertificateAuthorities".to_owned());
        assert_eq!(
            authority(Some(&denied), revocation),
            denied.map(|_: &[ListedCa]| unreachable!())
        );
        let no_serial = REVOKED.replace("2b:ae", "");
        let unknown = authority(None, &revocations(&no_serial)[0]);
        assert_eq!(unknown.state(), "unknown");
    }
}
