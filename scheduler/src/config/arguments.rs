//! Arguments of single plugins (`pluginConfig`), read strictly. What is wrong with them is told in upstream's words.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{NodeAffinity as ApiNodeAffinity, PreferredSchedulingTerm};
use machinery::field::{Error, ErrorList, Path};
use machinery::names;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::profile::Made;
use super::{Problems, spread, tell};
use crate::framework::Profile;
use crate::objects::{NodeTerm, RequiredNodeAffinity, WeightedNodeTerm};
use crate::plugins::dynamic_resources::{self, DynamicResources};
use crate::plugins::inter_pod_affinity::InterPodAffinity;
use crate::plugins::node_affinity::NodeAffinity;
use crate::plugins::node_resources_balanced_allocation::NodeResourcesBalancedAllocation;
use crate::plugins::node_resources_fit::{NodeResourcesFit, ShapePoint, Strategy, WeightedResource};
use crate::plugins::volume_binding;
use crate::preemption::Shortlist;

/// Utilization shapes give scores from 0 to this.
const SHAPE_SCORE_MAX: i64 = 10;

/// The plugin that counts resources.
pub(super) const FIT: &str = "NodeResourcesFit";

/// Puts arguments that are not a plugin's alone into the profile.
pub(super) fn apply(profile: &mut Profile, name: &str, args: &Value, path: &Path) -> Result<(), Problems> {
    match name {
        volume_binding::NAME => profile.volume_bind_timeout = volume_bind_timeout(strict(name, args)?, path)?,
        dynamic_resources::NAME => {
            let args: RawDynamicResources = strict(name, args)?;
            profile.device_bind_timeout = device_bind_timeout(args.binding_timeout, path)?;
        }
        super::profile::PREEMPTION => profile.preemption = shortlist(strict(name, args)?, path)?,
        _ => {}
    }
    Ok(())
}

