//! Flags in, settings or faults out.

use super::*;

fn options(arguments: &[&str]) -> Result<Options, Error> {
    Options::from_flags(&crate::flags().parse(arguments.to_vec()).unwrap())
}

#[test]
fn defaults_are_upstreams() {
    let options = options(&["--hostname-override= Node-A "]).unwrap();
    assert_eq!(options.node_name, "node-a");
    assert_eq!(options.healthz_bind_address.unwrap().to_string(), "0.0.0.0:10256");
    assert_eq!(options.metrics_bind_address.unwrap().to_string(), "127.0.0.1:10249");
    assert_eq!(options.detect_local, DetectLocal::ClusterCidrs(Vec::new()));
    assert_eq!(options.min_sync_period, MinSyncPeriod::Adaptive { max: Duration::from_secs(1) });
}

#[test]
fn given_flags_count() {
    let options = options(&[
        "--cluster-cidr=10.244.0.0/16,fd00::/56",
        "--nodeport-addresses=10.0.0.0/8,fd00::/64",
        "--iptables-min-sync-period=0s",
        "--healthz-port=0",
        "--metrics-bind-address=10.0.0.1",
    ])
    .unwrap();
    assert!(matches!(&options.detect_local, DetectLocal::ClusterCidrs(cidrs) if cidrs.len() == 2));
    assert_eq!(options.node_port_addresses.len(), 2);
    assert_eq!(options.healthz_bind_address, None);
    assert_eq!(options.metrics_bind_address.unwrap().to_string(), "10.0.0.1:10249");
    assert_eq!(options.flags["cluster-cidr"], "10.244.0.0/16,fd00::/56");
}

#[test]
fn faults_name_the_field() {
    for (argument, field) in [
        ("--cluster-cidr=10.0.0.0", "clusterCIDR"),
        ("--proxy-mode=ipvs", "mode"),
        ("--detect-local-mode=Magic", "detectLocalMode"),
        ("--detect-local-mode=BridgeInterface", "bridgeInterface"),
        ("--iptables-masquerade-bit=32", "masqueradeBit"),
        ("--nodeport-addresses=x", "nodePortAddresses"),
        ("--nodeport-addresses=primary,10.0.0.0/8", "nodePortAddresses"),
        ("--oom-score-adj=-2000", "oomScoreAdj"),
    ] {
        let error = options(&[argument]).unwrap_err().to_string();
        assert!(error.contains(field), "{argument}: {error}");
    }
}
