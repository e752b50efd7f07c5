//! Objects that upstream's bootstrap policy does not have: the rights of Skiff's own parts, cluster DNS's Service with
//! where it leads ([`dns`]), and what machines need that join ([`joining`]).
//!
//! The objects are data; [`keep_trying`] applies those that this machine's parts wait for, [`keep_joinable`] the others.
//! Both are given a client with the administrator's identity.

mod dns;
mod joining;

use std::time::Duration;

use anyhow::{Context as _, Result};
use component::shutdown::Shutdown;
use futures::future::try_join_all;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, TypeMeta};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

pub(crate) use self::dns::keep_slice;
pub(crate) use self::joining::{BACKEND_KEY, CLUSTER_CONFIGURATION, DNS_KEY, JOINERS, SKIFF_CONFIGURATION};
use crate::layout::Layout;
use crate::part::Part;
use crate::pki;
use crate::settings::Settings;

/// Who they are to the API server.
pub(crate) const DNS_USER: &str = "system:skiff-dns";
pub(crate) const ROUTER_USER: &str = "system:skiff-router";

const MANAGER: &str = "skiff";
/// Where everything of the cluster's own lies that is not for everybody.
pub(crate) const NAMESPACE: &str = "kube-system";
/// Between two tries while the API server does not answer, or has no namespaces yet.
const PAUSE: Duration = Duration::from_millis(500);

/// Applies what the parts need, again and again until it works once or shutdown comes.
pub(crate) async fn keep_trying(client: &kube::Client, settings: &Settings, shutdown: &Shutdown) {
    until_it_works("the add-ons' objects", shutdown, || apply(client, settings)).await;
}

/// The same of what machines need that join. Nothing here waits for it.
pub(crate) async fn keep_joinable(client: &kube::Client, layout: &Layout, settings: &Settings, shutdown: &Shutdown) {
    until_it_works("the objects that machines join by", shutdown, || apply_joining(client, layout, settings)).await;
}

async fn until_it_works<F>(what: &str, shutdown: &Shutdown, work: impl Fn() -> F)
where
    F: Future<Output = Result<()>>,
{
    let tries = async {
        while let Err(error) = work().await {
            tracing::warn!("{what} are not applied yet, trying again: {error:#}");
            tokio::time::sleep(PAUSE).await;
        }
    };
    let _ = shutdown.run_until(tries).await;
}

/// Without our DNS server its place in the Service is free for others' endpoints, and the Service is left alone.
async fn apply(client: &kube::Client, settings: &Settings) -> Result<()> {
    for object in rights() {
        apply_one(client, object).await?;
    }
    if !settings.runs(Part::SkiffDns) {
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
        return match slices.delete(dns::SLICE, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()).with_context(|| format!("delete the EndpointSlice {}", dns::SLICE)),
        };
    }
    for object in dns::objects(settings)? {
        apply_one(client, object).await?;
    }
    Ok(())
}

async fn apply_joining(client: &kube::Client, layout: &Layout, settings: &Settings) -> Result<()> {
    let authority = layout.certificate(pki::CA);
    let authority = std::fs::read_to_string(&authority).with_context(|| format!("read {}", authority.display()))?;
    let apply_all = |objects: Vec<Value>| try_join_all(objects.into_iter().map(|object| apply_one(client, object)));
    apply_all(joining::objects(settings)?).await?;
    apply_all(joining::discovery(settings, &authority)?).await.map(|_| ())
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
