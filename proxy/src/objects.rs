//! Services and EndpointSlices as they are kept: only what rules depend on, read straight from the API's JSON.
//!
//! With 10,000 Services of five endpoints each the API's whole objects take 65 MB, these 20. Field names and absence are
//! the API's.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::{core, discovery};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// v1 Service.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Service {
    #[serde(deserialize_with = "lean")]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<Box<ServiceSpec>>,
    pub(crate) status: Option<Box<ServiceStatus>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    #[serde(rename = "type")]
    pub(crate) type_: Option<String>,
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub(crate) cluster_ips: Option<Vec<String>>,
    pub(crate) ports: Option<Vec<ServicePort>>,
    #[serde(rename = "externalIPs")]
    pub(crate) external_ips: Option<Vec<String>>,
    pub(crate) external_traffic_policy: Option<String>,
    pub(crate) internal_traffic_policy: Option<String>,
    pub(crate) health_check_node_port: Option<i32>,
    pub(crate) load_balancer_source_ranges: Option<Vec<String>>,
    pub(crate) session_affinity: Option<String>,
    pub(crate) session_affinity_config: Option<SessionAffinityConfig>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServicePort {
    pub(crate) name: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) port: i32,
    pub(crate) node_port: Option<i32>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SessionAffinityConfig {
    #[serde(rename = "clientIP")]
    pub(crate) client_ip: Option<ClientIpConfig>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClientIpConfig {
    pub(crate) timeout_seconds: Option<i32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceStatus {
    pub(crate) load_balancer: Option<LoadBalancerStatus>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LoadBalancerStatus {
    pub(crate) ingress: Option<Vec<LoadBalancerIngress>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoadBalancerIngress {
    pub(crate) ip: Option<String>,
    pub(crate) ip_mode: Option<String>,
}

/// discovery.k8s.io/v1 EndpointSlice.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "ApiSlice")]
pub(crate) struct EndpointSlice {
    pub(crate) metadata: ObjectMeta,
    /// The Service that it says it is of.
    pub(crate) service_name: Option<Box<str>>,
    pub(crate) address_type: Box<str>,
    pub(crate) ports: Box<[EndpointPort]>,
    pub(crate) endpoints: Box<[Endpoint]>,
    /// When what made it change happened, as whoever keeps it says.
    pub(crate) trigger: Option<Timestamp>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EndpointPort {
    pub(crate) name: Option<Box<str>>,
    pub(crate) protocol: Option<Box<str>>,
    pub(crate) port: Option<i32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    /// The first is meant; all would be of the same endpoint.
    #[serde(rename = "addresses", deserialize_with = "first_address")]
    pub(crate) address: Option<IpAddr>,
    #[serde(default)]
    pub(crate) conditions: Option<EndpointConditions>,
    pub(crate) node_name: Option<Box<str>>,
    pub(crate) hints: Option<Box<EndpointHints>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct EndpointConditions {
    pub(crate) ready: Option<bool>,
    pub(crate) serving: Option<bool>,
    pub(crate) terminating: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointHints {
    pub(crate) for_zones: Option<Vec<Hint>>,
    pub(crate) for_nodes: Option<Vec<Hint>>,
}

/// A zone, or a node.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Hint {
    pub(crate) name: String,
}

/// The parts of a slice that are read, before the label is taken out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiSlice {
    metadata: ApiMeta,
    address_type: Box<str>,
    ports: Option<Box<[EndpointPort]>>,
    endpoints: Option<Box<[Endpoint]>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(rename = "kubernetes.io/service-name")]
    service_name: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time")]
    trigger: Option<Box<str>>,
}

impl From<ApiSlice> for EndpointSlice {
    fn from(mut slice: ApiSlice) -> Self {
        let service_name = slice.metadata.labels.take().and_then(|labels| labels.service_name);
        let trigger = slice.metadata.annotations.take().and_then(|annotations| annotations.trigger);
        EndpointSlice {
            trigger: trigger.and_then(|text| text.parse().ok()),
            metadata: slice.metadata.into(),
            service_name: service_name.filter(|name| !name.is_empty()),
            address_type: slice.address_type,
            ports: slice.ports.unwrap_or_default(),
            endpoints: slice.endpoints.unwrap_or_default(),
        }
    }
}

impl From<ApiMeta> for ObjectMeta {
    fn from(meta: ApiMeta) -> Self {
        let ApiMeta { name, namespace, uid, resource_version, .. } = meta;
        ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() }
    }
}

fn lean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    ApiMeta::deserialize(deserializer).map(ObjectMeta::from)
}

fn first_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let addresses = Vec::<Cow<'de, str>>::deserialize(deserializer)?;
    Ok(addresses.first().and_then(|text| text.parse().ok()))
}

/// The kind that a type stands for is another type's.
macro_rules! is_kind {
    ($type:ty, $kind:ty) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = <$kind as Resource>::Scope;

            fn kind(_: &()) -> Cow<'_, str> {
                <$kind as Resource>::kind(&())
            }

            fn group(_: &()) -> Cow<'_, str> {
                <$kind as Resource>::group(&())
            }

            fn version(_: &()) -> Cow<'_, str> {
                <$kind as Resource>::version(&())
            }

            fn plural(_: &()) -> Cow<'_, str> {
                <$kind as Resource>::plural(&())
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

is_kind!(Service, core::v1::Service);
is_kind!(EndpointSlice, discovery::v1::EndpointSlice);
