//! Which resources the API server has.
//!
//! An informer of a resource that is not served would wait for its first list for ever, and scheduling with it.

use std::collections::HashSet;
use std::time::Duration;

use component::informer::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;

use super::Shared;

const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Resources as `group/version/plural`.
pub(super) struct Served(HashSet<String>);

impl Served {
    /// Asks until the server answers.
    pub(super) async fn ask(shared: &Shared) -> Self {
        let mut served = HashSet::new();
        for group_version in ["v1", "apps/v1", "policy/v1", "storage.k8s.io/v1", "resource.k8s.io/v1"] {
            let resources = list(shared, group_version).await.resources;
            served.extend(resources.into_iter().map(|resource| format!("{group_version}/{}", resource.name)));
        }
        Self(served)
    }

    pub(super) fn has<K: Object>(&self) -> bool {
        self.0.contains(&format!("{}/{}", K::api_version(&()), K::plural(&())))
    }
}

async fn list(shared: &Shared, group_version: &str) -> APIResourceList {
    let client = &shared.context.client;
    let mut delay = RETRY_FIRST;
    loop {
        let answer = match group_version {
            "v1" => client.list_core_api_resources("v1").await,
            group_version => client.list_api_group_resources(group_version).await,
        };
        match answer {
            Ok(list) => return list,
            Err(kube::Error::Api(status)) if status.code == 404 => return APIResourceList::default(),
            Err(error) => {
                tracing::warn!(group_version, %error, "asking what the API server has failed, trying again");
                tokio::time::sleep(shared.context.random.jitter(delay, 1.0)).await;
                delay = (delay * 2).min(RETRY_MAX);
            }
        }
    }
}
