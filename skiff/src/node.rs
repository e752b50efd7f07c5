//! The one thing `skiff` asks the API about: this machine's Node, whether it is Ready and which pod addresses it has. It marks
//! it, too, as one that has a DNS server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use component::client::{self, ClientConfig};
use component::informer::{Event, Informer, Informers, Selection};
use component::pipes::Pipes;
use component::random::Random;
use component::shutdown::Shutdown;
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cni;
use crate::flags::DNS_LABEL;
use crate::layout::Layout;
use crate::part::Part;
use crate::settings::Settings;

/// A client with the administrator's identity, or the node's own where the administrator is elsewhere. Must be called on
/// a runtime.
pub(crate) fn client(layout: &Layout, settings: &Settings) -> Result<kube::Client> {
    client_of(match settings.joined {
        Some(_) => layout.kubeconfig(Part::Kubelet),
        None => layout.admin_kubeconfig(),
    })
}

/// A client with the identity of a kubeconfig.
pub(crate) fn client_of(kubeconfig: PathBuf) -> Result<kube::Client> {
    client_through(Pipes::default(), kubeconfig)
}

/// The same, by pipes where the API server is in this process.
pub(crate) fn client_through(pipes: Pipes, kubeconfig: PathBuf) -> Result<kube::Client> {
    let config = ClientConfig::from_kubeconfig("skiff", kubeconfig).through(pipes);
    client::connect(config).context("make a client for the API server")
}

/// Keeps the CNI configuration at the addresses that the node was given, and calls `ready` when it is first Ready.
/// Returns when `shutdown` comes.
pub(crate) async fn keep_configured(
    layout: &Layout,
    settings: &Settings,
    client: kube::Client,
    shutdown: &Shutdown,
    ready: impl FnOnce(),
) -> Result<()> {
    let start = Timestamp::now();
    let mut nodes = watch_node(client.clone(), &settings.node_name, shutdown);
    let mut ready = Some(ready);
    let mut written = None;
    while let Some(changed) = shutdown.run_until(nodes.changed()).await {
        changed.context("watch the node")?;
        let Some(node) = nodes.borrow_and_update().clone() else { continue };
        let cidr = pod_cidr(&node);
        if cidr.is_some() && cidr != written {
            written = cidr;
            if let Some(cidr) = cidr {
                cni::write_configuration(layout, settings, cidr)?;
            }
        }
        if is_ready(&node)
            && heartbeat(&node).is_some_and(|heartbeat| heartbeat.as_second() >= start.as_second())
            && let Some(ready) = ready.take()
        {
            ready();
        }
        // Last: an API server that does not answer holds up nothing of the above.
        if let Some(patch) = dns_label(&node, settings.runs(Part::SkiffDns)) {
            let nodes: Api<Node> = Api::all(client.clone());
            let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
            // Tried again at the Node's next change, its next heartbeat at the latest.
            if let Some(Err(error)) = shutdown.run_until(nodes.patch(&settings.node_name, &params, &patch)).await {
                tracing::warn!(%error, "the Node is not marked as one that has a DNS server, or has none");
            }
        }
    }
    Ok(())
}

/// Returns once the node is Ready.
pub(crate) async fn wait_until_ready(layout: &Layout, timeout: Duration) -> Result<()> {
    let settings = Settings::load(layout)?.context("there is no cluster in the data folder")?;
    let shutdown = Shutdown::new();
    let mut nodes = watch_node(client(layout, &settings)?, &settings.node_name, &shutdown);
    let ready = nodes.wait_for(|node| node.as_deref().is_some_and(is_ready));
    match tokio::time::timeout(timeout, ready).await {
        Ok(node) => node.map(|_| ()).context("watch the node"),
        Err(_) => bail!("the node {} is not Ready after {timeout:?}", settings.node_name),
    }
}

/// The node once it is registered; `None` when shutdown comes first.
pub(crate) async fn registered(layout: &Layout, settings: &Settings, shutdown: &Shutdown) -> Result<Option<Arc<Node>>> {
    let mut nodes = watch_node(client(layout, settings)?, &settings.node_name, shutdown);
    let node = shutdown.run_until(nodes.wait_for(Option::is_some)).await;
    Ok(node.transpose().context("watch the node")?.and_then(|node| node.clone()))
}

/// The node as it is now, `None` while there is none.
fn watch_node(client: kube::Client, name: &str, shutdown: &Shutdown) -> watch::Receiver<Option<Arc<Node>>> {
    let selection = Selection::fields(format!("metadata.name={name}"));
    let informer: Informer<Node> = Informers::new(client, Random::from_os(), shutdown.clone()).selected(selection);
    let (sender, receiver) = watch::channel(None);
    informer.on_event(move |event| {
        sender.send_replace(match event {
            Event::Added(node) | Event::Updated { new: node, .. } => Some(node.clone()),
            Event::Deleted(_) => None,
        });
    });
    receiver
}

pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What makes the label that leads to this node's DNS server true. The kubelet sets it only when it registers the Node.
fn dns_label(node: &Node, has_server: bool) -> Option<Value> {
    let is_marked = node.metadata.labels.as_ref().and_then(|labels| labels.get(DNS_LABEL)).map(String::as_str);
    let wanted = has_server.then_some("true");
    (is_marked != wanted).then(|| json!({"metadata": {"labels": {DNS_LABEL: wanted}}}))
}

/// When the kubelet last told how it is. Until it does so anew, a stored node is as it was when the cluster stopped.
fn heartbeat(node: &Node) -> Option<Timestamp> {
    let mut conditions = node.status.as_ref()?.conditions.iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    ready.last_heartbeat_time.as_ref().map(|time| time.0)
}

fn pod_cidr(node: &Node) -> Option<IpNet> {
    node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()
}

#[test]
fn a_node_is_marked_by_whether_it_has_a_dns_server() {
    let node = |labels: Value| serde_json::from_value::<Node>(json!({"metadata": {"labels": labels}})).expect("a node");
    let patch = |value: Value| Some(json!({"metadata": {"labels": {"skiff.internal/dns": value}}}));
    assert_eq!(dns_label(&node(json!({})), true), patch(json!("true")));
    assert_eq!(dns_label(&node(json!({"skiff.internal/dns": "true"})), true), None);
    assert_eq!(dns_label(&node(json!({"skiff.internal/dns": "true"})), false), patch(Value::Null));
    assert_eq!(dns_label(&node(json!({"a": "b"})), false), None);
}
