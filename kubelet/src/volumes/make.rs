//! One volume, made. Blocking; idempotent: what is there already stays.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use super::{
    atomic::{self, Payload},
    device::{self, How},
    host_path, mount_table,
    ownership::{self, Ownership},
};

/// One volume, decided and ready to be written by a blocking thread.
pub(super) enum Task {
    EmptyDir {
        folder: PathBuf,
        medium: Medium,
    },
    HostPath {
        path: String,
        type_: String,
    },
    /// A local volume: mounted on a folder of the pod, so that it is given back with the pod.
    Local {
        path: PathBuf,
        how: How,
        folder: PathBuf,
        /// Where all pods have their folders.
        pods: PathBuf,
        only_on_mismatch: bool,
    },
    Files {
        folder: PathBuf,
        in_memory: bool,
        payload: Payload,
        token_owner: Option<u32>,
    },
    /// Made when a container that mounts it starts, or nothing to make.
    Nothing,
}

/// What an emptyDir lies on.
#[derive(Clone, Copy)]
pub(super) enum Medium {
    /// The eviction manager looks after its size.
    Disk,
    Memory {
        size_bytes: Option<i64>,
    },
    HugePages {
        page_bytes: i64,
    },
}

/// Makes the volume.
pub(super) fn make(task: &Task, ownership: Ownership, now: Timestamp) -> io::Result<()> {
    match task {
        Task::Nothing => Ok(()),
        Task::HostPath { path, type_ } => host_path::ensure(path.as_ref(), type_),
        Task::Local { path, how, folder, pods, only_on_mismatch } => {
            make_local(path, folder, how, || give_local(ownership, folder, pods, *only_on_mismatch))
        }
        Task::EmptyDir { folder, medium } => {
            // The kubelet was here before: what the pod's processes have made of the folder stays.
            if folder.exists() && (matches!(medium, Medium::Disk) || mount_table::is_mounted(folder)?) {
                return Ok(());
            }
            fs::create_dir_all(folder)?;
            match medium {
                Medium::Disk => {}
                Medium::Memory { size_bytes } => mount_table::mount_tmpfs(folder, *size_bytes)?,
                Medium::HugePages { page_bytes } => mount_table::mount_huge_pages(folder, *page_bytes)?,
            }
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
            ownership.apply(folder, false)
        }
        Task::Files { folder, in_memory, payload, token_owner } => {
            fs::create_dir_all(folder)?;
            if *in_memory && !mount_table::is_mounted(folder)? {
                mount_table::mount_tmpfs(folder, None)?;
            }
            let own = |next: &Path| {
                if let Some(uid) = token_owner {
                    ownership::give_private_files(next, *uid)?;
                }
                ownership.apply(next, true)
            };
            atomic::write(folder, payload, now, own)?;
            ownership.apply_top(folder, true)
        }
    }
}

/// Mounts a local volume, and gives it to the pod's group when it may be written to.
fn make_local(path: &Path, folder: &Path, how: &How, give: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let lock = lock_of(path);
    let _only_this_pod = lock.lock().unwrap_or_else(PoisonError::into_inner);
    // The kubelet was here before: what the pod's processes have made of the volume stays.
    if mount_table::is_mounted(folder)? {
        return Ok(());
    }
    mount_local(path, folder, how)?;
    if how.is_read_only {
        return Ok(());
    }
    give().or_else(|problem| {
        // For the next attempt to begin anew.
        mount_table::unmount_below(folder)?;
        Err(problem)
    })
}

/// A local volume is one pod's at a time while it is made: the next one finds it mounted and given.
fn lock_of(path: &Path) -> Arc<Mutex<()>> {
    static LOCKS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    locks.retain(|_, lock| Arc::strong_count(lock) > 1);
    locks.entry(path.to_owned()).or_default().clone()
}

/// Gives a volume to the pod's group, unless another pod is at work in it.
fn give_local(ownership: Ownership, folder: &Path, pods: &Path, only_on_mismatch: bool) -> io::Result<()> {
    let is_shared = !mount_table::twins(folder, pods)?.is_empty();
    let fits = ownership.fits(folder)?;
    if is_shared && !fits {
        tracing::warn!(folder = %folder.display(), "another pod has the volume; it is not given to this pod's fsGroup");
    }
    if is_shared || (fits && only_on_mismatch) { Ok(()) } else { ownership.apply(folder, false) }
}

fn mount_local(path: &Path, folder: &Path, how: &How) -> io::Result<()> {
    if device::is_device(path) {
        return device::mount_device(path, folder, how);
    }
    if !path.is_dir() {
        return Err(io::Error::other(format!("local volume: path {:?} does not exist", path.display().to_string())));
    }
    fs::create_dir_all(folder)?;
    mount_table::bind(path, folder)?;
    mount_table::restrict(folder, how.is_read_only, &how.options)
}
