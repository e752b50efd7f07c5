//! Authentication: who sent a request (Kubernetes concept: "Authenticating").
//!
//! Enter at [`Authenticator::authenticate`]. A front proxy's word is taken first, then a client certificate, then a bearer
//! token, then that of a WebSocket's opening: one that is good is enough. A request whose credentials are all wrong is
//! refused, never treated as anonymous.

pub mod bootstrap_tokens;
pub mod impersonation;
pub mod legacy_tokens;
pub mod openid;
mod remarks;
pub mod request_header;
mod signatures;
pub mod static_tokens;
pub mod tokens;
mod uses;
pub mod web_socket;

use component::delegated::ClientAuthority;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use machinery::status::Status;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

pub use self::remarks::Remarks;
use crate::api::Api;
use crate::metrics::authentication::{self, Attempt};
use crate::request::User;

/// How requests are authenticated.
pub struct Authenticator {
    /// Front proxies, which say in headers who asks.
    pub front_proxy: Option<request_header::RequestHeader>,
    pub client_ca: Option<ClientAuthority>,
    pub static_tokens: static_tokens::StaticTokens,
    /// Whether Secrets of bootstrap tokens are looked at.
    pub bootstrap_tokens: bool,
    /// Requests without credentials are `system:anonymous`; else they are refused, but for the probe endpoints.
    pub anonymous: bool,
    pub impersonation: impersonation::Memory,
    /// What extension servers are told of all this.
    pub published: serde_json::Map<String, serde_json::Value>,
}

/// The user of a certificate; the certificate's hash tells later which credential it was.
fn from_certificate(user: component::delegated::User, certificate: &[u8]) -> User {
    let mut credential = "X509SHA256=".to_owned();
    for byte in Sha256::digest(certificate) {
        credential.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    let extra = ("authentication.kubernetes.io/credential-id".to_owned(), vec![credential]);
    User { name: user.name, uid: user.uid, groups: user.groups, extra: [extra].into() }.authenticated()
}

impl Authenticator {
    pub async fn authenticate(
        &self,
        api: &Api,
        headers: &HeaderMap,
        peer: &[CertificateDer<'static>],
    ) -> Result<(User, Remarks), Status> {
        let found = self.look(api, headers, peer).await;
        match &found {
            Ok((user, _)) => authentication::came(&user.name),
            Err(attempt) => authentication::attempted(*attempt),
        }
        found.map_err(|_| Status::unauthorized())
    }

    async fn look(
        &self,
        api: &Api,
        headers: &HeaderMap,
        peer: &[CertificateDer<'static>],
    ) -> Result<(User, Remarks), Attempt> {
        let plain = |user| (user, Remarks::default());
        let proxied = self.front_proxy.as_ref().and_then(|proxy| proxy.user(peer, headers, api.clock.now()));
        if let Some(user) = proxied {
            return Ok(plain(user.authenticated()));
        }
        let mut refused = false;
        if let (Some(authority), [first, ..]) = (&self.client_ca, peer) {
            let now = api.clock.now();
            let judged = authority.judge(peer, now);
            if let Some(ends) = judged.ends {
                authentication::certificate_shown(ends - now.as_second());
            }
            if let Some(user) = judged.user {
                return Ok(plain(from_certificate(user, first)));
            }
            tracing::warn!(
                "unable to authenticate the request: client certificate is not signed by the client CA, or not valid now"
            );
            refused = true;
        }
        let of_socket = web_socket::token(headers).unwrap_or_else(|error| {
            tracing::warn!(error, "unable to authenticate the request");
            refused = true;
            None
        });
        for token in bearer(headers).into_iter().chain(of_socket.as_deref()) {
            match self.of_token(api, token, &[]).await {
                Ok(found) => return Ok((found.user.authenticated(), found.remarks)),
                Err(error) => tracing::warn!(%error, "unable to authenticate the request: token refused"),
            }
            refused = true;
        }
        match refused {
            false if self.anonymous => Ok(plain(User::anonymous())),
            false => Err(Attempt::Failure),
            true => Err(Attempt::Error),
        }
    }

    /// Takes out what told who asks, once that is known: nobody behind this server is told a credential, or takes the
    /// client's word for who it is.
    pub fn strip(&self, headers: &mut HeaderMap) {
        web_socket::strip(headers);
        let tells = |name: &HeaderName| {
            let text = name.as_str();
            let of_proxy = self.front_proxy.as_ref().is_some_and(|proxy| proxy.reads(text));
            name == AUTHORIZATION
                || text.starts_with(impersonation::PREFIX)
                || request_header::is_usual(text)
                || of_proxy
        };
        let told: Vec<HeaderName> = headers.keys().filter(|name| tells(name)).cloned().collect();
        for name in told {
            headers.remove(name);
        }
    }

    /// Whom a bearer token stands for, by whichever way knows it; those without audiences are for this server's.
    pub async fn of_token(
        &self,
        api: &Api,
        token: &str,
        audiences: &[String],
    ) -> Result<tokens::Authenticated, tokens::Error> {
        let own = api.tokens.as_ref().map_or(&[][..], |tokens| &tokens.audiences);
        let wanted = if audiences.is_empty() { own } else { audiences };
        let good: Vec<String> = wanted.iter().filter(|audience| own.contains(audience)).cloned().collect();
        if audiences.is_empty() || !good.is_empty() {
            let known = match self.static_tokens.find(token) {
                None if self.bootstrap_tokens => bootstrap_tokens::user(api, token).await?,
                known => known,
            };
            if let Some(user) = known {
                return Ok(tokens::Authenticated { user, audiences: good, remarks: Remarks::default() });
            }
        }
        match &api.tokens {
            Some(tokens) => tokens.authenticate(api, token, audiences).await,
            None => Err(tokens::Error::Token("the server has no key to verify tokens with".to_owned())),
        }
    }
}

/// The token of `Authorization: Bearer …`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
