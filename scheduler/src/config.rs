//! KubeSchedulerConfiguration v1: the `--config` file, and what its profiles come to.
//!
//! Enter at [`Configuration`] (the file), [`profiles`] (plugins ready to run) and [`extenders`].

mod arguments;
mod extender;
mod profile;
mod spread;
#[cfg(test)]
mod tests;
mod validation;
mod whole;

use std::time::Duration;

use component::client::ClientConfig;
use component::flags::Values;
use component::leader::{self, Identity};
use serde::{Deserialize, Serialize};

pub use extender::extenders;
pub use profile::profiles;

/// All that is wrong with a file, each in a sentence.
type Problems = Vec<String>;

fn tell(errors: impl IntoIterator<Item = machinery::field::Error>) -> Problems {
    errors.into_iter().map(|error| error.to_string()).collect()
}

pub const API_VERSIONS: [&str; 1] = ["kubescheduler.config.k8s.io/v1"];

/// The file; absent fields are upstream's defaults.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    pub parallelism: i32,
    pub leader_election: LeaderElection,
    pub client_connection: ClientConnection,
    pub enable_profiling: bool,
    pub enable_contention_profiling: bool,
    pub percentage_of_nodes_to_score: Option<i64>,
    pub pod_initial_backoff_seconds: i64,
    pub pod_max_backoff_seconds: i64,
    pub delay_cache_until_active: bool,
    pub profiles: Vec<profile::RawProfile>,
    pub extenders: Vec<extender::RawExtender>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            parallelism: 16,
            leader_election: LeaderElection::default(),
            client_connection: ClientConnection::default(),
            enable_profiling: true,
            enable_contention_profiling: true,
            percentage_of_nodes_to_score: None,
            pod_initial_backoff_seconds: 1,
            pod_max_backoff_seconds: 10,
            delay_cache_until_active: false,
            profiles: Vec::new(),
            extenders: Vec::new(),
        }
    }
}

impl Configuration {
    /// The whole configuration as a file.
    pub fn to_yaml(&self) -> String {
        let body = serde_yaml_ng::to_string(&self.whole()).unwrap_or_default();
        format!("apiVersion: {}\nkind: KubeSchedulerConfiguration\n{body}", API_VERSIONS[0])
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaderElection {
    pub leader_elect: Option<bool>,
    pub lease_duration: Option<String>,
    pub renew_deadline: Option<String>,
    pub retry_period: Option<String>,
    pub resource_lock: Option<String>,
    pub resource_name: Option<String>,
    pub resource_namespace: Option<String>,
}

impl LeaderElection {
    /// Flags that were given win over the file, the file over the flags' defaults.
    pub fn settings(&self, values: &Values, identity: Identity) -> Result<leader::Settings, crate::Error> {
        let mut settings = leader::Settings::from_flags(values, "kube-scheduler", identity)?;
        let file = |flag: &str, text: &Option<String>| text.clone().filter(|_| !values.is_given(flag));
        let duration = |flag: &str, text: &Option<String>| -> Result<Option<Duration>, crate::Error> {
            file(flag, text).map(|t| component::flags::parse_duration(&t)).transpose().map_err(crate::Error::Options)
        };
        if let Some(elect) = self.leader_elect.filter(|_| !values.is_given("leader-elect")) {
            settings.elect = elect;
        }
        if let Some(lock) = file("leader-elect-resource-lock", &self.resource_lock).filter(|lock| lock != "leases") {
            return Err(crate::Error::Options(format!("leaderElection.resourceLock: {lock}: must be \"leases\"")));
        }
        if let Some(name) = file("leader-elect-resource-name", &self.resource_name) {
            settings.name = name;
        }
        if let Some(namespace) = file("leader-elect-resource-namespace", &self.resource_namespace) {
            settings.namespace = namespace;
        }
        if let Some(duration) = duration("leader-elect-lease-duration", &self.lease_duration)? {
            settings.lease_duration = duration;
        }
        if let Some(duration) = duration("leader-elect-renew-deadline", &self.renew_deadline)? {
            settings.renew_deadline = duration;
        }
        if let Some(duration) = duration("leader-elect-retry-period", &self.retry_period)? {
            settings.retry_period = duration;
        }
        Ok(settings)
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnection {
    pub kubeconfig: String,
    pub accept_content_types: String,
    pub content_type: String,
    pub qps: Option<f64>,
    pub burst: Option<u32>,
}

impl ClientConnection {
    /// With a file, upstream takes the connection from it and not from the flags; `--master` still wins.
    pub(crate) fn apply(&self, client: &mut ClientConfig) {
        if !self.kubeconfig.is_empty() {
            client.kubeconfig = Some(self.kubeconfig.clone().into());
        }
        client.qps = self.qps.filter(|qps| *qps > 0.0).or(client.qps);
        client.burst = self.burst.filter(|burst| *burst > 0).or(client.burst);
    }
}
