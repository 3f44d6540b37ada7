//! The HTTP client of the SDK's clients, with a limit of simultaneous requests.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use tokio::sync::Semaphore;

/// Maximum requests of one client that wait for a response at the same time, and so about the number
/// of its connections. Hundreds of CAs are audited side by side.
pub const MAX_REQUESTS: usize = 64;

/// Returns an HTTPS client like the SDK's default, which cannot be wrapped.
pub fn https_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector =
            ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    })
}

/// Returns settings for one client, whose simultaneous requests are limited to [`MAX_REQUESTS`]. Each
/// service has its own limit, so that one that does not respond leaves the others alone.
///
/// The time that a request waits for its turn counts for the timeout of the attempt.
pub fn limit_requests(sdk_config: &SdkConfig) -> SdkConfig {
    let limited = |inner| {
        SharedHttpClient::new(Limited {
            inner,
            free: Arc::new(Semaphore::new(MAX_REQUESTS)),
        })
    };
    let mut client_config = sdk_config.to_builder();
    client_config.set_http_client(sdk_config.http_client().map(limited));
    client_config.build()
}

#[derive(Debug)]
struct Limited<T> {
    inner: T,
    free: Arc<Semaphore>,
}

impl HttpClient for Limited<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Limited {
            inner: self.inner.http_connector(settings, components),
            free: Arc::clone(&self.free),
        })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

impl HttpConnector for Limited<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, free) = (self.inner.clone(), Arc::clone(&self.free));
        HttpConnectorFuture::new(async move {
            // Never closed.
            let _turn = free.acquire().await;
            inner.call(request).await
        })
    }
}
