//! The result of ADD, in the shapes of all versions of the specification.
//!
//! [`CniResult`] has the newest shape; [`CniResult::to_json`] and [`CniResult::from_json`] translate.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Failure, Version};

/// What a plugin did: interfaces, addresses, routes and name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CniResult {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) interfaces: Vec<Interface>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ips: Vec<IpConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Dns,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Interface {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u32>,
    /// Path of the namespace; empty for the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) sandbox: String,
    #[serde(rename = "socketPath", skip_serializing_if = "Option::is_none")]
    pub(crate) socket_path: Option<String>,
    #[serde(rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub(crate) pci_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IpConfig {
    /// Index into `interfaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) interface: Option<i64>,
    pub(crate) address: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) dst: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gw: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) advmss: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Dns {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) nameservers: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) domain: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) options: Vec<String>,
}

impl CniResult {
    /// The text that goes to stdout, in the shape of `version`.
    pub(crate) fn to_json(&self, version: Version) -> String {
        let mut value = match version {
            Version::V0_1_0 | Version::V0_2_0 => self.to_0_2(),
            _ => serde_json::to_value(self).unwrap_or_default(),
        };
        if (Version::V0_3_0..Version::V1_0_0).contains(&version) {
            for ip in entries(&mut value, "ips") {
                let family = if ip["address"].as_str().is_some_and(|text| text.contains(':')) { "6" } else { "4" };
                ip["version"] = json!(family);
            }
        }
        if version < Version::V1_1_0 {
            strip_1_1(&mut value);
        }
        value["cniVersion"] = json!(version.name());
        serde_json::to_string_pretty(&value).unwrap_or_default()
    }

    /// Before 0.3.0 a result held at most one address a family, with the family's routes inside.
    fn to_0_2(&self) -> Value {
        let mut value = json!({ "dns": self.dns });
        for (key, is_v6) in [("ip4", false), ("ip6", true)] {
            let Some(ip) = self.ips.iter().find(|ip| is_ipv6(&ip.address) == is_v6) else { continue };
            let mut entry = json!({ "ip": ip.address });
            if let Some(gateway) = ip.gateway {
                entry["gateway"] = json!(gateway);
            }
            let routes: Vec<Value> =
                self.routes.iter().filter(|route| is_ipv6(&route.dst) == is_v6).map(old_route).collect();
            if !routes.is_empty() {
                entry["routes"] = json!(routes);
            }
            value[key] = entry;
        }
        value
    }

    /// A result of another plugin. Its own `cniVersion` wins over the configuration's.
    pub(crate) fn from_json(value: &Value, conf_version: &str) -> Result<CniResult, Failure> {
        let version = value["cniVersion"].as_str().filter(|text| !text.is_empty()).unwrap_or(conf_version);
        let refuse = |error: serde_json::Error| Failure::decode(format!("could not parse prevResult: {error}"));
        if Version::supported(version)? >= Version::V0_3_0 {
            return serde_json::from_value(value.clone()).map_err(refuse);
        }
        let mut result =
            CniResult { dns: serde_json::from_value(value["dns"].clone()).unwrap_or_default(), ..CniResult::default() };
        for entry in [&value["ip4"], &value["ip6"]].into_iter().filter(|entry| entry.is_object()) {
            let ip = json!({ "address": entry["ip"], "gateway": entry["gateway"] });
            result.ips.push(serde_json::from_value(ip).map_err(refuse)?);
            for route in entry["routes"].as_array().into_iter().flatten() {
                result.routes.push(serde_json::from_value(route.clone()).map_err(refuse)?);
            }
        }
        Ok(result)
    }
}

fn old_route(route: &Route) -> Value {
    let mut out = Map::from_iter([("dst".to_string(), json!(route.dst))]);
    if let Some(gw) = route.gw {
        out.insert("gw".to_string(), json!(gw));
    }
    Value::Object(out)
}

/// The keys that came with 1.1.0; a strict reader of an older version would not know them.
fn strip_1_1(value: &mut Value) {
    for (list, keys) in [
        ("interfaces", &["mtu", "socketPath", "pciID"][..]),
        ("routes", &["mtu", "advmss", "priority", "table", "scope"][..]),
    ] {
        for entry in entries(value, list).filter_map(Value::as_object_mut) {
            entry.retain(|key, _| !keys.contains(&key.as_str()));
        }
    }
}

fn entries<'a>(value: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

pub(crate) fn is_ipv6(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CniResult {
        CniResult {
            interfaces: vec![Interface { name: "cni0".into(), mtu: Some(1500), ..Interface::default() }],
            ips: vec![IpConfig {
                interface: Some(0),
                address: "10.1.1.2/24".parse().unwrap(),
                gateway: Some("10.1.1.1".parse().unwrap()),
            }],
            routes: vec![Route {
                dst: "0.0.0.0/0".parse().unwrap(),
                gw: Some("10.1.1.1".parse().unwrap()),
                mtu: Some(1400),
                advmss: None,
                priority: None,
                table: None,
                scope: None,
            }],
            dns: Dns::default(),
        }
    }

    fn shape(version: Version) -> Value {
        serde_json::from_str(&sample().to_json(version)).unwrap()
    }

    #[test]
    fn each_version_has_its_shape() {
        assert_eq!(
            shape(Version::V0_2_0),
            json!({"cniVersion": "0.2.0", "dns": {}, "ip4": {"ip": "10.1.1.2/24", "gateway": "10.1.1.1",
                   "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.1.1"}]}})
        );
        let ip = json!({"interface": 0, "version": "4", "address": "10.1.1.2/24", "gateway": "10.1.1.1"});
        assert_eq!(shape(Version::V0_3_1)["ips"], json!([ip]));
        assert_eq!(shape(Version::V1_0_0)["ips"][0].get("version"), None);
        assert_eq!(shape(Version::V1_0_0)["routes"][0].get("mtu"), None);
        assert_eq!(shape(Version::V1_1_0)["routes"][0]["mtu"], 1400);
    }

    #[test]
    fn results_come_back_as_they_went() {
        for version in [Version::V0_2_0, Version::V0_4_0, Version::V1_0_0, Version::V1_1_0] {
            let back = CniResult::from_json(&shape(version), "1.0.0").unwrap();
            assert_eq!(back.ips[0].address, sample().ips[0].address, "{version:?}");
            assert_eq!(back.routes[0].gw, sample().routes[0].gw, "{version:?}");
        }
        assert_eq!(CniResult::from_json(&shape(Version::V1_1_0), "").unwrap(), sample());
    }
}
