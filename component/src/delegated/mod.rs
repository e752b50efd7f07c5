//! Who asks, and may they: for servers that leave both questions to the API server (the kubelet's, and the secure ports
//! of the controller manager and the scheduler).
//!
//! [`Delegated::authenticate`] takes a client certificate of a known authority, else a bearer token by TokenReview, else
//! says anonymous. [`Delegated::authorize`] asks by SubjectAccessReview. Answers are kept for a while. What the verbs and
//! resources of a server are is its own business.

mod authority;
mod cache;
mod known;
mod subject;
mod token_key;
mod x509;

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, Request, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::SubjectAccessReview,
};
use kube::{Api, Client, api::PostParams};

use self::{
    authority::Authorities,
    cache::Cache,
    subject::review_spec,
    token_key::{Digest, TokenKey},
};
pub use self::{
    subject::{Attributes, Decision, Refusal, User, cannot},
    x509::{ClientAuthority, Judged},
};
use crate::{client::shown, clock::Clock, flags::Values, informer::Informers, serve::PeerInfo, tls};

/// Answers about longer requests are not kept: whoever asks may make them as long as a request's head.
const CACHED_BYTES_MAX: usize = 10_000;

/// How to delegate. The defaults are those of upstream's secure ports.
#[derive(Clone, Debug)]
pub struct Settings {
    pub anonymous: bool,
    /// `--client-ca-file`.
    pub client_ca_file: Option<PathBuf>,
    /// Whether tokens are looked up at all.
    pub token_review: bool,
    pub token_ttl: Duration,
    /// Without this, everybody authenticated (and, if let in, anonymous) may do everything.
    pub access_review: bool,
    pub allowed_ttl: Duration,
    pub denied_ttl: Duration,
    /// Paths that everybody may read; one ending in `*` stands for all that begin so.
    pub always_allow_paths: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let ttl = Duration::from_secs(10);
        Self {
            anonymous: true,
            client_ca_file: None,
            token_review: true,
            token_ttl: ttl,
            access_review: true,
            allowed_ttl: ttl,
            denied_ttl: ttl,
            always_allow_paths: ["/healthz", "/readyz", "/livez"].map(str::to_owned).to_vec(),
        }
    }
}

impl Settings {
    /// From the flags of [`crate::flags::secure_serving`].
    pub fn from_flags(values: &Values) -> Self {
        Self {
            client_ca_file: values.opt_str("client-ca-file").map(PathBuf::from),
            token_ttl: values.duration("authentication-token-webhook-cache-ttl"),
            allowed_ttl: values.duration("authorization-webhook-cache-authorized-ttl"),
            denied_ttl: values.duration("authorization-webhook-cache-unauthorized-ttl"),
            always_allow_paths: values.strings("authorization-always-allow-paths"),
            ..Self::default()
        }
    }
}

/// The API server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("token review: {}", shown(.0))]
    TokenReview(#[source] kube::Error),
    #[error("subject access review for {user}: {}", shown(source))]
    AccessReview { user: String, source: kube::Error },
}

/// Answers both questions for one server.
pub struct Delegated {
    client: Option<Client>,
    settings: Settings,
    authorities: Authorities,
    clock: Clock,
    tokens: Cache<Digest, Option<User>>,
    token_key: TokenKey,
    decisions: Cache<(User, Attributes), Decision>,
}

impl Delegated {
    /// Without a client nobody but holders of certificates is known, and nobody but `system:masters` is let in where
    /// access is reviewed. Fails when the client authorities cannot be read.
    pub fn new(client: Option<Client>, settings: Settings, clock: Clock) -> Result<Arc<Self>, tls::Error> {
        let authorities = Authorities::new(settings.client_ca_file.clone())?;
        Ok(Arc::new(Self {
            client,
            settings,
            authorities,
            clock,
            tokens: Cache::new(),
            token_key: TokenKey::from_os(),
            decisions: Cache::new(),
        }))
    }

    /// Takes the client authorities that the API server publishes (`kube-system/extension-apiserver-authentication`),
    /// now and as they change, unless a file was given. Upstream's secure ports do so when `--client-ca-file` is not.
    pub fn follow_cluster(&self, informers: &Informers) {
        self.authorities.follow(informers);
    }

