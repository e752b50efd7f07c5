//! The command line: upstream's table of `cmd/kube-scheduler`.

use component::flags::{self as common, FlagSet, Kind::*, flag, retired};

const PROFILING: &str = "profiles of a Go runtime cannot be had";
const NO_GATES: &str = "features are as upstream's defaults and cannot be switched";
const METRICS: &str = "all metrics are shown, none is hidden or limited";

pub fn flags() -> FlagSet {
    let set = FlagSet::new("kube-scheduler", "Finds a node for every pod, by what it needs and what each node has.");
    let set = set.group(
        "Misc flags",
        [
            flag("config", String, "", "The path of a KubeSchedulerConfiguration file."),
            flag("write-config-to", String, "", "Write the configuration in use to this file and exit."),
        ],
    );
    let set = set.include(common::client());
    let set = common::secure_serving("10259").into_iter().fold(set, FlagSet::include);
    let set = set.group(
        "Deprecated flags",
        [
            flag("profiling", Bool, "true", "Profiles at /debug/pprof/.").without_effect(PROFILING),
            flag("contention-profiling", Bool, "true", "Block profiles.").without_effect(PROFILING),
            flag(
                "pod-max-in-unschedulable-pods-duration",
                Duration,
                "5m0s",
                "How long a pod that found no node waits for an event before it is tried again anyway.",
            ),
            retired("address", "use --bind-address"),
            retired("port", "use --secure-port"),
            retired("policy-config-file", "use a profile in the --config file"),
            retired("policy-configmap", "use a profile in the --config file"),
            retired("algorithm-provider", "use a profile in the --config file"),
            retired("lock-object-name", "use --leader-elect-resource-name"),
            retired("lock-object-namespace", "use --leader-elect-resource-namespace"),
            retired("scheduler-name", "use a profile in the --config file"),
            retired("hard-pod-affinity-symmetric-weight", "use InterPodAffinityArgs in the --config file"),
        ],
    );
    let set = set.include(common::leader_election().change("leader-elect-resource-name", |row| {
        component::flags::Flag { default: "kube-scheduler".into(), ..row }
    }));
    let set = set.group(
        "Feature gate flags",
        [
            flag("feature-gates", Map, "", "Features: name=true or name=false; all are as upstream's defaults."),
            flag("emulated-version", StringArray, "", "The version to behave as.").without_effect(NO_GATES),
            flag("emulation-forward-compatible", Bool, "false", "Also take newer APIs.").without_effect(NO_GATES),
            flag("min-compatibility-version", StringArray, "", "The oldest version to work with.")
                .without_effect(NO_GATES),
        ],
    );
    let set = set.group(
        "Metrics flags",
        [
            flag("allow-metric-labels", Map, "", "Label values to show.").without_effect(METRICS),
            flag("allow-metric-labels-manifest", String, "", "A file of label values to show.").without_effect(METRICS),
            flag("disabled-metrics", Strings, "", "Metrics to leave out.").without_effect(METRICS),
            flag("show-hidden-metrics-for-version", String, "", "Show metrics hidden since.").without_effect(METRICS),
        ],
    );
    set.include(common::logging()).include(common::global())
}

#[cfg(test)]
mod tests {
    use component::flags::Values;
    use component::leader::Identity;
    use component::random::Random;
    use component::{delegated, logging, serve};

    use crate::Options;

    #[test]
    fn the_table_is_sound() {
        component::flags::check_table(&super::flags());
    }

    #[test]
    fn every_flag_that_claims_to_work_is_read() {
        let read = |values: &Values| {
            let options = Options::from_flags(values.clone()).unwrap();
            let identity = Identity::unique("host", &Random::seeded(1));
            options.configuration.leader_election.settings(values, identity).unwrap();
            delegated::Settings::from_flags(values);
            serve::secure_address(values).unwrap();
            serve::secure_tls("kube-scheduler", values).unwrap();
            logging::Settings::from_flags(values).unwrap();
        };
        // Read where the endpoints are made, which takes a client.
        let elsewhere = ["authentication-kubeconfig", "authorization-kubeconfig", "authentication-skip-lookup"];
        component::flags::check_effective(&super::flags(), read, &elsewhere);
    }

    #[test]
    fn command_lines_that_people_use_are_taken() {
        let kubeadm = [
            "--authentication-kubeconfig=/etc/kubernetes/scheduler.conf",
            "--authorization-kubeconfig=/etc/kubernetes/scheduler.conf",
            "--bind-address=127.0.0.1",
            "--kubeconfig=/etc/kubernetes/scheduler.conf",
            "--leader-elect=true",
        ];
        let the_hard_way = ["--config=/etc/kubernetes/config/kube-scheduler.yaml", "--v=2"];
        assert!(super::flags().parse(kubeadm).is_ok());
        assert!(super::flags().parse(the_hard_way).is_ok());
        assert!(super::flags().parse(["--address=127.0.0.1"]).is_err());
    }
}
