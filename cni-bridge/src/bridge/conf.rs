//! The configuration of `bridge`, with upstream's keys, defaults and checks.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::cni::conf::{nullable, parse};
use crate::cni::result::Dns;
use crate::cni::{Failure, Request};
use crate::packet_filter::Backend;

/// What the plugin goes by, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BridgeConf {
    pub(super) name: String,
    pub(super) bridge: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) is_gateway: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) is_default_gateway: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) force_address: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) ip_masq: bool,
    #[serde(rename = "ipMasqBackend")]
    backend: Option<String>,
    /// 0: the kernel's default.
    #[serde(deserialize_with = "nullable")]
    pub(super) mtu: u32,
    #[serde(deserialize_with = "nullable")]
    pub(super) hairpin_mode: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) promisc_mode: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) vlan: i32,
    vlan_trunk: Option<Vec<VlanTrunk>>,
    /// Of the bridge itself, on the host's end of the link, beside the VLANs asked for. Upstream's default was yes until
    /// version 1.8.
    #[serde(deserialize_with = "nullable")]
    pub(super) preserve_default_vlan: bool,
    #[serde(rename = "macspoofchk", deserialize_with = "nullable")]
    pub(super) macspoofchk: bool,
    #[serde(rename = "enabledad", deserialize_with = "nullable")]
    pub(super) enable_dad: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) disable_container_interface: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) port_isolation: bool,
    #[serde(deserialize_with = "nullable")]
    ipam: Ipam,
    /// Name servers given here win over the IPAM plugin's.
    pub(super) dns: Option<Dns>,
    #[serde(deserialize_with = "nullable")]
    args: Args,
    #[serde(deserialize_with = "nullable")]
    runtime_config: Mac,
    #[serde(skip)]
    pub(super) ip_masq_backend: Option<Backend>,
    #[serde(skip)]
    pub(super) mac: Option<Vec<u8>>,
    #[serde(skip)]
    pub(super) trunk: Vec<u16>,
}

