//! The AWS SDK: clients and their connections, classified failures, and the account's certificate authorities.

pub mod account_cache;
pub mod bucket;
pub mod certificate_authorities;
pub mod clients;
pub mod connections;
pub mod failure;
