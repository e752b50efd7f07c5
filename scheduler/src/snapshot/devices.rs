//! Devices, classes and claims as the snapshot has them, and what was decided about them and is not told yet.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};

use crate::devices::{Extended, Selectors, readiness};
use crate::objects::CLASS_RESOURCE;

/// What becomes of the claims of a pod on its node, before the pod goes there: each is reserved for it, and devices are
/// written into those that have none.
#[derive(Clone, Debug, Default)]
pub struct DevicePlan {
    pub claims: Vec<(Arc<ResourceClaim>, Option<AllocationResult>)>,
    /// The claim that is made for its extended resources.
    pub extended: Option<Box<(Extended, AllocationResult)>>,
}

impl DevicePlan {
    /// Whether drivers have to make devices ready first.
    pub fn waits(&self) -> bool {
        let given = self.claims.iter().filter_map(|(_, allocation)| allocation.as_ref());
        let given = given.chain(self.extended.iter().map(|extended| &extended.1));
        let mut results = given.flat_map(|given| given.devices.iter()).flat_map(|d| d.results.iter().flatten());
        let kept = self.claims.iter().filter(|(_, allocation)| allocation.is_none());
        results.any(|result| result.binding_conditions.as_ref().is_some_and(|all| !all.is_empty()))
            || kept.into_iter().any(|(claim, _)| readiness::has_conditions(claim))
    }
}

type Key = (Box<str>, Box<str>);

#[derive(Debug, Default)]
pub struct Devices {
    claims: HashMap<Key, Arc<ResourceClaim>>,
    classes: HashMap<Box<str>, Arc<DeviceClass>>,
    /// The classes that stand behind extended resources that they name.
    behind: HashMap<Box<str>, Box<str>>,
    /// By driver and pool, then by name.
    pools: BTreeMap<Key, BTreeMap<Box<str>, Arc<ResourceSlice>>>,
    /// Which pools a node may reach; made when first asked for.
    near: OnceCell<Near>,
    /// By the pod's UID.
    assumed: HashMap<Box<str>, DevicePlan>,
    pub selectors: Selectors,
}

#[derive(Debug, Default)]
struct Near {
    of_node: HashMap<Box<str>, BTreeSet<Key>>,
    of_any: BTreeSet<Key>,
}

impl Devices {
    /// The claim as it is now. What was written by this scheduler may be newer than what is told of it.
    pub fn set_claim(&mut self, claim: &Arc<ResourceClaim>) {
        let known = self.claim(namespace(claim), name(claim));
        let is_older =
            |known: &ResourceClaim| known.metadata.uid == claim.metadata.uid && version(claim) < version(known);
        if !known.is_some_and(|known| is_older(known)) {
            self.claims.insert((namespace(claim).into(), name(claim).into()), claim.clone());
        }
    }

    pub fn remove_claim(&mut self, claim: &ResourceClaim) {
        self.claims.remove(&(namespace(claim).into(), name(claim).into()));
    }

    pub fn set_class(&mut self, class: &Arc<DeviceClass>) {
        self.classes.insert(class.metadata.name.as_deref().unwrap_or_default().into(), class.clone());
        self.classes_changed();
    }

    pub fn remove_class(&mut self, class: &DeviceClass) {
        self.classes.remove(class.metadata.name.as_deref().unwrap_or_default());
        self.classes_changed();
    }

    /// Of several that name a resource the youngest, then the first by name.
    fn classes_changed(&mut self) {
        let mut named: Vec<(&String, &Arc<DeviceClass>)> = self
            .classes
            .values()
            .filter_map(|class| Some((class.spec.extended_resource_name.as_ref()?, class)))
            .collect();
        let created = |class: &DeviceClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        named.sort_by(|(_, a), (_, b)| created(a).cmp(&created(b)).then_with(|| b.metadata.name.cmp(&a.metadata.name)));
        let name = |class: &DeviceClass| class.metadata.name.as_deref().unwrap_or_default().into();
        self.behind = named.into_iter().map(|(resource, class)| (resource.as_str().into(), name(class))).collect();
    }

