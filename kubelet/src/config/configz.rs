//! The configuration as `/configz` tells it: whole, with upstream's names and type, and what is in force here. Pure.

use serde_json::{Map, Value, json};

use super::{API_VERSIONS, KIND, KubeletConfiguration};

/// What the fields without an effect say where nothing is asked for: upstream's defaults, but that profiling, the handlers
/// for debugging and the chains of packet-filter rules are not here.
fn defaults() -> Value {
    json!({
        "syncFrequency": "1m0s",
        "fileCheckFrequency": "20s",
        "httpCheckFrequency": "20s",
        "streamingConnectionIdleTimeout": "4h0m0s",
        "volumeStatsAggPeriod": "1m0s",
        "cpuManagerPolicy": "none",
        "cpuManagerReconcilePeriod": "10s",
        "memoryManagerPolicy": "None",
        "topologyManagerPolicy": "none",
        "topologyManagerScope": "container",
        "contentType": "application/vnd.kubernetes.protobuf",
        "enableControllerAttachDetach": true,
        "makeIPTablesUtilChains": false,
        "iptablesMasqueradeBit": 14,
        "iptablesDropBit": 15,
        "memorySwap": {},
        "volumePluginDir": "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
        "logging": {"format": "text", "flushFrequency": "5s"},
        "enableProfilingHandler": false,
        "enableDebugFlagsHandler": false,
        "memoryThrottlingFactor": 0.9,
        "memoryReservationPolicy": "None",
    })
}

/// Whether a field without an effect says only what is so anyway.
pub(super) fn is_default(name: &str, value: &Value) -> bool {
    defaults().get(name) == Some(value)
}

/// The file that would ask for what is in force. Of rates that are not limited, zero says so.
pub fn configz(configuration: &KubeletConfiguration) -> Value {
    let mut whole = match defaults() {
        Value::Object(whole) => whole,
        _ => Map::new(),
    };
    whole.insert("kind".into(), KIND.into());
    whole.insert("apiVersion".into(), API_VERSIONS[0].into());
    for name in ["registryPullQPS", "eventRecordQPS", "kubeAPIQPS", "kubeAPIBurst"] {
        whole.insert(name.into(), 0.into());
    }
    whole.insert("resolvConf".into(), crate::facts::RESOLV_CONF.into());
    whole.insert("crashLoopBackOff".into(), json!({"maxContainerRestartPeriod": "5m0s"}));
    whole.insert("imagePullCredentialsVerificationPolicy".into(), "NeverVerifyPreloadedImages".into());
    let mut own = configuration.clone();
    own.eviction_hard = own.evictions().all_hard();
    if let Ok(Value::Object(own)) = serde_json::to_value(own) {
        whole.extend(own.into_iter().filter(|(_, value)| says_something(value)));
    }
    if let Some(qps) = configuration.kube_api_qps {
        // A whole number upstream, whose readers take no other.
        whole.insert("kubeAPIQPS".into(), (qps.round() as i64).into());
    }
    json!({"kubeletconfig": whole})
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(says_something),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::validate;

    #[test]
    fn it_is_whole_and_a_file_again() {
        let mut given = KubeletConfiguration::default();
        given.complete();
        (given.max_pods, given.kube_api_qps) = (7, Some(20.0));
        given.eviction_hard.insert("memory.available".into(), "5%".into());
        let told = configz(&given);
        let config = &told["kubeletconfig"];
        for (name, wanted) in [
            ("kind", json!("KubeletConfiguration")),
            ("apiVersion", json!("kubelet.config.k8s.io/v1beta1")),
            ("maxPods", json!(7)),
            ("syncFrequency", json!("1m0s")),
            ("cpuManagerPolicy", json!("none")),
            ("memorySwap", json!({})),
            ("registryPullQPS", json!(0)),
            ("kubeAPIQPS", json!(20)),
            ("evictionHard", json!({"memory.available": "5%"})),
            ("resolvConf", json!("/etc/resolv.conf")),
            ("crashLoopBackOff", json!({"maxContainerRestartPeriod": "5m0s"})),
            ("nodeStatusUpdateFrequency", json!("10s")),
        ] {
            assert_eq!(config[name], wanted, "{name}");
        }
        assert!(config.get("oomScoreAdj").is_none(), "what is left as it is is not told");
        let defaults = configz(&KubeletConfiguration::default());
        assert_eq!(defaults["kubeletconfig"]["evictionHard"]["memory.available"], "100Mi");
        let again: KubeletConfiguration =
            component::config::parse(&config.to_string(), KIND, &API_VERSIONS).expect("a file");
        assert_eq!(validate(&again), Vec::<String>::new());
        assert_eq!(again.without_effect(), Vec::<&str>::new(), "nobody is warned of what is so anyway");
        assert_eq!(configz(&again), told);
    }
}
