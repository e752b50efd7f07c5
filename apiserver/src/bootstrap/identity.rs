//! The Lease by which each server tells that it is there: `kube-system/apiserver-…` (Kubernetes concept: "Leases", "API
//! server identity").
//!
//! Renewed while the server runs, taken away at its end; what a server that died has left is taken away once it is over.

use std::time::Duration;

use jiff::Timestamp;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::service::Advertised;
use super::{ensure as ensure_object, own_call, row};
use crate::api::Api;
use crate::rest::current::Current;
use crate::rest::delete::delete_object;
use crate::rest::params::{DeleteOptions, WriteOptions};
use crate::rest::update::{Part, change};

const GROUP: &str = "coordination.k8s.io";
const NAMESPACE: &str = "kube-system";
const COMPONENT: &str = "kube-apiserver";
const LABEL: &str = "apiserver.kubernetes.io/identity";
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
const PEER_ANNOTATION: &str = "kubernetes.io/peer-advertise-address";

const LIFE_SECONDS: i64 = 3600;
const RENEW_PERIOD: Duration = Duration::from_secs(10);
const CLEAN_PERIOD: Duration = Duration::from_secs(3600);
/// What the end of the server waits for the Lease to go.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Who a server is.
pub struct Identity {
    name: String,
    hostname: String,
    /// Of this run: a server that starts anew on the machine is another holder.
    holder: String,
    address: String,
}

impl Identity {
    pub fn new(api: &Api, advertised: &Advertised) -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let name = name_of(&hostname);
        let holder = format!("{name}_{}", api.new_uid());
        let address = std::net::SocketAddr::new(advertised.address, advertised.port).to_string();
        Self { name, hostname, holder, address }
    }

    fn fresh(&self, now: Timestamp) -> Value {
        let mut lease = json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "Lease",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
        });
        self.renew(&mut lease, now);
        lease
    }

    fn renew(&self, lease: &mut Value, now: Timestamp) {
        let metadata = meta::object_mut(lease, "metadata");
        metadata.entry("labels").or_insert_with(|| json!({}));
        metadata["labels"][LABEL] = COMPONENT.into();
        metadata["labels"][HOSTNAME_LABEL] = self.hostname.clone().into();
        metadata.entry("annotations").or_insert_with(|| json!({}));
        metadata["annotations"][PEER_ANNOTATION] = self.address.clone().into();
        let spec = meta::object_mut(lease, "spec");
        spec.insert("holderIdentity".into(), self.holder.clone().into());
        spec.insert("leaseDurationSeconds".into(), LIFE_SECONDS.into());
        spec.insert("renewTime".into(), now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into());
    }
}

/// Upstream's name of the server on a machine: of a hash over the machine's name and the component's.
fn name_of(hostname: &str) -> String {
    let mut hash = Sha256::new();
    for part in [hostname, COMPONENT] {
        hash.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(part);
    }
    format!("apiserver-{}", base32(&hash.finalize()[..16]))
}

/// RFC 4648, in small letters and without padding.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1));
    let letter = |first: usize| char::from(LETTERS[(first..first + 5).fold(0, |sum, at| sum << 1 | bit(at))]);
    (0..bytes.len() * 8).step_by(5).map(letter).collect()
}

/// Makes the Lease, or takes over the one that an earlier run has left.
async fn ensure(api: &Api, identity: &Identity) -> Result<(), Status> {
    if ensure_object(api, GROUP, "leases", identity.fresh(api.clock.now())).await? {
        return Ok(());
    }
    let call = own_call(row(api, GROUP, "leases")?, "update", NAMESPACE, &identity.name);
    let renew = |old: &Value| {
        let mut new = old.clone();
        identity.renew(&mut new, api.clock.now());
        Ok(new)
    };
    match change(api, &call, Part::Main, &WriteOptions::default(), renew).await {
        // Somebody took it away in between: the next time makes it.
        Err(status) if status.code == 404 => Ok(()),
        renewed => renewed.map(|_| ()),
    }
}

