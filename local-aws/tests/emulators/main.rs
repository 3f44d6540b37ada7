//! The emulators as SDK clients and a Lambda runtime see them.

mod clients;
mod faults;
mod lambda;
mod private_ca;
mod report;
mod s3;
mod sns;
