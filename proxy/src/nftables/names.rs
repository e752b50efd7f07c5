//! Chain names, in upstream's shape: a word, a hash, and the Service as people read it.

use sha2::{Digest as _, Sha256};

use super::SHARDS;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// The kernel takes 127 bytes; the hash tells those apart that are cut.
const BYTES_MAX: usize = 120;

/// The chain of a Service port for one purpose: `service`, `local`, `external` or `firewall`.
pub(crate) fn port(purpose: &str, service_port: &str, protocol: &str) -> String {
    let (service, port) = service_port.split_once(':').unwrap_or((service_port, ""));
    hashed(purpose, &format!("{service}/{protocol}/{port}"))
}

/// The chain of one endpoint of a Service port, or with the word `affinity` the set of its clients.
pub(crate) fn endpoint(purpose: &str, service_port: &str, protocol: &str, address: &std::net::SocketAddr) -> String {
    let (service, port) = service_port.split_once(':').unwrap_or((service_port, ""));
    // A colon ends a name in the language.
    let ip = address.ip().to_string().replace(':', ".");
    hashed(purpose, &format!("{service}/{protocol}/{port}__{ip}/{}", address.port()))
}

/// The shard of a Service: the same for all its ports.
pub(crate) fn shard(service_port: &str) -> u8 {
    let (service, _) = service_port.split_once(':').unwrap_or((service_port, ""));
    Sha256::digest(service.as_bytes())[0] % SHARDS
}

fn hashed(purpose: &str, name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let bits = digest[..5].iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let hash: String = (0..8).rev().map(|at| char::from(ALPHABET[(bits >> (5 * at)) as usize & 31])).collect();
    let mut full = format!("{purpose}-{hash}-{name}");
    full.truncate(BYTES_MAX);
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams_and_fit_the_kernel() {
        assert_eq!(port("service", "ns1/svc1:p80", "tcp"), "service-ULMVA6XW-ns1/svc1/tcp/p80");
        let address = "10.180.0.1:80".parse().unwrap();
        assert_eq!(
            endpoint("endpoint", "ns1/svc1:p80", "tcp", &address),
            "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80"
        );
        let long = format!("{0}/{0}:{0}", "x".repeat(63));
        assert!(port("firewall", &long, "sctp").len() <= 127);
        assert_ne!(port("service", &long, "udp"), port("service", &long, "tcp"));
    }
}
