//! kube-proxy's flags, with upstream's names and defaults.

use component::flags::{FlagSet, Kind::*, flag};

const NO_IPVS: &str = "there is no mode ipvs, which upstream is giving up";
const NO_GO: &str = "profiles of the Go runtime do not exist here";

/// The table of kube-proxy's flags.
pub fn flags() -> FlagSet {
    FlagSet::new("kube-proxy", "The Kubernetes network proxy: makes Services reachable on this node.")
        .group(
            "Proxy flags",
            [
                flag("config", String, "", "The path to the configuration file (KubeProxyConfiguration); most flags are then ignored."),
                flag("write-config-to", String, "", "Write the default configuration values to this file and exit."),
                flag("cleanup", Bool, "false", "Remove all rules of kube-proxy and exit."),
                flag("init-only", Bool, "false", "Set the kernel switches that need full root rights, and exit."),
                flag("proxy-mode", String, "iptables", "The proxy mode: iptables or nftables."),
                flag("hostname-override", String, "", "The name of this node; the host's name otherwise."),
                flag("bind-address", Ip, "0.0.0.0", "The node's address, when its Node has none."),
                flag("bind-address-hard-fail", Bool, "false", "End when a port cannot be bound."),
                flag("cluster-cidr", String, "", "The pods' address range (one, or one of each family); others' traffic to Services is masqueraded."),
                flag("detect-local-mode", String, "", "How pods' traffic is known: ClusterCIDR (the default), NodeCIDR, BridgeInterface or InterfaceNamePrefix."),
                flag("pod-bridge-interface", String, "", "The bridge of mode BridgeInterface."),
                flag("pod-interface-name-prefix", String, "", "The prefix of mode InterfaceNamePrefix."),
                flag("nodeport-addresses", Strings, "", "Ranges of this node's addresses that serve NodePorts, or \"primary\"; all otherwise."),
                flag("masquerade-all", Bool, "false", "Masquerade all traffic to cluster addresses."),
                flag("iptables-masquerade-bit", Int, "14", "The bit of the packet mark that asks for masquerading, 0 to 31."),
                flag("iptables-localhost-nodeports", Bool, "true", "Serve NodePorts on 127.0.0.0/8, too."),
                flag("iptables-sync-period", Duration, "30s", "How often to look whether somebody flushed the rules, and to retry."),
                flag("iptables-min-sync-period", Duration, "1s", "The least time between two writes. When not given it is twice the last write's time, at most this."),
                flag("healthz-bind-address", String, "0.0.0.0:10256", "Where to serve /healthz and /livez; empty: nowhere."),
                flag("metrics-bind-address", String, "127.0.0.1:10249", "Where to serve /metrics and /proxyMode; empty: nowhere."),
                flag("healthz-port", Int, "10256", "The port to serve health on; 0 is not at all.").deprecated("use --healthz-bind-address"),
                flag("metrics-port", Int, "10249", "The port to serve metrics on; 0 is not at all.").deprecated("use --metrics-bind-address"),
                flag("oom-score-adj", Int, "-999", "The oom-score-adj value of the process, -1000 to 1000."),
                flag("conntrack-max-per-core", Int, "32768", "Connections to track per core; 0 leaves the limit as it is."),
                flag("conntrack-min", Int, "131072", "Connections to track at least."),
                flag("conntrack-tcp-timeout-established", Duration, "24h0m0s", "Timeout of idle TCP connections; 0 leaves it."),
                flag("conntrack-tcp-timeout-close-wait", Duration, "1h0m0s", "Timeout of TCP connections in CLOSE_WAIT; 0 leaves it."),
                flag("conntrack-tcp-be-liberal", Bool, "false", "Let packets outside the window through."),
                flag("conntrack-udp-timeout", Duration, "0s", "Timeout of UDP flows without answer; 0 leaves it."),
                flag("conntrack-udp-timeout-stream", Duration, "0s", "Timeout of UDP flows with answers; 0 leaves it."),
                flag("feature-gates", Map, "", "Features by name; all that are in upstream's defaults are on.")
                    .without_effect("no feature of kube-proxy is optional here"),
                flag("config-sync-period", Duration, "15m0s", "How often objects are handled again without a change.")
                    .without_effect("watches do not forget, and the rules are looked after by --iptables-sync-period"),
                flag("profiling", Bool, "false", "Serve profiles.").without_effect(NO_GO),
                flag("show-hidden-metrics-for-version", String, "", "Show metrics hidden in this version.")
                    .without_effect("no metric is hidden"),
            ],
        )
        .group(
            "IPVS flags",
            [
                flag("ipvs-sync-period", Duration, "30s", "How often to sync.").without_effect(NO_IPVS),
                flag("ipvs-min-sync-period", Duration, "1s", "The least time between two syncs.").without_effect(NO_IPVS),
                flag("ipvs-scheduler", String, "", "The scheduler.").without_effect(NO_IPVS),
                flag("ipvs-exclude-cidrs", Strings, "", "Ranges to leave alone.").without_effect(NO_IPVS),
                flag("ipvs-strict-arp", Bool, "false", "Answer ARP strictly.").without_effect(NO_IPVS),
                flag("ipvs-tcp-timeout", Duration, "0s", "Timeout of idle TCP connections.").without_effect(NO_IPVS),
                flag("ipvs-tcpfin-timeout", Duration, "0s", "Timeout after a FIN.").without_effect(NO_IPVS),
                flag("ipvs-udp-timeout", Duration, "0s", "Timeout of UDP flows.").without_effect(NO_IPVS),
            ],
        )
        .with_common()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_flag_works_or_says_that_it_does_not() {
        component::flags::check_program(&super::flags(), |values| drop(crate::Options::from_flags(values)));
    }
}
