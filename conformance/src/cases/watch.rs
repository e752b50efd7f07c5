//! Watches: from where they start, what they show, in which order.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{config_map, version_of};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, Patch, SOON, Scope};
use crate::expect::{equal, same};

pub(super) const GROUP: Group = Group {
    name: "watch",
    area: Area::Api,
    capability: "Watches: resumed at any version, filtered, in one order for all, streamed lists and bookmarks",
    cases: &[
        case!(begins_with_what_is_there, "a watch without a version begins with what is there", quick),
        case!(
            shows_adds_changes_and_deletions,
            "each change is one event, with the object as the write returned it",
            quick
        ),
        case!(resumes_after_the_last_event, "a watch from the last event's version shows what came after it", quick),
        case!(starts_from_a_version, "a watch from a version shows all changes since, and none before"),
        case!(
            leaving_a_selector_is_a_deletion,
            "an object that leaves the selector is DELETED, and ADDED when it is back",
            quick
        ),
        case!(one_order_for_all, "watchers opened at the same version see the same versions in the same order"),
        case!(
            who_joins_later_sees_the_same,
            "a hundred watchers, each from the latest event on, go on with the same version"
        ),
        case!(
            a_list_can_be_streamed,
            "sendInitialEvents streams what is there, and a bookmark says where it ends",
            quick
        ),
        case!(ends_when_it_was_asked_to, "timeoutSeconds ends a watch, without an error", quick),
        case!(a_write_without_change_is_no_event, "a write that changes nothing makes neither version nor event"),
        case!(versions_grow, "each change gives an object a larger decimal version", quick),
    ],
};

const SILENCE: Duration = Duration::from_millis(700);

async fn begins_with_what_is_there(scope: &Scope) -> Result<()> {
    for name in ["one", "two"] {
        scope.config_maps().create(&config_map(name, "a", "")).await?;
    }
    let mut watch = scope.config_maps().watch("labelSelector=set%3Da").await?;
    let mut seen = vec![watch.next(SOON).await?.brief(), watch.next(SOON).await?.brief()];
    seen.sort();
    same("first events", seen, vec!["ADDED one".to_owned(), "ADDED two".to_owned()])?;
    watch.quiet(SILENCE).await
}

async fn shows_adds_changes_and_deletions(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let mut both = maps.watch("labelSelector=set%20in%20(a,b)").await?;
    let mut only_a = maps.watch("labelSelector=set%3Da").await?;
    let made = maps.create(&config_map("one", "a", "first")).await?;
    let changed = maps.patch("one", Patch::Merge(json!({"data": {"key": "second"}}))).await?;
    let other = maps.create(&config_map("two", "b", "")).await?;
    maps.delete("one").await?;
    for (brief, object) in [("ADDED one", &made), ("MODIFIED one", &changed), ("ADDED two", &other)] {
        equal(brief, &both.expect(brief, SOON).await?, object)?;
    }
    let deleted = both.expect("DELETED one", SOON).await?;
    equal("the last data", &deleted["data"], &changed["data"])?;
    ensure!(version_of(&deleted) > version_of(&other), "expected the deletion's version, saw {}", version_of(&deleted));
    for brief in ["ADDED one", "MODIFIED one", "DELETED one"] {
        only_a.expect(brief, SOON).await?;
    }
    only_a.quiet(SILENCE).await
}

async fn resumes_after_the_last_event(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let mut first = maps.watch("labelSelector=set").await?;
    maps.create(&config_map("one", "a", "first")).await?;
    maps.patch("one", Patch::Merge(json!({"data": {"key": "second"}}))).await?;
    first.expect("ADDED one", SOON).await?;
    let last = first.expect("MODIFIED one", SOON).await?;
    drop(first);
    maps.patch("one", Patch::Merge(json!({"data": {"key": "third"}}))).await?;
    maps.delete("one").await?;
    let mut second = maps.watch(&format!("labelSelector=set&resourceVersion={}", version_of(&last))).await?;
    let event = second.expect("MODIFIED one", SOON).await?;
    equal("data", &event["data"]["key"], &json!("third"))?;
    second.expect("DELETED one", SOON).await.map(drop)
}

async fn starts_from_a_version(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    maps.create(&config_map("one", "a", "")).await?;
    let from = maps.patch("one", Patch::Merge(json!({"data": {"key": "second"}}))).await?;
    maps.patch("one", Patch::Merge(json!({"data": {"key": "third"}}))).await?;
    maps.delete("one").await?;
    let mut watch = maps.watch(&format!("labelSelector=set&resourceVersion={}", version_of(&from))).await?;
    watch.expect("MODIFIED one", SOON).await?;
    watch.expect("DELETED one", SOON).await?;
    watch.quiet(SILENCE).await
}

async fn leaving_a_selector_is_a_deletion(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let mut watch = maps.watch("labelSelector=set%3Da").await?;
    maps.create(&config_map("one", "a", "first")).await?;
    watch.expect("ADDED one", SOON).await?;
    let left = maps.patch("one", Patch::Merge(json!({"metadata": {"labels": {"set": "b"}}}))).await?;
    let event = watch.expect("DELETED one", SOON).await?;
    same("version of the event", version_of(&event), version_of(&left))?;
    maps.patch("one", Patch::Merge(json!({"data": {"key": "unseen"}}))).await?;
    watch.quiet(SILENCE).await?;
    maps.patch("one", Patch::Merge(json!({"metadata": {"labels": {"set": "a"}}}))).await?;
    let back = watch.expect("ADDED one", SOON).await?;
    equal("data when it is back", &back["data"]["key"], &json!("unseen"))?;
    maps.delete("one").await?;
    watch.expect("DELETED one", SOON).await.map(drop)
}