/// The plugin with these arguments; `None` where they make no other plugin. `ignored` are resources that extenders count
/// in its place.
pub(super) fn plugin(name: &str, args: &Value, path: &Path, ignored: &[String]) -> Result<Made, Problems> {
    Ok(match name {
        FIT => {
            let mut fit = fit(strict(name, args)?, path)?;
            if !ignored.is_empty() {
                fit.ignored_resources = ignored.to_vec();
            }
            Some(Arc::new(fit))
        }
        "NodeResourcesBalancedAllocation" => {
            let args: RawBalanced = strict(name, args)?;
            Some(Arc::new(NodeResourcesBalancedAllocation { resources: balanced(args.resources, path)? }))
        }
        "PodTopologySpread" => Some(Arc::new(spread::plugin(strict(name, args)?, path)?)),
        "InterPodAffinity" => {
            let args: RawInterPodAffinity = strict(name, args)?;
            let weight = args.hard_pod_affinity_weight;
            if !(0..=100).contains(&weight) {
                let path = path.child("hardPodAffinityWeight");
                return Err(tell([Error::invalid(&path, weight, "not in valid range [0, 100]")]));
            }
            Some(Arc::new(InterPodAffinity {
                hard_pod_affinity_weight: weight,
                ignore_preferred_terms_of_existing_pods: args.ignore_preferred_terms_of_existing_pods,
            }))
        }
        "NodeAffinity" => Some(Arc::new(node_affinity(strict(name, args)?, path)?)),
        dynamic_resources::NAME => {
            let args: RawDynamicResources = strict(name, args)?;
            let unless_given = DynamicResources::default().filter_timeout;
            let filter_timeout = args.filter_timeout.map_or(unless_given, |timeout| timeout.0);
            Some(Arc::new(DynamicResources { filter_timeout }))
        }
        volume_binding::NAME | super::profile::PREEMPTION => None,
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
    shape: Option<Vec<Value>>,
}

/// VolumeBinding's only argument that has an effect: scores by capacity are upstream's alpha.
fn volume_bind_timeout(args: RawVolumeBinding, path: &Path) -> Result<Duration, Problems> {
    let seconds = args.bind_timeout_seconds.unwrap_or(600);
    let mut errors = ErrorList::new();
    if seconds < 0 {
        let why = "invalid BindTimeoutSeconds, should not be a negative value";
        errors.push(Error::invalid(&path.child("bindTimeoutSeconds"), seconds, why));
    }
    if let Some(shape) = args.shape {
        let why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
        errors.push(Error::invalid(&path.child("shape"), shape, why));
    }
    if errors.is_empty() { Ok(Duration::from_secs(seconds.unsigned_abs())) } else { Err(tell(errors)) }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RawDynamicResources {
    binding_timeout: Option<component::config::Duration>,
    filter_timeout: Option<component::config::Duration>,
}

fn device_bind_timeout(given: Option<component::config::Duration>, path: &Path) -> Result<Duration, Problems> {
    let Some(given) = given else { return Ok(Duration::from_secs(600)) };
    if given.0 < Duration::from_secs(1) {
        let (path, shown) = (path.child("bindingTimeout"), given.to_string());
        return Err(tell([Error::invalid(&path, shown, "must be at least 1 second")]));
    }
    Ok(given.0)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RawPreemption {
    min_candidate_nodes_percentage: Option<i64>,
    min_candidate_nodes_absolute: Option<i64>,
}

fn shortlist(args: RawPreemption, path: &Path) -> Result<Shortlist, Problems> {
    let [percentage_path, absolute_path] =
        ["minCandidateNodesPercentage", "minCandidateNodesAbsolute"].map(|field| path.child(field));
    let percentage = args.min_candidate_nodes_percentage.unwrap_or(10);
    let absolute = args.min_candidate_nodes_absolute.unwrap_or(100);
    let mut errors = ErrorList::new();
    if !(0..=100).contains(&percentage) {
        errors.push(Error::invalid(&percentage_path, percentage, "not in valid range [0, 100]"));
    }
    if absolute < 0 {
        errors.push(Error::invalid(&absolute_path, absolute, "not in valid range [0, inf)"));
    }
    if (percentage, absolute) == (0, 0) {
        let with = |other: &str| format!("cannot be zero at the same time as {other}");
        errors.push(Error::invalid(&percentage_path, 0, with("minCandidateNodesAbsolute")));
        errors.push(Error::invalid(&absolute_path, 0, with("minCandidateNodesPercentage")));
    }
    match (usize::try_from(percentage), usize::try_from(absolute)) {
        (Ok(percentage), Ok(absolute)) if errors.is_empty() => Ok(Shortlist { percentage, absolute }),
        _ => Err(tell(errors)),
    }
}

/// Refuses unknown fields; `kind` and `apiVersion` may be there.
fn strict<T: DeserializeOwned>(name: &str, args: &Value) -> Result<T, Problems> {
    let mut args = if args.is_null() { Value::Object(Default::default()) } else { args.clone() };
    if let Some(fields) = args.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    serde_json::from_value(args).map_err(|error| vec![format!("decoding args for plugin {name}: {error}")])
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

/// A weight that is not given is 1.
fn weights(raw: Vec<RawResource>) -> Vec<WeightedResource> {
    if raw.is_empty() {
        return WeightedResource::defaults();
    }
    let weight = |raw: &RawResource| if raw.weight == 0 { 1 } else { raw.weight };
    raw.into_iter().map(|raw| WeightedResource { weight: weight(&raw), name: raw.name.into() }).collect()
}

fn check_weights(resources: &[WeightedResource], path: &Path, errors: &mut ErrorList) {
    for (index, resource) in resources.iter().enumerate().filter(|(_, r)| !(1..=100).contains(&r.weight)) {
        let why = format!("resource weight of {} not in valid range (0, 100]", resource.name);
        errors.push(Error::invalid(&path.index(index).child("weight"), resource.weight, why));
    }
}

fn balanced(raw: Vec<RawResource>, path: &Path) -> Result<Vec<WeightedResource>, Problems> {
    let (resources, path, mut errors) = (weights(raw), path.child("resources"), ErrorList::new());
    for (index, resource) in resources.iter().enumerate() {
        if resources[..index].iter().any(|other| other.name == resource.name) {
            errors.push(Error::duplicate(&path.index(index).child("name"), &*resource.name));
        }
        if resource.weight != 1 {
            errors.push(Error::invalid(&path.index(index).child("weight"), resource.weight, "must be 1"));
        }
    }
    if errors.is_empty() { Ok(resources) } else { Err(tell(errors)) }
}

fn check_names(names: &[String], path: &Path, errors: &mut ErrorList) {
    for (index, name) in names.iter().enumerate() {
        let wrong = names::qualified_name(name).into_iter();
        errors.extend(wrong.map(|why| Error::invalid(&path.index(index), name.as_str(), why)));
    }
}

fn fit(raw: RawFit, path: &Path) -> Result<NodeResourcesFit, Problems> {
    let mut errors = ErrorList::new();
    check_names(&raw.ignored_resources, &path.child("ignoredResources"), &mut errors);
    let groups = path.child("ignoredResourceGroups");
    for (index, group) in raw.ignored_resource_groups.iter().enumerate().filter(|(_, group)| group.contains('/')) {
        let why = "resource group name can't contain '/'";
        errors.push(Error::invalid(&groups.index(index), group.as_str(), why));
    }
    check_names(&raw.ignored_resource_groups, &groups, &mut errors);
    let (given, path) = (raw.scoring_strategy.unwrap_or_default(), path.child("scoringStrategy"));
    let resources = weights(given.resources);
    check_weights(&resources, &path.child("resources"), &mut errors);
    let strategy = strategy(&given.r#type, given.requested_to_capacity_ratio, &path, &mut errors);
    if !errors.is_empty() {
        return Err(tell(errors));
    }
    Ok(NodeResourcesFit {
        ignored_resources: raw.ignored_resources,
        ignored_resource_groups: raw.ignored_resource_groups,
        strategy,
        resources,
    })
}

fn strategy(kind: &str, ratio: Option<RawRatio>, path: &Path, errors: &mut ErrorList) -> Strategy {
    const KINDS: [&str; 3] = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
    let ratio_path = path.child("requestedToCapacityRatio");
    if kind == KINDS[2] {
        let Some(ratio) = ratio else {
            errors.push(Error::required(&ratio_path, "must be specified when type is RequestedToCapacityRatio"));
            return Strategy::LeastAllocated;
        };
        return Strategy::RequestedToCapacityRatio(shape(ratio.shape, &ratio_path.child("shape"), errors));
    }
    if !kind.is_empty() && !KINDS.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &KINDS));
    }
    if ratio.is_some() {
        errors.push(Error::forbidden(&ratio_path, "must be nil when type is not RequestedToCapacityRatio"));
    }
    if kind == KINDS[1] { Strategy::MostAllocated } else { Strategy::LeastAllocated }
}

fn shape(points: Vec<RawPoint>, path: &Path, errors: &mut ErrorList) -> Vec<ShapePoint> {
    if points.is_empty() {
        errors.push(Error::required(path, "at least one point must be specified"));
    }
    if let Some(index) = (1..points.len()).find(|index| points[index - 1].utilization >= points[*index].utilization) {
        let (path, why) = (path.index(index).child("utilization"), "values must be sorted in increasing order");
        errors.push(Error::invalid(&path, points[index].utilization, why));
    }
    for (index, point) in points.iter().enumerate() {
        for (field, value, max) in [("utilization", point.utilization, 100), ("score", point.score, SHAPE_SCORE_MAX)] {
            if !(0..=max).contains(&value) {
                let path = path.index(index).child(field);
                errors.push(Error::invalid(&path, value, format!("not in valid range [0, {max}]")));
            }
        }
    }
    let scale = crate::plugins::SCORE_MAX / SHAPE_SCORE_MAX;
    points.iter().map(|p| ShapePoint { utilization: p.utilization, score: p.score * scale }).collect()
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct RawBalanced {
    resources: Vec<RawResource>,
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

fn node_affinity(raw: RawNodeAffinity, path: &Path) -> Result<NodeAffinity, Problems> {
    let (added, path) = (raw.added_affinity.unwrap_or_default(), path.child("addedAffinity"));
    let required = added.required_during_scheduling_ignored_during_execution;
    let preferred = added.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
    let terms = required.iter().flat_map(|selector| &selector.node_selector_terms).enumerate();
    let demands = path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
    let mut errors: ErrorList = terms.flat_map(|(index, term)| NodeTerm::check(term, &demands.index(index))).collect();
    let wishes = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    let weighed = preferred.iter().enumerate().filter(|(_, wish)| wish.weight != 0);
    errors.extend(weighed.flat_map(|(index, wish)| NodeTerm::check(&wish.preference, &wishes.index(index))));
    if !errors.is_empty() {
        return Err(tell(errors));
    }
    let weighed = |wish: PreferredSchedulingTerm| {
        Some(WeightedNodeTerm { term: NodeTerm::parse(&wish.preference)?, weight: wish.weight.into() })
    };
    Ok(NodeAffinity {
        added_required: RequiredNodeAffinity::new(Default::default(), required.as_ref()),
        added_preferred: preferred.into_iter().filter_map(weighed).collect(),
    })
}
