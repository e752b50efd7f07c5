//! VolumeBinding: a node must reach the pod's volumes, and volumes that the pod's claims can still get.
//!
//! Claims of classes that wait for a consumer are bound here: [`plan`] says to what on the chosen node. Concept: storage
//! classes, volume binding mode.

use std::sync::Arc;

use super::{Candidate, Check, Filter, Plugin, Rejection};
use crate::event::Event;
use crate::objects::{Claim, Node, Pod, PodVolume, Volume};
use crate::snapshot::{Snapshot, VolumePlan, Volumes};

pub const NAME: &str = "VolumeBinding";

const NODE_CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const BIND_CONFLICT: &str = "node(s) didn't find available persistent volumes to bind";
const NO_ROOM: &str = "node(s) did not have enough free storage";
const VOLUME_MISSING: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

pub struct VolumeBinding;

/// A pod's claims by what is to be done about them.
#[derive(Default)]
struct Claims {
    bound: Vec<Arc<Claim>>,
    /// Smallest first, so that large volumes are left for large claims.
    waiting: Vec<Arc<Claim>>,
}

/// The pod's claims; the error is why no node will do.
fn claims_of(pod: &Pod, volumes: &Volumes) -> Result<Claims, String> {
    let (mut claims, mut immediate) = (Claims::default(), false);
    for volume in &pod.volumes {
        let PodVolume::Claim { name, own } = volume else { continue };
        let claim = usable(pod, volumes, name, *own)?;
        let waits = volumes.class(&claim.class).is_some_and(|class| class.waits);
        if claim.is_bound() {
            claims.bound.push(claim);
        } else if waits && claim.volume_name.is_empty() {
            claims.waiting.push(claim);
        } else {
            immediate = true;
        }
    }
    if immediate {
        return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
    }
    claims.waiting.sort_by_key(|claim| claim.requested);
    Ok(claims)
}

fn usable(pod: &Pod, volumes: &Volumes, name: &str, own: bool) -> Result<Arc<Claim>, String> {
    let Some(claim) = volumes.claim(pod.namespace(), name) else {
        return Err(match own {
            true => format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"),
            false => format!("persistentvolumeclaim {name:?} not found"),
        });
    };
    if claim.lost {
        let volume = &claim.volume_name;
        return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    if own && *claim.controller_uid != *pod.uid() {
        let (namespace, pod) = (pod.namespace(), pod.name());
        return Err(format!("PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"));
    }
    Ok(claim.clone())
}

/// What is to be done on this node, or why it will not do.
fn plan_on(claims: &Claims, volumes: &Volumes, node: &Node) -> Result<VolumePlan, Vec<&'static str>> {
    let mut reasons = Vec::new();
    let there: Option<Vec<_>> = claims.bound.iter().map(|claim| volumes.volume(&claim.volume_name)).collect();
    match there {
        None => reasons.push(VOLUME_MISSING),
        Some(there) if !there.iter().all(|volume| volume.reachable_from(node)) => reasons.push(NODE_CONFLICT),
        Some(_) => {}
    }
    let mut plan = VolumePlan { node: node.name().into(), ..VolumePlan::default() };
    for claim in &claims.waiting {
        let chosen = volumes.selected_node(claim);
        let found = match chosen {
            "" => best(claim, volumes, node, &plan),
            _ => None,
        };
        match found {
            Some(volume) => plan.bindings.push((volume, claim.clone())),
            None => {
                let here = chosen.is_empty() || chosen == node.name();
                if let Err(why) = if here { provision(claim, volumes, node) } else { Err(BIND_CONFLICT) } {
                    reasons.insert(0, why);
                    break;
                }
                plan.provisions.push(claim.clone());
            }
        }
    }
    if reasons.is_empty() { Ok(plan) } else { Err(reasons) }
}

/// Whether a volume can be made for the claim on this node, or why not.
fn provision(claim: &Claim, volumes: &Volumes, node: &Node) -> Result<(), &'static str> {
    match volumes.class(&claim.class).filter(|class| class.provisions() && class.reaches(node)) {
        None => Err(BIND_CONFLICT),
        Some(class) if !volumes.has_room(claim, class, node) => Err(NO_ROOM),
        Some(_) => Ok(()),
    }
}

/// The volume reserved for the claim, else the smallest free one that fits and that the node reaches.
fn best(claim: &Claim, volumes: &Volumes, node: &Node, plan: &VolumePlan) -> Option<Arc<Volume>> {
    let chosen = |volume: &Volume| plan.bindings.iter().any(|(other, _)| other.name() == volume.name());
    let fits = |volume: &&Arc<Volume>| {
        !chosen(volume)
            && volume.capacity >= claim.requested
            && volume.mode == claim.mode
            && volume.attributes_class == claim.attributes_class
            && volume.metadata.deletion_timestamp.is_none()
    };
    let fitting: Vec<_> = volumes.candidates(claim).filter(fits).collect();
    if let Some(reserved) = fitting.iter().find(|volume| volumes.is_for(volume, claim)) {
        return reserved.reachable_from(node).then(|| Arc::clone(reserved));
    }
    let selected = |volume: &Volume| {
        claim.selector.as_ref().is_some_and(|selector| selector.matches_labels(volume.metadata.labels.as_ref()))
    };
    let free = fitting.into_iter().filter(|volume| {
        volume.available
            && volumes.is_free(volume)
            && volume.class == claim.class
            && selected(volume)
            && claim.access_modes.iter().all(|mode| volume.access_modes.contains(mode))
            && volume.reachable_from(node)
    });
    free.min_by_key(|volume| (volume.capacity, volume.name().to_owned())).cloned()
}

/// What has to be done before the pod goes to this node, where the filter let it pass.
pub fn plan(pod: &Pod, snapshot: &Snapshot, node: &Node) -> Option<VolumePlan> {
    if pod.volumes.is_empty() {
        return None;
    }
    let claims = claims_of(pod, &snapshot.volumes).ok()?;
    plan_on(&claims, &snapshot.volumes, node).ok().filter(|plan| !plan.is_empty())
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        if !pod.volumes.iter().any(|volume| matches!(volume, PodVolume::Claim { .. })) {
            return Filter::Skip;
        }
        let claims = match claims_of(pod, &snapshot.volumes) {
            Ok(claims) => claims,
            Err(why) => return Filter::Refuse(Rejection::lasting(why)),
        };
        let check: Check<'a> = Box::new(move |candidate: Candidate<'_>| {
            plan_on(&claims, &snapshot.volumes, candidate.node).map(drop).map_err(|reasons| {
                let mut reasons = reasons.into_iter();
                let first = Rejection::lasting(reasons.next().unwrap_or(BIND_CONFLICT));
                Rejection { more: reasons.map(Into::into).collect(), ..first }
            })
        });
        Filter::Check(check)
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        match event {
            Event::Claim { new: claim, .. } => uses(pod, claim),
            Event::Volume(_) | Event::StorageClass(_) | Event::CsiDriver(_) | Event::Capacity(_) => true,
            event => {
                event.node().is_some_and(|(old, new)| old.is_none_or(|old| old.metadata.labels != new.metadata.labels))
            }
        }
    }
}

/// Whether the claim is one of the pod's.
pub(super) fn uses(pod: &Pod, claim: &Claim) -> bool {
    let named = |volume: &PodVolume| matches!(volume, PodVolume::Claim { name, .. } if **name == *claim.name());
    pod.namespace() == claim.namespace() && pod.volumes.iter().any(named)
}
