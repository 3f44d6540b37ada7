//! The server process of the benchmark: emulated AWS over TLS 1.3, with reports that are generated
//! while they are sent.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use local_aws::{Generated, LocalAws, NextReport, Pieces, Protocol, Subscription};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, version};

use crate::generate::{self, Layout};
use crate::{BUCKET, Options};

/// Certificates of the block of records that a report repeats, and of its last block, in which all
/// are revoked.
const BLOCK: u64 = 10_000;

/// The CA in the generated records.
const GENERATED_CA: &str = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";

/// Serves until standard input ends. The first line of standard output says what is there.
pub async fn serve(directory: &Path, options: Options) {
    let aws = LocalAws::new();
    aws.s3().create_bucket(BUCKET);
    aws.private_ca()
        .set_reports(|reports| reports.interval = Duration::ZERO);
    let topic = aws.sns().create_topic("revocations");
    aws.sns()
        .subscribe(&topic, Subscription::new(Protocol::Sqs, "siem"))
        .expect("a standard topic takes a queue");
    let mut reports = Vec::new();
    let blocks = options.certificates.div_ceil(BLOCK).max(2);
    for layout in [Layout::JsonIndented, Layout::Csv] {
        let ca = aws.private_ca().create(layout.name());
        let report = report(&ca, layout, blocks);
        // One for each audit, and the same object for the others to download.
        for _ in 0..=options.rounds {
            let next = NextReport::new().content(report.clone());
            aws.private_ca().next_report(&ca, next);
        }
        let bytes = report.length;
        aws.s3().put(BUCKET, layout.name(), report);
        reports.push(json!({ "ca": ca, "bytes": bytes, "certificates": blocks * BLOCK }));
    }
    let plain = aws.serve().await.expect("loopback can be bound");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("loopback can be bound");
    let port = listener.local_addr().expect("it is bound").port();
    let acceptor = TlsAcceptor::from(Arc::new(tls(directory)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(forward(acceptor.clone(), stream, plain.address()));
        }
    });
    println!(
        "{}",
        json!({ "endpoint": format!("https://127.0.0.1:{port}"), "topic": topic, "reports": reports })
    );
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
}

/// Returns settings for TLS 1.3 with AES-128-GCM.
fn tls(directory: &Path) -> ServerConfig {
    let certificate = CertificateDer::from_pem_file(directory.join("certificate.pem"));
    let key = PrivateKeyDer::from_pem_file(directory.join("key.pem"));
    let crypto = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    };
    ServerConfig::builder_with_provider(Arc::new(crypto))
        .with_protocol_versions(&[&version::TLS13])
        .expect("the suite is one of TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("openssl wrote it")],
            key.expect("openssl wrote it"),
        )
        .expect("the key is that of the certificate")
}

/// Forwards a connection to the emulators, which do not use TLS.
async fn forward(acceptor: TlsAcceptor, stream: TcpStream, to: std::net::SocketAddr) {
    const BUFFER_BYTES: usize = 256 << 10;
    // A client may leave at any time; it sees the error.
    let _ = stream.set_nodelay(true);
    let (Ok(mut stream), Ok(mut plain)) =
        (acceptor.accept(stream).await, TcpStream::connect(to).await)
    else {
        return;
    };
    let _ = plain.set_nodelay(true);
    let _ = copy_bidirectional_with_sizes(&mut stream, &mut plain, 4096, BUFFER_BYTES).await;
}

/// Returns a report that repeats a block of certificates, so that sending it takes little time. Those of
/// the last block are revoked.
fn report(ca: &str, layout: Layout, blocks: u64) -> Generated {
    let (start, valid, between) = block(ca, layout, 0);
    let (_, revoked, _) = block(ca, layout, 100);
    let end: &[u8] = if layout == Layout::Csv { b"" } else { b"\n]" };
    Generated::measured(Generated::skipping(move || -> Pieces {
        let (valid, between) = (valid.clone(), between.clone());
        let repeated =
            (1..blocks).flat_map(move |_| slices(valid.clone()).chain([between.clone()]));
        let last = slices(revoked.clone()).chain([Bytes::from_static(end)]);
        Box::new([start.clone()].into_iter().chain(repeated).chain(last))
    }))
}

/// Returns the bytes before the first record, the records, and what is between two records.
fn block(ca: &str, layout: Layout, revoked_percent: u64) -> (Bytes, Bytes, Bytes) {
    let mut text = Vec::new();
    generate::report(layout, BLOCK, revoked_percent, &mut text).expect("memory can be written");
    let text = String::from_utf8(text)
        .expect("reports are text")
        .replace(GENERATED_CA, ca);
    let (start, records, between) = match layout {
        Layout::Csv => {
            let header = text.find('\n').expect("there is a header") + 1;
            (&text[..header], &text[header..], "")
        }
        _ => ("[", text[1..text.len() - 1].trim_end(), ",\n"),
    };
    [start, records, between]
        .map(|part| Bytes::copy_from_slice(part.as_bytes()))
        .into()
}

/// Returns the bytes in the slices in which they are sent.
fn slices(bytes: Bytes) -> impl Iterator<Item = Bytes> + Send {
    const SLICE_BYTES: usize = 256 << 10;
    let starts = (0..bytes.len()).step_by(SLICE_BYTES);
    starts.map(move |start| bytes.slice(start..bytes.len().min(start + SLICE_BYTES)))
}
