//! Words about objects that are taken and yet most likely mistakes, in upstream's words: of kinds whose hooks have no
//! place of their own for them. Pods' are in [`super::pod::warnings`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::field::Path;
use machinery::meta;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::Value;

use super::ip::{address_warning, cidr_warnings};
use super::validate;

/// Of each address in a list of texts.
fn addresses(object: &Value, list: &str, path: &Path) -> Vec<String> {
    let texts = meta::list(object, list).iter().filter_map(Value::as_str).enumerate();
    texts.filter_map(|(position, text)| address_warning(text, &path.index(position))).collect()
}

pub fn service(service: &Value) -> Vec<String> {
    let (spec, text) = (&service["spec"], |field: &str| meta::text(service, field));
    let is_set = |list: &str| !meta::list(spec, list).is_empty();
    let mut warnings = Vec::new();
    if meta::annotation(service, "service.kubernetes.io/topology-aware-hints").is_some() {
        warnings.push("annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead".to_owned());
    }
    let (kind, is_headless) = (text("spec.type"), text("spec.clusterIP") == "None");
    let (is_headless, is_external) = (is_headless && kind == "ClusterIP", kind == "ExternalName");
    if !matches!(text("spec.clusterIP"), "" | "None") {
        warnings.extend(addresses(spec, "clusterIPs", &validate::path(&["spec", "clusterIPs"])));
    }
    let mut tell = |is: bool, words: &str| {
        if is {
            warnings.push(words.to_owned());
        }
    };
    tell(
        is_headless && !text("spec.loadBalancerIP").is_empty(),
        "spec.loadBalancerIP is ignored for headless services",
    );
    tell(is_headless && is_set("externalIPs"), "spec.externalIPs is ignored for headless services");
    let has_affinity = text("spec.sessionAffinity") != "None";
    tell(is_headless && has_affinity, "spec.SessionAffinity is ignored for headless services");
    warnings.extend(addresses(spec, "externalIPs", &validate::path(&["spec", "externalIPs"])));
    if is_set("externalIPs") && !is_headless && !is_external {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if let Some(address) = spec["loadBalancerIP"].as_str() {
        warnings.extend(address_warning(address, &validate::path(&["spec", "loadBalancerIP"])));
    }
    let at = validate::path(&["spec", "loadBalancerSourceRanges"]);
    for (position, range) in meta::list(spec, "loadBalancerSourceRanges").iter().enumerate() {
        warnings.extend(cidr_warnings(range.as_str().unwrap_or_default(), &at.index(position)));
    }
    if is_external && is_set("externalIPs") {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !is_external && !text("spec.externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text("spec.trafficDistribution") == "PreferClose" {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    warnings
}

/// Of the addresses that a load balancer has (Services and Ingresses).
pub fn balancer_status(object: &Value) -> Vec<String> {
    let path = validate::path(&["status", "loadBalancer", "ingress"]);
    let given = meta::list(object, "status.loadBalancer.ingress").iter().enumerate();
    given.filter_map(|(position, one)| address_warning(one["ip"].as_str()?, &path.index(position))).collect()
}

/// Of a pod's own addresses and its node's.
pub fn pod_status(pod: &Value) -> Vec<String> {
    ["podIPs", "hostIPs"]
        .into_iter()
        .flat_map(|list| {
            let path = validate::path(&["status", list]);
            let given = meta::list(&pod["status"], list).iter().enumerate();
            let words = given.filter_map(move |(position, one)| {
                address_warning(one["ip"].as_str()?, &path.index(position).child("ip"))
            });
            words.collect::<Vec<_>>()
        })
        .collect()
}

pub fn endpoints(endpoints: &Value) -> Vec<String> {
    // What the controller writes, it has set right.
    if meta::label(endpoints, "endpoints.kubernetes.io/managed-by") == Some("endpoint-controller") {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for (position, subset) in meta::list(endpoints, "subsets").iter().enumerate() {
        for list in ["addresses", "notReadyAddresses"] {
            let at = Path::new("subsets").index(position).child(list);
            let given = meta::list(subset, list).iter().enumerate();
            warnings.extend(
                given.filter_map(|(position, one)| {
                    address_warning(meta::text(one, "ip"), &at.index(position).child("ip"))
                }),
            );
        }
    }
    warnings
}

pub fn slice(slice: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if slice["addressType"] == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let managers = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    if meta::label(slice, "endpointslice.kubernetes.io/managed-by").is_some_and(|own| managers.contains(&own)) {
        return warnings;
    }
    for (position, endpoint) in meta::list(slice, "endpoints").iter().enumerate() {
        let at = Path::new("endpoints").index(position).child("addresses");
        warnings.extend(addresses(endpoint, "addresses", &at));
    }
    warnings
}

pub fn node(node: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if node["spec"]["configSource"].is_object() {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !meta::text(node, "spec.externalID").is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    let path = validate::path(&["spec", "podCIDRs"]);
    for (position, range) in meta::list(node, "spec.podCIDRs").iter().enumerate() {
        warnings.extend(cidr_warnings(range.as_str().unwrap_or_default(), &path.index(position)));
    }
    warnings
}

pub fn service_account(account: &Value) -> Vec<String> {
    const ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
    let words = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
    let given = meta::annotation(account, ANNOTATION);
    given.map(|_| format!("metadata.annotations[{ANNOTATION}]: {words}")).into_iter().collect()
}

/// A TLS secret whose parts do not go together.
pub fn secret(secret: &Value) -> Vec<String> {
    if secret["type"] != "kubernetes.io/tls" {
        return Vec::new();
    }
    let part = |name: &str| STANDARD.decode(secret["data"][name].as_str().unwrap_or_default()).unwrap_or_default();
    key_pair(&part("tls.crt"), &part("tls.key")).err().map(str::to_owned).into_iter().collect()
}

fn key_pair(certificate: &[u8], key: &[u8]) -> Result<(), &'static str> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate).flatten().collect();
    if chain.is_empty() {
        return Err("tls: failed to find any PEM data in certificate input");
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "tls: failed to find any PEM data in key input")?;
    match CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()) {
        Ok(_) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err("tls: private key does not match public key"),
        Err(_) => Err("tls: failed to parse private key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_are_told_of_what_is_ignored_or_unusual() {
        let told = |spec: Value| service(&json!({"spec": spec}));
        assert_eq!(
            told(
                json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "sessionAffinity": "None"})
            ),
            [""; 0]
        );
        assert_eq!(
            told(
                json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP", "externalIPs": ["1.2.3.04"]})
            ),
            [
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
                "spec.externalIPs[0]: non-standard IP address \"1.2.3.04\" is invalid: use \"1.2.3.4\"",
            ]
        );
        assert_eq!(
            told(
                json!({"type": "LoadBalancer", "sessionAffinity": "None", "externalName": "x", "trafficDistribution": "PreferClose", "loadBalancerSourceRanges": ["10.0.0.1/8"], "externalIPs": ["2001:DB8::1"]})
            ),
            [
                "spec.externalIPs[0]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                "spec.loadBalancerSourceRanges[0]: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
                "spec.externalName is ignored when spec.type is not \"ExternalName\"",
                "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
            ]
        );
    }

    #[test]
    fn tls_secrets_are_told_when_their_parts_do_not_fit() {
        let make = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let told = |certificate: &str, key: &str| {
            let data = json!({"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key)});
            secret(&json!({"type": "kubernetes.io/tls", "data": data}))
        };
        let (one, other) = (make(), make());
        assert_eq!(told(&one.0, &one.1), [""; 0]);
        assert_eq!(told(&one.0, &other.1), ["tls: private key does not match public key"]);
        assert_eq!(told("x", &one.1), ["tls: failed to find any PEM data in certificate input"]);
        assert_eq!(told(&one.0, "x"), ["tls: failed to find any PEM data in key input"]);
    }
}
