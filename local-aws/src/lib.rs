//! Emulators of AWS Private CA, Amazon S3, Amazon SNS, Amazon SQS, AWS CloudTrail, AWS Certificate
//! Manager, the Lambda Runtime API and Lambda's event source mapping for SQS, in this process.
//!
//! For the demo and the tests only; never deployed. The emulators implement what the function under test
//! uses, as strictly as AWS documents it, and can inject every kind of fault.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use local_aws::{Fault, LocalAws, On};
//!
//! let aws = LocalAws::new();
//! aws.s3().create_bucket("reports");
//! let ca = aws.private_ca().create("Example Root CA");
//! let serial = aws.private_ca().issue(&ca, "www.example.com");
//! aws.private_ca().revoke(&ca, &serial, "KEY_COMPROMISE");
//! aws.inject(On::operation("GetObject").times(2), Fault::CutBody { after: 100 });
//!
//! let server = aws.serve().await?; // AWS_ENDPOINT_URL=server.endpoint_url()
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # Design
//!
//! Every request takes the same path, whether it arrives over HTTP ([`LocalAws::serve`]) or from an SDK
//! client in this process ([`LocalAws::http_client`]): it is parsed into a [`Call`] and recorded, the hook
//! and the injected faults are consulted, the service processes it, and a fault may damage the response.
//!
//! - Architecture invariant: [`LocalAws::call`] is the only entry point and does not use sockets.
//! - Architecture invariant: the services do not know about faults, recording or each other, except that
//!   Private CA writes reports to S3 and revocations to CloudTrail.
//! - Architecture invariant: all times come from one [`Clock`], which follows tokio's. Nothing runs in the
//!   background except [`Fault::Delayed`]: a report that is due is written at the next access.
//! - Lambda's own calls to SQS ([`EventSourceMapping`]) are not requests: they are not recorded and get no
//!   faults.
//! - Identifiers are derived from a seed and a counter, so runs are reproducible.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod account;
mod acm;
mod aws_json;
mod body;
mod call;
mod clock;
mod cloud_trail;
mod connector;
mod error_reply;
mod event_source_mapping;
mod fault;
mod hook;
mod ids;
mod injection;
mod lambda;
mod md5;
mod operations;
mod pca;
mod recording;
mod report;
mod s3;
mod server;
mod service;
mod settings;
mod sns;
mod sqs;
mod token_bucket;
mod x509;

pub use account::LocalAws;
pub use acm::{Acm, AcmCertificate};
pub use body::{Body, BoxError};
pub use call::Call;
pub use clock::Clock;
pub use cloud_trail::{Actor, CloudTrail, TrailEvent};
pub use error_reply::ErrorReply;
pub use event_source_mapping::{EventSourceMapping, MappingSettings};
pub use fault::Fault;
pub use hook::{Action, Phase};
pub use injection::On;
pub use lambda::{InvocationError, RuntimeApi};
pub use pca::{
    NextReport, Outcome, PrivateCa, Quotas, ReportChecksum, ReportInfo, ReportPolicy,
    RevocationConfiguration, Status, UsageMode,
};
pub use report::{Certificate, JsonLayout, Profile, ReportFormat, render};
pub use s3::{
    BucketEncryption, Checksum, ChecksumAlgorithm, Content, Generated, ObjectInfo, Pieces,
    PrivateCaAccess, S3,
};
pub use server::{Disconnected, Server};
pub use service::Service;
pub use settings::Settings;
pub use sns::{Attribute, Delivery, MAXIMUM_MESSAGE_SIZE, Message, Protocol, Sns, Subscription};
pub use sqs::{QueueSettings, Redrive, Sqs, SqsMessage};
