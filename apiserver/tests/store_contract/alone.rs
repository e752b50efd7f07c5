//! What only one of the two stores has: folders, and connections that come back.

use std::sync::Arc;

use apiserver::store::embedded::disk::Folder;
use apiserver::store::{Commit, Error, Previous, Revision, Store};

use super::etcd::{Ports, Server, host};
use super::{Shared, entry, next, open, put, short, values, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_is_all_there_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let before = open(&folder).await;
    for number in 2..=20 {
        let commit = Commit { conditions: Vec::new(), writes: vec![put("/a", &number.to_string()), put("/b", "x")] };
        before.commit(commit).await.unwrap();
    }
    before.compact(Revision(10)).await.unwrap();
    assert!(Folder::open(folder.path()).is_err(), "two stores on one folder");
    before.close().await;
    drop(before);
    let after: Shared = Arc::new(open(&folder).await);
    assert_eq!(after.revision().await, Ok(Revision(20)));
    assert_eq!(values(&after, 15).await.unwrap().join(" "), "/a=15 /b=x");
    assert_eq!(values(&after, 9).await, Err(Error::Compacted { oldest: Revision(10) }));
    let mut batches = after.watch(Revision(18), Previous::Omit);
    assert_eq!(short(&next(&mut batches).await.unwrap()), "19: +/a=19 +/b=x");
    assert_eq!(write(&after, [put("/a", "new")]).await, Revision(21));
    assert_eq!(after.get("/a", None).await.unwrap().0, Some(entry("/a", "new", 2, 21, 20)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_watches_go_on_when_it_comes_back() {
    let Some(server) = Server::start() else { return };
    let store = server.store().await;
    let mut batches = store.watch(Revision(1), Previous::Omit);
    write(&store, [put("/a", "1")]).await;
    assert_eq!(short(&next(&mut batches).await.unwrap()), "2: +/a=1");
    let server = server.restart();
    // A client of its own, which waits until etcd is back.
    write(&server.store().await, [put("/a", "2")]).await;
    assert_eq!(short(&next(&mut batches).await.unwrap()), "3: +/a=2");
    assert_eq!(store.revision().await, Ok(Revision(3)));
    assert_eq!(write(&store, [put("/a", "3")]).await, Revision(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_over_tls_with_client_certificates() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "etcd-ca");
    save("ca.crt", params.clone().self_signed(&authority_key).unwrap().pem());
    let authority = Issuer::new(params, authority_key);
    for (name, hosts) in [("server", vec![host().to_string()]), ("client", Vec::new())] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(hosts).unwrap();
        save(&format!("{name}.crt"), params.signed_by(&key, &authority).unwrap().pem());
        save(&format!("{name}.key"), key.serialize_pem());
    }
    let Some(server) = Server::start_in(folder, Ports::next(), true) else { return };
    let store = server.store().await;
    assert_eq!(write(&store, [put("/a", "1")]).await, Revision(2));
    assert_eq!(store.get("/a", None).await.unwrap().0, Some(entry("/a", "1", 2, 2, 1)));
}
