//! AWS Private CA, Amazon S3, Amazon SNS and the Lambda Runtime API on loopback, in this process.
//!
//! For the demo and the tests only; nothing of it is ever deployed. What the program under test needs of
//! AWS is here as strictly as AWS documents it, and everything that can go wrong can be made to.
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
//! aws.misbehave(On::operation("GetObject").times(2), Fault::CutBody { after: 100 });
//!
//! let server = aws.serve().await?; // AWS_ENDPOINT_URL=server.endpoint_url()
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # How it is built
//!
//! A request takes one way, whether it came over HTTP ([`LocalAws::serve`]) or from an SDK client in this
//! process ([`LocalAws::http_client`]): it is read as a [`Call`] and recorded, the hook and the orders for
//! faults are asked, the service does the work, and the answer is damaged where a fault says so.
//!
//! - Architecture invariant: [`LocalAws::call`] is the only entrance, and knows nothing of sockets.
//! - Architecture invariant: the services know nothing of faults, recording and each other, but that
//!   Private CA writes to S3.
//! - Architecture invariant: one [`Clock`] gives all dates and limits, and follows tokio's; nothing runs in
//!   the background (but for [`Fault::Delayed`]). A report that becomes due is written when somebody next
//!   looks.
//! - Identifiers are made of a seed and a counter, so a run that is repeated is the same.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod account;
mod body;
mod call;
mod clock;
mod connector;
mod error_reply;
mod fault;
mod hook;
mod ids;
mod injection;
mod lambda;
mod operations;
mod pca;
mod recording;
mod report;
mod s3;
mod server;
mod service;
mod settings;
mod sns;

pub use account::LocalAws;
pub use body::{Body, BoxError};
pub use call::Call;
pub use clock::Clock;
pub use error_reply::ErrorReply;
pub use fault::Fault;
pub use hook::{Action, Phase};
pub use injection::On;
pub use lambda::{InvocationError, RuntimeApi};
pub use pca::{
    NextReport, Outcome, PrivateCa, Quotas, ReportChecksum, ReportInfo, ReportPolicy, Status,
};
pub use report::{Certificate, JsonLayout, ReportFormat, render};
pub use s3::{
    Checksum, ChecksumAlgorithm, Content, Generated, ObjectInfo, Pieces, PrivateCaAccess, S3,
};
pub use server::{Disconnected, Server};
pub use service::Service;
pub use settings::Settings;
pub use sns::{Attribute, Delivery, MAXIMUM_MESSAGE_SIZE, Message, Protocol, Sns, Subscription};
