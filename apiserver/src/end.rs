//! How a request ended, and what its client is told of that.

use machinery::field::quote;
use machinery::status::Status;

use crate::audit::Trail;
use crate::http_body::{Response, full};
use crate::rest::negotiate::Accept;
use crate::rest::respond::{body_response, failure};

pub enum End {
    Answered(Response),
    Refused(Status),
    TooLate,
    Panicked,
}

impl From<Result<Response, Status>> for End {
    fn from(outcome: Result<Response, Status>) -> Self {
        outcome.map_or_else(Self::Refused, Self::Answered)
    }
}

impl End {
    /// The answer that tells it, once it is written down.
    pub async fn told(self, trail: &Trail, accept: Accept, is_long: bool) -> Response {
        match self {
            Self::Answered(response) => trail.answered(response, None, is_long).await,
            Self::Refused(status) => trail.answered(failure(&status, accept), Some(&status), is_long).await,
            Self::TooLate => {
                let status = too_late();
                trail.answered(without_kind(&status), Some(&status), is_long).await
            }
            Self::Panicked => {
                trail.panicked().await;
                tracing::error!("a handler panicked; the request is answered with an internal error");
                failure(&Status::internal_error("the server made a mistake; its log says more"), accept)
            }
        }
    }
}

/// Of a request, or of a read of the store for one.
pub fn too_late() -> Status {
    Status::timeout("request did not complete within the allotted timeout")
}

/// As upstream tells of its time that is over, whatever was asked for: a Status that does not say that it is one, as text.
fn without_kind(status: &Status) -> Response {
    let (message, reason) = (quote(&status.message), quote(status.reason));
    let body = format!(
        "{{\"metadata\":{{}},\"status\":\"Failure\",\"message\":{message},\"reason\":{reason},\"details\":{{}},\"code\":{}}}\n",
        status.code
    );
    body_response(status.code, "text/plain; charset=utf-8", full(body))
}
