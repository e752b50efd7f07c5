//! Finding the cluster, and what is known of it for the whole run.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use super::{Call, Kubectl};

/// What pods of cases run. Each may be any image with these programs.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// nginx, with a shell.
    pub(crate) nginx: String,
    /// busybox, with its common applets, udpsvd too.
    pub(crate) busybox: String,
    /// curl (tftp too), getent and a shell.
    pub(crate) tools: String,
}

/// A cluster that answers.
pub(crate) struct Cluster {
    admin: kube::Client,
    bare: kube::Client,
    /// The API server, as the kubeconfig names it.
    pub(crate) server: String,
    pub(crate) version: String,
    /// Ready nodes that take any pod.
    pub(crate) nodes: Vec<String>,
    pub(crate) images: Images,
    pub(crate) kubectl: Kubectl,
    /// Names this run: on the label of its namespaces.
    pub(crate) run: String,
    /// What cases made outside of their namespaces: the namespace of the case, and the path to delete.
    pub(super) leftovers: Mutex<Vec<(String, String)>>,
}

impl Cluster {
    /// Connects, and waits until the API server is there and a node is Ready.
    pub(crate) async fn connect(
        kubeconfig: Option<PathBuf>,
        kubectl: PathBuf,
        images: Images,
        limit: Duration,
    ) -> Result<Self> {
        let read = match &kubeconfig {
            Some(path) => Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?,
            None => Kubeconfig::read().context("find a kubeconfig")?,
        };
        let options = KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(read, &options).await.context("use the kubeconfig")?;
        config.read_timeout = None;
        // A case is about the first answer, also when it is to come again later.
        config.default_retry = false;
        let mut stripped = config.clone();
        stripped.auth_info = AuthInfo::default();
        let mut cluster = Self {
            server: config.cluster_url.to_string(),
            admin: kube::Client::try_from(config).context("make a client")?,
            bare: kube::Client::try_from(stripped).context("make a client")?,
            version: String::new(),
            nodes: Vec::new(),
            images,
            kubectl: Kubectl::new(kubectl, kubeconfig)?,
            run: format!("{:08x}", rand::random::<u32>()),
            leftovers: Mutex::default(),
        };
        let deadline = tokio::time::Instant::now() + limit;
        while let Err(error) = cluster.look().await {
            // Nothing can be watched on a server that does not answer yet.
            if tokio::time::Instant::now() >= deadline {
                return Err(error).with_context(|| format!("not there in {} s", limit.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(cluster)
    }

    pub(super) fn client(&self, is_bare: bool) -> &kube::Client {
        if is_bare { &self.bare } else { &self.admin }
    }

    async fn look(&mut self) -> Result<()> {
        let version = self.object(Call::get("/version")).await?;
        self.version = version["gitVersion"].as_str().unwrap_or_default().to_owned();
        let list = self.object(Call::get("/api/v1/nodes")).await?;
        let nodes = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.nodes = nodes.iter().filter(|node| takes_pods(node)).filter_map(name).collect();
        ensure!(!nodes.is_empty(), "the cluster has no nodes");
        if self.nodes.is_empty() {
            bail!("no node is Ready and free of taints");
        }
        Ok(())
    }
}

fn name(object: &Value) -> Option<String> {
    object["metadata"]["name"].as_str().map(String::from)
}

fn takes_pods(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let is_ready =
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
    let taints = node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_free = taints.iter().all(|taint| taint["effect"] == "PreferNoSchedule");
    is_ready && is_free && node["spec"]["unschedulable"] != true
}
