//! The way to the API server: a [`kube::Client`] over HTTP/2.
//!
//! kube-client alone speaks HTTP/1.1, which costs a connection for every watch. Here all requests of a client share one
//! multiplexed connection, made again when it breaks; to a server of the same process it is one of [`crate::pipes`].
//! [`connect`] is the entry; `kubeconfig` says where to and as whom, `transport` carries the requests over the connections
//! of `connector`, `limit` holds them back. Kinds and paths are not known here.

mod connections;
mod connector;
mod credentials;
mod kubeconfig;
mod limit;
mod metrics;
mod service_account;
mod transport;

use std::{path::PathBuf, sync::Arc};

pub use self::limit::Limiter;
use self::{connections::Connections, credentials::Header, transport::Transport};
pub use self::{
    kubeconfig::{Endpoint, Identity, Kubeconfig, Pem},
    service_account::ServiceAccountClients,
};
use crate::{flags::Values, pipes::Pipes, tls, version};

/// Where to connect to, and how hard.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    /// A kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// A kubeconfig's context; the current one otherwise.
    pub context: Option<String>,
    /// The server's address, instead of the kubeconfig's; alone it means no credentials.
    pub master: Option<String>,
    /// The program's name: the first word of the `User-Agent`.
    pub component: String,
    /// Requests a second; `None` is without limit.
    pub qps: Option<f64>,
    /// Requests that may exceed `qps` for a moment; at least 1.
    pub burst: Option<u32>,
    /// To servers of this process. No file or flag says so: whoever starts the component gives it.
    pub pipes: Pipes,
}

impl ClientConfig {
    /// From a kubeconfig file.
    pub fn from_kubeconfig(component: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { component: component.into(), kubeconfig: Some(path.into()), ..Self::default() }
    }

    /// From an address without credentials, such as `http://127.0.0.1:8080`.
    pub fn from_master(component: impl Into<String>, master: impl Into<String>) -> Self {
        Self { component: component.into(), master: Some(master.into()), ..Self::default() }
    }

    /// From the flags of [`crate::flags::client`]. A rate that was not given is no limit.
    pub fn from_flags(component: impl Into<String>, values: &Values) -> Self {
        Self {
            component: component.into(),
            kubeconfig: values.opt_str("kubeconfig").map(PathBuf::from),
            context: None,
            master: values.opt_str("master").map(str::to_owned),
            qps: Some(values.float("kube-api-qps")).filter(|qps| *qps > 0.0),
            burst: u32::try_from(values.int("kube-api-burst")).ok().filter(|burst| *burst > 0),
            pipes: Pipes::default(),
        }
    }

    /// The same, by `pipes` where they lead there.
    #[must_use]
    pub fn through(self, pipes: Pipes) -> Self {
        Self { pipes, ..self }
    }

    /// Whether there is anything to connect to.
    pub fn is_empty(&self) -> bool {
        self.kubeconfig.is_none() && self.master.is_none()
    }
}

/// Why there is no client. Reaching the server is not tried here: that is each request's own error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid configuration: no configuration has been provided, try giving --kubeconfig or --master")]
    Nothing,
    #[error("reading kubeconfig {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("kubeconfig {path}: {problem}")]
    Kubeconfig { path: PathBuf, problem: String },
    #[error("server address {address:?}: {problem}")]
    Address { address: String, problem: String },
    #[error("component name {0:?} cannot be a User-Agent")]
    Component(String),
    #[error("credentials for the API server: {0}")]
    Tls(#[from] tls::Error),
}

/// Makes a client. Must be called on a runtime: requests are queued by a task of its own.
pub fn connect(config: ClientConfig) -> Result<kube::Client, Error> {
    let limiter = Limiter::new(config.qps, config.burst);
    client(&Endpoint::load(&config)?, &config.component, limiter, config.pipes)
}

/// As [`connect`], to a server that no kubeconfig names; paths are below that of its address.
pub fn connect_to(endpoint: &Endpoint, component: &str) -> Result<kube::Client, Error> {
    client(endpoint, component, Limiter::new(None, None), Pipes::default())
}

fn client(endpoint: &Endpoint, component: &str, limiter: Limiter, pipes: Pipes) -> Result<kube::Client, Error> {
    let user_agent = version::user_agent(component);
    let namespace = endpoint.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let header = Header::load(&endpoint.identity)?;
    let transport = Transport::new(Arc::new(Connections::new(endpoint, pipes)?), &user_agent, header, limiter)?;
    Ok(kube::Client::new(transport, namespace))
}

/// What a request failed of, in words: kube's own text of an API error also prints the whole Status.
pub fn shown(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
        kube::Error::Service(error) => error.to_string(),
        error => error.to_string(),
    }
}
