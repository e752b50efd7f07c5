//! Which serving certificates of kubelets may be approved without a person looking: a request of a node for itself, for
//! nothing but the names and addresses that its Node object has and no other Node has.
//!
//! Pure. Upstream leaves these requests to people; so they are approved only where somebody has given nodes the right
//! `certificatesigningrequests/selfnodeserver`, which upstream's policy does not know. What is trusted is a node's own
//! word for its addresses: a node cannot have the address of another one in the cluster; it can have one that nobody has.
//! So the signer of these certificates is to be an authority that nothing but kubelets are known by.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use super::KUBELET_SERVING;
use super::request::{self, Request};

/// Whether the one who asks is the node itself, and all that it asks for is its own. The error says what is not.
pub(super) fn judge(csr: &CertificateSigningRequest, request: &Request, nodes: &[Arc<Node>]) -> Result<(), String> {
    request::check(KUBELET_SERVING, request, csr.spec.usages.as_deref().unwrap_or_default())?;
    if csr.spec.username.as_ref() != Some(&request.common_name) {
        return Err("it is asked for by another than its subject".to_owned());
    }
    if !csr.spec.groups.iter().flatten().any(|group| group == "system:nodes") {
        return Err("it is not asked for by a node".to_owned());
    }
    let name = request.common_name.trim_start_matches("system:node:");
    let node = nodes.iter().find(|node| node.name_any() == name).ok_or("there is no such Node")?;
    let own = names(node);
    let addresses = request.addresses.iter().map(IpAddr::to_string);
    for wanted in request.dns_names.iter().cloned().chain(addresses) {
        if !own.contains(&wanted) {
            return Err(format!("{wanted} is no name or address of the Node"));
        }
        if let Some(other) = nodes.iter().find(|other| other.name_any() != name && names(other).contains(&wanted)) {
            return Err(format!("{wanted} is of the Node {} too", other.name_any()));
        }
    }
    Ok(())
}

/// What a node may be called by: its name and the addresses in its status.
pub(super) fn names(node: &Node) -> Vec<String> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let addresses = addresses.map(|address| match address.address.parse::<IpAddr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => address.address.clone(),
    });
    std::iter::once(node.name_any()).chain(addresses).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, addresses: &[&str]) -> Arc<Node> {
        let addresses: Vec<_> = addresses.iter().map(|it| json!({"type": "InternalIP", "address": it})).collect();
        let node = json!({"metadata": {"name": name}, "status": {"addresses": addresses}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn judged(username: &str, names: &[&str]) -> Result<(), String> {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        let mut subject = rcgen::DistinguishedName::new();
        subject.push(rcgen::DnType::OrganizationName, "system:nodes");
        subject.push(rcgen::DnType::CommonName, "system:node:a");
        params.distinguished_name = subject;
        let der = params.serialize_request(&key).unwrap().der().to_vec();
        let csr = json!({"metadata": {"name": "x"}, "spec": {
            "request": "", "signerName": KUBELET_SERVING, "usages": ["digital signature", "server auth"],
            "username": username, "groups": ["system:nodes", "system:authenticated"]}});
        let nodes = [node("a", &["192.0.2.1", "192.0.2.9", "fd00::1"]), node("b", &["192.0.2.2", "192.0.2.9"])];
        judge(&serde_json::from_value(csr).unwrap(), &request::parse(&der).unwrap(), &nodes)
    }

    #[test]
    fn a_node_may_have_what_is_its_own_alone() {
        assert_eq!(judged("system:node:a", &["a", "192.0.2.1", "fd00:0::1"]), Ok(()));
        let cases = [
            ("system:node:b", &["a"][..], "another than its subject"),
            ("system:node:a", &["b"], "b is no name"),
            ("system:node:a", &["192.0.2.2"], "192.0.2.2 is no name"),
            ("system:node:a", &["192.0.2.9"], "of the Node b too"),
            ("system:node:a", &["kubernetes.default.svc"], "is no name"),
            ("system:node:a", &[], "subjectAltName is required"),
        ];
        for (username, names, expected) in cases {
            let why = judged(username, names).unwrap_err();
            assert!(why.contains(expected), "{names:?}: {why}");
        }
    }
}
