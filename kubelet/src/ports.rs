//! The kubelet's ports: HTTPS for everything, plain ports for health and, when asked for, reading; and its socket.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use component::{
    delegated::{Delegated, Settings as GateSettings},
    serve::{self, Endpoints, Gate, zpages::ZPages},
    tls,
};
use tokio::task::JoinSet;

use crate::{
    Error, Options, Seams, certificates,
    config::{self, KubeletConfiguration},
    pod::node::Node,
    pod_resources, server,
};

/// Opens the ports and the socket.
pub(crate) fn open(
    options: &Options,
    seams: &mut Seams,
    node: &Arc<Node>,
    tasks: &mut JoinSet<()>,
) -> Result<(), Error> {
    pod_resources::open(node, &seams.shutdown, tasks);
    let c = &options.configuration;
    if c.healthz_port != 0 {
        let listener = serve::bind(SocketAddr::new(ip(&c.healthz_bind_address)?, c.healthz_port))?;
        tasks.spawn(serve::accept(listener, None, Endpoints::new(Gate::Open), seams.shutdown.clone()));
    }
    if !c.enable_server {
        return Ok(());
    }
    let listener = match seams.listener.take() {
        Some(listener) => listener,
        None => serve::bind(SocketAddr::new(ip(&c.address)?, c.port))?,
    };
    let mut names = node.facts.host_ips.clone();
    names.push(node.facts.node_name.clone());
    let given = (c.tls_cert_file.as_str(), c.tls_private_key_file.as_str());
    let (certificate, key) = if c.server_tls_bootstrap && given.0.is_empty() {
        let node_name = node.facts.node_name.clone();
        let settings = certificates::Settings { cert_dir: options.cert_dir.clone(), node_name, names };
        let file = certificates::serving_file(&settings, node.clock)?;
        (file.clone(), file)
    } else {
        server::certificate::files(given, &options.cert_dir, names)?
    };
    let version = c.tls_min_version.parse().map_err(Error::Options)?;
    let cryptography = tls::restricted(&c.tls_cipher_suites, &c.tls_curve_preferences)?;
    let tls = tls::server_config_with(cryptography, tls::ReloadingKey::load(certificate, key)?, version, &[])?;
    let gate = gate(c, node)?;
    let node_logs = c.enable_system_log_handler.then(|| server::NodeLogs {
        folder: seams.root.join("var/log"),
        journal: c.enable_system_log_query.then(|| "journalctl".into()),
    });
    let offers = server::Offers { debugging: c.enable_debugging_handlers, node_logs };
    let zpages = ZPages { component: "kubelet", flags: options.flags.clone(), clock: node.clock };
    let endpoints = Endpoints::new(Gate::Open).with_configz(config::configz(c)).with_zpages(zpages);
    let service = server::service(node.clone(), endpoints, Some(gate), offers);
    tasks.spawn(serve::accept(listener, Some(Arc::new(tls)), service, seams.shutdown.clone()));
    if c.read_only_port != 0 {
        let listener = serve::bind(SocketAddr::new(ip(&c.address)?, c.read_only_port))?;
        let service = server::service(
            node.clone(),
            Endpoints::new(Gate::Open),
            None,
            server::Offers { debugging: false, node_logs: None },
        );
        tasks.spawn(serve::accept(listener, None, service, seams.shutdown.clone()));
    }
    Ok(())
}

fn ip(text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| Error::Options(format!("invalid IP address {text:?}")))
}

fn gate(c: &KubeletConfiguration, node: &Node) -> Result<Arc<Delegated>, Error> {
    let is_open = c.authorization.mode.as_deref() == Some("AlwaysAllow");
    if is_open && c.authentication.anonymous.enabled == Some(true) {
        tracing::warn!(
            port = c.port,
            "the kubelet's port is open to everybody: anonymous requests are allowed everything; use --config with \
             authentication and authorization, or --anonymous-auth=false --authorization-mode=Webhook"
        );
    }
    let settings = GateSettings {
        anonymous: c.authentication.anonymous.enabled.unwrap_or(false),
        client_ca_file: c.authentication.x509.client_ca_file.clone().filter(|path| !path.is_empty()).map(PathBuf::from),
        token_review: c.authentication.webhook.enabled.unwrap_or(false) && node.client.is_some(),
        token_ttl: c.authentication.webhook.cache_ttl.0,
        access_review: !is_open,
        allowed_ttl: c.authorization.webhook.cache_authorized_ttl.0,
        denied_ttl: c.authorization.webhook.cache_unauthorized_ttl.0,
        always_allow_paths: Vec::new(),
    };
    Ok(Delegated::new(node.client.clone(), settings, node.clock)?)
}
