//! subPath: a part of a volume, found without following a link out of it, and pinned by a bind mount.
//!
//! A container with access to the volume could swap a folder for a link between the look and the mount. So the path is
//! opened by the kernel with `RESOLVE_BENEATH`, and what is mounted is the open file, not the name. Blocking.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::{Component, Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use super::mount_table;

/// Checks a subPath as written.
///
/// # Errors
/// Absolute paths and those with `..`, in upstream's words.
pub(super) fn check(sub_path: &str) -> Result<(), String> {
    if Path::new(sub_path).is_absolute() {
        return Err(format!("error SubPath `{sub_path}` must not be an absolute path"));
    }
    if Path::new(sub_path).components().any(|part| part == Component::ParentDir) {
        return Err(format!("unable to provision SubPath `{sub_path}`: must not contain '..'"));
    }
    Ok(())
}

/// Binds `sub_path` of `volume` onto `target` and answers `target`. A missing part is made as a folder with
/// the permissions of the volume's own.
pub(super) fn pin(volume: &Path, sub_path: &str, target: &Path) -> io::Result<PathBuf> {
    let root = rustix::fs::openat(CWD, volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let part = open_or_make(&root, Path::new(sub_path))?;
    if mount_table::is_mounted(target)? {
        if is_same(&part, target)? {
            return Ok(target.to_owned());
        }
        // The volume's files have been replaced since the container's last run: it is to see the new ones.
        mount_table::unmount_below(target)?;
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if FileType::from_raw_mode(rustix::fs::fstat(&part)?.st_mode) == FileType::Directory {
        fs::create_dir_all(target)?;
    } else {
        fs::OpenOptions::new().create(true).append(true).open(target)?;
    }
    mount_table::bind(Path::new(&format!("/proc/self/fd/{}", part.as_raw_fd())), target)?;
    Ok(target.to_owned())
}

/// The text of a file below `volume`, of at most `bytes_max`.
pub(super) fn read(volume: &Path, path: &str, bytes_max: u64) -> io::Result<String> {
    let root = rustix::fs::openat(CWD, volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // Not to wait for a writer, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = fs::File::from(rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)?);
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > bytes_max {
        return Err(io::Error::other("no file, or too large a file"));
    }
    io::read_to_string(io::Read::take(file, bytes_max))
}

fn is_same(part: &OwnedFd, target: &Path) -> io::Result<bool> {
    let (part, there) = (rustix::fs::fstat(part)?, rustix::fs::stat(target)?);
    Ok((part.st_dev, part.st_ino) == (there.st_dev, there.st_ino))
}

fn open_or_make(root: &OwnedFd, sub_path: &Path) -> io::Result<OwnedFd> {
    let beneath = |path: &Path| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    let mode = rustix::fs::fstat(root)?.st_mode & 0o7777;
    let mut reached = PathBuf::new();
    let mut current = beneath(Path::new("."))?;
    for part in sub_path.components().filter(|part| matches!(part, Component::Normal(_))) {
        reached.push(part);
        current = match beneath(&reached) {
            Err(rustix::io::Errno::NOENT) => {
                // An existing, dangling link makes this fail, which is right: nothing is made through links.
                // The permissions are set apart from the making: the umask must not take bits away.
                let name = Path::new(part.as_os_str());
                rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o700))?;
                let made = beneath(&reached)?;
                let path = format!("/proc/self/fd/{}", made.as_raw_fd());
                fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
                made
            }
            other => other?,
        };
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_paths_are_checked() {
        assert!(check("a/b").is_ok());
        assert!(check("/a").is_err());
        assert!(check("a/../../b").is_err());
    }

    #[test]
    fn links_out_of_the_volume_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc", folder.path().join("out")).expect("a link");
        fs::create_dir(folder.path().join("data")).expect("a folder");
        std::os::unix::fs::symlink("data", folder.path().join("inside")).expect("a link");
        let root =
            rustix::fs::openat(CWD, folder.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("opens");
        assert!(open_or_make(&root, Path::new("out")).is_err());
        assert!(open_or_make(&root, Path::new("out/passwd")).is_err());
        assert!(open_or_make(&root, Path::new("inside")).is_ok());
        assert!(open_or_make(&root, Path::new("new/deep")).is_ok());
        assert!(folder.path().join("new/deep").is_dir());
    }
}
