//! Connects AWS SDK clients to the emulators without a socket.

use std::fmt;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use http::header::HOST;
use http::{HeaderValue, Request};
use http_body_util::BodyExt as _;

use crate::account::LocalAws;

impl LocalAws {
    /// Returns an HTTP client for SDK configurations that passes requests directly to [`LocalAws::call`].
    ///
    /// It does not use sockets, so whole programs run under tokio's paused time. It applies the SDK's read
    /// timeout and returns the same errors as the SDK's own client. Any endpoint works, such as
    /// [`LocalAws::ENDPOINT_URL`]; S3 needs path-style addressing.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(InProcess {
            aws: self.clone(),
            read_timeout: None,
        })
    }
}

#[derive(Clone)]
struct InProcess {
    aws: LocalAws,
    read_timeout: Option<std::time::Duration>,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpClient for InProcess {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Self {
            aws: self.aws.clone(),
            read_timeout: settings.read_timeout(),
        })
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let response = this.send(request);
            match this.read_timeout {
                None => response.await,
                Some(limit) => tokio::time::timeout(limit, response)
                    .await
                    .unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into()))),
            }
        })
    }
}

impl InProcess {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request
            .try_into_http1x()
            .map_err(|error| ConnectorError::user(error.into()))?;
        let (mut parts, body) = request.into_parts();
        // An HTTP client would add this header.
        if !parts.headers.contains_key(HOST)
            && let Some(authority) = parts.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            parts.headers.insert(HOST, host);
        }
        let body = body.collect().await.map_err(ConnectorError::user)?;
        let request = Request::from_parts(parts, body.to_bytes());
        let response = self.aws.call(request).await.map_err(|disconnected| {
            // The SDK's own client classifies a connection closed before the response like this.
            ConnectorError::other(disconnected.into(), Some(ErrorKind::TransientError))
        })?;
        response.map(SdkBody::from_body_1_x).try_into().map_err(
            |error: aws_smithy_runtime_api::http::HttpError| {
                ConnectorError::other(error.into(), None)
            },
        )
    }
}
