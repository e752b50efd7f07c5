//! The StatefulSet controller's core: from the set, its revisions, pods and claims to what is done now.
//!
//! Enter by [`plan`]. It knows no API, no cache and no clock. In the ordered policy each sync takes one step and waits for
//! its effect; in the parallel one it takes all. Concepts: "StatefulSets", "Deployment and Scaling Guarantees".

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{self as api, PersistentVolumeClaim, PodTemplateSpec};

use super::{identity, retention, status};
use crate::common::pod::Pod;
use crate::common::pods;
use crate::common::scaled::scaled;

/// A revision's name and template.
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

/// What is.
pub(super) struct World<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) current: &'a Revision,
    pub(super) update: &'a Revision,
    pub(super) collision_count: i32,
    pub(super) pods: &'a [Arc<Pod>],
    /// Finds a claim of the set's namespace by name.
    pub(super) claim: &'a dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>>,
    pub(super) now: Timestamp,
}

/// One write; a pod comes with its claims.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Create(Box<api::Pod>),
    Delete(Arc<Pod>),
    /// Make what is missing of a waiting pod's claims.
    CreateClaims(Arc<Pod>),
    /// Give a pod its labels and its claims their owners.
    Repair(Arc<Pod>),
    /// Give the claims of a pod that goes their owners.
    RepairClaims(Arc<Pod>),
}

pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) status: StatefulSetStatus,
}

/// Why no later pod is looked at in this sync.
struct Wait;

pub(super) fn plan(world: &World) -> Plan {
    let mut plan = Plan { steps: Vec::new(), status: status::count(world) };
    if world.set.metadata.deletion_timestamp.is_none() {
        let _ = decide(world, &mut plan);
    }
    status::complete(world.set, &mut plan.status);
    plan
}

/// The set's pods by place in its range, and those beyond it, highest ordinal first.
struct Layout {
    replicas: Vec<Option<Arc<Pod>>>,
    condemned: Vec<Arc<Pod>>,
}

fn layout(world: &World) -> Layout {
    let size = usize::try_from(identity::replicas(world.set)).unwrap_or(0);
    let mut layout = Layout { replicas: vec![None; size], condemned: Vec::new() };
    for pod in world.pods {
        let Some(ordinal) = identity::ordinal(pod) else { continue };
        let place = usize::try_from(ordinal - identity::start(world.set)).ok();
        match place.and_then(|place| layout.replicas.get_mut(place)) {
            Some(slot) => *slot = Some(pod.clone()),
            None => layout.condemned.push(pod.clone()),
        }
    }
    layout.condemned.sort_by_key(|p| std::cmp::Reverse(identity::ordinal(p)));
    layout
}

fn decide(world: &World, plan: &mut Plan) -> Result<(), Wait> {
    let ordered = identity::spec(world.set).and_then(|s| s.pod_management_policy.as_deref()) != Some("Parallel");
    let layout = layout(world);
    for (place, pod) in layout.replicas.iter().enumerate() {
        let ordinal = identity::start(world.set) + place as i32;
        let done = match pod {
            None => create(world, plan, ordinal),
            Some(pod) => keep(world, plan, pod, ordered),
        };
        if ordered {
            done?;
        }
    }
    for pod in layout.condemned.iter().filter(|p| !claims_fit(world, p)) {
        plan.steps.push(Step::RepairClaims(pod.clone()));
    }
    let unhealthy = first_unavailable(world, &layout);
    for pod in &layout.condemned {
        let done = scale_down(world, plan, pod, &unhealthy, ordered);
        if ordered {
            done?;
        }
    }
    update(world, plan, &layout.replicas);
    Ok(())
}

/// Makes a pod that is missing, unless a claim of its predecessor is still going away.
fn create(world: &World, plan: &mut Plan, ordinal: i32) -> Result<(), Wait> {
    let revision = revision_for(world, ordinal);
    let pod = identity::new_pod(world.set, &revision.template, &revision.name, ordinal);
    let mut claims = identity::claim_names(world.set, ordinal).into_iter().filter_map(|name| (world.claim)(&name));
    if !claims.any(|claim| retention::blocks_creation(&claim, world.set, &pod)) {
        plan.steps.push(Step::Create(Box::new(pod)));
    }
    Err(Wait)
}

/// Below the partition, and before a rollout has come so far, pods come back as they were.
fn revision_for<'a>(world: &'a World, ordinal: i32) -> &'a Revision {
    let at_old = match (is_on_delete(world.set), rolling(world.set)) {
        (_, Some(rolling)) => rolling.partition.unwrap_or(0),
        (false, None) => world.set.status.as_ref().and_then(|s| s.current_replicas).unwrap_or(0),
        (true, None) => 0,
    };
    let old = ordinal < identity::start(world.set).saturating_add(at_old);
    if old { world.current } else { world.update }
}

fn rolling(set: &StatefulSet) -> Option<&RollingUpdateStatefulSetStrategy> {
    identity::spec(set)?.update_strategy.as_ref()?.rolling_update.as_ref()
}

