//! Serving HTTP: the accept loop every server here uses, and the endpoints every component has.
//!
//! [`accept`] takes connections (TLS or plain, HTTP/1.1 or HTTP/2) for any service. [`Endpoints`] is the service of
//! `/healthz`, `/livez`, `/readyz`, `/metrics`, `/configz` and `/version`. Listeners and certificates are given by the
//! caller.

mod accept;
mod endpoints;
mod health;
mod listen;
mod secure;

pub(crate) use self::endpoints::text;
pub use self::{
    accept::{Leave, PeerInfo, accept, accept_for_a_while},
    endpoints::{Endpoints, Gate},
    health::{Checks, Outcome},
    listen::{bind, bind_family},
    secure::{SecureError, secure_address, secure_endpoints, secure_listener, secure_tls, serve_secure},
};
