//! Emulates Amazon S3: `s3s` implements the protocol, `store` the objects and their rules.

mod access;
mod emulator;
mod encryption;
mod object;
mod protocol;
mod service;
mod store;

pub use access::PrivateCaAccess;
pub use emulator::{ObjectInfo, S3};
pub use encryption::BucketEncryption;
pub(crate) use object::Object;
pub use object::{Checksum, ChecksumAlgorithm, Content, Generated, Pieces};
pub(crate) use service::{error_response, respond, service};
pub(crate) use store::ObjectPath;
