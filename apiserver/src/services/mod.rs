//! Cluster addresses and node ports of Services (Kubernetes concept: "Service ClusterIP allocation").
//!
//! Enter at [`ServiceRanges::complete`], which fills in families and addresses before a Service is judged, and then at
//! [`ServiceRanges::companions`], which says what is written beside it. What a Service holds is written in the commit that writes the Service, so
//! that no address is lost or given twice, whatever dies when: IPAddress objects for addresses, upstream's bitmap under
//! `ranges/servicenodeports` for ports.

mod addresses;
mod families;
mod ledger;
mod ports;
pub mod repair;

use std::net::IpAddr;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

pub use addresses::AddressRange;
pub use ports::PortRange;

use crate::api::Api;
use crate::store::{Commit, Condition, Write};

/// `--service-cluster-ip-range` (one per family; ServiceCIDRs may add others) and `--service-node-port-range`.
pub struct ServiceRanges {
    pub addresses: Vec<AddressRange>,
    pub ports: PortRange,
}

impl ServiceRanges {
    /// The address of the `kubernetes` Service: the first of the primary range.
    pub fn kubernetes_address(&self) -> Option<IpAddr> {
        self.addresses.first().and_then(|range| range.nth(1))
    }

    /// Those of the flags, then those of ServiceCIDRs that are ready, in the order of their names.
    fn current(&self, api: &Api) -> Vec<AddressRange> {
        self.with(api, is_ready)
    }

    /// Those of the flags, then those of all ServiceCIDRs: in one that is not ready, or goes, are addresses in use.
    fn configured(&self, api: &Api) -> Vec<AddressRange> {
        self.with(api, |_| true)
    }

