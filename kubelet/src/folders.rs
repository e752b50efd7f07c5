//! The folders that a kubelet makes for itself at its start, and who may enter them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::program::Error;

/// Volumes may be written by all users of their pods: what keeps those of the machine out is above them.
pub(crate) const OWN: u32 = 0o750;
pub(crate) const OF_ALL: u32 = 0o755;

pub(crate) fn make(path: &Path, mode: u32) -> Result<(), Error> {
    let made = fs::create_dir_all(path);
    // Also of one that was there: it may be of days when its mode was another.
    let closed = made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)));
    closed.map_err(|source| Error::File { operation: "make", path: path.to_owned(), source })
}

/// The kubelet's own folder, by the one path that the kernel's table of mounts has for it: what is mounted below is found
/// by it, and undone before anything is removed.
pub(crate) fn own(path: &Path) -> Result<PathBuf, Error> {
    make(path, OWN)?;
    path.canonicalize().map_err(|source| Error::File { operation: "resolve", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_closed_and_has_one_path() {
        let beside = tempfile::tempdir().unwrap();
        let (there, link) = (beside.path().join("there"), beside.path().join("link"));
        fs::create_dir(&there).unwrap();
        fs::set_permissions(&there, Permissions::from_mode(0o777)).unwrap();
        std::os::unix::fs::symlink(&there, &link).unwrap();
        assert_eq!(own(&link.join("../link")).unwrap(), there.canonicalize().unwrap());
        assert_eq!(fs::metadata(&there).unwrap().permissions().mode() & 0o777, OWN);
        assert!(own(&beside.path().join("file")).is_ok() && own(Path::new("/proc/none")).is_err());
    }
}
