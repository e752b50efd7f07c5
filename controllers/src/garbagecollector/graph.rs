//! Who owns whom: a node for each object, and for each owner that was named but not seen.
//!
//! Enter by [`Graph::observe`] and [`Graph::gone`]. Pure: each change answers with what is to be looked at. An owner that
//! is named but has not been seen is a *virtual* node; whether it exists is for a live request to find out. The hard part
//! is references whose coordinates (version, kind, name, namespace) do not fit their UID: nothing may be deleted because
//! of one. Concepts: "Garbage Collection", "Owners and Dependents".

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::absent::Absent;
use super::identity::{Identity, Uid};

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) identity: Identity,
    /// Shared by the dependents of an owner that name it alike.
    pub(super) owners: Arc<[OwnerReference]>,
    pub(super) dependents: BTreeSet<Uid>,
    /// Named by a dependent, not seen by a watch.
    pub(super) is_virtual: bool,
    pub(super) being_deleted: bool,
    /// It is being deleted and waits for its dependents to go first.
    pub(super) deleting_dependents: bool,
    /// It is being deleted and waits for its dependents to be let go.
    orphaning: bool,
}

/// What a change of the graph calls for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// Look whether these are to be deleted.
    pub(super) delete: Vec<Uid>,
    /// The same, after a back-off.
    pub(super) delete_later: Vec<Uid>,
    /// Let go of these owners' dependents.
    pub(super) orphan: Vec<Uid>,
    /// Objects with a reference to an owner in another namespace, with the sentence that says so.
    pub(super) warnings: Vec<(Identity, String)>,
}

