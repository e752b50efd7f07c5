//! What is the same on all nodes of a cluster, from the ConfigMaps that the cluster has for those who join.
//!
//! [`read`] asks; [`of_cluster`] and [`of_skiff`] are pure. The first is kubeadm's ConfigMap, the second says what kubeadm
//! does not know, and may be missing.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::Value;

use super::answer;
use crate::addons::{BACKEND_KEY, CLUSTER_CONFIGURATION, DNS_KEY, NAMESPACE, SKIFF_CONFIGURATION};
use crate::part::Part;
use crate::settings::{RouterBackend, Settings};

pub(super) async fn read(client: &kube::Client, settings: &mut Settings) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let (name, key) = CLUSTER_CONFIGURATION;
    let map = answer("read the cluster's settings", || maps.get(name)).await?;
    let text =
        map.data.unwrap_or_default().remove(key).with_context(|| format!("the ConfigMap {name} has no {key}"))?;
    of_cluster(&text, settings).with_context(|| format!("{key} in the ConfigMap {name}"))?;
    let map = answer("read Skiff's settings", || maps.get_opt(SKIFF_CONFIGURATION)).await?;
    of_skiff(&map.and_then(|map| map.data).unwrap_or_default(), settings)
}

/// What kubeadm takes where its configuration does not say.
const SERVICE_SUBNET: &str = "10.96.0.0/12";

/// A kubeadm `ClusterConfiguration`.
fn of_cluster(text: &str, settings: &mut Settings) -> Result<()> {
    let configuration: Value = serde_yaml_ng::from_str(text).context("read YAML")?;
    let networking = &configuration["networking"];
    let range = |key: &str, default: Option<&'static str>| -> Result<IpNet> {
        let said = networking[key].as_str().filter(|text| !text.is_empty());
        let text = said.or(default).with_context(|| format!("networking.{key} is missing"))?;
        // Of two families this node's own.
        let ranges = text.split(',').filter_map(|range| range.trim().parse::<IpNet>().ok());
        let mut fitting = ranges.filter(|range| range.addr().is_ipv4() == settings.node_address.is_ipv4());
        fitting.next().with_context(|| format!("networking.{key} {text:?} has no range of this node's family"))
    };
    let (pods, services) = (range("podSubnet", None)?, range("serviceSubnet", Some(SERVICE_SUBNET))?);
    (settings.cluster_cidr, settings.service_cidr) = (pods, services);
    if let Some(domain) = networking["dnsDomain"].as_str().filter(|domain| !domain.is_empty()) {
        settings.cluster_domain = domain.to_owned();
    }
    Ok(())
}

fn of_skiff(data: &BTreeMap<String, String>, settings: &mut Settings) -> Result<()> {
    if let Some(name) = data.get(BACKEND_KEY) {
        let backends = [RouterBackend::Direct, RouterBackend::Vxlan];
        let backend = backends.into_iter().find(|backend| backend.name() == name);
        settings.router_backend = backend.with_context(|| format!("{BACKEND_KEY} {name:?} is not known here"))?;
    }
    // Another DNS server has the Service where the first node runs none of ours.
    if data.get(DNS_KEY).map(String::as_str) != Some("true") && settings.runs(Part::SkiffDns) {
        settings.without.push(Part::SkiffDns);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Joined;

    fn settings() -> Settings {
        let mut settings = Settings::for_tests("second", "192.0.2.2".parse().unwrap());
        settings.joined = Some(Joined { server: "https://192.0.2.1:6443".into() });
        settings
    }

    #[test]
    fn kubeadms_configuration_is_read() {
        let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: x\nnetworking:\n  \
                    dnsDomain: cluster.example\n  podSubnet: fd00:1::/48,10.1.0.0/16\n  serviceSubnet: 10.2.0.0/20\n";
        let mut settings = settings();
        of_cluster(text, &mut settings).unwrap();
        assert_eq!(settings.cluster_cidr.to_string(), "10.1.0.0/16");
        assert_eq!(settings.dns_address().unwrap().to_string(), "10.2.0.10");
        assert_eq!(settings.cluster_domain, "cluster.example");
        of_cluster("networking: {podSubnet: 10.1.0.0/16}", &mut settings).unwrap();
        assert_eq!(settings.service_cidr.to_string(), "10.96.0.0/12");
        let error = of_cluster("networking: {serviceSubnet: 10.2.0.0/20}", &mut settings).unwrap_err();
        assert!(error.to_string().contains("podSubnet is missing"));
    }

    #[test]
    fn what_only_skiff_knows_may_be_missing() {
        let mut with = settings();
        let data = [(BACKEND_KEY.to_owned(), "vxlan".to_owned()), (DNS_KEY.to_owned(), "true".to_owned())];
        of_skiff(&data.into(), &mut with).unwrap();
        assert_eq!((with.router_backend, with.runs(Part::SkiffDns)), (RouterBackend::Vxlan, true));
        let mut without = settings();
        of_skiff(&BTreeMap::new(), &mut without).unwrap();
        assert_eq!((without.router_backend, without.runs(Part::SkiffDns)), (RouterBackend::Direct, false));
        assert!(of_skiff(&[(BACKEND_KEY.to_owned(), "pigeons".to_owned())].into(), &mut without).is_err());
    }
}
