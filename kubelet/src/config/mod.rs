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
pub use fields::{Authentication, Authorization, KubeletConfiguration};
pub use validate::validate;

pub const KIND: &str = "KubeletConfiguration";
pub const API_VERSIONS: [&str; 1] = ["kubelet.config.k8s.io/v1beta1"];

/// Reads a configuration file strictly.
///
/// # Errors
/// Upstream's words for files that cannot be read or decoded.
pub fn load(path: &Path) -> Result<KubeletConfiguration, component::config::Error> {
    component::config::load(path, KIND, &API_VERSIONS)
}
