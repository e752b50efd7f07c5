//! What lies between the store and the ports, put together from the options: cache, authentication, admission, and the
//! tasks that keep the server's own objects.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use component::clock::Clock;
use component::delegated::ClientAuthority;
use component::flags::Values;
use component::random::Random;
use component::serve::Endpoints;
use component::serve::zpages::ZPages;
use component::shutdown::Shutdown;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::admission::plugins;
use crate::aggregation::{self, Aggregation};
use crate::api::Api;
use crate::audit::Auditor;
use crate::authn::openid::Documents;
use crate::authn::request_header::RequestHeader;
use crate::authn::static_tokens::StaticTokens;
use crate::authn::tokens::{Lives, Tokens};
use crate::authn::{Authenticator, impersonation};
use crate::authz::{self, Authorizer, Mode};
use crate::bootstrap::{self, Advertised, Wishes};
use crate::cache::{self, Cache};
use crate::catalogue::Catalogue;
use crate::fairness;
use crate::health::Health;
use crate::index::CatalogueIndexer;
use crate::limits::Limits;
use crate::metrics;
use crate::options::Options;
use crate::paths::About;
use crate::run::Error;
use crate::server::Server;
use crate::serving;
use crate::store::metered::Metered;
use crate::store::{Store, compactor};

/// A server at work that nobody can reach yet. Its tasks end with the shutdown that it was given, or with this value.
pub struct Parts {
    api: Arc<Api>,
    endpoints: Endpoints,
    health: Arc<Health>,
    openid: Option<Arc<Documents>>,
    about: Arc<About>,
    pub tasks: JoinSet<()>,
    _cache_end: CacheEnd,
}

/// How a server ends.
pub struct End {
    /// It is to end: it says that it is not ready.
    pub ending: Shutdown,
    /// It ends.
    pub shutdown: Shutdown,
}

impl From<Shutdown> for End {
    fn from(shutdown: Shutdown) -> Self {
        Self { ending: shutdown.clone(), shutdown }
    }
}

/// The watch cache ends with this, after the last request, which may have to read what the one before it wrote.
struct CacheEnd(Shutdown);

impl Drop for CacheEnd {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

impl Parts {
    pub fn start(
        options: Options,
        store: Arc<dyn Store>,
        advertised: Advertised,
        clock: Clock,
        random: Random,
        end: End,
    ) -> Result<Self, Error> {
        let End { ending, shutdown } = end;
        let shutdown = shutdown.child();
        let health = Arc::new(Health::new(&options.values, clock));
        let catalogue = Catalogue::builtin(options.values.str("etcd-prefix"), options.gates, &options.runtime_config);
        component::gates::tell(&options.gates.by_name());
        let store = metered(store, &catalogue);
        let indexer = Arc::new(CatalogueIndexer::new(catalogue.clone()));
        let cache_options =
            cache::Options { prefix: format!("{}/", catalogue.store_prefix()), ..cache::Options::default() };
        let cache_end = CacheEnd(Shutdown::new());
        let cache = Cache::start(store.clone(), indexer, cache_options, cache_end.0.clone());
        let interval = options.values.duration("etcd-compaction-interval");
        let with_identity = options.gates.api_server_identity;
        let with_roles = options.modes.contains(&Mode::Rbac);
        let keys_url = options.values.opt_str("service-account-jwks-uri").map(str::to_owned);
        let about = about(&options.values, advertised, clock);
        let api = Arc::new(build(options, catalogue, store.clone(), cache, clock, random, shutdown.clone())?);

        metrics::follow(&api);
        if let Some(auditor) = &api.auditor {
            auditor.start();
        }
        let openid = openid_documents(&api, keys_url.as_deref(), &about.address);
        // Before the port answers: a probe that comes first must not find the server ready.
        let endpoints = health.endpoints(&api, ending);
        let mut tasks = JoinSet::new();
        tasks.spawn(health.clone().follow_log(shutdown.clone()));
        let all_made = follow_fairness(&api, &mut tasks);
        tasks.spawn(authz::rbac::follow_when_ready(api.clone()));
        tasks.spawn(aggregation::run(api.clone()));
        let compacted = {
            let cache = api.cache.clone();
            move |at| cache.forget_before(at)
        };
        tasks.spawn(compactor::run(store, interval, compacted, shutdown));
        let (booting, bootstrapping) = (api.clone(), health.clone());
        tasks.spawn(async move {
            if !booting.is_loaded().await {
                return;
            }
            let ready = move || {
                bootstrapping.bootstrapped();
                // Nobody listens where fairness is off.
                let _ = all_made.send(());
            };
            bootstrap::run(booting, advertised, Wishes { roles: with_roles, identity: with_identity }, ready).await;
        });
        Ok(Self { api, endpoints, health, openid, about: Arc::new(about), tasks, _cache_end: cache_end })
    }

    /// What answers requests.
    pub fn server(&self, insecure: bool) -> Arc<Server> {
        let (api, endpoints, openid) = (self.api.clone(), self.endpoints.clone(), self.openid.clone());
        let (health, about) = (self.health.clone(), self.about.clone());
        Arc::new(Server { api, endpoints, health, about, openid, insecure })
    }

    /// Returns when all tasks have ended; one that panics ends the others.
    pub async fn ended(mut self, shutdown: &Shutdown) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the server panicked");
                shutdown.trigger();
            }
        }
        if let Some(auditor) = &self.api.auditor {
            auditor.close().await;
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.api.shutdown.trigger();
    }
}

