//! Amazon S3: the protocol by `s3s`, the rules and the objects by the store here.

mod access;
mod emulator;
mod object;
mod protocol;
mod service;
mod store;

pub use access::PrivateCaAccess;
pub use emulator::{ObjectInfo, S3};
pub(crate) use object::Object;
pub use object::{Checksum, ChecksumAlgorithm, Content, Generated, Pieces};
pub(crate) use service::{answer, error_response, service};
pub(crate) use store::ObjectPath;
