//! The cluster that is struck: every part of the first node a process of its own, and a store on a small disk of its own.
//!
//! Each program runs under a group of its own, which is how the packet filter tells whose packets are to be dropped, and,
//! where clocks are to jump, with Debian's libfaketime before the C library: it reads its offset from a file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use testbed::{Apart, Cluster, PARTS, SOON, eventually};

use super::plan::Store;

/// Room for an etcd's files, which it makes in pieces of 64 MB. The file is sparse.
const DISK: &str = "512M";
const FIRST_GROUP: usize = 61_000;
const ETCD: &str = "http://127.0.0.1:2379";

pub(super) struct Ground<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) apart: Apart<'a>,
    pub(super) store: Store,
}

/// The library that moves a program's clock, where Debian's package has it for this machine's kind of processor.
pub(super) fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|library| library.exists())
}

impl<'a> Ground<'a> {
    /// A cluster whose node is Ready.
    pub(super) fn start(cluster: &'a Cluster, store: Store) -> Result<Self> {
        let mut ground = Self { cluster, apart: Apart::new(cluster), store };
        ground.mount_disk()?;
        let without: Vec<String> = PARTS.iter().map(|part| format!("--without={part}")).collect();
        let mut options: Vec<&str> = without.iter().map(String::as_str).collect();
        if store == Store::Etcd {
            let folder = format!("--data-dir={}", ground.disk().join("etcd").display());
            let mut line = ground.wrapper("etcd")?;
            // A client that is cut off for seconds is no reason to log a page.
            line.extend(["etcd".to_owned(), folder, "--log-level=warn".to_owned()]);
            ground.apart.define("etcd", line);
            ground.apart.start("etcd")?;
            eventually("etcd answers", SOON, || cluster.curl(&format!("{ETCD}/health")))?;
            options.extend(["--store=etcd", "--etcd-servers", ETCD]);
        }
        cluster.skiff_up(&options)?;
        let skiff = cluster.program("skiff")?;
        for part in PARTS {
            let wrapper = ground.wrapper(part)?;
            let words: Vec<&str> = wrapper.iter().map(String::as_str).chain([skiff.as_str(), part]).collect();
            let line = ground.apart.line(part, &words)?;
            ground.apart.define(part, line);
            ground.apart.start(part)?;
        }
        ground.wait_until_ready()?;
        Ok(ground)
    }

    pub(super) fn wait_until_ready(&self) -> Result<()> {
        let ready = ["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=5s"];
        eventually("the API server answers, and the nodes are Ready", SOON, || self.cluster.kubectl(&ready)).map(drop)
    }

    /// Ends the cluster and removes it.
    pub(super) fn end(&mut self) -> Result<()> {
        for part in PARTS {
            self.apart.stop(part)?;
        }
        self.cluster.skiff(&["reset"])?;
        if self.store == Store::Etcd {
            self.apart.kill("etcd")?;
            // The other disk is below the data folder, where `reset` leaves nothing mounted.
            self.cluster.bed.run(&["umount", &self.disk().display().to_string()])?;
        }
        Ok(())
    }

    /// The folder that the small disk is mounted on.
    pub(super) fn disk(&self) -> PathBuf {
        match self.store {
            Store::Embedded => self.cluster.data().join("store"),
            Store::Etcd => self.cluster.bed.folder().join("disk"),
        }
    }

    fn mount_disk(&self) -> Result<()> {
        let image = self.cluster.bed.folder().join("disk.img").display().to_string();
        let folder = self.disk().display().to_string();
        let run = |line: &[&str]| self.cluster.bed.run(line);
        run(&["truncate", "--size", DISK, &image])?;
        run(&["mkfs.ext4", "-q", "-m", "0", &image])?;
        run(&["mkdir", "-p", &folder])?;
        let mounted = run(&["mount", "-o", "loop", &image, &folder]);
        // A container may have no loop devices; memory gets full, too.
        mounted.or_else(|_| run(&["mount", "-t", "tmpfs", "-o", &format!("size={DISK}"), "disk", &folder])).map(drop)
    }

    /// What stands before a program's own command line.
    fn wrapper(&self, part: &str) -> Result<Vec<String>> {
        let mut line = vec!["setpriv".to_owned(), format!("--regid={}", group(part)), "--clear-groups".to_owned()];
        if let Some(library) = faketime() {
            self.set_clock(part, 0)?;
            line.extend([
                "env".to_owned(),
                format!("LD_PRELOAD={}", library.display()),
                format!("FAKETIME_TIMESTAMP_FILE={}", self.clock(part).display()),
                "FAKETIME_CACHE_DURATION=1".to_owned(),
                // A clock that is set does not change how long things take.
                "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            ]);
        }
        Ok(line)
    }

    fn clock(&self, part: &str) -> PathBuf {
        self.cluster.bed.folder().join(format!("{part}.clock"))
    }

    /// Moves a program's clock to so many seconds beside the machine's; it takes up to a second to notice.
    pub(super) fn set_clock(&self, part: &str, seconds: i32) -> Result<()> {
        let (path, new) = (self.clock(part), self.cluster.bed.folder().join("clock.new"));
        std::fs::write(&new, format!("{seconds:+}\n")).context("write a clock's offset")?;
        std::fs::rename(&new, &path).with_context(|| format!("replace {}", path.display()))
    }

    /// Until the store has had a moment without any fault.
    pub(super) fn has_recovered(&self, deadline: Duration) -> Result<()> {
        eventually("the API server answers again", deadline, || {
            self.cluster.kubectl(&["get", "--raw", "/readyz", "--request-timeout=2s"])
        })
        .map(drop)
    }
}

/// The group that a program runs under.
pub(super) fn group(part: &str) -> usize {
    FIRST_GROUP + PARTS.iter().position(|other| *other == part).unwrap_or(PARTS.len())
}
