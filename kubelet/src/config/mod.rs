//! `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1): the fields, their defaults, and what is wrong with a file.
//!
//! Enter at [`load`]. Every field of upstream is known: those that have an effect are typed, the others are listed by
//! [`KubeletConfiguration::without_effect`] when a file sets them, and those that ask for what is not built are refused
//! by [`validate`]. Flags that were given override the file in [`crate::options`].

mod configz;
mod drop_ins;
mod duration;
mod fields;
mod gates;
mod refused;
#[cfg(test)]
mod tests;
mod validate;

use std::path::Path;

pub use configz::configz;
pub use drop_ins::drop_ins;
pub use duration::GoDuration;
pub use fields::{Authentication, Authorization, KubeletConfiguration, PeriodByPriority};
pub use validate::validate;

use crate::eviction::signal::Wanted;

pub const KIND: &str = "KubeletConfiguration";
pub const API_VERSIONS: [&str; 1] = ["kubelet.config.k8s.io/v1beta1"];

impl KubeletConfiguration {
    /// Puts upstream's defaults where a file says nothing by an empty text or by zero, as those of kubeadm do.
    pub fn complete(&mut self) {
        let default = Self::default();
        let report = self.node_status_report_frequency;
        self.node_status_report_frequency = match self.node_status_update_frequency {
            _ if !report.0.is_zero() => report,
            update if update.0.is_zero() => GoDuration::seconds(300),
            update => update,
        };
        let webhook = &mut self.authorization.webhook;
        let default_webhook = default.authorization.webhook;
        for (field, default) in [
            (&mut self.node_status_update_frequency, GoDuration::seconds(10)),
            (&mut self.runtime_request_timeout, default.runtime_request_timeout),
            (&mut self.image_minimum_gc_age, default.image_minimum_gc_age),
            (&mut self.eviction_pressure_transition_period, default.eviction_pressure_transition_period),
            (&mut self.authentication.webhook.cache_ttl, default.authentication.webhook.cache_ttl),
            (&mut webhook.cache_authorized_ttl, default_webhook.cache_authorized_ttl),
            (&mut webhook.cache_unauthorized_ttl, default_webhook.cache_unauthorized_ttl),
        ] {
            if field.0.is_zero() {
                *field = default;
            }
        }
        for (field, default) in [
            (&mut self.address, default.address),
            (&mut self.healthz_bind_address, default.healthz_bind_address),
            (&mut self.cgroup_driver, default.cgroup_driver),
            (&mut self.container_runtime_endpoint, default.container_runtime_endpoint),
            (&mut self.container_log_max_size, default.container_log_max_size),
            (&mut self.pod_logs_dir, default.pod_logs_dir),
        ] {
            if field.is_empty() {
                *field = default;
            }
        }
        self.port = if self.port == 0 { default.port } else { self.port };
        self.max_pods = if self.max_pods == 0 { default.max_pods } else { self.max_pods };
        if self.node_lease_duration_seconds == 0 {
            self.node_lease_duration_seconds = default.node_lease_duration_seconds;
        }
    }

    /// The eviction thresholds as they are written.
    pub fn evictions(&self) -> Wanted {
        Wanted {
            hard: self.eviction_hard.clone(),
            soft: self.eviction_soft.clone(),
            soft_grace: self.eviction_soft_grace_period.clone(),
            min_reclaim: self.eviction_minimum_reclaim.clone(),
            merge_defaults: self.merge_default_eviction_settings,
            enforces_pods: self.enforce_node_allocatable.iter().any(|it| it == "pods"),
        }
    }
}

/// Reads a configuration file. As upstream has it for v1beta1, fields that nobody knows, or that come twice, are only
/// warned of: files outlive the fields that they name.
///
/// # Errors
/// Upstream's words for files that cannot be read or decoded.
pub fn load(path: &Path) -> Result<KubeletConfiguration, component::config::Error> {
    let (configuration, complaint) = component::config::load_leniently(path, KIND, &API_VERSIONS)?;
    if let Some(complaint) = complaint {
        tracing::warn!(path = %path.display(), complaint, "Using lenient decoding as strict decoding failed");
    }
    Ok(configuration)
}
