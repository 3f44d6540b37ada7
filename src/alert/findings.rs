//! What was found out about a revocation, for people.
//!
//! Texts of AWS and of others may have any characters: here they are names, or defanged.

use crate::alert::entry::{is_plain, is_plain_arn, is_serial};
use crate::alert::fact::Fact;
use crate::alert::line::Line;
use crate::revocation::checking::RevocationChecking;
use crate::revocation::investigation::{
    AcmCertificate, Affected, ClientChecks, Finding, Investigation, Revoker, Sibling, Usage,
};
use crate::revocation::reason::is_word;
use crate::text::numbers::{count, duration, with_separators};
use crate::text::visible::{ascii, defang};
use crate::timestamp::Timestamp;

/// Maximum items of a list in a line for people.
const MAX_SHOWN: usize = 3;

/// Maximum characters of the reason for which something is unknown.
const MAX_REASON_CHARS: usize = 240;

/// Maximum characters of a name in a next step.
pub(super) const MAX_STEP_NAME_CHARS: usize = 64;

/// What was found out about a revocation, for people.
#[derive(Default)]
pub(super) struct Findings {
    /// Everything, one fact for each line.
    pub facts: Vec<Fact>,
    /// Who revoked the certificate, in one name.
    pub by: Option<String>,
    /// The person or role to ask why; `None` if it is unknown or not a person's.
    pub to_ask: Option<String>,
    /// The name of the CA that the certificate belongs to, if that is known.
    pub authority: Option<String>,
    /// What could not be found out, in words.
    pub not_known: Vec<&'static str>,
    /// The first resource that uses it, and how many more do.
    pub in_use_by: Option<Line>,
    /// What a summary must not leave out.
    pub decisive: Vec<Fact>,
    /// What to do because of it, most urgent first.
    pub steps: Vec<String>,
    /// What to do instead of the advice about CRL and OCSP, if that is known.
    pub confirmation: Option<String>,
    /// Whether there is nothing to confirm: no CRL or OCSP responder is known to state the revocation to
    /// clients.
    pub cannot_confirm: bool,
    /// What a command should find out.
    pub open: Open,
}

/// What a command should find out.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub revoked_by: bool,
    pub in_use: bool,
    pub affected: bool,
    pub clients: bool,
    /// Whether the CA publishes a CRL or has an OCSP responder.
    pub configuration: bool,
}

impl Default for Open {
    /// Nothing was looked up. Then no command searches the report, which may be large.
    fn default() -> Self {
        Self {
            revoked_by: true,
            in_use: true,
            affected: false,
            clients: true,
            configuration: true,
        }
    }
}

impl Findings {
    /// `account` is that of the certificate authority.
    pub fn of(found: &Investigation, account: &str, is_ca: bool) -> Self {
        let affected = if is_ca {
            ("Affects", "what it affects")
        } else {
            ("Same key or subject", "same key or subject")
        };
        let mut findings = Self {
            open: Open {
                revoked_by: is_unknown(&found.revoked_by),
                in_use: is_unknown(&found.in_use),
                affected: is_unknown(&found.affected),
                clients: is_unknown(&found.clients),
                configuration: is_unknown(&found.clients),
            },
            ..Self::default()
        };
        match &found.revoked_by {
            Finding::Known(revoker) => findings.revoker(revoker, account),
            other => findings.unknown(("Revoked by", "who revoked it"), other),
        }
        match &found.in_use {
            Finding::Known(usage) => findings.usage(usage),
            other => findings.unknown(("In use by", "where it is in use"), other),
        }
        match &found.affected {
            Finding::Known(affected) => findings.affected(affected),
            other => findings.unknown(affected, other),
        }
        match &found.clients {
            Finding::Known(clients) => findings.clients(clients),
            other => findings.unknown(("Clients", "how clients can check"), other),
        }
        findings
    }

