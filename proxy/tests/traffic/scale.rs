//! Figures with many Services: printed, and asked to be sane.

use std::time::Instant;

use serde_json::json;

use crate::world::{run, sh};

/// `SERVICES=10000` for the large figure.
fn services() -> usize {
    std::env::var("SERVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

#[test]
#[ignore = "needs root"]
fn one_change_among_many() {
    run(|mut world| async move {
        world.pod("a", "10.1.1.2");
        let count = services();
        for at in 0..count {
            let (name, ip) = (format!("s{at}"), format!("10.98.{}.{}", at / 250, at % 250 + 1));
            world
                .api
                .put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "many", "name": name},
                "spec": {"clusterIP": ip, "ports": [{"port": 80}]}}));
            let endpoints: Vec<_> =
                (0..5).map(|pod| json!({"addresses": [format!("10.2.{}.{}", at % 250, pod + 2)]})).collect();
            world.api.put(&json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"namespace": "many", "name": name, "labels": {"kubernetes.io/service-name": name}},
                "ports": [{"name": "", "port": 80}], "endpoints": endpoints}));
        }
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2"]);
        let start = Instant::now();
        world.start(&[]);
        world.until("host", "10.96.0.5:80", "a").await;
        println!("{count} Services with 5 endpoints each from nothing: {:?}", start.elapsed());
        world.service("10.96.0.6", json!({}));
        let start = Instant::now();
        world.until("host", "10.96.0.6:80", "a").await;
        println!("one change among them: {:?}", start.elapsed());
        println!("rules: {}", sh("iptables-save | grep -c ^-A").trim());
    });
}
