//! `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1): the fields, their defaults, and what is wrong with a file.
//!
//! Enter at [`load`]. Every field of upstream is known: those that have an effect are typed, the others are listed by
//! [`KubeletConfiguration::without_effect`] when a file sets them, and those that ask for what is not built are refused
//! by [`validate`]. Flags that were given override the file in [`crate::options`].

mod duration;
mod fields;
#[cfg(test)]
mod tests;
mod validate;

use std::path::Path;

pub use duration::GoDuration;
pub use fields::{Authentication, Authorization, KubeletConfiguration, PeriodByPriority};
pub use validate::validate;

use crate::eviction::signal::Wanted;

pub const KIND: &str = "KubeletConfiguration";
pub const API_VERSIONS: [&str; 1] = ["kubelet.config.k8s.io/v1beta1"];

impl KubeletConfiguration {
    /// The eviction thresholds as they are written.
    pub fn evictions(&self) -> Wanted {
        Wanted {
            hard: self.eviction_hard.clone(),
            soft: self.eviction_soft.clone(),
            soft_grace: self.eviction_soft_grace_period.clone(),
            min_reclaim: self.eviction_minimum_reclaim.clone(),
            merge_defaults: self.merge_default_eviction_settings,
        }
    }
}

/// Reads a configuration file strictly.
///
/// # Errors
/// Upstream's words for files that cannot be read or decoded.
pub fn load(path: &Path) -> Result<KubeletConfiguration, component::config::Error> {
    component::config::load(path, KIND, &API_VERSIONS)
}
