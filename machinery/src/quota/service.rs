//! Services: their number, and of those with node ports and load balancers.

use serde_json::Value;

use crate::meta;
use crate::resources::ResourceList;

pub(super) const COUNTED: [&str; 4] = ["count/services", "services", "services.nodeports", "services.loadbalancers"];

pub(super) fn usage(service: &Value) -> ResourceList {
    let ports = meta::list(service, "spec.ports");
    let given = ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count();
    // What is to be allocated counts: it is not there yet when a quota is asked.
    let (balancers, node_ports) = match meta::text(service, "spec.type") {
        "NodePort" => (0, ports.len()),
        "LoadBalancer" if meta::at(service, "spec.allocateLoadBalancerNodePorts") == false => (1, given),
        "LoadBalancer" => (1, ports.len()),
        _ => (0, 0),
    };
    let mut usage = ResourceList::default();
    usage.count("count/services", 1);
    usage.count("services", 1);
    usage.count("services.loadbalancers", balancers);
    usage.count("services.nodeports", i64::try_from(node_ports).unwrap_or(i64::MAX));
    usage
}
