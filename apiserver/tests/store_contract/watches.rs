//! Watches, what they tell of before, and compaction.

use apiserver::store::{ChangeKind, Error, Previous, Revision, WatchError};

use super::{Shared, delete, entry, next, put, short, values, write};

pub(crate) async fn watches_and_resumes(store: Shared) {
    let mut live = store.watch(Revision(1), Previous::Omit);
    for number in 2..=6 {
        write(&store, [put("/a", &number.to_string())]).await;
    }
    for number in 2..=6 {
        assert_eq!(short(&next(&mut live).await.unwrap()), format!("{number}: +/a={number}"));
    }
    let mut resumed = store.watch(Revision(4), Previous::Omit);
    assert_eq!(short(&next(&mut resumed).await.unwrap()), "5: +/a=5");
    assert_eq!(short(&next(&mut resumed).await.unwrap()), "6: +/a=6");
    let mut ahead = store.watch(Revision(7), Previous::Omit);
    write(&store, [delete("/a")]).await;
    write(&store, [put("/a", "8")]).await;
    assert_eq!(short(&next(&mut resumed).await.unwrap()), "7: -/a");
    assert_eq!(short(&next(&mut ahead).await.unwrap()), "8: +/a=8");
    // More than any store keeps at hand.
    let large = "x".repeat(100_000);
    for _ in 0..20 {
        write(&store, [put("/large", &large)]).await;
    }
    let mut all = store.watch(Revision(1), Previous::Omit);
    for number in 2..=28 {
        assert_eq!(next(&mut all).await.unwrap().revision, Revision(number));
    }
}

pub(crate) async fn tells_what_was_before(store: Shared) {
    write(&store, [put("/a", "1")]).await;
    write(&store, [put("/a", "2"), put("/b", "1")]).await;
    write(&store, [delete("/a")]).await;
    write(&store, [put("/a", "3")]).await;
    let first = entry("/a", "1", 2, 2, 1);
    let second = entry("/a", "2", 2, 3, 2);
    let want = [vec![None], vec![Some(first), None], vec![Some(second)], vec![None]];
    let mut batches = store.watch(Revision(1), Previous::Include);
    for (at, want) in want.into_iter().enumerate() {
        let batch = next(&mut batches).await.unwrap();
        let previous: Vec<_> = batch.changes.iter().map(|change| change.previous.clone()).collect();
        assert_eq!(previous, want, "batch {at}");
        if let ChangeKind::Put { created, version, .. } = &batch.changes[0].kind {
            assert_eq!((created.0, *version), [(2, 1), (2, 2), (0, 0), (5, 1)][at]);
        }
    }
    let mut without = store.watch(Revision(2), Previous::Omit);
    assert_eq!(next(&mut without).await.unwrap().changes[0].previous, None);
}

pub(crate) async fn compacts(store: Shared) {
    for number in 2..=6 {
        write(&store, [put("/a", &number.to_string()), put(&format!("/{number}"), "x")]).await;
    }
    write(&store, [delete("/2")]).await;
    let waiting = store.watch(Revision(6), Previous::Include);
    store.compact(Revision(5)).await.unwrap();
    store.compact(Revision(5)).await.unwrap();
    store.compact(Revision(3)).await.unwrap();
    assert_eq!(store.compact(Revision(8)).await, Err(Error::Future { newest: Revision(7) }));
    assert_eq!(values(&store, 4).await, Err(Error::Compacted { oldest: Revision(5) }));
    assert_eq!(store.get("/a", Some(Revision(2))).await, Err(Error::Compacted { oldest: Revision(5) }));
    assert_eq!(values(&store, 5).await.unwrap().join(" "), "/2=x /3=x /4=x /5=x /a=5");
    assert_eq!(values(&store, 7).await.unwrap().join(" "), "/3=x /4=x /5=x /6=x /a=6");
    let mut too_old = store.watch(Revision(2), Previous::Omit);
    assert_eq!(next(&mut too_old).await, Err(WatchError::Compacted { oldest: Revision(5) }));
    let mut just = store.watch(Revision(5), Previous::Include);
    let batch = next(&mut just).await.unwrap();
    assert_eq!(short(&batch), "6: +/a=6 +/6=x");
    assert_eq!(batch.changes[0].previous, Some(entry("/a", "5", 2, 5, 4)));
    let mut waiting = waiting;
    assert_eq!(short(&next(&mut waiting).await.unwrap()), "7: -/2");
    store.compact(Revision(7)).await.unwrap();
    assert_eq!(store.revision().await, Ok(Revision(7)));
    assert_eq!(write(&store, [put("/2", "y")]).await, Revision(8));
    assert_eq!(store.get("/2", None).await.unwrap().0, Some(entry("/2", "y", 8, 8, 1)));
}
