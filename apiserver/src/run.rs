//! Starts the server: store, cache, authentication, bootstrap, ports; and stops it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use component::clock::Clock;
use component::delegated::ClientAuthority;
use component::flags::Values;
use component::random::Random;
use component::serve::{self, Endpoints, Gate};
use component::shutdown::Shutdown;
use component::tls;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admission::plugins;
use crate::aggregation::{self, Aggregation};
use crate::api::Api;
use crate::authn::Authenticator;
use crate::authn::openid::Documents;
use crate::authn::request_header::RequestHeader;
use crate::authn::static_tokens::StaticTokens;
use crate::authn::tokens::Tokens;
use crate::authz::{self, Authorizer, Mode};
use crate::bootstrap::{self, Advertised};
use crate::cache::{self, Cache};
use crate::catalogue::Catalogue;
use crate::connect::kubelet::KubeletClient;
use crate::index::CatalogueIndexer;
use crate::limits::Limits;
use crate::metrics;
use crate::options::{Options, StoreChoice};
use crate::server::{Server, handle};
use crate::serving;
use crate::store::embedded::{self, Embedded};
use crate::store::etcd::Etcd;
use crate::store::metered::Metered;
use crate::store::{Store, compactor};

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("service account key: {0}")]
    Tokens(String),
    #[error("self-made serving certificate: {0}")]
    Certificate(String),
    #[error("failed to create listener: {0}")]
    Listen(#[from] std::io::Error),
}

/// What the server does not take from flags.
pub struct Seams {
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub random: Random,
    /// The secure port; `None`: the one that the flags name is opened.
    pub listener: Option<TcpListener>,
    /// The port without TLS, in the place of the flags'; refused like it unless everything is allowed.
    pub insecure_listener: Option<TcpListener>,
}

impl Seams {
    /// Real time and randomness, and the ports of the flags.
    pub fn system(shutdown: Shutdown) -> Self {
        Self { shutdown, clock: Clock::system(), random: Random::from_os(), listener: None, insecure_listener: None }
    }
}

/// Runs until shutdown.
pub async fn run(options: Options, seams: Seams) -> Result<(), Error> {
    warn_of_open_doors(&options);
    let Seams { shutdown, clock, random, listener, insecure_listener } = seams;
    // The port is opened first: a server that cannot have it should say so before it does anything.
    let listener = match listener {
        Some(listener) => listener,
        None => serve::bind(options.secure)?,
    };
    let secure_port = listener.local_addr()?.port();
    let tls = serving::server_config(&options)?;
    let catalogue = Catalogue::builtin(options.values.str("etcd-prefix"));
    let (store, embedded) = open_store(&options, &clock).await?;
    let store = metered(store, &catalogue);
    let indexer = Arc::new(CatalogueIndexer::new(catalogue.clone()));
    let cache_options =
        cache::Options { prefix: format!("{}/", catalogue.store_prefix()), ..cache::Options::default() };
    let cache = Cache::start(store.clone(), indexer, cache_options, shutdown.clone());
    let advertised = Advertised { address: options.advertise, port: secure_port };
    let insecure = options.insecure;
    let allows_all = options.modes == [Mode::AlwaysAllow];
    let interval = options.values.duration("etcd-compaction-interval");
    let with_roles = options.modes.contains(&Mode::Rbac);
    let keys_url = options.values.opt_str("service-account-jwks-uri").map(str::to_owned);
    let host = options.values.opt_str("external-hostname").map(str::to_owned);
    let api = Arc::new(build(options, catalogue, store.clone(), cache, clock, random, shutdown.clone())?);

    metrics::follow(&api);
    let openid = openid_documents(&api, keys_url.as_deref(), host, advertised);
    let endpoints = endpoints(&api);
    // Before the port answers: a probe that comes first must not find the server ready.
    let bootstrapped = Arc::new(AtomicBool::new(false));
    let is_bootstrapped = bootstrapped.clone();
    endpoints.readyz.add("poststarthook/bootstrap", move || match is_bootstrapped.load(Ordering::Acquire) {
        true => Ok(()),
        false => Err("the cluster's own objects are still being made".to_owned()),
    });
    let mut tasks = JoinSet::new();
    let server = |insecure| {
        Arc::new(Server { api: api.clone(), endpoints: endpoints.clone(), openid: openid.clone(), insecure })
    };
    tasks.spawn(serve_on(listener, Some(tls), server(false), shutdown.clone()));
    let insecure_listener = match (insecure_listener, insecure) {
        (Some(listener), _) => Some(listener),
        (None, Some(address)) => Some(serve::bind(address)?),
        (None, None) => None,
    };
    if let Some(listener) = insecure_listener.filter(|_| allows_all) {
        tasks.spawn(serve_on(listener, None, server(true), shutdown.clone()));
    }
    tasks.spawn(authz::rbac::follow_when_ready(api.clone()));
    tasks.spawn(aggregation::run(api.clone()));
    tasks.spawn(compactor::run(store, interval, shutdown.clone()));
    tasks.spawn(async move {
        api.cache.ready().await;
        bootstrap::run(api, advertised, with_roles, move || bootstrapped.store(true, Ordering::Release)).await;
    });
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task of the server panicked");
            shutdown.trigger();
        }
    }
    if let Some(embedded) = embedded {
        // What was answered is on the disk already; this ends who still reads.
        embedded.close().await;
    }
    Ok(())
}

