//! Kernel switches under `/proc/sys`, seen from the calling thread's network namespace.

use std::fs;

use crate::cni::Failure;

/// Makes `key` (with slashes: interface names may hold dots) hold `value`; writes only when it does not.
pub(crate) fn ensure(key: &str, value: &str) -> Result<(), Failure> {
    let path = format!("/proc/sys/{key}");
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|error| Failure::internal(format!("failed to set {key} to {value}: {error}")))
}

pub(crate) fn exists(key: &str) -> bool {
    fs::exists(format!("/proc/sys/{key}")).unwrap_or(false)
}
