//! The two priority classes that the system keeps for itself.

use machinery::status::Status;
use serde_json::json;

use super::ensure as ensure_object;
use crate::api::Api;

/// Above what users may ask for.
const HIGHEST: i64 = 2_000_000_000;

pub async fn ensure(api: &Api) -> Result<(), Status> {
    let classes = [
        (
            "system-cluster-critical",
            HIGHEST,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            HIGHEST + 1000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ];
    for (name, value, description) in classes {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "description": description,
        });
        ensure_object(api, "scheduling.k8s.io", "priorityclasses", class).await?;
    }
    Ok(())
}
