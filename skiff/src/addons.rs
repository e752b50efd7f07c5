//! The objects of cluster DNS: its Service, where that leads, and the rights of the server behind it.
//!
//! As kubeadm's add-on of the same Service, so that a CoreDNS of one's own can take its place. The objects are data
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

/// Whom the DNS server is to the API server.
pub(crate) const DNS_USER: &str = "system:skiff-dns";

const MANAGER: &str = "skiff";
const NAMESPACE: &str = "kube-system";
const SLICE: &str = "kube-dns-skiff";
/// Between two tries while the API server does not answer, or has no namespaces yet.
const PAUSE: Duration = Duration::from_millis(500);

/// Applies the objects, again and again until it works once or shutdown comes.
pub(crate) async fn keep_trying(layout: Layout, settings: Settings, shutdown: Shutdown) {
    let work = async {
        while let Err(error) = apply(&layout, &settings).await {
            tracing::warn!("cluster DNS has no Service yet, trying again: {error:#}");
            tokio::time::sleep(PAUSE).await;
        }
    };
    let _ = shutdown.run_until(work).await;
}

/// Without the part, its place in the Service is free for others' endpoints, and nothing else is touched.
async fn apply(layout: &Layout, settings: &Settings) -> Result<()> {
    let client = node::client(layout)?;
    if !settings.runs(Part::SkiffDns) {
        let slices: Api<EndpointSlice> = Api::namespaced(client, NAMESPACE);
        return match slices.delete(SLICE, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()).with_context(|| format!("delete the EndpointSlice {SLICE}")),
        };
    }
    for object in objects(settings)? {
        apply_one(&client, object).await?;
    }
    Ok(())
}

async fn apply_one(client: &kube::Client, object: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object).context("an object of cluster DNS")?;
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

/// The objects, in the order in which they are needed.
fn objects(settings: &Settings) -> Result<[Value; 4]> {
    let address = settings.dns_address()?;
    let ports = |number: &str, port: u16| -> Value {
        [("dns", "UDP"), ("dns-tcp", "TCP")]
            .map(|(name, protocol)| json!({"name": name, "protocol": protocol, number: port}))
            .to_vec()
            .into()
    };
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": DNS_USER},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "namespaces", "nodes"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": DNS_USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": DNS_USER},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": DNS_USER}],
    });
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
    Ok([role, binding, service, slice])
}
