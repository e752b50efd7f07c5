//! Fields that ask for what is not built: each is refused by its name, with words for what is missing. Pure.

use serde_json::Value;

use super::KubeletConfiguration;

/// A field (or one below it), the values beside an empty one that ask for nothing, and what others ask for.
const NOT_BUILT: [(&str, &[&str], &str); 23] = [
    ("cpuManagerPolicy", &["none"], "the CPU manager"),
    ("cpuManagerPolicyOptions", &[], "the CPU manager"),
    ("reservedSystemCPUs", &[], "the CPU manager"),
    ("memoryManagerPolicy", &["None"], "the memory manager"),
    ("reservedMemory", &[], "the memory manager"),
    ("topologyManagerPolicy", &["none"], "the topology manager"),
    ("topologyManagerPolicyOptions", &[], "the topology manager"),
    ("topologyManagerScope", &["container"], "the topology manager"),
    ("qosReserved", &[], "memory kept for classes of service"),
    ("memoryReservationPolicy", &["None"], "memory kept for classes of service"),
    ("memorySwap.swapBehavior", &["NoSwap"], "swap"),
    ("userNamespaces", &[], "a range for user namespaces"),
    ("staticPodURL", &[], "reading static pods from a URL"),
    ("kubeletCgroups", &[], "moving the kubelet into a cgroup"),
    ("systemCgroups", &[], "moving other processes into a cgroup"),
    ("kernelMemcgNotification", &[], "the kernel's memory notification"),
    ("enableContentionProfiling", &[], "profiling"),
    ("enableProfilingHandler", &[], "profiling"),
    ("enableDebugFlagsHandler", &[], "changing flags while it runs"),
    ("volumePluginDir", &["/usr/libexec/kubernetes/kubelet-plugins/volume/exec/"], "FlexVolume"),
    ("tracing.endpoint", &[], "tracing"),
    ("tracing.samplingRatePerMillion", &[], "tracing"),
    ("logging.vmodule", &[], "verbosity by file"),
];

/// Each field that asks for something that is not there.
pub(super) fn problems(configuration: &KubeletConfiguration) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, off, what) in NOT_BUILT {
        if value(configuration, path).is_some_and(|value| !is_off(value, off)) {
            problems.push(format!("invalid configuration: {path}: {what} is not supported by this kubelet"));
        }
    }
    // Logging begins before the file is read, and is one for all parts of a process.
    for (path, off, flag) in [("logging.format", "text", "--logging-format"), ("logging.verbosity", "0", "--v")] {
        if value(configuration, path).is_some_and(|value| !is_off(value, &[off])) {
            problems.push(format!("invalid configuration: {path}: not supported in this kubelet's file: use {flag}"));
        }
    }
    if value(configuration, "runOnce").is_some_and(|value| !is_off(value, &[])) {
        let words = "runOnce (--runOnce) true, Runonce mode has been deprecated and should not be set";
        problems.push(format!("invalid configuration: {words}"));
    }
    if configuration.other("enableControllerAttachDetach") == Some(&Value::Bool(false)) {
        let words = "enableControllerAttachDetach: attaching volumes is not supported by this kubelet";
        problems.push(format!("invalid configuration: {words}"));
    }
    problems
}

/// A field, or one below it (`memorySwap.swapBehavior`).
fn value<'a>(configuration: &'a KubeletConfiguration, path: &str) -> Option<&'a Value> {
    let (field, below) = path.split_once('.').map_or((path, None), |(field, below)| (field, Some(below)));
    let value = configuration.other(field)?;
    below.map_or(Some(value), |below| value.get(below))
}

pub(super) fn is_off(value: &Value, off: &[&str]) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || off.contains(&text.as_str()),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