    fn fact(&mut self, label: &'static str, line: Line) {
        self.facts.push(Fact::line(label, line));
    }

    fn decisive(&mut self, label: &'static str, line: Line) {
        self.decisive.push(Fact::line(label, line.clone()));
        self.fact(label, line);
    }

    /// Adds what is unknown, and why; nothing if the question does not apply.
    fn unknown<T>(&mut self, (label, what): (&'static str, &'static str), finding: &Finding<T>) {
        if let Finding::Unknown(reason) = finding {
            self.not_known.push(what);
            let reason = defang(reason, MAX_REASON_CHARS);
            self.fact(label, Line::new(format!("unknown: {reason}")));
        }
    }

    fn revoker(&mut self, revoker: &Revoker, account: &str) {
        let (mut line, by) = identity(revoker);
        let other = revoker.account.as_deref();
        if let Some(other) = other.filter(|&other| other != account) {
            line = line.words(" of account ").name(other);
        }
        let service = revoker.service.as_deref();
        if let Some(service) = service.filter(|&service| service != by) {
            line = line.words(", through ").name(service);
        }
        let ip = revoker.source_ip.as_deref();
        if let Some(ip) = ip.filter(|&ip| Some(ip) != service) {
            line = line.words(", from ").name(ip);
        }
        if revoker.revocations > 1 || revoker.at_least {
            let at_least = if revoker.at_least { "at least " } else { "" };
            let number = count(revoker.revocations, "revocation");
            let time = revoker.from.zip(revoker.until);
            let time = time.map_or_else(String::new, |(from, until)| {
                format!(" in {}", duration(until.since(from)))
            });
            line = line.words(format!(" ({at_least}{number}{time})"));
        }
        self.fact("Revoked by", line);
        self.by = Some(by);
        self.to_ask = to_ask(revoker);
    }

    fn usage(&mut self, usage: &Usage) {
        let is_revoked_one = |item: &&AcmCertificate| item.is_revoked_one;
        let revoked: Vec<_> = usage.certificates.iter().filter(is_revoked_one).collect();
        let (resources, total) = resources(&revoked);
        let was_exported = revoked.iter().any(|item| item.exported == Some(true));
        let not_described = usage.total.saturating_sub(usage.certificates.len() as u64);
        let is_only_renewed = revoked.is_empty() && !usage.certificates.is_empty();
        let mut line = match total {
            1.. => users(&resources, total),
            0 if is_only_renewed => Line::new(
                "unknown for this serial: ACM of this account and region no longer has it (see Same name)",
            ),
            0 if not_described > 0 => {
                let number = count(not_described, "more matching certificate");
                Line::new(format!(
                    "unknown: ACM has {number} that could not be looked up"
                ))
            }
            0 => Line::new("ACM reports no AWS service in this account and region that uses it"),
        };
        if not_described > 0 && (total > 0 || is_only_renewed) {
            let number = count(not_described, "more ACM certificate");
            line = line.words(format!("; {number} could not be looked up"));
        }
        if total == 0 && (not_described > 0 || is_only_renewed) {
            self.not_known.push("where it is in use");
            self.open.in_use |= not_described > 0;
        }
        if was_exported {
            line = line.words("; it was exported: copies outside AWS cannot be seen");
        }
        if usage.at_least && total > 0 {
            line = line.words("; ACM may have more matching certificates");
        }
        if let Some(account) = &usage.other_account {
            line = line
                .words("; it was issued to account ")
                .name(account)
                .words(", whose ACM cannot be queried from here");
        }
        self.fact("In use by", line);
        self.used_by(&resources, total);
        self.renewed(usage);
    }

