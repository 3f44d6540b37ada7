//! The emulators as SDK clients and a Lambda runtime see them.

mod acm;
mod clients;
mod cloud_trail;
mod event_source_mapping;
mod faults;
mod lambda;
mod private_ca;
mod report;
mod s3;
mod sns;
mod sqs;
mod x509;
