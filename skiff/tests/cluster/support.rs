//! What several stories of clusters tell alike.

use anyhow::{Result, ensure};
use testbed::{Cluster, SOON, eventually};

/// The program under test.
pub(crate) const SKIFF: &str = env!("CARGO_BIN_EXE_skiff");

/// The README's flow: create, scale, expose. Returns the Service's address.
pub(crate) fn web(cluster: &Cluster) -> Result<String> {
    cluster.kubectl(&["create", "deployment", "web", "--image=nginx"])?;
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=3"])?;
    cluster.kubectl(&["expose", "deployment", "web", "--port=80"])?;
    cluster.rolled_out("web")?;
    cluster.value("service/web", ".spec.clusterIP")
}

/// Until the Service answers with nginx's page, and each of its pods has answered a request.
pub(crate) fn all_answer(cluster: &Cluster, address: &str, label: &str) -> Result<()> {
    eventually("every pod answers", SOON, || {
        for _ in 0..10 {
            let page = cluster.curl(&format!("http://{address}"))?;
            ensure!(page.contains("Welcome to nginx"), "nginx's page: {page}");
        }
        for pod in cluster.pods(label)? {
            ensure!(cluster.kubectl(&["logs", &pod])?.contains("GET / "), "{pod} has answered");
        }
        Ok(())
    })
}
