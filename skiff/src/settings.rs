//! What a cluster was made with. Kept in its data folder, so that `up` again needs no flags.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::kubeconfig::SECURE_PORT;
use crate::layout::Layout;
use crate::part::Part;
use crate::{cli, files, node_address};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    pub(crate) node_name: String,
    pub(crate) node_address: IpAddr,
    /// Pods get addresses from here, each node a /24 of it.
    pub(crate) cluster_cidr: IpNet,
    /// Services get ClusterIPs from here.
    pub(crate) service_cidr: IpNet,
    pub(crate) store: Store,
    /// Parent of all pods' cgroups; empty is the root.
    pub(crate) cgroup_root: String,
    /// Parts that `up` leaves out, for others to take their places.
    pub(crate) without: Vec<Part>,
    /// Somebody else's CRI runtime, as a `unix://` address; without one, `up` starts its own containerd.
    pub(crate) container_runtime_endpoint: Option<String>,
    /// What cluster DNS's names end with.
    #[serde(default = "default_domain")]
    pub(crate) cluster_domain: String,
    #[serde(default)]
    pub(crate) router_backend: RouterBackend,
    /// The cluster that this machine joined; `None` where it has its own.
    #[serde(default)]
    pub(crate) joined: Option<Joined>,
}

/// Another machine's cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Joined {
    /// Its API server, with scheme and port.
    pub(crate) server: String,
}

/// How packets get to other nodes' pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RouterBackend {
    /// Routes by the nodes' addresses; nodes are neighbours on one link.
    #[default]
    Direct,
    /// A tunnel; nodes need not be neighbours.
    Vxlan,
}

impl RouterBackend {
    /// The value of skiff-router's flag.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Vxlan => "vxlan",
        }
    }
}

fn default_domain() -> String {
    "cluster.local".to_owned()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Store {
    Embedded,
    Etcd { servers: String },
}

impl Settings {
    /// What the data folder holds, with what the command line says instead.
    pub(crate) fn resolve(layout: &Layout, options: &cli::Up) -> Result<Self> {
        let mut settings = match Self::load(layout)? {
            Some(settings) => settings,
            None => Self::fresh(options.node_name.as_deref(), options.node_ip)?,
        };
        settings.apply(options)?;
        Ok(settings)
    }

    pub(crate) fn save(&self, layout: &Layout) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("encode the settings")?;
        files::write(&layout.settings(), &text)
    }

    /// `None` when there is no cluster in the folder.
    pub(crate) fn load(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.settings();
        let Some(text) = files::read_if_present(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).with_context(|| format!("read {}", path.display()))
    }

    pub(crate) fn fresh(node_name: Option<&str>, node_address: Option<IpAddr>) -> Result<Self> {
        let node_name = match node_name {
            Some(name) => name.to_owned(),
            None => nix::unistd::gethostname().context("read the host name")?.to_string_lossy().to_lowercase(),
        };
        let node_address = match node_address {
            Some(address) => address,
            None => node_address::of_default_route()?,
        };
        Ok(Self {
            node_name,
            node_address,
            cluster_cidr: IpNet::new(IpAddr::from([10, 244, 0, 0]), 16)?,
            service_cidr: IpNet::new(IpAddr::from([10, 96, 0, 0]), 12)?,
            store: Store::Embedded,
            cgroup_root: String::new(),
            without: Vec::new(),
            container_runtime_endpoint: None,
            cluster_domain: default_domain(),
            router_backend: RouterBackend::default(),
            joined: None,
        })
    }

    /// A cluster's own, with all that flags do not say.
    #[cfg(test)]
    pub(crate) fn for_tests(node_name: &str, node_address: IpAddr) -> Self {
        Self::fresh(Some(node_name), Some(node_address)).expect("nothing is looked up")
    }

    fn apply(&mut self, options: &cli::Up) -> Result<()> {
        let of_the_cluster =
            options.cluster_cidr.is_some() || options.service_cidr.is_some() || options.store.is_some();
        if self.joined.is_some() && (of_the_cluster || options.router_backend.is_some()) {
            bail!("this machine joined a cluster: what is the same on all nodes was said where the cluster was made");
        }
        replace(&mut self.node_name, &options.node_name);
        replace(&mut self.node_address, &options.node_ip);
        replace(&mut self.cluster_cidr, &options.cluster_cidr);
        replace(&mut self.service_cidr, &options.service_cidr);
        replace(&mut self.cgroup_root, &options.cgroup_root);
        replace(&mut self.router_backend, &options.router_backend);
        if !options.without.is_empty() {
            self.without = options.without.clone();
        }
        if options.container_runtime_endpoint.is_some() {
            self.container_runtime_endpoint = options.container_runtime_endpoint.clone();
        }
        match (options.store, &options.etcd_servers) {
            (Some(cli::StoreKind::Embedded), Some(_)) => bail!("--etcd-servers needs --store=etcd"),
            (Some(cli::StoreKind::Etcd), None) => bail!("--store=etcd needs --etcd-servers"),
            (Some(cli::StoreKind::Embedded), None) => self.store = Store::Embedded,
            (_, Some(servers)) => self.store = Store::Etcd { servers: servers.clone() },
            (None, None) => {}
        }
        Ok(())
    }

    /// Host and port of the API server.
    pub(crate) fn endpoint(&self) -> String {
        std::net::SocketAddr::new(self.node_address, SECURE_PORT).to_string()
    }

    /// The API server's URL, as other machines reach it.
    pub(crate) fn server(&self) -> String {
        self.joined.as_ref().map_or_else(|| format!("https://{}", self.endpoint()), |joined| joined.server.clone())
    }

    /// The ClusterIP of the `kubernetes` Service: the first address of the range.
    pub(crate) fn service_address(&self) -> Result<IpAddr> {
        self.service_cidr.hosts().next().with_context(|| format!("{} has no addresses", self.service_cidr))
    }

    /// The ClusterIP that cluster DNS answers on, the tenth of the range as with kubeadm.
    pub(crate) fn dns_address(&self) -> Result<IpAddr> {
        self.service_cidr.hosts().nth(9).with_context(|| format!("{} has no tenth address", self.service_cidr))
    }

    /// The range the first node gets, so that its CNI configuration can be there before the node is.
    pub(crate) fn first_node_cidr(&self) -> Result<IpNet> {
        let length = if self.cluster_cidr.addr().is_ipv4() { 24 } else { 64 };
        let mut subnets = self.cluster_cidr.subnets(length)?;
        subnets.next().with_context(|| format!("{} has no room for a node", self.cluster_cidr))
    }

    /// The parts that a machine of this kind has, also those that are left out.
    pub(crate) fn parts(&self) -> &'static [Part] {
        if self.joined.is_some() { &Part::OF_NODES } else { &Part::ALL }
    }

    pub(crate) fn runs(&self, part: Part) -> bool {
        self.parts().contains(&part) && !self.without.contains(&part)
    }
}

fn replace<T: Clone>(value: &mut T, given: &Option<T>) {
    if let Some(given) = given {
        *value = given.clone();
    }
}