fn is_on_delete(set: &StatefulSet) -> bool {
    let strategy = identity::spec(set).and_then(|s| s.update_strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete")
}

/// Looks after a pod that is there; an ended one goes, whatever its outcome, and comes again.
fn keep(world: &World, plan: &mut Plan, pod: &Arc<Pod>, ordered: bool) -> Result<(), Wait> {
    let going = is_going(pod);
    if pods::is_terminal(pod) {
        if !going {
            plan.steps.push(Step::Delete(pod.clone()));
        }
        return Err(Wait);
    }
    let claims_fit = claims_fit(world, pod);
    let is_pending = matches!(pods::phase(pod), "" | "Pending");
    let mends_claims = is_pending && !(has_all_claims(world, pod) && claims_fit);
    if mends_claims {
        plan.steps.push(Step::CreateClaims(pod.clone()));
    }
    if ordered && (going || !is_available(world, pod)) {
        return Err(Wait);
    }
    let fits = identity::identity_matches(world.set, pod) && identity::storage_matches(world.set, pod);
    // Not twice: whoever writes a claim second is told of a conflict.
    if !fits || !(claims_fit || mends_claims) {
        plan.steps.push(Step::Repair(pod.clone()));
    }
    Ok(())
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_available(world: &World, pod: &Pod) -> bool {
    let running = pods::phase(pod) == "Running";
    running && pods::is_available(pod, status::min_ready_seconds(world.set), world.now)
}

fn has_all_claims(world: &World, pod: &Pod) -> bool {
    let names = identity::ordinal(pod).map(|o| identity::claim_names(world.set, o)).unwrap_or_default();
    names.iter().all(|name| (world.claim)(name).is_some())
}

fn claims_fit(world: &World, pod: &Pod) -> bool {
    let names = identity::ordinal(pod).map(|o| identity::claim_names(world.set, o)).unwrap_or_default();
    let mut claims = names.iter().filter_map(|name| (world.claim)(name));
    claims.all(|claim| retention::is_up_to_date(&claim, world.set, pod))
}

/// The lowest pod that does not serve, of those that stay first.
fn first_unavailable(world: &World, layout: &Layout) -> Option<Arc<Pod>> {
    let pods = layout.replicas.iter().flatten().chain(layout.condemned.iter().rev());
    pods.into_iter().find(|p| is_going(p) || !is_available(world, p)).cloned()
}

/// From the top, one after the other; a pod that does not serve is only taken when no lower one is worse off.
fn scale_down(
    world: &World,
    plan: &mut Plan,
    pod: &Arc<Pod>,
    unhealthy: &Option<Arc<Pod>>,
    ordered: bool,
) -> Result<(), Wait> {
    let is_first = unhealthy.as_ref().is_some_and(|u| u.metadata.name == pod.metadata.name);
    if !is_going(pod) && (!ordered || is_available(world, pod) || is_first) {
        plan.steps.push(Step::Delete(pod.clone()));
    }
    Err(Wait)
}

/// Takes pods of other revisions away, from the top down to the partition.
fn update(world: &World, plan: &mut Plan, replicas: &[Option<Arc<Pod>>]) {
    if is_on_delete(world.set) {
        return;
    }
    let rolling = rolling(world.set);
    let partition = usize::try_from(rolling.and_then(|r| r.partition).unwrap_or(0)).unwrap_or(0);
    // The field is only there where its feature is on.
    match rolling.and_then(|r| r.max_unavailable.as_ref()) {
        None => update_one(world, plan, replicas, partition),
        Some(limit) => {
            let allowed = scaled(limit, identity::replicas(world.set), false).max(1);
            let serves = |pod: &&Option<Arc<Pod>>| pod.as_ref().is_some_and(|p| !is_going(p) && is_available(world, p));
            let missing = replicas.len() - replicas.iter().filter(serves).count();
            let room = usize::try_from(allowed).unwrap_or(0).saturating_sub(missing);
            let outdated = replicas.iter().skip(partition).rev().flatten().filter(|p| is_outdated(world, p));
            let chosen: Vec<Arc<Pod>> = outdated.take(room).cloned().collect();
            chosen.into_iter().for_each(|pod| replace(plan, pod));
        }
    }
}

fn is_outdated(world: &World, pod: &Pod) -> bool {
    identity::revision_of(pod) != world.update.name && !is_going(pod)
}

fn replace(plan: &mut Plan, pod: Arc<Pod>) {
    plan.status.current_replicas = plan.status.current_replicas.map(|n| n - 1);
    plan.steps.push(Step::Delete(pod));
}

/// Waits for each pod to serve before the next lower one goes.
fn update_one(world: &World, plan: &mut Plan, replicas: &[Option<Arc<Pod>>], partition: usize) {
    for pod in replicas.iter().skip(partition).rev() {
        match pod {
            Some(pod) if is_outdated(world, pod) => return replace(plan, pod.clone()),
            Some(pod) if !is_going(pod) && is_available(world, pod) => {}
            _ => return,
        }
    }
}
