//! The `kubernetes` Service in `default`, and the endpoints that lead to this server.
//!
//! Each server says in a lease under `masterleases/` that it is alive; endpoints list those that are (upstream's
//! "lease" reconciler, and its place in the store).

use std::net::IpAddr;
use std::time::Duration;

use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{ensure_as, row, service_cidr};
use crate::api::Api;
use crate::errors;
use crate::store::{Commit, RangeRequest, Write};

const LEASE_TIME: Duration = Duration::from_secs(15);
const RENEW_PERIOD: Duration = Duration::from_secs(10);

/// Where clients reach this server.
#[derive(Clone, Copy, Debug)]
pub struct Advertised {
    /// `--advertise-address`.
    pub address: IpAddr,
    /// `--secure-port`.
    pub port: u16,
}

pub async fn ensure(api: &Api, advertised: &Advertised) -> Result<(), Status> {
    service_cidr::ensure(api).await?;
    ensure_service(api, advertised).await?;
    reconcile(api, advertised).await
}

/// Renews this server's lease and keeps the endpoints to the living, until shutdown. A server that is gone is out when its lease ends.
pub async fn keep(api: &Api, advertised: &Advertised) {
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep(RENEW_PERIOD) => {
                if let Err(status) = reconcile(api, advertised).await {
                    tracing::error!(%status, "reconciling the endpoints of the kubernetes service failed");
                }
                if let Err(status) = service_cidr::ensure(api).await {
                    tracing::error!(%status, "reconciling the default ServiceCIDR failed");
                }
            }
            () = api.shutdown.cancelled() => return,
        }
    }
}

async fn ensure_service(api: &Api, advertised: &Advertised) -> Result<(), Status> {
    let Some(address) = api.services.kubernetes_address() else { return Ok(()) };
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": address.to_string(), "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": advertised.port}],
        },
    });
    let ports = object["spec"]["ports"].clone();
    ensure_as(api, "", "services", object, move |old| {
        let mut new = old.clone();
        let spec = meta::object_mut(&mut new, "spec");
        spec.insert("ports".into(), ports.clone());
        new
    })
    .await
}

async fn reconcile(api: &Api, advertised: &Advertised) -> Result<(), Status> {
    let alive = renew(api, advertised).await?;
    // A loopback address leads nobody to this server, and Endpoints may not hold one.
    let alive: Vec<IpAddr> = alive.into_iter().filter(|address| !address.is_loopback()).collect();
    if alive.is_empty() {
        return Ok(());
    }
    let port = json!({"name": "https", "port": advertised.port, "protocol": "TCP"});
    ensure_endpoints(api, &alive, &port).await?;
    ensure_slice(api, advertised, &alive, &port).await
}

/// Renews this server's lease and returns the addresses of all that hold one.
async fn renew(api: &Api, advertised: &Advertised) -> Result<Vec<IpAddr>, Status> {
    let prefix = format!("{}/masterleases/", api.catalogue.store_prefix());
    // Upstream keeps an Endpoints object there, of which the address is read.
    let lease = json!({
        "kind": "Endpoints", "apiVersion": "v1", "metadata": {},
        "subsets": [{"addresses": [{"ip": advertised.address.to_string()}]}],
    });
    let value = api.encode_stored(&lease)?;
    let key = format!("{prefix}{}", advertised.address);
    let commit = Commit { conditions: Vec::new(), writes: vec![Write::Put { key, value, ttl: Some(LEASE_TIME) }] };
    let of = row(api, "", "endpoints")?.row.group_resource();
    api.store.commit(commit).await.map_err(|error| errors::commit(&error, of, "kubernetes"))?;
    let range = api.store.range(RangeRequest::prefix(&prefix)).await.map_err(|error| errors::store(&error))?;
    let mut alive: Vec<IpAddr> =
        range.entries.iter().filter_map(|entry| entry.key.strip_prefix(&prefix)?.parse().ok()).collect();
    alive.sort();
    Ok(alive)
}

async fn ensure_endpoints(api: &Api, alive: &[IpAddr], port: &Value) -> Result<(), Status> {
    let addresses: Vec<Value> = alive.iter().map(|address| json!({"ip": address.to_string()})).collect();
    let subsets = json!([{"addresses": addresses, "ports": [port]}]);
    let object = json!({
        "apiVersion": "v1", "kind": "Endpoints", "subsets": subsets,
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
    });
    ensure_as(api, "", "endpoints", object, move |old| with(old, "subsets", &subsets)).await
}

async fn ensure_slice(api: &Api, advertised: &Advertised, alive: &[IpAddr], port: &Value) -> Result<(), Status> {
    let endpoints: Value = alive
        .iter()
        .filter(|address| address.is_ipv4() == advertised.address.is_ipv4())
        .map(|address| json!({"addresses": [address.to_string()], "conditions": {"ready": true}}))
        .collect();
    let family = if advertised.address.is_ipv4() { "IPv4" } else { "IPv6" };
    let object = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "endpoints": endpoints, "ports": [port],
    });
    ensure_as(api, "discovery.k8s.io", "endpointslices", object, move |old| with(old, "endpoints", &endpoints)).await
}

fn with(old: &Value, field: &str, value: &Value) -> Value {
    let mut new = old.clone();
    new[field] = value.clone();
    new
}
