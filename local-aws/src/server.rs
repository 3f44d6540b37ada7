//! HTTP/1.1 server on loopback.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Sleep;

use crate::body::{Body, BoxError};

/// The connection was closed without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection closed before message completed")
    }
}

impl std::error::Error for Disconnected {}

/// A server on its own loopback port. Dropping it closes the port and all connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts a server on 127.0.0.1.
    ///
    /// # Errors
    /// If loopback cannot be bound.
    pub(crate) async fn start<S, F>(handler: S) -> io::Result<Self>
    where
        S: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Disconnected>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                // The client retries a connection that could not be accepted.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                // Small responses must not wait for the client's acknowledgement; best effort.
                let _ = stream.set_nodelay(true);
                while connections.try_join_next().is_some() {}
                connections.spawn(serve_connection(stream, handler.clone()));
            }
        });
        Ok(Self { address, accepting })
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the value for `AWS_ENDPOINT_URL`.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve_connection<S, F>(stream: tokio::net::TcpStream, handler: S)
where
    S: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Disconnected>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let (parts, body) = request.into_parts();
            // Ignore a request that ends early.
            let body = body.collect().await.map_err(|_| Disconnected)?.to_bytes();
            let response = handler(Request::from_parts(parts, body)).await?;
            Ok::<_, Disconnected>(response.map(|body| Flushed { body, error: None }))
        }
    });
    // An error means that one side closed the connection, often on purpose; the client sees it.
    let _ = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Delays an error until the bytes before it have been sent: on an error, hyper closes the connection
/// without sending its buffer.
struct Flushed {
    body: Body,
    error: Option<(BoxError, Pin<Box<Sleep>>)>,
}

impl http_body::Body for Flushed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        const TIME_TO_LEAVE: Duration = Duration::from_millis(10);
        if self.error.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Err(error)) => {
                    self.error = Some((error, Box::pin(tokio::time::sleep(TIME_TO_LEAVE))));
                }
                other => return Poll::Ready(other),
            }
        }
        if let Some((_, time_to_leave)) = &mut self.error {
            ready!(time_to_leave.as_mut().poll(context));
        }
        Poll::Ready(self.error.take().map(|(error, _)| Err(error)))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
