//! The AWS SDK: clients, the meaning of failures, and what Private CA says of its CAs.

pub mod certificate_authorities;
pub mod clients;
pub mod failure;
