//! Chain names, the same as upstream's: a prefix and 16 characters of a hash, so that they fit iptables' 28.

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// For policy `Cluster`.
pub(crate) fn cluster(service_port: &str, protocol: &str) -> String {
    format!("KUBE-SVC-{}", hash(&[service_port, protocol]))
}

/// For policy `Local`.
pub(crate) fn local(service_port: &str, protocol: &str) -> String {
    format!("KUBE-SVL-{}", hash(&[service_port, protocol]))
}

/// For load balancer source ranges.
pub(crate) fn firewall(service_port: &str, protocol: &str) -> String {
    format!("KUBE-FW-{}", hash(&[service_port, protocol]))
}

/// For everything that comes in by another address than the cluster's.
pub(crate) fn external(service_port: &str, protocol: &str) -> String {
    format!("KUBE-EXT-{}", hash(&[service_port, protocol]))
}

/// For one endpoint of a port.
pub(crate) fn endpoint(service_port: &str, protocol: &str, endpoint: &str) -> String {
    format!("KUBE-SEP-{}", hash(&[service_port, protocol, endpoint]))
}

/// Whether a chain is one of those above: then it is ours to delete.
pub(crate) fn is_service_chain(name: &str) -> bool {
    ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-"].iter().any(|prefix| name.starts_with(prefix))
}

/// The first 16 characters of the base32 (RFC 4648) of SHA-256; they take the first ten bytes.
fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    let bits = digest[..10].iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    (0..16).rev().map(|at| char::from(ALPHABET[(bits >> (5 * at)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        // As in every cluster: the API server's Service and cluster DNS.
        assert_eq!(cluster("default/kubernetes:https", "tcp"), "KUBE-SVC-NPX46M4PTMTKRN6Y");
        assert_eq!(cluster("kube-system/kube-dns:dns", "udp"), "KUBE-SVC-TCOU7JCQXEZGVUNU");
        assert_eq!(cluster("kube-system/kube-dns:dns-tcp", "tcp"), "KUBE-SVC-ERIFXISQEP7F7OF4");
        assert!(is_service_chain(&endpoint("a/b", "tcp", "10.0.0.1:80")) && !is_service_chain("KUBE-SERVICES"));
    }
}
