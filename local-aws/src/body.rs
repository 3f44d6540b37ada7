//! Response bodies, intact and damaged.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};

/// The streaming body of a response.
pub type Body = BoxBody<Bytes, BoxError>;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a body is damaged in transit.
pub(crate) enum Damage {
    /// The connection closes.
    Cut,
    /// No more bytes arrive.
    Stall,
    /// One bit is flipped.
    Flip,
}

/// Damages a body at a byte offset.
pub(crate) fn damage(body: Body, damage: Damage, at: u64) -> Body {
    BoxBody::new(Damaged {
        body,
        damage,
        left: at,
        passed: false,
    })
}

struct Damaged {
    body: Body,
    damage: Damage,
    /// Bytes left before the damage.
    left: u64,
    passed: bool,
}

impl http_body::Body for Damaged {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.left == 0 && !this.passed {
            match this.damage {
                Damage::Cut => {
                    this.passed = true;
                    return Poll::Ready(Some(Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the connection broke within the body",
                    )
                    .into())));
                }
                // No wake-up: only the reader's own timeout ends the wait.
                Damage::Stall => return Poll::Pending,
                Damage::Flip => {}
            }
        }
        let frame = match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            other => return other,
        };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return Poll::Ready(Some(Ok(frame))),
        };
        let length = data.len() as u64;
        if this.passed || this.left >= length {
            this.left -= if this.passed { 0 } else { length };
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let index = usize::try_from(this.left).unwrap_or(usize::MAX);
        match this.damage {
            Damage::Cut | Damage::Stall => {
                data.truncate(index);
                this.left = 0;
            }
            Damage::Flip => {
                let mut changed = BytesMut::from(&data[..]);
                if let Some(byte) = changed.get_mut(index) {
                    *byte ^= 1;
                    this.passed = true;
                }
                data = changed.freeze();
            }
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(crate) fn empty() -> Body {
    full(Bytes::new())
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

pub(crate) fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(crate) fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

pub(crate) fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\r' => escaped.push_str("&#13;"),
            other => escaped.push(other),
        }
    }
    escaped
}
