//! Who asks, and may they: for servers that leave both questions to the API server (the kubelet's, and the secure ports
//! of the controller manager and the scheduler).
//!
//! [`Delegated::authenticate`] takes a client certificate of a known authority, else a bearer token by TokenReview, else
//! says anonymous. [`Delegated::authorize`] asks by SubjectAccessReview. Answers are kept for a while. What the verbs and
//! resources of a server are is its own business.

mod cache;
mod x509;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

use self::cache::Cache;
pub use self::x509::ClientAuthority;
use crate::{clock::Clock, flags::Values, serve::PeerInfo, tls};

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
}

impl User {
    /// Who shows nothing.
    pub fn anonymous() -> Self {
        Self::named("system:anonymous", ["system:unauthenticated"])
    }

    pub fn named<'a>(name: &str, groups: impl IntoIterator<Item = &'a str>) -> Self {
        Self { name: name.into(), groups: groups.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attributes {
    Resource {
        verb: String,
        group: String,
        version: String,
        resource: String,
        subresource: String,
        namespace: String,
        name: String,
    },
    NonResource {
        verb: String,
        path: String,
    },
}

/// What the API server said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// With the reason, if one was told.
    Deny(String),
}

/// Why a request is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("Unauthorized")]
    Unauthorized,
    #[error("Forbidden (user={}, {request})", user.name)]
    Forbidden { user: User, request: String },
    #[error("Authorization error (user={}, {request})", user.name)]
    Failed { user: User, request: String },
}

impl Refusal {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// As text, as upstream's kubelet answers.
    pub fn response(&self) -> Response<Full<Bytes>> {
        crate::serve::text(self.status(), "text/plain; charset=utf-8", format!("{self}\n"))
    }
}

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
    #[error("token review: {0}")]
    TokenReview(#[source] kube::Error),
    #[error("subject access review for {user}: {source}")]
    AccessReview { user: String, source: kube::Error },
}

/// Answers both questions for one server.
pub struct Delegated {
    client: Option<Client>,
    settings: Settings,
    authority: Option<ClientAuthority>,
    clock: Clock,
    tokens: Cache<String, Option<User>>,
    decisions: Cache<(User, Attributes), Decision>,
}

impl Delegated {
    /// Without a client nobody but holders of certificates is known, and nobody but `system:masters` is let in where
    /// access is reviewed. Fails when the client authorities cannot be read.
    pub fn new(client: Option<Client>, settings: Settings, clock: Clock) -> Result<Arc<Self>, tls::Error> {
        let authority = settings.client_ca_file.as_deref().map(ClientAuthority::load).transpose()?;
        Ok(Arc::new(Self { client, settings, authority, clock, tokens: Cache::new(), decisions: Cache::new() }))
    }

    /// Who asks. `Ok(None)`: what was shown is not valid, or nothing was and anonymous requests are off. The answer is 401.
    pub async fn authenticate(&self, headers: &HeaderMap, peer: Option<&PeerInfo>) -> Result<Option<User>, Error> {
        let certificates = peer.map(|peer| &*peer.certificates).unwrap_or_default();
        if let Some(user) = self.authority.as_ref().and_then(|authority| authority.user(certificates, self.clock.now()))
        {
            return Ok(Some(user));
        }
        match bearer_token(headers) {
            Some(token) => self.review_token(token).await,
            None if self.authority.is_some() && !certificates.is_empty() => Ok(None),
            None => Ok(self.settings.anonymous.then(User::anonymous)),
        }
    }

    async fn review_token(&self, token: &str) -> Result<Option<User>, Error> {
        let Some(client) = self.client.as_ref().filter(|_| self.settings.token_review) else {
            return Ok(None);
        };
        let key = token.to_owned();
        if let Some(user) = self.tokens.get(&key) {
            return Ok(user);
        }
        let spec = TokenReviewSpec { token: key.clone(), audiences: None };
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
        self.decisions.put(key, decision.clone(), ttl);
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
            Ok(Decision::Deny(_)) => Err(Refusal::Forbidden { user, request: attributes.to_string() }),
            Err(error) => {
                tracing::warn!(%error, "unable to authorize the request");
                Err(Refusal::Failed { user, request: attributes.to_string() })
            }
        }
    }
}

impl std::fmt::Display for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Resource { verb, resource, subresource, .. } => {
                write!(f, "verb={verb}, resource={resource}, subresource={subresource}")
            }
            Self::NonResource { verb, path } => write!(f, "verb={verb}, path={path}"),
        }
    }
}

impl From<UserInfo> for User {
    fn from(info: UserInfo) -> Self {
        Self {
            name: info.username.unwrap_or_default(),
            uid: info.uid.unwrap_or_default(),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default().into_iter().collect(),
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn review_spec(user: &User, attributes: &Attributes) -> SubjectAccessReviewSpec {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: text(&user.uid),
        groups: Some(user.groups.clone()).filter(|groups| !groups.is_empty()),
        extra: Some(user.extra.iter().cloned().collect())
            .filter(|extra: &std::collections::BTreeMap<_, _>| !extra.is_empty()),
        ..SubjectAccessReviewSpec::default()
    };
    match attributes {
        Attributes::Resource { verb, group, version, resource, subresource, namespace, name } => {
            spec.resource_attributes = Some(ResourceAttributes {
                verb: text(verb),
                group: text(group),
                version: text(version),
                resource: text(resource),
                subresource: text(subresource),
                namespace: text(namespace),
                name: text(name),
                ..ResourceAttributes::default()
            });
        }
        Attributes::NonResource { verb, path } => {
            spec.non_resource_attributes = Some(NonResourceAttributes { verb: text(verb), path: text(path) });
        }
    }
    spec
}