    fn used_by(&mut self, resources: &[&str], total: u64) {
        if total > 0 {
            self.in_use_by = resources.first().map(|arn| match total - 1 {
                0 => name_of(arn),
                more => name_of(arn).words(format!(" and {} more", with_separators(more))),
            });
            let name = resources.first().map(|arn| step_name(arn));
            let name = name.unwrap_or_else(|| count(total, "AWS resource"));
            self.steps.push(match total - 1 {
                0 => format!("Replace the certificate on {name}."),
                more => format!(
                    "Replace the certificate on {name} and {}.",
                    count(more, "other resource")
                ),
            });
        }
    }

    /// Adds the certificates that were probably renewed after the revoked one.
    fn renewed(&mut self, usage: &Usage) {
        let others = usage.certificates.iter();
        let others: Vec<_> = others.filter(|item| !item.is_revoked_one).collect();
        for item in others.iter().take(MAX_SHOWN) {
            self.fact("Same name", renewed(item));
        }
        if others.len() > MAX_SHOWN {
            let more = (others.len() - MAX_SHOWN) as u64;
            self.fact("Same name", Line::new(count(more, "more ACM certificate")));
        }
    }

    fn affected(&mut self, affected: &Affected) {
        match affected {
            Affected::CertificateAuthority { authority } => {
                if let Finding::Known(Some((arn, name))) = authority {
                    self.authority = Some(name.clone().unwrap_or_else(|| arn.id().to_owned()));
                }
                let line = match authority {
                    Finding::Known(Some((arn, Some(name)))) => Line::new("everything issued by ")
                        .name(name)
                        .words(format!(" ({arn})")),
                    Finding::Known(Some((arn, None))) => {
                        Line::new(format!("everything issued by {arn}"))
                    }
                    Finding::Unknown(reason) | Finding::NotApplicable(reason) => {
                        let reason = defang(reason, MAX_REASON_CHARS);
                        Line::new(format!(
                            "everything issued below it; which CA it is is unknown: {reason}"
                        ))
                    }
                    Finding::Known(None) => Line::new(
                        "everything issued below it; which CA it belongs to was not found (no CA of this account and region has this serial now)",
                    ),
                };
                self.decisive("Affects", line);
            }
            Affected::Certificates { siblings, total } => self.siblings(siblings, *total),
        }
    }

    fn siblings(&mut self, siblings: &[Sibling], total: u64) {
        let has_same_key = |item: &&Sibling| item.same_key == Some(true);
        let (same, others): (Vec<_>, Vec<_>) = siblings.iter().partition(has_same_key);
        let same_total = same.len() as u64;
        let compared = siblings.iter().filter(|item| item.same_key.is_some());
        let not_compared = total.saturating_sub(compared.count() as u64);
        let number = |number| count(number, "other valid certificate");
        if same_total > 0 {
            let at_least = if not_compared > 0 { "at least " } else { "" };
            let start = Line::new(format!("{at_least}{}: ", number(same_total)));
            let items = list(same.iter().map(|item| sibling(item)), same_total);
            self.decisive("Same key", start.line(&items));
            let serials = same.iter().filter_map(|item| item.serial.as_deref());
            let serials: Vec<_> = serials.filter(|text| is_serial(text)).collect();
            let step = match serials.as_slice() {
                [only] if same_total == 1 => {
                    format!("Revoke and replace {only} as well: it has the same key.")
                }
                serials => {
                    let first = serials[..serials.len().min(MAX_SHOWN)].join(", ");
                    let first = if first.is_empty() {
                        first
                    } else {
                        format!(" (first {first})")
                    };
                    let certificates = count(same_total, "certificate");
                    format!("Revoke and replace {certificates} with the same key as well{first}.")
                }
            };
            self.steps.insert(0, step);
        }
        let other_total = total.saturating_sub(same_total);
        if other_total > 0 {
            let start = Line::new(format!("{}: ", number(other_total)));
            let items = list(others.iter().map(|item| sibling(item)), other_total);
            let mut line = start.line(&items);
            if not_compared > 0 {
                line = line.words(match not_compared {
                    1 => "; the key of 1 was not compared".to_owned(),
                    many => format!("; the keys of {} were not compared", with_separators(many)),
                });
                self.keys_not_compared(not_compared);
            }
            self.fact("Same subject", line);
        } else if same_total == 0 {
            let line = "no other valid certificate of this CA (certificates with other subjects were not compared)";
            self.fact("Same subject", Line::new(line));
        }
    }

