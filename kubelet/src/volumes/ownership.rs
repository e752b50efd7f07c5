//! fsGroup: who owns the files of a volume, and who may read them (`pkg/volume/volume_linux.go`). Blocking.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            ffi::OsStringExt as _,
            fs::{MetadataExt as _, PermissionsExt as _, lchown},
        },
    },
    path::Path,
};

use k8s_openapi::api::core::v1::Pod;
use rustix::fs::{AtFlags, CWD, Dir, DirEntry, FileType, Gid, Mode, OFlags, ResolveFlags};

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
        let Some(group) = self.group else { return Ok(()) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, folder, flags, Mode::empty())?;
        Gift { root, group, read_only }.give(Path::new("."))
    }

    /// Does the folder itself belong to the group already, with the bits that it needs?
    pub(super) fn fits(self, folder: &Path) -> io::Result<bool> {
        let meta = fs::metadata(folder)?;
        let wanted = SETGID | 0o770;
        Ok(self.group.is_none_or(|group| meta.gid() == group && meta.mode() & wanted == wanted))
    }

    /// As [`Self::apply`], for the folder alone.
    pub(super) fn apply_top(self, folder: &Path, read_only: bool) -> io::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        give_one(&rustix::fs::openat(CWD, folder, flags, Mode::empty())?, group, read_only)
    }
}

/// A volume that is given to a group.
///
/// Others may be at work in it: a container of another pod could swap a folder for a link to the node's own files between
/// a look and a change. So each entry is opened first, without following links, and what is open is changed, not the name.
struct Gift {
    root: OwnedFd,
    group: u32,
    read_only: bool,
}

impl Gift {
    /// Gives what lies at `path` in the volume, the folders after what is in them. No folder stays open meanwhile, so that
    /// a deep volume does not use up the files that a process may have open.
    fn give(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        for name in names(&open()?)? {
            self.give(&path.join(name))?;
        }
        give_one(&open()?, self.group, self.read_only)
    }
}

/// The names in a folder; none of what is no folder.
fn names(entry: &OwnedFd) -> io::Result<Vec<OsString>> {
    if FileType::from_raw_mode(rustix::fs::fstat(entry)?.st_mode) != FileType::Directory {
        return Ok(Vec::new());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = Dir::new(rustix::fs::openat(entry, ".", flags, Mode::empty())?)?;
    let name = |found: rustix::io::Result<DirEntry>| -> io::Result<OsString> {
        Ok(OsString::from_vec(found?.file_name().to_bytes().to_vec()))
    };
    folder.map(name).filter(|name| !matches!(name, Ok(name) if name == "." || name == "..")).collect()
}

fn give_one(entry: &OwnedFd, group: u32, read_only: bool) -> io::Result<()> {
    let mode = rustix::fs::fstat(entry)?.st_mode;
    rustix::fs::chownat(entry, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)?;
    let mut bits = if read_only { 0o440 } else { 0o660 };
    match FileType::from_raw_mode(mode) {
        FileType::Symlink => return Ok(()),
        FileType::Directory => bits |= SETGID | 0o110,
        _ => {}
    }
    // The kernel's own link to what is open: it leads there whatever has become of the name.
    let open = format!("/proc/self/fd/{}", entry.as_raw_fd());
    fs::set_permissions(open, fs::Permissions::from_mode(mode & 0o7777 | bits))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_group_gets_the_volume_and_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (outside, volume) = (folder.path().join("outside"), folder.path().join("volume"));
        fs::create_dir_all(volume.join("deep")).expect("a folder");
        for file in [&outside, &volume.join("deep/file"), &volume.join("script")] {
            fs::write(file, "text").expect("a file");
        }
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("is ours");
        let mode = |path: &Path| fs::metadata(path).expect("is there").mode() & 0o7777;
        for (path, bits) in [("deep/file", 0o600), ("script", 0o701), ("deep", 0o700), ("", 0o700)] {
            set(&volume.join(path), bits);
        }
        set(&outside, 0o600);
        symlink(&outside, volume.join("deep/link")).expect("a link");
        rustix::fs::mkfifoat(CWD, volume.join("pipe"), Mode::from_raw_mode(0o600)).expect("a pipe");
        let ours = Ownership { group: Some(rustix::process::getgid().as_raw()) };
        ours.apply(&volume, false).expect("is given");
        for (path, bits) in [("deep/file", 0o660), ("script", 0o761), ("pipe", 0o660), ("deep", 0o2770), ("", 0o2770)] {
            assert_eq!(mode(&volume.join(path)), bits, "{path}");
        }
        assert_eq!(mode(&outside), 0o600);
        assert!(ours.fits(&volume).expect("is there"));
    }

    #[test]
    fn a_folder_that_became_a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (outside, volume) = (folder.path().join("outside"), folder.path().join("volume"));
        for path in [&outside, &volume] {
            fs::create_dir(path).expect("a folder");
        }
        fs::write(outside.join("file"), "text").expect("a file");
        symlink(&outside, volume.join("swapped")).expect("a link");
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &volume, flags, Mode::empty()).expect("opens");
        let gift = Gift { root, group: rustix::process::getgid().as_raw(), read_only: false };
        assert!(gift.give(Path::new("swapped/file")).is_err());
        assert!(gift.give(Path::new("swapped")).is_ok(), "the link itself has an owner too");
        let ours = Ownership { group: Some(gift.group) };
        assert!(ours.apply(&volume.join("swapped"), false).is_err());
    }
}
