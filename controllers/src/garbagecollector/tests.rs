//! Tables for the graph of owners and for the verdict over an object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;
use serde_json::json;

use super::decide::{Action, Owner, decide};
use super::graph::{Effects, Graph};
use super::identity::{Identity, Uid};

fn owner(uid: &str, kind: &str, blocks: bool) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: kind.into(),
        name: uid.into(),
        uid: uid.into(),
        block_owner_deletion: Some(blocks),
        controller: None,
    }
}

fn meta(uid: &str, namespace: &str, owners: &[OwnerReference]) -> ObjectMeta {
    ObjectMeta {
        name: Some(uid.into()),
        namespace: Some(namespace.into()).filter(|n: &String| !n.is_empty()),
        uid: Some(uid.into()),
        owner_references: Some(owners.to_vec()),
        ..Default::default()
    }
}

fn deleting(mut meta: ObjectMeta, finalizer: &str) -> ObjectMeta {
    meta.deletion_timestamp = Some(crate::common::time(jiff::Timestamp::UNIX_EPOCH));
    meta.finalizers = Some(vec![finalizer.into()]);
    meta
}

fn identity(kind: &str, meta: &ObjectMeta) -> Identity {
    Identity::of(&"v1".into(), &kind.into(), meta)
}

fn see(graph: &mut Graph, kind: &str, meta: &ObjectMeta) -> Effects {
    graph.observe(identity(kind, meta), meta)
}

fn texts(uids: &[Uid]) -> Vec<&str> {
    uids.iter().map(|uid| &**uid).collect()
}

#[test]
fn an_owner_named_before_it_is_seen_is_looked_at() {
    let mut graph = Graph::default();
    let child = meta("child", "n", &[owner("parent", "Parent", true)]);
    assert_eq!(texts(&see(&mut graph, "Child", &child).delete), ["parent"]);
    assert!(graph.get("parent").unwrap().is_virtual);
    assert_eq!(see(&mut graph, "Parent", &meta("parent", "n", &[])), Effects::default());
    assert!(!graph.get("parent").unwrap().is_virtual);
    let gone = graph.gone(&identity("Parent", &meta("parent", "n", &[])));
    assert_eq!(texts(&gone.delete), ["child"]);
    assert!(graph.absent.has(&identity("Parent", &meta("parent", "n", &[]))));
}

#[test]
fn an_absent_virtual_owner_condemns_its_dependents() {
    let mut graph = Graph::default();
    see(&mut graph, "Child", &meta("child", "n", &[owner("ghost", "Parent", true)]));
    let ghost = graph.get("ghost").unwrap().identity.clone();
    assert_eq!(texts(&graph.found_absent(&ghost).delete), ["child"]);
    assert!(graph.get("ghost").is_none());
}

/// Two dependents disagree on what the owner is: only the one whose word was tested is looked at, the other's is next.
#[test]
fn coordinates_that_do_not_fit_condemn_nobody_else() {
    let mut graph = Graph::default();
    see(&mut graph, "Child", &meta("good", "n", &[owner("x", "Zed", true)]));
    let lying = see(&mut graph, "Child", &meta("liar", "n", &[owner("x", "Abc", true)]));
    assert_eq!(texts(&lying.delete), ["liar"], "it is looked at, for it does not fit");
    let tested = graph.get("x").unwrap().identity.clone();
    assert_eq!(&*tested.kind, "Zed");
    let effects = graph.found_absent(&tested);
    assert_eq!((texts(&effects.delete), texts(&effects.delete_later)), (vec!["good"], vec!["x"]));
    assert_eq!(&*graph.get("x").unwrap().identity.kind, "Abc");
}

#[test]
fn owners_in_other_namespaces_are_told() {
    let mut graph = Graph::default();
    see(&mut graph, "Parent", &meta("parent", "here", &[]));
    let effects = see(&mut graph, "Child", &meta("child", "there", &[owner("parent", "Parent", true)]));
    assert_eq!(texts(&effects.delete), ["child"]);
    assert!(effects.warnings[0].1.ends_with("does not exist in namespace \"there\""), "{:?}", effects.warnings);
}

#[test]
fn foreground_deletion_goes_bottom_up() {
    let mut graph = Graph::default();
    see(&mut graph, "Parent", &meta("parent", "n", &[]));
    let child = meta("child", "n", &[owner("parent", "Parent", true)]);
    see(&mut graph, "Child", &child);
    let parent = deleting(meta("parent", "n", &[]), "foregroundDeletion");
    assert_eq!(texts(&see(&mut graph, "Parent", &parent).delete), ["child", "parent"]);
    assert_eq!(see(&mut graph, "Parent", &parent), Effects::default(), "told once");
    assert_eq!(texts(&graph.gone(&identity("Child", &child)).delete), ["parent"]);

    see(&mut graph, "Child", &child);
    let free = meta("child", "n", &[owner("parent", "Parent", false)]);
    assert_eq!(texts(&see(&mut graph, "Child", &free).delete), ["parent"], "a reference that no longer blocks");
}

#[test]
fn orphaning_starts_once_and_relists_find_the_missing() {
    let mut graph = Graph::default();
    let parent = deleting(meta("parent", "n", &[]), "orphan");
    assert_eq!(texts(&see(&mut graph, "Parent", &parent).orphan), ["parent"]);
    assert_eq!(see(&mut graph, "Parent", &parent), Effects::default());
    see(&mut graph, "Parent", &meta("other", "n", &[]));
    let missing = graph.missing("v1", "Parent", &[Uid::from("parent")].into());
    assert_eq!(missing.len(), 1);
    assert_eq!(&*missing[0].uid, "other");
}

#[test]
fn verdicts() {
    use Owner::{Dangling, Solid, Waiting};
    let plain = ObjectMeta::default();
    let keeps = |finalizer: &str| ObjectMeta { finalizers: Some(vec![finalizer.into()]), ..Default::default() };
    let delete = |policy| Action::Delete { policy, unblock: false };
    let foreground = |unblock| Action::Delete { policy: PropagationPolicy::Foreground, unblock };
    let rows: Vec<(&ObjectMeta, Vec<Owner>, Vec<bool>, Action)> = vec![
        (&plain, vec![], vec![], Action::Keep),
        (&plain, vec![Solid], vec![], Action::Keep),
        (&plain, vec![Solid, Dangling, Waiting], vec![], Action::DropOwners(vec!["1".into(), "2".into()])),
        (&plain, vec![Dangling], vec![false], delete(PropagationPolicy::Background)),
        (&plain, vec![Waiting], vec![], delete(PropagationPolicy::Background)),
        (&plain, vec![Waiting], vec![false], foreground(false)),
        (&plain, vec![Waiting, Dangling], vec![false, true], foreground(true)),
    ];
    let check = |meta: &ObjectMeta, owners: &[Owner], dependents: &[bool], want: &Action| {
        let owners: Vec<_> = owners.iter().enumerate().map(|(i, o)| (i.to_string().into(), *o)).collect();
        assert_eq!(decide(meta, &owners, dependents), *want, "{}", json!(meta));
    };
    rows.iter().for_each(|(meta, owners, dependents, want)| check(meta, owners, dependents, want));
    check(&keeps("orphan"), &[Dangling], &[], &delete(PropagationPolicy::Orphan));
    check(&keeps("foregroundDeletion"), &[Dangling], &[], &delete(PropagationPolicy::Foreground));
}