#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    pub(super) absent: Absent,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The seen objects of a kind that are not among `listed`: a fresh list has shown that they are gone.
    pub(super) fn missing(&self, api_version: &str, kind: &str, listed: &HashSet<Uid>) -> Vec<Identity> {
        let of_kind = |n: &&Node| &*n.identity.kind == kind && &*n.identity.api_version == api_version && !n.is_virtual;
        let all = self.nodes.values().filter(of_kind).filter(|n| !listed.contains(&n.identity.uid));
        all.map(|n| n.identity.clone()).collect()
    }

    /// An object was seen, new or changed.
    pub(super) fn observe(&mut self, identity: Identity, meta: &ObjectMeta) -> Effects {
        let mut effects = Effects::default();
        let uid = identity.uid.clone();
        let owners = self.shared(meta.owner_references.as_deref().unwrap_or_default());
        if self.nodes.contains_key(&uid) {
            self.realize(&identity, &mut effects);
            self.change_owners(&uid, owners, &mut effects);
        } else {
            let node = Node {
                identity,
                owners: owners.clone(),
                dependents: BTreeSet::new(),
                is_virtual: false,
                being_deleted: false,
                deleting_dependents: false,
                orphaning: false,
            };
            self.nodes.insert(uid.clone(), node);
            self.join_owners(&uid, &owners, &mut effects);
        }
        self.note_deletion(&uid, meta, &mut effects);
        effects
    }

    /// The same list as a dependent of the first owner has it, where they are alike.
    fn shared(&self, owners: &[OwnerReference]) -> Arc<[OwnerReference]> {
        let owner = owners.first().and_then(|first| self.nodes.get(&*first.uid));
        let sibling = owner.and_then(|owner| self.nodes.get(owner.dependents.last()?));
        match sibling.filter(|sibling| *sibling.owners == *owners) {
            Some(sibling) => sibling.owners.clone(),
            None => owners.into(),
        }
    }

    /// A virtual node turns out to be this object. Whoever took it for another one is looked at again.
    fn realize(&mut self, seen: &Identity, effects: &mut Effects) {
        let Some(node) = self.nodes.get_mut(&seen.uid).filter(|n| n.is_virtual) else { return };
        node.is_virtual = false;
        if node.identity == *seen {
            return;
        }
        node.identity = seen.clone();
        let (_, mistaken) = self.partition_dependents(seen);
        for uid in mistaken {
            let Some(dependent) = self.nodes.get(&uid) else { continue };
            if !seen.namespace.is_empty() && dependent.identity.namespace != seen.namespace {
                effects.warnings.extend(wrong_namespace(dependent, &seen.uid));
            }
            effects.delete.push(uid);
        }
    }

    fn change_owners(&mut self, uid: &Uid, owners: Arc<[OwnerReference]>, effects: &mut Effects) {
        let Some(node) = self.nodes.get_mut(uid) else { return };
        let old = std::mem::replace(&mut node.owners, owners.clone());
        if old == owners {
            return;
        }
        for before in old.iter() {
            let after = owners.iter().find(|o| o.uid == before.uid);
            let still_blocks = after.is_some_and(|o| o.block_owner_deletion == Some(true));
            if before.block_owner_deletion == Some(true) && !still_blocks && self.nodes.contains_key(&*before.uid) {
                effects.delete.push(before.uid.as_str().into());
            }
            if after.is_none()
                && let Some(owner) = self.nodes.get_mut(&*before.uid)
            {
                owner.dependents.remove(uid);
            }
        }
        let added: Vec<_> = owners.iter().filter(|o| old.iter().all(|b| b.uid != o.uid)).cloned().collect();
        self.join_owners(uid, &added, effects);
    }

    /// Hangs a node below its owners, which come to be as virtual ones if need be.
    fn join_owners(&mut self, uid: &Uid, owners: &[OwnerReference], effects: &mut Effects) {
        let Some(dependent) = self.nodes.get(uid).cloned() else { return };
        let mut doubtful = false;
        for reference in owners {
            match self.nodes.get_mut(&*reference.uid) {
                None => {
                    let owner = virtual_node(reference, &dependent);
                    effects.delete.push(owner.identity.uid.clone());
                    self.nodes.insert(owner.identity.uid.clone(), owner);
                }
                Some(owner) => {
                    owner.dependents.insert(uid.clone());
                    if doubtful {
                        continue;
                    }
                    let same_namespace = owner.identity.namespace == dependent.identity.namespace;
                    if !owner.identity.namespace.is_empty() && !same_namespace {
                        if !owner.is_virtual {
                            effects.warnings.extend(wrong_namespace(&dependent, &reference.uid));
                        }
                        doubtful = true;
                    } else {
                        doubtful = !owner.identity.fits(reference) || (owner.is_virtual && !same_namespace);
                    }
                }
            }
        }
        if doubtful {
            effects.delete.push(uid.clone());
        }
    }

    fn note_deletion(&mut self, uid: &Uid, meta: &ObjectMeta, effects: &mut Effects) {
        let Some(node) = self.nodes.get_mut(uid) else { return };
        let deleting = meta.deletion_timestamp.is_some();
        let waits = |finalizer: &str| deleting && meta.finalizers.iter().flatten().any(|f| f == finalizer);
        node.being_deleted |= deleting;
        let (orphaning, foreground) = (waits(ORPHAN), waits(FOREGROUND));
        let starts_orphaning = orphaning && !node.orphaning;
        let starts_foreground = foreground && !node.deleting_dependents;
        node.orphaning = orphaning;
        if starts_orphaning {
            effects.orphan.push(uid.clone());
        } else if starts_foreground {
            node.deleting_dependents = true;
            effects.delete.extend(node.dependents.iter().cloned());
            effects.delete.push(uid.clone());
        }
    }

    /// An object is gone, seen by a watch.
    pub(super) fn gone(&mut self, identity: &Identity) -> Effects {
        let mut effects = Effects::default();
        if self.nodes.contains_key(&identity.uid) {
            self.remove(identity, &mut effects);
        }
        effects
    }

    /// A live request found nothing at these coordinates. That says nothing about an object of the same UID at others.
    pub(super) fn found_absent(&mut self, absent: &Identity) -> Effects {
        let mut effects = Effects::default();
        let Some(node) = self.nodes.get(&absent.uid) else { return effects };
        let (is_virtual, same) = (node.is_virtual, node.identity == *absent);
        let (fitting, others) = self.partition_dependents(absent);
        let keep = if is_virtual { !others.is_empty() } else { !same };
        if !keep {
            self.remove(absent, &mut effects);
            return effects;
        }
        if !fitting.is_empty() {
            self.absent.add(absent.clone());
            effects.delete.extend(fitting);
        }
        if is_virtual && same {
            // Others name an owner of this UID elsewhere: look there next.
            if let Some(next) = self.alternate(&others, absent)
                && let Some(node) = self.nodes.get_mut(&absent.uid)
            {
                node.identity = next;
                effects.delete_later.push(absent.uid.clone());
            }
        }
        effects
    }

    fn remove(&mut self, identity: &Identity, effects: &mut Effects) {
        let Some(node) = self.nodes.remove(&identity.uid) else { return };
        for owner in node.owners.iter() {
            if let Some(owner) = self.nodes.get_mut(&*owner.uid) {
                owner.dependents.remove(&identity.uid);
                if owner.deleting_dependents {
                    effects.delete.push(owner.identity.uid.clone());
                }
            }
        }
        if !node.dependents.is_empty() {
            self.absent.add(identity.clone());
        }
        effects.delete.extend(node.dependents);
    }

    /// The dependents whose references fit these coordinates, and those with one that does not.
    fn partition_dependents(&self, owner: &Identity) -> (Vec<Uid>, Vec<Uid>) {
        let (mut fitting, mut others) = (Vec::new(), Vec::new());
        let dependents = self.nodes.get(&owner.uid).into_iter().flat_map(|n| &n.dependents);
        for dependent in dependents.filter_map(|uid| self.nodes.get(uid)) {
            let uid = &dependent.identity.uid;
            if !owner.namespace.is_empty() && owner.namespace != dependent.identity.namespace {
                others.push(uid.clone());
                continue;
            }
            let references = || dependent.owners.iter().filter(|o| *o.uid == *owner.uid);
            if references().any(|o| owner.fits(o)) {
                fitting.push(uid.clone());
            }
            if references().any(|o| !owner.fits(o)) {
                others.push(uid.clone());
            }
        }
        (fitting, others)
    }

    /// Other coordinates that `dependents` give for the owner: the next after `absent` in order, else the first.
    fn alternate(&self, dependents: &[Uid], absent: &Identity) -> Option<Identity> {
        let mut candidates = BTreeSet::new();
        for dependent in dependents.iter().filter_map(|uid| self.nodes.get(uid)) {
            for reference in dependent.owners.iter().filter(|o| *o.uid == *absent.uid) {
                let mut identity = Identity::of_owner(reference, &dependent.identity.namespace);
                let same_kind = identity.api_version == absent.api_version && identity.kind == absent.kind;
                if absent.namespace.is_empty() && same_kind {
                    identity.namespace = Box::default();
                }
                if identity != *absent {
                    candidates.insert(identity);
                }
            }
        }
        candidates.range(absent.clone()..).next().or(candidates.first()).cloned()
    }
}

fn virtual_node(reference: &OwnerReference, dependent: &Node) -> Node {
    Node {
        identity: Identity::of_owner(reference, &dependent.identity.namespace),
        owners: Arc::default(),
        dependents: BTreeSet::from([dependent.identity.uid.clone()]),
        is_virtual: true,
        being_deleted: false,
        deleting_dependents: false,
        orphaning: false,
    }
}

fn wrong_namespace(dependent: &Node, owner: &str) -> Option<(Identity, String)> {
    let reference = dependent.owners.iter().find(|o| o.uid == owner)?;
    let namespace = &dependent.identity.namespace;
    let owner = Identity::of_owner(reference, namespace);
    Some((dependent.identity.clone(), format!("ownerRef {owner} does not exist in namespace {namespace:?}")))
}
