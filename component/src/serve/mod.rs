//! Serving HTTP: the accept loop every server here uses, and the endpoints every component has.
//!
//! [`accept`] takes connections (TLS or plain, HTTP/1.1 or HTTP/2) for any service, [`accept_from`] those of the same
//! process as well. [`Endpoints`] is the service of `/healthz`, `/livez`, `/readyz`, `/metrics`, `/configz` and `/version`,
//! and of the [`zpages`] where they are wanted. Listeners and certificates are given by the caller.

mod accept;
mod connection;
mod endpoints;
mod health;
mod listen;
mod outlet;
mod secure;
pub mod zpages;

use http::HeaderMap;
use http::header::CONNECTION;

pub(crate) use self::endpoints::text;
pub use self::{
    accept::{Leave, PeerInfo, Ways, accept, accept_from},
    endpoints::{Endpoints, Gate},
    health::{Checks, Outcome},
    listen::{bind, bind_family, claim},
    outlet::COPY_BYTES,
    secure::{SecureError, secure_address, secure_endpoints, secure_listener, secure_tls, serve_secure},
};

/// Whether a client asks that its connection be upgraded, as upstream has it; one that only names a protocol does not.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let says_so = |value: &[u8]| value.to_ascii_lowercase().windows(b"upgrade".len()).any(|word| word == b"upgrade");
    headers.get_all(CONNECTION).iter().any(|value| says_so(value.as_bytes()))
}
