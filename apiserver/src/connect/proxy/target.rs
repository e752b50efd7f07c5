//! Where the `proxy` subresource of a pod, service or node leads (Kubernetes concept: "Access Services Running on
//! Clusters").
//!
//! Enter at [`Target::parse`], then one of the `*_backend`s. Pure: objects are handed in, nothing is dialled.

use std::net::IpAddr;

use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use crate::connect::kubelet::Endpoint;

/// A name with an optional scheme and port, as the path has it: `[scheme:]name[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub https: bool,
    pub name: &'a str,
    /// A number or a name; empty when none is given.
    pub port: &'a str,
}

/// What is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub https: bool,
    pub endpoint: Endpoint,
}

impl<'a> Target<'a> {
    /// `kind` is the word of the message: pod, service, node.
    pub fn parse(kind: &str, id: &'a str) -> Result<Self, Status> {
        let parts: Vec<&str> = id.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => ("?", "", ""),
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return Err(Status::bad_request(format!("invalid {kind} request {id:?}")));
        }
        Ok(Self { https: scheme == "https", name, port })
    }

    fn backend(&self, host: &str, port: u16) -> Backend {
        Backend { https: self.https, endpoint: Endpoint { host: host.to_owned(), port } }
    }

    fn number(&self) -> Result<u16, Status> {
        let unknown =
            |_| Status::service_unavailable(format!("error trying to reach service: unknown port {:?}", self.port));
        self.port.parse().map_err(unknown)
    }
}

/// A pod's address, at the port of the request, the first that a container names, or the scheme's.
pub fn pod_backend(target: &Target<'_>, pod: &Value) -> Result<Backend, Status> {
    let address = pod_address(pod);
    check_address(address)?;
    let port = if target.port.is_empty() {
        let named = meta::list(&pod["spec"], "containers").iter().find_map(|one| meta::list(one, "ports").first());
        let named = named.and_then(|port| u16::try_from(port["containerPort"].as_u64()?).ok());
        named.unwrap_or(if target.https { 443 } else { 80 })
    } else {
        target.number()?
    };
    Ok(target.backend(address, port))
}

fn pod_address(pod: &Value) -> &str {
    let first = meta::list(pod, "status.podIPs").first().and_then(|one| one["ip"].as_str());
    first.unwrap_or_else(|| meta::text(pod, "status.podIP"))
}

/// The port's name in the Service that a request's port number means; a name means itself.
pub fn service_port_name(target: &Target<'_>, service: &Value) -> Result<String, Status> {
    let Ok(number) = target.port.parse::<u64>() else { return Ok(target.port.to_owned()) };
    let ports = meta::list(&service["spec"], "ports");
    let port = ports.iter().find(|port| port["port"].as_u64() == Some(number)).ok_or_else(|| {
        Status::service_unavailable(format!("no service port {number} found for service {:?}", target.name))
    })?;
    Ok(port["name"].as_str().unwrap_or_default().to_owned())
}

/// The endpoints of a Service behind a port: address, port and the pod's name. Only pods are led to, so that nobody
/// reaches an address of his choice through endpoints that he wrote.
pub fn candidates(endpoints: &Value, namespace: &str, port_name: &str) -> Vec<(String, u16, String)> {
    let mut found = Vec::new();
    for subset in meta::list(endpoints, "subsets") {
        let ports = meta::list(subset, "ports").iter();
        let ports: Vec<u16> = ports
            .filter(|port| port["name"].as_str().unwrap_or_default() == port_name)
            .filter_map(|port| u16::try_from(port["port"].as_u64()?).ok())
            .collect();
        for address in meta::list(subset, "addresses") {
            let pod = &address["targetRef"];
            let (Some(ip), Some(name), Some(port)) = (address["ip"].as_str(), pod["name"].as_str(), ports.first())
            else {
                continue;
            };
            if pod["kind"] == "Pod" && pod["namespace"] == namespace {
                found.push((ip.to_owned(), *port, name.to_owned()));
            }
        }
    }
    found
}

/// Whether an endpoint's address is really one of the pod's.
pub fn is_address_of(pod: &Value, ip: &str) -> bool {
    meta::list(pod, "status.podIPs").iter().any(|one| one["ip"] == ip)
}

/// A service's endpoint as what is dialled.
pub fn service_backend(target: &Target<'_>, ip: &str, port: u16) -> Backend {
    target.backend(ip, port)
}

/// A node's kubelet, or another port of the node. The flag tells that it is the kubelet.
pub fn node_backend(target: &Target<'_>, kubelet: Endpoint) -> Result<(Backend, bool), Status> {
    check_address(&kubelet.host)?;
    if target.port.is_empty() || target.port == kubelet.port.to_string() {
        return Ok((Backend { https: true, endpoint: kubelet }, true));
    }
    Ok((target.backend(&kubelet.host, target.number()?), false))
}

/// Addresses that mean this machine or its link are not led to: the request would come from the server itself.
fn check_address(address: &str) -> Result<(), Status> {
    let allowed = address.parse::<IpAddr>().is_ok_and(|address| match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_unspecified() || v4.is_broadcast())
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified()),
    });
    if allowed { Ok(()) } else { Err(Status::bad_request("address not allowed")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_read() {
        let table = [
            ("a", Some((false, "a", ""))),
            ("a:80", Some((false, "a", "80"))),
            ("https:a:web", Some((true, "a", "web"))),
            ("ftp:a:1", None),
            ("a:b:c:d", None),
            (":80", None),
        ];
        for (id, expected) in table {
            let found = Target::parse("pod", id).ok().map(|found| (found.https, found.name, found.port));
            assert_eq!(found, expected, "{id}");
        }
    }

    #[test]
    fn pods_are_found_at_their_first_port() {
        let pod = json!({
            "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]}]},
            "status": {"podIPs": [{"ip": "10.1.0.2"}]},
        });
        let port = |id: &str| pod_backend(&Target::parse("pod", id).unwrap(), &pod).map(|one| one.endpoint.port);
        assert_eq!((port("p").unwrap(), port("p:9").unwrap()), (8080, 9));
        assert_eq!(port("p:web").unwrap_err().code, 503);
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"] {
            let local = json!({"spec": {}, "status": {"podIP": address}});
            let refused = pod_backend(&Target::parse("pod", "p").unwrap(), &local).unwrap_err();
            assert_eq!(refused.message, "address not allowed", "{address}");
        }
    }

    #[test]
    fn services_lead_to_pods_only() {
        let target = |port| Target { https: false, name: "s", port };
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80}]}});
        assert_eq!(service_port_name(&target("80"), &service).unwrap(), "web");
        assert_eq!(service_port_name(&target("web"), &service).unwrap(), "web");
        let missing = service_port_name(&target("81"), &service).unwrap_err();
        assert_eq!(missing.message, "no service port 81 found for service \"s\"");
        let endpoints = json!({"subsets": [{
            "addresses": [
                {"ip": "10.1.0.2", "targetRef": {"kind": "Pod", "namespace": "n", "name": "p"}},
                {"ip": "10.9.9.9"},
                {"ip": "10.1.0.3", "targetRef": {"kind": "Pod", "namespace": "other", "name": "q"}},
            ],
            "ports": [{"name": "web", "port": 8080}],
        }]});
        assert_eq!(candidates(&endpoints, "n", "web"), [("10.1.0.2".to_owned(), 8080, "p".to_owned())]);
        assert!(candidates(&endpoints, "n", "").is_empty());
    }
}
