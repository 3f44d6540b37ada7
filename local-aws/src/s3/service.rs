//! Connects the S3 emulator to `s3s`, which implements the HTTP protocol.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};

use super::emulator::S3;
use super::protocol::{Access, Protocol};
use crate::body::{self, Body};
use crate::error_reply::ErrorReply;
use crate::settings::Settings;

/// Creates the `s3s` service for the known caller.
pub(crate) fn service(s3: &S3, settings: &Settings) -> S3Service {
    let mut config = S3Config::default();
    // `s3s` compares a signature's date with the machine's clock, which may differ from ours.
    config.presigned_url_max_skew_time_secs = u32::MAX;
    let mut builder = S3ServiceBuilder::new(Protocol(s3.clone()));
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(SimpleAuth::from_single(
        settings.access_key_id.as_str(),
        settings.secret_access_key.as_str(),
    ));
    builder.set_access(Access(s3.clone()));
    builder.build()
}

/// Processes one request and adds the headers of every S3 response.
pub(crate) async fn respond(
    service: &S3Service,
    request: Request<Bytes>,
    request_id: &str,
) -> Response<Body> {
    let head = request.method() == http::Method::HEAD;
    let mut response = match service.call(request.map(s3s::Body::from)).await {
        Ok(response) => response.map(BoxBody::new),
        Err(error) => {
            let error = Box::<dyn std::error::Error + Send + Sync>::from(error);
            error_response(
                &ErrorReply::new(500, "InternalError", error.to_string()),
                request_id,
            )
        }
    };
    if head {
        *response.body_mut() = body::empty();
    }
    let headers = response.headers_mut();
    body::insert(headers, "x-amz-request-id", request_id);
    body::insert(headers, "x-amz-id-2", "local-aws");
    body::insert(headers, "server", "AmazonS3");
    response
}

/// Builds an S3 error response.
pub(crate) fn error_response(error: &ErrorReply, request_id: &str) -> Response<Body> {
    let mut response = Response::new(body::full(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message><RequestId>{request_id}</RequestId></Error>",
        body::escape_xml(&error.code),
        body::escape_xml(&error.message),
    )));
    *response.status_mut() = body::status(error.status);
    let headers = response.headers_mut();
    body::insert(headers, "content-type", "application/xml");
    body::insert(headers, "x-amz-request-id", request_id);
    response
}