    /// Who asks. `Ok(None)`: what was shown is not valid, or nothing was and anonymous requests are off. The answer is 401.
    pub async fn authenticate(&self, headers: &HeaderMap, peer: Option<&PeerInfo>) -> Result<Option<User>, Error> {
        let certificates = peer.map(|peer| &*peer.certificates).unwrap_or_default();
        let shown = if certificates.is_empty() { None } else { self.authorities.current() };
        if let Some(user) = shown.as_ref().and_then(|authority| authority.user(certificates, self.clock.now())) {
            return Ok(Some(user.authenticated()));
        }
        match bearer_token(headers) {
            Some(token) => Ok(self.review_token(token).await?.map(User::authenticated)),
            None if shown.is_some() => Ok(None),
            None => Ok(self.settings.anonymous.then(User::anonymous)),
        }
    }

    async fn review_token(&self, token: &str) -> Result<Option<User>, Error> {
        let Some(client) = self.client.as_ref().filter(|_| self.settings.token_review) else {
            return Ok(None);
        };
        let key = self.token_key.digest(token);
        if let Some(user) = self.tokens.get(&key) {
            return Ok(user);
        }
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(client.clone());
        let status = api.create(&PostParams::default(), &review).await.map_err(Error::TokenReview)?.status;
        let status = status.unwrap_or_default();
        let user = status.authenticated.unwrap_or_default().then(|| status.user.unwrap_or_default().into());
        self.tokens.put(key, user.clone(), self.settings.token_ttl);
        Ok(user)
    }

    /// Whether `user` may do it.
    pub async fn authorize(&self, user: &User, attributes: &Attributes) -> Result<Decision, Error> {
        let open = matches!(attributes, Attributes::NonResource { path, .. } if self.is_open(path));
        // The API server would say the same about its superusers; asked without it, it keeps a cluster reparable.
        if open || !self.settings.access_review || user.groups.iter().any(|group| group == "system:masters") {
            return Ok(Decision::Allow);
        }
        let Some(client) = &self.client else {
            return Ok(Decision::Deny("no API server to ask".to_owned()));
        };
        let key = (user.clone(), attributes.clone());
        if let Some(decision) = self.decisions.get(&key) {
            return Ok(decision);
        }
        let review = SubjectAccessReview { spec: review_spec(user, attributes), ..SubjectAccessReview::default() };
        let api: Api<SubjectAccessReview> = Api::all(client.clone());
        let failed = |source| Error::AccessReview { user: user.name.clone(), source };
        let status = api.create(&PostParams::default(), &review).await.map_err(failed)?.status.unwrap_or_default();
        let (decision, ttl) = match status.allowed {
            true => (Decision::Allow, self.settings.allowed_ttl),
            false => (Decision::Deny(status.reason.unwrap_or_default()), self.settings.denied_ttl),
        };
        if attributes.bytes() < CACHED_BYTES_MAX {
            self.decisions.put(key, decision.clone(), ttl);
        }
        Ok(decision)
    }

    fn is_open(&self, path: &str) -> bool {
        self.settings.always_allow_paths.iter().any(|open| match open.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == open,
        })
    }

    /// Both questions about a request to a non-resource path, as a component's own port asks them.
    pub async fn admit<B>(&self, request: &Request<B>) -> Result<User, Refusal> {
        let path = request.uri().path();
        if self.is_open(path) {
            return Ok(User::anonymous());
        }
        let verb = request.method().as_str().to_lowercase();
        let attributes = Attributes::NonResource { verb, path: path.to_owned() };
        self.admit_for(request.headers(), request.extensions().get(), &attributes).await
    }

    /// Both questions about a request whose meaning the caller knows.
    pub async fn admit_for(
        &self,
        headers: &HeaderMap,
        peer: Option<&PeerInfo>,
        attributes: &Attributes,
    ) -> Result<User, Refusal> {
        let user = self.authenticate(headers, peer).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "unable to authenticate the request");
            None
        });
        let user = user.ok_or(Refusal::Unauthorized)?;
        match self.authorize(&user, attributes).await {
            Ok(Decision::Allow) => Ok(user),
            Ok(Decision::Deny(_)) => Err(Refusal::Forbidden { user, request: attributes.clone() }),
            Err(error) => {
                tracing::warn!(%error, "unable to authorize the request");
                Err(Refusal::Failed { user, request: attributes.clone() })
            }
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}