/// Follows the objects of flow control, from the word on that all standard ones are made: not at each of them anew.
fn follow_fairness(api: &Arc<Api>, tasks: &mut JoinSet<()>) -> oneshot::Sender<()> {
    let (all_made, is_made) = oneshot::channel();
    if let Some(fairness) = api.limits.fairness.clone() {
        let api = api.clone();
        tasks.spawn(async move {
            // Without the word the server ends.
            if is_made.await.is_ok() {
                fairness::run(api, fairness).await;
            }
        });
    }
    all_made
}

/// The store, with the times of its requests told.
fn metered(store: Arc<dyn Store>, catalogue: &Catalogue) -> Arc<dyn Store> {
    let received = Arc::new(metrics::store::received(catalogue));
    let catalogue = catalogue.clone();
    let owner = move |key: &str| match catalogue.find_key(key) {
        Some(served) => (served.row.group.to_string(), served.row.plural.to_string()),
        None => (String::new(), String::new()),
    };
    Arc::new(Metered::new(store, Box::new(owner), received))
}

fn about(values: &Values, advertised: Advertised, clock: Clock) -> About {
    let address = match values.opt_str("external-hostname") {
        Some(host) => format!("{host}:{}", advertised.port),
        None => SocketAddr::new(advertised.address, advertised.port).to_string(),
    };
    let zpages = ZPages { component: "kube-apiserver", flags: values.all(), clock };
    About { address, zpages }
}

/// The issuer's documents; an issuer that OpenID does not allow has none, as upstream.
fn openid_documents(api: &Api, keys_url: Option<&str>, address: &str) -> Option<Arc<Documents>> {
    match Documents::new(api.tokens.as_ref()?, keys_url, address) {
        Ok(documents) => Some(Arc::new(documents)),
        Err(error) => {
            tracing::warn!(error, "the documents for verifying this cluster's tokens are not served");
            None
        }
    }
}

fn build(
    options: Options,
    catalogue: Catalogue,
    store: Arc<dyn Store>,
    cache: Arc<Cache>,
    clock: Clock,
    random: Random,
    shutdown: Shutdown,
) -> Result<Api, Error> {
    let values = &options.values;
    Ok(Api {
        catalogue,
        store,
        cache,
        authenticator: authenticator(values, options.anonymous)?,
        authorizer: Arc::new(Authorizer::new(options.modes)),
        admission: plugins::build(values).map_err(Error::Options)?,
        auditor: Auditor::from_flags(values, clock, &random).map_err(Error::Options)?,
        tokens: Some(tokens(values, options.issuers)?),
        services: options.ranges,
        kubelets: serving::kubelet_client(values)?,
        aggregation: Aggregation::new(
            serving::proxy_identity(values)?,
            values.bool("enable-aggregator-routing"),
            values.bool("aggregator-reject-forwarding-redirect"),
        ),
        clock,
        random,
        shutdown,
        limits: Limits::from_flags(values),
        storage_media: options.storage_media,
        event_ttl: values.duration("event-ttl"),
        browsers: options.browsers,
    })
}

fn authenticator(values: &Values, anonymous: bool) -> Result<Authenticator, Error> {
    let client_ca = values.opt_str("client-ca-file").map(|path| ClientAuthority::load(Path::new(path))).transpose()?;
    let static_tokens = match values.opt_str("token-auth-file") {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| Error::Options(format!("reading {path}: {error}")))?;
            StaticTokens::parse(&text).map_err(|error| Error::Options(error.to_string()))?
        }
        None => StaticTokens::default(),
    };
    let front_proxy = RequestHeader::from_flags(values)?;
    let published = published(values)?;
    let bootstrap_tokens = values.bool("enable-bootstrap-token-auth");
    let impersonation = impersonation::Memory::default();
    Ok(Authenticator { front_proxy, client_ca, static_tokens, bootstrap_tokens, anonymous, impersonation, published })
}

/// What extension servers read to know whom to trust, by the names of upstream's ConfigMap.
fn published(values: &Values) -> Result<Map<String, Value>, Error> {
    let mut published = Map::new();
    for flag in ["client-ca-file", "requestheader-client-ca-file"] {
        if let Some(path) = values.opt_str(flag) {
            let pem = std::fs::read_to_string(path);
            let pem = pem.map_err(|error| Error::Options(format!("reading {path}: {error}")))?;
            published.insert(flag.to_owned(), pem.into());
        }
    }
    if published.contains_key("requestheader-client-ca-file") {
        let lists =
            ["allowed-names", "extra-headers-prefix", "group-headers", "uid-headers", "username-headers"].into_iter();
        for flag in lists.map(|name| format!("requestheader-{name}")) {
            let list = Value::from(values.strings(&flag)).to_string();
            published.insert(flag, list.into());
        }
    }
    Ok(published)
}

fn tokens(values: &Values, issuers: Vec<String>) -> Result<Tokens, Error> {
    let read = |path: &str| std::fs::read(path).map_err(|error| Error::Tokens(format!("reading {path}: {error}")));
    let signing = read(values.str("service-account-signing-key-file"))?;
    let verifying = values.strings("service-account-key-file");
    let verifying = verifying.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let longest = values.duration("service-account-max-token-expiration").as_secs();
    let lives = Lives {
        seconds_max: i64::try_from(longest).ok().filter(|seconds| *seconds > 0),
        extends: values.bool("service-account-extend-token-expiration"),
    };
    Tokens::new(issuers, values.strings("api-audiences"), lives, &signing, &verifying)
        .map_err(|error| Error::Tokens(error.to_string()))
}
