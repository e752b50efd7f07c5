//! Reading: ranges, pages, the past.

use apiserver::store::{Error, RangeRequest, Revision};

use super::{Shared, delete, entry, put, values, write};

pub(crate) async fn a_new_store_is_empty(store: Shared) {
    assert_eq!(store.revision().await, Ok(Revision(1)));
    assert_eq!(store.get("/a", None).await, Ok((None, Revision(1))));
    let range = store.range(RangeRequest::everything()).await.unwrap();
    assert_eq!((range.entries.len(), range.revision, range.more, range.count), (0, Revision(1), false, 0));
}

pub(crate) async fn reads_ranges(store: Shared) {
    for key in ["/p/a", "/p/b/1", "/p/b/2", "/p/b0", "/p/c", "/q", "/é", "zz"] {
        write(&store, [put(key, "x")]).await;
    }
    let keys = async |request: RangeRequest| {
        let range = store.range(request).await.unwrap();
        assert_eq!(range.revision, Revision(9));
        let keys: Vec<String> = range.entries.into_iter().map(|entry| entry.key).collect();
        (keys.join(" "), range.more, range.count)
    };
    let prefix = RangeRequest::prefix("/p/");
    assert_eq!(keys(prefix.clone()).await, ("/p/a /p/b/1 /p/b/2 /p/b0 /p/c".to_owned(), false, 5));
    assert_eq!(keys(RangeRequest::prefix("/p/b/")).await, ("/p/b/1 /p/b/2".to_owned(), false, 2));
    assert_eq!(keys(prefix.clone().limit(2)).await, ("/p/a /p/b/1".to_owned(), true, 5));
    let rest = prefix.clone().starting_at("/p/b/1\0".to_owned());
    assert_eq!(keys(rest.clone().limit(2)).await, ("/p/b/2 /p/b0".to_owned(), true, 3));
    assert_eq!(keys(rest.limit(3)).await, ("/p/b/2 /p/b0 /p/c".to_owned(), false, 3));
    assert_eq!(keys(RangeRequest::everything()).await.2, 8);
    assert_eq!(keys(RangeRequest::prefix("/é")).await, ("/é".to_owned(), false, 1));
    assert_eq!(keys(RangeRequest::prefix("/none/")).await, (String::new(), false, 0));
    assert_eq!(keys(prefix.clone().limit(0)).await, (String::new(), true, 5));
    let backwards = prefix.starting_at("/p1".to_owned());
    assert_eq!(keys(backwards).await, (String::new(), false, 0));
}

pub(crate) async fn reads_the_past(store: Shared) {
    write(&store, [put("/a", "1")]).await;
    write(&store, [put("/b", "1"), put("/a", "2")]).await;
    write(&store, [delete("/a")]).await;
    write(&store, [put("/a", "3")]).await;
    for (at, want) in [(2, "/a=1"), (3, "/a=2 /b=1"), (4, "/b=1"), (5, "/a=3 /b=1")] {
        assert_eq!(values(&store, at).await.unwrap().join(" "), want, "at {at}");
    }
    assert_eq!(store.get("/a", Some(Revision(3))).await, Ok((Some(entry("/a", "2", 2, 3, 2)), Revision(5))));
    assert_eq!(store.get("/a", Some(Revision(4))).await, Ok((None, Revision(5))));
    let limited = store.range(RangeRequest::prefix("/").at(Revision(3)).limit(1)).await.unwrap();
    assert_eq!((limited.entries.len(), limited.more, limited.count, limited.revision), (1, true, 2, Revision(5)));
    assert_eq!(values(&store, 6).await, Err(Error::Future { newest: Revision(5) }));
    assert_eq!(store.get("/a", Some(Revision(6))).await, Err(Error::Future { newest: Revision(5) }));
}
