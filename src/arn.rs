//! Amazon Resource Names of certificate authorities.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The ARN of a certificate authority:
/// `arn:PARTITION:acm-pca:REGION:ACCOUNT:certificate-authority/ID`
/// (AWS Private CA API Reference, CertificateAuthority).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CertificateAuthorityArn(String);

impl CertificateAuthorityArn {
    /// Parses an ARN; `None` if it is not the ARN of a certificate authority.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let is_word = |part: &str| {
            let is_in_word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            !part.is_empty() && part.bytes().all(is_in_word)
        };
        match parts[..] {
            ["arn", partition, "acm-pca", region, account, resource]
                if partition.starts_with("aws")
                    && is_word(partition)
                    && is_word(region)
                    && account.len() == 12
                    && account.bytes().all(|byte| byte.is_ascii_digit())
                    && resource
                        .strip_prefix("certificate-authority/")
                        .is_some_and(is_certificate_authority_id) =>
            {
                Some(Self(text.to_owned()))
            }
            _ => None,
        }
    }

    /// Builds the ARN of a certificate authority from its parts.
    pub fn from_parts(partition: &str, region: &str, account: &str, id: &str) -> Self {
        Self(format!(
            "arn:{partition}:acm-pca:{region}:{account}:certificate-authority/{id}"
        ))
    }

    /// Returns the whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the ID, a UUID.
    pub fn id(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the partition: `aws`, `aws-cn`, `aws-us-gov` or another.
    pub fn partition(&self) -> &str {
        self.part(1)
    }

    /// Returns the region, such as `us-east-1`.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// Returns the account's 12 digits.
    pub fn account(&self) -> &str {
        self.part(4)
    }

    fn part(&self, index: usize) -> &str {
        self.0.split(':').nth(index).unwrap_or_default()
    }
}

impl fmt::Display for CertificateAuthorityArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CertificateAuthorityArn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let error = || format!("{text:?} is not the ARN of a certificate authority");
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(error()))
    }
}

/// Returns whether the text has the form of a certificate authority's ID: a UUID.
pub fn is_certificate_authority_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns the partition that a region belongs to (AWS General Reference, "Regions and endpoints").
pub fn partition_of_region(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "aws-cn",
        Some("us") if region.starts_with("us-gov-") => "aws-us-gov",
        Some("us") if region.starts_with("us-isob-") => "aws-iso-b",
        Some("us") if region.starts_with("us-isof-") => "aws-iso-f",
        Some("us") if region.starts_with("us-iso-") => "aws-iso",
        Some("eu") if region.starts_with("eu-isoe-") => "aws-iso-e",
        Some("eusc") => "aws-eusc",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

    #[test]
    fn arn_parts_are_accessible() {
        let arn = CertificateAuthorityArn::parse(ARN).unwrap();
        assert_eq!(arn.id(), "11223344-1234-1122-2233-112233445566");
        assert_eq!(
            (arn.partition(), arn.region(), arn.account()),
            ("aws", "us-east-1", "123456789012")
        );
        assert_eq!(
            CertificateAuthorityArn::from_parts("aws", "us-east-1", "123456789012", arn.id()),
            arn
        );
    }

    #[test]
    fn other_arns_are_refused() {
        for text in [
            "",
            "arn:aws:acm:us-east-1:123456789012:certificate/11223344-1234-1122-2233-112233445566",
            "arn:aws:acm-pca:us-east-1:12345678901:certificate-authority/11223344-1234-1122-2233-112233445566",
            "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/../../other",
            &format!("{ARN}/certificate/2bae9a75d71b42b4e41e36f8b4b488fc"),
        ] {
            assert_eq!(CertificateAuthorityArn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn regions_map_to_their_partitions() {
        for (region, partition) in [
            ("eu-central-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-west-2", "aws"),
        ] {
            assert_eq!(partition_of_region(region), partition);
        }
    }
}
