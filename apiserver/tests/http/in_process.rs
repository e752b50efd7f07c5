//! A server without ports, over a store that the test brings.

use std::sync::Arc;

use apiserver::InProcess;
use apiserver::store::Store;
use apiserver::store::embedded::disk::Folder;
use apiserver::store::embedded::{self, Embedded};
use component::clock::Clock;
use component::shutdown::Shutdown;
use tempfile::TempDir;

pub async fn store(folder: &TempDir) -> Embedded {
    let disk = Arc::new(Folder::open(&folder.path().join("store")).expect("a disk"));
    Embedded::start(disk, Clock::system(), embedded::Options::default()).await.expect("a store")
}

pub fn start(folder: &TempDir, store: Arc<dyn Store>, shutdown: Shutdown) -> InProcess {
    let key = folder.path().join("sa.key");
    std::fs::write(&key, rcgen::KeyPair::generate().expect("a key").serialize_pem()).expect("write the key");
    let key = format!("--service-account-signing-key-file={}", key.display());
    let issuer = "--service-account-issuer=https://kubernetes";
    let flags = ["--storage-backend=embedded", "--data-dir=brought along", issuer, &key];
    let options = apiserver::Options::from_flags(&apiserver::flags().parse(flags).expect("flags")).expect("options");
    InProcess::start(options, store, apiserver::Seams::system(shutdown)).expect("a server")
}