    fn keys_not_compared(&mut self, number: u64) {
        self.not_known.push("same key");
        self.open.affected = true;
        self.steps.push(match number {
            1 => "Compare the key of the other certificate with this subject, and revoke it if it has the same key.".to_owned(),
            many => format!(
                "Compare the keys of the {} other certificates with this subject, and revoke those with the same key.",
                with_separators(many)
            ),
        });
    }

    fn clients(&mut self, clients: &ClientChecks) {
        const CRL: &str =
            "Confirm that the CRL lists the serial (a new CRL takes about 30 minutes).";
        const OCSP: &str =
            "Confirm that OCSP reports the serial as revoked (takes up to 60 minutes).";
        const BOTH: &str = "Confirm that the CRL lists the serial and OCSP reports it as revoked (a new CRL takes about 30 minutes, an OCSP response up to 60).";
        let names = (clients.crl_total > 0, clients.ocsp_total > 0);
        // What the CA has of it; all if that is not known.
        let has = clients
            .authority
            .map_or(names, |now| (names.0 && now.crl, names.1 && now.ocsp));
        let (text, confirmation) = match (names, has) {
            ((false, false), _) => return self.no_pointer(clients.authority),
            (names, (false, false)) => return self.switched_off(names),
            (_, (true, true)) => ("can check CRL and OCSP", BOTH),
            ((_, false), _) => ("can check the CRL only (no OCSP)", CRL),
            ((false, _), _) => ("can check OCSP only (no CRL)", OCSP),
            (_, (false, true)) => (
                "can check OCSP only: the certificate names a CRL, but the CA publishes none now",
                OCSP,
            ),
            (_, (true, false)) => (
                "can check the CRL only: the certificate names OCSP, but the CA has no OCSP responder now",
                CRL,
            ),
        };
        self.confirmation = Some(confirmation.to_owned());
        match names == has {
            true => self.fact("Clients", Line::new(text)),
            false => self.decisive("Clients", Line::new(text)),
        }
    }

    /// The certificate names a CRL, an OCSP responder or both, but the CA has none of them now.
    fn switched_off(&mut self, names: (bool, bool)) {
        let what = match names {
            (true, true) => "a CRL and OCSP",
            (true, false) => "a CRL",
            (false, _) => "OCSP",
        };
        let line = format!(
            "the certificate names {what}, but the CA has none now: clients may not learn of this revocation"
        );
        self.decisive("Clients", Line::new(line));
        let step = "Switch the CA's CRL or OCSP on again, or replace the certificate everywhere and remove trust in it: clients may not learn of this revocation.";
        self.confirmation = Some(step.to_owned());
        self.cannot_confirm = true;
    }

