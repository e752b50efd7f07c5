//! Node ports: upstream's bitmap of the ports in use, changed in the commit that changes the Service.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::ledger::Ledger;
use crate::api::Api;
use crate::errors;
use crate::store::{Commit, Condition, Write};

/// `--service-node-port-range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    /// `30000-32767`.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let range = Self { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? };
        (range.first > 0 && range.first <= range.last).then_some(range)
    }

    /// Gives `new` the node ports that it needs. Of a dry run nothing is to be written.
    pub async fn companions(
        &self,
        api: &Api,
        new: &mut Value,
        old: &Value,
        dry_run: bool,
        commit: &mut Commit,
    ) -> Result<(), Status> {
        // A type without node ports took none, whatever stands in its entries.
        let entries = if has_ports(old) { entry_ports(old) } else { Vec::new() };
        let health = health_port(old).filter(|_| needs_health_port(old));
        let held: Vec<u16> = entries.iter().copied().chain(health).collect();
        keep_ports(new, old);
        let asked: Vec<u16> = entry_ports(new).into_iter().chain(health_port(new)).collect();
        let complete = !chooses_ports(new)
            || meta::list(new, "spec.ports").iter().all(|port| port["nodePort"].as_u64().is_some_and(|port| port > 0));
        let takes_health_port = needs_health_port(new) && !needs_health_port(old);
        // One outside was never in this bitmap.
        let freed: Vec<u16> =
            held.iter().copied().filter(|port| !asked.contains(port) && self.contains(*port)).collect();
        let claims = !complete || takes_health_port || entry_ports(new).iter().any(|port| !entries.contains(port));
        if !claims && (freed.is_empty() || dry_run) {
            return Ok(());
        }
        let key = key(api);
        let (entry, _) = api.store.get(&key, None).await.map_err(|error| errors::store(&error))?;
        let mut bitmap = match entry.as_ref().map(|entry| self.restore(&entry.value)).transpose() {
            Ok(bitmap) => bitmap.unwrap_or_default(),
            Err(status) if claims => return Err(status),
            Err(status) => {
                tracing::error!(%status, ?freed, "node ports are not given back; the repair will");
                return Ok(());
            }
        };
        if !dry_run {
            freed.iter().for_each(|port| bitmap.set(port - self.first, false));
        }
        let mut ledger = Ledger { api, range: self, bitmap, dry: dry_run.then(Vec::new) };
        if has_ports(new) {
            let chooses = chooses_ports(new);
            match old.is_null() {
                true => ledger.fill_new(new, chooses)?,
                false => ledger.fill_changed(new, &entries, chooses)?,
            }
        }
        if takes_health_port {
            ledger.fill_health(new)?;
        }
        if dry_run {
            return Ok(());
        }
        commit.conditions.push(match &entry {
            Some(entry) => Condition::Modified { key: key.clone(), revision: entry.modified },
            None => Condition::Absent { key: key.clone() },
        });
        let value = api.encode_stored(&ledger.bitmap.object(self))?;
        commit.writes.push(Write::Put { key, value, ttl: None });
        Ok(())
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// The stored bitmap. Bits that another server counted from another port would be other ports here.
    fn restore(&self, stored: &[u8]) -> Result<Bitmap, Status> {
        let object = crate::stored::decode(stored).map_err(Status::internal_error)?;
        if meta::text(&object, "range") != self.to_string() {
            return Err(Status::internal_error("the provided range does not match the current range"));
        }
        Bitmap::parse(&object)
    }

    /// The lower part is left for ports that people choose, as long as the upper has a free one.
    fn reserved(&self) -> u16 {
        let size = u32::from(self.last - self.first) + 1;
        if size <= 16 { 0 } else { (size / 32).clamp(16, 128) as u16 }
    }

    /// A free port, as its place in the range, looked for from a random place in the upper part, then in the lower.
    pub(super) fn choose(&self, random: u64, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        let (size, reserved) = (u64::from(self.last - self.first) + 1, u64::from(self.reserved()));
        let upper = size - reserved;
        let begin = random % upper;
        let upper = (0..upper).map(|step| reserved + (begin + step) % upper);
        upper.chain(0..reserved).map(|offset| offset as u16).find(|offset| is_free(*offset))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Where the bitmap lies.
pub(super) fn key(api: &Api) -> String {
    format!("{}/ranges/servicenodeports", api.catalogue.store_prefix())
}

/// A balancer that goes to local endpoints alone asks each node whether it has any.
fn needs_health_port(service: &Value) -> bool {
    meta::text(service, "spec.type") == "LoadBalancer" && meta::text(service, "spec.externalTrafficPolicy") == "Local"
}

fn has_ports(service: &Value) -> bool {
    matches!(meta::text(service, "spec.type"), "NodePort" | "LoadBalancer")
}

/// Whether entries without a node port are to have one.
fn chooses_ports(service: &Value) -> bool {
    match meta::text(service, "spec.type") {
        "NodePort" => true,
        "LoadBalancer" => meta::at(service, "spec.allocateLoadBalancerNodePorts").as_bool().unwrap_or(true),
        _ => false,
    }
}

fn entry_ports(service: &Value) -> Vec<u16> {
    meta::list(service, "spec.ports").iter().filter_map(|entry| port(&entry["nodePort"])).collect()
}

fn health_port(service: &Value) -> Option<u16> {
    port(meta::at(service, "spec.healthCheckNodePort"))
}

fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

/// An update that leaves a node port out keeps the one that the entry of that name had, unless another has asked for it.
fn keep_ports(new: &mut Value, old: &Value) {
    if needs_health_port(new)
        && health_port(new).is_none()
        && let Some(held) = health_port(old).filter(|_| needs_health_port(old))
    {
        new["spec"]["healthCheckNodePort"] = json!(held);
    }
    if !chooses_ports(new) || !chooses_ports(old) {
        return;
    }
    let asked = entry_ports(new);
    let before = meta::list(old, "spec.ports");
    let Some(entries) = new["spec"]["ports"].as_array_mut() else { return };
    for entry in entries.iter_mut().filter(|entry| port(&entry["nodePort"]).is_none()) {
        let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
        let same = before.iter().rev().find(|other| name(other) == name(entry));
        if let Some(held) = same.and_then(|other| port(&other["nodePort"])).filter(|held| !asked.contains(held)) {
            entry["nodePort"] = json!(held);
        }
    }
}

/// Bit n is the n-th port of the range; kept, like Go's big integers, as big-endian bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bitmap {
    /// Little-endian bytes: byte 0 holds bits 0 to 7.
    bytes: Vec<u8>,
}

impl Bitmap {
    pub(super) fn parse(object: &Value) -> Result<Self, Status> {
        let data = meta::text(object, "data");
        let mut bytes = STANDARD.decode(data).map_err(Status::internal_error)?;
        bytes.reverse();
        Ok(Self { bytes })
    }

    pub(super) fn is_set(&self, bit: u16) -> bool {
        self.bytes.get(usize::from(bit / 8)).is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
    }

    pub(super) fn set(&mut self, bit: u16, value: bool) {
        let at = usize::from(bit / 8);
        if self.bytes.len() <= at {
            self.bytes.resize(at + 1, 0);
        }
        let mask = 1 << (bit % 8);
        if value {
            self.bytes[at] |= mask;
        } else {
            self.bytes[at] &= !mask;
        }
    }

    pub(super) fn object(&self, range: &PortRange) -> Value {
        let mut bytes = self.bytes.clone();
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        bytes.reverse();
        json!({
            "apiVersion": "v1", "kind": "RangeAllocation", "metadata": {},
            "range": range.to_string(), "data": STANDARD.encode(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_ports_are_left_to_people_while_others_are_free() {
        let range = PortRange::parse("30000-32767").unwrap();
        assert_eq!(range.reserved(), 86);
        let chosen = |random: u64| range.choose(random, |_| true).unwrap();
        assert!((0..10_000).map(chosen).all(|offset| (86..2768).contains(&offset)));
        assert_eq!(range.choose(7, |offset| offset < 86), Some(0));
        assert_eq!(range.choose(7, |_| false), None);
        let reserved = |text: &str| PortRange::parse(text).unwrap().reserved();
        assert_eq!((reserved("1-16"), reserved("1-17"), reserved("1-65535")), (0, 16, 128));
    }

    #[test]
    fn the_bitmap_survives_its_stored_form() {
        let range = PortRange::parse("30000-32767").unwrap();
        let mut bitmap = Bitmap::default();
        bitmap.set(0, true);
        bitmap.set(9, true);
        let object = bitmap.object(&range);
        assert_eq!(object["data"], STANDARD.encode([2, 1]), "big-endian, as Go writes it");
        assert_eq!(Bitmap::parse(&object).unwrap(), bitmap);
    }

    #[test]
    fn a_bitmap_of_another_range_is_not_read() {
        let range = PortRange::parse("30000-32767").unwrap();
        let stored = |of: &PortRange| Bitmap::default().object(of).to_string();
        assert!(range.restore(stored(&range).as_bytes()).is_ok());
        let refused = range.restore(stored(&PortRange { first: 29000, last: 32767 }).as_bytes()).unwrap_err();
        assert_eq!(refused.code, 500);
        assert!(refused.message.contains("the provided range does not match the current range"), "{refused}");
    }

    #[test]
    fn ports_are_kept_by_name_unless_another_entry_asks_for_them() {
        let with = |ports: Value| json!({"spec": {"type": "NodePort", "ports": ports}});
        let old =
            with(json!([{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}]));
        for (asked, kept) in [
            (json!([{"name": "a", "port": 8080}, {"name": "c", "port": 80}]), [Some(30080), None]),
            (json!([{"name": "c", "port": 443, "nodePort": 30080}, {"name": "a", "port": 80}]), [Some(30080), None]),
            (json!([{"name": "b", "port": 80}, {"name": "a", "port": 81}]), [Some(30081), Some(30080)]),
        ] {
            let mut new = with(asked);
            keep_ports(&mut new, &old);
            assert_eq!([0, 1].map(|index| port(&new["spec"]["ports"][index]["nodePort"])), kept, "{new}");
        }
    }

    #[test]
    fn ranges_are_read_strictly() {
        assert!(PortRange::parse("32767-30000").is_none() && PortRange::parse("0-1").is_none());
    }
}
