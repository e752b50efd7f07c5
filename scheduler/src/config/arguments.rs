//! Arguments of single plugins (`pluginConfig`), read strictly.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{NodeAffinity as ApiNodeAffinity, TopologySpreadConstraint};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::profile::Made;
use crate::objects::{NodeTerm, RequiredNodeAffinity, SpreadConstraint, WeightedNodeTerm};
use crate::plugins::inter_pod_affinity::InterPodAffinity;
use crate::plugins::node_affinity::NodeAffinity;
use crate::plugins::node_resources_balanced_allocation::NodeResourcesBalancedAllocation;
use crate::plugins::node_resources_fit::{NodeResourcesFit, ShapePoint, Strategy, WeightedResource};
use crate::plugins::pod_topology_spread::PodTopologySpread;

/// Utilization shapes give scores from 0 to this.
const SHAPE_SCORE_MAX: i64 = 10;

/// The plugin that counts resources.
pub(super) const FIT: &str = "NodeResourcesFit";

/// The plugin with these arguments; `None` for a plugin whose arguments change nothing here. `ignored` are resources that
/// extenders count in its place.
pub(super) fn plugin(name: &str, args: &Value, ignored: &[String]) -> Result<Made, String> {
    Ok(match name {
        FIT => {
            let mut fit = fit(strict(args)?)?;
            if !ignored.is_empty() {
                fit.ignored_resources = ignored.to_vec();
            }
            Some(Arc::new(fit))
        }
        "NodeResourcesBalancedAllocation" => {
            let args: RawBalanced = strict(args)?;
            Some(Arc::new(NodeResourcesBalancedAllocation { resources: resources(args.resources)? }))
        }
        "PodTopologySpread" => Some(Arc::new(spread(strict(args)?)?)),
        "InterPodAffinity" => {
            let args: RawInterPodAffinity = strict(args)?;
            if !(0..=100).contains(&args.hard_pod_affinity_weight) {
                return Err("hardPodAffinityWeight: not in valid range [0-100]".to_owned());
            }
            Some(Arc::new(InterPodAffinity {
                hard_pod_affinity_weight: args.hard_pod_affinity_weight,
                ignore_preferred_terms_of_existing_pods: args.ignore_preferred_terms_of_existing_pods,
            }))
        }
        "NodeAffinity" => Some(Arc::new(node_affinity(strict(args)?))),
        _ => {
            tracing::warn!(plugin = name, "arguments of this plugin have no effect");
            None
        }
    })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RawVolumeBinding {
    bind_timeout_seconds: Option<i64>,
    shape: Vec<RawPoint>,
}

/// VolumeBinding's only argument that has an effect: scores by capacity are upstream's alpha.
pub(super) fn volume_bind_timeout(args: &Value) -> Result<Duration, String> {
    let args: RawVolumeBinding = strict(args)?;
    if !args.shape.is_empty() {
        return Err("shape: unexpected field, feature StorageCapacityScoring is disabled".to_owned());
    }
    let seconds = args.bind_timeout_seconds.unwrap_or(600);
    u64::try_from(seconds).map(Duration::from_secs).map_err(|_| {
        format!(
            "bindTimeoutSeconds: Invalid value: {seconds}: invalid BindTimeoutSeconds, should not be a negative value"
        )
    })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RawDynamicResources {
    binding_timeout: Option<component::config::Duration>,
    /// Searches here end after so many steps, not after a time.
    filter_timeout: Option<component::config::Duration>,
}

/// DynamicResources' only argument that has an effect.
pub(super) fn device_bind_timeout(args: &Value) -> Result<Duration, String> {
    let args: RawDynamicResources = strict(args)?;
    if args.filter_timeout.is_some() {
        tracing::warn!("filterTimeout of DynamicResources has no effect: searches end after so many steps");
    }
    let timeout = args.binding_timeout.map_or(Duration::from_secs(600), |timeout| timeout.0);
    match timeout < Duration::from_secs(1) {
        true => Err("bindingTimeout: Invalid value: must be at least 1 second".to_owned()),
        false => Ok(timeout),
    }
}

/// Refuses unknown fields; `kind` and `apiVersion` may be there.
fn strict<T: DeserializeOwned>(args: &Value) -> Result<T, String> {
    let mut args = args.clone();
    if let Some(fields) = args.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    serde_json::from_value(args).map_err(|error| error.to_string())
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RawFit {
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<RawStrategy>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RawStrategy {
    r#type: String,
    resources: Vec<RawResource>,
    requested_to_capacity_ratio: Option<RawRatio>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct RawRatio {
    shape: Vec<RawPoint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPoint {
    utilization: i64,
    score: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResource {
    name: String,
    #[serde(default)]
    weight: i64,
}

fn resources(raw: Vec<RawResource>) -> Result<Vec<WeightedResource>, String> {
    if raw.is_empty() {
        return Ok(WeightedResource::defaults());
    }
    let weighted = |raw: RawResource| {
        let weight = if raw.weight == 0 { 1 } else { raw.weight };
        if !(1..=100).contains(&weight) {
            return Err(format!("resource weight of {} not in valid range [1-100]", raw.name));
        }
        Ok(WeightedResource { name: raw.name.into(), weight })
    };
    raw.into_iter().map(weighted).collect()
}

fn fit(raw: RawFit) -> Result<NodeResourcesFit, String> {
    let strategy = raw.scoring_strategy.unwrap_or_default();
    Ok(NodeResourcesFit {
        ignored_resources: raw.ignored_resources,
        ignored_resource_groups: raw.ignored_resource_groups,
        strategy: match &*strategy.r#type {
            "" | "LeastAllocated" => Strategy::LeastAllocated,
            "MostAllocated" => Strategy::MostAllocated,
            "RequestedToCapacityRatio" => Strategy::RequestedToCapacityRatio(shape(
                strategy.requested_to_capacity_ratio.unwrap_or_default().shape,
            )?),
            other => return Err(format!("scoringStrategy.type: Unsupported value: {other:?}")),
        },
        resources: resources(strategy.resources)?,
    })
}

fn shape(points: Vec<RawPoint>) -> Result<Vec<ShapePoint>, String> {
    if points.is_empty() {
        return Err("shape: at least one point must be specified".to_owned());
    }
    let in_range = |p: &RawPoint| (0..=100).contains(&p.utilization) && (0..=SHAPE_SCORE_MAX).contains(&p.score);
    if !points.iter().all(in_range) {
        return Err("shape: utilization must be in 0..100 and score in 0..10".to_owned());
    }
    if !points.is_sorted_by(|a, b| a.utilization < b.utilization) {
        return Err("shape: values must be sorted in increasing order of utilization".to_owned());
    }
    let scale = crate::plugins::SCORE_MAX / SHAPE_SCORE_MAX;
    Ok(points.iter().map(|p| ShapePoint { utilization: p.utilization, score: p.score * scale }).collect())
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct RawBalanced {
    resources: Vec<RawResource>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RawSpread {
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: Option<String>,
}

fn spread(raw: RawSpread) -> Result<PodTopologySpread, String> {
    match raw.defaulting_type.as_deref().unwrap_or("System") {
        "System" if raw.default_constraints.is_empty() => Ok(PodTopologySpread::default()),
        "System" => Err("defaultingType: when .defaultConstraints are not empty must be \"List\"".to_owned()),
        "List" => {
            if raw.default_constraints.iter().any(|constraint| constraint.label_selector.is_some()) {
                return Err("constraint must not define a selector, as they deduced for each pod".to_owned());
            }
            let constraints = raw.default_constraints.iter().filter_map(|c| SpreadConstraint::parse(c, None)).collect();
            Ok(PodTopologySpread { default_constraints: constraints, system_defaults: false })
        }
        other => Err(format!("defaultingType: Unsupported value: {other:?}: supported values: \"System\", \"List\"")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RawInterPodAffinity {
    hard_pod_affinity_weight: i64,
    ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for RawInterPodAffinity {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RawNodeAffinity {
    added_affinity: Option<ApiNodeAffinity>,
}

fn node_affinity(raw: RawNodeAffinity) -> NodeAffinity {
    let added = raw.added_affinity.unwrap_or_default();
    let required = added.required_during_scheduling_ignored_during_execution;
    let preferred = added.preferred_during_scheduling_ignored_during_execution.into_iter().flatten();
    NodeAffinity {
        added_required: RequiredNodeAffinity::new(Default::default(), required.as_ref()),
        added_preferred: preferred
            .filter_map(|p| Some(WeightedNodeTerm { term: NodeTerm::parse(&p.preference)?, weight: p.weight.into() }))
            .collect(),
    }
}
