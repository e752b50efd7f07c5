//! What the command line and the configuration file come to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use component::client::ClientConfig;
use component::flags::Values;

use crate::config::{self, Configuration};
use crate::extender::Extender;
use crate::framework::Profile;
use crate::program::Error;
use crate::queue::Backoff;

/// The scheduler's settings. A flag that was given wins over the file where upstream has it so.
#[derive(Clone)]
pub struct Options {
    pub client: ClientConfig,
    pub profiles: Vec<Profile>,
    pub pauses: Backoff,
    pub extenders: Vec<Extender>,
    pub(crate) values: Values,
    pub(crate) configuration: Configuration,
    /// What was asked for and does nothing, each in a sentence.
    pub(crate) idle: Vec<String>,
    pub(crate) write_config_to: Option<PathBuf>,
}

impl Options {
    /// Reads the configuration file, if the flags name one.
    pub fn from_flags(values: Values) -> Result<Self, Error> {
        let configuration = match values.opt_str("config") {
            None => Configuration::default(),
            Some(path) => {
                component::config::load(Path::new(path), "KubeSchedulerConfiguration", &config::API_VERSIONS)?
            }
        };
        let mut client = ClientConfig::from_flags("kube-scheduler", &values);
        if values.opt_str("config").is_some() {
            configuration.client_connection.apply(&mut client);
        }
        let idle_gates = component::gates::check(&values.map("feature-gates")).map_err(Error::Options)?;
        let (extenders, ignored) = config::extenders(&configuration.extenders).map_err(Error::Options)?;
        let profiles = config::profiles(&configuration, &ignored).map_err(Error::Options)?;
        Ok(Self {
            client,
            profiles,
            extenders,
            pauses: Backoff {
                initial: Duration::from_secs(configuration.pod_initial_backoff_seconds.unsigned_abs()),
                max: Duration::from_secs(configuration.pod_max_backoff_seconds.unsigned_abs()),
                leftover_after: values.duration("pod-max-in-unschedulable-pods-duration"),
            },
            write_config_to: values.opt_str("write-config-to").map(PathBuf::from),
            idle: idle_gates.into_iter().chain(configuration.without_effect()).collect(),
            configuration,
            values,
        })
    }
}