    fn with(&self, api: &Api, counts: impl Fn(&Value) -> bool) -> Vec<AddressRange> {
        let mut ranges = self.addresses.clone();
        let Some(served) = api.catalogue.find("networking.k8s.io", "v1", "servicecidrs") else { return ranges };
        for item in api.cache.list(served.id, &api.catalogue.prefix(served, "")).iter() {
            let Ok(cidr) = serde_json::from_slice::<Value>(&item.body) else { continue };
            let texts = meta::list(&cidr, "spec.cidrs").iter().filter_map(Value::as_str);
            let known = texts.filter_map(|text| AddressRange::parse(text).ok()).filter(|_| counts(&cidr));
            for range in known {
                if !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
        }
        ranges
    }

    /// Completes `new` with the ports that it needs, and says what must be written beside it. In a dry run, nothing: what
    /// is chosen is a stand-in, and addresses may be in use, as upstream has it.
    pub async fn companions(
        &self,
        api: &Api,
        new: Option<&mut Value>,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Commit, Status> {
        let mut commit = Commit::default();
        let none = Value::Null;
        let mut placeholder = Value::Null;
        let new = new.unwrap_or(&mut placeholder);
        let old = old.unwrap_or(&none);
        let given = if dry_run { Vec::new() } else { cluster_ips(new) };
        if !given.is_empty() {
            // A range that was just made, or closed, counts.
            api.consistent().await?;
        }
        for address in given.iter().filter(|text| !text.parse().is_ok_and(|address| holds(old, &address))) {
            self.claim(api, new, address, &mut commit)?;
        }
        let held = cluster_ips(old);
        for address in held.iter().filter_map(|text| text.parse().ok()).filter(|address| !holds(new, address)) {
            commit.writes.push(Write::Delete { key: address_key(api, &address) });
        }
        self.ports.companions(api, new, old, dry_run, &mut commit).await?;
        Ok(commit)
    }

    /// Families, policy and addresses of a Service that has none yet; `old` is null on a create.
    pub fn complete(&self, api: &Api, new: &mut Value, old: &Value, dry_run: bool) -> Result<(), Status> {
        if meta::text(new, "spec.type") == "ExternalName" {
            return Ok(());
        }
        if meta::list(new, "spec.clusterIPs").is_empty() && !meta::text(new, "spec.clusterIP").is_empty() {
            let address = new["spec"]["clusterIP"].clone();
            meta::object_mut(new, "spec").insert("clusterIPs".into(), json!([address]));
        }
        let known: Vec<&str> = self.addresses.iter().map(AddressRange::family).collect();
        families::complete(new, old, &known)
            .map_err(|errors| Status::invalid("", "Service", meta::name(new), &errors))?;
        if meta::text(new, "spec.clusterIP") != "None" {
            let mut addresses = meta::list(new, "spec.clusterIPs").to_vec();
            if dry_run {
                // What is chosen below could not be told from these later, and no range gives it.
                let had = meta::list(old, "spec.clusterIPs").len();
                for address in addresses.iter().skip(had).filter_map(Value::as_str) {
                    self.within(api, new, address, true)?;
                }
            }
            addresses.extend(self.choose(api, new, addresses.len(), dry_run)?.into_iter().map(Value::from));
            let spec = meta::object_mut(new, "spec");
            spec.insert("clusterIP".into(), json!(addresses.first()));
            spec.insert("clusterIPs".into(), json!(addresses));
        }
        Ok(())
    }

    /// A free address in each of the Service's families but those that have one; in a dry run the network's own, which
    /// nobody has.
    fn choose(&self, api: &Api, new: &Value, had: usize, dry_run: bool) -> Result<Vec<String>, Status> {
        let families = meta::list(new, "spec.ipFamilies").iter().skip(had).filter_map(Value::as_str);
        let ranges = self.current(api);
        families
            .map(|family| {
                let mut of_family = ranges.iter().filter(|range| range.family() == family).peekable();
                let first = *of_family.peek().ok_or_else(|| {
                    let path = Path::new("spec").child("ipFamilies");
                    invalid(new, Error::invalid(&path, json!([family]), "not configured on this cluster"))
                })?;
                let is_free = |address: &IpAddr| !is_taken(api, address);
                let chosen = match dry_run {
                    true => first.nth(0),
                    false => of_family.find_map(|range| range.choose(api.random.u64(), is_free)),
                };
                chosen.map(|address| address.to_string()).ok_or_else(|| {
                    let path = Path::new("spec").child("clusterIPs");
                    let why = format!("failed to allocate IP: range {first} is full");
                    invalid(new, Error::internal(&path, why))
                })
            })
            .collect()
    }

    /// The address as it is read, if one of the ranges gives it. Upstream has other words for who only tries.
    fn within(&self, api: &Api, service: &Value, address: &str, dry_run: bool) -> Result<IpAddr, Status> {
        // Validation comes first, so this is an address.
        let Ok(parsed) = address.parse::<IpAddr>() else {
            return Err(not_allocated(service, address, "not an IP address"));
        };
        let ranges = self.current(api);
        if ranges.iter().any(|range| range.gives(&parsed)) {
            return Ok(parsed);
        }
        let own = ranges.iter().find(|range| range.family() == family_of(&parsed)).filter(|_| dry_run);
        let why = own.map_or_else(
            || "the provided network does not match the current range".to_owned(),
            |own| format!("the provided IP ({parsed}) is not in the valid range. The range of valid IPs is {own}"),
        );
        Err(not_allocated(service, address, &why))
    }

    fn claim(&self, api: &Api, service: &Value, address: &str, commit: &mut Commit) -> Result<(), Status> {
        let parsed = self.within(api, service, address, false)?;
        if is_taken(api, &parsed) {
            return Err(not_allocated(service, address, "provided IP is already allocated"));
        }
        let key = address_key(api, &parsed);
        let object = addresses::object(service, &parsed, &api.new_uid(), &api.now_text());
        let value = api.encode_stored(&object)?;
        commit.conditions.push(Condition::Absent { key: key.clone() });
        commit.writes.push(Write::Put { key, value, ttl: None });
        Ok(())
    }
}

fn not_allocated(service: &Value, address: &str, why: &str) -> Status {
    let why = format!("failed to allocate IP {address}: {why}");
    invalid(service, Error::invalid(&Path::new("spec").child("clusterIPs"), json!(cluster_ips(service)), why))
}

pub fn family_of(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The addresses that a Service holds; headless and ExternalName ones hold none.
fn cluster_ips(service: &Value) -> Vec<String> {
    if meta::text(service, "spec.type") == "ExternalName" {
        return Vec::new();
    }
    let listed = meta::list(service, "spec.clusterIPs").iter().filter_map(Value::as_str);
    listed.filter(|address| !address.is_empty() && *address != "None").map(str::to_owned).collect()
}

/// Whether it is among the addresses of a Service, however it is spelt there.
fn holds(service: &Value, address: &IpAddr) -> bool {
    cluster_ips(service).iter().any(|held| held.parse() == Ok(*address))
}

fn address_key(api: &Api, address: &IpAddr) -> String {
    format!("{}/ipaddresses/{address}", api.catalogue.store_prefix())
}

/// Whether a ServiceCIDR's addresses may be given out.
fn is_ready(cidr: &Value) -> bool {
    let mut conditions = meta::list(cidr, "status.conditions").iter();
    let told = conditions.find(|condition| condition["type"] == "Ready");
    // Where nobody says anything, no controller may be there that could.
    !meta::is_deleting(cidr) && told.is_none_or(|told| told["status"] == "True")
}

fn is_taken(api: &Api, address: &IpAddr) -> bool {
    api.peek_named("networking.k8s.io", "ipaddresses", "", &address.to_string()).is_some()
}

fn invalid(service: &Value, error: Error) -> Status {
    let errors: ErrorList = vec![error];
    Status::invalid("", "Service", meta::name(service), &errors)
}
