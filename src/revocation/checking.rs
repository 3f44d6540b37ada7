//! How clients can check whether a certificate was revoked.

/// How clients can learn that a certificate of a CA was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevocationChecking {
    /// Whether the CA publishes a CRL.
    pub crl: bool,
    /// Whether the CA publishes a CRL but leaves its address out of certificates (`OmitExtension`):
    /// only clients that were given the address can check it.
    pub crl_without_pointer: bool,
    /// Whether the CA has an OCSP responder.
    pub ocsp: bool,
    /// Whether the CA issues only certificates that are valid for at most seven days (usage mode
    /// `SHORT_LIVED_CERTIFICATE`), which are usually not revoked.
    pub short_lived: bool,
}

impl RevocationChecking {
    /// Returns what clients can check, in words.
    pub fn text(self) -> &'static str {
        match (self.crl, self.ocsp) {
            (true, true) => "CRL and OCSP",
            (true, false) => "CRL only",
            (false, true) => "OCSP only",
            (false, false) if self.short_lived => "short-lived certificates: no CRL or OCSP needed",
            (false, false) => "no CRL and no OCSP: revocation has no effect on clients",
        }
    }

    /// Whether a revocation has no effect on clients, although certificates are valid for long.
    pub fn is_missing(self) -> bool {
        !self.crl && !self.ocsp && !self.short_lived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_says_how_clients_learn_of_revocations() {
        for (crl, ocsp, short_lived, text) in [
            (true, true, false, "CRL and OCSP"),
            (true, false, true, "CRL only"),
            (false, true, false, "OCSP only"),
            (
                false,
                false,
                false,
                "no CRL and no OCSP: revocation has no effect on clients",
            ),
            (
                false,
                false,
                true,
                "short-lived certificates: no CRL or OCSP needed",
            ),
        ] {
            let checking = RevocationChecking {
                crl,
                ocsp,
                short_lived,
                ..RevocationChecking::default()
            };
            assert_eq!(checking.text(), text);
            assert_eq!(checking.is_missing(), text.contains("no effect"));
        }
    }
}
