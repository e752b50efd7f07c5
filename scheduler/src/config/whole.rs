//! The configuration as it is in use: with upstream's default plugins and arguments, and what of it has no effect. Pure.

use serde_json::{Value, json};

use super::Configuration;
use super::profile::{DEFAULT_NAME, RawPlugin, RawPluginConfig, RawPluginSet, RawProfile};

/// In upstream's order, with weights.
const PLUGINS: [(&str, i64); 20] = [
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 2),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
    ("NodeDeclaredFeatures", 0),
];

/// Upstream's defaults of arguments.
fn arguments() -> [(&'static str, Value); 8] {
    let resources = json!([{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]);
    [
        ("DefaultPreemption", json!({"minCandidateNodesAbsolute": 100, "minCandidateNodesPercentage": 10})),
        ("DynamicResources", json!({"bindingTimeout": "10m0s", "filterTimeout": "10s"})),
        ("InterPodAffinity", json!({"hardPodAffinityWeight": 1, "ignorePreferredTermsOfExistingPods": false})),
        ("NodeAffinity", json!({})),
        ("NodeResourcesBalancedAllocation", json!({"resources": resources})),
        ("NodeResourcesFit", json!({"scoringStrategy": {"type": "LeastAllocated", "resources": resources}})),
        ("PodTopologySpread", json!({"defaultingType": "System"})),
        ("VolumeBinding", json!({"bindTimeoutSeconds": 600})),
    ]
}

impl Configuration {
    /// With all profiles, and all of their plugins and arguments.
    pub fn whole(&self) -> Self {
        let alone = [RawProfile::default()];
        let given = if self.profiles.is_empty() { &alone[..] } else { &self.profiles[..] };
        Self { profiles: given.iter().map(whole_profile).collect(), ..self.clone() }
    }

    /// What is asked for and does nothing, by name, with the reason.
    pub fn without_effect(&self) -> Vec<String> {
        let unset = Self::default();
        let mut told = Vec::new();
        let mut tell = |is_given: bool, name: &str, why: &str| {
            told.extend(is_given.then(|| format!("--config: {name} has no effect: {why}")));
        };
        let one = "one decision looks at one node after the other";
        tell(self.parallelism != unset.parallelism, "parallelism", one);
        let never = "there is no cache that waits for the election";
        tell(self.delay_cache_until_active, "delayCacheUntilActive", never);
        let client = &self.client_connection;
        let json = "the client speaks JSON";
        let is_other = |text: &str| !text.is_empty() && text != "application/json";
        tell(is_other(&client.accept_content_types), "clientConnection.acceptContentTypes", json);
        tell(is_other(&client.content_type), "clientConnection.contentType", json);
        for (index, profile) in self.profiles.iter().enumerate() {
            let fixed = ["preEnqueue", "reserve", "permit", "preBind", "postBind"];
            for (point, set) in profile.plugins.points().into_iter().filter(|(point, _)| fixed.contains(point)) {
                let is_off = |plugin: &&RawPlugin| plugin.name == "*" || set.enables(&plugin.name).is_none();
                let is_known =
                    |plugin: &&RawPlugin| plugin.name == "*" || PLUGINS.iter().any(|(n, _)| *n == plugin.name);
                for plugin in set.disabled.iter().filter(is_off).filter(is_known) {
                    let name = format!("profiles[{index}].plugins.{point}.disabled: {}", plugin.name);
                    tell(true, &name, "plugins cannot be switched off at this point alone");
                }
            }
        }
        told
    }
}

fn whole_profile(given: &RawProfile) -> RawProfile {
    let mut profile = given.clone();
    profile.scheduler_name.get_or_insert_with(|| DEFAULT_NAME.to_owned());
    let many = &given.plugins.multi_point;
    let kept = PLUGINS.iter().filter(|(name, _)| !many.disables(name) || many.enables(name).is_some());
    let plugin = |(name, weight): &(&str, i64)| match many.enables(name) {
        Some(given) if given.weight.is_some() => given.clone(),
        _ => RawPlugin { name: (*name).to_owned(), weight: (*weight != 0).then_some(*weight) },
    };
    // What is switched off stays so for who reads the file again.
    profile.plugins.multi_point = RawPluginSet { enabled: kept.map(plugin).collect(), disabled: many.disabled.clone() };
    let with_defaults = |(name, mut args): (&str, Value)| {
        let given = given.plugin_config.iter().find(|config| config.name == name);
        if let (Some(args), Some(given)) = (args.as_object_mut(), given.and_then(|given| given.args.as_object())) {
            args.extend(given.clone());
        }
        args["apiVersion"] = super::API_VERSIONS[0].into();
        args["kind"] = format!("{name}Args").into();
        RawPluginConfig { name: name.to_owned(), args }
    };
    profile.plugin_config = arguments().into_iter().map(with_defaults).collect();
    profile
}
