//! What the scheduler reads of a Node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint as ApiTaint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::resources::Resources;
use super::{api_resource, lean_metadata};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taint {
    pub key: Box<str>,
    pub value: Box<str>,
    pub effect: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Raw")]
pub struct Node {
    pub metadata: ObjectMeta,
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    pub allocatable: Resources,
    /// Every name of every image on the node, with its size in bytes.
    pub images: Vec<(Box<str>, i64)>,
    /// What its kubelet says that it can do.
    pub declared_features: Box<[Box<str>]>,
}

api_resource!(ClusterResourceScope Node, "", "v1", "Node", "nodes");

impl Node {
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    metadata: ObjectMeta,
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawSpec {
    unschedulable: Option<bool>,
    taints: Option<Vec<ApiTaint>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    allocatable: Option<BTreeMap<String, Quantity>>,
    images: Option<Vec<RawImage>>,
    declared_features: Option<Vec<Box<str>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawImage {
    names: Option<Vec<String>>,
    size_bytes: Option<i64>,
}

impl From<Raw> for Node {
    fn from(raw: Raw) -> Self {
        let taint = |taint: ApiTaint| Taint {
            key: taint.key.into(),
            value: taint.value.unwrap_or_default().into(),
            effect: taint.effect.into(),
        };
        let images = raw.status.images.into_iter().flatten().flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.into_iter().flatten().map(move |name| (name.into_boxed_str(), size))
        });
        Self {
            metadata: lean_metadata(raw.metadata),
            unschedulable: raw.spec.unschedulable.unwrap_or(false),
            taints: raw.spec.taints.into_iter().flatten().map(taint).collect(),
            allocatable: Resources::from_list(raw.status.allocatable.as_ref()),
            images: images.collect(),
            declared_features: raw.status.declared_features.unwrap_or_default().into(),
        }
    }
}
