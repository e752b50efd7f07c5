//! fsGroup: who owns the files of a volume, and who may read them (`pkg/volume/volume_linux.go`). Blocking.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown},
    path::Path,
};

use k8s_openapi::api::core::v1::Pod;

use crate::pod::spec;

const SETGID: u32 = 0o2000;

/// The group that a pod's volumes belong to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ownership {
    pub(super) group: Option<u32>,
}

impl Ownership {
    pub(super) fn of_pod(pod: &Pod) -> Self {
        let group = spec::spec(pod).security_context.as_ref().and_then(|it| it.fs_group);
        Self { group: group.and_then(|group| u32::try_from(group).ok()) }
    }

    /// Gives `folder` and all below to the group; it may read, and write unless `read_only`.
    pub(super) fn apply(self, folder: &Path, read_only: bool) -> io::Result<()> {
        if self.group.is_none() {
            return Ok(());
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if fs::symlink_metadata(&path)?.is_dir() {
                self.apply(&path, read_only)?;
            } else {
                self.apply_top(&path, read_only)?;
            }
        }
        self.apply_top(folder, read_only)
    }

    /// Does the folder itself belong to the group already, with the bits that it needs?
    pub(super) fn fits(self, folder: &Path) -> io::Result<bool> {
        let meta = fs::metadata(folder)?;
        let wanted = SETGID | 0o770;
        Ok(self.group.is_none_or(|group| meta.gid() == group && meta.mode() & wanted == wanted))
    }

    /// As [`Self::apply`], for one file or folder.
    pub(super) fn apply_top(self, path: &Path, read_only: bool) -> io::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        let meta = fs::symlink_metadata(path)?;
        lchown(path, None, Some(group))?;
        if meta.file_type().is_symlink() {
            return Ok(());
        }
        let mut bits = if read_only { 0o440 } else { 0o660 };
        if meta.is_dir() {
            bits |= SETGID | 0o110;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(meta.permissions().mode() | bits))
    }
}

/// The user that all containers of the pod run as, if it is one and known.
pub(super) fn common_user(pod: &Pod) -> Option<u32> {
    let of_pod = spec::spec(pod).security_context.as_ref().and_then(|it| it.run_as_user);
    let mut users = spec::containers(pod)
        .into_iter()
        .map(|(_, container)| container.security_context.and_then(|it| it.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

/// Files that only their owner may read (tokens) are given to the pod's user.
pub(super) fn give_private_files(folder: &Path, uid: u32) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            give_private_files(&path, uid)?;
        } else if meta.mode() & 0o777 == 0o600 {
            lchown(&path, Some(uid), None)?;
        }
    }
    Ok(())
}
