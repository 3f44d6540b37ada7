//! The AWS SDK: clients, classified failures, and the account's certificate authorities.

pub mod certificate_authorities;
pub mod clients;
pub mod failure;