impl Default for BridgeConf {
    fn default() -> Self {
        BridgeConf {
            name: String::new(),
            bridge: "cni0".to_string(),
            is_gateway: false,
            is_default_gateway: false,
            force_address: false,
            ip_masq: false,
            backend: None,
            ip_masq_backend: None,
            mtu: 0,
            hairpin_mode: false,
            promisc_mode: false,
            vlan: 0,
            vlan_trunk: None,
            preserve_default_vlan: false,
            macspoofchk: false,
            enable_dad: false,
            disable_container_interface: false,
            port_isolation: false,
            ipam: Ipam::default(),
            dns: None,
            args: Args::default(),
            runtime_config: Mac::default(),
            mac: None,
            trunk: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ipam {
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    #[serde(deserialize_with = "nullable")]
    cni: Mac,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Mac {
    #[serde(deserialize_with = "nullable")]
    mac: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct VlanTrunk {
    #[serde(rename = "minID")]
    min_id: Option<i32>,
    #[serde(rename = "maxID")]
    max_id: Option<i32>,
    id: Option<i32>,
}

impl BridgeConf {
    pub(super) fn load(request: &Request) -> Result<BridgeConf, Failure> {
        let mut conf: BridgeConf = parse(&request.stdin)?;
        if !(0..=4094).contains(&conf.vlan) {
            let msg = format!("invalid VLAN ID {} (must be between 0 and 4094)", conf.vlan);
            return Err(Failure::config(msg));
        }
        conf.trunk = trunk_ids(conf.vlan_trunk.as_deref().unwrap_or_default()).map_err(Failure::config)?;
        let from_env = request.arg("MAC")?.unwrap_or_default();
        let macs = [&conf.runtime_config.mac, &conf.args.cni.mac, &from_env];
        conf.mac = macs.into_iter().find(|mac| !mac.is_empty()).map(|mac| parse_mac(mac)).transpose()?;
        conf.is_gateway |= conf.is_default_gateway;
        conf.dns = conf.dns.filter(|dns| *dns != Dns::default());
        if let Some(name) = &conf.backend {
            let backend = Backend::parse(name);
            conf.ip_masq_backend =
                Some(backend.ok_or_else(|| Failure::config(format!("unknown ipmasq backend {name:?}")))?);
        }
        Ok(conf)
    }

    /// Combinations that ADD refuses; DEL takes them, so that nothing is kept from being cleaned up.
    pub(super) fn check_combinations(&self) -> Result<(), Failure> {
        if self.is_layer3() && self.disable_container_interface {
            return Err(Failure::config("cannot use IPAM when DisableContainerInterface flag is set"));
        }
        if self.hairpin_mode && self.promisc_mode {
            return Err(Failure::config("cannot set hairpin mode and promiscuous mode at the same time"));
        }
        Ok(())
    }

    pub(super) fn ipam_type(&self) -> Option<&str> {
        Some(self.ipam.kind.as_str()).filter(|kind| !kind.is_empty())
    }

    pub(super) fn is_layer3(&self) -> bool {
        self.ipam_type().is_some()
    }

    pub(super) fn vlan_filtering(&self) -> bool {
        self.vlan != 0 || self.vlan_trunk.is_some()
    }
}

/// The VLAN ids of a trunk, each once, in order.
fn trunk_ids(trunk: &[VlanTrunk]) -> Result<Vec<u16>, String> {
    let id = |what: &str, id: i32| match u16::try_from(id) {
        Ok(id) if (1..=4094).contains(&id) => Ok(id),
        _ => Err(format!("incorrect trunk {what} parameter")),
    };
    let mut ids = BTreeSet::new();
    for entry in trunk {
        match (entry.min_id, entry.max_id) {
            (Some(min), Some(max)) => {
                let (min, max) = (id("minID", min)?, id("maxID", max)?);
                if max < min {
                    return Err("minID is greater than maxID in trunk parameter".to_string());
                }
                ids.extend(min..=max);
            }
            (None, Some(_)) => {
                return Err("minID and maxID should be configured simultaneously, minID is missing".to_string());
            }
            (Some(_), None) => {
                return Err("minID and maxID should be configured simultaneously, maxID is missing".to_string());
            }
            (None, None) => {}
        }
        if let Some(single) = entry.id {
            ids.insert(id("id", single)?);
        }
    }
    Ok(ids.into_iter().collect())
}

fn parse_mac(text: &str) -> Result<Vec<u8>, Failure> {
    let bytes: Option<Vec<u8>> = text.split([':', '-']).map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes
        .filter(|bytes| bytes.len() == 6)
        .ok_or_else(|| Failure::config(format!("address {text}: invalid MAC address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trunks_are_sorted_and_checked() {
        let ids = |json: &str| trunk_ids(&serde_json::from_str::<Vec<VlanTrunk>>(json).unwrap());
        assert_eq!(ids(r#"[{"id":101},{"minID":100,"maxID":102},{"id":7}]"#).unwrap(), [7, 100, 101, 102]);
        assert_eq!(ids(r#"[{"minID":5,"maxID":4}]"#).unwrap_err(), "minID is greater than maxID in trunk parameter");
        assert_eq!(ids(r#"[{"id":4095}]"#).unwrap_err(), "incorrect trunk id parameter");
        assert!(ids(r#"[{"minID":5}]"#).unwrap_err().ends_with("maxID is missing"));
    }

    #[test]
    fn macs_have_six_bytes() {
        assert_eq!(parse_mac("c2:11:22:33:44:55").unwrap(), [0xc2, 0x11, 0x22, 0x33, 0x44, 0x55]);
        assert!(parse_mac("c2:11:22:33:44").is_err());
        assert!(parse_mac("zz:11:22:33:44:55").is_err());
    }
}
