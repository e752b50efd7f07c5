//! Containers' logs, rotated by size: the current file gets a time in its name, older ones are compressed, the oldest go
//! (`pkg/kubelet/logs`).
//!
//! Enter at [`run`]. The runtime is asked to open its log anew after the rename; nothing it wrote is lost.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use component::shutdown::Shutdown;
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use k8s_cri::v1::{Container, ContainerState};

use crate::{
    paths::Paths,
    pod::node::Node,
    runtime::labels::{CONTAINER_NAME, Identity, RESTART_COUNT},
};

const COMPRESSED: &str = "gz";
/// A compression that did not come to its end.
const UNFINISHED: &str = "tmp";

/// When logs are rotated.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub size_bytes_max: u64,
    /// All files of one container, the current one among them.
    pub files_max: usize,
    pub period: Duration,
}

/// Looks at the logs of running containers until shutdown.
pub async fn run(settings: Settings, node: Arc<Node>, shutdown: Shutdown) {
    while shutdown.run_until(tokio::time::sleep(settings.period)).await.is_some() {
        let containers = match node.runtime.list_containers(None).await {
            Ok(containers) => containers,
            Err(error) => {
                tracing::warn!(%error, "containers cannot be listed to rotate their logs");
                continue;
            }
        };
        let running = containers.into_iter().filter(|it| it.state == ContainerState::ContainerRunning as i32);
        for container in running {
            let Some(path) = path(&node.facts.paths, &container) else { continue };
            if let Err(error) = look(&node, &container.id, path, settings).await {
                tracing::warn!(container = container.id, error, "a log cannot be rotated");
            }
        }
    }
}

/// Where the container's log is, by what it was made with: asking the runtime for every container would cost more than
/// all the looking. None for what others made.
pub(crate) fn path(paths: &Paths, container: &Container) -> Option<PathBuf> {
    let identity = Identity::from_labels(&container.labels)?;
    let name = container.labels.get(CONTAINER_NAME)?;
    let restart_count = container.annotations.get(RESTART_COUNT)?.parse().ok()?;
    Some(paths.log_folder(&identity).join(Paths::log_file(name, restart_count)))
}

async fn look(node: &Node, id: &str, path: PathBuf, settings: Settings) -> Result<(), String> {
    let reopen = async || node.runtime.reopen_container_log(id).await.map_err(|error| error.to_string());
    let size = match fs::metadata(&path) {
        Ok(meta) => meta.len(),
        // Somebody removed the file under the runtime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return reopen().await,
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    if size < settings.size_bytes_max {
        return Ok(());
    }
    let now = node.clock.now();
    let (log, files_max) = (path.clone(), settings.files_max);
    let moved = tokio::task::spawn_blocking(move || rotate(&log, files_max, now));
    let moved =
        moved.await.map_err(|error| error.to_string())?.map_err(|error| format!("{}: {error}", path.display()))?;
    if let Err(error) = reopen().await {
        // The runtime still writes to the old file: it gets its name back, and is tried again.
        fs::rename(&moved, &path).map_err(|error| format!("{}: {error}", moved.display()))?;
        return Err(error);
    }
    Ok(())
}

/// Clears away and compresses the older files, and renames the current one. Answers its new name. Blocking.
fn rotate(log: &Path, files_max: usize, now: Timestamp) -> io::Result<PathBuf> {
    let mut rotated = rotated(log)?;
    // The current file and the one that it becomes count as well.
    let excess = rotated.len().saturating_sub(files_max.saturating_sub(2));
    for old in rotated.drain(..excess) {
        fs::remove_file(old)?;
    }
    for plain in rotated.iter().filter(|path| path.extension().is_none_or(|it| it != COMPRESSED)) {
        compress(plain)?;
    }
    let moved = with_suffix(log, &now.strftime("%Y%m%d-%H%M%S").to_string());
    fs::rename(log, &moved)?;
    Ok(moved)
}

/// The rotated files of a log, the oldest first. What a kubelet that died has left of a compression is removed.
fn rotated(log: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_own = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        if !is_own {
            continue;
        }
        // A plain file beside its finished compression is what remains to be removed.
        if path.extension().is_some_and(|it| it == UNFINISHED) || with_suffix(&path, COMPRESSED).exists() {
            fs::remove_file(path)?;
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn compress(path: &Path) -> io::Result<()> {
    let (unfinished, finished) = (with_suffix(path, UNFINISHED), with_suffix(path, COMPRESSED));
    let mut encoder = GzEncoder::new(fs::File::create(&unfinished)?, Compression::default());
    io::copy(&mut fs::File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(unfinished, finished)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_renamed_compressed_and_removed_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("0.log");
        let names = || {
            let entries = fs::read_dir(folder.path()).expect("lists");
            let mut names: Vec<String> =
                entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        for second in 0..4 {
            fs::write(&log, format!("round {second}\n")).expect("a log");
            rotate(&log, 4, Timestamp::from_second(second).expect("a time")).expect("rotates");
        }
        let at = |second| format!("0.log.19700101-00000{second}");
        assert_eq!(names(), [format!("{}.gz", at(1)), format!("{}.gz", at(2)), at(3)], "the runtime opens the fourth");
        let mut text = String::new();
        let packed = fs::File::open(folder.path().join(format!("{}.gz", at(2)))).expect("opens");
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut text).expect("unpacks");
        assert_eq!(text, "round 2\n");
        fs::write(folder.path().join("0.log.x.tmp"), "").expect("a leftover");
        fs::write(&log, "").expect("a log");
        rotate(&log, 2, Timestamp::from_second(9).expect("a time")).expect("rotates");
        assert_eq!(names(), [at(9)]);
    }
}
