//! The certificates of a cluster: its authorities, and a certificate for each identity and each server.
//!
//! Enter at [`ensure`]: it keeps what is right and renews the rest. [`wanted`] is the list, with kubeadm's names;
//! `issue` makes a certificate, `check` says why one on disk is not right. The clock is an argument; only this file
//! reads and writes.

mod check;
mod issue;
mod pin;

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::layout::Layout;
use crate::{addons, files};
use issue::Authority;
pub(crate) use pin::Pin;

/// The cluster's authority: everybody knows the API server by it, and the API server knows its clients by it.
pub(crate) const CA: &str = "ca";
/// Of the kubelets' serving certificates, which nodes are given for addresses that they tell of themselves: what it signs
/// can be nobody but a kubelet.
pub(crate) const KUBELET_CA: &str = "kubelet-ca";
/// Of who may say in headers who asks: nothing that a client can ask for is signed by it.
pub(crate) const FRONT_PROXY_CA: &str = "front-proxy-ca";
pub(crate) const SERVICE_ACCOUNT: &str = "sa";

/// By their files' names, with what each calls itself.
const AUTHORITIES: [(&str, &str); 3] =
    [(CA, "kubernetes"), (KUBELET_CA, "kubelet-ca"), (FRONT_PROXY_CA, "front-proxy-ca")];

/// What a certificate must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// File name below `pki/`, without extension.
    pub(crate) name: &'static str,
    pub(crate) common_name: String,
    /// Kubernetes reads a client's groups from here.
    pub(crate) organization: Option<&'static str>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) usage: Usage,
    /// Who signs it.
    pub(crate) authority: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Client,
    Server,
}

/// Who the API server is towards extension servers; it alone may say in headers who asks.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// The facts that certificates depend on.
pub(crate) struct Names<'a> {
    pub(crate) node: &'a str,
    pub(crate) node_address: IpAddr,
    /// The first address of the service range: the ClusterIP of the `kubernetes` Service.
    pub(crate) service_address: IpAddr,
}

/// Every certificate below the authorities. Identities are those of the bootstrap RBAC policy and the Node authorizer.
pub(crate) fn wanted(names: &Names<'_>) -> Vec<Want> {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let client = |name, common_name: &str, organization| Want {
        name,
        common_name: common_name.to_owned(),
        organization,
        dns_names: Vec::new(),
        addresses: Vec::new(),
        usage: Usage::Client,
        authority: CA,
    };
    let service =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let mut server_names: Vec<String> = service.map(String::from).to_vec();
    server_names.extend(["localhost".to_owned(), names.node.to_owned()]);
    let serving = |name, common_name: &str, dns_names, addresses| Want {
        name,
        common_name: common_name.to_owned(),
        organization: None,
        dns_names,
        addresses,
        usage: Usage::Server,
        authority: CA,
    };
    vec![
        client("admin", "kubernetes-admin", Some("system:masters")),
        client("kube-apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
        Want { authority: FRONT_PROXY_CA, ..client("front-proxy-client", FRONT_PROXY, None) },
        client("kube-controller-manager", "system:kube-controller-manager", None),
        client("kube-scheduler", "system:kube-scheduler", None),
        client("kube-proxy", "system:kube-proxy", None),
        client("skiff-dns", addons::DNS_USER, None),
        client("skiff-router", addons::ROUTER_USER, None),
        client("kubelet", &format!("system:node:{}", names.node), Some("system:nodes")),
        serving(
            "kube-apiserver",
            "kube-apiserver",
            server_names,
            vec![names.service_address, names.node_address, loopback],
        ),
        Want {
            authority: KUBELET_CA,
            ..serving("kubelet-server", names.node, vec![names.node.to_owned()], vec![names.node_address, loopback])
        },
    ]
}

/// Makes `pki/` hold the authorities, the ServiceAccount key pair and every wanted certificate, renewing what is missing,
/// says something else, or expires soon. Returns what was made, for the log. A new authority renews all below it.
pub(crate) fn ensure(layout: &Layout, names: &Names<'_>, now: Timestamp) -> Result<Vec<String>> {
    let mut made = Vec::new();
    let mut authorities = BTreeMap::new();
    for (name, common_name) in AUTHORITIES {
        authorities.insert(name, ensure_authority(layout, name, common_name, now, &mut made)?);
    }
    if !layout.key(SERVICE_ACCOUNT).exists() {
        let (private, public) = issue::key_pair()?;
        files::write_secret(&layout.key(SERVICE_ACCOUNT), private.as_bytes())?;
        files::write(&layout.path("pki/sa.pub"), public.as_bytes())?;
        made.push(format!("{SERVICE_ACCOUNT}: missing"));
    }
    for want in wanted(names) {
        let authority = authorities.get(want.authority).context("an authority that nobody made")?;
        let (certificate, key) = (layout.certificate(want.name), layout.key(want.name));
        let pair = files::read_if_present(&certificate)?.zip(files::read_if_present(&key)?);
        let present = pair.filter(|(certificate, key)| check::has_key(certificate, key)).map(|pair| pair.0);
        let Some(reason) = check::reason_to_renew(present.as_deref(), &want, authority, now) else { continue };
        let issued = authority.issue(&want, now).with_context(|| format!("issue the certificate {}", want.name))?;
        // The key first: a crash between the two leaves a certificate that is missing or of the old key, and the
        // check compares keys.
        files::write_secret(&key, issued.key.as_bytes())?;
        files::write(&certificate, issued.certificate.as_bytes())?;
        made.push(format!("{}: {reason}", want.name));
    }
    Ok(made)
}

fn ensure_authority(
    layout: &Layout,
    name: &str,
    common_name: &str,
    now: Timestamp,
    made: &mut Vec<String>,
) -> Result<Authority> {
    let (certificate, key) = (layout.certificate(name), layout.key(name));
    let present = files::read_if_present(&certificate)?.zip(files::read_if_present(&key)?);
    if let Some((certificate, key)) = present
        && !check::expires_soon(&certificate, now)
    {
        return Authority::load(&certificate, &key).with_context(|| format!("read the certificate authority {name}"));
    }
    let created = Authority::create(common_name, now);
    let (authority, issued) = created.with_context(|| format!("make the certificate authority {name}"))?;
    files::write_secret(&key, issued.key.as_bytes())?;
    files::write(&certificate, issued.certificate.as_bytes())?;
    made.push(format!("{name}: missing or expiring"));
    Ok(authority)
}

#[cfg(test)]
mod tests;
