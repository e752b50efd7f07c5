//! The folders of cgroups: made, handed their controllers, looked through for processes, removed.

use std::{fs, io, path::Path};

use super::Error;

/// Makes a folder and its parents. A new v1 cpuset takes no task until it has CPUs and memory nodes: they are copied
/// from the parent.
pub(super) fn make(folder: &Path, is_cpuset: bool, root: &Path) -> Result<(), Error> {
    if !is_cpuset {
        return fs::create_dir_all(folder).map_err(|source| Error::File {
            operation: "make",
            path: folder.into(),
            source,
        });
    }
    let Ok(relative) = folder.strip_prefix(root) else { return Ok(()) };
    let mut current = root.to_owned();
    for part in relative.components() {
        let parent = current.clone();
        current.push(part);
        fs::create_dir_all(&current).map_err(|source| Error::File {
            operation: "make",
            path: current.clone(),
            source,
        })?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(current.join(file)).unwrap_or_default();
            if own.trim().is_empty()
                && let Ok(inherited) = fs::read_to_string(parent.join(file))
            {
                let path = current.join(file);
                fs::write(&path, inherited.trim()).map_err(|source| Error::File {
                    operation: "write",
                    path,
                    source,
                })?;
            }
        }
    }
    Ok(())
}

/// v2: hands the controllers down, level by level, to the children of `folder`. A controller that cannot be handed down
/// (threaded siblings, no permission) is left: its limits are then not written either.
pub(super) fn delegate(root: &Path, folder: &Path) {
    let Ok(relative) = folder.strip_prefix(root) else { return };
    let mut current = root.to_owned();
    let mut levels = vec![current.clone()];
    for part in relative.components() {
        current.push(part);
        levels.push(current.clone());
    }
    for level in levels {
        let available = fs::read_to_string(level.join("cgroup.controllers")).unwrap_or_default();
        for controller in available.split_whitespace() {
            if let Err(error) = fs::write(level.join("cgroup.subtree_control"), format!("+{controller}")) {
                tracing::debug!(%error, controller, folder = %level.display(), "a cgroup controller is not handed down");
            }
        }
    }
}

/// Of a cgroup or those below it.
pub(super) fn first_process(folder: &Path) -> Option<u32> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).ok()?;
    let below = || {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.find_map(|entry| first_process(&entry.path()))
    };
    // Zero stands for processes that this process namespace cannot see.
    own.lines().find_map(|line| line.parse().ok().filter(|process| *process != 0)).or_else(below)
}

/// Removes a cgroup and those below it, deepest first. Gone already is fine.
pub(super) fn remove_tree(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { operation: "remove", path: folder.into(), source })
        }
        _ => Ok(()),
    }
}
