//! The bodies of admin requests, which have a size and a time.

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::timeout;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminBodyFault {
    /// It has more bytes than are taken.
    TooLarge,
    /// It broke off, or did not arrive in time.
    Incomplete,
}

/// The whole body, of at most `bytes` bytes and within `time`.
pub(super) async fn read(body: Incoming, bytes: usize, time: Duration) -> Result<Bytes, AdminBodyFault> {
    match timeout(time, Limited::new(body, bytes).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(AdminBodyFault::TooLarge),
        Ok(Err(_)) | Err(_) => Err(AdminBodyFault::Incomplete),
    }
}
