//! A profile of the file, merged with the default plugins.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Configuration;
use super::arguments;
use crate::framework::{Enabled, Profile};

/// Plugins that are part of the scheduler itself and always on.
const BUILT_IN: [&str; 2] = ["PrioritySort", "DefaultBinder"];
const PREEMPTION: &str = "DefaultPreemption";

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawProfile {
    pub scheduler_name: Option<String>,
    pub percentage_of_nodes_to_score: Option<usize>,
    pub plugins: RawPlugins,
    pub plugin_config: Vec<RawPluginConfig>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawPlugins {
    pub multi_point: RawPluginSet,
    pub pre_enqueue: RawPluginSet,
    pub queue_sort: RawPluginSet,
    pub pre_filter: RawPluginSet,
    pub filter: RawPluginSet,
    pub post_filter: RawPluginSet,
    pub pre_score: RawPluginSet,
    pub score: RawPluginSet,
    pub reserve: RawPluginSet,
    pub permit: RawPluginSet,
    pub pre_bind: RawPluginSet,
    pub bind: RawPluginSet,
    pub post_bind: RawPluginSet,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RawPluginSet {
    pub enabled: Vec<RawPlugin>,
    pub disabled: Vec<RawPlugin>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RawPlugin {
    pub name: String,
    pub weight: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RawPluginConfig {
    pub name: String,
    pub args: serde_json::Value,
}

impl RawPluginSet {
    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|plugin| plugin.name == name || plugin.name == "*")
    }

    fn enables(&self, name: &str) -> Option<&RawPlugin> {
        self.enabled.iter().find(|plugin| plugin.name == name)
    }
}

impl RawPlugins {
    fn sets(&self) -> [&RawPluginSet; 13] {
        [
            &self.multi_point,
            &self.pre_enqueue,
            &self.queue_sort,
            &self.pre_filter,
            &self.filter,
            &self.post_filter,
            &self.pre_score,
            &self.score,
            &self.reserve,
            &self.permit,
            &self.pre_bind,
            &self.bind,
            &self.post_bind,
        ]
    }
}

/// All profiles; one with upstream's defaults when the file names none. Extenders count the `ignored` resources; what a
/// profile itself would ignore they replace.
pub fn profiles(configuration: &Configuration, ignored: &[String]) -> Result<Vec<Profile>, String> {
    let raw = match configuration.profiles.as_slice() {
        [] => &[RawProfile::default()],
        profiles => profiles,
    };
    let mut profiles: Vec<Profile> = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let name = match &raw.scheduler_name {
            None if configuration.profiles.len() <= 1 => "default-scheduler",
            None => return Err(format!("profiles[{index}].schedulerName: Required value")),
            Some(name) => name,
        };
        if profiles.iter().any(|profile| *profile.scheduler_name == *name) {
            return Err(format!("profiles[{index}].schedulerName: Duplicate value: \"{name}\""));
        }
        let mut profile = merged(name, raw, ignored).map_err(|problem| format!("profiles[{index}]: {problem}"))?;
        let percentage = raw.percentage_of_nodes_to_score.or(configuration.percentage_of_nodes_to_score).unwrap_or(0);
        if percentage > 100 {
            return Err(format!("percentageOfNodesToScore: Invalid value: {percentage}: not in valid range [0-100]"));
        }
        profile.percentage_of_nodes_to_score = percentage;
        profiles.push(profile);
    }
    Ok(profiles)
}

fn merged(name: &str, raw: &RawProfile, ignored: &[String]) -> Result<Profile, String> {
    let mut profile = Profile::default_named(name);
    let names: Vec<_> = profile.plugins.iter().map(|enabled| enabled.plugin.name()).collect();
    let known = |name: &str| names.contains(&name) || BUILT_IN.contains(&name) || name == PREEMPTION;
    for plugin in raw.plugins.sets().into_iter().flat_map(|set| &set.enabled) {
        if !known(&plugin.name) {
            return Err(format!("plugin {:?} does not exist", plugin.name));
        }
    }
    for config in &raw.plugin_config {
        if !known(&config.name) {
            return Err(format!("pluginConfig: plugin {:?} does not exist", config.name));
        }
        if config.name == crate::plugins::volume_binding::NAME {
            profile.volume_bind_timeout = arguments::volume_bind_timeout(&config.args)?;
            continue;
        }
        if config.name == crate::plugins::dynamic_resources::NAME {
            profile.device_bind_timeout = arguments::device_bind_timeout(&config.args)?;
            continue;
        }
        let replaced = arguments::plugin(&config.name, &config.args, ignored)
            .map_err(|problem| format!("pluginConfig for {}: {problem}", config.name))?;
        if let (Some(plugin), Some(index)) = (replaced, profile.index_of(&config.name)) {
            profile.plugins[index].plugin = plugin;
        }
    }
    let fits = |config: &RawPluginConfig| config.name == arguments::FIT;
    if !ignored.is_empty() && !raw.plugin_config.iter().any(fits) {
        let fit = arguments::plugin(arguments::FIT, &serde_json::json!({}), ignored)?;
        if let (Some(fit), Some(index)) = (fit, profile.index_of(arguments::FIT)) {
            profile.plugins[index].plugin = fit;
        }
    }
    for enabled in &mut profile.plugins {
        switch(enabled, &raw.plugins);
    }
    let preemption = |set: &RawPluginSet| set.disables(PREEMPTION) && set.enables(PREEMPTION).is_none();
    profile.preempts = !preemption(&raw.plugins.multi_point) && !preemption(&raw.plugins.post_filter);
    Ok(profile)
}

/// Upstream's order of precedence: a single extension point over `multiPoint` over the defaults.
fn switch(enabled: &mut Enabled, plugins: &RawPlugins) {
    let name = enabled.plugin.name();
    let (default_filters, default_weight) = (enabled.filters, enabled.weight);
    if plugins.multi_point.disables(name) {
        (enabled.filters, enabled.weight) = (false, 0);
    }
    if let Some(plugin) = plugins.multi_point.enables(name) {
        enabled.filters = default_filters;
        enabled.weight = if default_weight == 0 { 0 } else { weight_or(plugin, default_weight) };
    }
    if plugins.filter.disables(name) || plugins.pre_filter.disables(name) {
        enabled.filters = false;
    }
    if plugins.filter.enables(name).is_some() {
        enabled.filters = true;
    }
    if plugins.score.disables(name) || plugins.pre_score.disables(name) {
        enabled.weight = 0;
    }
    if let Some(plugin) = plugins.score.enables(name) {
        enabled.weight = weight_or(plugin, 1);
    }
}

fn weight_or(plugin: &RawPlugin, default: i64) -> i64 {
    plugin.weight.filter(|weight| *weight != 0).unwrap_or(default)
}

/// A plugin made from the file's arguments.
pub(super) type Made = Option<Arc<dyn crate::plugins::Plugin>>;
