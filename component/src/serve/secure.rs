//! The secure port as its flags say: the certificate, the address, and who may ask.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use futures::future::{BoxFuture, FutureExt};
use rustls::ServerConfig;
use tokio::net::TcpListener;

use super::{Endpoints, Gate, zpages::ZPages};
use crate::{
    client::{self, ClientConfig},
    clock::Clock,
    delegated::{Delegated, Settings},
    flags::Values,
    informer::Informers,
    pipes::Pipes,
    shutdown::Shutdown,
    tls::{self, MinVersion, ReloadingKey},
};

/// Why there is no secure port.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("failed to create listener: {0}")]
    Listen(#[from] io::Error),
    #[error("{0}")]
    Flags(String),
}

/// Where to listen, by the flags of [`crate::flags::secure_serving`]; `None` for `--secure-port=0`.
pub fn secure_address(values: &Values) -> Result<Option<SocketAddr>, SecureError> {
    let port = values.int("secure-port");
    let port = u16::try_from(port)
        .map_err(|_| SecureError::Flags(format!("--secure-port {port} must be between 0 and 65535, inclusive")))?;
    let address = values.ip("bind-address").unwrap_or(IpAddr::from([0, 0, 0, 0]));
    Ok(Some(SocketAddr::new(address, port)).filter(|address| address.port() != 0))
}

/// The port that the caller gives, else the one of the flags; `None` for `--secure-port=0`.
pub fn secure_listener(given: Option<TcpListener>, values: &Values) -> Result<Option<TcpListener>, SecureError> {
    let address = secure_address(values)?;
    Ok(match given {
        Some(given) => Some(given),
        None => address.map(super::bind).transpose()?,
    })
}

/// Serves a component's endpoints on its secure port until shutdown; without a port they are not made.
pub fn serve_secure(
    component: &str,
    listener: Option<TcpListener>,
    values: &Values,
    endpoints: impl FnOnce() -> Result<Endpoints, SecureError>,
    shutdown: Shutdown,
) -> Result<BoxFuture<'static, ()>, SecureError> {
    let Some(listener) = listener else { return Ok(futures::future::ready(()).boxed()) };
    let tls = secure_tls(component, values)?;
    Ok(super::accept(listener, Some(tls), endpoints()?, shutdown).boxed())
}

/// TLS with the certificate of the flags, with one kept under `component`'s name in `--cert-dir`, or with one made up
/// now for this machine.
pub fn secure_tls(component: &str, values: &Values) -> Result<Arc<ServerConfig>, SecureError> {
    let min_version: MinVersion = values.str("tls-min-version").parse().map_err(SecureError::Flags)?;
    let config = match (values.opt_str("tls-cert-file"), values.opt_str("tls-private-key-file")) {
        (Some(certificate), Some(key)) => tls::server_config(ReloadingKey::load(certificate, key)?, min_version)?,
        (None, None) => match values.opt_str("cert-dir") {
            Some(folder) => tls::server_config(kept(Path::new(folder), component, values)?, min_version)?,
            None => tls::server_config(Arc::new(tls::self_signed(own_names(values))?.key), min_version)?,
        },
        _ => {
            let problem = "tls-cert-file and tls-private-key-file must be given together";
            return Err(SecureError::Flags(problem.to_owned()));
        }
    };
    Ok(Arc::new(config))
}

/// The certificate in `folder`, made when it is not there.
fn kept(folder: &Path, component: &str, values: &Values) -> Result<Arc<ReloadingKey>, SecureError> {
    let (certificate, key) = (folder.join(format!("{component}.crt")), folder.join(format!("{component}.key")));
    if !certificate.exists() || !key.exists() {
        let made = tls::self_signed(own_names(values))?;
        let written = fs::create_dir_all(folder).and_then(|()| made.write(&certificate, &key));
        written.map_err(|error| SecureError::Flags(format!("writing {}: {error}", certificate.display())))?;
    }
    Ok(ReloadingKey::load(certificate, key)?)
}

fn own_names(values: &Values) -> Vec<String> {
    let bound = values.ip("bind-address").filter(|address| !address.is_unspecified());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let names = [Some(host), Some("localhost".to_owned()), bound.map(|address| address.to_string())];
    let mut names: Vec<String> =
        names.into_iter().flatten().chain(["127.0.0.1".to_owned(), "::1".to_owned()]).collect();
    names.retain(|name| !name.is_empty());
    names.dedup();
    names
}

/// The endpoints of a component behind delegated authentication and authorization, z-pages among them.
///
/// The API server is asked with the kubeconfigs that the flags name, else with the component's own client. Client
/// authorities that the cluster publishes are taken unless the flags say otherwise.
pub fn secure_endpoints(
    component: &'static str,
    values: &Values,
    own: &kube::Client,
    informers: &Informers,
    clock: Clock,
    pipes: Pipes,
) -> Result<Endpoints, SecureError> {
    let named = values.opt_str("authentication-kubeconfig").or(values.opt_str("authorization-kubeconfig"));
    let asking = match named {
        Some(path) => client::connect(ClientConfig::from_kubeconfig(component, path).through(pipes))?,
        None => own.clone(),
    };
    let delegated = Delegated::new(Some(asking), Settings::from_flags(values), clock)?;
    if !values.bool("authentication-skip-lookup") {
        delegated.follow_cluster(informers);
    }
    let zpages = ZPages { component, flags: values.all(), clock };
    Ok(Endpoints::new(Gate::Delegated(delegated)).with_zpages(zpages))
}