    /// The certificate names neither a CRL nor an OCSP responder; `now` is what the CA has.
    fn no_pointer(&mut self, now: Option<RevocationChecking>) {
        let is_unknown = now.is_none();
        let now = now.unwrap_or_default();
        let nobody =
            "no client can learn of this revocation: the certificate has no CRL or OCSP pointer";
        let later = |what| {
            format!(
                "no client learns of this revocation by itself: the certificate has no CRL or OCSP pointer; the CA has {what} now, but pointers added after it was issued do not help (only clients configured with its address)"
            )
        };
        let line = match (now.crl, now.ocsp) {
            _ if is_unknown => "only clients that were given the address of a CRL, if there is one, can learn of this revocation: the certificate has no CRL or OCSP pointer, and the configuration of the CA is unknown".to_owned(),
            _ if now.crl_without_pointer => {
                "only clients that were given the address of the CRL can learn of this revocation: the certificate has no CRL or OCSP pointer".to_owned()
            }
            (true, true) => later("CRL and OCSP"),
            (true, false) => later("a CRL"),
            (false, true) => later("OCSP"),
            (false, false) if now.short_lived => format!("{nobody} (short-lived by design)"),
            (false, false) => nobody.to_owned(),
        };
        let step = if is_unknown || now.crl_without_pointer {
            "Only clients that were given the address of the CRL can learn of this revocation: for all others, replace the certificate and remove trust in it."
        } else if now.short_lived && !now.crl && !now.ocsp {
            "No client can learn of this revocation: block the certificate where it matters until it expires."
        } else if now.crl || now.ocsp {
            "No client learns of this revocation by itself: replace the certificate everywhere and remove trust in it. Where that takes long, configure servers with the CA's CRL or OCSP responder."
        } else {
            "No client can learn of this revocation: replace the certificate everywhere and remove trust in it."
        };
        self.open.configuration |= is_unknown;
        self.decisive("Clients", Line::new(line));
        self.confirmation = Some(step.to_owned());
        self.cannot_confirm = true;
    }
}

fn is_unknown<T>(finding: &Finding<T>) -> bool {
    matches!(finding, Finding::Unknown(_))
}

/// Returns an identity in words, and in one name.
fn identity(revoker: &Revoker) -> (Line, String) {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    if let Some(role) = text(&revoker.role) {
        let mut line = Line::new("role ").name(&role);
        if let Some(session) = text(&revoker.session) {
            line = line.words(", session ").name(&session);
        }
        return (line, role);
    }
    match text(&revoker.user) {
        Some(_) if revoker.identity_type == "Root" => {
            return (Line::new("root user"), "root user".to_owned());
        }
        Some(user) => return (Line::new("user ").name(&user), user),
        None => {}
    }
    if let Some(service) = text(&revoker.service) {
        return (Line::new("AWS service ").name(&service), service);
    }
    let other = text(&revoker.arn).or_else(|| text(&Some(revoker.identity_type.clone())));
    match other {
        Some(other) => (Line::default().name(&other), other),
        None => {
            let nobody = "an identity that CloudTrail does not name";
            (Line::new(nobody), nobody.to_owned())
        }
    }
}

/// Returns the person or role to ask about a revocation, as a part of a next step, which is our own words.
fn to_ask(revoker: &Revoker) -> Option<String> {
    let name = |text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.trim().is_empty())?;
        Some(ascii(text, MAX_STEP_NAME_CHARS))
    };
    if let Some(role) = name(&revoker.role) {
        return Some(match name(&revoker.session) {
            Some(session) => format!("{session} (role {role})"),
            None => format!("the users of role {role}"),
        });
    }
    match revoker.identity_type.as_str() {
        "Root" => Some("whoever uses the root user".to_owned()),
        _ => name(&revoker.user),
    }
}

/// Returns the resources that use certificates, and how many there are.
fn resources<'a>(certificates: &[&'a AcmCertificate]) -> (Vec<&'a str>, u64) {
    let resources = certificates.iter().flat_map(|item| &item.in_use_by);
    let resources: Vec<&str> = resources.map(String::as_str).collect();
    let totals = certificates.iter();
    let totals = totals.map(|item| item.in_use_total.max(item.in_use_by.len() as u64));
    (resources, totals.fold(0, u64::saturating_add))
}

/// Returns the first items of a list, and how many more there are.
fn list(items: impl Iterator<Item = Line>, total: u64) -> Line {
    let mut line = Line::default();
    let mut shown = 0;
    for item in items.take(MAX_SHOWN) {
        if shown > 0 {
            line = line.words(", ");
        }
        line = line.line(&item);
        shown += 1;
    }
    let more = with_separators(total.saturating_sub(shown));
    match (shown, more.as_str()) {
        (_, "0") => line,
        (0, more) => line.words(format!("{more} not named")),
        (_, more) => line.words(format!(" and {more} more")),
    }
}