    /// The DeviceClass that stands behind an extended resource.
    pub fn class_behind(&self, resource: &str) -> Option<&str> {
        if let Some(class) = resource.strip_prefix(CLASS_RESOURCE) {
            return self.classes.get_key_value(class).map(|(name, _)| &**name);
        }
        self.behind.get(resource).map(|class| &**class)
    }

    /// A slice never changes its driver and pool.
    pub fn set_slice(&mut self, slice: &Arc<ResourceSlice>) {
        let slices = self.pools.entry(pool_of(slice)).or_default();
        slices.insert(slice.metadata.name.as_deref().unwrap_or_default().into(), slice.clone());
        self.near.take();
    }

    pub fn remove_slice(&mut self, slice: &ResourceSlice) {
        let key = pool_of(slice);
        if let Some(slices) = self.pools.get_mut(&key) {
            slices.remove(slice.metadata.name.as_deref().unwrap_or_default());
            if slices.is_empty() {
                self.pools.remove(&key);
            }
        }
        self.near.take();
    }

    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<ResourceClaim>> {
        self.claims.get(&(namespace.into(), name.into()))
    }

    pub fn claims(&self) -> impl Iterator<Item = &Arc<ResourceClaim>> {
        self.claims.values()
    }

    pub fn class(&self, name: &str) -> Option<&Arc<DeviceClass>> {
        self.classes.get(name)
    }

    /// All slices of each pool that has some for this node, or for nodes that it does not name.
    pub fn pools_near(&self, node: &str) -> impl Iterator<Item = &BTreeMap<Box<str>, Arc<ResourceSlice>>> {
        let near = self.near.get_or_init(|| self.index());
        let own = near.of_node.get(node).into_iter().flatten().filter(|key| !near.of_any.contains(*key));
        let keys: BTreeSet<&Key> = own.chain(&near.of_any).collect();
        keys.into_iter().filter_map(|key| self.pools.get(key))
    }

    fn index(&self) -> Near {
        let mut near = Near::default();
        for (key, slices) in &self.pools {
            for slice in slices.values() {
                match &slice.spec.node_name {
                    Some(node) => drop(near.of_node.entry(node.as_str().into()).or_default().insert(key.clone())),
                    None => drop(near.of_any.insert(key.clone())),
                }
            }
        }
        near
    }

    /// Holds to a plan until the pod is bound or its binding failed.
    pub fn assume(&mut self, pod_uid: &str, plan: DevicePlan) {
        self.assumed.insert(pod_uid.into(), plan);
    }

    pub fn forget(&mut self, pod_uid: &str) {
        self.assumed.remove(pod_uid);
    }

    /// What is decided; some of it is told by now.
    pub fn pending(&self) -> impl Iterator<Item = (&ResourceClaim, &AllocationResult)> {
        let claims = self.assumed.values().flat_map(|plan| &plan.claims);
        let claims = claims.filter_map(|(claim, allocation)| Some((&**claim, allocation.as_ref()?)));
        let extended = self.assumed.values().filter_map(|plan| plan.extended.as_deref());
        claims.chain(extended.map(|(extended, allocation)| (&extended.claim, allocation)))
    }
}

fn pool_of(slice: &ResourceSlice) -> Key {
    (slice.spec.driver.as_str().into(), slice.spec.pool.name.as_str().into())
}

fn namespace(claim: &ResourceClaim) -> &str {
    claim.metadata.namespace.as_deref().unwrap_or_default()
}

fn name(claim: &ResourceClaim) -> &str {
    claim.metadata.name.as_deref().unwrap_or_default()
}

/// Versions of one resource can be compared as numbers (Kubernetes API concept: "Resource versions").
fn version(claim: &ResourceClaim) -> u64 {
    claim.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}
