//! Removing a folder with all that is in it, but nothing of what is mounted there.
//!
//! Enter at [`remove_tree`]. Each step starts from an open folder and follows no link: whoever puts a link or a mount in
//! the place of a folder meanwhile does not change what is removed. What a folder is for it does not know. Blocking.

use std::{
    ffi::CStr,
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

/// Removes a folder, or whatever else has this path. What is not there is fine.
///
/// # Errors
/// Of the first that cannot be removed, with its path. Nothing behind a mount point is touched, and the path itself must
/// be none, either.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| told(path, Errno::INVAL))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = match Folder::at(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        parent => parent?,
    };
    name.into_with_c_str(|name| Ok(parent.remove(name)))?
}

/// Removes what is in a folder. The folder itself may be a mount point, and stays.
///
/// # Errors
/// As of [`remove_tree`], and of a folder that is not there.
pub fn clear(folder: &Path) -> io::Result<()> {
    Folder::at(folder)?.clear()
}

struct Folder {
    entries: Dir,
    /// The kernel's number of the mount that it is reached by.
    mount: u64,
    path: PathBuf,
}

impl Folder {
    fn at(path: &Path) -> io::Result<Folder> {
        let file = File::open(path).map_err(|error| with_path(path, &error))?;
        Folder::new(file.into(), path.to_owned())
    }

    fn new(folder: OwnedFd, path: PathBuf) -> io::Result<Folder> {
        let mount = mount_of(folder.as_fd()).map_err(|error| with_path(&path, &error))?;
        let entries = Dir::new(folder).map_err(|error| told(&path, error))?;
        Ok(Folder { entries, mount, path })
    }

    fn clear(&mut self) -> io::Result<()> {
        while let Some(entry) = self.entries.read() {
            let entry = entry.map_err(|error| told(&self.path, error))?;
            if ![c".", c".."].contains(&entry.file_name()) {
                self.remove(entry.file_name())?;
            }
        }
        Ok(())
    }

    /// The kernel itself neither unlinks nor removes what something is mounted on.
    fn remove(&self, name: &CStr) -> io::Result<()> {
        let told = |error| told(&self.path_of(name), error);
        let here = self.entries.fd()?;
        match unlinkat(here, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            done => return unless_gone(done).map_err(told),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = match openat(here, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            inner => inner.map_err(told)?,
        };
        let mut inner = Folder::new(inner, self.path_of(name))?;
        if inner.mount != self.mount {
            return Err(told(Errno::BUSY));
        }
        inner.clear()?;
        unless_gone(unlinkat(here, name, AtFlags::REMOVEDIR)).map_err(told)
    }

    fn path_of(&self, name: &CStr) -> PathBuf {
        self.path.join(name.to_string_lossy().as_ref())
    }
}

/// `statx` tells it since Linux 5.8 only.
fn mount_of(file: BorrowedFd) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let number = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    number.ok_or_else(|| io::Error::other("the kernel does not tell on which mount it is"))
}

fn unless_gone(done: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match done {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

fn told(path: &Path, error: Errno) -> io::Error {
    match error {
        Errno::BUSY => {
            io::Error::new(io::ErrorKind::ResourceBusy, format!("{}: something is mounted there", path.display()))
        }
        error => with_path(path, &error.into()),
    }
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    /// Folders with `beside/kept` and `top`, which holds files, folders and links to what is beside it.
    fn made() -> tempfile::TempDir {
        let all = tempfile::tempdir().unwrap();
        let (beside, top) = (all.path().join("beside"), all.path().join("top"));
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::create_dir(&beside).unwrap();
        for file in [beside.join("kept"), top.join("file"), top.join("a/b/file")] {
            fs::write(file, "").unwrap();
        }
        symlink(&beside, top.join("a/link")).unwrap();
        symlink("nowhere", top.join("a/b/dangling")).unwrap();
        all
    }

    #[test]
    fn a_folder_goes_with_all_that_is_in_it_and_nothing_that_links_lead_to() {
        let all = made();
        let top = all.path().join("top");
        clear(&top).unwrap();
        assert!(top.exists() && fs::read_dir(&top).unwrap().next().is_none());
        fs::create_dir(top.join("again")).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists() && all.path().join("beside/kept").exists());
        remove_tree(&top).unwrap();
        remove_tree(&top.join("not/there")).unwrap();
        assert!(clear(&top).is_err() && remove_tree(Path::new("/")).is_err());
    }

    #[test]
    fn a_link_or_a_file_goes_alone() {
        let all = made();
        let link = all.path().join("top/a/link");
        remove_tree(&link).unwrap();
        assert!(!link.is_symlink() && all.path().join("beside/kept").exists());
        remove_tree(&all.path().join("top/file")).unwrap();
        assert!(!all.path().join("top/file").exists() && all.path().join("top/a").exists());
    }

    /// In a mount namespace of its own, with `beside` mounted on the path.
    fn with_mount(on: &'static str, test: impl FnOnce(&Path) + Send + 'static) {
        let inside = move || {
            unshare(CloneFlags::CLONE_NEWNS).expect("needs root");
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
            let all = made();
            let (from, to) = (all.path().join("beside"), all.path().join(on));
            let from = if to.is_file() { from.join("kept") } else { from };
            mount(Some(&from), &to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
            test(all.path());
            nix::mount::umount(&to).unwrap();
        };
        std::thread::spawn(inside).join().unwrap();
    }

    #[test]
    #[ignore = "needs root"]
    fn a_mount_is_named_and_nothing_in_it_removed() {
        for on in ["top", "top/a", "top/a/b/c", "top/a/b/file"] {
            with_mount(on, move |all| {
                let error = remove_tree(&all.join("top")).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{on}: {error}");
                assert!(error.to_string().starts_with(&format!("{}: ", all.join(on).display())), "{error}");
                assert!(all.join("beside/kept").exists(), "{on}");
            });
        }
        with_mount("top", |all| {
            clear(&all.join("top")).unwrap();
            assert!(!all.join("beside/kept").exists(), "what is asked for by its own path is no mount in it");
        });
    }
}