/// Returns the resources that use a certificate, of which there are `total`.
fn users(resources: &[&str], total: u64) -> Line {
    match resources {
        [] => Line::new(count(total, "AWS resource")),
        some => list(some.iter().map(|arn| resource(arn)), total),
    }
}

/// Returns a resource in words, with its region.
fn resource(arn: &str) -> Line {
    let (what, name, region) = parts(arn);
    let line = Line::new(what).name(name);
    match region {
        "" => line,
        region => line.words(format!(" ({region})")),
    }
}

/// Returns the name of a resource.
fn name_of(arn: &str) -> Line {
    Line::default().name(parts(arn).1)
}

/// Returns a resource for a next step, which is our own words.
fn step_name(arn: &str) -> String {
    let (what, name, _) = parts(arn);
    format!("{what}{}", ascii(name, MAX_STEP_NAME_CHARS))
}

/// Splits the ARN of a resource into what it is, its name and its region, of which only the name may
/// have any characters (Service Authorization Reference, "Resource types defined by" each service).
fn parts(arn: &str) -> (&'static str, &str, &str) {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, service, region, _, name] = parts[..] else {
        return ("", arn, "");
    };
    if !arn.bytes().all(is_plain) || !(region.is_empty() || is_word(region)) {
        return ("", arn, "");
    }
    let resource: Vec<&str> = name.split('/').collect();
    match (service, resource.as_slice()) {
        (
            "elasticloadbalancing",
            ["loadbalancer", "app" | "net" | "gwy", name, _] | ["loadbalancer", name],
        ) => ("load balancer ", name, region),
        ("cloudfront", ["distribution", id]) => ("CloudFront distribution ", id, region),
        ("apigateway", ["", "domainnames", name]) => ("API Gateway domain name ", name, region),
        // The service and the resource.
        _ => {
            let start = arn.len() - name.len();
            let start = arn[..start].find(service).unwrap_or(start);
            ("", &arn[start..], region)
        }
    }
}

/// Returns a certificate that was probably renewed after the revoked one.
fn renewed(item: &AcmCertificate) -> Line {
    let line = Line::new("ACM certificate ");
    let line = match is_plain_arn(&item.arn) {
        true => line.words(&item.arn),
        false => line.name(&item.arn),
    };
    let line = line.words(" has the same domain name; its serial is now ");
    let line = match &item.serial {
        Some(serial) => line.name(serial),
        None => line.words("not stated"),
    };
    let (resources, total) = resources(&[item]);
    match total {
        0 => line.words("; ACM reports no AWS service that uses it"),
        _ => line.words("; used by ").line(&users(&resources, total)),
    }
}

/// Returns another certificate of the same subject.
fn sibling(item: &Sibling) -> Line {
    let line = match (&item.serial, &item.certificate_arn) {
        (Some(serial), _) => Line::default().name(serial),
        (None, Some(arn)) => Line::default().name(arn),
        (None, None) => Line::new("serial not stated"),
    };
    let expires = item.not_after.map(|end| match end {
        end if end == Timestamp::MAX => "never expires".to_owned(),
        end => format!("expires {}", &end.to_string()[..10]),
    });
    let issued = match (item.issued_after_revocation, item.same_key) {
        (Some(true), Some(true)) => Some("issued after the revocation"),
        (Some(true), _) => Some("issued after the revocation: probably the replacement"),
        (Some(false) | None, _) => None,
    };
    let key = match item.same_key {
        None => Some("keys not compared"),
        Some(false) => Some("another key"),
        Some(true) => None,
    };
    let notes = [expires.as_deref(), issued, key].into_iter().flatten();
    let notes = notes.collect::<Vec<_>>().join(", ");
    match notes.as_str() {
        "" => line,
        notes => line.words(format!(" ({notes})")),
    }
}
