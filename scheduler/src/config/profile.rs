//! A profile of the file, merged with the default plugins.

use std::sync::Arc;

use machinery::field::Path;
use serde::{Deserialize, Serialize};

use super::{Configuration, Problems, arguments, tell, validation};
use crate::framework::{Enabled, Profile};

/// Plugins that are part of the scheduler itself and always on.
const BUILT_IN: [&str; 2] = ["PrioritySort", "DefaultBinder"];
pub(super) const DEFAULT_NAME: &str = "default-scheduler";
pub(super) const PREEMPTION: &str = "DefaultPreemption";

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawProfile {
    pub scheduler_name: Option<String>,
    pub percentage_of_nodes_to_score: Option<i64>,
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
    pub(super) fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|plugin| plugin.name == name || plugin.name == "*")
    }

    pub(super) fn enables(&self, name: &str) -> Option<&RawPlugin> {
        self.enabled.iter().find(|plugin| plugin.name == name)
    }
}

impl RawPlugins {
    /// The sets by the names of their extension points.
    pub(super) fn points(&self) -> [(&'static str, &RawPluginSet); 13] {
        [
            ("multiPoint", &self.multi_point),
            ("preEnqueue", &self.pre_enqueue),
            ("queueSort", &self.queue_sort),
            ("preFilter", &self.pre_filter),
            ("filter", &self.filter),
            ("postFilter", &self.post_filter),
            ("preScore", &self.pre_score),
            ("score", &self.score),
            ("reserve", &self.reserve),
            ("permit", &self.permit),
            ("preBind", &self.pre_bind),
            ("bind", &self.bind),
            ("postBind", &self.post_bind),
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
    let mut problems = tell(validation::check(configuration));
    problems.extend(raw.iter().filter_map(incomplete));
    let mut profiles: Vec<Profile> = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        match merged(raw, &Path::new("profiles").index(index), ignored) {
            Ok(mut profile) => {
                let percentage = raw.percentage_of_nodes_to_score.or(configuration.percentage_of_nodes_to_score);
                profile.percentage_of_nodes_to_score =
                    percentage.and_then(|percentage| usize::try_from(percentage).ok()).unwrap_or(0);
                profiles.push(profile);
            }
            Err(more) => problems.extend(more),
        }
    }
    match problems.as_slice() {
        [] => Ok(profiles),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

fn merged(raw: &RawProfile, path: &Path, ignored: &[String]) -> Result<Profile, Problems> {
    let mut profile = Profile::default_named(raw.scheduler_name.as_deref().unwrap_or(DEFAULT_NAME));
    let names: Vec<_> = profile.plugins.iter().map(|enabled| enabled.plugin.name()).collect();
    let known = |name: &str| names.contains(&name) || BUILT_IN.contains(&name) || name == PREEMPTION;
    for plugin in raw.plugins.points().into_iter().flat_map(|(_, set)| &set.enabled) {
        if !known(&plugin.name) {
            return Err(vec![format!("{path}: plugin {:?} does not exist", plugin.name)]);
        }
    }
    let mut problems = Problems::new();
    for (index, config) in raw.plugin_config.iter().enumerate() {
        if !known(&config.name) {
            return Err(vec![format!("{path}: pluginConfig: plugin {:?} does not exist", config.name)]);
        }
        let path = path.child("pluginConfig").index(index).child("args");
        let applied = arguments::apply(&mut profile, &config.name, &config.args, &path);
        let replaced = applied.and_then(|()| arguments::plugin(&config.name, &config.args, &path, ignored));
        match (replaced, profile.index_of(&config.name)) {
            (Ok(Some(plugin)), Some(index)) => profile.plugins[index].plugin = plugin,
            (Ok(_), _) => {}
            (Err(more), _) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let fits = |config: &RawPluginConfig| config.name == arguments::FIT;
    if !ignored.is_empty() && !raw.plugin_config.iter().any(fits) {
        let fit = arguments::plugin(arguments::FIT, &serde_json::json!({}), path, ignored)?;
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

/// A profile that cannot work, in upstream's words.
fn incomplete(raw: &RawProfile) -> Option<String> {
    let is_off = |name: &str, own: &RawPluginSet| {
        let many = &raw.plugins.multi_point;
        let is_off = own.disables(name) || (many.disables(name) && many.enables(name).is_none());
        is_off && own.enables(name).is_none()
    };
    let name = raw.scheduler_name.as_deref().unwrap_or(DEFAULT_NAME);
    let [sort, bind] = BUILT_IN;
    let why = if is_off(sort, &raw.plugins.queue_sort) {
        format!("only one queue sort plugin required for profile with scheduler name {name:?}, but got 0")
    } else if is_off(bind, &raw.plugins.bind) {
        format!("at least one bind plugin is needed for profile with scheduler name {name:?}")
    } else {
        return None;
    };
    Some(format!("initializing profiles: creating profile for scheduler name {name}: {why}"))
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
