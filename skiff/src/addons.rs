//! Objects that upstream's bootstrap policy does not have: the rights of Skiff's own parts, and cluster DNS's Service
//! with where it leads.
//!
//! The Service is kubeadm's add-on of the same name, so that a CoreDNS of one's own can take its place. The objects are data
//! ([`objects`], pure); [`keep_trying`] applies them with the administrator's identity.

use std::time::Duration;

use anyhow::{Context as _, Result};
use component::shutdown::Shutdown;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, TypeMeta};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::flags::DNS_PORT;
use crate::layout::Layout;
use crate::node;
use crate::part::Part;
use crate::settings::Settings;

/// Who they are to the API server.
pub(crate) const DNS_USER: &str = "system:skiff-dns";
pub(crate) const ROUTER_USER: &str = "system:skiff-router";

const MANAGER: &str = "skiff";
const NAMESPACE: &str = "kube-system";
const SLICE: &str = "kube-dns-skiff";
/// Between two tries while the API server does not answer, or has no namespaces yet.
const PAUSE: Duration = Duration::from_millis(500);

/// Applies the objects, again and again until it works once or shutdown comes.
pub(crate) async fn keep_trying(layout: &Layout, settings: &Settings, shutdown: &Shutdown) {
    let work = async {
        while let Err(error) = apply(layout, settings).await {
            tracing::warn!("the add-ons' objects are not applied yet, trying again: {error:#}");
            tokio::time::sleep(PAUSE).await;
        }
    };
    let _ = shutdown.run_until(work).await;
}

/// Without our DNS server its place in the Service is free for others' endpoints, and the Service is left alone.
async fn apply(layout: &Layout, settings: &Settings) -> Result<()> {
    let client = node::client(layout)?;
    for object in rights() {
        apply_one(&client, object).await?;
    }
    if !settings.runs(Part::SkiffDns) {
        let slices: Api<EndpointSlice> = Api::namespaced(client, NAMESPACE);
        return match slices.delete(SLICE, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()).with_context(|| format!("delete the EndpointSlice {SLICE}")),
        };
    }
    for object in dns_service(settings)? {
        apply_one(&client, object).await?;
    }
    Ok(())
}

async fn apply_one(client: &kube::Client, object: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object).context("an object of an add-on")?;
    let types: TypeMeta = object.types.clone().context("an object with a kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.clone().unwrap_or_default();
    let parameters = PatchParams::apply(MANAGER).force();
    let applied = api.patch(&name, &parameters, &Patch::Apply(&object)).await;
    applied.map(|_| ()).with_context(|| format!("apply the {} {name}", types.kind))
}

/// What each part may read, as a role and its binding.
fn rights() -> Vec<Value> {
    let may_watch = |user: &str, rules: &[(&str, &[&str])]| {
        let rule = |(group, resources): &(&str, &[&str])| json!({"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]});
        let rules: Vec<Value> = rules.iter().map(rule).collect();
        let (version, group) = ("rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io");
        [
            json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": user}, "rules": rules}),
            json!({
                "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": user},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": user},
                "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
            }),
        ]
    };
    let dns =
        may_watch(DNS_USER, &[("", &["services", "namespaces", "nodes"]), ("discovery.k8s.io", &["endpointslices"])]);
    let router =
        may_watch(ROUTER_USER, &[("", &["pods", "namespaces", "nodes"]), ("networking.k8s.io", &["networkpolicies"])]);
    dns.into_iter().chain(router).collect()
}

/// Cluster DNS's Service, and the slice that leads to this node.
fn dns_service(settings: &Settings) -> Result<[Value; 2]> {
    let address = settings.dns_address()?;
    let ports = |number: &str, port: u16| -> Value {
        [("dns", "UDP"), ("dns-tcp", "TCP")]
            .map(|(name, protocol)| json!({"name": name, "protocol": protocol, number: port}))
            .to_vec()
            .into()
    };
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "namespace": NAMESPACE, "name": "kube-dns",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {"clusterIP": address, "ports": ports("port", 53)},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE, "name": SLICE,
            "labels": {"kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": MANAGER},
        },
        "addressType": if settings.node_address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{
            "addresses": [settings.node_address], "nodeName": settings.node_name, "conditions": {"ready": true},
        }],
        "ports": ports("port", DNS_PORT),
    });
    Ok([service, slice])
}
