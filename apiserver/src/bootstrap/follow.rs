//! Follows a ConfigMap that the server itself keeps in the cluster.

use std::sync::Arc;

use super::row;
use crate::api::Api;
use crate::cache::{EventKind, WatchFrom, Watcher};
use crate::catalogue::Served;

pub struct Follower<'a> {
    api: &'a Api,
    served: &'a Arc<Served>,
    prefix: String,
    key: String,
    watcher: Watcher,
}

impl<'a> Follower<'a> {
    /// From now on. `None` where there are no ConfigMaps.
    pub fn new(api: &'a Api, namespace: &str, name: &str) -> Option<Self> {
        let served = row(api, "", "configmaps").ok()?;
        let prefix = api.catalogue.prefix(served, namespace);
        let watcher = api.cache.watch(served.id, &prefix, WatchFrom::Now);
        Some(Self { api, served, key: api.catalogue.key(served, namespace, name), prefix, watcher })
    }

    /// Waits until somebody may have changed the ConfigMap, or taken it away; false at shutdown.
    pub async fn lost(&mut self) -> bool {
        while let Some(next) = self.api.shutdown.run_until(self.watcher.next()).await {
            match next {
                Ok(event) if event.kind != EventKind::Added && *event.item.key == self.key => return true,
                Ok(_) => {}
                Err(_) if self.api.shutdown.is_triggered() => return false,
                Err(_) => {
                    if !self.api.is_loaded().await {
                        return false;
                    }
                    self.watcher = self.api.cache.watch(self.served.id, &self.prefix, WatchFrom::Now);
                    return true;
                }
            }
        }
        false
    }
}
