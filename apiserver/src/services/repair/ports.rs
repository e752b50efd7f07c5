//! What the bitmap of node ports should be, by the Services. Pure; reasons and words are upstream's.

use std::collections::{BTreeMap, BTreeSet};

use machinery::meta;
use serde_json::Value;

use super::Note;
use crate::services::ports::{Bitmap, PortRange};

pub(super) const CONTROLLER: &str = "portallocator-repair-controller";
/// Upstream's servers take a port first, and write the Service then: a port that nobody has is kept for so many looks.
const LOOKS_KEPT: u32 = 3;

pub(super) struct Looked {
    /// The bitmap as it is to be stored.
    pub object: Value,
    pub notes: Vec<Note>,
    pub leaks: BTreeMap<u16, u32>,
}

pub(super) fn look(
    range: &PortRange,
    stored: Option<&Value>,
    services: &[&Value],
    leaks: &BTreeMap<u16, u32>,
) -> Looked {
    let mut left = stored.map(|stored| stored_ports(range, stored)).unwrap_or_default();
    let (mut rebuilt, mut notes) = (BTreeSet::new(), Vec::new());
    for service in services {
        for port in held(service) {
            let (reason, text) = if !range.contains(port) {
                ("PortOutOfRange", format!("Port {port} is not within the port range {range}; please recreate service"))
            } else if !rebuilt.insert(port) {
                let words = format!("Port {port} was assigned to multiple services; please recreate service");
                ("PortAlreadyAllocated", words)
            } else {
                if left.remove(&port) {
                    continue;
                }
                ("PortNotAllocated", format!("Port {port} is not allocated; repairing"))
            };
            let about = (*service).clone();
            notes.push(Note { about, controller: CONTROLLER, reason, action: "PortAllocation", text });
        }
    }
    let mut kept = BTreeMap::new();
    for port in left.into_iter().filter(|port| range.contains(*port)) {
        match leaks.get(&port).copied().unwrap_or(LOOKS_KEPT - 1) {
            0 => tracing::error!(port, "the node port appears to have leaked: cleaning up"),
            looks => {
                kept.insert(port, looks - 1);
                rebuilt.insert(port);
            }
        }
    }
    let mut bitmap = Bitmap::default();
    for port in rebuilt {
        bitmap.set(port - range.first, true);
    }
    Looked { object: bitmap.object(range), notes, leaks: kept }
}

/// The bits count from the first port of the range that they were written with.
fn stored_ports(range: &PortRange, stored: &Value) -> BTreeSet<u16> {
    let written = PortRange::parse(meta::text(stored, "range")).unwrap_or(*range);
    // One that cannot be read is written anew from what Services have.
    let bitmap = Bitmap::parse(stored).unwrap_or_else(|status| {
        tracing::error!(%status, "the node ports in use cannot be read");
        Bitmap::default()
    });
    (written.first..=written.last).filter(|port| bitmap.is_set(port - written.first)).collect()
}

/// The node ports of a Service: once for all protocols that share one, twice where one protocol has it twice.
fn held(service: &Value) -> Vec<u16> {
    let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let mut seen: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    let mut ports = Vec::new();
    for port in meta::list(service, "spec.ports") {
        let Some(node_port) = number(&port["nodePort"]) else { continue };
        let protocols = seen.entry(node_port).or_default();
        if !protocols.insert(port["protocol"].as_str().unwrap_or_default()) || protocols.len() == 1 {
            ports.push(node_port);
        }
    }
    let health = number(meta::at(service, "spec.healthCheckNodePort"));
    ports.extend(health.filter(|port| seen.get(port).is_none_or(|protocols| protocols.contains("TCP"))));
    ports
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use serde_json::json;

    use super::*;

    fn range() -> PortRange {
        PortRange { first: 30000, last: 30099 }
    }

    fn stored(ports: &[u16]) -> Value {
        let mut bitmap = Bitmap::default();
        ports.iter().for_each(|port| bitmap.set(port - 30000, true));
        bitmap.object(&range())
    }

    fn service(name: &str, ports: &[(u16, &str)]) -> Value {
        let ports: Vec<Value> =
            ports.iter().map(|(port, protocol)| json!({"nodePort": port, "protocol": protocol})).collect();
        json!({"metadata": {"name": name}, "spec": {"ports": ports}})
    }

    fn check(before: Option<&Value>, services: &[Value], wanted: &[u16], notes: &[&str]) -> BTreeMap<u16, u32> {
        let services: Vec<&Value> = services.iter().collect();
        let looked = look(&range(), before, &services, &BTreeMap::new());
        assert_eq!(looked.object, stored(wanted));
        let told: Vec<String> = looked.notes.iter().map(|note| format!("{}: {}", note.reason, note.text)).collect();
        assert_eq!(told, notes);
        looked.leaks
    }

    #[test]
    fn the_bitmap_is_what_services_have() {
        let both = service("a", &[(30001, "TCP"), (30001, "UDP")]);
        check(Some(&stored(&[30001])), from_ref(&both), &[30001], &[]);
        let missing = "PortNotAllocated: Port 30001 is not allocated; repairing";
        check(None, from_ref(&both), &[30001], &[missing]);
        let twice = "PortAlreadyAllocated: Port 30001 was assigned to multiple services; please recreate service";
        check(Some(&stored(&[30001])), &[both, service("b", &[(30001, "TCP")])], &[30001], &[twice]);
        let outside = "PortOutOfRange: Port 31000 is not within the port range 30000-30099; please recreate service";
        check(Some(&stored(&[])), &[service("a", &[(31000, "TCP")])], &[], &[outside]);
    }

    #[test]
    fn a_port_that_nobody_has_is_given_back_after_three_looks() {
        let before = stored(&[30005]);
        let mut leaks = BTreeMap::new();
        let mut kept = Vec::new();
        for _ in 0..4 {
            let looked = look(&range(), Some(&before), &[], &leaks);
            kept.push(looked.object == before);
            leaks = looked.leaks;
        }
        assert_eq!(kept, [true, true, false, true]);
    }

    #[test]
    fn a_bitmap_that_cannot_be_read_is_written_anew() {
        let broken = json!({"range": "30000-30099", "data": "?"});
        let told = "PortNotAllocated: Port 30001 is not allocated; repairing";
        check(Some(&broken), &[service("a", &[(30001, "TCP")])], &[30001], &[told]);
    }

    #[test]
    fn bits_count_from_the_range_that_they_were_written_with() {
        let written = PortRange { first: 29990, last: 30010 };
        let mut bitmap = Bitmap::default();
        bitmap.set(11, true);
        let leaks = check(Some(&bitmap.object(&written)), &[service("a", &[(30001, "TCP")])], &[30001], &[]);
        assert!(leaks.is_empty());
    }
}
