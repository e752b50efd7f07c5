//! Carries a StatefulSet's steps out, and tells each in the set's events.

use std::sync::Arc;

use component::key::Key;
use component::recorder::Type;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{self as api, PersistentVolumeClaim};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};

use super::plan::Step;
use super::{Controller, identity, retention};
use crate::common::error::{self, Doing, Error};
use crate::common::pod::Pod;

impl Controller {
    pub(super) async fn carry_out(&self, set: &StatefulSet, step: &Step) -> Result<(), Error> {
        match step {
            Step::Create(pod) => self.create(set, pod).await,
            Step::Delete(pod) => self.delete(set, pod).await,
            Step::CreateClaims(pod) => {
                self.create_claims(set, &pod.name_any()).await?;
                self.own_claims(set, pod).await
            }
            Step::Repair(pod) => self.repair(set, pod).await,
            Step::RepairClaims(pod) => self.own_claims(set, pod).await,
        }
    }

    async fn create(&self, set: &StatefulSet, pod: &api::Pod) -> Result<(), Error> {
        let name = pod.name_any();
        if let Err(e) = self.create_claims(set, &name).await {
            return self.tell("Create", set, &name, Err(e));
        }
        let created = self.pods_of(set).create(&PostParams::default(), pod).await;
        match created.doing("create pod", &name) {
            // One that the cache has yet to see, or a stranger of that name: neither is news.
            Err(e) if e.is_already_exists() => Err(e),
            Err(e) if e.is_namespace_terminating() => Ok(()),
            Err(e) => self.tell("Create", set, &name, Err(e)),
            Ok(created) => match self.own_claims(set, &Pod::from(created)).await {
                Err(e) => self.tell("Update", set, &name, Err(e)),
                Ok(()) => self.tell("Create", set, &name, Ok(())),
            },
        }
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod) -> Result<(), Error> {
        // The cache may be behind: never the successor of the same name.
        let only = Preconditions { uid: pod.uid(), ..Default::default() };
        let params = DeleteParams::default().preconditions(only);
        let deleted = self.pods_of(set).delete(&pod.name_any(), &params).await;
        match deleted.map(drop).doing("delete pod", pod.name_any()) {
            Err(e) if e.is_conflict() => Ok(()),
            Err(e) if !e.is_not_found() => self.tell("Delete", set, &pod.name_any(), Err(e)),
            _ => self.tell("Delete", set, &pod.name_any(), Ok(())),
        }
    }

    async fn repair(&self, set: &StatefulSet, pod: &Pod) -> Result<(), Error> {
        let Some(ordinal) = identity::ordinal(pod) else { return Ok(()) };
        let name = pod.name_any();
        // The cache keeps only parts of pods: what is written back must be the whole.
        let whole = self.pods_of(set).get_opt(&name).await.doing("get pod", &name)?;
        let Some(mut repaired) = whole.filter(|whole| whole.uid() == pod.uid()) else { return Ok(()) };
        identity::set_identity(set, &mut repaired, ordinal);
        if !identity::storage_matches(set, pod) {
            identity::set_storage(set, &mut repaired, ordinal);
            if let Err(e) = self.create_claims(set, &name).await {
                return self.tell("Update", set, &name, Err(e));
            }
        }
        if let Err(e) = self.own_claims(set, pod).await {
            return self.tell("Update", set, &name, Err(e));
        }
        let written = self.pods_of(set).replace(&name, &PostParams::default(), &repaired).await;
        self.tell("Update", set, &name, written.map(drop).doing("update pod", &name))
    }

    async fn create_claims(&self, set: &StatefulSet, pod: &str) -> Result<(), Error> {
        let Some(ordinal) = identity::ordinal_in(pod) else { return Ok(()) };
        let mut errors = Vec::new();
        for claim in identity::claims(set, ordinal) {
            let name = claim.name_any();
            match self.claims.get_key(&Key::of(&claim)) {
                None => errors.extend(self.create_claim(set, pod, &claim).await.err()),
                Some(there) if there.metadata.deletion_timestamp.is_some() => {
                    errors.push(Error::refused("use claim", &name, format!("pvc {name} is being deleted")));
                }
                Some(_) => {}
            }
        }
        error::all(errors)
    }

    async fn create_claim(&self, set: &StatefulSet, pod: &str, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        let (name, owner) = (claim.name_any(), set.name_any());
        let created = self.claims_of(set).create(&PostParams::default(), claim).await.doing("create claim", &name);
        let (kind, reason, message) = match &created {
            Ok(_) => (
                Type::Normal,
                "SuccessfulCreate",
                format!("Create Claim {name} Pod {pod} in StatefulSet {owner} success"),
            ),
            Err(e) if e.is_already_exists() => return Ok(()),
            Err(e) => {
                let why = e.api_message();
                let message = format!("Create Claim {name} for Pod {pod} in StatefulSet {owner} failed error: {why}");
                (Type::Warning, "FailedCreate", message)
            }
        };
        self.ctx.recorder.event(set, kind, reason, message);
        let failed = |e: Error| {
            Error::refused("create claim", &name, format!("failed to create PVC {name}: {}", e.api_message()))
        };
        created.map(drop).map_err(failed)
    }

    /// Gives the claims that the cache knows the owners that the retention policy asks for.
    async fn own_claims(&self, set: &StatefulSet, pod: &Pod) -> Result<(), Error> {
        let names = identity::ordinal(pod).map(|o| identity::claim_names(set, o)).unwrap_or_default();
        let known = names.iter().filter_map(|name| self.claims.get(&set.namespace()?, name));
        for claim in known.collect::<Vec<Arc<_>>>() {
            let name = claim.name_any();
            if retention::has_conflict(&claim, set, pod) {
                let message = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, \
                     the retention policy is ignored for this claim"
                );
                self.ctx.recorder.event(set, Type::Warning, "ConflictingController", message);
            }
            if !retention::is_up_to_date(&claim, set, pod) {
                let mut owned = (*claim).clone();
                retention::update(&mut owned, set, pod);
                let written = self.claims_of(set).replace(&name, &PostParams::default(), &owned).await;
                written.doing("update owners of claim", &name)?;
            }
        }
        Ok(())
    }

    fn tell(&self, verb: &str, set: &StatefulSet, pod: &str, result: Result<(), Error>) -> Result<(), Error> {
        let owner = set.name_any();
        match &result {
            Ok(()) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {owner} successful");
                self.ctx.recorder.event(set, Type::Normal, &format!("Successful{verb}"), message);
            }
            Err(e) => {
                let why = e.own_words();
                let message = format!("{verb} Pod {pod} in StatefulSet {owner} failed error: {why}");
                self.ctx.recorder.event(set, Type::Warning, &format!("Failed{verb}"), message);
            }
        }
        result
    }

    fn pods_of(&self, set: &StatefulSet) -> Api<api::Pod> {
        Api::namespaced(self.ctx.client.clone(), &set.namespace().unwrap_or_default())
    }

    fn claims_of(&self, set: &StatefulSet) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.ctx.client.clone(), &set.namespace().unwrap_or_default())
    }
}