/// As [`ensure`]. A Lease that cannot be made, as where the machine's name is no label, keeps no server from serving.
pub async fn ensure_or_tell(api: &Api, identity: &Identity) {
    if let Err(status) = ensure(api, identity).await {
        tracing::error!(%status, "the Lease of this server cannot be renewed");
    }
}

/// Renews the Lease until shutdown, and clears away those that are over; takes its own away at the end.
pub async fn keep(api: &Api, identity: &Identity) {
    let mut cleaned: Option<Timestamp> = None;
    loop {
        if cleaned.is_none_or(|cleaned| api.clock.since(cleaned) >= CLEAN_PERIOD) {
            cleaned = Some(api.clock.now());
            if let Err(status) = clean(api).await {
                tracing::error!(%status, "Leases of servers that are gone cannot be taken away");
            }
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(RENEW_PERIOD) => {}
            () = api.shutdown.cancelled() => break,
        }
        ensure_or_tell(api, identity).await;
    }
    leave(api, identity).await;
}

/// Takes the server's own Lease away, if it is there.
pub async fn leave(api: &Api, identity: &Identity) {
    match tokio::time::timeout(END_DEADLINE, take_away(api, &identity.name, &DeleteOptions::default())).await {
        Ok(Ok(())) => {}
        Ok(Err(status)) => tracing::error!(%status, "the Lease of this server cannot be taken away"),
        Err(_) => tracing::error!("the Lease of this server cannot be taken away: the store does not answer"),
    }
}

async fn clean(api: &Api) -> Result<(), Status> {
    let served = row(api, GROUP, "leases")?;
    let now = api.clock.now();
    for item in api.cache.list(served.id, &api.catalogue.prefix(served, NAMESPACE)).iter() {
        let lease = Current::from_item(item)?.object;
        if meta::label(&lease, LABEL) == Some(COMPONENT) && is_over(&lease, now) {
            // Unless its server has come back meanwhile.
            let version = Some(meta::resource_version(&lease).to_owned());
            let options = DeleteOptions { resource_version: version, ..DeleteOptions::default() };
            take_away(api, meta::name(&lease), &options).await?;
        }
    }
    Ok(())
}

/// A Lease that does not tell how long it holds was not made by a server.
fn is_over(lease: &Value, now: Timestamp) -> bool {
    let renewed = meta::text(lease, "spec.renewTime").parse::<Timestamp>();
    match (renewed, meta::at(lease, "spec.leaseDurationSeconds").as_i64()) {
        (Ok(renewed), Some(seconds)) => renewed.as_second().saturating_add(seconds) < now.as_second(),
        _ => true,
    }
}

/// Another server may have done it, or its own server has come back.
async fn take_away(api: &Api, name: &str, options: &DeleteOptions) -> Result<(), Status> {
    let call = own_call(row(api, GROUP, "leases")?, "delete", NAMESPACE, name);
    match delete_object(api, &call, name, options).await {
        Err(status) if !matches!(status.code, 404 | 409) => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_upstream_makes_them() {
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
        assert_eq!(name_of("machine"), "apiserver-ik4pcwfs7qgdl76byc4pomgvia");
    }

    #[test]
    fn a_lease_is_over_when_nobody_renews_it() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let lease = |renewed: &str| json!({"spec": {"renewTime": renewed, "leaseDurationSeconds": 3600}});
        assert!(!is_over(&lease("2026-01-01T00:00:00.000000Z"), now));
        assert!(is_over(&lease("2025-12-31T23:59:59.000000Z"), now));
        assert!(is_over(&json!({"spec": {"leaseDurationSeconds": 3600}}), now));
        assert!(is_over(&json!({"spec": {"renewTime": "2026-01-01T01:00:00Z"}}), now));
    }
}
