//! The files of `host-local`, as upstream writes them: `<dataDir>/<network>/<address>` holds `containerID\r\nifname`,
//! `last_reserved_ip.<range set>` the address given last, and `lock` is locked (flock) by whoever looks or writes.
//!
//! A [`Store`] holds the lock as long as it lives.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cni::Failure;

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    pub(super) container_id: String,
    /// Empty in files of versions that did not write it: then any interface of the container matches.
    pub(super) ifname: String,
}

impl Reservation {
    fn parse(text: &str) -> Reservation {
        let (container_id, ifname) = text.trim().split_once("\r\n").unwrap_or((text.trim(), ""));
        Reservation { container_id: container_id.trim().to_string(), ifname: ifname.to_string() }
    }

    fn text(&self) -> String {
        format!("{}\r\n{}", self.container_id, self.ifname)
    }

    pub(super) fn is(&self, key: &Reservation) -> bool {
        self.container_id == key.container_id && (self.ifname == key.ifname || self.ifname.is_empty())
    }
}

pub(super) struct Store {
    folder: PathBuf,
    /// Closing it gives the lock back.
    _lock: File,
}

impl Store {
    /// Waits for the lock.
    pub(super) fn open(data_dir: &str, network: &str) -> Result<Store, Failure> {
        let folder = Path::new(data_dir).join(network);
        fs::create_dir_all(&folder).map_err(|error| failure("create", &folder, &error))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failure("open", &path, &error))?;
        lock.lock().map_err(|error| failure("lock", &path, &error))?;
        Ok(Store { folder, _lock: lock })
    }

    /// Every address that is reserved.
    ///
    /// A file without content is what a plugin killed between making and writing it left behind: nobody's, since
    /// whoever made it held this lock until it died. It counts as free and is removed.
    pub(super) fn taken(&self) -> Result<Vec<(IpAddr, Reservation)>, Failure> {
        let mut taken = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|error| failure("list", &self.folder, &error))? {
            let path = entry.map_err(|error| failure("list", &self.folder, &error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<IpAddr>().ok());
            let Some(ip) = name else { continue };
            let text = read_short(&path).map_err(|error| failure("read", &path, &error))?;
            if text.trim().is_empty() {
                remove(&path)?;
                continue;
            }
            taken.push((ip, Reservation::parse(&text)));
        }
        Ok(taken)
    }

    /// Reserves an address that [`Store::taken`] does not list. Written aside and renamed, so that the file is there
    /// with its owner in it or not at all, wherever a kill comes.
    pub(super) fn reserve(&self, ip: IpAddr, key: &Reservation, range_set: usize) -> Result<(), Failure> {
        let aside = self.folder.join(".reserving");
        write(&aside, &key.text())?;
        let path = self.folder.join(ip.to_string());
        fs::rename(&aside, &path).map_err(|error| failure("reserve", &path, &error))?;
        write(&self.last_path(range_set), &ip.to_string())
    }

    /// `None` when there is none, or it cannot be read: then only the round robin starts anew.
    pub(super) fn last_reserved(&self, range_set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.last_path(range_set)).ok()?.trim().parse().ok()
    }

    /// Gives back what `key` has; fine when it has nothing.
    pub(super) fn release(&self, key: &Reservation) -> Result<(), Failure> {
        self.retain(|owner| !owner.is(key))
    }

    /// Gives back every address whose owner `keep` does not want.
    pub(super) fn retain(&self, keep: impl Fn(&Reservation) -> bool) -> Result<(), Failure> {
        let gone = self.taken()?.into_iter().filter(|(_, owner)| !keep(owner));
        let failures = gone.filter_map(|(ip, _)| remove(&self.folder.join(ip.to_string())).err());
        Failure::all(failures.collect())
    }

    fn last_path(&self, range_set: usize) -> PathBuf {
        self.folder.join(format!("last_reserved_ip.{range_set}"))
    }
}

/// A file of some hundred bytes: as there is one for every pod, no call to the kernel is made that is not needed.
fn read_short(path: &Path) -> std::io::Result<String> {
    let mut bytes = [0; 4096];
    let length = std::io::Read::read(&mut File::open(path)?, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|error| failure("write", path, &error))
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failure("remove", path, &error)),
        _ => Ok(()),
    }
}

fn failure(operation: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(format!("failed to {operation} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(container_id: &str, ifname: &str) -> Reservation {
        Reservation { container_id: container_id.into(), ifname: ifname.into() }
    }

    fn open(folder: &tempfile::TempDir) -> Store {
        Store::open(folder.path().to_str().unwrap(), "kube").unwrap()
    }

    #[test]
    fn files_are_upstreams() {
        let folder = tempfile::tempdir().unwrap();
        open(&folder).reserve("10.1.1.2".parse().unwrap(), &key("abc", "eth0"), 0).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join("kube").join(name)).unwrap();
        assert_eq!(read("10.1.1.2"), "abc\r\neth0");
        assert_eq!(read("last_reserved_ip.0"), "10.1.1.2");
        assert_eq!(open(&folder).last_reserved(0), Some("10.1.1.2".parse().unwrap()));
    }

    #[test]
    fn release_knows_old_files_and_forgives_what_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        fs::write(store.folder.join("10.1.1.2"), "abc").unwrap();
        fs::write(store.folder.join("10.1.1.3"), "abc\r\neth1").unwrap();
        store.release(&key("abc", "eth0")).unwrap();
        store.release(&key("abc", "eth0")).unwrap();
        let left: Vec<String> = store.taken().unwrap().iter().map(|(ip, _)| ip.to_string()).collect();
        assert_eq!(left, ["10.1.1.3"]);
    }

    #[test]
    fn a_file_that_a_kill_left_empty_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        fs::write(store.folder.join("10.1.1.2"), "").unwrap();
        fs::write(store.folder.join(".reserving"), "abc\r\neth0").unwrap();
        assert_eq!(store.taken().unwrap(), []);
        assert!(!store.folder.join("10.1.1.2").exists());
    }
}