fn warn_of_open_doors(options: &Options) {
    if options.modes.contains(&Mode::AlwaysAllow) {
        tracing::warn!(
            "authorization is off (AlwaysAllow): everyone who is authenticated may do everything; --authorization-mode=Node,RBAC closes it"
        );
    }
    if options.advertise.is_loopback() {
        tracing::warn!(address = %options.advertise, "the advertised address is loopback: the kubernetes Service gets no endpoints from this server; --advertise-address names another");
    }
    if let Some(address) = options.insecure {
        tracing::warn!(%address, "INSECURE PORT: everyone who reaches it is the cluster's master, without TLS, without a name");
    }
}

/// The store, with the times of its requests told.
fn metered(store: Arc<dyn Store>, catalogue: &Catalogue) -> Arc<dyn Store> {
    let catalogue = catalogue.clone();
    let owner = move |key: &str| match catalogue.find_key(key) {
        Some(served) => (served.row.group.to_string(), served.row.plural.to_string()),
        None => (String::new(), String::new()),
    };
    Arc::new(Metered::new(store, Box::new(owner)))
}

/// The issuer's documents; an issuer that OpenID does not allow has none, as upstream.
fn openid_documents(
    api: &Api,
    keys_url: Option<&str>,
    host: Option<String>,
    advertised: Advertised,
) -> Option<Arc<Documents>> {
    let address = match host {
        Some(host) => format!("{host}:{}", advertised.port),
        None => SocketAddr::new(advertised.address, advertised.port).to_string(),
    };
    match Documents::new(api.tokens.as_ref()?, keys_url, &address) {
        Ok(documents) => Some(Arc::new(documents)),
        Err(error) => {
            tracing::warn!(error, "the documents for verifying this cluster's tokens are not served");
            None
        }
    }
}

/// The store; the embedded one a second time, for it wants to be closed.
async fn open_store(options: &Options, clock: &Clock) -> Result<(Arc<dyn Store>, Option<Arc<Embedded>>), Error> {
    match &options.store {
        StoreChoice::Embedded { folder } => {
            let disk = embedded::disk::Folder::open(folder)
                .map_err(|error| Error::Options(format!("--data-dir {}: {error}", folder.display())))?;
            let store = Arc::new(Embedded::start(Arc::new(disk), *clock, embedded::Options::default()).await?);
            Ok((store.clone(), Some(store)))
        }
        StoreChoice::Etcd(etcd) => Ok((Arc::new(Etcd::connect(etcd.clone()).await?), None)),
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
        admission: plugins::build(values),
        tokens: Some(tokens(values, &options.issuer)?),
        services: options.ranges,
        kubelets: KubeletClient {
            tls: serving::kubelet_config(values)?,
            address_types: values.strings("kubelet-preferred-address-types"),
        },
        aggregation: Aggregation::new(serving::proxy_identity(values)?, values.bool("enable-aggregator-routing")),
        clock,
        random,
        shutdown,
        limits: Limits::from_flags(values),
        storage_media: options.storage_media,
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
    Ok(Authenticator { front_proxy, client_ca, static_tokens, bootstrap_tokens, anonymous, published })
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

fn tokens(values: &Values, issuer: &str) -> Result<Tokens, Error> {
    let read = |path: &str| std::fs::read(path).map_err(|error| Error::Tokens(format!("reading {path}: {error}")));
    let signing = read(values.str("service-account-signing-key-file"))?;
    let verifying = values.strings("service-account-key-file");
    let verifying = verifying.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    Tokens::new(issuer, values.strings("api-audiences"), &signing, &verifying)
        .map_err(|error| Error::Tokens(error.to_string()))
}

fn endpoints(api: &Arc<Api>) -> Endpoints {
    let endpoints = Endpoints::new(Gate::Open);
    let cache = api.cache.clone();
    endpoints.readyz.add("informer-sync", move || {
        if cache.is_ready() { Ok(()) } else { Err("the watch cache is still loading".to_owned()) }
    });
    endpoints
}

async fn serve_on(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    server: Arc<Server>,
    shutdown: Shutdown,
) {
    let service = tower::service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, std::convert::Infallible>(handle(server, request).await) }
    });
    serve::accept(listener, tls, service, shutdown).await;
}
