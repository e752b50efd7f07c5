//! What this process has open.

use std::{
    fs::{self, File},
    os::{fd::AsFd, unix::fs::MetadataExt as _},
};

/// A socket or a pipe, told from whatever gets its number or its port later. It is not kept open by this.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    inode: u64,
}

impl Descriptor {
    pub fn of(open: &impl AsFd) -> Self {
        let again = open.as_fd().try_clone_to_owned().expect("a descriptor");
        Self { inode: File::from(again).metadata().expect("its inode").ino() }
    }

    /// How many descriptors of this process are it: a pipe's two ends are two.
    ///
    /// This is not asked by connecting or writing: a child that is just being started answers for this process for as
    /// long as it has what this process had.
    pub fn count(self) -> usize {
        let ends = [format!("socket:[{}]", self.inode), format!("pipe:[{}]", self.inode)];
        let open = fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
        // One that was closed since leads nowhere.
        let places = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        places.filter(|place| ends.iter().any(|end| place.as_os_str() == end.as_str())).count()
    }
}