async fn one_order_for_all(scope: &Scope) -> Result<()> {
    const WATCHERS: usize = 30;
    const WRITES: usize = 40;
    let maps = scope.config_maps();
    let start = version_of(&maps.create(&config_map("first", "a", "")).await?);
    let writer = async {
        for number in 0..WRITES {
            let name = format!("w-{}", number % 7);
            match maps.get(&name).await {
                Ok(_) if number % 3 == 0 => drop(maps.delete(&name).await?),
                Ok(_) => {
                    drop(maps.patch(&name, Patch::Merge(json!({"data": {"key": number.to_string()}}))).await?);
                }
                Err(_) => drop(maps.create(&config_map(&name, "a", "")).await?),
            }
        }
        anyhow::Ok(())
    };
    let watchers = futures::future::try_join_all((0..WATCHERS).map(|_| async {
        let mut watch = maps.watch(&format!("labelSelector=set&resourceVersion={start}")).await?;
        let mut seen = Vec::new();
        for _ in 0..WRITES {
            seen.push(version_of(&watch.next(SOON).await?.object));
        }
        anyhow::Ok(seen)
    }));
    let ((), seen) = futures::future::try_join(writer, watchers).await?;
    ensure!(seen[0].is_sorted_by(|one, next| one < next), "expected growing versions, saw {:?}", seen[0]);
    for other in &seen[1..] {
        same("versions of another watcher", other, &seen[0])?;
    }
    Ok(())
}

async fn who_joins_later_sees_the_same(scope: &Scope) -> Result<()> {
    const WATCHERS: usize = 100;
    let maps = scope.config_maps();
    let made = maps.create(&config_map("one", "a", "")).await?;
    let writer = async {
        for number in 0_u32.. {
            maps.patch("one", Patch::Merge(json!({"data": {"key": number.to_string()}}))).await?;
        }
        anyhow::Ok(())
    };
    let watchers = async {
        let (mut watches, mut latest) = (Vec::new(), version_of(&made));
        while watches.len() < WATCHERS {
            watches.push(maps.watch(&format!("labelSelector=set&resourceVersion={latest}")).await?);
            let mut seen = Vec::new();
            for watch in &mut watches {
                seen.push(version_of(&watch.next(SOON).await?.object));
            }
            latest = seen[0];
            ensure!(seen.iter().all(|version| *version == latest), "expected the same next version, saw {seen:?}");
        }
        Ok(())
    };
    tokio::select! {
        result = writer => result,
        result = watchers => result,
    }
}

async fn a_list_can_be_streamed(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    for name in ["one", "two"] {
        maps.create(&config_map(name, "a", "")).await?;
    }
    let query = "labelSelector=set&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = maps.watch(query).await?;
    let mut seen = vec![watch.next_any(SOON).await?.brief(), watch.next_any(SOON).await?.brief()];
    seen.sort();
    same("what is there", seen, vec!["ADDED one".to_owned(), "ADDED two".to_owned()])?;
    let end = watch.next_any(SOON).await?;
    same("what ends it", end.kind.as_str(), "BOOKMARK")?;
    same("the bookmark's kind", end.object["kind"].as_str(), Some("ConfigMap"))?;
    let mark = end.object["metadata"]["annotations"]["k8s.io/initial-events-end"].as_str();
    same("the bookmark's annotation", mark, Some("true"))?;
    ensure!(version_of(&end.object) > 0, "expected a version in {}", end.object);
    maps.create(&config_map("three", "a", "")).await?;
    watch.expect("ADDED three", SOON).await.map(drop)
}

async fn ends_when_it_was_asked_to(scope: &Scope) -> Result<()> {
    let mut watch = scope.config_maps().watch("labelSelector=set&timeoutSeconds=1").await?;
    let limit = Duration::from_secs(15);
    while let Some(event) = watch.next_or_end(limit).await.context("expected the end of a watch of one second")? {
        same("the only event there could be", event.kind.as_str(), "BOOKMARK")?;
    }
    Ok(())
}

async fn a_write_without_change_is_no_event(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let made = maps.create(&config_map("one", "a", "first")).await?;
    let mut watch = maps.watch(&format!("labelSelector=set&resourceVersion={}", version_of(&made))).await?;
    let again = maps.replace(&made).await?;
    same("version after a replace", version_of(&again), version_of(&made))?;
    let patched = maps.patch("one", Patch::Merge(json!({"data": {"key": "first"}}))).await?;
    same("version after a patch", version_of(&patched), version_of(&made))?;
    watch.quiet(SILENCE).await
}

async fn versions_grow(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let mut last = version_of(&maps.create(&config_map("one", "a", "")).await?);
    ensure!(last > 0, "expected a decimal version, saw {last}");
    for number in 0..5 {
        let object = maps.patch("one", Patch::Merge(json!({"data": {"key": number.to_string()}}))).await?;
        let version = version_of(&object);
        ensure!(version > last, "expected more than {last}, saw {version}");
        last = version;
    }
    let list = scope.cluster.object(Call::get(&scope.config_maps().path)).await?;
    ensure!(version_of(&list) >= last, "expected the list at {last} or later, saw {}", version_of(&list));
    Ok(())
}
