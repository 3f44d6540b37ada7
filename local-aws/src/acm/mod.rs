//! Emulates AWS Certificate Manager: certificates and the AWS resources that use them.

mod certificate;
mod emulator;
mod protocol;
mod search;

pub use certificate::AcmCertificate;
pub use emulator::Acm;
