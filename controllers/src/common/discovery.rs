//! What kinds of objects the API server has, each in its preferred version.
//!
//! Enter by [`preferred`]. One request for the core group and one for the others, when the server knows aggregated
//! discovery; else one for each group.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use kube::Client;
use kube::core::ApiResource;
use tokio::time::Instant;

use super::error::{Doing, Error};

/// A kind as the API serves it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    /// The plural name in paths.
    pub(crate) resource: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: BTreeSet<String>,
}

impl Resource {
    pub(crate) fn supports(&self, verb: &str) -> bool {
        self.verbs.contains(verb)
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// For `kube::Api::*_with`.
    pub(crate) fn api_resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: self.api_version(),
            kind: self.kind.clone(),
            plural: self.resource.clone(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Discovered {
    pub(crate) resources: Vec<Resource>,
    /// Group versions that could not be asked, with the reason: an extension server that is away.
    pub(crate) failed: Vec<(String, String)>,
}

/// Every kind once, in the version that its group prefers. An error only if nothing could be learnt at all.
pub(crate) async fn preferred(client: &Client) -> Result<Discovered, Error> {
    match aggregated(client).await? {
        Some(found) => Ok(found),
        None => group_by_group(client).await,
    }
}

/// A kind that is missing is looked for at most so often.
pub(crate) const REDISCOVER: Duration = Duration::from_secs(30);

/// The kinds there are, as they were when last asked for.
#[derive(Default)]
pub(crate) struct Kinds(Mutex<Option<(Instant, Arc<Vec<Resource>>)>>);

impl Kinds {
    /// They are asked for again when they are not `enough`.
    pub(crate) async fn with(
        &self,
        client: &Client,
        enough: impl Fn(&[Resource]) -> bool,
    ) -> Result<Arc<Vec<Resource>>, Error> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((asked, kinds)) = known
            && (asked.elapsed() < REDISCOVER || enough(&kinds))
        {
            return Ok(kinds);
        }
        let kinds = Arc::new(preferred(client).await?.resources);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), kinds.clone()));
        Ok(kinds)
    }
}

async fn aggregated(client: &Client) -> Result<Option<Discovered>, Error> {
    let core = client.list_core_api_versions_aggregated().await.doing("discover", "core resources")?;
    if core.items.is_empty() {
        return Ok(None);
    }
    let groups = client.list_api_groups_aggregated().await.doing("discover", "resources")?;
    let mut all = Collected::default();
    for group in core.items.into_iter().chain(groups.items) {
        let name = group.metadata.and_then(|m| m.name).unwrap_or_default();
        for version in group.versions {
            let version_name = version.version.unwrap_or_default();
            if version.freshness.as_deref() == Some("Stale") {
                all.found.failed.push((format!("{name}/{version_name}"), "stale GroupVersion discovery".into()));
            }
            for resource in version.resources {
                all.add(Resource {
                    group: name.clone(),
                    version: version_name.clone(),
                    resource: resource.resource.unwrap_or_default(),
                    kind: resource.response_kind.and_then(|k| k.kind).unwrap_or_default(),
                    namespaced: resource.scope.as_deref() == Some("Namespaced"),
                    verbs: resource.verbs.into_iter().collect(),
                });
            }
        }
    }
    Ok(Some(all.found))
}

async fn group_by_group(client: &Client) -> Result<Discovered, Error> {
    let groups = client.list_api_groups().await.doing("discover", "API groups")?;
    let mut versions = vec![(String::new(), "v1".to_string())];
    for group in groups.groups {
        let preferred = group.preferred_version.map(|v| v.version);
        let mut names: Vec<String> = group.versions.into_iter().map(|v| v.version).collect();
        names.sort_by_key(|v| Some(v) != preferred.as_ref());
        versions.extend(names.into_iter().map(|v| (group.name.clone(), v)));
    }
    let lists = join_all(versions.iter().map(|(group, version)| async move {
        match group.as_str() {
            "" => client.list_core_api_resources(version).await,
            group => client.list_api_group_resources(&format!("{group}/{version}")).await,
        }
    }))
    .await;
    let mut all = Collected::default();
    for ((group, version), list) in versions.into_iter().zip(lists) {
        match list.doing("discover", &version) {
            Err(e) => all.found.failed.push((format!("{group}/{version}"), e.api_message())),
            // Names with a slash are subresources.
            Ok(list) => list.resources.into_iter().filter(|r| !r.name.contains('/')).for_each(|r| {
                all.add(Resource {
                    group: group.clone(),
                    version: version.clone(),
                    resource: r.name,
                    kind: r.kind,
                    namespaced: r.namespaced,
                    verbs: r.verbs.into_iter().collect(),
                });
            }),
        }
    }
    Ok(all.found)
}

#[derive(Default)]
struct Collected {
    found: Discovered,
    seen: BTreeSet<(String, String)>,
}

impl Collected {
    /// The first version that has a resource is the preferred one.
    fn add(&mut self, resource: Resource) {
        if self.seen.insert((resource.group.clone(), resource.resource.clone())) {
            self.found.resources.push(resource);
        }
    }
}
