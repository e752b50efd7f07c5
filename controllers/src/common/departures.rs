//! Sends pods away that their controller then expects to see go.
//!
//! A pod whose deletion got no answer may be going: who takes it for one that stays counts too many as available, and
//! sends another away beside it. So such a pod stays expected to go until it was looked up ([`Departures::settle`]).

use component::informer::Informer;
use component::key::Key;
use kube::Api;
use kube::api::ListParams;

use super::claim::Namespaced;
use super::error::{Doing, Error};
use super::expectations::Expectations;
use super::pod::Pod;
use super::pod_control::PodControl;

/// For the pods of one owner.
pub(crate) struct Departures<'a> {
    pub(crate) key: &'a Key,
    pub(crate) control: &'a PodControl,
    pub(crate) pods: &'a Informer<Pod>,
    pub(crate) expectations: &'a Expectations,
}

impl Departures<'_> {
    /// Asks for the deletion of a pod that is expected to go.
    pub(crate) async fn send<O: Namespaced>(&self, owner: &O, name: &str) -> Result<(), Error> {
        let deleted = self.control.delete(owner, name).await;
        match &deleted {
            Ok(()) => {}
            Err(e) if e.is_doubtful() => self.expectations.doubt_deletion(self.key, name),
            Err(e) if e.is_not_found() && self.is_cached_as_staying(name) => {}
            Err(_) => self.expectations.deletion_observed(self.key, name),
        }
        deleted
    }

    /// Looks up the pods of which nobody has told whether they go. To be done before the cache is read.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        for name in self.expectations.doubtful(self.key) {
            let api = Api::<Pod>::namespaced(self.control.client.clone(), &self.key.namespace);
            // A list: upstream's roles of those who make pods do not let them get one.
            let only = ListParams::default().fields(&format!("metadata.name={name}"));
            let found = api.list(&only).await.doing("look up pod", &name)?;
            match !found.items.iter().any(stays) && self.is_cached_as_staying(&name) {
                true => self.expectations.confirm_deletion(self.key, &name),
                false => self.expectations.deletion_observed(self.key, &name),
            }
        }
        Ok(())
    }

    /// Then an event is still to come that tells otherwise.
    fn is_cached_as_staying(&self, name: &str) -> bool {
        self.pods.get(&self.key.namespace, name).is_some_and(|pod| stays(&pod))
    }
}

fn stays(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}
