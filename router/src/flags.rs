//! skiff-router's flags.

use component::flags::{FlagSet, Kind::*, flag};

/// The table of skiff-router's flags.
pub fn flags() -> FlagSet {
    FlagSet::new("skiff-router", "The node's part of the pod network: routes to other nodes' pods, NetworkPolicies, CNI configuration.")
        .group(
            "Router flags",
            [
                flag("hostname-override", String, "", "The name of this node; the host's name otherwise."),
                flag("backend", String, "direct", "How packets get to other nodes' pods: direct (routes; nodes are neighbours on one link), vxlan (a tunnel; they need not be), or none."),
                flag("cluster-cidr", Strings, "", "The pods' address ranges. When given, their packets are let through this node, and masqueraded where they leave the cluster."),
                flag("cni-conf-dir", String, "", "Where to write a CNI configuration with the pod ranges that this node was given; empty: nowhere."),
                flag("bridge", String, "cni0", "The bridge of this node's pods, in that configuration."),
                flag("cluster-dns", Strings, "", "The addresses at which pods ask for names. Policies that let pods ask cluster DNS at port 53 hold for them, whatever stands behind."),
                flag("sync-period", Duration, "30s", "How often to look whether somebody removed the rules, and to retry."),
                flag("metrics-bind-address", String, "127.0.0.1:20244", "Where to serve /metrics, /healthz, /livez and /readyz; empty: nowhere."),
                flag("cleanup", Bool, "false", "Remove all rules of skiff-router and exit."),
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
