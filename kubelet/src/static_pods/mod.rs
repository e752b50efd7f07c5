//! Static pods: manifests in a folder (or one file) that run without an API server.
//!
//! Enter at [`follow`]. [`manifest`] reads a manifest, [`validate`] says what is wrong with it
//! (both pure), the folder is watched, and [`mirror`] keeps an image of each static pod in the API, so that others see it. Workers know static pods only by their annotations.

mod manifest;
mod mirror;
#[cfg(test)]
mod tests;
mod validate;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use component::{file_watch::FileWatch, informer::Informer, shutdown::Shutdown};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::{dispatch::Dispatcher, pod::node::Node, pod::spec};

const SETTLE: Duration = Duration::from_millis(50);
/// A folder that cannot be watched, or does not exist, is looked at as often as upstream does.
const PERIOD: Duration = Duration::from_secs(20);

/// Static pods by UID.
type Pods = BTreeMap<String, Arc<Pod>>;

/// Reads the folder at once, then runs until shutdown: hands the pods to `dispatch` and keeps their mirrors, where there
/// is an API server (`pods` is the informer of this node's pods).
pub(crate) async fn follow(
    path: PathBuf,
    node: Arc<Node>,
    pods: Option<Informer<Pod>>,
    dispatch: Dispatcher,
    shutdown: Shutdown,
) {
    let (sender, wanted) = watch::channel(Pods::new());
    let mirrors = mirror::keep(node.clone(), pods, dispatch.clone(), wanted, shutdown.clone());
    let read = read_until_shutdown(path, node, dispatch, sender, shutdown);
    tokio::join!(mirrors, read);
}

/// The pods of the manifests as they are now.
pub(crate) fn read(path: &Path, node_name: &str) -> Vec<Arc<Pod>> {
    scan(path, node_name).into_values().collect()
}

/// The manifests as they are now, by their files' names; what cannot be read is told and left out.
fn scan(path: &Path, node_name: &str) -> BTreeMap<OsString, Arc<Pod>> {
    let mut files: Vec<PathBuf> = match path.is_dir() {
        true => std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect(),
        false => vec![path.to_owned()],
    };
    files.sort();
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut found = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_file() && !is_hidden(file)) {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
        match text.and_then(|text| manifest::parse(&text, &file.to_string_lossy(), node_name)) {
            Ok(pod) => drop(found.insert(file.file_name().unwrap_or_default().to_owned(), Arc::new(pod))),
            Err(error) => tracing::error!(path = %file.display(), error, "can't process the manifest of a static pod"),
        }
    }
    found
}

async fn read_until_shutdown(
    path: PathBuf,
    node: Arc<Node>,
    dispatch: Dispatcher,
    sender: watch::Sender<Pods>,
    shutdown: Shutdown,
) {
    let watch = FileWatch::new();
    let mut running = Pods::new();
    let mut removed = BTreeSet::new();
    loop {
        if let Ok(watch) = &watch
            && let Err(error) = watch.add_folder_or_parent(&path)
        {
            tracing::warn!(path = %path.display(), %error, "the folder of static pods cannot be watched");
        }
        let found = scan(&path, &node.facts.node_name);
        tell(&dispatch, &mut running, &found, &removed);
        sender.send_if_modified(|known| std::mem::replace(known, running.clone()) != running);
        let changed = async {
            match &watch {
                Ok(watch) => match watch.changed().await {
                    Ok(removed) => removed,
                    Err(_) => std::future::pending().await,
                },
                Err(_) => std::future::pending().await,
            }
        };
        removed = tokio::select! {
            removed = changed => settled(watch.as_ref().ok(), removed, tokio::time::sleep(SETTLE)).await,
            () = tokio::time::sleep(PERIOD) => BTreeSet::new(),
            () = shutdown.cancelled() => return,
        }
    }
}

/// Editors write in several steps: a change is read when it has settled. What went meanwhile is one with it: told of by
/// itself, later, it would end the pod that has come since.
async fn settled(
    watch: Option<&FileWatch>,
    mut removed: BTreeSet<OsString>,
    pause: impl Future<Output = ()>,
) -> BTreeSet<OsString> {
    pause.await;
    removed.extend(watch.and_then(FileWatch::queued).unwrap_or_default());
    removed
}

/// Hands on what came and went. A manifest that was removed and is there again is another pod, though it looks like the
/// first.
fn tell(dispatch: &Dispatcher, running: &mut Pods, found: &BTreeMap<OsString, Arc<Pod>>, removed: &BTreeSet<OsString>) {
    let uid = |pod: &Arc<Pod>| spec::uid(pod).to_owned();
    let now: Pods = found.values().map(|pod| (uid(pod), pod.clone())).collect();
    let again: BTreeSet<String> =
        found.iter().filter(|(file, _)| removed.contains(*file)).map(|(_, pod)| uid(pod)).collect();
    let stays = |uid: &String| !again.contains(uid) && running.contains_key(uid) && now.contains_key(uid);
    running.keys().filter(|uid| !stays(uid)).for_each(|uid| dispatch.gone(uid));
    now.iter().filter(|(uid, _)| !stays(uid)).for_each(|(_, pod)| dispatch.put(pod.clone()));
    *running = now;
}
